//! The submitted workflows and their latest reports: one record each.

use std::sync::{Arc, Mutex, PoisonError};

use autodidact_domain::ports::{Clock, Workflows};
use autodidact_domain::{
    PluginSummary, PortError, PortResult, Report, WorkflowName, WorkflowState, WorkflowSummary,
};

use crate::StoreError;
use crate::batch::BatchWriter;
use crate::database::Database;
use crate::error::not_found;
use crate::guard::contain_port;
use crate::journal::{decode, encode, name_key};
use crate::parts;
use crate::table::Table;

/// The workflows' port.
pub(crate) struct WorkflowStore {
    database: Arc<Database>,
    summaries: Table,
    reports: Table,
    clock: Arc<dyn Clock>,
    /// A change reads a summary and writes it back: one at a time.
    changing: Mutex<()>,
}

impl WorkflowStore {
    /// Opens the workflows.
    pub(crate) fn open(database: Arc<Database>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let (summaries, reports) = (database.table("workflows")?, database.table("reports")?);
        Ok(Self {
            database,
            summaries,
            reports,
            clock,
            changing: Mutex::new(()),
        })
    }

    fn read(&self, name: &WorkflowName) -> Result<Option<WorkflowSummary>, StoreError> {
        parts::get(&self.summaries, &name_key(name.as_str()))?
            .map(|bytes| decode("a workflow", &bytes))
            .transpose()
    }

    fn read_all(&self) -> Result<Vec<WorkflowSummary>, StoreError> {
        parts::scan(&self.summaries, b"")
            .map(|record| decode("a workflow", &record?.1))
            .collect()
    }

    fn write(&self, table: &Table, name: &WorkflowName, bytes: &[u8]) -> Result<(), StoreError> {
        self.database.check_writable(bytes.len() as u64)?;
        let mut writer = BatchWriter::new(table);
        parts::put(&mut writer, &name_key(name.as_str()), bytes)?;
        writer.finish()?;
        self.database.sync()
    }

    fn missing(&self, name: &WorkflowName) -> PortError {
        match self.read_all() {
            Ok(all) => not_found(
                "workflow",
                name.as_str(),
                all.into_iter().map(|w| w.spec.name.to_string()),
            ),
            Err(error) => error.into(),
        }
    }
}

impl Workflows for WorkflowStore {
    fn create(&self, summary: WorkflowSummary) -> PortResult<WorkflowSummary> {
        contain_port(|| {
            let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            match self.read(&summary.spec.name)? {
                Some(present) if present.spec_digest == summary.spec_digest => Ok(present),
                Some(present) => Err(PortError::Exists {
                    what: "workflow",
                    name: summary.spec.name.to_string(),
                    detail: format!(
                        "its specification has digest {}, this one {}; give this one another name",
                        present.spec_digest.short(),
                        summary.spec_digest.short()
                    ),
                }),
                None => {
                    self.write(&self.summaries, &summary.spec.name, &encode(&summary))?;
                    Ok(summary)
                }
            }
        })
    }

    fn get(&self, name: &WorkflowName) -> PortResult<WorkflowSummary> {
        contain_port(|| self.read(name)?.ok_or_else(|| self.missing(name)))
    }

    fn list(&self) -> PortResult<Vec<WorkflowSummary>> {
        contain_port(|| Ok(self.read_all()?))
    }

    fn set_state(
        &self,
        name: &WorkflowName,
        state: WorkflowState,
        message: &str,
    ) -> PortResult<WorkflowSummary> {
        contain_port(|| {
            let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut summary = self.read(name)?.ok_or_else(|| self.missing(name))?;
            (summary.state, summary.message) = (state, message.to_string());
            summary.updated_ms = self.clock.now_ms();
            self.write(&self.summaries, name, &encode(&summary))?;
            Ok(summary)
        })
    }

    fn set_plugins(
        &self,
        name: &WorkflowName,
        plugins: Vec<PluginSummary>,
    ) -> PortResult<WorkflowSummary> {
        contain_port(|| {
            let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut summary = self.read(name)?.ok_or_else(|| self.missing(name))?;
            summary.pinned.plugins = plugins;
            summary.updated_ms = self.clock.now_ms();
            self.write(&self.summaries, name, &encode(&summary))?;
            Ok(summary)
        })
    }

    fn put_report(&self, report: &Report) -> PortResult<()> {
        contain_port(|| {
            let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(self.write(&self.reports, &report.workflow, &encode(report))?)
        })
    }

    fn report(&self, name: &WorkflowName) -> PortResult<Report> {
        contain_port(
            || match parts::get(&self.reports, &name_key(name.as_str()))? {
                Some(bytes) => Ok(decode("a report", &bytes)?),
                None if self.read(name)?.is_some() => Err(PortError::NotFound {
                    what: "report of workflow",
                    name: name.to_string(),
                    nearest: None,
                }),
                None => Err(self.missing(name)),
            },
        )
    }
}

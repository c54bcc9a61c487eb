//! The registered models: one record each.

use std::sync::{Arc, Mutex, PoisonError};

use autodidact_domain::ports::Models;
use autodidact_domain::{ModelName, ModelSummary, PortError, PortResult};

use crate::StoreError;
use crate::batch::BatchWriter;
use crate::database::Database;
use crate::error::not_found;
use crate::guard::contain_port;
use crate::journal::{decode, encode, name_key};
use crate::parts;
use crate::table::Table;

/// The models' port.
pub(crate) struct ModelStore {
    database: Arc<Database>,
    table: Table,
    changing: Mutex<()>,
}

impl ModelStore {
    /// Opens the models.
    pub(crate) fn open(database: Arc<Database>) -> Result<Self, StoreError> {
        let table = database.table("models")?;
        Ok(Self {
            database,
            table,
            changing: Mutex::new(()),
        })
    }

    fn read(&self, name: &ModelName) -> Result<Option<ModelSummary>, StoreError> {
        parts::get(&self.table, &name_key(name.as_str()))?
            .map(|bytes| decode("a model", &bytes))
            .transpose()
    }

    fn read_all(&self) -> Result<Vec<ModelSummary>, StoreError> {
        parts::scan(&self.table, b"")
            .map(|record| decode("a model", &record?.1))
            .collect()
    }

    fn missing(&self, name: &ModelName) -> PortError {
        match self.read_all() {
            Ok(all) => not_found(
                "model",
                name.as_str(),
                all.into_iter().map(|m| m.name.to_string()),
            ),
            Err(error) => error.into(),
        }
    }

    fn change(
        &self,
        work: impl FnOnce(&mut BatchWriter<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut writer = BatchWriter::new(&self.table);
        work(&mut writer)?;
        writer.finish()?;
        self.database.sync()
    }
}

impl Models for ModelStore {
    /// A model is the same when its weights are: where its files lie may change.
    fn put(&self, summary: &ModelSummary) -> PortResult<()> {
        contain_port(|| {
            let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            match self.read(&summary.name)? {
                Some(present) if present == *summary => return Ok(()),
                Some(present)
                    if present.digest != summary.digest || present.sha256 != summary.sha256 =>
                {
                    return Err(PortError::Exists {
                        what: "model",
                        name: summary.name.to_string(),
                        detail: format!(
                            "it has other weights (SHA-256 {}); remove it first, or give this one another name",
                            present.sha256
                        ),
                    });
                }
                _ => {}
            }
            let bytes = encode(summary);
            self.database.check_writable(bytes.len() as u64)?;
            Ok(self.change(|writer| parts::put(writer, &name_key(summary.name.as_str()), &bytes))?)
        })
    }

    fn get(&self, name: &ModelName) -> PortResult<ModelSummary> {
        contain_port(|| self.read(name)?.ok_or_else(|| self.missing(name)))
    }

    fn list(&self) -> PortResult<Vec<ModelSummary>> {
        contain_port(|| Ok(self.read_all()?))
    }

    fn delete(&self, name: &ModelName) -> PortResult<()> {
        contain_port(|| {
            let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            if self.read(name)?.is_none() {
                return Err(self.missing(name));
            }
            self.database.check_removable()?;
            Ok(self.change(|writer| parts::remove(writer, &name_key(name.as_str())))?)
        })
    }
}

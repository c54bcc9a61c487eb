//! Turns a file into a dataset version; the same for calls and for watched folders.

use std::sync::Arc;

use autodidact_domain::ports::Ports;
use autodidact_domain::{
    DatasetName, DatasetSummary, Digest, EventBody, FileReport, PortResult, WorkflowState,
    WorkflowSummary,
};
use autodidact_flow::Supervisor;

/// The most refused records that a report names.
const MAX_REPORTED_FAULTS: usize = 1000;

/// What became of a file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What was taken and what was refused; stands beside a dropped file.
    pub report: FileReport,
    /// The version made or found; none when no record could be read.
    pub dataset: Option<DatasetSummary>,
    /// Whether the same content was there already.
    pub already_present: bool,
    /// The workflows bound to the dataset that run on this version now.
    pub started: Vec<WorkflowSummary>,
}

/// A file as it came, before anything is known of it.
#[derive(Clone, Copy, Debug)]
pub struct IncomingFile<'a> {
    /// Its name without folders.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
    /// The content of the mapping file that stands beside it, where one does.
    pub mapping: Option<&'a [u8]>,
}

impl IncomingFile<'_> {
    /// Digests what decides on what is read: the bytes, and the mapping where there is one, so that a file is read anew when its
    /// mapping is another.
    pub fn digest(&self) -> Digest {
        let bytes = Digest::of(self.bytes);
        match self.mapping {
            Some(mapping) => Digest::of(format!("{bytes} {}", Digest::of(mapping)).as_bytes()),
            None => bytes,
        }
    }
}

/// Reads a file into a new version of a dataset, tells the watchers, and starts the workflows bound to it.
///
/// Doing it again with the same content makes nothing new, but starts what a kill may have kept from starting.
///
/// # Errors
/// A port's failure. A file without a readable record is none: the report tells why.
pub fn import_file(
    ports: &Ports,
    supervisor: &Arc<Supervisor>,
    dataset: &DatasetName,
    file: IncomingFile<'_>,
) -> PortResult<Imported> {
    let (file_name, digest) = (file.name, file.digest());
    let parsed = match file.mapping {
        Some(mapping) => ports.reader.read_mapped(file_name, file.bytes, mapping),
        None => ports.reader.read(file_name, file.bytes),
    };
    let mut report = FileReport {
        file: file_name.to_string(),
        digest,
        dataset: None,
        accepted: parsed.examples.len() as u64,
        refused: parsed.refused,
        errors: parsed
            .faults
            .into_iter()
            .take(MAX_REPORTED_FAULTS)
            .collect(),
    };
    if parsed.examples.is_empty() {
        let message = match report.errors.first() {
            Some(fault) => format!(
                "no record could be read; line {}: expected {}",
                fault.line, fault.expected
            ),
            None => "it holds no record".to_string(),
        };
        ports.events.publish(
            None,
            EventBody::FileRefused {
                file: file_name.to_string(),
                message,
            },
        )?;
        return Ok(Imported {
            report,
            dataset: None,
            already_present: false,
            started: Vec::new(),
        });
    }

    let (summary, already_present) = match ports.datasets.by_source_digest(dataset, digest)? {
        Some(summary) => (summary, true),
        None => {
            let newest = ports.datasets.get(dataset, None).ok();
            let summary = ports
                .datasets
                .put(dataset, &parsed.examples, file_name, Some(digest))?;
            let found = newest.is_some_and(|newest| newest.version == summary.version);
            (summary, found)
        }
    };
    let versioned = format!("{}@{}", summary.name, summary.version);
    report.dataset = Some(versioned.clone());
    if !already_present {
        ports.events.publish(
            None,
            EventBody::DatasetVersion {
                dataset: versioned,
                records: summary.records,
            },
        )?;
        if report.refused > 0 {
            let message = format!(
                "{} of {} records were refused",
                report.refused,
                report.refused + report.accepted
            );
            ports.events.publish(
                None,
                EventBody::FileRefused {
                    file: file_name.to_string(),
                    message,
                },
            )?;
        }
    }
    let mut started = supervisor.dataset_changed(&summary)?;
    started.retain(|workflow| workflow.state == WorkflowState::Running);
    Ok(Imported {
        report,
        dataset: Some(summary),
        already_present,
        started,
    })
}

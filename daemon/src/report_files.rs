//! Lays reports in the data directory for people and scripts.

use std::path::PathBuf;

use autodidact_domain::ports::ReportFiles;
use autodidact_domain::training::TrainingLog;
use autodidact_domain::{PortError, PortResult, WorkflowName};

use crate::{files, tensorboard};

/// Writes `<data-dir>/reports/<workflow>/report.json` and `.md`, and a round's curves for TensorBoard in `round-N` there.
pub(crate) struct ReportFolder {
    root: PathBuf,
}

impl ReportFolder {
    /// Takes the folder that holds one folder a workflow.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

impl ReportFiles for ReportFolder {
    fn write(&self, workflow: &WorkflowName, json: &str, markdown: &str) -> PortResult<()> {
        let folder = self.folder(workflow);
        let write = || {
            std::fs::create_dir_all(&folder)?;
            files::write_atomically(&folder.join("report.md"), markdown.as_bytes())?;
            // Last, so that a script that waits for it finds both.
            files::write_atomically(&folder.join("report.json"), json.as_bytes())
        };
        write().map_err(|error| {
            PortError::Unavailable(format!(
                "write the report of {workflow} in {}: {error}",
                folder.display()
            ))
        })
    }

    fn write_training(
        &self,
        workflow: &WorkflowName,
        round: u32,
        log: &TrainingLog,
        from: usize,
    ) -> PortResult<()> {
        let folder = self.folder(workflow).join(format!("round-{round}"));
        tensorboard::write(&folder, log, from).map_err(|error| {
            PortError::Unavailable(format!(
                "write the TensorBoard file of {workflow} in {}: {error}",
                folder.display()
            ))
        })
    }

    fn folder(&self, workflow: &WorkflowName) -> PathBuf {
        self.root.join(workflow.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_written_and_replaced() {
        let root = tempfile::tempdir().unwrap();
        let reports = ReportFolder::new(root.path().join("reports"));
        let name = WorkflowName::new("w").unwrap();
        reports.write(&name, "{}", "# one").unwrap();
        reports.write(&name, "{\"a\":1}", "# two").unwrap();
        let folder = reports.folder(&name);
        assert_eq!(
            std::fs::read_to_string(folder.join("report.json")).unwrap(),
            "{\"a\":1}"
        );
        assert_eq!(
            std::fs::read_to_string(folder.join("report.md")).unwrap(),
            "# two"
        );
    }
}

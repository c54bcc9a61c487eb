//! Lays reports in the data directory for people and scripts.

use std::path::PathBuf;

use autodidact_domain::ports::{ReportFiles, ReportTexts};
use autodidact_domain::training::TrainingLog;
use autodidact_domain::{PortError, PortResult, WorkflowName};

use crate::{files, tensorboard};

/// Writes `<data-dir>/reports/<workflow>/report.json`, `.md` and `.html`, and a round's curves for TensorBoard in `round-N` there.
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
    fn write(&self, workflow: &WorkflowName, report: &ReportTexts) -> PortResult<()> {
        let folder = self.folder(workflow);
        let write = || {
            std::fs::create_dir_all(&folder)?;
            files::write_atomically(&folder.join("report.html"), report.html.as_bytes())?;
            files::write_atomically(&folder.join("report.md"), report.markdown.as_bytes())?;
            // Last, so that a script that waits for it finds all.
            files::write_atomically(&folder.join("report.json"), report.json.as_bytes())
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
    fn all_files_are_written_and_replaced() {
        let root = tempfile::tempdir().unwrap();
        let reports = ReportFolder::new(root.path().join("reports"));
        let name = WorkflowName::new("w").unwrap();
        let texts = |number: u32| ReportTexts {
            json: format!("{{\"a\":{number}}}"),
            markdown: format!("# {number}"),
            html: format!("<p>{number}</p>"),
        };
        reports.write(&name, &texts(1)).unwrap();
        reports.write(&name, &texts(2)).unwrap();
        let folder = reports.folder(&name);
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        assert_eq!(read("report.json"), "{\"a\":2}");
        assert_eq!(read("report.md"), "# 2");
        assert_eq!(read("report.html"), "<p>2</p>");
        let files = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(files, 3, "nothing half written is left");
    }
}

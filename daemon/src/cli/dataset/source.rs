//! Where records come from: a stored dataset, or a file that is read without any daemon.

use std::path::{Path, PathBuf};

use autodidact_client::{Client, v1};
use autodidact_domain::{Example, Interrupt, InterruptReason, LineFault};
use autodidact_formats::Reader;
use autodidact_server::example_from_wire;
use clap::Args;

use crate::cli::connect::connect;
use crate::cli::{Failure, Global, output};

/// Names one source.
#[derive(Args, Default)]
pub(super) struct SourceArgs {
    /// The dataset: NAME for its newest version, or NAME@VERSION
    #[arg(required_unless_present = "input")]
    name: Option<String>,
    /// A file in place of a stored dataset, in any form that `dataset import` reads; - for stdin
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    input: Option<PathBuf>,
}

impl SourceArgs {
    /// Reads the records.
    pub(super) async fn load(&self, global: &Global) -> Result<Records, Failure> {
        match (&self.input, &self.name) {
            (Some(path), _) => read_file(path),
            (None, Some(name)) => fetch(name, global).await,
            (None, None) => Err(Failure::usage("expected a dataset's name or --input")),
        }
    }
}

/// The records of a source.
pub(super) struct Records {
    /// What they are of: `NAME@VERSION` or a file's name.
    pub(super) name: String,
    /// Each in its place; of a file also those that cannot be read.
    pub(super) records: Vec<Result<Example, LineFault>>,
    pub(super) kind: SourceKind,
}

impl Records {
    /// Shows those that can be read.
    pub(super) fn examples(&self) -> impl Iterator<Item = &Example> {
        self.records.iter().flatten()
    }

    /// Counts those that cannot.
    pub(super) fn unreadable(&self) -> usize {
        self.records.iter().filter(|record| record.is_err()).count()
    }
}

/// Whether it is known where records came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceKind {
    Stored,
    File,
}

/// Reads a file, with the mapping file that stands beside it, and tells of what cannot be read.
///
/// # Errors
/// When nothing can.
pub(super) fn read_file(path: &Path) -> Result<Records, Failure> {
    const SHOWN: usize = 5;
    let name = path.display().to_string();
    let bytes = super::read_bounded(path)?;
    let mapping = super::read_mapping(path, None)?;
    let records = Reader.list(&bytes, mapping.as_deref()).records;
    let told = |fault: &LineFault| {
        let (line, expected, found) = (fault.line, &fault.expected, &fault.found);
        format!("line {line}: expected {expected}, found {found}")
    };
    let faults = records.iter().filter_map(|record| record.as_ref().err());
    let count = faults.clone().count();
    if count == records.len() {
        let first = faults.map(told).next().unwrap_or_default();
        let message = format!("no record of {name} can be read; {first}");
        return Err(Failure::refused("INVALID_ARGUMENT", message));
    }
    if count > 0 {
        output::note(format!("{count} records of {name} cannot be read:"));
        for fault in faults.take(SHOWN) {
            output::note(format!("  {}", told(fault)));
        }
    }
    let kind = SourceKind::File;
    Ok(Records {
        name,
        records,
        kind,
    })
}

/// Asks the daemon for all records of a version.
pub(super) async fn fetch(name: &str, global: &Global) -> Result<Records, Failure> {
    let (dataset, version) = parse_name(name)?;
    let client = connect(global).await?;
    let mut records = Records {
        name: String::new(),
        records: Vec::new(),
        kind: SourceKind::Stored,
    };
    let mut page_token = String::new();
    loop {
        let page = page(&client, &dataset, version, page_token).await?;
        records.name = format!("{dataset}@{}", page.version);
        for record in page.records {
            let example = example_from_wire(record).map_err(|what| {
                Failure::local(format!(
                    "the daemon sent a record with {what}: is it newer?"
                ))
            })?;
            records.records.push(Ok(example));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(records);
        }
    }
}

async fn page(
    client: &Client,
    dataset: &str,
    version: Option<u32>,
    page_token: String,
) -> Result<v1::ListRecordsResponse, Failure> {
    let request = v1::ListRecordsRequest {
        dataset: dataset.to_string(),
        version,
        page_size: 1000,
        page_token,
    };
    Ok(client.datasets().list_records(request).await?.into_inner())
}

/// Takes NAME or NAME@VERSION apart.
fn parse_name(name: &str) -> Result<(String, Option<u32>), Failure> {
    let Some((dataset, version)) = name.split_once('@') else {
        return Ok((name.to_string(), None));
    };
    match version.parse() {
        Ok(version @ 1..) => Ok((dataset.to_string(), Some(version))),
        _ => Err(Failure::usage(&format!(
            "expected NAME or NAME@VERSION with a version from 1 on, found {name:?}"
        ))),
    }
}

/// Computes on a thread of its own; when nobody waits for it any more, it is told to stop.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce(&Interrupt) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    struct RaiseOnDrop(Interrupt);
    impl Drop for RaiseOnDrop {
        fn drop(&mut self) {
            self.0.raise(InterruptReason::Cancel);
        }
    }
    let interrupt = Interrupt::new();
    let _raise = RaiseOnDrop(interrupt.clone());
    tokio::task::spawn_blocking(move || work(&interrupt))
        .await
        .map_err(|error| Failure::local(format!("the work ended early: {error}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_after_the_name() {
        let parsed = |name: &str| parse_name(name).map_err(|failure| failure.message().to_string());
        assert_eq!(parsed("seeds"), Ok(("seeds".into(), None)));
        assert_eq!(parsed("seeds@12"), Ok(("seeds".into(), Some(12))));
        for wrong in ["seeds@", "seeds@0", "seeds@two", "seeds@1@2"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_is_read_whole_with_its_mapping() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faq.csv");
        std::fs::write(&path, "q,a\none,1\none,1\ntwo,\n三,3\n,4\n").unwrap();
        let failure = read_file(&path)
            .err()
            .map(|failure| failure.message().to_string());
        assert!(failure.is_some_and(|message| message.contains("mapping file")));
        let mapping = folder.path().join("faq.csv.mapping.yaml");
        std::fs::write(mapping, "columns: {q: instruction, a: output}").unwrap();
        let records = read_file(&path).map_err(|failure| failure.message().to_string());
        let records = records.unwrap();
        assert_eq!((records.examples().count(), records.unreadable()), (4, 1));
        assert_eq!(records.kind, SourceKind::File);
    }
}

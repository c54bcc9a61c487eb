//! `autodidact dataset dedup`: drops the records that repeat others.

use std::path::{Path, PathBuf};

use autodidact_domain::ports::DatasetReader as _;
use autodidact_domain::{Example, Interrupt, LineFault};
use autodidact_formats::{FORMAT_NAMES, Reader};
use clap::Args;
use serde_json::{Value, json};

use super::duplicates::{self, Compared, Found};
use super::source::{Records, SourceArgs, apart};
use crate::cli::{Failure, Global, output};

/// What is compared, and where the kept records go.
#[derive(Args)]
#[command(after_help = "\
Every record is held, in order, against those kept before it. It is dropped when it says the same (letters' case and width, blanks and
punctuation at the ends do not count: exact_duplicate), or when its ROUGE-L with one of them is above the threshold (near_duplicate).
ROUGE-L is that of rouge_score, F measure without stemming, with every Chinese character a token; no near duplicate is missed.

Without --out nothing is written: what would go is told. With --json a line is printed for each record, in order:
  {\"kept\":false,\"reason\":\"near_duplicate\",\"nearest\":0,\"score\":0.8}
nearest is the place of the record it repeats, counted from 0; reason, nearest and score are null where the record is kept. A record
that cannot be read has a line too, with the reader's reason. Tasks without an output are read here as well.

Examples:
  autodidact dataset dedup my-data
  autodidact dataset dedup my-data@2 --threshold 0.5 --out kept.jsonl
  autodidact dataset dedup --input instructions.jsonl --threshold 1 --json
  autodidact dataset dedup --input alpaca.json --by instruction --out kept.json --format alpaca")]
pub(in crate::cli) struct DedupArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The ROUGE-L above which a record is a duplicate, from 0 to 1; at 1 only exact ones are dropped
    #[arg(long, default_value_t = 0.7, value_parser = duplicates::threshold)]
    threshold: f64,
    /// What of a record is compared
    #[arg(long, value_enum, default_value_t = Compared::Question)]
    by: Compared,
    /// The file that the kept records are written to
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The format they are written in
    #[arg(long, default_value = "jsonl", requires = "out", value_parser = FORMAT_NAMES)]
    format: String,
}

/// Finds, tells and writes.
pub(super) async fn run(args: DedupArgs, global: &Global) -> Result<(), Failure> {
    let records = args.source.load(global).await?;
    let json = global.json;
    apart(move |interrupt| {
        let judged = judge(&records, args.by, args.threshold, interrupt)?;
        match json {
            true => judged
                .iter()
                .try_for_each(|judged| output::json_line(&judged.line()))?,
            false => tell(&records, args.by, &judged)?,
        }
        match &args.out {
            Some(out) => write(&records, &judged, out, &args.format),
            None => Ok(()),
        }
    })
    .await
}

/// What becomes of a record.
enum Judged {
    Kept,
    Dropped(Found),
    /// It cannot be read: a reader's reason.
    Unreadable(String),
}

/// Judges every record in its place.
fn judge(
    records: &Records,
    by: Compared,
    threshold: f64,
    interrupt: &Interrupt,
) -> Result<Vec<Judged>, Failure> {
    let texts: Vec<String> = records.examples().map(|example| by.text(example)).collect();
    let places = records.records.iter().enumerate();
    let places: Vec<usize> = places
        .filter(|(_, record)| record.is_ok())
        .map(|(place, _)| place)
        .collect();
    let found = duplicates::find(&texts, threshold, interrupt)?;
    let mut found = found.into_iter();
    let judge = |record: &Result<Example, LineFault>| match record {
        Err(fault) => Judged::Unreadable(fault.reason.clone()),
        Ok(_) => match found.next().flatten() {
            Some(found) => Judged::Dropped(Found {
                nearest: places[found.nearest],
                ..found
            }),
            None => Judged::Kept,
        },
    };
    Ok(records.records.iter().map(judge).collect())
}

impl Judged {
    fn line(&self) -> Value {
        match self {
            Self::Kept => json!({"kept": true, "reason": null, "nearest": null, "score": null}),
            Self::Dropped(found) => json!({
                "kept": false, "reason": found.kind.code(), "nearest": found.nearest, "score": found.score,
            }),
            Self::Unreadable(reason) => {
                json!({"kept": false, "reason": reason, "nearest": null, "score": null})
            }
        }
    }
}

fn tell(records: &Records, by: Compared, judged: &[Judged]) -> Result<(), Failure> {
    const SHOWN: usize = 10;
    let mut dropped = 0;
    for (place, (judged, record)) in judged.iter().zip(&records.records).enumerate() {
        let (Judged::Dropped(found), Ok(example)) = (judged, record) else {
            continue;
        };
        dropped += 1;
        if dropped <= SHOWN {
            output::line(format!(
                "{place}: {} of {}, ROUGE-L {:.3}: {}",
                found.kind.code(),
                found.nearest,
                found.score,
                output::excerpt(&by.text(example))
            ))?;
        }
    }
    if dropped > SHOWN {
        output::line(format!("… and {} more; --json names them", dropped - SHOWN))?;
    }
    let read = records.examples().count();
    output::line(format!(
        "{}: {read} records, {} kept, {dropped} dropped",
        records.name,
        read - dropped
    ))
}

fn write(records: &Records, judged: &[Judged], out: &Path, format: &str) -> Result<(), Failure> {
    let kept = records
        .records
        .iter()
        .zip(judged)
        .filter(|(_, judged)| matches!(judged, Judged::Kept));
    let kept: Vec<Example> = kept
        .filter_map(|(record, _)| record.as_ref().ok().cloned())
        .collect();
    let written = Reader
        .write(format, &kept)
        .map_err(|error| Failure::refused("INVALID_ARGUMENT", error.to_string()))?;
    let faults = written
        .faults
        .iter()
        .map(|fault| (fault.line, fault.found.as_str()));
    super::tell_left_out(format, written.written, written.refused, faults);
    crate::files::write_atomically(out, &written.bytes)
        .map_err(|error| Failure::local(format!("write {}: {error}", out.display())))?;
    output::note(format!(
        "{} records are written to {}",
        written.written,
        out.display()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Body;

    use super::*;
    use crate::cli::dataset::source::SourceKind;

    #[test]
    fn every_record_has_a_line_with_four_fields() {
        let task = |text: &str| Ok(Example::human(Body::instruction(text, "", "x")));
        let fault = LineFault {
            line: 2,
            reason: "empty_field".into(),
            expected: "a".into(),
            found: "b".into(),
        };
        let records = Records {
            name: "x".into(),
            records: vec![
                task("Name a bird of the sea."),
                Err(fault),
                task("name a bird of the sea"),
                task("Name a bird of the lake."),
                task("说"),
            ],
            kind: SourceKind::File,
        };
        let judged = judge(&records, Compared::Question, 0.7, &Interrupt::new());
        let judged = judged
            .map_err(|failure| failure.message().to_string())
            .unwrap();
        let lines: Vec<Value> = judged.iter().map(Judged::line).collect();
        let kept = json!({"kept": true, "reason": null, "nearest": null, "score": null});
        let near = lines[3]["score"].as_f64().unwrap();
        assert!((near - 5.0 / 6.0).abs() < 1e-12, "{near}");
        let expect = [
            kept.clone(),
            json!({"kept": false, "reason": "empty_field", "nearest": null, "score": null}),
            json!({"kept": false, "reason": "exact_duplicate", "nearest": 0, "score": 1.0}),
            json!({"kept": false, "reason": "near_duplicate", "nearest": 0, "score": near}),
            kept,
        ];
        assert_eq!(lines, expect);
    }
}

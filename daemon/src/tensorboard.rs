//! Training's curves as an event file that `tensorboard --logdir <data-dir>/reports` shows; its tags are those of
//! transformers' Trainer.
//!
//! The file is TFRecords (length, masked CRC of it, bytes, masked CRC of them; tensorflow/core/lib/io/record_writer.h) of
//! `Event` messages (tensorflow/core/util/event.proto). It follows from the journal alone, so a run that was killed adds what
//! its file lacks, and no step stands there twice.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use autodidact_domain::EvalLoss;
use autodidact_domain::training::{StepMetrics, TrainingLog};
use prost::Message;

/// The version that every file begins with; later than 2 there is none.
const FILE_VERSION: &str = "brain.Event:2";

/// A curve of training: its tag, and its value at a step.
type Curve = (&'static str, fn(&StepMetrics) -> f64);

const CURVES: [Curve; 6] = [
    ("train/loss", |step| step.progress.loss),
    ("train/learning_rate", |step| step.progress.learning_rate),
    ("train/grad_norm", |step| step.progress.grad_norm),
    ("train/tokens_per_second", |step| {
        step.progress.tokens_per_second
    }),
    ("train/rss_mb", |step| step.rss_mb as f64),
    ("train/peak_rss_mb", |step| step.peak_rss_mb as f64),
];
const EVAL_LOSS: &str = "eval/loss";

/// An entry of the file; of the format's fields those that are written here.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970 (UTC).
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Writes the log's event file in a folder of its own, or adds what is not yet in it: the steps from position `from` on, or
/// with 0 whatever it lacks.
///
/// # Errors
/// Where the folder or the file cannot be written.
pub(crate) fn write(folder: &Path, log: &TrainingLog, from: usize) -> std::io::Result<()> {
    let Some(first) = log.steps.first() else {
        return Ok(());
    };
    std::fs::create_dir_all(folder)?;
    // TensorBoard knows its files by this beginning; the second in the name is the run's own, so that a restart finds it.
    let name = format!("events.out.tfevents.{}.autodidact", first.time_ms / 1000);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join(name))?;
    if from > 0 {
        file.seek(SeekFrom::End(0))?;
        return file.write_all(&records(log, from));
    }
    let records = [version_record(first), records(log, 0)].concat();
    let mut present = Vec::new();
    file.read_to_end(&mut present)?;
    // A record that a kill cut short is written anew; what stands before it stays, since TensorBoard reads on from there.
    let same = present.iter().zip(&records).take_while(|(a, b)| a == b);
    let same = same.count();
    file.set_len(same as u64)?;
    file.seek(SeekFrom::Start(same as u64))?;
    file.write_all(&records[same..])
}

fn version_record(first: &StepMetrics) -> Vec<u8> {
    record(&Event {
        wall_time: seconds(first),
        file_version: Some(FILE_VERSION.to_string()),
        ..Event::default()
    })
}

/// Lays the steps from a position on out, each with the evaluation after it.
fn records(log: &TrainingLog, from: usize) -> Vec<u8> {
    let mut records = Vec::new();
    let mut evaluations = log.evaluations.iter().peekable();
    for step in &log.steps[from.min(log.steps.len())..] {
        let number = step.progress.step;
        let values = CURVES.iter().map(|(tag, value)| scalar(tag, value(step)));
        while evaluations
            .next_if(|evaluation| evaluation.step < number)
            .is_some()
        {}
        let evaluation = evaluations.next_if(|evaluation| evaluation.step == number);
        let evaluation = evaluation.map(|EvalLoss { loss, .. }| scalar(EVAL_LOSS, *loss));
        records.extend(record(&Event {
            wall_time: seconds(step),
            step: number.into(),
            file_version: None,
            summary: Some(Summary {
                values: values.chain(evaluation).collect(),
            }),
        }));
    }
    records
}

fn seconds(step: &StepMetrics) -> f64 {
    step.time_ms as f64 / 1000.0
}

fn scalar(tag: &str, value: f64) -> Value {
    Value {
        tag: tag.to_string(),
        simple_value: Some(value as f32),
    }
}

fn record(event: &Event) -> Vec<u8> {
    let bytes = event.encode_to_vec();
    let length = (bytes.len() as u64).to_le_bytes();
    let checks = [&length[..], &bytes].map(|bytes| masked_crc(bytes).to_le_bytes());
    [&length[..], &checks[0], &bytes, &checks[1]].concat()
}

/// CRC-32C, turned by 15 bits and moved by a constant, as tensorflow/core/lib/hash/crc32c.h has it.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4), reflected, a bit at a time: the records are short.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg())
        })
    });
    !crc
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use autodidact_domain::training::TrainProgress;

    use super::*;

    fn log(steps: u32) -> TrainingLog {
        let step = |step: u32| StepMetrics {
            time_ms: 1_700_000_000_000 + u64::from(step) * 500,
            progress: TrainProgress {
                step,
                total_steps: 8,
                loss: 4.0 / f64::from(step),
                learning_rate: 1e-3,
                grad_norm: 0.5,
                tokens_per_second: 200.0,
            },
            rss_mb: 700,
            peak_rss_mb: 800,
        };
        let evaluations = (1..=steps / 2).map(|i| EvalLoss {
            step: i * 2,
            loss: 3.0 / f64::from(i),
        });
        TrainingLog {
            steps: (1..=steps).map(step).collect(),
            evaluations: evaluations.collect(),
        }
    }

    /// A field of a message by the wire format alone: its number, and the number or the bytes that it holds.
    enum Field<'a> {
        Number(u64),
        Bytes(&'a [u8]),
    }

    fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        }
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let length = match key & 7 {
                0 => {
                    fields.push((key >> 3, Field::Number(varint(&mut bytes))));
                    continue;
                }
                1 => 8,
                2 => varint(&mut bytes) as usize,
                5 => 4,
                kind => panic!("wire type {kind}"),
            };
            fields.push((key >> 3, Field::Bytes(&bytes[..length])));
            bytes = &bytes[length..];
        }
        fields
    }

    /// Reads a file as TensorBoard does: every record's two checks, then the curves by tag.
    fn read(mut bytes: &[u8]) -> BTreeMap<String, Vec<(u64, f32)>> {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        let mut curves: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
        let mut is_first = true;
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(number(&bytes[8..12]), masked_crc(&bytes[..8]));
            let event = &bytes[12..12 + length];
            assert_eq!(number(&bytes[12 + length..16 + length]), masked_crc(event));
            bytes = &bytes[16 + length..];
            let mut step = 0;
            for (field, value) in fields(event) {
                match (field, value) {
                    (1, Field::Bytes(time)) => {
                        let time = f64::from_le_bytes(time.try_into().unwrap());
                        assert!((1.7e9..1.7e9 + 60.0).contains(&time), "{time}");
                    }
                    (2, Field::Number(number)) => step = number,
                    (3, Field::Bytes(version)) => {
                        assert!(is_first && version == b"brain.Event:2");
                    }
                    (5, Field::Bytes(summary)) => {
                        for (_, value) in fields(summary) {
                            let Field::Bytes(value) = value else { panic!() };
                            let (mut tag, mut scalar) = (String::new(), f32::NAN);
                            for (field, value) in fields(value) {
                                let Field::Bytes(value) = value else { panic!() };
                                match field {
                                    1 => tag = String::from_utf8(value.to_vec()).unwrap(),
                                    2 => scalar = f32::from_le_bytes(value.try_into().unwrap()),
                                    other => panic!("field {other}"),
                                }
                            }
                            curves.entry(tag).or_default().push((step, scalar));
                        }
                    }
                    (other, _) => panic!("field {other}"),
                }
            }
            is_first = false;
        }
        curves
    }

    fn file(folder: &Path) -> Vec<u8> {
        let mut entries = std::fs::read_dir(folder).unwrap();
        let path = entries.next().unwrap().unwrap().path();
        assert!(entries.next().is_none(), "one file a run");
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, "events.out.tfevents.1700000000.autodidact");
        std::fs::read(path).unwrap()
    }

    #[test]
    fn checks_are_those_of_the_standard() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn every_curve_can_be_read_back() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &log(4), 0).unwrap();
        let curves = read(&file(folder.path()));
        let tags: Vec<&str> = curves.keys().map(String::as_str).collect();
        let expected = [
            "eval/loss",
            "train/grad_norm",
            "train/learning_rate",
            "train/loss",
            "train/peak_rss_mb",
            "train/rss_mb",
            "train/tokens_per_second",
        ];
        assert_eq!(tags, expected);
        let loss = [(1, 4.0), (2, 2.0), (3, 4.0 / 3.0), (4, 1.0)];
        assert_eq!(curves["train/loss"], loss);
        assert_eq!(curves["eval/loss"], [(2, 3.0), (4, 1.5)]);
        assert_eq!(curves["train/learning_rate"][3], (4, 1e-3));
    }

    #[test]
    fn a_restart_adds_what_is_missing_and_no_step_twice() {
        let straight = tempfile::tempdir().unwrap();
        write(straight.path(), &log(8), 0).unwrap();
        let whole = file(straight.path());
        for cut in [0, 1, 30, whole.len() / 2, whole.len() - 1, whole.len()] {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &log(4), 0).unwrap();
            let first = file(folder.path());
            assert!(first.len() < whole.len() && whole.starts_with(&first));
            write(folder.path(), &log(8), 4).unwrap();
            assert_eq!(file(folder.path()), whole);
            let path = folder
                .path()
                .join("events.out.tfevents.1700000000.autodidact");
            std::fs::write(&path, &whole[..cut]).unwrap();
            write(folder.path(), &log(8), 0).unwrap();
            assert_eq!(file(folder.path()), whole, "cut at {cut}");
        }
        let empty = tempfile::tempdir().unwrap();
        write(&empty.path().join("none"), &TrainingLog::default(), 0).unwrap();
        assert!(!empty.path().join("none").exists());
    }
}

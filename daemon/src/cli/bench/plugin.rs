//! `autodidact bench plugin`: what a record costs that is shown to plugins.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use autodidact_domain::plugin::FilterDecision;
use autodidact_domain::ports::Plugins as _;
use autodidact_domain::random::Random;
use autodidact_domain::{Interrupt, PluginCall, PluginKind, PluginRecord, PluginSummary};
use autodidact_plugin_host::{Limits, PluginHost, builtin_components};
use clap::Args;
use serde_json::{Value, json};

use super::{Failure, Figure, cores, forget_peak_memory};

#[path = "../../../../plugins/length/src/measure.rs"]
#[expect(
    unreachable_pub,
    reason = "there it is a crate of its own, whose tests see it"
)]
mod measure;
/// What the source of the built-in plugin `length` takes of the SDK, and that source, compiled natively.
#[path = "../../../../sdk/rust/src/text.rs"]
#[expect(unreachable_pub, dead_code, reason = "there it is part of a library")]
mod text;

/// The words that records are made of.
const ENGLISH: &str = "write a short note about the river and say why people like to walk there in spring or when it rains";
const CHINESE: &str = "请写一篇短文介绍这条河流并说明人们为什么喜欢在春天或者下雨的时候去那里散步";

/// The bounds of the filter that is measured; about a tenth of the records lie outside.
const BOUNDS: [measure::Bounds; 2] = [
    measure::Bounds { least: 7, most: 24 },
    measure::Bounds { least: 1, most: 60 },
];

/// The built-in filters that a chain is made of, with their configurations.
const CHAIN: [(&str, &str); 5] = [
    ("length", r#"{"instruction": {"least": 2, "most": 60}}"#),
    ("form", "{}"),
    ("repetition", "{}"),
    ("blocked", "{}"),
    ("language", "{}"),
];

#[derive(Args)]
#[command(after_help = "\
Records are drawn, half of them Chinese. The built-in filter length is measured in turn with its own source compiled natively, and
their decisions are held equal; then how long a component takes from the cache of compiled code to its first answer, and a chain of five
built-in filters on one core and on all. A component of yours that is called shout-…, as the examples are, is measured in turn with the
same filter compiled natively.

Examples:
  autodidact bench plugin
  autodidact bench plugin --batch 1,64,1024 --json
  autodidact bench plugin --plugin my-filter.wasm --records 10000")]
pub(in crate::cli) struct PluginArgs {
    /// A component to measure besides; it has to be a filter that takes the configuration {}
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// Records to draw
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    records: u32,
    /// Records in a call
    #[arg(long, value_delimiter = ',', default_value = "64")]
    batch: Vec<usize>,
    /// Runs to take the median of, after one that is not counted
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
}

/// Measures and prints.
pub(super) fn run(args: &PluginArgs, json: bool, interrupt: &Interrupt) -> Result<(), Failure> {
    // What cannot be measured is told before minutes go by.
    let own = args.plugin.as_deref().map(Own::install).transpose()?;
    forget_peak_memory();
    let texts = draw(args.records as usize);
    let records: Vec<PluginRecord<'_>> = texts
        .iter()
        .map(|(language, instruction, output)| PluginRecord {
            instruction,
            output,
            language,
            ..PluginRecord::default()
        })
        .collect();
    let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
    let open = |batch, threads| open(folder.path(), batch, threads);
    let mut digests = Vec::new();
    {
        let host = open(64, 1)?;
        for (name, component) in builtin_components() {
            let installed = host.install(component, true);
            digests.push((*name, installed.map_err(|error| failed(&error))?.digest));
        }
    }
    let digest_of = |name: &str| {
        let found = digests.iter().find(|(known, _)| *known == name);
        found.map(|(_, digest)| *digest).expect("it is built in")
    };
    let figure = |model: &str, compute: &str, batch: usize, threads: usize| Figure {
        work: "plugin",
        unit: "us/record",
        model: model.to_string(),
        compute: compute.to_string(),
        threads,
        batch,
        rates: Vec::new(),
        preflight_mb: None,
    };
    let per_record = |time: Duration| time.as_secs_f64() * 1e6 / records.len() as f64;

    let [instruction, output] = BOUNDS.map(|b| json!({"least": b.least, "most": b.most}));
    let config = json!({"instruction": instruction, "output": output});
    // In turn, so that whatever else the machine does weighs on all of them alike.
    let mut native = figure("length", "native", 1, 1);
    let hosts = args.batch.iter().map(|batch| open(*batch, 1));
    let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
    let batches = args.batch.iter();
    let mut measured: Vec<Figure> = batches
        .map(|batch| figure("length", "component", *batch, 1))
        .collect();
    for run in 0..=args.runs {
        let start = Instant::now();
        let judge = |r: &PluginRecord<'_>| measure::judge(r.instruction, r.output, BOUNDS);
        let expected: Vec<_> = records.iter().map(judge).collect();
        let took = start.elapsed();
        if run > 0 {
            native.rates.push(per_record(took));
        }
        for (host, measured) in hosts.iter().zip(&mut measured) {
            stop_if_told(interrupt)?;
            let start = Instant::now();
            let decisions = host.filter(&PluginCall::plain(digest_of("length"), &config), &records);
            let took = start.elapsed();
            if run > 0 {
                measured.rates.push(per_record(took));
                continue;
            }
            let decisions = decisions.map_err(|error| failed(&error))?;
            let mut decided = decisions.answers.iter().zip(&expected);
            let same = decided.all(|(found, expected)| {
                let found = found.as_ref().ok();
                let reason = found.map(|found| found.drop_reason.as_deref());
                reason == Some(expected.as_ref().map(|expected| expected.reason))
            });
            if !same {
                return Err(Failure::local(
                    "the component decides otherwise than its source compiled natively",
                ));
            }
        }
    }
    for figure in std::iter::once(&native).chain(&measured) {
        figure.print(json)?;
    }

    let mut first = Figure {
        unit: "ms to the first answer",
        ..figure("length", "from the cache", 1, 1)
    };
    for _ in 0..args.runs {
        let host = open(64, 1)?;
        let start = Instant::now();
        let answer = host.filter(
            &PluginCall::plain(digest_of("length"), &config),
            &records[..1],
        );
        answer.map_err(|error| failed(&error))?;
        first.rates.push(start.elapsed().as_secs_f64() * 1e3);
    }
    first.print(json)?;

    let chain = CHAIN.map(|(name, config)| (digest_of(name), read(config)));
    let mut measured = Vec::new();
    for threads in [1, cores()] {
        let figure = figure("a chain of five", "component", 64, threads);
        measured.push((open(64, threads)?, figure));
    }
    for run in 0..=args.runs {
        for (host, measured) in &mut measured {
            stop_if_told(interrupt)?;
            let start = Instant::now();
            for (digest, config) in &chain {
                let answers = host.filter(&PluginCall::plain(*digest, config), &records);
                answers.map_err(|error| failed(&error))?;
            }
            if run > 0 {
                measured.rates.push(per_record(start.elapsed()));
            }
        }
    }
    for (_, figure) in &measured {
        figure.print(json)?;
    }

    match own {
        Some(own) => own.measure(args, &records, interrupt, json),
        None => Ok(()),
    }
}

/// A component of the user's.
struct Own<'a> {
    path: &'a Path,
    /// A folder of its own, so that it may have the name of a built-in one.
    folder: tempfile::TempDir,
    plugin: PluginSummary,
}

impl<'a> Own<'a> {
    fn install(path: &'a Path) -> Result<Self, Failure> {
        let component = std::fs::read(path).map_err(|error| refused(path, &error))?;
        let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
        let installed = open(folder.path(), 64, 1)?.install(&component, false);
        let plugin = installed.map_err(|error| refused(path, &error))?;
        if !plugin.kinds.contains(&PluginKind::Filter) {
            return Err(refused(path, &"it is no filter"));
        }
        Ok(Self {
            path,
            folder,
            plugin,
        })
    }

    fn measure(
        &self,
        args: &PluginArgs,
        records: &[PluginRecord<'_>],
        interrupt: &Interrupt,
        json: bool,
    ) -> Result<(), Failure> {
        let call = PluginCall::plain(self.plugin.digest, &Value::Null);
        let open = |batch| open(self.folder.path(), batch, 1);
        let figure = |compute: &str, batch: usize, unit| Figure {
            work: "plugin",
            unit,
            model: self.plugin.name.to_string(),
            compute: compute.to_string(),
            threads: 1,
            batch,
            rates: Vec::new(),
            preflight_mb: None,
        };
        let mut first = figure("from the cache", 1, "ms to the first answer");
        for _ in 0..args.runs {
            stop_if_told(interrupt)?;
            let host = open(64)?;
            let start = Instant::now();
            let answer = host.filter(&call, &records[..1]);
            answer.map_err(|error| refused(self.path, &error))?;
            first.rates.push(start.elapsed().as_secs_f64() * 1e3);
        }
        first.print(json)?;
        // The examples are one filter in many languages.
        let mut native = self.plugin.name.as_str().starts_with("shout-").then(|| {
            let native = figure("native", 1, "us/record");
            Figure {
                model: "shout".to_string(),
                ..native
            }
        });
        let per_record = |took: Duration| took.as_secs_f64() * 1e6 / records.len() as f64;
        let mut measured = Vec::new();
        for batch in args.batch.iter().copied() {
            measured.push((open(batch)?, figure("component", batch, "us/record")));
        }
        for run in 0..=args.runs {
            let start = Instant::now();
            let expected: Vec<bool> = match native {
                Some(_) => records.iter().map(|r| shouts(r.instruction)).collect(),
                None => Vec::new(),
            };
            let took = start.elapsed();
            if let Some(native) = native.as_mut().filter(|_| run > 0) {
                native.rates.push(per_record(took));
            }
            for (host, measured) in &mut measured {
                stop_if_told(interrupt)?;
                let start = Instant::now();
                let answers = host.filter(&call, records);
                let took = start.elapsed();
                let answers = answers.map_err(|error| refused(self.path, &error))?.answers;
                if run > 0 {
                    measured.rates.push(per_record(took));
                    continue;
                }
                if let Some(Err(error)) = answers.first() {
                    return Err(refused(self.path, error));
                }
                let drops = |answer: &Result<FilterDecision, String>| {
                    answer
                        .as_ref()
                        .is_ok_and(|found| found.drop_reason.is_some())
                };
                if expected.iter().zip(&answers).any(|(e, a)| *e != drops(a)) {
                    let other = "it decides otherwise than the same filter compiled natively";
                    return Err(refused(self.path, &other));
                }
            }
        }
        let measured = measured.iter().map(|(_, figure)| figure);
        native
            .iter()
            .chain(measured)
            .try_for_each(|figure| figure.print(json))
    }
}

/// What the examples `shout` drop: three exclamation marks or more, of either width.
fn shouts(instruction: &str) -> bool {
    instruction.matches(['!', '！']).count() >= 3
}

fn refused(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::local(format!("{}: {error}", path.display()))
}

fn open(folder: &Path, batch_records: usize, threads: usize) -> Result<PluginHost, Failure> {
    let limits = Limits {
        batch_records,
        threads,
        ..Limits::default()
    };
    PluginHost::open(folder, limits).map_err(|error| failed(&error))
}

fn stop_if_told(interrupt: &Interrupt) -> Result<(), Failure> {
    match interrupt.is_raised() {
        true => Err(Failure::interrupted("")),
        false => Ok(()),
    }
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::local(error.to_string())
}

fn read(config: &str) -> Value {
    serde_json::from_str(config).expect("a constant that a test reads")
}

/// Draws records: their language, instruction and answer.
fn draw(count: usize) -> Vec<(&'static str, String, String)> {
    let words: Vec<&str> = ENGLISH.split(' ').collect();
    let characters: Vec<char> = CHINESE.chars().collect();
    let mut random = Random::at(7, &["bench", "plugin"]);
    let record = |i: usize| {
        let (asked, answered) = (5 + random.below(20), 10 + random.below(50));
        let (language, mut instruction, output) = match i % 2 {
            0 => {
                let mut text = |length: usize| {
                    let drawn = (0..length).map(|_| words[random.below(words.len())]);
                    let mut text = drawn.collect::<Vec<_>>().join(" ");
                    text[..1].make_ascii_uppercase();
                    text + "."
                };
                ("en", text(asked), text(answered))
            }
            _ => {
                let mut text = |length: usize| {
                    let drawn = (0..length).map(|_| characters[random.below(characters.len())]);
                    drawn.collect::<String>() + "。"
                };
                ("zh", text(asked), text(answered))
            }
        };
        // One in fifty shouts.
        if i % 100 < 2 {
            instruction.pop();
            instruction.push_str(if language == "en" { "!!!" } else { "！！！" });
        }
        (language, instruction, output)
    };
    (0..count).map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_the_drawn_records_lie_outside_of_the_bounds() {
        let drawn = draw(1000);
        let outside = drawn
            .iter()
            .filter(|(_, instruction, output)| {
                measure::judge(instruction, output, BOUNDS).is_some()
            })
            .count();
        assert!((30..300).contains(&outside), "{outside}");
        assert!(CHAIN.iter().all(|(_, config)| read(config).is_object()));
    }
}

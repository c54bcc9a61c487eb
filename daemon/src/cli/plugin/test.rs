//! `autodidact plugin test`

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use autodidact_client::{Client, PluginTest, v1};
use autodidact_domain::PluginKind;
use autodidact_proto::json as messages;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{capability, read_component, uses_told};
use crate::cli::{Failure, Global, output};

use v1::test_plugin_response::Message;

/// The records that are shown for each verdict where nobody says how many.
const SHOWN: usize = 10;
/// How often a long test says how far it is.
const NEXT_NOTE: Duration = Duration::from_secs(5);
/// The most records of a test, as the daemon has it.
const MAX_RECORDS: i64 = 100_000;
/// The columns that a text takes in the table.
const TEXT_COLUMNS: usize = 60;
/// The columns of an answer that is put beside the one that would take its place.
const ANSWER_COLUMNS: usize = 160;

#[derive(Args)]
pub(crate) struct TestArgs {
    /// A component or core module that is not installed, or an installed plugin's name
    #[arg(value_name = "FILE|NAME")]
    plugin: String,
    /// The records: a dataset's name, or NAME@VERSION
    #[arg(long, value_name = "DATASET")]
    dataset: String,
    /// The most records to ask about
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=MAX_RECORDS))]
    limit: u32,
    /// The plugin's configuration, as a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    plugin_config: String,
    /// As what it is asked, where it is of several kinds
    #[arg(long, value_parser = PossibleValuesParser::from(PluginKind::ALL.map(|(_, name)| name)))]
    kind: Option<String>,
    /// What it may use in this test [default: what it was granted]
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',', value_parser = capability())]
    grant: Vec<String>,
    /// The most tokens of models that it may use
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    max_tokens: Option<u64>,
    /// The model that it asks, where it is granted one, and that answers a template's prompts
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The records shown for each verdict; --json prints all
    #[arg(long, default_value_t = SHOWN)]
    show: usize,
}

/// Asks a plugin about records.
pub(super) async fn run(client: &Client, args: TestArgs, global: &Global) -> Result<(), Failure> {
    let (show, granted) = (args.show, args.grant.clone());
    let mut test = start(client, args).await?;
    let mut verdicts: BTreeMap<String, (u64, Vec<v1::TestedRecord>)> = BTreeMap::new();
    let mut asked = 0;
    let mut clock = tokio::time::interval_at(Instant::now() + NEXT_NOTE, NEXT_NOTE);
    loop {
        let message = tokio::select! {
            message = test.next() => message?,
            _ = clock.tick() => {
                output::note(format!("asked about {asked} so far"));
                continue;
            }
        };
        let Some(message) = message else {
            return Ok(());
        };
        match message {
            Message::Log(line) if global.json => {
                output::json_line(&json!({"log": messages::of("PluginLog", &line)}))?;
            }
            Message::Log(line) => {
                output::note(format!(
                    "{} {}: {}",
                    line.plugin,
                    line.level,
                    output::visible(&line.message)
                ));
            }
            Message::Records(records) => {
                for record in records.records {
                    asked += 1;
                    if global.json {
                        let record = messages::of("TestedRecord", &record);
                        output::json_line(&json!({"record": record}))?;
                        continue;
                    }
                    let (count, shown) = verdicts.entry(record.verdict.clone()).or_default();
                    *count += 1;
                    if shown.len() < show {
                        shown.push(record);
                    }
                }
            }
            Message::Summary(summary) if global.json => {
                note_missing(&summary, &granted);
                let summary = messages::of("TestSummary", &summary);
                output::json_line(&json!({"summary": summary}))?;
            }
            Message::Summary(summary) => {
                tell(&summary, &verdicts)?;
                note_missing(&summary, &granted);
            }
        }
    }
}

/// Says how to grant what the plugin asks for and did not have.
fn note_missing(summary: &v1::TestSummary, granted: &[String]) {
    let plugin = summary.plugin.clone().unwrap_or_default();
    let for_all = plugin.granted.unwrap_or_default().capabilities;
    let granted = match granted.is_empty() {
        true => &for_all[..],
        false => granted,
    };
    let missing = plugin.capabilities.iter().filter(|c| !granted.contains(c));
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    if missing.is_empty() {
        return;
    }
    let (files, grantable): (Vec<&str>, Vec<&str>) = missing
        .iter()
        .partition(|capability| **capability == "data");
    let mut how = Vec::new();
    if !grantable.is_empty() {
        let needs_model = grantable.iter().any(|capability| *capability != "log");
        let model = if needs_model { " --model MODEL" } else { "" };
        let all: Vec<&str> = granted
            .iter()
            .map(String::as_str)
            .chain(grantable)
            .collect();
        how.push(format!("add --grant {}{model}", all.join(",")));
    }
    if !files.is_empty() {
        how.push(format!(
            "install it, `autodidact plugin grant {} data --file NAME=PATH`, and test it by its name",
            plugin.name
        ));
    }
    output::note(format!(
        "{} asks for {}, which it did not have here: {}",
        plugin.name,
        missing.join(", "),
        how.join("; ")
    ));
}

async fn start(client: &Client, args: TestArgs) -> Result<PluginTest, Failure> {
    let (dataset, version) = match args.dataset.rsplit_once('@') {
        Some((name, version)) => {
            let number = version.parse();
            let number = number.map_err(|_| Failure::usage("expected NAME@VERSION"))?;
            (name.to_string(), number)
        }
        None => (args.dataset, 0),
    };
    let config: Value = serde_json::from_str(&args.plugin_config)
        .map_err(|error| Failure::usage(&format!("--plugin-config is not JSON: {error}")))?;
    if !config.is_object() {
        return Err(Failure::usage(&format!(
            "--plugin-config: expected an object such as {{\"least\": 3}}, found {config}"
        )));
    }
    let fields = json!({
        "config": config,
        "kind": args.kind,
        "dataset": dataset,
        "version": version,
        "limit": args.limit,
        "grant": args.grant,
        "max_tokens": args.max_tokens,
        "model": args.model,
    });
    let header: v1::TestPluginHeader = messages::read("TestPluginHeader", &fields)
        .map_err(|misfit| Failure::usage(&format!("a setting of the test: {misfit}")))?;
    // A name has no folder, and what stands in one is a file.
    let is_file = Path::new(&args.plugin).is_file() || args.plugin.ends_with(".wasm");
    Ok(match is_file {
        true => {
            let component = read_component(Path::new(&args.plugin))?;
            client.test_component(component, header).await?
        }
        false => {
            let plugin = args.plugin;
            let header = v1::TestPluginHeader { plugin, ..header };
            client.test_plugin(header).await?
        }
    })
}

fn tell(
    summary: &v1::TestSummary,
    verdicts: &BTreeMap<String, (u64, Vec<v1::TestedRecord>)>,
) -> Result<(), Failure> {
    let row = |record: &v1::TestedRecord| {
        vec![
            record.record.chars().take(12).collect(),
            record.verdict.clone(),
            record
                .score
                .map(|score| format!("{score:.3}"))
                .unwrap_or_default(),
            output::excerpt_of(&record.text, TEXT_COLUMNS),
            output::excerpt_of(&record.note, TEXT_COLUMNS),
        ]
    };
    let shown = || verdicts.values().flat_map(|(_, shown)| shown);
    let headings = ["RECORD", "VERDICT", "SCORE", "TEXT", "NOTE"];
    output::table(&headings, &shown().map(row).collect::<Vec<_>>())?;
    output::line("")?;
    for corrected in shown().filter(|record| record.verdict == "corrected") {
        let record: String = corrected.record.chars().take(12).collect();
        let answer = |text: &str| output::excerpt_of(text, ANSWER_COLUMNS);
        output::line(format!(
            "{record} is corrected\n  - {}\n  + {}\n",
            answer(&corrected.answer),
            answer(&corrected.output)
        ))?;
    }
    let counts = verdicts.iter().map(|(verdict, (count, _))| {
        let share = *count as f64 / summary.records.max(1) as f64 * 100.0;
        vec![verdict.clone(), count.to_string(), format!("{share:.1}%")]
    });
    output::table(
        &["VERDICT", "RECORDS", "SHARE"],
        &counts.collect::<Vec<_>>(),
    )?;
    output::line("")?;
    let plugin = summary.plugin.clone().unwrap_or_default();
    output::facts(&[
        (
            "plugin",
            format!(
                "{} {} ({})",
                plugin.name,
                plugin.version,
                kind_name(summary)
            ),
        ),
        ("records", summary.records.to_string()),
        (
            "time a record",
            format!("{:.2} us", summary.microseconds_per_record),
        ),
        ("peak memory", output::size(summary.peak_memory_bytes)),
        ("used", uses_told(&summary.uses.unwrap_or_default())),
    ])
}

fn kind_name(summary: &v1::TestSummary) -> String {
    let name = summary.kind().as_str_name();
    name.trim_start_matches("PLUGIN_KIND_").to_lowercase()
}

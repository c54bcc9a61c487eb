//! `PluginService/Test`: asks a plugin about a dataset's records; answers go out as they are made.

use std::sync::Arc;

use autodidact_domain::capability::LogLevel;
use autodidact_domain::{
    Capability, DatasetName, Digest, Example, Granted, ModelName, ModelRef, PluginKind,
    PluginSummary, PortError,
};
use autodidact_flow::{LogListener, Trial, TrialSummary, TriedRecord};
use autodidact_proto::{json, v1};
use tonic::Status;
use tracing::Instrument;

use super::generation::Job;
use crate::blocking::blocking;
use crate::context::Context;
use crate::convert;
use crate::status::{OrStatus, bad_field, bad_name};
use crate::stream::{End, Outgoing, Sink, outgoing};

use v1::test_plugin_response::Message;

/// The records that are taken where nobody says how many.
const DEFAULT_RECORDS: u32 = 1000;
/// The most records of a test.
const MAX_RECORDS: u32 = 100_000;
/// The records of a message.
const RECORDS_OF_A_MESSAGE: usize = 256;
/// The longest text that is shown of a record, in characters.
const MAX_SHOWN_CHARS: usize = 400;

/// Begins a test. Dropping the messages stops it.
pub(super) fn start(
    context: &Arc<Context>,
    header: v1::TestPluginHeader,
    component: Vec<u8>,
) -> Result<Outgoing<v1::TestPluginResponse>, Status> {
    let permit = context.job_permit()?;
    let (sink, outgoing) = outgoing(context);
    let context = Arc::clone(context);
    let work = async move {
        let result = test(&context, &sink, header, component).await;
        sink.end(result);
        drop(permit);
    };
    tokio::spawn(work.in_current_span());
    Ok(outgoing)
}

fn message(message: Message) -> v1::TestPluginResponse {
    v1::TestPluginResponse {
        message: Some(message),
    }
}

async fn test(
    context: &Arc<Context>,
    sink: &Sink<v1::TestPluginResponse>,
    header: v1::TestPluginHeader,
    component: Vec<u8>,
) -> Result<(), End> {
    let job = Job::start(context, sink);
    let interrupt = job.interrupt.clone();
    let (told, runtime) = (sink.clone(), tokio::runtime::Handle::current());
    let summary = blocking(context, move |context| {
        let records = read_records(context, &header)?;
        let visit = Visit::of(context, &header, &component)?;
        let log_sink = told.clone();
        let name = visit.plugin.name.to_string();
        let log = move |level: LogLevel, line: &str| {
            // A log is not worth waiting for: what finds no room is lost.
            let _ = log_sink.offer(message(Message::Log(v1::PluginLog {
                plugin: name.clone(),
                level: level.name().to_string(),
                message: line.to_string(),
            })));
        };
        let trial = trial(&visit, &header, Arc::new(log))?;
        let mut tell = |tried: Vec<TriedRecord>| {
            for some in tried.chunks(RECORDS_OF_A_MESSAGE) {
                let records = some.iter().map(tested).collect();
                let records = Message::Records(v1::TestedRecords { records });
                // This thread may wait: only the caller's own test does.
                let sent = runtime.block_on(told.send(message(records), context));
                sent.map_err(|_| PortError::Interrupted)?;
            }
            Ok(())
        };
        let summary = trial.run(&context.ports, &records, &interrupt, &mut tell);
        Ok(self::summary(&visit.plugin, &summary.or_status()?))
    })
    .await?;
    drop(job);
    sink.send(message(Message::Summary(summary)), context).await
}

/// A plugin for the time of a test: one that is not installed leaves with it.
struct Visit<'a> {
    context: &'a Context,
    plugin: PluginSummary,
    leaves: Option<Digest>,
}

impl<'a> Visit<'a> {
    fn of(
        context: &'a Context,
        header: &v1::TestPluginHeader,
        component: &[u8],
    ) -> Result<Self, Status> {
        let plugins = &context.ports.plugins;
        let (plugin, leaves) = match (header.plugin.is_empty(), component.is_empty()) {
            (false, true) => (plugins.get(&header.plugin).or_status()?, None),
            (true, false) => {
                let plugin = plugins.visit(component).or_status()?;
                let digest = plugin.digest;
                (plugin, Some(digest))
            }
            _ => {
                let wrong = "expected the name of an installed plugin, or a component's chunks";
                return Err(bad_field("plugin", wrong));
            }
        };
        Ok(Self {
            context,
            plugin,
            leaves,
        })
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(digest) = self.leaves {
            self.context.ports.plugins.leave(digest);
        }
    }
}

fn trial(
    visit: &Visit<'_>,
    header: &v1::TestPluginHeader,
    log: LogListener,
) -> Result<Trial, Status> {
    let plugin = visit.plugin.clone();
    let mut capabilities = capabilities("grant", &header.grant)?;
    let granted_for_all = &plugin.granted;
    if capabilities.is_empty() {
        capabilities.clone_from(&granted_for_all.capabilities);
    }
    let granted = Granted {
        capabilities,
        max_tokens: header.max_tokens.or(granted_for_all.max_tokens),
        files: granted_for_all.files.clone(),
    };
    let model = match header.model.as_str() {
        "" => None,
        name => Some(ModelRef {
            model: ModelName::new(name).map_err(bad_name("model"))?,
            adapter: None,
        }),
    };
    let config = match &header.config {
        Some(_) => json::of("TestPluginHeader", header)["config"].clone(),
        None => serde_json::json!({}),
    };
    Ok(Trial {
        kind: kind(header.kind()),
        plugin,
        config,
        granted,
        model,
        log,
    })
}

/// Reads the names of capabilities.
pub(super) fn capabilities(field: &str, names: &[String]) -> Result<Vec<Capability>, Status> {
    let read = |name: &String| {
        let found = Capability::ALL.iter().find(|(_, known)| known == name);
        found.map(|(capability, _)| *capability).ok_or_else(|| {
            let known = Capability::ALL.map(|(_, name)| name).join(", ");
            bad_field(field, format!("expected some of {known}, found {name:?}"))
        })
    };
    names.iter().map(read).collect()
}

fn kind(kind: v1::PluginKind) -> Option<PluginKind> {
    match kind {
        v1::PluginKind::Unspecified => None,
        v1::PluginKind::Filter => Some(PluginKind::Filter),
        v1::PluginKind::Template => Some(PluginKind::Template),
        v1::PluginKind::Validator => Some(PluginKind::Validator),
        v1::PluginKind::Scorer => Some(PluginKind::Scorer),
    }
}

fn wire_kind(kind: PluginKind) -> v1::PluginKind {
    match kind {
        PluginKind::Filter => v1::PluginKind::Filter,
        PluginKind::Template => v1::PluginKind::Template,
        PluginKind::Validator => v1::PluginKind::Validator,
        PluginKind::Scorer => v1::PluginKind::Scorer,
    }
}

fn read_records(context: &Context, header: &v1::TestPluginHeader) -> Result<Vec<Example>, Status> {
    let name = DatasetName::new(&header.dataset).map_err(bad_name("dataset"))?;
    let version = (header.version > 0).then_some(header.version);
    let datasets = &context.ports.datasets;
    let dataset = datasets.get(&name, version).or_status()?;
    let limit = match header.limit {
        0 => DEFAULT_RECORDS,
        limit => limit.min(MAX_RECORDS),
    };
    let records = datasets.records(&name, dataset.version, 0, limit as usize);
    let records = records.or_status()?;
    match records.is_empty() {
        true => Err(bad_field("dataset", "it has no records")),
        false => Ok(records),
    }
}

fn tested(tried: &TriedRecord) -> v1::TestedRecord {
    let shown = |text: &str| text.chars().take(MAX_SHOWN_CHARS).collect::<String>();
    v1::TestedRecord {
        record: tried.record.clone(),
        text: shown(&tried.text),
        verdict: tried.verdict.clone(),
        note: tried.note.clone().unwrap_or_default(),
        score: tried.score,
        output: tried.output.as_deref().map(shown).unwrap_or_default(),
        answer: tried.answer.as_deref().map(shown).unwrap_or_default(),
    }
}

fn summary(plugin: &PluginSummary, summary: &TrialSummary) -> v1::TestSummary {
    v1::TestSummary {
        plugin: Some(convert::plugin(plugin)),
        kind: wire_kind(summary.kind).into(),
        records: summary.records,
        microseconds_per_record: summary.seconds * 1e6 / summary.records.max(1) as f64,
        peak_memory_bytes: summary.peak_memory_bytes,
        uses: Some(convert::plugin_uses(&summary.uses)),
    }
}

//! Plugins of each kind, by name: `form`, `mender`, `worth`, `words`, `both`, which is a filter and a scorer, `judge`, a scorer that
//! asks the model, and `gauge`, one that has it embed or score.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use autodidact_domain::capability::{GrantChange, LogLevel, ServiceError};
use autodidact_domain::plugin::{
    FilterDecision, PluginScore, PluginStanding, RenderedPrompt, TemplateCompletion, TemplateItem,
    TemplateRequest, Validation,
};
use autodidact_domain::ports::Plugins;
use autodidact_domain::{
    Capability, Digest, GenerateRequest, Language, PluginCall, PluginKind, PluginName,
    PluginRecord, PluginRun, PluginSummary, PortError, PortResult, Prompt, Sampling, ScoreRequest,
};
use serde_json::Value;

use super::{Fake, missing};

/// How plugins stand, and which have a newer version.
#[derive(Default, Clone)]
pub(crate) struct Standing {
    pub(crate) quarantined: BTreeMap<Digest, String>,
    excused: BTreeSet<Digest>,
    pub(crate) newer: BTreeSet<String>,
    /// After so many calls of one, a filter or a template that writes, it has a newer version; `0.3.0` takes no configuration.
    pub(crate) newer_after: Vec<(&'static str, u64, &'static str)>,
    calls: BTreeMap<Digest, u64>,
    /// The templates that wrote and read, a call each.
    pub(crate) templates: Vec<Digest>,
}

/// What the host says of records after too many failures.
const NOT_ASKED: &str = "it was not asked any more";

const PLUGINS: [(&str, &[PluginKind]); 7] = [
    ("form", &[PluginKind::Filter]),
    ("mender", &[PluginKind::Validator]),
    ("worth", &[PluginKind::Scorer]),
    ("words", &[PluginKind::Template]),
    ("both", &[PluginKind::Filter, PluginKind::Scorer]),
    ("judge", &[PluginKind::Scorer]),
    ("gauge", &[PluginKind::Scorer]),
];

/// The first version has the digest of its name.
pub(crate) fn digest_of(name: &str, version: &str) -> Digest {
    match version {
        "0.1.0" => Digest::of(name.as_bytes()),
        _ => Digest::of(format!("{name} {version}").as_bytes()),
    }
}

impl Plugins for Fake {
    fn install(&self, _: &[u8], _: bool) -> PortResult<PluginSummary> {
        Plugins::get(self, "form")
    }

    fn install_granted(
        &self,
        _: &[u8],
        _: &[Capability],
    ) -> PortResult<(PluginSummary, Option<PluginSummary>)> {
        Ok((Plugins::get(self, "form")?, None))
    }

    fn list(&self) -> PortResult<Vec<PluginSummary>> {
        let names = PLUGINS.iter();
        names.map(|(name, _)| Plugins::get(self, name)).collect()
    }

    fn get(&self, name: &str) -> PortResult<PluginSummary> {
        let known = PLUGINS.iter().find(|(known, _)| *known == name);
        let (_, kinds) = known.ok_or_else(|| missing("plugin", name))?;
        let version = {
            let plugins = &self.0.read().plugins;
            let versions = ["0.1.0", "0.2.0", "0.3.0"].map(|version| digest_of(name, version));
            let asked = versions
                .iter()
                .filter_map(|digest| plugins.calls.get(digest));
            let asked: u64 = asked.sum();
            let newer = plugins.newer_after.iter().rev();
            let mut newer = newer.filter(|(late, calls, _)| *late == name && asked >= *calls);
            match (newer.next(), plugins.newer.contains(name)) {
                (Some((.., version)), _) => *version,
                (None, true) => "0.2.0",
                (None, false) => "0.1.0",
            }
        };
        let asks = [Capability::Log, Capability::Generate];
        Ok(PluginSummary {
            name: PluginName::new(name).expect("a plain name"),
            version: version.into(),
            kinds: kinds.to_vec(),
            capabilities: match name {
                "judge" => asks.to_vec(),
                "gauge" => vec![Capability::Embed, Capability::Score],
                _ => Vec::new(),
            },
            granted: Default::default(),
            digest: digest_of(name, version),
            sha256: String::new(),
            config_schema: String::new(),
            size: 1,
            builtin: true,
            enabled: true,
            quarantine: {
                let plugins = &self.0.read().plugins;
                plugins
                    .quarantined
                    .get(&Digest::of(name.as_bytes()))
                    .cloned()
            },
        })
    }

    fn set_enabled(&self, name: &str, _: bool) -> PortResult<PluginSummary> {
        let summary = Plugins::get(self, name)?;
        let plugins = &mut self.0.read().plugins;
        if plugins.quarantined.remove(&summary.digest).is_some() {
            plugins.excused.insert(summary.digest);
        }
        Ok(summary)
    }

    fn visit(&self, _: &[u8]) -> PortResult<PluginSummary> {
        Plugins::get(self, "form")
    }

    fn leave(&self, _: Digest) {}

    fn grant(&self, name: &str, _: &GrantChange) -> PortResult<PluginSummary> {
        Plugins::get(self, name)
    }

    fn quarantine(&self, digest: Digest, reason: &str) -> PortResult<()> {
        let plugins = &mut self.0.read().plugins;
        plugins.quarantined.insert(digest, reason.to_string());
        Ok(())
    }

    fn standing(&self, digest: Digest) -> PortResult<PluginStanding> {
        let plugins = &self.0.read().plugins;
        Ok(match plugins.quarantined.get(&digest) {
            Some(reason) => PluginStanding::Quarantined(reason.clone()),
            None if plugins.excused.contains(&digest) => PluginStanding::Excused,
            None => PluginStanding::Trusted,
        })
    }

    fn remove(&self, _: &str) -> PortResult<()> {
        Ok(())
    }

    fn check_config(&self, digest: Digest, _: &Value) -> PortResult<()> {
        let refuses = PLUGINS.map(|(name, _)| digest_of(name, "0.3.0"));
        match refuses.contains(&digest) {
            true => Err(PortError::Invalid("it takes none".to_string())),
            false => Ok(()),
        }
    }

    /// Drops what mentions a violin, keeps what mentions a wall with a note, and fails on what mentions a quarry; after too many failures
    /// it is not asked.
    fn filter(
        &self,
        call: &PluginCall<'_>,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<FilterDecision>> {
        *self.0.read().plugins.calls.entry(call.digest).or_default() += 1;
        let mut failures = 0;
        let decide = |record: &PluginRecord<'_>| {
            if failures >= call.max_failures {
                return Err(NOT_ASKED.to_string());
            }
            if record.instruction.to_lowercase().contains("quarry") {
                failures += 1;
                return Err("trapped".to_string());
            }
            let has_violin = record.instruction.contains("violin");
            let has_wall = record.instruction.contains("wall");
            Ok(FilterDecision {
                drop_reason: has_violin.then(|| "violin".to_string()),
                note: has_wall.then(|| "walls are welcome".to_string()),
                score: has_wall.then_some(0.25),
            })
        };
        let answers = records.iter().map(decide).collect();
        Ok(PluginRun {
            gave_up: failures >= call.max_failures,
            ..PluginRun::of(answers)
        })
    }

    /// Writes `colour` for `color` in answers, drops those that shout, and fails on what mentions a quarry.
    fn validate(
        &self,
        _: &PluginCall<'_>,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<Validation>> {
        let validate = |record: &PluginRecord<'_>| match record.output {
            _ if record.instruction.contains("quarry") => Err("trapped".to_string()),
            output if output.contains("color") => Ok(Validation::Correct {
                output: output.replace("color", "colour"),
                note: Some("color is written colour".to_string()),
            }),
            output if output.contains('!') => Ok(Validation::Drop {
                reason: "shouts".to_string(),
                note: Some(format!("{} of {}", record.task_type, record.topic)),
                score: None,
            }),
            _ => Ok(Validation::Accept),
        };
        Ok(PluginRun::of(records.iter().map(validate).collect()))
    }

    /// Counts an instruction's words; of one that mentions a lantern it cannot tell. `judge` and `gauge` ask the model instead.
    fn score(
        &self,
        call: &PluginCall<'_>,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<PluginScore>> {
        if call.digest == Digest::of(b"judge") {
            return judge(call, records);
        }
        if call.digest == Digest::of(b"gauge") {
            return gauge(call, records);
        }
        let score = |record: &PluginRecord<'_>| {
            let words = record.instruction.split_whitespace().count();
            let dark = record.instruction.contains("lantern");
            Ok(PluginScore {
                value: (!dark).then_some(words as f64),
                note: None,
            })
        };
        Ok(PluginRun::of(records.iter().map(score).collect()))
    }

    /// Asks for tasks in words of its own; has none in Chinese.
    fn render(
        &self,
        call: &PluginCall<'_>,
        requests: &[TemplateRequest<'_>],
    ) -> PortResult<PluginRun<RenderedPrompt>> {
        {
            let plugins = &mut self.0.read().plugins;
            *plugins.calls.entry(call.digest).or_default() += 1;
            plugins.templates.push(call.digest);
        }
        let render = |request: &TemplateRequest<'_>| {
            if request.language == Language::Zh {
                return Err("no words for zh".to_string());
            }
            if call.config["word"] == "Sometimes." && request.seed.is_multiple_of(3) {
                return Ok(RenderedPrompt {
                    prompt: Prompt::Text(super::REFUSED.to_string()),
                    stop: Vec::new(),
                });
            }
            let shown = request.examples.iter();
            let shown: Vec<_> = shown.map(|e| e.body.instruction_text()).collect();
            let kind = request.task_type.map_or("any", |kind| kind.name());
            Ok(RenderedPrompt {
                prompt: Prompt::Text(format!(
                    "{} Like {}: {} tasks of kind {kind}",
                    call.config["word"].as_str().unwrap_or("Please."),
                    shown.join("|"),
                    request.count
                )),
                stop: vec!["END".to_string()],
            })
        };
        Ok(PluginRun::of(requests.iter().map(render).collect()))
    }

    /// Reads tasks between strokes; fails on what mentions a quarry.
    fn parse(
        &self,
        call: &PluginCall<'_>,
        completions: &[TemplateCompletion<'_>],
    ) -> PortResult<PluginRun<Vec<TemplateItem>>> {
        self.0.read().plugins.templates.push(call.digest);
        let parse = |completion: &TemplateCompletion<'_>| {
            if completion.text.contains("quarry") {
                return Err("trapped".to_string());
            }
            let items = completion.text.split('|').map(str::trim);
            let items = items.filter(|item| !item.is_empty());
            let item = |item: &str| TemplateItem {
                instruction: item.to_string(),
                task_type: None,
                topic: item.starts_with("Sing").then(|| "music".to_string()),
            };
            Ok(items.map(item).collect())
        };
        Ok(PluginRun::of(completions.iter().map(parse).collect()))
    }
}

/// Asks the model about each record by itself, and writes what it says to the log; what the budget has no tokens for fails.
fn judge(
    call: &PluginCall<'_>,
    records: &[PluginRecord<'_>],
) -> PortResult<PluginRun<PluginScore>> {
    let services = call.services.as_ref();
    let services = services.filter(|_| call.granted.has(Capability::Generate));
    let mut answers = Vec::new();
    for record in records {
        let Some(services) = services else {
            answers.push(Err("generate is not granted".to_string()));
            continue;
        };
        let prompt = Prompt::Text(format!("Judge: {}", record.instruction));
        let sampling = Sampling {
            max_tokens: 4,
            ..Sampling::default()
        };
        let requests = vec![GenerateRequest::new(prompt, sampling)];
        answers.push(match services.generate(requests, Duration::from_secs(60)) {
            Ok(said) => {
                services.log(LogLevel::Info, &said[0].text);
                Ok(PluginScore {
                    value: Some(said[0].text.len() as f64),
                    note: None,
                })
            }
            Err(ServiceError::Refused(text)) => Err(text),
            Err(ServiceError::TooLong) => Err("waited too long".to_string()),
            Err(ServiceError::Port(error)) => return Err(error),
        });
    }
    Ok(PluginRun::of(answers))
}

/// Has each record's instruction embedded, or scored where its configuration says so; what the budget has no tokens for fails.
fn gauge(
    call: &PluginCall<'_>,
    records: &[PluginRecord<'_>],
) -> PortResult<PluginRun<PluginScore>> {
    let services = call.services.as_ref().expect("it asks for something");
    let within = Duration::from_secs(60);
    let mut answers = Vec::new();
    for record in records {
        let text = record.instruction.to_string();
        let said = match call.config["score"] == true {
            false => services
                .embed(vec![text], within)
                .map(|vectors| f64::from(vectors[0][0])),
            true => {
                let asked = ScoreRequest {
                    prompt: Prompt::Text("How likely?".to_string()),
                    continuation: text,
                };
                let scored = services.score(vec![asked], within);
                scored.map(|losses| losses[0].negative_log_likelihood)
            }
        };
        answers.push(match said {
            Ok(value) => Ok(PluginScore {
                value: Some(value),
                note: None,
            }),
            Err(ServiceError::Refused(text)) => Err(text),
            Err(ServiceError::TooLong) => Err("waited too long".to_string()),
            Err(ServiceError::Port(error)) => return Err(error),
        });
    }
    Ok(PluginRun::of(answers))
}

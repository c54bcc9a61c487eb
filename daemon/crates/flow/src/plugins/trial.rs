//! Asks a plugin about records to see what it says: nothing is kept.

use std::sync::Arc;

use autodidact_domain::capability::PluginServices;
use autodidact_domain::plugin::{FilterDecision, PluginScore, TemplateRequest, Validation};
use autodidact_domain::ports::Ports;
use autodidact_domain::random::derive_seed;
use autodidact_domain::{
    Capability, Example, Granted, Interrupt, Language, ModelRef, NoAccount, PluginCall, PluginKind,
    PluginRecord, PluginRun, PluginSummary, PluginUses, PortError, PortResult, Prompt,
};
use serde_json::Value;

use super::PLUGIN_ERROR;
use super::services::{Accounts, LogListener, Served, Services};

/// The records that a plugin is asked about at once: enough for several threads.
const BATCH: usize = 1024;
/// The same where it waits for a model, so that answers come as they are made.
const MODEL_BATCH: usize = 64;
/// The examples that a template is given to show.
const SHOWN: usize = 3;
/// The instructions that a template is asked for.
const ASKED: u32 = 8;

/// A plugin, and with what it is tried.
pub struct Trial {
    /// The plugin, installed or visiting.
    pub plugin: PluginSummary,
    /// As what it is asked; none takes the first kind that it is.
    pub kind: Option<PluginKind>,
    /// Its configuration, a JSON object.
    pub config: Value,
    /// What it may use.
    pub granted: Granted,
    /// The model that it asks.
    pub model: Option<ModelRef>,
    /// What hears the lines of its log.
    pub log: LogListener,
}

/// What a plugin said of a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TriedRecord {
    /// The record's id; of a template the number of the request.
    pub record: String,
    /// The instruction, or the prompt that a template wrote.
    pub text: String,
    /// `kept`, `corrected`, `scored`, `rendered`, `plugin_error`, or its reason for a drop.
    pub verdict: String,
    /// What that rests on, or why it failed.
    pub note: Option<String>,
    /// The number that it gave.
    pub score: Option<f64>,
    /// The answer that it would put in the place of the record's.
    pub output: Option<String>,
}

/// What a trial was and cost.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialSummary {
    /// What it was asked as.
    pub kind: PluginKind,
    /// How many records it was asked about.
    pub records: u64,
    /// The time in the plugin, in seconds, without what it waited for models.
    pub seconds: f64,
    /// The most memory that one of its instances had, in bytes.
    pub peak_memory_bytes: u64,
    /// What it used of what it was granted.
    pub uses: PluginUses,
}

impl Trial {
    /// Asks about records; `tell` hears what it said of some of them at a time.
    ///
    /// # Errors
    /// [`PortError::Invalid`] for a kind that it is not, a configuration that it refuses or a grant that it does not ask for; a
    /// port's failure, or the listener's.
    pub fn run(
        &self,
        ports: &Ports,
        records: &[Example],
        interrupt: &Interrupt,
        tell: &mut dyn FnMut(Vec<TriedRecord>) -> PortResult<()>,
    ) -> PortResult<TrialSummary> {
        let kind = self.kind()?;
        self.check_grant()?;
        ports
            .plugins
            .check_config(self.plugin.digest, &self.config)?;
        let accounts = Arc::new(Accounts::default());
        let call = self.call(ports, &accounts, interrupt);
        let mut summary = TrialSummary {
            kind,
            records: 0,
            seconds: 0.0,
            peak_memory_bytes: 0,
            uses: PluginUses::default(),
        };
        let at_once = match (kind, self.granted.has_model()) {
            (PluginKind::Template, _) => SHOWN * MODEL_BATCH,
            (_, true) => MODEL_BATCH,
            (_, false) => BATCH,
        };
        for (i, batch) in records.chunks(at_once).enumerate() {
            if interrupt.is_raised() {
                return Err(PortError::Interrupted);
            }
            let said = match kind {
                PluginKind::Template => render(ports, &call, batch, i)?,
                kind => judge(ports, &call, kind, batch)?,
            };
            summary.records += said.answers.len() as u64;
            summary.seconds += said.seconds;
            summary.peak_memory_bytes = summary.peak_memory_bytes.max(said.peak_memory_bytes);
            let answers = said.answers.into_iter();
            tell(
                answers
                    .map(|said| said.expect("failures are told as records"))
                    .collect(),
            )?;
        }
        summary.uses = accounts.all_of(self.plugin.name.as_str());
        Ok(summary)
    }

    fn kind(&self) -> PortResult<PluginKind> {
        let (name, kinds) = (&self.plugin.name, &self.plugin.kinds);
        let kind = self.kind.or(kinds.first().copied());
        let kind = kind.filter(|kind| kinds.contains(kind));
        kind.ok_or_else(|| {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            {
                let wanted = self
                    .kind
                    .map_or(String::new(), |kind| format!(", and no {kind}"));
                PortError::Invalid(format!(
                    "plugin {name} is a {}{wanted}",
                    kinds.join(" and a ")
                ))
            }
        })
    }

    fn check_grant(&self) -> PortResult<()> {
        let (name, asked) = (&self.plugin.name, &self.plugin.capabilities);
        if let Some(not_asked) = self
            .granted
            .capabilities
            .iter()
            .find(|c| !asked.contains(c))
        {
            let message = format!("plugin {name} does not ask for {not_asked}");
            return Err(PortError::Invalid(message));
        }
        if self.granted.has(Capability::Data) && self.granted.files.is_empty() {
            return Err(PortError::Invalid(format!(
                "plugin {name} has no file to read: install it and grant it some first"
            )));
        }
        match self.granted.has_model() && self.model.is_none() {
            true => Err(PortError::Invalid(format!(
                "plugin {name} is granted a model: name one (--model)"
            ))),
            false => Ok(()),
        }
    }

    fn call(
        &self,
        ports: &Ports,
        accounts: &Arc<Accounts>,
        interrupt: &Interrupt,
    ) -> PluginCall<'_> {
        let services = Services::new(
            ports,
            Served {
                plugin: self.plugin.name.to_string(),
                granted: &self.granted,
                model: self.model.clone(),
                language: Language::En,
                interrupt,
                account: Arc::new(NoAccount),
                accounts,
                log: Arc::clone(&self.log),
            },
        );
        PluginCall {
            digest: self.plugin.digest,
            config: &self.config,
            granted: &self.granted,
            services: Some(Arc::new(services) as Arc<dyn PluginServices>),
            max_failures: usize::MAX,
            interrupt: Some(interrupt.clone()),
        }
    }
}

fn judge(
    ports: &Ports,
    call: &PluginCall<'_>,
    kind: PluginKind,
    examples: &[Example],
) -> PortResult<PluginRun<TriedRecord>> {
    let texts: Vec<_> = examples.iter().map(Texts::of).collect();
    let records: Vec<PluginRecord<'_>> = texts.iter().map(Texts::record).collect();
    let plugins = &ports.plugins;
    let mut tried = examples
        .iter()
        .zip(&texts)
        .map(|(example, texts)| TriedRecord {
            record: example.id.to_string(),
            text: texts.instruction.clone(),
            ..TriedRecord::default()
        });
    let mut next = || tried.next().expect("one for each record");
    Ok(match kind {
        PluginKind::Validator => plugins
            .validate(call, &records)?
            .map(|said| Ok(next().told(said, validated))),
        PluginKind::Scorer => plugins
            .score(call, &records)?
            .map(|said| Ok(next().told(said, scored))),
        _ => plugins
            .filter(call, &records)?
            .map(|said| Ok(next().told(said, decided))),
    })
}

impl TriedRecord {
    fn told<T>(self, said: Result<T, String>, tell: fn(Self, T) -> Self) -> Self {
        match said {
            Ok(said) => tell(self, said),
            Err(error) => Self {
                verdict: PLUGIN_ERROR.to_string(),
                note: Some(error),
                ..self
            },
        }
    }
}

fn decided(record: TriedRecord, decision: FilterDecision) -> TriedRecord {
    TriedRecord {
        verdict: decision.drop_reason.unwrap_or_else(|| "kept".to_string()),
        note: decision.note,
        score: decision.score,
        ..record
    }
}

fn validated(record: TriedRecord, validation: Validation) -> TriedRecord {
    match validation {
        Validation::Accept => TriedRecord {
            verdict: "kept".to_string(),
            ..record
        },
        Validation::Correct { output, note } => TriedRecord {
            verdict: "corrected".to_string(),
            note,
            output: Some(output),
            ..record
        },
        Validation::Drop {
            reason,
            note,
            score,
        } => TriedRecord {
            verdict: reason,
            note,
            score,
            ..record
        },
    }
}

fn scored(record: TriedRecord, score: PluginScore) -> TriedRecord {
    TriedRecord {
        verdict: match score.value {
            Some(_) => "scored".to_string(),
            None => "no_score".to_string(),
        },
        note: score.note,
        score: score.value,
        ..record
    }
}

/// Has a template write a prompt of every few examples, in the language of the first of them.
fn render(
    ports: &Ports,
    call: &PluginCall<'_>,
    examples: &[Example],
    batch: usize,
) -> PortResult<PluginRun<TriedRecord>> {
    let shown: Vec<Vec<&Example>> = examples.chunks(SHOWN).map(|c| c.iter().collect()).collect();
    let requests = shown.iter().enumerate().map(|(i, shown)| TemplateRequest {
        language: shown[0].language.unwrap_or(Language::En),
        examples: shown,
        task_type: shown[0].task_type,
        topic: shown[0].topic.as_deref(),
        count: ASKED,
        seed: derive_seed(batch as u64, &[&i.to_string()]),
    });
    let rendered = ports.plugins.render(call, &requests.collect::<Vec<_>>())?;
    let mut number = batch * MODEL_BATCH;
    Ok(rendered.map(|said| {
        number += 1;
        let record = TriedRecord {
            record: number.to_string(),
            ..TriedRecord::default()
        };
        Ok(record.told(said, |record, rendered| TriedRecord {
            text: match rendered.prompt {
                Prompt::Text(text) => text,
                Prompt::Chat(turns) => {
                    let turns: Vec<String> = turns.into_iter().map(|turn| turn.content).collect();
                    turns.join("\n\n")
                }
            },
            verdict: "rendered".to_string(),
            ..record
        }))
    }))
}

/// What a plugin sees of an example.
struct Texts<'a> {
    example: &'a Example,
    instruction: String,
    output: String,
}

impl<'a> Texts<'a> {
    fn of(example: &'a Example) -> Self {
        Self {
            example,
            instruction: example.body.instruction_text().into_owned(),
            output: example.body.output_text().into_owned(),
        }
    }

    fn record(&self) -> PluginRecord<'_> {
        let example = self.example;
        PluginRecord {
            instruction: &self.instruction,
            input: example.body.input_text(),
            output: &self.output,
            language: example.language.map_or("", Language::code),
            task_type: example.task_type.map_or("", |task_type| task_type.name()),
            topic: example.topic.as_deref().unwrap_or_default(),
            labels: &[],
        }
    }
}

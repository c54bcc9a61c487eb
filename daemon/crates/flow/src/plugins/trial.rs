//! Asks a plugin about records to see what it says: nothing is kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use autodidact_domain::capability::{PluginServices, check_asked};
use autodidact_domain::plugin::{
    FilterDecision, PluginScore, RenderedPrompt, TemplateCompletion, TemplateItem, TemplateRequest,
    Validation,
};
use autodidact_domain::ports::Ports;
use autodidact_domain::random::derive_seed;
use autodidact_domain::{
    Capability, Completion, Example, GenerateRequest, Granted, Interrupt, Language, ModelRef,
    NoAccount, PluginCall, PluginKind, PluginRecord, PluginRun, PluginSummary, PluginUses,
    PortError, PortResult, Prompt, Sampling,
};
use serde_json::Value;

use super::PLUGIN_ERROR;
use super::services::{Accounts, LogListener, Served, Services};

/// The records that a plugin is asked about first.
const FIRST_BATCH: usize = 16;
/// The most at once: enough for several threads.
const MAX_BATCH: usize = 1024;
/// The same where it waits for a model.
const MAX_MODEL_BATCH: usize = 64;
/// The time that a batch is to take about, so that answers come as they are made.
const BATCH_TIME: Duration = Duration::from_millis(500);
/// The examples that a template is given to show.
const SHOWN: usize = 3;
/// The instructions that a template is asked for.
const ASKED: u32 = 8;
/// The most tokens that a model answers a template's prompt with.
const MAX_TOKENS: u32 = 256;

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
    /// The model that it asks, and that answers a template's prompts.
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
    /// `kept`, `corrected`, `scored`, `rendered`, `parsed`, `plugin_error`, or its reason for a drop.
    pub verdict: String,
    /// What that rests on, or why it failed.
    pub note: Option<String>,
    /// The number that it gave.
    pub score: Option<f64>,
    /// The answer that it would put in the place of the record's.
    pub output: Option<String>,
    /// The record's own answer, where it would put another in its place.
    pub answer: Option<String>,
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
        let most = match (kind, self.granted.has_model()) {
            (PluginKind::Template, _) => SHOWN * MAX_MODEL_BATCH,
            (_, true) => MAX_MODEL_BATCH,
            (_, false) => MAX_BATCH,
        };
        let mut at_once = match kind {
            PluginKind::Template => SHOWN,
            _ => FIRST_BATCH,
        };
        let mut left = records;
        while !left.is_empty() {
            if interrupt.is_raised() {
                return Err(PortError::Interrupted);
            }
            let batch;
            (batch, left) = left.split_at(at_once.min(left.len()));
            let started = Instant::now();
            let said = match kind {
                PluginKind::Template => self.write(ports, &call, batch, summary.records)?,
                kind => judge(ports, &call, kind, batch)?,
            };
            match started.elapsed() < BATCH_TIME {
                true => at_once = (2 * at_once).min(most),
                false => at_once = (at_once / 2).max(SHOWN),
            }
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

    /// Has a template write a prompt of every few examples, in the language of the first of them, and read what the model says to it
    /// where there is one.
    fn write(
        &self,
        ports: &Ports,
        call: &PluginCall<'_>,
        examples: &[Example],
        before: u64,
    ) -> PortResult<PluginRun<TriedRecord>> {
        let shown: Vec<Vec<&Example>> =
            examples.chunks(SHOWN).map(|c| c.iter().collect()).collect();
        let requests = (before..).zip(&shown).map(|(i, shown)| TemplateRequest {
            language: shown[0].language.unwrap_or(Language::En),
            examples: shown,
            task_type: shown[0].task_type,
            topic: shown[0].topic.as_deref(),
            count: ASKED,
            seed: derive_seed(0, &[&i.to_string()]),
        });
        let requests: Vec<_> = requests.collect();
        let rendered = ports.plugins.render(call, &requests)?;
        let said = match &self.model {
            Some(model) => say(ports, call, model, &requests, &rendered.answers)?,
            None => Vec::new(),
        };
        let mut numbers = before + 1..;
        let mut rendered = rendered.map(|said| {
            let record = TriedRecord {
                record: numbers.next().unwrap_or_default().to_string(),
                ..TriedRecord::default()
            };
            Ok(record.told(said, |record, rendered| TriedRecord {
                text: text_of(rendered.prompt),
                verdict: "rendered".to_string(),
                ..record
            }))
        });
        let answered = said
            .iter()
            .filter_map(|(i, said)| Some((*i, said.as_ref().ok()?)));
        let completions = answered.map(|(i, said)| TemplateCompletion {
            request: requests[i].clone(),
            text: &said.text,
            finish: said.finish,
        });
        let completions: Vec<_> = completions.collect();
        let parsed = match completions.is_empty() {
            true => PluginRun::of(Vec::new()),
            false => ports.plugins.parse(call, &completions)?,
        };
        rendered.seconds += parsed.seconds;
        rendered.peak_memory_bytes = rendered.peak_memory_bytes.max(parsed.peak_memory_bytes);
        let mut parsed = parsed.answers.into_iter();
        for (i, said) in &said {
            let items = match said {
                Ok(_) => parsed.next().expect("one for each completion"),
                Err(refused) => Err(refused.clone()),
            };
            if let Ok(record) = &mut rendered.answers[*i] {
                *record = std::mem::take(record).told(items, parsed_into);
            }
        }
        Ok(rendered)
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
        check_asked(name, asked, &self.granted.capabilities)
            .map_err(|wrong| PortError::Invalid(wrong.to_string()))?;
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
    let mut answers = texts.iter().map(|texts| &texts.output);
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
        PluginKind::Validator => plugins.validate(call, &records)?.map(|said| {
            let (record, own) = (next(), answers.next());
            let record = record.told(said, validated);
            let answer = own.filter(|_| record.output.is_some()).cloned();
            Ok(TriedRecord { answer, ..record })
        }),
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

/// Puts a template's prompts to the model: what it says to each that there is, by the request's place, or why it refuses the prompt.
fn say(
    ports: &Ports,
    call: &PluginCall<'_>,
    model: &ModelRef,
    requests: &[TemplateRequest<'_>],
    rendered: &[Result<RenderedPrompt, String>],
) -> PortResult<Vec<(usize, Result<Completion, String>)>> {
    let written = rendered.iter().enumerate();
    let written = written.filter_map(|(i, rendered)| Some((i, rendered.as_ref().ok()?)));
    let (places, prompts): (Vec<usize>, Vec<GenerateRequest>) = written
        .map(|(i, rendered)| {
            let sampling = Sampling {
                max_tokens: MAX_TOKENS,
                seed: requests[i].seed,
                stop: rendered.stop.clone(),
                ..Sampling::default()
            };
            let prompt = rendered.prompt.clone();
            (i, GenerateRequest::new(prompt, sampling))
        })
        .unzip();
    let interrupt = call.interrupt.clone().unwrap_or_default();
    let ask = |prompts| {
        let engine = &ports.engine;
        engine.generate_paid(model, prompts, &NoAccount, &interrupt, &mut |_| {})
    };
    let said = match ask(prompts.clone()) {
        Ok(said) => said.into_iter().map(Ok).collect(),
        // Of some that it refuses the others are asked all the same.
        Err(PortError::Invalid(_)) => {
            let each = prompts.into_iter().map(|prompt| match ask(vec![prompt]) {
                Ok(mut said) => Ok(Ok(said.remove(0))),
                Err(PortError::Invalid(why)) => {
                    Ok(Err(format!("wrote a prompt that is refused: {why}")))
                }
                Err(error) => Err(error),
            });
            each.collect::<PortResult<Vec<_>>>()?
        }
        Err(error) => return Err(error),
    };
    Ok(places.into_iter().zip(said).collect())
}

fn text_of(prompt: Prompt) -> String {
    match prompt {
        Prompt::Text(text) => text,
        Prompt::Chat(turns) => {
            let turns: Vec<String> = turns.into_iter().map(|turn| turn.content).collect();
            turns.join("\n\n")
        }
    }
}

fn parsed_into(record: TriedRecord, items: Vec<TemplateItem>) -> TriedRecord {
    let read: Vec<&str> = items.iter().map(|item| item.instruction.as_str()).collect();
    let counted = match read.len() {
        1 => "1 item".to_string(),
        count => format!("{count} items"),
    };
    TriedRecord {
        verdict: "parsed".to_string(),
        note: Some(format!("{counted}: {}", read.join(" | "))),
        ..record
    }
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

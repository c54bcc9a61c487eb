//! Does for plugins what they were granted: the workflow's model, within a budget of tokens, and the log. Every use is counted.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use autodidact_domain::capability::{DEFAULT_MAX_TOKENS, LogLevel, PluginServices, ServiceError};
use autodidact_domain::ports::Ports;
use autodidact_domain::{
    Account, Completion, Digest, EventBody, GenerateRequest, Granted, Interrupt, InterruptReason,
    Language, ModelRef, PluginSummary, PluginUses, PortError, PortResult, Prompt, ResponseLoss,
    ScoreRequest,
};
use serde::{Deserialize, Serialize};

use crate::embedders::embed_by_language;
use crate::journaled::Run;

/// The tokens that a chat template may put around a conversation, with the words that some begin with, and around each of its turns.
const TEMPLATE_TOKENS: u64 = 64;
const TURN_TOKENS: u64 = 8;

/// The lines of the log that are taken from a plugin in a workflow.
const MAX_LOG_LINES: u64 = 10_000;

/// What the plugins of a workflow used, by name, and how often they failed, by digest.
///
/// What was in earlier steps comes from the journal, so that a budget and the patience with a plugin end at the same question however
/// often a run is cut off.
#[derive(Default)]
pub(crate) struct Accounts(Mutex<State>);

/// What plugins did in steps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PluginWork {
    /// What they used of what they were granted, by name.
    #[serde(
        default,
        rename = "plugin_uses",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    uses: BTreeMap<String, PluginUses>,
    /// The questions that they failed on.
    #[serde(
        default,
        rename = "plugin_failures",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    failures: BTreeMap<Digest, u64>,
}

#[derive(Default)]
struct State {
    /// In the step at work.
    step: PluginWork,
    /// In the steps before it.
    before: PluginWork,
    /// The versions that were told of, by name.
    told: BTreeMap<String, Digest>,
    /// The plugins that the workflow is bound to, where new versions were taken since the run began.
    bound: Option<Vec<PluginSummary>>,
    /// Why components refuse configurations, by the digests of both; none where they take them.
    refusals: BTreeMap<(Digest, Digest), Option<String>>,
}

impl Accounts {
    /// Takes what was done in the step at work.
    pub(crate) fn take_step(&self) -> PluginWork {
        let mut work = std::mem::take(&mut self.state().step);
        work.uses.retain(|_, uses| !uses.is_empty());
        work
    }

    /// Counts what was done in a step that is in the journal now.
    pub(crate) fn add(&self, work: &PluginWork) {
        let mut state = self.state();
        for (plugin, uses) in &work.uses {
            let sum = state.before.uses.entry(plugin.clone()).or_default();
            sum.add(uses);
        }
        for (digest, failures) in &work.failures {
            *state.before.failures.entry(*digest).or_default() += failures;
        }
    }

    /// Shows what a plugin used in the steps that are in the journal.
    pub(crate) fn of(&self, plugin: &str) -> PluginUses {
        let state = self.state();
        state.before.uses.get(plugin).cloned().unwrap_or_default()
    }

    /// Shows what a plugin used in the step at work too.
    pub(super) fn all_of(&self, plugin: &str) -> PluginUses {
        let mut uses = self.of(plugin);
        if let Some(step) = self.state().step.uses.get(plugin) {
            uses.add(step);
        }
        uses
    }

    /// Shows what a component failed on in the steps that are in the journal.
    pub(crate) fn failures_of(&self, digest: Digest) -> u64 {
        let failures = &self.state().before.failures;
        failures.get(&digest).copied().unwrap_or_default()
    }

    /// Gives the plugins that the workflow is bound to: those that it was pinned to, and new versions that were taken since, the latest
    /// last. The first of a name is the one for places that follow none.
    pub(crate) fn bound(&self, pinned: &[PluginSummary]) -> Vec<PluginSummary> {
        let bound = self.state().bound.clone();
        bound.unwrap_or_else(|| pinned.to_vec())
    }

    /// Binds the workflow to a new version too; gives all that it is bound to.
    pub(super) fn bind(
        &self,
        mut bound: Vec<PluginSummary>,
        newest: PluginSummary,
    ) -> Vec<PluginSummary> {
        let first = bound.iter().position(|plugin| plugin.name == newest.name);
        let mut places = 0..;
        bound.retain(|plugin| {
            let place = places.next();
            plugin.digest != newest.digest || place == first
        });
        bound.push(newest);
        self.state().bound = Some(bound.clone());
        bound
    }

    /// Tells why a component cannot take a configuration. What the plugin says is asked once; a port's failure, such as a disk that
    /// refuses, is no answer of the plugin's and is not kept.
    pub(super) fn refusal(
        &self,
        component: Digest,
        config: Digest,
        check: impl FnOnce() -> PortResult<()>,
    ) -> Option<String> {
        if let Some(known) = self.state().refusals.get(&(component, config)) {
            return known.clone();
        }
        // Not under the lock: what is asked may take its time.
        let checked = check();
        let is_final = matches!(checked, Ok(()) | Err(PortError::Invalid(_)));
        let refusal = checked.err().map(|error| error.to_string());
        if is_final {
            let mut state = self.state();
            state.refusals.insert((component, config), refusal.clone());
        }
        refusal
    }

    /// Counts failures; tells how many there are now.
    pub(super) fn failed(&self, digest: Digest, failures: u64) -> u64 {
        let mut state = self.state();
        if failures > 0 {
            *state.step.failures.entry(digest).or_default() += failures;
        }
        let of = |work: &PluginWork| work.failures.get(&digest).copied().unwrap_or_default();
        of(&state.before) + of(&state.step)
    }

    /// Tells whether nobody was told yet of a plugin's version.
    pub(super) fn is_news(&self, plugin: &str, digest: Digest) -> bool {
        self.state().told.insert(plugin.to_string(), digest) != Some(digest)
    }

    fn count(&self, plugin: &str, change: impl FnOnce(&mut PluginUses)) {
        let mut state = self.state();
        change(state.step.uses.entry(plugin.to_string()).or_default());
    }

    fn tokens(&self, plugin: &str) -> u64 {
        let state = self.state();
        let of = |work: &PluginWork| work.uses.get(plugin).map_or(0, |uses| uses.tokens);
        of(&state.before) + of(&state.step)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears the lines of a plugin's log.
pub type LogListener = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

/// Who is served, with what.
pub(super) struct Served<'a> {
    pub(super) plugin: String,
    pub(super) granted: &'a Granted,
    /// The model that it asks.
    pub(super) model: Option<ModelRef>,
    /// The language for which an embedder is chosen.
    pub(super) language: Language,
    pub(super) interrupt: &'a Interrupt,
    /// Pays for remote models.
    pub(super) account: Arc<dyn Account>,
    pub(super) accounts: &'a Arc<Accounts>,
    pub(super) log: LogListener,
}

/// What a plugin is granted, in the hands of whoever does it.
pub(super) struct Services {
    ports: Ports,
    language: Language,
    model: Option<ModelRef>,
    interrupt: Interrupt,
    account: Arc<dyn Account>,
    accounts: Arc<Accounts>,
    plugin: String,
    max_tokens: u64,
    log: LogListener,
}

impl Services {
    pub(super) fn new(ports: &Ports, served: Served<'_>) -> Self {
        Self {
            ports: ports.clone(),
            language: served.language,
            model: served.model,
            interrupt: served.interrupt.clone(),
            account: served.account,
            accounts: Arc::clone(served.accounts),
            plugin: served.plugin,
            max_tokens: served.granted.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
            log: served.log,
        }
    }

    /// Serves a plugin in a workflow's run.
    pub(super) fn of_run(run: &Run, plugin: &str, granted: &Granted, model: ModelRef) -> Self {
        let (events, workflow) = (Arc::clone(&run.ports.events), run.spec().name.clone());
        let name = plugin.to_string();
        let log = move |level: LogLevel, message: &str| {
            let (plugin, level) = (name.clone(), level.name().to_string());
            let message = message.to_string();
            events.tell(
                Some(&workflow),
                EventBody::PluginLog {
                    plugin,
                    level,
                    message,
                },
            );
        };
        let served = Served {
            plugin: plugin.to_string(),
            granted,
            model: Some(model),
            language: run.spec().languages[0],
            interrupt: &run.interrupt,
            account: Arc::clone(&run.ledger) as Arc<dyn Account>,
            accounts: &run.plugins,
            log: Arc::new(log),
        };
        Self::new(&run.ports, served)
    }

    fn model(&self) -> Result<&ModelRef, ServiceError> {
        let none = || ServiceError::Refused("there is no model to ask".to_string());
        self.model.as_ref().ok_or_else(none)
    }

    /// Tells how many of the next questions, by what each may take at the most, the budget has tokens for: one at least.
    ///
    /// # Errors
    /// [`ServiceError::Refused`] where it has none for the first.
    fn affordable(&self, most: impl Iterator<Item = u64>) -> Result<usize, ServiceError> {
        let used = self.accounts.tokens(&self.plugin);
        let left = self.max_tokens.saturating_sub(used);
        let (mut sum, mut count, mut first) = (0u64, 0, 0);
        for most in most {
            sum = sum.saturating_add(most);
            if sum > left {
                first = if count == 0 { most } else { 0 };
                break;
            }
            count += 1;
        }
        match count {
            0 => {
                self.refused();
                Err(ServiceError::Refused(format!(
                    "the budget of {} tokens has {left} left, and what is asked for may take {first}",
                    self.max_tokens
                )))
            }
            count => Ok(count),
        }
    }

    /// Puts questions in their order, as many at once as the budget surely has tokens for, so that it is not passed however many a text
    /// turns out to have.
    fn in_parts<Q, A>(
        &self,
        mut questions: Vec<Q>,
        most: impl Fn(&Q) -> u64,
        within: Duration,
        mut ask: impl FnMut(&Interrupt, Vec<Q>) -> PortResult<Vec<A>>,
    ) -> Result<Vec<A>, ServiceError> {
        let (started, mut answers) = (Instant::now(), Vec::with_capacity(questions.len()));
        while !questions.is_empty() {
            let count = self.affordable(questions.iter().map(&most))?;
            let rest = questions.split_off(count);
            let part = std::mem::replace(&mut questions, rest);
            let left = within.saturating_sub(started.elapsed());
            let said = self.within(left, |interrupt| ask(interrupt, part));
            answers.extend(said.map_err(|error| self.failure(error))?);
        }
        Ok(answers)
    }

    /// Does something under an interrupt that is raised once it took longer than it may, whatever it waits for.
    fn within<T>(&self, limit: Duration, work: impl FnOnce(&Interrupt) -> T) -> T {
        let part = &self.interrupt.of_part();
        let (work_ends, end) = channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                    part.raise(InterruptReason::Cancel);
                }
            });
            // Dropped when the work ends, also by a panic.
            let _work_ends = work_ends;
            work(part)
        })
    }

    /// Explains why a model said nothing.
    fn failure(&self, error: PortError) -> ServiceError {
        match error {
            PortError::Interrupted if !self.interrupt.is_raised() => ServiceError::TooLong,
            PortError::Invalid(wrong) | PortError::TooLong(wrong) => {
                self.refused();
                ServiceError::Refused(wrong)
            }
            error => ServiceError::Port(error),
        }
    }
}

impl PluginServices for Services {
    fn log(&self, level: LogLevel, message: &str) {
        match self.accounts.all_of(&self.plugin).log_lines {
            MAX_LOG_LINES.. => {}
            lines => {
                self.accounts
                    .count(&self.plugin, |uses| uses.log_lines += 1);
                (self.log)(level, message);
                if lines + 1 == MAX_LOG_LINES {
                    let last = format!("these were {MAX_LOG_LINES} lines; more are left out");
                    (self.log)(LogLevel::Warn, &last);
                }
            }
        }
    }

    fn generate(
        &self,
        requests: Vec<GenerateRequest>,
        within: Duration,
    ) -> Result<Vec<Completion>, ServiceError> {
        let most = |request: &GenerateRequest| {
            tokens_at_most(&request.prompt) + u64::from(request.sampling.max_tokens)
        };
        let (engine, model) = (&self.ports.engine, self.model()?);
        let account = self.account.as_ref();
        self.in_parts(requests, most, within, |part, requests| {
            let said = engine.generate_paid(model, requests, account, part, &mut |_| {})?;
            let tokens = said
                .iter()
                .map(|c| u64::from(c.prompt_tokens) + u64::from(c.completion_tokens));
            let tokens: u64 = tokens.sum();
            self.accounts.count(&self.plugin, |uses| {
                uses.completions += said.len() as u64;
                uses.tokens += tokens;
            });
            Ok(said)
        })
    }

    fn embed(&self, texts: Vec<String>, within: Duration) -> Result<Vec<Vec<f32>>, ServiceError> {
        let count = texts.len() as u64;
        // All together, since all of them decide on the model that embeds them.
        let most = texts.iter().map(|text| text_tokens_at_most(text)).sum();
        self.affordable(std::iter::once(most))?;
        let model = self.model()?;
        let made = self.within(within, |part| {
            embed_by_language(&self.ports, self.language, model, texts, part)
        });
        let (_, made) = made.map_err(|error| self.failure(error))?;
        self.accounts.count(&self.plugin, |uses| {
            uses.embeddings += count;
            uses.tokens += made.tokens;
        });
        Ok(made.vectors)
    }

    fn score(
        &self,
        requests: Vec<ScoreRequest>,
        within: Duration,
    ) -> Result<Vec<ResponseLoss>, ServiceError> {
        let most = |request: &ScoreRequest| {
            tokens_at_most(&request.prompt) + text_tokens_at_most(&request.continuation)
        };
        let (engine, model) = (&self.ports.engine, self.model()?);
        self.in_parts(requests, most, within, |part, requests| {
            let scored = engine.score(model, requests, part)?;
            let tokens = scored
                .iter()
                .map(|loss| u64::from(loss.prompt_tokens) + u64::from(loss.tokens));
            let tokens: u64 = tokens.sum();
            self.accounts.count(&self.plugin, |uses| {
                uses.scores += scored.len() as u64;
                uses.tokens += tokens;
            });
            Ok(scored)
        })
    }

    fn file_read(&self) {
        self.accounts
            .count(&self.plugin, |uses| uses.files_read += 1);
    }

    fn refused(&self) {
        self.accounts.count(&self.plugin, |uses| uses.refused += 1);
    }
}

/// Tells how many tokens a prompt may have at the most.
fn tokens_at_most(prompt: &Prompt) -> u64 {
    match prompt {
        Prompt::Text(text) => text_tokens_at_most(text),
        Prompt::Chat(turns) => {
            let turns = turns.iter();
            let turns = turns.map(|turn| text_tokens_at_most(&turn.content) + TURN_TOKENS);
            turns.sum::<u64>() + TEMPLATE_TOKENS
        }
    }
}

/// A token has a byte at least; some tokenizers begin with one of their own.
fn text_tokens_at_most(text: &str) -> u64 {
    text.len() as u64 + 1
}

//! One instance of a component, and calls into it that cannot take more than they are given.

use std::time::{Duration, Instant};

use autodidact_domain::plugin::{
    FilterDecision, PluginScore, RenderedPrompt, TemplateCompletion, TemplateItem, TemplateRequest,
    Validation,
};
use autodidact_domain::shown::on_one_line;
use autodidact_domain::{Interrupt, PluginRecord, PortError};
use wasmtime::{Engine, Store, Trap, UpdateDeadline};

use crate::Limits;
use crate::access::{Access, Permit};
use crate::bounds::Bounds;
use crate::component::{Described, Loaded};
use crate::ticker::{Ticker, thread_time};
use crate::v0_1_0::Guest;

/// The longest text of a guest's error that is passed on, in characters.
const MAX_ERROR_CHARS: usize = 1000;

/// Why a call gave no result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// It took too long; the instance is lost.
    Overrun(String),
    /// It trapped or gave back nonsense; the instance is lost.
    Trapped(String),
    /// The plugin itself refused; the instance is fine.
    Refused(String),
    /// What it was granted failed, so that none of its answers count; the instance is lost.
    Fatal(PortError),
}

impl Failure {
    /// Shows what happened.
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Overrun(text) | Self::Trapped(text) | Self::Refused(text) => text,
            Self::Fatal(error) => error.to_string(),
        }
    }
}

/// An instance in a store of its own. After [`Failure::Overrun`] and [`Failure::Trapped`] it must be dropped.
pub(crate) struct Sandbox {
    store: Store<State>,
    guest: Guest,
    /// The time that its calls took, without what they waited.
    pub(crate) busy: Duration,
}

/// How often a call looks whether it is to stop.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// What the host keeps of an instance.
pub(crate) struct State {
    pub(crate) bounds: Bounds,
    pub(crate) access: Access,
    /// The most bytes that a call may give back.
    output_bytes: usize,
    /// The thread's time when the present call began, and how much it may take without what others do for it.
    began: Duration,
    time: Duration,
    /// Stops the present call.
    interrupt: Option<Interrupt>,
}

impl State {
    /// Gives the epochs until the next look; none where the call is over.
    fn next_epochs(&mut self) -> Option<u64> {
        if self.interrupt.as_ref().is_some_and(Interrupt::is_raised) {
            self.access.interrupt();
            return None;
        }
        let used = thread_time().saturating_sub(self.began + self.access.served());
        let left = self.time.checked_sub(used).filter(|left| !left.is_zero())?;
        Some(Ticker::epochs(left.min(BETWEEN_LOOKS)))
    }
}

/// What an instance says to a batch: an answer or a reason for each question, or one reason for all.
pub(crate) type Answers<T> = wasmtime::Result<Result<Vec<Result<T, String>>, String>>;

/// The bounds of one call.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) ticker: &'a Ticker,
    /// The configuration as the guest gets it.
    pub(crate) config: &'a str,
    /// What it may use.
    pub(crate) permit: &'a Permit,
    /// Stops it.
    pub(crate) interrupt: Option<&'a Interrupt>,
}

impl Sandbox {
    /// Makes an instance; its start functions run under the same limits as calls.
    pub(crate) fn new(
        engine: &Engine,
        loaded: &Loaded,
        limits: &Limits,
        ticker: &Ticker,
    ) -> Result<Self, Failure> {
        let state = State {
            bounds: Bounds::new(limits),
            access: Access::default(),
            output_bytes: limits.output_bytes,
            began: thread_time(),
            time: limits.time(0),
            interrupt: None,
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.bounds);
        store.set_hostcall_fuel(limits.output_bytes);
        store.epoch_deadline_callback(|mut store| {
            Ok(match store.data_mut().next_epochs() {
                None => UpdateDeadline::Interrupt,
                Some(epochs) => UpdateDeadline::Continue(epochs),
            })
        });
        let time = limits.time(0);
        store.set_epoch_deadline(Ticker::epochs(time.min(BETWEEN_LOOKS)));
        let running = ticker.run();
        let guest = instantiate(&mut store, loaded);
        drop(running);
        match guest {
            Ok(guest) => Ok(Self {
                store,
                guest,
                busy: Duration::ZERO,
            }),
            Err(error) => Err(failure(&error, store.data_mut(), time)),
        }
    }

    /// Tells how much memory it has, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().bounds.memory_bytes
    }

    /// Asks who the plugin is.
    pub(crate) fn describe(
        &mut self,
        limits: &Limits,
        ticker: &Ticker,
    ) -> Result<Described, Failure> {
        let nothing = (&Permit::none(), None);
        self.call(limits.time(0), ticker, nothing, |guest, store| {
            guest.describe(store)
        })
    }

    /// Asks whether the call's configuration is acceptable.
    pub(crate) fn check_config(&mut self, call: &Call<'_>) -> Result<(), Failure> {
        let time = call.limits.time(0);
        let permitted = (call.permit, call.interrupt);
        let answer = self.call(time, call.ticker, permitted, |guest, store| {
            guest.check_config(store, call.config)
        })?;
        answer.map_err(refused)
    }

    /// Asks a filter for decisions, as many as records.
    pub(crate) fn filter(
        &mut self,
        call: &Call<'_>,
        records: &[PluginRecord<'_>],
    ) -> Result<Vec<Result<FilterDecision, String>>, Failure> {
        self.ask(call, records.len(), |guest, store| {
            guest.filter(store, call.config, records, call.limits.note_bytes)
        })
    }

    /// Asks a validator for outcomes, as many as records.
    pub(crate) fn validate(
        &mut self,
        call: &Call<'_>,
        records: &[PluginRecord<'_>],
    ) -> Result<Vec<Result<Validation, String>>, Failure> {
        self.ask(call, records.len(), |guest, store| {
            guest.validate(store, call.config, records, call.limits.note_bytes)
        })
    }

    /// Asks a scorer for scores, as many as records.
    pub(crate) fn score(
        &mut self,
        call: &Call<'_>,
        records: &[PluginRecord<'_>],
    ) -> Result<Vec<Result<PluginScore, String>>, Failure> {
        self.ask(call, records.len(), |guest, store| {
            guest.score(store, call.config, records, call.limits.note_bytes)
        })
    }

    /// Asks a template for prompts, as many as requests.
    pub(crate) fn render(
        &mut self,
        call: &Call<'_>,
        requests: &[TemplateRequest<'_>],
    ) -> Result<Vec<Result<RenderedPrompt, String>>, Failure> {
        self.ask(call, requests.len(), |guest, store| {
            guest.render(store, call.config, requests)
        })
    }

    /// Asks a template for what stands in completions, a list for each.
    pub(crate) fn parse(
        &mut self,
        call: &Call<'_>,
        completions: &[TemplateCompletion<'_>],
    ) -> Result<Vec<Result<Vec<TemplateItem>, String>>, Failure> {
        self.ask(call, completions.len(), |guest, store| {
            guest.parse(store, call.config, completions)
        })
    }

    /// Asks about a batch; there must be as many answers as questions.
    fn ask<T>(
        &mut self,
        call: &Call<'_>,
        asked: usize,
        question: impl FnOnce(&Guest, &mut Store<State>) -> Answers<T>,
    ) -> Result<Vec<Result<T, String>>, Failure> {
        let time = call.limits.time(asked);
        let permitted = (call.permit, call.interrupt);
        let answer = self.call(time, call.ticker, permitted, question)?;
        let answers = answer.map_err(refused)?;
        if answers.len() != asked {
            let text = format!("gave {} answers to {asked} questions", answers.len());
            return Err(Failure::Trapped(text));
        }
        Ok(answers)
    }

    fn call<T>(
        &mut self,
        time: Duration,
        ticker: &Ticker,
        (permit, interrupt): (&Permit, Option<&Interrupt>),
        call: impl FnOnce(&Guest, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        let state = self.store.data_mut();
        state.bounds.denied = None;
        state.access.begin(permit);
        state.interrupt = interrupt.cloned();
        (state.began, state.time) = (thread_time(), time);
        // One that is to stop already looks at the first epoch.
        let epochs = state.next_epochs().unwrap_or(1);
        self.store.set_epoch_deadline(epochs);
        let running = ticker.run();
        let started = Instant::now();
        let result = call(&self.guest, &mut self.store);
        let took = started.elapsed();
        drop(running);
        let waited = self.store.data_mut().access.end();
        self.busy += took.saturating_sub(waited);
        result.map_err(|error| failure(&error, self.store.data_mut(), time))
    }
}

fn instantiate(store: &mut Store<State>, loaded: &Loaded) -> wasmtime::Result<Guest> {
    let instance = loaded.pre.instantiate(&mut *store)?;
    Guest::of(store, &instance, &loaded.exports)
}

fn refused(text: String) -> Failure {
    Failure::Refused(on_one_line(&text, MAX_ERROR_CHARS))
}

/// Explains an error of wasmtime's.
fn failure(error: &wasmtime::Error, state: &mut State, time: Duration) -> Failure {
    if let Some(failure) = state.access.take_failure() {
        return failure;
    }
    if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
        return Failure::Overrun(format!(
            "took longer than {} ms (call_ms and record_ms of [plugins.NAME])",
            time.as_millis()
        ));
    }
    if let Some(denied) = &state.bounds.denied {
        return Failure::Trapped(denied.clone());
    }
    let cause = error.root_cause().to_string();
    // wasmtime's type for it is its own.
    if cause.contains("fuel allocated for hostcalls") {
        return Failure::Trapped(format!(
            "gave back more than {} KiB (output_kib of [plugins.NAME])",
            state.output_bytes >> 10
        ));
    }
    Failure::Trapped(on_one_line(&cause, MAX_ERROR_CHARS))
}

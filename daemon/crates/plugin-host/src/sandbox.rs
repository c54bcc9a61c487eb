//! One instance of a component, and calls into it that cannot take more than they are given.

use std::time::Duration;

use wasmtime::{Engine, ResourceLimiter, Store, Trap};

use crate::Limits;
use crate::bindings::{filter, plugin, scorer, template, validator};
use crate::component::Loaded;
use crate::records::Batch;
use crate::ticker::Ticker;

/// The most core instances, tables and memories of one component; interpreters come as some dozens of modules.
const MAX_INSTANCES: usize = 256;
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
}

impl Failure {
    /// Shows what happened.
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Overrun(text) | Self::Trapped(text) | Self::Refused(text) => text,
        }
    }
}

/// An instance in a store of its own. After [`Failure::Overrun`] and [`Failure::Trapped`] it must be dropped.
pub(crate) struct Sandbox {
    store: Store<Bounds>,
    guest: Guest,
}

/// What an instance exports.
struct Guest {
    plugin: plugin::Guest,
    filter: Option<filter::Guest>,
    template: Option<template::Guest>,
    validator: Option<validator::Guest>,
    scorer: Option<scorer::Guest>,
}

/// The bounds of one call.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) ticker: &'a Ticker,
    /// The configuration as the guest gets it.
    pub(crate) config: &'a str,
}

impl Sandbox {
    /// Makes an instance; its start functions run under the same limits as calls.
    pub(crate) fn new(
        engine: &Engine,
        loaded: &Loaded,
        limits: &Limits,
        ticker: &Ticker,
    ) -> Result<Self, Failure> {
        let mut store = Store::new(engine, Bounds::new(limits));
        store.limiter(|bounds| bounds);
        store.set_hostcall_fuel(limits.output_bytes);
        let time = limits.time(0);
        store.set_epoch_deadline(Ticker::epochs(time));
        let running = ticker.run();
        let guest = instantiate(&mut store, loaded);
        drop(running);
        match guest {
            Ok(guest) => Ok(Self { store, guest }),
            Err(error) => Err(failure(&error, store.data(), time)),
        }
    }

    /// Asks who the plugin is.
    pub(crate) fn describe(
        &mut self,
        limits: &Limits,
        ticker: &Ticker,
    ) -> Result<plugin::Description, Failure> {
        self.call(limits.time(0), ticker, |guest, store| {
            guest.plugin.call_describe(store)
        })
    }

    /// Asks whether the call's configuration is acceptable.
    pub(crate) fn check_config(&mut self, call: &Call<'_>) -> Result<(), Failure> {
        let time = call.limits.time(0);
        let answer = self.call(time, call.ticker, |guest, store| {
            guest.plugin.call_check_config(store, call.config)
        })?;
        answer.map_err(refused)
    }

    /// Asks a filter for decisions, as many as records.
    pub(crate) fn filter(
        &mut self,
        call: &Call<'_>,
        batch: &Batch,
    ) -> Result<Vec<filter::Decision>, Failure> {
        self.ask(call, batch.len(), |guest, store| {
            let filter = guest.filter.as_ref().ok_or_else(|| missing("filter"))?;
            filter.call_filter(store, call.config, &batch.text, &batch.ends)
        })
    }

    /// Asks a validator for outcomes, as many as records.
    pub(crate) fn validate(
        &mut self,
        call: &Call<'_>,
        batch: &Batch,
    ) -> Result<Vec<validator::Outcome>, Failure> {
        self.ask(call, batch.len(), |guest, store| {
            let validator = guest.validator.as_ref();
            let validator = validator.ok_or_else(|| missing("validator"))?;
            validator.call_validate(store, call.config, &batch.text, &batch.ends)
        })
    }

    /// Asks a scorer for scores, as many as records.
    pub(crate) fn score(
        &mut self,
        call: &Call<'_>,
        batch: &Batch,
    ) -> Result<Vec<scorer::Scored>, Failure> {
        self.ask(call, batch.len(), |guest, store| {
            let scorer = guest.scorer.as_ref().ok_or_else(|| missing("scorer"))?;
            scorer.call_score(store, call.config, &batch.text, &batch.ends)
        })
    }

    /// Asks a template for prompts, as many as requests.
    pub(crate) fn render(
        &mut self,
        call: &Call<'_>,
        requests: &[template::Request],
    ) -> Result<Vec<template::Rendered>, Failure> {
        self.ask(call, requests.len(), |guest, store| {
            let template = guest.template.as_ref().ok_or_else(|| missing("template"))?;
            template.call_render(store, call.config, requests)
        })
    }

    /// Asks a template for what stands in completions, a list for each.
    pub(crate) fn parse(
        &mut self,
        call: &Call<'_>,
        completions: &[template::Completion],
    ) -> Result<Vec<Vec<template::Item>>, Failure> {
        self.ask(call, completions.len(), |guest, store| {
            let template = guest.template.as_ref().ok_or_else(|| missing("template"))?;
            template.call_parse(store, call.config, completions)
        })
    }

    /// Asks about a batch; there must be as many answers as questions.
    fn ask<T>(
        &mut self,
        call: &Call<'_>,
        asked: usize,
        question: impl FnOnce(&Guest, &mut Store<Bounds>) -> wasmtime::Result<Result<Vec<T>, String>>,
    ) -> Result<Vec<T>, Failure> {
        let answer = self.call(call.limits.time(asked), call.ticker, question)?;
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
        call: impl FnOnce(&Guest, &mut Store<Bounds>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        self.store.data_mut().denied = None;
        self.store.set_epoch_deadline(Ticker::epochs(time));
        let running = ticker.run();
        let result = call(&self.guest, &mut self.store);
        drop(running);
        result.map_err(|error| failure(&error, self.store.data(), time))
    }
}

fn instantiate(store: &mut Store<Bounds>, loaded: &Loaded) -> wasmtime::Result<Guest> {
    let instance = loaded.pre.instantiate(&mut *store)?;
    let exports = &loaded.exports;
    Ok(Guest {
        plugin: exports.plugin.load(&mut *store, &instance)?,
        filter: match &exports.filter {
            Some(filter) => Some(filter.load(&mut *store, &instance)?),
            None => None,
        },
        template: match &exports.template {
            Some(template) => Some(template.load(&mut *store, &instance)?),
            None => None,
        },
        validator: match &exports.validator {
            Some(validator) => Some(validator.load(&mut *store, &instance)?),
            None => None,
        },
        scorer: match &exports.scorer {
            Some(scorer) => Some(scorer.load(&mut *store, &instance)?),
            None => None,
        },
    })
}

fn missing(kind: &str) -> wasmtime::Error {
    wasmtime::Error::msg(format!("is no {kind}"))
}

/// What an instance holds, against what it may hold.
pub(crate) struct Bounds {
    memory_bytes: usize,
    max_memory_bytes: usize,
    table_elements: usize,
    max_table_elements: usize,
    /// What was denied in the present call, so that the trap that follows can be explained.
    denied: Option<String>,
}

impl Bounds {
    fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes: 0,
            max_memory_bytes: limits.memory_bytes,
            table_elements: 0,
            max_table_elements: limits.table_elements,
            denied: None,
        }
    }
}

impl ResourceLimiter for Bounds {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = grown(self.memory_bytes, current, desired);
        if total > self.max_memory_bytes {
            self.denied = Some(format!(
                "wanted more than {} MiB of memory",
                self.max_memory_bytes >> 20
            ));
            return Ok(false);
        }
        let allowed = maximum.is_none_or(|maximum| desired <= maximum);
        if allowed {
            self.memory_bytes = total;
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = grown(self.table_elements, current, desired);
        if total > self.max_table_elements {
            self.denied = Some(format!(
                "wanted more than {} table elements",
                self.max_table_elements
            ));
            return Ok(false);
        }
        let allowed = maximum.is_none_or(|maximum| desired <= maximum);
        if allowed {
            self.table_elements = total;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_INSTANCES
    }
}

/// Computes a total after one of its parts grows.
fn grown(total: usize, current: usize, desired: usize) -> usize {
    total.saturating_sub(current).saturating_add(desired)
}

fn refused(text: String) -> Failure {
    Failure::Refused(text.chars().take(MAX_ERROR_CHARS).collect())
}

/// Explains an error of wasmtime's.
fn failure(error: &wasmtime::Error, bounds: &Bounds, time: Duration) -> Failure {
    if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
        return Failure::Overrun(format!("took longer than {} ms", time.as_millis()));
    }
    if let Some(denied) = &bounds.denied {
        return Failure::Trapped(denied.clone());
    }
    Failure::Trapped(
        error
            .root_cause()
            .to_string()
            .chars()
            .take(MAX_ERROR_CHARS)
            .collect(),
    )
}

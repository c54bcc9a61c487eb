//! One instance of a component, and calls into it that cannot take more than they are given.

use std::time::Duration;

use wasmtime::{Engine, ResourceLimiter, Store, Trap};

use crate::Limits;
use crate::bindings::{Decision, Description, FilterPlugin, FilterRecord};
use crate::component::Loaded;
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
    exports: FilterPlugin,
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
        let exports = loaded.pre.instantiate(&mut store);
        drop(running);
        match exports {
            Ok(exports) => Ok(Self { store, exports }),
            Err(error) => Err(failure(&error, store.data(), time)),
        }
    }

    /// Asks who the plugin is.
    pub(crate) fn describe(
        &mut self,
        limits: &Limits,
        ticker: &Ticker,
    ) -> Result<Description, Failure> {
        self.call(limits.time(0), ticker, |exports, store| {
            exports.autodidact_plugin_plugin().call_describe(store)
        })
    }

    /// Asks whether a configuration is acceptable.
    pub(crate) fn check_config(
        &mut self,
        config: &str,
        limits: &Limits,
        ticker: &Ticker,
    ) -> Result<(), Failure> {
        let answer = self.call(limits.time(0), ticker, |exports, store| {
            exports
                .autodidact_plugin_plugin()
                .call_check_config(store, config)
        })?;
        answer.map_err(refused)
    }

    /// Asks for decisions on a batch; there are as many as records.
    pub(crate) fn filter(
        &mut self,
        config: &str,
        batch: &[FilterRecord],
        limits: &Limits,
        ticker: &Ticker,
    ) -> Result<Vec<Decision>, Failure> {
        let answer = self.call(limits.time(batch.len()), ticker, |exports, store| {
            exports
                .autodidact_plugin_filter()
                .call_filter(store, config, batch)
        })?;
        let decisions = answer.map_err(refused)?;
        if decisions.len() != batch.len() {
            let text = format!(
                "gave {} decisions for {} records",
                decisions.len(),
                batch.len()
            );
            return Err(Failure::Trapped(text));
        }
        Ok(decisions)
    }

    fn call<T>(
        &mut self,
        time: Duration,
        ticker: &Ticker,
        call: impl FnOnce(&FilterPlugin, &mut Store<Bounds>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        self.store.data_mut().denied = None;
        self.store.set_epoch_deadline(Ticker::epochs(time));
        let running = ticker.run();
        let result = call(&self.exports, &mut self.store);
        drop(running);
        result.map_err(|error| failure(&error, self.store.data(), time))
    }
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

//! Asks components: about their configuration, and about questions in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use autodidact_domain::{Digest, Interrupt, PluginCall, PluginRun, PortError, PortResult};
use serde_json::Value;

use super::PluginHost;
use crate::access::Permit;
use crate::batches::{Cost, Run};
use crate::sandbox::{Call, Failure, Sandbox};
use crate::{PluginError, schema};

/// The fewest batches that are worth a thread.
const MIN_BATCHES: usize = 4;

impl PluginHost {
    /// Writes a configuration down as the guest gets it.
    fn config_text(&self, digest: Digest, config: &Value) -> Result<String, PluginError> {
        let text = match config {
            Value::Null => "{}".to_string(),
            Value::Object(_) => config.to_string(),
            _ => return Err(self.config_error(digest, "expected an object".to_string())),
        };
        if text.len() > self.limits.config_bytes {
            let message = format!(
                "has {} bytes; at most {} are taken",
                text.len(),
                self.limits.config_bytes
            );
            return Err(self.config_error(digest, message));
        }
        Ok(text)
    }

    fn schema_of(&self, digest: Digest) -> Result<String, PluginError> {
        let schema = self.with_stored(digest, |stored| stored.config_schema.clone());
        schema.ok_or(PluginError::UnknownDigest(digest))
    }

    fn config_error(&self, digest: Digest, message: String) -> PluginError {
        let name = self.with_stored(digest, |stored| stored.name.to_string());
        let name = name.unwrap_or_else(|| digest.short());
        PluginError::Config { name, message }
    }

    pub(super) fn check_config_text(
        &self,
        digest: Digest,
        config: &Value,
    ) -> Result<(), PluginError> {
        let text = self.config_text(digest, config)?;
        let loaded = self.load(digest)?;
        let answer = self.instantiate(&loaded).and_then(|mut sandbox| {
            sandbox.check_config(&self.call(digest, &text, &Permit::none(), None))
        });
        answer.map_err(|failure| self.config_error(digest, failure.into_text()))?;
        // The plugin's own words are better, but what it lets pass its schema may not.
        let empty = Value::Object(serde_json::Map::new());
        let given = if config.is_null() { &empty } else { config };
        let held = schema::check(&self.schema_of(digest)?, given);
        held.map_err(|faults| self.config_error(digest, faults))
    }

    /// Asks a component about each of `questions`, in batches, which threads share where there are many.
    ///
    /// Each thread begins with a fresh instance: what a plugin remembers in spite of its contract ends with these questions, so that
    /// a run that was killed and asks them again gets the same answers.
    pub(super) fn run<Q: Sync, T: Send>(
        &self,
        asked: &PluginCall<'_>,
        questions: &[Q],
        ask: impl Fn(&mut Sandbox, &Call<'_>, &[Q]) -> Result<Vec<Result<T, String>>, Failure> + Sync,
    ) -> PortResult<PluginRun<T>> {
        let text = self.config_text(asked.digest, asked.config)?;
        let loaded = self.load(asked.digest)?;
        let limits = self.limits_of(asked.digest);
        let permit = match &asked.services {
            Some(services) => Permit::of(
                asked.granted,
                Arc::clone(services),
                self.folder.clone(),
                limits,
            ),
            None => Permit::none(),
        };
        let call = self.call(asked.digest, &text, &permit, asked.interrupt.as_ref());
        let batch_records = limits.batch_records.max(1);
        let failures = AtomicUsize::new(0);
        let answer = |questions: &[Q]| -> Result<(Vec<_>, Cost), PortError> {
            let mut run = Run {
                sandbox: None,
                make: &|| self.instantiate(&loaded),
                ask: &|sandbox, batch| ask(sandbox, &call, batch),
                overruns: 0,
                failures: (&failures, asked.max_failures),
                cost: Cost::default(),
            };
            let mut answers = Vec::with_capacity(questions.len());
            for batch in questions.chunks(batch_records) {
                run.answer(batch, &mut answers)?;
            }
            Ok((answers, run.cost))
        };
        // Below a few batches a thread costs more than it saves. What waits for models needs none, and has them in order, so that a
        // budget ends at the same question every time.
        let batches = questions.len().div_ceil(batch_records);
        let threads = match asked.granted.has_model() {
            true => 1,
            false => self.limits.threads.min(batches / MIN_BATCHES).max(1),
        };
        let parts = match threads {
            1 => vec![answer(questions)?],
            _ => {
                let share = batches.div_ceil(threads) * batch_records;
                let answer = &answer;
                thread::scope(|scope| {
                    let spawn = |part| scope.spawn(move || answer(part));
                    let parts: Vec<_> = questions.chunks(share).map(spawn).collect();
                    let join = |part: ScopedJoinHandle<'_, _>| match part.join() {
                        Ok(answers) => answers,
                        Err(panic) => std::panic::resume_unwind(panic),
                    };
                    parts
                        .into_iter()
                        .map(join)
                        .collect::<Result<Vec<_>, PortError>>()
                })?
            }
        };
        let mut parts = parts.into_iter();
        let (mut answers, mut cost) = parts.next().unwrap_or_default();
        for (given, part) in parts {
            cost.add(part);
            answers.extend(given);
        }
        Ok(PluginRun {
            answers,
            gave_up: failures.load(Ordering::Relaxed) >= asked.max_failures,
            seconds: cost.busy.as_secs_f64(),
            peak_memory_bytes: cost.peak_memory_bytes as u64,
        })
    }

    fn call<'a>(
        &'a self,
        digest: Digest,
        config: &'a str,
        permit: &'a Permit,
        interrupt: Option<&'a Interrupt>,
    ) -> Call<'a> {
        Call {
            limits: self.limits_of(digest),
            ticker: &self.ticker,
            config,
            permit,
            interrupt,
        }
    }
}

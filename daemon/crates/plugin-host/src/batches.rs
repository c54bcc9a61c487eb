//! Batches: what fails is asked again in halves, until what is at fault is alone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use autodidact_domain::PortError;

use crate::sandbox::{Failure, Sandbox};

/// After this many single questions that ran over their time, what runs over is not halved any more but asked one by one: with many
/// at fault each half costs a deadline more.
const MAX_OVERRUNS: usize = 3;

/// Asks an instance about a batch.
type Ask<'a, Q, A> = dyn Fn(&mut Sandbox, &[Q]) -> Result<Vec<Result<A, String>>, Failure> + 'a;

/// One run of a plugin over questions: the instance in use, and how it is replaced.
pub(crate) struct Run<'a, Q, A> {
    /// The instance; none before the first call and after one that lost it.
    pub(crate) sandbox: Option<Sandbox>,
    /// Makes another.
    pub(crate) make: &'a dyn Fn() -> Result<Sandbox, Failure>,
    /// Calls the plugin.
    pub(crate) ask: &'a Ask<'a, Q, A>,
    /// The single questions so far that ran over.
    pub(crate) overruns: usize,
    /// The questions that it failed on, on every thread, against the most that there may be.
    pub(crate) failures: (&'a AtomicUsize, usize),
    /// What it cost.
    pub(crate) cost: Cost,
}

/// What calls took.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    /// The time in guests.
    pub(crate) busy: Duration,
    /// The most memory of an instance.
    pub(crate) peak_memory_bytes: usize,
}

impl Cost {
    /// Adds another thread's.
    pub(crate) fn add(&mut self, other: Self) {
        self.busy += other.busy;
        self.peak_memory_bytes = self.peak_memory_bytes.max(other.peak_memory_bytes);
    }
}

impl<Q, A> Run<'_, Q, A> {
    /// Asks about a batch, giving one answer a question, in order, or why there is none.
    ///
    /// # Errors
    /// Where what the plugin was granted failed.
    pub(crate) fn answer(
        &mut self,
        batch: &[Q],
        answers: &mut Vec<Result<A, String>>,
    ) -> Result<(), PortError> {
        if self.has_given_up() {
            answers.extend(
                batch
                    .iter()
                    .map(|_| Err("it was not asked any more".to_string())),
            );
            return Ok(());
        }
        let failure = match self.call(batch) {
            Ok(given) => {
                answers.extend(given);
                return Ok(());
            }
            Err(Failure::Fatal(error)) => return Err(error),
            Err(failure) => failure,
        };
        let overrun = matches!(failure, Failure::Overrun(_));
        if batch.len() <= 1 {
            self.overruns += usize::from(overrun);
            self.failures.0.fetch_add(1, Ordering::Relaxed);
            answers.push(Err(failure.into_text()));
            return Ok(());
        }
        let part = match overrun && self.overruns >= MAX_OVERRUNS {
            true => 1,
            false => batch.len().div_ceil(2),
        };
        batch
            .chunks(part)
            .try_for_each(|part| self.answer(part, answers))
    }

    fn has_given_up(&self) -> bool {
        self.failures.0.load(Ordering::Relaxed) >= self.failures.1
    }

    fn call(&mut self, batch: &[Q]) -> Result<Vec<Result<A, String>>, Failure> {
        let mut sandbox = match self.sandbox.take() {
            Some(sandbox) => sandbox,
            None => (self.make)()?,
        };
        let before = sandbox.busy;
        let result = (self.ask)(&mut sandbox, batch);
        self.cost.add(Cost {
            busy: sandbox.busy - before,
            peak_memory_bytes: sandbox.memory_bytes(),
        });
        if matches!(result, Ok(_) | Err(Failure::Refused(_))) {
            self.sandbox = Some(sandbox);
        }
        result
    }
}

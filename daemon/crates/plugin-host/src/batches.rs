//! Batches: what fails is asked again in halves, until what is at fault is alone.

use crate::sandbox::{Failure, Sandbox};

/// After this many single questions that ran over their time, batches that run over are not searched any more: the
/// plugin is at fault, not a question, and each search costs many deadlines.
const MAX_OVERRUNS: usize = 3;

/// Asks an instance about a batch.
type Ask<'a, Q, A> = dyn Fn(&mut Sandbox, &[Q]) -> Result<Vec<A>, Failure> + 'a;

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
}

impl<Q, A> Run<'_, Q, A> {
    /// Asks about a batch, giving one answer a question, in order, or why there is none.
    pub(crate) fn answer(&mut self, batch: &[Q], answers: &mut Vec<Result<A, String>>) {
        let failure = match self.call(batch) {
            Ok(given) => {
                answers.extend(given.into_iter().map(Ok));
                return;
            }
            Err(failure) => failure,
        };
        let overrun = matches!(failure, Failure::Overrun(_));
        if batch.len() <= 1 || overrun && self.overruns >= MAX_OVERRUNS {
            self.overruns += usize::from(overrun);
            let text = failure.into_text();
            answers.extend(batch.iter().map(|_| Err(text.clone())));
            return;
        }
        let (first, second) = batch.split_at(batch.len() / 2);
        self.answer(first, answers);
        self.answer(second, answers);
    }

    fn call(&mut self, batch: &[Q]) -> Result<Vec<A>, Failure> {
        let mut sandbox = match self.sandbox.take() {
            Some(sandbox) => sandbox,
            None => (self.make)()?,
        };
        let result = (self.ask)(&mut sandbox, batch);
        if matches!(result, Ok(_) | Err(Failure::Refused(_))) {
            self.sandbox = Some(sandbox);
        }
        result
    }
}

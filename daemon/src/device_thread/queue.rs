//! The bounded queue in front of the device, served by priority and within one by order of arrival.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use autodidact_domain::{Interrupt, ModelName, PortError, PortResult};

/// How often a caller that waits for a place looks at its interrupt.
const WAIT: Duration = Duration::from_millis(100);

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    /// A person waits for the words.
    Interactive,
    /// A workflow waits for a batch.
    Batch,
    /// A stretch of training.
    Train,
}

const PRIORITIES: usize = 3;

/// Work for the owner of a `D`.
pub(super) struct Job<D> {
    priority: Priority,
    model: ModelName,
    work: Box<dyn FnOnce(&mut D) + Send>,
}

impl<D> Job<D> {
    /// Wraps work that needs a model.
    pub(super) fn new(
        priority: Priority,
        model: ModelName,
        work: impl FnOnce(&mut D) + Send + 'static,
    ) -> Self {
        Self {
            priority,
            model,
            work: Box::new(work),
        }
    }

    /// Does the work.
    pub(super) fn run(self, device: &mut D) {
        (self.work)(device);
    }
}

/// The queue.
pub(super) struct JobQueue<D> {
    capacity: usize,
    state: Mutex<State<D>>,
    changed: Condvar,
}

struct State<D> {
    waiting: [VecDeque<Job<D>>; PRIORITIES],
    closed: bool,
}

impl<D> JobQueue<D> {
    /// Makes an empty queue that holds this many jobs of each priority.
    pub(super) fn new(capacity: usize) -> Self {
        let state = State {
            waiting: std::array::from_fn(|_| VecDeque::new()),
            closed: false,
        };
        Self {
            capacity,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Adds a job, waiting for a place. A person is refused at once instead of being kept waiting.
    pub(super) fn put(&self, job: Job<D>, interrupt: &Interrupt) -> PortResult<()> {
        let place = job.priority as usize;
        let mut state = self.state();
        loop {
            if state.closed {
                return Err(PortError::Unavailable("the daemon is going down".into()));
            }
            if state.waiting[place].len() < self.capacity {
                state.waiting[place].push_back(job);
                self.changed.notify_all();
                return Ok(());
            }
            if job.priority == Priority::Interactive {
                return Err(PortError::Unavailable(format!(
                    "{} completions wait for the model already; try again later",
                    self.capacity
                )));
            }
            if interrupt.is_raised() {
                return Err(PortError::Interrupted);
            }
            (state, _) = self
                .changed
                .wait_timeout(state, WAIT)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the next job, waiting for one; none once the queue is closed.
    pub(super) fn take(&self) -> Option<Job<D>> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.waiting.iter_mut().find_map(VecDeque::pop_front) {
                self.changed.notify_all();
                return Some(job);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a person's job that the model in memory can serve, without waiting.
    pub(super) fn take_interactive(&self, model: &ModelName) -> Option<Job<D>> {
        let mut state = self.state();
        let waiting = &mut state.waiting[Priority::Interactive as usize];
        let position = waiting.iter().position(|job| job.model == *model)?;
        let job = waiting.remove(position);
        self.changed.notify_all();
        job
    }

    /// Tells whether a person waits whom the model in memory can serve.
    pub(super) fn has_interactive(&self, model: &ModelName) -> bool {
        let waiting = &self.state().waiting[Priority::Interactive as usize];
        waiting.iter().any(|job| job.model == *model)
    }

    /// Refuses everything from now on and drops what waits; its callers see the end of their channel.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting.iter_mut().for_each(VecDeque::clear);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(priority: Priority, model: &str, mark: &'static str) -> Job<Vec<&'static str>> {
        Job::new(
            priority,
            ModelName::new(model).unwrap(),
            move |done: &mut Vec<&'static str>| done.push(mark),
        )
    }

    #[test]
    fn the_highest_priority_goes_first_and_within_it_the_first_come() {
        let queue = JobQueue::new(8);
        let interrupt = Interrupt::new();
        for (priority, mark) in [
            (Priority::Train, "train"),
            (Priority::Batch, "batch 1"),
            (Priority::Interactive, "chat 1"),
            (Priority::Batch, "batch 2"),
            (Priority::Interactive, "chat 2"),
        ] {
            queue.put(job(priority, "m", mark), &interrupt).unwrap();
        }
        let mut done = Vec::new();
        for _ in 0..5 {
            queue.take().unwrap().run(&mut done);
        }
        assert_eq!(done, ["chat 1", "chat 2", "batch 1", "batch 2", "train"]);
    }

    #[test]
    fn only_a_chat_with_the_loaded_model_cuts_in() {
        let queue = JobQueue::new(8);
        queue
            .put(job(Priority::Batch, "loaded", "batch"), &Interrupt::new())
            .unwrap();
        queue
            .put(
                job(Priority::Interactive, "other", "other"),
                &Interrupt::new(),
            )
            .unwrap();
        assert!(
            queue
                .take_interactive(&ModelName::new("loaded").unwrap())
                .is_none()
        );
        queue
            .put(
                job(Priority::Interactive, "loaded", "chat"),
                &Interrupt::new(),
            )
            .unwrap();
        let mut done = Vec::new();
        queue
            .take_interactive(&ModelName::new("loaded").unwrap())
            .unwrap()
            .run(&mut done);
        assert_eq!(done, ["chat"]);
    }

    #[test]
    fn a_full_queue_refuses_a_person_and_lets_a_workflow_wait_until_it_is_interrupted() {
        let queue = JobQueue::new(1);
        let interrupt = Interrupt::new();
        queue
            .put(job(Priority::Interactive, "m", "a"), &interrupt)
            .unwrap();
        let refused = queue
            .put(job(Priority::Interactive, "m", "b"), &interrupt)
            .unwrap_err();
        assert!(matches!(refused, PortError::Unavailable(_)));
        queue
            .put(job(Priority::Train, "m", "c"), &interrupt)
            .unwrap();
        interrupt.raise(autodidact_domain::InterruptReason::Pause);
        assert_eq!(
            queue.put(job(Priority::Train, "m", "d"), &interrupt),
            Err(PortError::Interrupted)
        );
    }

    #[test]
    fn a_closed_queue_refuses_and_ends() {
        let queue = JobQueue::new(1);
        queue
            .put(job(Priority::Batch, "m", "a"), &Interrupt::new())
            .unwrap();
        queue.close();
        assert!(queue.take().is_none());
        assert!(
            queue
                .put(job(Priority::Batch, "m", "b"), &Interrupt::new())
                .is_err()
        );
    }
}

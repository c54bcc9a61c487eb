//! The bounded queue in front of the device, served by priority and within one by order of arrival.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use autodidact_domain::{
    Completion, GenerateRequest, Interrupt, ModelName, ModelRef, PortError, PortResult,
};

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
    work: Work<D>,
    /// Cannot be done beside the work at hand, and waits for its end.
    waits: bool,
}

enum Work<D> {
    /// Has the device for itself.
    Alone(Box<dyn FnOnce(&mut D) + Send>),
    /// May be done beside others of its kind.
    Generate(GenerateCall),
}

/// Somebody's prompts.
pub(super) struct GenerateCall {
    pub(super) model: ModelRef,
    pub(super) requests: Vec<GenerateRequest>,
    pub(super) priority: Priority,
    pub(super) interrupt: Interrupt,
    /// Tells the caller; never blocks.
    pub(super) tell: Box<dyn FnMut(Told<'_>) + Send>,
}

impl GenerateCall {
    /// Tells whether it is a workflow's and nobody waits for the words.
    pub(super) fn is_work(&self) -> bool {
        self.priority != Priority::Interactive
    }
}

/// What a caller hears of its prompts.
pub(super) enum Told<'a> {
    /// One more token of some request.
    Token,
    /// The next piece of a request's text.
    Piece(usize, &'a str),
    /// The end.
    Done(PortResult<Vec<Completion>>),
}

/// Generates for callers.
pub(super) trait Generates {
    /// Serves a call, and others that come meanwhile and can be served beside it.
    fn generate(&mut self, call: GenerateCall);
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
            work: Work::Alone(Box::new(work)),
            waits: false,
        }
    }

    /// Wraps prompts.
    pub(super) fn generate(call: GenerateCall) -> Self {
        Self {
            priority: call.priority,
            model: call.model.model.clone(),
            work: Work::Generate(call),
            waits: false,
        }
    }

    /// Does the work.
    pub(super) fn run(self, device: &mut D)
    where
        D: Generates,
    {
        match self.work {
            Work::Alone(work) => work(device),
            Work::Generate(call) => device.generate(call),
        }
    }

    fn joins(&self, model: &ModelRef) -> bool {
        matches!(&self.work, Work::Generate(call) if call.model == *model)
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

    /// Takes the first person's job whose model can be served beside the work at hand, without waiting. Those that
    /// cannot are not asked about again: they are next when that work ends.
    pub(super) fn take_interactive(&self, serves: impl Fn(&ModelName) -> bool) -> Option<Job<D>> {
        let mut state = self.state();
        let waiting = &mut state.waiting[Priority::Interactive as usize];
        let position = waiting.iter_mut().position(|job| {
            job.waits = job.waits || !serves(&job.model);
            !job.waits
        })?;
        let job = waiting.remove(position);
        self.changed.notify_all();
        job
    }

    /// Takes calls for the same model and adapter, without waiting: people's, and where `lowest` is a batch, workflows'
    /// that are next in turn. Nobody is overtaken by a later one of the same priority.
    pub(super) fn take_joining(&self, model: &ModelRef, lowest: Priority) -> Vec<GenerateCall> {
        let mut taken = Vec::new();
        let mut state = self.state();
        for (place, waiting) in state.waiting.iter_mut().enumerate() {
            if place > lowest as usize || place > Priority::Batch as usize {
                break;
            }
            while waiting.front().is_some_and(|job| job.joins(model)) {
                let job = waiting.pop_front().expect("looked at before");
                if let Work::Generate(call) = job.work {
                    taken.push(call);
                }
            }
        }
        if !taken.is_empty() {
            self.changed.notify_all();
        }
        taken
    }

    /// Tells whether a person waits who may be served beside the work at hand.
    pub(super) fn has_interactive(&self) -> bool {
        let waiting = &self.state().waiting[Priority::Interactive as usize];
        waiting.iter().any(|job| !job.waits)
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

    impl Generates for Vec<&'static str> {
        fn generate(&mut self, _: GenerateCall) {
            self.push("generated");
        }
    }

    fn call(priority: Priority, adapter: &str) -> Job<Vec<&'static str>> {
        Job::generate(GenerateCall {
            model: model_ref(adapter),
            requests: Vec::new(),
            priority,
            interrupt: Interrupt::new(),
            tell: Box::new(|_| {}),
        })
    }

    fn model_ref(adapter: &str) -> ModelRef {
        ModelRef {
            model: ModelName::new("m").unwrap(),
            adapter: Some(autodidact_domain::CheckpointId::new(adapter).unwrap()),
        }
    }

    #[test]
    fn calls_join_those_of_their_kind_and_overtake_nobody_of_their_priority() {
        let queue = JobQueue::new(8);
        for next in [
            call(Priority::Batch, "a"),
            call(Priority::Batch, "b"),
            call(Priority::Batch, "a"),
            call(Priority::Interactive, "a"),
        ] {
            queue.put(next, &Interrupt::new()).unwrap();
        }
        let joining = |adapter: &str, lowest| queue.take_joining(&model_ref(adapter), lowest).len();
        assert_eq!(
            joining("b", Priority::Batch),
            0,
            "the first workflow wants a"
        );
        assert_eq!(joining("a", Priority::Interactive), 1, "the person alone");
        assert_eq!(joining("a", Priority::Batch), 1, "the third comes after b");
        assert_eq!(joining("b", Priority::Batch), 1);
        assert_eq!(joining("a", Priority::Batch), 1);
        assert_eq!(joining("a", Priority::Batch), 0);
    }

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
    fn a_chat_cuts_in_where_its_model_can_be_served_and_is_next_where_not() {
        let queue = JobQueue::new(8);
        let put = |priority, model, mark| {
            let put = queue.put(job(priority, model, mark), &Interrupt::new());
            put.unwrap();
        };
        let mut done = Vec::new();
        put(Priority::Batch, "small", "batch");
        assert!(!queue.has_interactive());
        put(Priority::Interactive, "huge", "huge");
        assert!(queue.has_interactive());
        let is_small = |name: &ModelName| name.as_str() == "small";
        assert!(queue.take_interactive(is_small).is_none());
        assert!(
            !queue.has_interactive(),
            "the huge one is not asked about again"
        );
        assert!(queue.take_interactive(|_| true).is_none());
        put(Priority::Interactive, "small", "small");
        assert!(queue.has_interactive());
        queue.take_interactive(is_small).unwrap().run(&mut done);
        queue.take().unwrap().run(&mut done);
        queue.take().unwrap().run(&mut done);
        assert_eq!(done, ["small", "huge", "batch"]);
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

//! The clock that calls are measured by.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::Engine;

/// The length of an epoch: a deadline is kept to within one.
const TICK: Duration = Duration::from_millis(10);

/// Tells the processor's time that this thread has used. A call is measured by that: a busy machine takes nothing off a plugin's time.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// One thread that moves an engine's epoch on while calls are running. It sleeps without them, and ends with this value.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running_calls: usize,
    ended: bool,
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (engine, for_thread) = (engine.clone(), shared.clone());
        let thread = thread::Builder::new()
            .name("plugin-ticker".to_string())
            .spawn(move || tick(&engine, &for_thread))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Keeps the clock going until the guard is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        self.shared.lock().running_calls += 1;
        self.shared.changed.notify_one();
        Running(&self.shared)
    }

    /// Counts the epochs that last at least this long, from any moment inside the present one.
    pub(crate) fn epochs(time: Duration) -> u64 {
        (time.as_millis() / TICK.as_millis()) as u64 + 1
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic: it only waits and counts.
            let _ = thread.join();
        }
    }
}

/// A running call.
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running_calls -= 1;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tick(engine: &Engine, shared: &Shared) {
    loop {
        let mut state = shared.lock();
        while state.running_calls == 0 && !state.ended {
            state = shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended {
            return;
        }
        drop(state);
        thread::sleep(TICK);
        engine.increment_epoch();
    }
}

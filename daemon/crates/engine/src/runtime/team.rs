//! A team of threads that share the tasks of one job after the other.
//!
//! Tasks are claimed one by one, by the caller too, so a thread that the system holds back delays only the task it has.
//! Between jobs a thread watches for the next for some microseconds and then sleeps; it never spins for long, since the
//! cores may be needed elsewhere.

#![expect(
    unsafe_code,
    reason = "a job's closure is borrowed by threads that outlive the borrow; see `Team::run`"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::kernels::Isa;

/// Looks at a flag before sleeping; some ten microseconds.
const GLANCES: u32 = 300;
const MAX_THREADS: usize = 256;

/// The threads, and the instructions they use.
pub(crate) struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One job at a time.
    running: Mutex<()>,
    isa: Isa,
}

type Work = *const (dyn Fn(usize) + Sync);

struct Shared {
    job: Mutex<Job>,
    wake: Condvar,
    /// The job's number in the upper half, the next unclaimed task in the lower.
    next: AtomicU64,
    /// The job's number, to be glanced at without the lock.
    announced: AtomicU64,
    unfinished: AtomicUsize,
    panicked: AtomicBool,
    finished: Mutex<()>,
    all_done: Condvar,
}

#[derive(Clone, Copy)]
struct Job {
    number: u64,
    tasks: usize,
    work: Option<Work>,
    stop: bool,
}

// SAFETY: the pointer is followed only after claiming one of the job's tasks, and `run` keeps the closure alive until
// every claimed task is finished.
unsafe impl Send for Job {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Team {
    /// Starts a team; the caller of [`Team::run`] is one of its `threads`.
    pub(crate) fn new(threads: usize) -> Self {
        Self::with_isa(threads, Isa::detect())
    }

    pub(crate) fn with_isa(threads: usize, isa: Isa) -> Self {
        let shared = Arc::new(Shared {
            job: Mutex::new(Job {
                number: 0,
                tasks: 0,
                work: None,
                stop: false,
            }),
            wake: Condvar::new(),
            next: AtomicU64::new(0),
            announced: AtomicU64::new(0),
            unfinished: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            finished: Mutex::new(()),
            all_done: Condvar::new(),
        });
        let worker = |index: usize| {
            let shared = shared.clone();
            let builder = std::thread::Builder::new().name(format!("engine-{index}"));
            builder.spawn(move || shared.work_until_stopped()).ok()
        };
        // A thread that the system refuses is done without: the caller claims what it would have.
        let workers = (1..threads.clamp(1, MAX_THREADS))
            .filter_map(worker)
            .collect();
        Self {
            shared,
            workers,
            running: Mutex::new(()),
            isa,
        }
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Does `work(0)` to `work(tasks - 1)`, each once, in any order, and returns when all are done.
    ///
    /// # Panics
    /// When a task panics, after the others are done; and when called from within a task.
    pub(crate) fn run(&self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.workers.is_empty() {
            (0..tasks).for_each(work);
            return;
        }
        let _running = lock(&self.running);
        let shared = &*self.shared;
        // SAFETY: only the lifetime is dropped. The pointer is followed only by threads that have claimed a task of this
        // job, and this function returns only when each claimed task is finished and none is left to claim.
        let work: Work =
            unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Work>(work) };
        let job = {
            let mut job = lock(&shared.job);
            *job = Job {
                number: job.number + 1,
                tasks,
                work: Some(work),
                stop: false,
            };
            shared.unfinished.store(tasks, Ordering::Relaxed);
            shared.next.store(job.number << 32, Ordering::Release);
            shared.announced.store(job.number, Ordering::Release);
            *job
        };
        shared.wake.notify_all();
        shared.claim_tasks(job);
        for _ in 0..GLANCES {
            if shared.unfinished.load(Ordering::Acquire) == 0 {
                break;
            }
            std::hint::spin_loop();
        }
        let mut finished = lock(&shared.finished);
        while shared.unfinished.load(Ordering::Acquire) > 0 {
            finished = shared
                .all_done
                .wait(finished)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(finished);
        assert!(
            !shared.panicked.swap(false, Ordering::Relaxed),
            "a compute task panicked"
        );
    }

    /// Does `work` for each range of a split of `0..count` into ranges of at most `size`.
    pub(crate) fn run_ranges(
        &self,
        count: usize,
        size: usize,
        work: &(dyn Fn(std::ops::Range<usize>) + Sync),
    ) {
        self.run(count.div_ceil(size), &|task| {
            work(task * size..count.min((task + 1) * size))
        });
    }
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Team({} threads, {:?})", self.threads(), self.isa)
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        {
            let mut job = lock(&self.shared.job);
            job.number += 1;
            job.stop = true;
            self.shared.announced.store(job.number, Ordering::Release);
        }
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches its tasks' panics, so joining cannot fail.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work_until_stopped(&self) {
        let mut seen = 0;
        loop {
            for _ in 0..GLANCES {
                if self.announced.load(Ordering::Acquire) != seen {
                    break;
                }
                std::hint::spin_loop();
            }
            let job = {
                let mut job = lock(&self.job);
                while job.number == seen {
                    job = self.wake.wait(job).unwrap_or_else(PoisonError::into_inner);
                }
                *job
            };
            if job.stop {
                return;
            }
            seen = job.number;
            self.claim_tasks(job);
        }
    }

    fn claim_tasks(&self, job: Job) {
        let Some(work) = job.work else { return };
        while let Some(task) = self.claim(job) {
            // SAFETY: the claim succeeded, so `run` of this job waits for this task and the closure is alive.
            let work = unsafe { &*work };
            if catch_unwind(AssertUnwindSafe(|| work(task))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            if self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
                drop(lock(&self.finished));
                self.all_done.notify_all();
            }
        }
    }

    /// Claims a task; none when the job has none left, or another job is on.
    fn claim(&self, job: Job) -> Option<usize> {
        let mut next = self.next.load(Ordering::Acquire);
        loop {
            let task = (next & u64::from(u32::MAX)) as usize;
            if next >> 32 != job.number & u64::from(u32::MAX) || task >= job.tasks {
                return None;
            }
            match self.next.compare_exchange_weak(
                next,
                next + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(task),
                Err(found) => next = found,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        let team = Team::new(3);
        for tasks in [0, 1, 2, 7, 100] {
            for _ in 0..200 {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                team.run(tasks, &|task| {
                    counts[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    counts
                        .iter()
                        .all(|count| count.load(Ordering::Relaxed) == 1)
                );
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let team = Team::new(2);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            team.run(8, &|task| assert!(task != 5, "task five"))
        }));
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        team.run(10, &|task| {
            sum.fetch_add(task, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }
}

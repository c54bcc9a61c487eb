//! The thread that trains, beside the one that serves.

use std::sync::mpsc::{Sender, channel};

use autodidact_domain::{PortError, PortResult};

type Job = Box<dyn FnOnce() + Send>;

/// A thread for training, begun with the first stretch and the same for all that follow.
///
/// glibc keeps a heap per thread. With a new thread a stretch, each new heap kept a part of what its stretch had freed: three
/// stretches of full fine-tuning held two models' worth of it.
#[derive(Default)]
pub(super) struct TrainThread(Option<Sender<Job>>);

impl TrainThread {
    /// Has a job done, after those before it. It must not panic.
    ///
    /// # Errors
    /// [`PortError::Unavailable`] when the system gives no thread.
    pub(super) fn submit(&mut self, job: impl FnOnce() + Send + 'static) -> PortResult<()> {
        let ended = || PortError::Internal("the training thread has ended".into());
        let jobs = match self.0.take() {
            Some(jobs) => jobs,
            None => {
                let (jobs, queue) = channel::<Job>();
                std::thread::Builder::new()
                    .name("train".into())
                    .spawn(move || queue.into_iter().for_each(|job| job()))
                    .map_err(|error| PortError::Unavailable(format!("start a thread: {error}")))?;
                jobs
            }
        };
        jobs.send(Box::new(job)).map_err(|_| ended())?;
        self.0 = Some(jobs);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_done_in_their_order_by_one_thread() {
        let (told, heard) = channel();
        let mut thread = TrainThread::default();
        for number in 0..3 {
            let told = told.clone();
            let job = move || {
                told.send((number, std::thread::current().id()))
                    .expect("heard")
            };
            thread.submit(job).expect("a thread");
        }
        drop((told, thread));
        let all: Vec<_> = heard.iter().collect();
        assert_eq!(
            all.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert!(all.iter().all(|(_, id)| *id == all[0].1));
    }
}

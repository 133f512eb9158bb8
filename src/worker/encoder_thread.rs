//! A thread that handles jobs for one track, so that a slow encoder delays neither the capture loop
//! nor another encoder. Generic over track and job.
//!
//! The queue holds one job, and the newest wins: a job that is still queued when the next one comes
//! is taken back and merged into it. crossbeam's bounded channel cannot do that by itself, so the
//! sender keeps a receiver.

use super::thread_priority::add_niceness;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::io;
use std::thread::{Builder, JoinHandle};

/// What a thread does next.
pub(super) trait Job: Send + 'static {
    /// This job replaces `older`, which was not begun.
    fn supersede(self, older: Self) -> Self;
}

/// A thread and the track that it owns. Dropping it lets the thread end after the job that it has.
pub(super) struct EncoderThread<T, J> {
    jobs: Sender<J>,
    queued: Receiver<J>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static, J: Job> EncoderThread<T, J> {
    /// Starts a thread of this name (of which 15 bytes are shown) that calls `handle` for each job,
    /// with the track and with what the thread keeps from job to job.
    ///
    /// # Errors
    /// `track` and the system's error: no memory, or the limit of threads is reached.
    pub(super) fn spawn<L>(
        name: &str,
        niceness: i32,
        track: T,
        handle: fn(&mut T, &mut L, J),
    ) -> Result<Self, (T, io::Error)>
    where
        L: Default + 'static,
    {
        let (jobs, queued) = bounded::<J>(1);
        let receiver = queued.clone();
        // The track comes by channel: a closure that is not run would drop it.
        let (hand_over, handed_over) = bounded::<T>(1);
        let run = move || {
            if niceness > 0 {
                add_niceness(niceness);
            }
            let mut track = handed_over
                .recv()
                .expect("the track is sent right after the start");
            let mut local = L::default();
            for job in receiver {
                handle(&mut track, &mut local, job);
            }
            track
        };
        match Builder::new().name(name.into()).spawn(run) {
            Ok(thread) => {
                hand_over
                    .send(track)
                    .expect("the thread waits for its track");
                Ok(Self {
                    jobs,
                    queued,
                    thread,
                })
            }
            Err(e) => Err((track, e)),
        }
    }

    /// Queues a job, in place of one that is still queued. Never waits.
    ///
    /// # Panics
    /// Where the thread has panicked: the worker ends as if its own thread had, and is restarted.
    pub(super) fn send(&mut self, job: J) {
        let mut job = job;
        while let Err(e) = self.jobs.try_send(job) {
            assert!(!self.thread.is_finished(), "an encoder thread panicked");
            job = match e {
                TrySendError::Full(newer) => match self.queued.try_recv() {
                    Ok(older) => newer.supersede(older),
                    // Taken by the thread just now.
                    Err(_) => newer,
                },
                TrySendError::Disconnected(job) => job,
            };
        }
        assert!(!self.thread.is_finished(), "an encoder thread panicked");
    }

    /// Waits until the thread has done what is queued, and takes the track back.
    ///
    /// # Panics
    /// Where the thread has panicked.
    pub(super) fn join(self) -> T {
        let Self { jobs, thread, .. } = self;
        drop(jobs);
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::time::Duration;

    /// The numbers that a job stands for.
    struct Numbers(Vec<u32>);

    impl Job for Numbers {
        fn supersede(self, mut older: Self) -> Self {
            older.0.extend(self.0);
            older
        }
    }

    static HELD: AtomicBool = AtomicBool::new(false);

    fn record(seen: &mut Vec<Vec<u32>>, _local: &mut (), job: Numbers) {
        while HELD.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!job.0.contains(&u32::MAX), "a job that panics");
        seen.push(job.0);
    }

    fn spawn() -> EncoderThread<Vec<Vec<u32>>, Numbers> {
        EncoderThread::spawn("test", 0, Vec::new(), record)
            .map_err(|(_, e)| e)
            .expect("a thread")
    }

    #[test]
    fn encoder_thread_busy_merges_waiting_jobs_and_loses_none() {
        HELD.store(true, SeqCst);
        let mut thread = spawn();
        thread.send(Numbers(vec![0]));
        while !thread.queued.is_empty() {
            std::thread::yield_now();
        }
        (1..5).for_each(|n| thread.send(Numbers(vec![n])));
        HELD.store(false, SeqCst);
        assert_eq!(thread.join(), [vec![0], vec![1, 2, 3, 4]]);

        let mut thread = spawn();
        (0..10_000).for_each(|n| thread.send(Numbers(vec![n])));
        let seen: Vec<u32> = thread.join().into_iter().flatten().collect();
        assert!(seen.into_iter().eq(0..10_000));

        let mut thread = spawn();
        thread.send(Numbers(vec![u32::MAX]));
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            loop {
                thread.send(Numbers(vec![1]));
                std::thread::sleep(Duration::from_millis(1));
            }
        }));
        assert!(panics.is_err(), "a panic of the thread is the worker's");
    }
}

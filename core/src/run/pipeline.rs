//! Batches through workers, each put down in its turn.
//!
//! There is no thread for writing: the worker that finishes the batch whose turn it is puts it down, and those behind it that
//! are finished already, while the others go on. Nobody waits for anything but a free buffer. A worker first takes a buffer
//! and only then a batch, so that the batch whose turn it is always has a worker: with any number of buffers there is no
//! deadlock, and never more than that many batches in memory.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};

use super::{Observer, RunError};

/// Buffers for each worker: one in work, and two that wait for their turn while somebody writes.
const BUFFERS_PER_WORKER: usize = 3;

/// What a worker does with a batch.
pub trait Work: Sync {
    /// A batch of input.
    type Job: Send;
    /// A worker's own state: an encoder.
    type Tool;
    /// A batch of output, used again and again.
    type Buffer: Send + Default;

    /// Makes a worker's state.
    fn tool(&self) -> Result<Self::Tool, RunError>;

    /// Turns a job into output.
    fn work(&self, job: &Self::Job, tool: &mut Self::Tool, out: &mut Self::Buffer) -> Result<(), RunError>;
}

struct Done<J, B> {
    job: J,
    buffer: B,
    result: Result<(), RunError>,
}

/// What the workers share.
struct Line<'a, W: Work, C> {
    work: &'a W,
    observer: &'a dyn Observer,
    state: Mutex<State<W, C>>,
    /// A buffer became free, or all is over.
    changed: Condvar,
}

struct State<W: Work, C> {
    free: Vec<W::Buffer>,
    /// Finished batches whose turn has not come.
    early: BTreeMap<u64, Done<W::Job, W::Buffer>>,
    /// Whose turn it is.
    next: u64,
    /// `None` while a worker is at it.
    commit: Option<C>,
    failed: Option<RunError>,
}

/// Runs all `jobs` on `threads` workers and gives each with its output to `commit`, in order and one at a time. A single
/// worker is the calling thread.
pub fn run<W: Work>(
    work: &W,
    jobs: impl Iterator<Item = W::Job> + Send,
    threads: usize,
    observer: &dyn Observer,
    commit: impl FnMut(&W::Job, &W::Buffer) -> Result<(), RunError> + Send,
) -> Result<(), RunError> {
    let threads = threads.max(1);
    let jobs = Mutex::new((0_u64..).zip(jobs));
    let mut free = Vec::new();
    free.resize_with(threads.saturating_mul(BUFFERS_PER_WORKER), W::Buffer::default);
    let state = State::<W, _> { free, early: BTreeMap::new(), next: 0, commit: Some(commit), failed: None };
    let line = Line { work, observer, state: Mutex::new(state), changed: Condvar::new() };
    if threads == 1 {
        line.worker(&jobs);
    } else {
        std::thread::scope(|workers| {
            for _ in 0..threads {
                workers.spawn(|| line.worker(&jobs));
            }
        });
    }
    match line.state.into_inner() {
        Ok(State { failed: Some(error), .. }) => Err(error),
        // Numbers are without gaps unless a worker died with a batch in hand.
        Ok(State { early, .. }) if early.is_empty() => Ok(()),
        _ => Err(RunError::Worker),
    }
}

impl<W: Work, C: FnMut(&W::Job, &W::Buffer) -> Result<(), RunError>> Line<'_, W, C> {
    fn worker(&self, jobs: &Mutex<impl Iterator<Item = (u64, W::Job)>>) {
        let leaving = Leaving(self);
        let mut tool = self.work.tool();
        while let Some(mut buffer) = self.free_buffer() {
            let Some((number, job)) = jobs.lock().ok().and_then(|mut jobs| jobs.next()) else { break };
            let result = match &mut tool {
                Ok(tool) => self.work.work(&job, tool, &mut buffer),
                Err(error) => Err(std::mem::replace(error, RunError::Worker)),
            };
            self.hand_in(number, Done { job, buffer, result });
        }
        drop(leaving);
    }

    /// Waits for a buffer; `None` if no more work is wanted.
    fn free_buffer(&self) -> Option<W::Buffer> {
        let mut state = self.state.lock().ok()?;
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(buffer) = state.free.pop() {
                return Some(buffer);
            }
            state = self.changed.wait(state).ok()?;
        }
    }

    /// Puts a batch into the line, and what has its turn down, unless somebody is doing that: they will see it.
    fn hand_in(&self, number: u64, done: Done<W::Job, W::Buffer>) {
        let Ok(mut state) = self.state.lock() else { return };
        state.early.insert(number, done);
        let Some(mut commit) = state.commit.take() else { return };
        while let Some(batch) = state.turn() {
            drop(state);
            let result = self.put_down(&batch, &mut commit);
            let Ok(again) = self.state.lock() else { return };
            state = again;
            state.free.push(batch.buffer);
            if let Err(error) = batch.result.and(result) {
                return self.fail(state, error);
            }
            self.changed.notify_one();
        }
        state.commit = Some(commit);
    }

    fn put_down(&self, batch: &Done<W::Job, W::Buffer>, commit: &mut C) -> Result<(), RunError> {
        if self.observer.cancelled() {
            return Err(RunError::Cancelled);
        }
        // What could not be made is not put down; its error is the caller's.
        if batch.result.is_ok() { commit(&batch.job, &batch.buffer) } else { Ok(()) }
    }
}

impl<W: Work, C> Line<'_, W, C> {
    fn fail(&self, mut state: MutexGuard<'_, State<W, C>>, error: RunError) {
        state.failed.get_or_insert(error);
        self.changed.notify_all();
    }
}

impl<W: Work, C> State<W, C> {
    /// The batch whose turn it is, if it is finished.
    fn turn(&mut self) -> Option<Done<W::Job, W::Buffer>> {
        let batch = self.early.remove(&self.next)?;
        self.next += 1;
        Some(batch)
    }
}

/// Lets nobody wait for a worker that panicked with a batch in hand.
struct Leaving<'a, 'b, W: Work, C>(&'a Line<'b, W, C>);

impl<W: Work, C> Drop for Leaving<'_, '_, W, C> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(state) = self.0.state.lock()
        {
            self.0.fail(state, RunError::Worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Unobserved;
    use super::*;

    struct Square {
        fail_at: u64,
    }

    impl Work for Square {
        type Job = u64;
        type Tool = ();
        type Buffer = u64;

        fn tool(&self) -> Result<(), RunError> {
            Ok(())
        }

        fn work(&self, job: &u64, (): &mut (), out: &mut u64) -> Result<(), RunError> {
            if job.is_multiple_of(7) {
                std::thread::sleep(std::time::Duration::from_micros(300));
            }
            *out = job * job;
            if *job == self.fail_at { Err(RunError::Header("as planned".to_owned())) } else { Ok(()) }
        }
    }

    #[test]
    fn batches_arrive_in_order_whatever_the_number_of_workers() {
        for threads in [1, 2, 5] {
            let mut seen = Vec::new();
            let commit = |job: &u64, out: &u64| {
                assert_eq!(*out, job * job);
                seen.push(*job);
                Ok(())
            };
            run(&Square { fail_at: u64::MAX }, 0..500, threads, &Unobserved, commit).unwrap();
            assert_eq!(seen, (0..500).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn errors_of_workers_and_writers_end_the_run() {
        for threads in [1, 3] {
            let mut last = 0;
            let commit = |job: &u64, _: &u64| {
                last = *job;
                Ok(())
            };
            let error = run(&Square { fail_at: 40 }, 0.., threads, &Unobserved, commit).unwrap_err();
            assert_eq!((error.to_string().as_str(), last), ("cannot encode a header: as planned", 39));
            let commit = |job: &u64, _: &u64| if *job == 9 { Err(RunError::Cancelled) } else { Ok(()) };
            let result = run(&Square { fail_at: u64::MAX }, 0.., threads, &Unobserved, commit);
            assert!(matches!(result, Err(RunError::Cancelled)));
        }
    }

    #[test]
    fn a_worker_that_panics_lets_the_others_end() {
        struct Dies;
        impl Work for Dies {
            type Job = u64;
            type Tool = ();
            type Buffer = ();

            fn tool(&self) -> Result<(), RunError> {
                Ok(())
            }

            fn work(&self, job: &u64, (): &mut (), (): &mut ()) -> Result<(), RunError> {
                assert_ne!(*job, 5, "as planned");
                Ok(())
            }
        }
        let ends = || run(&Dies, 0.., 3, &Unobserved, |_, ()| Ok(()));
        assert!(std::panic::catch_unwind(ends).is_err());
    }

    #[test]
    fn a_slow_writer_stops_nobody_but_itself() {
        let (most, early) = (std::sync::atomic::AtomicU64::new(0), std::sync::atomic::AtomicU64::new(0));
        struct Counts<'a>(&'a std::sync::atomic::AtomicU64);
        impl Work for Counts<'_> {
            type Job = u64;
            type Tool = ();
            type Buffer = u64;

            fn tool(&self) -> Result<(), RunError> {
                Ok(())
            }

            fn work(&self, job: &u64, (): &mut (), out: &mut u64) -> Result<(), RunError> {
                *out = *job;
                self.0.fetch_max(*job, std::sync::atomic::Ordering::SeqCst);
                Ok(())
            }
        }
        let commit = |job: &u64, _: &u64| {
            if *job == 3 {
                // The others go on as far as there are buffers: 2 workers, 6 buffers, of which this is one.
                let patience = std::time::Instant::now();
                while most.load(std::sync::atomic::Ordering::SeqCst) < 8 && patience.elapsed().as_secs() < 20 {
                    std::thread::yield_now();
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
                early.store(most.load(std::sync::atomic::Ordering::SeqCst), std::sync::atomic::Ordering::SeqCst);
            }
            Ok(())
        };
        run(&Counts(&most), 0..100, 2, &Unobserved, commit).unwrap();
        assert_eq!(early.into_inner(), 8);
    }

    #[test]
    fn a_cancelled_run_ends() {
        struct Impatient;
        impl Observer for Impatient {
            fn cancelled(&self) -> bool {
                true
            }
        }
        for threads in [1, 2] {
            let result = run(&Square { fail_at: u64::MAX }, 0.., threads, &Impatient, |_, _| Ok(()));
            assert!(matches!(result, Err(RunError::Cancelled)));
        }
    }
}

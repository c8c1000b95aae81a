//! Batches through workers to one writer, in order.
//!
//! A worker first takes a free buffer and only then a batch number, so that the batch which the writer waits for always
//! has a worker: with any number of buffers there is no deadlock, and never more than that many batches in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::{Observer, RunError};

/// Buffers for each worker: one in work, one on the way to the writer, one on the way back.
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
    number: u64,
    job: J,
    buffer: B,
    result: Result<(), RunError>,
}

type Free<B> = Mutex<Receiver<B>>;

/// Runs all `jobs` on `threads` workers and gives each with its output to `commit`, in order. With none it starts no thread.
pub fn run<W: Work>(
    work: &W,
    jobs: impl Iterator<Item = W::Job> + Send,
    threads: usize,
    observer: &dyn Observer,
    mut commit: impl FnMut(&W::Job, &W::Buffer) -> Result<(), RunError>,
) -> Result<(), RunError> {
    if threads == 0 {
        return alone(work, jobs, observer, commit);
    }
    let jobs = Mutex::new((0_u64, jobs));
    let stop = AtomicBool::new(false);
    let (give, free) = channel();
    for _ in 0..threads.saturating_mul(BUFFERS_PER_WORKER) {
        // The receiver is here: this cannot fail.
        let _ = give.send(W::Buffer::default());
    }
    let free: Free<W::Buffer> = Mutex::new(free);
    let (send, done) = channel();
    std::thread::scope(|workers| {
        for _ in 0..threads {
            let (send, free, jobs, stop) = (send.clone(), &free, &jobs, &stop);
            workers.spawn(move || worker(work, jobs, free, stop, &send));
        }
        drop(send);
        let result = write(&done, &give, observer, &mut commit);
        // Workers stop at their next batch; those that wait for a buffer find the channel closed.
        stop.store(true, Ordering::Relaxed);
        drop(give);
        drop(done);
        result
    })
}

fn alone<W: Work>(
    work: &W,
    jobs: impl Iterator<Item = W::Job>,
    observer: &dyn Observer,
    mut commit: impl FnMut(&W::Job, &W::Buffer) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let (mut tool, mut buffer) = (work.tool()?, W::Buffer::default());
    for job in jobs {
        if observer.cancelled() {
            return Err(RunError::Cancelled);
        }
        work.work(&job, &mut tool, &mut buffer)?;
        commit(&job, &buffer)?;
    }
    Ok(())
}

fn worker<W: Work>(
    work: &W,
    jobs: &Mutex<(u64, impl Iterator<Item = W::Job>)>,
    free: &Free<W::Buffer>,
    stop: &AtomicBool,
    send: &Sender<Done<W::Job, W::Buffer>>,
) {
    let mut tool = work.tool();
    while !stop.load(Ordering::Relaxed) {
        let Ok(Ok(mut buffer)) = free.lock().map(|free| free.recv()) else { return };
        let next = jobs.lock().ok().and_then(|mut jobs| {
            let job = jobs.1.next()?;
            jobs.0 += 1;
            Some((jobs.0 - 1, job))
        });
        let Some((number, job)) = next else { return };
        let result = match &mut tool {
            Ok(tool) => work.work(&job, tool, &mut buffer),
            Err(error) => Err(std::mem::replace(error, RunError::Worker)),
        };
        if send.send(Done { number, job, buffer, result }).is_err() {
            return;
        }
    }
}

fn write<J, B>(
    done: &Receiver<Done<J, B>>,
    give: &Sender<B>,
    observer: &dyn Observer,
    commit: &mut impl FnMut(&J, &B) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let mut early = BTreeMap::new();
    let mut next = 0_u64;
    for batch in done {
        early.insert(batch.number, batch);
        while let Some(batch) = early.remove(&next) {
            if observer.cancelled() {
                return Err(RunError::Cancelled);
            }
            batch.result?;
            commit(&batch.job, &batch.buffer)?;
            // A closed channel only means that no worker needs it.
            let _ = give.send(batch.buffer);
            next += 1;
        }
    }
    // Numbers are without gaps unless a worker died with a batch in hand.
    if early.is_empty() { Ok(()) } else { Err(RunError::Worker) }
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
        for threads in [0, 1, 2, 5] {
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
        for threads in [0, 3] {
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
    fn a_cancelled_run_ends() {
        struct Impatient;
        impl Observer for Impatient {
            fn cancelled(&self) -> bool {
                true
            }
        }
        for threads in [0, 2] {
            let result = run(&Square { fail_at: u64::MAX }, 0.., threads, &Impatient, |_, _| Ok(()));
            assert!(matches!(result, Err(RunError::Cancelled)));
        }
    }
}

//! The threads that share the work of one operation.
//!
//! A decoding step makes hundreds of calls of a few microseconds each, so
//! handing out work must cost well under one. Workers therefore spin for a
//! moment before they sleep, and tasks are claimed from one atomic counter.
//! (A general pool takes 1 to 25 µs to wake; `docs/LOG.md` has the figures.)

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long an idle worker stays awake for the next operation.
const SPIN: Duration = Duration::from_micros(if cfg!(miri) { 1 } else { 100 });

const MAX_THREADS: usize = 1024;

/// A call `(context, task)` with its types erased.
type Entry = unsafe fn(*const (), usize);

/// One operation's tasks. `ticket` holds their number in its upper half and
/// the next one to claim in its lower half, so that one atomic addition tells
/// a worker both. A worker that has claimed a task below the number keeps the
/// operation from ending, so `entry` and `context` stay what they are until
/// its task is counted in `finished`.
struct Shared {
    ticket: AtomicU64,
    finished: AtomicUsize,
    entry: AtomicPtr<()>,
    context: AtomicPtr<()>,
    panicked: AtomicBool,
    stop: AtomicBool,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

/// A fixed set of threads, the caller of [`ThreadPool::run`] being one.
pub(crate) struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One operation runs at a time.
    turn: Mutex<()>,
}

thread_local! {
    /// Whether this thread is inside a task; nested calls run in place.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

impl ThreadPool {
    /// A pool of `threads` threads (default: one per core), the caller included,
    /// asked for in the argument `argument` of `op`.
    ///
    /// # Errors
    /// `InvalidArgument` if the number is out of range, or the system refuses a
    /// thread.
    pub(crate) fn new(
        op: &'static str,
        argument: &'static str,
        threads: Option<usize>,
    ) -> Result<Self> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.unwrap_or_else(|| cores().min(MAX_THREADS));
        let refused = |expected: String| Error::InvalidArgument {
            op,
            argument,
            expected,
            found: threads.to_string(),
        };
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(refused(format!("1 to {MAX_THREADS}")));
        }
        Self::spawn(threads)
            .map_err(|error| refused(format!("as many as the system grants ({error})")))
    }

    fn spawn(threads: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            finished: AtomicUsize::new(0),
            entry: AtomicPtr::new(std::ptr::null_mut()),
            context: AtomicPtr::new(std::ptr::null_mut()),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut pool = Self {
            shared,
            workers: Vec::new(),
            turn: Mutex::new(()),
        };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name(format!("retune-{index}"));
            // On failure, dropping the pool stops the workers it has.
            pool.workers.push(builder.spawn(move || shared.work())?);
        }
        Ok(pool)
    }

    /// The number of threads, the caller included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `body(task)` once for each task below `tasks`, on any thread and
    /// in any order, and returns when all are done. A panic in one is passed
    /// on to the caller.
    pub(crate) fn run<F: Fn(usize) + Sync>(&self, tasks: usize, body: F) {
        if tasks <= 1 || self.workers.is_empty() || BUSY.get() {
            (0..tasks).for_each(body);
            return;
        }
        assert!(
            tasks < u32::MAX as usize / 2,
            "too many tasks for one operation"
        );
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        shared.finished.store(0, Ordering::Relaxed);
        shared
            .entry
            .store(call::<F> as Entry as *mut (), Ordering::Relaxed);
        shared
            .context
            .store((&raw const body).cast_mut().cast(), Ordering::Relaxed);
        shared.ticket.store((tasks as u64) << 32, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = shared.sleep.lock().unwrap_or_else(PoisonError::into_inner);
            shared.wake.notify_all();
        }
        shared.claim_all();
        let mut waited = 0u32;
        while shared.finished.load(Ordering::Acquire) < tasks {
            pause(&mut waited);
        }
        // `body` may go now: every claimed task is finished.
        if shared.panicked.swap(false, Ordering::Relaxed) {
            drop(_turn);
            resume_unwind(Box::new("a parallel task panicked; its message is above"));
        }
    }
}

/// Calls the closure behind `context`.
///
/// # Safety
/// `context` points to a living `F`.
unsafe fn call<F: Fn(usize) + Sync>(context: *const (), task: usize) {
    // SAFETY: passed on to the caller.
    let body = unsafe { &*context.cast::<F>() };
    body(task);
}

/// Waits a little: at first by spinning, then by giving the core away, since
/// there may be more threads than cores.
fn pause(waited: &mut u32) {
    *waited += 1;
    if *waited < 2000 && !cfg!(miri) {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

fn split(ticket: u64) -> (usize, usize) {
    (
        (ticket >> 32) as usize,
        (ticket & u64::from(u32::MAX)) as usize,
    )
}

impl Shared {
    /// Runs tasks until none is left to claim.
    fn claim_all(&self) {
        loop {
            let (tasks, task) = split(self.ticket.fetch_add(1, Ordering::AcqRel));
            if task >= tasks {
                return;
            }
            let entry = self.entry.load(Ordering::Relaxed);
            let context = self.context.load(Ordering::Relaxed);
            BUSY.set(true);
            // SAFETY: `entry` was stored from an `Entry` before the ticket
            // that was just claimed, and neither it nor the closure that
            // `context` points to goes away before `finished` is counted up.
            let outcome = catch_unwind(AssertUnwindSafe(|| unsafe {
                let entry = std::mem::transmute::<*mut (), Entry>(entry);
                entry(context, task);
            }));
            BUSY.set(false);
            if outcome.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.finished.fetch_add(1, Ordering::Release);
        }
    }

    fn has_work(&self) -> bool {
        let (tasks, next) = split(self.ticket.load(Ordering::SeqCst));
        next < tasks
    }

    fn work(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            self.claim_all();
            let idle_since = Instant::now();
            let mut waited = 0u32;
            while !self.has_work() && !self.stop.load(Ordering::Relaxed) {
                if waited.is_multiple_of(64) && idle_since.elapsed() > SPIN {
                    self.sleep_until_work();
                    break;
                }
                pause(&mut waited);
            }
        }
    }

    fn sleep_until_work(&self) {
        let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !self.has_work() && !self.stop.load(Ordering::SeqCst) {
            guard = self
                .wake
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        {
            let _guard = self
                .shared
                .sleep
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker's panics are caught in its tasks.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_in_many_short_operations() {
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        for threads in [1, 2, 3, 8] {
            let pool = ThreadPool::spawn(threads).expect("threads");
            for round in 0..rounds / threads {
                let tasks = round % 17;
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, |task| {
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
    fn sleeping_workers_wake_and_nested_calls_run_in_place() {
        let pool = ThreadPool::spawn(3).expect("threads");
        let total = AtomicUsize::new(0);
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(2));
            pool.run(7, |_| {
                pool.run(3, |_| {
                    total.fetch_add(1, Ordering::Relaxed);
                });
            });
        }
        assert_eq!(total.into_inner(), 5 * 7 * 3);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = ThreadPool::spawn(2).expect("threads");
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(4, |task| assert_ne!(task, 2, "made for the test"));
        }));
        assert!(outcome.is_err());
        let total = AtomicUsize::new(0);
        pool.run(4, |task| {
            total.fetch_add(task, Ordering::Relaxed);
        });
        assert_eq!(total.into_inner(), 6);
    }

    #[test]
    fn callers_on_several_threads_take_turns() {
        let pool = ThreadPool::spawn(2).expect("threads");
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        pool.run(5, |_| {
                            total.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 50 * 5);
    }
}

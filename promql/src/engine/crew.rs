//! Threads of queries, and how queries take turns.
//!
//! A query that has enough to do gets a crew of its own, one thread a core, so that it never waits behind another's
//! work: the system shares the processors among the crews. A query that goes on for long makes way: its threads take a
//! lower priority, so that queries that are done soon, and everything else that the program does, hardly notice it.
//! Who works when has no influence on answers.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rayon::ThreadPool;

/// Queries that take longer than this make way.
const LONG: Duration = Duration::from_millis(250);
/// How nice the threads of long queries are: with a third of the weight of others. Four of them on a core leave two
/// fifths of it to a short one, and a long one does not starve where other programs keep the machine busy.
#[cfg(target_os = "linux")]
const LONG_NICENESS: i32 = 5;
/// Crews that wait for the next query.
const IDLE_MAX: usize = 4;

/// The crews of an engine.
#[derive(Debug)]
pub(crate) struct Crews {
    /// Threads of each.
    threads: usize,
    idle: Mutex<Vec<ThreadPool>>,
}

/// The threads of one query: taken when they are needed first, given back when the query ends.
#[derive(Debug)]
pub(crate) struct Crew {
    crews: Arc<Crews>,
    started: Instant,
    /// Absent where the caller's thread is all there is.
    pool: OnceLock<Option<ThreadPool>>,
    /// A thread that has made way stays behind others for ever: without privileges priority can only be given up.
    used_up: AtomicBool,
}

impl Crews {
    /// Crews of `threads` each.
    pub(crate) fn new(threads: usize) -> Arc<Self> {
        Arc::new(Crews {
            threads,
            idle: Mutex::default(),
        })
    }

    /// A crew for a query that begins at `started`.
    pub(crate) fn crew(self: &Arc<Self>, started: Instant) -> Arc<Crew> {
        Arc::new(Crew {
            crews: self.clone(),
            started,
            pool: OnceLock::new(),
            used_up: AtomicBool::new(false),
        })
    }

    fn take(&self) -> Option<ThreadPool> {
        if self.threads == 1 {
            return None;
        }
        let idle = self.idle.lock().pop();
        idle.or_else(|| {
            // Without threads queries run where they are asked.
            rayon::ThreadPoolBuilder::new()
                .num_threads(self.threads)
                .thread_name(|index| format!("query-{index}"))
                .build()
                .ok()
        })
    }
}

impl Crew {
    /// Runs `work` where the crew can help; it learns whether there is help.
    pub(crate) fn install<T: Send>(&self, work: impl FnOnce(bool) -> T + Send) -> T {
        match self.pool.get_or_init(|| self.crews.take()) {
            Some(pool) => pool.install(|| work(true)),
            None => work(false),
        }
    }

    /// Lets others go first if the query has taken long: called now and then by each of its threads, which remembers in
    /// `made_way` that it has nothing more to do here.
    #[inline]
    pub(crate) fn make_way(&self, now: Instant, made_way: &mut bool) {
        if !*made_way && now.saturating_duration_since(self.started) > LONG {
            *made_way = true;
            // The caller's own thread does other things later.
            if rayon::current_thread_index().is_some() {
                self.used_up.store(true, Ordering::Relaxed);
                give_up_priority();
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        if self.used_up.load(Ordering::Relaxed) {
            return;
        }
        if let Some(Some(pool)) = self.pool.take() {
            let mut idle = self.crews.idle.lock();
            if idle.len() < IDLE_MAX {
                idle.push(pool);
            }
        }
    }
}

/// Priority is the thread's own on Linux; elsewhere it is the process's, and stays as it is.
fn give_up_priority() {
    #[cfg(target_os = "linux")]
    // A system that refuses leaves things as they are.
    let _ = rustix::process::setpriority_process(None, LONG_NICENESS);
}

//! Where groups wait for their times and are evaluated.
//!
//! In a server that is a runtime of its own: whoever holds the threads that answer requests, be it with readers that do
//! not read or with heavy queries, holds no rule by that.

use std::sync::Arc;

use supervise::OwnRuntime;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Semaphore;
use tokio::task::JoinError;

/// Threads beside those for evaluations: for reading rule files, which must go on while all evaluations are slow.
const READING_THREADS: usize = 1;

/// Threads for rules.
pub struct Threads {
    handle: Handle,
    /// Ends with the manager; absent where the runtime is somebody else's.
    _own: Option<OwnRuntime>,
    /// Evaluations at a time.
    turns: Arc<Semaphore>,
}

impl Threads {
    /// Threads of their own, for `evaluations_max` evaluations of groups at a time.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn own(evaluations_max: usize) -> std::io::Result<Self> {
        let evaluations_max = evaluations_max.clamp(1, Semaphore::MAX_PERMITS);
        let own = OwnRuntime::start(
            Builder::new_multi_thread()
                .worker_threads(1)
                .max_blocking_threads(evaluations_max.saturating_add(READING_THREADS))
                .thread_name("rules")
                .enable_time(),
        )?;
        Ok(Threads {
            handle: own.handle().clone(),
            _own: Some(own),
            turns: Arc::new(Semaphore::new(evaluations_max)),
        })
    }

    /// Those of the runtime that this is called in, with its number of threads as the bound.
    pub fn current() -> Self {
        Threads {
            handle: Handle::current(),
            _own: None,
            turns: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Evaluates something once it is its turn.
    ///
    /// # Errors
    /// When it panicked, or the threads ended before it began.
    pub(crate) async fn evaluate<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // Nobody closes the semaphore; without a turn the work is done all the same.
        let turn = self.turns.clone().acquire_owned().await.ok();
        let done = self.handle.spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await
    }

    /// Reads files, beside evaluations.
    ///
    /// # Errors
    /// As [`Threads::evaluate`].
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        self.handle.spawn_blocking(work).await
    }
}

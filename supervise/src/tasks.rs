//! Tasks of the runtime.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Panicked, Supervisor, hook};

/// How long a task rests after its first panic; each further one doubles it.
const REST_MIN: Duration = Duration::from_secs(1);
/// How long it rests at most.
const REST_MAX: Duration = Duration::from_secs(60);
/// A task that has gone well for so long begins with the shortest rest again.
const WELL_AFTER: Duration = Duration::from_secs(300);

/// A task that was waited for did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// It panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// Somebody ended it, or the runtime goes down.
    #[error("{task} was ended before it was done")]
    Cancelled {
        /// Which.
        task: &'static str,
    },
}

impl Supervisor {
    /// Runs a task that lasts: `run` makes it, and makes it anew after a panic. It ends when it returns, and is not begun
    /// anew once `stop` is cancelled. A task that is in its midst then has to hear of that by itself.
    pub fn spawn<F, T>(&self, task: &'static str, stop: &CancellationToken, mut run: F) -> JoinHandle<()>
    where
        F: FnMut() -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let (supervisor, stop) = (self.clone(), stop.clone());
        self.announce(task);
        tokio::spawn(async move {
            let mut rest = REST_MIN;
            loop {
                let begin = Instant::now();
                // Making the future may panic as well as running it.
                if supervisor.round(task, async { run().await }).await.is_ok() {
                    return;
                }
                if begin.elapsed() >= WELL_AFTER {
                    rest = REST_MIN;
                }
                tokio::select! {
                    () = tokio::time::sleep(rest) => {}
                    () = stop.cancelled() => return,
                }
                rest = (rest * 2).min(REST_MAX);
            }
        })
    }

    /// One round of a loop, within the task that asks.
    ///
    /// # Errors
    /// When it panics. What it had borrowed may be half changed.
    pub async fn round<T>(&self, task: &'static str, work: impl Future<Output = T>) -> Result<T, Panicked> {
        let mut work = pin!(work);
        poll_fn(|context| {
            let watched = hook::Watched::new();
            let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
            drop(watched);
            match polled {
                Ok(polled) => polled.map(Ok),
                Err(payload) => Poll::Ready(Err(self.note(task, &*payload))),
            }
        })
        .await
    }

    /// One round of a loop, on a thread for what takes long or waits for a disk.
    ///
    /// # Errors
    /// When it panics, or the runtime goes down before it was begun.
    pub async fn blocking<T: Send + 'static>(
        &self,
        task: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let supervisor = self.clone();
        let done = tokio::task::spawn_blocking(move || supervisor.catch(task, work)).await;
        Ok(self.joined(task, done)??)
    }

    /// What became of a task that was spawned elsewhere.
    ///
    /// # Errors
    /// When it did not come to its end.
    pub fn joined<T>(&self, task: &'static str, done: Result<T, JoinError>) -> Result<T, Ended> {
        done.map_err(|error| match error.try_into_panic() {
            Ok(payload) => Ended::Panicked(self.note(task, &*payload)),
            Err(_) => Ended::Cancelled { task },
        })
    }
}

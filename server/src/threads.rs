//! Threads of the network and of the API, and the file descriptors that they use.
//!
//! What clients make happen runs on a runtime of its own: however many ask, and whatever they ask for, scrapes, rules,
//! notifications, reloads and the end of the program run on threads that no request can take.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Most threads that evaluate queries, search indexes and write answers. Queries have fewer places; the rest are searches,
/// which wait for one another beyond that.
const API_THREADS_MAX: usize = 256;

/// The runtime of the network and of the API. Dropping it waits for nobody.
pub(crate) struct Network(Option<Runtime>);

impl Network {
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("http")
            .max_blocking_threads(API_THREADS_MAX)
            .enable_all()
            .build()?;
        Ok(Network(Some(runtime)))
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match &self.0 {
            Some(runtime) => runtime.spawn(task),
            // Only its end takes it away.
            None => Handle::current().spawn(task),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Raises the soft limit of file descriptors to the hard one, and tells both. Blocks, connections and targets need more
/// than the 1,024 that are the custom for programs which know only old system calls.
pub(crate) fn raise_descriptor_limit() {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "The soft limit of file descriptors cannot be raised");
    }
    let now = getrlimit(Resource::Nofile);
    // None is no limit.
    let text = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    tracing::info!(
        soft = text(now.current),
        hard = text(now.maximum),
        "File descriptor limits"
    );
}

//! The threads that wait for targets.
//!
//! In a server few of their own: an answer passes from the connection to the loop that waits for it, and where both are on
//! one thread that costs no system call. What takes a processor is done elsewhere ([`crate::workers`]), so that one thread
//! can wait for thousands of targets.

use supervise::OwnRuntime;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

/// Processors for each thread that waits.
const PROCESSORS_PER_THREAD: usize = 4;

/// Where loops wait for their turns and for targets.
#[derive(Default)]
pub(crate) struct Network {
    /// Nothing where it is the runtime of whoever asks.
    own: Option<OwnRuntime>,
}

impl Network {
    /// Threads of their own; the caller's where the system gives none.
    pub(crate) fn own() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = OwnRuntime::start(
            Builder::new_multi_thread()
                .worker_threads(processors.div_ceil(PROCESSORS_PER_THREAD))
                .thread_name("targets")
                .enable_io()
                .enable_time(),
        );
        Network {
            own: runtime
                .inspect_err(|error| tracing::error!(%error, "No threads can be started for targets"))
                .ok(),
        }
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match &self.own {
            Some(runtime) => runtime.handle().spawn(task),
            None => tokio::spawn(task),
        }
    }
}

//! Threads of the network and of the API, threads for one kind of work each, and the file descriptors that they use.
//!
//! What clients make happen runs on a runtime of its own: however many ask, and whatever they ask for, scrapes, rules,
//! notifications, reloads and the end of the program run on threads that no request can take.

use std::io;
use std::sync::mpsc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use supervise::{Held, OwnRuntime};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Most threads that evaluate queries, search indexes and write answers. Queries have fewer places; the rest are searches,
/// which wait for one another beyond that.
const API_THREADS_MAX: usize = 256;

/// The runtime of the network and of the API. Dropping it waits for nobody.
pub(crate) struct Network(OwnRuntime);

impl Network {
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = OwnRuntime::start(
            Builder::new_multi_thread()
                .thread_name("http")
                .max_blocking_threads(API_THREADS_MAX)
                .enable_all(),
        )?;
        Ok(Network(runtime))
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.0.handle().spawn(task)
    }
}

/// A thread that does one thing after another, and nothing but its one kind of work: neither waits for others', nor do
/// they for it. It ends with this.
#[derive(Debug)]
pub(crate) struct Worker(mpsc::Sender<Work>);

type Work = Box<dyn FnOnce() + Send>;

impl Worker {
    /// Starts the thread; with `nice` above 0 it makes way for others.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(name: &str, nice: i32) -> io::Result<Self> {
        let (sender, works) = mpsc::channel::<Work>();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Priority is the thread's own on Linux only. A system that refuses leaves things as they are.
            if cfg!(target_os = "linux") && nice > 0 {
                let _ = rustix::process::setpriority_process(None, nice);
            }
            works.into_iter().for_each(|work| work());
        })?;
        Ok(Worker(sender))
    }

    /// Does `work` when its turn comes. It is done, too, where nobody waits for it any more.
    ///
    /// # Errors
    /// When it panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Held> {
        let (done, result) = oneshot::channel();
        let work = Box::new(move || {
            let _ = done.send(supervise::hold(work));
        });
        // The thread outlives the panics of its work, and so ends only with this.
        if self.0.send(work).is_err() {
            std::future::pending::<()>().await;
        }
        match result.await {
            Ok(result) => result,
            Err(_) => std::future::pending().await,
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

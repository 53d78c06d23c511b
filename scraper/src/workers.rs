//! Threads for what takes a processor and a disk: inflating and reading bodies, writing to storage. The threads that
//! serve the network only hand over, so that a body of a hundred megabytes delays nobody's request and no other scrape's
//! timeout.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// Fewest threads: a huge body takes one of them for a while.
const THREADS_MIN: usize = 2;

type Work = Box<dyn FnOnce() + Send>;

/// A panic of somebody else's code; the text is its message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panic: {0}")]
pub struct Panicked(pub(crate) String);

impl Panicked {
    pub(crate) fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Panicked(text.unwrap_or_else(|| "without a message".to_owned()))
    }
}

/// Calls `work`; a panic is an error. What `work` has left half done is the caller's to clear away.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Panicked::new(&*payload))
}

/// Awaits `future`; a panic is an error, and drops the future.
pub(crate) async fn caught_async<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        use std::task::Poll;
        match caught(|| future.as_mut().poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panicked) => Poll::Ready(Err(panicked)),
        }
    })
    .await
}

/// The threads. They end once the last handle is gone and everything handed over is done.
///
/// The queue needs no bound of its own: each loop waits for its work, so that it holds one piece a target at most.
pub(crate) struct Workers {
    /// Nothing where work is done at once, on whichever thread asks.
    queue: Option<Arc<Queue>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    works: VecDeque<Work>,
    closed: bool,
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.state.lock().closed = true;
            queue.wake.notify_all();
        }
    }
}

impl Workers {
    /// A thread for each processor.
    pub(crate) fn start() -> Self {
        let queue = Arc::new(Queue::default());
        let threads = std::thread::available_parallelism().map_or(THREADS_MIN, usize::from);
        let mut started = 0;
        for number in 0..threads.max(THREADS_MIN) {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name(format!("scrape-{number}"));
            match thread.spawn(move || queue.serve()) {
                Ok(_) => started += 1,
                Err(error) => tracing::error!(%error, "A thread for scraping cannot be started"),
            }
        }
        Workers {
            queue: (started > 0).then_some(queue),
        }
    }

    /// No threads: work is done at once. For tests under a paused clock, which would run on while a thread works.
    #[cfg(test)]
    pub(crate) fn inline() -> Self {
        Workers { queue: None }
    }

    /// Does `work` on one of the threads. It is done to its end even where nobody waits for it any more.
    ///
    /// # Errors
    /// When it panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let Some(queue) = &self.queue else {
            return caught(work);
        };
        let (done, result) = oneshot::channel();
        queue.push(Box::new(move || drop(done.send(caught(work)))));
        match result.await {
            Ok(result) => result,
            Err(_) => Err(Panicked("the threads are gone".to_owned())),
        }
    }
}

impl Queue {
    fn push(&self, work: Work) {
        self.state.lock().works.push_back(work);
        self.wake.notify_one();
    }

    /// Works until everything is done and nothing more can come.
    fn serve(&self) {
        loop {
            let mut state = self.state.lock();
            let work = loop {
                match state.works.pop_front() {
                    Some(work) => break work,
                    None if state.closed => return,
                    None => self.wake.wait(&mut state),
                }
            };
            drop(state);
            work();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_costs_one_piece_of_work() {
        let workers = Workers::start();
        for _ in 0..20 {
            let panicked = workers.run(|| panic!("of work {}", 1)).await;
            assert_eq!(panicked, Err::<(), _>(Panicked("of work 1".to_owned())));
        }
        let name = || std::thread::current().name().map(str::to_owned);
        let name = workers.run(name).await.unwrap().unwrap();
        assert!(name.starts_with("scrape-"), "{name}");
        assert_eq!(
            caught_async(async { panic!("of a future") }).await,
            Err::<(), _>(Panicked("of a future".to_owned()))
        );
    }

    #[tokio::test]
    async fn long_work_does_not_hold_up_the_rest() {
        let workers = Workers::start();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let long = workers.run(move || wait.recv().is_ok());
        let mut long = std::pin::pin!(long);
        tokio::select! {
            biased;
            _ = &mut long => panic!("nobody has let it go"),
            short = workers.run(|| 1) => assert_eq!(short, Ok(1)),
        }
        go.send(()).unwrap();
        assert_eq!(long.await, Ok(true));
    }
}

//! Threads for what takes a processor and a disk: inflating and reading bodies, writing to storage. The threads that
//! serve the network only hand over, so that a body of a hundred megabytes delays nobody's request and no other scrape's
//! timeout.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use supervise::{Ended, Panicked, Supervisor};
use tokio::sync::oneshot;

/// Fewest threads: a huge body takes one of them for a while.
const THREADS_MIN: usize = 2;

type Work = Box<dyn FnOnce() + Send>;

/// The threads. They end once the last handle is gone and everything handed over is done.
///
/// The queue needs no bound of its own: each loop waits for its work, so that it holds one piece a target at most.
pub(crate) struct Workers {
    /// Nothing where work is done at once, on whichever thread asks.
    queue: Option<Arc<Queue>>,
    supervisor: Supervisor,
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
    pub(crate) fn start(supervisor: &Supervisor) -> Self {
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
            supervisor: supervisor.clone(),
        }
    }

    /// No threads: work is done at once. For tests under a paused clock, which would run on while a thread works.
    #[cfg(test)]
    pub(crate) fn inline(supervisor: &Supervisor) -> Self {
        Workers {
            queue: None,
            supervisor: supervisor.clone(),
        }
    }

    /// Begins `work`, a round of `task`, on one of the threads. It is done to its end even where nobody asks for its
    /// result.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        task: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Pending<T> {
        let supervisor = self.supervisor.clone();
        let (done, result) = oneshot::channel();
        let work = move || drop(done.send(supervisor.catch(task, work)));
        match &self.queue {
            Some(queue) => queue.push(Box::new(work)),
            None => work(),
        }
        Pending { task, result }
    }
}

/// Work that was begun. Nobody is woken when it ends, unless its result is waited for by then.
#[must_use = "its result says whether it panicked"]
pub(crate) struct Pending<T> {
    task: &'static str,
    result: oneshot::Receiver<Result<T, Panicked>>,
}

impl<T> Pending<T> {
    /// Waits until it is done.
    ///
    /// # Errors
    /// When it has panicked.
    pub(crate) async fn result(self) -> Result<T, Ended> {
        match self.result.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Ended::Cancelled { task: self.task }),
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
        let supervisor = Supervisor::new(&metrics::Registry::new());
        let workers = Workers::start(&supervisor);
        for _ in 0..20 {
            let panicked = workers.begin("work", || panic!("of work {}", 1)).result().await;
            let panicked: Result<(), _> = panicked;
            assert!(panicked.unwrap_err().to_string().contains("of work 1"));
        }
        assert_eq!(supervisor.panics("work"), 20);
        let name = || std::thread::current().name().map(str::to_owned);
        let name = workers.begin("work", name).result().await.unwrap().unwrap();
        assert!(name.starts_with("scrape-"), "{name}");
    }

    #[tokio::test]
    async fn long_work_does_not_hold_up_the_rest() {
        let workers = Workers::start(&Supervisor::new(&metrics::Registry::new()));
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let long = workers.begin("work", move || wait.recv().is_ok()).result();
        let mut long = std::pin::pin!(long);
        tokio::select! {
            biased;
            _ = &mut long => panic!("nobody has let it go"),
            short = workers.begin("work", || 1).result() => assert_eq!(short, Ok(1)),
        }
        go.send(()).unwrap();
        assert_eq!(long.await, Ok(true));
    }
}

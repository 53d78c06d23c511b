//! No task ends in silence: a panic costs one round of a loop, is counted and logged, and the loop goes on.
//!
//! A [`Supervisor`] is made from the registry of metrics; those made from the same registry count in the same metric,
//! `narthex_task_panics_total{task}`, so each room makes its own. It gives three doors:
//!
//! * [`Supervisor::spawn`] for a task that runs as long as the server does: after a panic it is begun anew, later each
//!   time, until it returns by itself or is told to stop.
//! * [`Supervisor::round`] (asynchronous), [`Supervisor::blocking`] (on a thread for such work) and
//!   [`Supervisor::catch`] (where one is) for one round of a loop: one scrape, one evaluation, one batch. What panicked
//!   is an error like any other, with the panic's words in it, to be shown where the failures of that round are shown.
//! * [`hold`] for work that is done on another thread for somebody who is watched: the panic is carried over, with its
//!   place, and counts there.
//! * [`Supervisor::joined`] for a task that was spawned elsewhere and has been waited for.
//!
//! This crate knows nothing of what the tasks do, and never ends the process. The one decision behind it: whether a
//! panic is survived is said where the task is started, not in each task. State that a panic leaves half changed is the
//! task's own to bear; [`Supervisor::spawn`] therefore takes a function that makes the task's state anew.
//!
//! ```
//! let supervisor = narthex_supervise::Supervisor::new(&metrics::Registry::new());
//! let page = supervisor.catch("scrape", || -> u32 { panic!("no such page") });
//! assert_eq!(page.expect_err("it panics").message(), "no such page");
//! assert_eq!(supervisor.panics("scrape"), 1);
//! ```

mod hook;
#[cfg(feature = "tokio")]
mod runtime;
#[cfg(feature = "tokio")]
mod tasks;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Counter, Family, Registry};
use parking_lot::Mutex;

pub use hook::install as install_panic_hook;
#[cfg(feature = "tokio")]
pub use runtime::OwnRuntime;
#[cfg(feature = "tokio")]
pub use tasks::Ended;

/// The same panic of the same task is logged again after this time only; the counter has all.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Watches over tasks. Clones count together.
#[derive(Clone)]
pub struct Supervisor {
    panics: Family<Counter>,
    said: Arc<Mutex<BTreeMap<&'static str, Said>>>,
}

/// What was logged of a task.
struct Said {
    message: String,
    at: Instant,
    /// Panics since, which were not logged.
    silent: u64,
}

/// Something panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panic in {task}: {message}{}", at(place))]
pub struct Panicked {
    /// Which task.
    task: &'static str,
    /// The panic's own words.
    message: String,
    /// Where in the source; empty where that is not known.
    place: String,
}

fn at(place: &str) -> String {
    if place.is_empty() {
        return String::new();
    }
    format!(" ({place})")
}

/// A panic on its way to whom it matters.
pub struct Held {
    message: String,
    place: String,
}

impl Held {
    /// Goes on with the panic here.
    pub fn resume(self) -> ! {
        // Without the hook: it has seen this panic already.
        resume_unwind(Box::new(self))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panic: {}{}", self.message, at(&self.place))
    }
}

/// Does `work`, and holds its panic.
///
/// # Errors
/// When it panics.
pub fn hold<T>(work: impl FnOnce() -> T) -> Result<T, Held> {
    let _watched = hook::Watched::new();
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Held {
        message: words(&*payload),
        place: hook::take_place(),
    })
}

/// What a panic says.
fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("something that is no text").to_owned()
}

impl Panicked {
    /// Which task.
    pub fn task(&self) -> &'static str {
        self.task
    }

    /// The panic's own words.
    pub fn message(&self) -> &str {
        &self.message
    }

    fn new(task: &'static str, payload: &(dyn Any + Send)) -> Self {
        let (message, place) = match payload.downcast_ref::<Held>() {
            Some(held) => (held.message.clone(), held.place.clone()),
            None => (words(payload), hook::take_place()),
        };
        Panicked { task, message, place }
    }
}

impl Supervisor {
    /// Counts in `registry`, together with others made from it.
    pub fn new(registry: &Registry) -> Self {
        let help = "Panics of tasks that have gone on since: each has cost one round of the task.";
        hook::install();
        Supervisor {
            panics: registry.counter_vec("narthex_task_panics_total", help, &["task"]),
            said: Arc::default(),
        }
    }

    /// Panics of a task so far.
    pub fn panics(&self, task: &'static str) -> u64 {
        self.panics.with(&[task]).get() as u64
    }

    /// Makes a task's counter appear with zero, so that its rise is seen.
    pub fn announce(&self, task: &'static str) {
        self.panics.with(&[task]);
    }

    /// Does `work` here and now.
    ///
    /// # Errors
    /// When it panics. What it had borrowed may be half changed.
    pub fn catch<T>(&self, task: &'static str, work: impl FnOnce() -> T) -> Result<T, Panicked> {
        let _watched = hook::Watched::new();
        catch_unwind(AssertUnwindSafe(work)).map_err(|payload| self.note(task, &*payload))
    }

    /// Counts a panic, and says it.
    fn note(&self, task: &'static str, payload: &(dyn Any + Send)) -> Panicked {
        let panicked = Panicked::new(task, payload);
        self.panics.with(&[task]).inc();
        let now = Instant::now();
        let mut said = self.said.lock();
        let before = said.get_mut(task).filter(|before| {
            before.message == panicked.message && now.duration_since(before.at) < SAID_AGAIN_AFTER
        });
        if let Some(before) = before {
            before.silent += 1;
            return panicked;
        }
        let silent = said.get(task).map_or(0, |before| before.silent);
        let message = panicked.message.clone();
        said.insert(
            task,
            Said {
                message,
                at: now,
                silent: 0,
            },
        );
        drop(said);
        tracing::error!(
            task,
            panic = panicked.message,
            at = panicked.place,
            more_since_last_said = silent,
            "A task panicked; it goes on"
        );
        panicked
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").finish_non_exhaustive()
    }
}

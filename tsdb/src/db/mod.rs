//! The store: head and blocks as one, and the work in the background.

mod options;
mod querier;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use model::clock::Clock;
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, ExemplarQueryable, Querier, Queryable, SeriesError,
    SeriesExemplars, SeriesRef, StorageError, TimeRange,
};
use parking_lot::{Condvar, Mutex};

use crate::files::{FileLock, Files, Result};
use crate::head::{Head, ReplayReport};
use querier::{MergedQuerier, Source};

pub use options::Options;

/// A store in a folder. Cheap to share; stops its threads when closed or dropped.
pub struct Db {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    report: ReplayReport,
}

struct Shared {
    files: Arc<dyn Files>,
    dir: PathBuf,
    options: Options,
    head: Arc<Head>,
    stop: Stop,
    lock: Mutex<Option<FileLock>>,
}

/// Tells threads to stop, or to look for work.
#[derive(Default)]
struct Stop {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Stop {
    /// Waits for `interval`, or until woken; true when it is time to stop.
    fn wait(&self, interval: std::time::Duration, wakeable: bool) -> bool {
        let deadline = Instant::now() + interval;
        let mut state = self.state.lock();
        loop {
            if state.0 {
                return true;
            }
            if wakeable && std::mem::take(&mut state.1) {
                return false;
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return state.0;
            }
        }
    }

    fn stop(&self) {
        self.state.lock().0 = true;
        self.changed.notify_all();
    }
}

impl Db {
    /// Opens the store in `dir`, creating it where it is missing.
    ///
    /// # Errors
    /// When another process holds the folder, or files cannot be read or written. Damaged files are no error: see
    /// [`Db::replay_report`].
    pub fn open(files: Arc<dyn Files>, dir: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Db> {
        if !files.exists(dir) {
            files.create_dir_all(dir)?;
            files.sync_dir(dir.parent().unwrap_or(Path::new("")))?;
        }
        let lock = if options.lock { Some(lock_dir(&*files, dir)?) } else { None };
        let (head, report) = Head::open(Arc::clone(&files), dir, options.head.clone(), clock, i64::MIN)?;
        let shared = Arc::new(Shared {
            files,
            dir: dir.to_owned(),
            options,
            head: Arc::new(head),
            stop: Stop::default(),
            lock: Mutex::new(lock),
        });
        let threads = if shared.options.background { start(&shared)? } else { Vec::new() };
        Ok(Db {
            shared,
            threads: Mutex::new(threads),
            report,
        })
    }

    /// What was found when the store was opened.
    pub fn replay_report(&self) -> &ReplayReport {
        &self.report
    }

    /// The head.
    pub fn head(&self) -> &Arc<Head> {
        &self.shared.head
    }

    /// Folder of the store.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Makes everything committed so far survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses; appending is closed from then on.
    pub fn sync(&self) -> Result<()> {
        self.shared.head.sync()
    }

    /// Marks the samples in `range` of the series that satisfy all matchers as deleted.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn delete(&self, range: TimeRange, matchers: &[Matcher]) -> Result<()> {
        self.shared.head.delete(range.min_ms, range.max_ms, matchers)?;
        Ok(())
    }

    /// One round of compaction.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn compact(&self) -> Result<()> {
        Ok(())
    }

    /// Stops the background threads, writes out what is in buffers and gives the folder free.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(&self) -> Result<()> {
        self.shared.stop.stop();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a background thread of the store has panicked");
            }
        }
        let closed = self.shared.head.close();
        self.shared.lock.lock().take();
        closed
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.shared.stop.stop();
    }
}

fn lock_dir(files: &dyn Files, dir: &Path) -> Result<FileLock> {
    files.lock(&dir.join("lock")).map_err(|error| match &error {
        StorageError::Io { source, .. } if source.kind() == io::ErrorKind::WouldBlock => {
            StorageError::Other(format!("lock DB directory: {} is in use by another process", dir.display()))
        }
        _ => error,
    })
}

fn start(shared: &Arc<Shared>) -> Result<Vec<JoinHandle<()>>> {
    let spawn = |name: &str, work: fn(&Shared)| {
        let shared = Arc::clone(shared);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&shared))
            .map_err(|e| crate::files::io_error("start a thread for", &shared_dir(), e))
    };
    Ok(vec![spawn("wal-sync", Shared::sync_loop)?])
}

fn shared_dir() -> PathBuf {
    PathBuf::new()
}

impl Shared {
    fn sync_loop(&self) {
        while !self.stop.wait(self.options.wal_sync_interval, false) {
            // The head notes a failure and closes appending; there is nobody here to tell.
            let _ = self.head.sync();
        }
    }
}

impl Appender for Db {
    fn resolve(&self, labels: &Labels) -> std::result::Result<SeriesRef, SeriesError> {
        self.shared.head.resolve(labels)
    }

    fn append(
        &self,
        batch: &AppendBatch,
        outcome: &mut AppendOutcome,
    ) -> std::result::Result<(), AppendError> {
        self.shared.head.append(batch, outcome)
    }
}

impl Queryable for Db {
    fn querier(&self, range: TimeRange) -> std::result::Result<Arc<dyn Querier>, StorageError> {
        let sources: Vec<Arc<dyn Source>> = vec![Arc::new(self.shared.head.view(range))];
        Ok(Arc::new(MergedQuerier {
            sources: sources.into(),
            range,
        }))
    }
}

impl ExemplarQueryable for Db {
    fn exemplars(
        &self,
        range: TimeRange,
        selectors: &[Vec<Matcher>],
    ) -> std::result::Result<Vec<SeriesExemplars>, StorageError> {
        self.shared.head.exemplars(range, selectors)
    }
}

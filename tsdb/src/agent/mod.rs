//! The store of an agent: what is appended goes to the log, and from there to others.
//!
//! An agent scrapes and sends on, and nobody asks it for anything. So it keeps neither samples nor labels in memory, only
//! which series there are and when each had its newest sample (`series`). Whoever follows the log ([`Log`]) finds the rest
//! there. Its folder is that of the reference's agent, `wal/` with checkpoints, and each of the two goes on where the other
//! one left off.
//!
//! The one decision behind it: the log is the store, and is cut behind whoever follows it (`truncate`). There is neither a
//! head nor a block; what an agent shares with [`Db`](crate::db::Db) is the log alone.
//!
//! ```
//! use std::sync::Arc;
//! use files::MemFiles;
//! use model::clock::ManualClock;
//! use model::labels::Labels;
//! use model::log::{Log, LogPosition, LogRecord, LogStep};
//! use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample};
//! use narthex_tsdb::agent::{Agent, Options};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options { background: false, ..Options::default() };
//! let agent = Agent::new(Arc::new(MemFiles::new()), "data-agent".as_ref(), options, Arc::new(ManualClock::new(0)))?;
//! agent.open_log()?;
//!
//! let series = agent.resolve(&Labels::from_pairs([("__name__", "up"), ("job", "api")]))?;
//! let mut batch = AppendBatch::default();
//! batch.floats.push(FloatSample { series, timestamp_ms: 1000, value: 1.0 });
//! agent.append(&batch, &mut AppendOutcome::default())?;
//!
//! let (mut reader, mut record) = (agent.follow(LogPosition::default())?, LogRecord::default());
//! assert_eq!(reader.read(&mut record)?, LogStep::Record);
//! assert_eq!(record.series[0].1.get("job"), Some("api"));
//! assert_eq!(reader.read(&mut record)?, LogStep::Record);
//! assert_eq!((record.floats[0].series, record.floats[0].value), (series, 1.0));
//! # Ok(())
//! # }
//! ```

mod append;
mod options;
mod replay;
mod series;
mod telemetry;
mod truncate;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use model::clock::Clock;
use model::labels::Labels;
use model::log::{Appended, Log, LogPosition, LogReader};
use model::packed_sets::PackedSets;
use model::storage::{AppendBatch, AppendError, AppendOutcome, Appender, SeriesError, SeriesRef};
use parking_lot::{Mutex, RwLock};

use crate::folder::Folder;
use crate::setbacks::{PAUSE_MIN, Setbacks};
use crate::stop::Stop;
use crate::wal::{
    ExemplarEntry, Follower, FreshSeries, Kept, ReplayProgress, Wal, bytes_from, check_labels, end,
};
use append::Scratch;
use files::{Files, Result, io_error};
use series::Series;
use telemetry::Counters;

pub use options::Options;
pub use replay::Report;
pub use truncate::Truncated;

/// Folder of the log below the agent's.
pub const WAL_DIR: &str = "wal";

/// Names of the threads in the background, and what their panics are counted under.
const WAL_SYNC: &str = "wal-sync";
const WAL_TRUNCATION: &str = "wal-truncation";

/// The store of an agent in a folder. Stops its threads when closed or dropped.
pub struct Agent {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    files: Arc<dyn Files>,
    dir: PathBuf,
    options: Options,
    clock: Arc<dyn Clock>,
    /// There once the log is read.
    log: OnceLock<SeriesLog>,
    /// What of the log somebody else still reads.
    kept: Kept,
    out_of_order_window_ms: AtomicI64,
    counters: Counters,
    setbacks: Mutex<Setbacks>,
    stop: Stop,
    folder: Folder,
}

/// The log, and the series that it names.
///
/// Lock order: gate, index of the series, series that are new, the log.
/// Invariant: appending holds the gate shared and removing series holds it alone, so a series that a transaction has
/// checked is there when the transaction is logged.
struct SeriesLog {
    wal: Arc<Wal>,
    report: Report,
    series: Series,
    fresh: FreshSeries,
    gate: RwLock<()>,
    /// Series that are gone, and the segment up to which the log may speak of them.
    removed: Mutex<HashMap<u64, u64>>,
    /// The newest exemplar of each series that had any: sources show one again and again.
    exemplars: Mutex<HashMap<u64, ExemplarEntry>>,
    /// Hash of what was last told of a series.
    told: Mutex<HashMap<u64, u64>>,
    newest_ms: AtomicI64,
    #[expect(clippy::vec_box, reason = "moved in and out by every transaction, and large")]
    scratch: Mutex<Vec<Box<Scratch>>>,
}

impl Agent {
    /// Takes the folder `dir`, and makes it where it is missing. What needs the log waits for [`Agent::open_log`].
    ///
    /// # Errors
    /// When another process holds the folder, or the disk refuses.
    pub fn new(files: Arc<dyn Files>, dir: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Agent> {
        let folder = Folder::open(&*files, dir, options.lock)?;
        let shared = Arc::new(Shared {
            files,
            dir: dir.to_owned(),
            out_of_order_window_ms: AtomicI64::new(options.out_of_order_window_ms),
            options,
            clock,
            log: OnceLock::new(),
            kept: Kept::default(),
            counters: Counters::default(),
            setbacks: Mutex::default(),
            stop: Stop::default(),
            folder,
        });
        Ok(Agent {
            shared,
            threads: Mutex::default(),
        })
    }

    /// Reads the log and starts the work in the background. Once for each agent.
    ///
    /// # Errors
    /// When files cannot be read or written, or the reading was cancelled (`StorageError::Closed`). Damaged segments are
    /// no error: see [`Agent::report`].
    pub fn open_log(&self) -> Result<()> {
        let shared = &self.shared;
        let log = SeriesLog::open(shared)?;
        // Nobody else sets it.
        let _ = shared.log.set(log);
        if shared.options.background {
            self.threads.lock().extend(start(shared)?);
        }
        Ok(())
    }

    /// What was found in the log; `None` until it is read.
    pub fn report(&self) -> Option<&Report> {
        self.shared.log.get().map(|log| &log.report)
    }

    /// Folder of the store.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// How far the reading of the log has come.
    pub fn progress(&self) -> &Arc<ReplayProgress> {
        &self.shared.options.progress
    }

    /// Number of series; 0 until the log is read.
    pub fn series_len(&self) -> usize {
        self.shared.log.get().map_or(0, |log| log.series.len())
    }

    /// The log.
    pub fn wal(&self) -> &Arc<Wal> {
        &self.shared.log().wal
    }

    /// Changes how late samples may be, in milliseconds; 0 refuses them.
    pub fn set_out_of_order_window(&self, window_ms: i64) {
        let window = &self.shared.out_of_order_window_ms;
        window.store(window_ms, Ordering::Relaxed);
    }

    /// Why nothing can be written at present, if so.
    pub fn write_failure(&self) -> Option<String> {
        let failure = self.shared.log.get()?.wal.failure();
        failure.map(|error| error.to_string())
    }

    /// Forgets idle series and cuts the log, as the background does from time to time.
    ///
    /// # Errors
    /// When segments are damaged or the disk refuses; the log is then as it was.
    pub fn truncate(&self) -> Result<Truncated> {
        self.shared.truncate()
    }

    /// Makes everything appended so far survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses; appending is closed from then on.
    pub fn sync(&self) -> Result<()> {
        self.shared.log().wal.sync()
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
        let closed = self.shared.log.get().map_or(Ok(()), |log| {
            log.queue_fresh();
            log.wal.sync()
        });
        self.shared.folder.give_free();
        closed
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shared.stop.stop();
    }
}

fn start(shared: &Arc<Shared>) -> Result<Vec<JoinHandle<()>>> {
    let spawn = |task: &'static str, work: fn(&Shared)| {
        let of_thread = Arc::clone(shared);
        shared.options.supervisor.announce(task);
        std::thread::Builder::new()
            .name(task.to_owned())
            .spawn(move || of_thread.outlive(task, work))
            .map_err(|error| io_error("start a thread for", &shared.dir, error))
    };
    Ok(vec![
        spawn(WAL_SYNC, Shared::sync_loop)?,
        spawn(WAL_TRUNCATION, Shared::truncate_loop)?,
    ])
}

impl Shared {
    /// The log; waits until it is read.
    fn log(&self) -> &SeriesLog {
        self.log.wait()
    }

    fn wal_dir(&self) -> PathBuf {
        self.dir.join(WAL_DIR)
    }

    /// Does a loop of the background until it returns. A panic costs the round that it happens in, and a rest.
    fn outlive(&self, task: &'static str, work: fn(&Shared)) {
        while self.options.supervisor.catch(task, || work(self)).is_err() {
            if self.stop.wait(PAUSE_MIN, false) {
                return;
            }
        }
    }

    fn sync_loop(&self) {
        while !self.stop.wait(self.options.wal_sync_interval, false) {
            // The log notes a failure and closes itself; there is nobody here to tell.
            let _ = self.log().wal.sync();
        }
    }
}

impl Appender for Agent {
    fn resolve(&self, labels: &Labels) -> std::result::Result<SeriesRef, SeriesError> {
        check_labels(labels)?;
        let log = self.shared.log();
        let mut is_full = false;
        let identity = log.series.identity(labels.packed());
        let resolved = log
            .series
            .resolve(identity, self.shared.options.series_max, |reference| {
                is_full = log.fresh.add(reference, labels);
            });
        if is_full {
            log.queue_fresh();
        }
        resolved
    }

    fn find(&self, sets: &PackedSets, found: &mut Vec<Option<SeriesRef>>) {
        let series = &self.shared.log().series;
        found.clear();
        found.extend(sets.iter().map(|set| series.find(series.identity(set))));
    }

    fn append(
        &self,
        batch: &AppendBatch,
        outcome: &mut AppendOutcome,
    ) -> std::result::Result<(), AppendError> {
        self.shared.append(batch, outcome)
    }
}

/// All but [`Log::keep_from`] and [`Log::bytes_from`] wait until the log is read.
impl Log for Agent {
    fn end(&self) -> LogPosition {
        end(self.wal())
    }

    fn follow(&self, from: LogPosition) -> Result<Box<dyn LogReader>> {
        let (files, wal) = (Arc::clone(&self.shared.files), Arc::clone(self.wal()));
        Ok(Box::new(Follower::new(files, wal, from)?))
    }

    fn keep_from(&self, segment: Option<u64>) {
        self.shared.kept.set(segment);
    }

    fn bytes_from(&self, segment: u64) -> Result<u64> {
        bytes_from(&*self.shared.files, &self.shared.wal_dir(), segment)
    }

    fn on_write(&self, hook: Arc<dyn Fn() + Send + Sync>) {
        self.wal().on_write(hook);
    }

    fn appended(&self) -> Appended {
        let counters = &self.shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let newest_ms = |log: &SeriesLog| log.newest_ms.load(Ordering::Relaxed);
        Appended {
            floats: load(&counters.floats),
            histograms: load(&counters.histograms),
            exemplars: load(&counters.exemplars),
            newest_ms: self.shared.log.get().map_or(0, newest_ms).max(0),
        }
    }
}

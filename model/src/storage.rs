//! The doors of storage: how samples go in and how they come out.
//!
//! In: a transaction is built as plain data ([`AppendBatch`]) and handed over in one call. Out: [`Querier::select`]
//! looks only at the index; [`SeriesSet::read`] decodes one series into the caller's [`Columns`].

use std::path::PathBuf;
use std::sync::Arc;

use crate::changes::Changes;
use crate::chunk::Chunk;
use crate::columns::Columns;
use crate::histogram::Histogram;
use crate::label_table::LabelTable;
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::packed_sets::PackedSets;
use crate::purpose::{SelectPurpose, Selection};
use crate::sample::{Exemplar, Metadata};

/// A stored series as an appender knows it. Valid until the store forgets the series, which it tells by
/// [`AppendError::UnknownSeries`]. Below 2^40, because the reference packs it into chunk references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u64);

/// A closed range of time: both ends belong to it. (PromQL's left-open windows are made closed before they get here.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// First millisecond.
    pub min_ms: i64,
    /// Last millisecond.
    pub max_ms: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange {
        min_ms: i64::MIN,
        max_ms: i64::MAX,
    };

    /// The range from `min_ms` to `max_ms`, both included; empty when they are the wrong way round.
    pub fn new(min_ms: i64, max_ms: i64) -> Self {
        TimeRange { min_ms, max_ms }
    }

    /// Whether `timestamp_ms` lies inside.
    pub fn contains(&self, timestamp_ms: i64) -> bool {
        self.min_ms <= timestamp_ms && timestamp_ms <= self.max_ms
    }

    /// Whether the two ranges share a millisecond.
    pub fn overlaps(&self, other: &TimeRange) -> bool {
        self.min_ms <= other.max_ms && other.min_ms <= self.max_ms
    }

    /// The shortest range around both.
    pub fn hull(&self, other: &TimeRange) -> TimeRange {
        TimeRange::new(self.min_ms.min(other.min_ms), self.max_ms.max(other.max_ms))
    }
}

// ---------------------------------------------------------------------------------------------------------------- in

/// A float sample of a transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatSample {
    /// Whose.
    pub series: SeriesRef,
    /// When, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// What.
    pub value: f64,
}

/// A histogram sample of a transaction. A stale marker is a histogram whose `sum` is the staleness marker.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// Whose.
    pub series: SeriesRef,
    /// When, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// What.
    pub histogram: Histogram,
}

/// One transaction: everything that a scrape, a rule evaluation or a remote write adds. Plain data, reusable.
#[derive(Clone, Debug, Default)]
pub struct AppendBatch {
    /// Floats, in order of appearance.
    pub floats: Vec<FloatSample>,
    /// Start timestamps of `floats` (milliseconds, 0 where unknown): empty, or one entry a float.
    pub float_starts_ms: Vec<i64>,
    /// Histograms, in order of appearance.
    pub histograms: Vec<HistogramSample>,
    /// Start timestamps of `histograms`: empty, or one entry a histogram.
    pub histogram_starts_ms: Vec<i64>,
    /// Exemplars; appended after the samples.
    pub exemplars: Vec<(SeriesRef, Exemplar)>,
    /// Metadata that is new or has changed since the source was last seen.
    pub metadata: Vec<(SeriesRef, Metadata)>,
    /// Refuse samples older than the series' newest even where an out-of-order window would take them: rule results
    /// must not depend on the order of evaluation.
    pub discard_out_of_order: bool,
    /// Which of `floats` are not the source's own but say that something begins there, by their places, ascending. They
    /// are only ever added to the end of a series, and nobody is told of one that is not.
    pub start_floats: Vec<u32>,
    /// The same of `histograms`.
    pub start_histograms: Vec<u32>,
    /// Take all samples or none: where one is refused, nothing is applied. Exemplars hinder nothing, and neither does
    /// [`Refusal::Overtaken`] or [`Refusal::Doubled`], which is found out too late.
    pub all_or_nothing: bool,
}

impl AppendBatch {
    /// Whether there is nothing to append.
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty()
            && self.histograms.is_empty()
            && self.exemplars.is_empty()
            && self.metadata.is_empty()
    }

    /// Empties the batch and keeps its buffers.
    pub fn clear(&mut self) {
        self.floats.clear();
        self.float_starts_ms.clear();
        self.histograms.clear();
        self.histogram_starts_ms.clear();
        self.exemplars.clear();
        self.metadata.clear();
        self.discard_out_of_order = false;
        self.start_floats.clear();
        self.start_histograms.clear();
        self.all_or_nothing = false;
    }
}

/// Which list of an [`AppendBatch`] a refusal speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchList {
    /// [`AppendBatch::floats`]
    Floats,
    /// [`AppendBatch::histograms`]
    Histograms,
    /// [`AppendBatch::exemplars`]
    Exemplars,
}

/// Why a single sample was not taken although the transaction as a whole was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Older than the newest sample of its series.
    #[error("out of order sample")]
    OutOfOrder,
    /// While the transaction was applied, its series had a sample as new or newer already, one that was not there when the
    /// transaction began: mostly another one of the same transaction. Sources do not hear of those in the reference.
    #[error("out of order sample")]
    Overtaken,
    /// While the transaction was applied, its series had got another value for this time, one that was not there when the
    /// transaction began. As [`Refusal::Overtaken`], and not counted as out of order.
    #[error("duplicate sample for timestamp")]
    Doubled,
    /// Another value is stored for this timestamp.
    #[error("duplicate sample for timestamp")]
    DuplicateTimestamp,
    /// Older than what the head still takes, with out-of-order samples switched off.
    #[error("out of bounds")]
    OutOfBounds,
    /// Older than the out-of-order window.
    #[error("too old sample")]
    TooOld,
    /// Too far in the future.
    #[error("sample is too far in the future")]
    TooFarInFuture,
    /// Native histogram whose buckets, spans or counts contradict each other.
    #[error("invalid native histogram")]
    InvalidHistogram,
    /// Older than the series' newest exemplar.
    #[error("out of order exemplar")]
    OutOfOrderExemplar,
    /// The same exemplar is the series' newest already.
    #[error("duplicate exemplar")]
    DuplicateExemplar,
    /// The exemplar's labels are longer than 128 characters.
    #[error("label length for exemplar exceeds maximum")]
    ExemplarLabelsTooLong,
    /// Exemplar storage is switched off.
    #[error("exemplar storage is disabled")]
    ExemplarsDisabled,
}

/// What became of a transaction. Reusable: [`Appender::append`] empties it first.
#[derive(Clone, Debug, Default)]
pub struct AppendOutcome {
    /// Samples taken, floats and histograms.
    pub accepted: u64,
    /// Items that were not taken, with their index in their list.
    pub refused: Vec<(BatchList, u32, Refusal)>,
}

/// Why a series could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesError {
    /// The store's limit of series is reached.
    #[error("limit of active series reached")]
    LimitReached,
    /// A label set without any label.
    #[error("empty labelset: invalid sample")]
    Empty,
    /// A label set that is longer than one may be.
    #[error("label set of {bytes} bytes is longer than the {max} that can be stored")]
    TooLong {
        /// Bytes of its texts.
        bytes: usize,
        /// How many there may be.
        max: usize,
    },
}

/// Why a transaction was not applied, not even in part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// References that the store has forgotten since they were resolved: resolve them again and call once more.
    #[error("{} series references are no longer known; resolve them again", .0.len())]
    UnknownSeries(Vec<SeriesRef>),
    /// The write path failed, now or before; it stays closed until a restart.
    #[error("storage refuses writes: {0}")]
    Storage(#[from] StorageError),
}

/// Takes transactions.
pub trait Appender: Send + Sync {
    /// The reference of the series with these labels; creates the series where it is new. A series becomes visible to
    /// queries with its first sample.
    ///
    /// # Errors
    /// When the series is new and may not be created.
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, SeriesError>;

    /// Replaces the contents of `found` with the references of the series with these label sets, in their order. `None`
    /// says that no series has the set, or that this store has no quicker way than [`Appender::resolve`]. Nothing is
    /// created, no label set is built, and nothing need be valid: bytes that are no label set are nobody's.
    fn find(&self, sets: &PackedSets, found: &mut Vec<Option<SeriesRef>>) {
        found.clear();
        found.resize(sets.len(), None);
    }

    /// Applies the batch: written to the log before this returns, and seen by a query either whole or not at all.
    /// Single samples that cannot be taken are reported in `outcome` and do not hinder the others, unless the batch is
    /// [`all_or_nothing`](AppendBatch::all_or_nothing).
    ///
    /// # Errors
    /// When nothing was applied; see [`AppendError`].
    fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError>;
}

/// Takes floats of any age past the transactions: history that is brought in from elsewhere, series by series.
pub trait History: Send + Sync {
    /// What counts as history now. What is older would be removed again; what is newer is an [`Appender`]'s to take first,
    /// and comes here where that refuses it as too late.
    fn range(&self) -> TimeRange;

    /// Stores floats of series, in any order, a label set once; within a series they are in order of time, one a
    /// timestamp, and there are no histograms. Durable, and seen by queries, when this returns. Where another value is stored
    /// for a timestamp, one of the two is kept.
    ///
    /// # Errors
    /// When files cannot be written; a part may be stored then, and storing it all again does no harm.
    fn insert(&self, series: Vec<(Labels, Columns)>) -> Result<(), StorageError>;
}

/// How far ahead of the clock a sample of others may be, in milliseconds. Whoever takes it in looks: storage knows no clock,
/// and after such a sample would refuse its series' others until then.
pub const AHEAD_MAX_MS: i64 = 10 * 60 * 1000;

/// How often a transaction is made anew, at most, because the store has forgotten series.
const ATTEMPTS_MAX: usize = 3;

/// Makes a transaction and hands it over, both by `attempt`. Where the store has forgotten series since they were resolved,
/// the references are given to `forget`, and it is all done again: the one place for that.
///
/// # Errors
/// What `attempt` says; of unknown series when the store goes on forgetting.
pub fn append_resolved<C: ?Sized, T>(
    context: &mut C,
    mut attempt: impl FnMut(&mut C) -> Result<T, AppendError>,
    mut forget: impl FnMut(&mut C, &[SeriesRef]),
) -> Result<T, AppendError> {
    for _ in 1..ATTEMPTS_MAX {
        match attempt(context) {
            Err(AppendError::UnknownSeries(gone)) => forget(context, &gone),
            done => return done,
        }
    }
    attempt(context)
}

// --------------------------------------------------------------------------------------------------------------- out

/// What else a caller knows when it selects. Storage may use it to do less; it never changes what is read.
#[derive(Clone, Debug, Default)]
pub struct SelectHints {
    /// Return series sorted by their labels.
    pub sorted: bool,
    /// Stop after this many series, names or values; 0 means no limit.
    pub limit: usize,
    /// Is told of what the list of series takes while it grows, and may end that.
    pub watch: Option<Arc<dyn WatchSelect>>,
    /// What for, where nobody has announced it.
    pub purpose: Option<Arc<SelectPurpose>>,
}

impl SelectHints {
    /// Tells whoever watches that the list has grown by `bytes`. To be called every few hundred series, and now and
    /// then (with 0) in between when much is looked at and little found.
    ///
    /// # Errors
    /// When the selection is to end.
    pub fn took(&self, bytes: usize) -> Result<(), StorageError> {
        match &self.watch {
            Some(watch) => Ok(watch.took(bytes)?),
            None => Ok(()),
        }
    }
}

/// Watches over a selection.
pub trait WatchSelect: Send + Sync + std::fmt::Debug {
    /// The list of series has grown by `bytes`, and keeps that much as long as it lives.
    ///
    /// # Errors
    /// When the selection is to end.
    fn took(&self, bytes: usize) -> Result<(), Interrupted>;
}

/// Whoever asked does not want the answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Opens consistent views of the stored data.
pub trait Queryable: Send + Sync {
    /// A view of the data of `range` as it is now: transactions that commit later are not seen.
    ///
    /// # Errors
    /// When the data cannot be opened at all.
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError>;

    /// What has changed, for those who keep answers; `None` while the store cannot tell.
    fn changes(&self) -> Option<&dyn Changes> {
        None
    }
}

/// A consistent view.
pub trait Querier: Send + Sync {
    /// Tells what will be selected, each list of matchers once, before any of it is. A store elsewhere is then asked for all
    /// of it together; others need not know, so `coming` is worked out only when it is called.
    fn announce(&self, _coming: &dyn Fn() -> Vec<Selection>) {}

    /// Series that satisfy every matcher and may have data in the view's range. Touches no samples.
    ///
    /// # Errors
    /// When an index cannot be read.
    fn select(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Arc<dyn SeriesSet>, StorageError>;

    /// Names of the labels of the series that satisfy every matcher, sorted; at most as many as `hints` say, and as long
    /// as whoever watches lets it go on.
    ///
    /// # Errors
    /// When an index cannot be read.
    fn label_names(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>, StorageError>;

    /// Values of label `name` on the series that satisfy every matcher, sorted; at most as many as `hints` say, and as
    /// long as whoever watches lets it go on.
    ///
    /// # Errors
    /// When an index cannot be read.
    fn label_values(
        &self,
        name: &str,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError>;

    /// What is to be told beside names and values: whose they are not among.
    fn label_warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A number that stands for one label set as long as the store is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey(pub u64);

/// Selected series; read from any thread, in any order.
pub trait SeriesSet: Send + Sync {
    /// Number of series.
    fn len(&self) -> usize;

    /// Whether no series was selected.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Labels of series `index`.
    fn labels(&self, index: usize) -> Labels;

    /// The labels of all series as numbers, set `index` being series `index`, where the store has them so: grouping and
    /// joining then look at each distinct pair once, and [`SeriesSet::labels`] need only be asked for what is shown.
    fn label_table(&self) -> Option<&LabelTable> {
        None
    }

    /// The key of series `index`, where the store has one: selections with equal keys are of the same series in the same
    /// order, and what follows from their labels need not be worked out again.
    fn key(&self, _index: usize) -> Option<SeriesKey> {
        None
    }

    /// Replaces the contents of `columns` with the samples of series `index` in `range`, cut to the view's range:
    /// merged over head and blocks, without duplicates, deleted samples left out, staleness markers included.
    ///
    /// # Errors
    /// When a chunk cannot be read.
    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), StorageError>;

    /// Replaces the contents of `chunks` with the same samples encoded, as they lie in storage, in order of time and without
    /// overlap: only what the range, a deletion or another chunk cuts is encoded anew. False where the set has no chunks,
    /// only samples.
    ///
    /// # Errors
    /// When a chunk cannot be read.
    fn chunks(
        &self,
        _index: usize,
        _range: TimeRange,
        _chunks: &mut Vec<Chunk>,
    ) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// What is to be told beside these series: which ones are missing, and why.
    fn warnings(&self) -> &[String] {
        &[]
    }
}

/// Exemplars of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    /// Labels of the series.
    pub series: Labels,
    /// Its exemplars in order of time.
    pub exemplars: Vec<Exemplar>,
}

/// Gives exemplars.
pub trait ExemplarQueryable: Send + Sync {
    /// Exemplars in `range` of the series that satisfy all matchers of at least one of `selectors`, sorted by series.
    ///
    /// # Errors
    /// When they cannot be read.
    fn exemplars(
        &self,
        range: TimeRange,
        selectors: &[Vec<Matcher>],
    ) -> Result<Vec<SeriesExemplars>, StorageError>;
}

/// What can go wrong with stored data.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "read" or "create".
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: Arc<std::io::Error>,
    },
    /// A file does not hold what its format says.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Whoever asked does not want the answer any more.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// An earlier failure closed the write path.
    #[error("writes are closed since an earlier failure: {0}")]
    Poisoned(String),
    /// The newest samples are still being read from the logs; older ones can be had.
    #[error("the newest samples are still being read from the write-ahead log")]
    NotReady,
    /// The store is shut down.
    #[error("storage is closed")]
    Closed,
    /// A remote or layered store reported something of its own.
    #[error("{0}")]
    Other(String),
}

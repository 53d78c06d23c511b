//! Rows on their way from a source through per-series operators to a consumer.
//!
//! Series are cut into runs whose number depends on their count alone, and runs are combined pairwise in their order;
//! threads only decide who does what. So answers are the same bit by bit for any number of threads.

use std::ops::Range;
use std::sync::Arc;

use std::time::Instant;

use model::columns::Columns;
use model::histogram::Histogram;

use crate::annotations::Annotations;
use crate::ast::Span;
use crate::engine::{Crew, Features, QueryError};
use crate::kernels::Scratch;
use crate::plan::{Node, NodeId};
use crate::row::Row;

use super::counts::{Counts, WindowSizes};
use super::head::Head;
use super::limits::{Held, Limits, float_row_bytes, row_samples};
use super::order_watch::OrderWatch;
use super::profile::{Profile, Stopwatch};
use super::source::Source;
use super::stage::Stage;
use super::table::Collect;

/// Runs hold about this many series at least, so that small queries are folded in the order of their series.
const RUN_SERIES_MIN: usize = 16;
/// Most runs of a pipeline.
const RUNS_MAX: usize = 32;
/// Values that are done on the caller's thread sooner than others would have begun: less than half a millisecond.
const SHARED_VALUES_MIN: usize = 60_000;
/// To find a series and to begin its row takes as long as so many values.
const ROW_VALUES: usize = 500;

/// How many of `count` series make a run: of about one size, so that no thread is left with more than the others.
pub(crate) fn run_len(count: usize) -> usize {
    count.div_ceil((count / RUN_SERIES_MIN).clamp(1, RUNS_MAX)).max(1)
}

/// What all threads that work on a query share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// The query's bounds.
    pub(crate) limits: Arc<Limits>,
    /// Optional parts of the language.
    pub(crate) features: Features,
    /// Counts to start from.
    pub(crate) no_counts: Counts,
    /// Threads that can help.
    pub(crate) crew: Arc<Crew>,
    /// Where it is noted what operators take, if somebody wants to know.
    pub(crate) profile: Option<Arc<Profile>>,
    /// Whether it matters in which order storage lists series, if somebody wants to know.
    pub(crate) order: OrderWatch,
}

/// A source and what is done with each row.
pub(crate) struct Pipeline<'p> {
    pub(crate) source: Source<'p>,
    pub(crate) stages: Vec<Stage<'p>>,
    /// Whose work the source and each stage are.
    pub(crate) places: Vec<Place>,
    /// Samples of the source's rows, where they are a table's.
    pub(crate) table_samples: Option<Held>,
    /// What one thread's rows take.
    rows_bytes: usize,
}

/// A node of the plan, as its operator knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) id: NodeId,
    span: Span,
}

impl Place {
    fn of(id: NodeId, node: &Node) -> Self {
        Place {
            id,
            span: node.spans.whole,
        }
    }
}

/// Takes rows.
pub(crate) trait Sink: Send {
    /// Takes one row; it may keep the row's buffers.
    fn take(&mut self, head: Head, row: &mut Row, notes: &mut Annotations) -> Result<(), QueryError>;
}

/// Takes the rows of a run of series, and can be put together with that of the next run.
pub(crate) trait Consumer: Sink {
    /// Learns where in the source its rows start.
    fn starts_at(&mut self, _index: usize) {}

    /// Takes over what `later` has taken of the rows that follow.
    fn merge(&mut self, later: Self, notes: &mut Annotations) -> Result<(), QueryError>;
}

/// Hands rows on in the order of their series, for sinks whose result depends on it: rows of later runs wait until
/// those before them are through.
pub(crate) struct InOrder<S> {
    /// The sink.
    pub(crate) sink: S,
    /// No rows come before these.
    first: bool,
    waiting: Collect,
}

impl<S: Sink> InOrder<S> {
    /// Hands rows on to `sink`.
    pub(crate) fn new(sink: S, limits: &Arc<Limits>) -> Self {
        InOrder {
            sink,
            first: true,
            waiting: Collect::new(limits),
        }
    }
}

impl<S: Sink> Sink for InOrder<S> {
    fn take(&mut self, head: Head, row: &mut Row, notes: &mut Annotations) -> Result<(), QueryError> {
        match self.first {
            true => self.sink.take(head, row, notes),
            false => self.waiting.take(head, row, notes),
        }
    }
}

impl<S: Sink> Consumer for InOrder<S> {
    fn starts_at(&mut self, index: usize) {
        self.first = index == 0;
    }

    fn merge(&mut self, later: Self, notes: &mut Annotations) -> Result<(), QueryError> {
        if !self.first {
            return self.waiting.merge(later.waiting, notes);
        }
        let mut table = later.waiting.finish();
        let limits = table.limits().clone();
        for mut series in std::mem::take(&mut table.series) {
            let mut head = Head::new(series.labels);
            head.drop_name = series.drop_name;
            limits.check()?;
            self.sink.take(head, &mut series.row, notes)?;
        }
        Ok(())
    }
}

/// What a run takes down beside its rows.
pub(crate) struct Ledger {
    /// What there is to say.
    pub(crate) annotations: Annotations,
    /// What was looked at.
    pub(crate) counts: Counts,
    /// The samples of the source: the reference holds them until the consumer is done.
    pub(crate) held: Held,
    /// What has reached each stage, and the consumer.
    pub(crate) passed: Vec<Passed>,
    /// Time that the source, each stage and the consumer took, where somebody wants to know.
    pub(crate) watch: Stopwatch,
}

impl Ledger {
    fn absorb(&mut self, later: Ledger) {
        self.annotations.merge(later.annotations);
        self.counts.merge(later.counts);
        self.held.absorb(later.held);
        for (all, more) in self.passed.iter_mut().zip(later.passed) {
            all.absorb(more);
        }
        self.watch.absorb(&later.watch);
    }
}

/// What sources and stages of a run work with.
pub(crate) struct Work<'s> {
    pub(crate) shared: &'s Shared,
    pub(crate) buffers: Buffers,
    pub(crate) ledger: Ledger,
    /// The windows that were looked at last.
    pub(crate) windows: WindowSizes,
    /// The rows that the thread works on.
    rows_held: Held,
    /// The samples that it reads, and what kernels make of them.
    columns_held: Held,
}

impl Work<'_> {
    /// Names go at the end of the query, not where they lose their meaning.
    pub(crate) fn delayed_names(&self) -> bool {
        self.shared.features.delayed_name_removal
    }

    /// Accounts for the columns, which were just read.
    pub(crate) fn read_columns(&mut self) -> Result<(), QueryError> {
        self.ledger.watch.add_decoded(self.buffers.columns.len());
        if self.buffers.columns.is_contested {
            self.shared.order.note();
        }
        self.hold_columns()
    }

    /// Accounts for the columns as they are now. Kernels keep what they look at in buffers of about that size.
    pub(crate) fn hold_columns(&mut self) -> Result<(), QueryError> {
        let columns = &self.buffers.columns;
        let times = columns.timestamps_ms.capacity() + columns.start_timestamps_ms.capacity();
        let mut bytes = 2 * 8 * (times + columns.values.capacity());
        for (_, histogram) in &columns.histograms {
            bytes += 16 + histogram_bytes(histogram);
        }
        self.columns_held.grow_bytes(bytes)
    }
}

/// Rows and their samples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    pub(crate) rows: usize,
    pub(crate) samples: usize,
    /// Rows that have a sample at the last step.
    pub(crate) last: usize,
    /// Most samples that the reference holds while it makes the rows one after the other: those made so far, and the
    /// window that it looks at. It drops a series' last window when the next series begins.
    pub(crate) peak: usize,
}

impl Passed {
    /// Adds a row that was made from `windows`.
    pub(crate) fn add(&mut self, row: &Row, windows: WindowSizes) {
        let samples = row_samples(row);
        let made = self.samples + samples;
        self.peak = self
            .peak
            .max(self.samples + windows.largest)
            .max(made + windows.last);
        self.rows += usize::from(samples > 0);
        self.samples = made;
        self.last += usize::from(row.has_last());
    }

    fn absorb(&mut self, later: Passed) {
        self.peak = self.peak.max(self.samples + later.peak);
        self.rows += later.rows;
        self.samples += later.samples;
        self.last += later.last;
    }
}

/// Buffers that go from series to series.
#[derive(Default)]
pub(crate) struct Buffers {
    /// Samples read, or made from a subquery's row.
    pub(crate) columns: Columns,
    /// Result of a stage that cannot work in place.
    pub(crate) row: Row,
    /// The kernels' own.
    pub(crate) scratch: Scratch,
}

impl<'p> Pipeline<'p> {
    /// A pipeline of what comes out of `source`, which is the work of node `id`.
    pub(crate) fn new(source: Source<'p>, id: NodeId, node: &Node) -> Self {
        Pipeline {
            source,
            stages: Vec::new(),
            places: vec![Place::of(id, node)],
            table_samples: None,
            rows_bytes: 2 * float_row_bytes(node.steps.count),
        }
    }

    /// Adds a stage, which is the work of node `id`.
    pub(crate) fn push(&mut self, stage: Stage<'p>, id: NodeId, node: &Node) {
        if let Stage::Subquery { inner, .. } = &stage {
            // The inner steps become columns, and those are looked at by a kernel.
            self.rows_bytes += 4 * float_row_bytes(inner.count);
        }
        self.rows_bytes = self.rows_bytes.max(2 * float_row_bytes(node.steps.count));
        self.stages.push(stage);
        self.places.push(Place::of(id, node));
    }

    /// Sends all rows to consumers made by `make`.
    ///
    /// # Errors
    /// Those of the first row that makes one.
    pub(crate) fn run<C: Consumer>(
        &self,
        shared: &Shared,
        make: &(dyn Fn() -> C + Sync),
    ) -> Result<(C, Ledger), QueryError> {
        let count = self.source.len();
        let run = run_len(count);
        match count > run && self.values(count) >= SHARED_VALUES_MIN {
            true => shared
                .crew
                .install(|helped| self.tree(shared, make, 0..count, run, helped)),
            false => self.tree(shared, make, 0..count, run, false),
        }
    }

    /// A guess at the work for `series`, in values that are read and made.
    fn values(&self, series: usize) -> usize {
        let each = ROW_VALUES + self.source.samples_each() + self.rows_bytes / size_of::<[f64; 2]>();
        series.saturating_mul(each)
    }

    fn tree<C: Consumer>(
        &self,
        shared: &Shared,
        make: &(dyn Fn() -> C + Sync),
        series: Range<usize>,
        run: usize,
        helped: bool,
    ) -> Result<(C, Ledger), QueryError> {
        let runs = series.len().div_ceil(run);
        if runs <= 1 {
            return self.run_one(shared, make(), series);
        }
        let middle = series.start + runs / 2 * run;
        let first = || self.tree(shared, make, series.start..middle, run, helped);
        let second = || self.tree(shared, make, middle..series.end, run, helped);
        let (first, second) = match helped {
            true => rayon::join(first, second),
            false => (first(), second()),
        };
        let ((mut consumer, mut ledger), (later, later_ledger)) = (first?, second?);
        shared.limits.check()?;
        ledger.watch.start();
        consumer.merge(later, &mut ledger.annotations)?;
        ledger.watch.lap_merge();
        ledger.absorb(later_ledger);
        Ok((consumer, ledger))
    }

    fn run_one<C: Consumer>(
        &self,
        shared: &Shared,
        mut consumer: C,
        series: Range<usize>,
    ) -> Result<(C, Ledger), QueryError> {
        consumer.starts_at(series.start);
        let stages = self.stages.len();
        let mut work = Work {
            shared,
            buffers: Buffers::default(),
            ledger: Ledger {
                annotations: Annotations::default(),
                counts: shared.no_counts.clone(),
                held: Held::new(&shared.limits),
                passed: vec![Passed::default(); stages + 1],
                watch: Stopwatch::new(shared.profile.is_some(), stages + 2),
            },
            windows: WindowSizes::default(),
            rows_held: Held::new(&shared.limits),
            columns_held: Held::new(&shared.limits),
        };
        work.rows_held
            .add_bytes(self.rows_bytes)
            .map_err(|error| error.located(self.widest().span))?;
        let (mut row, mut made_way) = (Row::default(), false);
        for index in series {
            let now = Instant::now();
            shared.limits.check_at(now)?;
            shared.crew.make_way(now, &mut made_way);
            if let Some(head) = self.row(index, &mut row, &mut work)? {
                consumer.take(head, &mut row, &mut work.ledger.annotations)?;
                work.ledger.watch.lap(stages + 1);
            }
        }
        work.ledger.watch.stop();
        Ok((consumer, work.ledger))
    }

    /// Makes the row of series `index`; nothing where it has no result.
    fn row(&self, index: usize, row: &mut Row, work: &mut Work<'_>) -> Result<Option<Head>, QueryError> {
        work.ledger.watch.start();
        let located = |error: QueryError, at: usize| error.located(self.places[at].span);
        let mut head = self
            .source
            .fetch(index, row, work)
            .map_err(|error| located(error, 0))?;
        work.ledger.watch.lap(0);
        let windows = std::mem::take(&mut work.windows);
        work.ledger.passed[0].add(row, windows);
        if row.is_empty() {
            return Ok(None);
        }
        if !matches!(self.source, Source::Table(_)) {
            work.ledger.held.add_samples_quietly(row_samples(row))?;
        }
        for (index, stage) in self.stages.iter().enumerate() {
            work.shared.limits.check_canceled()?;
            stage
                .apply(&mut head, row, work)
                .map_err(|error| located(error, index + 1))?;
            work.ledger.watch.lap(index + 1);
            let windows = std::mem::take(&mut work.windows);
            work.ledger.passed[index + 1].add(row, windows);
            if row.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(head))
    }

    /// The last place: at what it makes of its input the rows are as wide as they get, or it asked for those that are.
    fn widest(&self) -> Place {
        self.places[self.places.len() - 1]
    }
}

fn histogram_bytes(histogram: &Histogram) -> usize {
    match histogram {
        Histogram::Float(histogram) => histogram.size_bytes(),
        Histogram::Int(histogram) => {
            let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
            let buckets = histogram.positive_buckets.len() + histogram.negative_buckets.len();
            size_of_val(&**histogram) + 8 * (spans + buckets)
        }
    }
}

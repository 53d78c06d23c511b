//! Rows on their way from a source through per-series operators to a consumer.
//!
//! Series are cut into runs whose number depends on their count alone, and runs are combined pairwise in their order;
//! threads only decide who does what. So answers are the same bit by bit for any number of threads.

use std::ops::Range;
use std::sync::Arc;

use model::columns::Columns;

use crate::annotations::Annotations;
use crate::engine::{Features, QueryError};
use crate::kernels::Scratch;
use crate::row::Row;

use super::counts::Counts;
use super::head::Head;
use super::limits::{Held, Limits, row_samples};
use super::source::Source;
use super::stage::Stage;
use super::table::Collect;

/// Runs hold at least this many series, so that small queries are folded in the order of their series.
const RUN_SERIES_MIN: usize = 32;
/// Most runs of a pipeline.
const RUNS_MAX: usize = 32;

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
    pub(crate) pool: Option<Arc<rayon::ThreadPool>>,
}

/// A source and what is done with each row.
pub(crate) struct Pipeline<'p> {
    pub(crate) source: Source<'p>,
    pub(crate) stages: Vec<Stage<'p>>,
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
        for mut series in std::mem::take(&mut table.series) {
            let mut head = Head::new(series.labels);
            head.drop_name = series.drop_name;
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
}

impl Ledger {
    fn absorb(&mut self, later: Ledger) {
        self.annotations.merge(later.annotations);
        self.counts.merge(later.counts);
        self.held.absorb(later.held);
        for (all, more) in self.passed.iter_mut().zip(later.passed) {
            all.rows += more.rows;
            all.samples += more.samples;
        }
    }
}

/// What sources and stages of a run work with.
pub(crate) struct Work<'s> {
    pub(crate) shared: &'s Shared,
    pub(crate) buffers: Buffers,
    pub(crate) ledger: Ledger,
}

impl Work<'_> {
    /// Names go at the end of the query, not where they lose their meaning.
    pub(crate) fn delayed_names(&self) -> bool {
        self.shared.features.delayed_name_removal
    }
}

/// Rows and their samples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    pub(crate) rows: usize,
    pub(crate) samples: usize,
}

impl Passed {
    fn add(&mut self, row: &Row) {
        self.rows += 1;
        self.samples += row_samples(row);
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

impl Pipeline<'_> {
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
        let run = count.div_ceil(RUNS_MAX).max(RUN_SERIES_MIN);
        match &shared.pool {
            Some(pool) if count > run => pool.install(|| self.tree(shared, make, 0..count, run)),
            _ => self.tree(shared, make, 0..count, run),
        }
    }

    fn tree<C: Consumer>(
        &self,
        shared: &Shared,
        make: &(dyn Fn() -> C + Sync),
        series: Range<usize>,
        run: usize,
    ) -> Result<(C, Ledger), QueryError> {
        let runs = series.len().div_ceil(run);
        if runs <= 1 {
            return self.run_one(shared, make(), series);
        }
        let middle = series.start + runs / 2 * run;
        let first = || self.tree(shared, make, series.start..middle, run);
        let second = || self.tree(shared, make, middle..series.end, run);
        let (first, second) = match &shared.pool {
            Some(_) => rayon::join(first, second),
            None => (first(), second()),
        };
        let ((mut consumer, mut ledger), (later, later_ledger)) = (first?, second?);
        consumer.merge(later, &mut ledger.annotations)?;
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
        let mut work = Work {
            shared,
            buffers: Buffers::default(),
            ledger: Ledger {
                annotations: Annotations::default(),
                counts: shared.no_counts.clone(),
                held: Held::new(&shared.limits),
                passed: vec![Passed::default(); self.stages.len() + 1],
            },
        };
        let mut row = Row::default();
        for index in series {
            shared.limits.check()?;
            if let Some(head) = self.row(index, &mut row, &mut work)? {
                consumer.take(head, &mut row, &mut work.ledger.annotations)?;
            }
        }
        Ok((consumer, work.ledger))
    }

    /// Makes the row of series `index`; nothing where it has no result.
    fn row(&self, index: usize, row: &mut Row, work: &mut Work<'_>) -> Result<Option<Head>, QueryError> {
        let mut head = self.source.fetch(index, row, work)?;
        if row.is_empty() {
            return Ok(None);
        }
        work.ledger.passed[0].add(row);
        if !matches!(self.source, Source::Table(_)) {
            work.ledger.held.add_samples(row_samples(row))?;
        }
        for (index, stage) in self.stages.iter().enumerate() {
            stage.apply(&mut head, row, work)?;
            if row.is_empty() {
                return Ok(None);
            }
            work.ledger.passed[index + 1].add(row);
        }
        Ok(Some(head))
    }
}

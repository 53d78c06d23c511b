//! Rows on their way from a source through per-series operators to a consumer.
//!
//! Series are cut into runs whose number depends on their count alone, and runs are combined pairwise in their order;
//! threads only decide who does what. So answers are the same bit by bit for any number of threads.

use std::sync::Arc;

use model::columns::Columns;
use model::storage::SeriesSet;

use crate::annotations::Annotations;
use crate::ast::Span;
use crate::engine::{Features, QueryError};
use crate::kernels::{InstantOutput, KernelContext, RangeInput, Scratch, select_instant};
use crate::plan::{InstantSelect, Node, RangeSelect, SampleSelect};
use crate::row::Row;

use super::counts::Counts;
use super::head::{Dropped, Head};
use super::limits::{Held, Limits, row_samples};
use super::scalar::{Scalars, as_args};
use super::stage::Stage;
use super::statistics::keep_statistics;
use super::table::Table;

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
    /// Whether other threads can help.
    pub(crate) parallel: bool,
}

/// Where rows come from.
pub(crate) enum Source<'p> {
    /// An instant selector.
    Select(Arc<dyn SeriesSet>, &'p InstantSelect, &'p Node),
    /// A range function over a selector, with its scalar arguments.
    Range(Arc<dyn SeriesSet>, &'p RangeSelect, Vec<Scalars>, &'p Node),
    /// Rows that are there already.
    Table(Arc<Table>),
}

/// A source and what is done with each row.
pub(crate) struct Pipeline<'p> {
    pub(crate) source: Source<'p>,
    pub(crate) stages: Vec<Stage<'p>>,
}

/// Takes the rows of a pipeline.
pub(crate) trait Consumer: Send {
    /// Learns where in the source its rows start.
    fn starts_at(&mut self, _index: usize) {}

    /// Takes one row; it may keep the row's buffers.
    fn take(&mut self, head: Head, row: &mut Row, notes: &mut Annotations) -> Result<(), QueryError>;

    /// Takes over what `later` has taken of the rows that follow.
    fn merge(&mut self, later: Self, notes: &mut Annotations) -> Result<(), QueryError>;
}

/// What comes of a pipeline.
pub(crate) struct Outcome<C> {
    /// The consumer of all rows.
    pub(crate) consumer: C,
    /// What there is to say.
    pub(crate) annotations: Annotations,
    /// What was looked at.
    pub(crate) counts: Counts,
    /// The samples of the source: the reference holds them until the consumer is done.
    pub(crate) held: Held,
    /// What has reached each stage, and the consumer.
    pub(crate) passed: Vec<Passed>,
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
    ) -> Result<Outcome<C>, QueryError> {
        let count = self.source.len();
        let run = count.div_ceil(RUNS_MAX).max(RUN_SERIES_MIN);
        self.tree(shared, make, 0, count, run)
    }

    fn tree<C: Consumer>(
        &self,
        shared: &Shared,
        make: &(dyn Fn() -> C + Sync),
        from: usize,
        to: usize,
        run: usize,
    ) -> Result<Outcome<C>, QueryError> {
        let runs = (to - from).div_ceil(run);
        if runs <= 1 {
            return self.run_one(shared, make(), from, to);
        }
        let middle = from + runs / 2 * run;
        let first = || self.tree(shared, make, from, middle, run);
        let second = || self.tree(shared, make, middle, to, run);
        let (first, second) = match shared.parallel {
            true => rayon::join(first, second),
            false => (first(), second()),
        };
        let (mut first, second) = (first?, second?);
        first.consumer.merge(second.consumer, &mut first.annotations)?;
        first.annotations.merge(second.annotations);
        first.counts.merge(second.counts);
        first.held.absorb(second.held);
        for (all, more) in first.passed.iter_mut().zip(second.passed) {
            all.rows += more.rows;
            all.samples += more.samples;
        }
        Ok(first)
    }

    fn run_one<C: Consumer>(
        &self,
        shared: &Shared,
        mut consumer: C,
        from: usize,
        to: usize,
    ) -> Result<Outcome<C>, QueryError> {
        consumer.starts_at(from);
        let mut outcome = Outcome {
            consumer,
            annotations: Annotations::default(),
            counts: shared.no_counts.clone(),
            held: Held::new(&shared.limits),
            passed: vec![Passed::default(); self.stages.len() + 1],
        };
        let mut buffers = Buffers::default();
        let mut row = Row::default();
        'series: for index in from..to {
            shared.limits.check()?;
            let mut head = self
                .source
                .fetch(index, shared, &mut buffers, &mut row, &mut outcome)?;
            if row.is_empty() {
                continue;
            }
            outcome.passed[0].add(&row);
            if !matches!(self.source, Source::Table(_)) {
                outcome.held.add_samples(row_samples(&row))?;
            }
            for (index, stage) in self.stages.iter().enumerate() {
                stage.apply(&mut head, &mut row, shared, &mut buffers, &mut outcome)?;
                if row.is_empty() {
                    continue 'series;
                }
                outcome.passed[index + 1].add(&row);
            }
            let Outcome {
                consumer,
                annotations,
                ..
            } = &mut outcome;
            consumer.take(head, &mut row, annotations)?;
        }
        Ok(outcome)
    }
}

impl Source<'_> {
    fn len(&self) -> usize {
        match self {
            Source::Select(set, ..) | Source::Range(set, ..) => set.len(),
            Source::Table(table) => table.series.len(),
        }
    }

    /// Makes the row of series `index`.
    fn fetch<C>(
        &self,
        index: usize,
        shared: &Shared,
        buffers: &mut Buffers,
        row: &mut Row,
        outcome: &mut Outcome<C>,
    ) -> Result<Head, QueryError> {
        match self {
            Source::Table(table) => {
                let series = &table.series[index];
                row.clone_from(&series.row);
                let mut head = Head::new(series.labels.clone());
                head.drop_name = series.drop_name;
                Ok(head)
            }
            Source::Select(set, select, node) => {
                let columns = &mut buffers.columns;
                set.read(index, select.range(), columns)?;
                if select.statistics_only {
                    keep_statistics(columns);
                }
                let mut head = Head::new(set.labels(index));
                if select.smoothed {
                    super::smoothed::select(
                        columns,
                        select,
                        node.spans.whole,
                        &head,
                        row,
                        &mut outcome.annotations,
                    );
                } else {
                    select_instant(columns, select.times, select.lookback_ms, select.output, row);
                    outcome.counts.add_row(select.counting, node.steps, row);
                }
                if select.output != InstantOutput::Value {
                    head.drop_metadata(Dropped::Metadata, shared.features.delayed_name_removal);
                }
                Ok(head)
            }
            Source::Range(set, select, args, node) => {
                let columns = &mut buffers.columns;
                set.read(index, select.source.range(), columns)?;
                if select.source.statistics_only {
                    keep_statistics(columns);
                }
                let mut head = Head::new(set.labels(index));
                let input = range_input(&select.source, columns, node, shared);
                let (before, after) = RangeInput::reach_ms(input.extension, input.lookback_ms);
                let mut windows = input.windows;
                windows.range_ms += before + after;
                windows.ends.start_ms += after;
                let largest = outcome
                    .counts
                    .add_windows(select.counting, columns, windows, node.steps, true);
                shared.limits.touch_samples(largest)?;
                let mut context = KernelContext::new(
                    head.labels.metric_name(),
                    node.spans.param,
                    &mut outcome.annotations,
                    &mut buffers.scratch,
                );
                let function = select.function.0;
                function
                    .run(&input, &as_args(args), &mut context, row)
                    .map_err(|error| kernel_error(error, node.spans.whole))?;
                note_counter(
                    function.name,
                    &head,
                    row,
                    node.spans.param,
                    shared,
                    &mut outcome.annotations,
                );
                if !function.keeps_name {
                    head.drop_metadata(Dropped::Metadata, shared.features.delayed_name_removal);
                }
                Ok(head)
            }
        }
    }
}

/// A failing kernel's error.
pub(super) fn kernel_error(error: crate::kernels::KernelError, span: Span) -> QueryError {
    QueryError::from(crate::engine::ExecutionError::from(error)).located(span)
}

fn range_input<'c>(
    source: &SampleSelect,
    columns: &'c Columns,
    node: &Node,
    shared: &Shared,
) -> RangeInput<'c> {
    RangeInput {
        columns,
        windows: source.windows,
        eval: node.steps,
        extension: source.extension,
        lookback_ms: source.lookback_ms,
        use_start_timestamps: shared.features.use_start_timestamps,
    }
}

/// Says so when `rate` or `increase` is used on what does not look like a counter.
pub(super) fn note_counter(
    function: &str,
    head: &Head,
    row: &Row,
    span: Span,
    shared: &Shared,
    annotations: &mut Annotations,
) {
    let name = head.labels.metric_name();
    let has_floats = row.present.count() > row.histograms.len();
    if !matches!(function, "rate" | "increase") || name.is_empty() || !has_floats {
        return;
    }
    let name_text = super::text::Quoted(name);
    if shared.features.type_and_unit_labels {
        let kind = head.labels.value(super::head::TYPE_LABEL);
        if kind != "counter" && kind != "histogram" {
            let kind = super::text::Quoted(kind);
            annotations.info(
                span,
                format_args!(
                    "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", \
                     got {kind}: {name_text}"
                ),
            );
        }
    } else if !["_total", "_sum", "_count", "_bucket"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
    {
        annotations.info(
            span,
            format_args!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name_text}"
            ),
        );
    }
}

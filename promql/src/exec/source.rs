//! Where rows come from.

use std::sync::Arc;

use model::storage::SeriesSet;

use crate::annotations::Annotations;
use crate::ast::Span;
use crate::engine::QueryError;
use crate::kernels::{InstantOutput, KernelContext, RangeInput, select_instant};
use crate::plan::{InstantSelect, Node, RangeSelect};
use crate::row::Row;

use super::blocks;
use super::head::{Dropped, Head, TYPE_LABEL};
use super::pipeline::{Shared, Work};
use super::scalar::Scalars;
use super::statistics::keep_statistics;
use super::table::Table;
use super::text::Quoted;

/// Where rows come from.
pub(crate) enum Source<'p> {
    /// An instant selector.
    Select(Arc<dyn SeriesSet>, &'p InstantSelect, &'p Node),
    /// A range function over a selector, with its scalar arguments.
    Range(Arc<dyn SeriesSet>, &'p RangeSelect, Vec<Scalars>, &'p Node),
    /// Rows that are there already.
    Table(Arc<Table>),
}

impl Source<'_> {
    /// Number of series.
    pub(super) fn len(&self) -> usize {
        match self {
            Source::Select(set, ..) | Source::Range(set, ..) => set.len(),
            Source::Table(table) => table.series.len(),
        }
    }

    /// About how many samples each series has that is read, if it is scraped as often as most are.
    pub(super) fn samples_each(&self) -> usize {
        /// The commonest distance of samples.
        const INTERVAL_MS: u64 = 15_000;
        let range = match self {
            Source::Select(_, select, _) => select.range(),
            Source::Range(_, select, ..) => select.source.range(),
            Source::Table(_) => return 0,
        };
        (range.max_ms.abs_diff(range.min_ms) / INTERVAL_MS) as usize
    }

    /// Samples that the reference holds besides windows and results while it makes rows at `steps` steps, of which
    /// `last` are at the last one.
    pub(super) fn extra_samples(&self, last: usize, steps: usize) -> usize {
        match self {
            Source::Range(_, _, args, _) => args.len() * steps,
            // `timestamp(selector)` walks its samples step by step.
            Source::Select(_, select, _) if select.output != InstantOutput::Value => last,
            _ => 0,
        }
    }

    /// Makes the row of series `index`.
    pub(super) fn fetch(&self, index: usize, row: &mut Row, work: &mut Work<'_>) -> Result<Head, QueryError> {
        match self {
            Source::Table(table) => {
                let series = &table.series[index];
                row.clone_from(&series.row);
                let mut head = Head::new(series.labels.clone());
                head.drop_name = series.drop_name;
                Ok(head)
            }
            Source::Select(set, select, node) => {
                set.read(index, select.range(), &mut work.buffers.columns)?;
                work.read_columns()?;
                let mut head = Head::new(set.labels(index));
                select_row(select, node, &head, row, work);
                if select.output != InstantOutput::Value {
                    head.drop_metadata(Dropped::Metadata, work.delayed_names());
                }
                Ok(head)
            }
            Source::Range(set, select, args, node) => {
                set.read(index, select.source.range(), &mut work.buffers.columns)?;
                work.read_columns()?;
                let mut head = Head::new(set.labels(index));
                range_row(select, args, node, &head, row, work)?;
                if !select.function.0.keeps_name {
                    head.drop_metadata(Dropped::Metadata, work.delayed_names());
                }
                Ok(head)
            }
        }
    }
}

/// The row of an instant selector over the samples that were read.
fn select_row(select: &InstantSelect, node: &Node, head: &Head, row: &mut Row, work: &mut Work<'_>) {
    let columns = &mut work.buffers.columns;
    if select.statistics_only {
        keep_statistics(columns);
    }
    if select.smoothed {
        let notes = &mut work.ledger.annotations;
        return super::smoothed::select(columns, select, node.spans.whole, head, row, notes);
    }
    let scratch = &mut work.buffers.scratch;
    select_instant(
        columns,
        select.times,
        select.lookback_ms,
        select.output,
        scratch,
        row,
    );
    work.ledger.counts.add_row(select.counting, node.steps, row);
}

/// The row of a range function over the samples that were read.
fn range_row(
    select: &RangeSelect,
    args: &[Scalars],
    node: &Node,
    head: &Head,
    row: &mut Row,
    work: &mut Work<'_>,
) -> Result<(), QueryError> {
    let columns = &mut work.buffers.columns;
    if select.source.statistics_only {
        keep_statistics(columns);
    }
    let input = RangeInput {
        columns,
        windows: select.source.windows,
        eval: node.steps,
        extension: select.source.extension,
        lookback_ms: select.source.lookback_ms,
        use_start_timestamps: work.shared.features.use_start_timestamps,
    };
    let (function, scratch) = (select.function.0, &mut work.buffers.scratch);
    function.prepare(&input, scratch);
    let (windows, bounds) = (input.reached(), scratch.bounds());
    let counts = &mut work.ledger.counts;
    let sizes = counts.add_windows(select.counting, columns, windows, node.steps, true, bounds);
    work.windows = sizes;
    work.shared.limits.allow_samples(sizes.largest)?;
    let mut context = KernelContext::new(
        head.labels.metric_name(),
        node.spans.param,
        &mut work.ledger.annotations,
        &mut work.buffers.scratch,
    );
    blocks::run(
        function,
        &input,
        args,
        sizes,
        &work.shared.limits,
        &mut context,
        row,
    )
    .map_err(|error| error.located(node.spans.whole))?;
    let notes = &mut work.ledger.annotations;
    note_counter(function.name, head, row, node.spans.param, work.shared, notes);
    Ok(())
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
    let name_text = Quoted(name);
    if shared.features.type_and_unit_labels {
        let kind = head.labels.value(TYPE_LABEL);
        if kind != "counter" && kind != "histogram" {
            let kind = Quoted(kind);
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

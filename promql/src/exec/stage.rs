//! What is done with one row at a time.

use std::sync::Arc;

use model::histogram::{CounterResetHint, Histogram};
use model::labels::METRIC_NAME;
use model::regex::{Regex, Template};

use crate::ast::{BinaryOp, Span};
use crate::engine::{ExecutionError, QueryError};
use crate::functions::{ElementFunction, ElementInput};
use crate::kernels::{Extension, KernelContext, RangeInput};
use crate::plan::{LabelJoin, Node, SubqueryCall};
use crate::row::{Row, Steps};

use super::blocks;
use super::head::{Dropped, Head};
use super::histograms;
use super::limits::Held;
use super::operation;
use super::pipeline::Work;
use super::scalar::{Scalars, as_args};
use super::source::note_counter;

/// An operator on single rows, ready to run.
pub(crate) enum Stage<'p> {
    /// A function of single samples.
    Element(&'static ElementFunction, Vec<Scalars>),
    /// The step's time wherever there is a sample.
    StepTime(Steps),
    /// `-vector`
    Negate,
    /// A vector and a scalar.
    WithScalar {
        operation: ScalarOperation,
        drops_name: bool,
    },
    /// One step's result at that many.
    Repeat(usize),
    /// A range function over the row, which is at steps of its own.
    Subquery {
        call: &'p SubqueryCall,
        args: Vec<Scalars>,
        inner: Steps,
        node: &'p Node,
    },
    /// `label_replace`
    LabelReplace {
        destination: &'p str,
        replacement: Template,
        /// Length of the replacement's text.
        replacement_bytes: usize,
        source: &'p str,
        pattern: Regex,
    },
    /// `label_join`
    LabelJoin(&'p LabelJoin),
}

impl Stage<'_> {
    /// Samples that the reference holds besides the stage's results: its rows at the last step, and its scalars.
    pub(crate) fn extra_samples(&self, last: usize, steps: usize) -> usize {
        let scalars = match self {
            Stage::Element(_, args) => args.len(),
            Stage::WithScalar { .. } => 1,
            Stage::Subquery { args, .. } => return args.len() * steps,
            Stage::StepTime(_) => 0,
            _ => return 0,
        };
        last + scalars * (steps + 1)
    }

    /// Whether the reference changes its input instead of making a copy.
    pub(crate) fn is_in_place(&self) -> bool {
        matches!(
            self,
            Stage::Negate | Stage::LabelReplace { .. } | Stage::LabelJoin(_) | Stage::Repeat(_)
        )
    }

    /// Changes `row` and `head`; an empty row goes no further.
    pub(crate) fn apply(
        &self,
        head: &mut Head,
        row: &mut Row,
        work: &mut Work<'_>,
    ) -> Result<(), QueryError> {
        let delayed = work.delayed_names();
        match self {
            Stage::Element(function, args) => {
                function.run(&as_args(args), row);
                // Compat: functions of histograms leave type and unit where they are.
                let dropped = match function.input {
                    ElementInput::Histograms => Dropped::Name,
                    _ => Dropped::Metadata,
                };
                head.drop_metadata(dropped, delayed);
            }
            Stage::StepTime(steps) => {
                row.histograms.clear();
                for step in 0..steps.count {
                    if row.present.get(step) {
                        row.values[step] = steps.at(step) as f64 / 1000.0;
                    }
                }
                head.drop_metadata(Dropped::Metadata, delayed);
            }
            Stage::Negate => {
                negate(row);
                head.drop_metadata(Dropped::Metadata, delayed);
            }
            Stage::WithScalar {
                operation,
                drops_name,
            } => {
                operation.apply(row, work);
                if *drops_name {
                    head.drop_metadata(Dropped::Metadata, delayed);
                }
            }
            Stage::Repeat(count) => repeat(row, *count),
            Stage::Subquery {
                call,
                args,
                inner,
                node,
            } => {
                row_to_columns(row, *inner, &mut work.buffers.columns);
                work.hold_columns()?;
                subquery_row(call, args, node, head, row, work)?;
                if !call.function.0.keeps_name {
                    head.drop_metadata(Dropped::Metadata, delayed);
                }
            }
            Stage::LabelReplace {
                destination,
                replacement,
                replacement_bytes,
                source,
                pattern,
            } => {
                head.settle();
                let looked_at = head.labels.value(source);
                if let Some(found) = pattern.captures(looked_at) {
                    // Nested replacements can double a value again and again.
                    let longest = replace_bytes_max(looked_at, *replacement_bytes);
                    let _held = hold_for_label(longest, work)?;
                    let mut value = String::new();
                    found.expand(replacement, &mut value);
                    write_label(head, destination, &value)?;
                }
            }
            Stage::LabelJoin(join) => {
                head.settle();
                let labels = &head.labels;
                let separators = join.separator.len() * join.sources.len();
                let texts: usize = join.sources.iter().map(|source| labels.value(source).len()).sum();
                let _held = hold_for_label(texts + separators, work)?;
                let values: Vec<&str> = join.sources.iter().map(|source| labels.value(source)).collect();
                let value = values.join(&join.separator);
                write_label(head, &join.destination, &value)?;
            }
        }
        Ok(())
    }
}

/// An operation between a vector and a scalar.
pub(crate) struct ScalarOperation {
    pub(crate) op: BinaryOp,
    pub(crate) scalar: Scalars,
    /// The scalar stands left of the operator.
    pub(crate) scalar_left: bool,
    pub(crate) return_bool: bool,
    pub(crate) span: Span,
}

impl ScalarOperation {
    fn apply(&self, row: &mut Row, work: &mut Work<'_>) {
        let scalar = self.scalar.as_arg();
        if row.histograms.is_empty() && !operation::is_trim(self.op) {
            operation::with_scalar(self.op, row, scalar, self.scalar_left, self.return_bool);
        } else {
            histograms::with_scalar(self, row, &mut work.buffers.row, &mut work.ledger.annotations);
        }
    }
}

fn negate(row: &mut Row) {
    row.values.iter_mut().for_each(|value| *value = -*value);
    operation::clear_absent(&mut row.values, &row.present);
    for (_, histogram) in &mut row.histograms {
        *histogram = Arc::new(histograms::scaled(histogram, -1.0));
    }
}

/// Label values that are shorter are not asked about.
const LABEL_BYTES_UNASKED: usize = 64 << 10;

/// Accounts for a label value while it is made: nothing for ordinary ones.
fn hold_for_label(bytes: usize, work: &Work<'_>) -> Result<Option<Held>, QueryError> {
    if bytes <= LABEL_BYTES_UNASKED {
        return Ok(None);
    }
    let mut held = Held::new(&work.shared.limits);
    // The value, the labels that it becomes one of, and their packed form: texts that grow take twice their length.
    held.add_bytes(bytes.saturating_mul(6))?;
    Ok(Some(held))
}

/// What a replacement of `replacement_bytes` can become at most: every two bytes of it may stand for the whole text.
fn replace_bytes_max(text: &str, replacement_bytes: usize) -> usize {
    replacement_bytes.saturating_add((replacement_bytes / 2).saturating_mul(text.len()))
}

fn write_label(head: &mut Head, name: &str, value: &str) -> Result<(), QueryError> {
    let mut builder = head.labels.to_builder();
    builder.set(name, value);
    head.labels = builder.try_build().map_err(ExecutionError::LabelTooLong)?;
    if name == METRIC_NAME {
        head.drop_name = false;
    }
    Ok(())
}

/// Makes a row of one step one of `count` equal steps.
fn repeat(row: &mut Row, count: usize) {
    let value = row.values.first().copied().unwrap_or(0.0);
    let histogram = row.histograms.first().map(|(_, histogram)| histogram.clone());
    let present = !row.present.is_empty() && row.present.get(0);
    row.reset(count);
    if !present {
        return;
    }
    for step in 0..count {
        match &histogram {
            Some(histogram) => row.push_histogram(step, histogram.clone()),
            None => row.set(step, value),
        }
    }
}

/// Replaces a subquery's row, whose samples are in the buffers, by that of the range function.
fn subquery_row(
    call: &SubqueryCall,
    args: &[Scalars],
    node: &Node,
    head: &Head,
    row: &mut Row,
    work: &mut Work<'_>,
) -> Result<(), QueryError> {
    let columns = &work.buffers.columns;
    let input = RangeInput {
        columns,
        windows: call.windows,
        eval: node.steps,
        extension: Extension::None,
        lookback_ms: 0,
        use_start_timestamps: work.shared.features.use_start_timestamps,
    };
    let (function, scratch) = (call.function.0, &mut work.buffers.scratch);
    function.prepare(&input, scratch);
    let (counts, bounds) = (&mut work.ledger.counts, scratch.bounds());
    let sizes = counts.add_windows(call.counting, columns, call.windows, node.steps, false, bounds);
    work.windows = sizes;
    work.shared.limits.allow_samples(sizes.largest)?;
    let named = head.keeps(METRIC_NAME);
    let name = if named { head.labels.metric_name() } else { "" };
    let notes = &mut work.ledger.annotations;
    let mut context = KernelContext::new(name, node.spans.param, notes, &mut work.buffers.scratch);
    let (limits, out) = (&work.shared.limits, &mut work.buffers.row);
    blocks::run(function, &input, args, sizes, limits, &mut context, out)
        .map_err(|error| error.located(node.spans.whole))?;
    std::mem::swap(row, &mut work.buffers.row);
    if named {
        let notes = &mut work.ledger.annotations;
        note_counter(function.name, head, row, node.spans.param, work.shared, notes);
    }
    Ok(())
}

/// The results of a row as samples.
pub(crate) fn row_to_columns(row: &Row, steps: Steps, columns: &mut model::columns::Columns) {
    columns.clear();
    let mut histograms = row.histograms.iter().peekable();
    for step in 0..steps.count {
        if !row.present.get(step) {
            continue;
        }
        match histograms.next_if(|(at, _)| *at as usize == step) {
            None => columns.push(steps.at(step), row.values[step]),
            Some((_, histogram)) => {
                let mut histogram = histogram.clone();
                // What was known about resets held for the samples of storage, not for those at the subquery's steps.
                if let CounterResetHint::Reset | CounterResetHint::NotReset = histogram.counter_reset_hint {
                    Arc::make_mut(&mut histogram).counter_reset_hint = CounterResetHint::Unknown;
                }
                columns.push_histogram(steps.at(step), Histogram::Float(histogram));
            }
        }
    }
}

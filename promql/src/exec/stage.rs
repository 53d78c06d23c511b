//! What is done with one row at a time.

use std::sync::Arc;

use model::histogram::{CounterResetHint, Histogram};
use model::labels::METRIC_NAME;
use model::regex::{Regex, Template};

use crate::ast::{BinaryOp, Span};
use crate::engine::QueryError;
use crate::functions::{ElementFunction, ElementInput};
use crate::kernels::{Extension, KernelContext, RangeInput};
use crate::plan::{Node, SubqueryCall};
use crate::row::{Row, Steps};

use super::head::{Dropped, Head};
use super::histograms;
use super::operation;
use super::pipeline::{Buffers, Outcome, Shared, kernel_error, note_counter};
use super::scalar::{Scalars, as_args};

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
        op: BinaryOp,
        scalar: Scalars,
        scalar_left: bool,
        return_bool: bool,
        drops_name: bool,
        span: Span,
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
        source: &'p str,
        pattern: Regex,
    },
    /// `label_join`
    LabelJoin {
        destination: &'p str,
        separator: &'p str,
        sources: &'p [String],
    },
}

impl Stage<'_> {
    /// Samples that the reference holds besides the stage's results: its rows at one step, and its scalars.
    pub(crate) fn extra_samples(&self, rows: usize, steps: usize) -> usize {
        let scalars = match self {
            Stage::Element(_, args) => args.len(),
            Stage::WithScalar { .. } => 1,
            Stage::Subquery { args, .. } => return args.len() * steps,
            Stage::StepTime(_) => 0,
            _ => return 0,
        };
        rows + scalars * (steps + 1)
    }

    /// Whether the reference changes its input instead of making a copy.
    pub(crate) fn is_in_place(&self) -> bool {
        matches!(
            self,
            Stage::Negate | Stage::LabelReplace { .. } | Stage::LabelJoin { .. } | Stage::Repeat(_)
        )
    }

    /// Changes `row` and `head`; an empty row goes no further.
    pub(crate) fn apply<C>(
        &self,
        head: &mut Head,
        row: &mut Row,
        shared: &Shared,
        buffers: &mut Buffers,
        outcome: &mut Outcome<C>,
    ) -> Result<(), QueryError> {
        let delayed = shared.features.delayed_name_removal;
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
                row.values.iter_mut().for_each(|value| *value = -*value);
                operation::clear_absent(&mut row.values, &row.present);
                for (_, histogram) in &mut row.histograms {
                    *histogram = Arc::new(histograms::scaled(histogram, -1.0));
                }
                head.drop_metadata(Dropped::Metadata, delayed);
            }
            Stage::WithScalar {
                op,
                scalar,
                scalar_left,
                return_bool,
                drops_name,
                span,
            } => {
                if row.histograms.is_empty() && !operation::is_trim(*op) {
                    operation::with_scalar(*op, row, scalar.as_arg(), *scalar_left, *return_bool);
                } else {
                    let operands = histograms::ScalarOperation {
                        op: *op,
                        scalar: scalar.as_arg(),
                        scalar_left: *scalar_left,
                        return_bool: *return_bool,
                        span: *span,
                    };
                    operands.apply(row, &mut buffers.row, &mut outcome.annotations);
                }
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
            } => apply_subquery(call, args, *inner, node, head, row, shared, buffers, outcome)?,
            Stage::LabelReplace {
                destination,
                replacement,
                source,
                pattern,
            } => {
                head.settle();
                if let Some(found) = pattern.captures(head.labels.value(source)) {
                    let mut value = String::new();
                    found.expand(replacement, &mut value);
                    write_label(head, destination, &value);
                }
            }
            Stage::LabelJoin {
                destination,
                separator,
                sources,
            } => {
                head.settle();
                let values: Vec<&str> = sources.iter().map(|source| head.labels.value(source)).collect();
                let value = values.join(separator);
                write_label(head, destination, &value);
            }
        }
        Ok(())
    }
}

fn write_label(head: &mut Head, name: &str, value: &str) {
    let mut builder = head.labels.to_builder();
    builder.set(name, value);
    head.labels = builder.build();
    if name == METRIC_NAME {
        head.drop_name = false;
    }
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

#[expect(clippy::too_many_arguments, reason = "the parts of one stage's call")]
fn apply_subquery<C>(
    call: &SubqueryCall,
    args: &[Scalars],
    inner: Steps,
    node: &Node,
    head: &mut Head,
    row: &mut Row,
    shared: &Shared,
    buffers: &mut Buffers,
    outcome: &mut Outcome<C>,
) -> Result<(), QueryError> {
    let columns = &mut buffers.columns;
    row_to_columns(row, inner, columns);
    let largest = outcome
        .counts
        .add_windows(call.counting, columns, call.windows, node.steps, false);
    shared.limits.touch_samples(largest)?;
    let input = RangeInput {
        columns,
        windows: call.windows,
        eval: node.steps,
        extension: Extension::None,
        lookback_ms: 0,
        use_start_timestamps: shared.features.use_start_timestamps,
    };
    let name = match head.keeps(METRIC_NAME) {
        true => head.labels.metric_name(),
        false => "",
    };
    let mut context = KernelContext::new(
        name,
        node.spans.param,
        &mut outcome.annotations,
        &mut buffers.scratch,
    );
    let function = call.function.0;
    function
        .run(&input, &as_args(args), &mut context, &mut buffers.row)
        .map_err(|error| kernel_error(error, node.spans.whole))?;
    std::mem::swap(row, &mut buffers.row);
    if head.keeps(METRIC_NAME) {
        note_counter(
            function.name,
            head,
            row,
            node.spans.param,
            shared,
            &mut outcome.annotations,
        );
    }
    if !function.keeps_name {
        head.drop_metadata(Dropped::Metadata, shared.features.delayed_name_removal);
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

//! Operations between rows that hold native histograms, step by step.

use std::sync::Arc;

use model::columns::Columns;
use model::histogram::{CounterResetHint, FloatHistogram, Histogram, IncompatibleSchemas, Keep};
use model::sample::is_stale_nan;

use crate::annotations::Annotations;
use crate::ast::{BinaryOp, Span};
use crate::plan::InstantSelect;
use crate::row::{Bits, Row};

use super::head::Head;
use super::operation::{self, comparison, scalar_operation};
use super::stage::ScalarOperation;
use super::text;

/// A histogram that is shared.
type Shared = Arc<FloatHistogram>;

/// A histogram with all counts and the sum multiplied.
pub(super) fn scaled(histogram: &FloatHistogram, factor: f64) -> FloatHistogram {
    let mut histogram = histogram.clone();
    histogram.mul(factor);
    histogram
}

/// A float or a histogram of a row.
#[derive(Clone, Copy)]
enum Operand<'r> {
    Float(f64),
    Histogram(&'r Shared),
}

impl Operand<'_> {
    fn name(self) -> &'static str {
        match self {
            Operand::Float(_) => "float",
            Operand::Histogram(_) => "histogram",
        }
    }
}

/// The operand of a step that is present.
fn operand(row: &Row, step: usize) -> Operand<'_> {
    match row.histogram(step) {
        Some(histogram) => Operand::Histogram(histogram),
        None => Operand::Float(row.values[step]),
    }
}

/// What an operation gives.
enum Outcome {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(Shared),
    /// A comparison that does not hold.
    Fails,
}

/// Why an operation gives nothing.
enum Refusal {
    /// The operator has no meaning for these types.
    Types,
    /// Exponential and custom buckets.
    Schemas,
    /// Compat: between vectors, histograms whose hints about counter resets contradict each other give no result.
    Resets(&'static str),
}

/// Combines two operands; comparisons give their left side. The second result says that custom bounds were reconciled.
fn combine(op: BinaryOp, lhs: Operand<'_>, rhs: Operand<'_>) -> Result<(Outcome, bool), Refusal> {
    let compacted = |mut histogram: FloatHistogram| {
        histogram.compact(0);
        (Outcome::Histogram(Arc::new(histogram)), false)
    };
    match (lhs, rhs) {
        (Operand::Float(_), Operand::Float(_)) if operation::is_trim(op) => Err(Refusal::Types),
        (Operand::Float(a), Operand::Float(b)) => Ok((
            match comparison(op) {
                Some(holds) if holds(a, b) => Outcome::Float(a),
                Some(_) => Outcome::Fails,
                None => Outcome::Float(scalar_operation(op, a, b)),
            },
            false,
        )),
        (Operand::Float(factor), Operand::Histogram(histogram))
        | (Operand::Histogram(histogram), Operand::Float(factor))
            if op == BinaryOp::Mul =>
        {
            Ok(compacted(scaled(histogram, factor)))
        }
        (Operand::Histogram(histogram), Operand::Float(value)) => {
            let mut result = FloatHistogram::clone(histogram);
            match op {
                BinaryOp::Div => {
                    result.div(value);
                    return Ok(compacted(result));
                }
                BinaryOp::TrimUpper => result.trim(value, Keep::Below),
                BinaryOp::TrimLower => result.trim(value, Keep::Above),
                _ => return Err(Refusal::Types),
            }
            Ok((Outcome::Histogram(Arc::new(result)), false))
        }
        (Operand::Float(_), Operand::Histogram(_)) => Err(Refusal::Types),
        (Operand::Histogram(a), Operand::Histogram(b)) => combine_histograms(op, a, b),
    }
}

fn combine_histograms(op: BinaryOp, a: &Shared, b: &Shared) -> Result<(Outcome, bool), Refusal> {
    let mut result = match op {
        BinaryOp::Equal | BinaryOp::NotEqual => {
            let outcome = match a.same_data(b) == (op == BinaryOp::Equal) {
                true => Outcome::Histogram(a.clone()),
                false => Outcome::Fails,
            };
            return Ok((outcome, false));
        }
        BinaryOp::Add | BinaryOp::Sub => FloatHistogram::clone(a),
        _ => return Err(Refusal::Types),
    };
    let (combined, name) = match op {
        BinaryOp::Add => (result.add(b), "addition"),
        _ => (result.sub(b), "subtraction"),
    };
    let combined = combined.map_err(|IncompatibleSchemas| Refusal::Schemas)?;
    if op == BinaryOp::Sub {
        result.counter_reset_hint = CounterResetHint::Gauge;
    }
    if combined.resets_collide {
        return Err(Refusal::Resets(name));
    }
    result.compact(0);
    Ok((Outcome::Histogram(Arc::new(result)), combined.bounds_reconciled))
}

/// What is to be said about an operation on two operands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PairNote {
    /// The operator has no meaning for operands of these names.
    Types(&'static str, &'static str),
    /// Exponential and custom buckets.
    Schemas,
    /// Contradicting hints about counter resets, in an operation of this name.
    Resets(&'static str),
    /// Custom bounds were reconciled, in an operation of this name.
    Reconciled(&'static str),
}

impl PairNote {
    /// Why an operation gave nothing.
    fn of(refusal: &Refusal, lhs: Operand<'_>, rhs: Operand<'_>) -> Self {
        match refusal {
            Refusal::Types => PairNote::Types(lhs.name(), rhs.name()),
            Refusal::Schemas => PairNote::Schemas,
            Refusal::Resets(name) => PairNote::Resets(name),
        }
    }

    /// Adds it to `notes`.
    pub(super) fn tell(self, op: BinaryOp, span: Span, notes: &mut Annotations) {
        let symbol = op.as_str();
        match self {
            PairNote::Types(lhs, rhs) => notes.info(
                span,
                format_args!(
                    "incompatible sample types encountered for binary operator {}: {lhs} {symbol} {rhs}",
                    text::Quoted(symbol),
                ),
            ),
            PairNote::Schemas => notes.warn(
                span,
                format_args!("incompatible bucket layout encountered for binary operator {symbol}"),
            ),
            PairNote::Resets(name) => notes.warn(span, text::resets_collide(name)),
            PairNote::Reconciled(name) => notes.info(span, text::bounds_reconciled(name)),
        }
    }
}

/// Replaces `row` by the results of an operation with a scalar, by way of `scratch`.
pub(super) fn with_scalar(
    operation: &ScalarOperation,
    row: &mut Row,
    scratch: &mut Row,
    notes: &mut Annotations,
) {
    let op = operation.op;
    scratch.reset(row.values.len());
    row.present.for_each_set(|step| {
        let vector = operand(row, step);
        let scalar = Operand::Float(operation.scalar.at(step));
        let (lhs, rhs) = match operation.scalar_left {
            true => (scalar, vector),
            false => (vector, scalar),
        };
        let outcome = match combine(op, lhs, rhs) {
            Ok((outcome, _)) => outcome,
            Err(refusal) => return PairNote::of(&refusal, lhs, rhs).tell(op, operation.span, notes),
        };
        let holds = !matches!(outcome, Outcome::Fails);
        if operation.return_bool {
            scratch.set(step, f64::from(u8::from(holds)));
        } else if op.is_comparison() {
            // A comparison keeps the vector's value, whichever side it stands on.
            match vector {
                _ if !holds => {}
                Operand::Float(value) => scratch.set(step, value),
                Operand::Histogram(histogram) => scratch.push_histogram(step, histogram.clone()),
            }
        } else {
            put(outcome, step, scratch);
        }
    });
    std::mem::swap(row, scratch);
}

fn put(outcome: Outcome, step: usize, row: &mut Row) {
    match outcome {
        Outcome::Float(value) => row.set(step, value),
        Outcome::Histogram(histogram) => row.push_histogram(step, histogram),
        Outcome::Fails => {}
    }
}

/// An operation between two rows.
pub(super) struct RowOperation {
    pub(super) op: BinaryOp,
    pub(super) return_bool: bool,
}

impl RowOperation {
    /// Fills `out`, whose present steps are those that both rows have, and gives the steps that had a result before
    /// comparisons filtered them. `note` is told what is to be said about a step.
    pub(super) fn apply(
        &self,
        lhs: &Row,
        rhs: &Row,
        out: &mut Row,
        mut note: impl FnMut(usize, PairNote),
    ) -> Bits {
        let both = out.present.clone();
        let mut matched = both.clone();
        out.reset(lhs.values.len());
        both.for_each_set(|step| {
            let (a, b) = (operand(lhs, step), operand(rhs, step));
            let (outcome, reconciled) = match combine(self.op, a, b) {
                Ok(found) => found,
                Err(refusal) => {
                    matched.unset(step);
                    return note(step, PairNote::of(&refusal, a, b));
                }
            };
            if reconciled {
                let name = if self.op == BinaryOp::Add {
                    "addition"
                } else {
                    "subtraction"
                };
                note(step, PairNote::Reconciled(name));
            }
            if self.return_bool {
                let holds = !matches!(outcome, Outcome::Fails);
                out.set(step, f64::from(u8::from(holds)));
            } else {
                put(outcome, step, out);
            }
        });
        matched
    }
}

/// A `smoothed` instant selector over a series with histograms.
pub(super) fn smoothed(
    columns: &Columns,
    select: &InstantSelect,
    span: Span,
    head: &Head,
    row: &mut Row,
    notes: &mut Annotations,
) {
    let samples = live(columns);
    for step in 0..select.times.count {
        let at = select.times.at(step);
        let within = |sample: &&(i64, Sample)| {
            sample.0 > at - select.lookback_ms && sample.0 <= at + select.lookback_ms
        };
        let near: Vec<&(i64, Sample)> = samples.iter().filter(within).collect();
        let histograms = near
            .iter()
            .filter(|(_, sample)| matches!(sample, Sample::Histogram(_)))
            .count();
        if histograms > 0 && histograms < near.len() {
            super::smoothed::warn_mixed(notes, span, head);
            continue;
        }
        let next = near.partition_point(|(time, _)| *time < at);
        let before = next.checked_sub(1).map(|previous| near[previous]);
        match (before, near.get(next)) {
            (_, Some((time, sample))) if *time == at => match sample {
                Sample::Float(value) => row.set(step, *value),
                Sample::Histogram(histogram) => row.push_histogram(step, histogram.clone()),
            },
            (Some((_, Sample::Histogram(last))), None) => {
                let mut last = FloatHistogram::clone(last);
                last.counter_reset_hint = CounterResetHint::Unknown;
                row.push_histogram(step, Arc::new(last));
            }
            (Some((_, Sample::Float(value))), None) => row.set(step, *value),
            (Some((start, Sample::Float(a))), Some((end, Sample::Float(b)))) => {
                row.set(step, a + (b - a) * (at - start) as f64 / (end - start) as f64);
            }
            (Some((start, Sample::Histogram(a))), Some((end, Sample::Histogram(b)))) => {
                let share = (at - start) as f64 / (end - start) as f64;
                match between(a, b, share, span, notes) {
                    Ok(histogram) => row.push_histogram(step, Arc::new(histogram)),
                    Err(IncompatibleSchemas) => {
                        notes.warn(span, text::mixed_schemas(head.labels.metric_name()));
                    }
                }
            }
            _ => {}
        }
    }
}

enum Sample {
    Float(f64),
    Histogram(Shared),
}

/// Samples that are no staleness markers.
fn live(columns: &Columns) -> Vec<(i64, Sample)> {
    let mut histograms = columns.histograms.iter().peekable();
    let mut samples = Vec::with_capacity(columns.len());
    for (row, (time, value)) in columns.timestamps_ms.iter().zip(&columns.values).enumerate() {
        match histograms.next_if(|(at, _)| *at as usize == row) {
            Some((_, histogram)) if is_stale_nan(histogram.sum()) => {}
            Some((_, histogram)) => samples.push((*time, Sample::Histogram(Histogram::to_float(histogram)))),
            None if is_stale_nan(*value) => {}
            None => samples.push((*time, Sample::Float(*value))),
        }
    }
    samples
}

/// The histogram on the line between two, `share` of the way; a counter that was reset starts from nothing.
fn between(
    a: &FloatHistogram,
    b: &FloatHistogram,
    share: f64,
    span: Span,
    notes: &mut Annotations,
) -> Result<FloatHistogram, IncompatibleSchemas> {
    if a.uses_custom_buckets() != b.uses_custom_buckets() {
        return Err(IncompatibleSchemas);
    }
    let gauge = CounterResetHint::Gauge;
    let counter = a.counter_reset_hint != gauge || b.counter_reset_hint != gauge;
    if counter && b.detect_reset(a) {
        return Ok(scaled(b, share));
    }
    let mut result = b.clone();
    if result.sub(a)?.bounds_reconciled {
        notes.info(span, text::bounds_reconciled("subtraction"));
    }
    result.mul(share);
    if result.add(a)?.bounds_reconciled {
        notes.info(span, text::bounds_reconciled("addition"));
    }
    Ok(result)
}

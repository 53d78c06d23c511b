//! Native histograms as messages of remote write and read carry them.

use std::sync::Arc;

use model::histogram::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, EXPONENTIAL_SCHEMA_MAX, FloatHistogram, Histogram,
    IntHistogram, ReduceError, Span,
};
use model::protobuf::{Fields, WireError, zigzag};

use crate::budget::{Budget, OverBudget};

/// Finest exponential schema of the format; finer ones than [`EXPONENTIAL_SCHEMA_MAX`] are reduced to that.
const SCHEMA_RESERVED_MAX: i32 = 52;

/// A histogram with its times.
pub(crate) struct Timed {
    pub(crate) timestamp_ms: i64,
    /// 0 where nobody says.
    pub(crate) start_ms: i64,
    /// Or why it cannot be brought to a schema that is stored.
    pub(crate) histogram: Result<Histogram, ReduceError>,
}

/// The parts of the message.
#[derive(Default)]
struct Parts {
    is_float: bool,
    count_int: u64,
    count_float: f64,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count_int: u64,
    zero_count_float: f64,
    negative_spans: Vec<Span>,
    negative_deltas: Vec<i64>,
    negative_counts: Vec<f64>,
    positive_spans: Vec<Span>,
    positive_deltas: Vec<i64>,
    positive_counts: Vec<f64>,
    reset_hint: CounterResetHint,
    custom_values: Vec<f64>,
}

/// Reads the message. Only version 2.0 of remote write has start timestamps.
///
/// # Errors
/// When it is none, or stands for more than `budget` allows.
pub(crate) fn read<E: From<WireError> + From<OverBudget>>(
    message: &[u8],
    has_start: bool,
    budget: &mut Budget,
) -> Result<Timed, E> {
    let mut parts = Parts::default();
    let (mut timestamp_ms, mut start_ms) = (0, 0);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            // Compat: of the kinds of count the last one counts; none means whole (remote-write: v1/hist/no-count-field).
            1 => (parts.count_int, parts.is_float) = (field.expect_varint()?, false),
            2 => (parts.count_float, parts.is_float) = (field.expect_double()?, true),
            3 => parts.sum = field.expect_double()?,
            4 => parts.schema = zigzag(field.expect_varint()?) as i32,
            5 => parts.zero_threshold = field.expect_double()?,
            6 => (parts.zero_count_int, parts.zero_count_float) = (field.expect_varint()?, 0.0),
            7 => (parts.zero_count_float, parts.zero_count_int) = (field.expect_double()?, 0),
            8 => push_span::<E>(field.expect_bytes()?, &mut parts.negative_spans, budget)?,
            9 => {
                field
                    .each_varint::<E>(|delta| Ok(budget.push(&mut parts.negative_deltas, zigzag(delta))?))?;
            }
            10 => field.each_double::<E>(|count| Ok(budget.push(&mut parts.negative_counts, count)?))?,
            11 => push_span::<E>(field.expect_bytes()?, &mut parts.positive_spans, budget)?,
            12 => {
                field
                    .each_varint::<E>(|delta| Ok(budget.push(&mut parts.positive_deltas, zigzag(delta))?))?;
            }
            13 => field.each_double::<E>(|count| Ok(budget.push(&mut parts.positive_counts, count)?))?,
            14 => parts.reset_hint = reset_hint(field.expect_varint()?),
            15 => timestamp_ms = field.expect_varint()? as i64,
            16 => field.each_double::<E>(|bound| Ok(budget.push(&mut parts.custom_values, bound)?))?,
            17 if has_start => start_ms = field.expect_varint()? as i64,
            _ => {}
        }
    }
    Ok(Timed {
        timestamp_ms,
        start_ms,
        histogram: parts.into_histogram(),
    })
}

fn push_span<E: From<WireError> + From<OverBudget>>(
    message: &[u8],
    spans: &mut Vec<Span>,
    budget: &mut Budget,
) -> Result<(), E> {
    let mut span = Span { offset: 0, length: 0 };
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => span.offset = zigzag(field.expect_varint()?) as i32,
            2 => span.length = field.expect_varint()? as u32,
            _ => {}
        }
    }
    Ok(budget.push(spans, span)?)
}

fn reset_hint(number: u64) -> CounterResetHint {
    match number {
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    }
}

impl Parts {
    fn into_histogram(self) -> Result<Histogram, ReduceError> {
        let is_fine = self.schema > EXPONENTIAL_SCHEMA_MAX && self.schema <= SCHEMA_RESERVED_MAX;
        let has_bounds = self.schema == CUSTOM_BUCKETS_SCHEMA || !self.custom_values.is_empty();
        let custom_values = has_bounds.then(|| Arc::from(self.custom_values));
        if self.is_float {
            let mut histogram: FloatHistogram = Buckets {
                counter_reset_hint: self.reset_hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: self.zero_count_float,
                count: self.count_float,
                sum: self.sum,
                positive_spans: self.positive_spans,
                negative_spans: self.negative_spans,
                positive_buckets: self.positive_counts,
                negative_buckets: self.negative_counts,
                custom_values,
            };
            if is_fine {
                histogram.reduce_resolution(EXPONENTIAL_SCHEMA_MAX)?;
            }
            return Ok(Histogram::Float(Arc::new(histogram)));
        }
        let mut histogram: IntHistogram = Buckets {
            counter_reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count_int,
            count: self.count_int,
            sum: self.sum,
            positive_spans: self.positive_spans,
            negative_spans: self.negative_spans,
            positive_buckets: self.positive_deltas,
            negative_buckets: self.negative_deltas,
            custom_values,
        };
        if is_fine {
            histogram.reduce_resolution(EXPONENTIAL_SCHEMA_MAX)?;
        }
        Ok(Histogram::Int(Arc::new(histogram)))
    }
}

/// What a histogram like this one begins with: nothing, and in the same buckets, so that they share a chunk.
pub(crate) fn zero_like(histogram: &Histogram) -> Histogram {
    fn zero<B, C: Default>(like: &Buckets<B, C>) -> Buckets<B, C> {
        Buckets {
            counter_reset_hint: CounterResetHint::Reset,
            schema: like.schema,
            zero_threshold: like.zero_threshold,
            zero_count: C::default(),
            count: C::default(),
            sum: 0.0,
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            positive_buckets: Vec::new(),
            negative_buckets: Vec::new(),
            custom_values: like.custom_values.clone(),
        }
    }
    match histogram {
        Histogram::Int(like) => Histogram::Int(Arc::new(zero(like))),
        Histogram::Float(like) => Histogram::Float(Arc::new(zero(like))),
    }
}

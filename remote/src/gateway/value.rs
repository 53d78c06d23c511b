//! What a metric says: read from its message, checked when it is pushed, and made of text.

use std::fmt::{self, Write as _};

use exposition::strict;
use model::float::format_general;
use model::go::QuotedBytes;
use model::histogram::{Buckets, CounterResetHint, Histogram as ModelHistogram, Span};
use model::protobuf::{Field, Fields, Message, Value as Wire, WireError, zigzag};

use super::family::{Kind, Metric};

/// What a metric says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter, a gauge, or what is of no known kind.
    Number(f64),
    /// A summary.
    Summary {
        /// Quantiles and their values.
        quantiles: Vec<(f64, f64)>,
        /// Sum of all observations.
        sum: f64,
        /// Their number.
        count: u64,
    },
    /// A histogram, classic, native or both.
    Histogram(Box<Histogram>),
}

/// The fields of a histogram's message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Number of observations, where it is whole.
    pub count: u64,
    /// Else.
    pub count_float: f64,
    /// Sum of all observations.
    pub sum: f64,
    /// Upper bounds and cumulative counts.
    pub buckets: Vec<(f64, f64)>,
    /// Of native buckets; so is all that follows.
    pub schema: i32,
    /// Width of the bucket around zero.
    pub zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative: Side,
    positive: Side,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Side {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl Histogram {
    /// The number of observations.
    pub fn total(&self) -> f64 {
        match self.count_float > 0.0 {
            true => self.count_float,
            false => self.count as f64,
        }
    }

    /// Whether counts are whole.
    pub fn is_whole(&self) -> bool {
        self.count_float <= 0.0 && self.zero_count_float <= 0.0
    }

    /// The native buckets, where it has some and they make sense.
    pub fn native(&self) -> Option<ModelHistogram> {
        if self.negative.spans.is_empty() && self.positive.spans.is_empty() {
            return None;
        }
        let fits = |side: &Side, buckets: usize| {
            let told: u64 = side.spans.iter().map(|span| u64::from(span.length)).sum();
            told == buckets as u64
        };
        let sides = [&self.negative, &self.positive];
        if self.is_whole() {
            return sides.iter().all(|side| fits(side, side.deltas.len())).then(|| {
                ModelHistogram::Int(std::sync::Arc::new(Buckets {
                    counter_reset_hint: CounterResetHint::Unknown,
                    schema: self.schema,
                    zero_threshold: self.zero_threshold,
                    zero_count: self.zero_count,
                    count: self.count,
                    sum: self.sum,
                    positive_spans: self.positive.spans.clone(),
                    negative_spans: self.negative.spans.clone(),
                    positive_buckets: self.positive.deltas.clone(),
                    negative_buckets: self.negative.deltas.clone(),
                    custom_values: None,
                }))
            });
        }
        sides.iter().all(|side| fits(side, side.counts.len())).then(|| {
            ModelHistogram::Float(std::sync::Arc::new(Buckets {
                counter_reset_hint: CounterResetHint::Unknown,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: self.zero_count_float,
                count: self.count_float,
                sum: self.sum,
                positive_spans: self.positive.spans.clone(),
                negative_spans: self.negative.spans.clone(),
                positive_buckets: self.positive.counts.clone(),
                negative_buckets: self.negative.counts.clone(),
                custom_values: None,
            }))
        })
    }
}

impl Metric {
    /// What it says as a metric of this kind; what its message does not say is zero.
    pub fn value(&self, kind: Kind) -> Value {
        let mut found: Option<&[u8]> = None;
        let mut fields = Fields::new(&self.fields);
        while let Ok(Some(field)) = fields.next_field() {
            if field.number == kind.value_field() {
                found = Some(field.bytes());
            }
        }
        // It was read when it was pushed.
        read(kind.value_field(), found.unwrap_or_default()).unwrap_or(Value::Number(0.0))
    }

    /// When it was measured, in milliseconds, if it says so.
    pub fn timestamp_ms(&self) -> Option<i64> {
        let mut fields = Fields::new(&self.fields);
        let found =
            std::iter::from_fn(|| fields.next_field().ok().flatten()).filter(|field| field.number == 6);
        found.last().map(|field| field.number() as i64)
    }
}

/// Reads the value in the field `number` of a metric.
///
/// # Errors
/// When it is not of its form. Other fields have none.
pub(super) fn check(number: u64, message: &[u8]) -> Result<(), WireError> {
    match number {
        2..=5 | 7 => read(number, message).map(|_| ()),
        _ => Ok(()),
    }
}

fn read(number: u64, message: &[u8]) -> Result<Value, WireError> {
    match number {
        4 => summary(message),
        7 => Ok(Value::Histogram(Box::new(histogram(message)?))),
        _ => {
            let mut value = 0.0;
            let mut fields = Fields::new(message);
            while let Some(field) = fields.next_field()? {
                if field.number == 1 {
                    value = double(&field);
                }
            }
            Ok(Value::Number(value))
        }
    }
}

fn double(field: &Field<'_>) -> f64 {
    match field.value {
        Wire::Fixed64(bits) => f64::from_bits(bits),
        _ => 0.0,
    }
}

/// Two doubles of a message, in its first two fields.
fn pair(message: &[u8]) -> Result<(f64, f64), WireError> {
    let mut pair = (0.0, 0.0);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => pair.0 = double(&field),
            2 => pair.1 = double(&field),
            _ => {}
        }
    }
    Ok(pair)
}

fn summary(message: &[u8]) -> Result<Value, WireError> {
    let (mut quantiles, mut sum, mut count) = (Vec::new(), 0.0, 0);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => count = field.number(),
            2 => sum = double(&field),
            3 => quantiles.push(pair(field.bytes())?),
            _ => {}
        }
    }
    Ok(Value::Summary {
        quantiles,
        sum,
        count,
    })
}

fn histogram(message: &[u8]) -> Result<Histogram, WireError> {
    let mut read = Histogram::default();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => read.count = field.number(),
            2 => read.sum = double(&field),
            3 => read.buckets.push(bucket(field.bytes())?),
            4 => read.count_float = double(&field),
            5 => read.schema = zigzag(field.number()) as i32,
            6 => read.zero_threshold = double(&field),
            7 => read.zero_count = field.number(),
            8 => read.zero_count_float = double(&field),
            9 => read.negative.spans.push(span(field.bytes())?),
            10 => deltas(&field, &mut read.negative.deltas)?,
            11 => doubles(&field, &mut read.negative.counts)?,
            12 => read.positive.spans.push(span(field.bytes())?),
            13 => deltas(&field, &mut read.positive.deltas)?,
            14 => doubles(&field, &mut read.positive.counts)?,
            _ => {}
        }
    }
    Ok(read)
}

fn bucket(message: &[u8]) -> Result<(f64, f64), WireError> {
    let (mut whole, mut float, mut bound) = (0, 0.0, 0.0);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => whole = field.number(),
            2 => bound = double(&field),
            4 => float = double(&field),
            _ => {}
        }
    }
    Ok((bound, if float > 0.0 { float } else { whole as f64 }))
}

fn span(message: &[u8]) -> Result<Span, WireError> {
    let mut span = Span { offset: 0, length: 0 };
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => span.offset = zigzag(field.number()) as i32,
            2 => span.length = field.number() as u32,
            _ => {}
        }
    }
    Ok(span)
}

fn deltas(field: &Field<'_>, list: &mut Vec<i64>) -> Result<(), WireError> {
    let mut numbers = Vec::new();
    field.numbers(&mut numbers)?;
    list.extend(numbers.into_iter().map(zigzag));
    Ok(())
}

fn doubles(field: &Field<'_>, list: &mut Vec<f64>) -> Result<(), WireError> {
    match field.value {
        Wire::Bytes(packed) => {
            let (numbers, []) = packed.as_chunks::<8>() else {
                return Err(WireError::Short);
            };
            list.extend(numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)));
        }
        _ => list.push(double(field)),
    }
    Ok(())
}

/// The fields of a metric's message that say what a metric of text says.
pub(super) fn of_text(kind: Kind, metric: &strict::Metric) -> Vec<u8> {
    let mut out = Message::default();
    out.message(kind.value_field(), |out| match kind {
        Kind::Summary => {
            if let Some(count) = metric.count {
                out.always_uint(1, count as u64);
            }
            if let Some(sum) = metric.sum {
                out.always_double(2, sum);
            }
            for (quantile, value) in &metric.points {
                out.message(3, |out| {
                    out.always_double(1, *quantile).always_double(2, *value);
                });
            }
        }
        Kind::Histogram | Kind::GaugeHistogram => histogram_of_text(out, metric),
        _ => {
            out.always_double(1, metric.value);
        }
    });
    if let Some(timestamp_ms) = metric.timestamp_ms {
        out.always_uint(6, timestamp_ms as u64);
    }
    out.into_bytes()
}

/// Compat: counts of a histogram are all whole or none is, as the reference makes them.
fn histogram_of_text(out: &mut Message, metric: &strict::Metric) {
    let is_whole = |count: f64| count == (count as u64) as f64;
    let counts = metric
        .count
        .into_iter()
        .chain(metric.points.iter().map(|(_, count)| *count));
    let whole = counts.into_iter().all(is_whole);
    let put = |out: &mut Message, (whole_field, float_field): (u64, u64), count: f64| {
        match whole {
            true => out.always_uint(whole_field, count as u64),
            false => out.always_double(float_field, count),
        };
    };
    if let Some(count) = metric.count {
        put(out, (1, 4), count);
    }
    if let Some(sum) = metric.sum {
        out.always_double(2, sum);
    }
    for (bound, count) in &metric.points {
        out.message(3, |out| {
            put(out, (1, 4), *count);
            out.always_double(2, *bound);
        });
    }
}

/// The fields of a gauge's message with this value.
pub(super) fn gauge(value: f64) -> Box<[u8]> {
    let mut out = Message::default();
    out.message(2, |out| {
        out.always_double(1, value);
    });
    out.into_bytes().into()
}

/// A metric as errors show it: protobuf's text in one line.
pub(super) struct Shown<'m>(pub(super) &'m Metric);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, value) in &self.0.labels {
            let (name, value) = (QuotedBytes(name), QuotedBytes(value));
            write!(f, "{separator}label:{{name:{name} value:{value}}}")?;
            separator = " ";
        }
        for kind in [
            Kind::Gauge,
            Kind::Counter,
            Kind::Summary,
            Kind::Untyped,
            Kind::Histogram,
        ] {
            if self.0.has(kind.value_field()) {
                let name = kind.name().to_ascii_lowercase();
                write!(f, "{separator}{name}:{{")?;
                show(f, &self.0.value(kind))?;
                f.write_char('}')?;
                separator = " ";
            }
        }
        if let Some(timestamp_ms) = self.0.timestamp_ms() {
            write!(f, "{separator}timestamp_ms:{timestamp_ms}")?;
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Number(value) => write!(f, "value:{}", Double(*value)),
        Value::Summary {
            quantiles,
            sum,
            count,
        } => {
            write!(f, "sample_count:{count} sample_sum:{}", Double(*sum))?;
            for (quantile, value) in quantiles {
                let (quantile, value) = (Double(*quantile), Double(*value));
                write!(f, " quantile:{{quantile:{quantile} value:{value}}}")?;
            }
            Ok(())
        }
        Value::Histogram(histogram) => {
            let (count, sum) = (Double(histogram.total()), Double(histogram.sum));
            write!(f, "sample_count:{count} sample_sum:{sum}")?;
            for (bound, count) in &histogram.buckets {
                let (bound, count) = (Double(*bound), Double(*count));
                write!(f, " bucket:{{cumulative_count:{count} upper_bound:{bound}}}")?;
            }
            Ok(())
        }
    }
}

/// A number as protobuf's text has it.
struct Double(f64);

impl fmt::Display for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value.is_nan() => f.write_str("nan"),
            value if value.is_infinite() => f.write_str(if value > 0.0 { "inf" } else { "-inf" }),
            value => f.write_str(&format_general(value)),
        }
    }
}

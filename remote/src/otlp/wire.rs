//! The protocol's messages, read over borrowed bytes.
//!
//! <https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/metrics/v1/metrics.proto>
//!
//! A [`Request`] is a handful of flat lists, one a kind of message; what belongs to a message is a [`Run`] of a list. So
//! reading allocates for lists that grow, not for each point, and dropping is flat as well. Texts stay where they are in
//! the body, values that nest stay unread bytes whose form has been checked: [`value`](super::value) walks them again
//! where they are wanted.

mod read;

use std::ops::Range;

use model::protobuf::WireError;

/// How deep lists and maps of attribute values may nest. JSON needs three levels for each and has 128 in all.
pub(super) const NESTING_MAX: usize = 32;

/// Bytes that a request's lists may take: eight times the longest body.
pub(super) const DECODED_BYTES_MAX: usize = 256 << 20;

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They are no message at all.
    #[error("the body is no protocol buffers message: {0}")]
    Wire(#[from] WireError),
    /// A field holds something else than its type.
    #[error("field {field} of {message} has the wrong type")]
    WrongType {
        /// Which message.
        message: &'static str,
        /// Which of its fields.
        field: u64,
    },
    /// A packed list whose length is not that of whole numbers.
    #[error("field {field} of {message} is cut off within a number")]
    CutNumber {
        /// Which message.
        message: &'static str,
        /// Which of its fields.
        field: u64,
    },
    /// A trace or span id of another length.
    #[error("a {what} has {len} bytes, not {want}")]
    IdLength {
        /// Which of the two.
        what: &'static str,
        /// How many bytes it has.
        len: usize,
        /// How many it must have.
        want: usize,
    },
    /// Values within values.
    #[error("attribute values nest deeper than {NESTING_MAX} levels")]
    Nesting,
    /// Tiny messages in great number.
    #[error("the request takes more than {DECODED_BYTES_MAX} bytes once it is read; send smaller batches")]
    TooMuch,
}

/// Consecutive entries of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    begin: u32,
    end: u32,
}

impl Run {
    fn of<T>(begin: usize, list: &[T]) -> Self {
        // Lists are far shorter than 2^32, since DECODED_BYTES_MAX holds for all together.
        Run {
            begin: begin as u32,
            end: list.len() as u32,
        }
    }

    pub(super) fn is_empty(self) -> bool {
        self.begin == self.end
    }

    pub(super) fn range(self) -> Range<usize> {
        self.begin as usize..self.end as usize
    }
}

/// A resource and what was measured there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resource {
    pub(super) attributes: Run,
    pub(super) scopes: Run,
}

/// A library that measures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'b> {
    pub(super) name: &'b [u8],
    pub(super) version: &'b [u8],
    pub(super) schema_url: &'b [u8],
    pub(super) attributes: Run,
    pub(super) metrics: Run,
}

/// A metric with its points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric<'b> {
    pub(super) name: &'b [u8],
    pub(super) description: &'b [u8],
    pub(super) unit: &'b [u8],
    pub(super) kind: Kind,
    pub(super) temporality: Temporality,
    pub(super) monotonic: bool,
    /// In the list of its kind.
    pub(super) points: Run,
}

/// What a metric's points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The metric has no data at all.
    Missing,
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

/// What a point's value is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temporality {
    /// The kind has none, or it was not said.
    Unspecified,
    /// From the point before.
    Delta,
    /// From the start.
    Cumulative,
    /// A number that means nothing.
    Unknown,
}

impl Temporality {
    fn of(number: u64) -> Self {
        match number {
            0 => Temporality::Unspecified,
            1 => Temporality::Delta,
            2 => Temporality::Cumulative,
            _ => Temporality::Unknown,
        }
    }
}

/// What all points have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    pub(super) attributes: Run,
    pub(super) start_ns: u64,
    pub(super) time_ns: u64,
    pub(super) flags: u32,
    pub(super) exemplars: Run,
}

impl Head {
    /// Whether the point says that there is no value (any more).
    pub(super) fn no_value(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// A number as it was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Missing,
    Int(i64),
    Double(f64),
}

impl Number {
    pub(super) fn value(self) -> Option<f64> {
        match self {
            Number::Missing => None,
            Number::Int(int) => Some(int as f64),
            Number::Double(double) => Some(double),
        }
    }
}

/// A point of a gauge or a sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct NumberPoint {
    pub(super) head: Head,
    pub(super) value: Number,
}

/// A point of a histogram with explicit bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct HistogramPoint {
    pub(super) head: Head,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    /// In `counts`.
    pub(super) counts: Run,
    /// In `bounds`.
    pub(super) bounds: Run,
}

/// One side of an exponential histogram.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    pub(super) offset: i32,
    /// In `counts`.
    pub(super) counts: Run,
}

/// A point of an exponential histogram.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExponentialPoint {
    pub(super) head: Head,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) scale: i32,
    pub(super) zero_count: u64,
    pub(super) zero_threshold: f64,
    pub(super) positive: Side,
    pub(super) negative: Side,
}

/// A point of a summary.
#[derive(Clone, Copy, Debug)]
pub(super) struct SummaryPoint {
    pub(super) head: Head,
    pub(super) count: u64,
    pub(super) sum: f64,
    /// In `quantiles`.
    pub(super) quantiles: Run,
}

/// An example of what was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExemplarPoint<'b> {
    pub(super) attributes: Run,
    pub(super) time_ns: u64,
    pub(super) value: Number,
    /// Empty, or 16 bytes.
    pub(super) trace_id: &'b [u8],
    /// Empty, or 8 bytes.
    pub(super) span_id: &'b [u8],
}

/// A name and a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'b> {
    pub(super) key: &'b [u8],
    pub(super) value: AnyValue<'b>,
}

/// A value of any type.
#[derive(Clone, Copy, Debug)]
pub(super) enum AnyValue<'b> {
    Missing,
    Text(&'b [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// A list, unread.
    Array(&'b [u8]),
    /// A map, unread.
    Map(&'b [u8]),
    Bytes(&'b [u8]),
}

/// A request: lists of all its parts.
#[derive(Debug, Default)]
pub(super) struct Request<'b> {
    pub(super) resources: Vec<Resource>,
    pub(super) scopes: Vec<Scope<'b>>,
    pub(super) metrics: Vec<Metric<'b>>,
    pub(super) numbers: Vec<NumberPoint>,
    pub(super) histograms: Vec<HistogramPoint>,
    pub(super) exponentials: Vec<ExponentialPoint>,
    pub(super) summaries: Vec<SummaryPoint>,
    pub(super) exemplars: Vec<ExemplarPoint<'b>>,
    pub(super) attributes: Vec<Attribute<'b>>,
    pub(super) counts: Vec<u64>,
    pub(super) bounds: Vec<f64>,
    pub(super) quantiles: Vec<(f64, f64)>,
}

//! What can be wrong with a scrape body, and where.

use std::fmt;

/// Most bytes of offending text that an error carries.
const EXCERPT_BYTES_MAX: usize = 120;

/// A body that its format does not allow. The first such place fails the whole scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Where it is.
    pub place: Place,
    /// What the format wants there.
    pub expected: Expected,
    /// What stands there instead.
    pub found: Box<str>,
    /// The text from the start of the entry up to the fault (shortened); empty for protobuf.
    pub text: Box<str>,
}

/// Where in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a text format.
    Text {
        /// Line, counted from 1.
        line: usize,
        /// Column in bytes, counted from 1.
        column: usize,
    },
    /// In a binary format.
    Binary {
        /// Bytes from the start of the body.
        offset: usize,
    },
}

/// What a format wants at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Expected {
    /// A comment, a metric name or an opening brace.
    #[error("a sample or a comment")]
    LineStart,
    /// The name after `HELP`, `TYPE` or `UNIT`.
    #[error("a metric name after HELP, TYPE or UNIT")]
    MetadataName,
    /// The rest of a metadata line.
    #[error("a space and text after the metric name")]
    MetadataText,
    /// One of the format's type words.
    #[error("a valid metric type")]
    MetricType,
    /// A unit that the name ends with.
    #[error("a unit that is the metric name's last word")]
    UnitSuffix,
    /// UTF-8.
    #[error("valid UTF-8")]
    Utf8,
    /// A label name in braces.
    #[error("a label name or a closing brace")]
    LabelName,
    /// `=` after a label name.
    #[error("an equal sign after the label name")]
    Equal,
    /// A quoted value after `=`.
    #[error("a label value in double quotes")]
    LabelValue,
    /// `,` or `}` after a label.
    #[error("a comma or a closing brace")]
    CommaOrBrace,
    /// A metric name before or inside the braces.
    #[error("a metric name, which the braces do not hold")]
    MetricName,
    /// A single metric name.
    #[error("one metric name, which is set already")]
    SingleMetricName,
    /// A value after the series or the exemplar's labels.
    #[error("a value")]
    Value,
    /// A float as Go reads it, without `p`, `P` and `_`.
    #[error("a floating-point number")]
    Float,
    /// A float that 64 bits can hold.
    #[error("a number in the range of a 64-bit float")]
    FloatRange,
    /// A timestamp or the end of the line.
    #[error("a timestamp or the end of the line")]
    TimestampOrEnd,
    /// A finite timestamp.
    #[error("a finite timestamp")]
    FiniteTimestamp,
    /// Milliseconds in 64 bits.
    #[error("a timestamp in milliseconds that 64 bits can hold")]
    TimestampRange,
    /// The end of the line, or in OpenMetrics an exemplar.
    #[error("the end of the line")]
    LineEnd,
    /// `# EOF`, which OpenMetrics bodies end with.
    #[error("\"# EOF\" at the end of the data")]
    Eof,
    /// Nothing after `# EOF`.
    #[error("no data after \"# EOF\"")]
    NothingAfterEof,
    /// A well-formed protobuf field.
    #[error("a well-formed protobuf field")]
    ProtobufField,
    /// As many bytes as the length before them says.
    #[error("as many bytes as the message length says")]
    ProtobufLength,
    /// A label name that is not empty.
    #[error("a valid label name")]
    ProtobufLabelName,
    /// A metric name that is not empty.
    #[error("a valid metric name")]
    ProtobufMetricName,
    /// A number of buckets that agrees with the spans.
    #[error("as many native histogram buckets as the spans say")]
    BucketsOfSpans,
    /// A classic histogram that can be converted to custom buckets.
    #[error("a classic histogram with cumulative, non-negative counts")]
    ClassicHistogram,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Text { line, column } => write!(f, "line {line}, column {column}: ")?,
            Place::Binary { offset } => write!(f, "byte {offset}: ")?,
        }
        write!(f, "expected {}, got {:?}", self.expected, self.found)?;
        if !self.text.is_empty() {
            write!(f, " while parsing: {:?}", self.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for ParseError {}

/// A fault before its line is counted: position in the body and what was wanted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) expected: Expected,
}

impl Fault {
    pub(crate) fn new(at: usize, expected: Expected) -> Self {
        Fault { at, expected }
    }

    /// The error for this fault in an entry of `body` that starts at `start`.
    #[cold]
    pub(crate) fn in_text(self, body: &[u8], start: usize) -> ParseError {
        let at = self.at.min(body.len());
        let line_start = memchr::memrchr(b'\n', &body[..at]).map_or(0, |nl| nl + 1);
        let token_end = body[at..]
            .iter()
            .skip(1)
            .position(|b| b" \t\n".contains(b))
            .map_or(body.len(), |n| at + 1 + n);
        ParseError {
            place: Place::Text {
                line: memchr::memchr_iter(b'\n', &body[..at]).count() + 1,
                column: at - line_start + 1,
            },
            expected: self.expected,
            found: excerpt(&body[at..token_end]),
            text: excerpt(&body[start.min(at)..token_end]),
        }
    }

    /// The error for this fault in a binary body.
    #[cold]
    pub(crate) fn in_binary(self, found: &[u8]) -> ParseError {
        ParseError {
            place: Place::Binary { offset: self.at },
            expected: self.expected,
            found: excerpt(found),
            text: Box::from(""),
        }
    }
}

fn excerpt(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT_BYTES_MAX)])
        .into_owned()
        .into_boxed_str()
}

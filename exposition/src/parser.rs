//! One parser for all formats.

use model::sample::MetricType;

use crate::convert::ConvertingParser;
use crate::entry::{Entry, Format, Series};
use crate::error::ParseError;
use crate::openmetrics::OpenMetricsParser;
use crate::protobuf::{HistogramOptions, ProtobufParser};
use crate::text::TextParser;

/// What a caller wants to be read differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ParserOptions {
    /// In OpenMetrics, take `_created` samples for start timestamps of the others.
    pub start_timestamps: bool,
    /// What becomes of histograms.
    pub histograms: HistogramOptions,
}

/// Reads a body in any format entry by entry.
#[derive(Clone, Debug)]
pub enum Parser<'a> {
    /// Prometheus text.
    Text(TextParser<'a>),
    /// OpenMetrics.
    OpenMetrics(OpenMetricsParser<'a>),
    /// Protobuf.
    Protobuf(Box<ProtobufParser<'a>>),
    /// One of the text formats, classic histograms converted.
    Converting(Box<ConvertingParser<'a>>),
}

impl<'a> Parser<'a> {
    /// A parser at the start of `body`.
    pub fn new(format: Format, body: &'a [u8], options: ParserOptions) -> Self {
        match format {
            Format::Text | Format::OpenMetrics if options.histograms.convert_classic => {
                Parser::Converting(Box::new(ConvertingParser::new(format, body, options)))
            }
            Format::Text => Parser::Text(TextParser::new(body)),
            Format::OpenMetrics => {
                Parser::OpenMetrics(OpenMetricsParser::new(body, options.start_timestamps))
            }
            Format::Protobuf => Parser::Protobuf(Box::new(ProtobufParser::new(body, options.histograms))),
        }
    }

    /// The format that it reads.
    pub fn format(&self) -> Format {
        match self {
            Parser::Text(_) => Format::Text,
            Parser::OpenMetrics(_) => Format::OpenMetrics,
            Parser::Protobuf(_) => Format::Protobuf,
            Parser::Converting(parser) => parser.format(),
        }
    }

    /// Kind of the family announced last: what [`crate::parse_series`] needs to know.
    pub fn kind(&self) -> MetricType {
        match self {
            Parser::Text(parser) => parser.kind(),
            Parser::OpenMetrics(parser) => parser.kind(),
            Parser::Protobuf(parser) => parser.kind(),
            Parser::Converting(parser) => parser.kind(),
        }
    }

    /// The next entry, or `None` at the end.
    ///
    /// # Errors
    /// At the first place that the format does not allow; calling again is pointless then.
    #[expect(
        clippy::should_implement_trait,
        reason = "entries borrow the parser's buffers"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        match self {
            Parser::Text(parser) => parser.next(),
            Parser::OpenMetrics(parser) => parser.next(),
            Parser::Protobuf(parser) => parser.next(),
            Parser::Converting(parser) => parser.next(),
        }
    }

    /// Reads what comes next as a sample if its series text has `length` bytes and `known` recognises it; see
    /// [`TextParser::next_known`]. In protobuf nothing can be recognised before it is decoded.
    ///
    /// # Errors
    /// When the text is recognised and the rest of the line is wrong.
    #[inline]
    pub fn next_known(
        &mut self,
        length: usize,
        known: impl FnOnce(&'a [u8]) -> bool,
    ) -> Result<Option<Series<'a>>, ParseError> {
        match self {
            Parser::Text(parser) => parser.next_known(length, known),
            Parser::OpenMetrics(parser) => parser.next_known(length, known),
            Parser::Protobuf(_) | Parser::Converting(_) => Ok(None),
        }
    }
}

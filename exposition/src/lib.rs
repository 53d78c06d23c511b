//! Scrape bodies to entries: the text format, OpenMetrics and protobuf, as the reference's parsers read them.
//!
//! This crate knows only `model`; how a body is fetched and what becomes of its samples is not its business.
//!
//! The one decision behind it: a series is recognised, not parsed. A parser gives each sample's *series text* as a
//! slice of the body together with value, timestamp and exemplar; what the labels are is asked once for each new text
//! ([`parse_series`]). A caller that expects a certain text ([`Parser::next_known`]) does not even pay for finding
//! where it ends.
//!
//! ```
//! use narthex_exposition::{Entry, Format, Parser, ParserOptions, parse_series};
//! let body = b"# TYPE up gauge\nup{job=\"api\"} 1\n";
//! let mut parser = Parser::new(Format::Text, body, ParserOptions::default());
//! while let Some(entry) = parser.next()? {
//!     if let Entry::Series(series) = entry {
//!         assert_eq!(series.text, b"up{job=\"api\"}");
//!         assert_eq!(series.value, 1.0);
//!     }
//! }
//! # Ok::<(), narthex_exposition::ParseError>(())
//! ```

mod classic;
mod convert;
mod created;
mod entry;
mod error;
mod negotiate;
mod number;
mod openmetrics;
mod parser;
mod protobuf;
mod scan;
mod series;
pub mod strict;
mod text;

pub use classic::ClassicHistogram;
pub use convert::ConvertingParser;
pub use entry::{Entry, ExemplarText, Format, HistogramSeries, LabelsError, Series};
pub use error::{Expected, ParseError, Place};
pub use negotiate::{
    ContentTypeError, EscapingScheme, MediaTypeError, ScrapeProtocol, accept_header, format_of,
};
pub use number::format_bound;
pub use openmetrics::OpenMetricsParser;
pub use parser::{Parser, ParserOptions};
pub use protobuf::{HistogramOptions, ProtobufParser};
pub use series::parse_series;
pub use text::TextParser;

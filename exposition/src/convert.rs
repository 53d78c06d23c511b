//! Text formats with classic histograms converted: the lines of one histogram become one native histogram with custom
//! bucket bounds.
//!
//! Lines are collected as long as they belong to the family announced last and differ only in `le` and suffix; the
//! histogram comes before the first entry that does not. What cannot be converted is passed over, as in the reference.

use std::fmt::Write;

use model::labels::{BUCKET_LABEL, METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use model::sample::MetricType;

use crate::classic::ClassicHistogram;
use crate::entry::{Entry, ExemplarText, Format, HistogramSeries, Series};
use crate::error::ParseError;
use crate::number;
use crate::openmetrics::OpenMetricsParser;
use crate::parser::ParserOptions;
use crate::series::parse_series;
use crate::text::TextParser;

/// Reads a body of a text format, classic histograms converted.
#[derive(Clone, Debug)]
pub struct ConvertingParser<'a> {
    lines: Lines<'a>,
    keep_classic: bool,
    /// Name of the family announced last.
    family: &'a [u8],
    kind: MetricType,
    collected: Option<Collected<'a>>,
    /// Read, and to be given once the histogram before it has been.
    waiting: Option<Option<Entry<'a>>>,
    text: String,
}

#[derive(Clone, Debug)]
enum Lines<'a> {
    Text(TextParser<'a>),
    OpenMetrics(OpenMetricsParser<'a>),
}

/// The lines of one histogram so far.
#[derive(Clone, Debug)]
struct Collected<'a> {
    identity: Identity,
    parts: ClassicHistogram,
    timestamp_ms: Option<i64>,
    start_ms: i64,
    exemplars: Vec<ExemplarText<'a>>,
}

/// What the lines of one histogram have in common: name without suffix, labels without `le`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Identity {
    name: String,
    labels: Vec<(String, String)>,
}

/// What one line says about its histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Bucket(f64),
    Count,
    Sum,
    /// Nothing that is understood.
    None,
}

impl<'a> ConvertingParser<'a> {
    /// A parser at the start of `body`, which is in a text format.
    pub fn new(format: Format, body: &'a [u8], options: ParserOptions) -> Self {
        let lines = if format == Format::OpenMetrics {
            Lines::OpenMetrics(OpenMetricsParser::new(body, options.start_timestamps))
        } else {
            Lines::Text(TextParser::new(body))
        };
        ConvertingParser {
            lines,
            keep_classic: options.histograms.keep_classic,
            family: b"",
            kind: MetricType::Unknown,
            collected: None,
            waiting: None,
            text: String::new(),
        }
    }

    /// The format that it reads.
    pub fn format(&self) -> Format {
        match self.lines {
            Lines::Text(_) => Format::Text,
            Lines::OpenMetrics(_) => Format::OpenMetrics,
        }
    }

    /// Kind of the family announced last.
    pub fn kind(&self) -> MetricType {
        self.kind
    }

    /// The next entry, or `None` at the end.
    ///
    /// # Errors
    /// At the first line that the format does not allow; calling again is pointless then.
    #[expect(
        clippy::should_implement_trait,
        reason = "entries borrow the parser's buffers"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        loop {
            let entry = match self.waiting.take() {
                Some(entry) => entry,
                None => match &mut self.lines {
                    Lines::Text(parser) => parser.next()?,
                    Lines::OpenMetrics(parser) => parser.next()?,
                },
            };
            let line = match &entry {
                Some(Entry::Series(series)) if self.kind == MetricType::Histogram => self.read(series),
                _ => None,
            };
            let goes_on = match (&self.collected, &line) {
                (Some(collected), Some((identity, _))) => collected.identity == *identity,
                (collected, _) => collected.is_none(),
            };
            if !goes_on
                && let Some(collected) = self.collected.take()
                && let Some(histogram) = collected.parts.convert(false)
            {
                self.waiting = Some(entry);
                self.text = collected.identity.text();
                return Ok(Some(Entry::Histogram(HistogramSeries {
                    text: self.text.as_bytes(),
                    histogram,
                    timestamp_ms: collected.timestamp_ms,
                    start_ms: collected.start_ms,
                    exemplars: collected.exemplars,
                })));
            }
            if let (Some(Entry::Series(series)), Some((identity, part))) = (&entry, line)
                && self.collect(series, identity, part)
            {
                if self.keep_classic {
                    // Its exemplar goes with the native histogram.
                    return Ok(Some(Entry::Series(Series {
                        exemplar: None,
                        ..*series
                    })));
                }
                continue;
            }
            if let Some(Entry::Type { name, kind }) = entry {
                (self.family, self.kind) = (name, kind);
            }
            return Ok(entry);
        }
    }

    /// Which histogram a line belongs to, and what it says.
    fn read(&self, series: &Series<'a>) -> Option<(Identity, Part)> {
        let mut identity = Identity::default();
        let mut bound = None;
        parse_series(self.format(), series.text, self.kind, |name, value| match name {
            METRIC_NAME => value.clone_into(&mut identity.name),
            BUCKET_LABEL => bound = Some(value.to_owned()),
            _ => identity.labels.push((name.to_owned(), value.to_owned())),
        })
        .ok()?;
        identity.labels.sort();
        let strip = |suffix| identity.name.strip_suffix(suffix).map(str::to_owned);
        let (part, name) = if let Some(name) = strip("_bucket") {
            let bound = bound.and_then(|bound| number::read_bound(bound.as_bytes()));
            (
                bound
                    .filter(|bound| !bound.is_nan())
                    .map_or(Part::None, Part::Bucket),
                name,
            )
        } else if let Some(name) = strip("_sum") {
            (Part::Sum, name)
        } else if let Some(name) = strip("_count") {
            (Part::Count, name)
        } else {
            (Part::None, identity.name)
        };
        let part = if name.as_bytes() == self.family {
            part
        } else {
            Part::None
        };
        identity.name = name;
        Some((identity, part))
    }

    /// Adds a line to what is collected; `false` where it says nothing.
    fn collect(&mut self, series: &Series<'a>, identity: Identity, part: Part) -> bool {
        if part == Part::None {
            return false;
        }
        let collected = self.collected.get_or_insert_with(|| Collected {
            identity,
            parts: ClassicHistogram::default(),
            timestamp_ms: None,
            start_ms: series.start_ms,
            exemplars: Vec::new(),
        });
        collected.timestamp_ms = series.timestamp_ms;
        // Compat: exemplars of native histograms count only with a timestamp (reports/nhcb-exemplar-without-time).
        collected.exemplars.extend(series.exemplar);
        match part {
            Part::Bucket(bound) => collected.parts.set_bucket(bound, series.value),
            Part::Count => collected.parts.set_count(series.value),
            Part::Sum => collected.parts.set_sum(series.value),
            Part::None => {}
        }
        true
    }
}

impl Identity {
    /// The series text that a line of this identity would have.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut separator = "{";
        if is_legacy_metric_name(&self.name) {
            text.push_str(&self.name);
        } else {
            text.push('{');
            quote(&mut text, &self.name);
            separator = ",";
        }
        for (name, value) in &self.labels {
            text.push_str(separator);
            separator = ",";
            if is_legacy_label_name(name) {
                text.push_str(name);
            } else {
                quote(&mut text, name);
            }
            text.push('=');
            quote(&mut text, value);
        }
        if separator == "," {
            text.push('}');
        }
        text
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '\\' => out.write_str("\\\\"),
            '"' => out.write_str("\\\""),
            '\n' => out.write_str("\\n"),
            c => out.write_char(c),
        };
    }
    out.push('"');
}

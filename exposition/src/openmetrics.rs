//! The OpenMetrics text format, versions 0.0.1 and 1.0.0, as the reference reads it.

use model::sample::MetricType;

use crate::created::StartTimes;
use crate::entry::{Entry, ExemplarText, Format, Series};
use crate::error::{Expected, Fault, ParseError};
use crate::number;
use crate::scan::{self, Discard, Grammar};
use crate::text::metadata_name;

/// Reads an OpenMetrics body entry by entry.
///
/// Compat: like the reference's, this parser looks at lines and not at families
/// (`lines_of_open_metrics_are_read_one_by_one`). It takes families that interleave,
/// samples whose suffix does not fit their type, and counters below zero.
#[derive(Clone, Debug)]
pub struct OpenMetricsParser<'a> {
    body: &'a [u8],
    /// Start of the next line.
    at: usize,
    kind: MetricType,
    /// Length of the family name of the metadata line that was read last.
    family_bytes: usize,
    /// Where start timestamps are wanted: what is known of them.
    starts: Option<StartTimes<'a>>,
}

impl<'a> OpenMetricsParser<'a> {
    /// A parser at the start of `body`. With `start_timestamps`, `_created` samples of counters, histograms and
    /// summaries are not samples of their own but give the other samples their start timestamp.
    pub fn new(body: &'a [u8], start_timestamps: bool) -> Self {
        OpenMetricsParser {
            body,
            at: 0,
            kind: MetricType::Unknown,
            family_bytes: 0,
            starts: start_timestamps.then(StartTimes::default),
        }
    }

    /// Kind of the family whose `TYPE` line was read last: what [`crate::parse_series`] needs to know.
    pub fn kind(&self) -> MetricType {
        self.kind
    }

    /// The next entry, or `None` after `# EOF`.
    ///
    /// # Errors
    /// At the first line that the format does not allow; calling again is pointless then.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator of results would go on after an error"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        loop {
            let start = self.at;
            let entry = match self.body.get(start) {
                None => Err(Fault::new(start, Expected::Eof)),
                Some(b'#') => self.comment(start),
                Some(_) => self.sample(start).map(|series| Some(Entry::Series(series))),
            };
            let entry = entry.map_err(|fault| fault.in_text(self.body, start))?;
            if let Some(Entry::Series(series)) = &entry
                && self.is_start_time(series)
            {
                continue;
            }
            return Ok(entry);
        }
    }

    /// Reads the line at hand as a sample if its series text has `length` bytes and `known` recognises it; as
    /// [`crate::TextParser::next_known`].
    ///
    /// # Errors
    /// When the text is recognised and the rest of the line is wrong.
    #[inline]
    pub fn next_known(
        &mut self,
        length: usize,
        known: impl FnOnce(&'a [u8]) -> bool,
    ) -> Result<Option<Series<'a>>, ParseError> {
        let end = self.at.saturating_add(length);
        let Some(text) = self.body.get(self.at..end) else {
            return Ok(None);
        };
        let complete = match text.last() {
            // Comments are common where a sample is expected, and never known.
            _ if text.first() == Some(&b'#') => false,
            Some(b'}') => true,
            Some(_) => self.body.get(end) == Some(&b' '),
            None => false,
        };
        if !complete || !known(text) {
            return Ok(None);
        }
        let start = self.at;
        match self.value(start, end) {
            Ok(series) => Ok(Some(self.with_start(series))),
            Err(fault) => Err(fault.in_text(self.body, start)),
        }
    }

    fn sample(&mut self, start: usize) -> Result<Series<'a>, Fault> {
        let end = scan::series(self.body, start, Grammar::OpenMetrics, &mut Discard)?;
        let series = self.value(start, end)?;
        Ok(if self.is_start_time(&series) {
            series
        } else {
            self.with_start(series)
        })
    }

    fn is_start_time(&self, series: &Series<'_>) -> bool {
        self.starts.is_some() && self.kind_has_start() && crate::created::is_created(series.text)
    }

    fn kind_has_start(&self) -> bool {
        matches!(
            self.kind,
            MetricType::Counter | MetricType::Histogram | MetricType::Summary
        )
    }

    #[inline]
    fn with_start(&mut self, mut series: Series<'a>) -> Series<'a> {
        if self.starts.is_some() {
            series.start_ms = self.start_ms(series.text);
        }
        series
    }

    fn start_ms(&mut self, text: &'a [u8]) -> i64 {
        if !self.kind_has_start() {
            return 0;
        }
        // The search runs ahead on a copy that wants no start timestamps itself.
        let Some(mut starts) = self.starts.take() else {
            return 0;
        };
        let ahead = self.clone();
        let start_ms = starts.of(text, self.family_bytes, ahead);
        self.starts = Some(starts);
        start_ms
    }

    /// Position in the body: the start of the next line.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Reads value, timestamp and exemplar after the series text `start..end`, and steps over the line.
    #[inline]
    fn value(&mut self, start: usize, end: usize) -> Result<Series<'a>, Fault> {
        let body = self.body;
        let (value, mut at) = number_after_space(body, end, Expected::Value)?;
        let mut timestamp_ms = None;
        if body.get(at) == Some(&b' ') && !self.exemplar_at(at) {
            (timestamp_ms, at) = timestamp(body, at)?;
        }
        let mut exemplar = None;
        if self.exemplar_at(at) {
            let (read, end) = self.exemplar(at)?;
            exemplar = Some(read);
            at = end;
        }
        match body.get(at) {
            Some(b'\n') => self.at = at + 1,
            None => return Err(Fault::new(at, Expected::Eof)),
            Some(_) => return Err(Fault::new(at, Expected::LineEnd)),
        }
        Ok(Series {
            text: &body[start..end],
            value,
            timestamp_ms,
            start_ms: 0,
            exemplar,
        })
    }

    fn exemplar_at(&self, at: usize) -> bool {
        self.body.get(at..).is_some_and(|rest| rest.starts_with(b" # {"))
    }

    /// Reads the exemplar whose ` # {` stands at `at`.
    #[inline(never)]
    fn exemplar(&self, at: usize) -> Result<(ExemplarText<'a>, usize), Fault> {
        let body = self.body;
        let end = scan::labels(body, at + 4, Grammar::Exemplar, &mut Discard)?;
        let text = &body[at + 3..end];
        let (value, mut at) = number_after_space(body, end, Expected::Value)?;
        let mut timestamp_ms = None;
        if body.get(at) == Some(&b' ') {
            (timestamp_ms, at) = timestamp(body, at)?;
        }
        Ok((
            ExemplarText {
                format: Format::OpenMetrics,
                text,
                value,
                timestamp_ms,
            },
            at,
        ))
    }

    /// Reads the line whose `#` stands at `at`: metadata or the end. There are no other comments.
    fn comment(&mut self, at: usize) -> Result<Option<Entry<'a>>, Fault> {
        let rest = &self.body[at..];
        if let Some(after) = rest.strip_prefix(b"# EOF") {
            return match after {
                [] | [b'\n'] => Ok(None),
                _ => Err(Fault::new(
                    self.body.len() - after.len(),
                    Expected::NothingAfterEof,
                )),
            };
        }
        let name_at = at + b"# TYPE ".len();
        if rest.starts_with(b"# TYPE ") {
            let (name, text, text_at) = self.metadata(name_at)?;
            self.kind = match text {
                b"counter" => MetricType::Counter,
                b"gauge" => MetricType::Gauge,
                b"histogram" => MetricType::Histogram,
                b"gaugehistogram" => MetricType::GaugeHistogram,
                b"summary" => MetricType::Summary,
                b"info" => MetricType::Info,
                b"stateset" => MetricType::StateSet,
                b"unknown" => MetricType::Unknown,
                _ => return Err(Fault::new(text_at, Expected::MetricType)),
            };
            Ok(Some(Entry::Type {
                name,
                kind: self.kind,
            }))
        } else if rest.starts_with(b"# HELP ") {
            let (name, text, text_at) = self.metadata(name_at)?;
            let text = std::str::from_utf8(text).map_err(|_| Fault::new(text_at, Expected::Utf8))?;
            Ok(Some(Entry::Help {
                name,
                text: scan::unescape(text, true),
            }))
        } else if rest.starts_with(b"# UNIT ") {
            let (name, unit, text_at) = self.metadata(name_at)?;
            let suffix = unit.is_empty() || name.strip_suffix(unit).is_some_and(|stem| stem.ends_with(b"_"));
            if suffix {
                Ok(Some(Entry::Unit { name, unit }))
            } else {
                Err(Fault::new(text_at, Expected::UnitSuffix))
            }
        } else {
            Err(Fault::new(at, Expected::LineStart))
        }
    }

    /// Reads name and text of a metadata line and steps over it; also gives where the text starts.
    fn metadata(&mut self, at: usize) -> Result<(&'a [u8], &'a [u8], usize), Fault> {
        let body = self.body;
        let (name, name_end) = metadata_name(body, at)?;
        self.family_bytes = name.len();
        if body.get(name_end) != Some(&b' ') {
            return Err(Fault::new(name_end, Expected::MetadataText));
        }
        let text_at = name_end + 1;
        let Some(length) = memchr::memchr(b'\n', &body[text_at..]) else {
            return Err(Fault::new(body.len(), Expected::Eof));
        };
        self.at = text_at + length + 1;
        Ok((name, &body[text_at..text_at + length], text_at))
    }
}

/// Reads the float after the one space at `at`; gives it and where it ends.
#[inline]
fn number_after_space(body: &[u8], at: usize, expected: Expected) -> Result<(f64, usize), Fault> {
    if body.get(at) != Some(&b' ') {
        return Err(Fault::new(at, expected));
    }
    let rest = &body[at + 1..];
    if let Some((value, length)) = number::read_short(rest) {
        return Ok((value, at + 1 + length));
    }
    let length = rest
        .iter()
        .position(|b| b" \n\0".contains(b))
        .unwrap_or(rest.len());
    if length == 0 {
        return Err(Fault::new(at, expected));
    }
    let value = number::read_float(&rest[..length]).map_err(|expected| Fault::new(at + 1, expected))?;
    Ok((value, at + 1 + length))
}

/// Reads the timestamp, in seconds, after the space at `at`.
fn timestamp(body: &[u8], at: usize) -> Result<(Option<i64>, usize), Fault> {
    let (seconds, end) = number_after_space(body, at, Expected::TimestampOrEnd)?;
    if !seconds.is_finite() {
        return Err(Fault::new(at + 1, Expected::FiniteTimestamp));
    }
    Ok((Some(number::seconds_to_ms(seconds)), end))
}

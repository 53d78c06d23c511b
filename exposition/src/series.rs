//! From a series text to labels: done once for each series, not for each scrape.

use std::borrow::Cow;

use model::sample::MetricType;

use crate::entry::{Format, LabelsError, label_text};
use crate::number;
use crate::protobuf;
use crate::scan::{self, Grammar, LabelSink};

/// Reads the series text of a sample: calls `visit` with `__name__` and the labels in order of appearance, escapes
/// resolved; empty values and repeated names come as they stand.
///
/// `kind` is that of the family last announced before the sample: bounds in `le` of a histogram and `quantile` of a
/// summary are brought into the one form that OpenMetrics prescribes, so that `1`, `1.0` and `1e0` are one series.
///
/// ```
/// use model::sample::MetricType;
/// use narthex_exposition::{Format, parse_series};
/// let mut pairs = Vec::new();
/// parse_series(Format::Text, br#"d_bucket{le="1",path="/\"x\""}"#, MetricType::Histogram, |name, value| {
///     pairs.push((name.to_owned(), value.to_owned()));
/// })?;
/// assert_eq!(pairs[1], ("le".to_owned(), "1.0".to_owned()));
/// assert_eq!(pairs[2].1, r#"/"x""#);
/// # Ok::<(), narthex_exposition::LabelsError>(())
/// ```
///
/// # Errors
/// When the text is not one that a parser of this format has given, is not UTF-8, or holds a name or value longer than
/// a label set can hold.
pub fn parse_series(
    format: Format,
    text: &[u8],
    kind: MetricType,
    mut visit: impl FnMut(&str, &str),
) -> Result<(), LabelsError> {
    let grammar = match format {
        Format::Text => Grammar::Text,
        Format::OpenMetrics => Grammar::OpenMetrics,
        Format::Protobuf => return protobuf::series_labels(text, visit),
    };
    let mut sink = Visitor {
        visit: &mut visit,
        kind,
        pairs: Vec::new(),
        error: None,
        named: false,
    };
    let end = scan::series(text, 0, grammar, &mut sink).map_err(LabelsError::from_fault)?;
    if end != text.len() {
        return Err(LabelsError::Syntax {
            at: end,
            expected: crate::Expected::LineEnd,
        });
    }
    sink.error.map_or(Ok(()), Err)
}

/// Resolves escapes and passes pairs on; a metric name inside the braces need not come first, so that labels before it
/// wait.
struct Visitor<'v, 'a, F> {
    visit: &'v mut F,
    kind: MetricType,
    pairs: Vec<(&'a [u8], &'a [u8])>,
    error: Option<LabelsError>,
    named: bool,
}

impl<F: FnMut(&str, &str)> Visitor<'_, '_, F> {
    fn pass(&mut self, name: &[u8], value: &[u8]) -> Result<(), LabelsError> {
        let name = scan::unescape(label_text(name)?, true);
        let value = normalised(self.kind, &name, scan::unescape(label_text(value)?, true));
        (self.visit)(&name, &value);
        Ok(())
    }

    fn note(&mut self, result: Result<(), LabelsError>) {
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }
}

impl<'a, F: FnMut(&str, &str)> LabelSink<'a> for Visitor<'_, 'a, F> {
    fn metric_name(&mut self, name: &'a [u8]) {
        self.named = true;
        let named = label_text(name).map(|name| (self.visit)("__name__", &scan::unescape(name, true)));
        self.note(named);
        for (name, value) in std::mem::take(&mut self.pairs) {
            let passed = self.pass(name, value);
            self.note(passed);
        }
    }

    fn pair(&mut self, name: &'a [u8], value: &'a [u8]) {
        if self.named {
            let passed = self.pass(name, value);
            self.note(passed);
        } else {
            self.pairs.push((name, value));
        }
    }
}

fn normalised<'a>(kind: MetricType, name: &str, value: Cow<'a, str>) -> Cow<'a, str> {
    let bound = match kind {
        MetricType::Summary => name == "quantile",
        MetricType::Histogram => name == "le",
        _ => false,
    };
    if !bound {
        return value;
    }
    match number::read_bound(value.as_bytes()) {
        Some(number) => number::format_bound(number).into(),
        None => value,
    }
}

//! A line of the text format of scrapes.

use exposition::{Entry, Format, TextParser, parse_series};
use model::labels::Labels;
use model::sample::MetricType;

use super::{LineError, LineLabels, Rules, json};

/// Reads a line into `into`; its labels, or nothing where it has no sample.
pub(super) fn read(
    line: &[u8],
    rules: &Rules,
    now_ms: i64,
    into: &mut json::Line,
) -> Result<Option<Labels>, LineError> {
    let mut parser = TextParser::new(line);
    let Some(Entry::Series(series)) = parser.next()? else {
        // Comments say what kind a family is: of pushed samples nobody asks.
        return Ok(None);
    };
    let mut labels = LineLabels::default();
    parse_series(Format::Text, series.text, MetricType::Unknown, |name, value| {
        labels.set(name, value);
    })?;
    let timestamp_ms = series.timestamp_ms.or(rules.timestamp_ms).unwrap_or(now_ms);
    into.set(timestamp_ms, series.value);
    Ok(Some(labels.finish(rules)?))
}

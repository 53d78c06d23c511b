//! Entries as JSON values, in the shape of the conformance data.

use exposition::{Entry, Format, ParseError, Parser, ParserOptions, parse_series};
use model::histogram::Histogram;
use model::sample::MetricType;
use narthex_exposition as exposition;
use serde_json::{Value, json};

/// All entries of a body up to its end or its first fault.
pub(crate) fn entries(
    format: Format,
    body: &[u8],
    options: ParserOptions,
) -> (Vec<Value>, Option<ParseError>) {
    let mut parser = Parser::new(format, body, options);
    let mut rendered = Vec::new();
    loop {
        let kind = parser.kind();
        match parser.next() {
            Ok(Some(entry)) => rendered.push(entry_json(format, kind, &entry)),
            Ok(None) => return (rendered, None),
            Err(error) => return (rendered, Some(error)),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn entry_json(format: Format, kind: MetricType, entry: &Entry<'_>) -> Value {
    match entry {
        Entry::Type { name, kind } => json!({"type": [text(name), kind.as_str()]}),
        Entry::Help { name, text: help } => json!({"help": [text(name), help]}),
        Entry::Unit { name, unit } => json!({"unit": [text(name), text(unit)]}),
        Entry::Comment(comment) => json!({"comment": text(comment)}),
        Entry::Series(series) => {
            let mut value = json!({
                "series": labels(format, series.text, kind),
                "value": general(series.value),
            });
            if let Some(ms) = series.timestamp_ms {
                value["ts"] = ms.into();
            }
            if series.start_ms != 0 {
                value["start_ts"] = series.start_ms.into();
            }
            if let Some(exemplar) = &series.exemplar {
                value["exemplars"] = json!([exemplar_text(exemplar)]);
            }
            value
        }
        Entry::Histogram(series) => {
            let mut value = json!({
                "histogram": labels(format, series.text, kind),
                "schema": match &series.histogram {
                    Histogram::Int(h) => h.schema,
                    Histogram::Float(h) => h.schema,
                },
                "h": histogram_text(&series.histogram),
            });
            if let Some(ms) = series.timestamp_ms {
                value["ts"] = ms.into();
            }
            if series.start_ms != 0 {
                value["start_ts"] = series.start_ms.into();
            }
            if !series.exemplars.is_empty() {
                value["exemplars"] = series.exemplars.iter().map(exemplar_text).collect();
            }
            value
        }
    }
}

fn labels(format: Format, series: &[u8], kind: MetricType) -> Value {
    let mut map = serde_json::Map::new();
    parse_series(format, series, kind, |name, value| {
        map.insert(name.to_owned(), value.into());
    })
    .unwrap_or_else(|e| panic!("{}: {e}", text(series)));
    Value::Object(map)
}

fn exemplar_text(exemplar: &exposition::ExemplarText<'_>) -> String {
    let read = exemplar.parse().expect("labels of an exemplar");
    format!(
        "{} {} {} {}",
        read.labels,
        general(read.value),
        read.timestamp_ms.unwrap_or(0),
        read.timestamp_ms.is_some()
    )
}

fn general(value: f64) -> String {
    model::float::format_general(value)
}

/// The reference's text of a histogram: count, sum, and the buckets that are not empty.
fn histogram_text(histogram: &Histogram) -> String {
    let histogram = match histogram {
        Histogram::Int(h) => h.to_float(),
        Histogram::Float(h) => h.as_ref().clone(),
    };
    let mut out = format!(
        "{{count:{}, sum:{}",
        general(histogram.count),
        general(histogram.sum)
    );
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        let (low, high) = (general(bucket.lower), general(bucket.upper));
        let open = if bucket.lower_inclusive { '[' } else { '(' };
        let close = if bucket.upper_inclusive { ']' } else { ')' };
        out.push_str(&format!(", {open}{low},{high}{close}:{}", general(bucket.count)));
    }
    out + "}"
}

//! Answers of remote read in the form in which they were recorded.

use model::protobuf::{Fields, take_varint};
use serde_json::{Map, Value, json};

/// The answer as JSON: results of series with their samples, or frames of series with their chunks.
pub(super) fn shown(content_type: &str, body: &[u8]) -> Option<Value> {
    if content_type.starts_with("application/x-streamed-protobuf") {
        return frames(body);
    }
    let message = snap::raw::Decoder::new().decompress_vec(body).ok()?;
    let results = messages(&message, 1)?;
    let series_of = |result: &&[u8]| {
        let series = messages(result, 1)?;
        series.into_iter().map(sampled).collect::<Option<Value>>()
    };
    results.iter().map(series_of).collect()
}

fn sampled(series: &[u8]) -> Option<Value> {
    let mut samples = Vec::new();
    for sample in messages(series, 2)? {
        let (mut value, mut at_ms) = (0.0, 0);
        let mut fields = Fields::new(sample);
        while let Some(field) = fields.next_field().ok()? {
            match field.number {
                1 => value = field.expect_double().ok()?,
                _ => at_ms = field.expect_varint().ok()?,
            }
        }
        samples.push(json!([at_ms, format!("{value:?}")]));
    }
    let histograms = messages(series, 4)?.len();
    Some(json!({"labels": labels(series)?, "samples": samples, "histograms": histograms}))
}

/// Each is its length, a checksum of four bytes, and a message.
fn frames(mut rest: &[u8]) -> Option<Value> {
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let length = usize::try_from(take_varint(&mut rest).ok()?).ok()?;
        let frame = rest.get(4..4 + length)?;
        rest = &rest[4 + length..];
        let series = messages(frame, 1)?;
        let series: Option<Vec<Value>> = series.into_iter().map(chunked).collect();
        frames.push(json!({"query": number(frame, 2)?, "series": series?}));
    }
    Some(Value::Array(frames))
}

fn chunked(series: &[u8]) -> Option<Value> {
    let mut chunks = Vec::new();
    for chunk in messages(series, 2)? {
        let bytes = messages(chunk, 4)?.first().map_or(0, |bytes| bytes.len());
        chunks.push(json!([
            number(chunk, 1)?,
            number(chunk, 2)?,
            number(chunk, 3)?,
            bytes
        ]));
    }
    Some(json!({"labels": labels(series)?, "chunks": chunks}))
}

fn labels(series: &[u8]) -> Option<Value> {
    let text = |label: &[u8], field| {
        let texts = messages(label, field)?;
        String::from_utf8(texts.first().copied().unwrap_or_default().to_vec()).ok()
    };
    let mut labels = Map::new();
    for label in messages(series, 1)? {
        labels.insert(text(label, 1)?, Value::String(text(label, 2)?));
    }
    Some(Value::Object(labels))
}

/// What the fields of this number hold, those that have bytes.
fn messages(message: &[u8], number: u64) -> Option<Vec<&[u8]>> {
    let (mut found, mut fields) = (Vec::new(), Fields::new(message));
    while let Some(field) = fields.next_field().ok()? {
        if field.number == number {
            found.push(field.expect_bytes().ok()?);
        }
    }
    Some(found)
}

/// The number in the field of this number, 0 where there is none.
fn number(message: &[u8], number: u64) -> Option<u64> {
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field().ok()? {
        if field.number == number {
            return field.expect_varint().ok();
        }
    }
    Some(0)
}

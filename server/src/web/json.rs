//! Writing answers as JSON, straight into bytes: query results are too many numbers for a tree in between.

use model::histogram::FloatHistogram;
use model::labels::Labels;
use promql::value::{Sample, SampleValue, Series, Value};

use super::chunks::ChunkSink;

/// Writes `text` as a JSON string.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (at, byte) in bytes.iter().copied().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain_from..at]);
        plain_from = at + 1;
        if escape.is_empty() {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}

/// Writes a label set as an object.
pub(crate) fn labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        string(out, value);
    }
    out.push(b'}');
}

/// A label set as a JSON value, for answers that are small enough for a tree.
pub(crate) fn labels_value(labels: &Labels) -> serde_json::Value {
    labels
        .iter()
        .map(|(name, value)| (name.to_owned(), serde_json::Value::from(value)))
        .collect()
}

/// Writes a list of strings.
pub(crate) fn strings<'a>(out: &mut Vec<u8>, items: impl IntoIterator<Item = &'a str>) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, item);
    }
    out.push(b']');
}

/// Writes `"resultType":…,"result":…` of a query's value.
pub(crate) fn query_value(out: &mut ChunkSink, value: &Value) {
    out.extend_from_slice(b"\"resultType\":");
    match value {
        Value::Scalar { timestamp_ms, value } => {
            out.extend_from_slice(b"\"scalar\",\"result\":");
            point(out, *timestamp_ms, *value);
        }
        Value::String { timestamp_ms, value } => {
            out.extend_from_slice(b"\"string\",\"result\":[");
            model::float::write_timestamp(&mut **out, *timestamp_ms);
            out.push(b',');
            string(out, value);
            out.push(b']');
        }
        Value::Vector(samples) => {
            out.extend_from_slice(b"\"vector\",\"result\":[");
            for (index, item) in samples.iter().enumerate() {
                separate(out, index);
                sample(out, item);
                out.flush_full();
            }
            out.push(b']');
        }
        Value::Matrix(list) => {
            out.extend_from_slice(b"\"matrix\",\"result\":[");
            for (index, item) in list.iter().enumerate() {
                separate(out, index);
                series(out, item);
            }
            out.push(b']');
        }
    }
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

fn sample(out: &mut Vec<u8>, sample: &Sample) {
    out.extend_from_slice(b"{\"metric\":");
    labels(out, &sample.labels);
    match &sample.value {
        SampleValue::Float(value) => {
            out.extend_from_slice(b",\"value\":");
            point(out, sample.timestamp_ms, *value);
        }
        SampleValue::Histogram(value) => {
            out.extend_from_slice(b",\"histogram\":");
            histogram_point(out, sample.timestamp_ms, value);
        }
    }
    out.push(b'}');
}

fn series(out: &mut ChunkSink, series: &Series) {
    out.extend_from_slice(b"{\"metric\":");
    labels(out, &series.labels);
    if !series.values.is_empty() {
        out.extend_from_slice(b",\"values\":[");
        for (index, (timestamp_ms, value)) in series.floats().enumerate() {
            separate(out, index);
            point(out, timestamp_ms, value);
            out.flush_full();
        }
        out.push(b']');
    }
    if !series.histograms.is_empty() {
        out.extend_from_slice(b",\"histograms\":[");
        for (index, (timestamp_ms, histogram)) in series.histograms.iter().enumerate() {
            separate(out, index);
            histogram_point(out, *timestamp_ms, histogram);
            out.flush_full();
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// `[1795406431.560,"0"]`
fn point(out: &mut Vec<u8>, timestamp_ms: i64, value: f64) {
    out.push(b'[');
    model::float::write_timestamp(out, timestamp_ms);
    out.push(b',');
    quoted_float(out, value);
    out.push(b']');
}

fn quoted_float(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    model::float::write_json(out, value);
    out.push(b'"');
}

/// `[1795406431.560,{"count":"1","sum":"2","buckets":[[0,"1","2","1"]]}]`
fn histogram_point(out: &mut Vec<u8>, timestamp_ms: i64, histogram: &FloatHistogram) {
    out.push(b'[');
    model::float::write_timestamp(out, timestamp_ms);
    out.extend_from_slice(b",{\"count\":");
    quoted_float(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    quoted_float(out, histogram.sum);
    let mut first = true;
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(if first { b",\"buckets\":[" } else { b"," });
        first = false;
        out.extend_from_slice(&[b'[', b'0' + bucket.boundaries()]);
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            quoted_float(out, number);
        }
        out.push(b']');
    }
    if !first {
        out.push(b']');
    }
    out.extend_from_slice(b"}]");
}

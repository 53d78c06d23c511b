//! Writing answers as JSON, straight into bytes: query results are too many numbers for a tree in between.

mod points;

use model::histogram::FloatHistogram;
use model::label_table::LabelTable;
use model::labels::Labels;
use promql::value::{Sample, SampleValue, Series, Value};

use super::chunks::ChunkSink;
use points::Points;

/// Writes `text` as a JSON string.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    string_bytes(out, text.as_bytes());
}

/// Writes bytes that are UTF-8 as a JSON string.
fn string_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    // Without a branch a byte: nearly all texts have nothing to escape.
    let plain = |byte: &u8| (*byte >= 0x20) & (*byte != b'"') & (*byte != b'\\');
    if bytes.iter().fold(true, |all, byte| all & plain(byte)) {
        out.extend_from_slice(bytes);
    } else {
        escaped(out, bytes);
    }
    out.push(b'"');
}

#[cold]
fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
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
}

/// Writes a label set as an object.
pub(crate) fn labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (index, (name, value)) in labels.iter().raw().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string_bytes(out, name);
        out.push(b':');
        string_bytes(out, value);
    }
    out.push(b'}');
}

/// The pairs of a table as JSON, so that its label sets are written by copying.
pub(crate) struct PairTexts<'t> {
    table: &'t LabelTable,
    texts: Vec<u8>,
    ends: Vec<usize>,
}

impl<'t> PairTexts<'t> {
    pub(crate) fn new(table: &'t LabelTable) -> Self {
        let (mut texts, mut ends) = (Vec::new(), Vec::with_capacity(table.pairs().len()));
        for number in 0..table.pairs().len() {
            let (name, value) = table.pairs().get(number as u32);
            string(&mut texts, name);
            texts.push(b':');
            string(&mut texts, value);
            ends.push(texts.len());
        }
        PairTexts { table, texts, ends }
    }

    /// Writes set `index` of the table as an object.
    pub(crate) fn write(&self, out: &mut Vec<u8>, index: usize) {
        out.push(b'{');
        for (at, number) in self.table.set(index).iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let number = *number as usize;
            let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
            out.extend_from_slice(&self.texts[start..self.ends[number]]);
        }
        out.push(b'}');
    }
}

/// A label set as a JSON value, for answers that are small enough for a tree.
pub(crate) fn labels_value(labels: &Labels) -> serde_json::Value {
    labels
        .iter()
        .map(|(name, value)| (name.to_owned(), serde_json::Value::from(value)))
        .collect()
}

/// Writes what serialises itself.
pub(crate) fn serialized(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    if let Err(error) = serde_json::to_writer(out, value) {
        // Only maps with keys that are no texts can fail, and there are none.
        tracing::error!(%error, "A part of an answer cannot be written as JSON");
    }
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
pub(crate) async fn query_value(out: &mut ChunkSink, value: &Value) {
    out.extend_from_slice(b"\"resultType\":");
    let mut points = Points::new();
    match value {
        Value::Scalar { timestamp_ms, value } => {
            out.extend_from_slice(b"\"scalar\",\"result\":");
            points.write(out, *timestamp_ms, *value);
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
                sample(out, item, &mut points);
                if out.is_full() && !out.hand_on().await {
                    return;
                }
            }
            out.push(b']');
        }
        Value::Matrix(list) => {
            out.extend_from_slice(b"\"matrix\",\"result\":[");
            for (index, item) in list.iter().enumerate() {
                separate(out, index);
                series(out, item, &mut points).await;
                if out.is_full() && !out.hand_on().await {
                    return;
                }
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

fn sample(out: &mut Vec<u8>, sample: &Sample, points: &mut Points) {
    out.extend_from_slice(b"{\"metric\":");
    labels(out, &sample.labels);
    match &sample.value {
        SampleValue::Float(value) => {
            out.extend_from_slice(b",\"value\":");
            points.write(out, sample.timestamp_ms, *value);
        }
        SampleValue::Histogram(value) => {
            out.extend_from_slice(b",\"histogram\":");
            histogram_point(out, sample.timestamp_ms, value);
        }
    }
    out.push(b'}');
}

async fn series(out: &mut ChunkSink, series: &Series, points: &mut Points) {
    out.extend_from_slice(b"{\"metric\":");
    labels(out, &series.labels);
    if !series.values.is_empty() {
        out.extend_from_slice(b",\"values\":[");
        let mut floats = series.floats().enumerate();
        while fill(out, &mut floats, |out, (ms, value)| points.write(out, ms, value)) {
            if !out.hand_on().await {
                return;
            }
        }
        out.push(b']');
    }
    if !series.histograms.is_empty() {
        out.extend_from_slice(b",\"histograms\":[");
        let mut histograms = series.histograms.iter().enumerate();
        while fill(out, &mut histograms, |out, (ms, value)| {
            histogram_point(out, *ms, value);
        }) {
            if !out.hand_on().await {
                return;
            }
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// Writes items of a list until the buffer is full; whether it is. Most of an answer is written in here, in one go.
#[inline]
fn fill<T>(
    out: &mut ChunkSink,
    items: &mut impl Iterator<Item = (usize, T)>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) -> bool {
    for (index, item) in items {
        separate(out, index);
        write(out, item);
        if out.is_full() {
            return true;
        }
    }
    false
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

#[cfg(test)]
mod tests {
    use model::label_table::LabelPairs;

    use super::*;

    #[test]
    fn what_json_forbids_is_escaped() {
        let mut out = Vec::new();
        for text in [
            "",
            "plain é☺",
            "a\"b",
            "\\",
            "tab\tline\nreturn\r",
            "\u{0}\u{1f}\u{7f}",
        ] {
            out.clear();
            string(&mut out, text);
            let read: String = serde_json::from_slice(&out).expect("valid JSON");
            assert_eq!(read, text);
        }
        out.clear();
        string(&mut out, "\u{1}\n");
        assert_eq!(out, br#""\u0001\n""#);
    }

    #[test]
    fn numbered_label_sets_are_written_as_label_sets_are() {
        let sets = [
            Labels::from_pairs([("__name__", "up"), ("path", "C:\\\"x\"")]),
            Labels::empty(),
            Labels::from_pairs([("path", "C:\\\"x\""), ("zone", "ü")]),
        ];
        let mut table = LabelTable::new(LabelPairs::default());
        for labels in &sets {
            let set: Vec<u32> = labels
                .iter()
                .map(|(name, value)| table.pairs_mut().number(name, value))
                .collect();
            table.push(&set);
        }
        let texts = PairTexts::new(&table);
        for (index, set) in sets.iter().enumerate() {
            let (mut from_table, mut from_labels) = (Vec::new(), Vec::new());
            texts.write(&mut from_table, index);
            labels(&mut from_labels, set);
            assert_eq!(from_table, from_labels);
        }
    }
}

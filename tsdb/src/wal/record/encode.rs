//! Records from what they say.

use model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram};
use model::labels::Labels;
use model::sample::{Metadata, MetricType};

use super::{
    EXPLICIT_START, ExemplarEntry, FORGOTTEN, FloatEntry, HistogramEntry, MarkerEntry, NO_START, RecordType,
    SAME_START, StartDeltas, TombstoneEntry, schema_of,
};
use files::codec::{put_be64, put_f64, put_text, put_uvarint, put_varint};

/// Adds a series to a series record; call [`begin`] first.
pub fn put_series(out: &mut Vec<u8>, series: u64, labels: &Labels) {
    put_be64(out, series);
    put_labels(out, labels);
}

/// Starts a record of this kind in an empty buffer.
pub fn begin(out: &mut Vec<u8>, kind: RecordType) {
    out.clear();
    out.push(kind as u8);
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_uvarint(out, labels.len() as u64);
    for (name, value) in labels {
        put_text(out, name);
        put_text(out, value);
    }
}

/// Replaces `out` with a record of floats; start timestamps are left out.
pub fn encode_floats(out: &mut Vec<u8>, entries: impl IntoIterator<Item = FloatEntry>) {
    begin(out, RecordType::Samples);
    let mut first = None;
    for entry in entries {
        let (series, timestamp_ms) = *first.get_or_insert_with(|| {
            put_be64(out, entry.series);
            put_be64(out, entry.timestamp_ms as u64);
            (entry.series, entry.timestamp_ms)
        });
        put_varint(out, entry.series.wrapping_sub(series) as i64);
        put_varint(out, entry.timestamp_ms.wrapping_sub(timestamp_ms));
        put_f64(out, entry.value);
    }
}

/// Replaces `out` with a record of floats and their start timestamps.
pub fn encode_floats_with_start(out: &mut Vec<u8>, entries: impl IntoIterator<Item = FloatEntry>) {
    begin(out, RecordType::SamplesWithStart);
    let mut deltas = StartDeltas::default();
    for entry in entries {
        deltas.put(out, entry.series, entry.timestamp_ms, entry.start_ms);
        put_f64(out, entry.value);
    }
}

impl StartDeltas {
    fn put(&mut self, out: &mut Vec<u8>, series: u64, timestamp_ms: i64, start_ms: i64) {
        match self.first {
            None => {
                put_varint(out, series as i64);
                put_varint(out, timestamp_ms);
                put_varint(out, start_ms);
                self.first = Some((timestamp_ms, start_ms));
            }
            Some((first_ms, first_start_ms)) => {
                put_varint(out, series.wrapping_sub(self.previous.0) as i64);
                put_varint(out, timestamp_ms.wrapping_sub(first_ms));
                if start_ms == 0 {
                    out.push(NO_START);
                } else if start_ms == self.previous.1 {
                    out.push(SAME_START);
                } else {
                    out.push(EXPLICIT_START);
                    put_varint(out, start_ms.wrapping_sub(first_start_ms));
                }
            }
        }
        self.previous = (series, start_ms);
    }
}

/// Replaces `out` with a record of deleted ranges.
pub fn encode_tombstones(out: &mut Vec<u8>, entries: impl IntoIterator<Item = TombstoneEntry>) {
    begin(out, RecordType::Tombstones);
    for entry in entries {
        put_be64(out, entry.series);
        put_varint(out, entry.min_ms);
        put_varint(out, entry.max_ms);
    }
}

/// Replaces `out` with a record of exemplars.
pub fn encode_exemplars<'a>(out: &mut Vec<u8>, entries: impl IntoIterator<Item = &'a ExemplarEntry>) {
    begin(out, RecordType::Exemplars);
    let mut first = None;
    for entry in entries {
        let (series, timestamp_ms) = *first.get_or_insert_with(|| {
            put_be64(out, entry.series);
            put_be64(out, entry.timestamp_ms as u64);
            (entry.series, entry.timestamp_ms)
        });
        put_varint(out, entry.series.wrapping_sub(series) as i64);
        put_varint(out, entry.timestamp_ms.wrapping_sub(timestamp_ms));
        put_f64(out, entry.value);
        put_labels(out, &entry.labels);
    }
}

/// Replaces `out` with a record of chunk markers.
pub fn encode_markers(out: &mut Vec<u8>, entries: impl IntoIterator<Item = MarkerEntry>) {
    begin(out, RecordType::MmapMarkers);
    for entry in entries {
        put_be64(out, entry.series);
        put_be64(out, entry.chunk);
    }
}

/// Replaces `out` with a record of metadata.
pub fn encode_metadata<'a>(out: &mut Vec<u8>, entries: impl IntoIterator<Item = (u64, &'a Metadata)>) {
    begin(out, RecordType::Metadata);
    for (series, metadata) in entries {
        put_uvarint(out, series);
        out.push(metric_type_byte(metadata.metric_type));
        put_uvarint(out, 2);
        put_text(out, "UNIT");
        put_text(out, &metadata.unit);
        put_text(out, "HELP");
        put_text(out, &metadata.help);
    }
}

fn metric_type_byte(metric_type: MetricType) -> u8 {
    match metric_type {
        MetricType::Unknown => 0,
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
        MetricType::GaugeHistogram => 4,
        MetricType::Summary => 5,
        MetricType::Info => 6,
        MetricType::StateSet => 7,
    }
}

/// Which of the histogram records an entry belongs to: custom buckets have their own kinds, which older readers of the
/// log skip.
fn kind_of(histogram: &Histogram, with_start: bool) -> RecordType {
    let custom = schema_of(histogram) == CUSTOM_BUCKETS_SCHEMA;
    match (histogram, with_start, custom) {
        (Histogram::Int(_), true, _) => RecordType::HistogramsWithStart,
        (Histogram::Float(_), true, _) => RecordType::FloatHistogramsWithStart,
        (Histogram::Int(_), false, false) => RecordType::Histograms,
        (Histogram::Int(_), false, true) => RecordType::CustomHistograms,
        (Histogram::Float(_), false, false) => RecordType::FloatHistograms,
        (Histogram::Float(_), false, true) => RecordType::CustomFloatHistograms,
    }
}

/// Encodes histograms of any kind: one record for each kind that occurs, each handed to `record`.
///
/// # Errors
/// What `record` returns.
pub fn encode_histograms<E>(
    out: &mut Vec<u8>,
    entries: &[HistogramEntry],
    with_start: bool,
    mut record: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    const KINDS: [RecordType; 6] = [
        RecordType::Histograms,
        RecordType::CustomHistograms,
        RecordType::HistogramsWithStart,
        RecordType::FloatHistograms,
        RecordType::CustomFloatHistograms,
        RecordType::FloatHistogramsWithStart,
    ];
    for kind in KINDS {
        let mut of_kind = entries
            .iter()
            .filter(|e| kind_of(&e.histogram, with_start) == kind)
            .peekable();
        let Some(first) = of_kind.peek().map(|e| (e.series, e.timestamp_ms)) else {
            continue;
        };
        begin(out, kind);
        let mut deltas = StartDeltas::default();
        if !with_start {
            put_be64(out, first.0);
            put_be64(out, first.1 as u64);
        }
        for entry in of_kind {
            if with_start {
                deltas.put(out, entry.series, entry.timestamp_ms, entry.start_ms);
            } else {
                put_varint(out, entry.series.wrapping_sub(first.0) as i64);
                put_varint(out, entry.timestamp_ms.wrapping_sub(first.1));
            }
            match &entry.histogram {
                Histogram::Int(h) => put_histogram(out, h, put_uvarint, put_varint),
                Histogram::Float(h) => put_histogram(out, h, put_f64, put_f64),
            }
        }
        record(out)?;
    }
    Ok(())
}

fn put_histogram<B: Copy, C: Copy>(
    out: &mut Vec<u8>,
    h: &Buckets<B, C>,
    put_count: impl Fn(&mut Vec<u8>, C),
    put_bucket: impl Fn(&mut Vec<u8>, B),
) {
    out.push(match h.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    });
    put_varint(out, i64::from(h.schema));
    put_f64(out, h.zero_threshold);
    put_count(out, h.zero_count);
    put_count(out, h.count);
    put_f64(out, h.sum);
    for spans in [&h.positive_spans, &h.negative_spans] {
        put_uvarint(out, spans.len() as u64);
        for span in spans {
            put_varint(out, i64::from(span.offset));
            put_uvarint(out, u64::from(span.length));
        }
    }
    for buckets in [&h.positive_buckets, &h.negative_buckets] {
        put_uvarint(out, buckets.len() as u64);
        for bucket in buckets {
            put_bucket(out, *bucket);
        }
    }
    if h.schema == CUSTOM_BUCKETS_SCHEMA {
        let bounds = h.custom_values.as_deref().unwrap_or_default();
        put_uvarint(out, bounds.len() as u64);
        for bound in bounds {
            put_f64(out, *bound);
        }
    }
}

/// Replaces `out` with the record that late chunks up to reference `chunk` are forgotten.
pub(crate) fn encode_forgotten(out: &mut Vec<u8>, chunk: u64) {
    out.clear();
    out.push(FORGOTTEN);
    put_be64(out, chunk);
}

//! Log records: what happened to the head, one kind of thing a record. Layouts: `tsdb/docs/wal.md`.

use std::sync::Arc;

use model::histogram::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Histogram, IntHistogram, Span,
};
use model::labels::Labels;
use model::sample::{Metadata, MetricType};

use super::codec::{Reader, put_be64, put_f64, put_text, put_uvarint, put_varint};

/// Kind of a record; the number is its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordType {
    /// New series: reference and labels.
    Series = 1,
    /// Floats.
    Samples = 2,
    /// Deleted ranges.
    Tombstones = 3,
    /// Exemplars.
    Exemplars = 4,
    /// Out-of-order log only: which chunk a series' samples so far went to.
    MmapMarkers = 5,
    /// Type, unit, help.
    Metadata = 6,
    /// Integer histograms with exponential buckets.
    Histograms = 7,
    /// Float histograms with exponential buckets.
    FloatHistograms = 8,
    /// Integer histograms, custom buckets among them.
    CustomHistograms = 9,
    /// Float histograms, custom buckets among them.
    CustomFloatHistograms = 10,
    /// Floats with start timestamps.
    SamplesWithStart = 11,
    /// Integer histograms of any schema with start timestamps.
    HistogramsWithStart = 12,
    /// Float histograms of any schema with start timestamps.
    FloatHistogramsWithStart = 13,
}

impl RecordType {
    /// The kind of `record`, unless this version does not know it.
    pub fn of(record: &[u8]) -> Option<RecordType> {
        Some(match record.first()? {
            1 => RecordType::Series,
            2 => RecordType::Samples,
            3 => RecordType::Tombstones,
            4 => RecordType::Exemplars,
            5 => RecordType::MmapMarkers,
            6 => RecordType::Metadata,
            7 => RecordType::Histograms,
            8 => RecordType::FloatHistograms,
            9 => RecordType::CustomHistograms,
            10 => RecordType::CustomFloatHistograms,
            11 => RecordType::SamplesWithStart,
            12 => RecordType::HistogramsWithStart,
            13 => RecordType::FloatHistogramsWithStart,
            _ => return None,
        })
    }
}

/// First byte of a record of our own in the log of late samples: chunks up to a reference are in blocks, and were
/// forgotten. The reference passes over kinds that it does not know; without the record (in its own folders) all chunks
/// of late samples on disk count again after a restart.
const FORGOTTEN: u8 = 200;

/// Replaces `out` with the record that late chunks up to reference `chunk` are forgotten.
pub(crate) fn encode_forgotten(out: &mut Vec<u8>, chunk: u64) {
    out.clear();
    out.push(FORGOTTEN);
    put_be64(out, chunk);
}

/// The reference in a record of [`encode_forgotten`]; `None` for any other record.
pub(crate) fn decode_forgotten(record: &[u8]) -> Option<u64> {
    let bytes = record.strip_prefix(&[FORGOTTEN])?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Why the bytes are no record of the kind that they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// They end too early.
    #[error("record ends in the middle of an entry")]
    Short,
    /// They hold what no writer produces.
    #[error("record is damaged: {0}")]
    Invalid(&'static str),
}

/// A float in a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatEntry {
    /// Whose.
    pub series: u64,
    /// When its counter started, 0 where unknown.
    pub start_ms: i64,
    /// When.
    pub timestamp_ms: i64,
    /// What.
    pub value: f64,
}

/// A histogram in a record.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramEntry {
    /// Whose.
    pub series: u64,
    /// When its counter started, 0 where unknown.
    pub start_ms: i64,
    /// When.
    pub timestamp_ms: i64,
    /// What.
    pub histogram: Histogram,
}

/// A deleted range in a record; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TombstoneEntry {
    /// Whose.
    pub series: u64,
    /// First deleted millisecond.
    pub min_ms: i64,
    /// Last deleted millisecond.
    pub max_ms: i64,
}

/// An exemplar in a record.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemplarEntry {
    /// Whose.
    pub series: u64,
    /// When.
    pub timestamp_ms: i64,
    /// What.
    pub value: f64,
    /// The exemplar's own labels.
    pub labels: Labels,
}

/// Says that the samples of a series that stand before it in the log are in a head chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkerEntry {
    /// Whose.
    pub series: u64,
    /// Reference of the chunk; 0 where none was written yet.
    pub chunk: u64,
}

/// Largest exponential schema that is stored.
const SCHEMA_MAX: i32 = 8;
/// Start timestamp markers of the kinds from 11 on.
const NO_START: u8 = 0;
const SAME_START: u8 = 1;
const EXPLICIT_START: u8 = 2;

// ------------------------------------------------------------------------------------------------------------- encode

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

/// Reference, timestamp and start of the records from kind 11 on: the first entry whole, later ones as differences.
#[derive(Default)]
struct StartDeltas {
    first: Option<(i64, i64)>,
    previous: (u64, i64),
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

fn schema_of(histogram: &Histogram) -> i32 {
    match histogram {
        Histogram::Int(h) => h.schema,
        Histogram::Float(h) => h.schema,
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

// ------------------------------------------------------------------------------------------------------------- decode

/// Hands every series of a series record to `each`: reference and labels in the order of the record.
///
/// # Errors
/// When the record is damaged; series before the damage have been handed over.
pub fn decode_series<'a>(
    record: &'a [u8],
    mut each: impl FnMut(u64, &[(&'a str, &'a str)]),
) -> Result<(), RecordError> {
    let mut reader = body(record)?;
    let mut pairs = Vec::new();
    while !reader.is_empty() {
        let series = reader.be64()?;
        read_labels(&mut reader, &mut pairs)?;
        each(series, &pairs);
    }
    Ok(())
}

/// The record without its first byte.
fn body(record: &[u8]) -> Result<Reader<'_>, RecordError> {
    let mut reader = Reader::new(record);
    reader.u8()?;
    Ok(reader)
}

fn read_labels<'a>(reader: &mut Reader<'a>, pairs: &mut Vec<(&'a str, &'a str)>) -> Result<(), RecordError> {
    pairs.clear();
    for _ in 0..reader.count(2)? {
        pairs.push((reader.text()?, reader.text()?));
    }
    Ok(())
}

/// Appends the floats of a record of kind 2 or 11.
///
/// # Errors
/// When the record is damaged.
pub fn decode_floats(record: &[u8], out: &mut Vec<FloatEntry>) -> Result<(), RecordError> {
    let mut reader = body(record)?;
    if reader.is_empty() {
        return Ok(());
    }
    if record[0] == RecordType::SamplesWithStart as u8 {
        let mut deltas = StartDeltas::default();
        while !reader.is_empty() {
            let (series, timestamp_ms, start_ms) = deltas.read(&mut reader)?;
            out.push(FloatEntry {
                series,
                start_ms,
                timestamp_ms,
                value: reader.f64()?,
            });
        }
        return Ok(());
    }
    let (series, timestamp_ms) = (reader.be64()?, reader.be64()? as i64);
    while !reader.is_empty() {
        out.push(FloatEntry {
            series: series.wrapping_add(reader.varint()? as u64),
            start_ms: 0,
            timestamp_ms: timestamp_ms.wrapping_add(reader.varint()?),
            value: reader.f64()?,
        });
    }
    Ok(())
}

impl StartDeltas {
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(u64, i64, i64), RecordError> {
        let (a, b) = (reader.varint()?, reader.varint()?);
        let entry = match self.first {
            None => {
                let start_ms = reader.varint()?;
                self.first = Some((b, start_ms));
                (a as u64, b, start_ms)
            }
            Some((first_ms, first_start_ms)) => {
                let start_ms = match reader.u8()? {
                    NO_START => 0,
                    SAME_START => self.previous.1,
                    _ => first_start_ms.wrapping_add(reader.varint()?),
                };
                (
                    self.previous.0.wrapping_add(a as u64),
                    first_ms.wrapping_add(b),
                    start_ms,
                )
            }
        };
        self.previous = (entry.0, entry.2);
        Ok(entry)
    }
}

/// Appends the deleted ranges of a record.
///
/// # Errors
/// When the record is damaged.
pub fn decode_tombstones(record: &[u8], out: &mut Vec<TombstoneEntry>) -> Result<(), RecordError> {
    let mut reader = body(record)?;
    while !reader.is_empty() {
        out.push(TombstoneEntry {
            series: reader.be64()?,
            min_ms: reader.varint()?,
            max_ms: reader.varint()?,
        });
    }
    Ok(())
}

/// Appends the exemplars of a record.
///
/// # Errors
/// When the record is damaged.
pub fn decode_exemplars(record: &[u8], out: &mut Vec<ExemplarEntry>) -> Result<(), RecordError> {
    let mut reader = body(record)?;
    if reader.is_empty() {
        return Ok(());
    }
    let (series, timestamp_ms) = (reader.be64()?, reader.be64()? as i64);
    let mut pairs = Vec::new();
    while !reader.is_empty() {
        let (series_delta, time_delta) = (reader.varint()?, reader.varint()?);
        let value = reader.f64()?;
        read_labels(&mut reader, &mut pairs)?;
        out.push(ExemplarEntry {
            series: series.wrapping_add(series_delta as u64),
            timestamp_ms: timestamp_ms.wrapping_add(time_delta),
            value,
            labels: Labels::from_pairs(pairs.iter().copied()),
        });
    }
    Ok(())
}

/// Appends the chunk markers of a record.
///
/// # Errors
/// When the record is damaged.
pub fn decode_markers(record: &[u8], out: &mut Vec<MarkerEntry>) -> Result<(), RecordError> {
    let mut reader = body(record)?;
    while !reader.is_empty() {
        out.push(MarkerEntry {
            series: reader.be64()?,
            chunk: reader.be64()?,
        });
    }
    Ok(())
}

/// Appends the metadata of a record.
///
/// # Errors
/// When the record is damaged.
pub fn decode_metadata(record: &[u8], out: &mut Vec<(u64, Metadata)>) -> Result<(), RecordError> {
    let mut reader = body(record)?;
    while !reader.is_empty() {
        let series = reader.uvarint()?;
        let mut metadata = Metadata {
            metric_type: match reader.u8()? {
                1 => MetricType::Counter,
                2 => MetricType::Gauge,
                3 => MetricType::Histogram,
                4 => MetricType::GaugeHistogram,
                5 => MetricType::Summary,
                6 => MetricType::Info,
                7 => MetricType::StateSet,
                _ => MetricType::Unknown,
            },
            ..Metadata::default()
        };
        // Fields have names so that newer writers can add some.
        for _ in 0..reader.count(2)? {
            let (name, value) = (reader.text()?, reader.text()?);
            match name {
                "UNIT" => value.clone_into(&mut metadata.unit),
                "HELP" => value.clone_into(&mut metadata.help),
                _ => {}
            }
        }
        out.push((series, metadata));
    }
    Ok(())
}

/// Appends the histograms of a record of any histogram kind. Histograms whose schema is not known are left out; the
/// result is their number.
///
/// # Errors
/// When the record is damaged.
pub fn decode_histograms(record: &[u8], out: &mut Vec<HistogramEntry>) -> Result<u64, RecordError> {
    let mut reader = body(record)?;
    let kind = RecordType::of(record).ok_or(RecordError::Short)?;
    let with_start = matches!(
        kind,
        RecordType::HistogramsWithStart | RecordType::FloatHistogramsWithStart
    );
    let float = matches!(
        kind,
        RecordType::FloatHistograms
            | RecordType::CustomFloatHistograms
            | RecordType::FloatHistogramsWithStart
    );
    if reader.is_empty() {
        return Ok(0);
    }
    let mut deltas = StartDeltas::default();
    let first = if with_start {
        (0, 0)
    } else {
        (reader.be64()?, reader.be64()? as i64)
    };
    let mut skipped = 0;
    while !reader.is_empty() {
        let (series, timestamp_ms, start_ms) = if with_start {
            deltas.read(&mut reader)?
        } else {
            let (series, time) = (reader.varint()?, reader.varint()?);
            (first.0.wrapping_add(series as u64), first.1.wrapping_add(time), 0)
        };
        let histogram = if float {
            let h: FloatHistogram = read_histogram(&mut reader, 8, Reader::f64, Reader::f64)?;
            Histogram::Float(Arc::new(h))
        } else {
            let h: IntHistogram = read_histogram(&mut reader, 1, Reader::uvarint, Reader::varint)?;
            Histogram::Int(Arc::new(h))
        };
        let schema = schema_of(&histogram);
        if schema != CUSTOM_BUCKETS_SCHEMA && !(-4..=SCHEMA_MAX).contains(&schema) {
            skipped += 1;
            continue;
        }
        out.push(HistogramEntry {
            series,
            start_ms,
            timestamp_ms,
            histogram,
        });
    }
    Ok(skipped)
}

fn read_histogram<'a, B, C>(
    reader: &mut Reader<'a>,
    bucket_bytes: usize,
    read_count: impl Fn(&mut Reader<'a>) -> Result<C, RecordError>,
    read_bucket: impl Fn(&mut Reader<'a>) -> Result<B, RecordError>,
) -> Result<Buckets<B, C>, RecordError> {
    let counter_reset_hint = match reader.u8()? {
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    };
    let schema = i32::try_from(reader.varint()?).map_err(|_| RecordError::Invalid("schema out of range"))?;
    let zero_threshold = reader.f64()?;
    let (zero_count, count, sum) = (read_count(reader)?, read_count(reader)?, reader.f64()?);
    let (positive_spans, negative_spans) = (read_spans(reader)?, read_spans(reader)?);
    let read_buckets = |reader: &mut Reader<'a>| -> Result<Vec<B>, RecordError> {
        (0..reader.count(bucket_bytes)?)
            .map(|_| read_bucket(reader))
            .collect()
    };
    let (positive_buckets, negative_buckets) = (read_buckets(reader)?, read_buckets(reader)?);
    let custom_values = if schema == CUSTOM_BUCKETS_SCHEMA {
        let bounds: Result<Vec<f64>, RecordError> = (0..reader.count(8)?).map(|_| reader.f64()).collect();
        Some(Arc::from(bounds?))
    } else {
        None
    };
    Ok(Buckets {
        counter_reset_hint,
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans,
        negative_spans,
        positive_buckets,
        negative_buckets,
        custom_values,
    })
}

fn read_spans(reader: &mut Reader<'_>) -> Result<Vec<Span>, RecordError> {
    let span = |reader: &mut Reader<'_>| -> Result<Span, RecordError> {
        let (offset, length) = (reader.varint()?, reader.uvarint()?);
        match (i32::try_from(offset), u32::try_from(length)) {
            (Ok(offset), Ok(length)) => Ok(Span { offset, length }),
            _ => Err(RecordError::Invalid("span out of range")),
        }
    };
    (0..reader.count(2)?).map(|_| span(reader)).collect()
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;

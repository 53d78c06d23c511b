//! What records say. Bytes may be anything; nothing here panics.

use std::sync::Arc;

use model::histogram::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Histogram, IntHistogram, Span,
};
use model::labels::{LabelTooLong, Labels};
use model::sample::{Metadata, MetricType};

use super::{
    ExemplarEntry, FORGOTTEN, FloatEntry, HistogramEntry, MarkerEntry, NO_START, RecordError, RecordType,
    SAME_START, SCHEMA_MAX, StartDeltas, TombstoneEntry, schema_of,
};
use files::codec::Reader;

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
        let (name, value) = (reader.text()?, reader.text()?);
        if LabelTooLong::check(name, value).is_err() {
            return Err(RecordError::Invalid("a label is longer than any can be"));
        }
        pairs.push((name, value));
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

/// What a record of floats says about times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FloatTimes {
    pub(crate) samples: u64,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
}

/// The times in a record of kind 2; `None` where it has no sample. Everything that [`decode_floats`] refuses is refused.
///
/// # Errors
/// When the record is damaged.
pub(crate) fn times_of_floats(record: &[u8]) -> Result<Option<FloatTimes>, RecordError> {
    let mut reader = body(record)?;
    if reader.is_empty() {
        return Ok(None);
    }
    let (_, first_ms) = (reader.be64()?, reader.be64()? as i64);
    let mut times = FloatTimes {
        samples: 0,
        min_ms: i64::MAX,
        max_ms: i64::MIN,
    };
    while !reader.is_empty() {
        reader.varint()?;
        let timestamp_ms = first_ms.wrapping_add(reader.varint()?);
        reader.f64()?;
        times.samples += 1;
        times.min_ms = times.min_ms.min(timestamp_ms);
        times.max_ms = times.max_ms.max(timestamp_ms);
    }
    Ok((times.samples > 0).then_some(times))
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

/// The reference in a record of [`encode_forgotten`]; `None` for any other record.
pub(crate) fn decode_forgotten(record: &[u8]) -> Option<u64> {
    let bytes = record.strip_prefix(&[FORGOTTEN])?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

//! Bucket layouts: how a chunk says which buckets its histograms have, and how two layouts compare.

use std::sync::Arc;

use model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, Span};

use super::Kind;
use super::cells::{CellError, ended};
use crate::chunk::ChunkError;
use crate::chunk::bits::{BitReader, BitWriter, PutBits};

/// Schemas that a chunk may have: finer ones than 8 are reduced when read.
const SCHEMAS: std::ops::RangeInclusive<i64> = -9..=52;
/// Largest bound, in thousandths, that is stored as a whole number.
const BOUND_THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// What all histograms of a chunk have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layout {
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) positive: Vec<Span>,
    pub(crate) negative: Vec<Span>,
    pub(crate) custom_values: Option<Arc<[f64]>>,
}

impl Layout {
    /// The layout of a histogram.
    pub(crate) fn of<B, C>(h: &Buckets<B, C>) -> Self {
        Layout {
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            positive: h.positive_spans.clone(),
            negative: h.negative_spans.clone(),
            custom_values: h.custom_values.clone(),
        }
    }

    /// Writes the layout in front of the first sample.
    pub(crate) fn write(&self, out: &mut BitWriter) {
        write_zero_threshold(out, self.zero_threshold);
        out.put_varbit(self.schema.into());
        for spans in [&self.positive, &self.negative] {
            out.put_varbit_unsigned(spans.len() as u64);
            for span in spans {
                out.put_varbit_unsigned(span.length.into());
                out.put_varbit(span.offset.into());
            }
        }
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            let bounds = self.custom_values.as_deref().unwrap_or(&[]);
            out.put_varbit_unsigned(bounds.len() as u64);
            for bound in bounds {
                write_bound(out, *bound);
            }
        }
    }

    /// Reads what [`Layout::write`] wrote.
    pub(crate) fn read(bits: &mut BitReader<'_>) -> Result<Self, CellError> {
        let zero_threshold = read_zero_threshold(bits)?;
        let schema = bits.varbit().map_err(ended)?;
        let custom = schema == i64::from(CUSTOM_BUCKETS_SCHEMA);
        let positive = read_spans(bits)?;
        let negative = read_spans(bits)?;
        let custom_values = if custom { Some(read_bounds(bits)?) } else { None };
        if !custom && !SCHEMAS.contains(&schema) {
            return Err(Some(ChunkError::Corrupt("histogram has an unknown schema")));
        }
        Ok(Layout {
            schema: schema as i32,
            zero_threshold,
            positive,
            negative,
            custom_values,
        })
    }

    /// Whether histograms of `other`'s schema and bounds can stand beside this one's, whatever their buckets.
    pub(crate) fn same_scale<B, C>(&self, h: &Buckets<B, C>) -> bool {
        // Floats are compared by value, as the reference does.
        self.schema == h.schema && self.zero_threshold == h.zero_threshold
    }

    /// Whether custom bounds are the same, where the schema has them.
    pub(crate) fn same_bounds<B, C>(&self, h: &Buckets<B, C>) -> bool {
        let (ours, theirs) = (self.custom_values.as_deref(), h.custom_values.as_deref());
        self.schema != CUSTOM_BUCKETS_SCHEMA || ours.unwrap_or(&[]) == theirs.unwrap_or(&[])
    }
}

fn read_spans(bits: &mut BitReader<'_>) -> Result<Vec<Span>, CellError> {
    let count = bits.varbit_unsigned().map_err(ended)?;
    // A span takes two bits at least, a bucket one: larger numbers are lies.
    if count > bits.remaining() as u64 {
        return Err(None);
    }
    let mut spans = Vec::with_capacity(count.min(64) as usize);
    let (mut buckets, mut index) = (0u64, 0i64);
    for _ in 0..count {
        let length = bits.varbit_unsigned().map_err(ended)?;
        let offset = bits.varbit().map_err(ended)?;
        let (Ok(length), Ok(offset)) = (u32::try_from(length), i32::try_from(offset)) else {
            return Err(Some(ChunkError::Corrupt("histogram span is out of range")));
        };
        buckets += u64::from(length);
        index += i64::from(offset) + i64::from(length);
        if buckets > bits.remaining() as u64 {
            return Err(None);
        }
        if i32::try_from(index).is_err() || (!spans.is_empty() && offset < 0) {
            return Err(Some(ChunkError::Corrupt(
                "histogram spans overlap or leave their range",
            )));
        }
        spans.push(Span { offset, length });
    }
    Ok(spans)
}

fn read_bounds(bits: &mut BitReader<'_>) -> Result<Arc<[f64]>, CellError> {
    let count = bits.varbit_unsigned().map_err(ended)?;
    if count > bits.remaining() as u64 {
        return Err(None);
    }
    let mut bounds = Vec::with_capacity(count.min(256) as usize);
    for _ in 0..count {
        bounds.push(match bits.varbit_unsigned().map_err(ended)? {
            0 => f64::from_bits(bits.bits(64).map_err(ended)?),
            thousandths => (thousandths - 1) as f64 / 1000.0,
        });
    }
    Ok(bounds.into())
}

/// Bounds that are whole thousandths up to 33,554.43 take at most four bytes, all others a 0 bit and 64 bits.
fn write_bound(out: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let rounded = thousandths.round();
    if (0.0..=BOUND_THOUSANDTHS_MAX).contains(&thousandths) && rounded / 1000.0 == bound {
        out.put_varbit_unsigned(rounded as u64 + 1);
    } else {
        out.put(0, 1);
        out.put(bound.to_bits(), 64);
    }
}

/// Zero is a byte 0; powers of two from 2^-243 to 2^10 are one byte, the exponent plus 244; all others 255 and 64 bits.
fn write_zero_threshold(out: &mut BitWriter, threshold: f64) {
    let bits = threshold.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    if threshold == 0.0 {
        out.put(0, 8);
    } else if bits << 12 == 0 && (-243..=10).contains(&exponent) {
        out.put((exponent + 244) as u64, 8);
    } else {
        out.put(255, 8);
        out.put(bits, 64);
    }
}

fn read_zero_threshold(bits: &mut BitReader<'_>) -> Result<f64, CellError> {
    Ok(match bits.bits(8).map_err(ended)? {
        0 => 0.0,
        255 => f64::from_bits(bits.bits(64).map_err(ended)?),
        byte => f64::from_bits((byte + 1023 - 244) << 52),
    })
}

/// Number of buckets in `spans`.
pub(crate) fn bucket_count(spans: &[Span]) -> usize {
    spans.iter().map(|s| s.length as usize).sum()
}

/// Indexes of the buckets in `spans`, ascending.
pub(crate) fn indexes(spans: &[Span]) -> impl Iterator<Item = i64> + '_ {
    let mut next = 0i64;
    spans.iter().flat_map(move |span| {
        let first = next + i64::from(span.offset);
        next = first + i64::from(span.length);
        first..next
    })
}

/// Spans for ascending bucket indexes: as few as possible.
pub(crate) fn spans_of(indexes: impl IntoIterator<Item = i64>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0;
    for index in indexes {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(Span {
                offset: (index - next) as i32,
                length: 1,
            }),
        }
        next = index + 1;
    }
    spans
}

/// How the buckets of a chunk and of a histogram to be added to it relate.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Merge {
    /// All buckets of both, ascending.
    union: Vec<i64>,
    /// Whether the chunk lacks some of them.
    pub(crate) chunk_grows: bool,
    /// Whether the histogram lacks some of them.
    pub(crate) histogram_grows: bool,
}

impl Merge {
    /// Compares layouts alone: what gauges need.
    pub(crate) fn of_layouts(chunk: &[Span], histogram: &[Span]) -> Self {
        let same = |_, _| true;
        let chunk = indexes(chunk).map(|i| (i, ()));
        Merge::walk(chunk, indexes(histogram).map(|i| (i, ())), same, |()| true).unwrap_or_default()
    }

    /// Compares counters: `None` when a bucket has shrunk or one that held something is gone.
    pub(crate) fn of_counters<K: Kind>(
        chunk: (&[Span], impl Iterator<Item = K::Bucket>),
        histogram: (&[Span], impl Iterator<Item = K::Bucket>),
    ) -> Option<Self> {
        let chunk = indexes(chunk.0).zip(absolutes::<K>(chunk.1));
        let histogram = indexes(histogram.0).zip(absolutes::<K>(histogram.1));
        Merge::walk(
            chunk,
            histogram,
            // Written so that NaN counts as no reset, like the reference's comparison.
            |before, now| !matches!(before.partial_cmp(&now), Some(std::cmp::Ordering::Greater)),
            |before| before == K::Absolute::default(),
        )
    }

    fn walk<A: Copy>(
        chunk: impl Iterator<Item = (i64, A)>,
        histogram: impl Iterator<Item = (i64, A)>,
        may_become: impl Fn(A, A) -> bool,
        may_vanish: impl Fn(A) -> bool,
    ) -> Option<Self> {
        let (mut chunk, mut histogram) = (chunk.peekable(), histogram.peekable());
        let mut merge = Merge::default();
        loop {
            let index = match (chunk.peek().copied(), histogram.peek().copied()) {
                (None, None) => return Some(merge),
                (Some((ours, before)), Some((theirs, now))) if ours == theirs => {
                    if !may_become(before, now) {
                        return None;
                    }
                    chunk.next();
                    histogram.next();
                    ours
                }
                (ours, Some((theirs, _))) if ours.is_none_or(|(ours, _)| theirs < ours) => {
                    merge.chunk_grows = true;
                    histogram.next();
                    theirs
                }
                (Some((ours, before)), _) => {
                    if !may_vanish(before) {
                        return None;
                    }
                    merge.histogram_grows = true;
                    chunk.next();
                    ours
                }
                (None, Some(_)) => unreachable!("a histogram bucket without a chunk bucket is below it"),
            };
            merge.union.push(index);
        }
    }

    /// Spans of all buckets of both.
    pub(crate) fn spans(&self) -> Vec<Span> {
        spans_of(self.union.iter().copied())
    }
}

/// Absolute contents of stored buckets.
pub(crate) fn absolutes<K: Kind>(
    buckets: impl Iterator<Item = K::Bucket>,
) -> impl Iterator<Item = K::Absolute> {
    buckets.scan(K::Absolute::default(), |before, bucket| {
        *before = K::absolute(*before, bucket);
        Some(*before)
    })
}

/// Stored buckets for the layout `to`, which has every bucket of `from`; new ones are empty.
pub(crate) fn spread<K: Kind>(from: &[Span], buckets: &[K::Bucket], to: &[Span]) -> Vec<K::Bucket> {
    let mut old = indexes(from)
        .zip(absolutes::<K>(buckets.iter().copied()))
        .peekable();
    let mut before = K::Absolute::default();
    indexes(to)
        .map(|index| {
            let contents = old
                .next_if(|(i, _)| *i == index)
                .map_or(K::Absolute::default(), |(_, contents)| contents);
            let stored = K::stored(before, contents);
            before = contents;
            stored
        })
        .collect()
}

/// Merges buckets until the schema is `to`: each step halves the resolution.
pub(crate) fn reduce<K: Kind>(
    from: i32,
    to: i32,
    spans: &[Span],
    buckets: &[K::Bucket],
) -> (Vec<Span>, Vec<K::Bucket>) {
    let shift = from.abs_diff(to).min(62);
    let mut merged: Vec<(i64, K::Absolute)> = Vec::new();
    for (index, contents) in indexes(spans).zip(absolutes::<K>(buckets.iter().copied())) {
        let index = ((index - 1) >> shift) + 1;
        match merged.last_mut() {
            Some((last, sum)) if *last == index => *sum = K::add(*sum, contents),
            _ => merged.push((index, contents)),
        }
    }
    let mut before = K::Absolute::default();
    let stored = merged
        .iter()
        .map(|(_, contents)| K::stored(std::mem::replace(&mut before, *contents), *contents));
    let buckets = stored.collect();
    (spans_of(merged.iter().map(|(i, _)| *i)), buckets)
}

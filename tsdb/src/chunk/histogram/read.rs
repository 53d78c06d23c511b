//! Histograms out of chunks, one sample after the other.

use model::histogram::{Buckets, CounterResetHint, Span};
use model::sample::{STALE_NAN_BITS, stale_nan};

use super::cells::{Cell, CellError, DeltaCell, XorCell};
use super::layout::{Layout, bucket_count, reduce};
use super::{CounterReset, HEADER_BYTES, Kind, ST_COUNT_MASK};
use crate::chunk::ChunkError;
use crate::chunk::bits::BitReader;
use crate::chunk::sample_count;
use crate::chunk::st::StartTrack;

/// Finest schema that the rest of the program knows; finer histograms are reduced to it.
const SCHEMA_MAX: i32 = 8;

/// The numbers of the last sample, with what their encodings remember: the state shared by reading and appending.
#[derive(Clone, Debug)]
pub(super) struct Cells<K: Kind> {
    pub(super) time: DeltaCell,
    pub(super) count: K::CountCell,
    pub(super) zero_count: K::CountCell,
    pub(super) sum: XorCell,
    pub(super) positive: Vec<K::BucketCell>,
    pub(super) negative: Vec<K::BucketCell>,
}

impl<K: Kind> Cells<K> {
    /// Whether the last sample is a staleness marker.
    pub(super) fn is_stale(&self) -> bool {
        self.sum.value().to_bits() == STALE_NAN_BITS
    }

    fn read_first(bits: &mut BitReader<'_>, layout: &Layout) -> Result<Self, CellError> {
        let time = DeltaCell::read_first(bits)?;
        let count = K::CountCell::read_first(bits)?;
        let zero_count = K::CountCell::read_first(bits)?;
        let sum = XorCell::read_first(bits)?;
        let mut buckets = |spans: &[Span]| -> Result<Vec<_>, CellError> {
            let count = bucket_count(spans);
            if count > bits.remaining() {
                return Err(None);
            }
            (0..count).map(|_| K::BucketCell::read_first(bits)).collect()
        };
        Ok(Cells {
            time,
            count,
            zero_count,
            sum,
            positive: buckets(&layout.positive)?,
            negative: buckets(&layout.negative)?,
        })
    }

    fn read_next(&mut self, bits: &mut BitReader<'_>) -> Result<(), CellError> {
        self.time.read_next(bits)?;
        self.count.read_next(bits)?;
        self.zero_count.read_next(bits)?;
        self.sum.read_next(bits)?;
        if !self.is_stale() {
            for bucket in self.positive.iter_mut().chain(&mut self.negative) {
                bucket.read_next(bits)?;
            }
        }
        Ok(())
    }
}

/// Reads a chunk of histograms.
pub(super) struct Reader<'a, K: Kind> {
    bits: BitReader<'a>,
    samples: u16,
    read: u16,
    header: CounterReset,
    /// What follows the first read; `None` before.
    state: Option<(Layout, Cells<K>)>,
    start: Option<StartTrack>,
}

impl<'a, K: Kind> Reader<'a, K> {
    pub(super) fn new(chunk: &'a [u8], start_timestamps: bool) -> Result<Self, ChunkError> {
        let encoding = if start_timestamps {
            K::ST_ENCODING
        } else {
            K::ENCODING
        };
        let header = CounterReset::of_chunk(encoding, chunk)?;
        let count = sample_count(chunk)?;
        Ok(Reader {
            bits: BitReader::new(chunk, HEADER_BYTES),
            samples: if start_timestamps {
                count & ST_COUNT_MASK
            } else {
                count
            },
            read: 0,
            header,
            state: None,
            start: start_timestamps.then(|| StartTrack::new(chunk[HEADER_BYTES - 1])),
        })
    }

    /// Moves to the next sample and gives its timestamp; `None` behind the last.
    pub(super) fn next(&mut self) -> Result<Option<i64>, ChunkError> {
        if self.read == self.samples {
            return Ok(None);
        }
        match self.read_sample() {
            Ok(time) => {
                self.read += 1;
                Ok(Some(time))
            }
            Err(error) => Err(error.unwrap_or(self.bits.short(self.read, self.samples))),
        }
    }

    fn read_sample(&mut self) -> Result<i64, CellError> {
        let mut previous_ms = 0;
        let cells = match &mut self.state {
            Some((_, cells)) => {
                previous_ms = cells.time.value();
                cells.read_next(&mut self.bits)?;
                cells
            }
            state => {
                let layout = Layout::read(&mut self.bits)?;
                let cells = Cells::read_first(&mut self.bits, &layout)?;
                &mut state.insert((layout, cells)).1
            }
        };
        let time = cells.time.value();
        if let Some(start) = &mut self.start {
            start
                .read(&mut self.bits, self.read, time, previous_ms)
                .map_err(|_| None)?;
        }
        Ok(time)
    }

    /// Start timestamp of the sample, 0 where unknown.
    pub(super) fn start_ms(&self) -> i64 {
        self.start.map_or(0, |start| start.start_ms)
    }

    /// The histogram of the sample.
    pub(super) fn histogram(&self) -> Buckets<K::Bucket, K::Count> {
        let hint = match self.header {
            CounterReset::Gauge => CounterResetHint::Gauge,
            _ if self.read > 1 => CounterResetHint::NotReset,
            // Compat: the header tells more, but not whether the chunk before this one is still there
            // (`every_chunk_of_the_reference_reads_and_comes_out_the_same`).
            _ => CounterResetHint::Unknown,
        };
        match &self.state {
            Some((layout, cells)) if !cells.is_stale() => {
                let mut h = Buckets {
                    counter_reset_hint: hint,
                    zero_threshold: layout.zero_threshold,
                    zero_count: cells.zero_count.value(),
                    count: cells.count.value(),
                    sum: cells.sum.value(),
                    schema: layout.schema,
                    positive_spans: layout.positive.clone(),
                    negative_spans: layout.negative.clone(),
                    positive_buckets: cells.positive.iter().map(Cell::value).collect(),
                    negative_buckets: cells.negative.iter().map(Cell::value).collect(),
                    custom_values: layout.custom_values.clone(),
                };
                if h.schema > SCHEMA_MAX {
                    (h.positive_spans, h.positive_buckets) =
                        reduce::<K>(h.schema, SCHEMA_MAX, &h.positive_spans, &h.positive_buckets);
                    (h.negative_spans, h.negative_buckets) =
                        reduce::<K>(h.schema, SCHEMA_MAX, &h.negative_spans, &h.negative_buckets);
                    h.schema = SCHEMA_MAX;
                }
                h
            }
            _ => stale(),
        }
    }

    /// The sample as it is stored, for re-encoding: no reduction, and its position.
    pub(super) fn stored(&self) -> Option<(&Layout, &Cells<K>)> {
        self.state.as_ref().map(|(layout, cells)| (layout, cells))
    }

    /// Everything that appending needs to go on behind the last sample; `None` for a chunk without samples.
    pub(super) fn into_end(self) -> Option<End<K>> {
        let (layout, cells) = self.state?;
        Some(End {
            layout,
            cells,
            start: self.start,
            bits: self.bits.position(),
        })
    }
}

/// Where a chunk ends.
pub(super) struct End<K: Kind> {
    pub(super) layout: Layout,
    pub(super) cells: Cells<K>,
    pub(super) start: Option<StartTrack>,
    /// Length of the chunk in bits.
    pub(super) bits: usize,
}

/// A staleness marker: nothing but its sum.
pub(super) fn stale<B, C: Default>() -> Buckets<B, C> {
    Buckets {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        zero_count: C::default(),
        count: C::default(),
        sum: stale_nan(),
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        positive_buckets: Vec::new(),
        negative_buckets: Vec::new(),
        custom_values: None,
    }
}

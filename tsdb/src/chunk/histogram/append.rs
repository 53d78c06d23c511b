//! Histograms into chunks, and when a histogram needs a chunk of its own.

use model::histogram::{Buckets, CounterResetHint, Span};
use model::sample::STALE_NAN_BITS;

use super::cells::{Cell, DeltaCell, XorCell};
use super::layout::{Layout, Merge, spread};
use super::read::{Cells, Reader, stale};
use super::{CounterReset, HEADER_BYTES, Kind, ST_COUNT_MASK};
use crate::chunk::bits::BitWriter;
use crate::chunk::st::StartTrack;
use crate::chunk::{COUNT_BYTES, ChunkError, ChunkFull, Encoding};

/// What became of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was added to the chunk.
    Added,
    /// The chunk was rewritten with more buckets, and the histogram added: readers of the old bytes keep them.
    Recoded,
    /// Nothing has changed: it needs a new chunk, see [`HistogramAppender::start_with`].
    NeedsNewChunk(CounterReset),
}

/// An open chunk of histograms.
#[derive(Clone, Debug)]
pub struct HistogramAppender<K: Kind> {
    out: BitWriter,
    samples: u16,
    header: CounterReset,
    layout: Layout,
    cells: Cells<K>,
    start: Option<StartTrack>,
}

/// What comparing a histogram with the end of a chunk says.
struct Verdict {
    /// What is known about a reset between the two.
    reset: CounterReset,
    /// Which buckets are needed, positive and negative; `None` when the chunk cannot take the histogram.
    merge: Option<(Merge, Merge)>,
}

impl<K: Kind> HistogramAppender<K> {
    /// A chunk that begins with this histogram. `previous` is the chunk before it if that is an open one of the same kind:
    /// the header then says whether the counter was reset in between. With `start_timestamps` the chunk can tell when
    /// counters started (`start_ms`, 0 where unknown), else they are dropped.
    pub fn start(
        previous: Option<&Self>,
        start_timestamps: bool,
        start_ms: i64,
        timestamp_ms: i64,
        histogram: &Buckets<K::Bucket, K::Count>,
    ) -> Self {
        let header = match (histogram.counter_reset_hint, previous) {
            (CounterResetHint::Gauge, _) => CounterReset::Gauge,
            (CounterResetHint::Reset, _) => CounterReset::Reset,
            (_, None) => CounterReset::Unknown,
            (_, Some(previous)) => match previous.compare_counter(histogram).reset {
                // Compat: for floats the reference takes every reason that is no reset for "no reset"
                // (when_a_counter_needs_a_new_chunk).
                CounterReset::Unknown if K::FLOAT => CounterReset::NotReset,
                reset => reset,
            },
        };
        Self::start_with(header, start_timestamps, start_ms, timestamp_ms, histogram)
    }

    /// A chunk with this header that begins with this histogram: what [`Appended::NeedsNewChunk`] asks for.
    pub fn start_with(
        header: CounterReset,
        start_timestamps: bool,
        start_ms: i64,
        timestamp_ms: i64,
        histogram: &Buckets<K::Bucket, K::Count>,
    ) -> Self {
        let empty;
        let h = if is_stale(histogram) {
            empty = stale();
            &empty
        } else {
            histogram
        };
        let layout = Layout::of(h);
        let mut out = BitWriter::resume(vec![0; HEADER_BYTES], 0);
        layout.write(&mut out);
        let cells = Cells {
            time: DeltaCell::first(&mut out, timestamp_ms),
            count: K::CountCell::first(&mut out, h.count),
            zero_count: K::CountCell::first(&mut out, h.zero_count),
            sum: XorCell::first(&mut out, h.sum),
            positive: firsts::<K>(&mut out, &h.positive_buckets),
            negative: firsts::<K>(&mut out, &h.negative_buckets),
        };
        let mut start = start_timestamps.then(StartTrack::default);
        if let Some(start) = &mut start {
            start.write(&mut out, 0, timestamp_ms, 0, start_ms);
        }
        let mut appender = HistogramAppender {
            out,
            samples: 1,
            header,
            layout,
            cells,
            start,
        };
        appender.write_header();
        appender
    }

    /// The state after the last sample of an existing chunk; `None` for a chunk without samples.
    ///
    /// # Errors
    /// When `chunk` is not a chunk of this kind.
    pub fn resume(chunk: &[u8], start_timestamps: bool) -> Result<Option<Self>, ChunkError> {
        let encoding = if start_timestamps {
            K::ST_ENCODING
        } else {
            K::ENCODING
        };
        let header = CounterReset::of_chunk(encoding, chunk)?;
        let mut reader = Reader::<K>::new(chunk, start_timestamps)?;
        let mut samples = 0;
        while reader.next()?.is_some() {
            samples += 1;
        }
        Ok(reader.into_end().map(|end| {
            let bytes = end.bits.div_ceil(8);
            HistogramAppender {
                out: BitWriter::resume(chunk[..bytes].to_vec(), (bytes * 8 - end.bits) as u8),
                samples,
                header,
                layout: end.layout,
                cells: end.cells,
                start: end.start,
            }
        }))
    }

    /// Adds a histogram, or says why it needs another chunk.
    ///
    /// # Errors
    /// [`ChunkFull::Samples`] when the sample count is at its limit (65,535; 16,383 with start timestamps).
    pub fn append(
        &mut self,
        start_ms: i64,
        timestamp_ms: i64,
        histogram: &Buckets<K::Bucket, K::Count>,
    ) -> Result<Appended, ChunkFull> {
        let samples_max = if self.start.is_some() {
            ST_COUNT_MASK
        } else {
            u16::MAX
        };
        if self.samples == samples_max {
            return Err(ChunkFull::Samples);
        }
        let gauge = histogram.counter_reset_hint == CounterResetHint::Gauge;
        let verdict = if gauge {
            self.compare_gauge(histogram)
        } else {
            self.compare_counter(histogram)
        };
        let Some((positive, negative)) = verdict.merge else {
            return Ok(Appended::NeedsNewChunk(verdict.reset));
        };
        let chunk_grows = positive.chunk_grows || negative.chunk_grows;
        let histogram_grows = positive.histogram_grows || negative.histogram_grows;
        if !chunk_grows && !histogram_grows {
            self.push(start_ms, timestamp_ms, histogram);
            return Ok(Appended::Added);
        }
        let layout = if chunk_grows {
            let choose = |merge: &Merge, theirs: &[Span]| {
                if merge.histogram_grows || (gauge && histogram_grows) {
                    merge.spans()
                } else {
                    theirs.to_vec()
                }
            };
            Layout {
                positive: choose(&positive, &histogram.positive_spans),
                negative: choose(&negative, &histogram.negative_spans),
                ..self.layout.clone()
            }
        } else {
            self.layout.clone()
        };
        if chunk_grows {
            self.recode(layout.clone());
        }
        let grown = Buckets {
            positive_buckets: spread::<K>(
                &histogram.positive_spans,
                &histogram.positive_buckets,
                &layout.positive,
            ),
            negative_buckets: spread::<K>(
                &histogram.negative_spans,
                &histogram.negative_buckets,
                &layout.negative,
            ),
            positive_spans: layout.positive,
            negative_spans: layout.negative,
            custom_values: histogram.custom_values.clone(),
            ..*histogram
        };
        self.push(start_ms, timestamp_ms, &grown);
        Ok(if chunk_grows {
            Appended::Recoded
        } else {
            Appended::Added
        })
    }

    /// Compares a counter histogram with the chunk's last sample. A chunk takes it when its scale is the same, no count
    /// and no bucket has shrunk, and no bucket that held something is gone; behind a staleness marker only markers.
    fn compare_counter(&self, h: &Buckets<K::Bucket, K::Count>) -> Verdict {
        let no = |reset| Verdict { reset, merge: None };
        if self.header == CounterReset::Gauge {
            // Compat: the reference says "no reset" (integers) of a counter that follows a gauge
            // (when_a_counter_needs_a_new_chunk).
            return no(if K::FLOAT {
                CounterReset::Unknown
            } else {
                CounterReset::NotReset
            });
        }
        if h.counter_reset_hint == CounterResetHint::Reset {
            return no(CounterReset::Reset);
        }
        if is_stale(h) {
            return Verdict {
                reset: CounterReset::NotReset,
                merge: Some(Default::default()),
            };
        }
        if self.cells.is_stale() {
            return no(CounterReset::Unknown);
        }
        if h.count < self.cells.count.value() {
            return no(CounterReset::Reset);
        }
        if !self.layout.same_scale(h) {
            return no(CounterReset::Unknown);
        }
        if !self.layout.same_bounds(h) || h.zero_count < self.cells.zero_count.value() {
            return no(CounterReset::Reset);
        }
        let merge = |spans: &[Span], cells: &[K::BucketCell], to: &[Span], buckets: &[K::Bucket]| {
            let ours = cells.iter().map(Cell::value);
            Merge::of_counters::<K>((spans, ours), (to, buckets.iter().copied()))
        };
        let positive = merge(
            &self.layout.positive,
            &self.cells.positive,
            &h.positive_spans,
            &h.positive_buckets,
        );
        let negative = merge(
            &self.layout.negative,
            &self.cells.negative,
            &h.negative_spans,
            &h.negative_buckets,
        );
        match (positive, negative) {
            (Some(positive), Some(negative)) => Verdict {
                reset: CounterReset::NotReset,
                merge: Some((positive, negative)),
            },
            _ => no(CounterReset::Reset),
        }
    }

    /// Compares a gauge histogram with the chunk: only its scale matters, and staleness markers as for counters.
    fn compare_gauge(&self, h: &Buckets<K::Bucket, K::Count>) -> Verdict {
        let fits = self.header == CounterReset::Gauge
            && (is_stale(h)
                || (!self.cells.is_stale() && self.layout.same_scale(h) && self.layout.same_bounds(h)));
        let merge = |ours: &[Span], theirs: &[Span]| {
            if is_stale(h) {
                Merge::default()
            } else {
                Merge::of_layouts(ours, theirs)
            }
        };
        Verdict {
            reset: CounterReset::Gauge,
            merge: fits.then(|| {
                (
                    merge(&self.layout.positive, &h.positive_spans),
                    merge(&self.layout.negative, &h.negative_spans),
                )
            }),
        }
    }

    /// Writes a sample whose buckets are those of the layout, or a staleness marker.
    fn push(&mut self, start_ms: i64, timestamp_ms: i64, h: &Buckets<K::Bucket, K::Count>) {
        let (out, cells) = (&mut self.out, &mut self.cells);
        let previous_ms = cells.time.value();
        cells.time.next(out, timestamp_ms);
        if is_stale(h) {
            cells.count.skip(out);
            cells.zero_count.skip(out);
            cells.sum.next(out, h.sum);
        } else {
            cells.count.next(out, h.count);
            cells.zero_count.next(out, h.zero_count);
            cells.sum.next(out, h.sum);
            let positive = cells.positive.iter_mut().zip(&h.positive_buckets);
            let negative = cells.negative.iter_mut().zip(&h.negative_buckets);
            for (cell, bucket) in positive.chain(negative) {
                cell.next(out, *bucket);
            }
        }
        if let Some(start) = &mut self.start {
            start.write(out, self.samples, timestamp_ms, previous_ms, start_ms);
        }
        self.samples += 1;
        self.write_header();
    }

    /// Rewrites the chunk with a layout that has every bucket it had.
    fn recode(&mut self, layout: Layout) {
        let mut reader = Reader::<K>::new(self.out.bytes(), self.start.is_some())
            .expect("the chunk was written by this appender");
        let mut next: Option<Self> = None;
        while let Ok(Some(timestamp_ms)) = reader.next() {
            let Some((old, cells)) = reader.stored() else {
                break;
            };
            let buckets = |from: &[Span], cells: &[K::BucketCell], to: &[Span]| {
                let stored: Vec<_> = cells.iter().map(Cell::value).collect();
                spread::<K>(from, &stored, to)
            };
            let h = Buckets {
                counter_reset_hint: CounterResetHint::Unknown,
                schema: layout.schema,
                zero_threshold: layout.zero_threshold,
                zero_count: cells.zero_count.value(),
                count: cells.count.value(),
                sum: cells.sum.value(),
                positive_buckets: buckets(&old.positive, &cells.positive, &layout.positive),
                negative_buckets: buckets(&old.negative, &cells.negative, &layout.negative),
                positive_spans: layout.positive.clone(),
                negative_spans: layout.negative.clone(),
                custom_values: layout.custom_values.clone(),
            };
            let start_ms = reader.start_ms();
            match &mut next {
                Some(next) => next.push(start_ms, timestamp_ms, &h),
                None => {
                    next = Some(Self::start_with(
                        self.header,
                        self.start.is_some(),
                        start_ms,
                        timestamp_ms,
                        &h,
                    ));
                }
            }
        }
        if let Some(next) = next {
            debug_assert_eq!(next.samples, self.samples);
            *self = next;
        }
    }

    fn write_header(&mut self) {
        let bytes = self.out.bytes_mut();
        let (reset, mut count) = (self.header as u8, self.samples);
        bytes[COUNT_BYTES] = reset;
        if let Some(start) = &self.start {
            count |= u16::from(reset) << 8;
            bytes[COUNT_BYTES] = start.header;
        }
        bytes[..COUNT_BYTES].copy_from_slice(&count.to_be_bytes());
    }

    /// The chunk so far; a valid chunk at any time.
    pub fn bytes(&self) -> &[u8] {
        self.out.bytes()
    }

    /// The finished chunk.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out.into_bytes()
    }

    /// Number of samples.
    pub fn samples(&self) -> u16 {
        self.samples
    }

    /// Timestamp of the last sample.
    pub fn last_timestamp_ms(&self) -> i64 {
        self.cells.time.value()
    }

    /// Whether the last sample is a staleness marker.
    pub fn ends_stale(&self) -> bool {
        self.cells.is_stale()
    }

    /// What the header says about a reset.
    pub fn counter_reset(&self) -> CounterReset {
        self.header
    }

    /// How the chunk is encoded.
    pub fn encoding(&self) -> Encoding {
        match self.start {
            Some(_) => K::ST_ENCODING,
            None => K::ENCODING,
        }
    }
}

fn firsts<K: Kind>(out: &mut BitWriter, buckets: &[K::Bucket]) -> Vec<K::BucketCell> {
    buckets.iter().map(|b| K::BucketCell::first(out, *b)).collect()
}

fn is_stale<B, C>(h: &Buckets<B, C>) -> bool {
    h.sum.to_bits() == STALE_NAN_BITS
}

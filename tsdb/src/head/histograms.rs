//! The open histogram chunk of a series, and when it is full.

use model::columns::Columns;
use model::histogram::Histogram;

use super::open::{ChunkRules, chunk_end, range_end};
use crate::chunk::{Appended, ChunkError, Encoding, Float, HistogramAppender, Int, Kind, decode};

/// Bytes that a histogram chunk should have.
const BYTES_TARGET: usize = 1024;
/// Samples that it has at least, however large they are.
const SAMPLES_MIN: u16 = 10;

/// An open chunk of histograms of either kind.
#[derive(Debug)]
pub(crate) struct OpenHistogram {
    appender: Either,
    last: Histogram,
    /// Whether the chunk's end has been computed from how fast it fills.
    end_computed: bool,
}

#[derive(Debug)]
enum Either {
    Int(HistogramAppender<Int>),
    Float(HistogramAppender<Float>),
}

/// A chunk that was ended.
pub(crate) struct FullChunk {
    pub(crate) encoding: Encoding,
    pub(crate) bytes: Vec<u8>,
    pub(crate) last_timestamp_ms: i64,
}

/// What adding a sample did.
pub(crate) struct Step {
    /// Where the chunk that is open now ends at the latest.
    pub(crate) next_at_ms: i64,
    /// The chunk before it, if the sample began a new one.
    pub(crate) full: Option<FullChunk>,
}

macro_rules! either {
    ($either:expr, $appender:ident => $body:expr) => {
        match $either {
            Either::Int($appender) => $body,
            Either::Float($appender) => $body,
        }
    };
}

impl OpenHistogram {
    /// A chunk that begins with this histogram.
    pub(crate) fn start(
        start_timestamps: bool,
        start_ms: i64,
        timestamp_ms: i64,
        histogram: &Histogram,
    ) -> Self {
        OpenHistogram {
            appender: Either::start(None, start_timestamps, start_ms, timestamp_ms, histogram),
            last: histogram.clone(),
            end_computed: false,
        }
    }

    /// The chunk whose bytes these are, to be continued; `None` where it has no samples.
    ///
    /// # Errors
    /// When `bytes` is not a chunk of histograms.
    pub(crate) fn resume(
        encoding: Encoding,
        bytes: &[u8],
        end_computed: bool,
    ) -> Result<Option<Self>, ChunkError> {
        let start_timestamps = matches!(encoding, Encoding::HistogramSt | Encoding::FloatHistogramSt);
        let appender = match encoding {
            Encoding::Histogram | Encoding::HistogramSt => {
                HistogramAppender::resume(bytes, start_timestamps)?.map(Either::Int)
            }
            _ => HistogramAppender::resume(bytes, start_timestamps)?.map(Either::Float),
        };
        let mut columns = Columns::default();
        decode(encoding as u8, bytes, i64::MIN, i64::MAX, &mut columns)?;
        let last = columns.histograms.pop();
        Ok(appender.zip(last).map(|(appender, (_, last))| OpenHistogram {
            appender,
            last,
            end_computed,
        }))
    }

    /// Whether the chunk's end has been computed from how fast it fills.
    pub(crate) fn end_computed(&self) -> bool {
        self.end_computed
    }

    pub(crate) fn last_timestamp_ms(&self) -> i64 {
        either!(&self.appender, a => a.last_timestamp_ms())
    }

    /// The newest histogram.
    pub(crate) fn last(&self) -> &Histogram {
        &self.last
    }

    pub(crate) fn encoding(&self) -> Encoding {
        either!(&self.appender, a => a.encoding())
    }

    /// The chunk so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        either!(&self.appender, a => a.bytes())
    }

    /// Adds a histogram, in a new chunk where the open one is full or cannot take it. The open chunk began at `min_ms`
    /// and ends at `next_at_ms` at the latest.
    pub(crate) fn append(
        &mut self,
        rules: ChunkRules<'_>,
        (min_ms, mut next_at_ms): (i64, i64),
        start_ms: i64,
        timestamp_ms: i64,
        histogram: &Histogram,
    ) -> Step {
        let bytes = self.bytes().len();
        let samples = either!(&self.appender, a => a.samples());
        let range_end_ms = if self.end_computed {
            range_end(min_ms, rules.range_ms)
        } else {
            next_at_ms
        };
        if !self.end_computed && bytes >= BYTES_TARGET / 4 {
            let ratio = BYTES_TARGET as f64 / bytes as f64;
            next_at_ms = chunk_end(min_ms, self.last_timestamp_ms(), next_at_ms, ratio);
            self.end_computed = true;
        }
        let full = (timestamp_ms >= next_at_ms || bytes >= BYTES_TARGET * 2)
            && (samples >= SAMPLES_MIN || timestamp_ms >= range_end_ms);
        let last_timestamp_ms = self.last_timestamp_ms();
        let next = if full {
            Some(Either::start(
                Some(&self.appender),
                rules.start_timestamps,
                start_ms,
                timestamp_ms,
                histogram,
            ))
        } else {
            self.appender
                .append(rules.start_timestamps, start_ms, timestamp_ms, histogram)
        };
        self.last = histogram.clone();
        let Some(next) = next else {
            return Step {
                next_at_ms,
                full: None,
            };
        };
        self.end_computed = false;
        let encoding = self.encoding();
        let old = std::mem::replace(&mut self.appender, next);
        Step {
            next_at_ms: range_end(timestamp_ms, rules.range_ms),
            full: Some(FullChunk {
                encoding,
                bytes: either!(old, a => a.into_bytes()),
                last_timestamp_ms,
            }),
        }
    }
}

impl Either {
    fn start(
        previous: Option<&Either>,
        start_timestamps: bool,
        start_ms: i64,
        timestamp_ms: i64,
        histogram: &Histogram,
    ) -> Either {
        match histogram {
            Histogram::Int(h) => {
                let previous = previous.and_then(|p| match p {
                    Either::Int(a) => Some(a),
                    Either::Float(_) => None,
                });
                let start = HistogramAppender::start(previous, start_timestamps, start_ms, timestamp_ms, h);
                Either::Int(start)
            }
            Histogram::Float(h) => {
                let previous = previous.and_then(|p| match p {
                    Either::Float(a) => Some(a),
                    Either::Int(_) => None,
                });
                let start = HistogramAppender::start(previous, start_timestamps, start_ms, timestamp_ms, h);
                Either::Float(start)
            }
        }
    }

    /// Adds the histogram; a new chunk that begins with it where this one cannot take it.
    fn append(
        &mut self,
        start_timestamps: bool,
        start_ms: i64,
        timestamp_ms: i64,
        histogram: &Histogram,
    ) -> Option<Either> {
        fn step<K: Kind>(
            appender: &mut HistogramAppender<K>,
            start_timestamps: bool,
            start_ms: i64,
            timestamp_ms: i64,
            h: &model::histogram::Buckets<K::Bucket, K::Count>,
        ) -> Option<HistogramAppender<K>> {
            match appender.append(start_ms, timestamp_ms, h) {
                Ok(Appended::Added | Appended::Recoded) => None,
                Ok(Appended::NeedsNewChunk(header)) => Some(HistogramAppender::start_with(
                    header,
                    start_timestamps,
                    start_ms,
                    timestamp_ms,
                    h,
                )),
                Err(_) => Some(HistogramAppender::start(
                    Some(appender),
                    start_timestamps,
                    start_ms,
                    timestamp_ms,
                    h,
                )),
            }
        }
        let with_start = matches!(
            either!(&*self, a => a.encoding()),
            Encoding::HistogramSt | Encoding::FloatHistogramSt
        );
        match (&mut *self, histogram) {
            (Either::Int(a), Histogram::Int(h)) if with_start == start_timestamps => {
                step(a, start_timestamps, start_ms, timestamp_ms, h).map(Either::Int)
            }
            (Either::Float(a), Histogram::Float(h)) if with_start == start_timestamps => {
                step(a, start_timestamps, start_ms, timestamp_ms, h).map(Either::Float)
            }
            _ => Some(Either::start(
                None,
                start_timestamps,
                start_ms,
                timestamp_ms,
                histogram,
            )),
        }
    }
}

//! One series of the head: its open chunk, and what is known of its full ones.

use std::collections::VecDeque;

use model::histogram::Histogram;
use model::sample::{Metadata, is_stale_nan};
use model::storage::TimeRange;

use super::chunk_files::{ChunkFiles, MappedChunk};
use super::histograms::OpenHistogram;
use super::image::OpenImage;
use super::isolation::{Transaction, Visibility};
use super::ooo::OutOfOrder;
use crate::chunk::{ChunkError, ChunkFull, Encoding, Xor2Appender, XorAppender};

/// An XOR chunk longer than this is full: the next sample might carry it past 1 KiB.
const XOR_BYTES_MAX: usize = 1024 - 19;
/// Sizes of chunk buffers; they are also size classes of common allocators.
const BUFFER_CLASSES: [usize; 17] = [
    32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 512, 640, 768, 1056,
];

/// What appending needs to know besides the series.
#[derive(Clone, Copy)]
pub(crate) struct ChunkRules<'a> {
    pub(crate) files: &'a ChunkFiles,
    /// Chunks do not cross multiples of this.
    pub(crate) range_ms: i64,
    /// Samples that a chunk should have.
    pub(crate) samples: u16,
    /// Whether start timestamps are stored.
    pub(crate) start_timestamps: bool,
}

/// What is in the open chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Open {
    /// There is none.
    Nothing,
    /// Floats, in `buffer`.
    Floats,
    /// Floats with start timestamps; state and bytes are in `rest`.
    FloatsWithStart,
    /// Histograms, in `rest`.
    Histograms,
}

/// A series: 96 bytes, what most have none of is behind `rest`.
#[derive(Debug)]
pub(crate) struct Series {
    /// Low byte of the reference; the page knows the others.
    pub(crate) low: u8,
    pub(crate) open: Open,
    /// Encoder of an open float chunk.
    xor: XorAppender,
    /// Bytes of the open float chunk, in a buffer that may be longer.
    buffer: Box<[u8]>,
    /// First timestamp of the open chunk.
    open_min_ms: i64,
    /// The open chunk ends before this.
    next_at_ms: i64,
    /// Newest transaction that appended, and the newest timestamp before it.
    last_transaction: u64,
    before_ms: i64,
    rest: Option<Box<Rest>>,
}

/// What only some series have.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Full chunks, oldest first.
    pub(crate) mapped: Vec<MappedChunk>,
    /// During replay: chunks found on disk whose time has not come yet, the oldest last.
    awaited: Vec<MappedChunk>,
    /// Transactions before the newest that some reader may not see: number, and newest timestamp before it.
    recent: VecDeque<(u64, i64)>,
    histograms: Option<Box<OpenHistogram>>,
    with_start: Option<Box<(Xor2Appender, Vec<u8>)>>,
    pub(crate) ooo: Option<Box<OutOfOrder>>,
    pub(crate) metadata: Option<Box<Metadata>>,
}

/// The newest in-order sample, for admission.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Last<'a> {
    /// No sample at all.
    Nothing,
    /// A sample in a full chunk, whose value is not at hand.
    Mapped(i64),
    /// A float.
    Float(i64, f64),
    /// A histogram.
    Histogram(i64, &'a Histogram),
}

impl Series {
    pub(crate) fn new(low: u8) -> Self {
        Series {
            low,
            open: Open::Nothing,
            xor: XorAppender::new(),
            buffer: Box::default(),
            open_min_ms: 0,
            next_at_ms: 0,
            last_transaction: 0,
            before_ms: i64::MIN,
            rest: None,
        }
    }

    pub(crate) fn rest(&self) -> Option<&Rest> {
        self.rest.as_deref()
    }

    pub(crate) fn rest_mut(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    /// Late samples, if there are any.
    pub(crate) fn late_mut(&mut self) -> Option<&mut OutOfOrder> {
        self.rest.as_mut()?.ooo.as_deref_mut()
    }

    /// Forgets late chunks up to reference `chunk`.
    pub(crate) fn forget_late(&mut self, chunk: u64) {
        if let Some(rest) = &mut self.rest
            && let Some(ooo) = &mut rest.ooo
        {
            ooo.forget(chunk);
            if ooo.is_empty() {
                rest.ooo = None;
            }
        }
    }

    pub(crate) fn mapped(&self) -> &[MappedChunk] {
        self.rest().map_or(&[], |r| &r.mapped)
    }

    /// The newest in-order sample.
    pub(crate) fn last(&self) -> Last<'_> {
        match (self.open, self.rest()) {
            (Open::Floats, _) => Last::Float(self.xor.last_timestamp_ms(), self.xor.last_value()),
            (
                Open::FloatsWithStart,
                Some(Rest {
                    with_start: Some(open),
                    ..
                }),
            ) => Last::Float(open.0.last_timestamp_ms(), open.0.last_value()),
            (
                Open::Histograms,
                Some(Rest {
                    histograms: Some(open),
                    ..
                }),
            ) => Last::Histogram(open.last_timestamp_ms(), open.last()),
            _ => match self.mapped().last() {
                Some(chunk) => Last::Mapped(chunk.max_ms),
                None => Last::Nothing,
            },
        }
    }

    /// Newest in-order timestamp; `i64::MIN` where there is none.
    #[inline]
    pub(crate) fn last_ms(&self) -> i64 {
        if self.open == Open::Floats {
            return self.xor.last_timestamp_ms();
        }
        match self.last() {
            Last::Nothing => i64::MIN,
            Last::Mapped(t) | Last::Float(t, _) | Last::Histogram(t, _) => t,
        }
    }

    /// Whether the newest in-order sample is a staleness marker, as far as it is at hand.
    pub(crate) fn is_stale(&self) -> bool {
        match self.last() {
            Last::Float(_, value) => is_stale_nan(value),
            Last::Histogram(_, Histogram::Int(h)) => is_stale_nan(h.sum),
            Last::Histogram(_, Histogram::Float(h)) => is_stale_nan(h.sum),
            Last::Nothing | Last::Mapped(_) => false,
        }
    }

    /// First and last timestamp of the in-order samples.
    pub(crate) fn in_order_range(&self) -> Option<(i64, i64)> {
        let first = match self.mapped().first() {
            Some(chunk) => chunk.min_ms,
            None if self.open == Open::Nothing => return None,
            None => self.open_min_ms,
        };
        Some((first, self.last_ms()))
    }

    /// Whether there may be in-order samples from `in_order_min_ms` on, or late ones, in the range.
    pub(crate) fn overlaps(&self, in_order_min_ms: i64, range: TimeRange) -> bool {
        let in_order = self
            .in_order_range()
            .is_some_and(|(first, last)| first <= range.max_ms && last >= in_order_min_ms.max(range.min_ms));
        in_order
            || self
                .rest()
                .and_then(|r| r.ooo.as_ref())
                .is_some_and(|o| o.overlaps(range.min_ms, range.max_ms))
    }

    /// Whether nothing is stored.
    pub(crate) fn is_empty(&self) -> bool {
        self.open == Open::Nothing
            && self
                .rest()
                .is_none_or(|r| r.mapped.is_empty() && r.ooo.as_ref().is_none_or(|o| o.is_empty()))
    }

    /// Number of chunks, open ones included.
    pub(crate) fn chunks(&self) -> usize {
        let ooo = self.rest().and_then(|r| r.ooo.as_ref()).map_or(0, |o| o.chunks());
        self.mapped().len() + usize::from(self.open != Open::Nothing) + ooo
    }

    /// Reads a byte of either end of the float buffer. Doing so while many series are checked lets the processor fetch
    /// their buffers side by side, instead of one after the other when the samples are added.
    #[inline]
    pub(crate) fn touch(&self) -> u8 {
        let end = self.xor.len().min(self.buffer.len().saturating_sub(1));
        self.buffer.first().map_or(0, |first| first ^ self.buffer[end])
    }

    /// Notes that `transaction` appends from now on.
    #[inline]
    fn mark(&mut self, transaction: Transaction) {
        if self.last_transaction == transaction.number {
            return;
        }
        if self.last_transaction >= transaction.settled {
            let entry = (self.last_transaction, self.before_ms);
            let recent = &mut self.rest_mut().recent;
            while recent.front().is_some_and(|(n, _)| *n < transaction.settled) {
                recent.pop_front();
            }
            recent.push_back(entry);
        } else if let Some(rest) = &mut self.rest
            && !rest.recent.is_empty()
        {
            rest.recent = VecDeque::new();
        }
        self.last_transaction = transaction.number;
        self.before_ms = self.last_ms();
    }

    /// Newest in-order timestamp that the reader may see.
    pub(crate) fn visible_max_ms(&self, visibility: &Visibility) -> i64 {
        let recent = self.rest().map(|r| r.recent.iter()).into_iter().flatten();
        recent
            .chain([&(self.last_transaction, self.before_ms)])
            .find(|(number, _)| !visibility.sees(*number))
            .map_or(i64::MAX, |(_, before_ms)| *before_ms)
    }

    /// Adds a float that is newer than everything in order; false where it is not. `reference` is the series' own.
    #[inline]
    pub(crate) fn append_float(
        &mut self,
        rules: ChunkRules<'_>,
        transaction: Option<Transaction>,
        reference: u64,
        timestamp_ms: i64,
        value: f64,
    ) -> bool {
        if timestamp_ms <= self.last_ms() && self.last_ms() != i64::MIN {
            return false;
        }
        if let Some(transaction) = transaction {
            self.mark(transaction);
        }
        if self.open == Open::Floats {
            let samples = u16::from_be_bytes([self.buffer[0], self.buffer[1]]);
            if samples == rules.samples / 4 {
                self.next_at_ms = chunk_end(
                    self.open_min_ms,
                    self.xor.last_timestamp_ms(),
                    self.next_at_ms,
                    4.0,
                );
            }
            if timestamp_ms >= self.next_at_ms
                || samples >= rules.samples * 2
                || self.xor.len() > XOR_BYTES_MAX
            {
                self.close(rules.files, reference);
            }
        } else {
            self.close(rules.files, reference);
        }
        if self.open == Open::Nothing {
            self.open = Open::Floats;
            self.open_min_ms = timestamp_ms;
            self.next_at_ms = range_end(timestamp_ms, rules.range_ms);
            self.xor = XorAppender::new();
        }
        while let Err(full) = self.xor.append(&mut self.buffer, timestamp_ms, value) {
            match full {
                ChunkFull::Bytes { needed } => grow(&mut self.buffer, needed),
                ChunkFull::Samples => return false,
            }
        }
        true
    }

    /// Adds a float with its start timestamp; otherwise like [`Series::append_float`].
    pub(crate) fn append_float_with_start(
        &mut self,
        rules: ChunkRules<'_>,
        transaction: Option<Transaction>,
        reference: u64,
        (start_ms, timestamp_ms, value): (i64, i64, f64),
    ) -> bool {
        if timestamp_ms <= self.last_ms() && self.last_ms() != i64::MIN {
            return false;
        }
        if let Some(transaction) = transaction {
            self.mark(transaction);
        }
        if self.open != Open::FloatsWithStart {
            self.close(rules.files, reference);
        }
        let (open_min_ms, mut next_at_ms) = (self.open_min_ms, self.next_at_ms);
        if let Some(open) = &self.rest_mut().with_start {
            let samples = u16::from_be_bytes([open.1[0], open.1[1]]);
            if samples == rules.samples / 4 {
                next_at_ms = chunk_end(open_min_ms, open.0.last_timestamp_ms(), next_at_ms, 4.0);
            }
            let full = samples >= rules.samples * 2 || open.0.len() > XOR_BYTES_MAX;
            self.next_at_ms = next_at_ms;
            if timestamp_ms >= next_at_ms || full {
                self.close(rules.files, reference);
            }
        }
        if self.open == Open::Nothing {
            self.open = Open::FloatsWithStart;
            self.open_min_ms = timestamp_ms;
            self.next_at_ms = range_end(timestamp_ms, rules.range_ms);
        }
        let open = self
            .rest_mut()
            .with_start
            .get_or_insert_with(|| Box::new((Xor2Appender::new(), Vec::new())));
        let (appender, bytes) = &mut **open;
        while let Err(full) = appender.append(bytes, start_ms, timestamp_ms, value) {
            match full {
                ChunkFull::Bytes { needed } => bytes.resize(needed.next_multiple_of(32), 0),
                ChunkFull::Samples => return false,
            }
        }
        true
    }

    /// Adds a histogram that is newer than everything in order; false where it is not.
    pub(crate) fn append_histogram(
        &mut self,
        rules: ChunkRules<'_>,
        transaction: Option<Transaction>,
        reference: u64,
        (start_ms, timestamp_ms, histogram): (i64, i64, &Histogram),
    ) -> bool {
        if timestamp_ms <= self.last_ms() && self.last_ms() != i64::MIN {
            return false;
        }
        if let Some(transaction) = transaction {
            self.mark(transaction);
        }
        if self.open == Open::Histograms {
            let (min_ms, next_at_ms) = (self.open_min_ms, self.next_at_ms);
            if let Some(open) = self.rest.as_mut().and_then(|r| r.histograms.as_mut()) {
                let step = open.append(rules, (min_ms, next_at_ms), start_ms, timestamp_ms, histogram);
                self.next_at_ms = step.next_at_ms;
                if let Some(full) = step.full {
                    let last_ms = full.last_timestamp_ms;
                    let chunk = rules.files.write(
                        reference,
                        min_ms,
                        last_ms,
                        full.encoding as u8,
                        false,
                        &full.bytes,
                    );
                    self.rest_mut().mapped.push(chunk);
                    self.open_min_ms = timestamp_ms;
                }
                return true;
            }
        }
        self.close(rules.files, reference);
        self.open = Open::Histograms;
        self.open_min_ms = timestamp_ms;
        self.next_at_ms = range_end(timestamp_ms, rules.range_ms);
        let open = OpenHistogram::start(rules.start_timestamps, start_ms, timestamp_ms, histogram);
        self.rest_mut().histograms = Some(Box::new(open));
        true
    }

    /// Ends the open chunk, if there is one, and hands it to the files.
    pub(crate) fn close(&mut self, files: &ChunkFiles, reference: u64) {
        let Some((encoding, bytes)) = self.open_chunk() else {
            return;
        };
        let chunk = files.write(
            reference,
            self.open_min_ms,
            self.last_ms(),
            encoding as u8,
            false,
            bytes,
        );
        self.rest_mut().mapped.push(chunk);
        self.drop_open();
    }

    /// Encoding and bytes of the open chunk.
    pub(crate) fn open_chunk(&self) -> Option<(Encoding, &[u8])> {
        match (self.open, self.rest()) {
            (Open::Floats, _) => Some((Encoding::Xor, &self.buffer[..self.xor.len()])),
            (
                Open::FloatsWithStart,
                Some(Rest {
                    with_start: Some(open),
                    ..
                }),
            ) => Some((Encoding::Xor2, &open.1[..open.0.len()])),
            (
                Open::Histograms,
                Some(Rest {
                    histograms: Some(open),
                    ..
                }),
            ) => Some((open.encoding(), open.bytes())),
            _ => None,
        }
    }

    /// The open chunk for an image of the series.
    pub(crate) fn open_image(&self) -> Option<OpenImage<'_>> {
        let (encoding, bytes) = self.open_chunk()?;
        let histograms = self.rest().and_then(|r| r.histograms.as_ref());
        Some(OpenImage {
            encoding,
            min_ms: self.open_min_ms,
            next_at_ms: self.next_at_ms,
            end_computed: histograms.is_some_and(|h| h.end_computed()),
            bytes,
        })
    }

    /// Goes on with the open chunk of an image.
    ///
    /// # Errors
    /// When its bytes are no chunk of its encoding.
    pub(crate) fn reopen(&mut self, image: &OpenImage<'_>) -> Result<(), ChunkError> {
        let open = match image.encoding {
            Encoding::Xor => {
                self.xor = XorAppender::resume(image.bytes)?;
                grow(&mut self.buffer, self.xor.len());
                self.buffer[..self.xor.len()].copy_from_slice(&image.bytes[..self.xor.len()]);
                Open::Floats
            }
            Encoding::Xor2 => {
                let open = (Xor2Appender::resume(image.bytes)?, image.bytes.to_vec());
                self.rest_mut().with_start = Some(Box::new(open));
                Open::FloatsWithStart
            }
            encoding => {
                let open = OpenHistogram::resume(encoding, image.bytes, image.end_computed)?;
                self.rest_mut().histograms = open.map(Box::new);
                Open::Histograms
            }
        };
        let samples = image.encoding.samples(image.bytes)?;
        self.open = if samples == 0 { Open::Nothing } else { open };
        (self.open_min_ms, self.next_at_ms) = (image.min_ms, image.next_at_ms);
        Ok(())
    }

    /// Adds a full chunk that is newer than those known.
    pub(crate) fn push_mapped(&mut self, chunk: MappedChunk) {
        self.rest_mut().mapped.push(chunk);
    }

    /// First timestamp of the open chunk.
    pub(crate) fn open_min_ms(&self) -> i64 {
        self.open_min_ms
    }

    fn drop_open(&mut self) {
        self.open = Open::Nothing;
        self.xor = XorAppender::new();
        self.buffer = Box::default();
        if let Some(rest) = &mut self.rest {
            rest.histograms = None;
            rest.with_start = None;
        }
    }

    /// Forgets chunks that end before `min_ms`; returns how many in-order ones.
    pub(crate) fn truncate(&mut self, min_ms: i64) -> usize {
        let mut removed = 0;
        if self.open != Open::Nothing && self.last_ms() < min_ms {
            removed += self.mapped().len() + 1;
            self.drop_open();
            if let Some(rest) = &mut self.rest {
                rest.mapped = Vec::new();
            }
        } else if let Some(rest) = &mut self.rest {
            let old = rest.mapped.iter().take_while(|c| c.max_ms < min_ms).count();
            rest.mapped.drain(..old);
            removed += old;
        }
        if let Some(rest) = &mut self.rest
            && rest.mapped.is_empty()
            && rest.recent.is_empty()
            && rest.histograms.is_none()
            && rest.with_start.is_none()
            && rest.ooo.is_none()
            && rest.metadata.is_none()
        {
            self.rest = None;
        }
        removed
    }

    /// Takes chunks found on disk for this series. They come in when replay reaches them, because a series that was
    /// removed and created anew can have older samples that are only in the log.
    pub(crate) fn await_chunks(&mut self, found: Vec<MappedChunk>) {
        let awaited = &mut self.rest_mut().awaited;
        awaited.extend(found);
        awaited.sort_by_key(|c| std::cmp::Reverse(c.min_ms));
    }

    /// Takes chunks found on disk for a series that comes from a snapshot. Some it may have. One that begins where the open
    /// chunk does was made of it, and has what is in it and more; others are awaited.
    pub(crate) fn rejoin(&mut self, mut found: Vec<MappedChunk>) {
        found.retain(|chunk| !self.mapped().iter().any(|c| c.chunk == chunk.chunk));
        found.sort_by_key(|c| c.chunk);
        let grown = |chunk: &MappedChunk| {
            self.open != Open::Nothing && chunk.min_ms == self.open_min_ms && chunk.max_ms >= self.last_ms()
        };
        if let Some(at) = found.iter().position(grown) {
            let chunk = found.remove(at);
            self.drop_open();
            self.push_mapped(chunk);
        }
        if !found.is_empty() {
            self.await_chunks(found);
        }
    }

    /// Takes in awaited chunks that begin at `timestamp_ms` or before: the samples that they hold stand in the log from
    /// here on, and are found to be there already.
    #[inline]
    pub(crate) fn catch_up(&mut self, files: &ChunkFiles, reference: u64, timestamp_ms: i64) {
        if self.rest.as_ref().is_some_and(|r| !r.awaited.is_empty()) {
            self.catch_up_slow(files, reference, timestamp_ms);
        }
    }

    fn catch_up_slow(&mut self, files: &ChunkFiles, reference: u64, timestamp_ms: i64) {
        while let Some(chunk) = self.rest_mut().awaited.pop_if(|c| c.min_ms <= timestamp_ms) {
            // A chunk that overlaps what is there already adds nothing that the log does not have.
            if chunk.min_ms > self.last_ms() || self.last_ms() == i64::MIN {
                self.close(files, reference);
                self.rest_mut().mapped.push(chunk);
            }
        }
    }

    /// Heap bytes besides the struct itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        let rest = self.rest().map_or(0, |r| {
            std::mem::size_of::<Rest>() + r.mapped.capacity() * std::mem::size_of::<MappedChunk>()
        });
        self.buffer.len() + rest
    }
}

/// Moves the bytes to a buffer of the smallest class that holds `needed` bytes.
#[cold]
fn grow(buffer: &mut Box<[u8]>, needed: usize) {
    let class = BUFFER_CLASSES
        .iter()
        .copied()
        .find(|c| *c >= needed)
        .unwrap_or_else(|| needed.next_power_of_two());
    let mut larger = vec![0; class].into_boxed_slice();
    larger[..buffer.len()].copy_from_slice(buffer);
    *buffer = larger;
}

/// First millisecond behind the range that holds `timestamp_ms`.
pub(crate) fn range_end(timestamp_ms: i64, range_ms: i64) -> i64 {
    // Compat: the reference divides toward zero, so that ranges around the epoch are double; kept, because blocks are cut
    // by the same rule.
    (timestamp_ms / range_ms)
        .saturating_mul(range_ms)
        .saturating_add(range_ms)
}

/// Where a chunk should end that began at `start_ms`, has reached `now_ms` and is one part in `ratio` full, so that the
/// chunks up to `max_ms` come out about equally long.
pub(crate) fn chunk_end(start_ms: i64, now_ms: i64, max_ms: i64, ratio: f64) -> i64 {
    let whole = max_ms.saturating_sub(start_ms) as f64;
    let chunks = whole / ((now_ms.saturating_sub(start_ms).saturating_add(1)) as f64 * ratio);
    if chunks <= 1.0 {
        return max_ms;
    }
    (start_ms as f64 + whole / chunks.floor()) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_small() {
        assert!(
            std::mem::size_of::<Series>() <= 104,
            "{}",
            std::mem::size_of::<Series>()
        );
    }

    #[test]
    fn chunks_are_spread_over_the_range() {
        // 15 s scrapes: 480 samples in two hours make four chunks of 120.
        let end = chunk_end(0, 29 * 15_000, 7_200_000, 4.0);
        assert!((1_790_000..=1_810_000).contains(&end), "{end}");
        assert_eq!(chunk_end(0, 7_000_000, 7_200_000, 4.0), 7_200_000);
        assert_eq!(range_end(7_199_999, 7_200_000), 7_200_000);
        assert_eq!(range_end(7_200_000, 7_200_000), 14_400_000);
    }
}

//! The open chunk of a series: adding samples, ending it, going on with it after a restart.

use model::histogram::Histogram;

use super::chunk_files::ChunkFiles;
use super::histograms::OpenHistogram;
use super::image::OpenImage;
use super::isolation::Transaction;
use super::series::{Open, Series, State, distance};
use crate::chunk::{ChunkError, ChunkFull, Encoding, StartTrack, Window, Xor2Appender, XorAppender};

/// A chunk of floats longer than this is full: the next sample might carry it past 1 KiB.
const FLOAT_BYTES_MAX: u16 = 1024 - 19;

/// What appending needs to know besides the series.
#[derive(Clone, Copy)]
pub(crate) struct ChunkRules<'a> {
    pub(crate) files: &'a ChunkFiles,
    /// Chunks do not cross multiples of this.
    pub(crate) range_ms: i64,
    /// Samples that a chunk should have.
    pub(crate) samples: u16,
    /// How new chunks of floats are encoded: [`Encoding::Xor`] or [`Encoding::Xor2`].
    pub(crate) floats: Encoding,
    /// Whether start timestamps are stored; then `floats` is [`Encoding::Xor2`].
    pub(crate) start_timestamps: bool,
}

impl State {
    fn reset_encoder(&mut self) {
        (self.last, self.delta, self.value_bits) = (0, 0, 0);
        (self.window, self.free, self.stale) = (Window::NONE, 0, false);
    }

    #[inline]
    fn xor(&self) -> XorAppender {
        XorAppender {
            timestamp_ms: self.last_float_ms(),
            value_bits: self.value_bits,
            delta: u64::from(self.delta),
            len: self.len,
            window: self.window,
            free: self.free,
        }
    }

    #[inline]
    fn set_xor(&mut self, xor: &XorAppender) {
        self.last = (xor.timestamp_ms - self.open_min_ms) as u32;
        self.value_bits = xor.value_bits;
        self.delta = xor.delta as u32;
        self.len = xor.len;
        self.window = xor.window;
        self.free = xor.free;
    }

    #[inline]
    fn xor2(&self) -> Xor2Appender {
        let rest = self.rest.as_ref();
        Xor2Appender {
            timestamp_ms: self.last_float_ms(),
            base_bits: self.value_bits,
            delta: u64::from(self.delta),
            start: rest.map_or_else(StartTrack::default, |r| r.start),
            len: self.len,
            window: self.window,
            free: self.free,
            stale: self.stale,
        }
    }

    #[inline]
    fn set_xor2(&mut self, xor2: &Xor2Appender) {
        self.last = (xor2.timestamp_ms - self.open_min_ms) as u32;
        self.value_bits = xor2.base_bits;
        self.delta = xor2.delta as u32;
        self.len = xor2.len;
        self.window = xor2.window;
        self.free = xor2.free;
        self.stale = xor2.stale;
        match &mut self.rest {
            Some(rest) => rest.start = xor2.start,
            None if xor2.start == StartTrack::default() => {}
            None => self.rest.get_or_insert_default().start = xor2.start,
        }
    }
}

impl Series<'_> {
    /// Adds a float that is newer than everything in order; false where it is not. `reference` is the series' own.
    #[inline]
    pub(crate) fn append_float(
        &mut self,
        rules: ChunkRules<'_>,
        transaction: Option<Transaction>,
        reference: u64,
        (start_ms, timestamp_ms, value): (i64, i64, f64),
    ) -> bool {
        let last_ms = self.last_ms();
        if timestamp_ms <= last_ms && last_ms != i64::MIN {
            return false;
        }
        if let Some(transaction) = transaction {
            self.mark(transaction);
        }
        let closed = (self.state.open != Open::Nothing).then_some(last_ms);
        if self.ends_before(rules, timestamp_ms) {
            self.close(rules.files, reference);
        }
        if self.state.open == Open::Nothing {
            let open = match rules.floats {
                Encoding::Xor => Open::Floats,
                _ => Open::Floats2,
            };
            let span = (timestamp_ms, range_end(timestamp_ms, rules.range_ms));
            self.begin(transaction, open, span, closed);
            self.state.reset_encoder();
        }
        self.write_float(start_ms, timestamp_ms, value)
    }

    /// Whether the open chunk, if there is one, cannot take a float at `timestamp_ms`. Computes its end when it is a
    /// quarter full.
    #[inline]
    fn ends_before(&mut self, rules: ChunkRules<'_>, timestamp_ms: i64) -> bool {
        let encoding = match self.state.open {
            Open::Floats => Encoding::Xor,
            Open::Floats2 => Encoding::Xor2,
            Open::Nothing | Open::Histograms => return true,
        };
        let bytes = &self.arena.get(self.at)[self.mapped_len()..];
        let samples = u16::from_be_bytes([bytes[0], bytes[1]]);
        if samples == rules.samples / 4 {
            let min_ms = self.state.open_min_ms;
            let next_at_ms = min_ms + i64::from(self.state.next_at);
            let end_ms = chunk_end(min_ms, self.state.last_float_ms(), next_at_ms, 4.0);
            self.state.next_at = distance(min_ms, end_ms);
        }
        // Compat: after a change of the configured encoding, an open chunk is filled as it began, unless start timestamps
        // are stored (tests/it/stale.rs, floats_are_encoded_as_configured_and_open_chunks_are_filled_as_they_began).
        distance(self.state.open_min_ms, timestamp_ms) >= self.state.next_at
            || samples >= rules.samples * 2
            || self.state.len > FLOAT_BYTES_MAX
            || (rules.start_timestamps && encoding != rules.floats)
    }

    #[inline]
    fn write_float(&mut self, start_ms: i64, timestamp_ms: i64, value: f64) -> bool {
        let at = self.arena.len(self.at) - usize::from(self.state.len);
        loop {
            let buffer = &mut self.arena.whole_mut(self.at)[at..];
            let appended = if self.state.open == Open::Floats {
                let mut xor = self.state.xor();
                xor.append(buffer, timestamp_ms, value)
                    .map(|()| self.state.set_xor(&xor))
            } else {
                let mut xor2 = self.state.xor2();
                xor2.append(buffer, start_ms, timestamp_ms, value)
                    .map(|()| self.state.set_xor2(&xor2))
            };
            match appended {
                Ok(()) => {
                    self.arena.set_len(self.at, at + usize::from(self.state.len));
                    return true;
                }
                Err(ChunkFull::Bytes { needed }) if self.arena.reserve(self.at, at + needed) => {}
                Err(_) => {
                    if self.state.len == 0 {
                        self.state.open = Open::Nothing;
                    }
                    return false;
                }
            }
        }
    }

    /// Adds a histogram that is newer than everything in order; false where it is not.
    pub(crate) fn append_histogram(
        &mut self,
        rules: ChunkRules<'_>,
        transaction: Option<Transaction>,
        reference: u64,
        (start_ms, timestamp_ms, histogram): (i64, i64, &Histogram),
    ) -> bool {
        let last_ms = self.last_ms();
        if timestamp_ms <= last_ms && last_ms != i64::MIN {
            return false;
        }
        if let Some(transaction) = transaction {
            self.mark(transaction);
        }
        let closed = (self.state.open != Open::Nothing).then_some(last_ms);
        let min_ms = self.state.open_min_ms;
        let next_at_ms = min_ms + i64::from(self.state.next_at);
        if let Some(open) = self.state.rest.as_mut().and_then(|r| r.histograms.as_mut()) {
            let step = open.append(rules, (min_ms, next_at_ms), start_ms, timestamp_ms, histogram);
            self.state.next_at = distance(min_ms, step.next_at_ms);
            if let Some(full) = step.full {
                let (encoding, end_ms) = (full.encoding as u8, full.last_timestamp_ms);
                let chunk = rules
                    .files
                    .write(reference, min_ms, end_ms, encoding, false, &full.bytes);
                self.push_mapped(&chunk);
                let span = (timestamp_ms, step.next_at_ms);
                self.begin(transaction, Open::Histograms, span, closed);
            }
            return true;
        }
        self.close(rules.files, reference);
        let span = (timestamp_ms, range_end(timestamp_ms, rules.range_ms));
        self.begin(transaction, Open::Histograms, span, closed);
        let open = OpenHistogram::start(rules.start_timestamps, start_ms, timestamp_ms, histogram);
        self.rest_mut().histograms = Some(Box::new(open));
        true
    }

    /// Ends the open chunk, if there is one, and hands it to the files.
    pub(crate) fn close(&mut self, files: &ChunkFiles, reference: u64) {
        let Some((encoding, bytes)) = self.open_chunk() else {
            return;
        };
        let (min_ms, max_ms) = (self.state.open_min_ms, self.last_ms());
        let chunk = files.write(reference, min_ms, max_ms, encoding as u8, false, bytes);
        self.push_mapped(&chunk);
        self.drop_open();
        self.arena.shrink();
    }

    /// Encoding and bytes of the open chunk.
    pub(crate) fn open_chunk(&self) -> Option<(Encoding, &[u8])> {
        let floats = || &self.arena.get(self.at)[self.mapped_len()..];
        match self.state.open {
            Open::Nothing => None,
            Open::Floats => Some((Encoding::Xor, floats())),
            Open::Floats2 => Some((Encoding::Xor2, floats())),
            Open::Histograms => {
                let open = self.rest()?.histograms.as_ref()?;
                Some((open.encoding(), open.bytes()))
            }
        }
    }

    /// Forgets the open chunk.
    pub(super) fn drop_open(&mut self) {
        let mapped = self.mapped_len();
        self.arena.set_len(self.at, mapped);
        self.state.open = Open::Nothing;
        self.state.len = 0;
        if let Some(rest) = &mut self.state.rest {
            rest.histograms = None;
            rest.start = StartTrack::default();
            self.drop_empty_rest();
        }
    }

    /// The open chunk for an image of the series.
    pub(crate) fn open_image(&self) -> Option<OpenImage<'_>> {
        let (encoding, bytes) = self.open_chunk()?;
        let histograms = self.rest().and_then(|r| r.histograms.as_ref());
        Some(OpenImage {
            encoding,
            min_ms: self.state.open_min_ms,
            next_at_ms: self.state.open_min_ms + i64::from(self.state.next_at),
            end_computed: histograms.is_some_and(|h| h.end_computed()),
            bytes,
        })
    }

    /// Goes on with the open chunk of an image.
    ///
    /// # Errors
    /// When its bytes are no chunk of its encoding.
    pub(crate) fn reopen(&mut self, image: &OpenImage<'_>) -> Result<(), ChunkError> {
        if image.encoding.samples(image.bytes)? == 0 {
            return Ok(());
        }
        let mapped = self.mapped_len();
        self.state.open_min_ms = image.min_ms;
        self.state.next_at = distance(image.min_ms, image.next_at_ms);
        let last_ms = match image.encoding {
            Encoding::Xor => {
                let xor = XorAppender::resume(image.bytes)?;
                self.state.set_xor(&xor);
                self.state.open = Open::Floats;
                xor.timestamp_ms
            }
            Encoding::Xor2 => {
                let xor2 = Xor2Appender::resume(image.bytes)?;
                self.state.set_xor2(&xor2);
                self.state.open = Open::Floats2;
                xor2.timestamp_ms
            }
            encoding => {
                let open = OpenHistogram::resume(encoding, image.bytes, image.end_computed)?
                    .ok_or(ChunkError::Corrupt("a chunk without samples"))?;
                let last_ms = open.last_timestamp_ms();
                self.rest_mut().histograms = Some(Box::new(open));
                self.state.open = Open::Histograms;
                last_ms
            }
        };
        let len = usize::from(self.state.len);
        let room = self.arena.reserve(self.at, mapped + len);
        if !room
            || image
                .min_ms
                .checked_add(i64::from(distance(image.min_ms, last_ms)))
                != Some(last_ms)
        {
            self.state.open = Open::Nothing;
            self.state.len = 0;
            return Err(ChunkError::Corrupt("an open chunk is too long"));
        }
        self.arena.whole_mut(self.at)[mapped..mapped + len].copy_from_slice(&image.bytes[..len]);
        self.arena.set_len(self.at, mapped + len);
        Ok(())
    }
}

/// First millisecond behind the range that holds `timestamp_ms`.
pub(crate) fn range_end(timestamp_ms: i64, range_ms: i64) -> i64 {
    // Compat: the reference divides toward zero, so that ranges around the epoch are double; kept, because blocks are cut
    // by the same rule (ranges_around_the_epoch_are_double).
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
    fn chunks_are_spread_over_the_range() {
        // 15 s scrapes: 480 samples in two hours make four chunks of 120.
        let end = chunk_end(0, 29 * 15_000, 7_200_000, 4.0);
        assert!((1_790_000..=1_810_000).contains(&end), "{end}");
        assert_eq!(chunk_end(0, 7_000_000, 7_200_000, 4.0), 7_200_000);
        assert_eq!(range_end(7_199_999, 7_200_000), 7_200_000);
        assert_eq!(range_end(7_200_000, 7_200_000), 14_400_000);
    }

    #[test]
    fn ranges_around_the_epoch_are_double() {
        let ends = [-14_400_000, -7_200_000, -7_199_999, -1, 0].map(|t| range_end(t, 7_200_000));
        assert_eq!(ends, [-7_200_000, 0, 7_200_000, 7_200_000, 7_200_000]);
    }
}

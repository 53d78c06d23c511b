//! The fast reader of the classic float encoding: a chunk into columns.
//!
//! Each sample costs one load of 64 bits, or two when its value is long; runs of samples that change nothing are found by
//! counting zeros and are written as a whole. Near the chunk's end reading goes on in a copy with zeros behind, so that no
//! load needs a check of its own.

use model::columns::Columns;

use super::bits::{BitReader, peek_window, sign};
use super::xor::{DOD_WIDTHS, Window, XOR_SAMPLE_BYTES_MAX, XorAppender};
use super::{COUNT_BYTES, ChunkError, sample_count};

/// Bytes that must follow the position at which the fast loop begins a sample: a whole sample, and what `peek` reads
/// past its end.
const MARGIN_BYTES: usize = XOR_SAMPLE_BYTES_MAX + 13;

/// Appends the samples in `min_ms..=max_ms` of the chunk to `columns`.
pub(super) fn decode(
    chunk: &[u8],
    min_ms: i64,
    max_ms: i64,
    columns: &mut Columns,
) -> Result<(), ChunkError> {
    let samples = sample_count(chunk)?;
    let mut bits = BitReader::new(chunk, COUNT_BYTES);
    let mut state = XorAppender::new();
    for sample in 0..samples.min(2) {
        let before = state.timestamp_ms;
        state
            .read_sample(&mut bits, sample)
            .map_err(|e| e.unwrap_or(bits.short(sample, samples)))?;
        if state.timestamp_ms <= before && sample > 0 {
            return Err(ChunkError::Corrupt("timestamps do not ascend"));
        }
        if state.timestamp_ms > max_ms {
            return Ok(());
        }
        if state.timestamp_ms >= min_ms {
            columns.push(state.timestamp_ms, f64::from_bits(state.value_bits));
        }
    }
    if samples <= 2 {
        return Ok(());
    }
    let old_len = columns.len();
    let room = usize::from(samples) - 2;
    columns.timestamps_ms.resize(old_len + room, 0);
    columns.values.resize(old_len + room, 0.0);
    let mut run = Run {
        timestamp_ms: state.timestamp_ms,
        delta: state.delta,
        value_bits: state.value_bits,
        window: state.window.or_whole(),
        pos: bits.position(),
        left: room,
        written: 0,
        min_ms,
        max_ms,
        ascending: true,
    };
    let result = run.decode(
        chunk,
        &mut columns.timestamps_ms[old_len..],
        &mut columns.values[old_len..],
        samples,
    );
    let len = old_len + run.written;
    columns.timestamps_ms.truncate(len);
    columns.values.truncate(len);
    if !columns.start_timestamps_ms.is_empty() {
        columns.start_timestamps_ms.resize(len, 0);
    }
    result
}

/// The fast loop's state; everything behind the second sample goes through it.
struct Run {
    timestamp_ms: i64,
    delta: u64,
    value_bits: u64,
    window: Window,
    /// Next bit in the bytes at hand.
    pos: usize,
    /// Samples not read yet.
    left: usize,
    /// Samples written to the columns.
    written: usize,
    min_ms: i64,
    max_ms: i64,
    ascending: bool,
}

impl Run {
    /// Decodes from the chunk itself as long as reads stay inside it, then from a copy of its end with zeros behind.
    fn decode(
        &mut self,
        chunk: &[u8],
        timestamps_ms: &mut [i64],
        values: &mut [f64],
        samples: u16,
    ) -> Result<(), ChunkError> {
        if chunk.len() > MARGIN_BYTES {
            let last_start = (chunk.len() - MARGIN_BYTES) * 8;
            self.samples(chunk, last_start, chunk.len() * 8, timestamps_ms, values)?;
        }
        let mut tail = [0; 3 * MARGIN_BYTES];
        let first = (self.pos / 8).min(chunk.len());
        let rest = &chunk[first..];
        if self.left > 0 {
            debug_assert!(rest.len() <= 2 * MARGIN_BYTES);
            tail[..rest.len()].copy_from_slice(rest);
            self.pos -= first * 8;
            let end = rest.len() * 8;
            self.samples(&tail, end.saturating_sub(1), end, timestamps_ms, values)?;
            let over = self.pos > end;
            self.pos += first * 8;
            if over || self.left > 0 {
                // The sample that ran over the end was made from padding.
                self.written -= usize::from(over && self.written > 0);
                let sample = samples - self.left as u16 - u16::from(over);
                return Err(ChunkError::Short {
                    at_bit: (self.pos as u64).min(chunk.len() as u64 * 8),
                    sample,
                    samples,
                });
            }
        }
        if self.ascending {
            Ok(())
        } else {
            Err(ChunkError::Corrupt("timestamps do not ascend"))
        }
    }

    /// Decodes samples that begin at `last_start` or before; `end` is the end of the stream. Leaves `left` at 0 when
    /// the range is passed.
    #[inline(never)]
    fn samples(
        &mut self,
        bytes: &[u8],
        last_start: usize,
        end: usize,
        timestamps_ms: &mut [i64],
        values: &mut [f64],
    ) -> Result<(), ChunkError> {
        while self.left > 0 && self.pos <= last_start {
            let window = peek(bytes, self.pos);
            let zeros = window.leading_zeros();
            if zeros >= 2 && self.pos + 2 <= end {
                let run = (zeros as usize / 2).min(self.left).min((end - self.pos) / 2);
                self.repeat(run, timestamps_ms, values);
                continue;
            }
            let mut used = 1;
            if window >> 63 == 1 {
                let ones = window.leading_ones().min(4);
                let width = DOD_WIDTHS[ones as usize];
                used = ones + u32::from(ones < 4);
                let raw = if width == 64 {
                    peek(bytes, self.pos + 4)
                } else {
                    window << used >> (64 - width)
                };
                used += width;
                self.delta = self.delta.wrapping_add(sign(raw, width) as u64);
            }
            let before = self.timestamp_ms;
            self.timestamp_ms = before.wrapping_add(self.delta as i64);
            self.value(bytes, window, used)?;
            self.ascending &= self.timestamp_ms > before;
            self.left -= 1;
            if self.timestamp_ms > self.max_ms {
                self.left = 0;
                return Ok(());
            }
            if let (Some(t), Some(v)) = (timestamps_ms.get_mut(self.written), values.get_mut(self.written)) {
                *t = self.timestamp_ms;
                *v = f64::from_bits(self.value_bits);
            }
            self.written += usize::from(self.timestamp_ms >= self.min_ms);
        }
        Ok(())
    }

    /// Reads the value of a sample of which `used` bits are consumed and `window` is the start.
    #[inline(always)]
    fn value(&mut self, bytes: &[u8], window: u64, used: u32) -> Result<(), ChunkError> {
        let mut pos = self.pos + used as usize;
        // Control bits and window header are 13 bits; after a wide timestamp they lie outside of what was peeked.
        let (mut rest, mut valid) = (window.checked_shl(used).unwrap_or(0), 64i32 - used as i32);
        if valid < 13 {
            (rest, valid) = (peek(bytes, pos), 64);
        }
        if rest >> 63 == 0 {
            self.pos = pos + 1;
            return Ok(());
        }
        if rest >> 62 == 0b11 {
            self.window = Window::from_header(rest << 2 >> 53)?;
            pos += 13;
            rest <<= 13;
            valid -= 13;
        } else {
            pos += 2;
            rest <<= 2;
            valid -= 2;
        }
        let width = self.window.width();
        if width as i32 > valid {
            rest = peek(bytes, pos);
        }
        self.value_bits ^= rest >> (64 - width) << self.window.trailing;
        self.pos = pos + width as usize;
        Ok(())
    }

    /// Writes `run` samples that keep both the timestamp difference and the value.
    #[inline]
    fn repeat(&mut self, run: usize, timestamps_ms: &mut [i64], values: &mut [f64]) {
        let value = f64::from_bits(self.value_bits);
        self.pos += 2 * run;
        self.left -= run;
        let first = self.timestamp_ms.wrapping_add(self.delta as i64);
        // Differences below 2^40 ms and runs below 2^6 cannot overflow unless timestamps are absurd.
        let last = (self.delta < 1 << 40)
            .then(|| self.timestamp_ms.checked_add(self.delta as i64 * run as i64))
            .flatten();
        if let Some(last) = last
            && self.delta > 0
            && first >= self.min_ms
            && last <= self.max_ms
        {
            let out = self.written..self.written + run;
            if let Some(slots) = timestamps_ms.get_mut(out.clone()) {
                let mut t = self.timestamp_ms;
                for slot in slots {
                    t += self.delta as i64;
                    *slot = t;
                }
            }
            if let Some(slots) = values.get_mut(out) {
                slots.fill(value);
            }
            self.written += run;
            self.timestamp_ms = last;
            return;
        }
        for _ in 0..run {
            let before = self.timestamp_ms;
            self.timestamp_ms = before.wrapping_add(self.delta as i64);
            self.ascending &= self.timestamp_ms > before;
            if self.timestamp_ms > self.max_ms {
                self.left = 0;
                return;
            }
            if self.timestamp_ms >= self.min_ms {
                timestamps_ms[self.written] = self.timestamp_ms;
                values[self.written] = value;
                self.written += 1;
            }
        }
    }
}

/// The 64 bits from bit `pos` on; zeros where the bytes end.
#[inline(always)]
fn peek(bytes: &[u8], pos: usize) -> u64 {
    match bytes.get(pos >> 3..).and_then(<[u8]>::first_chunk::<9>) {
        Some(window) => peek_window(window, pos & 7),
        None => 0,
    }
}

//! The classic float encoding: delta-of-delta timestamps and XORed values, after Facebook's Gorilla paper
//! (<https://www.vldb.org/pvldb/vol8/p1816-teller.pdf>) with millisecond timestamps.
//!
//! Behind the sample count, bit by bit (layout with a hex example: `tsdb/docs/chunks.md`):
//!
//! | sample | timestamp | value |
//! |---|---|---|
//! | 0 | varint | 64 bits |
//! | 1 | uvarint: difference to sample 0 | XOR code |
//! | 2 … | `0`: same difference; `10`, `110`, `1110` and 14, 17, 20 bits: change of the difference; `1111` and 64 bits | XOR code |
//!
//! XOR code: `0`: same value; `10` and the bits of the previous window; `11`, 5 bits of leading zeros, 6 bits of window
//! length (0 means 64), and the window.

use model::columns::Columns;

use super::bits::{BitReader, OutOfBits, fits, peek_window, put, sign, uvarint_bits, varint_bits};
use super::{COUNT_BYTES, ChunkError, ChunkFull, sample_count};

/// Marks the window as not set yet.
const NO_WINDOW: u8 = 0xff;
/// Widths of a changed timestamp difference, by number of leading ones of the control bits; 0 ones means no change.
const DOD_WIDTHS: [u32; 5] = [0, 14, 17, 20, 64];
/// Most bytes that a sample can add: 4 + 64 bits of time, 2 + 5 + 6 + 64 bits of value.
pub const XOR_SAMPLE_BYTES_MAX: usize = 19;

/// What is needed to add a sample to a chunk whose bytes lie elsewhere: 32 bytes a series.
///
/// The caller owns the buffer and passes the same bytes every time; it may move them to a larger buffer in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XorAppender {
    timestamp_ms: i64,
    value_bits: u64,
    delta: u64,
    len: u16,
    window: Window,
    free: u8,
}

/// The stretch of bits in which recent values differed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) leading: u8,
    pub(crate) trailing: u8,
}

impl Window {
    /// No value has differed yet.
    pub(crate) const NONE: Window = Window {
        leading: NO_WINDOW,
        trailing: 0,
    };

    /// The window that a decoder uses: a whole value where none was set.
    ///
    // Compat: a chunk that the reference reopened before any value differed goes on with whole values.
    #[inline]
    pub(crate) fn or_whole(self) -> Self {
        Window {
            leading: if self.leading == NO_WINDOW {
                0
            } else {
                self.leading
            },
            ..self
        }
    }

    /// Bits in the window.
    #[inline(always)]
    pub(crate) fn width(self) -> u32 {
        64 - u32::from(self.leading) - u32::from(self.trailing)
    }

    /// Whether a value that differs by `xor` can be told with the window as it is; moves the window where not.
    #[inline]
    pub(crate) fn holds(&mut self, xor: u64) -> bool {
        let fresh = Window {
            leading: xor.leading_zeros().min(31) as u8,
            trailing: xor.trailing_zeros() as u8,
        };
        // An unset window has 255 leading zeros, which no value reaches.
        let holds = fresh.leading >= self.leading && fresh.trailing >= self.trailing;
        if !holds {
            *self = fresh;
        }
        holds
    }

    /// The 11 bits that describe the window.
    #[inline]
    pub(crate) fn header(self) -> u64 {
        u64::from(self.leading) << 6 | u64::from(self.width() & 63)
    }

    /// The window that 11 bits describe.
    #[inline]
    pub(crate) fn from_header(bits: u64) -> Result<Self, ChunkError> {
        let leading = (bits >> 6 & 31) as u8;
        let width = match (bits & 63) as u8 {
            0 => 64,
            width => width,
        };
        match 64u8.checked_sub(leading + width) {
            Some(trailing) => Ok(Window { leading, trailing }),
            None => Err(ChunkError::Corrupt("value window is wider than a value")),
        }
    }
}

impl Default for XorAppender {
    fn default() -> Self {
        XorAppender::new()
    }
}

impl XorAppender {
    /// The state of an empty chunk.
    pub fn new() -> Self {
        XorAppender {
            timestamp_ms: i64::MIN,
            value_bits: 0,
            delta: 0,
            len: 0,
            window: Window::NONE,
            free: 0,
        }
    }

    /// The state after the last sample of an existing chunk: to go on appending after a restart.
    ///
    /// # Errors
    /// When `chunk` is not a chunk of this encoding.
    pub fn resume(chunk: &[u8]) -> Result<Self, ChunkError> {
        let samples = sample_count(chunk)?;
        let mut bits = BitReader::new(chunk, COUNT_BYTES);
        let mut state = XorAppender::new();
        for sample in 0..samples {
            state
                .read_sample(&mut bits, sample)
                .map_err(|e| e.unwrap_or(bits.short(sample, samples)))?;
        }
        let end = bits.position();
        if chunk.len() > usize::from(u16::MAX) {
            return Err(ChunkError::Corrupt("chunk is longer than an open chunk can be"));
        }
        if samples > 0 {
            state.len = end.div_ceil(8) as u16;
            state.free = (state.len as usize * 8 - end) as u8;
        }
        Ok(state)
    }

    /// Reads one sample; `Err(None)` where the bits end.
    fn read_sample(&mut self, bits: &mut BitReader<'_>, sample: u16) -> Result<(), Option<ChunkError>> {
        match sample {
            0 => {
                self.timestamp_ms = bits.varint().map_err(ended)?;
                self.value_bits = bits.bits(64).map_err(ended)?;
                return Ok(());
            }
            1 => self.delta = bits.uvarint().map_err(ended)?,
            _ => {
                let ones = bits.ones(4).map_err(ended)?;
                if ones > 0 {
                    let dod = bits.signed(DOD_WIDTHS[ones as usize]).map_err(ended)?;
                    self.delta = self.delta.wrapping_add(dod as u64);
                }
            }
        }
        self.timestamp_ms = self.timestamp_ms.wrapping_add(self.delta as i64);
        self.value_bits ^= read_xor(bits, &mut self.window)?;
        Ok(())
    }

    /// Bytes of the chunk so far; 0 before the first sample.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether no sample was added yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Timestamp of the last sample; `i64::MIN` before the first.
    pub fn last_timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    /// Value of the last sample.
    pub fn last_value(&self) -> f64 {
        f64::from_bits(self.value_bits)
    }

    /// Adds a sample to the chunk in `buf`, whose first [`XorAppender::len`] bytes are the chunk so far.
    ///
    /// # Errors
    /// [`ChunkFull::Bytes`] when `buf` is too small: nothing has changed, and the call can be repeated with a larger
    /// copy. [`ChunkFull::Samples`] at 65,535 samples.
    #[inline]
    pub fn append(&mut self, buf: &mut [u8], timestamp_ms: i64, value: f64) -> Result<(), ChunkFull> {
        if self.len == 0 {
            return self.append_first(buf, timestamp_ms, value);
        }
        let count = u16::from_be_bytes([buf[0], buf[1]]);
        if count == u16::MAX {
            return Err(ChunkFull::Samples);
        }
        let delta = timestamp_ms.wrapping_sub(self.timestamp_ms) as u64;
        let (time, time_bits) = if count == 1 {
            uvarint_bits(delta)
        } else {
            dod_bits(delta.wrapping_sub(self.delta) as i64)
        };
        let xor = value.to_bits() ^ self.value_bits;
        let mut window = self.window;
        let (control, control_bits, tail_bits) = match xor {
            0 => (0, 1, 0),
            _ if window.holds(xor) => (0b10, 2, window.width()),
            _ => (0b11 << 11 | window.header(), 13, window.width()),
        };
        let bits = time_bits + control_bits + tail_bits;
        let mut len = self.len();
        let needed = len + (bits.saturating_sub(u32::from(self.free)) as usize).div_ceil(8);
        if needed > buf.len() {
            return Err(ChunkFull::Bytes { needed });
        }
        put(
            buf,
            &mut len,
            &mut self.free,
            time << control_bits | u128::from(control),
            time_bits + control_bits,
        );
        if tail_bits > 0 {
            put(
                buf,
                &mut len,
                &mut self.free,
                u128::from(xor >> window.trailing),
                tail_bits,
            );
        }
        buf[..COUNT_BYTES].copy_from_slice(&(count + 1).to_be_bytes());
        *self = XorAppender {
            timestamp_ms,
            value_bits: value.to_bits(),
            delta,
            len: len as u16,
            window,
            free: self.free,
        };
        Ok(())
    }

    fn append_first(&mut self, buf: &mut [u8], timestamp_ms: i64, value: f64) -> Result<(), ChunkFull> {
        let (time, time_bits) = varint_bits(timestamp_ms);
        let needed = COUNT_BYTES + time_bits as usize / 8 + 8;
        if needed > buf.len() {
            return Err(ChunkFull::Bytes { needed });
        }
        buf[..COUNT_BYTES].copy_from_slice(&1u16.to_be_bytes());
        let mut len = COUNT_BYTES;
        put(buf, &mut len, &mut self.free, time, time_bits);
        put(buf, &mut len, &mut self.free, u128::from(value.to_bits()), 64);
        self.timestamp_ms = timestamp_ms;
        self.value_bits = value.to_bits();
        self.len = len as u16;
        Ok(())
    }
}

/// Control bits and bits of a change of the timestamp difference.
#[inline]
fn dod_bits(dod: i64) -> (u128, u32) {
    let masked = |n: u32| u128::from(dod as u64 & (u64::MAX >> (64 - n)));
    match dod {
        0 => (0, 1),
        _ if fits(dod, 14) => (0b10 << 14 | masked(14), 16),
        _ if fits(dod, 17) => (0b110 << 17 | masked(17), 20),
        _ if fits(dod, 20) => (0b1110 << 20 | masked(20), 24),
        _ => (0b1111 << 64 | masked(64), 68),
    }
}

fn ended(_: OutOfBits) -> Option<ChunkError> {
    None
}

/// Reads an XOR code; `Err(None)` where the bits end.
pub(crate) fn read_xor(bits: &mut BitReader<'_>, window: &mut Window) -> Result<u64, Option<ChunkError>> {
    match bits.ones(2).map_err(ended)? {
        0 => return Ok(0),
        1 => *window = window.or_whole(),
        _ => *window = Window::from_header(bits.bits(11).map_err(ended)?)?,
    }
    Ok(bits.bits(window.width()).map_err(ended)? << window.trailing)
}

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

#[cfg(test)]
#[path = "xor_tests.rs"]
mod tests;

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

use super::bits::{BitReader, OutOfBits, SHORT_BITS_MAX, fits, put, put_short, uvarint_bits, varint_bits};
use super::{COUNT_BYTES, ChunkError, ChunkFull, sample_count};

/// Marks the window as not set yet.
const NO_WINDOW: u8 = 0xff;
/// Widths of a changed timestamp difference, by number of leading ones of the control bits; 0 ones means no change.
pub(super) const DOD_WIDTHS: [u32; 5] = [0, 14, 17, 20, 64];
/// Most bytes that a sample can add: 4 + 64 bits of time, 2 + 5 + 6 + 64 bits of value.
pub const XOR_SAMPLE_BYTES_MAX: usize = 19;

/// What is needed to add a sample to a chunk whose bytes lie elsewhere: 32 bytes a series.
///
/// The caller owns the buffer and passes the same bytes every time; it may move them to a larger buffer in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XorAppender {
    pub(crate) timestamp_ms: i64,
    pub(crate) value_bits: u64,
    pub(crate) delta: u64,
    pub(crate) len: u16,
    pub(crate) window: Window,
    pub(crate) free: u8,
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

    /// Whether a value that differs by `xor` can be encoded with the window as it is; moves the window where not.
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

    /// The state behind some sample, to read on.
    pub(super) fn behind(timestamp_ms: i64, delta: u64, value_bits: u64, window: Window) -> Self {
        XorAppender {
            timestamp_ms,
            value_bits,
            delta,
            window,
            ..XorAppender::new()
        }
    }

    /// Reads one sample; `Err(None)` where the bits end.
    pub(super) fn read_sample(
        &mut self,
        bits: &mut BitReader<'_>,
        sample: u16,
    ) -> Result<(), Option<ChunkError>> {
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
        let xor = value.to_bits() ^ self.value_bits;
        if xor == 0 && delta == self.delta && count > 1 {
            return self.append_same(buf, count, timestamp_ms);
        }
        let (time, time_bits) = if count == 1 {
            uvarint_bits(delta)
        } else {
            dod_bits(delta.wrapping_sub(self.delta) as i64)
        };
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
        let head = time << control_bits | u128::from(control);
        let tail = u128::from(xor >> (window.trailing & 63));
        if bits <= SHORT_BITS_MAX {
            let bits_of_all = (head as u64) << tail_bits | tail as u64;
            put_short(buf, &mut len, &mut self.free, bits_of_all, bits);
        } else if bits <= 120 && tail_bits > 0 {
            put(buf, &mut len, &mut self.free, head << tail_bits | tail, bits);
        } else {
            put(buf, &mut len, &mut self.free, head, time_bits + control_bits);
            if tail_bits > 0 {
                put(buf, &mut len, &mut self.free, tail, tail_bits);
            }
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

    /// Adds the value before, at the same distance: two zero bits, and unused bits are zero already.
    #[inline]
    fn append_same(&mut self, buf: &mut [u8], count: u16, timestamp_ms: i64) -> Result<(), ChunkFull> {
        if self.free >= 2 {
            self.free -= 2;
        } else {
            let len = self.len();
            let Some(next) = buf.get_mut(len) else {
                return Err(ChunkFull::Bytes { needed: len + 1 });
            };
            *next = 0;
            self.len += 1;
            self.free += 6;
        }
        buf[..COUNT_BYTES].copy_from_slice(&(count + 1).to_be_bytes());
        self.timestamp_ms = timestamp_ms;
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
    let control = bits.peek();
    match control >> 62 {
        0 | 1 => {
            bits.skip(1).map_err(ended)?;
            return Ok(0);
        }
        2 => {
            bits.skip(2).map_err(ended)?;
            *window = window.or_whole();
        }
        _ => {
            bits.skip(13).map_err(ended)?;
            *window = Window::from_header(control >> 51 & 0x7ff)?;
        }
    }
    Ok(bits.bits(window.width()).map_err(ended)? << window.trailing)
}

#[cfg(test)]
#[path = "xor_tests.rs"]
mod tests;

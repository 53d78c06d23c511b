//! Floats with control bits that speak of time and value together, and with optional start timestamps.
//!
//! Behind the sample count comes the start timestamps' header byte (see `st`), then bit by bit (layout with a hex
//! example: `tsdb/docs/chunks.md`): samples 0 and 1 as in the classic encoding; from sample 2 on a prefix:
//!
//! | prefix | timestamp difference | value |
//! |---|---|---|
//! | `0` | same | same |
//! | `10` | same | `0` and the bits of the window, or `1` and a new window |
//! | `110`, `1110`, `11110` | change in 13, 20, 64 bits | XOR code |
//! | `11111` | same | staleness marker |
//!
//! XOR code: `0`: same value; `10` and the bits of the window; `110` and a new window; `111`: staleness marker. The
//! marker leaves the value that later ones are compared with as it is.

use model::columns::Columns;
use model::sample::STALE_NAN_BITS;

use super::bits::{BitReader, OutOfBits, PutBits, SampleBits, uvarint_bits, varint_bits};
use super::st::StartTrack;
use super::xor::Window;
use super::{COUNT_BYTES, ChunkError, ChunkFull, sample_count};

pub(super) const HEADER_BYTES: usize = COUNT_BYTES + 1;
/// Most bytes that a sample can add: 10 of a varint or 69 bits of time, 14 + 64 bits of value, 80 bits of start.
pub const XOR2_SAMPLE_BYTES_MAX: usize = 31;

/// What is needed to add a sample to a chunk whose bytes lie elsewhere; used like [`super::XorAppender`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xor2Appender {
    pub(crate) timestamp_ms: i64,
    /// Last value that was no staleness marker.
    pub(crate) base_bits: u64,
    pub(crate) delta: u64,
    pub(crate) start: StartTrack,
    pub(crate) len: u16,
    pub(crate) window: Window,
    pub(crate) free: u8,
    pub(crate) stale: bool,
}

impl Default for Xor2Appender {
    fn default() -> Self {
        Xor2Appender::new()
    }
}

impl Xor2Appender {
    /// The state of an empty chunk.
    pub fn new() -> Self {
        Xor2Appender {
            timestamp_ms: i64::MIN,
            base_bits: 0,
            delta: 0,
            start: StartTrack::default(),
            len: 0,
            window: Window::NONE,
            free: 0,
            stale: false,
        }
    }

    /// The state after the last sample of an existing chunk.
    ///
    /// # Errors
    /// When `chunk` is not a chunk of this encoding.
    pub fn resume(chunk: &[u8]) -> Result<Self, ChunkError> {
        if chunk.len() > usize::from(u16::MAX) {
            return Err(ChunkError::Corrupt("chunk is longer than an open chunk can be"));
        }
        let (samples, mut state, mut bits) = begin(chunk)?;
        for sample in 0..samples {
            state
                .read_sample(&mut bits, sample)
                .map_err(|e| e.unwrap_or(bits.short(sample, samples)))?;
        }
        if samples > 0 {
            state.len = bits.position().div_ceil(8) as u16;
            state.free = (state.len as usize * 8 - bits.position()) as u8;
        }
        Ok(state)
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
        f64::from_bits(self.value_bits())
    }

    pub(super) fn value_bits(&self) -> u64 {
        if self.stale {
            STALE_NAN_BITS
        } else {
            self.base_bits
        }
    }

    /// Adds a sample to the chunk in `buf`, whose first [`Xor2Appender::len`] bytes are the chunk so far. `start_ms` is
    /// when its counter started, 0 where unknown.
    ///
    /// # Errors
    /// As [`super::XorAppender::append`]; nothing has changed then.
    pub fn append(
        &mut self,
        buf: &mut [u8],
        start_ms: i64,
        timestamp_ms: i64,
        value: f64,
    ) -> Result<(), ChunkFull> {
        let count = match self.len {
            0 => 0,
            _ => u16::from_be_bytes([buf[0], buf[1]]),
        };
        if count == u16::MAX {
            return Err(ChunkFull::Samples);
        }
        let mut next = *self;
        // The sample's bits, behind a copy of the last byte where that one is not full.
        let kept = self.len().max(HEADER_BYTES) - usize::from(self.free > 0);
        let last = if self.free > 0 { buf[kept] } else { 0 };
        let mut out = SampleBits::behind(last, self.free);
        next.write_sample(&mut out, count, start_ms, timestamp_ms, value);
        let needed = kept + out.bytes().len();
        if needed > buf.len() {
            return Err(ChunkFull::Bytes { needed });
        }
        buf[kept..needed].copy_from_slice(out.bytes());
        buf[..COUNT_BYTES].copy_from_slice(&(count + 1).to_be_bytes());
        buf[COUNT_BYTES] = next.start.header;
        next.free = out.free();
        next.len = needed as u16;
        *self = next;
        Ok(())
    }

    fn write_sample(&mut self, out: &mut SampleBits, n: u16, start_ms: i64, timestamp_ms: i64, value: f64) {
        let stale = value.to_bits() == STALE_NAN_BITS;
        let (previous_ms, xor) = (self.timestamp_ms, value.to_bits() ^ self.base_bits);
        let delta = timestamp_ms.wrapping_sub(previous_ms) as u64;
        match n {
            0 => {
                let (bits, width) = varint_bits(timestamp_ms);
                out.put_wide(bits, width);
                out.put(value.to_bits(), 64);
            }
            1 => {
                let (bits, width) = uvarint_bits(delta);
                out.put_wide(bits, width);
                self.write_value(out, xor, stale);
            }
            _ => match delta.wrapping_sub(self.delta) as i64 {
                0 if stale => out.put(0b11111, 5),
                0 if xor == 0 => out.put(0, 1),
                0 => {
                    out.put(0b10, 2);
                    self.write_window(out, xor, (0, 1), (1, 1));
                }
                dod => {
                    match dod {
                        -0x1000..0x1000 => out.put(0b110 << 13 | dod as u64 & 0x1fff, 16),
                        -0x8_0000..0x8_0000 => out.put(0b1110 << 20 | dod as u64 & 0xf_ffff, 24),
                        _ => {
                            out.put(0b11110, 5);
                            out.put(dod as u64, 64);
                        }
                    }
                    self.write_value(out, xor, stale);
                }
            },
        }
        self.start.write(out, n, timestamp_ms, previous_ms, start_ms);
        self.timestamp_ms = timestamp_ms;
        if n > 0 {
            self.delta = delta;
        }
        self.stale = stale;
        if !stale {
            self.base_bits = value.to_bits();
        }
    }

    fn write_value(&mut self, out: &mut SampleBits, xor: u64, stale: bool) {
        if stale {
            out.put(0b111, 3);
        } else if xor == 0 {
            out.put(0, 1);
        } else {
            self.write_window(out, xor, (0b10, 2), (0b110, 3));
        }
    }

    /// Writes a value that differs by `xor`: behind `reuse` when the window holds it, else a new window behind `fresh`.
    fn write_window(&mut self, out: &mut SampleBits, xor: u64, reuse: (u64, u32), fresh: (u64, u32)) {
        if self.window.holds(xor) {
            out.put(reuse.0, reuse.1);
        } else {
            out.put(fresh.0 << 11 | self.window.header(), fresh.1 + 11);
        }
        out.put(xor >> self.window.trailing, self.window.width());
    }

    /// The state behind some sample of a chunk without start timestamps, to read on.
    pub(super) fn behind(timestamp_ms: i64, delta: u64, base_bits: u64, window: Window) -> Self {
        Xor2Appender {
            timestamp_ms,
            base_bits,
            delta,
            window,
            ..Xor2Appender::new()
        }
    }

    /// Reads one sample; `Err(None)` where the bits end.
    pub(super) fn read_sample(&mut self, bits: &mut BitReader<'_>, n: u16) -> Result<(), Option<ChunkError>> {
        let previous_ms = self.timestamp_ms;
        self.stale = false;
        match n {
            0 => {
                self.timestamp_ms = bits.varint().map_err(ended)?;
                let value = bits.bits(64).map_err(ended)?;
                self.stale = value == STALE_NAN_BITS;
                self.base_bits = if self.stale { 0 } else { value };
            }
            1 => {
                self.delta = bits.uvarint().map_err(ended)?;
                self.read_value(bits)?;
            }
            _ => match bits.ones(5).map_err(ended)? {
                0 => {}
                1 => {
                    let fresh = bits.bit().map_err(ended)?;
                    self.read_window(bits, fresh)?;
                }
                5 => self.stale = true,
                ones => {
                    let width = [13, 20, 64][ones as usize - 2];
                    let raw = bits.bits(width).map_err(ended)?;
                    let dod = (raw << (64 - width)) as i64 >> (64 - width);
                    self.delta = self.delta.wrapping_add(dod as u64);
                    self.read_value(bits)?;
                }
            },
        }
        if n > 0 {
            self.timestamp_ms = previous_ms.wrapping_add(self.delta as i64);
        }
        let now_ms = self.timestamp_ms;
        self.start.read(bits, n, now_ms, previous_ms).map_err(ended)
    }

    fn read_value(&mut self, bits: &mut BitReader<'_>) -> Result<(), Option<ChunkError>> {
        match bits.ones(3).map_err(ended)? {
            0 => Ok(()),
            3 => {
                self.stale = true;
                Ok(())
            }
            ones => self.read_window(bits, ones == 2),
        }
    }

    fn read_window(&mut self, bits: &mut BitReader<'_>, fresh: bool) -> Result<(), Option<ChunkError>> {
        if fresh {
            self.window = Window::from_header(bits.bits(11).map_err(ended)?)?;
        } else {
            self.window = self.window.or_whole();
        }
        self.base_bits ^= bits.bits(self.window.width()).map_err(ended)? << self.window.trailing;
        Ok(())
    }
}

fn ended(_: OutOfBits) -> Option<ChunkError> {
    None
}

fn begin(chunk: &[u8]) -> Result<(u16, Xor2Appender, BitReader<'_>), ChunkError> {
    let samples = sample_count(chunk)?;
    let Some(header) = chunk.get(COUNT_BYTES) else {
        return Err(ChunkError::Corrupt("chunk has no start timestamp header"));
    };
    let mut state = Xor2Appender::new();
    state.start = StartTrack::new(*header);
    Ok((samples, state, BitReader::new(chunk, HEADER_BYTES)))
}

/// Appends the samples in `min_ms..=max_ms` of the chunk to `columns`, bit by bit: what `float_read` falls back to.
pub(super) fn plain(chunk: &[u8], min_ms: i64, max_ms: i64, columns: &mut Columns) -> Result<(), ChunkError> {
    let (samples, mut state, mut bits) = begin(chunk)?;
    let has_starts = state.start.header != 0;
    columns.timestamps_ms.reserve(samples.into());
    columns.values.reserve(samples.into());
    for sample in 0..samples {
        let before = state.timestamp_ms;
        state
            .read_sample(&mut bits, sample)
            .map_err(|e| e.unwrap_or(bits.short(sample, samples)))?;
        if state.timestamp_ms <= before && sample > 0 {
            return Err(ChunkError::Corrupt("timestamps do not ascend"));
        }
        if state.timestamp_ms > max_ms {
            break;
        }
        if state.timestamp_ms >= min_ms {
            columns.push(state.timestamp_ms, f64::from_bits(state.value_bits()));
            if has_starts {
                columns.set_last_start(state.start.start_ms);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "xor2_tests.rs"]
mod tests;

//! Classic floats decoded without branches, and several chunks of a series in lock-step.
//!
//! One sample after the other is a chain: the bits of a sample say where the next one begins. Where those bits cannot
//! be foretold (scrapes jitter by a millisecond, counters grow by anything) a decoder that branches pays for guessing
//! wrong, and one that does not waits for each load. So nothing here branches on what a usual sample holds, and chunks
//! that follow each other in a series, which know nothing of each other, take turns: while one waits, others move.
//!
//! Three forms of one step: [`Lane::step`] for one or two chunks, `lanes_avx2` for four where the processor can, and
//! runs of samples in which nothing changed, which are counted instead of stepped through ([`Buffer::decode_one`]).
//! Million samples a second on one core, 480 different chunks of 120 samples:
//!
//! | | jittery counter | noisy gauge with jitter, without | constant with jitter, without |
//! |---|---|---|---|
//! | branching, one chunk | 88 | 92, 205 | 110, 1,130 |
//! | one chunk | 131 | 129, 130 | 132, 1,130 (runs) |
//! | two in lock-step | 200 | 195, 196 | 203, – |
//! | four in lock-step, AVX2 | 330 | 320, 325 | 340, – |
//!
//! (The branching reader seems to do 130 on a single chunk read again and again: the predictor learns it by heart.)
//!
//! Bytes are copied to a buffer of fixed size first, so that no load needs a check; what is read beyond a chunk's end is
//! noticed when all samples are done. Whatever is not as a writer makes it is refused as [`Odd`], and the plain reader,
//! bit by bit, finds out what it is and says so.

use std::hint::select_unpredictable;
use std::ops::Range;

use super::bits::BitReader;
use super::xor::{Window, XOR_SAMPLE_BYTES_MAX, XorAppender};
use super::{COUNT_BYTES, lanes_avx2};

/// Chunks that are decoded at the same time at most.
pub(super) const LANES: usize = 4;
/// Bytes of the longest chunk that can take part in lock-step: writers cut chunks at 1 KiB.
pub(super) const LANE_BYTES_MAX: usize = 2048;
const BUFFER_BYTES: usize = LANES * LANE_BYTES_MAX;
/// What loads at the end of the buffer reach beyond it.
/// Keeps indices inside the buffer.
pub(super) const INDEX_MASK: usize = BUFFER_BYTES - 1;
const SLACK_BYTES: usize = 8;
/// Widest window that one load of eight bytes holds at any bit.
pub(super) const WIDTH_OF_LOAD: u64 = 57;
/// Timestamp differences from which on sums of 2^16 could overflow are left to the plain reader.
const DELTA_BITS_MAX: u32 = 40;

/// The chunk is not what this decoder is for: damaged, or at the edge of what timestamps can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Odd;

/// The bytes of the chunks that are being decoded.
pub(super) struct Buffer(Box<Bytes>);

pub(super) type Bytes = [u8; BUFFER_BYTES + SLACK_BYTES];

/// Where samples go: the rest of a chunk's stretch in the columns.
pub(super) struct Out<'a> {
    pub(super) timestamps_ms: &'a mut [i64],
    pub(super) values: &'a mut [f64],
}

/// A chunk on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) timestamp_ms: i64,
    pub(super) delta: u64,
    pub(super) value_bits: u64,
    /// Next bit in the buffer.
    pub(super) pos: u64,
    /// The window by its 11 bits.
    pub(super) window: u64,
    /// All timestamp differences less one, united: bits beyond the 40th say that one was 0, negative or huge.
    pub(super) deltas: u64,
}

/// What the 11 bits of a window stand for.
#[derive(Clone, Copy)]
struct WindowEntry {
    /// The window's bits of a value.
    mask: u64,
    leading: u8,
    width: u8,
}

/// Width of windows that do not fit a value.
const INVALID: u8 = 0xff;

static WINDOWS: [WindowEntry; 1 << 11] = windows();

const fn windows() -> [WindowEntry; 1 << 11] {
    let mut all = [WindowEntry {
        mask: 0,
        leading: 0,
        width: INVALID,
    }; 1 << 11];
    let mut bits = 0;
    while bits < all.len() {
        let leading = (bits >> 6) as u8;
        let width = ((bits as u8).wrapping_sub(1) & 63) + 1;
        if leading + width <= 64 {
            all[bits] = WindowEntry {
                mask: u64::MAX >> (64 - width) << (64 - leading - width),
                leading,
                width,
            };
        }
        bits += 1;
    }
    all
}

/// A base-128 number off the front of `bytes`.
fn uvarint(bytes: &mut &[u8]) -> Result<u64, Odd> {
    let mut number = 0;
    for i in 0..10 {
        let (byte, rest) = bytes.split_first().ok_or(Odd)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Odd)
}

/// Eight bytes from the one that holds bit `pos` on, the first one highest.
#[inline(always)]
fn word(bytes: &Bytes, pos: u64) -> u64 {
    let at = (pos >> 3) as usize & INDEX_MASK;
    bytes[at..]
        .first_chunk()
        .map_or(0, |word| u64::from_be_bytes(*word))
}

/// The 57 bits or more from bit `pos` on, the first one highest.
#[inline(always)]
fn peek(bytes: &Bytes, pos: u64) -> u64 {
    word(bytes, pos) << (pos & 7)
}

impl Lane {
    const NONE: Lane = Lane {
        timestamp_ms: 0,
        delta: 0,
        value_bits: 0,
        pos: 0,
        window: 0,
        deltas: 0,
    };

    /// Behind the first two samples, which have forms of their own; they are written to `out`. The chunk, or enough of
    /// it, lies in `bytes` from byte `first` on.
    fn begin(bytes: &Bytes, first: usize, chunk: &[u8], out: &mut Out<'_>) -> Result<Self, Odd> {
        let mut rest = chunk.get(COUNT_BYTES..).ok_or(Odd)?;
        let position = |rest: &[u8]| (first + chunk.len() - rest.len()) as u64 * 8;
        let mut lane = Lane::NONE;
        if let (Some(t), Some(v)) = (out.timestamps_ms.first_mut(), out.values.first_mut()) {
            let zigzag = uvarint(&mut rest)?;
            lane.timestamp_ms = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
            let (value, after) = rest.split_first_chunk().ok_or(Odd)?;
            rest = after;
            lane.value_bits = u64::from_be_bytes(*value);
            // Timestamps from 2^62 on count as odd, too.
            lane.deltas = lane.timestamp_ms.unsigned_abs() >> (62 - DELTA_BITS_MAX);
            (*t, *v) = (lane.timestamp_ms, f64::from_bits(lane.value_bits));
        }
        lane.pos = position(rest);
        if let (Some(t), Some(v)) = (out.timestamps_ms.get_mut(1), out.values.get_mut(1)) {
            lane.delta = uvarint(&mut rest)?;
            let pos = position(rest);
            lane.value(bytes, pos, peek(bytes, pos))?;
            (*t, *v) = (lane.timestamp_ms, f64::from_bits(lane.value_bits));
        }
        Ok(lane)
    }

    /// Decodes one sample.
    #[inline(always)]
    pub(super) fn step(&mut self, bytes: &Bytes) -> Result<(), Odd> {
        let word_of_time = peek(bytes, self.pos);
        if word_of_time >= 0b11 << 62 {
            return self.step_far(bytes);
        }
        // All ones where the difference changes, by 14 bits behind `10`.
        let changed = (word_of_time as i64 >> 63) as u64;
        let used = (changed & 15) + 1;
        let change = (((word_of_time << 2).wrapping_sub(1 << 50)) as i64 >> 50) as u64;
        self.delta = self.delta.wrapping_add(change & changed).wrapping_sub(changed);
        self.value(bytes, self.pos + used, word_of_time << used)
    }

    /// Goes on at bit `pos`, where the value begins; `code` is what is there.
    #[inline(always)]
    fn value(&mut self, bytes: &Bytes, pos: u64, code: u64) -> Result<(), Odd> {
        let differs = (code as i64 >> 63) as u64;
        let fresh = code >= 0b11 << 62;
        self.window = select_unpredictable(fresh, code >> 51 & 0x7ff, self.window);
        let window = &WINDOWS[(self.window & 0x7ff) as usize];
        let at = pos + 2 + u64::from(fresh) * 11;
        let mut bits = word(bytes, at).rotate_right(u32::from(window.leading).wrapping_sub((at & 7) as u32));
        if u64::from(window.width) & differs > WIDTH_OF_LOAD {
            if window.width == INVALID {
                return Err(Odd);
            }
            bits = (peek(bytes, at) & !0xff | peek(bytes, at + 56) >> 56).rotate_right(window.leading.into());
        }
        self.value_bits ^= bits & window.mask & differs;
        self.pos = select_unpredictable(code >> 63 == 1, at + u64::from(window.width), pos + 1);
        self.timestamp_ms = self.timestamp_ms.wrapping_add(self.delta as i64);
        self.deltas |= self.delta.wrapping_sub(1);
        Ok(())
    }

    /// A sample whose timestamp changes by more than jitter does.
    #[cold]
    #[inline(never)]
    fn step_far(&mut self, bytes: &Bytes) -> Result<(), Odd> {
        let at = self.pos & (BUFFER_BYTES as u64 * 8 - 1);
        let mut bits = BitReader::at_bit(bytes, at as usize);
        let mut state = XorAppender::new();
        state.timestamp_ms = self.timestamp_ms;
        state.delta = self.delta;
        state.value_bits = self.value_bits;
        state.window = Window::from_header(self.window).map_err(|_| Odd)?;
        state.read_sample(&mut bits, 2).map_err(|_| Odd)?;
        *self = Lane {
            timestamp_ms: state.timestamp_ms,
            delta: state.delta,
            value_bits: state.value_bits,
            pos: self.pos - at + bits.position() as u64,
            window: state.window.header(),
            deltas: self.deltas | state.delta.wrapping_sub(1),
        };
        Ok(())
    }

    /// Whether all that was read was inside the chunk, which ends at bit `end`, and in order of time.
    fn check(&self, end: u64) -> Result<(), Odd> {
        if self.pos <= end && self.deltas >> DELTA_BITS_MAX == 0 {
            Ok(())
        } else {
            Err(Odd)
        }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Buffer(Box::new([0; BUFFER_BYTES + SLACK_BYTES]))
    }
}

impl Buffer {
    /// Decodes up to [`LANES`] chunks of at most [`LANE_BYTES_MAX`] bytes, each as a whole to its own `out`, which has
    /// as many rows as the chunk has samples: more than two.
    pub(super) fn decode_many(&mut self, chunks: &[&[u8]], outs: &mut [Out<'_>]) -> Result<(), Odd> {
        let mut lanes = [Lane::NONE; LANES];
        let mut ends = [0; LANES];
        for (i, (chunk, out)) in chunks.iter().zip(&mut *outs).enumerate() {
            let first = i * LANE_BYTES_MAX;
            self.0[first..first + chunk.len()].copy_from_slice(chunk);
            lanes[i] = Lane::begin(&self.0, first, chunk, out)?;
            ends[i] = (first + chunk.len()) as u64 * 8;
        }
        finish(&self.0, &mut lanes[..chunks.len()], outs, 2)?;
        lanes.iter().zip(ends).try_for_each(|(lane, end)| lane.check(end))
    }

    /// Decodes a chunk of any length up to the first sample after `max_ms`; gives the number of samples written.
    pub(super) fn decode_one(&mut self, chunk: &[u8], max_ms: i64, out: &mut Out<'_>) -> Result<usize, Odd> {
        let mut last_start = self.load(chunk)?;
        let mut lane = Lane::begin(&self.0, 0, chunk, out)?;
        let mut written = out.timestamps_ms.len().min(2);
        let mut rest = chunk;
        loop {
            lane = self.run(lane, last_start, max_ms, out, &mut written)?;
            if written == out.timestamps_ms.len() || lane.timestamp_ms > max_ms {
                lane.check(rest.len() as u64 * 8)?;
                return Ok(written);
            }
            rest = rest.get(lane.pos as usize / 8..).ok_or(Odd)?;
            lane.pos &= 7;
            last_start = self.load(rest)?;
        }
    }

    /// Copies what fits into the buffer; gives the last bit at which a sample may begin. Of what does not fit, samples
    /// that may reach over the end are left to the next turn.
    fn load(&mut self, chunk: &[u8]) -> Result<u64, Odd> {
        let (part, last_start) = match chunk.get(..BUFFER_BYTES) {
            Some(part) => (part, (BUFFER_BYTES - XOR_SAMPLE_BYTES_MAX) * 8),
            None => (chunk, (chunk.len() * 8).checked_sub(8).ok_or(Odd)? + 7),
        };
        self.0[..part.len()].copy_from_slice(part);
        Ok(last_start as u64)
    }

    /// Decodes samples that begin at `last_start` or before.
    fn run(
        &self,
        mut lane: Lane,
        last_start: u64,
        max_ms: i64,
        out: &mut Out<'_>,
        written: &mut usize,
    ) -> Result<Lane, Odd> {
        let bytes = &*self.0;
        let (timestamps_ms, values) = (&mut *out.timestamps_ms, &mut *out.values);
        while *written < timestamps_ms.len() && lane.pos <= last_start && lane.timestamp_ms <= max_ms {
            let zeros = peek(bytes, lane.pos).leading_zeros().min(56);
            if zeros < 8 {
                lane.step(bytes)?;
                timestamps_ms[*written] = lane.timestamp_ms;
                values[*written] = f64::from_bits(lane.value_bits);
                *written += 1;
                continue;
            }
            // A sample in which nothing changed is two zeros.
            let run = (zeros as usize / 2).min(timestamps_ms.len() - *written);
            for slot in &mut timestamps_ms[*written..*written + run] {
                lane.timestamp_ms = lane.timestamp_ms.wrapping_add(lane.delta as i64);
                *slot = lane.timestamp_ms;
            }
            values[*written..*written + run].fill(f64::from_bits(lane.value_bits));
            lane.pos += 2 * run as u64;
            *written += run;
        }
        Ok(lane)
    }
}

/// Decodes what is left of all lanes, of which `done` samples are there: together as long as it lasts.
fn finish(bytes: &Bytes, lanes: &mut [Lane], outs: &mut [Out<'_>], done: usize) -> Result<(), Odd> {
    let shortest = outs.iter().map(|out| out.timestamps_ms.len()).min().unwrap_or(0);
    let together = done..shortest.max(done);
    let done = together.end;
    if let (Ok(lanes), Ok(outs)) = (lanes.try_into(), outs.try_into())
        && let Some(result) = lanes_avx2::steps(bytes, lanes, outs, together.clone())
    {
        result?;
    } else if let (Ok(lanes), Ok(outs)) = (lanes.try_into(), outs.try_into()) {
        steps::<2>(bytes, lanes, outs, together)?;
    } else if let (Ok(lanes), Ok(outs)) = (lanes.try_into(), outs.try_into()) {
        return steps::<1>(bytes, lanes, outs, together);
    } else {
        let (a, b) = lanes.split_at_mut(2.min(lanes.len()));
        let (out_a, out_b) = outs.split_at_mut(a.len());
        finish(bytes, a, out_a, together.start)?;
        return finish(bytes, b, out_b, together.start);
    }
    // Chunks of unequal length: the rest one by one.
    let mut rest = lanes.chunks_mut(1).zip(outs.chunks_mut(1));
    rest.try_for_each(|(lane, out)| finish(bytes, lane, out, done))
}

/// Decodes the samples `rows` of `N` lanes, in turns.
#[inline(never)]
fn steps<const N: usize>(
    bytes: &Bytes,
    lanes: &mut [Lane; N],
    outs: &mut [Out<'_>; N],
    rows: Range<usize>,
) -> Result<(), Odd> {
    let mut now = *lanes;
    let mut outs = outs.each_mut().map(|out| {
        (
            &mut out.timestamps_ms[rows.clone()],
            &mut out.values[rows.clone()],
        )
    });
    for row in 0..rows.len() {
        for (lane, (timestamps_ms, values)) in now.iter_mut().zip(&mut outs) {
            lane.step(bytes)?;
            timestamps_ms[row] = lane.timestamp_ms;
            values[row] = f64::from_bits(lane.value_bits);
        }
    }
    *lanes = now;
    Ok(())
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;

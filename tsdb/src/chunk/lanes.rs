//! Floats decoded without branches, and several chunks of a series in lock-step: both encodings.
//!
//! One sample after the other is a chain: the bits of a sample say where the next one begins. Where those bits cannot
//! be foretold (scrapes jitter by a millisecond, counters grow by anything) a decoder that branches pays for guessing
//! wrong, and one that does not waits for each load. So nothing here branches on what a usual sample holds, and chunks
//! that follow each other in a series, which know nothing of each other, take turns: while one waits, others move.
//!
//! Three forms of one step: [`Lane::step`] for one or two chunks, `lanes_x86` for four or eight where the processor can,
//! and runs of samples in which nothing changed, which are counted instead of stepped through ([`Buffer::decode_one`]).
//! Million samples a second on one core (Zen 4, 480 different chunks of 120 samples, [`super::Encoding::Xor`] and, behind
//! the stroke, [`super::Encoding::Xor2`]):
//!
//! | | jittery counter | noisy gauge, jittery | noisy gauge | constant, jittery | constant |
//! |---|---|---|---|---|---|
//! | branching, one chunk | 88 / – | 92 / – | 205 / – | 110 / – | 1,130 / – |
//! | one chunk | 127 / 99 | 125 / 97 | 126 / 98 | 129 / 100 | 1,420 / 1,570 |
//! | two in lock-step | 180 / 154 | 173 / 150 | 178 / 151 | 182 / 155 | |
//! | four, AVX2 | 279 / 256 | 270 / 249 | 274 / 252 | 283 / 260 | |
//! | eight, AVX-512VL | 312 / 293 | 290 / 270 | 305 / 284 | 320 / 300 | |
//!
//! (The branching reader seems to do 130 on a single chunk read again and again: the predictor learns it by heart. Four
//! lanes without vectors are no faster than two: they run out of registers.)
//!
//! Bytes are copied to a buffer of fixed size first, so that no load needs a check; what is read beyond a chunk's end is
//! noticed when all samples are done. Whatever is not as a writer makes it is refused as [`Odd`], and the plain reader,
//! bit by bit, finds out what it is and says so.

use std::cmp::Reverse;
use std::hint::select_unpredictable;
use std::ops::Range;

use model::sample::STALE_NAN_BITS;

use super::bits::BitReader;
use super::st::FIRST_KNOWN;
use super::xor::{Window, XorAppender};
use super::xor2::{HEADER_BYTES, XOR2_SAMPLE_BYTES_MAX, Xor2Appender};
use super::{COUNT_BYTES, lanes_x86};

/// Chunks that are decoded at the same time at most.
pub(super) const LANES: usize = 8;
/// Bytes of the longest chunk that can take part in lock-step: writers cut chunks at 1 KiB.
pub(super) const LANE_BYTES_MAX: usize = 2048;
const BUFFER_BYTES: usize = LANES * LANE_BYTES_MAX;
/// What loads at the end of the buffer reach beyond it.
/// Keeps indices inside the buffer.
pub(super) const INDEX_MASK: usize = BUFFER_BYTES - 1;
const SLACK_BYTES: usize = 8;
/// Widest window that one load of eight bytes holds at any bit.
pub(super) const WIDTH_OF_LOAD: u64 = 57;
/// Joint control bits: code of a staleness marker in place of a value.
const STALE_CODE: u64 = 0b111 << 61;
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

impl Out<'_> {
    pub(super) fn rows(&mut self, rows: Range<usize>) -> (&mut [i64], &mut [f64]) {
        (&mut self.timestamps_ms[rows.clone()], &mut self.values[rows])
    }
}

/// A chunk that is decoded together with others.
pub(super) struct Turn<'a> {
    pub(super) lane: Lane,
    pub(super) out: Out<'a>,
    /// Where the chunk ends in the buffer, in bits.
    end: u64,
}

impl<'a> Turn<'a> {
    pub(super) fn new(timestamps_ms: &'a mut [i64], values: &'a mut [f64]) -> Self {
        Turn {
            lane: Lane::NONE,
            out: Out {
                timestamps_ms,
                values,
            },
            end: 0,
        }
    }
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
    /// What the last sample is: the value, or a staleness marker, which later values are not compared with.
    pub(super) sample_bits: u64,
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

/// A base-128 number with its sign in the lowest bit off the front of `bytes`.
fn varint(bytes: &mut &[u8]) -> Result<i64, Odd> {
    let zigzag = uvarint(bytes)?;
    Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
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
    pub(super) const NONE: Lane = Lane {
        timestamp_ms: 0,
        delta: 0,
        value_bits: 0,
        sample_bits: 0,
        pos: 0,
        window: 0,
        deltas: 0,
    };

    /// Behind the first two samples, which have forms of their own; they are written to `out`. The chunk, or enough of
    /// it, lies in `bytes` from byte `first` on. Gives the start timestamp of all samples, too, 0 where unknown.
    fn begin<const JOINT: bool>(
        bytes: &Bytes,
        first: usize,
        chunk: &[u8],
        out: &mut Out<'_>,
    ) -> Result<(Self, i64), Odd> {
        let header = if JOINT { HEADER_BYTES } else { COUNT_BYTES };
        let mut rest = chunk.get(header..).ok_or(Odd)?;
        let position = |rest: &[u8]| (first + chunk.len() - rest.len()) as u64 * 8;
        let (mut lane, mut start_ms) = (Lane::NONE, 0);
        if let (Some(t), Some(v)) = (out.timestamps_ms.first_mut(), out.values.first_mut()) {
            lane.timestamp_ms = varint(&mut rest)?;
            let (value, after) = rest.split_first_chunk().ok_or(Odd)?;
            rest = after;
            lane.value_bits = u64::from_be_bytes(*value);
            lane.sample_bits = lane.value_bits;
            if JOINT {
                let start = chunk[COUNT_BYTES];
                if lane.value_bits == STALE_NAN_BITS || start & !FIRST_KNOWN != 0 {
                    return Err(Odd);
                }
                if start != 0 {
                    start_ms = lane.timestamp_ms.wrapping_sub(varint(&mut rest)?);
                }
            }
            // Timestamps from 2^62 on count as odd, too.
            lane.deltas = lane.timestamp_ms.unsigned_abs() >> (62 - DELTA_BITS_MAX);
            (*t, *v) = (lane.timestamp_ms, f64::from_bits(lane.value_bits));
        }
        lane.pos = position(rest);
        if let (Some(t), Some(v)) = (out.timestamps_ms.get_mut(1), out.values.get_mut(1)) {
            lane.delta = uvarint(&mut rest)?;
            let pos = position(rest);
            let code = peek(bytes, pos);
            if JOINT && code >= STALE_CODE {
                return Err(Odd);
            }
            lane.value::<JOINT>(bytes, pos, code, code, u64::MAX)?;
            (*t, *v) = (lane.timestamp_ms, f64::from_bits(lane.value_bits));
        }
        Ok((lane, start_ms))
    }

    /// Decodes one sample: of the encoding with joint control bits or of the classic one.
    #[inline(always)]
    pub(super) fn step<const JOINT: bool>(&mut self, bytes: &Bytes) -> Result<(), Odd> {
        let time = peek(bytes, self.pos);
        // All ones where the timestamp difference changes: by 14 bits behind `10`, or 13 behind `110`.
        let changed = if JOINT {
            (time & time << 1) as i64 >> 63
        } else {
            time as i64 >> 63
        } as u64;
        let used = (changed & 15) + 1;
        let code = time << used;
        let far = if JOINT { 0b111 << 61 } else { 0b11 << 62 };
        if time >= far || JOINT && code & changed >= STALE_CODE {
            *self = self.step_far::<JOINT>(bytes)?;
            return Ok(());
        }
        let change = if JOINT {
            ((time << 3) as i64 >> 51) as u64 & changed
        } else {
            // One less, since the range is moved up by one.
            ((((time << 2).wrapping_sub(1 << 50)) as i64 >> 50) as u64 & changed).wrapping_sub(changed)
        };
        self.delta = self.delta.wrapping_add(change);
        // With joint control bits, `0` says that the value is the same, too, and `10` that it is not.
        let differs = if JOINT { time & (code | !changed) } else { code };
        self.value::<JOINT>(bytes, self.pos + used, code, differs, changed)
    }

    /// Goes on at bit `pos`, where a value's code begins, which is `code`. The highest bit of `differs` says whether the
    /// value does. With joint control bits the code is a bit longer where `changed`.
    #[inline(always)]
    fn value<const JOINT: bool>(
        &mut self,
        bytes: &Bytes,
        pos: u64,
        code: u64,
        differs: u64,
        changed: u64,
    ) -> Result<(), Odd> {
        let longer = if JOINT { changed & 1 } else { 0 };
        let fresh = (differs & code << 1) >> 63;
        let differs = (differs as i64 >> 63) as u64;
        let header = code << longer >> 51 & 0x7ff;
        self.window = select_unpredictable(fresh == 1, header, self.window);
        let window = &WINDOWS[(self.window & 0x7ff) as usize];
        let at = pos + 2 + fresh * (11 + longer);
        let mut bits = word(bytes, at).rotate_right(u32::from(window.leading).wrapping_sub((at & 7) as u32));
        if u64::from(window.width) & differs > WIDTH_OF_LOAD {
            if window.width == INVALID {
                return Err(Odd);
            }
            bits = (peek(bytes, at) & !0xff | peek(bytes, at + 56) >> 56).rotate_right(window.leading.into());
        }
        self.value_bits ^= bits & window.mask & differs;
        self.sample_bits = self.value_bits;
        let same = pos + if JOINT { longer } else { 1 };
        self.pos = select_unpredictable(differs != 0, at + u64::from(window.width), same);
        self.timestamp_ms = self.timestamp_ms.wrapping_add(self.delta as i64);
        self.deltas |= self.delta.wrapping_sub(1);
        Ok(())
    }

    /// A sample whose timestamp changes by more than jitter does, or a staleness marker.
    #[cold]
    #[inline(never)]
    fn step_far<const JOINT: bool>(mut self, bytes: &Bytes) -> Result<Self, Odd> {
        let at = self.pos & (BUFFER_BYTES as u64 * 8 - 1);
        let mut bits = BitReader::at_bit(bytes, at as usize);
        let window = Window::from_header(self.window).map_err(|_| Odd)?;
        if JOINT {
            let mut state = Xor2Appender::behind(self.timestamp_ms, self.delta, self.value_bits, window);
            state.read_sample(&mut bits, 2).map_err(|_| Odd)?;
            (self.timestamp_ms, self.delta, self.window) =
                (state.timestamp_ms, state.delta, state.window.header());
            (self.value_bits, self.sample_bits) = (state.base_bits, state.value_bits());
        } else {
            let mut state = XorAppender::behind(self.timestamp_ms, self.delta, self.value_bits, window);
            state.read_sample(&mut bits, 2).map_err(|_| Odd)?;
            (self.timestamp_ms, self.delta, self.window) =
                (state.timestamp_ms, state.delta, state.window.header());
            (self.value_bits, self.sample_bits) = (state.value_bits, state.value_bits);
        }
        self.pos = self.pos - at + bits.position() as u64;
        self.deltas |= self.delta.wrapping_sub(1);
        Ok(self)
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
    /// as many rows as the chunk has samples: more than two. Gives the start timestamp of each chunk's samples.
    pub(super) fn decode_many<const JOINT: bool>(
        &mut self,
        chunks: &[&[u8]],
        turns: &mut [Turn<'_>],
    ) -> Result<[i64; LANES], Odd> {
        let mut starts = [0; LANES];
        for (i, (chunk, turn)) in chunks.iter().zip(&mut *turns).enumerate() {
            let first = i * LANE_BYTES_MAX;
            self.0[first..first + chunk.len()].copy_from_slice(chunk);
            (turn.lane, starts[i]) = Lane::begin::<JOINT>(&self.0, first, chunk, &mut turn.out)?;
            turn.end = (first + chunk.len()) as u64 * 8;
        }
        if !turns.is_sorted_by_key(|turn| Reverse(turn.out.timestamps_ms.len())) {
            turns.sort_by_key(|turn| Reverse(turn.out.timestamps_ms.len()));
        }
        finish::<JOINT>(&self.0, turns, 2)?;
        turns.iter().try_for_each(|turn| turn.lane.check(turn.end))?;
        Ok(starts)
    }

    /// Decodes a chunk of any length up to the first sample after `max_ms`; gives the number of samples written
    /// and their start timestamp.
    pub(super) fn decode_one<const JOINT: bool>(
        &mut self,
        chunk: &[u8],
        max_ms: i64,
        out: &mut Out<'_>,
    ) -> Result<(usize, i64), Odd> {
        let mut last_start = self.load(chunk)?;
        let (mut lane, start_ms) = Lane::begin::<JOINT>(&self.0, 0, chunk, out)?;
        let mut written = out.timestamps_ms.len().min(2);
        let mut rest = chunk;
        loop {
            lane = self.run::<JOINT>(lane, last_start, max_ms, out, &mut written)?;
            if written == out.timestamps_ms.len() || lane.timestamp_ms > max_ms {
                lane.check(rest.len() as u64 * 8)?;
                return Ok((written, start_ms));
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
            Some(part) => (part, (BUFFER_BYTES - XOR2_SAMPLE_BYTES_MAX) * 8),
            None => (chunk, (chunk.len() * 8).checked_sub(8).ok_or(Odd)? + 7),
        };
        self.0[..part.len()].copy_from_slice(part);
        Ok(last_start as u64)
    }

    /// Decodes samples that begin at `last_start` or before.
    fn run<const JOINT: bool>(
        &self,
        mut lane: Lane,
        last_start: u64,
        max_ms: i64,
        out: &mut Out<'_>,
        written: &mut usize,
    ) -> Result<Lane, Odd> {
        // Zeros by which a sample says that nothing has changed.
        let same_bits = if JOINT { 1 } else { 2 };
        let bytes = &*self.0;
        let (timestamps_ms, values) = (&mut *out.timestamps_ms, &mut *out.values);
        while *written < timestamps_ms.len() && lane.pos <= last_start && lane.timestamp_ms <= max_ms {
            let zeros = peek(bytes, lane.pos).leading_zeros().min(56);
            if zeros < 8 {
                lane.step::<JOINT>(bytes)?;
                timestamps_ms[*written] = lane.timestamp_ms;
                values[*written] = f64::from_bits(lane.sample_bits);
                *written += 1;
                continue;
            }
            let run = (zeros as usize / same_bits).min(timestamps_ms.len() - *written);
            for slot in &mut timestamps_ms[*written..*written + run] {
                lane.timestamp_ms = lane.timestamp_ms.wrapping_add(lane.delta as i64);
                *slot = lane.timestamp_ms;
            }
            values[*written..*written + run].fill(f64::from_bits(lane.value_bits));
            lane.pos += (same_bits * run) as u64;
            *written += run;
        }
        Ok(lane)
    }
}

/// Decodes what is left of all chunks, of which `done` samples are there and the longest stand first: as many together
/// as the processor can, as long as they last.
fn finish<const JOINT: bool>(bytes: &Bytes, mut turns: &mut [Turn<'_>], done: usize) -> Result<(), Odd> {
    while !turns.is_empty() {
        let size = match turns.len() {
            8.. if lanes_x86::can(8) => 8,
            4.. if lanes_x86::can(4) => 4,
            2.. => 2,
            _ => 1,
        };
        let (group, rest) = turns.split_at_mut(size);
        let rows = done..group[size - 1].out.timestamps_ms.len().max(done);
        match size {
            1 => steps::<1, JOINT>(bytes, group, rows.clone())?,
            2 => steps::<2, JOINT>(bytes, group, rows.clone())?,
            _ => lanes_x86::steps::<JOINT>(bytes, group, rows.clone())?,
        }
        let longer = group.partition_point(|turn| turn.out.timestamps_ms.len() > rows.end);
        finish::<JOINT>(bytes, &mut group[..longer], rows.end)?;
        turns = rest;
    }
    Ok(())
}

/// Decodes the samples `rows` of `N` chunks, in turns.
#[inline(never)]
fn steps<const N: usize, const JOINT: bool>(
    bytes: &Bytes,
    turns: &mut [Turn<'_>],
    rows: Range<usize>,
) -> Result<(), Odd> {
    let turns: &mut [Turn<'_>; N] = turns.try_into().map_err(|_| Odd)?;
    let mut lanes = turns.each_ref().map(|turn| turn.lane);
    let mut outs = turns.each_mut().map(|turn| turn.out.rows(rows.clone()));
    for row in 0..rows.len() {
        for (lane, (timestamps_ms, values)) in lanes.iter_mut().zip(&mut outs) {
            lane.step::<JOINT>(bytes)?;
            timestamps_ms[row] = lane.timestamp_ms;
            values[row] = f64::from_bits(lane.sample_bits);
        }
    }
    for (turn, lane) in turns.iter_mut().zip(lanes) {
        turn.lane = lane;
    }
    Ok(())
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;

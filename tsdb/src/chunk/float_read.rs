//! Chunks of floats into columns: which decoder a chunk gets, and what falls outside of the range.

use std::cell::RefCell;

use model::columns::Columns;

use super::bits::BitReader;
use super::lanes::{Buffer, LANE_BYTES_MAX, LANES, Odd, Out, Turn};
use super::st::FIRST_KNOWN;
use super::xor::XorAppender;
use super::{COUNT_BYTES, ChunkError, Encoding, sample_count, xor2};

/// Bits a sample from which on taking turns beats counting runs of samples in which nothing changes: those have two bits
/// each, one with joint control bits.
const LOCK_STEP_BITS: usize = 7;

thread_local! {
    static BUFFER: RefCell<Buffer> = RefCell::default();
}

/// Whether a chunk is decoded faster together with its neighbours of that encoding: not when it is mostly runs.
pub(super) fn takes_turns(encoding: u8, chunk: &[u8]) -> bool {
    let suits = match Encoding::from_byte(encoding) {
        Ok(Encoding::Xor) => true,
        // Not where each sample has a start timestamp of its own.
        Ok(Encoding::Xor2) => chunk
            .get(COUNT_BYTES)
            .is_some_and(|start| start & !FIRST_KNOWN == 0),
        _ => false,
    };
    let samples = usize::from(sample_count(chunk).unwrap_or(0));
    suits && chunk.len() <= LANE_BYTES_MAX && samples > 2 && chunk.len() * 8 >= samples * LOCK_STEP_BITS
}

/// Appends the samples in `min_ms..=max_ms` of the chunk to `columns`; `JOINT` stands for [`Encoding::Xor2`].
pub(super) fn decode<const JOINT: bool>(
    chunk: &[u8],
    min_ms: i64,
    max_ms: i64,
    columns: &mut Columns,
) -> Result<(), ChunkError> {
    let (first, samples) = (columns.len(), usize::from(sample_count(chunk)?));
    resize(columns, first + samples);
    let mut out = Out {
        timestamps_ms: &mut columns.timestamps_ms[first..],
        values: &mut columns.values[first..],
    };
    match BUFFER.with_borrow_mut(|buffer| buffer.decode_one::<JOINT>(chunk, max_ms, &mut out)) {
        Ok((written, start_ms)) => {
            resize(columns, first + written);
            set_starts(columns, first, written, start_ms);
            trim(columns, first, min_ms, max_ms);
            Ok(())
        }
        Err(Odd) => {
            resize(columns, first);
            if JOINT {
                xor2::plain(chunk, min_ms, max_ms, columns)
            } else {
                plain(chunk, min_ms, max_ms, columns)
            }
        }
    }
}

/// The same for at most [`LANES`] chunks that follow each other in a series and of which all [`takes_turns`].
///
/// # Errors
/// When one must be decoded on its own; `columns` is as it was.
pub(super) fn decode_together<const JOINT: bool>(
    chunks: &[&[u8]],
    min_ms: i64,
    max_ms: i64,
    columns: &mut Columns,
) -> Result<(), Odd> {
    let first = columns.len();
    let mut samples = [0; LANES];
    for (samples, chunk) in samples.iter_mut().zip(chunks) {
        *samples = usize::from(sample_count(chunk).map_err(|_| Odd)?);
    }
    resize(columns, first + samples.iter().sum::<usize>());
    let mut timestamps_ms = &mut columns.timestamps_ms[first..];
    let mut values = &mut columns.values[first..];
    let mut turns = samples.map(|samples| {
        let timestamps_ms = timestamps_ms.split_off_mut(..samples);
        let values = values.split_off_mut(..samples);
        Turn::new(timestamps_ms.unwrap_or_default(), values.unwrap_or_default())
    });
    let turns = &mut turns[..chunks.len()];
    let done = BUFFER.with_borrow_mut(|buffer| buffer.decode_many::<JOINT>(chunks, turns));
    let mut end = first;
    let ascend = samples[..chunks.len()].iter().all(|samples| {
        let start = end;
        end += samples;
        let rows = &columns.timestamps_ms;
        start == first || rows.get(start).is_some_and(|next| rows[start - 1] < *next)
    });
    let (Ok(starts), true) = (done, ascend) else {
        resize(columns, first);
        return Err(Odd);
    };
    let mut row = first;
    for (samples, start_ms) in samples.into_iter().zip(starts) {
        set_starts(columns, row, samples, start_ms);
        row += samples;
    }
    trim(columns, first, min_ms, max_ms);
    Ok(())
}

/// Gives `count` rows from `first` on a start timestamp, 0 where it is not known.
fn set_starts(columns: &mut Columns, first: usize, count: usize, start_ms: i64) {
    if start_ms != 0 {
        columns.start_timestamps_ms.resize(columns.timestamps_ms.len(), 0);
        columns.start_timestamps_ms[first..first + count].fill(start_ms);
    }
}

fn resize(columns: &mut Columns, len: usize) {
    columns.timestamps_ms.resize(len, 0);
    columns.values.resize(len, 0.0);
    if !columns.start_timestamps_ms.is_empty() {
        columns.start_timestamps_ms.resize(len, 0);
    }
}

/// Removes rows from `first` on, all of them floats, that lie outside of `min_ms..=max_ms`.
fn trim(columns: &mut Columns, first: usize, min_ms: i64, max_ms: i64) {
    if columns.timestamps_ms.last().is_some_and(|last| *last > max_ms) {
        let rows = &columns.timestamps_ms[first..];
        let len = first + rows.partition_point(|t| *t <= max_ms);
        resize(columns, len);
    }
    let rows = &columns.timestamps_ms[first..];
    if rows.first().is_some_and(|t| *t < min_ms) {
        let early = first..first + rows.partition_point(|t| *t < min_ms);
        columns.timestamps_ms.drain(early.clone());
        columns.values.drain(early.clone());
        if !columns.start_timestamps_ms.is_empty() {
            columns.start_timestamps_ms.drain(early);
        }
    }
}

/// Sample after sample, bit by bit: finds what is wrong with a chunk that the other decoders refuse.
#[cold]
pub(super) fn plain(chunk: &[u8], min_ms: i64, max_ms: i64, columns: &mut Columns) -> Result<(), ChunkError> {
    let samples = sample_count(chunk)?;
    let mut bits = BitReader::new(chunk, COUNT_BYTES);
    let mut state = XorAppender::new();
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
            columns.push(state.timestamp_ms, f64::from_bits(state.value_bits));
        }
    }
    Ok(())
}

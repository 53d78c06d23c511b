//! `max_over_time`, `min_over_time` and when the extreme was reached.

use std::cmp::Ordering;

use crate::row::Row;

use super::samples::Samples;
use super::{KernelError, Run};

/// Which extreme is looked for, and which of several equal samples counts.
#[derive(Clone, Copy)]
struct Extreme {
    /// What a new sample is to the old extreme when it is more extreme.
    better: Ordering,
    /// Whether of equal samples the last counts, not the first.
    last: bool,
}

/// `max_over_time`: NaN only where there is nothing else.
pub(super) fn max(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    if are_blocks_good(run) {
        by_blocks(run, out, |new, old| new > old);
        return Ok(());
    }
    slide(run, out, MAX_FIRST, |samples, at| samples.floats[at]);
    Ok(())
}

/// `min_over_time`: NaN only where there is nothing else.
pub(super) fn min(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    if are_blocks_good(run) {
        by_blocks(run, out, |new, old| new < old);
        return Ok(());
    }
    slide(run, out, MIN_FIRST, |samples, at| samples.floats[at]);
    Ok(())
}

/// `ts_of_max_over_time`, in seconds: the last time at which the maximum was reached.
pub(super) fn ts_of_max(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    slide(
        run,
        out,
        Extreme {
            last: true,
            ..MAX_FIRST
        },
        |samples, at| samples.float_ts[at] as f64 / 1000.0,
    );
    Ok(())
}

/// `ts_of_min_over_time`, in seconds: the last time at which the minimum was reached.
pub(super) fn ts_of_min(run: &mut Run<'_, '_>, out: &mut Row) -> Result<(), KernelError> {
    slide(
        run,
        out,
        Extreme {
            last: true,
            ..MIN_FIRST
        },
        |samples, at| samples.float_ts[at] as f64 / 1000.0,
    );
    Ok(())
}

const MAX_FIRST: Extreme = Extreme {
    better: Ordering::Greater,
    last: false,
};
const MIN_FIRST: Extreme = Extreme {
    better: Ordering::Less,
    last: false,
};

/// Samples of which one extreme is kept.
const BLOCK: usize = 16;
/// Blocks that windows may hold altogether for each sample of the series: beyond, sliding is cheaper.
const BLOCKS_EACH_MAX: u64 = 16;

/// Whether extremes can be had from those of blocks: comparing in any order finds the same one unless there are NaNs or
/// both zeros, and there must not be too much to compare.
fn are_blocks_good(run: &Run<'_, '_>) -> bool {
    let odd = |value: &f64| value.is_nan() | (value.to_bits() == (-0.0_f64).to_bits());
    let floats = run.samples.floats;
    run.only_floats()
        && run.float_bounds.total() / BLOCK as u64 <= BLOCKS_EACH_MAX * floats.len() as u64
        && !floats
            .chunks(64)
            .any(|chunk| chunk.iter().fold(false, |any, value| any | odd(value)))
}

/// Sets each window to its extreme: that of the whole blocks inside, and of the samples on both sides of them.
fn by_blocks(run: &mut Run<'_, '_>, out: &mut Row, better: impl Fn(f64, f64) -> bool) {
    let extreme = |values: &[f64], start: f64| {
        // Several at a time.
        let mut lanes = [start; 4];
        let chunks = values.chunks_exact(lanes.len());
        let rest = chunks.remainder();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane = if better(*value, *lane) { *value } else { *lane };
            }
        }
        let best = |old: f64, new: &f64| if better(*new, old) { *new } else { old };
        rest.iter().chain(&lanes).fold(start, best)
    };
    let mut blocks = std::mem::take(&mut run.work.sorted);
    let floats = run.samples.floats;
    blocks.clear();
    blocks.extend(floats.chunks_exact(BLOCK).map(|block| extreme(block, block[0])));
    run.map_floats(out, |_, _, window| {
        let (first, end) = (window.start.div_ceil(BLOCK), window.end / BLOCK);
        let start = floats[window.start];
        if first >= end {
            return Some(extreme(&floats[window], start));
        }
        let inside = extreme(&blocks[first..end], start);
        let before = extreme(&floats[window.start..first * BLOCK], inside);
        Some(extreme(&floats[end * BLOCK..window.end], before))
    });
    run.work.sorted = blocks;
}

/// Sets each window with floats to what `of` gives for its extreme sample.
///
/// Candidates are kept in order of time, each less extreme than the one before it; the front one is the answer, and
/// every sample enters and leaves once. Samples that are not candidates are less extreme than a later one. NaN is less
/// extreme than anything.
fn slide(run: &mut Run<'_, '_>, out: &mut Row, extreme: Extreme, of: fn(&Samples<'_>, usize) -> f64) {
    let mut candidates = std::mem::take(&mut run.work.indices);
    candidates.clear();
    let (mut front, mut seen) = (0, 0);
    run.map_floats(out, |run, _, window| {
        let floats = run.samples.floats;
        // Windows may jump; what no window sees is no candidate.
        for index in seen.max(window.start)..window.end {
            let beaten = |old: &u32| beats(floats[index], floats[*old as usize], extreme);
            while candidates.len() > front && candidates.last().is_some_and(beaten) {
                candidates.pop();
            }
            candidates.push(index as u32);
        }
        seen = window.end;
        while (candidates[front] as usize) < window.start {
            front += 1;
        }
        Some(of(&run.samples, candidates[front] as usize))
    });
    run.work.indices = candidates;
}

/// Whether a new sample pushes an older one out for good.
fn beats(new: f64, old: f64, extreme: Extreme) -> bool {
    match new.partial_cmp(&old) {
        Some(Ordering::Equal) => extreme.last,
        Some(order) => order == extreme.better,
        // Where both are NaN the later one counts in either case; their bits do not matter.
        None => old.is_nan(),
    }
}

//! Where windows begin and end among a series' samples, found for all steps before any kernel looks at one.

use crate::row::Windows;

/// For each step which of ascending timestamps lie inside its window: from `firsts()[step]` to before `ends()[step]`.
#[derive(Debug, Default)]
pub struct Bounds {
    /// How many timestamps are not behind a time that moves on; the left ends of windows start the list, the right ends
    /// are at `shift` and behind it. Where windows are a whole number of steps long, the left end of one is the right
    /// end of an earlier one and is not looked for again.
    edges: Vec<u32>,
    shift: usize,
    steps: usize,
}

impl Bounds {
    /// Finds the bounds of `windows` among `timestamps`.
    pub fn find(&mut self, timestamps: &[i64], windows: Windows) {
        let Windows { ends, range_ms } = windows;
        self.steps = ends.count;
        self.edges.clear();
        let start_ms = ends.start_ms.checked_sub(range_ms);
        let length = range_ms.checked_div(ends.step_ms).unwrap_or(i64::MAX);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if let Some(start_ms) = start_ms
            && length <= ends.count
            && range_ms % ends.step_ms == 0
        {
            self.shift = length;
            let time = |index: usize| start_ms + ends.step_ms * index as i64;
            count_until(timestamps, ends.count + length, time, &mut self.edges);
        } else {
            self.shift = ends.count;
            let time = |step: usize| ends.at(step).saturating_sub(range_ms);
            count_until(timestamps, ends.count, time, &mut self.edges);
            count_until(timestamps, ends.count, |step| ends.at(step), &mut self.edges);
        }
    }

    /// The first sample of each window.
    #[inline]
    pub fn firsts(&self) -> &[u32] {
        &self.edges[..self.steps]
    }

    /// What follows the last sample of each window.
    #[inline]
    pub fn ends(&self) -> &[u32] {
        &self.edges[self.shift..self.shift + self.steps]
    }

    /// Rows in all windows, a row as often as windows hold it.
    pub fn total(&self) -> u64 {
        let sum = |list: &[u32]| list.iter().map(|at| u64::from(*at)).sum::<u64>();
        sum(self.ends()) - sum(self.firsts())
    }

    /// Rows in the largest window.
    pub fn largest(&self) -> u32 {
        let lengths = self.iter().map(|(first, end)| (end - first).cast_signed());
        lengths.fold(0, i32::max).cast_unsigned()
    }

    /// Both, step by step.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.firsts().iter().copied().zip(self.ends().iter().copied())
    }
}

/// Appends for each index below `count` how many of ascending timestamps are not behind `time(index)`, which must not
/// fall.
///
/// Steps and scrapes are regular. The next number is expected to be as much larger as the last one was, or one more than
/// that, which is how whole numbers follow a ratio; only what is neither is searched for. Expectations are tested by
/// branches, which processors foresee, so that no step waits for the samples of the one before.
fn count_until(timestamps: &[i64], count: usize, time: impl Fn(usize) -> i64, out: &mut Vec<u32>) {
    /// So many times one more than expected: then that is what to expect.
    const TIMES_MORE_MAX: u32 = 8;
    let (mut from, mut pace, mut times_more) = (0, 0, 0);
    let before = out.len();
    out.resize(before + count, 0);
    let (mut step, mut as_expected) = (0, false);
    for slots in out[before..].chunks_mut(STRETCH) {
        if as_expected && slots.len() == STRETCH && is_regular(timestamps, from, pace, |at| time(step + at)) {
            for slot in &mut *slots {
                from += pace;
                *slot = from as u32;
            }
            step += STRETCH;
            continue;
        }
        as_expected = true;
        for slot in slots {
            let time = time(step);
            let mut at = from + pace;
            if is_count(timestamps, at, time) {
                times_more = 0;
            } else if is_count(timestamps, at + 1, time) {
                at += 1;
                (times_more, as_expected) = (times_more + 1, false);
                if times_more == TIMES_MORE_MAX {
                    (pace, times_more) = (pace + 1, 0);
                }
            } else {
                at = search(timestamps, from, time);
                (pace, times_more, as_expected) = (at - from, 0, false);
            }
            from = at;
            *slot = at as u32;
            step += 1;
        }
    }
}

/// Steps whose numbers are expected together.
const STRETCH: usize = 8;

/// Whether the numbers of a stretch are each `pace` more than the one before, the first than `from`.
#[inline(always)]
fn is_regular(timestamps: &[i64], from: usize, pace: usize, time: impl Fn(usize) -> i64) -> bool {
    // From the last timestamp of the first step to the next one of the last step.
    let Some(around) = (from + pace)
        .checked_sub(1)
        .and_then(|first| timestamps.get(first..=from + STRETCH * pace))
    else {
        return false;
    };
    (0..STRETCH).fold(true, |all, at| {
        let time = time(at);
        all & (around[at * pace] <= time) & (time < around[at * pace + 1])
    })
}

/// Whether exactly `at` timestamps are not behind `time`; false for the first and the last of them.
#[inline(always)]
fn is_count(timestamps: &[i64], at: usize, time: i64) -> bool {
    let (Some(last), Some(next)) = (timestamps.get(at.wrapping_sub(1)), timestamps.get(at)) else {
        return false;
    };
    *last <= time && time < *next
}

/// How many timestamps are not behind `time`, when the first `from` are not: in steps that double, then by halves.
fn search(timestamps: &[i64], from: usize, time: i64) -> usize {
    let rest = &timestamps[from..];
    let mut width = 1;
    while width <= rest.len() && rest[width - 1] <= time {
        width *= 2;
    }
    let low = width / 2;
    from + low + rest[low..rest.len().min(width)].partition_point(|at| *at <= time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Steps;

    #[test]
    fn windows_hold_what_lies_between_their_ends() {
        // Regular, with a gap, and irregular.
        let mut timestamps: Vec<i64> = (0..90).map(|i| i * 15).collect();
        timestamps.drain(10..57);
        timestamps.extend([2001, 2002, 2050, 2100, 2101]);
        let mut bounds = Bounds::default();
        for (start_ms, step_ms, count, range_ms) in [
            (0, 60, 44, 60),
            (33, 7, 290, 100),
            (-50, 15, 160, 20),
            (-50, 15, 160, 45),
            (-50, 100, 1, 500),
            (300, 0, 4, 45),
            (5, 31, 90, 3100),
            (i64::MIN + 5, 10, 4, 100),
        ] {
            let ends = Steps {
                start_ms,
                step_ms,
                count,
            };
            bounds.find(&timestamps, Windows { ends, range_ms });
            let found: Vec<_> = bounds.iter().collect();
            let wanted: Vec<_> = (0..count)
                .map(|step| {
                    let until = |time: i64| timestamps.iter().filter(|at| **at <= time).count() as u32;
                    (
                        until(ends.at(step).saturating_sub(range_ms)),
                        until(ends.at(step)),
                    )
                })
                .collect();
            assert_eq!(found, wanted, "{ends:?} {range_ms}");
        }
    }
}

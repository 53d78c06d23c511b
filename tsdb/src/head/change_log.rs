//! Which times have changed since a mark: what [`model::changes::Changes`] answers from.
//!
//! Time since the store was opened is cut into generations, of which every mark begins one. What is added to the ends of
//! series moves one number, the earliest time added in this generation: nothing is kept a transaction, let alone a
//! sample. What changes in the middle (late samples, deletions, blocks) is a range with the number of its generation.
//! Both lists have a bound; beyond it neighbours become one, which tells older marks more than has changed.

use std::collections::VecDeque;

use model::changes::{ChangedTimes, Mark};
use model::storage::TimeRange;

/// Most generations that are told apart.
const GENERATIONS_MAX: usize = 1024;
/// Most ranges that are told apart.
const RANGES_MAX: usize = 256;

/// What a transaction has added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Added {
    /// The earliest time at the end of a series; `i64::MAX` for none.
    pub(crate) from_ms: i64,
    /// First and last time of what came late; the wrong way round for none.
    pub(crate) late: (i64, i64),
}

impl Added {
    /// Nobody knows what.
    pub(crate) const ANYTHING: Added = Added {
        from_ms: i64::MIN,
        late: (i64::MAX, i64::MIN),
    };
}

/// The log. Whoever keeps it sees to it that a change is noted in the same moment in which views begin to see it.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    /// Number of the present generation.
    generation: u64,
    /// Earliest time added in it.
    from_ms: i64,
    /// Earlier generations with the earliest time added in them and those behind them: both ascend, since one that is
    /// undercut by a later one has nothing more to say.
    grown: VecDeque<(u64, i64)>,
    /// Ranges with their generations, which ascend.
    ranges: VecDeque<(u64, TimeRange)>,
}

impl Default for ChangeLog {
    fn default() -> Self {
        ChangeLog {
            generation: 1,
            from_ms: i64::MAX,
            grown: VecDeque::new(),
            ranges: VecDeque::new(),
        }
    }
}

impl ChangeLog {
    /// Notes what a transaction has added.
    #[inline]
    pub(crate) fn add(&mut self, added: Added) {
        self.from_ms = self.from_ms.min(added.from_ms);
        if added.late.0 <= added.late.1 {
            self.change(TimeRange::new(added.late.0, added.late.1));
        }
    }

    /// Notes that something in `range` has changed.
    pub(crate) fn change(&mut self, range: TimeRange) {
        let generation = self.generation;
        // Of one generation, what lies together is one: late samples of one source come so.
        let mine = self
            .ranges
            .iter_mut()
            .rev()
            .take_while(|(at, _)| *at == generation);
        for (_, known) in mine {
            if known.overlaps(&range) {
                *known = hull(*known, range);
                return;
            }
        }
        self.ranges.push_back((generation, range));
        if self.ranges.len() > RANGES_MAX
            && let (Some((_, first)), Some((_, second))) = (self.ranges.pop_front(), self.ranges.front_mut())
        {
            *second = hull(first, *second);
        }
    }

    /// Begins a generation, where the present one has seen anything.
    pub(crate) fn mark(&mut self) -> Mark {
        let has_ranges = self.ranges.back().is_some_and(|(at, _)| *at == self.generation);
        if self.from_ms < i64::MAX || has_ranges {
            self.close_generation();
        }
        Mark(self.generation)
    }

    fn close_generation(&mut self) {
        let from_ms = std::mem::replace(&mut self.from_ms, i64::MAX);
        if from_ms < i64::MAX {
            while self.grown.back().is_some_and(|(_, earlier)| *earlier >= from_ms) {
                self.grown.pop_back();
            }
            self.grown.push_back((self.generation, from_ms));
        }
        if self.grown.len() > GENERATIONS_MAX
            && let (Some((_, from_ms)), Some(second)) = (self.grown.pop_front(), self.grown.front_mut())
        {
            second.1 = from_ms;
        }
        self.generation += 1;
    }

    /// What was noted since `mark` was taken.
    pub(crate) fn since(&self, mark: Mark) -> ChangedTimes {
        let at = self.grown.partition_point(|(generation, _)| *generation < mark.0);
        let grown = self.grown.get(at).map_or(i64::MAX, |(_, from_ms)| *from_ms);
        let at = self
            .ranges
            .partition_point(|(generation, _)| *generation < mark.0);
        ChangedTimes {
            from_ms: grown.min(self.from_ms),
            ranges: self.ranges.iter().skip(at).map(|(_, range)| *range).collect(),
        }
    }
}

fn hull(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange::new(a.min_ms.min(b.min_ms), a.max_ms.max(b.max_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_LATE: (i64, i64) = (i64::MAX, i64::MIN);

    fn grow(log: &mut ChangeLog, from_ms: i64) {
        log.add(Added {
            from_ms,
            late: NOT_LATE,
        });
    }

    #[test]
    fn marks_tell_what_came_behind_them() {
        let mut log = ChangeLog::default();
        let first = log.mark();
        assert_eq!(log.since(first), ChangedTimes::none());
        assert_eq!(log.mark(), first, "nothing has happened in between");
        grow(&mut log, 1000);
        let second = log.mark();
        grow(&mut log, 1030);
        grow(&mut log, 1010);
        let third = log.mark();
        log.add(Added {
            from_ms: i64::MAX,
            late: (500, 510),
        });
        log.change(TimeRange::new(505, 600));
        log.change(TimeRange::new(20, 30));
        let fourth = log.mark();
        let late = vec![TimeRange::new(500, 600), TimeRange::new(20, 30)];
        for (mark, from_ms, ranges) in [
            (first, 1000, late.clone()),
            (second, 1010, late.clone()),
            (third, i64::MAX, late),
            (fourth, i64::MAX, Vec::new()),
        ] {
            assert_eq!(log.since(mark), ChangedTimes { from_ms, ranges });
        }
        // A source that lags behind undercuts all those before.
        grow(&mut log, 900);
        log.mark();
        assert_eq!(log.since(first).from_ms, 900);
        assert_eq!(log.since(fourth).from_ms, 900);
        assert_eq!(log.grown.len(), 1);
        log.add(Added::ANYTHING);
        assert!(log.since(fourth).touch(TimeRange::new(i64::MIN, i64::MIN)));
    }

    #[test]
    fn lists_have_a_bound_and_tell_more_beyond_it_never_less() {
        let mut log = ChangeLog::default();
        let mut marks = Vec::new();
        for at in 0..3 * GENERATIONS_MAX as i64 {
            marks.push((log.mark(), at));
            grow(&mut log, at * 10);
            log.change(TimeRange::new(at * 10 - 1_000_000, at * 10 - 999_995));
        }
        assert!(log.grown.len() <= GENERATIONS_MAX && log.ranges.len() <= RANGES_MAX);
        for (mark, at) in &marks {
            let told = log.since(*mark);
            assert!(told.from_ms <= at * 10, "{told:?} of {at}");
            for later in marks.iter().map(|(_, later)| *later).filter(|later| later >= at) {
                let range = TimeRange::new(later * 10 - 1_000_000, later * 10 - 999_995);
                assert!(told.touch(range), "{told:?} of {at} forgets {later}");
            }
        }
        // The newest are told to the millisecond.
        let (mark, at) = marks[marks.len() - 1];
        assert_eq!(log.since(mark).from_ms, at * 10);
        assert_eq!(log.since(mark).ranges.len(), 1);
    }
}

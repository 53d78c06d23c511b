//! The door at which a store says what has changed: what a cache of answers must know to be exact.

use crate::storage::TimeRange;

/// A moment in the life of a store, as it counts its own changes; of no meaning to any other store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub u64);

/// Tells at which times what is stored is not what it was.
///
/// Two promises make a cache exact. A mark is taken *before* a view is opened:
/// * What the view does not see, because it was not there yet or is there no more, is told by
///   [`Changes::changed_since`] of that mark, from the moment on that other views see it.
/// * So what was read through the view is what any view opened now would read, wherever nothing is told.
///
/// More may be told than has changed, never less. Samples of the same time that contradict each other may change their
/// places, and with them who wins; that counts as a change, too.
pub trait Changes: Send + Sync {
    /// The present moment.
    fn mark(&self) -> Mark;

    /// What has changed since `mark`. The older the mark the coarser the answer.
    fn changed_since(&self, mark: Mark) -> ChangedTimes;
}

/// Times at which something may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedTimes {
    /// All from here on: where new samples are added. `i64::MAX` for none.
    pub from_ms: i64,
    /// And those in these ranges, in no order.
    pub ranges: Vec<TimeRange>,
}

impl ChangedTimes {
    /// Nothing has changed.
    pub fn none() -> Self {
        ChangedTimes {
            from_ms: i64::MAX,
            ranges: Vec::new(),
        }
    }

    /// Whether something may have changed in `range`.
    pub fn touch(&self, range: TimeRange) -> bool {
        range.max_ms >= self.from_ms || self.ranges.iter().any(|changed| changed.overlaps(&range))
    }

    /// Each stretch of time in which something may have changed.
    pub fn iter(&self) -> impl Iterator<Item = TimeRange> {
        let grown = (self.from_ms < i64::MAX).then(|| TimeRange::new(self.from_ms, i64::MAX));
        grown.into_iter().chain(self.ranges.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_touched() {
        let changed = ChangedTimes {
            from_ms: 1000,
            ranges: vec![TimeRange::new(10, 20), TimeRange::new(400, 400)],
        };
        for (min_ms, max_ms, touched) in [
            (0, 9, false),
            (0, 10, true),
            (20, 30, true),
            (21, 399, false),
            (390, 410, true),
            (401, 999, false),
            (401, 1000, true),
            (2000, 3000, true),
        ] {
            assert_eq!(
                changed.touch(TimeRange::new(min_ms, max_ms)),
                touched,
                "{min_ms}..={max_ms}"
            );
        }
        assert!(!ChangedTimes::none().touch(TimeRange::new(i64::MIN, i64::MAX - 1)));
        assert_eq!(changed.iter().count(), 3);
        assert_eq!(ChangedTimes::none().iter().count(), 0);
    }
}

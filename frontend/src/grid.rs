//! Steps as numbers: what makes the steps of one range those of another.

use model::storage::TimeRange;
use promql::engine::Reach;

/// The steps that a panel can have: step `n` lies at `phase + n × step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Grid {
    /// Distance of the steps, in milliseconds.
    pub(crate) step_ms: i64,
    /// Time of step 0, in milliseconds; less than the distance.
    pub(crate) phase_ms: i64,
}

/// Steps that follow each other, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Grid {
    /// The grid that has a step at `start_ms`.
    pub(crate) fn at_start(start_ms: i64, step_ms: i64) -> Self {
        Grid {
            step_ms,
            phase_ms: start_ms.rem_euclid(step_ms),
        }
    }

    /// Time of a step.
    pub(crate) fn time_ms(self, step: i64) -> i64 {
        self.phase_ms.saturating_add(step.saturating_mul(self.step_ms))
    }

    /// The steps from `start_ms`, which is one, to `end_ms`.
    pub(crate) fn stretch(self, start_ms: i64, end_ms: i64) -> Stretch {
        Stretch {
            first: self.at_or_before(start_ms),
            last: self.at_or_before(end_ms),
        }
    }

    fn at_or_before(self, time_ms: i64) -> i64 {
        time_ms.saturating_sub(self.phase_ms).div_euclid(self.step_ms)
    }

    /// The steps whose results depend on samples in `changed`.
    pub(crate) fn touched(self, changed: TimeRange, reach: &Reach) -> Stretch {
        let first_ms = changed.min_ms.saturating_sub(reach.after_ms);
        let last_ms = changed.max_ms.saturating_add(reach.before_ms);
        Stretch {
            // The first step at or behind.
            first: self.at_or_before(first_ms.saturating_sub(1)).saturating_add(1),
            last: self.at_or_before(last_ms),
        }
    }
}

impl Stretch {
    /// Number of steps.
    pub(crate) fn len(self) -> usize {
        usize::try_from(self.last - self.first + 1).unwrap_or(0)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.last < self.first
    }

    /// The steps that both have.
    pub(crate) fn shared(self, other: Stretch) -> Stretch {
        Stretch {
            first: self.first.max(other.first),
            last: self.last.min(other.last),
        }
    }

    /// What is left on both sides where `other` is taken away.
    pub(crate) fn without(self, other: Stretch) -> [Stretch; 2] {
        if self.shared(other).is_empty() {
            let nothing = Stretch {
                first: self.last.saturating_add(1),
                last: self.last,
            };
            return [self, nothing];
        }
        [
            Stretch {
                first: self.first,
                last: self.last.min(other.first.saturating_sub(1)),
            },
            Stretch {
                first: self.first.max(other.last.saturating_add(1)),
                last: self.last,
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(first: i64, last: i64) -> Stretch {
        Stretch { first, last }
    }

    #[test]
    fn ranges_of_one_panel_have_their_steps_in_common() {
        let grid = Grid::at_start(1_000_030, 60);
        assert_eq!(grid, Grid::at_start(1_000_030 - 600, 60));
        assert_ne!(grid, Grid::at_start(1_000_031, 60));
        let steps = grid.stretch(1_000_030, 1_000_030 + 125);
        assert_eq!((steps.len(), grid.time_ms(steps.first)), (3, 1_000_030));
        // Before the epoch, too.
        let grid = Grid::at_start(-50, 60);
        assert_eq!((grid.phase_ms, grid.time_ms(-1)), (10, -50));
    }

    #[test]
    fn changes_touch_the_steps_that_reach_them() {
        let grid = Grid {
            step_ms: 10,
            phase_ms: 0,
        };
        let reach = |before_ms, after_ms| Reach {
            before_ms,
            after_ms,
            ..Reach::default()
        };
        let touched = |min, max, reach: &Reach| grid.touched(TimeRange::new(min, max), reach);
        // A step at t looks at [t - 25, t].
        assert_eq!(touched(100, 100, &reach(25, 0)), stretch(10, 12));
        assert_eq!(touched(101, 104, &reach(25, 0)), stretch(11, 12));
        assert_eq!(touched(101, 105, &reach(25, 0)), stretch(11, 13));
        // At [t - 30, t - 20].
        assert_eq!(touched(100, 100, &reach(30, -20)), stretch(12, 13));
        // At [t - 5, t + 10].
        assert_eq!(touched(100, 100, &reach(5, 10)), stretch(9, 10));
        assert_eq!(touched(100, i64::MAX, &reach(25, 0)).first, 10);
        assert!(touched(101, 102, &reach(5, 0)).is_empty());
        let all = touched(i64::MIN, i64::MAX, &reach(25, 10));
        assert!(all.first < -1_000_000 && all.last > 1_000_000);
    }

    #[test]
    fn stretches_are_cut() {
        let all = stretch(0, 9);
        assert_eq!(all.without(stretch(3, 5)), [stretch(0, 2), stretch(6, 9)]);
        let [left, right] = all.without(stretch(-5, 4));
        assert!(left.is_empty() && right == stretch(5, 9));
        let [left, right] = all.without(stretch(8, 20));
        assert!(left == stretch(0, 7) && right.is_empty());
        let [left, right] = all.without(stretch(10, 20));
        assert!(left == all && right.is_empty());
        assert!(all.without(stretch(-1, 10)).iter().all(|rest| rest.is_empty()));
        assert_eq!(all.shared(stretch(8, 20)).len(), 2);
    }
}

//! When groups are evaluated: at times of day, whatever the clock does.

use std::time::Duration;

use model::labels::Labels;

/// The times at which a group is evaluated: every interval, moved by an offset that depends on the group's name and
/// file, so that all groups together spread over the interval and keep their times over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    interval_ns: i64,
    offset_ns: i64,
}

impl Schedule {
    /// The schedule of the group `name` of `file`; an interval below a millisecond counts as one.
    pub fn new(file: &str, name: &str, interval_ms: i64) -> Self {
        let interval_ns = interval_ms.clamp(1, i64::MAX / 1_000_000) * 1_000_000;
        let hash = Labels::from_pairs([("name", name), ("file", file)]).hash64();
        Schedule {
            interval_ns,
            offset_ns: (hash % interval_ns as u64) as i64,
        }
    }

    /// The interval in nanoseconds.
    pub fn interval_ns(&self) -> i64 {
        self.interval_ns
    }

    /// The last time of evaluation that is not after `now_ns`.
    pub fn at_or_before(&self, now_ns: i64) -> i64 {
        let since = now_ns.saturating_sub(self.offset_ns);
        since.saturating_sub(since.rem_euclid(self.interval_ns)) + self.offset_ns
    }

    /// The time of evaluation within a millisecond, where there is one; else when that begins.
    pub(crate) fn at_millisecond(&self, ms: i64) -> i64 {
        let begin_ns = ms.saturating_mul(1_000_000);
        self.at_or_before(begin_ns.saturating_add(999_999)).max(begin_ns)
    }

    /// What to do at `now_ns` when the last evaluation was the one at `last_ns`.
    pub fn turn(&self, last_ns: i64, now_ns: i64) -> Turn {
        let due_ns = last_ns.saturating_add(self.interval_ns);
        let early_ns = due_ns.saturating_sub(now_ns);
        if early_ns > self.interval_ns {
            // The clock was set back to before the last evaluation: its time is followed at once.
            return Turn::Evaluate {
                at_ns: self.at_or_before(now_ns),
                missed: 0,
            };
        }
        if early_ns > 0 {
            return Turn::Wait(Duration::from_nanos(early_ns.unsigned_abs()));
        }
        let missed = early_ns.unsigned_abs() / self.interval_ns.unsigned_abs();
        Turn::Evaluate {
            at_ns: due_ns.saturating_add((missed as i64).saturating_mul(self.interval_ns)),
            missed,
        }
    }
}

/// What a group does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing yet: the next evaluation is due then, by the time of day. Never more than an interval, so that a clock
    /// that is set is noticed within that.
    Wait(Duration),
    /// Evaluate.
    Evaluate {
        /// At which time.
        at_ns: i64,
        /// How many evaluations were missed before it.
        missed: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_aligned_and_offset() {
        let schedule = Schedule::new("rules.yml", "service", 10_000);
        let now = 1_700_000_003_500_000_000;
        let at = schedule.at_or_before(now);
        assert!(at <= now && now - at < schedule.interval_ns());
        assert_eq!(schedule.at_or_before(at), at);
        assert_eq!(schedule.at_or_before(at - 1), at - schedule.interval_ns());
        // What a server of the reference did with a group of this name, file and interval.
        assert_eq!(at.rem_euclid(10_000_000_000), 9_847_410_600);
    }

    #[test]
    fn late_evaluations_are_missed() {
        let schedule = Schedule::new("f", "g", 1_000);
        let second = 1_000_000_000;
        let turn = |now_ns| schedule.turn(0, now_ns);
        let evaluate = |at_ns, missed| Turn::Evaluate { at_ns, missed };
        assert_eq!(turn(second), evaluate(second, 0));
        assert_eq!(turn(second + 999_999_999), evaluate(second, 0));
        assert_eq!(turn(2 * second), evaluate(2 * second, 1));
        assert_eq!(turn(5 * second + 1), evaluate(5 * second, 4));
    }

    #[test]
    fn early_ones_wait_and_a_clock_set_back_is_followed() {
        let schedule = Schedule::new("f", "g", 1_000);
        let second = 1_000_000_000;
        let last_ns = schedule.at_or_before(1_000 * second);
        let wait = |ns| Turn::Wait(Duration::from_nanos(ns));
        assert_eq!(schedule.turn(last_ns, last_ns + second - 1), wait(1));
        // Set back by less than has gone by since: no time is told twice.
        assert_eq!(schedule.turn(last_ns, last_ns), wait(1_000_000_000));
        let back = schedule.turn(last_ns, last_ns - 7_200 * second - 1);
        let at_ns = last_ns - 7_201 * second;
        assert_eq!(back, Turn::Evaluate { at_ns, missed: 0 });
    }

    #[test]
    fn times_at_the_end_of_the_range_do_not_overflow() {
        let schedule = Schedule::new("f", "g", i64::MAX);
        for last_ns in [i64::MIN, -1, 0, i64::MAX] {
            for now_ns in [i64::MIN, 0, i64::MAX] {
                schedule.turn(last_ns, now_ns);
            }
        }
    }
}

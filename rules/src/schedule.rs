//! When groups are evaluated.

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
        since - since.rem_euclid(self.interval_ns) + self.offset_ns
    }

    /// The time of evaluation that follows the one at `last_ns`, given that it is `now_ns`, and how many were missed
    /// in between.
    pub fn next(&self, last_ns: i64, now_ns: i64) -> (i64, u64) {
        let missed = (now_ns.saturating_sub(last_ns) / self.interval_ns - 1).max(0);
        (last_ns + (missed + 1) * self.interval_ns, missed as u64)
    }
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
        assert_eq!(schedule.next(0, second), (second, 0));
        assert_eq!(schedule.next(0, second + 999_999_999), (second, 0));
        assert_eq!(schedule.next(0, 2 * second), (2 * second, 1));
        assert_eq!(schedule.next(0, 5 * second + 1), (5 * second, 4));
    }
}

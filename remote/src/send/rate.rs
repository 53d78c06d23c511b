//! How many shards a queue should have, by the reference's rules.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often rates are taken and shards are thought about.
pub(super) const TICK: Duration = Duration::from_secs(10);
/// How much of a rate is the last tick's.
const WEIGHT: f64 = 0.2;
/// A change by less is none.
const TOLERANCE: f64 = 0.3;
/// Share of what is left behind that is made up for in a second.
const CATCH_UP: f64 = 0.05;
/// Further behind than this, in seconds, shards are not taken away.
const BEHIND_MAX_SECONDS: f64 = 10.0;

/// Something per second, its past fading.
#[derive(Debug, Default)]
pub(super) struct Rate {
    fresh: AtomicU64,
    per_second: f64,
    has_begun: bool,
}

impl Rate {
    pub(super) fn add(&self, count: u64) {
        self.fresh.fetch_add(count, Ordering::Relaxed);
    }

    /// What has come since it was last taken.
    pub(super) fn take(&self) -> u64 {
        self.fresh.swap(0, Ordering::Relaxed)
    }

    pub(super) fn tick(&mut self) {
        let fresh = self.take();
        let now = fresh as f64 / TICK.as_secs_f64();
        if self.has_begun {
            self.per_second += WEIGHT * (now - self.per_second);
        } else if fresh > 0 {
            self.has_begun = true;
            self.per_second = now;
        }
    }

    pub(super) fn per_second(&self) -> f64 {
        self.per_second
    }
}

/// What is known at a tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    /// Samples that come in, a second.
    pub(super) came: f64,
    /// Samples that were sent or refused, a second.
    pub(super) went: f64,
    /// Samples that were dropped before, a second.
    pub(super) dropped: f64,
    /// Seconds of sending, a second.
    pub(super) busy: f64,
    /// Seconds from the newest sample that was sent to the newest there is.
    pub(super) behind_seconds: f64,
}

/// How many shards there should be, as a number with its fraction and within the limits; `None` to leave them as they are.
pub(super) fn desired(load: &Load, shards: usize, min: usize, max: usize) -> (Option<f64>, usize) {
    if load.went <= 0.0 {
        return (None, shards);
    }
    let kept = load.went / (load.dropped + load.went);
    let to_come = load.came * kept;
    let pending = load.behind_seconds * load.came * kept;
    let each = load.busy / load.went;
    let wanted = each * (to_come + CATCH_UP * pending);
    let (lower, upper) = (
        shards as f64 * (1.0 - TOLERANCE),
        shards as f64 * (1.0 + TOLERANCE),
    );
    let whole = wanted.ceil();
    if (lower..=upper).contains(&whole) {
        return (Some(wanted), shards);
    }
    // A float beyond every limit ends at the limit.
    let number = whole.max(0.0) as usize;
    if number < shards && load.behind_seconds > BEHIND_MAX_SECONDS {
        return (Some(wanted), shards);
    }
    (Some(wanted), number.clamp(min, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_follow_the_load() {
        let load = |came, went, busy, behind_seconds| Load {
            came,
            went,
            dropped: 0.0,
            busy,
            behind_seconds,
        };
        let cases = [
            // Nothing was sent: nobody knows how long it takes.
            (load(1000.0, 0.0, 0.0, 600.0), 4, 4),
            // A millisecond a sample, a thousand samples a second: one shard.
            (load(1000.0, 1000.0, 1.0, 0.0), 1, 1),
            // Twice as slow: two.
            (load(1000.0, 500.0, 1.0, 0.0), 1, 2),
            // Within three tenths nothing changes.
            (load(1000.0, 1000.0, 11.0, 0.0), 10, 10),
            (load(1000.0, 1000.0, 13.2, 0.0), 10, 14),
            // A minute behind: three more for each that is needed.
            (load(1000.0, 1000.0, 1.0, 60.0), 1, 4),
            // Too far behind to take shards away.
            (load(1000.0, 1000.0, 0.5, 11.0), 10, 10),
            (load(1000.0, 1000.0, 0.5, 9.0), 10, 1),
            // The limits.
            (load(1e9, 1.0, 1.0, 1e6), 10, 50),
        ];
        for (load, shards, expected) in cases {
            assert_eq!(desired(&load, shards, 1, 50).1, expected, "{load:?}");
        }
        // Half is dropped before it is sent: it needs no shards.
        let dropping = Load {
            dropped: 1000.0,
            ..load(2000.0, 1000.0, 1.0, 0.0)
        };
        assert_eq!(desired(&dropping, 1, 1, 50).1, 1);
    }

    #[test]
    fn a_rate_forgets() {
        let mut rate = Rate::default();
        rate.tick();
        assert_eq!(rate.per_second(), 0.0);
        rate.add(1000);
        rate.tick();
        assert_eq!(rate.per_second(), 100.0);
        rate.tick();
        assert_eq!(rate.per_second(), 80.0);
    }
}

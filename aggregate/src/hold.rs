//! Deduplication of what is stored: of the samples of a series in one interval the newest stays.
//!
//! Intervals end at multiples of their length and hold their end, not their beginning, as VictoriaMetrics' do. A sample
//! is held until a later interval's comes or the clock has passed its own interval's end by as long again, at most
//! [`GRACE_MAX_MS`]: what was scraped at the end comes a little later.

use crate::state::replaces;

/// For so many milliseconds after an interval's end its samples are waited for, or for as long as the interval where that is
/// shorter.
pub(crate) const GRACE_MAX_MS: i64 = 10_000;

/// What is held of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Hold {
    held: Option<Held>,
    /// Intervals up to this one are stored.
    stored: Option<i64>,
}

/// A sample that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
    pub(crate) start_ms: i64,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Became {
    /// It is held, and was the first of its interval; what was held of the one before can be stored.
    First(Option<Held>),
    /// It, or another one of its interval, is left out.
    Duplicate,
    /// It lies before what is held and can be stored at once.
    Through,
}

impl Hold {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_none()
    }

    pub(crate) fn take(&mut self, sample: Held, interval_ms: i64) -> Became {
        let interval = interval_of(sample.timestamp_ms, interval_ms);
        if self.stored.is_some_and(|stored| interval <= stored) {
            return Became::Duplicate;
        }
        let Some(held) = self.held else {
            self.held = Some(sample);
            return Became::First(None);
        };
        let holding = interval_of(held.timestamp_ms, interval_ms);
        if interval < holding {
            self.stored = Some(interval);
            return Became::Through;
        }
        if interval > holding {
            self.stored = Some(holding);
            self.held = Some(sample);
            return Became::First(Some(held));
        }
        if replaces(
            (held.timestamp_ms, held.value),
            (sample.timestamp_ms, sample.value),
        ) {
            self.held = Some(sample);
        }
        Became::Duplicate
    }

    /// What is held, where its interval is over at `now_ms`.
    pub(crate) fn release(&mut self, now_ms: i64, interval_ms: i64) -> Option<Held> {
        let held = self.held?;
        let interval = interval_of(held.timestamp_ms, interval_ms);
        let waited_ms = now_ms.saturating_sub(interval.saturating_mul(interval_ms));
        if waited_ms < interval_ms.min(GRACE_MAX_MS) {
            return None;
        }
        self.stored = Some(interval);
        self.held.take()
    }
}

/// The number of the interval that holds a time: it ends at so many times its length.
fn interval_of(timestamp_ms: i64, interval_ms: i64) -> i64 {
    timestamp_ms.div_euclid(interval_ms) + i64::from(timestamp_ms.rem_euclid(interval_ms) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::sample::stale_nan;

    fn sample(timestamp_ms: i64, value: f64) -> Held {
        Held {
            timestamp_ms,
            value,
            start_ms: 0,
        }
    }

    #[test]
    fn the_newest_of_an_interval_stays() {
        let mut hold = Hold::default();
        let mut take = |timestamp_ms, value| hold.take(sample(timestamp_ms, value), 10);
        assert_eq!(take(11, 1.0), Became::First(None));
        assert_eq!(take(20, 2.0), Became::Duplicate);
        // Of one time, the larger; a number rather than a marker.
        assert_eq!(take(20, 1.5), Became::Duplicate);
        assert_eq!(take(21, stale_nan()), Became::First(Some(sample(20, 2.0))));
        assert_eq!(take(21, 4.0), Became::Duplicate);
        // Late: its interval is stored.
        assert_eq!(take(15, 9.0), Became::Duplicate);
        assert_eq!(take(41, 5.0), Became::First(Some(sample(21, 4.0))));
        assert_eq!(take(35, 6.0), Became::Through);
        assert_eq!(hold.release(59, 10), None);
        assert_eq!(hold.release(60, 10), Some(sample(41, 5.0)));
        assert!(hold.is_empty());
    }
}

//! Whether a sample may be added to its series.

use model::histogram::Histogram;
use model::sample::is_stale_nan;
use model::storage::Refusal;

use super::series::{Last, Series};

/// What was found out about a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Refused,
    /// Goes to the end of its series.
    InOrder,
    /// Goes to the late samples of its series.
    Late,
    /// Is stored already.
    Known,
}

/// What decides whether a sample is taken.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Newest timestamp of the head.
    pub(crate) head_max_ms: i64,
    /// In-order samples before this are not taken.
    pub(crate) min_valid_ms: i64,
    /// How much older than the newest a late sample may be; 0 takes none.
    pub(crate) window_ms: i64,
    /// Samples behind this are not taken.
    pub(crate) future_max_ms: i64,
    /// Refuse late samples although there is a window.
    pub(crate) discard_late: bool,
}

impl Bounds {
    /// Whether a sample may be added to a series whose newest sample is `last`. `same` tells whether the value equals
    /// the newest one.
    #[inline]
    fn check(
        &self,
        timestamp_ms: i64,
        last: Last<'_>,
        same: impl Fn(Last<'_>) -> bool,
    ) -> Result<Verdict, Refusal> {
        if timestamp_ms > self.future_max_ms {
            return Err(Refusal::TooFarInFuture);
        }
        if timestamp_ms >= self.min_valid_ms {
            let last_ms = match last {
                Last::Nothing => return Ok(Verdict::InOrder),
                Last::Mapped(t) | Last::Float(t, _) | Last::Histogram(t, _) => t,
            };
            if timestamp_ms > last_ms {
                return Ok(Verdict::InOrder);
            }
            if timestamp_ms == last_ms {
                // Compat: an exact repetition is accepted and dropped, as federation produces them
                // (samples_are_admitted_by_what_is_newest).
                return if same(last) {
                    Ok(Verdict::Known)
                } else {
                    Err(Refusal::DuplicateTimestamp)
                };
            }
        }
        if self.window_ms > 0 {
            if timestamp_ms < self.head_max_ms.saturating_sub(self.window_ms) {
                return Err(Refusal::TooOld);
            }
            if self.discard_late {
                return Err(Refusal::OutOfOrder);
            }
            return Ok(Verdict::Late);
        }
        Err(if timestamp_ms < self.min_valid_ms {
            Refusal::OutOfBounds
        } else {
            Refusal::OutOfOrder
        })
    }

    /// [`Bounds::check`] for a float.
    pub(crate) fn check_float(
        &self,
        timestamp_ms: i64,
        value: f64,
        series: &Series<'_>,
    ) -> Result<Verdict, Refusal> {
        self.check(timestamp_ms, series.last(), |last| match last {
            Last::Float(_, old) => old.to_bits() == value.to_bits(),
            Last::Histogram(_, old) => is_stale_nan(value) && is_stale(old),
            Last::Mapped(_) => true,
            Last::Nothing => false,
        })
    }

    /// [`Bounds::check`] for a histogram.
    pub(crate) fn check_histogram(
        &self,
        timestamp_ms: i64,
        value: &Histogram,
        series: &Series<'_>,
    ) -> Result<Verdict, Refusal> {
        self.check(timestamp_ms, series.last(), |last| match last {
            Last::Float(..) | Last::Nothing => false,
            Last::Histogram(_, old) => same_histogram(old, value),
            Last::Mapped(_) => true,
        })
    }
}

fn same_histogram(a: &Histogram, b: &Histogram) -> bool {
    match (a, b) {
        (Histogram::Int(a), Histogram::Int(b)) => a.same_data(b),
        (Histogram::Float(a), Histogram::Float(b)) => a.same_data(b),
        _ => false,
    }
}

fn is_stale(histogram: &Histogram) -> bool {
    is_stale_nan(histogram.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        head_max_ms: 1000,
        min_valid_ms: 500,
        window_ms: 0,
        future_max_ms: 2000,
        discard_late: false,
    };

    #[test]
    fn samples_are_admitted_by_what_is_newest() {
        let check = |bounds: Bounds, t, last: Last<'_>| bounds.check(t, last, |_| t == 700);
        let last = Last::Float(700, 1.0);
        assert_eq!(check(BOUNDS, 600, Last::Nothing), Ok(Verdict::InOrder));
        assert_eq!(check(BOUNDS, 701, last), Ok(Verdict::InOrder));
        assert_eq!(check(BOUNDS, 700, last), Ok(Verdict::Known));
        assert_eq!(
            check(BOUNDS, 800, Last::Float(800, 1.0)),
            Err(Refusal::DuplicateTimestamp)
        );
        assert_eq!(check(BOUNDS, 699, last), Err(Refusal::OutOfOrder));
        assert_eq!(check(BOUNDS, 499, last), Err(Refusal::OutOfBounds));
        assert_eq!(check(BOUNDS, 499, Last::Nothing), Err(Refusal::OutOfBounds));
        assert_eq!(check(BOUNDS, 2001, last), Err(Refusal::TooFarInFuture));
        let late = Bounds {
            window_ms: 400,
            ..BOUNDS
        };
        assert_eq!(check(late, 699, last), Ok(Verdict::Late));
        assert_eq!(check(late, 600, last), Ok(Verdict::Late));
        assert_eq!(check(late, 599, last), Err(Refusal::TooOld));
        let rules = Bounds {
            discard_late: true,
            ..late
        };
        assert_eq!(check(rules, 699, last), Err(Refusal::OutOfOrder));
        assert_eq!(check(rules, 701, last), Ok(Verdict::InOrder));
    }
}

//! When intervals end.

use crate::rule::Rule;

/// The ends of a rule's intervals: of deduplication, where there is one, and of aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    interval_ms: i64,
    /// From one look to the next: the interval of deduplication, or the rule's.
    step_ms: i64,
    /// The next look.
    pub(crate) look_ms: i64,
    /// What comes out at the next end carries this time.
    pub(crate) flush_ms: i64,
    /// Samples from before this are late.
    pub(crate) window_ms: i64,
    /// So many ends tell nothing.
    silent: u32,
}

/// What is to be done at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// When it was due.
    pub(crate) at_ms: i64,
    /// The end of an interval, where it is one, and whether anybody is to hear of it.
    pub(crate) flush: Option<(i64, bool)>,
}

impl Schedule {
    /// Begins at `now_ms`. Of an interval that had begun before, nothing is told, unless the rule wants it.
    pub(crate) fn new(rule: &Rule, now_ms: i64) -> Self {
        let interval_ms = rule.interval_ms;
        let into_ms = if rule.align {
            now_ms.rem_euclid(interval_ms)
        } else {
            0
        };
        let is_partial = into_ms > 0 && !rule.flush_on_shutdown;
        let begin_ms = now_ms - into_ms;
        let step_ms = if rule.dedup_ms > 0 {
            rule.dedup_ms
        } else {
            interval_ms
        };
        Schedule {
            interval_ms,
            step_ms,
            look_ms: begin_ms + (into_ms / step_ms + 1) * step_ms,
            flush_ms: begin_ms + interval_ms,
            window_ms: begin_ms,
            silent: u32::from(is_partial) + rule.ignore_first_intervals,
        }
    }

    /// What is due at `now_ms`; looks that were missed are not made up for.
    pub(crate) fn due(&mut self, now_ms: i64) -> Option<Look> {
        if now_ms < self.look_ms {
            // The clock was set back: what lies before the last look is not waited for.
            if now_ms < self.look_ms - 2 * self.interval_ms {
                let back_ms = self.look_ms - now_ms - 1;
                let back_ms = back_ms - back_ms % self.interval_ms;
                (self.look_ms, self.flush_ms) = (self.look_ms - back_ms, self.flush_ms - back_ms);
                self.window_ms -= back_ms;
            }
            return None;
        }
        let at_ms = self.look_ms;
        let flush = (self.flush_ms <= at_ms).then(|| {
            let told = self.silent == 0;
            self.silent = self.silent.saturating_sub(1);
            let flush_ms = self.flush_ms;
            self.flush_ms = following(flush_ms, self.interval_ms, now_ms);
            (flush_ms, told)
        });
        self.look_ms = following(at_ms, self.step_ms, now_ms);
        self.window_ms = at_ms;
        Some(Look { at_ms, flush })
    }

    /// Whether what was gathered by now may be told, at a stop.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent > 0
    }
}

/// The first multiple of `step_ms` from `from_ms` that is later, and not before `now_ms`.
fn following(from_ms: i64, step_ms: i64, now_ms: i64) -> i64 {
    let next_ms = from_ms + step_ms;
    let behind_ms = (now_ms - next_ms).max(0);
    next_ms + (behind_ms + step_ms - 1) / step_ms * step_ms
}

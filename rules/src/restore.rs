//! After a restart: since when alerts are active, from the series that told it before.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use model::columns::Columns;
use model::labels::{ALERT_NAME, Labels, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};
use model::sample::is_stale_nan;
use model::storage::{Querier, SelectHints, StorageError, TimeRange};

use crate::group::{AlertOptions, Environment, Group, RunningRule};
use crate::rule::{ALERTS_FOR_STATE, Action};

const MS_NS: i64 = 1_000_000;

impl Group {
    /// Gives alerts the start that they had before the restart. Time during which nobody looked does not count as
    /// pending; nor does an alert fire before it was pending for the grace period.
    pub(crate) fn restore(&self, now_ns: i64, environment: &Environment) {
        let started = Instant::now();
        let options = &environment.options;
        let now_ms = now_ns.div_euclid(MS_NS);
        let range = TimeRange::new(now_ms.saturating_sub(options.outage_tolerance_ms), now_ms);
        match environment.storage.querier(range) {
            Ok(querier) => {
                let unrestored = |rule: &&RunningRule| !rule.restored.load(Ordering::Relaxed);
                for running in self.rules.iter().filter(unrestored) {
                    if let Err(error) = restore_rule(running, &*querier, range, now_ns, options) {
                        let (group, alert) = (&self.spec.name, &running.rule.name);
                        tracing::error!(group, alert, %error, "Failed to restore 'for' state");
                    }
                    // Also when that failed: there is no second chance, and the alert must be able to fire.
                    running.restored.store(true, Ordering::Relaxed);
                }
            }
            Err(error) => tracing::error!(group = self.spec.name, %error, "Failed to restore 'for' state"),
        }
        environment
            .metrics
            .restored(&self.spec.key(), started.elapsed().as_secs_f64());
    }
}

fn restore_rule(
    running: &RunningRule,
    querier: &dyn Querier,
    range: TimeRange,
    now_ns: i64,
    options: &AlertOptions,
) -> Result<(), StorageError> {
    let Action::Alert(action) = &running.rule.action else {
        return Ok(());
    };
    let hold_ns = action.timing.hold_ns;
    let grace_ns = options.grace_period_ms.saturating_mul(MS_NS);
    // Waiting for the grace period would take longer than starting anew.
    if hold_ns < grace_ns {
        return Ok(());
    }
    let last = last_states(running, querier, range)?;
    for (labels, alert) in running.alerts.lock().iter_mut() {
        let Some((down_at_ms, active_at_s)) = last.get(labels) else {
            continue;
        };
        let down_at_ns = down_at_ms.saturating_mul(MS_NS);
        alert.active_at_ns = restored_start(now_ns, down_at_ns, *active_at_s, hold_ns, grace_ns);
    }
    Ok(())
}

/// Since when an alert is held to be active that was last seen at `down_at_ns`, active since `active_at_s`.
fn restored_start(now_ns: i64, down_at_ns: i64, active_at_s: f64, hold_ns: i64, grace_ns: i64) -> i64 {
    let active_at_ns = (active_at_s as i64).saturating_mul(1_000_000_000);
    let remaining_ns = hold_ns.saturating_sub(down_at_ns.saturating_sub(active_at_ns));
    if remaining_ns <= 0 {
        // It fired already, and will do so again at once.
        active_at_ns
    } else if remaining_ns < grace_ns {
        now_ns.saturating_add(grace_ns).saturating_sub(hold_ns)
    } else {
        active_at_ns.saturating_add(now_ns.saturating_sub(down_at_ns))
    }
}

/// The last time and value of each of the rule's state series that was not marked stale, by the alert's labels.
pub(crate) fn last_states(
    running: &RunningRule,
    querier: &dyn Querier,
    range: TimeRange,
) -> Result<HashMap<Labels, (i64, f64)>, StorageError> {
    let rule = &running.rule;
    let own = rule.labels.iter().filter(|(name, value)| {
        // Templates were expanded for each alert, and names are set below.
        !value.contains("{{") && *name != METRIC_NAME && *name != ALERT_NAME
    });
    let equal = |name: &str, value: &str| Matcher::new(MatchOp::Equal, name, value);
    let matchers: Result<Vec<Matcher>, _> =
        [(METRIC_NAME, ALERTS_FOR_STATE), (ALERT_NAME, rule.name.as_str())]
            .into_iter()
            .chain(own)
            .map(|(name, value)| equal(name, value))
            .collect();
    let Ok(matchers) = matchers else {
        // Cannot happen: equality needs no pattern.
        return Ok(HashMap::new());
    };
    let series = querier.select(&SelectHints::default(), &matchers)?;
    let mut columns = Columns::default();
    let mut last = HashMap::with_capacity(series.len());
    for index in 0..series.len() {
        series.read(index, range, &mut columns)?;
        let (Some(at_ms), Some(value)) = (columns.timestamps_ms.last(), columns.values.last()) else {
            continue;
        };
        if !is_stale_nan(*value) {
            let labels = series.labels(index).without(|name| name == METRIC_NAME);
            last.insert(labels, (*at_ms, *value));
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::restored_start;

    const MINUTE: i64 = 60_000_000_000;

    /// A rule with `for: 1h` and a grace period of 10 minutes; minutes in, minutes out.
    fn start(now: i64, down_at: i64, active_at: i64) -> i64 {
        let active_at_s = (active_at * 60) as f64;
        restored_start(
            now * MINUTE,
            down_at * MINUTE,
            active_at_s,
            60 * MINUTE,
            10 * MINUTE,
        ) / MINUTE
    }

    #[test]
    fn the_outage_does_not_count() {
        // Pending for 20 minutes before, down for 30: 40 minutes remain from now on.
        assert_eq!(start(150, 120, 100), 130);
    }

    #[test]
    fn nothing_fires_within_the_grace_period() {
        // 5 minutes were left, but nobody has looked since: fires 10 minutes from now.
        assert_eq!(start(200, 155, 100), 150);
    }

    #[test]
    fn what_fired_goes_on() {
        assert_eq!(start(200, 170, 100), 100);
    }
}

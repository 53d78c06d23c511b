//! After a start: alerts as the journal has them, and patience until there is something to hold against them.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use model::clock::Clock;
use model::storage::{Queryable, TimeRange};
use promql::ast::{self, ExprKind};

use super::AlertJournal;
use super::record::{AlertsRecord, RuleName, Sending};
use crate::group::{Environment, Group, RunningRule};
use crate::restore::last_states;
use crate::rule::{Action, Rule};
use crate::state::{AlertBook, AlertState};

const MS_NS: i64 = 1_000_000;
/// Samples from before an outage answer for it as long as it took no more than this part of the time that the expression
/// looks back.
const REACH_PART: i64 = 2;

/// What a server needs so that alerts survive its restarts.
pub struct Recovery {
    journal: AlertJournal,
    /// How far selectors without a range look back.
    lookback: Duration,
    /// How long after a start it may take until all targets were scraped.
    first_scrapes: Box<dyn Fn() -> Duration + Send + Sync>,
    /// When evaluations began, in time of [`Clock::elapsed`].
    started: OnceLock<Duration>,
}

impl Recovery {
    /// Alerts are kept in `journal`. One that was there before a start is not resolved for want of data before targets were
    /// scraped, which takes what `first_scrapes` says from then on; `lookback` is how far selectors without a range look
    /// back.
    pub fn new(
        journal: AlertJournal,
        lookback: Duration,
        first_scrapes: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Recovery {
            journal,
            lookback,
            first_scrapes: Box::new(first_scrapes),
            started: OnceLock::new(),
        }
    }

    pub(crate) fn journal(&self) -> &AlertJournal {
        &self.journal
    }

    /// Evaluations begin.
    pub(crate) fn start(&self, clock: &dyn Clock) {
        self.started.get_or_init(|| clock.elapsed());
    }

    /// Whether what is seen at `at_ns` was scraped since the start.
    fn is_settled(&self, at_ns: i64, clock: &dyn Clock) -> bool {
        let Some(started) = self.started.get() else {
            return false;
        };
        let past_ns = clock.now_ms().saturating_mul(MS_NS).saturating_sub(at_ns).max(0);
        let needed = (self.first_scrapes)() + Duration::from_nanos(past_ns.unsigned_abs());
        clock.elapsed().saturating_sub(*started) >= needed
    }
}

/// What a rule remembers of its journal.
pub(crate) struct Kept {
    /// See [`RuleKey`](super::record::RuleKey).
    pub(crate) ordinal: u32,
    /// The journal does not know all that the rule's alerts are: the next record tells them all.
    is_behind: AtomicBool,
    /// The last evaluation of which the journal knows; [`i64::MIN`] without.
    at_ns: AtomicI64,
    /// Alerts were taken over, and no evaluation has looked at them yet.
    is_fresh: AtomicBool,
    /// Alerts that were taken over are not resolved for want of data.
    is_patient: AtomicBool,
}

impl Kept {
    pub(crate) fn new(ordinal: u32) -> Self {
        Kept {
            ordinal,
            is_behind: AtomicBool::new(false),
            at_ns: AtomicI64::new(i64::MIN),
            is_fresh: AtomicBool::new(false),
            is_patient: AtomicBool::new(false),
        }
    }

    pub(super) fn at_ns(&self) -> i64 {
        self.at_ns.load(Ordering::Relaxed)
    }

    /// The same as for the rule that this one replaces.
    pub(crate) fn inherit(&self, old: &Kept) {
        self.at_ns.store(old.at_ns(), Ordering::Relaxed);
        for (to, from) in [
            (&self.is_behind, &old.is_behind),
            (&self.is_fresh, &old.is_fresh),
            (&self.is_patient, &old.is_patient),
        ] {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Alerts are about to be changed by more than a step.
    pub(crate) fn fall_behind(&self) {
        self.is_behind.store(true, Ordering::Relaxed);
    }

    /// A step begins; says whether all alerts must be told after it. What ends before [`Kept::catch_up`] leaves the
    /// journal behind.
    pub(crate) fn begin(&self) -> bool {
        self.is_behind.swap(true, Ordering::Relaxed)
    }

    /// The journal was told everything.
    pub(crate) fn catch_up(&self) {
        self.is_behind.store(false, Ordering::Relaxed);
    }
}

impl Group {
    /// The group's alerting rules, and what the journal calls them.
    pub(super) fn alerting(&self) -> impl Iterator<Item = (&RunningRule, RuleName<'_>)> {
        let alerting = |running: &&RunningRule| matches!(running.rule.action, Action::Alert(_));
        let rules = self.rules.iter().filter(alerting);
        rules.map(|running| (running, self.name_of(running)))
    }

    fn name_of<'a>(&'a self, running: &'a RunningRule) -> RuleName<'a> {
        RuleName {
            file: &self.spec.file,
            group: &self.spec.name,
            name: &running.rule.name,
            labels: &running.rule.labels,
            ordinal: running.kept.ordinal,
        }
    }

    /// The record of a rule's alerts after a step at `at_ns`, `all` of them or those that it changed; none where there is
    /// nothing to tell.
    pub(crate) fn record(
        &self,
        running: &RunningRule,
        alerts: &AlertBook,
        all: bool,
        at_ns: i64,
        sent: Option<Sending>,
    ) -> Option<Vec<u8>> {
        if !all && alerts.changed().is_empty() && sent.is_none() {
            return None;
        }
        running.kept.at_ns.store(at_ns, Ordering::Relaxed);
        let mut record = Vec::new();
        let told = AlertsRecord {
            rule: self.name_of(running),
            at_ns,
            alerts,
            changes_only: !all,
            sent,
        };
        told.write(&mut record);
        Some(record)
    }

    /// Takes over what the journal has of the group's rules, which were never evaluated.
    pub(super) fn take_over(&self, saved: &HashMap<super::RuleKey, super::SavedRule>) -> usize {
        let mut count = 0;
        for (running, name) in self.alerting() {
            if let Some(rule) = saved.get(&name.to_key()) {
                let kept = &running.kept;
                *running.alerts.lock() = rule.alerts.clone();
                kept.at_ns.store(rule.at_ns, Ordering::Relaxed);
                kept.is_fresh.store(true, Ordering::Relaxed);
                // Nothing is left to be restored from series.
                running.restored.store(true, Ordering::Relaxed);
                count += rule.alerts.len();
            }
        }
        count
    }

    /// Before the first evaluation after alerts were taken over, the one at `at_ns`: time in which nobody looked does not
    /// count as pending, and samples may be missing that there would have been.
    pub(crate) fn look_again(&self, at_ns: i64, environment: &Environment) {
        let Some(recovery) = &environment.recovery else {
            return;
        };
        let fresh = |running: &&RunningRule| running.kept.is_fresh.swap(false, Ordering::Relaxed);
        for running in self.rules.iter().filter(fresh) {
            let last_ns = self.last_evaluation_ns(running, at_ns, &*environment.storage);
            let unseen_ns = at_ns
                .saturating_sub(last_ns)
                .saturating_sub(self.schedule.interval_ns());
            let unseen_ns = unseen_ns.max(0);
            let reach_ns = reach_ns(&running.rule, recovery.lookback);
            let is_patient = unseen_ns > reach_ns / REACH_PART;
            running.kept.is_patient.store(is_patient, Ordering::Relaxed);
            if unseen_ns > 0 {
                running.alerts.lock().miss_since(at_ns.saturating_sub(unseen_ns));
            }
        }
    }

    /// When a rule with alerts was last evaluated: its series and the journal tell.
    fn last_evaluation_ns(&self, running: &RunningRule, at_ns: i64, storage: &dyn Queryable) -> i64 {
        let kept_ns = running.kept.at_ns();
        let offset_ms = self.spec.query_offset_ms;
        let [from_ms, to_ms] = [kept_ns, at_ns].map(|ns| ns.div_euclid(MS_NS).saturating_sub(offset_ms));
        if from_ms >= to_ms {
            return kept_ns;
        }
        let range = TimeRange::new(from_ms, to_ms);
        let found = storage
            .querier(range)
            .and_then(|querier| last_states(running, &*querier, range));
        match found {
            Ok(states) => {
                let newest_ms = states
                    .values()
                    .map(|(at_ms, _)| at_ms.saturating_add(offset_ms))
                    .max();
                newest_ms.map_or(kept_ns, |ms| kept_ns.max(self.schedule.at_millisecond(ms)))
            }
            Err(error) => {
                let (group, alert) = (&self.spec.name, &running.rule.name);
                tracing::warn!(group, alert, %error, "When an alert was last evaluated cannot be looked up");
                kept_ns
            }
        }
    }

    /// Whether alerts that were taken over, and that the evaluation at `at_ns` does not see, are not resolved by that.
    pub(crate) fn is_patient(&self, running: &RunningRule, at_ns: i64, environment: &Environment) -> bool {
        let kept = &running.kept;
        if !kept.is_patient.load(Ordering::Relaxed) {
            return false;
        }
        let seen_ns = at_ns.saturating_sub(self.spec.query_offset_ms.saturating_mul(MS_NS));
        let is_settled = |recovery: &Recovery| recovery.is_settled(seen_ns, &*environment.clock);
        let is_patient = !environment.recovery.as_ref().is_none_or(is_settled);
        kept.is_patient.store(is_patient, Ordering::Relaxed);
        is_patient
    }
}

/// How far back a rule's expression looks, at least.
fn reach_ns(rule: &Rule, lookback: Duration) -> i64 {
    let mut reach_ms = i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX);
    rule.expr.walk(&mut |expr| {
        if let ExprKind::Matrix(matrix) = &expr.kind
            && let ast::Duration::Literal(range_ms) = matrix.range
        {
            reach_ms = reach_ms.min(range_ms);
        }
    });
    reach_ms.saturating_mul(MS_NS)
}

impl AlertBook {
    /// Nobody has looked at pending and firing alerts since `since_ns`.
    fn miss_since(&mut self, since_ns: i64) {
        for (_, alert) in self
            .iter_mut()
            .filter(|(_, alert)| alert.state != AlertState::Inactive)
        {
            alert.missing_since_ns.get_or_insert(since_ns);
        }
    }
}

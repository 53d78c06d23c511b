//! What the rules are doing: for the API and the pages.

use std::sync::Arc;
use std::time::Duration;

use model::labels::{Labels, LabelsPacker};

use crate::error::EvalError;
use crate::group::{Group, Health, RunningRule};
use crate::no_data::NoData;
use crate::rule::Action;
use crate::state::AlertState;

/// A group as it is now.
#[derive(Clone, Debug)]
pub struct GroupSnapshot {
    /// Its file.
    pub file: String,
    /// Its name.
    pub name: String,
    /// How often it is evaluated.
    pub interval_ms: i64,
    /// Most series or alerts of a rule; 0 for any number.
    pub limit: usize,
    /// What becomes of alerts whose data is missing.
    pub no_data: NoData,
    /// How long its last evaluation took.
    pub evaluation_time: Duration,
    /// When that was, in nanoseconds since the epoch.
    pub last_evaluation_ns: Option<i64>,
    /// Its rules, in order.
    pub rules: Vec<RuleSnapshot>,
}

/// A rule as it is now.
#[derive(Clone, Debug)]
pub struct RuleSnapshot {
    /// Name of the series or alert.
    pub name: String,
    /// Its expression.
    pub query: String,
    /// Labels that it adds, as written.
    pub labels: Labels,
    /// How it fared.
    pub health: Health,
    /// What went wrong.
    pub last_error: Option<Arc<EvalError>>,
    /// How long its last evaluation took.
    pub evaluation_time: Duration,
    /// When that was, in nanoseconds since the epoch.
    pub last_evaluation_ns: Option<i64>,
    /// What only alerting rules have.
    pub alerting: Option<AlertingSnapshot>,
}

/// What only alerting rules have.
#[derive(Clone, Debug)]
pub struct AlertingSnapshot {
    /// The worst state of its alerts.
    pub state: AlertState,
    /// `for`
    pub for_ms: i64,
    /// `keep_firing_for`
    pub keep_firing_for_ms: i64,
    /// Its annotations, as written.
    pub annotations: Labels,
    /// Its pending and firing alerts, sorted by labels.
    pub alerts: Vec<AlertSnapshot>,
}

/// A pending or firing alert.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertSnapshot {
    /// What identifies it.
    pub labels: Labels,
    /// Its annotations, expanded.
    pub annotations: Labels,
    /// Pending, firing or unknown.
    pub state: AlertState,
    /// Since when its condition holds, in nanoseconds since the epoch.
    pub active_at_ns: i64,
    /// Since when it fires although its condition is gone.
    pub keep_firing_since_ns: Option<i64>,
    /// The expression's value.
    pub value: f64,
}

impl AlertSnapshot {
    /// The value as the API shows it: always with an exponent (`1e+00`).
    pub fn value_text(&self) -> String {
        model::float::format_exponent(self.value)
    }
}

impl Group {
    pub(crate) fn snapshot(&self) -> GroupSnapshot {
        let status = *self.status.lock();
        GroupSnapshot {
            file: self.spec.file.clone(),
            name: self.spec.name.clone(),
            interval_ms: self.spec.interval_ms,
            limit: self.spec.limit,
            no_data: self.spec.no_data,
            evaluation_time: status.duration,
            last_evaluation_ns: status.evaluated_at_ns,
            rules: self.rules.iter().map(RunningRule::snapshot).collect(),
        }
    }
}

impl RunningRule {
    fn snapshot(&self) -> RuleSnapshot {
        let status = self.status.lock().clone();
        RuleSnapshot {
            name: self.rule.name.clone(),
            query: self.rule.query.clone(),
            labels: self.rule.labels.clone(),
            health: status.health,
            last_error: status.last_error,
            evaluation_time: status.duration,
            last_evaluation_ns: status.evaluated_at_ns,
            alerting: self.alerting(status.evaluated_at_ns.is_some()),
        }
    }

    fn alerting(&self, evaluated: bool) -> Option<AlertingSnapshot> {
        let Action::Alert(action) = &self.rule.action else {
            return None;
        };
        let alerts = self.alerts.lock();
        let state = if evaluated {
            alerts.worst()
        } else {
            AlertState::Unknown
        };
        let active = alerts.iter().filter(|(_, alert)| alert.resolved_at_ns.is_none());
        let mut active: Vec<AlertSnapshot> = active
            .map(|(labels, alert)| AlertSnapshot {
                labels: labels.clone(),
                annotations: alert.annotations.clone(),
                state: alert.shown_state(),
                active_at_ns: alert.active_at_ns,
                keep_firing_since_ns: alert.keep_firing_since_ns,
                value: alert.value,
            })
            .collect();
        drop(alerts);
        active.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut annotations = LabelsPacker::default();
        for (name, template) in &action.annotations {
            annotations.push(name, template.text());
        }
        Some(AlertingSnapshot {
            state,
            for_ms: action.timing.hold_ns / 1_000_000,
            keep_firing_for_ms: action.timing.keep_firing_ns / 1_000_000,
            annotations: annotations.finish(),
            alerts: active,
        })
    }
}

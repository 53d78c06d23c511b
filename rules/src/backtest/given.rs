//! What the rules of a backtest give: series that no store must answer for in their place.

use std::collections::HashSet;

use model::labels::{ALERT_NAME, Labels, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};

use crate::rule::{ALERTS, ALERTS_FOR_STATE, Action, Rule};

/// Names of recorded series and of alerts.
#[derive(Default)]
pub(super) struct Given {
    records: HashSet<String>,
    alerts: HashSet<String>,
}

impl Given {
    pub(super) fn new<'r>(rules: impl Iterator<Item = &'r Rule>) -> Self {
        let mut given = Given::default();
        for rule in rules {
            let names = match rule.action {
                Action::Record => &mut given.records,
                Action::Alert(_) => &mut given.alerts,
            };
            names.insert(rule.name.clone());
        }
        given
    }

    /// Whether a series with these labels is one that the rules give.
    pub(super) fn has(&self, labels: &Labels) -> bool {
        match labels.metric_name() {
            ALERTS | ALERTS_FOR_STATE => labels
                .get(ALERT_NAME)
                .is_some_and(|name| self.alerts.contains(name)),
            name => self.records.contains(name),
        }
    }

    /// Whether a selector with these matchers finds such series only.
    pub(super) fn is_all_of(&self, matchers: &[Matcher]) -> bool {
        let equal = |label: &str| {
            let mut of = matchers.iter().filter(|matcher| matcher.name == label);
            of.find(|matcher| matcher.op == MatchOp::Equal)
                .map(|matcher| matcher.value.as_str())
        };
        match equal(METRIC_NAME) {
            Some(ALERTS | ALERTS_FOR_STATE) => {
                equal(ALERT_NAME).is_some_and(|name| self.alerts.contains(name))
            }
            Some(name) => self.records.contains(name),
            None => false,
        }
    }

    /// Whether a selector with these matchers may find such a series.
    pub(super) fn may_match(&self, matchers: &[Matcher]) -> bool {
        let fits = |label: &str, value: &str| {
            let mut of = matchers.iter().filter(|matcher| matcher.name == label);
            of.all(|matcher| matcher.matches(value))
        };
        let alerts = [ALERTS, ALERTS_FOR_STATE]
            .iter()
            .any(|name| fits(METRIC_NAME, name));
        self.records.iter().any(|name| fits(METRIC_NAME, name))
            || (alerts && self.alerts.iter().any(|name| fits(ALERT_NAME, name)))
    }
}

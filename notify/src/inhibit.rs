//! Inhibition: alerts because of which nobody is told of others.
//!
//! Every rule keeps the alerts that are like its source by the values of the labels that must be equal, and there by their
//! ends: whether anything inhibits a target is one look at the one that lasts longest. An alert that is like both sides of
//! a rule does not inhibit others that are, itself least of all; such sources are kept apart.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use model::labels::Labels;
use parking_lot::RwLock;

use crate::alert::StoredAlert;
use crate::config::InhibitRuleConfig;
use crate::matcher::Matchers;

/// All rules with their sources.
#[derive(Default)]
pub(crate) struct Inhibitor {
    rules: Vec<Rule>,
}

struct Rule {
    source: Matchers,
    target: Matchers,
    equal: Vec<String>,
    sources: RwLock<Sources>,
}

#[derive(Default)]
struct Sources {
    by_equal: HashMap<Labels, Sides>,
    /// Where each source is kept: what it has in common with its targets, and its end.
    places: HashMap<Labels, Place>,
    arrivals: u64,
}

/// Sources that agree in the labels that must be equal.
#[derive(Default)]
struct Sides {
    /// Those that are like the source only.
    one: BTreeMap<Rank, Arc<StoredAlert>>,
    /// Those that are like the target as well.
    both: BTreeMap<Rank, Arc<StoredAlert>>,
}

/// The longest last, then the newest.
type Rank = (Timestamp, u64);

struct Place {
    equal: Labels,
    rank: Rank,
}

impl Inhibitor {
    /// Rules without sources.
    pub(crate) fn new(rules: &[InhibitRuleConfig]) -> Self {
        let rule = |config: &InhibitRuleConfig| Rule {
            source: config.source(),
            target: config.target(),
            equal: config.equal.clone(),
            sources: RwLock::default(),
        };
        Inhibitor {
            rules: rules.iter().map(rule).collect(),
        }
    }

    /// How many rules there are.
    pub(crate) fn len(&self) -> usize {
        self.rules.len()
    }

    /// Takes note of an alert that is new or has changed.
    pub(crate) fn see(&self, alert: &Arc<StoredAlert>) {
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.source.matches(&alert.labels))
        {
            let both = rule.target.matches(&alert.labels);
            rule.sources.write().put(rule.common(&alert.labels), alert, both);
        }
    }

    /// Forgets alerts that are over.
    pub(crate) fn forget(&self, alerts: &[Arc<StoredAlert>]) {
        for rule in &self.rules {
            let mut sources = rule.sources.write();
            for alert in alerts {
                sources.remove(&alert.labels);
            }
        }
    }

    /// The alert that inhibits one with these labels.
    ///
    /// Compat: one, of the first rule that has one, though there may be more (`inhibit-two-sources`).
    pub(crate) fn inhibiting(&self, labels: &Labels, now: Timestamp) -> Option<Arc<StoredAlert>> {
        self.rules
            .iter()
            .filter(|rule| rule.target.matches(labels))
            .find_map(|rule| {
                let is_source = rule.source.matches(labels);
                rule.sources.read().longest(&rule.common(labels), is_source, now)
            })
    }
}

impl Rule {
    /// The values that source and target must have in common; a label that is missing is as one without a value.
    fn common(&self, labels: &Labels) -> Labels {
        Labels::from_pairs(self.equal.iter().map(|name| (name, labels.value(name))))
    }
}

impl Sources {
    fn put(&mut self, equal: Labels, alert: &Arc<StoredAlert>, both: bool) {
        self.remove(&alert.labels);
        self.arrivals += 1;
        let rank = (alert.ends_at, self.arrivals);
        let sides = self.by_equal.entry(equal.clone()).or_default();
        let side = if both { &mut sides.both } else { &mut sides.one };
        side.insert(rank, alert.clone());
        self.places.insert(alert.labels.clone(), Place { equal, rank });
    }

    fn remove(&mut self, labels: &Labels) {
        let Some(place) = self.places.remove(labels) else {
            return;
        };
        if let Some(sides) = self.by_equal.get_mut(&place.equal) {
            sides.one.remove(&place.rank);
            sides.both.remove(&place.rank);
            if sides.one.is_empty() && sides.both.is_empty() {
                self.by_equal.remove(&place.equal);
            }
        }
    }

    /// The source that lasts longest, if it lasts yet; for a target that is like the source too, of those that are not.
    fn longest(&self, equal: &Labels, is_source: bool, now: Timestamp) -> Option<Arc<StoredAlert>> {
        let sides = self.by_equal.get(equal)?;
        let both = sides.both.last_key_value().filter(|_| !is_source);
        let (_, alert) = sides
            .one
            .last_key_value()
            .into_iter()
            .chain(both)
            .max_by_key(|(rank, _)| **rank)?;
        (!alert.is_resolved(now)).then(|| alert.clone())
    }
}

#[cfg(test)]
mod tests;

//! All alerts that are held.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use model::labels::{ALERT_NAME, Labels};

use crate::alert::StoredAlert;

/// Alerts by their labels.
#[derive(Default)]
pub(crate) struct AlertStore {
    alerts: HashMap<Labels, Arc<StoredAlert>>,
    limits: StoreLimits,
    by_name: HashMap<String, Named>,
}

/// How many alerts are held.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StoreLimits {
    /// Of one name; 0 for any number.
    pub(crate) per_name: usize,
    /// In all.
    pub(crate) total: usize,
}

/// The alerts of one name that count towards its limit, by their ends.
#[derive(Default)]
struct Named {
    ends: HashMap<Labels, Timestamp>,
    by_end: BTreeSet<(Timestamp, Labels)>,
}

/// An alert was refused because there are too many.
#[derive(Debug, thiserror::Error)]
#[error("alert limited")]
pub(crate) struct Limited;

impl AlertStore {
    pub(crate) fn new(limits: StoreLimits) -> Self {
        AlertStore {
            limits,
            ..AlertStore::default()
        }
    }

    /// Holds an alert, together with what is held of it already.
    pub(crate) fn put(&mut self, alert: StoredAlert, now: Timestamp) -> Result<Arc<StoredAlert>, Limited> {
        let held = self.alerts.get(&alert.labels);
        if held.is_none() && self.alerts.len() >= self.limits.total {
            return Err(Limited);
        }
        let alert = match held {
            Some(held) => alert.follow(held, now),
            None => alert,
        };
        if self.limits.per_name > 0 {
            let named = self
                .by_name
                .entry(alert.labels.value(ALERT_NAME).to_owned())
                .or_default();
            named.admit(&alert, self.limits.per_name, now)?;
        }
        let alert = Arc::new(alert);
        self.alerts.insert(alert.labels.clone(), alert.clone());
        Ok(alert)
    }

    /// All of them, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<StoredAlert>> {
        self.alerts.values().cloned().collect()
    }

    /// Forgets what is resolved; gives it.
    pub(crate) fn forget(&mut self, now: Timestamp) -> Vec<Arc<StoredAlert>> {
        let gone = self.alerts.extract_if(|_, alert| alert.is_resolved(now));
        let gone: Vec<_> = gone.map(|(_, alert)| alert).collect();
        self.by_name
            .retain(|_, named| named.by_end.last().is_some_and(|(end, _)| *end >= now));
        gone
    }
}

impl Named {
    /// Counts an alert; where there is no room, one that is over makes some.
    fn admit(&mut self, alert: &StoredAlert, max: usize, now: Timestamp) -> Result<(), Limited> {
        if let Some(end) = self.ends.get(&alert.labels) {
            self.by_end.remove(&(*end, alert.labels.clone()));
        } else if self.ends.len() >= max {
            match self.by_end.first() {
                Some((end, _)) if *end < now => {
                    let oldest = self.by_end.pop_first();
                    oldest.map(|(_, labels)| self.ends.remove(&labels));
                }
                _ => return Err(Limited),
            }
        }
        self.ends.insert(alert.labels.clone(), alert.ends_at);
        self.by_end.insert((alert.ends_at, alert.labels.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! What somebody sees who asks: alerts and groups with what is the matter with them now.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use model::labels::Labels;
use model::regex::Regex;

use super::{Alertmanager, Running};
use crate::alert::{StoredAlert, by_job, by_labels};
use crate::matcher::Matchers;

/// Which alerts are asked for.
#[derive(Clone, Debug)]
pub struct AlertFilter {
    /// What their labels are like (see [`Matchers::filter`]).
    pub matchers: Matchers,
    /// Those that are neither silenced nor inhibited.
    pub active: bool,
    /// Those that are silenced.
    pub silenced: bool,
    /// Those that are inhibited.
    pub inhibited: bool,
    /// Groups that are mute.
    pub muted: bool,
    /// Those of receivers of this name; [`Regex::anchored_in_line`].
    pub receiver: Option<Regex>,
    /// Those of receivers whose labels are like this.
    pub receiver_matchers: Matchers,
}

/// All alerts.
impl Default for AlertFilter {
    fn default() -> Self {
        AlertFilter {
            matchers: Matchers::default(),
            active: true,
            silenced: true,
            inhibited: true,
            muted: true,
            receiver: None,
            receiver_matchers: Matchers::default(),
        }
    }
}

/// An alert with what is the matter with it.
#[derive(Clone, Debug)]
pub struct AlertView {
    /// The alert.
    pub alert: Arc<StoredAlert>,
    /// Names of those who are told of it: in the order of routes, or, within groups, sorted; one may stand twice.
    pub receivers: Vec<String>,
    /// Ids of silences.
    pub silenced_by: Vec<String>,
    /// Fingerprints of alerts that inhibit it, in 16 hexadecimal digits.
    pub inhibited_by: Vec<String>,
    /// Names of intervals for which its group is mute; within groups only.
    pub muted_by: Vec<String>,
}

impl AlertView {
    /// Whether nobody is told of it: the API's `suppressed`, `active` otherwise.
    pub fn is_suppressed(&self) -> bool {
        !(self.silenced_by.is_empty() && self.inhibited_by.is_empty() && self.muted_by.is_empty())
    }
}

/// A group.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Name of the receiver.
    pub receiver: String,
    /// What its alerts have in common because they were grouped by it.
    pub labels: Labels,
    /// What its node adds, rendered.
    pub route_labels: BTreeMap<String, String>,
    /// Its key.
    pub key: String,
    /// The unique id of its node.
    pub route_id: String,
    /// Its alerts, those that were asked for, sorted.
    pub alerts: Vec<AlertView>,
}

impl Alertmanager {
    /// Alerts that are not resolved, by fingerprint. None while there is no configuration.
    pub fn alerts(&self, filter: &AlertFilter) -> Vec<AlertView> {
        let (Some(running), now) = (self.running(), self.now()) else {
            return Vec::new();
        };
        let tree = &running.dispatcher.pipeline.tree;
        let mut views = Vec::new();
        for alert in self.shared.store.lock().all() {
            let receivers: Vec<String> = tree
                .matching(&alert.labels)
                .into_iter()
                .map(|number| tree.routes()[number].options.receiver.clone())
                .collect();
            if !receivers.iter().any(|name| running.wants_name(filter, name))
                || !(filter.receiver_matchers.is_empty()
                    || receivers.iter().any(|name| running.wants_labels(filter, name)))
            {
                continue;
            }
            views.extend(
                running
                    .view(&alert, filter, now)
                    .map(|view| AlertView { receivers, ..view }),
            );
        }
        views.sort_by_key(|view| view.alert.fingerprint);
        views
    }

    /// Groups that have alerts which are asked for, by labels and receiver.
    pub fn groups(&self, filter: &AlertFilter) -> Vec<GroupView> {
        let (Some(running), now) = (self.running(), self.now()) else {
            return Vec::new();
        };
        let dispatcher = &running.dispatcher;
        let groups = dispatcher.groups(|route| {
            let name = &route.options.receiver;
            running.wants_name(filter, name)
                && (filter.receiver_matchers.is_empty() || running.wants_labels(filter, name))
        });
        let mut receivers: HashMap<u64, Vec<String>> = HashMap::new();
        let mut views = Vec::new();
        for group in groups {
            let wanted = group
                .alerts
                .iter()
                .filter_map(|alert| running.view(alert, filter, now));
            let mut alerts: Vec<AlertView> = wanted.collect();
            for view in &mut alerts {
                view.muted_by.clone_from(&group.muted_by);
                let names = receivers.entry(view.alert.fingerprint).or_default();
                names.push(group.route.options.receiver.clone());
            }
            if alerts.is_empty() || (!filter.muted && !group.muted_by.is_empty()) {
                continue;
            }
            alerts.sort_by(|a, b| by_job(&a.alert.labels, &b.alert.labels));
            views.push(GroupView {
                receiver: group.route.options.receiver.clone(),
                route_labels: dispatcher.route_labels(&group, now),
                key: group.key.to_string(),
                route_id: group.route.id.clone(),
                labels: group.labels,
                alerts,
            });
        }
        for names in receivers.values_mut() {
            names.sort();
        }
        for view in views.iter_mut().flat_map(|group| &mut group.alerts) {
            view.receivers.clone_from(&receivers[&view.alert.fingerprint]);
        }
        views.sort_by(|a, b| {
            let order = by_labels(&a.labels, &b.labels);
            order
                .then_with(|| a.receiver.cmp(&b.receiver))
                .then_with(|| a.route_id.cmp(&b.route_id))
        });
        views
    }
}

impl Running {
    fn wants_name(&self, filter: &AlertFilter, receiver: &str) -> bool {
        filter
            .receiver
            .as_ref()
            .is_none_or(|name| name.is_match(receiver))
    }

    fn wants_labels(&self, filter: &AlertFilter, receiver: &str) -> bool {
        let config = self
            .config
            .receivers
            .iter()
            .find(|config| config.name == receiver);
        config.is_some_and(|config| has_labels(&config.labels, &filter.receiver_matchers))
    }

    /// The alert as it is now, if it is asked for.
    fn view(&self, alert: &Arc<StoredAlert>, filter: &AlertFilter, now: Timestamp) -> Option<AlertView> {
        let label = |name: &str| alert.labels.get(name).map(str::to_owned);
        if alert.ends_at < now || !filter.matchers.filter(label) {
            return None;
        }
        let pipeline = &self.dispatcher.pipeline;
        let inhibiting = pipeline.inhibitor.inhibiting(&alert.labels, now);
        let view = AlertView {
            alert: alert.clone(),
            receivers: Vec::new(),
            silenced_by: pipeline.silencing(&alert.labels, now),
            inhibited_by: inhibiting
                .iter()
                .map(|source| format!("{:016x}", source.fingerprint))
                .collect(),
            muted_by: Vec::new(),
        };
        let wanted = (filter.active || view.is_suppressed())
            && (filter.silenced || view.silenced_by.is_empty())
            && (filter.inhibited || view.inhibited_by.is_empty());
        wanted.then_some(view)
    }
}

/// Whether a receiver's labels are like this.
fn has_labels(labels: &BTreeMap<String, String>, matchers: &Matchers) -> bool {
    matchers.filter(|name| labels.get(name).cloned())
}

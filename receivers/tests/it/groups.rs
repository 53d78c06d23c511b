//! From posts to notifications, as far as the cases need it: routes, groups, and what was told before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::labels::Labels;
use narthex_receivers::{Alert, Integration, Memory, Notification, NotifyReason, Templates};
use serde_json::Value;

/// A route without children of its own.
pub(crate) struct Route {
    key: String,
    matcher: Option<(String, String)>,
    group_by: Vec<String>,
    labels: BTreeMap<String, String>,
}

/// What an integration was told of a group.
#[derive(Default)]
struct Told {
    firing: BTreeSet<Labels>,
    resolved: BTreeSet<Labels>,
    memory: Memory,
}

#[derive(Default)]
struct Group {
    alerts: BTreeMap<Labels, Alert>,
    told: BTreeMap<String, Told>,
}

/// All groups, by the route's place and the group's labels.
pub(crate) struct Groups {
    routes: Vec<Route>,
    groups: BTreeMap<(usize, Labels), Group>,
    templates: Templates,
}

/// One notification that is due.
pub(crate) struct Due {
    group: (usize, Labels),
    pub(crate) notification: Notification,
    pub(crate) memory: Memory,
}

impl Groups {
    /// `route` is the configuration's.
    pub(crate) fn new(route: yaml::Value<'_>, templates: Templates) -> Self {
        let root = read_route(route, None);
        let children = route
            .entry("routes")
            .map(|routes| routes.sequence().expect("routes"));
        let mut routes: Vec<Route> = children
            .unwrap_or_default()
            .into_iter()
            .map(|child| read_route(child, Some(&root)))
            .collect();
        routes.push(root);
        Groups {
            routes,
            groups: BTreeMap::new(),
            templates,
        }
    }

    /// Takes alerts in.
    pub(crate) fn post(&mut self, alerts: &Value) {
        for posted in alerts.as_array().expect("alerts") {
            let time = |key: &str| posted[key].as_str().map(|text| text.parse().expect("a time"));
            let alert = Alert {
                labels: labels(&posted["labels"]),
                annotations: pairs(&posted["annotations"]),
                starts_at: time("startsAt").unwrap_or_else(Timestamp::now),
                ends_at: time("endsAt").filter(|end| *end <= Timestamp::now()),
                generator_url: posted["generatorURL"].as_str().unwrap_or("").to_owned(),
            };
            let fits = |route: &Route| match &route.matcher {
                None => true,
                Some((name, value)) => alert.labels.value(name) == value,
            };
            let index = self.routes.iter().position(fits).expect("the root takes all");
            let group_by = &self.routes[index].group_by;
            let grouped = if group_by.iter().any(|name| name == "...") {
                alert.labels.clone()
            } else {
                alert.labels.without(|name| !group_by.iter().any(|by| by == name))
            };
            let group = self.groups.entry((index, grouped)).or_default();
            group.alerts.insert(alert.labels.clone(), alert);
        }
    }

    /// What the integration is to be told now.
    pub(crate) fn due(&mut self, integration: &Integration) -> Vec<Due> {
        let mut due = Vec::new();
        for ((index, grouped), group) in &self.groups {
            let route = &self.routes[*index];
            let mut alerts: Vec<Alert> = group.alerts.values().cloned().collect();
            alerts.sort_by_key(order);
            let (firing, resolved) = states(&alerts);
            let told = group.told.get(&integration.name());
            let Some(reason) = reason(told, &firing, &resolved, integration.send_resolved()) else {
                continue;
            };
            let mut notification = Notification {
                receiver: integration.receiver().to_owned(),
                group_key: format!("{}:{grouped}", route.key),
                group_labels: grouped.clone(),
                route_labels: route.labels.clone(),
                alerts: Arc::new(alerts),
                reason,
                now: Timestamp::now(),
                repeat_interval: Duration::from_secs(3600),
            };
            let data = self.templates.data(&notification);
            let (rendered, failed) = self.templates.route_labels(&route.labels, data, notification.now);
            assert_eq!(failed, []);
            notification.route_labels = rendered;
            let memory = match (reason, told) {
                (NotifyReason::First, _) | (_, None) => Memory::new(),
                (_, Some(told)) => told.memory.clone(),
            };
            due.push(Due {
                group: (*index, grouped.clone()),
                notification,
                memory,
            });
        }
        due
    }

    /// Notes that it was told.
    pub(crate) fn told(&mut self, integration: &Integration, due: Due) {
        let (firing, resolved) = states(&due.notification.alerts);
        let group = self.groups.get_mut(&due.group).expect("the group");
        let told = Told {
            firing,
            resolved,
            memory: due.memory,
        };
        group.told.insert(integration.name(), told);
    }

    /// Forgets what is over, once all integrations have been told.
    pub(crate) fn sweep(&mut self) {
        for group in self.groups.values_mut() {
            group.alerts.retain(|_, alert| alert.ends_at.is_none());
        }
    }
}

fn read_route(route: yaml::Value<'_>, parent: Option<&Route>) -> Route {
    let list = |key: &str| {
        let list = route.entry(key)?.sequence().expect("a list");
        let texts = list
            .iter()
            .map(|item| item.scalar().expect("a text").text.clone());
        Some(texts.collect::<Vec<_>>())
    };
    let matcher = list("matchers").map(|matchers| {
        let (name, value) = matchers[0].split_once('=').expect("an equality");
        (name.trim().to_owned(), value.trim().to_owned())
    });
    let mut labels = parent.map(|parent| parent.labels.clone()).unwrap_or_default();
    if let Some(own) = route.entry("labels") {
        let own: BTreeMap<String, String> = yaml::FromYaml::from_yaml(own).expect("labels");
        labels.extend(own);
    }
    let key = match &matcher {
        None => "{}".to_owned(),
        Some((name, value)) => format!("{{}}/{{{name}={value:?}}}"),
    };
    Route {
        key,
        matcher,
        group_by: list("group_by")
            .or_else(|| parent.map(|parent| parent.group_by.clone()))
            .unwrap_or_default(),
        labels,
    }
}

fn labels(given: &Value) -> Labels {
    Labels::from_pairs(pairs(given))
}

fn pairs(given: &Value) -> BTreeMap<String, String> {
    let pairs = given.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or("").to_owned()))
        .collect()
}

fn states(alerts: &[Alert]) -> (BTreeSet<Labels>, BTreeSet<Labels>) {
    let (firing, resolved): (Vec<&Alert>, Vec<&Alert>) =
        alerts.iter().partition(|alert| alert.ends_at.is_none());
    let labels = |alerts: Vec<&Alert>| alerts.into_iter().map(|alert| alert.labels.clone()).collect();
    (labels(firing), labels(resolved))
}

fn reason(
    told: Option<&Told>,
    firing: &BTreeSet<Labels>,
    resolved: &BTreeSet<Labels>,
    send_resolved: bool,
) -> Option<NotifyReason> {
    let Some(told) = told else {
        return (!firing.is_empty()).then_some(NotifyReason::First);
    };
    if !firing.is_subset(&told.firing) {
        return Some(if told.firing.is_empty() {
            NotifyReason::First
        } else {
            NotifyReason::NewAlerts
        });
    }
    if firing.is_empty() {
        return (!told.firing.is_empty()).then_some(NotifyReason::AllResolved);
    }
    (send_resolved && !resolved.is_subset(&told.resolved)).then_some(NotifyReason::NewResolved)
}

/// The order in which alerts are told: by job, instance, and then all labels.
fn order(alert: &Alert) -> impl Ord + use<> {
    let first = |name: &str| {
        let value = alert.labels.get(name);
        (value.is_none(), value.unwrap_or("").to_owned())
    };
    let pairs: Vec<(String, String)> = alert
        .labels
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    (first("job"), first("instance"), pairs.len(), pairs)
}

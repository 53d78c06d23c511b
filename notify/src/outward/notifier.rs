//! From rules to queues.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use discovery::Groups;
use httpclient::{HttpClient, HttpClientConfig, HttpClientError};
use model::alert::{Alert, AlertSink};
use model::clock::Clock;
use model::labels::{ALERT_NAME, Labels, LabelsBuilder};
use model::relabel::{self, RelabelRule};
use parking_lot::{Mutex, RwLock};
use supervise::Supervisor;
use url::Url;

use super::alertmanager::Alertmanager;
use super::config::{AlertingConfig, AlertmanagerConfig, WebhookConfig};
use super::queue::{Deliver, Queue, QueueStats};
use super::webhook::Webhook;

/// How long stopping waits for each queue to be sent.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// Settings that come from the command line.
#[derive(Clone)]
pub struct NotifierOptions {
    /// Alerts that may wait for one destination.
    pub queue_capacity: usize,
    /// Alerts in one request.
    pub batch_size: usize,
    /// Send what waits before stopping.
    pub drain_on_shutdown: bool,
    /// Our own address, named in webhook messages.
    pub external_url: String,
    /// Sent with each request.
    pub user_agent: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Watches over relabelling and deliveries.
    pub supervisor: Supervisor,
    /// Gets every alert as the others do, at once: the Alertmanager inside.
    pub inside: Option<Arc<dyn AlertSink>>,
}

/// Sends alerts. Cheap to share; see [`AlertSink`].
pub struct Notifier {
    options: NotifierOptions,
    state: RwLock<State>,
    /// One reconfiguration at a time.
    changing: Mutex<()>,
}

#[derive(Default)]
struct State {
    external_labels: Labels,
    alert_relabel: Vec<RelabelRule>,
    sets: Vec<Set>,
    hooks: Vec<Hook>,
}

impl State {
    fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.sets
            .iter()
            .flat_map(|set| &set.active)
            .chain(self.hooks.iter().map(|hook| &hook.queue))
    }

    fn into_queues(self) -> impl Iterator<Item = Queue> {
        self.sets
            .into_iter()
            .flat_map(|set| set.active)
            .chain(self.hooks.into_iter().map(|hook| hook.queue))
    }
}

/// A webhook of the configuration.
struct Hook {
    config: WebhookConfig,
    queue: Queue,
}

/// The Alertmanagers of one entry of the configuration.
struct Set {
    config: AlertmanagerConfig,
    client: HttpClient,
    active: Vec<Queue>,
    dropped: Vec<String>,
}

/// Addresses of Alertmanagers, as the API lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertmanagerTargets {
    /// In use.
    pub active: Vec<String>,
    /// Dropped by relabelling.
    pub dropped: Vec<String>,
}

/// Configuration prepared aside, ready to be put in force.
pub struct Prepared {
    external_labels: Labels,
    config: AlertingConfig,
    clients: Vec<HttpClient>,
    webhook_clients: Vec<(HttpClient, Url)>,
}

impl Notifier {
    /// A notifier that sends nowhere until it is configured.
    pub fn new(options: NotifierOptions) -> Self {
        Notifier {
            options,
            state: RwLock::default(),
            changing: Mutex::new(()),
        }
    }

    /// Builds all that a configuration needs, changing nothing.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn prepare(
        &self,
        config: &AlertingConfig,
        external_labels: &Labels,
    ) -> Result<Prepared, HttpClientError> {
        let client = |http: &HttpClientConfig| HttpClient::new(http, &self.options.user_agent);
        let webhook = |hook: &WebhookConfig| {
            Ok::<_, HttpClientError>((
                client(&hook.http)?,
                Url::parse(&hook.url).expect("checked when the configuration was read"),
            ))
        };
        Ok(Prepared {
            external_labels: external_labels.clone(),
            config: config.clone(),
            clients: config
                .alertmanagers
                .iter()
                .map(|am| client(&am.http))
                .collect::<Result<_, _>>()?,
            webhook_clients: config.webhooks.iter().map(webhook).collect::<Result<_, _>>()?,
        })
    }

    /// Puts a configuration in force; cannot fail. Queues of destinations that stay are kept with what waits in them.
    /// Must be called inside a runtime.
    pub fn apply(&self, prepared: Prepared) {
        let _changing = self.changing.lock();
        let mut state = self.state.write();
        let mut before = std::mem::take(&mut *state);
        state.external_labels = prepared.external_labels;
        state.alert_relabel = prepared.config.alert_relabel_configs;
        for (config, client) in prepared.config.alertmanagers.into_iter().zip(prepared.clients) {
            let kept = before.sets.iter().position(|set| set.config == config);
            state.sets.push(match kept {
                Some(at) => before.sets.swap_remove(at),
                None => Set {
                    config,
                    client,
                    active: Vec::new(),
                    dropped: Vec::new(),
                },
            });
        }
        for (config, (client, url)) in prepared.config.webhooks.into_iter().zip(prepared.webhook_clients) {
            let kept = before.hooks.iter().position(|hook| hook.config == config);
            state.hooks.push(match kept {
                Some(at) => before.hooks.swap_remove(at),
                None => self.start_hook(config, client, url),
            });
        }
        drop(state);
        self.retire(before.into_queues());
    }

    fn start_hook(&self, config: WebhookConfig, client: HttpClient, url: Url) -> Hook {
        let destination = Webhook {
            client,
            url,
            timeout: config.timeout.as_std(),
            send_resolved: config.send_resolved,
            external_url: self.options.external_url.clone(),
            clock: self.options.clock.clone(),
            notified: Mutex::default(),
        };
        let queue = self.start_queue(config.url.clone(), destination);
        Hook { config, queue }
    }

    fn start_queue(&self, url: String, destination: impl Deliver) -> Queue {
        Queue::start(
            url,
            self.options.queue_capacity,
            self.options.batch_size,
            &self.options.supervisor,
            destination,
        )
    }

    /// Takes the Alertmanagers that discovery has found, by the number of their entry in the configuration.
    pub fn update(&self, found: &BTreeMap<String, Groups>) {
        let _changing = self.changing.lock();
        let mut retired = Vec::new();
        let mut state = self.state.write();
        for (index, set) in state.sets.iter_mut().enumerate() {
            let Some(groups) = found.get(&discovery_key(index)) else {
                continue;
            };
            let (active, dropped) = resolve(&set.config, groups, &self.options.supervisor);
            let wanted: HashSet<&str> = active.iter().map(|(url, _)| url.as_str()).collect();
            let (keep, gone): (Vec<Queue>, Vec<Queue>) = std::mem::take(&mut set.active)
                .into_iter()
                .partition(|queue| wanted.contains(queue.url.as_str()));
            retired.extend(gone);
            let kept: HashSet<String> = keep.iter().map(|queue| queue.url.clone()).collect();
            set.active = keep;
            for (text, url) in active {
                if kept.contains(&text) {
                    continue;
                }
                let destination = Alertmanager {
                    client: set.client.clone(),
                    url,
                    timeout: set.config.timeout.as_std(),
                };
                set.active.push(self.start_queue(text, destination));
            }
            set.dropped = dropped;
        }
        drop(state);
        self.retire(retired);
    }

    fn retire(&self, queues: impl IntoIterator<Item = Queue>) {
        for queue in queues {
            tokio::spawn(queue.stop(self.options.drain_on_shutdown, DRAIN_PATIENCE));
        }
    }

    /// The Alertmanagers in use and those dropped.
    pub fn alertmanagers(&self) -> AlertmanagerTargets {
        let state = self.state.read();
        AlertmanagerTargets {
            active: state
                .sets
                .iter()
                .flat_map(|set| set.active.iter().map(|queue| queue.url.clone()))
                .collect(),
            dropped: state
                .sets
                .iter()
                .flat_map(|set| set.dropped.iter().cloned())
                .collect(),
        }
    }

    /// Looks at each destination's counters.
    pub fn visit_stats(&self, mut visit: impl FnMut(&str, &QueueStats)) {
        let state = self.state.read();
        for queue in state.queues() {
            visit(&queue.url, queue.stats());
        }
    }

    /// Stops all queues; sends what waits if so configured.
    pub async fn stop(&self) {
        let state = std::mem::take(&mut *self.state.write());
        let drain = self.options.drain_on_shutdown;
        let stopping: Vec<_> = state
            .into_queues()
            .map(|queue| tokio::spawn(queue.stop(drain, DRAIN_PATIENCE)))
            .collect();
        for task in stopping {
            // A task that panicked has nothing left to stop.
            let _ = task.await;
        }
    }
}

/// Name of an entry's job for discovery.
pub fn discovery_key(index: usize) -> String {
    format!("config-{index}")
}

impl AlertSink for Notifier {
    fn send(&self, alerts: Vec<Alert>) {
        let state = self.state.read();
        let alerts = self.surviving(alerts, state.queues(), |alert| prepare_alert(&state, alert));
        if alerts.is_empty() {
            return;
        }
        if let Some(inside) = &self.options.inside {
            inside.send(alerts.clone());
        }
        for set in &state.sets {
            let rules = &set.config.alert_relabel_configs;
            if rules.is_empty() {
                set.active.iter().for_each(|queue| queue.add(&alerts));
            } else {
                let own = self.surviving(alerts.clone(), set.active.iter(), |alert| {
                    relabelled(rules, alert)
                });
                set.active.iter().for_each(|queue| queue.add(&own));
            }
        }
        state.hooks.iter().for_each(|hook| hook.queue.add(&alerts));
    }
}

impl Notifier {
    /// What `change` makes of the alerts. One at which it panics is lost to `queues` and counted there; the others go on.
    fn surviving<'q>(
        &self,
        alerts: Vec<Alert>,
        queues: impl Iterator<Item = &'q Queue>,
        change: impl Fn(Alert) -> Option<Alert>,
    ) -> Vec<Alert> {
        let mut lost = 0;
        let mut changed = |alert: Alert| {
            let labels = alert.labels.clone();
            let changed = self
                .options
                .supervisor
                .catch("alert relabelling", || change(alert));
            changed.unwrap_or_else(|error| {
                lost += 1;
                tracing::error!(alert = %labels, %error, "An alert is not sent");
                None
            })
        };
        let changed = alerts.into_iter().filter_map(&mut changed).collect();
        if lost > 0 {
            queues.for_each(|queue| queue.count_lost(lost));
        }
        changed
    }
}

/// Adds the external labels that the alert has not itself, then relabels.
fn prepare_alert(state: &State, mut alert: Alert) -> Option<Alert> {
    let mut labels = alert.labels.to_builder();
    for (name, value) in &state.external_labels {
        if labels.value(name).is_empty() {
            labels.set(name, value);
        }
    }
    alert.labels = labels.build();
    relabelled(&state.alert_relabel, alert)
}

fn relabelled(rules: &[RelabelRule], mut alert: Alert) -> Option<Alert> {
    if rules.is_empty() {
        return Some(alert);
    }
    let mut labels = alert.labels.to_builder();
    if !relabel::apply(rules, &mut labels) {
        return None;
    }
    match labels.try_build() {
        Ok(labels) => alert.labels = labels,
        Err(error) => {
            tracing::error!(alert = alert.labels.value(ALERT_NAME), %error, "Relabelling an alert failed; it is not sent");
            return None;
        }
    }
    Some(alert)
}

/// URLs of the Alertmanagers in `groups`: those in use, without repetitions, and those that relabelling drops.
fn resolve(
    config: &AlertmanagerConfig,
    groups: &Groups,
    supervisor: &Supervisor,
) -> (Vec<(String, Url)>, Vec<String>) {
    let (mut active, mut dropped) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    let path = format!("/{}/api/v2/alerts", config.path_prefix.trim_matches('/')).replace("//", "/");
    for group in groups.iter() {
        for target in &group.targets {
            let mut labels: LabelsBuilder = group.labels.to_builder();
            for (name, value) in target {
                labels.set(name, value);
            }
            labels
                .set("__scheme__", &config.scheme)
                .set("__alerts_path__", &path);
            let before = url_of(&labels);
            // A target at which relabelling panics must not end the following of all others.
            let kept = supervisor.catch("relabelling of Alertmanagers", || {
                relabel::apply(&config.relabel_configs, &mut labels)
            });
            if !kept.unwrap_or(false) {
                dropped.push(before);
                continue;
            }
            let (text, address) = (url_of(&labels), labels.value("__address__"));
            if address.is_empty() || address.contains('/') {
                tracing::error!(address, "Alertmanager address is not a host name");
                continue;
            }
            match Url::parse(&text) {
                Ok(url) if seen.insert(text.clone()) => active.push((text, url)),
                Ok(_) => {}
                Err(error) => tracing::error!(url = text, %error, "Alertmanager address gives no URL"),
            }
        }
    }
    (active, dropped)
}

fn url_of(labels: &LabelsBuilder) -> String {
    let path = labels.value("__alerts_path__").trim_start_matches('/');
    format!(
        "{}://{}/{path}",
        labels.value("__scheme__"),
        labels.value("__address__")
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    struct Nowhere;

    impl Deliver for Nowhere {
        async fn deliver(&self, _: Vec<Alert>) -> Result<(), crate::outward::queue::DeliveryError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_alert_at_which_relabelling_panics_is_lost_alone() {
        let notifier = Notifier::new(NotifierOptions {
            queue_capacity: 10,
            batch_size: 1,
            drain_on_shutdown: true,
            external_url: String::new(),
            user_agent: String::new(),
            clock: Arc::new(model::clock::ManualClock::new(0)),
            supervisor: Supervisor::new(&metrics::Registry::new()),
            inside: None,
        });
        let queue = notifier.start_queue("http://x".into(), Nowhere);
        let alerts = ["a", "panics", "b"].map(|name| Alert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: Labels::empty(),
            starts_at_ms: 0,
            ends_at_ms: 1,
            generator_url: String::new(),
        });
        let left = notifier.surviving(alerts.to_vec(), [&queue].into_iter(), |alert| {
            assert_ne!(alert.labels.value("alertname"), "panics", "as prepared");
            Some(alert)
        });
        assert_eq!(left, [alerts[0].clone(), alerts[2].clone()]);
        let stats = queue.stats();
        assert_eq!(stats.errors.load(Ordering::Relaxed), 1);
        assert_eq!(stats.dropped.load(Ordering::Relaxed), 1);
        queue.stop(true, Duration::from_secs(10)).await;
    }
}

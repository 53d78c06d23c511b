//! The handle: everything that is done with the Alertmanager is done through it.

mod expiry;
mod options;
mod rehearsal;
mod trial;
mod upkeep;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use model::alert::AlertSink;
use model::labels::ALERT_NAME;
use model::storage::StorageError;
use parking_lot::{Mutex, RwLock};
use receivers::{BuildError, Integration, Templates, TemplatesError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alert::{Offsets, PostError, PostedAlert};
use crate::config::Config;
use crate::dispatch::{Dispatcher, Hand, Pipeline, Surroundings};
use crate::history::{History, HistoryPage, HistoryQuery, SilenceFate};
use crate::inhibit::Inhibitor;
use crate::interval::NamedIntervals;
use crate::lease::{HighAvailability, Lease, LeaseAround, LeaseStats, OpenError};
use crate::log::NotificationLog;
use crate::route::Tree;
use crate::silence::{MuteCache, PostedSilence, Silence, SilenceError, SilenceState, Silences};
use crate::stats::{LedgerStats, Stats};
use crate::store::{AlertStore, StoreLimits};

pub use options::{BuildReceiver, Options};
pub use rehearsal::{Rehearsal, RehearsalError, RehearsalReport, Rehearsed};
pub use trial::{IntegrationPreview, IntegrationTrial, PreparedTrial, Trial, TrialAlerts, TrialError};
pub use view::{AlertFilter, AlertView, GroupView};

/// A silence that is about every alert is worth a warning once there are so many.
const MET_WARNS_FROM: usize = 10;
/// One that is about so many is in any case.
const MET_MANY: usize = 1000;
/// Most templates that are named when they fail at a reload.
const FAILING_TEMPLATES_SAID_MAX: usize = 20;
/// How long an alert without an end is believed before there is a configuration.
const RESOLVE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5 * 60);

/// An Alertmanager. Cheap to share.
#[derive(Clone)]
pub struct Alertmanager {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    around: Surroundings,
    store: Mutex<AlertStore>,
    running: RwLock<Option<Arc<Running>>>,
    /// One at a time takes alerts in or changes the configuration, so that every dispatcher gets every alert.
    intake: Mutex<()>,
    started: Instant,
    started_at: Timestamp,
    /// Ends of silences up to this moment are in the history.
    ended_until: Mutex<Option<Timestamp>>,
    /// A place for each trial of a receiver.
    trials: Arc<tokio::sync::Semaphore>,
    /// Where notifications are sent.
    runtime: RwLock<Option<tokio::runtime::Handle>>,
    /// Dispatchers of earlier configurations that end.
    retiring: TaskTracker,
    stopping: CancellationToken,
}

/// What is in force.
struct Running {
    config: Arc<Config>,
    dispatcher: Arc<Dispatcher>,
}

/// A configuration prepared aside, ready to be put in force.
pub struct Prepared {
    config: Arc<Config>,
    tree: Tree,
    integrations: HashMap<String, Vec<Integration>>,
    intervals: HashMap<String, NamedIntervals>,
    inhibitor: Inhibitor,
    templates: Templates,
    lease: Option<Arc<Lease>>,
}

impl Prepared {
    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Files of templates that were read.
    pub fn template_files(&self) -> &[PathBuf] {
        self.templates.files()
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// Templates cannot be read.
    #[error("failed to parse templates: {0}")]
    Templates(#[from] TemplatesError),
    /// A receiver cannot be built.
    #[error(transparent)]
    Receiver(#[from] BuildError),
    /// What a lease is kept in cannot be opened.
    #[error(transparent)]
    Lease(#[from] OpenError),
}

/// A silence that was made, or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutSilence {
    /// Its id.
    pub id: String,
    /// What is worth a warning.
    pub breadth: Option<Breadth>,
}

/// Of how many alerts a silence keeps silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breadth {
    /// Those that it is about.
    pub met: usize,
    /// Those that there are.
    pub held: usize,
}

impl std::fmt::Display for Breadth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.met == self.held {
            true => write!(f, "the silence is about all {} alerts that there are", self.met),
            false => write!(f, "the silence is about {} of {} alerts", self.met, self.held),
        }
    }
}

/// A receiver of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverView {
    /// Its name.
    pub name: String,
    /// What it is searched by; `name` is among them.
    pub labels: BTreeMap<String, String>,
}

impl Alertmanager {
    /// Opens the files in the options' folder. Nothing is dispatched before [`Alertmanager::apply`]. Not for the network's
    /// threads.
    ///
    /// # Errors
    /// When files cannot be read, or the folder not made.
    pub fn open(options: Options) -> Result<Self, StorageError> {
        Alertmanager::open_with(options, None)
    }

    /// Opens it; with a hand, nothing goes on by itself.
    fn open_with(options: Options, hand: Option<Hand>) -> Result<Self, StorageError> {
        let stats = Stats::new(
            &options.registry,
            options.metric_labels,
            options.alerts_per_name_max,
        );
        let (files, clock) = (&options.files, &options.clock);
        let (silences, recovery) = Silences::open(
            files.clone(),
            clock.clone(),
            &options.folder,
            options.retention,
            options.silence_limits,
            options.supervisor.clone(),
            LedgerStats::of_silences(&options.registry),
        )?;
        upkeep::tell("silences", &recovery);
        let (log, recovery) = NotificationLog::open(
            files.clone(),
            clock.clone(),
            &options.folder,
            options.retention,
            options.supervisor.clone(),
            LedgerStats::of_log(&options.registry),
        )?;
        upkeep::tell("nflog", &recovery);
        let history = History::open(
            files.clone(),
            clock.clone(),
            &options.folder,
            options.history,
            &options.registry,
        );
        let around = Surroundings {
            silences: Arc::new(silences),
            mutes: Arc::new(MuteCache::default()),
            log: Arc::new(log),
            stats,
            observer: options.observer.clone(),
            history,
            seat: Arc::default(),
            clock: clock.clone(),
            supervisor: options.supervisor.clone(),
            hand,
        };
        let limits = StoreLimits {
            per_name: options.alerts_per_name_max,
            total: options.alerts_max,
        };
        let shared = Arc::new(Shared {
            started_at: around.now(),
            ended_until: Mutex::new(around.history.as_ref().and_then(|history| history.newest())),
            started: Instant::now(),
            around,
            store: Mutex::new(AlertStore::new(limits)),
            running: RwLock::new(None),
            intake: Mutex::new(()),
            trials: Arc::new(tokio::sync::Semaphore::new(trial::TRIALS_MAX)),
            runtime: RwLock::new(None),
            retiring: TaskTracker::new(),
            stopping: CancellationToken::new(),
            options,
        });
        upkeep::collect_metrics(&shared);
        Ok(Alertmanager { shared })
    }

    /// Builds all that a configuration needs, changing nothing. Reads files: not for the network's threads.
    ///
    /// # Errors
    /// When templates or receivers are not to be had.
    pub fn prepare(&self, config: Config) -> Result<Prepared, PrepareError> {
        self.try_prepare(config).inspect_err(|_| self.refused_config())
    }

    /// Takes note that a configuration could not be used before it came here, for metrics.
    pub fn refused_config(&self) {
        self.shared.around.stats.refused_config();
    }

    fn try_prepare(&self, config: Config) -> Result<Prepared, PrepareError> {
        let options = &self.shared.options;
        let templates = Templates::load(&config.templates, &options.external_url)?;
        warn_of_templates(&config, &templates, self.now());
        let tree = Tree::new(&config.route);
        let mut integrations = HashMap::new();
        for receiver in &config.receivers {
            let is_named = |name: &str| name == receiver.name;
            let is_used = |route: &crate::route::Route| is_named(&route.options.receiver);
            let tells_of_ends = config
                .silence_expiry
                .as_ref()
                .is_some_and(|expiry| is_named(&expiry.receiver));
            if !tells_of_ends && !tree.routes().iter().any(is_used) {
                tracing::info!(
                    receiver = receiver.name,
                    "No route names the receiver; it is not built"
                );
                continue;
            }
            let built = (options.build)(receiver, &templates)?;
            integrations.insert(receiver.name.clone(), built);
        }
        let lease = self.lease_of(&config)?;
        let intervals = config.mute_time_intervals.iter().chain(&config.time_intervals);
        Ok(Prepared {
            lease,
            intervals: intervals
                .map(|named| (named.name.clone(), named.clone()))
                .collect(),
            inhibitor: Inhibitor::new(&config.inhibit_rules),
            config: Arc::new(config),
            tree,
            integrations,
            templates,
        })
    }

    /// The lease that a configuration asks for: the one in force, where it is the same.
    fn lease_of(&self, config: &Config) -> Result<Option<Arc<Lease>>, OpenError> {
        let Some(HighAvailability { lease: config }) = &config.high_availability else {
            return Ok(None);
        };
        let (shared, options) = (&self.shared, &self.shared.options);
        if let Some(current) = shared
            .around
            .seat
            .lease()
            .filter(|lease| lease.config() == config)
        {
            return Ok(Some(current));
        }
        let around = LeaseAround {
            seat: shared.around.seat.clone(),
            clock: options.clock.clone(),
            supervisor: options.supervisor.clone(),
        };
        let books = vec![shared.around.log.shared(), shared.around.silences.shared()];
        let (store, stats) = ((options.open_lease)(config)?, LeaseStats::new(&options.registry));
        Ok(Some(Lease::new(config.clone(), store, books, stats, around)))
    }

    /// Puts a configuration in force; cannot fail. Groups are built anew of all alerts that are held. Must be called
    /// inside a runtime.
    pub fn apply(&self, prepared: Prepared) {
        let shared = &self.shared;
        *shared.runtime.write() = tokio::runtime::Handle::try_current().ok();
        self.warn_of_intervals(&prepared.tree);
        self.warn_of_expiry(&prepared.config);
        let integrations: Vec<&Integration> = prepared.integrations.values().flatten().collect();
        shared.around.stats.configured(
            prepared.integrations.len(),
            &integrations,
            prepared.inhibitor.len(),
            self.now().as_millisecond() as f64 / 1000.0,
        );
        let pipeline = Pipeline {
            tree: prepared.tree,
            integrations: prepared.integrations,
            intervals: prepared.intervals,
            inhibitor: prepared.inhibitor,
            templates: prepared.templates,
            around: shared.around.clone(),
        };
        let begins = shared.started + shared.options.start_delay;
        let dispatcher = Dispatcher::new(pipeline, shared.options.groups_max, begins);
        let _intake = shared.intake.lock();
        let old = shared.running.read().clone();
        if let Some(old) = &old {
            old.dispatcher.close();
        }
        if let Some(ending) = shared.around.seat.replace(prepared.lease.clone()) {
            shared.retiring.spawn(async move { ending.stop().await });
        }
        if let Some(lease) = prepared.lease.filter(|_| !shared.stopping.is_cancelled()) {
            lease.start();
        }
        // In the order of their labels, so that who is first in a group does not depend on chance.
        let mut alerts = shared.store.lock().all();
        alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
        for alert in &alerts {
            dispatcher.pipeline.inhibitor.see(alert);
        }
        dispatcher.insert(&alerts);
        let goes_on = shared.around.hand.is_none();
        if goes_on && !shared.stopping.is_cancelled() {
            dispatcher.start();
        }
        *shared.running.write() = Some(Arc::new(Running {
            config: prepared.config,
            dispatcher,
        }));
        match old {
            Some(old) => drop(shared.retiring.spawn(async move { old.dispatcher.stop().await })),
            None if goes_on => self.start_upkeep(),
            None => {}
        }
    }

    fn warn_of_intervals(&self, tree: &Tree) {
        for route in tree.routes() {
            let (options, retention) = (&route.options, self.shared.options.retention);
            if options.repeat_interval > retention {
                tracing::warn!(
                    route = route.key,
                    "repeat_interval is longer than notifications are remembered: they may repeat more often"
                );
            }
            if options.repeat_interval < options.group_interval {
                tracing::warn!(
                    route = route.key,
                    "repeat_interval is shorter than group_interval: notifications repeat every group_interval"
                );
            }
        }
    }

    /// Takes alerts in: into memory, the inhibition rules and their groups, before it returns. Waits for no disk and no
    /// network; a hundred thousand alerts keep its thread for some tenths of a second, though.
    ///
    /// # Errors
    /// When some make no sense; the others are taken.
    pub fn post(&self, alerts: Vec<PostedAlert>) -> Result<(), PostError> {
        let shared = &self.shared;
        let stats = &shared.around.stats;
        let _intake = shared.intake.lock();
        let (running, now) = (self.running(), self.now());
        let resolve_timeout = running.as_ref().map_or(RESOLVE_TIMEOUT, |running| {
            running.config.global.resolve_timeout.as_std()
        });
        let (mut taken, mut refused) = (Vec::with_capacity(alerts.len()), Vec::new());
        for posted in alerts {
            let alert = posted.stored(now, resolve_timeout);
            stats.received(alert.is_resolved(now));
            if let Err(error) = alert.check(shared.options.syntax) {
                stats.invalid();
                refused.push(error);
                continue;
            }
            let name = alert.labels.value(ALERT_NAME).to_owned();
            match shared.store.lock().put(alert, now) {
                Ok(alert) => {
                    if let Some(history) = &shared.around.history {
                        history.alert(&alert, now);
                    }
                    taken.push(alert);
                }
                Err(limited) => {
                    stats.limited(&name);
                    tracing::warn!(alertname = name, err = %limited, "An alert was refused");
                }
            }
        }
        if let Some(running) = running {
            let dispatcher = &running.dispatcher;
            for alert in &taken {
                dispatcher.pipeline.inhibitor.see(alert);
            }
            dispatcher.insert(&taken);
            stats.handed_on(taken.len());
        }
        if refused.is_empty() {
            Ok(())
        } else {
            Err(PostError(refused))
        }
    }

    /// Silences that `keep` wants, oldest first.
    pub fn silences(&self, keep: impl FnMut(&Silence) -> bool) -> Vec<Arc<Silence>> {
        self.shared.around.silences.list(keep)
    }

    /// The silence of this id.
    pub fn silence(&self, id: &str) -> Option<Arc<Silence>> {
        self.shared.around.silences.get(id)
    }

    /// Where a silence is in its life now.
    pub fn silence_state(&self, silence: &Silence) -> SilenceState {
        silence.state(self.now())
    }

    /// Makes a silence, or changes one: gives its id, which is a new one where the change would rewrite what has been
    /// silenced. Durable once it returns. `by` is who asks, where that is known, for the history.
    ///
    /// # Errors
    /// See [`SilenceError`]; nothing has changed then.
    pub async fn put_silence(
        &self,
        silence: PostedSilence,
        by: Option<&str>,
    ) -> Result<PutSilence, SilenceError> {
        let silences = &self.shared.around.silences;
        let syntax = self.shared.options.syntax;
        let changed = silence.id.clone();
        let id = silences.put(silence, syntax, || self.now()).await?;
        if let Some(silence) = self.silence(&id) {
            let (change, replaces) = match changed.as_str() {
                "" => (SilenceFate::Created, None),
                changed if changed == id => (SilenceFate::Updated, None),
                changed => (SilenceFate::Created, Some(changed)),
            };
            if let Some(history) = &self.shared.around.history {
                history.silence(&silence, change, replaces, by, silence.updated_at);
            }
            let breadth = self.breadth(silence).await;
            return Ok(PutSilence { id, breadth });
        }
        Ok(PutSilence { id, breadth: None })
    }

    /// How many of the alerts that are held and not resolved a silence is about, and how many are held. Looks at all of
    /// them: not for the network's threads.
    pub fn count_met(&self, silence: &Silence) -> Breadth {
        let now = self.now();
        let mut alerts = self.shared.store.lock().all();
        alerts.retain(|alert| !alert.is_resolved(now));
        let met = alerts.iter().filter(|alert| silence.matches(&alert.labels));
        Breadth {
            met: met.count(),
            held: alerts.len(),
        }
    }

    /// Says so where a silence is about everything, or very many alerts.
    async fn breadth(&self, silence: Arc<Silence>) -> Option<Breadth> {
        let (server, supervisor) = (self.clone(), &self.shared.options.supervisor);
        let counting = supervisor.blocking("silences", move || {
            let breadth = server.count_met(&silence);
            let is_all = breadth.met == breadth.held && breadth.met >= MET_WARNS_FROM;
            let warns = is_all || breadth.met >= MET_MANY;
            if warns {
                tracing::warn!(id = silence.id, warning = %breadth, "A silence is broad");
            }
            warns.then_some(breadth)
        });
        // A panic is counted and logged; the silence is made all the same.
        counting.await.unwrap_or(None)
    }

    /// Ends a silence. Durable once it returns; ending it twice does no harm. `by` is who asks, where that is known, for the
    /// history.
    ///
    /// # Errors
    /// When there is none of this id, or the disk does not take it.
    pub async fn expire_silence(&self, id: &str, by: Option<&str>) -> Result<(), SilenceError> {
        let silences = &self.shared.around.silences;
        let ended = silences.expire(id, || self.now()).await?;
        if let (Some(history), Some(silence)) = (&self.shared.around.history, ended) {
            history.silence(&silence, SilenceFate::Expired, None, by, silence.updated_at);
        }
        Ok(())
    }

    /// What happened, newest first; `None` where no history is kept. Reads files: not for the network's threads.
    pub fn history(&self, query: &HistoryQuery) -> Option<HistoryPage> {
        self.shared
            .around
            .history
            .as_ref()
            .map(|history| history.ask(query))
    }

    /// Receivers of the configuration, in its order.
    pub fn receivers(&self) -> Vec<ReceiverView> {
        let view = |receiver: &receivers::ReceiverConfig| ReceiverView {
            name: receiver.name.clone(),
            labels: receiver.labels.clone(),
        };
        self.config()
            .map_or_else(Vec::new, |config| config.receivers.iter().map(view).collect())
    }

    /// The configuration in force.
    pub fn config(&self) -> Option<Arc<Config>> {
        self.running().map(|running| running.config.clone())
    }

    /// The configuration as the API's status shows it; empty without one.
    pub fn config_text(&self) -> String {
        self.config().map_or_else(String::new, |config| config.to_yaml())
    }

    /// Whether there is a configuration, and it is not being stopped.
    pub fn is_ready(&self) -> bool {
        self.running().is_some() && !self.shared.stopping.is_cancelled()
    }

    /// When it was opened.
    pub fn started_at(&self) -> Timestamp {
        self.shared.started_at
    }

    /// The time of day, as it sees it.
    pub fn now(&self) -> Timestamp {
        self.shared.around.now()
    }

    /// How matchers are written.
    pub fn syntax(&self) -> crate::matcher::Syntax {
        self.shared.options.syntax
    }

    fn running(&self) -> Option<Arc<Running>> {
        self.shared.running.read().clone()
    }
}

/// Tries templates before an alert does, and says which fail. They are no reason to refuse a configuration: the reference
/// takes it, and what they fail with may never come.
fn warn_of_templates(config: &Config, templates: &Templates, now: Timestamp) {
    let failing = receivers::rehearsal::rehearse(&config.receivers, templates, now);
    for failing in failing.iter().take(FAILING_TEMPLATES_SAID_MAX) {
        tracing::warn!(
            receiver = failing.receiver,
            field = failing.place,
            sample = failing.sample,
            err = failing.error,
            "A template fails; a notification would not be what it should be"
        );
    }
    if failing.len() > FAILING_TEMPLATES_SAID_MAX {
        tracing::warn!(
            templates = failing.len(),
            "More templates fail than are named here"
        );
    }
}

/// Alerts of our own rules, without a network between.
impl AlertSink for Alertmanager {
    fn send(&self, alerts: Vec<model::alert::Alert>) {
        let time = |ms| Timestamp::from_millisecond(ms).ok();
        let posted = alerts.into_iter().map(|alert| PostedAlert {
            labels: alert.labels,
            annotations: alert
                .annotations
                .iter()
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .collect(),
            starts_at: time(alert.starts_at_ms),
            ends_at: time(alert.ends_at_ms),
            generator_url: alert.generator_url,
            offsets: Offsets::default(),
        });
        if let Err(error) = self.post(posted.collect()) {
            tracing::warn!(err = %error, "Alerts of rules were refused");
        }
    }
}

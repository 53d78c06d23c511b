//! What an Alertmanager is made with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use credentials::Machine;
use files::{DiskFiles, Files};
use metrics::Registry;
use model::clock::{Clock, SystemClock};
use receivers::{BuildError, Integration, ReceiverConfig, Templates};
use supervise::Supervisor;

use crate::history::HistoryLimits;
use crate::lease::{OpenStore, open_store};
use crate::matcher::Syntax;
use crate::observer::Observer;
use crate::silence::SilenceLimits;
use crate::stats::MetricLabels;

/// Builds what sends for a receiver: [`receivers::build`] with what the program knows of its machine, or a test's own.
pub type BuildReceiver =
    Arc<dyn Fn(&ReceiverConfig, &Templates) -> Result<Vec<Integration>, BuildError> + Send + Sync>;

/// Settings that come from the command line, and what else there is in the program.
#[derive(Clone)]
pub struct Options {
    /// Where silences and the log of notifications are kept.
    pub folder: PathBuf,
    /// The disk.
    pub files: Arc<dyn Files>,
    /// How long silences are kept after their end, and entries of the log at most.
    pub retention: Duration,
    /// From one snapshot to the next.
    pub maintenance_interval: Duration,
    /// From one forgetting of resolved alerts to the next.
    pub alert_gc_interval: Duration,
    /// How many silences there may be.
    pub silence_limits: SilenceLimits,
    /// How many alerts of one name are held; 0 for any number.
    pub alerts_per_name_max: usize,
    /// How many alerts are held in all; what comes beyond is refused and counted.
    pub alerts_max: usize,
    /// How many groups there may be; 0 for any number.
    pub groups_max: usize,
    /// How long nothing is sent at first, so that those who tell of alerts have time to do so.
    pub start_delay: Duration,
    /// How matchers are written.
    pub syntax: Syntax,
    /// Where users reach the server; templates know it.
    pub external_url: String,
    /// Builds what sends.
    pub build: BuildReceiver,
    /// Opens what a lease is kept in.
    pub open_lease: OpenStore,
    /// Is told every decision.
    pub observer: Option<Arc<dyn Observer>>,
    /// How much of the history is kept.
    pub history: HistoryLimits,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Watches over tasks.
    pub supervisor: Supervisor,
    /// Where metrics are.
    pub registry: Registry,
    /// Labels that they have beyond the usual ones.
    pub metric_labels: MetricLabels,
}

/// What clients call themselves unless somebody says otherwise.
const USER_AGENT: &str = "Narthex";
/// Alerts that are held unless somebody says otherwise.
const ALERTS_MAX: usize = 5_000_000;

impl Options {
    /// The reference's defaults, on the real disk and by the machine's clock: without a history.
    pub fn new(folder: impl Into<PathBuf>, build: BuildReceiver, registry: Registry) -> Self {
        Options {
            folder: folder.into(),
            files: Arc::new(DiskFiles),
            retention: Duration::from_secs(120 * 3600),
            maintenance_interval: Duration::from_secs(15 * 60),
            alert_gc_interval: Duration::from_secs(30 * 60),
            silence_limits: SilenceLimits::default(),
            alerts_per_name_max: 0,
            alerts_max: ALERTS_MAX,
            groups_max: 0,
            start_delay: Duration::ZERO,
            syntax: Syntax::default(),
            external_url: String::new(),
            build,
            open_lease: Arc::new(|config| open_store(config, &Machine::new(USER_AGENT))),
            observer: None,
            history: HistoryLimits::default(),
            clock: Arc::new(SystemClock),
            supervisor: Supervisor::new(&registry),
            registry,
            metric_labels: MetricLabels::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

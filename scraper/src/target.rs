//! Targets: what discovery found, turned by configuration and relabelling into something to scrape.

use model::go::{Quoted, parse_bool};
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use discovery::TargetGroup;
use model::duration::{DurationError, parse_duration};
use model::labels::{LabelTooLong, Labels, LabelsBuilder};
use model::relabel;
use parking_lot::Mutex;

use crate::config::ScrapeConfig;
use crate::metadata::MetadataStore;
use crate::url::target_url;

const ADDRESS: &str = "__address__";
const INSTANCE: &str = "instance";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const UNIX_SOCKET: &str = "__unix_socket__";
const META_PREFIX: &str = "__meta_";
pub(crate) const PARAM_PREFIX: &str = "__param_";
const RESERVED_PREFIX: &str = "__";
const CONVERT_CLASSIC: &str = "__convert_classic_histograms_to_nhcb__";
const ALWAYS_CLASSIC: &str = "__always_scrape_classic_histograms__";
const NATIVE: &str = "__scrape_native_histograms__";

/// Whether the last scrape of a target succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// It has not been scraped yet.
    #[default]
    Unknown,
    /// It did.
    Up,
    /// It did not.
    Down,
}

impl Health {
    /// The word that the HTTP API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// What the last scrape of a target was like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetStatus {
    /// How it went.
    pub health: Health,
    /// Why it failed; empty where it did not.
    pub last_error: String,
    /// What of it was not stored although it succeeded; empty where all was.
    pub last_warning: String,
    /// When it was, in milliseconds since the epoch; nothing before the first.
    pub last_scrape_ms: Option<i64>,
    /// How long it took.
    pub last_duration_s: f64,
}

/// Something to scrape.
#[derive(Debug)]
pub(crate) struct Target {
    /// All labels that relabelling left but `__meta_…`.
    pub(crate) labels: Labels,
    /// The labels that samples get.
    pub(crate) public: Labels,
    pub(crate) url: String,
    /// What it was found as, before relabelling.
    pub(crate) discovered: Mutex<Labels>,
    pub(crate) status: Mutex<TargetStatus>,
    pub(crate) metadata: Mutex<Option<Arc<MetadataStore>>>,
}

/// What a discovered target became.
#[derive(Debug)]
pub(crate) enum Populated {
    /// A target.
    Active(Box<Target>),
    /// Relabelling dropped it; the labels are those that it was found with.
    Dropped(Labels),
}

/// Why a discovered target cannot be scraped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// No address is left after relabelling.
    #[error("no address")]
    NoAddress,
    /// The address is a URL or has a path.
    #[error("{} is not a valid hostname", Quoted(.0))]
    Address(String),
    /// A label that says how often to scrape is not a duration.
    #[error("error parsing scrape {what}: {source}")]
    Time {
        /// `interval` or `timeout`.
        what: &'static str,
        /// What is wrong with it.
        source: DurationError,
    },
    /// A label that says how often to scrape is 0.
    #[error("scrape {0} cannot be 0")]
    Zero(&'static str),
    /// The scrape would take longer than the time to the next.
    #[error("scrape timeout cannot be greater than scrape interval ({} > {})", Quoted(.timeout), Quoted(.interval))]
    TimeoutAboveInterval {
        /// The label's value.
        timeout: String,
        /// The label's value.
        interval: String,
    },
    /// A name or value that no label can hold.
    #[error(transparent)]
    LabelTooLong(#[from] LabelTooLong),
    /// A label that switches something is neither true nor false.
    #[error("error parsing {what}: strconv.ParseBool: parsing {}: invalid syntax", Quoted(.value))]
    Bool {
        /// What it switches.
        what: &'static str,
        /// The label's value.
        value: String,
    },
}

impl Target {
    /// Targets with the same key have the same series behind the same URL.
    pub(crate) fn series_key(&self) -> (Labels, String) {
        (self.public.clone(), self.url.clone())
    }

    /// Tells targets of a job apart: those with equal labels and URL are one.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = Fnv64::default();
        hash.write(format!("{:016}", self.labels.hash64()).as_bytes());
        hash.write(self.url.as_bytes());
        hash.finish()
    }

    /// Time from `now_ms` to the target's next turn in a cycle of `interval`. Turns are spread over the cycle by the
    /// target's hash and the server's seed, and stay where they are for good.
    pub(crate) fn offset(&self, now_ms: i64, interval: Duration, seed: u64) -> Duration {
        let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let now_ns = u64::try_from(now_ms).unwrap_or(0).saturating_mul(1_000_000);
        let to_boundary = interval_ns - now_ns % interval_ns;
        let turn = (self.hash() ^ seed) % interval_ns;
        let next = to_boundary.saturating_add(turn);
        Duration::from_nanos(if next > interval_ns {
            next - interval_ns
        } else {
            next
        })
    }

    /// Interval and timeout by the target's labels, which relabelling may have changed.
    pub(crate) fn times(&self, config: &ScrapeConfig) -> (Duration, Duration) {
        let read = |label, default: yaml::Duration| {
            parse_duration(self.labels.value(label))
                .map_or(default.as_std(), |ms| Duration::from_millis(ms as u64))
        };
        (
            read(INTERVAL, config.scrape_interval),
            read(TIMEOUT, config.scrape_timeout),
        )
    }

    /// The Unix socket behind which the target is, if it is behind one.
    pub(crate) fn unix_socket(&self) -> Option<&str> {
        Some(self.labels.value(UNIX_SOCKET)).filter(|path| !path.is_empty())
    }

    /// The switches for histograms, which labels may turn: take native, take classic too, convert classic.
    pub(crate) fn histogram_switches(&self, config: &ScrapeConfig) -> (bool, bool, bool) {
        let read = |label, default| parse_bool(self.labels.value(label)).unwrap_or(default);
        (
            read(NATIVE, config.scrape_native_histograms),
            read(ALWAYS_CLASSIC, config.always_scrape_classic_histograms),
            read(CONVERT_CLASSIC, config.convert_classic_histograms_to_nhcb),
        )
    }
}

/// Makes targets of a group; those that cannot be scraped are given as errors with their position in the group.
pub(crate) fn populate_group(
    group: &TargetGroup,
    config: &ScrapeConfig,
) -> impl Iterator<Item = Result<Populated, (usize, TargetError)>> {
    group
        .targets
        .iter()
        .enumerate()
        .map(move |(i, target)| populate(target, &group.labels, config).map_err(|error| (i, error)))
}

/// What becomes of a discovered target: for checks and reports that scrape nothing.
#[derive(Debug)]
pub struct Preview {
    /// Labels before relabelling.
    pub discovered: Labels,
    /// Labels after it, internal ones included; `None` where the target is dropped.
    pub outcome: Result<Option<Labels>, TargetError>,
    /// What would be asked, where it would be.
    pub url: Option<String>,
}

/// What becomes of each target of a group.
pub fn preview_group(group: &TargetGroup, config: &ScrapeConfig) -> Vec<Preview> {
    let preview = |target: &Labels| {
        let outcome = populate(target, &group.labels, config);
        Preview {
            discovered: discovered_labels(target, &group.labels, config)
                .try_build()
                .unwrap_or_default(),
            url: match &outcome {
                Ok(Populated::Active(target)) => Some(target.url.clone()),
                _ => None,
            },
            outcome: outcome.map(|populated| match populated {
                Populated::Active(target) => Some(target.labels.clone()),
                Populated::Dropped(_) => None,
            }),
        }
    };
    group.targets.iter().map(preview).collect()
}

/// Labels before relabelling: the target's own, the group's, and what the configuration adds where neither has it.
pub(crate) fn discovered_labels(target: &Labels, group: &Labels, config: &ScrapeConfig) -> LabelsBuilder {
    let mut labels = group.to_builder();
    for (name, value) in target {
        labels.set(name, value);
    }
    let mut default = |name: &str, value: &str| {
        if labels.value(name).is_empty() {
            labels.set(name, value);
        }
    };
    let word = |switch: bool| if switch { "true" } else { "false" };
    default("job", &config.job_name);
    default(INTERVAL, &config.scrape_interval.to_string());
    default(TIMEOUT, &config.scrape_timeout.to_string());
    default("__metrics_path__", &config.metrics_path);
    default("__scheme__", &config.scheme);
    default(CONVERT_CLASSIC, word(config.convert_classic_histograms_to_nhcb));
    default(ALWAYS_CLASSIC, word(config.always_scrape_classic_histograms));
    default(NATIVE, word(config.scrape_native_histograms));
    for (name, values) in &config.params {
        if let Some(first) = values.first() {
            default(&format!("{PARAM_PREFIX}{name}"), first);
        }
    }
    labels
}

fn populate(target: &Labels, group: &Labels, config: &ScrapeConfig) -> Result<Populated, TargetError> {
    let mut labels = discovered_labels(target, group, config);
    let discovered = labels.try_build()?;
    if !relabel::apply(&config.relabel_configs, &mut labels) {
        return Ok(Populated::Dropped(discovered));
    }
    let address = labels.value(ADDRESS).to_owned();
    if address.is_empty() {
        return Err(TargetError::NoAddress);
    }
    if address.contains('/') {
        return Err(TargetError::Address(address));
    }
    check_times(&labels)?;
    for (name, what) in [
        (CONVERT_CLASSIC, "convert classic histograms to nhcb"),
        (ALWAYS_CLASSIC, "always scrape classic histograms"),
        (NATIVE, "scrape native histograms"),
    ] {
        let value = labels.value(name);
        if !value.is_empty() && parse_bool(value).is_none() {
            return Err(TargetError::Bool {
                what,
                value: value.to_owned(),
            });
        }
    }
    labels.retain(|name, _| !name.starts_with(META_PREFIX));
    if labels.value(INSTANCE).is_empty() {
        labels.set(INSTANCE, &address);
    }
    let labels = labels.try_build()?;
    let public = labels.without(|name| name.starts_with(RESERVED_PREFIX));
    // Compat: a target without a label that samples would get counts as dropped.
    if public.is_empty() {
        return Ok(Populated::Dropped(discovered));
    }
    Ok(Populated::Active(Box::new(Target {
        url: target_url(&labels, &config.params),
        public,
        labels,
        discovered: Mutex::new(discovered),
        status: Mutex::default(),
        metadata: Mutex::new(None),
    })))
}

fn check_times(labels: &LabelsBuilder) -> Result<(), TargetError> {
    let read = |label, what| match parse_duration(labels.value(label)) {
        Ok(0) => Err(TargetError::Zero(what)),
        Ok(ms) => Ok(ms),
        Err(source) => Err(TargetError::Time { what, source }),
    };
    let interval_ms = read(INTERVAL, "interval")?;
    let timeout_ms = read(TIMEOUT, "timeout")?;
    if timeout_ms > interval_ms {
        return Err(TargetError::TimeoutAboveInterval {
            timeout: labels.value(TIMEOUT).to_owned(),
            interval: labels.value(INTERVAL).to_owned(),
        });
    }
    Ok(())
}

/// FNV-1a, 64 bits: what the reference spreads targets by, so that both scrape a target at the same moment of a cycle.
pub(crate) struct Fnv64(u64);

impl Default for Fnv64 {
    fn default() -> Self {
        Fnv64(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv64 {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

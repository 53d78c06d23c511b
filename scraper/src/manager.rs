//! All pools: what configuration and discovery say becomes what is scraped.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use discovery::Groups;
use httpclient::{HttpClient, HttpClientConfig, HttpClientError};
use metrics::{Collected, Kind, Registry};
use model::clock::Clock;
use model::labels::Labels;
use model::sample::Metadata;
use model::storage::Appender;
use parking_lot::Mutex;
use supervise::Supervisor;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::buffers::Buffers;
use crate::config::ScrapeConfig;
use crate::failure_log::FailureLog;
use crate::inside::Inside;
use crate::metadata::FamilyMetadata;
use crate::metrics::ScrapeMetrics;
use crate::network::Network;
use crate::pool::Pool;
use crate::scrape_loop::{LoopHandle, Shared};
use crate::target::{Fnv64, Target, TargetStatus};
use crate::workers::Workers;

/// Name of turning what was found into targets, as panics are counted.
const SYNC: &str = "target_sync";
/// How long a scrape of what has gone is waited for.
const GONE_WAIT: Duration = Duration::from_millis(500);
/// Shortest time between two reactions to what discovery finds.
const REST_MIN: Duration = Duration::from_millis(20);

/// What scraping is told on the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// `User-Agent` of the requests.
    pub user_agent: String,
    /// Name of this machine: with the external labels it decides when in its cycle a target is scraped, so that servers
    /// that scrape the same targets do it at different times.
    pub host_name: String,
    /// Take start timestamps from the formats that have them; `_created` samples of OpenMetrics are not stored then.
    pub start_timestamps: bool,
    /// Hand metadata to storage.
    pub append_metadata: bool,
    /// How far timestamps are moved onto even steps, at most; zero leaves them alone. Never more than a hundredth of the
    /// interval.
    pub timestamp_tolerance: Duration,
    /// Longest time for which what discovery finds is collected; shorter while reacting to it is cheap.
    pub discovery_reload_interval: Duration,
    /// What jobs with `push_gateway: true` scrape.
    pub inside: Inside,
    /// Targets are waited for on threads of their own, not on those of the runtime that the manager is used in.
    pub own_threads: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            user_agent: "Prometheus/3.14.0".to_owned(),
            host_name: String::new(),
            start_timestamps: false,
            append_metadata: false,
            timestamp_tolerance: Duration::from_millis(2),
            discovery_reload_interval: Duration::from_secs(5),
            inside: Inside::default(),
            own_threads: false,
        }
    }
}

/// Why a configuration cannot be put in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The failure log of a job cannot be opened.
    #[error("scrape_failure_log_file {}: {source}", path.display())]
    FailureLog {
        /// Its name.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The HTTP client of a job cannot be built.
    #[error("scrape pool {job:?}: error creating HTTP client: {source}")]
    Client {
        /// The job.
        job: String,
        /// Why not.
        source: HttpClientError,
    },
}

/// Scrapes the targets of all jobs.
pub struct Manager {
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Held while pools are changed, so that changes come one after the other.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<String, Job>,
    groups: Arc<BTreeMap<String, Groups>>,
    pools: BTreeMap<String, Pool>,
    seed: u64,
}

/// A job as it is configured, and what its pool needs.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) config: Arc<ScrapeConfig>,
    /// Jobs with the same client settings share one.
    pub(crate) client: HttpClient,
    pub(crate) failure_log: Option<Arc<FailureLog>>,
}

/// A configuration that can be put in force: everything that may fail is done.
pub struct Prepared {
    jobs: BTreeMap<String, Job>,
    seed: u64,
    /// How many clients were built: the others are shared, or were there.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests hold it against the number of jobs")
    )]
    pub(crate) clients_built: usize,
}

/// The targets of a job as they are at some moment.
#[derive(Clone, Debug)]
pub struct PoolTargets {
    /// Name of the job.
    pub job: String,
    /// Targets that are scraped, by URL.
    pub active: Vec<ActiveTarget>,
    /// Labels, before relabelling, of targets that relabelling dropped; no more than `keep_dropped_targets`.
    pub dropped: Vec<Labels>,
    /// How many there are in all.
    pub dropped_count: usize,
    /// The job's configuration.
    pub config: Arc<ScrapeConfig>,
}

/// A target that is scraped.
#[derive(Clone, Debug)]
pub struct ActiveTarget {
    target: Arc<Target>,
    /// What its last scrape was like.
    pub status: TargetStatus,
    /// Labels that its samples get.
    pub labels: Labels,
    /// Labels that it was found with.
    pub discovered: Labels,
    /// What is asked.
    pub scrape_url: String,
}

impl ActiveTarget {
    /// Time between two scrapes, as written.
    pub fn interval(&self) -> &str {
        self.target.labels.value("__scrape_interval__")
    }

    /// How long a scrape may take, as written.
    pub fn timeout(&self) -> &str {
        self.target.labels.value("__scrape_timeout__")
    }

    /// What it says about its metric families, in order of appearance.
    pub fn metadata(&self) -> Vec<FamilyMetadata> {
        self.target
            .metadata
            .lock()
            .as_ref()
            .map_or_else(Vec::new, |store| store.list())
    }

    /// What it says about one metric family.
    pub fn metadata_of(&self, family: &str) -> Option<Metadata> {
        self.target.metadata.lock().as_ref()?.get(family)
    }
}

impl Manager {
    /// A manager without pools; its metrics go to `registry`.
    pub fn new(
        appender: Arc<dyn Appender>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
        options: Options,
    ) -> Arc<Self> {
        let supervisor = Supervisor::new(registry);
        let network = match options.own_threads {
            true => Network::own(),
            false => Network::default(),
        };
        let manager = Arc::new(Manager {
            shared: Arc::new(Shared {
                appender,
                clock,
                metrics: ScrapeMetrics::new(registry),
                options,
                scratches: Buffers::default(),
                bodies: Buffers::default(),
                network,
                workers: Workers::start(&supervisor),
                supervisor,
                shutdown: CancellationToken::new(),
            }),
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        });
        let weak = Arc::downgrade(&manager);
        registry.collect(move |collected| {
            if let Some(manager) = weak.upgrade() {
                manager.collect_metadata_size(collected);
            }
        });
        manager
    }

    /// Does everything of putting a configuration in force that can fail, and changes nothing: clients are built or taken
    /// over, files are opened.
    ///
    /// # Errors
    /// When a client cannot be built or a failure log not be opened.
    pub fn prepare(
        &self,
        configs: Vec<ScrapeConfig>,
        external_labels: &Labels,
    ) -> Result<Prepared, PrepareError> {
        let mut clients = Clients::default();
        for job in self.state.lock().jobs.values() {
            clients.keep(&job.config, &job.client);
        }
        // Files are opened anew each time, so that they can be rotated.
        let mut failure_logs = BTreeMap::new();
        let mut jobs = BTreeMap::new();
        for config in configs {
            let client = clients.of(&config, &self.shared.options.user_agent);
            let client = client.map_err(|source| {
                self.count_failed(&config.job_name);
                PrepareError::Client {
                    job: config.job_name.clone(),
                    source,
                }
            });
            let job = Job {
                client: client?,
                failure_log: open_log(&config.scrape_failure_log_file, &mut failure_logs)?,
                config: Arc::new(config),
            };
            jobs.insert(job.config.job_name.clone(), job);
        }
        let seed = seed(&self.shared.options.host_name, external_labels);
        tracing::debug!(
            jobs = jobs.len(),
            clients_built = clients.built,
            "Scrape configurations can be put in force"
        );
        Ok(Prepared {
            jobs,
            seed,
            clients_built: clients.built,
        })
    }

    /// Counts a pool that cannot be made, or not be changed.
    fn count_failed(&self, job: &str) {
        let metrics = &self.shared.metrics;
        match self.state.lock().pools.contains_key(job) {
            true => {
                metrics.pool_reloads.inc();
                metrics.pool_reloads_failed.inc();
            }
            false => {
                metrics.pools.inc();
                metrics.pools_failed.inc();
            }
        }
    }

    /// The longest time between two scrapes of a target that a job in force asks for; zero without jobs.
    pub fn longest_interval(&self) -> Duration {
        let state = self.state.lock();
        let intervals = state.jobs.values().map(|job| job.config.scrape_interval.as_ms());
        Duration::from_millis(intervals.max().unwrap_or(0).unsigned_abs())
    }

    /// Puts a configuration in force. Pools whose configuration is the same go on; others restart their loops, with what
    /// they know of their targets where the series stay the same; pools that are gone end. Returns once nothing is
    /// scraped by an old configuration any more. Must be called inside a runtime.
    pub async fn apply(&self, prepared: Prepared) {
        let _turn = self.turn.lock().await;
        let ended = self.apply_now(prepared);
        // In between, so that changed targets are not scraped by two loops at once for longer than need be.
        let groups = Arc::clone(&self.state.lock().groups);
        self.sync_now(&groups);
        wait_for(ended).await;
    }

    /// Makes the targets those of `groups`, by job. Returns once what is gone is scraped no more, or after half a second:
    /// what has gone and hangs holds up nothing that comes. Must be called inside a runtime.
    pub async fn update(&self, groups: Arc<BTreeMap<String, Groups>>) {
        self.update_timed(groups).await;
    }

    /// As [`Manager::update`]; says how long it worked, without waiting.
    async fn update_timed(&self, groups: Arc<BTreeMap<String, Groups>>) -> Duration {
        let _turn = self.turn.lock().await;
        let start = Instant::now();
        let before = std::mem::replace(&mut self.state.lock().groups, groups);
        let ended = self.sync_now(&before);
        let took = start.elapsed();
        let _ = tokio::time::timeout(GONE_WAIT, wait_for(ended)).await;
        took
    }

    /// Follows discovery until `shutdown`, and stops then.
    pub async fn run(
        &self,
        mut found: watch::Receiver<Arc<BTreeMap<String, Groups>>>,
        shutdown: CancellationToken,
    ) {
        let follow = async {
            loop {
                let groups = Arc::clone(&found.borrow_and_update());
                // A panic is told, and costs this update.
                let took = self
                    .shared
                    .supervisor
                    .round(SYNC, self.update_timed(groups))
                    .await;
                let most = self.shared.options.discovery_reload_interval;
                let rest = discovery::rest_after(took.unwrap_or_default(), REST_MIN, most);
                tokio::time::sleep(rest).await;
                if found.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follow => {}
        }
        self.stop().await;
    }

    /// Stops all scraping at once. Nothing is marked stale: the series go on when the program does.
    pub async fn stop(&self) {
        self.shared.shutdown.cancel();
        let _turn = self.turn.lock().await;
        let pools = std::mem::take(&mut self.state.lock().pools);
        self.shared.metrics.forget_pools(&pools.keys().cloned().collect());
        wait_for(pools.into_values().flat_map(|mut pool| pool.stop()).collect()).await;
    }

    /// All targets, by job.
    pub fn targets(&self) -> Vec<PoolTargets> {
        let state = self.state.lock();
        state
            .pools
            .iter()
            .map(|(job, pool)| {
                let mut active: Vec<ActiveTarget> = pool
                    .targets()
                    .map(|target| ActiveTarget {
                        status: target.status.lock().clone(),
                        labels: target.public.clone(),
                        discovered: target.discovered.lock().clone(),
                        scrape_url: target.url.clone(),
                        target: Arc::clone(target),
                    })
                    .collect();
                active.sort_by(|a, b| (&a.scrape_url, &a.labels).cmp(&(&b.scrape_url, &b.labels)));
                PoolTargets {
                    job: job.clone(),
                    active,
                    dropped: pool.dropped.clone(),
                    dropped_count: pool.dropped_count,
                    config: Arc::clone(&pool.config),
                }
            })
            .collect()
    }

    /// Whether a job has a target at an address.
    #[cfg(test)]
    pub(crate) fn has_target(&self, job: &str, address: &str) -> bool {
        let state = self.state.lock();
        let mut pool = state.pools.get(job).into_iter().flat_map(Pool::targets);
        pool.any(|target| target.labels.value("__address__") == address)
    }

    fn apply_now(&self, prepared: Prepared) -> Vec<LoopHandle> {
        let mut state = self.state.lock();
        state.jobs = prepared.jobs;
        state.seed = prepared.seed;
        let State {
            jobs,
            groups,
            pools,
            seed,
        } = &mut *state;
        let mut ended = Vec::new();
        let mut gone = HashSet::new();
        pools.retain(|name, pool| {
            let kept = jobs.contains_key(name);
            if !kept {
                ended.extend(pool.stop());
                gone.insert(name.clone());
            }
            kept
        });
        self.shared.metrics.forget_pools(&gone);
        for (name, pool) in pools {
            let groups = groups.get(name).cloned().unwrap_or_default();
            let job = &jobs[name];
            let reload = || pool.reload(job, &groups, *seed);
            ended.extend(self.shared.supervisor.catch(SYNC, reload).unwrap_or_default());
        }
        ended
    }

    /// Brings the pools in line with discovery, those aside about which nothing has changed since `before`. Gives the
    /// loops that were ended. What panics stays as it was.
    fn sync_now(&self, before: &BTreeMap<String, Groups>) -> Vec<LoopHandle> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut ended = Vec::new();
        for (name, groups) in &*state.groups {
            let Some(job) = state.jobs.get(name) else {
                continue;
            };
            let pool = match state.pools.entry(name.clone()) {
                Entry::Vacant(entry) => {
                    self.shared.metrics.pools.inc();
                    entry.insert(Pool::new(job, Arc::clone(&self.shared), state.seed))
                }
                Entry::Occupied(entry) => {
                    let known = before.get(name).is_some_and(|before| Arc::ptr_eq(before, groups));
                    if known && entry.get().is_synced() {
                        continue;
                    }
                    entry.into_mut()
                }
            };
            ended.extend(
                self.shared
                    .supervisor
                    .catch(SYNC, || pool.sync(groups))
                    .unwrap_or_default(),
            );
        }
        ended
    }

    fn collect_metadata_size(&self, collected: &mut Collected) {
        let state = self.state.lock();
        let sizes: Vec<(&str, usize, usize)> = state
            .pools
            .iter()
            .map(|(job, pool)| {
                let (mut entries, mut bytes) = (0, 0);
                for target in pool.targets() {
                    if let Some(store) = &*target.metadata.lock() {
                        let (families, size) = store.size();
                        entries += families;
                        bytes += size;
                    }
                }
                (job.as_str(), entries, bytes)
            })
            .collect();
        let family = collected.family(
            "prometheus_target_metadata_cache_entries",
            Kind::Gauge,
            "Total number of metric metadata entries in the cache",
        );
        for (job, entries, _) in &sizes {
            family.sample(&[("scrape_job", job)], *entries as f64);
        }
        let family = collected.family(
            "prometheus_target_metadata_cache_bytes",
            Kind::Gauge,
            "The number of bytes that are currently used for storing metric metadata in the cache",
        );
        for (job, _, bytes) in &sizes {
            family.sample(&[("scrape_job", job)], *bytes as f64);
        }
    }
}

/// Clients that are there to be shared.
#[derive(Default)]
struct Clients {
    known: Vec<(HttpClientConfig, HttpClient)>,
    built: usize,
}

/// Most kinds of client settings that are looked through before a client is built: nearly all jobs share a few.
const CLIENTS_MAX: usize = 64;

impl Clients {
    /// Notes a client.
    fn keep(&mut self, config: &ScrapeConfig, client: &HttpClient) {
        let config = &config.http_client;
        if self.known.len() < CLIENTS_MAX && !self.known.iter().any(|(known, _)| known == config) {
            self.known.push((config.clone(), client.clone()));
        }
    }

    /// The client for a job.
    fn of(&mut self, config: &ScrapeConfig, user_agent: &str) -> Result<HttpClient, HttpClientError> {
        let known = self.known.iter().find(|(known, _)| *known == config.http_client);
        if let Some((_, client)) = known {
            return Ok(client.clone());
        }
        let client = HttpClient::new(&config.http_client, user_agent)?;
        self.built += 1;
        self.keep(config, &client);
        Ok(client)
    }
}

/// The failure log of a job; those that name one file share it.
fn open_log(
    path: &Path,
    open: &mut BTreeMap<PathBuf, Arc<FailureLog>>,
) -> Result<Option<Arc<FailureLog>>, PrepareError> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    if let Some(log) = open.get(path) {
        return Ok(Some(Arc::clone(log)));
    }
    let log = FailureLog::open(path).map_err(|source| PrepareError::FailureLog {
        path: path.to_owned(),
        source,
    })?;
    let log = Arc::new(log);
    open.insert(path.to_owned(), Arc::clone(&log));
    Ok(Some(log))
}

async fn wait_for(ended: Vec<LoopHandle>) {
    for handle in ended {
        handle.stopped().await;
    }
}

/// Decides, with each target's hash, when in its cycle the target is scraped.
fn seed(host_name: &str, external_labels: &Labels) -> u64 {
    let mut hash = Fnv64::default();
    hash.write(host_name.as_bytes());
    hash.write(external_labels.to_string().as_bytes());
    hash.finish()
}

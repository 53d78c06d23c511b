//! All pools: what configuration and discovery say becomes what is scraped.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use discovery::Groups;
use httpclient::{HttpClient, HttpClientError};
use metrics::{Collected, Kind, Registry};
use model::clock::Clock;
use model::labels::Labels;
use model::sample::Metadata;
use model::storage::Appender;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::buffers::Buffers;
use crate::config::ScrapeConfig;
use crate::failure_log::FailureLog;
use crate::metadata::FamilyMetadata;
use crate::metrics::ScrapeMetrics;
use crate::pool::Pool;
use crate::scrape_loop::{LoopHandle, Shared};
use crate::target::{Fnv64, Target, TargetStatus};
use crate::workers::Workers;

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
    /// Least time between two reactions to what discovery finds.
    pub discovery_reload_interval: Duration,
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
        }
    }
}

/// Why a configuration was not taken over in full. Pools that are not named have taken theirs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
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
    configs: BTreeMap<String, Arc<ScrapeConfig>>,
    groups: Arc<BTreeMap<String, Groups>>,
    pools: BTreeMap<String, Pool>,
    failure_logs: BTreeMap<PathBuf, Arc<FailureLog>>,
    seed: u64,
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
        let manager = Arc::new(Manager {
            shared: Arc::new(Shared {
                appender,
                clock,
                metrics: ScrapeMetrics::new(registry),
                options,
                scratches: Buffers::default(),
                bodies: Buffers::default(),
                workers: Workers::start(),
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

    /// Tries everything that can fail in [`Manager::apply`] and changes nothing, so that whoever puts a whole
    /// configuration in force can refuse it before anything has changed.
    ///
    /// # Errors
    /// When a client cannot be built or a failure log not be opened.
    pub fn check(configs: &[ScrapeConfig]) -> Result<(), ApplyError> {
        for config in configs {
            HttpClient::new(&config.http_client, "").map_err(|source| ApplyError::Client {
                job: config.job_name.clone(),
                source,
            })?;
            let path = &config.scrape_failure_log_file;
            if !path.as_os_str().is_empty() {
                FailureLog::open(path).map_err(|source| ApplyError::FailureLog {
                    path: path.clone(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Takes a configuration over. Pools whose configuration is the same go on; others restart their loops, with what
    /// they know of their targets where the series stay the same; pools that are gone end. Returns once nothing is
    /// scraped by an old configuration any more. Must be called inside a runtime.
    ///
    /// # Errors
    /// When something of a job cannot be set up; all other jobs are.
    pub async fn apply(
        &self,
        configs: Vec<ScrapeConfig>,
        external_labels: &Labels,
    ) -> Result<(), ApplyError> {
        let _turn = self.turn.lock().await;
        let (ended, mut result) = self.apply_now(configs, external_labels);
        if let Err(error) = self.make_missing_pools() {
            result = Err(error);
        }
        wait_for(ended).await;
        result
    }

    /// Makes the targets those of `groups`, by job. Returns once what is gone is scraped no more. Must be called inside a
    /// runtime.
    pub async fn update(&self, groups: Arc<BTreeMap<String, Groups>>) {
        let _turn = self.turn.lock().await;
        let ended = {
            let mut state = self.state.lock();
            state.groups = Arc::clone(&groups);
            let mut ended = Vec::new();
            for (job, groups) in &*groups {
                match self.pool(&mut state, job) {
                    Ok(Some(pool)) => ended.extend(pool.sync(groups)),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(scrape_pool = %job, %error, "error creating new scrape pool");
                    }
                }
            }
            ended
        };
        wait_for(ended).await;
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
                self.update(groups).await;
                tokio::time::sleep(self.shared.options.discovery_reload_interval).await;
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

    fn apply_now(
        &self,
        configs: Vec<ScrapeConfig>,
        external_labels: &Labels,
    ) -> (Vec<LoopHandle>, Result<(), ApplyError>) {
        let mut state = self.state.lock();
        let mut result = Ok(());
        state.seed = seed(&self.shared.options.host_name, external_labels);
        state.configs = configs
            .into_iter()
            .map(|config| (config.job_name.clone(), Arc::new(config)))
            .collect();
        let State {
            configs,
            groups,
            pools,
            failure_logs,
            seed,
        } = &mut *state;
        // Files are opened anew each time, so that they can be rotated.
        failure_logs.clear();
        for config in configs.values() {
            let path = &config.scrape_failure_log_file;
            if path.as_os_str().is_empty() || failure_logs.contains_key(path) {
                continue;
            }
            match FailureLog::open(path) {
                Ok(log) => drop(failure_logs.insert(path.clone(), Arc::new(log))),
                Err(source) => {
                    result = Err(ApplyError::FailureLog {
                        path: path.clone(),
                        source,
                    });
                }
            }
        }
        let mut ended = Vec::new();
        pools.retain(|job, pool| {
            let kept = configs.contains_key(job);
            if !kept {
                ended.extend(pool.stop());
            }
            kept
        });
        let none = Groups::new();
        for (job, pool) in pools {
            let config = Arc::clone(&configs[job]);
            pool.set_failure_log(failure_logs.get(&config.scrape_failure_log_file).cloned());
            match pool.reload(config, groups.get(job).unwrap_or(&none), *seed) {
                Ok(stopped) => ended.extend(stopped),
                Err(source) => {
                    tracing::error!(scrape_pool = %job, error = %source, "error reloading scrape pool");
                    result = Err(ApplyError::Client {
                        job: job.clone(),
                        source,
                    });
                }
            }
        }
        (ended, result)
    }

    /// Makes pools of jobs that discovery has told of before they were configured.
    fn make_missing_pools(&self) -> Result<(), ApplyError> {
        let mut state = self.state.lock();
        let groups = Arc::clone(&state.groups);
        let mut result = Ok(());
        for (job, groups) in &*groups {
            if state.pools.contains_key(job) {
                continue;
            }
            match self.pool(&mut state, job) {
                Ok(Some(pool)) => drop(pool.sync(groups)),
                Ok(None) => {}
                Err(source) => {
                    result = Err(ApplyError::Client {
                        job: job.clone(),
                        source,
                    });
                }
            }
        }
        result
    }

    /// The pool of a job, made where it is new; nothing where the job is not configured.
    fn pool<'s>(&self, state: &'s mut State, job: &str) -> Result<Option<&'s mut Pool>, HttpClientError> {
        let Some(config) = state.configs.get(job) else {
            return Ok(None);
        };
        if !state.pools.contains_key(job) {
            self.shared.metrics.pools.inc();
            let pool = Pool::new(Arc::clone(config), Arc::clone(&self.shared), state.seed)
                .inspect_err(|_| self.shared.metrics.pools_failed.inc())?;
            pool.set_failure_log(state.failure_logs.get(&config.scrape_failure_log_file).cloned());
            state.pools.insert(job.to_owned(), pool);
        }
        Ok(state.pools.get_mut(job))
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

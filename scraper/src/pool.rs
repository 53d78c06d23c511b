//! The pool of one job: its targets and their loops.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use discovery::Groups;
use exposition::accept_header;
use model::labels::Labels;

use crate::config::ScrapeConfig;
use crate::fetch::{BodyLimit, Fetch, FetchRules};
use crate::inside::InsideFetch;
use crate::manager::Job;
use crate::scrape_loop::{LoopHandle, PoolState, ScrapeLoop, Shared};
use crate::target::{Populated, Target, populate_group};

/// The targets of one job.
pub(crate) struct Pool {
    pub(crate) config: Arc<ScrapeConfig>,
    shared: Arc<Shared>,
    state: Arc<PoolState>,
    fetch: Arc<dyn Fetch>,
    seed: u64,
    /// By the target's hash.
    running: HashMap<u64, Running>,
    synced: bool,
    /// Labels of targets that relabelling dropped; as many as the configuration wants to be remembered.
    pub(crate) dropped: Vec<Labels>,
    pub(crate) dropped_count: usize,
}

/// Hashes of targets by what their series and URLs are.
type Alike = HashMap<(Labels, String), Vec<u64>>;

struct Running {
    target: Arc<Target>,
    handle: LoopHandle,
}

/// What a new configuration leaves of the loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    /// The loops go on.
    Loops,
    /// The loops start anew, with what they know of their targets.
    Memory,
    /// The loops start anew.
    Nothing,
}

impl Pool {
    pub(crate) fn new(job: &Job, shared: Arc<Shared>, seed: u64) -> Self {
        let fetch = fetch_of(job, &shared);
        let pool = Pool::with_fetch(Arc::clone(&job.config), shared, seed, fetch);
        pool.state.failure_log.lock().clone_from(&job.failure_log);
        pool
    }

    pub(crate) fn with_fetch(
        config: Arc<ScrapeConfig>,
        shared: Arc<Shared>,
        seed: u64,
        fetch: Arc<dyn Fetch>,
    ) -> Self {
        let limit = config.target_limit as f64;
        shared
            .metrics
            .pool_target_limit
            .with(&[&config.job_name])
            .set(limit);
        Pool {
            config,
            shared,
            state: Arc::default(),
            fetch,
            seed,
            running: HashMap::new(),
            synced: false,
            dropped: Vec::new(),
            dropped_count: 0,
        }
    }

    /// Targets that are scraped, in no order.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.running.values().map(|running| &running.target)
    }

    /// Whether the pool has taken over what discovery found, once at least.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    /// Takes a job's configuration over; where it has changed, loops are restarted as far as they must. Gives the loops
    /// that were ended.
    pub(crate) fn reload(&mut self, job: &Job, groups: &Groups, seed: u64) -> Vec<LoopHandle> {
        self.state.failure_log.lock().clone_from(&job.failure_log);
        let asks_anew = self.config.http_client != job.config.http_client
            || self.config.push_gateway != job.config.push_gateway;
        if asks_anew {
            self.fetch = fetch_of(job, &self.shared);
        }
        self.reconfigure(Arc::clone(&job.config), groups, seed)
    }

    /// As [`Pool::reload`], with what asks the targets as it is.
    pub(crate) fn reconfigure(
        &mut self,
        config: Arc<ScrapeConfig>,
        groups: &Groups,
        seed: u64,
    ) -> Vec<LoopHandle> {
        self.seed = seed;
        if *self.config == *config {
            return Vec::new();
        }
        let metrics = self.shared.metrics.clone();
        metrics.pool_reloads.inc();
        let started = Instant::now();
        let keep = if same_series(&self.config, &config) {
            Keep::Memory
        } else {
            Keep::Nothing
        };
        let interval = config.scrape_interval.to_string();
        metrics
            .pool_target_limit
            .with(&[&config.job_name])
            .set(config.target_limit as f64);
        self.config = config;
        let ended = self.settle(groups, keep);
        metrics
            .reload_length
            .with(&[&interval])
            .observe(started.elapsed().as_secs_f64());
        ended
    }

    /// Makes the pool's targets those of `groups`. Gives the loops that were ended.
    pub(crate) fn sync(&mut self, groups: &Groups) -> Vec<LoopHandle> {
        let started = Instant::now();
        let ended = self.settle(groups, Keep::Loops);
        self.synced = true;
        let metrics = &self.shared.metrics;
        let job = [self.config.job_name.as_str()];
        let length = started.elapsed().as_secs_f64();
        metrics.sync_length.with(&job).observe(length);
        metrics.sync_length_histogram.with(&job).observe(length);
        metrics.pool_syncs.with(&job).inc();
        // Compat: it counts from the first sync on, failed or not (reports/self-metrics).
        metrics.sync_failed.with(&job);
        ended
    }

    /// Ends all loops.
    pub(crate) fn stop(&mut self) -> Vec<LoopHandle> {
        let ended: Vec<LoopHandle> = self.running.drain().map(|(_, running)| running.handle).collect();
        ended.iter().for_each(LoopHandle::stop);
        ended
    }

    fn settle(&mut self, groups: &Groups, keep: Keep) -> Vec<LoopHandle> {
        let targets = self.populate(groups);
        let mut before = std::mem::take(&mut self.running);
        let mut fresh: HashMap<u64, Target> = HashMap::new();
        for target in targets {
            let hash = target.hash();
            if let Some(running) = self.running.get(&hash) {
                // The same target twice: the last one tells what it was found as.
                *running.target.discovered.lock() = target.discovered.into_inner();
            } else if keep == Keep::Loops
                && let Some(running) = before.remove(&hash)
            {
                *running.target.discovered.lock() = target.discovered.into_inner();
                self.running.insert(hash, running);
            } else {
                fresh.entry(hash).or_insert(target);
            }
        }
        let total = self.running.len() + fresh.len();
        self.check_target_limit(total);
        let mut alike = Alike::default();
        if keep != Keep::Nothing && !fresh.is_empty() {
            for (hash, running) in &before {
                alike.entry(running.target.series_key()).or_default().push(*hash);
            }
        }
        for (hash, target) in fresh {
            // A target that only its interval or timeout tells from one before goes on with what is known of it.
            let known = alike.get_mut(&target.series_key()).and_then(Vec::pop);
            let taken_over = known.and_then(|hash| before.remove(&hash));
            let running = self.start(Arc::new(target), taken_over);
            self.running.insert(hash, running);
        }
        self.shared
            .metrics
            .pool_targets
            .with(&[&self.config.job_name])
            .set(total as f64);
        let ended: Vec<LoopHandle> = before.into_values().map(|running| running.handle).collect();
        ended.iter().for_each(LoopHandle::stop);
        ended
    }

    fn populate(&mut self, groups: &Groups) -> Vec<Target> {
        self.dropped.clear();
        self.dropped_count = 0;
        let kept_max = match self.config.keep_dropped_targets {
            0 => usize::MAX,
            max => usize::try_from(max).unwrap_or(usize::MAX),
        };
        let mut targets = Vec::new();
        for group in groups.iter() {
            for populated in populate_group(group, &self.config) {
                match populated {
                    Ok(Populated::Active(target)) => targets.push(*target),
                    Ok(Populated::Dropped(labels)) => {
                        self.dropped_count += 1;
                        if self.dropped.len() < kept_max {
                            self.dropped.push(labels);
                        }
                    }
                    Err((instance, error)) => {
                        let (job, group) = (&self.config.job_name, &group.source);
                        tracing::error!(scrape_pool = %job, instance, %group, %error, "Creating target failed");
                        self.shared.metrics.sync_failed.with(&[job]).inc();
                    }
                }
            }
        }
        targets
    }

    fn check_target_limit(&self, targets: usize) {
        let limit = self.config.target_limit;
        let over = limit > 0 && targets as u64 > limit;
        if over {
            self.shared.metrics.pool_exceeded_target_limit.inc();
        }
        *self.state.over_target_limit.lock() = over.then_some(targets);
    }

    fn start(&self, target: Arc<Target>, taken_over: Option<Running>) -> Running {
        if let Some(before) = &taken_over {
            *target.status.lock() = before.target.status.lock().clone();
        }
        let config = &self.config;
        let (interval, timeout) = target.times(config);
        let scrape_loop = ScrapeLoop {
            shared: Arc::clone(&self.shared),
            pool: Arc::clone(&self.state),
            config: Arc::clone(config),
            target: Arc::clone(&target),
            fetch: Arc::clone(&self.fetch),
            seed: self.seed,
            interval,
            fetch_rules: FetchRules::new(
                &target.url,
                target.unix_socket(),
                &accept_header(&config.scrape_protocols, config.metric_name_escaping_scheme),
                config.enable_compression,
                timeout,
                BodyLimit::new(config.body_size_limit.0),
            ),
        };
        Running {
            handle: scrape_loop.spawn(taken_over.map(|running| running.handle)),
            target,
        }
    }
}

/// What asks the targets of a job.
fn fetch_of(job: &Job, shared: &Shared) -> Arc<dyn Fetch> {
    match job.config.push_gateway {
        true => Arc::new(InsideFetch {
            inside: shared.options.inside.clone(),
            supervisor: shared.supervisor.clone(),
        }),
        false => Arc::new(job.client.clone()),
    }
}

/// Whether two configurations make the same series of the same body.
fn same_series(one: &ScrapeConfig, other: &ScrapeConfig) -> bool {
    let mut like_one = other.clone();
    like_one.scrape_interval = one.scrape_interval;
    like_one.scrape_timeout = one.scrape_timeout;
    like_one.sample_limit = one.sample_limit;
    like_one.sample_limit_action = one.sample_limit_action;
    like_one.http_client = one.http_client.clone();
    like_one.discovery = one.discovery.clone();
    like_one == *one
}

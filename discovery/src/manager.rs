//! Runs the mechanisms of all jobs and publishes what they have found.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::mechanism::{Mechanism, Mechanisms};
use crate::metrics::Metrics;
use crate::pace::rest_after;
use crate::prepare::{Context, PrepareError, Runner};
use crate::runner::{self, Updates};
use crate::trouble::{Trouble, Troubles};
use crate::{Groups, TargetGroup};

/// All groups of all jobs. A job's list is the same one until something of the job changes.
pub type Snapshot = Arc<BTreeMap<String, Groups>>;

/// The manager of the scrape jobs, in metrics.
pub const SCRAPE: &str = "scrape";
/// The manager of the Alertmanagers, in metrics.
pub const NOTIFY: &str = "notify";

/// Changes that come this close together are published together.
const COLLECT: Duration = Duration::from_millis(50);
/// Longest rest between two publications. The reference's is 5 s: its consumers look at everything each time, ours at
/// the jobs that changed.
const REST_MAX: Duration = Duration::from_secs(1);

/// A mechanism could not be built.
#[derive(Debug, thiserror::Error)]
#[error("job {job:?}: {mechanism}: {source}")]
pub struct JobError {
    /// Whose.
    pub job: String,
    /// Which: the key of its list.
    pub mechanism: &'static str,
    /// Why not.
    pub source: PrepareError,
}

/// Runs mechanisms. Dropping it stops them.
#[derive(Debug)]
pub struct Manager {
    shared: Arc<Shared>,
    context: Context,
    running: Running,
    publisher: Option<Stop>,
}

/// What runs, by what it is: jobs with the same settings share one.
type Running = HashMap<String, Vec<Provider>>;

/// A mechanism that is running.
#[derive(Debug)]
struct Provider {
    mechanism: Mechanism,
    id: u64,
    /// It could not be built, and is tried again by the next reload.
    failed: bool,
    _stop: Stop,
}

/// Stops a task when dropped.
#[derive(Debug)]
struct Stop(CancellationToken);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A configuration whose clients are built, to be put in force by [`Manager::apply`].
#[derive(Default)]
pub struct Prepared {
    jobs: BTreeMap<String, Job>,
    /// Mechanisms that do not run yet, by what they are.
    new: HashMap<String, Vec<New>>,
}

struct Job {
    statics: Vec<Arc<TargetGroup>>,
    mechanisms: Vec<Mechanism>,
}

struct New {
    mechanism: Mechanism,
    /// The first job that has it.
    job: Arc<str>,
    /// How it runs, or why it cannot.
    runner: Result<Runner, String>,
}

impl Prepared {
    /// What could not be built because the surroundings lack something.
    pub fn unavailable(&self) -> impl Iterator<Item = &str> {
        let new = self.new.values().flatten();
        new.filter_map(|new| new.runner.as_ref().err().map(String::as_str))
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("jobs", &self.jobs.len())
            .finish_non_exhaustive()
    }
}

/// What mechanisms report to.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Which manager this is, in metrics.
    name: &'static str,
    /// Fires when a mechanism has told its first whole picture.
    settling: watch::Sender<()>,
    pub(crate) metrics: Metrics,
    troubles: Troubles,
    state: Mutex<State>,
    changed: Notify,
    published: watch::Sender<Snapshot>,
}

#[derive(Debug, Default)]
struct State {
    found: HashMap<u64, Found>,
    jobs: BTreeMap<String, Sources>,
    /// Jobs that differ from what was published.
    dirty: BTreeSet<String>,
}

/// Where a job's groups come from.
#[derive(Debug, Default)]
struct Sources {
    statics: Vec<Arc<TargetGroup>>,
    providers: Vec<u64>,
}

/// Groups of one mechanism by source, in the order in which they were first seen.
#[derive(Debug, Default)]
struct Found {
    /// Who wants them.
    jobs: Vec<String>,
    /// A whole picture was told.
    is_whole: bool,
    /// `None` where a group was taken back; the list is packed once half of it is.
    groups: Vec<Option<Arc<TargetGroup>>>,
    places: HashMap<String, usize>,
}

impl Found {
    /// Takes a report in; says whether anything has changed.
    fn update(&mut self, groups: Vec<TargetGroup>, is_whole: bool) -> bool {
        let mut changed = false;
        if is_whole {
            let kept: BTreeSet<&str> = groups.iter().map(|group| &*group.source).collect();
            let gone: Vec<String> = self
                .places
                .keys()
                .filter(|source| !kept.contains(&***source))
                .cloned()
                .collect();
            changed |= !gone.is_empty();
            for source in gone {
                self.remove(&source);
            }
        }
        for group in groups {
            if group.targets.is_empty() {
                changed |= self.remove(&group.source);
                continue;
            }
            match self.places.get(&group.source) {
                Some(at) if self.groups[*at].as_deref() == Some(&group) => {}
                Some(at) => {
                    self.groups[*at] = Some(Arc::new(group));
                    changed = true;
                }
                None => {
                    self.places.insert(group.source.clone(), self.groups.len());
                    self.groups.push(Some(Arc::new(group)));
                    changed = true;
                }
            }
        }
        if self.groups.len() > 2 * self.places.len() {
            self.groups.retain(Option::is_some);
            let named = self.groups.iter().flatten().enumerate();
            self.places = named.map(|(at, group)| (group.source.clone(), at)).collect();
        }
        changed
    }

    fn remove(&mut self, source: &str) -> bool {
        let place = self.places.remove(source);
        place.is_some_and(|at| self.groups[at].take().is_some())
    }
}

impl Shared {
    /// Takes a mechanism's report in.
    pub(crate) fn update(&self, provider: u64, groups: Vec<TargetGroup>, is_whole: bool) {
        let mut state = self.state.lock();
        let State { found, dirty, .. } = &mut *state;
        let Some(mine) = found.get_mut(&provider) else {
            return;
        };
        self.metrics.received_updates.with(&[self.name]).inc();
        if mine.update(groups, is_whole) {
            dirty.extend(mine.jobs.iter().cloned());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// A mechanism has failed, perhaps again.
    pub(crate) fn trouble(&self, provider: u64, mechanism: &'static str, error: String) {
        let trouble = Trouble {
            manager: self.name,
            jobs: self
                .state
                .lock()
                .found
                .get(&provider)
                .map(|found| found.jobs.clone())
                .unwrap_or_default(),
            mechanism,
            error,
            since: SystemTime::now(),
        };
        self.troubles.begin(provider, trouble);
    }

    /// A mechanism works again.
    pub(crate) fn trouble_ends(&self, provider: u64) {
        self.troubles.end(provider);
    }

    /// A mechanism has told all that there is.
    pub(crate) fn settle(&self, provider: u64) {
        let mut state = self.state.lock();
        let Some(mine) = state.found.get_mut(&provider) else {
            return;
        };
        if !std::mem::replace(&mut mine.is_whole, true) {
            drop(state);
            self.settling.send_replace(());
        }
    }

    /// Publishes the jobs that have changed.
    fn publish(&self) {
        let mut state = self.state.lock();
        let dirty = std::mem::take(&mut state.dirty);
        let mut all = BTreeMap::clone(&self.published.borrow());
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        for job in dirty {
            let Some(sources) = state.jobs.get(&job) else {
                all.remove(&job);
                self.metrics.forget(self.name, &job);
                continue;
            };
            let mut groups = sources.statics.clone();
            for provider in &sources.providers {
                let found = state.found.get(provider);
                groups.extend(
                    found
                        .into_iter()
                        .flat_map(|found| found.groups.iter().flatten().cloned()),
                );
            }
            let targets: usize = groups.iter().map(|group| group.targets.len()).sum();
            self.metrics
                .discovered_targets
                .with(&[self.name, &job])
                .set(targets as f64);
            self.metrics
                .last_update
                .with(&[self.name, &job])
                .set(now.as_secs_f64());
            all.insert(job, groups.into());
        }
        self.metrics.sent_updates.with(&[self.name]).inc();
        // Sent under the lock, so that pictures leave in the order in which they were taken.
        self.published.send_replace(Arc::new(all));
    }
}

/// Publishes what has changed, at its pace, until `stop`.
async fn publish_changes(shared: Arc<Shared>, stop: CancellationToken) {
    let delayed = shared.metrics.delayed_updates.with(&[shared.name]);
    let publishing = async {
        loop {
            shared.changed.notified().await;
            tokio::time::sleep(COLLECT).await;
            let start = Instant::now();
            shared.publish();
            tokio::time::sleep(rest_after(start.elapsed(), COLLECT, REST_MAX)).await;
            if !shared.state.lock().dirty.is_empty() {
                delayed.inc();
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = publishing => {}
    }
}

impl Manager {
    /// A manager without jobs; `name` is [`SCRAPE`] or [`NOTIFY`].
    pub fn new(name: &'static str, context: Context) -> Self {
        let metrics = context.metrics.clone();
        metrics.failed_configs.with(&[name]).set(0.0);
        let _ = (
            metrics.received_updates.with(&[name]),
            metrics.sent_updates.with(&[name]),
            metrics.delayed_updates.with(&[name]),
        );
        let shared = Arc::new(Shared {
            name,
            metrics,
            troubles: context.troubles.clone(),
            state: Mutex::default(),
            changed: Notify::new(),
            published: watch::Sender::new(Snapshot::default()),
            settling: watch::Sender::new(()),
        });
        Manager {
            shared,
            context,
            running: Running::new(),
            publisher: None,
        }
    }

    /// What has been found; changes with every publication. A job that is configured is there even without groups.
    pub fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.shared.published.subscribe()
    }

    /// Waits until every mechanism has told a first whole picture, and publishes it. Some never know that they have: give
    /// this a limit.
    pub async fn settled(&self) {
        let mut settling = self.shared.settling.subscribe();
        while !self
            .shared
            .state
            .lock()
            .found
            .values()
            .all(|found| found.is_whole)
        {
            // Sent by what lives as long as this.
            let _ = settling.changed().await;
        }
        self.shared.publish();
    }

    /// Builds the clients of all mechanisms that do not run yet, and changes nothing.
    ///
    /// # Errors
    /// When settings do not hold: a certificate that cannot be read.
    pub fn prepare(&self, jobs: BTreeMap<String, Mechanisms>) -> Result<Prepared, JobError> {
        let mut prepared = Prepared::default();
        for (name, mechanisms) in jobs {
            let shared_name: Arc<str> = Arc::from(&*name);
            for mechanism in &mechanisms.others {
                let identity = identity(mechanism);
                if running(&self.running, &identity, mechanism).is_some_and(|provider| !provider.failed) {
                    continue;
                }
                let new = prepared.new.entry(identity).or_default();
                if new.iter().any(|new| new.mechanism == *mechanism) {
                    continue;
                }
                let runner = match mechanism.prepare(&self.context) {
                    Ok(runner) => Ok(runner),
                    Err(source @ PrepareError::Settings(_)) => {
                        return Err(JobError {
                            job: name,
                            mechanism: mechanism.key(),
                            source,
                        });
                    }
                    Err(PrepareError::Unavailable(error)) => {
                        tracing::error!(config = name, discovery = mechanism.name(), %error, "Cannot create service discovery");
                        Err(error.to_string())
                    }
                };
                new.push(New {
                    mechanism: mechanism.clone(),
                    job: shared_name.clone(),
                    runner,
                });
            }
            let statics = mechanisms.static_configs.iter().enumerate();
            let statics = statics
                .map(|(index, group)| Arc::new(group.group(index.to_string())))
                .collect();
            let job = Job {
                statics,
                mechanisms: mechanisms.others,
            };
            prepared.jobs.insert(name, job);
        }
        Ok(prepared)
    }

    /// Makes the running mechanisms those of `prepared`. Unchanged ones go on and keep what they have found. Must be
    /// called inside a runtime.
    pub fn apply(&mut self, prepared: Prepared) {
        let Prepared { jobs, mut new } = prepared;
        let mut before = std::mem::take(&mut self.running);
        let mut starting = Vec::new();
        let mut wanted: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        let mut sources = BTreeMap::new();
        for (name, job) in jobs {
            let mut providers: Vec<u64> = Vec::new();
            for mechanism in job.mechanisms {
                let identity = identity(&mechanism);
                let id = self.provider(&identity, mechanism, &mut before, &mut new, &mut starting);
                // Naming the same mechanism twice in a job finds nothing more.
                if let Some(id) = id
                    && !providers.contains(&id)
                {
                    providers.push(id);
                    wanted.entry(id).or_default().push(name.clone());
                }
            }
            let statics = job.statics;
            sources.insert(name, Sources { statics, providers });
        }
        drop(before);
        let failed = self
            .running
            .values()
            .flatten()
            .filter(|provider| provider.failed)
            .count();
        self.shared
            .metrics
            .failed_configs
            .with(&[self.shared.name])
            .set(failed as f64);
        self.take_over(sources, wanted);
        for (runner, updates, stop) in starting {
            tokio::spawn(runner::run(runner, updates, stop));
        }
        self.publisher.get_or_insert_with(|| {
            let (stop, shared) = (CancellationToken::new(), self.shared.clone());
            let ends = stop.clone();
            let publish = move || publish_changes(shared.clone(), ends.clone());
            self.shared
                .metrics
                .supervisor
                .spawn("discovery publisher", &stop, publish);
            Stop(stop)
        });
    }

    /// The mechanism that runs, goes on running, or is about to start.
    fn provider(
        &mut self,
        identity: &str,
        mechanism: Mechanism,
        before: &mut Running,
        new: &mut HashMap<String, Vec<New>>,
        starting: &mut Vec<(Runner, Updates, CancellationToken)>,
    ) -> Option<u64> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        if let Some(provider) = running(&self.running, identity, &mechanism) {
            return Some(provider.id);
        }
        if let Some(list) = before.get_mut(identity)
            && let Some(at) = list
                .iter()
                .position(|old| old.mechanism == mechanism && !old.failed)
        {
            let kept = list.swap_remove(at);
            let id = kept.id;
            self.running.entry(identity.to_owned()).or_default().push(kept);
            return Some(id);
        }
        let list = new.get_mut(identity)?;
        let at = list.iter().position(|new| new.mechanism == mechanism)?;
        let made = list.swap_remove(at);
        let (id, stop) = (NEXT_ID.fetch_add(1, Ordering::Relaxed), CancellationToken::new());
        let failed = made.runner.is_err();
        match made.runner {
            Ok(runner) => {
                let updates = Updates {
                    shared: self.shared.clone(),
                    provider: id,
                    mechanism: mechanism.name(),
                    job: made.job,
                    failing: Arc::default(),
                };
                starting.push((runner, updates, stop.clone()));
            }
            Err(error) => self.shared.trouble(id, mechanism.name(), error),
        }
        self.running
            .entry(identity.to_owned())
            .or_default()
            .push(Provider {
                mechanism,
                id,
                failed,
                _stop: Stop(stop),
            });
        Some(id)
    }

    /// Puts jobs and their sources in force, and publishes.
    fn take_over(&self, sources: BTreeMap<String, Sources>, mut wanted: BTreeMap<u64, Vec<String>>) {
        self.shared.troubles.keep(self.shared.name, &wanted);
        let mut state = self.shared.state.lock();
        state.found.retain(|id, _| wanted.contains_key(id));
        while let Some((id, jobs)) = wanted.pop_first() {
            state.found.entry(id).or_default().jobs = jobs;
        }
        let before = std::mem::replace(&mut state.jobs, sources);
        let State { jobs, dirty, .. } = &mut *state;
        dirty.extend(before.keys().filter(|job| !jobs.contains_key(*job)).cloned());
        let is_new = |(job, now): &(&String, &Sources)| {
            before
                .get(*job)
                .is_none_or(|old| old.providers != now.providers || old.statics != now.statics)
        };
        dirty.extend(jobs.iter().filter(is_new).map(|(job, _)| job.clone()));
        drop(state);
        self.shared.publish();
    }
}

/// What a mechanism is, as a text to find its equals by. Secrets print alike, so that equality has the last word.
fn identity(mechanism: &Mechanism) -> String {
    format!("{mechanism:?}")
}

fn running<'r>(running: &'r Running, identity: &str, mechanism: &Mechanism) -> Option<&'r Provider> {
    running
        .get(identity)?
        .iter()
        .find(|provider| provider.mechanism == *mechanism)
}

#[cfg(test)]
mod tests;

//! Runs the groups: starts, replaces and stops them as the configuration says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::LoadError;
use crate::group::{Environment, Group};
use crate::load::Settings;
use crate::snapshot::{AlertSnapshot, GroupSnapshot};

/// Runs rules. Cloning gives another handle to the same rules.
#[derive(Clone)]
pub struct Manager {
    shared: Arc<Shared>,
}

struct Shared {
    environment: Arc<Environment>,
    /// The groups, for those who look.
    groups: RwLock<BTreeMap<Key, Arc<Group>>>,
    /// The groups' tasks. One reload at a time has them.
    tasks: tokio::sync::Mutex<BTreeMap<Key, Running>>,
    /// Set once groups may evaluate: not before storage is ready.
    started: CancellationToken,
    stopped: CancellationToken,
    /// Whether rules were loaded before: then new groups have no state to be restored.
    loaded: AtomicBool,
    restore_new_groups: bool,
}

/// File and name of a group.
type Key = (String, String);

/// A group and the task that evaluates it.
struct Running {
    group: Arc<Group>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Manager {
    /// A manager without rules. Must be used within a tokio runtime. `restore_new_groups` is
    /// `--rules.restore-new-groups`' meaning: also groups that a reload adds get their alerts' state back.
    pub fn new(environment: Environment, restore_new_groups: bool) -> Self {
        Manager {
            shared: Arc::new(Shared {
                environment: Arc::new(environment),
                groups: RwLock::default(),
                tasks: tokio::sync::Mutex::default(),
                started: CancellationToken::new(),
                stopped: CancellationToken::new(),
                loaded: AtomicBool::new(false),
                restore_new_groups,
            }),
        }
    }

    /// Lets groups evaluate from now on; until then they wait, so that no query meets a store that is not ready.
    pub fn start(&self) {
        self.shared.started.cancel();
    }

    /// Makes the rules those that `settings` names. Groups that are the same go on undisturbed; changed ones keep the
    /// alerts and series of their rules; series of removed ones are marked stale two intervals later.
    ///
    /// # Errors
    /// When the rules cannot be loaded; then nothing changes.
    pub async fn load(&self, settings: Settings) -> Result<(), LoadError> {
        let shared = &self.shared;
        let mut tasks = shared.tasks.lock().await;
        if shared.stopped.is_cancelled() {
            return Err(LoadError::Stopped);
        }
        let restore = !shared.loaded.load(Ordering::Relaxed) || shared.restore_new_groups;
        let metrics = shared.environment.metrics.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let files = settings.read_files()?;
            Ok(settings.groups(&files, restore, &metrics))
        });
        let groups = match reading.await {
            Ok(groups) => groups?,
            Err(_) => return Err(LoadError::Stopped),
        };
        shared.loaded.store(true, Ordering::Relaxed);
        shared.replace(&mut tasks, groups).await;
        Ok(())
    }

    /// Stops all groups and waits for evaluations under way.
    pub async fn stop(&self) {
        let mut tasks = self.shared.tasks.lock().await;
        self.shared.stopped.cancel();
        for running in tasks.values() {
            running.stop.cancel();
        }
        for running in std::mem::take(&mut *tasks).into_values() {
            running.finished().await;
        }
    }

    /// The groups as they are now, sorted by file and name.
    pub fn snapshot(&self) -> Vec<GroupSnapshot> {
        let groups: Vec<Arc<Group>> = self.shared.groups.read().values().cloned().collect();
        groups.iter().map(|group| group.snapshot()).collect()
    }

    /// All pending and firing alerts, group by group.
    pub fn alerts(&self) -> Vec<AlertSnapshot> {
        let rules = self.snapshot().into_iter().flat_map(|group| group.rules);
        rules
            .filter_map(|rule| rule.alerting)
            .flat_map(|alerting| alerting.alerts)
            .collect()
    }
}

impl Shared {
    /// Makes the groups in `tasks` those of a new configuration.
    async fn replace(self: &Arc<Self>, tasks: &mut BTreeMap<Key, Running>, groups: Vec<Group>) {
        let mut old = std::mem::take(tasks);
        let mut starting: Vec<(Key, Group, Option<Running>)> = Vec::new();
        for group in groups {
            let key = (group.spec.file.clone(), group.spec.name.clone());
            match old.remove(&key) {
                Some(running) if running.group.is_same(&group) => drop(tasks.insert(key, running)),
                before => starting.push((key, group, before)),
            }
        }
        // All are told to stop before any is waited for.
        let changing = starting.iter().filter_map(|(_, _, before)| before.as_ref());
        for running in changing.chain(old.values()) {
            running.stop.cancel();
        }
        for (key, group, before) in starting {
            if let Some(before) = before {
                group.inherit(&*before.finished().await);
            }
            tasks.insert(key, self.spawn(group));
        }
        let groups = tasks
            .iter()
            .map(|(key, running)| (key.clone(), running.group.clone()));
        *self.groups.write() = groups.collect();
        for running in old.into_values() {
            let group = running.finished().await;
            self.environment.metrics.remove(&group.spec.key());
            tokio::spawn(bury(group, self.environment.clone(), self.stopped.clone()));
        }
    }

    fn spawn(self: &Arc<Self>, group: Group) -> Running {
        let (group, stop) = (Arc::new(group), CancellationToken::new());
        let (shared, running, stopping) = (self.clone(), group.clone(), stop.clone());
        let task = tokio::spawn(async move {
            tokio::select! {
                () = shared.started.cancelled() => {}
                () = stopping.cancelled() => return,
            }
            run(&running, &shared.environment, &stopping).await;
        });
        Running { group, stop, task }
    }
}

impl Running {
    /// Waits until the group, which was told to stop, has done so.
    async fn finished(self) -> Arc<Group> {
        if self.task.await.is_err() {
            tracing::error!(group = self.group.spec.name, "the task of a rule group panicked");
        }
        self.group
    }
}

/// Evaluates `group` at its times until it is stopped.
async fn run(group: &Arc<Group>, environment: &Arc<Environment>, stop: &CancellationToken) {
    let interval_ns = group.schedule.interval_ns();
    let mut at_ns = group.schedule.at_or_before(environment.now_ns()) + interval_ns;
    if !wait_until(at_ns, environment, stop).await {
        return;
    }
    evaluate(group, at_ns, environment, stop).await;
    // State is restored after the second evaluation: at the first there may be too few samples yet, and recording
    // rules that alerts look at may not have written theirs.
    let mut restoring = group
        .rules
        .iter()
        .any(|rule| !rule.restored.load(Ordering::Relaxed));
    while wait_until(at_ns + interval_ns, environment, stop).await {
        let (next_ns, missed) = group.schedule.next(at_ns, environment.now_ns());
        group.metrics.iterations_missed.add_count(missed);
        group.metrics.iterations.add_count(missed);
        at_ns = next_ns;
        evaluate(group, at_ns, environment, stop).await;
        if std::mem::take(&mut restoring) {
            blocking(group, environment, |group, environment| {
                group.restore(environment.now_ns(), environment);
            })
            .await;
        }
    }
}

async fn evaluate(group: &Arc<Group>, at_ns: i64, environment: &Arc<Environment>, stop: &CancellationToken) {
    let stop = stop.clone();
    blocking(group, environment, move |group, environment| {
        group.evaluate(at_ns, environment, &stop);
    })
    .await;
}

/// Does something that waits for storage on a thread for such things. A panic there ends this evaluation only.
async fn blocking(
    group: &Arc<Group>,
    environment: &Arc<Environment>,
    work: impl FnOnce(&Group, &Environment) + Send + 'static,
) {
    let (for_work, environment) = (group.clone(), environment.clone());
    let done = tokio::task::spawn_blocking(move || work(&for_work, &environment)).await;
    if done.is_err_and(|error| error.is_panic()) {
        group.metrics.evaluation_failures.inc();
        tracing::error!(
            group = group.spec.name,
            file = group.spec.file,
            "the evaluation of a rule group panicked"
        );
    }
}

/// Waits until `at_ns`; `false` when stopped before.
async fn wait_until(at_ns: i64, environment: &Environment, stop: &CancellationToken) -> bool {
    let delay_ns = at_ns.saturating_sub(environment.now_ns()).max(0);
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        () = tokio::time::sleep(Duration::from_nanos(delay_ns.unsigned_abs())) => true,
    }
}

/// Marks the series of a removed group after two intervals: rules that only moved to another group have gone on with
/// their series by then.
async fn bury(group: Arc<Group>, environment: Arc<Environment>, stopped: CancellationToken) {
    let now_ns = environment.now_ns();
    let until_ns = now_ns.saturating_add(2 * group.schedule.interval_ns());
    if !wait_until(until_ns, &environment, &stopped).await {
        return;
    }
    blocking(&group, &environment, move |group, environment| {
        group.abandon();
        group.mark_stale(now_ns, environment);
    })
    .await;
}

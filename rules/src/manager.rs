//! Runs the groups: starts, replaces and stops them as the configuration says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::LoadError;
use crate::group::{Environment, Group};
use crate::journal::{AlertJournal, Recovery};
use crate::load::{Plan, Settings};
use crate::run::Runner;
use crate::snapshot::{AlertSnapshot, GroupSnapshot};
use crate::threads::Threads;

/// Runs rules. Cloning gives another handle to the same rules.
#[derive(Clone)]
pub struct Manager {
    shared: Arc<Shared>,
}

struct Shared {
    environment: Arc<Environment>,
    threads: Arc<Threads>,
    /// The groups, for those who look.
    groups: RwLock<BTreeMap<Key, Arc<Group>>>,
    /// The groups' tasks. One reload at a time has them.
    tasks: tokio::sync::Mutex<BTreeMap<Key, Running>>,
    /// Removed groups that are not gone yet.
    removed: TaskTracker,
    /// Set once groups may evaluate: not before storage is ready.
    started: CancellationToken,
    stopped: CancellationToken,
    /// Whether rules were loaded before: then new groups have no state to be restored.
    loaded: AtomicBool,
    restore_new_groups: bool,
}

/// File and name of a group.
type Key = (String, String);

/// Rules prepared aside, ready to be put in force.
pub struct Prepared(Vec<Plan>);

/// A group and the task that evaluates it.
struct Running {
    group: Arc<Group>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Manager {
    /// A manager without rules that runs them on `threads`. `restore_new_groups` is `--rules.restore-new-groups`'
    /// meaning: also groups that a reload adds get their alerts' state back.
    pub fn new(environment: Environment, threads: Threads, restore_new_groups: bool) -> Self {
        Manager {
            shared: Arc::new(Shared {
                environment: Arc::new(environment),
                threads: Arc::new(threads),
                groups: RwLock::default(),
                tasks: tokio::sync::Mutex::default(),
                removed: TaskTracker::new(),
                started: CancellationToken::new(),
                stopped: CancellationToken::new(),
                loaded: AtomicBool::new(false),
                restore_new_groups,
            }),
        }
    }

    /// Lets groups evaluate from now on; until then they wait, so that no query meets a store that is not ready.
    pub fn start(&self) {
        if let Some(recovery) = &self.shared.environment.recovery {
            recovery.start(&*self.shared.environment.clock);
        }
        self.shared.started.cancel();
    }

    /// Reads the rules that `settings` names, changing nothing.
    ///
    /// # Errors
    /// When the rules cannot be loaded, or the manager was stopped.
    pub async fn prepare(&self, settings: Settings) -> Result<Prepared, LoadError> {
        if self.shared.stopped.is_cancelled() {
            return Err(LoadError::Stopped);
        }
        let supervisor = self.shared.environment.metrics.supervisor.clone();
        let reading = self.shared.threads.read(move || {
            supervisor.catch("rule files", || {
                let files = settings.read_files()?;
                Ok(Prepared(settings.plans(&files)))
            })
        });
        match reading.await {
            Ok(read) => read?,
            Err(_) => Err(LoadError::Stopped),
        }
    }

    /// Puts rules in force; cannot fail. Groups that are the same go on undisturbed; changed ones keep the alerts and
    /// series of their rules, once the evaluation is over that they may be at; series of removed ones are marked stale
    /// two intervals later. A manager that was stopped ignores it.
    pub async fn apply(&self, prepared: Prepared) {
        let shared = &self.shared;
        let mut tasks = shared.tasks.lock().await;
        if !shared.stopped.is_cancelled() {
            shared.replace(&mut tasks, prepared.0).await;
        }
    }

    /// [`Manager::prepare`] and [`Manager::apply`] in one.
    ///
    /// # Errors
    /// When the rules cannot be loaded; then nothing changes.
    pub async fn load(&self, settings: Settings) -> Result<(), LoadError> {
        let prepared = self.prepare(settings).await?;
        self.apply(prepared).await;
        Ok(())
    }

    /// Sends all alerts again as their groups are evaluated next, whatever of them is sent already: for somebody who has just
    /// begun to listen, and would else hear of them when their resend delay is over.
    pub fn send_again(&self) {
        let groups: Vec<Arc<Group>> = self.shared.groups.read().values().cloned().collect();
        for rule in groups.iter().flat_map(|group| &group.rules) {
            rule.alerts.lock().doubt_sent();
        }
    }

    /// Stops all groups and waits for evaluations under way.
    pub async fn stop(&self) {
        let shared = &self.shared;
        let mut tasks = shared.tasks.lock().await;
        shared.stopped.cancel();
        for running in tasks.values() {
            running.stop.cancel();
        }
        for running in std::mem::take(&mut *tasks).into_values() {
            running.finished().await;
        }
        shared.removed.close();
        shared.removed.wait().await;
        shared.with_journal(AlertJournal::stop).await;
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
    async fn replace(self: &Arc<Self>, tasks: &mut BTreeMap<Key, Running>, plans: Vec<Plan>) {
        let restore = !self.loaded.swap(true, Ordering::Relaxed) || self.restore_new_groups;
        let journal = self.environment.recovery.as_ref().map(Recovery::journal);
        let rules_before = journal.map(AlertJournal::rules).unwrap_or_default();
        let mut old = std::mem::take(tasks);
        let mut starting: Vec<(Key, Plan, Option<Running>)> = Vec::new();
        for plan in plans {
            let key = (plan.spec.file.clone(), plan.spec.name.clone());
            match old.remove(&key) {
                Some(running) if running.group.is_same(&plan) => drop(tasks.insert(key, running)),
                before => starting.push((key, plan, before)),
            }
        }
        // All are told to stop before any is waited for.
        let changing = starting.iter().filter_map(|(_, _, before)| before.as_ref());
        for running in changing.chain(old.values()) {
            running.stop.cancel();
        }
        for running in old.values() {
            self.environment.metrics.remove(&running.group.spec.key());
        }
        for (key, plan, before) in starting {
            let group = Group::new(plan, restore, &self.environment.metrics);
            match before {
                Some(before) => group.inherit(&*before.finished().await),
                None => journal.iter().for_each(|journal| journal.hand_over(&group)),
            }
            let group = Arc::new(group);
            journal.iter().for_each(|journal| journal.adopt(&group));
            tasks.insert(key, self.spawn(group));
        }
        let groups = tasks
            .iter()
            .map(|(key, running)| (key.clone(), running.group.clone()));
        let groups: BTreeMap<Key, Arc<Group>> = groups.collect();
        self.groups.write().clone_from(&groups);
        self.with_journal(move |journal| journal.settle(&groups, rules_before))
            .await;
        for running in old.into_values() {
            let shared = self.clone();
            let ending = async move {
                let group = running.finished().await;
                shared.runner(group, shared.stopped.clone()).end().await;
            };
            self.removed.spawn_on(ending, self.threads.handle());
        }
    }

    /// Has the journal do something for which it waits for the disk.
    async fn with_journal(&self, work: impl FnOnce(&AlertJournal) + Send + 'static) {
        if self.environment.recovery.is_none() {
            return;
        }
        let environment = self.environment.clone();
        let supervisor = environment.metrics.supervisor.clone();
        let done = self.threads.read(move || {
            // A panic is told; the journal writes everything with the next record then.
            let _ = supervisor.catch("alert journal", || {
                environment.recovery.as_ref().map(Recovery::journal).map(work)
            });
        });
        // Without threads the program is ending.
        let _ = done.await;
    }

    fn spawn(self: &Arc<Self>, group: Arc<Group>) -> Running {
        let stop = CancellationToken::new();
        let (shared, stopping) = (self.clone(), stop.clone());
        let runner = self.runner(group.clone(), stop.clone());
        let task = self.threads.handle().spawn(async move {
            tokio::select! {
                () = shared.started.cancelled() => {}
                () = stopping.cancelled() => return,
            }
            runner.run().await;
        });
        Running { group, stop, task }
    }

    fn runner(&self, group: Arc<Group>, stop: CancellationToken) -> Runner {
        Runner {
            group,
            environment: self.environment.clone(),
            threads: self.threads.clone(),
            stop,
        }
    }
}

impl Running {
    /// Waits until the group, which was told to stop, has done so.
    async fn finished(self) -> Arc<Group> {
        if let Err(error) = self.task.await {
            // Its loop outlives every panic: only the end of its threads ends it early.
            tracing::error!(group = self.group.spec.name, %error, "The task of a rule group ended badly");
        }
        self.group
    }
}

//! Runs the mechanisms of all jobs and publishes what they have found.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Groups, Mechanism, TargetGroup, file};

/// Changes are collected for this long, so that many that come together are published once.
const COLLECTED_FOR: Duration = Duration::from_millis(100);

/// All groups of all jobs.
pub type Snapshot = Arc<BTreeMap<String, Groups>>;

/// Runs mechanisms. Dropping it stops them.
#[derive(Debug)]
pub struct Manager {
    shared: Arc<Shared>,
    jobs: BTreeMap<String, Vec<Runner>>,
}

/// A mechanism that is running.
#[derive(Debug)]
struct Runner {
    mechanism: Mechanism,
    id: u64,
    stop: CancellationToken,
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    published: watch::Sender<Snapshot>,
}

#[derive(Debug, Default)]
struct State {
    /// What has been found, by job, by mechanism.
    found: BTreeMap<String, BTreeMap<u64, Found>>,
    /// Jobs with changes that are not published yet.
    dirty: BTreeSet<String>,
    /// Somebody will publish them.
    scheduled: bool,
}

/// Groups of one mechanism, in the order in which their sources were first seen.
#[derive(Debug, Default)]
struct Found {
    groups: BTreeMap<u64, Arc<TargetGroup>>,
    by_source: HashMap<String, u64>,
    next: u64,
}

impl Found {
    /// Takes a group over; gives whether anything has changed.
    fn take(&mut self, group: TargetGroup) -> bool {
        let place = self.by_source.get(&group.source).copied();
        match (place, group.targets.is_empty()) {
            (Some(place), true) => {
                self.by_source.remove(&group.source);
                self.groups.remove(&place);
            }
            (Some(place), false) if self.groups.get(&place).is_some_and(|known| **known == group) => {
                return false;
            }
            (Some(place), false) => drop(self.groups.insert(place, Arc::new(group))),
            (None, true) => return false,
            (None, false) => {
                self.by_source.insert(group.source.clone(), self.next);
                self.groups.insert(self.next, Arc::new(group));
                self.next += 1;
            }
        }
        true
    }
}

/// A mechanism's way to report. Reports after the mechanism was stopped are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Updates {
    shared: Arc<Shared>,
    job: String,
    id: u64,
}

impl Updates {
    /// Reports groups; those with the source of an earlier one replace it, those without targets take it back. Must be
    /// called inside a runtime.
    pub(crate) fn send(&self, groups: Vec<TargetGroup>) {
        let mut state = self.shared.state.lock();
        let Some(mine) = state
            .found
            .get_mut(&self.job)
            .and_then(|job| job.get_mut(&self.id))
        else {
            return;
        };
        let mut changed = false;
        for group in groups {
            changed |= mine.take(group);
        }
        if changed {
            state.dirty.insert(self.job.clone());
            self.shared.schedule(&mut state);
        }
    }
}

impl Shared {
    /// Publishes what is dirty a little later, together with what becomes so until then.
    fn schedule(self: &Arc<Self>, state: &mut State) {
        if std::mem::replace(&mut state.scheduled, true) {
            return;
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(COLLECTED_FOR).await;
            let mut state = shared.state.lock();
            state.scheduled = false;
            shared.publish(&mut state);
        });
    }

    /// Publishes the jobs that are dirty; the others keep their lists. Done under the lock, so that pictures leave in the
    /// order in which they were taken.
    fn publish(&self, state: &mut State) {
        let dirty = std::mem::take(&mut state.dirty);
        if dirty.is_empty() {
            return;
        }
        self.published.send_modify(|snapshot| {
            let snapshot = Arc::make_mut(snapshot);
            for job in dirty {
                match state.found.get(&job) {
                    Some(mechanisms) => {
                        let groups = mechanisms.values().flat_map(|found| found.groups.values());
                        let groups = groups.cloned().collect();
                        snapshot.insert(job, groups);
                    }
                    None => drop(snapshot.remove(&job)),
                }
            }
        });
    }
}

impl Default for Manager {
    fn default() -> Self {
        Manager::new()
    }
}

impl Manager {
    /// A manager without jobs.
    pub fn new() -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            published: watch::Sender::new(Snapshot::default()),
        });
        Manager {
            shared,
            jobs: BTreeMap::new(),
        }
    }

    /// What has been found; changes with every update. A job that is configured is there even without groups.
    pub fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.shared.published.subscribe()
    }

    /// Makes the running mechanisms those of `jobs`. Unchanged ones go on and keep what they have found. Must be called
    /// inside a runtime.
    pub fn apply(&mut self, jobs: BTreeMap<String, Vec<Mechanism>>) {
        let mut before = std::mem::take(&mut self.jobs);
        for (job, mechanisms) in jobs {
            let mut kept = before.remove(&job);
            let is_new = kept.is_none();
            let kept_before = kept.as_ref().map_or(0, Vec::len);
            let mut started = false;
            let runners = mechanisms.into_iter().map(|mechanism| {
                let known = kept.as_mut().and_then(|kept| {
                    let at = kept.iter().position(|runner| runner.mechanism == mechanism)?;
                    Some(kept.swap_remove(at))
                });
                known.unwrap_or_else(|| {
                    started = true;
                    self.start(&job, mechanism)
                })
            });
            let runners: Vec<Runner> = runners.collect();
            if is_new || started || kept_before != runners.len() {
                let mut state = self.shared.state.lock();
                let mine = state.found.entry(job.clone()).or_default();
                mine.retain(|id, _| runners.iter().any(|runner| runner.id == *id));
                state.dirty.insert(job.clone());
            }
            self.jobs.insert(job, runners);
        }
        let mut state = self.shared.state.lock();
        for job in before.into_keys() {
            state.found.remove(&job);
            state.dirty.insert(job);
        }
        self.shared.publish(&mut state);
    }

    fn start(&self, job: &str, mechanism: Mechanism) -> Runner {
        static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let stop = CancellationToken::new();
        let mut found = Found::default();
        if let Mechanism::Static(groups) = &mechanism {
            for (index, group) in groups.iter().enumerate() {
                found.take(group.group(index.to_string()));
            }
        }
        let mut state = self.shared.state.lock();
        state.found.entry(job.to_owned()).or_default().insert(id, found);
        drop(state);
        if let Mechanism::File(config) = &mechanism {
            let updates = Updates {
                shared: self.shared.clone(),
                job: job.to_owned(),
                id,
            };
            tokio::spawn(file::run(config.clone(), updates, stop.clone()));
        }
        Runner { mechanism, id, stop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileConfig, StaticConfig};

    fn fixed(target: &str) -> Mechanism {
        Mechanism::Static(vec![StaticConfig {
            targets: vec![target.into()],
            ..StaticConfig::default()
        }])
    }

    fn addresses(snapshot: &Snapshot, job: &str) -> Vec<String> {
        let groups = &snapshot[job];
        groups
            .iter()
            .flat_map(|g| &g.targets)
            .map(|t| t.value("__address__").to_owned())
            .collect()
    }

    #[tokio::test]
    async fn jobs_come_change_and_go() {
        let mut manager = Manager::new();
        let seen = manager.subscribe();
        manager.apply(BTreeMap::from([
            ("a".into(), vec![fixed("x:1")]),
            ("b".into(), vec![]),
        ]));
        assert_eq!(addresses(&seen.borrow(), "a"), ["x:1"]);
        assert!(addresses(&seen.borrow(), "b").is_empty());
        manager.apply(BTreeMap::from([("a".into(), vec![fixed("x:2")])]));
        assert_eq!(addresses(&seen.borrow(), "a"), ["x:2"]);
        assert!(!seen.borrow().contains_key("b"));
    }

    /// What a picture costs must not depend on the jobs that have not changed, nor on how often the others have.
    #[tokio::test(start_paused = true)]
    async fn jobs_are_published_by_themselves_and_together() {
        let mut manager = Manager::new();
        manager.apply(BTreeMap::from([
            ("a".into(), vec![fixed("x:1")]),
            ("b".into(), vec![fixed("x:2"), fixed("x:3")]),
        ]));
        let mut seen = manager.subscribe();
        let before = seen.borrow_and_update().clone();
        let id = manager.jobs["b"][0].id;
        let updates = Updates {
            shared: manager.shared.clone(),
            job: "b".into(),
            id,
        };
        let group = |source: &str, target: &str| TargetGroup {
            source: source.into(),
            targets: vec![model::labels::Labels::from_pairs([("__address__", target)])],
            ..TargetGroup::default()
        };
        for number in 0..1000 {
            updates.send(vec![group("more", &format!("y:{number}"))]);
        }
        assert!(!seen.has_changed().expect("manager lives"), "collected");
        tokio::time::sleep(2 * COLLECTED_FOR).await;
        let now = seen.borrow_and_update().clone();
        assert_eq!(addresses(&now, "b"), ["x:2", "y:999", "x:3"]);
        assert!(
            Arc::ptr_eq(&before["a"], &now["a"]),
            "nothing about it has changed"
        );
        // The same again is no change.
        updates.send(vec![group("more", "y:999")]);
        tokio::time::sleep(2 * COLLECTED_FOR).await;
        assert!(!seen.has_changed().expect("manager lives"));
        updates.send(vec![TargetGroup {
            source: "0".into(),
            ..TargetGroup::default()
        }]);
        tokio::time::sleep(2 * COLLECTED_FOR).await;
        assert_eq!(addresses(&seen.borrow_and_update(), "b"), ["y:999", "x:3"]);
    }

    #[tokio::test]
    async fn files_are_followed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("targets.yml");
        std::fs::write(&path, "- targets: [a:1]\n").expect("write");
        let config = FileConfig {
            files: vec![folder.path().join("*.yml").to_string_lossy().into_owned()],
            refresh_interval: yaml::Duration::from_ms(3_600_000),
        };
        let mut manager = Manager::new();
        let mut seen = manager.subscribe();
        manager.apply(BTreeMap::from([("a".into(), vec![Mechanism::File(config)])]));
        let mut wait_for = async |expected: &[&str]| {
            seen.wait_for(|s| s.contains_key("a") && addresses(s, "a") == expected)
                .await
                .expect("manager lives");
        };
        wait_for(&["a:1"]).await;
        std::fs::write(folder.path().join("new.tmp"), "- targets: [a:1, a:2]\n").expect("write");
        std::fs::rename(folder.path().join("new.tmp"), &path).expect("rename");
        wait_for(&["a:1", "a:2"]).await;
        std::fs::remove_file(&path).expect("remove");
        wait_for(&[]).await;
    }
}

//! Runs the mechanisms of all jobs and publishes what they have found.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Groups, Mechanism, TargetGroup, file};

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
    /// Groups by job, by mechanism, by source.
    found: Mutex<BTreeMap<String, BTreeMap<u64, Found>>>,
    published: watch::Sender<Snapshot>,
}

/// Groups of one mechanism by source, in the order in which they were first seen.
type Found = Vec<Arc<TargetGroup>>;

/// A mechanism's way to report. Reports after the mechanism was stopped are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Updates {
    shared: Arc<Shared>,
    job: String,
    id: u64,
}

impl Updates {
    /// Reports groups; those with the source of an earlier one replace it, those without targets take it back.
    pub(crate) fn send(&self, groups: Vec<TargetGroup>) {
        {
            let mut found = self.shared.found.lock();
            let Some(mine) = found.get_mut(&self.job).and_then(|job| job.get_mut(&self.id)) else {
                return;
            };
            for group in groups {
                let place = mine.iter().position(|known| known.source == group.source);
                match (place, group.targets.is_empty()) {
                    (Some(at), true) => drop(mine.remove(at)),
                    (Some(at), false) => mine[at] = Arc::new(group),
                    (None, true) => {}
                    (None, false) => mine.push(Arc::new(group)),
                }
            }
        }
        self.shared.publish();
    }
}

impl Shared {
    fn publish(&self) {
        let found = self.found.lock();
        let all = found
            .iter()
            .map(|(job, mechanisms)| (job.clone(), mechanisms.values().flatten().cloned().collect()))
            .collect();
        // Sent under the lock, so that pictures leave in the order in which they were taken.
        self.published.send_replace(Arc::new(all));
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
            found: Mutex::default(),
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
            let mut kept = before.remove(&job).unwrap_or_default();
            self.shared.found.lock().entry(job.clone()).or_default();
            let runners = mechanisms.into_iter().map(|mechanism| {
                match kept.iter().position(|runner| runner.mechanism == mechanism) {
                    Some(at) => kept.swap_remove(at),
                    None => self.start(&job, mechanism),
                }
            });
            let runners: Vec<Runner> = runners.collect();
            let mut found = self.shared.found.lock();
            let mine = found.entry(job.clone()).or_default();
            mine.retain(|id, _| runners.iter().any(|runner| runner.id == *id));
            drop(found);
            self.jobs.insert(job, runners);
        }
        self.shared
            .found
            .lock()
            .retain(|job, _| self.jobs.contains_key(job));
        self.shared.publish();
    }

    fn start(&self, job: &str, mechanism: Mechanism) -> Runner {
        static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let stop = CancellationToken::new();
        let updates = Updates {
            shared: self.shared.clone(),
            job: job.to_owned(),
            id,
        };
        self.shared
            .found
            .lock()
            .entry(job.to_owned())
            .or_default()
            .insert(id, Vec::new());
        match &mechanism {
            Mechanism::Static(groups) => {
                let groups = groups
                    .iter()
                    .enumerate()
                    .map(|(index, group)| group.group(index.to_string()));
                updates.send(groups.collect());
            }
            Mechanism::File(config) => {
                tokio::spawn(file::run(config.clone(), updates, stop.clone()));
            }
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

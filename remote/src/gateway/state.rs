//! The groups in memory, and what is looked up in them: which names there are, which series.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::family::{Family, Kind, LabelSet, Metric};
use super::key::GroupKey;
use super::value;

/// When a group was last changed, as its metrics say it.
pub(super) const PUSH_TIME: &str = "push_time_seconds";
const PUSH_TIME_HELP: &str = "Last Unix time when changing this group in the Pushgateway succeeded.";
/// The same of a change that failed.
pub(super) const FAILURE_TIME: &str = "push_failure_time_seconds";
const FAILURE_TIME_HELP: &str = "Last Unix time when changing this group in the Pushgateway failed.";

/// A family of a group, and when it was pushed.
#[derive(Debug, PartialEq)]
pub struct Stored {
    /// The family.
    pub family: Family,
    /// When it was pushed, in milliseconds since the epoch.
    pub pushed_ms: i64,
    /// What its series are known by.
    pub(super) hashes: Box<[u64]>,
    pub(super) bytes: usize,
}

/// What was pushed under the same labels.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// By name.
    pub families: BTreeMap<String, Arc<Stored>>,
    /// How long it lives after its last push, in milliseconds; for ever where nothing is said.
    pub ttl_ms: Option<i64>,
    /// When that was, in milliseconds since the epoch.
    pub(super) touched_ms: i64,
    /// When it ends, in time that goes by.
    pub(super) ends_at: Option<Duration>,
    /// Number of its last change.
    pub(super) number: u64,
    pub(super) bytes: usize,
}

impl Group {
    /// Whether the last push to it went well, as its metrics tell it.
    pub fn last_push_succeeded(&self) -> bool {
        let seconds = |name| {
            let stored = self.families.get(name)?;
            let metric = stored.family.metrics.first()?;
            match metric.value(Kind::Gauge) {
                value::Value::Number(seconds) => Some(seconds),
                _ => None,
            }
        };
        match (seconds(FAILURE_TIME), seconds(PUSH_TIME)) {
            (Some(failure), Some(success)) => failure <= success,
            _ => true,
        }
    }
}

/// Where a name is used.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// Groups that have it.
    pub(super) groups: usize,
    /// Groups that have metrics of it, by kind.
    pub(super) kinds: [usize; 6],
    /// How many metrics there are of each series.
    pub(super) series: HashMap<u64, u32>,
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) groups: BTreeMap<GroupKey, Group>,
    pub(super) names: HashMap<String, Name>,
    pub(super) bytes: usize,
    /// Number of the last change.
    pub(super) number: u64,
    /// The first end of a group, or earlier.
    next_end: Option<Duration>,
    /// Groups that have come to their end.
    pub(super) expired: u64,
    /// Something may contradict something: whoever reads has to look.
    pub(super) suspect: bool,
    hasher: RandomState,
}

impl State {
    /// Puts what was pushed at `now_ms` into a form in which it can be kept: every metric has the labels of the group and an
    /// `instance`, sorted.
    pub(super) fn store(&self, mut family: Family, key: &GroupKey, now_ms: i64) -> Arc<Stored> {
        for metric in &mut family.metrics {
            complete(&mut metric.labels, &key.0);
        }
        let hashes = family.metrics.iter().map(|metric| self.hash(metric)).collect();
        Arc::new(Stored {
            bytes: family.bytes(),
            family,
            pushed_ms: now_ms,
            hashes,
        })
    }

    /// What a series is known by; its name is known where it is looked up.
    fn hash(&self, metric: &Metric) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        metric.labels.hash(&mut hasher);
        metric.timestamp_ms().hash(&mut hasher);
        hasher.finish()
    }

    /// The gauge that says when a group was pushed to; `now_ms` is nothing where it never was.
    pub(super) fn push_time(&self, key: &GroupKey, at_ms: Option<i64>, now_ms: i64) -> Arc<Stored> {
        self.time_gauge(PUSH_TIME, PUSH_TIME_HELP, key, at_ms, now_ms)
    }

    /// The gauge that says when a push failed.
    pub(super) fn failure_time(&self, key: &GroupKey, at_ms: Option<i64>, now_ms: i64) -> Arc<Stored> {
        self.time_gauge(FAILURE_TIME, FAILURE_TIME_HELP, key, at_ms, now_ms)
    }

    fn time_gauge(
        &self,
        name: &str,
        help: &str,
        key: &GroupKey,
        at_ms: Option<i64>,
        now_ms: i64,
    ) -> Arc<Stored> {
        let seconds = at_ms.map_or(0.0, |at_ms| at_ms as f64 / 1e3);
        let family = Family {
            name: name.to_owned(),
            help: Some(help.to_owned()),
            kind: Kind::Gauge,
            unit: None,
            metrics: vec![Metric {
                labels: LabelSet::new(),
                fields: value::gauge(seconds),
            }],
        };
        self.store(family, key, now_ms)
    }

    /// Puts families into a group, which is made where it is not there; with `replace` nothing else stays but the times of
    /// pushes. Gives the number of the change.
    pub(super) fn put(&mut self, key: &GroupKey, families: Vec<Arc<Stored>>, replace: bool) -> u64 {
        let mut group = self.groups.remove(key).unwrap_or_default();
        if replace {
            let gone: Vec<_> = group
                .families
                .extract_if(.., |name, _| name != PUSH_TIME && name != FAILURE_TIME)
                .collect();
            for (_, stored) in gone {
                self.forget(&mut group, &stored);
            }
        }
        for stored in families {
            if let Some(before) = group.families.remove(&stored.family.name) {
                self.forget(&mut group, &before);
            }
            self.remember(&mut group, stored);
        }
        self.number += 1;
        group.number = self.number;
        self.groups.insert(key.clone(), group);
        self.number
    }

    fn remember(&mut self, group: &mut Group, stored: Arc<Stored>) {
        let family = &stored.family;
        let name = self.names.entry(family.name.clone()).or_default();
        name.groups += 1;
        name.kinds[family.kind as usize] += usize::from(!family.metrics.is_empty());
        for hash in &stored.hashes {
            *name.series.entry(*hash).or_default() += 1;
        }
        group.bytes += stored.bytes;
        self.bytes += stored.bytes;
        group.families.insert(family.name.clone(), stored);
    }

    fn forget(&mut self, group: &mut Group, stored: &Stored) {
        let family = &stored.family;
        group.bytes -= stored.bytes;
        self.bytes -= stored.bytes;
        let Some(name) = self.names.get_mut(&family.name) else {
            return;
        };
        name.groups -= 1;
        name.kinds[family.kind as usize] -= usize::from(!family.metrics.is_empty());
        if name.groups == 0 {
            self.names.remove(&family.name);
            return;
        }
        for hash in &stored.hashes {
            if let Some(count) = name.series.get_mut(hash) {
                *count -= 1;
                if *count == 0 {
                    name.series.remove(hash);
                }
            }
        }
    }

    /// Says how long a group lives from `now_ms` on.
    pub(super) fn let_live(&mut self, key: &GroupKey, ttl_ms: Option<i64>, now_ms: i64, elapsed: Duration) {
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        group.ttl_ms = ttl_ms;
        group.touched_ms = now_ms;
        group.ends_at = ttl_ms.map(|ttl_ms| elapsed + Duration::from_millis(ttl_ms.unsigned_abs()));
        if let Some(end) = group.ends_at {
            self.next_end = Some(self.next_end.map_or(end, |next| next.min(end)));
        }
    }

    /// Takes a group away; whether it was there.
    pub(super) fn remove(&mut self, key: &GroupKey) -> bool {
        let Some(mut group) = self.groups.remove(key) else {
            return false;
        };
        for stored in std::mem::take(&mut group.families).into_values() {
            self.forget(&mut group, &stored);
        }
        true
    }

    /// Takes all groups away.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
        self.names.clear();
        self.bytes = 0;
        self.next_end = None;
        self.suspect = false;
    }

    /// Whether a group has come to its end.
    pub(super) fn has_ended(&self, elapsed: Duration) -> bool {
        self.next_end.is_some_and(|end| end <= elapsed)
    }

    /// Takes away the groups that have come to their end.
    pub(super) fn expire(&mut self, elapsed: Duration) {
        if !self.has_ended(elapsed) {
            return;
        }
        let is_over = |group: &Group| group.ends_at.is_some_and(|end| end <= elapsed);
        let over = self.groups.iter().filter(|(_, group)| is_over(group));
        let over: Vec<GroupKey> = over.map(|(key, _)| key.clone()).collect();
        for key in &over {
            self.remove(key);
        }
        self.expired += over.len() as u64;
        self.next_end = self.groups.values().filter_map(|group| group.ends_at).min();
    }
}

/// Gives a metric the labels of its group, whose values count, and an empty `instance` where it has none.
fn complete(labels: &mut LabelSet, group: &LabelSet) {
    for (name, value) in group {
        match labels.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1.clone_from(value),
            None => labels.push((name.clone(), value.clone())),
        }
    }
    if !labels.iter().any(|(name, _)| **name == *b"instance") {
        labels.push((b"instance".as_slice().into(), Box::default()));
    }
    labels.sort_by(|(one, _), (other, _)| one.cmp(other));
}

//! The judge: what the worker was told is stored must be found, and nothing else.

use std::collections::BTreeMap;

use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::TimeRange;

use super::plan::{self, Planned, RETENTION_MS, STEP_MS};
use crate::support::Contents;

/// What must be there, and what may be.
pub(super) struct Oracle {
    seed: u64,
    /// Acknowledged, or seen after a restart.
    must: Contents,
    /// Number of the newest batch begun.
    pub(super) newest: i64,
    /// Begun and not acknowledged before the process ended.
    batches: BTreeMap<i64, Vec<Planned>>,
    deletions: BTreeMap<i64, (TimeRange, Matcher)>,
    /// What must be in a snapshot of this round, and what deletions of it began.
    before: Contents,
    deleting: Vec<(TimeRange, Matcher)>,
    /// All deletions that ever began.
    all_deletions: Vec<(TimeRange, Matcher)>,
    /// Snapshots that were acknowledged.
    pub(super) snapshots: Vec<i64>,
    /// Batches that were acknowledged.
    pub(super) acknowledged: u64,
    /// Samples that were acknowledged.
    pub(super) stored: u64,
    pub(super) deleted: u64,
}

fn covers(deletions: &[(TimeRange, Matcher)], labels: &Labels, timestamp_ms: i64) -> bool {
    deletions
        .iter()
        .any(|(range, matcher)| range.contains(timestamp_ms) && matcher.matches_labels(labels))
}

impl Oracle {
    pub(super) fn new(seed: u64) -> Self {
        Oracle {
            seed,
            must: Contents::new(),
            newest: 0,
            batches: BTreeMap::new(),
            deletions: BTreeMap::new(),
            before: Contents::new(),
            deleting: Vec::new(),
            all_deletions: Vec::new(),
            snapshots: Vec::new(),
            acknowledged: 0,
            stored: 0,
            deleted: 0,
        }
    }

    /// A new process begins.
    pub(super) fn begin(&mut self) {
        self.before = self.must.clone();
        self.deleting.clear();
        self.snapshots.clear();
    }

    /// Takes in a line of the worker.
    pub(super) fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let word = words.next().unwrap_or("");
        let mut number = || words.next().and_then(|w| w.parse::<i64>().ok()).unwrap_or(-1);
        match word {
            "batch" => {
                let (n, thread) = (number(), number());
                self.newest = self.newest.max(n);
                self.batches.insert(n, plan::batch(self.seed, n, thread as u64));
            }
            "batched" => {
                let batch = self.batches.remove(&number()).expect("begun");
                self.acknowledged += 1;
                self.stored += batch.len() as u64;
                self.store(batch);
            }
            "delete" => {
                let (n, now) = (number(), number());
                let deletion = plan::deletion(self.seed, n, now);
                self.deleting.push(deletion.clone());
                self.all_deletions.push(deletion.clone());
                self.deletions.insert(n, deletion);
            }
            "deleted" => {
                let (range, matcher) = self.deletions.remove(&number()).expect("begun");
                for (labels, samples) in &mut self.must {
                    if matcher.matches_labels(labels) {
                        let before = samples.len();
                        samples.retain(|t, _| !range.contains(*t));
                        self.deleted += (before - samples.len()) as u64;
                    }
                }
            }
            "snapshotted" => self.snapshots.push(number()),
            "works" | "open" | "snapshot" | "clean" | "cleaned" | "close" | "closed" => {}
            _ => panic!("the worker says {line:?}"),
        }
    }

    fn store(&mut self, batch: Vec<Planned>) {
        for sample in batch {
            let value = sample.what.value();
            self.must
                .entry(sample.labels)
                .or_default()
                .insert(sample.timestamp_ms, value);
        }
    }

    /// What is older than this may have been removed by retention: it counts from the end of the newest block, and a block
    /// of late samples ends with its range.
    pub(super) fn floor_ms(&self) -> i64 {
        self.newest * STEP_MS + plan::RANGE_MS - RETENTION_MS
    }

    /// Compares with what a restarted store gives; from then on that is what must stay.
    /// `torn` says that the end of a log was damaged.
    pub(super) fn judge(&mut self, mut found: Contents, torn: bool) {
        let floor_ms = self.floor_ms();
        let deletions: Vec<_> = std::mem::take(&mut self.deletions).into_values().collect();
        for (labels, samples) in &mut self.must {
            let of_series = found.get_mut(labels);
            let mut empty = BTreeMap::new();
            let there = of_series.unwrap_or(&mut empty);
            samples.retain(|t, value| {
                let Some(other) = there.remove(t) else {
                    let may_go = *t < floor_ms || covers(&deletions, labels, *t);
                    assert!(may_go, "lost: {labels} at {t}, {value:?}");
                    return false;
                };
                assert_eq!(other, *value, "{labels} at {t}");
                true
            });
        }
        self.must.retain(|_, samples| !samples.is_empty());
        for (number, batch) in std::mem::take(&mut self.batches) {
            let (in_order, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|s| !s.late);
            let mut present = |sample: &Planned| {
                let there = found.get_mut(&sample.labels)?.remove(&sample.timestamp_ms)?;
                assert_eq!(there, sample.what.value(), "{}", sample.labels);
                Some(())
            };
            let all = in_order.len();
            let there: Vec<_> = in_order.into_iter().filter(|s| present(s).is_some()).collect();
            let count = there.len();
            // A kill in the midst of the write itself leaves a torn record, and may leave whole ones before it.
            let whole = count == 0 || count == all;
            assert!(
                whole || torn,
                "batch {number} was not acknowledged and is torn: {count} of {all}"
            );
            self.store(there);
            // Late samples have a log of their own, and so an end of their own.
            let late: Vec<_> = late.into_iter().filter(|s| present(s).is_some()).collect();
            self.store(late);
        }
        found.retain(|_, samples| !samples.is_empty());
        assert!(
            found.is_empty(),
            "nobody stored this, or it was deleted: {found:?}"
        );
    }

    /// Compares with what a snapshot of this round holds: all that was there when the round began and that no deletion
    /// has touched since.
    pub(super) fn judge_snapshot(&self, found: &Contents) {
        let floor_ms = self.floor_ms();
        for (labels, samples) in &self.before {
            for (t, value) in samples {
                if *t >= floor_ms && !covers(&self.deleting, labels, *t) {
                    let there = found.get(labels).and_then(|s| s.get(t));
                    assert_eq!(there, Some(value), "a snapshot lacks {labels} at {t}");
                }
            }
        }
    }

    /// Whether a sample is absent because it has expired or was deleted.
    pub(super) fn is_gone(&self, labels: &Labels, timestamp_ms: i64) -> bool {
        let is_there = self
            .must
            .get(labels)
            .is_some_and(|s| s.contains_key(&timestamp_ms));
        !is_there && (timestamp_ms < self.floor_ms() || covers(&self.all_deletions, labels, timestamp_ms))
    }

    /// What must be there.
    pub(super) fn must(&self) -> &Contents {
        &self.must
    }
}

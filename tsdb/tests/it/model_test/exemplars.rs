//! What the store should know of exemplars.

use std::collections::BTreeMap;

use model::labels::Labels;
use model::sample::Exemplar;
use model::storage::{SeriesExemplars, TimeRange};

use crate::support::Rng;

/// An exemplar with its series; it has a timestamp.
type Owned = (Labels, Exemplar);

/// Exemplars in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Exemplars {
    /// What is in the ring.
    pub(super) ring: Vec<Owned>,
    /// What ever was.
    pub(super) ever: Vec<Owned>,
    pub(super) capacity: usize,
    pub(super) window_ms: i64,
}

/// One that often is the same as another.
pub(super) fn random(rng: &mut Rng) -> Exemplar {
    Exemplar {
        labels: Labels::from_pairs([("trace_id", rng.below(3).to_string())]),
        value: rng.below(3) as f64,
        timestamp_ms: None,
    }
}

fn time_ms(exemplar: &Exemplar) -> i64 {
    exemplar.timestamp_ms.expect("set when it is appended")
}

impl Exemplars {
    /// The exemplars of a series by time.
    fn of_series(&self, labels: &Labels) -> Vec<&Exemplar> {
        let of_series = self.ring.iter().filter(|(l, _)| l == labels);
        let mut of_series: Vec<&Exemplar> = of_series.map(|(_, e)| e).collect();
        of_series.sort_by_key(|e| time_ms(e));
        of_series
    }

    /// Whether the exemplar is neither the newest again nor too late.
    pub(super) fn takes(&self, labels: &Labels, exemplar: &Exemplar) -> bool {
        let of_series = self.of_series(labels);
        let Some(newest) = of_series.last() else {
            return true;
        };
        let rank = |e: &Exemplar| (e.value as i64, e.labels.clone());
        match time_ms(exemplar) - time_ms(newest) {
            0 => rank(exemplar) > rank(newest),
            age => age > 0 || age > -self.window_ms,
        }
    }

    /// Appends one that was taken when its batch was looked at; those before it may have come in between.
    pub(super) fn append(&mut self, labels: Labels, exemplar: Exemplar) {
        let of_series = self.of_series(&labels);
        let newest_ms = of_series.last().map(|e| time_ms(e));
        let known = of_series.iter().any(|e| e.timestamp_ms == exemplar.timestamp_ms);
        let is_late = newest_ms.is_some_and(|newest_ms| time_ms(&exemplar) < newest_ms);
        if !self.takes(&labels, &exemplar) || (is_late && known) {
            return;
        }
        self.ever.push((labels.clone(), exemplar.clone()));
        self.ring.push((labels, exemplar));
        self.resize(self.capacity);
    }

    pub(super) fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.ring.drain(..self.ring.len().saturating_sub(capacity));
    }

    /// What a query gives.
    pub(super) fn select(&self, range: TimeRange, wanted: impl Fn(&Labels) -> bool) -> Vec<SeriesExemplars> {
        let mut by_series: BTreeMap<&Labels, Vec<Exemplar>> = BTreeMap::new();
        for (labels, exemplar) in &self.ring {
            if range.contains(time_ms(exemplar)) && wanted(labels) {
                by_series.entry(labels).or_default().push(exemplar.clone());
            }
        }
        let sorted = |(series, mut exemplars): (&Labels, Vec<Exemplar>)| {
            exemplars.sort_by_key(time_ms);
            SeriesExemplars {
                series: series.clone(),
                exemplars,
            }
        };
        by_series.into_iter().map(sorted).collect()
    }

    /// Takes in what a restarted store has. The log keeps what is not older than `kept_from_ms`, and may bring back what had
    /// left the ring: then the store may have found others of that series older than those, and refused them.
    pub(super) fn restart(&mut self, found: &[SeriesExemplars], kept_from_ms: i64) -> Result<(), String> {
        let mut there: Vec<Owned> = Vec::new();
        for series in found {
            there.extend(
                series
                    .exemplars
                    .iter()
                    .map(|e| (series.series.clone(), e.clone())),
            );
        }
        let back = |labels: &Labels| {
            there
                .iter()
                .any(|one| one.0 == *labels && !self.ring.contains(one))
        };
        for one in self.ring.iter().filter(|(_, e)| time_ms(e) >= kept_from_ms) {
            if !there.contains(one) && !back(&one.0) {
                return Err(format!("lost {one:?}"));
            }
        }
        if let Some(strange) = there.iter().find(|one| !self.ever.contains(one)) {
            return Err(format!("nobody appended {strange:?}"));
        }
        let order = |one: &Owned| self.ever.iter().rposition(|other| other == one);
        there.sort_by_key(order);
        self.ring = there;
        Ok(())
    }
}

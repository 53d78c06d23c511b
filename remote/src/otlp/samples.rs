//! What a request adds, before the store is asked.
//!
//! A request is taken whole or not at all, so nothing is created in the store until all of it is translated.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::histogram::IntHistogram;
use model::labels::{Labels, LabelsPacker};
use model::sample::Exemplar;
use model::storage::{AppendOutcome, BatchList, Refusal};

/// Bytes that the label sets of a request may take. Labels are repeated for every series, so that a body of a few bytes
/// a point may ask for very many.
pub(super) const LABEL_SETS_BYTES_MAX: usize = 256 << 20;

/// Samples of `target_info` that a request may ask for: half a year of them at the usual distance.
pub(super) const TARGET_INFO_SAMPLES_MAX: usize = 100_000;

/// A request asks for more than one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TooMuch {
    /// Of label sets.
    #[error(
        "the label sets of the request take more than {LABEL_SETS_BYTES_MAX} bytes; send smaller batches, or promote \
         fewer attributes"
    )]
    LabelSets,
    /// Of `target_info`.
    #[error(
        "the points of the request lie so far apart that target_info needs more than {TARGET_INFO_SAMPLES_MAX} samples"
    )]
    TargetInfo,
}

/// One of the label sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetId(u32);

/// A float to be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Float {
    pub(super) set: SetId,
    pub(super) start_ms: i64,
    pub(super) timestamp_ms: i64,
    pub(super) value: f64,
}

/// A histogram to be stored.
#[derive(Clone, Debug)]
pub(super) struct Native {
    pub(super) set: SetId,
    pub(super) start_ms: i64,
    pub(super) timestamp_ms: i64,
    pub(super) histogram: Arc<IntHistogram>,
}

/// All that a request adds.
#[derive(Default)]
pub(super) struct Samples {
    sets: Vec<Labels>,
    /// Bytes of all of them.
    set_bytes: usize,
    pub(super) floats: Vec<Float>,
    pub(super) natives: Vec<Native>,
    pub(super) exemplars: Vec<(SetId, Exemplar)>,
    /// Which of the floats are zeros from before something was counted.
    pub(super) zeros: Vec<u32>,
    /// The same of the histograms.
    pub(super) native_zeros: Vec<u32>,
    /// Samples whose kind, unit and help are all unknown.
    pub(super) without_metadata: u64,
    target_infos: HashMap<Labels, (SetId, HashSet<i64>)>,
    target_info_samples: usize,
}

impl Samples {
    /// Adds the label set that lies in `packer`, and empties that.
    pub(super) fn set(&mut self, packer: &mut LabelsPacker) -> Result<SetId, TooMuch> {
        // Points of one metric often differ in time only.
        if self
            .sets
            .last()
            .is_some_and(|last| last.as_bytes() == packer.as_bytes())
        {
            packer.clear();
        } else {
            self.set_bytes += packer.as_bytes().len();
            if self.set_bytes > LABEL_SETS_BYTES_MAX {
                return Err(TooMuch::LabelSets);
            }
            self.sets.push(packer.finish());
        }
        Ok(SetId(self.sets.len().saturating_sub(1) as u32))
    }

    /// The label sets, in order.
    pub(super) fn sets(&self) -> &[Labels] {
        &self.sets
    }

    /// Adds a sample of `target_info`, unless the request has it already: several resources may have the same one.
    pub(super) fn target_info(&mut self, labels: &Labels, timestamp_ms: i64) -> Result<(), TooMuch> {
        let added = match self.target_infos.entry(labels.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.sets.push(labels.clone());
                entry.insert((SetId((self.sets.len() - 1) as u32), HashSet::new()))
            }
        };
        let (set, times) = added;
        if times.insert(timestamp_ms) {
            self.target_info_samples += 1;
            if self.target_info_samples > TARGET_INFO_SAMPLES_MAX {
                return Err(TooMuch::TargetInfo);
            }
            self.floats.push(Float {
                set: *set,
                start_ms: 0,
                timestamp_ms,
                value: 1.0,
            });
        }
        Ok(())
    }

    /// Takes out the zeros that kept a batch from being applied; whether there were some.
    pub(super) fn drop_refused_zeros(&mut self, outcome: &AppendOutcome) -> bool {
        let refused = |list, zeros: &[u32]| -> Vec<u32> {
            let all = outcome.refused.iter();
            all.filter(|refused| {
                refused.0 == list && !matches!(refused.2, Refusal::Overtaken | Refusal::Doubled)
            })
            .map(|refused| refused.1)
            .filter(|index| zeros.binary_search(index).is_ok())
            .collect()
        };
        let floats = refused(BatchList::Floats, &self.zeros);
        let natives = refused(BatchList::Histograms, &self.native_zeros);
        remove(&mut self.floats, &mut self.zeros, &floats);
        remove(&mut self.natives, &mut self.native_zeros, &natives);
        !floats.is_empty() || !natives.is_empty()
    }
}

/// Takes out samples with these indices, all of them zeros, whose indices `zeros` are put right.
fn remove<T>(samples: &mut Vec<T>, zeros: &mut Vec<u32>, indices: &[u32]) {
    if indices.is_empty() {
        return;
    }
    let indices: HashSet<u32> = indices.iter().copied().collect();
    let mut index = 0_u32;
    samples.retain(|_| {
        index += 1;
        !indices.contains(&(index - 1))
    });
    let mut before = 0;
    zeros.retain_mut(|zero| {
        let taken = indices.contains(zero);
        before += u32::from(taken);
        *zero -= if taken { 0 } else { before };
        !taken
    });
}

impl SetId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

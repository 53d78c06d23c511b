//! What a request adds, before the store is asked.
//!
//! A request is taken whole or not at all, so nothing is created in the store until all of it is translated.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::histogram::IntHistogram;
use model::labels::{Labels, LabelsPacker};
use model::packed_sets::PackedSets;
use model::sample::Exemplar;

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
    sets: PackedSets,
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
        let last = self.sets.len().checked_sub(1);
        let same = last.filter(|last| self.sets.get(*last).as_bytes() == packer.as_bytes());
        let number = match same {
            Some(number) => number,
            None if self.sets.bytes() + packer.as_bytes().len() > LABEL_SETS_BYTES_MAX => {
                return Err(TooMuch::LabelSets);
            }
            None => self.sets.push_set(packer.packed()),
        };
        packer.clear();
        Ok(SetId::of(number))
    }

    /// The label sets, in order.
    pub(super) fn sets(&self) -> &PackedSets {
        &self.sets
    }

    /// One of them, to be made or to be shown.
    pub(super) fn labels(&self, set: SetId) -> Labels {
        // It was packed from texts.
        self.sets.get(set.index()).to_labels().unwrap_or_default()
    }

    /// Adds a sample of `target_info`, unless the request has it already: several resources may have the same one.
    pub(super) fn target_info(&mut self, labels: &Labels, timestamp_ms: i64) -> Result<(), TooMuch> {
        let added = match self.target_infos.entry(labels.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let number = self.sets.push_set(labels.packed());
                entry.insert((SetId::of(number), HashSet::new()))
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
}

impl SetId {
    pub(super) fn of(number: usize) -> Self {
        SetId(number as u32)
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

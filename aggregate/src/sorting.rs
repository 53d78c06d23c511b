//! A transaction, sorted: what goes on to the store, what goes to rules, and what goes nowhere.

use std::sync::atomic::Ordering;

use model::storage::{AppendBatch, AppendOutcome, FloatSample, HistogramSample, SeriesRef};

use crate::hold::{Became, Held};
use crate::runner::{Parcel, count};
use crate::slab::Id;
use crate::table::{Meaning, Reading, Slot};
use crate::thinner::{Active, Thinner};

/// Buffers of a transaction.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) batch: AppendBatch,
    pub(crate) outcome: AppendOutcome,
    /// Places in the batch that came of what goes on.
    pub(crate) floats: Vec<u32>,
    pub(crate) histograms: Vec<u32>,
    pub(crate) exemplars: Vec<u32>,
    /// By rule.
    pub(crate) parcels: Vec<Vec<Parcel>>,
    pub(crate) unknown: Vec<SeriesRef>,
    /// Samples of deduplication that go along.
    pub(crate) released: Vec<(SeriesRef, Held)>,
}

/// A transaction on its way to the store and to rules.
pub(crate) struct Sorting<'a> {
    pub(crate) thinner: &'a Thinner,
    pub(crate) active: &'a Active,
    pub(crate) reading: Reading<'a>,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) now_ms: i64,
}

impl Sorting<'_> {
    pub(crate) fn floats(&mut self, batch: &AppendBatch) {
        let mut starts = batch.start_floats.iter().peekable();
        let (mut unheard, mut unmatched, mut duplicates) = (0, 0, 0);
        for (place, sample) in batch.floats.iter().enumerate() {
            let is_start = starts.next_if(|start| **start as usize == place).is_some();
            let id = match self.reading.read(sample.series) {
                Meaning::Plain(series) => {
                    self.forward_float(batch, place, series, is_start);
                    continue;
                }
                Meaning::Slot(id) => id,
                Meaning::Old => {
                    self.scratch.unknown.push(sample.series);
                    continue;
                }
            };
            let Some(slot) = self.reading.table.slots.get(id) else {
                self.scratch.unknown.push(sample.series);
                continue;
            };
            if !self.hears(slot) {
                unheard += 1;
                continue;
            }
            if !is_start {
                self.hand_out(slot, sample);
            }
            if !slot.is_kept {
                unmatched += u64::from(slot.takes.is_empty());
                continue;
            }
            // Whoever has resolved it since has been told why not.
            let Ok(series) = self.thinner.series_of(self.active, slot) else {
                continue;
            };
            match slot.hold.as_ref().filter(|_| !is_start) {
                Some(hold) => {
                    let held = Held {
                        timestamp_ms: sample.timestamp_ms,
                        value: sample.value,
                        start_ms: batch.float_starts_ms.get(place).copied().unwrap_or(0),
                    };
                    match hold.lock().take(held, self.active.config.dedup_ms) {
                        Became::First(released) => {
                            self.scratch.released.extend(released.map(|held| (series, held)));
                        }
                        Became::Duplicate => duplicates += 1,
                        Became::Through => self.forward_float(batch, place, series, false),
                    }
                }
                None => self.forward_float(batch, place, series, is_start),
            }
        }
        count(&self.thinner.totals.replicas_dropped, unheard);
        count(&self.thinner.totals.unmatched_dropped, unmatched);
        count(&self.thinner.totals.duplicates_dropped, duplicates);
    }

    fn hand_out(&mut self, slot: &Slot, sample: &FloatSample) {
        for (rule, input) in &slot.takes {
            self.scratch.parcels[usize::from(*rule)].push(Parcel {
                input: *input,
                timestamp_ms: sample.timestamp_ms,
                value: sample.value,
            });
        }
    }

    /// Whether a slot's samples count. Notes that there are some.
    fn hears(&self, slot: &Slot) -> bool {
        slot.seen_ms.store(self.now_ms, Ordering::Relaxed);
        let Some((member, replicas)) = slot.member.zip(self.active.config.replicas.as_ref()) else {
            return true;
        };
        self.active
            .election
            .lock()
            .hears(member, self.now_ms, replicas.failover_ms)
    }

    fn forward_float(&mut self, batch: &AppendBatch, place: usize, series: SeriesRef, is_start: bool) {
        let out = &mut self.scratch.batch;
        let sample = batch.floats[place];
        if is_start {
            out.start_floats.push(out.floats.len() as u32);
        }
        if let Some(start_ms) = batch.float_starts_ms.get(place) {
            out.float_starts_ms.push(*start_ms);
        }
        out.floats.push(FloatSample { series, ..sample });
        self.scratch.floats.push(place as u32);
    }

    /// Histograms are no input of any output: they are stored as they come, whatever rules take their series.
    pub(crate) fn histograms(&mut self, batch: &AppendBatch) {
        let mut starts = batch.start_histograms.iter().peekable();
        for (place, sample) in batch.histograms.iter().enumerate() {
            let is_start = starts.next_if(|start| **start as usize == place).is_some();
            let Some(series) = self.series_for_histogram(sample.series) else {
                continue;
            };
            let out = &mut self.scratch.batch;
            if is_start {
                out.start_histograms.push(out.histograms.len() as u32);
            }
            out.histogram_starts_ms
                .extend(batch.histogram_starts_ms.get(place));
            out.histograms.push(HistogramSample {
                series,
                ..sample.clone()
            });
            self.scratch.histograms.push(place as u32);
        }
    }

    fn series_for_histogram(&mut self, series: SeriesRef) -> Option<SeriesRef> {
        let id = match self.reading.read(series) {
            Meaning::Plain(series) => return Some(series),
            Meaning::Slot(id) => Some(id),
            Meaning::Old => None,
        };
        let Some(slot) = id.and_then(|id: Id| self.reading.table.slots.get(id)) else {
            self.scratch.unknown.push(series);
            return None;
        };
        if !self.hears(slot) {
            count(&self.thinner.totals.replicas_dropped, 1);
            return None;
        }
        if !slot.is_kept && slot.takes.is_empty() {
            count(&self.thinner.totals.unmatched_dropped, 1);
            return None;
        }
        for (rule, _) in &slot.takes {
            count(&self.active.runners[usize::from(*rule)].counts.histograms, 1);
        }
        self.thinner.series_of(self.active, slot).ok()
    }

    /// Exemplars and metadata of what is stored.
    pub(crate) fn extras(&mut self, batch: &AppendBatch) {
        for (place, (series, exemplar)) in batch.exemplars.iter().enumerate() {
            if let Some(series) = self.stored(*series) {
                self.scratch.batch.exemplars.push((series, exemplar.clone()));
                self.scratch.exemplars.push(place as u32);
            }
        }
        for (series, metadata) in &batch.metadata {
            if let Some(series) = self.stored(*series) {
                self.scratch.batch.metadata.push((series, metadata.clone()));
            }
        }
        let out = &mut self.scratch.batch;
        (out.discard_out_of_order, out.all_or_nothing) = (batch.discard_out_of_order, batch.all_or_nothing);
    }

    fn stored(&mut self, series: SeriesRef) -> Option<SeriesRef> {
        match self.reading.read(series) {
            Meaning::Plain(series) => Some(series),
            Meaning::Slot(id) => self.reading.table.slots.get(id)?.series(),
            Meaning::Old => {
                self.scratch.unknown.push(series);
                None
            }
        }
    }
}

impl Scratch {
    /// Empties all, for so many rules.
    pub(crate) fn clear(&mut self, rules: usize) {
        self.batch.clear();
        self.outcome.refused.clear();
        self.floats.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.unknown.clear();
        self.released.clear();
        self.parcels.resize_with(rules, Vec::new);
        self.parcels.iter_mut().for_each(Vec::clear);
    }
}

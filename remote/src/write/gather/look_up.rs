//! Series that were read get their references, some hundred together: those that are known are found, others are made.

use std::borrow::Cow;

use model::packed_sets::PackedSet;
use model::storage::SeriesRef;

use super::super::error::{DecodeError, Fault, LabelFault};
use super::super::labels::Shown;
use super::{GONE, Gather, LABEL_BYTES_TOTAL_MAX};

impl Gather<'_, '_> {
    /// Gives the series that were read since the last time their references.
    pub(super) fn look_up(&mut self) -> Result<(), DecodeError> {
        self.label_bytes += self.sets.bytes();
        if self.label_bytes > LABEL_BYTES_TOTAL_MAX {
            return Err(DecodeError::Memory {
                what: "label sets",
                max: LABEL_BYTES_TOTAL_MAX,
            });
        }
        self.appender.find(self.sets, self.found);
        let mut is_incomplete = false;
        for number in 0..self.waiting.len() {
            let waiting = &mut self.waiting[number];
            match self.found[number] {
                Some(_) => waiting.keeps_exemplars = true,
                None if waiting.creates => {
                    self.has_gone |= waiting.has_exemplars && !waiting.keeps_exemplars;
                    self.found[number] = self.create(number);
                }
                None => is_incomplete |= waiting.has_exemplars,
            }
        }
        if is_incomplete {
            self.find_others();
        }
        let base = self.first_series;
        let found = &*self.found;
        let reference = |series: &u32| found[*series as usize - base].unwrap_or(GONE);
        let first = self.first;
        let batch = &mut *self.batch;
        for (item, series) in batch.floats[first.floats..]
            .iter_mut()
            .zip(&self.result.floats_of[first.floats..])
        {
            item.series = reference(series);
        }
        let owners = &self.result.histograms_of[first.histograms..];
        for (item, series) in batch.histograms[first.histograms..].iter_mut().zip(owners) {
            item.series = reference(series);
        }
        let owners = &self.result.exemplars_of[first.exemplars..];
        for (item, series) in batch.exemplars[first.exemplars..].iter_mut().zip(owners) {
            item.0 = match self.waiting[*series as usize - base].keeps_exemplars {
                true => reference(series),
                false => GONE,
            };
        }
        let owners = &self.result.metadata_of[first.metadata..];
        for (item, series) in batch.metadata[first.metadata..].iter_mut().zip(owners) {
            item.0 = reference(series);
        }
        self.first = self.lengths();
        self.first_series = self.result.series.len();
        self.waiting.clear();
        self.sets.clear();
        Ok(())
    }

    /// Makes a series, which is new.
    fn create(&mut self, number: usize) -> Option<SeriesRef> {
        let set = self.sets.get(number);
        let created = match set.to_labels() {
            Some(labels) => self.appender.resolve(&labels).map_err(Fault::Series),
            None => Err(Fault::Labels(LabelFault::NotUtf8)),
        };
        self.has_gone |= created.is_err();
        let fault = match created {
            Ok(series) => return Some(series),
            Err(fault) => fault,
        };
        let is_told = self.rules.samples_first || !matches!(fault, Fault::Labels(_));
        if matches!(fault, Fault::Labels(_)) {
            self.result.invalid += match self.rules.samples_first {
                true => self.items_of(number),
                false => 1,
            };
        }
        if is_told {
            self.result.faults.note(&fault, || shown(set));
            self.result.is_refused = true;
        }
        None
    }

    /// Samples and histograms of a series that waits.
    fn items_of(&self, number: usize) -> u64 {
        let series = (self.first_series + number) as u32;
        let count = |owners: &[u32]| owners.iter().filter(|of| **of == series).count() as u64;
        let starts = |starts: &[u32], owners: &[u32]| {
            starts.iter().filter(|at| owners[**at as usize] == series).count() as u64
        };
        let result = &self.result;
        count(&result.floats_of[self.first.floats..]) + count(&result.histograms_of[self.first.histograms..])
            - starts(
                &self.batch.start_floats[self.first.start_floats..],
                &result.floats_of,
            )
            - starts(
                &self.batch.start_histograms[self.first.start_histograms..],
                &result.histograms_of,
            )
    }

    /// Of series that bring nothing but exemplars, and were not known: they may be by now.
    #[cold]
    fn find_others(&mut self) {
        let mut again = Vec::new();
        self.appender.find(self.sets, &mut again);
        for (number, waiting) in self.waiting.iter_mut().enumerate() {
            if self.found[number].is_none() && !waiting.creates {
                self.found[number] = again[number];
                waiting.keeps_exemplars = again[number].is_some();
            }
        }
        self.has_gone = true;
    }

    /// Takes out what is not to be stored.
    #[cold]
    pub(super) fn remove_gone(&mut self) {
        let (batch, result) = (&mut *self.batch, &mut self.result);
        remove(
            &mut batch.floats,
            &mut result.floats_of,
            &mut batch.start_floats,
            |sample| sample.series == GONE,
        );
        remove(
            &mut batch.histograms,
            &mut result.histograms_of,
            &mut batch.start_histograms,
            |sample| sample.series == GONE,
        );
        let none = &mut Vec::new();
        remove(&mut batch.exemplars, &mut result.exemplars_of, none, |item| {
            item.0 == GONE
        });
        remove(&mut batch.metadata, &mut result.metadata_of, none, |item| {
            item.0 == GONE
        });
    }
}

fn shown(set: PackedSet<'_>) -> Shown<'_> {
    Shown(Cow::Owned(set.pairs().collect()))
}

/// Removes items, with what is said of them: whose they are, and which of them are starts.
fn remove<T>(items: &mut Vec<T>, owners: &mut Vec<u32>, starts: &mut Vec<u32>, is_gone: impl Fn(&T) -> bool) {
    let gone: Vec<bool> = items.iter().map(&is_gone).collect();
    let mut places = Vec::with_capacity(starts.len());
    let mut next_start = starts.iter().peekable();
    let mut kept = 0;
    for (at, gone) in gone.iter().enumerate() {
        let is_start = next_start.next_if(|start| **start as usize == at).is_some();
        if !gone {
            if is_start {
                places.push(kept);
            }
            kept += 1;
        }
    }
    let mut each = gone.iter();
    items.retain(|_| !each.next().is_some_and(|gone| *gone));
    let mut each = gone.iter();
    owners.retain(|_| !each.next().is_some_and(|gone| *gone));
    *starts = places;
}

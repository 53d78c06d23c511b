//! New series: their references, and how they come into the log.

use std::sync::atomic::Ordering;

use model::labels::Labels;
use model::packed_sets::PackedSets;
use model::storage::{SeriesError, SeriesRef};

use super::Head;
use super::append::Scratch;
use super::pages::page_of;
use crate::wal::{REFERENCE_MAX, check_labels};

/// Label sets that are looked up under one lock.
const FOUND_TOGETHER: usize = 256;
/// Sets in a row that are not where they were expected, after which no more is expected of the list.
const SURPRISES_MAX: u32 = 8;

impl Head {
    /// Who sends again and again mostly does so in the order in which the series came to be, so that a set is expected
    /// behind the one before it: its labels lie where the processor reads next, and neither hash nor table is needed.
    pub(super) fn find_sets(&self, sets: &PackedSets, found: &mut Vec<Option<SeriesRef>>) {
        found.clear();
        let (mut expected, mut surprises) = (0, 0);
        for begin in (0..sets.len()).step_by(FOUND_TOGETHER) {
            let index = self.index.read();
            found.extend((begin..sets.len().min(begin + FOUND_TOGETHER)).map(|number| {
                let set = sets.get(number);
                if surprises < SURPRISES_MAX && index.is_of(expected, set) {
                    surprises = 0;
                    expected += 1;
                    return Some(SeriesRef(expected - 1));
                }
                surprises += 1;
                let reference = index.find(set.hash64(), set)?;
                expected = reference + 1;
                Some(SeriesRef(reference))
            }));
        }
    }

    pub(super) fn resolve_labels(&self, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        let _guard = self.poison_on_panic("the head");
        check_labels(labels)?;
        let hash = labels.hash64();
        if let Some(reference) = self.index.read().find(hash, labels.packed()) {
            return Ok(SeriesRef(reference));
        }
        let mut index = self.index.write();
        if let Some(reference) = index.find(hash, labels.packed()) {
            return Ok(SeriesRef(reference));
        }
        let limit = self.series_max.load(Ordering::Relaxed);
        if limit > 0 && index.len() >= limit {
            drop(index);
            self.note_refused(labels, limit);
            return Err(SeriesError::LimitReached);
        }
        let reference = self.next_reference.load(Ordering::Relaxed);
        if reference >= REFERENCE_MAX || !index.insert(reference, hash, labels) {
            return Err(SeriesError::LimitReached);
        }
        self.next_reference.store(reference + 1, Ordering::Relaxed);
        self.pages
            .get_or_create(page_of(reference))
            .lock()
            .insert(reference);
        // Under the index' lock.
        let full = self.fresh_series.add(reference, labels);
        drop(index);
        self.counters.series_created.fetch_add(1, Ordering::Relaxed);
        if full {
            let mut scratch = self.take_scratch();
            self.queue_fresh_series(&mut scratch);
            self.return_scratch(scratch);
        }
        Ok(SeriesRef(reference))
    }

    /// Counts a series that is one too many, and names some of them: the first, the second, the fourth…
    #[cold]
    fn note_refused(&self, labels: &Labels, limit: usize) {
        let refused = self.counters.series_refused.fetch_add(1, Ordering::Relaxed) + 1;
        if refused.is_power_of_two() {
            tracing::warn!(
                series = %labels,
                limit,
                refused,
                "a new series was refused: there are as many as --storage.tsdb.max-series allows"
            );
        }
    }

    /// Queues the record of series that are not in the log yet: it goes out before whatever is logged next.
    pub(super) fn queue_fresh_series(&self, scratch: &mut Scratch) {
        self.fresh_series.queue(&self.wal, &mut scratch.compressor);
    }
}

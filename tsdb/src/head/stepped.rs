//! The head's index for those who select: locked for one short step at a time, so that a pattern that is tried on many
//! values does not keep new series waiting.
//!
//! Between two steps series may come and go, which no view minds: what came later has no samples that it sees, and what
//! went is not found when it is read. But an index that was built anew gives its series and pairs other numbers; then
//! all steps answer nothing, and [`SteppedIndex::ask`] asks again.

use std::cell::Cell;
use std::sync::Arc;

use model::storage::StorageError;
use parking_lot::RwLock;

use super::Head;
use super::index::Index;
use crate::db::{Cardinality, PairCounter};
use crate::postings::Postings;
use crate::select::{LabelIndex, Visit};

/// Values that are copied, and series that are looked at, under one lock.
const STEP: usize = if cfg!(test) { 7 } else { 2048 };
/// Values that are copied in the first step: most look-ups are for few.
const FIRST_STEP: usize = if cfg!(test) { 3 } else { 64 };

/// One generation of the head's index.
pub(super) struct SteppedIndex<'h> {
    lock: &'h RwLock<Index>,
    generation: u64,
    is_stale: Cell<bool>,
}

impl<'h> SteppedIndex<'h> {
    /// What `question` answers about the index.
    ///
    /// # Errors
    /// Those of the question.
    pub(super) fn ask<T>(
        lock: &'h RwLock<Index>,
        mut question: impl FnMut(&Self) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        loop {
            let index = SteppedIndex {
                lock,
                generation: lock.read().generation(),
                is_stale: Cell::new(false),
            };
            let answer = question(&index);
            if !index.is_stale.get() {
                return answer;
            }
        }
    }

    /// A step: must be short.
    pub(super) fn step<T: Default>(&self, look: impl FnOnce(&Index) -> T) -> T {
        let index = self.lock.read();
        if index.generation() == self.generation {
            look(&index)
        } else {
            self.is_stale.set(true);
            T::default()
        }
    }

    fn try_step<T: Default>(
        &self,
        look: impl FnOnce(&Index) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.step(|index| Some(look(index)))
            .unwrap_or_else(|| Ok(T::default()))
    }
}

impl Head {
    /// What the labels of its series cost: see [`Cardinality`].
    pub fn cardinality(&self, label: &str, limit: usize) -> Cardinality {
        let counted = SteppedIndex::ask(&self.index, |stepped| {
            let mut counter = PairCounter::new(label, limit);
            let mut next = 0;
            loop {
                let end = stepped.step(|index| {
                    let end = index.pairs_end().min(next + STEP as u32);
                    for pair in next..end {
                        let series = index.series_of(pair).len() as u64;
                        if series > 0 {
                            let (name, value) = index.pair(pair);
                            counter.add(name, value, series);
                        }
                    }
                    end
                });
                if end <= next {
                    return Ok(counter.finish());
                }
                next = end;
            }
        });
        counted.unwrap_or_default()
    }
}

/// Values of one step.
#[derive(Default)]
struct Copied {
    texts: String,
    /// Pair, and where its value ends.
    pairs: Vec<(u32, usize)>,
}

impl Copied {
    /// Copies the values of those of `pairs` that series carry.
    fn fill(&mut self, index: &Index, pairs: &[u32]) {
        self.texts.clear();
        self.pairs.clear();
        for pair in pairs {
            if !index.series_of(*pair).is_empty() {
                self.texts.push_str(index.pair(*pair).1);
                self.pairs.push((*pair, self.texts.len()));
            }
        }
    }
}

impl LabelIndex for SteppedIndex<'_> {
    fn all(&self) -> Result<Postings, StorageError> {
        self.try_step(Index::all)
    }

    fn postings(&self, name: &str, value: &str) -> Result<Postings, StorageError> {
        self.try_step(|index| index.postings(name, value))
    }

    fn visit_values(
        &self,
        name: &str,
        from: &str,
        visit: &mut dyn FnMut(&str) -> Visit,
    ) -> Result<Vec<Postings>, StorageError> {
        let (pairs, mut at): (Arc<Vec<u32>>, usize) = self.step(|index| {
            let pairs = index.pairs_of(name);
            let first = index.first_from(&pairs, from);
            (pairs, first)
        });
        let mut copied = Copied::default();
        let mut taken = Vec::new();
        let mut step = FIRST_STEP;
        'values: while at < pairs.len() {
            let some = &pairs[at..pairs.len().min(at + step)];
            self.step(|index| copied.fill(index, some));
            let mut start = 0;
            for (pair, end) in &copied.pairs {
                match visit(&copied.texts[start..*end]) {
                    Visit::Take => taken.push(*pair),
                    Visit::Skip => {}
                    Visit::Stop => break 'values,
                }
                start = *end;
            }
            if self.is_stale.get() {
                break;
            }
            at += some.len();
            step = STEP;
        }
        let mut lists = Vec::with_capacity(taken.len());
        for some in taken.chunks(STEP) {
            self.step(|index| lists.extend(some.iter().map(|pair| index.series_of(*pair).to_postings())));
        }
        Ok(lists)
    }

    fn values_len(&self, name: &str, prefix: &str) -> Result<usize, StorageError> {
        self.try_step(|index| index.values_len(name, prefix))
    }

    fn value_numbers(&self, name: &str, series: &[u32]) -> Result<Vec<u32>, StorageError> {
        let mut numbers = Vec::with_capacity(series.len());
        for some in series.chunks(STEP) {
            numbers.append(&mut self.try_step(|index| index.value_numbers(name, some))?);
        }
        Ok(numbers)
    }

    fn value_text(&self, number: u32) -> Result<String, StorageError> {
        self.try_step(|index| index.value_text(number))
    }

    fn names(&self) -> Result<Vec<String>, StorageError> {
        self.try_step(Index::names)
    }

    fn names_of(&self, series: &[u32]) -> Result<Vec<String>, StorageError> {
        let mut names = Vec::new();
        for some in series.chunks(STEP) {
            names.append(&mut self.try_step(|index| index.names_of(some))?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use model::labels::Labels;
    use model::matcher::{MatchOp, Matcher};

    use super::*;
    use crate::select::tests::{check, sets};
    use crate::select::{label_values, select};

    /// The sets in order of their labels, and series in between that are gone again.
    fn index() -> (Index, Vec<Labels>) {
        let sets = sets();
        let mut index = Index::new(256);
        let mut gone = Vec::new();
        for (i, labels) in sets.iter().enumerate() {
            let reference = 300 + 2 * i as u64;
            assert!(index.insert(reference, labels.hash64(), labels));
            let mut other = labels.to_builder();
            let other = other
                .set("zone", &format!("gone-{i}"))
                .set("gone", "once")
                .build();
            assert!(index.insert(reference + 1, other.hash64(), &other));
            gone.push(reference + 1);
            if i % 10 == 0 {
                // Values that are sorted before others come.
                assert!(!label_values(&index, "zone", &[], 0).unwrap().is_empty());
            }
        }
        index.remove(&gone);
        (index, sets)
    }

    #[test]
    fn locked_whole_or_in_steps_the_index_finds_what_matches() {
        let (index, sets) = index();
        check(&index, &sets, |number| index.labels(number), 600);
        let lock = RwLock::new(index);
        SteppedIndex::ask(&lock, |stepped| {
            check(stepped, &sets, |number| lock.read().labels(number), 600);
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn an_index_that_is_replaced_in_between_is_asked_again() {
        let (index, sets) = index();
        let lock = RwLock::new(index);
        let matchers = [Matcher::new(MatchOp::Regex, "id", ".*5").unwrap()];
        let mut asked = 0;
        let found = SteppedIndex::ask(&lock, |stepped| {
            asked += 1;
            let mut values = 0;
            stepped.visit_values("id", "", &mut |_| {
                values += 1;
                if values == 5 && asked == 1 {
                    let fresh = lock.read().rebuilt();
                    *lock.write() = fresh;
                }
                Visit::Skip
            })?;
            select(stepped, &matchers)
        })
        .unwrap();
        assert_eq!(asked, 2);
        let found = found.into_iter().map(|number| lock.read().labels(number));
        let want = sets.iter().filter(|labels| matchers[0].matches_labels(labels));
        assert!(found.eq(want.cloned()));
    }
}

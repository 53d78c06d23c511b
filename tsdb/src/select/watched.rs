//! An index whose reader may be stopped: a pattern can be tried on millions of values before one is found.

use std::cell::Cell;

use model::storage::{SelectHints, StorageError};

use super::{LabelIndex, Visit};
use crate::postings::Postings;

/// Values or series that are looked at before whoever watches is asked: a fraction of a millisecond, patterns included.
const UNASKED: usize = if cfg!(test) { 4 } else { 1024 };

/// An index, and who watches its reader.
pub(crate) struct Watched<'i, I: ?Sized> {
    index: &'i I,
    hints: &'i SelectHints,
    looked_at: Cell<usize>,
}

impl<'i, I: ?Sized> Watched<'i, I> {
    /// Looks at `index` as long as `hints` allow.
    pub(crate) fn new(index: &'i I, hints: &'i SelectHints) -> Self {
        Watched {
            index,
            hints,
            looked_at: Cell::new(0),
        }
    }

    /// To be called for each value and each series that is looked at.
    pub(crate) fn look(&self) -> Result<(), StorageError> {
        let count = self.looked_at.get() + 1;
        self.looked_at.set(count);
        match count % UNASKED {
            0 => self.hints.took(0),
            _ => Ok(()),
        }
    }
}

impl<I: LabelIndex + ?Sized> LabelIndex for Watched<'_, I> {
    fn all(&self) -> Result<Postings, StorageError> {
        self.index.all()
    }

    fn postings(&self, name: &str, value: &str) -> Result<Postings, StorageError> {
        self.look()?;
        self.index.postings(name, value)
    }

    fn visit_values(
        &self,
        name: &str,
        from: &str,
        visit: &mut dyn FnMut(&str) -> Visit,
    ) -> Result<Vec<Postings>, StorageError> {
        let mut watched = Ok(());
        let lists = self.index.visit_values(name, from, &mut |value| {
            watched = self.look();
            match watched {
                Ok(()) => visit(value),
                Err(_) => Visit::Stop,
            }
        });
        watched.and(lists)
    }

    fn values_len(&self, name: &str, prefix: &str) -> Result<usize, StorageError> {
        self.index.values_len(name, prefix)
    }

    fn value_numbers(&self, name: &str, series: &[u32]) -> Result<Vec<u32>, StorageError> {
        let mut numbers = Vec::with_capacity(series.len());
        for some in series.chunks(UNASKED) {
            self.hints.took(0)?;
            numbers.append(&mut self.index.value_numbers(name, some)?);
        }
        Ok(numbers)
    }

    fn value_text(&self, number: u32) -> Result<String, StorageError> {
        self.look()?;
        self.index.value_text(number)
    }

    fn names(&self) -> Result<Vec<String>, StorageError> {
        self.index.names()
    }

    fn names_of(&self, series: &[u32]) -> Result<Vec<String>, StorageError> {
        self.hints.took(0)?;
        self.index.names_of(series)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use model::matcher::{MatchOp, Matcher};
    use model::storage::{Interrupted, WatchSelect};

    use super::*;
    use crate::select::tests::{Maps, sets};
    use crate::select::{label_names, label_values, select};

    /// Allows so many looks.
    #[derive(Debug)]
    struct Patience(AtomicUsize);

    impl WatchSelect for Patience {
        fn took(&self, _: usize) -> Result<(), Interrupted> {
            let left = self
                .0
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            left.map(drop).map_err(|_| Interrupted)
        }
    }

    type Search<'s> = &'s dyn Fn(&Watched<'_, Maps>) -> Result<usize, StorageError>;

    #[test]
    fn whoever_watches_can_end_every_search() {
        let index = Maps::new(sets());
        let pattern = Matcher::new(MatchOp::Regex, "id", ".*[0-9]+.*").unwrap();
        let not = Matcher::new(MatchOp::NotRegex, "id", ".*[0-9]+.*").unwrap();
        let searches: [Search<'_>; 4] = [
            &|index| Ok(select(index, std::slice::from_ref(&pattern))?.len()),
            &|index| Ok(select(index, std::slice::from_ref(&not))?.len()),
            &|index| Ok(label_values(index, "id", &[], 0)?.len()),
            &|index| Ok(label_names(index, std::slice::from_ref(&pattern), 0)?.len()),
        ];
        for (number, search) in searches.iter().enumerate() {
            let unwatched = SelectHints::default();
            let wanted = search(&Watched::new(&index, &unwatched)).unwrap();
            let with = |looks| {
                let watch: Arc<dyn WatchSelect> = Arc::new(Patience(AtomicUsize::new(looks)));
                let hints = SelectHints {
                    watch: Some(watch),
                    ..SelectHints::default()
                };
                search(&Watched::new(&index, &hints))
            };
            assert_eq!(with(usize::MAX).unwrap(), wanted);
            assert!(
                matches!(with(0), Err(StorageError::Interrupted(_))),
                "search {number}"
            );
            assert!(
                matches!(with(1), Err(StorageError::Interrupted(_))),
                "search {number}"
            );
        }
    }
}

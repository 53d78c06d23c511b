//! Series of several stores as one set.

use std::cmp::Ordering;
use std::sync::Arc;

use model::chunk::Chunk;
use model::columns::Columns;
use model::label_table::LabelTable;
use model::labels::Labels;
use model::storage::{SelectHints, SeriesKey, SeriesSet, StorageError, TimeRange};
use tsdb::columns::chain;

use super::fetched::Account;

/// The series of `sets`, the local store's first, beside which `warnings` are told. What only one of them has series of is
/// that set; else series come in order of their labels, as they must, and those of equal labels become one.
///
/// # Errors
/// When the query does not go on.
pub(super) fn merge(
    mut sets: Vec<Arc<dyn SeriesSet>>,
    warnings: Vec<String>,
    hints: &SelectHints,
) -> Result<Arc<dyn SeriesSet>, StorageError> {
    let local = sets.first().cloned();
    sets.retain(|set| !set.is_empty());
    let only = match sets.as_slice() {
        [] => local,
        [only] => Some(only.clone()),
        _ => None,
    };
    let set = match only {
        Some(only) if hints.limit == 0 || only.len() <= hints.limit => only,
        _ => Arc::new(Merged::new(sets, hints)?),
    };
    Ok(match warnings.is_empty() {
        true => set,
        false => Arc::new(Warned { set, warnings }),
    })
}

/// One set's share of a series: the set's place, and the place in the set.
type Part = (usize, usize);

struct Merged {
    sets: Vec<Arc<dyn SeriesSet>>,
    labels: Vec<Labels>,
    /// Parts of all series, one series behind the other.
    parts: Vec<Part>,
    /// Where each series' parts end.
    ends: Vec<usize>,
}

impl Merged {
    /// Compat: two series of one set never become one, even if their labels are equal (push: `answer/duplicate-series`).
    fn new(sets: Vec<Arc<dyn SeriesSet>>, hints: &SelectHints) -> Result<Self, StorageError> {
        let mut account = Account::new(hints);
        let mut lists = Vec::with_capacity(sets.len());
        for set in &sets {
            let mut list = Vec::with_capacity(set.len());
            for index in 0..set.len() {
                let labels = set.labels(index);
                account.add(size_of::<(Labels, usize, Part)>() + labels.as_bytes().len())?;
                list.push((labels, index));
            }
            // Stable, and next to nothing where they are in order already.
            list.sort_by(|a, b| a.0.cmp(&b.0));
            lists.push(list.into_iter().peekable());
        }
        account.tell()?;
        let mut merged = Merged {
            sets,
            labels: Vec::new(),
            parts: Vec::new(),
            ends: Vec::new(),
        };
        while hints.limit == 0 || merged.labels.len() < hints.limit {
            let heads = lists.iter_mut().filter_map(|list| list.peek());
            let Some(first) = heads.map(|(labels, _)| labels.clone()).min() else {
                break;
            };
            for (place, list) in lists.iter_mut().enumerate() {
                let next = list.next_if(|(labels, _)| labels.cmp(&first) == Ordering::Equal);
                merged.parts.extend(next.map(|(_, index)| (place, index)));
            }
            merged.labels.push(first);
            merged.ends.push(merged.parts.len());
        }
        Ok(merged)
    }

    fn parts_of(&self, index: usize) -> &[Part] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.parts[start..self.ends[index]]
    }
}

impl SeriesSet for Merged {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.labels[index].clone()
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), StorageError> {
        if let [(set, index)] = self.parts_of(index) {
            return self.sets[*set].read(*index, range, columns);
        }
        columns.clear();
        let mut runs = Vec::new();
        for (set, index) in self.parts_of(index) {
            let mut run = Columns::default();
            self.sets[*set].read(*index, range, &mut run)?;
            runs.push(run);
        }
        chain(&runs, range.min_ms, range.max_ms, columns);
        Ok(())
    }

    fn chunks(&self, index: usize, range: TimeRange, chunks: &mut Vec<Chunk>) -> Result<bool, StorageError> {
        match self.parts_of(index) {
            [(set, index)] => self.sets[*set].chunks(*index, range, chunks),
            _ => Ok(false),
        }
    }
}

/// A set with something to tell beside it.
struct Warned {
    set: Arc<dyn SeriesSet>,
    warnings: Vec<String>,
}

impl SeriesSet for Warned {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.set.labels(index)
    }

    fn label_table(&self) -> Option<&LabelTable> {
        self.set.label_table()
    }

    fn key(&self, index: usize) -> Option<SeriesKey> {
        self.set.key(index)
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), StorageError> {
        self.set.read(index, range, columns)
    }

    fn chunks(&self, index: usize, range: TimeRange, chunks: &mut Vec<Chunk>) -> Result<bool, StorageError> {
        self.set.chunks(index, range, chunks)
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

#[cfg(test)]
mod tests {
    use super::super::fetched::{Fetched, Samples};
    use super::*;

    fn set(series: &[(&str, &[(i64, f64)])]) -> Arc<dyn SeriesSet> {
        let series = series.iter().map(|(name, samples)| {
            let mut columns = Columns::default();
            samples
                .iter()
                .for_each(|(at_ms, value)| columns.push(*at_ms, *value));
            (
                Labels::from_pairs([("__name__", *name)]),
                Samples::Columns(columns),
            )
        });
        Arc::new(Fetched::new("here".into(), series.collect()))
    }

    fn shown(set: &dyn SeriesSet) -> Vec<(String, Vec<(i64, f64)>)> {
        let mut columns = Columns::default();
        (0..set.len())
            .map(|index| {
                set.read(index, TimeRange::ALL, &mut columns).expect("reads");
                let rows = columns
                    .timestamps_ms
                    .iter()
                    .copied()
                    .zip(columns.values.iter().copied());
                (set.labels(index).metric_name().to_owned(), rows.collect())
            })
            .collect()
    }

    #[test]
    fn series_of_equal_labels_become_one_in_order_of_time() {
        let local = set(&[("b", &[(3, 3.0), (4, 4.0)]), ("c", &[(1, 1.0)])]);
        let old = set(&[
            ("c", &[(0, 0.0)]),
            ("a", &[(1, 1.0)]),
            ("b", &[(1, 1.0), (3, 30.0)]),
        ]);
        let merged = merge(vec![local, old], Vec::new(), &SelectHints::default()).expect("merges");
        let expected = [
            ("a", vec![(1, 1.0)]),
            // Two at one moment: the local one, since the other store was read from until then.
            ("b", vec![(1, 1.0), (3, 3.0), (4, 4.0)]),
            ("c", vec![(0, 0.0), (1, 1.0)]),
        ]
        .map(|(name, rows)| (name.to_owned(), rows));
        assert_eq!(shown(&*merged), expected);
        assert!(merged.warnings().is_empty());
    }

    #[test]
    fn one_store_alone_gives_its_own_set() {
        let local = set(&[("b", &[(1, 1.0)]), ("a", &[(1, 1.0)])]);
        let none = set(&[]);
        let merged = merge(
            vec![local.clone(), none.clone()],
            Vec::new(),
            &SelectHints::default(),
        );
        assert!(Arc::ptr_eq(&merged.expect("merges"), &local));
        let warnings = vec!["away".to_owned()];
        let warned = merge(vec![none, local], warnings.clone(), &SelectHints::default()).expect("merges");
        assert_eq!(warned.warnings(), warnings);
        assert_eq!(warned.labels(0).metric_name(), "b", "in its own order");
    }

    #[test]
    fn a_limit_holds_for_all_stores_together() {
        let hints = SelectHints {
            limit: 2,
            ..SelectHints::default()
        };
        let (left, right) = (set(&[("d", &[]), ("a", &[])]), set(&[("c", &[]), ("b", &[])]));
        let merged = merge(vec![left, right], Vec::new(), &hints).expect("merges");
        let names: Vec<String> = shown(&*merged).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b"]);
    }
}

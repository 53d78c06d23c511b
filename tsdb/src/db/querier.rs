//! A view over head and blocks as one: series merged by their labels, samples by time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use model::columns::Columns;
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{Querier, SelectHints, SeriesSet, StorageError, TimeRange};
use smallvec::SmallVec;

use crate::columns::join_tail;
use crate::files::Result;
use crate::head::{HeadSeries, HeadView};

/// Something that holds series: the head at one moment, or a block.
pub(crate) trait Source: Send + Sync {
    /// Series that satisfy all matchers and may have samples in the source's range: a handle for each, and its labels.
    fn select(&self, matchers: &[Matcher]) -> Result<Vec<(u64, Labels)>>;

    /// Appends the samples of a series in `range` to `columns`, in order of time among themselves.
    fn read(&self, handle: u64, range: TimeRange, columns: &mut Columns) -> Result<()>;

    /// See [`Querier::label_names`].
    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>>;

    /// See [`Querier::label_values`].
    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>>;
}

impl Source for HeadView {
    fn select(&self, matchers: &[Matcher]) -> Result<Vec<(u64, Labels)>> {
        let found = HeadView::select(self, matchers)?;
        Ok(found.into_iter().map(|(s, labels)| (s.0.0, labels)).collect())
    }

    fn read(&self, handle: u64, range: TimeRange, columns: &mut Columns) -> Result<()> {
        HeadView::read(self, HeadSeries::from_handle(handle), range, columns)
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>> {
        HeadView::label_names(self, matchers, limit)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>> {
        HeadView::label_values(self, name, matchers, limit)
    }
}

/// A view over several sources, oldest first.
pub(crate) struct MergedQuerier {
    pub(crate) sources: Arc<[Arc<dyn Source>]>,
    pub(crate) range: TimeRange,
}

/// Source number and handle of one part of a series.
type Part = (u32, u64);

struct MergedSeries {
    labels: Labels,
    parts: SmallVec<[Part; 2]>,
}

struct MergedSet {
    sources: Arc<[Arc<dyn Source>]>,
    range: TimeRange,
    series: Vec<MergedSeries>,
}

impl Querier for MergedQuerier {
    fn select(
        &self,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> std::result::Result<Arc<dyn SeriesSet>, StorageError> {
        let mut series: Vec<MergedSeries> = Vec::new();
        let mut places: HashMap<Labels, usize, foldhash::fast::RandomState> = HashMap::default();
        let mut filled = 0;
        for (number, source) in self.sources.iter().enumerate() {
            let found = source.select(matchers)?;
            if found.is_empty() {
                continue;
            }
            filled += 1;
            if filled == 2 {
                // Only now is there anything to merge with.
                places.extend(series.iter().enumerate().map(|(i, s)| (s.labels.clone(), i)));
            }
            for (handle, labels) in found {
                let part = (number as u32, handle);
                if filled > 1 {
                    if let Some(at) = places.get(&labels) {
                        series[*at].parts.push(part);
                        continue;
                    }
                    places.insert(labels.clone(), series.len());
                }
                let parts = SmallVec::from_slice(&[part]);
                series.push(MergedSeries { labels, parts });
            }
        }
        if hints.sorted || hints.limit > 0 {
            series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        }
        if hints.limit > 0 {
            series.truncate(hints.limit);
        }
        Ok(Arc::new(MergedSet {
            sources: Arc::clone(&self.sources),
            range: self.range,
            series,
        }))
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        limit: usize,
    ) -> std::result::Result<Vec<String>, StorageError> {
        let lists = self.sources.iter().map(|s| s.label_names(matchers, limit));
        union(lists, limit)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
    ) -> std::result::Result<Vec<String>, StorageError> {
        let lists = self.sources.iter().map(|s| s.label_values(name, matchers, limit));
        union(lists, limit)
    }
}

/// The distinct texts of sorted lists, sorted.
fn union(lists: impl Iterator<Item = Result<Vec<String>>>, limit: usize) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for list in lists {
        all.append(&mut list?);
    }
    // Runs that are sorted already make this a merge.
    all.sort();
    all.dedup();
    if limit > 0 {
        all.truncate(limit);
    }
    Ok(all)
}

thread_local! {
    static SPARE: RefCell<(Columns, Columns)> = RefCell::default();
}

impl SeriesSet for MergedSet {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.series[index].labels.clone()
    }

    fn read(
        &self,
        index: usize,
        range: TimeRange,
        columns: &mut Columns,
    ) -> std::result::Result<(), StorageError> {
        columns.clear();
        let range = TimeRange::new(
            range.min_ms.max(self.range.min_ms),
            range.max_ms.min(self.range.max_ms),
        );
        if range.min_ms > range.max_ms {
            return Ok(());
        }
        for (source, handle) in &self.series[index].parts {
            let start = columns.len();
            self.sources[*source as usize].read(*handle, range, columns)?;
            SPARE.with_borrow_mut(|(tail, merged)| join_tail(columns, start, tail, merged));
        }
        Ok(())
    }
}

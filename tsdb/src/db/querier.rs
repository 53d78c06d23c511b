//! A view over head and blocks as one: series merged by their labels, samples by time.

use std::sync::Arc;

use hashbrown::HashTable;
use model::chunk::Chunk;
use model::columns::Columns;
use model::label_table::{LabelPairs, LabelTable};
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{Querier, SelectHints, SeriesKey, SeriesSet, StorageError, TimeRange};
use xxhash_rust::xxh3::xxh3_64;

use crate::block::{Merger, Piece};
use crate::chunk::Encoding;
use crate::columns::chain;
use crate::head::{HeadSeries, HeadView};
use files::Result;

/// What a source shows each selected series to: its handle and the numbers of its label pairs; false ends the showing.
pub(crate) type Each<'a> = dyn FnMut(u64, &[u32]) -> bool + 'a;

/// Something that holds series: the head at one moment, or a block.
pub(crate) trait Source: Send + Sync {
    /// Shows the series that satisfy all matchers and may have samples in the source's range; their label pairs are
    /// numbered by `pairs`.
    fn select(
        &self,
        hints: &SelectHints,
        matchers: &[Matcher],
        pairs: &mut LabelPairs,
        each: &mut Each<'_>,
    ) -> Result<()>;

    /// Whether series are shown in order of their labels.
    fn is_in_order(&self) -> bool;

    /// Whether a handle stands for the same labels as long as the store is open.
    fn has_lasting_handles(&self) -> bool;

    /// Appends the samples of a series in `range` to `columns`, all of whose rows lie before [`Source::begins_ms`].
    fn read(&self, handle: u64, range: TimeRange, columns: &mut Columns) -> Result<()>;

    /// Adds the chunks of a series in `range`.
    fn pieces<'a>(&'a self, handle: u64, range: TimeRange, merger: &mut Merger<'a>) -> Result<()>;

    /// No sample of the source lies before this.
    fn begins_ms(&self) -> i64;

    /// See [`Querier::label_names`].
    fn label_names(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>>;

    /// See [`Querier::label_values`].
    fn label_values(&self, name: &str, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>>;
}

impl Source for HeadView {
    fn select(
        &self,
        hints: &SelectHints,
        matchers: &[Matcher],
        pairs: &mut LabelPairs,
        each: &mut Each<'_>,
    ) -> Result<()> {
        self.visit(hints, matchers, pairs, &mut |series, set| each(series.0.0, set))
    }

    fn is_in_order(&self) -> bool {
        false
    }

    fn has_lasting_handles(&self) -> bool {
        true
    }

    fn read(&self, handle: u64, range: TimeRange, columns: &mut Columns) -> Result<()> {
        HeadView::read(self, HeadSeries::from_handle(handle), range, columns)
    }

    fn pieces<'a>(&'a self, handle: u64, range: TimeRange, merger: &mut Merger<'a>) -> Result<()> {
        let chunks = HeadView::chunks(self, HeadSeries::from_handle(handle), range)?;
        merger.pieces.extend(chunks.into_iter().map(Piece::Fresh));
        Ok(())
    }

    fn begins_ms(&self) -> i64 {
        HeadView::begins_ms(self)
    }

    fn label_names(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>> {
        HeadView::label_names(self, hints, matchers)
    }

    fn label_values(&self, name: &str, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>> {
        HeadView::label_values(self, name, hints, matchers)
    }
}

/// A view over several sources, oldest first.
pub(crate) struct MergedQuerier {
    pub(crate) sources: Arc<[Arc<dyn Source>]>,
    pub(crate) range: TimeRange,
}

/// One source's share of a series.
#[derive(Clone, Copy, Debug)]
struct Part {
    source: u32,
    handle: u64,
}

/// Series of several sources, gathered one source after the other.
#[derive(Default)]
struct Merge {
    table: LabelTable,
    /// Places of label sets in the table; filled only when a second source comes.
    places: HashTable<usize>,
    /// Places in the table, and what was found there, by source.
    found: Vec<(usize, Part)>,
    /// Sources that gave something.
    filled: usize,
}

/// Series after which whoever watches over a selection is asked whether to go on.
const WATCHED_EVERY: usize = 256;

/// What a series takes in a list, roughly: its labels' numbers, where they end, and its part.
fn series_bytes(set: &[u32]) -> usize {
    size_of_val(set) + size_of::<usize>() + size_of::<(usize, Part)>()
}

fn limit_of(hints: &SelectHints) -> usize {
    if hints.limit == 0 { usize::MAX } else { hints.limit }
}

fn hash_set(set: &[u32]) -> u64 {
    let mut bytes = smallvec::SmallVec::<[u8; 128]>::new();
    for number in set {
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    xxh3_64(&bytes)
}

impl Merge {
    /// Adds a source's series; of one that shows them in order, no more than the first `limit`.
    fn add(
        &mut self,
        number: u32,
        source: &dyn Source,
        matchers: &[Matcher],
        hints: &SelectHints,
    ) -> Result<()> {
        let limit = if source.is_in_order() {
            limit_of(hints)
        } else {
            usize::MAX
        };
        if self.filled == 1 {
            // Only now is there anything to merge with.
            for place in 0..self.table.len() {
                self.keep_place(place);
            }
        }
        let known = self.filled > 0;
        let before = self.found.len();
        let mut watched = hints.took(0);
        let mut pairs = std::mem::take(self.table.pairs_mut());
        let result = source.select(hints, matchers, &mut pairs, &mut |handle, set| {
            let part = Part {
                source: number,
                handle,
            };
            let place = match known {
                true => self.place_of(set),
                false => self.push(set),
            };
            self.found.push((place, part));
            let count = self.found.len() - before;
            if count.is_multiple_of(WATCHED_EVERY) {
                watched = hints.took(WATCHED_EVERY * series_bytes(set));
            }
            watched.is_ok() && count < limit
        });
        *self.table.pairs_mut() = pairs;
        self.filled += usize::from(self.found.len() > before);
        result.and(watched)
    }

    fn push(&mut self, set: &[u32]) -> usize {
        self.table.push(set);
        self.table.len() - 1
    }

    fn place_of(&mut self, set: &[u32]) -> usize {
        let table = &self.table;
        if let Some(place) = self.places.find(hash_set(set), |place| table.set(*place) == set) {
            return *place;
        }
        let place = self.push(set);
        self.keep_place(place);
        place
    }

    fn keep_place(&mut self, place: usize) {
        let table = &self.table;
        self.places
            .insert_unique(hash_set(table.set(place)), place, |place| {
                hash_set(table.set(*place))
            });
    }

    /// Puts series in order and keeps the first `limit`.
    fn sort(&mut self, limit: usize) {
        let mut new = vec![usize::MAX; self.table.len()];
        for (place, old) in self.table.sort(limit).into_iter().enumerate() {
            new[old] = place;
        }
        for (place, _) in &mut self.found {
            *place = new[*place];
        }
        self.found.retain(|(place, _)| *place != usize::MAX);
    }

    fn finish(mut self, sources: Arc<[Arc<dyn Source>]>, range: TimeRange) -> MergedSet {
        // Stable: parts of a series stay in order of the sources.
        self.found.sort_by_key(|(place, _)| *place);
        let mut ends = Vec::new();
        if self.found.len() > self.table.len() {
            let series = self.found.chunk_by(|a, b| a.0 == b.0);
            ends.extend(series.scan(0, |end, parts| {
                *end += parts.len();
                Some(*end)
            }));
        }
        MergedSet {
            sources,
            range,
            table: self.table,
            parts: self.found.into_iter().map(|(_, part)| part).collect(),
            ends,
        }
    }
}

struct MergedSet {
    sources: Arc<[Arc<dyn Source>]>,
    range: TimeRange,
    table: LabelTable,
    /// Parts of all series, one series behind the other.
    parts: Vec<Part>,
    /// Where each series' parts end; empty where each has one.
    ends: Vec<usize>,
}

impl Querier for MergedQuerier {
    fn select(
        &self,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> std::result::Result<Arc<dyn SeriesSet>, StorageError> {
        let mut merge = Merge::default();
        let mut in_order = true;
        for (number, source) in self.sources.iter().enumerate() {
            let before = merge.filled;
            merge.add(number as u32, &**source, matchers, hints)?;
            // What the only source with series shows in order need not be sorted.
            in_order &= merge.filled == before || (before == 0 && source.is_in_order());
        }
        // Compat: what comes from several places comes sorted, asked for or not; `limitk` shows it (golden answers of
        // the directory `plain`: `the_plain_directory_answers_as_recorded`).
        if !in_order && (hints.sorted || hints.limit > 0 || self.sources.len() > 1) {
            merge.sort(limit_of(hints));
        }
        Ok(Arc::new(merge.finish(Arc::clone(&self.sources), self.range)))
    }

    fn label_names(
        &self,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> std::result::Result<Vec<String>, StorageError> {
        let lists = self.sources.iter().map(|s| s.label_names(hints, matchers));
        union(lists, hints.limit)
    }

    fn label_values(
        &self,
        name: &str,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> std::result::Result<Vec<String>, StorageError> {
        let lists = self.sources.iter().map(|s| s.label_values(name, hints, matchers));
        union(lists, hints.limit)
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

impl SeriesSet for MergedSet {
    fn len(&self) -> usize {
        self.table.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.table.labels(index)
    }

    fn label_table(&self) -> Option<&LabelTable> {
        Some(&self.table)
    }

    fn key(&self, index: usize) -> Option<SeriesKey> {
        // The newest part is the head's where there is one.
        let part = self.parts_of(index).last()?;
        let lasts = self.sources[part.source as usize].has_lasting_handles();
        lasts.then_some(SeriesKey(part.handle))
    }

    fn read(
        &self,
        index: usize,
        range: TimeRange,
        columns: &mut Columns,
    ) -> std::result::Result<(), StorageError> {
        columns.clear();
        let Some(range) = self.cut(range) else {
            return Ok(());
        };
        let parts = self.parts_of(index).iter();
        let parts = parts.map(|part| (&*self.sources[part.source as usize], part.handle));
        read_parts(parts, range, columns)
    }

    fn chunks(
        &self,
        index: usize,
        range: TimeRange,
        chunks: &mut Vec<Chunk>,
    ) -> std::result::Result<bool, StorageError> {
        chunks.clear();
        let Some(range) = self.cut(range) else {
            return Ok(true);
        };
        let mut merger = Merger::default();
        for part in self.parts_of(index) {
            self.sources[part.source as usize].pieces(part.handle, range, &mut merger)?;
        }
        // Compat: what overlaps becomes XOR again, whatever new chunks are.
        let merged = merger.merge_overlapping(Encoding::Xor);
        merged.map_err(|damage| StorageError::Other(format!("merging for a reader: {damage}")))?;
        chunks.extend(merger.pieces.iter().map(|piece| {
            let chunk = piece.as_chunk();
            Chunk {
                min_ms: chunk.min_ms,
                max_ms: chunk.max_ms,
                encoding: chunk.data.encoding,
                bytes: chunk.data.bytes.to_vec(),
            }
        }));
        Ok(true)
    }
}

impl MergedSet {
    /// The range as far as the view reaches.
    fn cut(&self, range: TimeRange) -> Option<TimeRange> {
        let cut = TimeRange::new(
            range.min_ms.max(self.range.min_ms),
            range.max_ms.min(self.range.max_ms),
        );
        (cut.min_ms <= cut.max_ms).then_some(cut)
    }

    fn parts_of(&self, index: usize) -> &[Part] {
        if self.ends.is_empty() {
            return std::slice::from_ref(&self.parts[index]);
        }
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.parts[start..self.ends[index]]
    }
}

/// Appends the samples in `range` of one series, whose parts come from several sources, oldest first.
pub(crate) fn read_parts<'a>(
    mut parts: impl Iterator<Item = (&'a dyn Source, u64)> + Clone,
    range: TimeRange,
    columns: &mut Columns,
) -> Result<()> {
    loop {
        let rest = parts.clone();
        let Some((source, handle)) = parts.next() else {
            return Ok(());
        };
        let last = columns.timestamps_ms.last();
        if last.is_some_and(|last| *last >= source.begins_ms()) {
            return read_overlapping(rest, range, columns);
        }
        source.read(handle, range, columns)?;
    }
}

/// Reads parts that overlap in time among themselves or with what `columns` holds.
#[cold]
fn read_overlapping<'a>(
    parts: impl Iterator<Item = (&'a dyn Source, u64)>,
    range: TimeRange,
    columns: &mut Columns,
) -> Result<()> {
    let mut runs = vec![std::mem::take(columns)];
    for (source, handle) in parts {
        let mut run = Columns::default();
        source.read(handle, range, &mut run)?;
        runs.push(run);
    }
    // Compat: the reference asks the head first, then the blocks, and that decides between samples of one moment.
    runs.rotate_right(1);
    chain(&runs, range.min_ms, range.max_ms, columns);
    Ok(())
}

//! Selecting in the head: series by their labels.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use model::label_table::{LabelPairs, LabelTable};
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{SelectHints, SeriesRef};

use super::pages::{Page, page_of};
use super::read::{HeadSeries, HeadView};
use super::stepped::SteppedIndex;
use crate::select::{Watched, label_names, label_values, select};
use files::Result;

/// Series whose labels are read under one lock of the index.
const LABELS_AT_A_TIME: usize = 4096;

impl HeadView {
    /// Series that satisfy all matchers and may have samples in the view's range, by reference.
    ///
    /// # Errors
    /// None at present: the index is in memory.
    pub fn select(&self, matchers: &[Matcher]) -> Result<Vec<(HeadSeries, Labels)>> {
        let mut table = LabelTable::default();
        let mut pairs = LabelPairs::default();
        let mut found = Vec::new();
        self.visit(
            &SelectHints::default(),
            matchers,
            &mut pairs,
            &mut |series, set| {
                table.push(set);
                found.push(series);
                true
            },
        )?;
        *table.pairs_mut() = pairs;
        let labelled = found.into_iter().enumerate();
        Ok(labelled
            .map(|(index, series)| (series, table.labels(index)))
            .collect())
    }

    /// Shows the series that satisfy all matchers and may have samples in the view's range, by reference, with the numbers
    /// that `pairs` gives their label pairs, until `each` or whoever watches says false.
    ///
    /// # Errors
    /// As [`HeadView::select`].
    pub(crate) fn visit(
        &self,
        hints: &SelectHints,
        matchers: &[Matcher],
        pairs: &mut LabelPairs,
        each: &mut dyn FnMut(HeadSeries, &[u32]) -> bool,
    ) -> Result<()> {
        let mut found: Vec<u64> = SteppedIndex::ask(&self.head.index, |index| {
            let found = select(&Watched::new(index, hints), matchers)?;
            let base = index.step(|index| index.reference_of(0));
            Ok(found.into_iter().map(|i| base + u64::from(i)).collect())
        })?;
        hints.took(0)?;
        self.retain_with_data(&mut found);
        hints.took(0)?;
        // Numbers of the index' pairs among those of the selection; good for one generation of the index.
        let mut known: HashMap<u32, u32, FixedState> = HashMap::default();
        let mut generation = None;
        let mut set = Vec::new();
        for some in found.chunks(LABELS_AT_A_TIME) {
            // New series must not wait until the labels of a large selection are all read.
            let index = self.head.index.read();
            if generation.replace(index.generation()) != Some(index.generation()) {
                known.clear();
            }
            for reference in some {
                set.clear();
                for pair in index.index_of(*reference).map_or(&[][..], |i| index.set(i)) {
                    set.push(*known.entry(*pair).or_insert_with(|| {
                        let (name, value) = index.pair(*pair);
                        pairs.number(name, value)
                    }));
                }
                if !set.is_empty() && !each(HeadSeries(SeriesRef(*reference)), &set) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Keeps the series that may have samples in the view's range; `series` is sorted.
    fn retain_with_data(&self, series: &mut Vec<u64>) {
        let mut page: Option<(u64, Option<Arc<Page>>)> = None;
        series.retain(|reference| {
            let number = page_of(*reference);
            if page.as_ref().is_none_or(|(n, _)| *n != number) {
                page = Some((number, self.head.pages.get(number)));
            }
            let Some((_, Some(page))) = &page else {
                return false;
            };
            let mut page = page.lock();
            page.get(*reference)
                .is_some_and(|s| s.overlaps(self.in_order_min_ms, self.range))
        });
    }

    /// Names of the labels of the series that satisfy all matchers, sorted; at most as many as
    /// `hints` say.
    ///
    /// # Errors
    /// As [`HeadView::select`].
    pub fn label_names(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>> {
        SteppedIndex::ask(&self.head.index, |index| {
            label_names(&Watched::new(index, hints), matchers, hints.limit)
        })
    }

    /// Values of a label on the series that satisfy all matchers, sorted; at most as many as
    /// `hints` say.
    ///
    /// # Errors
    /// As [`HeadView::select`].
    pub fn label_values(&self, name: &str, hints: &SelectHints, matchers: &[Matcher]) -> Result<Vec<String>> {
        SteppedIndex::ask(&self.head.index, |index| {
            label_values(&Watched::new(index, hints), name, matchers, hints.limit)
        })
    }
}

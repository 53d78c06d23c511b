//! Sums and means of histograms.

use std::sync::Arc;

use model::histogram::{
    Combined, CounterResetHint, FloatHistogram, HistogramMean, HistogramSum, IncompatibleSchemas,
};

use crate::annotations::Annotations;
use crate::ast::Span;
use crate::exec::head::Head;
use crate::exec::text;
use crate::row::Row;

use super::cells::Shared;

/// What is made of a group's histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
}

/// Histograms of one group, one cell a step; takes no space until the first one comes.
pub(super) struct HistogramCells {
    kind: Sum,
    steps: usize,
    cells: Vec<Option<Box<Cell>>>,
}

struct Cell {
    state: State,
    /// Compat: a float came before any histogram. Then the reference does not look at histograms any more, and there is
    /// nothing to be said about them but that they are there; `tests/it/annotations.rs` pins it.
    float_first: bool,
    /// Schemas that cannot be added have met: there is no result.
    incompatible: Option<Incompatible>,
    /// Custom bounds differed and were cut down to those in common.
    bounds_reconciled: bool,
    reset_seen: bool,
    no_reset_seen: bool,
}

/// How schemas that cannot be added have met.
struct Incompatible {
    /// The metric name of the histogram that did not fit.
    metric_name: String,
    /// Compat: floats that come later are not looked at, and so are no mix.
    before_floats: bool,
}

enum State {
    Sum(HistogramSum),
    /// In their order: a mean cannot be put together from two.
    Mean(Vec<Shared>),
}

impl HistogramCells {
    pub(super) fn new(steps: usize, kind: Sum) -> Self {
        HistogramCells {
            kind,
            steps,
            cells: Vec::new(),
        }
    }

    /// Whether there was none so far.
    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Bytes that adding the histograms of `row` may cost.
    pub(super) fn growth_bytes(&self, row: &Row) -> usize {
        if row.histograms.is_empty() {
            return 0;
        }
        let list = match self.cells.is_empty() {
            true => self.steps * size_of::<Option<Box<Cell>>>(),
            false => 0,
        };
        let cells: usize = row
            .histograms
            .iter()
            .map(|(step, histogram)| match self.cells.get(*step as usize) {
                // A sum is about as large as what it is made of, with compensations.
                Some(Some(_)) if self.kind == Sum::Sum => 0,
                _ => size_of::<Cell>() + 2 * histogram.size_bytes(),
            })
            .sum();
        list + cells
    }

    /// Adds a histogram at `step`; `float_seen` says whether the group has a float there already.
    pub(super) fn add(&mut self, step: usize, histogram: &Shared, float_seen: bool, head: &Head) {
        if self.cells.is_empty() {
            self.cells.resize_with(self.steps, || None);
        }
        match &mut self.cells[step] {
            Some(cell) => cell.add(histogram, float_seen, head),
            cell @ None => *cell = Some(Box::new(Cell::new(self.kind, histogram, float_seen))),
        }
    }

    /// Takes over the cells of rows that follow; `float_seen` says at which steps there are floats before them.
    pub(super) fn merge(&mut self, later: HistogramCells, float_seen: impl Fn(usize) -> bool) {
        if later.cells.is_empty() {
            return;
        }
        if self.cells.is_empty() {
            self.cells.resize_with(self.steps, || None);
        }
        for (step, (mine, later)) in self.cells.iter_mut().zip(later.cells).enumerate() {
            let Some(mut later) = later else {
                continue;
            };
            let float_seen = float_seen(step);
            if let Some(incompatible) = &mut later.incompatible {
                incompatible.before_floats &= !float_seen;
            }
            match mine {
                Some(mine) => mine.merge(*later, float_seen),
                mine @ None => {
                    later.float_first |= float_seen;
                    *mine = Some(later);
                }
            }
        }
    }

    /// Puts the results into the row of the group's floats. A step that has both has no result.
    pub(super) fn finish(self, mut row: Row, about: Span, notes: &mut Annotations) -> Row {
        for (step, cell) in self.cells.into_iter().enumerate() {
            let Some(cell) = cell else {
                continue;
            };
            let (reset_seen, no_reset_seen) = (cell.reset_seen, cell.no_reset_seen);
            let mixed = cell
                .incompatible
                .as_ref()
                .is_none_or(|found| !found.before_floats);
            let histogram = cell.finish(about, notes);
            if row.present.get(step) {
                if mixed {
                    notes.warn(
                        about,
                        "encountered a mix of histograms and floats for aggregation",
                    );
                }
                row.present.unset(step);
                row.values[step] = 0.0;
                continue;
            }
            let Some(mut histogram) = histogram else {
                continue;
            };
            histogram.compact(0);
            row.push_histogram(step, Arc::new(histogram));
            if reset_seen && no_reset_seen {
                notes.warn(about, "conflicting counter resets during histogram aggregation");
            }
        }
        row
    }
}

impl Cell {
    fn new(kind: Sum, first: &Shared, float_first: bool) -> Self {
        let mut cell = Cell {
            state: match kind {
                Sum::Sum => State::Sum(HistogramSum::new(first)),
                Sum::Mean => State::Mean(vec![first.clone()]),
            },
            float_first,
            incompatible: None,
            bounds_reconciled: false,
            reset_seen: false,
            no_reset_seen: false,
        };
        cell.note_hint(first.counter_reset_hint);
        cell
    }

    fn note_hint(&mut self, hint: CounterResetHint) {
        self.reset_seen |= hint == CounterResetHint::Reset;
        self.no_reset_seen |= hint == CounterResetHint::NotReset;
    }

    fn add(&mut self, histogram: &Shared, float_seen: bool, head: &Head) {
        if self.incompatible.is_some() {
            return;
        }
        self.note_hint(histogram.counter_reset_hint);
        let added = match &mut self.state {
            State::Sum(sum) => sum.add(histogram),
            State::Mean(all) => {
                let custom = all.first().is_some_and(|first| first.uses_custom_buckets());
                match custom == histogram.uses_custom_buckets() {
                    true => {
                        all.push(histogram.clone());
                        Ok(Combined::default())
                    }
                    false => Err(IncompatibleSchemas),
                }
            }
        };
        let name = match head.keeps(model::labels::METRIC_NAME) {
            true => head.labels.metric_name(),
            false => "",
        };
        self.note(added, name, float_seen);
    }

    fn note(&mut self, added: Result<Combined, IncompatibleSchemas>, metric_name: &str, float_seen: bool) {
        match added {
            Ok(combined) => self.bounds_reconciled |= combined.bounds_reconciled,
            Err(IncompatibleSchemas) => {
                self.incompatible = Some(Incompatible {
                    metric_name: metric_name.to_owned(),
                    before_floats: !float_seen,
                });
            }
        }
    }

    fn merge(&mut self, later: Cell, float_seen: bool) {
        if self.incompatible.is_some() {
            return;
        }
        self.reset_seen |= later.reset_seen;
        self.no_reset_seen |= later.no_reset_seen;
        self.bounds_reconciled |= later.bounds_reconciled;
        if later.incompatible.is_some() {
            self.incompatible = later.incompatible;
            return;
        }
        match (&mut self.state, later.state) {
            (State::Sum(mine), State::Sum(others)) => {
                let added = mine.add(&others.finish());
                self.note(added, "", float_seen || later.float_first);
            }
            (State::Mean(mine), State::Mean(later)) => mine.extend(later),
            _ => unreachable!("cells of one aggregation are of one kind"),
        }
    }

    /// The result, and what is to be said about it.
    fn finish(mut self, about: Span, notes: &mut Annotations) -> Option<FloatHistogram> {
        if self.float_first {
            return None;
        }
        let result = match &mut self.state {
            _ if self.incompatible.is_some() => None,
            State::Sum(sum) => Some(sum.finish()),
            State::Mean(all) => {
                let all = std::mem::take(all);
                self.mean(&all)
            }
        };
        if self.bounds_reconciled {
            notes.info(about, text::bounds_reconciled("aggregation"));
        }
        if let Some(found) = &self.incompatible {
            notes.warn(about, text::mixed_schemas(&found.metric_name));
        }
        result
    }

    fn mean(&mut self, all: &[Shared]) -> Option<FloatHistogram> {
        let (first, others) = all.split_first()?;
        let mut mean = HistogramMean::new(first);
        for histogram in others {
            let added = mean.add(histogram);
            self.note(added, "", false);
            if self.incompatible.is_some() {
                return None;
            }
        }
        Some(mean.finish())
    }
}

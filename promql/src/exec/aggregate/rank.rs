//! `topk` and `bottomk`: a small heap a group and step.
//!
//! Which of several equal values stays in a heap depends on all values that came before, so values are offered in the
//! order of their series.

use std::sync::Arc;

use model::labels::Labels;

use crate::annotations::Annotations;
use crate::ast::{AggregateOp, Grouping, Span};
use crate::engine::QueryError;
use crate::exec::Execution;
use crate::exec::group::Groups;
use crate::exec::head::Head;
use crate::exec::limits::{Held, Limits, float_row_bytes, labels_bytes};
use crate::exec::order_watch::OrderWatch;
use crate::exec::pipeline::{Consumer, InOrder, Sink};
use crate::exec::scalar::Scalars;
use crate::exec::table::Table;
use crate::plan::{Node, NodeId};
use crate::row::Row;

use super::{ParamBounds, count_of};

impl Execution<'_> {
    pub(super) fn rank(
        &self,
        op: AggregateOp,
        child: NodeId,
        param: &Scalars,
        grouping: &Grouping,
        node: &Node,
    ) -> Result<Table, QueryError> {
        let steps = node.steps.count;
        let wanted = ParamBounds::of(param, steps)
            .check_count()
            .map_err(|error| QueryError::from(error).located(node.spans.whole))?;
        if !wanted {
            // The operand is evaluated all the same: it may fail, and its annotations count.
            self.consume(child, || Discard)?;
            return Ok(Table::new(&self.shared.limits));
        }
        let shape = Shape {
            op,
            steps,
            about: node.spans.whole,
            param,
            limits: &self.shared.limits,
            order: &self.shared.order,
        };
        let new = || {
            let ranking = Ranking {
                shape,
                groups: Groups::new(grouping),
                heaps: Vec::new(),
                refused: Vec::new(),
                series: Vec::new(),
                held: Held::new(shape.limits),
            };
            InOrder::new(ranking, shape.limits)
        };
        let (ranking, _held) = self.consume(child, new)?;
        ranking.sink.finish()
    }
}

/// Takes rows and forgets them.
pub(super) struct Discard;

impl Sink for Discard {
    fn take(&mut self, _: Head, _: &mut Row, _: &mut Annotations) -> Result<(), QueryError> {
        Ok(())
    }
}

impl Consumer for Discard {
    fn merge(&mut self, _: Self, _: &mut Annotations) -> Result<(), QueryError> {
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Shape<'p> {
    op: AggregateOp,
    steps: usize,
    about: Span,
    param: &'p Scalars,
    limits: &'p Arc<Limits>,
    order: &'p OrderWatch,
}

struct Ranking<'p> {
    shape: Shape<'p>,
    groups: Groups<'p>,
    /// One heap a group and step, group by group.
    heaps: Vec<Heap>,
    /// The best value that found no place in each of them, where somebody wants to know of equal ones.
    refused: Vec<Option<f64>>,
    series: Vec<(Labels, bool)>,
    held: Held,
}

/// A binary heap whose top is what goes next.
#[derive(Clone, Default)]
struct Heap(Vec<Entry>);

#[derive(Clone, Copy)]
struct Entry {
    value: f64,
    series: u32,
}

impl Heap {
    /// Whether `a` goes before `b`: NaN first, then the smallest of `topk`, the largest of `bottomk`.
    fn goes_first(top: bool, a: f64, b: f64) -> bool {
        a.is_nan() || if top { a < b } else { a > b }
    }

    /// Offers a value to a heap of at most `limit`; gives the value that finds no place for it.
    fn offer(&mut self, entry: Entry, limit: usize, top: bool) -> Option<f64> {
        let heap = &mut self.0;
        if heap.len() < limit {
            heap.push(entry);
            let mut at = heap.len() - 1;
            while at > 0 {
                let parent = (at - 1) / 2;
                if !Heap::goes_first(top, heap[at].value, heap[parent].value) {
                    break;
                }
                heap.swap(at, parent);
                at = parent;
            }
            None
        } else {
            let first = heap.first().copied()?;
            let better = if top {
                first.value < entry.value
            } else {
                first.value > entry.value
            };
            if better || (first.value.is_nan() && !entry.value.is_nan()) {
                heap[0] = entry;
                self.sink(top);
                return Some(first.value);
            }
            Some(entry.value)
        }
    }

    fn sink(&mut self, top: bool) {
        let heap = &mut self.0;
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            if child >= heap.len() {
                break;
            }
            if child + 1 < heap.len() && Heap::goes_first(top, heap[child + 1].value, heap[child].value) {
                child += 1;
            }
            if !Heap::goes_first(top, heap[child].value, heap[at].value) {
                break;
            }
            heap.swap(at, child);
            at = child;
        }
    }

    /// The entries, best first, NaN last.
    fn sorted(mut self, top: bool) -> Vec<Entry> {
        self.0.sort_by(|a, b| {
            let order = a.value.partial_cmp(&b.value);
            match (order, a.value.is_nan(), b.value.is_nan()) {
                (Some(order), ..) if top => order.reverse(),
                (Some(order), ..) => order,
                (None, a, b) => a.cmp(&b),
            }
        });
        self.0
    }
}

impl Ranking<'_> {
    fn heap(&mut self, group: usize, step: usize) -> &mut Heap {
        &mut self.heaps[group * self.shape.steps + step]
    }

    fn add_group(&mut self) -> Result<(), QueryError> {
        self.held.add_bytes(self.shape.steps * size_of::<Heap>())?;
        let len = self.heaps.len() + self.shape.steps;
        self.heaps.resize(len, Heap::default());
        if self.shape.order.is_wanted() {
            self.held.add_bytes(self.shape.steps * size_of::<Option<f64>>())?;
            self.refused.resize(len, None);
        }
        Ok(())
    }

    /// Notes that a value is gone; the best one is kept.
    fn refuse(&mut self, at: usize, value: f64, top: bool) {
        if let Some(known) = self.refused.get_mut(at)
            && known.is_none_or(|known| Heap::goes_first(top, known, value))
        {
            *known = Some(value);
        }
    }

    /// Whether some value stays in its heap while an equal one went.
    fn shows_order(&self) -> bool {
        self.heaps.iter().zip(&self.refused).any(|(heap, refused)| {
            heap.0.first().zip(*refused).is_some_and(|(last, refused)| {
                last.value == refused || (last.value.is_nan() && refused.is_nan())
            })
        })
    }

    fn finish(mut self) -> Result<Table, QueryError> {
        let steps = self.shape.steps;
        let top = self.shape.op == AggregateOp::TopK;
        if self.shows_order() {
            self.shape.order.note();
        }
        // Every series that is in a heap gets a row, until the rows are in the table.
        let kept: usize = self.heaps.iter().map(|heap| heap.0.len()).sum();
        let rows_bytes = kept.min(self.series.len()).saturating_mul(float_row_bytes(steps));
        self.held.touch_bytes(rows_bytes)?;
        let mut rows: Vec<Option<Row>> = Vec::new();
        rows.resize_with(self.series.len(), || None);
        let mut order = Vec::new();
        for (index, heap) in std::mem::take(&mut self.heaps).into_iter().enumerate() {
            // The first heaps make nearly all the rows.
            self.shape.limits.check()?;
            for entry in heap.sorted(top) {
                let row = &mut rows[entry.series as usize];
                let row = row.get_or_insert_with(|| {
                    order.push(entry.series as usize);
                    let mut row = Row::default();
                    row.reset(steps);
                    row
                });
                row.set(index % steps, entry.value);
            }
        }
        let mut table = Table::new(self.shape.limits);
        for series in order {
            let (labels, drop_name) = self.series[series].clone();
            if let Some(row) = rows[series].take() {
                table.push(labels, drop_name, row)?;
            }
        }
        Ok(table)
    }
}

impl Sink for Ranking<'_> {
    /// Offers the values of a row to the heaps of its group.
    fn take(&mut self, head: Head, row: &mut Row, notes: &mut Annotations) -> Result<(), QueryError> {
        let top = self.shape.op == AggregateOp::TopK;
        let (group, new) = self.groups.find(&head);
        if new.is_some() {
            self.add_group()?;
        }
        for (step, _) in row.histograms.drain(..) {
            row.present.unset(step as usize);
            if count_of(self.shape.param.at(step as usize)) > 0 {
                crate::exec::text::histogram_ignored(notes, self.shape.about, self.shape.op);
            }
        }
        let (series, steps) = (self.series.len() as u32, self.shape.steps);
        let mut grown = 0;
        row.present.for_each_set(|step| {
            let limit = count_of(self.shape.param.at(step));
            let value = row.values[step];
            let heap = self.heap(group, step);
            let before = heap.0.len();
            let gone = heap.offer(Entry { value, series }, limit, top);
            grown += heap.0.len() - before;
            if let Some(gone) = gone {
                self.refuse(group * steps + step, gone, top);
            }
        });
        let drop_name = head.drop_name;
        let labels = head.into_labels();
        // Lists double when they are full.
        self.held
            .add_bytes(2 * size_of::<Entry>() * grown + labels_bytes(&labels))?;
        self.series.push((labels, drop_name));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heaps_keep_the_best() {
        let mut seed = 1_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match (seed >> 33) % 20 {
                0 => f64::NAN,
                1 => f64::INFINITY,
                value => value as f64,
            }
        };
        for limit in 0..8 {
            let values: Vec<f64> = (0..limit * 3).map(|_| next()).collect();
            for top in [true, false] {
                let mut heap = Heap::default();
                for (series, value) in values.iter().enumerate() {
                    let series = series as u32;
                    heap.offer(
                        Entry {
                            value: *value,
                            series,
                        },
                        limit,
                        top,
                    );
                }
                let mut all = values.clone();
                all.sort_by(|a, b| {
                    let order = a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
                    let numbers = !a.is_nan() && !b.is_nan();
                    if top && numbers { order.reverse() } else { order }
                });
                let kept: Vec<u64> = heap
                    .sorted(top)
                    .iter()
                    .map(|entry| entry.value.to_bits())
                    .collect();
                let best: Vec<u64> = all.iter().take(limit).map(|value| value.to_bits()).collect();
                assert_eq!(kept, best, "{values:?} {top}");
            }
        }
    }

    #[test]
    fn the_first_of_equals_stays() {
        let mut heap = Heap::default();
        for series in 0..5 {
            heap.offer(Entry { value: 1.0, series }, 2, true);
        }
        let kept: Vec<u32> = heap.sorted(true).iter().map(|entry| entry.series).collect();
        assert_eq!(kept, [0, 1]);
    }
}

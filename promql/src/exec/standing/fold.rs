//! Aggregations at one moment: elements fold into the cells of their groups.
//!
//! Parts are cut and put together as the general way cuts the same series into runs and merges those, so that sums come
//! out the same to the last bit.

use std::ops::Range;

use crate::ast::{AggregateOp, Grouping};
use crate::exec::Execution;
use crate::exec::aggregate::{Mean, SumCell};
use crate::exec::limits::Limits;
use crate::exec::pipeline::run_len;

use super::Halt;
use super::column::Whose;
use super::vector::Vector;

/// Marks a group that has no cell yet.
const NO_CELL: u32 = u32::MAX;

/// What is known of a group.
trait Cell: Copy {
    const NOTHING: Self;
    fn add(&mut self, value: f64);
    /// Takes over the cell of the same group over elements that follow.
    fn merge(&mut self, later: Self);
    fn finish(self) -> f64;
}

/// Whether there is a cell for `op`: one that takes no parameter, and whose parts can be put together.
pub(super) fn has_cell(op: AggregateOp) -> bool {
    use AggregateOp::{Avg, Count, Group, Max, Min, Sum};
    matches!(op, Sum | Avg | Min | Max | Count | Group)
}

impl Execution<'_> {
    /// The aggregation `op`, for which [`has_cell`] holds, of `input`.
    pub(super) fn fold(&self, op: AggregateOp, grouping: &Grouping, input: Vector) -> Result<Vector, Halt> {
        match op {
            AggregateOp::Sum => self.fold_cells::<SumCell>(grouping, input),
            AggregateOp::Avg => self.fold_cells::<Mean>(grouping, input),
            AggregateOp::Min => self.fold_cells::<Extreme<false>>(grouping, input),
            AggregateOp::Max => self.fold_cells::<Extreme<true>>(grouping, input),
            AggregateOp::Count => self.fold_cells::<Count>(grouping, input),
            _ => self.fold_cells::<One>(grouping, input),
        }
    }

    fn fold_cells<C: Cell>(&self, grouping: &Grouping, input: Vector) -> Result<Vector, Halt> {
        let limits = &self.shared.limits;
        let grouped = input.whose.grouped(grouping, limits)?;
        let count = input.selected.unwrap_or(input.len());
        let mut fold = Fold {
            input: &input,
            numbers: &grouped.numbers,
            cell_of: vec![NO_CELL; grouped.column.len()],
            run: run_len(count),
            limits,
        };
        let cells: Vec<(u32, C)> = fold.tree(0..count)?;
        let (places, values) = cells
            .into_iter()
            .map(|(group, cell)| (group, cell.finish()))
            .unzip();
        drop(input);
        Vector::of(Whose::of_column(grouped.column.clone()), places, values, limits)
    }
}

struct Fold<'f> {
    input: &'f Vector,
    /// Groups by place.
    numbers: &'f [u32],
    /// Where each group's cell is in the list at hand; nowhere between two uses.
    cell_of: Vec<u32>,
    run: usize,
    limits: &'f Limits,
}

impl Fold<'_> {
    fn tree<C: Cell>(&mut self, rows: Range<usize>) -> Result<Vec<(u32, C)>, Halt> {
        let runs = rows.len().div_ceil(self.run);
        if runs <= 1 {
            self.limits.check()?;
            return Ok(self.run(rows));
        }
        let middle = rows.start + runs / 2 * self.run;
        let mut first = self.tree(rows.start..middle)?;
        let later = self.tree(middle..rows.end)?;
        self.merge(&mut first, later);
        Ok(first)
    }

    /// The elements that come from these rows.
    fn elements(&self, rows: Range<usize>) -> Range<usize> {
        match self.input.selected {
            None => rows,
            Some(_) => {
                let at = |row: usize| self.input.places.partition_point(|place| (*place as usize) < row);
                at(rows.start)..at(rows.end)
            }
        }
    }

    fn run<C: Cell>(&mut self, rows: Range<usize>) -> Vec<(u32, C)> {
        let elements = self.elements(rows);
        let mut cells: Vec<(u32, C)> = Vec::new();
        let (places, values) = (&self.input.places[elements.clone()], &self.input.values[elements]);
        for (place, value) in places.iter().zip(values) {
            let group = self.numbers[*place as usize];
            let at = &mut self.cell_of[group as usize];
            if *at == NO_CELL {
                *at = cells.len() as u32;
                cells.push((group, C::NOTHING));
            }
            cells[*at as usize].1.add(*value);
        }
        self.forget(&cells);
        cells
    }

    fn merge<C: Cell>(&mut self, first: &mut Vec<(u32, C)>, later: Vec<(u32, C)>) {
        for (index, (group, _)) in first.iter().enumerate() {
            self.cell_of[*group as usize] = index as u32;
        }
        let mut new = Vec::new();
        for (group, cell) in later {
            match self.cell_of[group as usize] {
                NO_CELL => new.push((group, cell)),
                at => first[at as usize].1.merge(cell),
            }
        }
        self.forget(first);
        first.extend(new);
    }

    fn forget<C>(&mut self, cells: &[(u32, C)]) {
        for (group, _) in cells {
            self.cell_of[*group as usize] = NO_CELL;
        }
    }
}

impl Cell for SumCell {
    const NOTHING: Self = SumCell::NOTHING;

    fn add(&mut self, value: f64) {
        SumCell::add(self, value);
    }

    fn merge(&mut self, later: Self) {
        SumCell::merge(self, later);
    }

    fn finish(self) -> f64 {
        self.total()
    }
}

impl Cell for Mean {
    const NOTHING: Self = Mean::NOTHING;

    fn add(&mut self, value: f64) {
        Mean::add(self, value);
    }

    fn merge(&mut self, later: Self) {
        Mean::merge(self, later);
    }

    fn finish(self) -> f64 {
        // A cell has seen something.
        Mean::finish(&self).unwrap_or(f64::NAN)
    }
}

/// The largest or smallest value; NaN loses to everything.
#[derive(Clone, Copy)]
struct Extreme<const MAX: bool>(f64);

impl<const MAX: bool> Cell for Extreme<MAX> {
    const NOTHING: Self = Extreme(f64::NAN);

    fn add(&mut self, value: f64) {
        let better = if MAX { self.0 < value } else { self.0 > value };
        if better || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn merge(&mut self, later: Self) {
        self.add(later.0);
    }

    fn finish(self) -> f64 {
        self.0
    }
}

/// How many.
#[derive(Clone, Copy)]
struct Count(f64);

impl Cell for Count {
    const NOTHING: Self = Count(0.0);

    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    fn merge(&mut self, later: Self) {
        self.0 += later.0;
    }

    fn finish(self) -> f64 {
        self.0
    }
}

/// 1 where there is anything.
#[derive(Clone, Copy)]
struct One;

impl Cell for One {
    const NOTHING: Self = One;

    fn add(&mut self, _: f64) {}

    fn merge(&mut self, _: Self) {}

    fn finish(self) -> f64 {
        1.0
    }
}

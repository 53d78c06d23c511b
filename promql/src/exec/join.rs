//! Arithmetic and comparison of two vectors.
//!
//! The signature of a series is computed once and good for all steps. Only where several series of one side share a
//! signature do steps have to be looked at one by one for conflicts.

use foldhash::{HashMap, HashMapExt};
use model::labels::Labels;

use crate::ast::Cardinality;
use crate::engine::{ExecutionError, QueryError};
use crate::plan::{Join, Node};
use crate::row::{Bits, Row};

use super::Execution;
use super::absent::union;
use super::head::is_metadata_label;
use super::histograms::{PairNote, RowOperation};
use super::limits::{Held, float_row_bytes, labels_bytes};
use super::operation;
use super::signature::Signatures;
use super::table::{SeriesRow, Table, merge_rows};

impl Execution<'_> {
    pub(super) fn join(&self, join: &Join, node: &Node) -> Result<Table, QueryError> {
        self.join_rows(join, node)
            .map_err(|error| error.located(node.spans.whole))
    }

    fn join_rows(&self, join: &Join, node: &Node) -> Result<Table, QueryError> {
        let (lhs, _lhs_samples) = self.table(join.lhs)?;
        let (rhs, _rhs_samples) = self.table(join.rhs)?;
        let mut signatures = Signatures::new(&join.on, &self.shared.limits);
        let left = signatures.of_rows(&lhs)?;
        let right = signatures.of_rows(&rhs)?;
        // Both fills are written for the sides as they stand in the query; what is called many and one here is swapped
        // for `group_right`.
        let swapped = join.cardinality == Cardinality::OneToMany;
        let sides = match swapped {
            false => Sides::new(&lhs, &left, &rhs, &right, signatures.len()),
            true => Sides::new(&rhs, &right, &lhs, &left, signatures.len()),
        };
        let mut work = Work {
            execution: self,
            join,
            node,
            swapped,
            one_to_one: join.cardinality == Cardinality::OneToOne,
            steps: node.steps.count,
            matched: vec![None; signatures.len()],
            results: Results::new(Table::new(&self.shared.limits)),
            scratch: Row::default(),
            last_notes: Vec::new(),
            held: Held::new(&self.shared.limits),
        };
        // The result that is being computed, what it is computed from, what is said of it.
        work.held.add_bytes(4 * float_row_bytes(work.steps))?;
        work.check_one_side(&sides)?;
        for (index, series) in sides.many.series.iter().enumerate() {
            self.shared.limits.check()?;
            work.join_many(series, sides.many_numbers[index], &sides)?;
        }
        if let Some(fill) = join.fill_left {
            for (index, series) in sides.one.series.iter().enumerate() {
                self.shared.limits.check()?;
                work.fill_many(series, sides.one_numbers[index], fill)?;
            }
        }
        work.tell_last_notes();
        let table = work.results.table;
        let gathered = lhs.rows_at_last() + rhs.rows_at_last();
        self.shared.limits.touch_samples(table.samples() + gathered)?;
        Ok(table)
    }
}

/// The two sides, by what the matching allows.
struct Sides<'t> {
    many: &'t Table,
    many_numbers: &'t [usize],
    one: &'t Table,
    one_numbers: &'t [usize],
    /// For each signature the rows of the one side that have it.
    one_rows: Vec<Vec<usize>>,
}

impl<'t> Sides<'t> {
    fn new(
        many: &'t Table,
        many_numbers: &'t [usize],
        one: &'t Table,
        one_numbers: &'t [usize],
        signatures: usize,
    ) -> Self {
        let mut one_rows = vec![Vec::new(); signatures];
        for (row, number) in one_numbers.iter().enumerate() {
            one_rows[*number].push(row);
        }
        Sides {
            many,
            many_numbers,
            one,
            one_numbers,
            one_rows,
        }
    }
}

/// Results, by their labels.
struct Results {
    table: Table,
    by_labels: HashMap<Labels, usize>,
}

impl Results {
    fn new(table: Table) -> Self {
        Results {
            table,
            by_labels: HashMap::new(),
        }
    }

    fn add(&mut self, labels: Labels, drop_name: bool, row: Row) -> Result<(), QueryError> {
        if row.is_empty() {
            return Ok(());
        }
        if let Some(at) = self.by_labels.get(&labels) {
            return merge_rows(&mut self.table.series[*at].row, row);
        }
        self.by_labels.insert(labels.clone(), self.table.series.len());
        self.table.push(labels, drop_name, row)
    }
}

/// Which steps of a signature have found a partner.
#[derive(Clone, Debug, Default)]
struct Matched {
    /// Any.
    steps: Bits,
    /// By labels of the result: the many side must tell its results apart.
    by_result: Vec<(Labels, Bits)>,
}

struct Work<'e, 'p> {
    execution: &'e Execution<'p>,
    join: &'e Join,
    node: &'e Node,
    swapped: bool,
    one_to_one: bool,
    steps: usize,
    matched: Vec<Option<Matched>>,
    results: Results,
    scratch: Row,
    /// Compat: of what is to be said about the pairs of a step, the reference tells the last; `tests/it/annotations.rs` pins it.
    /// One entry a step, once there is one.
    last_notes: Vec<Option<PairNote>>,
    /// What is noted of matches.
    held: Held,
}

impl Work<'_, '_> {
    /// Refuses two rows of the one side with one signature at one step, where the many side has anything at all.
    fn check_one_side(&self, sides: &Sides<'_>) -> Result<(), QueryError> {
        let shared: Vec<&Vec<usize>> = sides.one_rows.iter().filter(|rows| rows.len() > 1).collect();
        if shared.is_empty() {
            return Ok(());
        }
        let mut asked = Bits::default();
        asked.reset(self.steps);
        for series in &sides.many.series {
            union(&mut asked, &series.row.present);
        }
        let fills = self.join.fill_left.is_some() || self.join.fill_right.is_some();
        let mut conflict = None;
        for step in (0..self.steps).filter(|step| fills || asked.get(*step)) {
            self.execution.shared.limits.check()?;
            let present = |row: &&usize| sides.one.series[**row].row.present.get(step);
            // Of several conflicts the one that shows first when the one side is walked in its order.
            conflict = shared
                .iter()
                .filter_map(|rows| {
                    let mut rows = rows.iter().filter(present);
                    Some((*rows.next()?, *rows.next()?))
                })
                .min_by_key(|(_, second)| *second);
            if conflict.is_some() {
                break;
            }
        }
        let Some((first, second)) = conflict else {
            return Ok(());
        };
        let labels = |row: usize| &sides.one.series[row].labels;
        let (mut a, mut b) = (labels(first).to_string(), labels(second).to_string());
        if a > b {
            std::mem::swap(&mut a, &mut b);
        }
        Err(ExecutionError::DuplicateSeries {
            group: self.join.on.of(labels(second)),
            side: if self.swapped { "left" } else { "right" },
            first: a,
            second: b,
        }
        .into())
    }

    /// Joins a row of the many side with its partners, and with the fill where it has none.
    fn join_many(&mut self, series: &SeriesRow, number: usize, sides: &Sides<'_>) -> Result<(), QueryError> {
        let mut alone = series.row.present.clone();
        for partner in &sides.one_rows[number] {
            self.execution.shared.limits.check()?;
            let partner = &sides.one.series[*partner];
            let mut both = series.row.present.clone();
            for ((both, alone), other) in both
                .words_mut()
                .iter_mut()
                .zip(alone.words_mut())
                .zip(partner.row.present.words())
            {
                *both &= other;
                *alone &= !other;
            }
            if !both.none() {
                self.pair(
                    &series.labels,
                    &series.row,
                    &partner.labels,
                    &partner.row,
                    both,
                    number,
                )?;
            }
        }
        if let Some(fill) = self.join.fill_right
            && !alone.none()
        {
            let labels = self.join.on.of(&series.labels);
            let fill = constant_row(fill, &alone, self.steps);
            self.pair(&series.labels, &series.row, &labels, &fill, alone, number)?;
        }
        Ok(())
    }

    /// Joins a row of the one side with the fill where nothing has matched it.
    fn fill_many(&mut self, series: &SeriesRow, number: usize, fill: f64) -> Result<(), QueryError> {
        let mut alone = series.row.present.clone();
        if let Some(matched) = &self.matched[number] {
            for (alone, matched) in alone.words_mut().iter_mut().zip(matched.steps.words()) {
                *alone &= !matched;
            }
        }
        if alone.none() {
            return Ok(());
        }
        let labels = self.join.on.of(&series.labels);
        let fill = constant_row(fill, &alone, self.steps);
        self.pair(&labels, &fill, &series.labels, &series.row, alone, number)
    }

    /// Computes the steps `both` of a pair and adds the result.
    fn pair(
        &mut self,
        many_labels: &Labels,
        many: &Row,
        one_labels: &Labels,
        one: &Row,
        both: Bits,
        number: usize,
    ) -> Result<(), QueryError> {
        let (lhs, rhs) = match self.swapped {
            false => (many, one),
            true => (one, many),
        };
        let mut out = std::mem::take(&mut self.scratch);
        out.reset(self.steps);
        out.present = both;
        let return_bool = self.join.return_bool;
        let plain = lhs.histograms.is_empty() && rhs.histograms.is_empty();
        // The steps that have matched, whether or not a comparison keeps them.
        let matched = if plain && !operation::is_trim(self.join.op) {
            let matched = out.present.clone();
            operation::with_row(self.join.op, &lhs.values, &rhs.values, return_bool, &mut out);
            matched
        } else {
            let pair = RowOperation {
                op: self.join.op,
                return_bool,
            };
            let (last_notes, steps) = (&mut self.last_notes, self.steps);
            pair.apply(lhs, rhs, &mut out, |step, note| {
                last_notes.resize(steps, None);
                last_notes[step] = Some(note);
            })
        };
        let delayed = self.execution.shared.features.delayed_name_removal;
        let labels = result_labels(self.join, delayed, many_labels, one_labels);
        self.mark(&labels, &matched, number)?;
        self.results.add(labels, return_bool, out)
    }

    fn tell_last_notes(&self) {
        let mut told = None;
        for note in self.last_notes.iter().filter(|note| note.is_some()) {
            // Most steps say the same as the one before.
            if told != *note
                && let Some(note) = note
            {
                let span = self.node.spans.whole;
                self.execution
                    .annotate(|notes| note.tell(self.join.op, span, notes));
            }
            told = *note;
        }
    }

    /// Notes which steps have matched, and refuses steps that have matched before.
    fn mark(&mut self, labels: &Labels, steps: &Bits, number: usize) -> Result<(), QueryError> {
        let count = self.steps;
        if self.matched[number].is_none() {
            self.held.add_bytes(count / 8)?;
        }
        let matched = self.matched[number].get_or_insert_with(|| {
            let mut matched = Matched::default();
            matched.steps.reset(count);
            matched
        });
        if self.one_to_one {
            if overlap(&matched.steps, steps) {
                return Err(ExecutionError::ManyToOne.into());
            }
        } else {
            match matched.by_result.iter_mut().find(|(known, _)| known == labels) {
                Some((_, known)) if overlap(known, steps) => return Err(ExecutionError::NotUnique.into()),
                Some((_, known)) => union(known, steps),
                None => {
                    self.held.add_bytes(labels_bytes(labels) + count / 8)?;
                    matched.by_result.push((labels.clone(), steps.clone()));
                }
            }
        }
        union(&mut matched.steps, steps);
        Ok(())
    }
}

/// The labels of a pair's result; `delayed` says that names go at the end of the query.
pub(super) fn result_labels(join: &Join, delayed: bool, many: &Labels, one: &Labels) -> Labels {
    let drops_name = crate::plan::drops_name(join.op, false) || (join.return_bool && !delayed);
    let keep = |name: &str| {
        if drops_name && is_metadata_label(name) {
            return false;
        }
        let named = || {
            join.on
                .labels
                .binary_search_by(|label| label.as_str().cmp(name))
                .is_ok()
        };
        join.cardinality != Cardinality::OneToOne || named() == join.on.on
    };
    if join.include.is_empty() {
        return many.without(|name| !keep(name));
    }
    let mut builder = many.to_builder();
    builder.retain(|name, _| keep(name));
    for label in &join.include {
        builder.set(label, one.value(label));
    }
    builder.build()
}

fn overlap(a: &Bits, b: &Bits) -> bool {
    a.words().iter().zip(b.words()).any(|(a, b)| a & b != 0)
}

/// A row that has `value` at the steps `present`.
fn constant_row(value: f64, present: &Bits, steps: usize) -> Row {
    let mut row = Row::default();
    row.reset(steps);
    row.present = present.clone();
    row.values.iter_mut().for_each(|entry| *entry = value);
    operation::clear_absent(&mut row.values, present);
    row
}

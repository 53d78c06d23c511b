//! `and`, `or`, `unless`.

use crate::ast::BinaryOp;
use crate::engine::QueryError;
use crate::plan::{Distinct, MatchLabels, Node, NodeId};
use crate::row::{Bits, Row};

use super::Execution;
use super::absent::union;
use super::limits::Held;
use super::signature::Signatures;
use super::table::Table;

impl Execution<'_> {
    pub(super) fn set(
        &self,
        op: BinaryOp,
        lhs: NodeId,
        rhs: NodeId,
        on: &MatchLabels,
        node: &Node,
    ) -> Result<Table, QueryError> {
        let (lhs, _lhs_samples) = self.table(lhs)?;
        let (rhs, _rhs_samples) = self.table(rhs)?;
        let mut signatures = Signatures::new(on, &self.shared.limits);
        let left = signatures.of_rows(&lhs)?;
        let right = signatures.of_rows(&rhs)?;
        let steps = node.steps.count;
        let mut table = Table::new(&self.shared.limits);
        let (deciding, numbers) = match op {
            BinaryOp::Or => (&lhs, &left),
            _ => (&rhs, &right),
        };
        let mut held = Held::new(&self.shared.limits);
        held.add_bytes(signatures.len().saturating_mul(steps / 8))?;
        self.shared.limits.check()?;
        let present = presence(deciding, numbers, signatures.len(), steps);
        if op == BinaryOp::Or {
            for series in &lhs.series {
                self.shared.limits.check()?;
                table.push(series.labels.clone(), series.drop_name, series.row.clone())?;
            }
        }
        let (filtered, numbers) = match op {
            BinaryOp::Or => (&rhs, &right),
            _ => (&lhs, &left),
        };
        for (series, number) in filtered.series.iter().zip(numbers) {
            self.shared.limits.check()?;
            let mut row = series.row.clone();
            match &present[*number] {
                Some(bits) => keep(&mut row, bits, op == BinaryOp::And),
                None if op == BinaryOp::And => continue,
                None => {}
            }
            table.push(series.labels.clone(), series.drop_name, row)?;
        }
        if op == BinaryOp::Or {
            table.make_distinct(Distinct::Merge)?;
        }
        let gathered = lhs.rows_at_last() + rhs.rows_at_last();
        self.shared.limits.touch_samples(table.samples() + gathered)?;
        Ok(table)
    }
}

/// For each signature the steps at which some row of it has a result.
fn presence(table: &Table, numbers: &[usize], signatures: usize, steps: usize) -> Vec<Option<Bits>> {
    let mut present: Vec<Option<Bits>> = vec![None; signatures];
    for (series, number) in table.series.iter().zip(numbers) {
        let bits = present[*number].get_or_insert_with(|| {
            let mut bits = Bits::default();
            bits.reset(steps);
            bits
        });
        union(bits, &series.row.present);
    }
    present
}

/// Keeps the steps of `row` that are set, or are not set, in `bits`.
fn keep(row: &mut Row, bits: &Bits, set: bool) {
    for (mine, others) in row.present.words_mut().iter_mut().zip(bits.words()) {
        *mine &= if set { *others } else { !*others };
    }
    let Row {
        values,
        present,
        histograms,
    } = row;
    super::operation::clear_absent(values, present);
    histograms.retain(|(step, _)| present.get(*step as usize));
}

//! `absent` and `absent_over_time`: 1 where there is no sample.

use model::labels::Labels;

use crate::annotations::Annotations;
use crate::engine::QueryError;
use crate::plan::{Node, NodeId};
use crate::row::{Bits, Row};

use super::Execution;
use super::head::Head;
use super::pipeline::{Consumer, Sink};
use super::table::Table;

impl Execution<'_> {
    pub(super) fn absent(
        &self,
        child: NodeId,
        labels: &[(String, String)],
        node: &Node,
    ) -> Result<Table, QueryError> {
        let steps = node.steps.count;
        let (presence, _held) = self.consume(child, || Presence::new(steps))?;
        let mut row = Row::default();
        row.reset(steps);
        for step in 0..steps {
            if !presence.bits.get(step) {
                row.set(step, 1.0);
            }
        }
        let mut table = Table::new(&self.shared.limits);
        table.push(Labels::from_pairs(labels.iter().map(|(n, v)| (n, v))), false, row)?;
        table.hold_samples()?;
        Ok(table)
    }
}

/// At which steps any row has a result.
pub(crate) struct Presence {
    bits: Bits,
}

impl Presence {
    fn new(steps: usize) -> Self {
        let mut bits = Bits::default();
        bits.reset(steps);
        Presence { bits }
    }
}

/// Adds the set bits of `other`.
pub(crate) fn union(bits: &mut Bits, other: &Bits) {
    for (mine, others) in bits.words_mut().iter_mut().zip(other.words()) {
        *mine |= others;
    }
}

impl Sink for Presence {
    fn take(&mut self, _: Head, row: &mut Row, _: &mut Annotations) -> Result<(), QueryError> {
        union(&mut self.bits, &row.present);
        Ok(())
    }
}

impl Consumer for Presence {
    fn merge(&mut self, later: Self, _: &mut Annotations) -> Result<(), QueryError> {
        union(&mut self.bits, &later.bits);
        Ok(())
    }
}

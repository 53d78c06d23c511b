//! `absent` and `absent_over_time`: 1 where there is no sample.

use model::labels::Labels;

use crate::annotations::Annotations;
use crate::engine::QueryError;
use crate::plan::{Node, NodeId, NodeKind};
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
        let (presence, _samples) = self.consume(child, || Presence::new(steps))?;
        let mut row = Row::default();
        row.reset(steps);
        for step in 0..steps {
            if !presence.bits.get(step) {
                row.set(step, 1.0);
            }
        }
        let mut table = Table::new(&self.shared.limits);
        table.push(Labels::from_pairs(labels.iter().map(|(n, v)| (n, v))), false, row)?;
        // `absent_over_time` is made of what the range function has left.
        let gathered = match self.plan.node(child).kind {
            NodeKind::Range(_) | NodeKind::Subquery(_) => 0,
            _ => presence.last,
        };
        self.shared.limits.touch_samples(table.samples() + gathered)?;
        Ok(table)
    }
}

/// At which steps any row has a result.
pub(crate) struct Presence {
    bits: Bits,
    /// Rows that have a result at the last step.
    last: usize,
}

impl Presence {
    fn new(steps: usize) -> Self {
        let mut bits = Bits::default();
        bits.reset(steps);
        Presence { bits, last: 0 }
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
        self.last += usize::from(row.has_last());
        Ok(())
    }
}

impl Consumer for Presence {
    fn merge(&mut self, later: Self, _: &mut Annotations) -> Result<(), QueryError> {
        union(&mut self.bits, &later.bits);
        self.last += later.last;
        Ok(())
    }
}

//! `limitk` and `limit_ratio`: some of the series.

use std::sync::Arc;

use crate::annotations::Annotations;
use crate::ast::{AggregateOp, Grouping};
use crate::engine::{ExecutionError, QueryError};
use crate::exec::Execution;
use crate::exec::group::Groups;
use crate::exec::head::Head;
use crate::exec::limits::{Held, Limits};
use crate::exec::operation::clear_absent;
use crate::exec::pipeline::{Consumer, Sink};
use crate::exec::scalar::Scalars;
use crate::exec::table::Table;
use crate::plan::{Node, NodeId};
use crate::row::Row;

use super::rank::Discard;
use super::{ParamBounds, count_of};

impl Execution<'_> {
    pub(super) fn limit(
        &self,
        op: AggregateOp,
        child: NodeId,
        param: &Scalars,
        grouping: &Grouping,
        node: &Node,
    ) -> Result<Table, QueryError> {
        let steps = node.steps.count;
        let bounds = ParamBounds::of(param, steps);
        let located = |error: ExecutionError| QueryError::from(error).located(node.spans.whole);
        let wanted = match op {
            AggregateOp::LimitK => bounds.check_count().map_err(located)?,
            _ if bounds.nan => return Err(located(ExecutionError::RatioNan)),
            _ => {
                for (wrong, cap) in [(bounds.max > 1.0, 1.0), (bounds.min < -1.0, -1.0)] {
                    let value = if cap > 0.0 { bounds.max } else { bounds.min };
                    if wrong {
                        let value = model::float::format_general(value);
                        self.annotate(|notes| {
                            notes.warn(
                                node.spans.param,
                                format_args!(
                                    "ratio value should be between -1 and 1, got {value}, capping to {cap}"
                                ),
                            );
                        });
                    }
                }
                bounds.max != 0.0 || bounds.min != 0.0
            }
        };
        let limits = &self.shared.limits;
        if !wanted {
            self.consume(child, || Discard)?;
            return Ok(Table::new(limits));
        }
        let new = || Sampling::new(op, param, grouping, steps, limits);
        let (sampling, _held) = self.consume(child, new)?;
        Ok(sampling.kept)
    }
}

struct Sampling<'p> {
    op: AggregateOp,
    param: &'p Scalars,
    groups: Groups<'p>,
    steps: usize,
    /// How many are kept so far, a group and step, group by group.
    counts: Vec<usize>,
    kept: Table,
    held: Held,
}

impl<'p> Sampling<'p> {
    fn new(
        op: AggregateOp,
        param: &'p Scalars,
        grouping: &'p Grouping,
        steps: usize,
        limits: &Arc<Limits>,
    ) -> Self {
        Sampling {
            op,
            param,
            groups: Groups::new(grouping),
            steps,
            counts: Vec::new(),
            kept: Table::new(limits),
            held: Held::new(limits),
        }
    }

    fn sample(&mut self, head: Head, mut row: Row) -> Result<(), QueryError> {
        let mut drop = Vec::new();
        match self.op {
            AggregateOp::LimitK => {
                let (group, new) = self.groups.find(&head);
                if new.is_some() {
                    self.held.add_bytes(size_of::<usize>() * self.steps)?;
                    self.counts.resize(self.counts.len() + self.steps, 0);
                }
                row.present.for_each_set(|step| {
                    let count = &mut self.counts[group * self.steps + step];
                    if *count < count_of(self.param.at(step)) {
                        *count += 1;
                    } else {
                        drop.push(step);
                    }
                });
            }
            _ => {
                // The hash of the labels decides, so that the same series are taken each time.
                let mut settled = head.clone();
                settled.settle();
                let offset = settled.labels.hash64() as f64 / u64::MAX as f64;
                row.present.for_each_set(|step| {
                    if !takes(self.param.at(step), offset) {
                        drop.push(step);
                    }
                });
            }
        }
        for step in drop {
            row.present.unset(step);
        }
        clear_absent(&mut row.values, &row.present);
        let Row {
            present, histograms, ..
        } = &mut row;
        histograms.retain(|(step, _)| present.get(*step as usize));
        let drop_name = head.drop_name;
        self.kept.push(head.into_labels(), drop_name, row)
    }
}

/// Whether a ratio takes a series whose hash lies at `offset` between 0 and 1: below the ratio, or where that is
/// negative the others.
fn takes(ratio: f64, offset: f64) -> bool {
    let ratio = ratio.clamp(-1.0, 1.0);
    if ratio >= 0.0 {
        offset < ratio
    } else {
        offset >= 1.0 + ratio
    }
}

impl Sink for Sampling<'_> {
    fn take(&mut self, head: Head, row: &mut Row, _: &mut Annotations) -> Result<(), QueryError> {
        self.sample(head, std::mem::take(row))
    }
}

impl Consumer for Sampling<'_> {
    fn merge(&mut self, mut later: Self, _: &mut Annotations) -> Result<(), QueryError> {
        for series in std::mem::take(&mut later.kept.series) {
            let mut head = Head::new(series.labels);
            head.drop_name = series.drop_name;
            self.sample(head, series.row)?;
        }
        Ok(())
    }
}

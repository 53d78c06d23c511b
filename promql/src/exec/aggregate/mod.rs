//! Aggregations: rows fold into their groups as they come, so that memory is groups × steps.

mod cells;
mod count_values;
mod histograms;
mod limit;
mod rank;

use std::sync::Arc;

use model::labels::Labels;

use crate::annotations::Annotations;
use crate::ast::{AggregateOp, Grouping, Span};
use crate::engine::{ExecutionError, QueryError};
use crate::plan::{Node, NodeKind};
use crate::row::Row;

use super::Execution;
use super::group::Groups;
use super::head::Head;
use super::limits::{Held, Limits, float_row_bytes, labels_bytes};
use super::order_watch::OrderWatch;
use super::pipeline::{Consumer, InOrder, Sink};
use super::scalar::Scalars;
use super::table::Table;

use cells::Cells;
pub(super) use cells::{Mean, SumCell};

impl Execution<'_> {
    pub(super) fn aggregate(&self, node: &Node) -> Result<Table, QueryError> {
        let NodeKind::Aggregate {
            op,
            child,
            param,
            value_label,
            grouping,
        } = &node.kind
        else {
            unreachable!("called for aggregations")
        };
        let mut param_samples = Held::new(&self.shared.limits);
        let param = match param {
            Some(param) => {
                let param = self.scalar(param, node.steps)?;
                param_samples.add_samples(node.steps.count)?;
                param
            }
            None => Scalars::Constant(f64::NAN),
        };
        let table = match op {
            AggregateOp::TopK | AggregateOp::BottomK => self.rank(*op, *child, &param, grouping, node)?,
            AggregateOp::LimitK | AggregateOp::LimitRatio => {
                self.limit(*op, *child, &param, grouping, node)?
            }
            AggregateOp::CountValues => {
                let label = value_label.as_deref().unwrap_or_default();
                self.count_values(*child, label, grouping, node)?
            }
            _ => {
                if *op == AggregateOp::Quantile {
                    self.check_quantile(&param, node);
                }
                let shape = Shape {
                    op: *op,
                    steps: node.steps.count,
                    about: node.spans.input,
                    grouping,
                    limits: &self.shared.limits,
                    order: &self.shared.order,
                };
                let fold = match needs_order(*op) {
                    true => {
                        let limits = shape.limits;
                        let new = || InOrder::new(Fold::new(shape), limits);
                        self.consume(*child, new)?.0.sink
                    }
                    false => self.consume(*child, || Fold::new(shape))?.0,
                };
                let mut annotations = Annotations::default();
                let table = fold.finish(&param, &mut annotations)?;
                self.annotate(|notes| notes.merge(annotations));
                table
            }
        };
        self.shared.limits.touch_samples(table.samples())?;
        Ok(table)
    }

    /// Warns of quantiles outside 0 to 1.
    fn check_quantile(&self, param: &Scalars, node: &Node) {
        let bounds = ParamBounds::of(param, node.steps.count);
        let wrong = match bounds.nan {
            true => [Some(f64::NAN), None],
            false => [
                (bounds.max > 1.0).then_some(bounds.max),
                (bounds.min < 0.0).then_some(bounds.min),
            ],
        };
        for value in wrong.into_iter().flatten() {
            self.annotate(|notes| notes.warn(node.spans.param, super::text::invalid_quantile(value)));
        }
    }
}

/// Whether rows must come in the order of their series for answers that agree with the reference's to the last digits:
/// a variance put together from parts is rounded in other places.
fn needs_order(op: AggregateOp) -> bool {
    matches!(op, AggregateOp::Stddev | AggregateOp::Stdvar)
}

/// The extremes of a parameter over all steps.
struct ParamBounds {
    min: f64,
    max: f64,
    nan: bool,
}

impl ParamBounds {
    fn of(param: &Scalars, steps: usize) -> Self {
        let mut bounds = ParamBounds {
            min: f64::MAX,
            max: f64::MIN,
            nan: false,
        };
        let steps = match param {
            Scalars::Constant(_) => steps.min(1),
            Scalars::Steps(_) => steps,
        };
        for step in 0..steps {
            let value = param.at(step);
            bounds.nan |= value.is_nan();
            bounds.min = bounds.min.min(value);
            bounds.max = bounds.max.max(value);
        }
        bounds
    }

    /// Refuses what cannot be a number of series; false when no step asks for any.
    fn check_count(&self) -> Result<bool, ExecutionError> {
        /// Compat: just above and below what 64 bits hold, as the reference writes these bounds.
        const MAX: f64 = 9_223_372_036_854_774_784.0;
        const MIN: f64 = -9_223_372_036_854_775_808.0;
        if !self.nan && self.max < 1.0 {
            return Ok(false);
        }
        match () {
            () if self.nan => Err(ExecutionError::ParameterNan),
            () if self.min <= MIN => Err(ExecutionError::ParameterUnderflow(self.min)),
            () if self.max >= MAX => Err(ExecutionError::ParameterOverflow(self.max)),
            () => Ok(true),
        }
    }
}

/// The number of series that a parameter asks for.
fn count_of(param: f64) -> usize {
    if param < 1.0 { 0 } else { param as usize }
}

/// What an aggregation does.
#[derive(Clone, Copy)]
pub(super) struct Shape<'p> {
    op: AggregateOp,
    steps: usize,
    /// What its annotations speak of.
    about: Span,
    grouping: &'p Grouping,
    limits: &'p Arc<Limits>,
    order: &'p OrderWatch,
}

/// The groups of an aggregation that gives one row a group.
struct Fold<'p> {
    shape: Shape<'p>,
    groups: Groups<'p>,
    folded: Vec<Group>,
    held: Held,
}

struct Group {
    labels: Labels,
    drop_name: bool,
    cells: Cells,
}

impl<'p> Fold<'p> {
    fn new(shape: Shape<'p>) -> Self {
        Fold {
            shape,
            groups: Groups::new(shape.grouping),
            folded: Vec::new(),
            held: Held::new(shape.limits),
        }
    }

    fn add_group(&mut self, labels: Labels, drop_name: bool, cells: Cells) -> Result<(), QueryError> {
        self.held.add_bytes(cells.bytes() + 2 * labels_bytes(&labels))?;
        self.folded.push(Group {
            labels,
            drop_name,
            cells,
        });
        Ok(())
    }

    fn finish(self, param: &Scalars, notes: &mut Annotations) -> Result<Table, QueryError> {
        let mut table = Table::new(self.shape.limits);
        for group in self.folded {
            self.shape.limits.check()?;
            let about = self.shape.about;
            let (limits, order) = (self.shape.limits, self.shape.order);
            let row = group.cells.finish(param, about, limits, notes, order)?;
            table.push(group.labels, group.drop_name, row)?;
        }
        Ok(table)
    }
}

impl Sink for Fold<'_> {
    fn take(&mut self, head: Head, row: &mut Row, notes: &mut Annotations) -> Result<(), QueryError> {
        let (number, new) = self.groups.find(&head);
        if let Some(labels) = new {
            // Asked for before it is there.
            self.held.touch_bytes(float_row_bytes(self.shape.steps))?;
            let cells = Cells::new(self.shape.op, self.shape.steps, self.shape.order);
            self.add_group(labels, false, cells)?;
        }
        let group = &mut self.folded[number];
        group.drop_name |= head.drop_name;
        let about = cells::About {
            span: self.shape.about,
            op: self.shape.op,
            head: &head,
        };
        self.held.add_bytes(group.cells.growth_bytes(row))?;
        group.cells.add(row, about, notes);
        Ok(())
    }
}

impl Consumer for Fold<'_> {
    fn merge(&mut self, later: Self, _notes: &mut Annotations) -> Result<(), QueryError> {
        // Also for groups that both have: their cells may hold what both held.
        self.held.absorb(later.held);
        for group in later.folded {
            self.shape.limits.check()?;
            let (number, new) = self.groups.find_labels(&group.labels);
            if new {
                self.folded.push(group);
            } else {
                // What has grown with rows goes over; the rest was there twice.
                self.held
                    .free_bytes(group.cells.bytes() + 2 * labels_bytes(&group.labels));
                let mine = &mut self.folded[number];
                mine.drop_name |= group.drop_name;
                mine.cells.merge(group.cells, self.shape.limits)?;
            }
        }
        Ok(())
    }
}

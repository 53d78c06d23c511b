//! Evaluation at one moment, for queries that are asked again and again.
//!
//! A vector at one moment is a row: what runs over the steps of a series elsewhere runs over its elements here. Whose the
//! elements are says a column of label sets, and what operators do to labels is a function of columns alone, which
//! columns remember ([`column`]). As long as selectors find the same series, no label is looked at.
//!
//! Answers are those of the general way, to the last bit. What is out of the ordinary is left to it: from the beginning
//! where it shows while elements are read ([`Halt::Odd`]: native histograms, labels that contradict each other), and
//! operator by operator, on tables of one step, where there is no form of it here.

mod column;
mod fold;
mod leaf;
mod memory;
mod pairs;
mod vector;

use std::sync::Arc;

use model::stack::deep;

use crate::ast::BinaryOp;
use crate::engine::QueryError;
use crate::functions::ElementInput;
use crate::kernels::ScalarArg;
use crate::plan::{Distinct, Node, NodeId, NodeKind, Root, drops_name};
use crate::row::Row;

use super::Execution;
use super::head::Dropped;
use super::limits::Held;
use super::operation;
use super::scalar::as_args;
use super::table::Table;

pub(crate) use column::Whose;
pub(crate) use memory::StandingQuery;
pub use memory::{Round, Standing};
pub(crate) use vector::Vector;

/// Why there is no vector.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The query is left to the general way, now and later.
    Odd,
    /// Elements contradict each other: the general way says how.
    Contradiction,
    /// The query failed.
    Failed(QueryError),
}

impl From<QueryError> for Halt {
    fn from(error: QueryError) -> Self {
        Halt::Failed(error)
    }
}

/// What a query is asked with that is asked again and again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    /// What is remembered of all queries that it belongs to.
    pub(crate) standing: &'a Standing,
    /// And of it alone.
    pub(crate) query: &'a StandingQuery,
    /// What it shares with others that are asked at the same moment.
    pub(crate) round: Option<&'a Round>,
}

impl<'a> Execution<'a> {
    fn asking(&self) -> Result<Asking<'_>, Halt> {
        self.asking.ok_or(Halt::Odd)
    }

    /// The vector that the query gives.
    pub(crate) fn root_vector(&self) -> Result<Vector, Halt> {
        match self.plan.root {
            Root::Vector(node) => self.vector(node),
            _ => Err(Halt::Odd),
        }
    }

    /// The vector of node `id`, which has one step.
    pub(crate) fn vector(&self, id: NodeId) -> Result<Vector, Halt> {
        let node = self.plan.node(id);
        if node.uses == 1 {
            return deep(|| self.new_vector(id, node));
        }
        let kept = self.kept(&self.kept_vectors, id, node.uses, || {
            let mut vector = deep(|| self.new_vector(id, node))?;
            // Whoever uses it holds them.
            vector.held.set_samples(0)?;
            Ok::<_, Halt>(vector)
        })?;
        let mut held = Held::new(&self.shared.limits);
        held.add_samples(kept.len())?;
        Ok(Vector {
            whose: kept.whose.clone(),
            places: kept.places.clone(),
            values: kept.values.clone(),
            selected: None,
            held,
        })
    }

    fn new_vector(&self, id: NodeId, node: &'a Node) -> Result<Vector, Halt> {
        self.shared.limits.check()?;
        if node.distinct == Distinct::Sure
            && let Some(vector) = self.own_form(node)?
        {
            return Ok(vector);
        }
        self.by_tables(id, node)
    }

    /// The vector of a node that has a form here.
    fn own_form(&self, node: &Node) -> Result<Option<Vector>, Halt> {
        let vector = match &node.kind {
            _ if leaf::is_leaf(node) => self.leaf(node)?,
            NodeKind::Negate(child) => {
                let mut vector = self.vector(*child)?;
                vector.change(|row| row.values.iter_mut().for_each(|value| *value = -*value));
                vector.whose = vector.whose.without(Dropped::Metadata);
                vector
            }
            NodeKind::Element {
                function,
                child,
                args,
            } if function.0.input == ElementInput::Floats => {
                let args = self.scalars(args, node.steps)?;
                let args: Vec<ScalarArg<'_>> = as_args(&args).iter().map(at_first).collect();
                let change = |row: &mut Row| function.0.run(&args, row);
                self.changed(*child, args.len(), Dropped::Metadata, change)?
            }
            NodeKind::WithScalar {
                op,
                vector,
                scalar,
                scalar_left,
                return_bool,
            } if !operation::is_trim(*op) => {
                let scalar = at_first(&self.scalar(scalar, node.steps)?.as_arg());
                let dropped = match drops_name(*op, *return_bool) {
                    true => Dropped::Metadata,
                    false => Dropped::Nothing,
                };
                let change =
                    |row: &mut Row| operation::with_scalar(*op, row, scalar, *scalar_left, *return_bool);
                self.changed(*vector, 1, dropped, change)?
            }
            NodeKind::Aggregate {
                op,
                child,
                param: None,
                grouping,
                ..
            } if fold::has_cell(*op) => self.fold(*op, grouping, self.vector(*child)?)?,
            NodeKind::Join(join) if pairs::is_plain(join) => {
                let (lhs, rhs) = (self.vector(join.lhs)?, self.vector(join.rhs)?);
                self.join_vectors(join, &lhs, &rhs)?
            }
            NodeKind::Set { op, lhs, rhs, on } if *op != BinaryOp::Or => {
                let (lhs, rhs) = (self.vector(*lhs)?, self.vector(*rhs)?);
                self.filter(*op, on, lhs, &rhs)?
            }
            _ => return Ok(None),
        };
        Ok(Some(vector))
    }

    /// The vector of node `child`, each element changed by itself, with `scalars` arguments.
    fn changed(
        &self,
        child: NodeId,
        scalars: usize,
        dropped: Dropped,
        change: impl FnOnce(&mut Row),
    ) -> Result<Vector, Halt> {
        let mut vector = self.vector(child)?;
        let before = vector.len();
        vector.change(change);
        vector.whose = vector.whose.without(dropped);
        // The reference makes a copy, of a step's elements and its scalars.
        let limits = &self.shared.limits;
        limits.touch_samples(vector.len() + before + 2 * scalars)?;
        let samples = vector.len();
        vector.held.set_samples(samples)?;
        Ok(vector)
    }

    /// The vector of a node by the general way, its inputs as far as they are of this moment handed to it.
    fn by_tables(&self, id: NodeId, node: &'a Node) -> Result<Vector, Halt> {
        let mut children = Vec::new();
        // What is evaluated at steps of its own is the general way's, from there on.
        if !matches!(node.kind, NodeKind::Subquery(_)) {
            node.kind.for_each_child(&mut |child| children.push(child));
        }
        // What is there while the inputs are made: parameters, and the inputs made before.
        let mut beside = Held::new(&self.shared.limits);
        beside.add_samples(parameters(&node.kind) * node.steps.count)?;
        for child in children {
            let vector = self.vector(child)?;
            self.given
                .borrow_mut()
                .insert(child, Arc::new(self.as_table(&vector)?));
            beside.absorb(vector.held);
        }
        drop(beside);
        let table = self.new_table(id, node)?;
        let (series, held) = table.into_parts();
        let (mut sets, mut values) = (Vec::with_capacity(series.len()), Vec::with_capacity(series.len()));
        for series in series {
            match (series.row.histograms.is_empty(), series.row.get(0)) {
                (true, Some(value)) => values.push(value),
                _ => return Err(Halt::Odd),
            }
            sets.push(series.labels);
        }
        let column = self.asking()?.query.column(Some(id), sets);
        let places = (0..values.len() as u32).collect();
        let vector = Vector::of(Whose::of_column(column), places, values, &self.shared.limits)?;
        drop(held);
        Ok(vector)
    }

    fn as_table(&self, vector: &Vector) -> Result<Table, Halt> {
        let mut table = Table::new(&self.shared.limits);
        for (index, (place, value)) in vector.places.iter().zip(vector.values.iter()).enumerate() {
            self.shared.limits.check_now_and_then(index)?;
            table.push(vector.whose.labels(*place), false, vector::full_row(vec![*value]))?;
        }
        Ok(table)
    }
}

/// Parameters of operators that have them before they look at their input.
fn parameters(kind: &NodeKind) -> usize {
    match kind {
        NodeKind::Aggregate { param, .. } => usize::from(param.is_some()),
        NodeKind::Buckets { args, .. } => args.len(),
        _ => 0,
    }
}

/// A scalar's value at the only step, for all elements.
fn at_first(scalar: &ScalarArg<'_>) -> ScalarArg<'static> {
    ScalarArg::Constant(scalar.at(0))
}

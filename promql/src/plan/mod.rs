//! The plan of a query: the syntax tree with its times worked out.
//!
//! [`build`] knows when a query is evaluated, so a plan holds no durations any more but points in time: `offset`, `@`
//! and subqueries have become [`Steps`] and [`Windows`], each node carries the steps that it gives, what is the same at
//! every step is computed at one step and repeated, scalars are folded, and equal parts are one node.
//!
//! Vectors are nodes of an arena, so that equal ones can be shared. Scalars are small trees inside the nodes that use
//! them.

mod calls;
mod children;
mod duration;
mod error;
mod facts;
mod lower;
mod naming;
mod reach;
mod scalar;
mod select;
mod selections;
#[cfg(test)]
mod tests;

pub(crate) use children::of_scalar;
pub(crate) use error::PlanError;
pub(crate) use lower::build;
pub(crate) use naming::drops_name;
pub use reach::Reach;
pub(crate) use reach::reach_of;
pub(crate) use scalar::Scalar;
pub(crate) use selections::selections;

use std::sync::Arc;

use model::matcher::Matcher;
use model::storage::TimeRange;

use crate::ast::{AggregateOp, BinaryOp, Cardinality, Grouping, Span};
use crate::engine::Features;
use crate::functions::ElementFunction;
use crate::kernels::{Extension, InstantOutput, RangeFunction};
use crate::row::{Steps, Windows};

/// A query, ready to be executed.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The nodes; children come before their parents.
    pub(crate) nodes: Vec<Node>,
    /// What the query evaluates to.
    pub(crate) root: Root,
    /// The times at which it is evaluated.
    pub(crate) steps: Steps,
    /// Subqueries, outer before inner.
    pub(crate) subqueries: Arc<[CountedSubquery]>,
    /// Everything that its selectors may read; `None` when it has no selector.
    pub(crate) range: Option<TimeRange>,
}

/// When and under which rules a query is evaluated: what a plan is made from besides the syntax tree.
pub(crate) struct PlanContext<'a> {
    /// The query's first step, in milliseconds since the epoch.
    pub(crate) start_ms: i64,
    /// The end that the query asks for; its last step may be earlier.
    pub(crate) end_ms: i64,
    /// Distance of the steps, in milliseconds; 0 for a query at one point in time.
    pub(crate) step_ms: i64,
    /// How far back an instant selector looks, in milliseconds.
    pub(crate) lookback_ms: i64,
    /// Optional parts of the language.
    pub(crate) features: Features,
    /// Step of subqueries that name none.
    pub(crate) default_subquery_step: &'a dyn Fn(i64) -> i64,
}

/// The outermost expression.
#[derive(Debug)]
pub(crate) enum Root {
    /// A text.
    String(String),
    /// A number a step.
    Scalar(Scalar),
    /// A vector a step.
    Vector(NodeId),
    /// `selector[range]`, at one point in time.
    Samples(SampleSelect),
    /// `expr[range:step]`, at one point in time: all steps of the node.
    Subquery(NodeId),
}

/// A node of [`Plan::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(pub(crate) u32);

/// A vector-valued part of the query.
#[derive(Debug)]
pub(crate) struct Node {
    /// What it computes.
    pub(crate) kind: NodeKind,
    /// When.
    pub(crate) steps: Steps,
    /// What is known about the metric names of its series.
    pub(crate) naming: Naming,
    /// What to do where its series lose labels and may become equal.
    pub(crate) distinct: Distinct,
    /// Where it stands in the text, and where the argument stands that its annotations speak of.
    pub(crate) spans: Spans,
    /// Where its scalar arguments stand, for functions that speak of each.
    pub(crate) arg_spans: Vec<Span>,
    /// How many nodes use it.
    pub(crate) uses: u32,
}

/// Places in the query's text, for messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spans {
    /// The whole expression.
    pub(crate) whole: Span,
    /// The vector or range that it works on.
    pub(crate) input: Span,
    /// Its parameter, if it has one.
    pub(crate) param: Span,
}

/// What is known about the metric names of a vector's series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// They have none, or all the same: dropping it keeps label sets apart.
    Uniform,
    /// They may differ: dropping them may make label sets equal.
    Various,
}

/// How a node treats series whose labels become equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distinct {
    /// They cannot become equal.
    Sure,
    /// They become one series, unless both have a sample at some step.
    Merge,
    /// It is an error.
    Refuse,
}

/// The kinds of node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NodeKind {
    /// An instant selector, or `timestamp(selector)`.
    Select(InstantSelect),
    /// A range function over a selector.
    Range(RangeSelect),
    /// A range function over a subquery.
    Subquery(SubqueryCall),
    /// A function of single samples.
    Element {
        /// Which.
        function: ByName<ElementFunction>,
        /// Of what.
        child: NodeId,
        /// Its scalar arguments.
        args: Vec<Scalar>,
    },
    /// `timestamp(expression)`: the step's time wherever there is a sample.
    StepTime(NodeId),
    /// `vector(scalar)`
    FromScalar(Scalar),
    /// A vector without series.
    Nothing,
    /// `-vector`
    Negate(NodeId),
    /// A vector and a scalar.
    WithScalar {
        /// Which operation.
        op: BinaryOp,
        /// The vector operand.
        vector: NodeId,
        /// The scalar operand.
        scalar: Scalar,
        /// The scalar stands left of the operator.
        scalar_left: bool,
        /// `bool`
        return_bool: bool,
    },
    /// Two vectors, arithmetic or comparison.
    Join(Join),
    /// Two vectors, `and`, `or`, `unless`.
    Set {
        /// Which.
        op: BinaryOp,
        /// Left operand.
        lhs: NodeId,
        /// Right operand.
        rhs: NodeId,
        /// What makes series match.
        on: MatchLabels,
    },
    /// An aggregation.
    Aggregate {
        /// Which.
        op: AggregateOp,
        /// Of what.
        child: NodeId,
        /// `k`, the quantile, or the ratio.
        param: Option<Scalar>,
        /// The label that `count_values` writes.
        value_label: Option<String>,
        /// How series are grouped; by no label where the query says nothing.
        grouping: Grouping,
    },
    /// One step's result, at every step.
    Repeat(NodeId),
    /// `absent(vector)`, and `absent_over_time(range)` over a node that has a sample where the range is not empty.
    Absent {
        /// What may be absent.
        child: NodeId,
        /// Labels that the result takes over from the selector.
        labels: Vec<(String, String)>,
    },
    /// `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`
    Sort {
        /// What is sorted.
        child: NodeId,
        /// By these labels; by value when `None`.
        by_labels: Option<Vec<String>>,
        /// The largest first.
        descending: bool,
        /// The result is a matrix, whose order is that of its labels.
        over_range: bool,
    },
    /// `label_replace`
    LabelReplace(LabelReplace),
    /// `label_join`
    LabelJoin(LabelJoin),
    /// `histogram_quantile`, `histogram_quantiles`, `histogram_fraction`
    Buckets {
        /// Which.
        function: BucketFunction,
        /// The buckets, or native histograms.
        child: NodeId,
        /// Quantiles, or lower and upper bound.
        args: Vec<Scalar>,
    },
    /// `info`
    Info(Info),
}

/// Reads the newest sample within the lookback.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InstantSelect {
    /// Which series.
    pub(crate) matchers: Vec<Matcher>,
    /// When: the node's steps moved by `offset` and `@`.
    pub(crate) times: Steps,
    /// How far back a sample is looked for, in milliseconds.
    pub(crate) lookback_ms: i64,
    /// What is made of the sample.
    pub(crate) output: InstantOutput,
    /// `smoothed`: interpolate between neighbours.
    pub(crate) smoothed: bool,
    /// Of histograms only count and sum are looked at.
    pub(crate) statistics_only: bool,
    /// How its samples are counted.
    pub(crate) counting: Counting,
}

/// Reads windows of samples and makes one sample of each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RangeSelect {
    /// Which samples.
    pub(crate) source: SampleSelect,
    /// What is made of a window.
    pub(crate) function: ByName<RangeFunction>,
    /// Its scalar arguments.
    pub(crate) args: Vec<Scalar>,
    /// How its samples are counted.
    pub(crate) counting: Counting,
}

/// A range selector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SampleSelect {
    /// Which series.
    pub(crate) matchers: Vec<Matcher>,
    /// Which windows.
    pub(crate) windows: Windows,
    /// `anchored` or `smoothed`.
    pub(crate) extension: Extension,
    /// How far an extended range reaches, in milliseconds.
    pub(crate) lookback_ms: i64,
    /// Of histograms only count and sum are looked at.
    pub(crate) statistics_only: bool,
}

/// Evaluates a vector at steps of its own and makes one sample of each window of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SubqueryCall {
    /// What is evaluated.
    pub(crate) child: NodeId,
    /// Which windows.
    pub(crate) windows: Windows,
    /// What is made of a window.
    pub(crate) function: ByName<RangeFunction>,
    /// Its scalar arguments.
    pub(crate) args: Vec<Scalar>,
    /// How its samples are counted.
    pub(crate) counting: Counting,
}

/// How the samples that a node reads count in the query's statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counting {
    /// At how many of the query's steps the node's result is used again: 1, but for what is computed once and repeated.
    pub(crate) times: u32,
    /// The subquery around the node, as an index of [`Plan::subqueries`].
    pub(crate) subquery: Option<u32>,
}

/// A subquery, as far as the query's statistics are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CountedSubquery {
    /// The subquery around this one.
    pub(crate) parent: Option<u32>,
    /// The steps at which it is used.
    pub(crate) steps: Steps,
    /// Its `offset`, in milliseconds.
    pub(crate) offset_ms: i64,
    /// Length of the windows that a range function looks at, in milliseconds; its samples then count where they are
    /// looked at, not where they are read. `None` where the subquery is the answer itself.
    pub(crate) range_ms: Option<i64>,
}

/// Two vectors, arithmetic or comparison.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Join {
    /// Which operation.
    pub(crate) op: BinaryOp,
    /// Left operand.
    pub(crate) lhs: NodeId,
    /// Right operand.
    pub(crate) rhs: NodeId,
    /// `bool`
    pub(crate) return_bool: bool,
    /// Which side may have several series with one signature.
    pub(crate) cardinality: Cardinality,
    /// What makes series match.
    pub(crate) on: MatchLabels,
    /// Labels taken over from the one side.
    pub(crate) include: Vec<String>,
    /// Used where the left side has no partner.
    pub(crate) fill_left: Option<f64>,
    /// Used where the right side has no partner.
    pub(crate) fill_right: Option<f64>,
}

/// `on (labels)` or `ignoring (labels)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MatchLabels {
    /// `on`, not `ignoring`.
    pub(crate) on: bool,
    /// Sorted, without repetitions.
    pub(crate) labels: Vec<String>,
}

/// `label_replace`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LabelReplace {
    /// Whose labels.
    pub(crate) child: NodeId,
    /// Label that is written.
    pub(crate) destination: String,
    /// What is written, with `$1`.
    pub(crate) replacement: String,
    /// Label that is looked at.
    pub(crate) source: String,
    /// Pattern for its whole value.
    pub(crate) pattern: String,
}

/// `label_join`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LabelJoin {
    /// Whose labels.
    pub(crate) child: NodeId,
    /// Label that is written.
    pub(crate) destination: String,
    /// What stands between the values.
    pub(crate) separator: String,
    /// Labels whose values are joined.
    pub(crate) sources: Vec<String>,
}

/// What is made of a group of buckets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BucketFunction {
    /// `histogram_quantile`
    Quantile,
    /// `histogram_quantiles`, and the label that says which quantile; the spans of the quantiles.
    Quantiles(String),
    /// `histogram_fraction`
    Fraction,
}

/// `info(vector, {selector})`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Info {
    /// Series that get more labels.
    pub(crate) child: NodeId,
    /// Which labels of which info series; `None` where the query names none.
    pub(crate) selector: Option<Vec<Matcher>>,
    /// When info series are looked at.
    pub(crate) times: Steps,
    /// How far back, in milliseconds.
    pub(crate) lookback_ms: i64,
    /// How their samples are counted.
    pub(crate) counting: Counting,
}

/// An entry of a function table; equal when it is the same entry.
#[derive(Debug)]
pub(crate) struct ByName<T: 'static>(pub(crate) &'static T);

impl<T> Clone for ByName<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ByName<T> {}

impl<T> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Plan {
    /// The node `id`.
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

impl InstantSelect {
    /// What it reads.
    pub(crate) fn range(&self) -> TimeRange {
        let after = if self.smoothed { self.lookback_ms } else { 0 };
        reach(self.times, self.lookback_ms, after)
    }
}

impl SampleSelect {
    /// What it reads.
    pub(crate) fn range(&self) -> TimeRange {
        let (before, after) = crate::kernels::RangeInput::reach_ms(self.extension, self.lookback_ms);
        reach(
            self.windows.ends,
            self.windows.range_ms.saturating_add(before),
            after,
        )
    }
}

impl Info {
    /// What it reads of info series.
    pub(crate) fn range(&self) -> TimeRange {
        reach(self.times, self.lookback_ms, 0)
    }
}

/// `(first - before, last + after]`, made closed.
fn reach(times: Steps, before_ms: i64, after_ms: i64) -> TimeRange {
    TimeRange::new(
        times.start_ms.saturating_sub(before_ms).saturating_add(1),
        times.last_ms().saturating_add(after_ms),
    )
}

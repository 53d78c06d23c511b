//! From syntax tree to plan.

use foldhash::{HashMap, HashMapExt};
use model::stack::deep;
use model::storage::TimeRange;

use smallvec::SmallVec;

use crate::ast::{Aggregate, AggregateOp, Binary, BinaryOp, Expr, ExprKind, Grouping, Span, ValueType};
use crate::parser::{is_label_name, undisguised};
use crate::row::Steps;

use super::facts::Facts;
use super::{
    CountedSubquery, Counting, Distinct, Join, MatchLabels, Naming, Node, NodeId, NodeKind, Plan,
    PlanContext, PlanError, Root, Scalar, Spans, naming,
};

/// The plan of `expr` as `context` says.
///
/// # Errors
/// When a duration has no usable value, or a function refuses its arguments.
pub(crate) fn build(expr: &Expr, context: &PlanContext<'_>) -> Result<Plan, PlanError> {
    let facts = Facts::of(expr);
    let value_type = facts.value_type(expr);
    let instant = context.step_ms == 0;
    if !instant && !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
        return Err(PlanError::NotForRanges(value_type));
    }
    let step_ms = context.step_ms.max(1);
    let count = match context.end_ms.checked_sub(context.start_ms) {
        Some(length) if length >= 0 => length / step_ms + 1,
        _ => 0,
    };
    let steps = Steps {
        start_ms: context.start_ms,
        step_ms,
        count: count as usize,
    };
    let mut lowering = Lowering {
        context,
        facts,
        nodes: Vec::new(),
        by_fingerprint: HashMap::new(),
        subqueries: Vec::new(),
        range: None,
    };
    let grid = Grid {
        steps,
        one_time: context.start_ms == context.end_ms,
        counting: Counting {
            times: 1,
            subquery: None,
        },
        histograms: HistogramUse::Unknown,
    };
    let inner = expr.without_parens();
    let root = match (value_type, &inner.kind) {
        (ValueType::String, ExprKind::String(text)) => Root::String(undisguised(text).into_owned()),
        (ValueType::Scalar, _) => Root::Scalar(lowering.scalar(expr, grid)?),
        (ValueType::Vector, _) => Root::Vector(lowering.vector(expr, grid)?),
        (ValueType::Matrix, ExprKind::Matrix(matrix)) => Root::Samples(lowering.samples(matrix, grid)?),
        (ValueType::Matrix, ExprKind::Subquery(subquery)) => {
            let (child, _) = lowering.subquery(subquery, grid, false)?;
            Root::Subquery(child)
        }
        _ => return Err(unexpected(expr, "a text or a range is no operand")),
    };
    Ok(Plan {
        nodes: lowering.nodes,
        subqueries: lowering.subqueries.into(),
        root,
        steps,
        range: lowering.range,
    })
}

/// The steps at which a part is evaluated, and how what it reads is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) steps: Steps,
    /// The first step is the end, too. A range may have one step only and still not be this.
    pub(super) one_time: bool,
    pub(super) counting: Counting,
    pub(super) histograms: HistogramUse,
}

/// What the functions around a part of the query want of its histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HistogramUse {
    /// Nothing is known.
    Unknown,
    /// Count and sum.
    Statistics,
    /// Buckets, too.
    Whole,
}

impl HistogramUse {
    /// Whether buckets are in nobody's interest.
    pub(super) fn statistics_only(self) -> bool {
        self == HistogramUse::Statistics
    }

    /// The same inside a call of `function`.
    pub(super) fn inside(self, function: &str) -> Self {
        match function {
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => HistogramUse::Whole,
            "histogram_count" | "histogram_sum" | "histogram_avg" if self == HistogramUse::Unknown => {
                HistogramUse::Statistics
            }
            _ => self,
        }
    }
}

impl Grid {
    /// The first step alone, standing for all of them.
    fn first(self) -> Grid {
        Grid {
            steps: Steps {
                count: self.steps.count.min(1),
                ..self.steps
            },
            one_time: true,
            counting: Counting {
                times: self
                    .counting
                    .times
                    .saturating_mul(u32::try_from(self.steps.count).unwrap_or(u32::MAX)),
                ..self.counting
            },
            ..self
        }
    }
}

/// A plan under construction.
pub(super) struct Lowering<'a> {
    pub(super) context: &'a PlanContext<'a>,
    pub(super) facts: Facts,
    pub(super) nodes: Vec<Node>,
    /// Nodes by what equal ones have in common.
    by_fingerprint: HashMap<u64, SmallVec<[u32; 1]>>,
    pub(super) subqueries: Vec<CountedSubquery>,
    pub(super) range: Option<TimeRange>,
}

impl Lowering<'_> {
    /// Adds a node, or finds the one that computes the same.
    pub(super) fn add(&mut self, kind: NodeKind, grid: Grid, naming: Naming, spans: Spans) -> NodeId {
        let steps = grid.steps;
        let same = |node: &Node| node.steps == steps && node.kind == kind;
        let alike = self.by_fingerprint.entry(kind.fingerprint(steps)).or_default();
        if let Some(at) = alike
            .iter()
            .map(|at| *at as usize)
            .find(|at| same(&self.nodes[*at]))
        {
            // Compat: of equal annotations that of the part evaluated last is shown.
            self.nodes[at].spans = spans;
            self.nodes[at].uses += 1;
            // The copy was made over the same operands, and counted as one more use of each.
            kind.for_each_child(&mut |child| self.nodes[child.0 as usize].uses -= 1);
            return NodeId(at as u32);
        }
        alike.push(self.nodes.len() as u32);
        self.nodes.push(Node {
            kind,
            steps,
            naming,
            distinct: Distinct::Sure,
            spans,
            arg_spans: Vec::new(),
            uses: 1,
        });
        NodeId(self.nodes.len() as u32 - 1)
    }

    /// Adds a node whose series lose their names if they have one and names are dropped at once.
    pub(super) fn add_unnamed(
        &mut self,
        kind: NodeKind,
        grid: Grid,
        input: Naming,
        on_equal: Distinct,
        spans: Spans,
    ) -> NodeId {
        if self.context.features.delayed_name_removal {
            return self.add(kind, grid, input, spans);
        }
        let id = self.add(kind, grid, Naming::Uniform, spans);
        if input == Naming::Various {
            self.nodes[id.0 as usize].distinct = on_equal;
        }
        id
    }

    /// What is known about the names of a node.
    pub(super) fn naming(&self, id: NodeId) -> Naming {
        self.nodes[id.0 as usize].naming
    }

    /// Notes that a selector reads `range`.
    pub(super) fn reads(&mut self, range: TimeRange) {
        self.range = Some(match self.range {
            None => range,
            Some(all) => TimeRange::new(all.min_ms.min(range.min_ms), all.max_ms.max(range.max_ms)),
        });
    }

    /// Lowers a vector-valued expression.
    pub(super) fn vector(&mut self, expr: &Expr, grid: Grid) -> Result<NodeId, PlanError> {
        deep(|| self.vector_here(expr, grid))
    }

    fn vector_here(&mut self, expr: &Expr, grid: Grid) -> Result<NodeId, PlanError> {
        if grid.steps.count > 1 && self.facts.is_invariant(expr) {
            let child = self.vector(expr, grid.first())?;
            let naming = self.naming(child);
            let spans = self.nodes[child.0 as usize].spans;
            return Ok(self.add(NodeKind::Repeat(child), grid, naming, spans));
        }
        match &expr.kind {
            ExprKind::Paren(inner) => self.vector(inner, grid),
            ExprKind::Vector(selector) => self.select(selector, expr.span, grid),
            ExprKind::Unary(unary) if unary.negative => {
                let child = self.vector(&unary.expr, grid)?;
                let spans = spans(expr, &unary.expr);
                let naming = self.naming(child);
                Ok(self.add_unnamed(NodeKind::Negate(child), grid, naming, Distinct::Merge, spans))
            }
            ExprKind::Unary(unary) => self.vector(&unary.expr, grid),
            ExprKind::Binary(binary) => self.binary(binary, expr, grid),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr, grid),
            ExprKind::Call(call) => self.call(call, expr, grid),
            _ => Err(unexpected(expr, "a vector is wanted")),
        }
    }

    /// Lowers a scalar-valued expression.
    pub(super) fn scalar(&mut self, expr: &Expr, grid: Grid) -> Result<Scalar, PlanError> {
        deep(|| self.scalar_here(expr, grid))
    }

    fn scalar_here(&mut self, expr: &Expr, grid: Grid) -> Result<Scalar, PlanError> {
        let inner = expr.without_parens();
        match &inner.kind {
            ExprKind::Number(number) => Ok(Scalar::Constant(number.value)),
            ExprKind::Unary(unary) => {
                let operand = self.scalar(&unary.expr, grid)?;
                Ok(match operand {
                    operand if !unary.negative => operand,
                    Scalar::Constant(value) => Scalar::Constant(-value),
                    operand => Scalar::Negate(Box::new(operand)),
                })
            }
            ExprKind::Binary(binary) => {
                let lhs = self.scalar(&binary.lhs, grid)?;
                let rhs = self.scalar(&binary.rhs, grid)?;
                Ok(match (&lhs, &rhs) {
                    (Scalar::Constant(a), Scalar::Constant(b)) => {
                        Scalar::Constant(crate::exec::scalar_operation(binary.op, *a, *b))
                    }
                    _ => Scalar::Binary {
                        op: binary.op,
                        lhs: Box::new(lhs),
                        rhs: Box::new(rhs),
                    },
                })
            }
            ExprKind::Call(call) => self.scalar_call(call, inner, grid),
            _ => Err(unexpected(expr, "a scalar is wanted")),
        }
    }

    fn binary(&mut self, binary: &Binary, expr: &Expr, mut grid: Grid) -> Result<NodeId, PlanError> {
        if let BinaryOp::TrimLower | BinaryOp::TrimUpper = binary.op {
            grid.histograms = HistogramUse::Whole;
        }
        let whole = Spans {
            whole: expr.span,
            input: expr.span,
            param: expr.span,
        };
        let of_scalar = |side: &Expr| self.facts.value_type(side) == ValueType::Scalar;
        let (scalar_left, scalar_right) = (of_scalar(&binary.lhs), of_scalar(&binary.rhs));
        if scalar_left || scalar_right {
            let (vector, scalar) = match scalar_left {
                true => (&binary.rhs, &binary.lhs),
                false => (&binary.lhs, &binary.rhs),
            };
            let kind = NodeKind::WithScalar {
                op: binary.op,
                vector: self.vector(vector, grid)?,
                scalar: self.scalar(scalar, grid)?,
                scalar_left,
                return_bool: binary.return_bool,
            };
            let NodeKind::WithScalar { vector, .. } = kind else {
                unreachable!("made above")
            };
            let naming = self.naming(vector);
            return Ok(match naming::drops_name(binary.op, binary.return_bool) {
                true => self.add_unnamed(kind, grid, naming, Distinct::Merge, whole),
                false => self.add(kind, grid, naming, whole),
            });
        }
        let lhs = self.vector(&binary.lhs, grid)?;
        let rhs = self.vector(&binary.rhs, grid)?;
        let Some(matching) = &binary.matching else {
            return Err(unexpected(expr, "two vectors without matching"));
        };
        let mut labels = matching.labels.clone();
        labels.sort();
        labels.dedup();
        let on = MatchLabels {
            on: matching.on,
            labels,
        };
        if binary.op.is_set() {
            let naming = match binary.op {
                BinaryOp::Or => Naming::Various,
                _ => self.naming(lhs),
            };
            let kind = NodeKind::Set {
                op: binary.op,
                lhs,
                rhs,
                on,
            };
            return Ok(self.add(kind, grid, naming, whole));
        }
        let join = Join {
            op: binary.op,
            lhs,
            rhs,
            return_bool: binary.return_bool,
            cardinality: matching.cardinality,
            on,
            include: matching.include.clone(),
            fill_left: matching.fill_left,
            fill_right: matching.fill_right,
        };
        let naming = naming::of_join(&join, self.naming(lhs), self.naming(rhs));
        Ok(self.add(NodeKind::Join(join), grid, naming, whole))
    }

    fn aggregate(&mut self, aggregate: &Aggregate, expr: &Expr, grid: Grid) -> Result<NodeId, PlanError> {
        let mut spans = spans(expr, aggregate.expr.without_parens());
        let mut grouping = aggregate.grouping.clone().unwrap_or(Grouping {
            without: false,
            labels: Vec::new(),
        });
        let mut param = None;
        let mut value_label = None;
        if let Some(given) = aggregate.param.as_deref().map(Expr::without_parens) {
            spans.param = given.span;
            match (&given.kind, aggregate.op) {
                (ExprKind::String(label), AggregateOp::CountValues) => {
                    if !is_label_name(label) {
                        return Err(PlanError::CountLabel {
                            label: label.clone(),
                            span: given.span,
                        });
                    }
                    if !grouping.without {
                        grouping.labels.push(label.clone());
                    }
                    value_label = Some(label.clone());
                }
                _ => param = Some(self.scalar(given, grid)?),
            }
        }
        grouping.labels.sort();
        grouping.labels.dedup();
        let child = self.vector(&aggregate.expr, grid)?;
        let input = self.naming(child);
        let naming = match aggregate.op {
            AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK | AggregateOp::LimitRatio => input,
            _ => naming::of_groups(&grouping, input),
        };
        let kind = NodeKind::Aggregate {
            op: aggregate.op,
            child,
            param,
            value_label,
            grouping,
        };
        Ok(self.add(kind, grid, naming, spans))
    }
}

/// The places of `expr` and of the operand that its annotations speak of.
pub(super) fn spans(expr: &Expr, input: &Expr) -> Spans {
    Spans {
        whole: expr.span,
        input: input.span,
        param: Span::default(),
    }
}

/// The error for trees that the type checker does not let through.
pub(super) fn unexpected(expr: &Expr, what: &'static str) -> PlanError {
    PlanError::Type {
        what,
        span: expr.span,
    }
}

//! The rules of types, and the other rules that need a whole tree.

use std::mem;

use model::labels::METRIC_NAME;
use model::matcher::Matcher;
use model::stack::deep;

use super::error::{Diagnostic, Place, Problem};
use super::scan;
use crate::ast::{
    Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, ExprKind, Span, ValueType, VectorMatching,
    VectorSelector,
};

/// Finds what is wrong with a tree, and settles what needs types: how operands are paired.
pub(super) struct Checker<'a> {
    pub(super) input: &'a str,
    pub(super) errors: &'a mut Vec<Diagnostic>,
}

impl Checker<'_> {
    /// Checks `expr` and all below it; gives its type.
    pub(super) fn check(&mut self, expr: &mut Expr) -> ValueType {
        deep(|| self.check_here(expr))
    }

    fn check_here(&mut self, expr: &mut Expr) -> ValueType {
        let span = expr.span;
        match &mut expr.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Vector(selector) => {
                self.selector(selector, span, false);
                ValueType::Vector
            }
            ExprKind::Matrix(matrix) => {
                self.selector(&matrix.selector, matrix.selector_span, false);
                ValueType::Matrix
            }
            ExprKind::Subquery(subquery) => {
                let found = self.check(&mut subquery.expr);
                if found != ValueType::Vector {
                    self.report(span, Problem::SubqueryOperandType(found));
                }
                ValueType::Matrix
            }
            ExprKind::Call(call) => self.call(call, span),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate),
            ExprKind::Binary(_) => self.chain(expr),
            ExprKind::Unary(unary) => {
                let found = self.check(&mut unary.expr);
                if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                    self.report(span, Problem::UnaryOperandType(found));
                }
                found
            }
            ExprKind::Paren(inner) => self.check(inner),
        }
    }

    fn report(&mut self, span: Span, problem: Problem) {
        super::report(self.errors, span, problem);
    }

    /// A chain of binary operations: taken apart along its left side, checked from its innermost operation outwards and
    /// put together again, so that its length costs no stack.
    fn chain(&mut self, top: &mut Expr) -> ValueType {
        let mut open = Vec::new();
        let mut done = mem::replace(top, Expr::placeholder());
        while matches!(done.kind, ExprKind::Binary(_)) {
            let span = done.span;
            let ExprKind::Binary(mut binary) = done.into_kind() else {
                unreachable!("looked at above")
            };
            done = mem::replace(&mut *binary.lhs, Expr::placeholder());
            open.push((binary, span));
        }
        let mut found = self.check(&mut done);
        while let Some((mut binary, span)) = open.pop() {
            *binary.lhs = done;
            found = self.binary(&mut binary, span, found);
            done = Expr::new(ExprKind::Binary(binary), span);
        }
        *top = done;
        found
    }

    fn binary(&mut self, binary: &mut Binary, span: Span, left: ValueType) -> ValueType {
        let right = self.check(&mut binary.rhs);
        let (op, operator) = (binary.op, self.between(binary.lhs.span, binary.rhs.span));
        let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
        if binary.return_bool && !op.is_comparison() {
            self.report(operator, Problem::BoolWithoutComparison);
        }
        if op.is_comparison() && !binary.return_bool && scalars {
            self.report(operator, Problem::ScalarComparison);
        }
        if let Some(matching) = &mut binary.matching {
            if op.is_set() && matching.cardinality == Cardinality::OneToOne {
                matching.cardinality = Cardinality::ManyToMany;
            }
            if matching.on {
                for label in matching
                    .labels
                    .iter()
                    .filter(|label| matching.include.contains(label))
                {
                    let problem = Problem::LabelInOnAndGroup(label.clone());
                    super::report(self.errors, operator, problem);
                }
            }
        }
        for (side, found) in [(&binary.lhs, left), (&binary.rhs, right)] {
            if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                self.report(side.span, Problem::BinaryOperandType);
            }
        }
        if left == ValueType::Vector && right == ValueType::Vector {
            if let (true, Some(matching)) = (op.is_set(), &binary.matching) {
                self.set_matching(op.as_str(), matching, span);
            }
        } else if let Some(matching) = binary.matching.take() {
            if !matching.labels.is_empty() {
                self.report(span, Problem::MatchingBetweenScalars);
            }
            if matching.fill_left.is_some() || matching.fill_right.is_some() {
                self.report(span, Problem::FillBetweenScalars);
            }
        }
        if op.is_set() && (left == ValueType::Scalar || right == ValueType::Scalar) {
            self.report(span, Problem::ScalarSetOperation(op.as_str()));
        }
        if scalars {
            ValueType::Scalar
        } else {
            ValueType::Vector
        }
    }

    fn set_matching(&mut self, op: &'static str, matching: &VectorMatching, span: Span) {
        if matching.cardinality != Cardinality::ManyToMany {
            self.report(span, Problem::GroupedSetOperation(op));
            self.report(span, Problem::SetOperationCardinality);
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            self.report(span, Problem::FilledSetOperation);
        }
    }

    /// The operator with its modifiers: what lies between two operands, without the space around it.
    fn between(&self, lhs: Span, rhs: Span) -> Span {
        let all = Span {
            start: lhs.end,
            end: rhs.start,
        };
        let text = all.of(self.input);
        let start = all.start + (text.len() - text.trim_start_matches(scan::is_space).len()) as u32;
        Span {
            start,
            end: start + text.trim_matches(scan::is_space).len() as u32,
        }
    }

    fn aggregate(&mut self, aggregate: &mut Aggregate) -> ValueType {
        let found = self.check(&mut aggregate.expr);
        self.expect(ValueType::Vector, found, Place::Aggregation, aggregate.expr.span);
        if let Some(param) = &mut aggregate.param {
            let found = self.check(param);
            let expected = match aggregate.op {
                AggregateOp::CountValues => ValueType::String,
                _ => ValueType::Scalar,
            };
            self.expect(expected, found, Place::AggregationParameter, param.span);
        }
        ValueType::Vector
    }

    fn expect(&mut self, expected: ValueType, found: ValueType, place: Place, span: Span) {
        if found != expected {
            self.report(
                span,
                Problem::Type {
                    expected,
                    found,
                    place,
                },
            );
        }
    }

    fn call(&mut self, call: &mut Call, span: Span) -> ValueType {
        let function = call.function;
        self.argument_count(call, span);
        let is_info = function.name == "info";
        if is_info && let Some(selector) = call.args.get(1) {
            let place = Place::Call(function.name);
            self.expect(ValueType::Vector, selector.value_type(), place, span);
            let problem = match &selector.kind {
                ExprKind::Vector(selector) if selector.name.is_empty() => None,
                ExprKind::Vector(_) => Some(Problem::InfoSelectorWithName),
                _ => Some(Problem::InfoWithoutSelector),
            };
            if let Some(problem) = problem {
                self.report(selector.span, problem);
            }
        }
        for (i, arg) in call.args.iter_mut().enumerate() {
            // Arguments beyond the parameters have the last one's type where there may be such.
            let last = function.arg_types.last().filter(|_| function.variadic != 0);
            let Some(expected) = function.arg_types.get(i).or(last) else {
                break;
            };
            let arg_span = arg.span;
            let found = match &arg.kind {
                // What `info` joins with is chosen by labels only, and maybe by none.
                ExprKind::Vector(selector) if is_info && i == 1 => {
                    self.selector(selector, arg_span, true);
                    ValueType::Vector
                }
                _ => self.check(arg),
            };
            self.expect(*expected, found, Place::Call(function.name), arg_span);
        }
        function.return_type
    }

    fn argument_count(&mut self, call: &Call, span: Span) {
        let (function, parameters, found) =
            (call.function.name, call.function.arg_types.len(), call.args.len());
        let least = parameters.saturating_sub(1);
        let problem = match usize::try_from(call.function.variadic) {
            Ok(0) if found != parameters => Problem::ArgumentCount {
                function,
                expected: parameters,
                found,
            },
            Ok(0) => return,
            _ if found < least => Problem::TooFewArguments {
                function,
                least,
                found,
            },
            Ok(more) if found > least + more => Problem::TooManyArguments {
                function,
                most: least + more,
                found,
            },
            _ => return,
        };
        self.report(span, problem);
    }

    fn selector(&mut self, selector: &VectorSelector, span: Span, may_be_empty: bool) {
        if selector.name.is_empty() {
            // A selector of everything is more often a slip than a wish.
            if !may_be_empty && selector.matchers.iter().all(Matcher::matches_empty) {
                self.report(span, Problem::EmptySelector);
            }
            return;
        }
        let Some((_, others)) = selector.matchers.split_last() else {
            return;
        };
        for matcher in others.iter().filter(|matcher| matcher.name == METRIC_NAME) {
            let (first, second) = (selector.name.clone(), matcher.value.clone());
            self.report(span, Problem::MetricNameTwice { first, second });
        }
    }
}

//! What a tree knows about itself: names of its operators, types, children; and its demolition.

use std::{fmt, mem};

use model::stack::deep;

use super::{
    Aggregate, AggregateOp, Binary, BinaryOp, Cardinality, Expr, ExprKind, NumberLiteral, Span, Unary,
    ValueType, VectorSelector,
};

impl Span {
    /// The span from the start of `self` to the end of `last`.
    pub fn to(self, last: Span) -> Span {
        Span {
            start: self.start,
            end: last.end,
        }
    }

    /// The part of `text` that it covers.
    pub fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or("")
    }
}

impl ValueType {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::String => "string",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
        }
    }

    /// The words in documentation and messages.
    pub fn documented(self) -> &'static str {
        match self {
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
            other => other.as_str(),
        }
    }
}

impl Expr {
    /// An expression at a place.
    pub fn new(kind: ExprKind, span: Span) -> Self {
        Expr { kind, span }
    }

    /// Stands in where an expression has to be taken out of a tree, or could not be read. Allocates nothing.
    pub(crate) fn placeholder() -> Self {
        Expr::new(Expr::placeholder_kind(), Span::default())
    }

    fn placeholder_kind() -> ExprKind {
        ExprKind::Number(NumberLiteral {
            value: f64::NAN,
            is_duration: false,
        })
    }

    /// What it is, out of its place.
    pub(crate) fn into_kind(mut self) -> ExprKind {
        mem::replace(&mut self.kind, Expr::placeholder_kind())
    }

    /// The type of what it evaluates to.
    pub fn value_type(&self) -> ValueType {
        deep(|| self.type_of_chain())
    }

    fn type_of_chain(&self) -> ValueType {
        let mut expr = self;
        // A binary operation is a scalar where both operands are. Chains are long on the left, so the left is walked
        // and only the right is recursed into.
        loop {
            expr = match &expr.kind {
                ExprKind::Number(_) => return ValueType::Scalar,
                ExprKind::String(_) => return ValueType::String,
                ExprKind::Vector(_) | ExprKind::Aggregate(_) => return ValueType::Vector,
                ExprKind::Matrix(_) | ExprKind::Subquery(_) => return ValueType::Matrix,
                ExprKind::Call(call) => return call.function.return_type,
                ExprKind::Paren(inner) | ExprKind::Unary(Unary { expr: inner, .. }) => inner,
                ExprKind::Binary(binary) => {
                    if binary.lhs.is_leaf_of_chain() {
                        let both = [&binary.lhs, &binary.rhs].map(|side| side.value_type());
                        return if both == [ValueType::Scalar; 2] {
                            ValueType::Scalar
                        } else {
                            ValueType::Vector
                        };
                    }
                    if binary.rhs.value_type() != ValueType::Scalar {
                        return ValueType::Vector;
                    }
                    &binary.lhs
                }
            };
        }
    }

    fn is_leaf_of_chain(&self) -> bool {
        !matches!(self.kind, ExprKind::Binary(_))
    }

    /// The expression inside any parentheses around it.
    pub fn without_parens(&self) -> &Expr {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// The part of the expression that stands at `span`, the outermost of several.
    pub(crate) fn part_at(&self, span: Span) -> Option<&Expr> {
        let mut found = None;
        self.walk(&mut |part| {
            if found.is_none() && part.span == span {
                found = Some(part);
            }
        });
        found
    }

    /// Calls `visit` with this expression and all below it, parents first, operands from left to right.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        // A stack of its own: long chains are as deep on the left as they are long.
        let mut waiting = vec![self];
        while let Some(expr) = waiting.pop() {
            visit(expr);
            match &expr.kind {
                ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {}
                ExprKind::Subquery(subquery) => waiting.push(&subquery.expr),
                ExprKind::Call(call) => waiting.extend(call.args.iter().rev()),
                ExprKind::Aggregate(Aggregate { expr, param, .. }) => {
                    waiting.push(expr);
                    waiting.extend(param.as_deref());
                }
                ExprKind::Binary(binary) => waiting.extend([&*binary.rhs, &*binary.lhs]),
                ExprKind::Unary(Unary { expr, .. }) | ExprKind::Paren(expr) => waiting.push(expr),
            }
        }
    }

    /// All selectors below this expression, those with ranges included, from left to right.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut found = Vec::new();
        self.walk(&mut |expr| match &expr.kind {
            ExprKind::Vector(selector) => found.push(selector),
            ExprKind::Matrix(matrix) => found.push(&matrix.selector),
            _ => {}
        });
        found
    }
}

impl Clone for Expr {
    fn clone(&self) -> Self {
        let (first, chain) = self.chain();
        // What is left is not a binary operation: cloning its parts comes back here one level of nesting deeper.
        let mut expr = Expr::new(deep(|| first.kind.clone()), first.span);
        for (binary, span) in chain.into_iter().rev() {
            let binary = Binary {
                op: binary.op,
                lhs: Box::new(expr),
                rhs: deep(|| binary.rhs.clone()),
                return_bool: binary.return_bool,
                matching: binary.matching.clone(),
            };
            expr = Expr::new(ExprKind::Binary(binary), span);
        }
        expr
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        let ((first, chain), (other_first, other_chain)) = (self.chain(), other.chain());
        let same_operation = |((a, a_span), (b, b_span)): (&(&Binary, Span), &(&Binary, Span))| {
            a_span == b_span
                && a.op == b.op
                && a.return_bool == b.return_bool
                && a.matching == b.matching
                && deep(|| a.rhs == b.rhs)
        };
        chain.len() == other_chain.len()
            && chain.iter().zip(&other_chain).all(same_operation)
            && first.span == other_first.span
            && deep(|| first.kind == other_first.kind)
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}` at {}..{}", self.span.start, self.span.end)
    }
}

impl Expr {
    /// The innermost left operand of a chain of binary operations, which is none itself, and the operations from the
    /// outermost inwards; the expression itself and nothing where it is no binary operation.
    pub(crate) fn chain(&self) -> (&Expr, Vec<(&Binary, Span)>) {
        let (mut first, mut operations) = (self, Vec::new());
        while let ExprKind::Binary(binary) = &first.kind {
            operations.push((binary, first.span));
            first = &binary.lhs;
        }
        (first, operations)
    }
}

/// Trees are taken apart in a loop, so that dropping a deep one does not exhaust the stack.
impl Drop for Expr {
    fn drop(&mut self) {
        let mut waiting = Vec::new();
        self.kind.take_branches(&mut waiting);
        while let Some(mut expr) = waiting.pop() {
            expr.kind.take_branches(&mut waiting);
        }
    }
}

impl ExprKind {
    /// Calls `visit` with each operand or argument, from left to right.
    pub(super) fn for_each_child_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Expr)) {
        match self {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {}
            ExprKind::Subquery(subquery) => visit(&mut subquery.expr),
            ExprKind::Call(call) => call.args.iter_mut().for_each(visit),
            ExprKind::Aggregate(Aggregate { expr, param, .. }) => {
                if let Some(param) = param {
                    visit(param);
                }
                visit(expr);
            }
            ExprKind::Binary(Binary { lhs, rhs, .. }) => {
                visit(lhs);
                visit(rhs);
            }
            ExprKind::Unary(Unary { expr, .. }) | ExprKind::Paren(expr) => visit(expr),
        }
    }

    fn is_leaf(&self) -> bool {
        matches!(
            self,
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_)
        )
    }

    /// Moves the children that have children themselves to `waiting`.
    fn take_branches(&mut self, waiting: &mut Vec<Expr>) {
        self.for_each_child_mut(&mut |child| {
            if !child.kind.is_leaf() {
                waiting.push(mem::replace(child, Expr::placeholder()));
            }
        });
    }
}

impl BinaryOp {
    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Greater => ">",
            BinaryOp::Less => "<",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::LessEqual => "<=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
        }
    }

    /// Whether it compares: filters, or gives 0 and 1 with `bool`.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            BinaryOp::Equal
                | BinaryOp::NotEqual
                | BinaryOp::Greater
                | BinaryOp::Less
                | BinaryOp::GreaterEqual
                | BinaryOp::LessEqual
        )
    }

    /// Whether it is `and`, `or` or `unless`.
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }

    /// How tightly it binds; all but `^` group from the left.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            BinaryOp::Or => 1,
            BinaryOp::And | BinaryOp::Unless => 2,
            BinaryOp::TrimUpper | BinaryOp::TrimLower => 3,
            op if op.is_comparison() => 3,
            BinaryOp::Add | BinaryOp::Sub => 4,
            BinaryOp::Pow => 6,
            _ => 5,
        }
    }
}

impl AggregateOp {
    /// All of them.
    pub const ALL: [AggregateOp; 14] = [
        AggregateOp::Sum,
        AggregateOp::Avg,
        AggregateOp::Count,
        AggregateOp::Min,
        AggregateOp::Max,
        AggregateOp::Group,
        AggregateOp::Stddev,
        AggregateOp::Stdvar,
        AggregateOp::TopK,
        AggregateOp::BottomK,
        AggregateOp::CountValues,
        AggregateOp::Quantile,
        AggregateOp::LimitK,
        AggregateOp::LimitRatio,
    ];

    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            AggregateOp::Sum => "sum",
            AggregateOp::Avg => "avg",
            AggregateOp::Count => "count",
            AggregateOp::Min => "min",
            AggregateOp::Max => "max",
            AggregateOp::Group => "group",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::TopK => "topk",
            AggregateOp::BottomK => "bottomk",
            AggregateOp::CountValues => "count_values",
            AggregateOp::Quantile => "quantile",
            AggregateOp::LimitK => "limitk",
            AggregateOp::LimitRatio => "limit_ratio",
        }
    }

    /// The operator of this name, in lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        AggregateOp::ALL.into_iter().find(|op| op.as_str() == name)
    }

    /// Whether it takes a parameter in front of its expression.
    pub fn takes_param(self) -> bool {
        matches!(
            self,
            AggregateOp::TopK
                | AggregateOp::BottomK
                | AggregateOp::CountValues
                | AggregateOp::Quantile
                | AggregateOp::LimitK
                | AggregateOp::LimitRatio
        )
    }

    /// Whether it needs `--enable-feature=promql-experimental-functions`.
    pub fn is_experimental(self) -> bool {
        matches!(self, AggregateOp::LimitK | AggregateOp::LimitRatio)
    }
}

impl Cardinality {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        }
    }
}

//! The syntax tree of a query, with the position of every node in its text.
//!
//! The tree is what was written: modifiers keep their expressions, parentheses are nodes, and nothing is folded. The
//! planner turns it into what is done.

use model::matcher::Matcher;

mod edit;
mod ops;

/// A stretch of the query text in bytes, end excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Byte behind the last.
    pub end: u32,
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number a step.
    Scalar,
    /// A constant text.
    String,
    /// At most one sample a series and step.
    Vector,
    /// A range of samples a series and step.
    Matrix,
}

/// An expression and where it stands.
///
/// Chains of operators (`a or b or c …`) are as deep on the left as they are long, and parentheses as deep as the parser
/// allows: thousands of levels. Whatever walks a tree does so in a loop or through [`model::stack::deep`]. Cloning,
/// comparing and dropping do; debug output is the expression's text.
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `42`, `0x1f`, `Inf`, `5m` where a number is meant.
    Number(NumberLiteral),
    /// `"text"`
    String(String),
    /// `name{label="value"} offset 5m @ 123`
    Vector(VectorSelector),
    /// `name{label="value"}[5m]`
    Matrix(MatrixSelector),
    /// `expr[1h:1m]`
    Subquery(Subquery),
    /// `function(arguments)`
    Call(Call),
    /// `sum by (label) (expr)`
    Aggregate(Aggregate),
    /// `left + right`
    Binary(Binary),
    /// `-expr`, `+expr`
    Unary(Unary),
    /// `(expr)`
    Paren(Box<Expr>),
}

/// A number as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberLiteral {
    /// Its value; seconds where it was written as a duration.
    pub value: f64,
    /// Whether it was written as a duration, and is to be printed as one.
    pub is_duration: bool,
}

/// Selects series by their labels; alone, an instant vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorSelector {
    /// Metric name in front of the braces; empty when there is none. (A quoted name inside the braces is a matcher
    /// like any other and leaves this empty, as the reference has it.)
    pub name: String,
    /// All conditions in the order written, that of `name` last, as the reference lists them.
    pub matchers: Vec<Matcher>,
    /// `offset`, and the range modifiers that come behind the selector or its range.
    pub modifiers: Modifiers,
    /// `anchored` (extended range selectors).
    pub anchored: bool,
    /// `smoothed` (extended range selectors).
    pub smoothed: bool,
}

/// Where in time a selector or subquery looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modifiers {
    /// `offset 5m`; positive looks back. Never a literal zero, which is the same as none.
    pub offset: Option<Duration>,
    /// `@ 123`, `@ start()`, `@ end()`.
    pub at: Option<At>,
}

/// The `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A fixed time in milliseconds since the epoch.
    Timestamp(i64),
    /// The query's first step.
    Start,
    /// The query's last step.
    End,
}

/// A range of samples a series.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// Which series, with `offset` and `@`.
    pub selector: VectorSelector,
    /// Where the selector stands inside the matrix selector's span.
    pub selector_span: Span,
    /// How far back.
    pub range: Duration,
}

/// An expression evaluated over a range of steps of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Box<Expr>,
    /// How far back.
    pub range: Duration,
    /// Distance of the steps; the default evaluation interval when `None`.
    pub step: Option<Duration>,
    /// `offset` and `@`.
    pub modifiers: Modifiers,
}

/// A duration: a literal, or an expression whose value is known when the query's step and range are.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    /// Milliseconds, signed.
    Literal(i64),
    /// Worked out before evaluation.
    Expr(Box<DurationExpr>),
}

/// An expression over durations.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationExprKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of duration expression. A bare number counts seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExprKind {
    /// `5m`, `300`
    Number(NumberLiteral),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `min(a, b)` and `max(a, b)`
    MinMax {
        /// The larger, not the smaller.
        max: bool,
        /// The two.
        args: [Box<DurationExpr>; 2],
    },
    /// `-a`, `+a`
    Unary {
        /// Minus, not plus.
        negative: bool,
        /// Operand.
        expr: Box<DurationExpr>,
    },
    /// `a + b` and the like.
    Binary {
        /// One of the arithmetic operators.
        op: BinaryOp,
        /// Left operand.
        lhs: Box<DurationExpr>,
        /// Right operand.
        rhs: Box<DurationExpr>,
    },
    /// `(a)`
    Paren(Box<DurationExpr>),
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which function: an entry of the function table.
    pub function: &'static Function,
    /// Its arguments as written; defaults are not filled in.
    pub args: Vec<Expr>,
}

/// What the type checker knows of a function.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Name.
    pub name: &'static str,
    /// Types of its parameters; see `variadic` for how many of them there may be.
    pub arg_types: &'static [ValueType],
    /// 0: exactly `arg_types`; n > 0: up to n of the last parameters may be left out or the last repeated, as the
    /// reference counts; -1: the last parameter any number of times, zero included.
    pub variadic: i32,
    /// What it gives.
    pub return_type: ValueType,
    /// Needs `--enable-feature=promql-experimental-functions`.
    pub experimental: bool,
}

/// The aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the operator of its name")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
    LimitK,
    LimitRatio,
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// Over what.
    pub expr: Box<Expr>,
    /// The parameter of `topk`, `bottomk`, `quantile`, `count_values`, `limitk`, `limit_ratio`.
    pub param: Option<Box<Expr>>,
    /// `by` or `without`, with its labels in the order written; `None` where neither was written.
    pub grouping: Option<Grouping>,
}

/// How an aggregation groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// `without`, not `by`.
    pub without: bool,
    /// The labels.
    pub labels: Vec<String>,
}

/// The binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the operator of its name")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    And,
    Or,
    Unless,
    /// `</`: drops what lies above a bound from a native histogram.
    TrimUpper,
    /// `>/`: drops what lies below a bound from a native histogram.
    TrimLower,
}

/// A binary operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// Left operand.
    pub lhs: Box<Expr>,
    /// Right operand.
    pub rhs: Box<Expr>,
    /// `bool`: a comparison gives 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How series are paired; `None` unless both operands are vectors.
    pub matching: Option<VectorMatching>,
}

/// Which side of a join may have several series with one signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// Neither.
    OneToOne,
    /// The left: `group_left`.
    ManyToOne,
    /// The right: `group_right`.
    OneToMany,
    /// Both: the set operators.
    ManyToMany,
}

/// How the series of two vectors are paired.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorMatching {
    /// Which side may repeat.
    pub cardinality: Cardinality,
    /// `on`, not `ignoring`.
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// The labels that `group_left` or `group_right` takes over from the one side.
    pub include: Vec<String>,
    /// Value used where the left side has no partner.
    pub fill_left: Option<f64>,
    /// Value used where the right side has no partner.
    pub fill_right: Option<f64>,
}

/// A sign.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Minus, not plus.
    pub negative: bool,
    /// Operand.
    pub expr: Box<Expr>,
}

//! Trees as text: on one line, as `Display` gives it, and broken into lines ([`Expr::pretty`]).
//!
//! Both are the reference's forms to the last byte, which tools compare, and both read back to the same tree.

use std::fmt::{self, Display, Write};

use model::duration::DurationText;
use model::float::{format_float, format_general};
use model::labels::{METRIC_NAME, is_legacy_label_name, write_quoted};
use model::matcher::{MatchOp, Matcher};
use model::stack::deep;

use crate::ast::{
    Aggregate, At, Binary, Call, Cardinality, Duration, DurationExpr, DurationExprKind, Expr, ExprKind,
    MatrixSelector, Modifiers, NumberLiteral, Subquery, Unary, VectorSelector,
};
use crate::parser::QuotedText;

/// Longest expression in bytes that [`Expr::pretty`] leaves on one line.
const LINE_BYTES_MAX: usize = 100;
const INDENT: &str = "  ";
/// Longest text in bytes that [`Expr::pretty`] writes, but for the operand that goes over it.
pub const PRETTY_BYTES_MAX: usize = 64 << 20;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        deep(|| self.write(f))
    }
}

impl Expr {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => number.fmt(f),
            ExprKind::String(text) => QuotedText(text).fmt(f),
            ExprKind::Vector(selector) => selector.fmt(f),
            ExprKind::Matrix(matrix) => matrix.fmt(f),
            ExprKind::Subquery(subquery) => {
                subquery.expr.fmt(f)?;
                write_subquery_suffix(f, subquery)
            }
            ExprKind::Call(Call { function, args }) => {
                write!(f, "{}(", function.name)?;
                for (i, arg) in args.iter().enumerate() {
                    f.write_str(if i > 0 { ", " } else { "" })?;
                    arg.fmt(f)?;
                }
                f.write_str(")")
            }
            ExprKind::Aggregate(aggregate) => {
                write_aggregate_head(f, aggregate)?;
                f.write_str("(")?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            ExprKind::Binary(_) => {
                let (first, chain) = self.chain();
                first.fmt(f)?;
                for (binary, _) in chain.iter().rev() {
                    f.write_str(" ")?;
                    write_operator(f, binary)?;
                    write!(f, " {}", binary.rhs)?;
                }
                Ok(())
            }
            ExprKind::Unary(Unary { negative, expr }) => write!(f, "{}{expr}", sign(*negative)),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

fn sign(negative: bool) -> &'static str {
    if negative { "-" } else { "+" }
}

impl fmt::Display for NumberLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_duration {
            // Whole nanoseconds, then whole milliseconds: a duration has no finer print.
            DurationText((self.value * 1e9) as i64 / 1_000_000).fmt(f)
        } else {
            f.write_str(&format_float(self.value))
        }
    }
}

impl fmt::Display for VectorSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_selector(f, self)?;
        write_at(f, self.modifiers.at)?;
        write_range_modifier(f, self)?;
        write_offset(f, &self.modifiers)
    }
}

impl fmt::Display for MatrixSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_selector(f, &self.selector)?;
        write!(f, "[{}]", self.range)?;
        write_range_modifier(f, &self.selector)?;
        write_at(f, self.selector.modifiers.at)?;
        write_offset(f, &self.selector.modifiers)
    }
}

/// Name and matchers, these sorted by their text.
fn write_selector(f: &mut impl Write, selector: &VectorSelector) -> fmt::Result {
    let is_name = |matcher: &&Matcher| {
        matcher.name == METRIC_NAME
            && matcher.op == MatchOp::Equal
            && matcher.value == selector.name
            && !matcher.value.is_empty()
    };
    let mut matchers: Vec<String> = selector
        .matchers
        .iter()
        .filter(|matcher| !is_name(matcher))
        .map(Matcher::to_string)
        .collect();
    matchers.sort_unstable();
    f.write_str(&selector.name)?;
    // The braces of a selector of everything, which `info` takes, are all that there is to print of it.
    if !matchers.is_empty() || selector.name.is_empty() {
        write!(f, "{{{}}}", matchers.join(","))?;
    }
    Ok(())
}

fn write_range_modifier(f: &mut impl Write, selector: &VectorSelector) -> fmt::Result {
    match (selector.anchored, selector.smoothed) {
        (true, _) => f.write_str(" anchored"),
        (_, true) => f.write_str(" smoothed"),
        _ => Ok(()),
    }
}

fn write_at(f: &mut impl Write, at: Option<At>) -> fmt::Result {
    match at {
        None => Ok(()),
        Some(At::Start) => f.write_str(" @ start()"),
        Some(At::End) => f.write_str(" @ end()"),
        Some(At::Timestamp(ms)) => write!(f, " @ {:.3}", ms as f64 / 1000.0),
    }
}

fn write_offset(f: &mut impl Write, modifiers: &Modifiers) -> fmt::Result {
    match &modifiers.offset {
        None => Ok(()),
        Some(offset) => write!(f, " offset {offset}"),
    }
}

fn write_subquery_suffix(f: &mut impl Write, subquery: &Subquery) -> fmt::Result {
    write!(f, "[{}:", subquery.range)?;
    if let Some(step) = &subquery.step {
        write!(f, "{step}")?;
    }
    f.write_str("]")?;
    write_at(f, subquery.modifiers.at)?;
    write_offset(f, &subquery.modifiers)
}

fn write_aggregate_head(f: &mut impl Write, aggregate: &Aggregate) -> fmt::Result {
    f.write_str(aggregate.op.as_str())?;
    match &aggregate.grouping {
        Some(grouping) if grouping.without || !grouping.labels.is_empty() => {
            write!(f, " {} ", if grouping.without { "without" } else { "by" })?;
            write_labels(f, &grouping.labels)?;
            f.write_str(" ")
        }
        // `by ()` is what no grouping at all means.
        _ => Ok(()),
    }
}

fn write_labels(f: &mut impl Write, labels: &[String]) -> fmt::Result {
    f.write_str("(")?;
    for (i, label) in labels.iter().enumerate() {
        f.write_str(if i > 0 { ", " } else { "" })?;
        if is_legacy_label_name(label) {
            f.write_str(label)?;
        } else {
            write_quoted(f, label)?;
        }
    }
    f.write_str(")")
}

/// The operator with all its modifiers.
fn write_operator(f: &mut impl Write, binary: &Binary) -> fmt::Result {
    f.write_str(binary.op.as_str())?;
    f.write_str(if binary.return_bool { " bool" } else { "" })?;
    let Some(matching) = &binary.matching else {
        return Ok(());
    };
    let side = match matching.cardinality {
        Cardinality::ManyToOne => Some("left"),
        Cardinality::OneToMany => Some("right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || !matching.labels.is_empty() || side.is_some() {
        write!(f, " {} ", if matching.on { "on" } else { "ignoring" })?;
        write_labels(f, &matching.labels)?;
    }
    if let Some(side) = side {
        write!(f, " group_{side} ")?;
        write_labels(f, &matching.include)?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => write!(f, " fill ({})", format_general(left)),
        (left, right) => {
            if let Some(left) = left {
                write!(f, " fill_left ({})", format_general(left))?;
            }
            if let Some(right) = right {
                write!(f, " fill_right ({})", format_general(right))?;
            }
            Ok(())
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Duration::Literal(ms) => DurationText(*ms).fmt(f),
            Duration::Expr(expr) => expr.fmt(f),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationExprKind::Number(number) => number.fmt(f),
            DurationExprKind::Step => f.write_str("step()"),
            DurationExprKind::Range => f.write_str("range()"),
            DurationExprKind::MinMax {
                max,
                args: [first, second],
            } => {
                write!(f, "{}_of({first}, {second})", if *max { "max" } else { "min" })
            }
            DurationExprKind::Unary { negative: true, expr } => write!(f, "-{expr}"),
            // A plus says nothing.
            DurationExprKind::Unary {
                negative: false,
                expr,
            } => expr.fmt(f),
            DurationExprKind::Binary { op, lhs, rhs } => write!(f, "{lhs} {} {rhs}", op.as_str()),
            DurationExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// A chain of operators is indented by as much as it is long, so that its text grows with the square of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken into lines, the expression would take more than {} MiB", PRETTY_BYTES_MAX >> 20)]
pub struct TooLongForLines;

impl Expr {
    /// The expression over several indented lines, as far as its parts are longer than 100 bytes.
    ///
    /// # Errors
    /// When the text would be longer than [`PRETTY_BYTES_MAX`].
    pub fn pretty(&self) -> Result<String, TooLongForLines> {
        let mut out = String::new();
        self.write_pretty(&mut out, 0, true)?;
        Ok(out)
    }

    /// Writes at `level`; the first line is left without its indentation unless `indented`.
    fn write_pretty(&self, out: &mut String, level: usize, indented: bool) -> Result<(), TooLongForLines> {
        deep(|| self.write_pretty_here(out, level, indented))
    }

    fn write_pretty_here(
        &self,
        out: &mut String,
        level: usize,
        indented: bool,
    ) -> Result<(), TooLongForLines> {
        check_length(out)?;
        let first_level = if indented { level } else { 0 };
        match &self.kind {
            ExprKind::Unary(Unary { negative, expr }) => {
                push_indent(out, first_level);
                out.push_str(sign(*negative));
                expr.write_pretty(out, level, false)?;
            }
            // Compat: a short subquery is not indented.
            ExprKind::Subquery(_) if self.fits() => push(out, self),
            ExprKind::Subquery(subquery) => {
                subquery.expr.write_pretty(out, level, indented)?;
                let _ = write_subquery_suffix(out, subquery);
            }
            ExprKind::Call(Call { function, args }) if !self.fits() => {
                push_indent(out, first_level);
                out.push_str(function.name);
                write_block(out, level, args)?;
            }
            ExprKind::Aggregate(aggregate) if !self.fits() => {
                push_indent(out, first_level);
                let _ = write_aggregate_head(out, aggregate);
                let inside = aggregate.param.as_deref().into_iter().chain([&*aggregate.expr]);
                write_block(out, level, inside)?;
            }
            ExprKind::Paren(inner) if !self.fits() => {
                push_indent(out, first_level);
                write_block(out, level, [&**inner])?;
            }
            ExprKind::Binary(_) => write_pretty_chain(self, out, level, indented)?,
            _ => {
                push_indent(out, first_level);
                push(out, self);
            }
        }
        Ok(())
    }

    /// Whether the expression may stay on one line.
    fn fits(&self) -> bool {
        let mut room = Room(LINE_BYTES_MAX);
        write!(room, "{self}").is_ok()
    }
}

fn write_pretty_chain(
    expr: &Expr,
    out: &mut String,
    level: usize,
    indented: bool,
) -> Result<(), TooLongForLines> {
    // Each operation that is too long indents its left operand by one more level than itself. An operation takes four
    // bytes at least, so that most of a long chain need not be measured.
    const OPERATION_BYTES_MIN: usize = 4;
    let length = expr.chain().1.len();
    let (mut first, mut chain) = (expr, Vec::new());
    while let ExprKind::Binary(binary) = &first.kind
        && ((length - chain.len()) * OPERATION_BYTES_MIN > LINE_BYTES_MAX || !first.fits())
    {
        chain.push(binary);
        first = &binary.lhs;
    }
    let innermost = level + chain.len();
    match &first.kind {
        ExprKind::Binary(_) => {
            push_indent(out, if indented { innermost } else { 0 });
            push(out, first);
        }
        _ => first.write_pretty(out, innermost, indented)?,
    }
    for (depth, binary) in chain.iter().enumerate().rev() {
        check_length(out)?;
        out.push('\n');
        push_indent(out, level + depth);
        let _ = write_operator(out, binary);
        out.push('\n');
        binary.rhs.write_pretty(out, level + depth + 1, true)?;
    }
    Ok(())
}

/// Expressions in parentheses, each on lines of its own.
fn write_block<'a>(
    out: &mut String,
    level: usize,
    inside: impl IntoIterator<Item = &'a Expr>,
) -> Result<(), TooLongForLines> {
    out.push('(');
    for (i, expr) in inside.into_iter().enumerate() {
        out.push_str(if i > 0 { ",\n" } else { "\n" });
        expr.write_pretty(out, level + 1, true)?;
    }
    out.push('\n');
    push_indent(out, level);
    out.push(')');
    Ok(())
}

fn check_length(out: &str) -> Result<(), TooLongForLines> {
    match out.len() <= PRETTY_BYTES_MAX {
        true => Ok(()),
        false => Err(TooLongForLines),
    }
}

fn push(out: &mut String, expr: &Expr) {
    // Writing to a String does not fail.
    let _ = write!(out, "{expr}");
}

fn push_indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n(INDENT, level));
}

/// Takes so many bytes and no more: measures without building what is measured.
struct Room(usize);

impl Write for Room {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

//! Trees as JSON, in the shape of the reference's `/api/v1/parse_query`: what its web pages draw trees from.
//!
//! Written straight into a buffer; keys are sorted, as the reference's encoder sorts them.

use std::fmt::Write;

use model::float::format_float;
use model::stack::deep;

use crate::ast::{
    At, Call, Duration, DurationExpr, DurationExprKind, Expr, ExprKind, Modifiers, Subquery, Unary,
    ValueType, VectorMatching, VectorSelector,
};
use crate::parser::undisguised;

/// Appends `expr` as one JSON object to `out`.
pub fn write(expr: &Expr, out: &mut String) {
    deep(|| write_here(expr, out));
}

fn write_here(expr: &Expr, out: &mut String) {
    match &expr.kind {
        ExprKind::Number(number) => {
            object(out, |o| {
                o.text("type", "numberLiteral");
                o.text("val", &format_float(number.value));
            });
        }
        ExprKind::String(text) => object(out, |o| {
            o.text("type", "stringLiteral");
            o.text("val", &undisguised(text));
        }),
        ExprKind::Vector(selector) => object(out, |o| {
            write_selector(o, selector, None);
            o.text("type", "vectorSelector");
        }),
        ExprKind::Matrix(matrix) => object(out, |o| {
            write_selector(o, &matrix.selector, Some(&matrix.range));
            o.text("type", "matrixSelector");
        }),
        ExprKind::Subquery(subquery) => object(out, |o| write_subquery(o, subquery)),
        ExprKind::Call(call) => object(out, |o| write_call(o, call)),
        ExprKind::Aggregate(aggregate) => object(out, |o| {
            let grouping = aggregate.grouping.as_ref();
            o.value("expr", |out| write(&aggregate.expr, out));
            o.texts("grouping", grouping.map_or(&[], |grouping| &grouping.labels));
            o.text("op", aggregate.op.as_str());
            o.option("param", aggregate.param.as_deref(), |out, param| {
                write(param, out);
            });
            o.text("type", "aggregation");
            o.bool("without", grouping.is_some_and(|grouping| grouping.without));
        }),
        ExprKind::Binary(_) => write_chain(expr, out),
        ExprKind::Unary(Unary { negative, expr }) => object(out, |o| {
            o.value("expr", |out| write(expr, out));
            o.text("op", if *negative { "-" } else { "+" });
            o.text("type", "unaryExpr");
        }),
        ExprKind::Paren(inner) => object(out, |o| {
            o.value("expr", |out| write(inner, out));
            o.text("type", "parenExpr");
        }),
    }
}

/// A chain of binary operations, opened from the outermost inwards and closed from the innermost outwards in loops, so
/// that its length costs no stack.
fn write_chain(expr: &Expr, out: &mut String) {
    let (first, mut open) = expr.chain();
    for (binary, _) in &open {
        out.push('{');
        Object { out, first: true }.bool("bool", binary.return_bool);
        out.push_str(",\"lhs\":");
    }
    write(first, out);
    while let Some((binary, _)) = open.pop() {
        let mut o = Object { out, first: false };
        o.option("matching", binary.matching.as_ref(), |out, matching| {
            object(out, |o| write_matching(o, matching));
        });
        o.text("op", binary.op.as_str());
        o.value("rhs", |out| write(&binary.rhs, out));
        o.text("type", "binaryExpr");
        out.push('}');
    }
}

fn write_matching(o: &mut Object<'_>, matching: &VectorMatching) {
    o.text("card", matching.cardinality.as_str());
    o.value("fillValues", |out| {
        object(out, |o| {
            o.option("lhs", matching.fill_left, write_number);
            o.option("rhs", matching.fill_right, write_number);
        });
    });
    o.texts("include", &matching.include);
    o.texts("labels", &matching.labels);
    o.bool("on", matching.on);
}

/// JSON has no infinities and no NaN.
fn write_number(out: &mut String, value: f64) {
    out.push_str(&if value.is_finite() {
        format_float(value)
    } else {
        "null".to_owned()
    });
}

fn write_call(o: &mut Object<'_>, call: &Call) {
    o.value("args", |out| list(out, &call.args, |out, arg| write(arg, out)));
    o.value("func", |out| {
        object(out, |o| {
            let types: Vec<&str> = call
                .function
                .arg_types
                .iter()
                .copied()
                .map(ValueType::as_str)
                .collect();
            o.texts("argTypes", &types);
            o.text("name", call.function.name);
            o.text("returnType", call.function.return_type.as_str());
            o.number("variadic", i64::from(call.function.variadic));
        });
    });
    o.text("type", "call");
}

fn write_selector(o: &mut Object<'_>, selector: &VectorSelector, range: Option<&Duration>) {
    o.bool("anchored", selector.anchored);
    o.value("matchers", |out| {
        list(out, &selector.matchers, |out, matcher| {
            object(out, |o| {
                o.text("name", &matcher.name);
                o.text("type", matcher.op.as_str());
                o.text("value", &matcher.value);
            });
        });
    });
    o.text("name", &selector.name);
    o.duration("offset", selector.modifiers.offset.as_ref());
    if let Some(range) = range {
        o.duration("range", Some(range));
    }
    o.bool("smoothed", selector.smoothed);
    write_at(o, &selector.modifiers);
}

fn write_subquery(o: &mut Object<'_>, subquery: &Subquery) {
    o.value("expr", |out| write(&subquery.expr, out));
    o.duration("offset", subquery.modifiers.offset.as_ref());
    o.duration("range", Some(&subquery.range));
    write_start_or_end(o, subquery.modifiers.at);
    o.duration("step", subquery.step.as_ref());
    write_timestamp(o, subquery.modifiers.at);
    o.text("type", "subquery");
}

fn write_at(o: &mut Object<'_>, modifiers: &Modifiers) {
    write_start_or_end(o, modifiers.at);
    write_timestamp(o, modifiers.at);
}

fn write_start_or_end(o: &mut Object<'_>, at: Option<At>) {
    let word = match at {
        Some(At::Start) => Some("start"),
        Some(At::End) => Some("end"),
        _ => None,
    };
    o.option("startOrEnd", word, write_text);
}

fn write_timestamp(o: &mut Object<'_>, at: Option<At>) {
    match at {
        Some(At::Timestamp(ms)) => o.number("timestamp", ms),
        _ => o.null("timestamp"),
    }
}

/// A duration as the reference's tree has it: there, parentheses are a mark on what they enclose, and a number in
/// parentheses is a plus without left operand.
fn write_duration(out: &mut String, expr: &DurationExpr) {
    let (expr, wrapped) = match &expr.kind {
        DurationExprKind::Paren(inner) => (&**inner, true),
        _ => (expr, false),
    };
    let (lhs, op, rhs) = match &expr.kind {
        DurationExprKind::Number(number) if !wrapped => {
            return object(out, |o| {
                o.bool("duration", number.is_duration);
                o.text("type", "numberLiteral");
                o.text("val", &format_float(number.value));
            });
        }
        DurationExprKind::Number(_) => {
            return object(out, |o| {
                o.null("lhs");
                o.text("op", "+");
                o.value("rhs", |out| write_duration(out, expr));
                o.text("type", "durationExpr");
                o.bool("wrapped", true);
            });
        }
        DurationExprKind::Paren(inner) => return write_duration(out, inner),
        DurationExprKind::Step => (None, "step", None),
        DurationExprKind::Range => (None, "range", None),
        DurationExprKind::MinMax {
            max,
            args: [first, second],
        } => (Some(first), if *max { "max_of" } else { "min_of" }, Some(second)),
        DurationExprKind::Unary { negative, expr } => (None, if *negative { "-" } else { "+" }, Some(expr)),
        DurationExprKind::Binary { op, lhs, rhs } => (Some(lhs), op.as_str(), Some(rhs)),
    };
    object(out, |o| {
        o.option("lhs", lhs, |out, lhs| write_duration(out, lhs));
        o.text("op", op);
        o.option("rhs", rhs, |out, rhs| write_duration(out, rhs));
        o.text("type", "durationExpr");
        o.bool("wrapped", wrapped);
    });
}

/// The members of an object that is being written.
struct Object<'a> {
    out: &'a mut String,
    first: bool,
}

fn object(out: &mut String, members: impl FnOnce(&mut Object<'_>)) {
    out.push('{');
    members(&mut Object { out, first: true });
    out.push('}');
}

fn list<T>(out: &mut String, items: &[T], item: impl Fn(&mut String, &T)) {
    out.push('[');
    for (i, value) in items.iter().enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        item(out, value);
    }
    out.push(']');
}

impl Object<'_> {
    fn value(&mut self, key: &str, value: impl FnOnce(&mut String)) {
        self.out.push_str(if self.first { "" } else { "," });
        self.first = false;
        write_text(self.out, key);
        self.out.push(':');
        value(self.out);
    }

    fn option<T>(&mut self, key: &str, value: Option<T>, write: impl FnOnce(&mut String, T)) {
        match value {
            Some(value) => self.value(key, |out| write(out, value)),
            None => self.null(key),
        }
    }

    fn null(&mut self, key: &str) {
        self.value(key, |out| out.push_str("null"));
    }

    fn text(&mut self, key: &str, text: &str) {
        self.value(key, |out| write_text(out, text));
    }

    fn texts<T: AsRef<str>>(&mut self, key: &str, texts: &[T]) {
        self.value(key, |out| {
            list(out, texts, |out, text| write_text(out, text.as_ref()));
        });
    }

    fn bool(&mut self, key: &str, value: bool) {
        self.value(key, |out| out.push_str(if value { "true" } else { "false" }));
    }

    fn number(&mut self, key: &str, value: i64) {
        self.value(key, |out| {
            // Writing to a String does not fail.
            let _ = write!(out, "{value}");
        });
    }

    /// `key` in milliseconds, and the expression behind it under `keyExpr`: one of them counts.
    fn duration(&mut self, key: &str, duration: Option<&Duration>) {
        let (ms, expr) = match duration {
            None => (0, None),
            Some(Duration::Literal(ms)) => (*ms, None),
            Some(Duration::Expr(expr)) => (0, Some(expr)),
        };
        self.number(key, ms);
        self.option(&format!("{key}Expr"), expr, |out, expr| write_duration(out, expr));
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

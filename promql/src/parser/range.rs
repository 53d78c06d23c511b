//! What stands behind an operand: ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.

use super::error::Problem;
use super::token::{Builtin, Kind};
use super::{Parser, Step, Stop};
use crate::ast::{At, Duration, Expr, ExprKind, MatrixSelector, Modifiers, Subquery, VectorSelector};

const RANGE_EXPECTED: &str = "number, duration, step(), or range()";

impl Parser<'_> {
    /// `[range]` or `[range:step]` behind `inner`.
    pub(super) fn range(&mut self, inner: Expr) -> Step<Expr> {
        let open = self.next()?.span;
        let range = self.range_duration();
        let range = self.word(range, "subquery or range selector", RANGE_EXPECTED)?;
        if self.accept(Kind::Colon)?.is_some() {
            return self.subquery(inner, range);
        }
        let close = self.expect(Kind::RightBracket);
        let close = self.word(close, "subquery or range", "\":\" or \"]\"")?.span;
        let span = inner.span.to(close);
        let problem = match &inner.kind {
            ExprKind::Vector(VectorSelector {
                modifiers: Modifiers { offset: Some(_), .. },
                ..
            }) => Some(Problem::ModifierBeforeRange("offset")),
            ExprKind::Vector(VectorSelector {
                modifiers: Modifiers { at: Some(_), .. },
                ..
            }) => Some(Problem::ModifierBeforeRange("@")),
            ExprKind::Vector(_) => None,
            _ => Some(Problem::RangeWithoutSelector),
        };
        if let Some(problem) = problem {
            self.report(open.to(close), problem);
        }
        let selector_span = inner.span;
        let selector = match inner.into_kind() {
            ExprKind::Vector(selector) => selector,
            _ => VectorSelector::default(),
        };
        Ok(Expr::new(
            ExprKind::Matrix(MatrixSelector {
                selector,
                selector_span,
                range,
            }),
            span,
        ))
    }

    /// The rest of a subquery, from behind its colon.
    fn subquery(&mut self, inner: Expr, range: Duration) -> Step<Expr> {
        const CONTEXT: &str = "subquery selector";
        let (step, close) = match self.accept(Kind::RightBracket)? {
            Some(close) => (None, close),
            None => {
                let step = self.range_duration();
                let expected = "number, duration, step(), range(), or \"]\"";
                let step = self.word(step, CONTEXT, expected)?;
                let close = self.expect(Kind::RightBracket);
                (Some(step), self.word(close, CONTEXT, "\"]\"")?)
            }
        };
        self.count_subquery(close.span)?;
        let span = inner.span.to(close.span);
        let subquery = Subquery {
            expr: Box::new(inner),
            range,
            step,
            modifiers: Modifiers::default(),
        };
        Ok(Expr::new(ExprKind::Subquery(subquery), span))
    }

    pub(super) fn offset_modifier(&mut self, mut expr: Expr) -> Step<Expr> {
        self.next()?;
        let offset = self.offset_duration();
        let offset = self.word(offset, "offset", RANGE_EXPECTED)?;
        match modifiers(&mut expr) {
            None => self.report(expr.span, Problem::ModifierWithoutSelector("offset")),
            Some(Modifiers { offset: Some(_), .. }) => self.report(expr.span, Problem::OffsetTwice),
            // Compat: an offset of zero is none; another one may follow.
            Some(modifiers) => {
                modifiers.offset = Some(offset).filter(|offset| *offset != Duration::Literal(0));
            }
        }
        expr.span.end = self.end;
        Ok(expr)
    }

    pub(super) fn at_modifier(&mut self, mut expr: Expr) -> Step<Expr> {
        self.next()?;
        let at = self.at_time();
        let at = match self.word(at, "@", "timestamp")? {
            Ok(at) => at,
            Err(seconds) => {
                self.report(expr.span, Problem::TimestampRange(seconds));
                At::Timestamp(0)
            }
        };
        match modifiers(&mut expr) {
            None => self.report(expr.span, Problem::ModifierWithoutSelector("@")),
            Some(Modifiers { at: Some(_), .. }) => self.report(expr.span, Problem::AtTwice),
            Some(modifiers) => modifiers.at = Some(at),
        }
        expr.span.end = self.end;
        Ok(expr)
    }

    /// A time behind `@`; the number of seconds as an error where it is out of range.
    fn at_time(&mut self) -> Step<Result<At, f64>> {
        if let Kind::Builtin(builtin @ (Builtin::Start | Builtin::End)) = self.peek()?.kind {
            self.next()?;
            self.expect(Kind::LeftParen)?;
            self.expect(Kind::RightParen)?;
            return Ok(Ok(if builtin == Builtin::Start {
                At::Start
            } else {
                At::End
            }));
        }
        let sign = self.sign()?;
        let (number, _) = self.number_literal()?.ok_or(Stop::Unexpected)?;
        let seconds = if sign.is_some_and(|(negative, _)| negative) {
            -number.value
        } else {
            number.value
        };
        // The range of 64 bits, as the reference checks it before it multiplies by a thousand; the product saturates.
        const SECONDS_LIMIT: f64 = i64::MAX as f64;
        if seconds.abs() < SECONDS_LIMIT {
            Ok(Ok(At::Timestamp((seconds * 1000.0).round() as i64)))
        } else {
            Ok(Err(seconds))
        }
    }

    /// `anchored` or `smoothed`.
    pub(super) fn range_modifier(&mut self, mut expr: Expr, anchored: bool) -> Step<Expr> {
        let keyword = self.next()?.span;
        let name = if anchored { "anchored" } else { "smoothed" };
        let selector = match &mut expr.kind {
            _ if !self.options.extended_range_selectors => Err(Problem::RangeModifierNotEnabled(name)),
            ExprKind::Vector(selector) => Ok(selector),
            ExprKind::Matrix(matrix) => Ok(&mut matrix.selector),
            ExprKind::Subquery(_) => Err(Problem::RangeModifierOnSubquery(name)),
            _ => Err(Problem::RangeModifierElsewhere(name)),
        };
        let problem = match selector {
            Ok(selector) => {
                selector.anchored |= anchored;
                selector.smoothed |= !anchored;
                (selector.anchored && selector.smoothed).then_some(Problem::AnchoredAndSmoothed)
            }
            Err(problem) => Some(problem),
        };
        if let Some(problem) = problem {
            self.report(expr.span, problem);
        }
        expr.span.end = keyword.end;
        Ok(expr)
    }
}

fn modifiers(expr: &mut Expr) -> Option<&mut Modifiers> {
    match &mut expr.kind {
        ExprKind::Vector(selector) => Some(&mut selector.modifiers),
        ExprKind::Matrix(matrix) => Some(&mut matrix.selector.modifiers),
        ExprKind::Subquery(subquery) => Some(&mut subquery.modifiers),
        _ => None,
    }
}

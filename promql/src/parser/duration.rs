//! The grammar of durations: behind `offset` and inside brackets.

use super::error::Problem;
use super::token::{Builtin, Kind};
use super::{Parser, Step, Stop};
use crate::ast::{BinaryOp, Duration, DurationExpr, DurationExprKind, NumberLiteral, Span};

impl Parser<'_> {
    /// A duration in brackets, which must be positive as far as that can be told yet.
    pub(super) fn range_duration(&mut self) -> Step<Duration> {
        let expr = self.duration_expression(0)?;
        if let DurationExprKind::Number(number) = expr.kind
            && number.value <= 0.0
        {
            self.report(expr.span, Problem::DurationNotPositive);
        }
        Ok(finish(expr))
    }

    /// A duration behind `offset`.
    ///
    /// Compat: it ends where a first operand ends that is no expression in parentheses without a sign: `x offset 5m * 2`
    /// is twice the selector, `x offset (5m) * 2` is an offset of ten minutes.
    pub(super) fn offset_duration(&mut self) -> Step<Duration> {
        let sign = self.sign()?;
        let (kind, Some((negative, sign))) = (self.peek()?.kind, sign) else {
            if self.peek()?.kind == Kind::LeftParen {
                return self.duration_expression(0).map(finish);
            }
            return self.duration_operand().map(finish);
        };
        let expr = match kind {
            Kind::Operator(_) => {
                let operand = self.duration_expression(BinaryOp::Pow.precedence())?;
                let first = self.apply_sign(negative, sign, operand);
                self.duration_chain(first, 0)?
            }
            Kind::Builtin(_) => {
                let operand = self.duration_operand()?;
                let span = sign.to(operand.span);
                DurationExpr {
                    kind: DurationExprKind::Unary {
                        negative,
                        expr: Box::new(operand),
                    },
                    span,
                }
            }
            _ => {
                let operand = self.duration_operand()?;
                self.apply_sign(negative, sign, operand)
            }
        };
        Ok(finish(expr))
    }

    fn duration_expression(&mut self, precedence_min: u8) -> Step<DurationExpr> {
        self.nested_duration(|parser| {
            let left = match parser.sign()? {
                Some((negative, sign)) => {
                    let operand = parser.duration_expression(BinaryOp::Pow.precedence())?;
                    parser.apply_sign(negative, sign, operand)
                }
                None => parser.duration_operand()?,
            };
            parser.duration_chain(left, precedence_min)
        })
    }

    /// The operators behind a first operand.
    fn duration_chain(&mut self, mut left: DurationExpr, precedence_min: u8) -> Step<DurationExpr> {
        while let Kind::Operator(op) = self.peek()?.kind {
            let arithmetic = op.precedence() >= BinaryOp::Add.precedence() && op != BinaryOp::Atan2;
            if !arithmetic || op.precedence() < precedence_min {
                break;
            }
            let operator = self.next()?.span;
            self.count_duration_operator(operator)?;
            let rhs = self.duration_expression(op.precedence() + u8::from(op != BinaryOp::Pow))?;
            self.require_expressions(left.span);
            let zero = matches!(rhs.kind, DurationExprKind::Number(number) if number.value == 0.0);
            match op {
                BinaryOp::Div if zero => self.report(operator, Problem::DivisionByZero),
                BinaryOp::Mod if zero => self.report(operator, Problem::ModuloByZero),
                _ => {}
            }
            let span = left.span.to(rhs.span);
            let kind = DurationExprKind::Binary {
                op,
                lhs: Box::new(left),
                rhs: Box::new(rhs),
            };
            left = DurationExpr { kind, span };
        }
        Ok(left)
    }

    fn duration_operand(&mut self) -> Step<DurationExpr> {
        if let Some((number, span)) = self.number_literal()? {
            let number = self.checked_number(number, span);
            return Ok(DurationExpr {
                kind: DurationExprKind::Number(number),
                span,
            });
        }
        let token = self.peek()?;
        match token.kind {
            Kind::LeftParen => {
                self.next()?;
                let inner = self.duration_expression(0)?;
                let close = self.expect(Kind::RightParen)?.span;
                self.require_expressions(inner.span);
                let kind = match inner.kind {
                    // Compat: parentheses around parentheses are forgotten.
                    kind @ DurationExprKind::Paren(_) => kind,
                    kind => DurationExprKind::Paren(Box::new(DurationExpr {
                        kind,
                        span: inner.span,
                    })),
                };
                Ok(DurationExpr {
                    kind,
                    span: token.span.to(close),
                })
            }
            Kind::Builtin(builtin @ (Builtin::Step | Builtin::Range | Builtin::MaxOf | Builtin::MinOf)) => {
                self.next()?;
                self.expect(Kind::LeftParen)?;
                let kind = match builtin {
                    Builtin::Step => DurationExprKind::Step,
                    Builtin::Range => DurationExprKind::Range,
                    _ => {
                        let first = self.duration_expression(0)?;
                        self.expect(Kind::Comma)?;
                        let second = self.duration_expression(0)?;
                        let args = [Box::new(first), Box::new(second)];
                        DurationExprKind::MinMax {
                            max: builtin == Builtin::MaxOf,
                            args,
                        }
                    }
                };
                let span = token.span.to(self.expect(Kind::RightParen)?.span);
                self.require_expressions(span);
                Ok(DurationExpr { kind, span })
            }
            _ => Err(Stop::Unexpected),
        }
    }

    fn apply_sign(&mut self, negative: bool, sign: Span, operand: DurationExpr) -> DurationExpr {
        let span = sign.to(operand.span);
        match operand.kind {
            DurationExprKind::Number(NumberLiteral { value, is_duration }) => {
                let value = if negative { -value } else { value };
                let number = self.checked_number(NumberLiteral { value, is_duration }, sign);
                DurationExpr {
                    kind: DurationExprKind::Number(number),
                    span,
                }
            }
            _ if negative => DurationExpr {
                kind: DurationExprKind::Unary {
                    negative,
                    expr: Box::new(operand),
                },
                span,
            },
            _ => operand,
        }
    }

    /// Refuses numbers of seconds that do not fit into 64 bits of nanoseconds. (The reference lets NaN pass and then
    /// looks 292 years into the future.)
    fn checked_number(&mut self, number: NumberLiteral, span: Span) -> NumberLiteral {
        const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;
        if number.value.abs() <= SECONDS_MAX {
            return number;
        }
        self.report(span, Problem::DurationRange);
        NumberLiteral { value: 0.0, ..number }
    }

    fn require_expressions(&mut self, span: Span) {
        if !self.options.duration_expressions {
            self.report(span, Problem::DurationExprNotEnabled);
        }
    }
}

/// What needs no working out is a literal.
fn finish(expr: DurationExpr) -> Duration {
    match expr.kind {
        DurationExprKind::Number(number) => Duration::Literal(milliseconds(number.value)),
        _ => Duration::Expr(Box::new(expr)),
    }
}

/// Seconds in whole milliseconds: rounded to nanoseconds, then cut, as the reference does.
pub(crate) fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64 / 1_000_000
}

//! The grammar of expressions.

use super::error::Problem;
use super::literal;
use super::token::{Keyword, Kind, Token};
use super::{OPERATORS_MAX, Parser, Step, Stop};
use crate::ast::{
    Aggregate, Binary, BinaryOp, Call, Cardinality, Expr, ExprKind, Grouping, NumberLiteral, Span, Unary,
    VectorMatching,
};
use crate::signatures;

/// What stands between a binary operator and its right operand.
struct BinaryModifiers {
    return_bool: bool,
    matching: VectorMatching,
}

impl Parser<'_> {
    /// An expression whose operators bind at least as tightly as `precedence_min`.
    pub(super) fn expression(&mut self, precedence_min: u8) -> Step<Expr> {
        self.nested(|parser| {
            let mut left = parser.signed()?;
            while let Kind::Operator(op) = parser.peek()?.kind {
                if op.precedence() < precedence_min {
                    break;
                }
                left = parser.binary(left, op)?;
            }
            Ok(left)
        })
    }

    fn binary(&mut self, lhs: Expr, op: BinaryOp) -> Step<Expr> {
        let operator = self.next()?;
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            return self.fail(operator.span, Problem::TooManyOperators(OPERATORS_MAX));
        }
        let BinaryModifiers {
            return_bool,
            matching,
        } = self.binary_modifiers()?;
        let from_the_right = op == BinaryOp::Pow;
        let rhs = self.expression(op.precedence() + u8::from(!from_the_right))?;
        let span = lhs.span.to(rhs.span);
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if fills && !self.options.binop_fill_modifiers {
            self.report(span, Problem::FillNotEnabled);
        }
        let matching = Some(matching);
        let binary = Binary {
            op,
            lhs: Box::new(lhs),
            rhs: Box::new(rhs),
            return_bool,
            matching,
        };
        Ok(Expr::new(ExprKind::Binary(binary), span))
    }

    fn binary_modifiers(&mut self) -> Step<BinaryModifiers> {
        let mut matching = VectorMatching {
            cardinality: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let return_bool = self.accept(Kind::Keyword(Keyword::Bool))?.is_some();
        if let Kind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek()?.kind {
            self.next()?;
            matching.on = keyword == Keyword::On;
            matching.labels = self.grouping_labels()?;
            if let Kind::Keyword(side @ (Keyword::GroupLeft | Keyword::GroupRight)) = self.peek()?.kind {
                self.next()?;
                let left = side == Keyword::GroupLeft;
                matching.cardinality = if left {
                    Cardinality::ManyToOne
                } else {
                    Cardinality::OneToMany
                };
                // Labels may be left out where an operand follows; what is neither is missing its parenthesis.
                let next = self.peek()?.kind;
                if next == Kind::LeftParen || !next.starts_expression() {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        self.fill_modifiers(&mut matching)?;
        Ok(BinaryModifiers {
            return_bool,
            matching,
        })
    }

    /// `fill(x)`, or `fill_left(x)` and `fill_right(x)` in any order.
    fn fill_modifiers(&mut self, matching: &mut VectorMatching) -> Step<()> {
        while let Kind::Keyword(keyword) = self.peek()?.kind {
            let unset = (matching.fill_left.is_none(), matching.fill_right.is_none());
            if !matches!(
                (keyword, unset),
                (Keyword::Fill, (true, true))
                    | (Keyword::FillLeft, (true, _))
                    | (Keyword::FillRight, (_, true))
            ) {
                break;
            }
            self.next()?;
            self.expect(Kind::LeftParen)?;
            let sign = self.sign()?;
            let (number, _) = self.number_literal()?.ok_or(Stop::Unexpected)?;
            self.expect(Kind::RightParen)?;
            let value = if sign.is_some_and(|(negative, _)| negative) {
                -number.value
            } else {
                number.value
            };
            if keyword != Keyword::FillRight {
                matching.fill_left = Some(value);
            }
            if keyword != Keyword::FillLeft {
                matching.fill_right = Some(value);
            }
        }
        Ok(())
    }

    /// A plus or a minus: whether it is minus, and where it stands.
    pub(super) fn sign(&mut self) -> Step<Option<(bool, Span)>> {
        match self.peek()?.kind {
            Kind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                let span = self.next()?.span;
                Ok(Some((op == BinaryOp::Sub, span)))
            }
            _ => Ok(None),
        }
    }

    /// A sign with its operand, which may hold a `^`; or an operand alone.
    fn signed(&mut self) -> Step<Expr> {
        let Some((negative, sign)) = self.sign()? else {
            return self.operand();
        };
        let operand = self.expression(BinaryOp::Pow.precedence())?;
        let span = sign.to(operand.span);
        let kind = match &operand.kind {
            ExprKind::Number(NumberLiteral { value, is_duration }) => ExprKind::Number(NumberLiteral {
                value: if negative { -value } else { *value },
                is_duration: *is_duration,
            }),
            _ => ExprKind::Unary(Unary {
                negative,
                expr: Box::new(operand),
            }),
        };
        Ok(Expr::new(kind, span))
    }

    /// An operand with the ranges and modifiers behind it, which bind tighter than any operator.
    fn operand(&mut self) -> Step<Expr> {
        let mut expr = self.primary()?;
        loop {
            expr = match self.peek()?.kind {
                Kind::LeftBracket => self.range(expr)?,
                Kind::At => self.at_modifier(expr)?,
                Kind::Keyword(Keyword::Offset) => self.offset_modifier(expr)?,
                Kind::Keyword(Keyword::Anchored) => self.range_modifier(expr, true)?,
                Kind::Keyword(Keyword::Smoothed) => self.range_modifier(expr, false)?,
                _ => return Ok(expr),
            };
        }
    }

    fn primary(&mut self) -> Step<Expr> {
        let token = self.peek()?;
        match token.kind {
            Kind::Number | Kind::Duration => {
                let (number, span) = self.number_literal()?.ok_or(Stop::Unexpected)?;
                Ok(Expr::new(ExprKind::Number(number), span))
            }
            Kind::String => {
                self.next()?;
                Ok(Expr::new(
                    ExprKind::String(literal::unquote_disguised(self.text(token))),
                    token.span,
                ))
            }
            Kind::LeftParen => {
                self.next()?;
                let inner = self.expression(0)?;
                let close = self.expect(Kind::RightParen)?;
                Ok(Expr::new(
                    ExprKind::Paren(Box::new(inner)),
                    token.span.to(close.span),
                ))
            }
            Kind::LeftBrace => self.selector(),
            kind if kind.names_metric() => self.named(),
            _ => Err(Stop::Unexpected),
        }
    }

    /// What starts with a name: a call, an aggregation, a selector.
    fn named(&mut self) -> Step<Expr> {
        let name = self.next()?;
        match (name.kind, self.peek()?.kind) {
            (Kind::Identifier | Kind::Builtin(_), Kind::LeftParen) => self.call(name),
            (Kind::Aggregate(_), Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without)) => {
                let result = self.aggregate(name);
                self.word(result, "aggregation", "")
            }
            _ => self.selector_behind_name(name),
        }
    }

    fn call(&mut self, name: Token) -> Step<Expr> {
        let (args, close) = self.arguments()?;
        let text = self.text(name);
        let function = signatures::function(text);
        match function {
            None => {
                let nearest = signatures::nearest(text);
                self.report(
                    name.span,
                    Problem::UnknownFunction {
                        name: text.to_owned(),
                        nearest,
                    },
                );
            }
            Some(function) if function.experimental && !self.options.experimental_functions => {
                self.report(name.span, Problem::FunctionNotEnabled(function.name));
            }
            Some(_) => {}
        }
        let function = function.unwrap_or(&signatures::UNKNOWN);
        Ok(Expr::new(
            ExprKind::Call(Call { function, args }),
            name.span.to(close),
        ))
    }

    /// Arguments in parentheses, and where the closing one stands.
    fn arguments(&mut self) -> Step<(Vec<Expr>, Span)> {
        self.expect(Kind::LeftParen)?;
        let mut args = Vec::new();
        if let Some(close) = self.accept(Kind::RightParen)? {
            return Ok((args, close.span));
        }
        args.push(self.expression(0)?);
        while let Some(comma) = self.accept(Kind::Comma)? {
            if self.peek()?.kind.starts_expression() {
                args.push(self.expression(0)?);
            } else {
                self.report(comma.span, Problem::TrailingComma);
            }
        }
        let close = self.expect(Kind::RightParen)?;
        Ok((args, close.span))
    }

    fn aggregate(&mut self, name: Token) -> Step<Expr> {
        let Kind::Aggregate(op) = name.kind else {
            return Err(Stop::Unexpected);
        };
        let mut grouping = self.grouping()?;
        let (args, close) = self.arguments()?;
        let mut span = name.span.to(close);
        if grouping.is_none() {
            grouping = self.grouping()?;
            span.end = self.end;
        }
        let expected = 1 + usize::from(op.takes_param());
        let found = args.len();
        let problem = if found == 0 {
            Some(Problem::NoAggregateArguments)
        } else if op.is_experimental() && !self.options.experimental_functions {
            Some(Problem::AggregatorNotEnabled(op.as_str()))
        } else if found != expected {
            Some(Problem::AggregateArguments { expected, found })
        } else {
            None
        };
        if let Some(problem) = problem {
            self.report(span, problem);
        }
        let mut args = args.into_iter().map(Box::new);
        let param = if op.takes_param() { args.next() } else { None };
        let expr = args.next().unwrap_or_else(|| Box::new(Expr::placeholder()));
        Ok(Expr::new(
            ExprKind::Aggregate(Aggregate {
                op,
                expr,
                param,
                grouping,
            }),
            span,
        ))
    }

    fn grouping(&mut self) -> Step<Option<Grouping>> {
        let Kind::Keyword(keyword @ (Keyword::By | Keyword::Without)) = self.peek()?.kind else {
            return Ok(None);
        };
        self.next()?;
        let labels = self.grouping_labels()?;
        Ok(Some(Grouping {
            without: keyword == Keyword::Without,
            labels,
        }))
    }

    /// A list of label names in parentheses.
    fn grouping_labels(&mut self) -> Step<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        let open = self.expect(Kind::LeftParen);
        self.word(open, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        loop {
            if self.accept(Kind::RightParen)?.is_some() {
                return Ok(labels);
            }
            let label = self.grouping_label();
            labels.push(self.word(label, CONTEXT, "label")?);
            if self.accept(Kind::Comma)?.is_none() && self.peek()?.kind != Kind::RightParen {
                return self.word(Err(Stop::Unexpected), CONTEXT, "\",\" or \")\"");
            }
        }
    }

    fn grouping_label(&mut self) -> Step<String> {
        let token = self.peek()?;
        let name = match token.kind {
            Kind::String => literal::unquote(self.text(token)),
            kind if kind.names_label() => self.text(token).to_owned(),
            _ => return Err(Stop::Unexpected),
        };
        self.next()?;
        if name.is_empty() {
            self.report(token.span, Problem::GroupingLabel(name.clone()));
        }
        Ok(name)
    }

    /// A number without sign, or a duration where a number is meant.
    pub(super) fn number_literal(&mut self) -> Step<Option<(NumberLiteral, Span)>> {
        let token = self.peek()?;
        let is_duration = match token.kind {
            Kind::Number => false,
            Kind::Duration => true,
            _ => return Ok(None),
        };
        self.next()?;
        let word = self.text(token);
        let value = if is_duration {
            model::duration::parse_duration(word)
                .map(seconds)
                .map_err(Problem::from)
        } else {
            literal::number(word)
        };
        let value = value.unwrap_or_else(|problem| {
            self.report(token.span, problem);
            0.0
        });
        Ok(Some((NumberLiteral { value, is_duration }, token.span)))
    }
}

/// Milliseconds as seconds, added up as the reference does, to the last bit.
fn seconds(ms: i64) -> f64 {
    (ms / 1000) as f64 + (ms % 1000 * 1_000_000) as f64 / 1e9
}

//! The grammar inside braces: matchers of a selector, labels of a metric.

use model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};

use super::error::Problem;
use super::literal;
use super::token::{Kind, Token};
use super::{Parser, Step, Stop};
use crate::ast::{BinaryOp, Expr, ExprKind, Span, VectorSelector};

const MATCHING: &str = "label matching";
const LABEL_SET: &str = "label set";

impl Parser<'_> {
    /// `name`, `name{…}` or `{…}`.
    pub(super) fn selector(&mut self) -> Step<Expr> {
        let token = self.peek()?;
        if token.kind.names_metric() {
            self.next()?;
            return self.selector_behind_name(token);
        }
        let (matchers, span) = self.matchers()?;
        Ok(Expr::new(
            ExprKind::Vector(VectorSelector {
                matchers,
                ..VectorSelector::default()
            }),
            span,
        ))
    }

    /// A selector whose name has been read.
    pub(super) fn selector_behind_name(&mut self, token: Token) -> Step<Expr> {
        let name = self.text(token).to_owned();
        let (mut matchers, mut span) = (Vec::new(), token.span);
        if self.peek()?.kind == Kind::LeftBrace {
            let braces;
            (matchers, braces) = self.matchers()?;
            span = span.to(braces);
        }
        matchers.push(Matcher::equal(METRIC_NAME, name.as_str()));
        Ok(Expr::new(
            ExprKind::Vector(VectorSelector {
                name,
                matchers,
                ..VectorSelector::default()
            }),
            span,
        ))
    }

    fn matchers(&mut self) -> Step<(Vec<Matcher>, Span)> {
        let mut matchers = Vec::new();
        let span = self.braces(MATCHING, |parser| {
            matchers.extend(parser.matcher()?);
            Ok(())
        })?;
        Ok((matchers, span))
    }

    /// Items between braces, with commas between them and maybe one behind the last.
    fn braces(&mut self, context: &'static str, mut item: impl FnMut(&mut Self) -> Step<()>) -> Step<Span> {
        let open = self.expect(Kind::LeftBrace)?.span;
        loop {
            if let Some(close) = self.accept(Kind::RightBrace)? {
                return Ok(open.to(close.span));
            }
            let read = item(self);
            self.word(read, context, "identifier or \"}\"")?;
            if self.accept(Kind::Comma)?.is_none() && self.peek()?.kind != Kind::RightBrace {
                return self.word(Err(Stop::Unexpected), context, "\",\" or \"}\"");
            }
        }
    }

    /// `label="value"`, or a quoted metric name alone; `None` where its pattern is wrong.
    fn matcher(&mut self) -> Step<Option<Matcher>> {
        let (label, name) = self.label_name()?;
        let op = match self.peek()?.kind {
            Kind::Assign => MatchOp::Equal,
            Kind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            Kind::MatchRegex => MatchOp::Regex,
            Kind::MatchNotRegex => MatchOp::NotRegex,
            _ if label.kind == Kind::String => return Ok(Some(Matcher::equal(METRIC_NAME, name))),
            _ => return self.word(Err(Stop::Unexpected), MATCHING, "label matching operator"),
        };
        self.next()?;
        let value = self.expect(Kind::String);
        let value = self.word(value, MATCHING, "string")?;
        let text = literal::unquote(self.text(value));
        let span = label.span.to(value.span);
        match self
            .patterns
            .matcher(op, name, text, self.options.pattern_bytes_max)
        {
            Ok(matcher) => Ok(Some(matcher)),
            Err(problem @ Problem::PatternsTooLarge(_)) => self.fail(span, problem),
            Err(problem) => {
                self.report(span, problem);
                Ok(None)
            }
        }
    }

    /// A bare or quoted label name.
    fn label_name(&mut self) -> Step<(Token, String)> {
        let token = self.peek()?;
        let name = match token.kind {
            Kind::Identifier => self.text(token).to_owned(),
            Kind::String => literal::unquote(self.text(token)),
            _ => return Err(Stop::Unexpected),
        };
        self.next()?;
        Ok((token, name))
    }

    /// `name`, `name{…}`, `{…}` or nothing at all, as labels.
    pub(super) fn metric(&mut self) -> Step<Labels> {
        let mut labels = LabelsBuilder::new();
        let name = self.peek()?;
        if name.kind.names_metric() {
            self.next()?;
        }
        if self.peek()?.kind == Kind::LeftBrace {
            self.labels_in_braces(&mut labels)?;
        }
        if name.kind.names_metric() {
            labels.set(METRIC_NAME, self.text(name));
        }
        Ok(labels.build())
    }

    /// Labels in braces.
    pub(super) fn labels_in_braces(&mut self, labels: &mut LabelsBuilder) -> Step<()> {
        self.braces(LABEL_SET, |parser| parser.label(labels)).map(|_| ())
    }

    /// `label="value"`, or a quoted metric name alone.
    fn label(&mut self, labels: &mut LabelsBuilder) -> Step<()> {
        let (label, name) = self.label_name()?;
        if self.accept(Kind::Assign)?.is_none() {
            if label.kind == Kind::String {
                labels.set(METRIC_NAME, &name);
                return Ok(());
            }
            return self.word(Err(Stop::Unexpected), LABEL_SET, "\"=\"");
        }
        let value = self.expect(Kind::String);
        let value = self.word(value, LABEL_SET, "string")?;
        labels.set(&name, &literal::unquote(self.text(value)));
        Ok(())
    }
}

//! Parses what stands inside actions: pipelines, commands, operands.

use std::sync::Arc;

use crate::ast::{Command, Operand, OperandKind, Pipe, Span};
use crate::error::{ParseErrorKind, quoted};
use crate::lexer::Kind;
use crate::literal;
use crate::parser::{Parsed, Parser};

impl Parser<'_> {
    pub(crate) fn pipeline(&mut self, context: &'static str, end: Kind) -> Parsed<Pipe> {
        let start = self.peek_non_space().span.start;
        let mut pipe = Pipe::default();
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => {
                    let last = pipe.commands.last().map_or(start, |command| command.span.end);
                    pipe.span = Span { start, end: last };
                    self.check_pipeline(&pipe, context)?;
                    return Ok(pipe);
                }
                Kind::Bool
                | Kind::CharConstant
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.at -= 1;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return Err(self.unexpected(token, context)),
            }
        }
    }

    /// `$x :=`, `$x =`, and in loops `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &'static str) -> Parsed<()> {
        loop {
            let variable = self.peek_non_space();
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            let start = self.at;
            self.next();
            let next = self.peek_non_space();
            let comma = next.kind == Kind::Char && self.text(next) == ",";
            if !comma && !matches!(next.kind, Kind::Assign | Kind::Declare) {
                self.at = start;
                return Ok(());
            }
            self.next();
            let name: Box<str> = self.text(variable).into();
            pipe.declared.push(name.clone());
            self.variables.push(name);
            if !comma {
                pipe.assign = next.kind == Kind::Assign;
                return Ok(());
            }
            if context != "range" || pipe.declared.len() >= 2 {
                return Err(self.error(ParseErrorKind::TooManyDeclarations(context)));
            }
            if !matches!(
                self.peek_non_space().kind,
                Kind::Variable | Kind::RightDelim | Kind::RightParen
            ) {
                return Err(self.error(ParseErrorKind::RangeInitialise));
            }
        }
    }

    fn check_pipeline(&self, pipe: &Pipe, context: &'static str) -> Parsed<()> {
        if pipe.commands.is_empty() {
            return Err(self.error(ParseErrorKind::MissingValue(context)));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            if let OperandKind::Bool(_)
            | OperandKind::Dot
            | OperandKind::Nil
            | OperandKind::Number(_)
            | OperandKind::String(_) = command.operands[0].kind
            {
                return Err(self.error(ParseErrorKind::NonExecutable(i + 1)));
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Parsed<Command> {
        let start = self.peek_non_space().span.start;
        let mut operands: Vec<Operand> = Vec::new();
        loop {
            self.skip_space();
            if let Some(operand) = self.operand()? {
                operands.push(operand);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelim | Kind::RightParen => {
                    self.at -= 1;
                    break;
                }
                Kind::Pipe => break,
                _ => return Err(self.unexpected(token, "operand")),
            }
        }
        let Some(last) = operands.last() else {
            return Err(self.error(ParseErrorKind::EmptyCommand));
        };
        let span = Span {
            start,
            end: last.span.end,
        };
        Ok(Command { span, operands })
    }

    /// A term and the fields behind it.
    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(mut operand) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != Kind::Field {
            return Ok(Some(operand));
        }
        operand.pos = self.peek().span.start;
        let mut fields: Vec<Box<str>> = Vec::new();
        while self.peek().kind == Kind::Field {
            let token = self.next();
            fields.push(self.text(token)[1..].into());
            operand.span.end = token.span.end;
        }
        match &mut operand.kind {
            OperandKind::Field(own) | OperandKind::Variable(_, own) => own.extend(fields),
            OperandKind::Function(_) | OperandKind::Pipe(_) | OperandKind::Chain(..) => {
                let Span { start, .. } = operand.span;
                let end = operand.pos;
                let inner = Operand {
                    kind: operand.kind,
                    span: Span { start, end },
                    pos: start,
                };
                operand.kind = OperandKind::Chain(Box::new(inner), fields);
            }
            _ => {
                let term = &self.source.text[operand.span.start..operand.pos];
                return Err(self.error(ParseErrorKind::DotAfterTerm(quoted(term))));
            }
        }
        Ok(Some(operand))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.next_non_space();
        let text = &self.source.text[token.span.start..token.span.end];
        let mut span = token.span;
        let kind = match token.kind {
            Kind::Identifier => match (self.function)(text) {
                Some(function) => OperandKind::Function(function),
                None => return Err(self.error(ParseErrorKind::UnknownFunction(text.to_owned()))),
            },
            Kind::Dot => OperandKind::Dot,
            Kind::Nil => OperandKind::Nil,
            Kind::Variable => {
                if !self.variables.iter().any(|known| **known == *text) {
                    return Err(self.error(ParseErrorKind::UndefinedVariable(text.to_owned())));
                }
                OperandKind::Variable(text.into(), Vec::new())
            }
            Kind::Field => OperandKind::Field(vec![text[1..].into()]),
            Kind::Bool => OperandKind::Bool(text == "true"),
            Kind::CharConstant => {
                let rune = literal::unquote_char(text);
                let rune = rune.ok_or_else(|| self.error(ParseErrorKind::BadCharacter(text.to_owned())))?;
                OperandKind::Number(literal::rune_number(rune))
            }
            Kind::Number => {
                let number = literal::number(text);
                let number = number.ok_or_else(|| self.error(ParseErrorKind::BadNumber(text.to_owned())))?;
                OperandKind::Number(number)
            }
            Kind::LeftParen => {
                self.deeper()?;
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.depth -= 1;
                span.end = self.tokens[self.at - 1].span.end;
                OperandKind::Pipe(Box::new(pipe))
            }
            Kind::String | Kind::RawString => {
                let text = literal::unquote(text).ok_or_else(|| self.error(ParseErrorKind::BadString))?;
                OperandKind::String(Arc::from(text))
            }
            _ => {
                // Not an operand: the caller sees it again. At the end the position does not move at all.
                if self.tokens[self.at].span != token.span || self.tokens[self.at].kind != token.kind {
                    self.at -= 1;
                }
                return Ok(None);
            }
        };
        Ok(Some(Operand {
            kind,
            span,
            pos: token.span.start,
        }))
    }
}

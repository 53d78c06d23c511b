//! Tokens to trees.

use std::sync::Arc;

use crate::ast::{Definition, Node, Source};
use crate::error::{LexError, ParseError, ParseErrorKind, quoted};
use crate::lexer::{Keyword, Kind, Token, tokenize};
use crate::literal;

/// Nesting of blocks and parentheses that a template may have.
pub(crate) const NESTING_MAX: usize = 100;

/// Parses `text`; the first definition is the one called `name`, the others are those that the text defines.
pub(crate) fn parse(
    name: &str,
    text: &str,
    function: &dyn Fn(&str) -> Option<usize>,
) -> Result<Vec<Definition>, ParseError> {
    let source = Arc::new(Source {
        name: Arc::from(name),
        text: text.to_owned(),
    });
    let (tokens, lex_error) = tokenize(text);
    let mut parser = Parser {
        source: source.clone(),
        tokens,
        lex_error,
        at: 0,
        function,
        variables: Vec::new(),
        loops: 0,
        depth: 0,
        action_line: None,
        definitions: Vec::new(),
    };
    let body = parser.top_level()?;
    let root = Definition {
        name: source.name.clone(),
        source,
        body,
    };
    parser.define(root)?;
    // The root came last, because what it defines came first.
    parser.definitions.rotate_right(1);
    Ok(parser.definitions)
}

/// How a list of nodes ended.
enum End {
    End,
    Else(Option<Keyword>),
}

pub(crate) type Parsed<T> = Result<T, ParseError>;

pub(crate) struct Parser<'p> {
    pub(crate) source: Arc<Source>,
    pub(crate) tokens: Vec<Token>,
    lex_error: Option<LexError>,
    /// The next token.
    pub(crate) at: usize,
    pub(crate) function: &'p dyn Fn(&str) -> Option<usize>,
    /// Variables in sight, with their dollar signs.
    pub(crate) variables: Vec<Box<str>>,
    /// Loops around the current position.
    loops: usize,
    pub(crate) depth: usize,
    /// Line on which the current action started.
    action_line: Option<usize>,
    definitions: Vec<Definition>,
}

impl Parser<'_> {
    // Tokens.

    pub(crate) fn peek(&self) -> Token {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    pub(crate) fn next(&mut self) -> Token {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    pub(crate) fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.next();
        }
    }

    pub(crate) fn next_non_space(&mut self) -> Token {
        self.skip_space();
        self.next()
    }

    pub(crate) fn peek_non_space(&mut self) -> Token {
        self.skip_space();
        self.peek()
    }

    pub(crate) fn text(&self, token: Token) -> &str {
        &self.source.text[token.span.start..token.span.end]
    }

    fn expect(&mut self, kind: Kind, context: &'static str) -> Parsed<Token> {
        let token = self.next_non_space();
        if token.kind == kind {
            return Ok(token);
        }
        Err(self.unexpected(token, context))
    }

    // Errors.

    pub(crate) fn error(&self, kind: ParseErrorKind) -> ParseError {
        self.error_at(self.tokens[self.at.saturating_sub(1)], kind)
    }

    fn error_at(&self, token: Token, kind: ParseErrorKind) -> ParseError {
        ParseError {
            name: self.source.name.to_string(),
            line: token.line,
            offset: token.span.start,
            kind,
        }
    }

    pub(crate) fn unexpected(&self, token: Token, context: &'static str) -> ParseError {
        let kind = match (token.kind, &self.lex_error) {
            (Kind::Error, Some(LexError::UnclosedAction(_))) => {
                let started = self.action_line.filter(|line| *line != token.line);
                let started = started.map(|line| (self.source.name.to_string(), line));
                ParseErrorKind::Lex(LexError::UnclosedAction(started))
            }
            (Kind::Error, Some(error)) => ParseErrorKind::Lex(error.clone()),
            (Kind::Eof, _) => ParseErrorKind::Unexpected {
                token: "EOF".to_owned(),
                context,
            },
            (Kind::Keyword(_) | Kind::Nil | Kind::Dot, _) => ParseErrorKind::Unexpected {
                token: format!("<{}>", self.text(token)),
                context,
            },
            _ => {
                let text = self.text(token);
                let short: String = text.chars().take(10).collect();
                let more = if short.len() < text.len() { "..." } else { "" };
                ParseErrorKind::Unexpected {
                    token: format!("{}{more}", quoted(&short)),
                    context,
                }
            }
        };
        self.error_at(token, kind)
    }

    pub(crate) fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(self.error(ParseErrorKind::TooDeep));
        }
        Ok(())
    }

    // Lists of nodes.

    fn top_level(&mut self) -> Parsed<Vec<Node>> {
        self.variables = vec!["$".into()];
        let mut nodes = Vec::new();
        loop {
            let token = self.peek();
            match token.kind {
                Kind::Eof => return Ok(nodes),
                Kind::LeftDelim => {
                    let start = self.at;
                    self.next();
                    if self.next_non_space().kind == Kind::Keyword(Keyword::Define) {
                        self.definition()?;
                        continue;
                    }
                    self.at = start;
                }
                _ => {}
            }
            match self.node()? {
                Ok(node) => nodes.push(node),
                Err(End::End) => return Err(self.error(ParseErrorKind::UnexpectedControl("end"))),
                Err(End::Else(_)) => return Err(self.error(ParseErrorKind::UnexpectedControl("else"))),
            }
        }
    }

    /// Nodes up to `end` or `else`.
    fn list(&mut self) -> Parsed<(Vec<Node>, End)> {
        self.deeper()?;
        let mut nodes = Vec::new();
        while self.peek_non_space().kind != Kind::Eof {
            match self.node()? {
                Ok(node) => nodes.push(node),
                Err(end) => {
                    self.depth -= 1;
                    return Ok((nodes, end));
                }
            }
        }
        Err(self.error_at(self.peek(), ParseErrorKind::UnexpectedEof))
    }

    /// Nodes up to `end`, with variables of their own: what stands in `define` and `block`.
    fn separate_list(&mut self, context: &'static str) -> Parsed<Vec<Node>> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.list()?;
        self.variables = variables;
        self.loops = loops;
        if matches!(end, End::Else(_)) {
            let control = "else";
            return Err(self.error(ParseErrorKind::UnexpectedControlIn { control, context }));
        }
        Ok(nodes)
    }

    fn node(&mut self) -> Parsed<Result<Node, End>> {
        let token = self.next_non_space();
        match token.kind {
            Kind::Text => Ok(Ok(Node::Text(self.text(token).into()))),
            Kind::LeftDelim => {
                self.action_line = Some(token.line);
                let node = self.action();
                self.action_line = None;
                node
            }
            _ => Err(self.unexpected(token, "input")),
        }
    }

    fn action(&mut self) -> Parsed<Result<Node, End>> {
        let token = self.peek_non_space();
        let Kind::Keyword(keyword) = token.kind else {
            return Ok(Ok(Node::Action(self.pipeline("command", Kind::RightDelim)?)));
        };
        self.next();
        Ok(Ok(match keyword {
            Keyword::Block => self.block()?,
            Keyword::Break => self.jump("break", Node::Break)?,
            Keyword::Continue => self.jump("continue", Node::Continue)?,
            Keyword::Else => return self.otherwise().map(Err),
            Keyword::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Err(End::End));
            }
            Keyword::If => self.branch("if")?,
            Keyword::With => self.branch("with")?,
            Keyword::Range => self.range()?,
            Keyword::Template => self.template()?,
            Keyword::Define => return Err(self.unexpected(token, "command")),
        }))
    }

    fn otherwise(&mut self) -> Parsed<End> {
        let token = self.peek_non_space();
        if let Kind::Keyword(keyword @ (Keyword::If | Keyword::With)) = token.kind {
            return Ok(End::Else(Some(keyword)));
        }
        self.expect(Kind::RightDelim, "else")?;
        Ok(End::Else(None))
    }

    fn jump(&mut self, word: &'static str, node: Node) -> Parsed<Node> {
        let context = if word == "break" {
            "{{break}}"
        } else {
            "{{continue}}"
        };
        self.expect(Kind::RightDelim, context)?;
        if self.loops == 0 {
            return Err(self.error(ParseErrorKind::OutsideRange(word)));
        }
        Ok(node)
    }

    // Blocks.

    fn branch(&mut self, context: &'static str) -> Parsed<Node> {
        let with = context == "with";
        let chained = if with { Keyword::With } else { Keyword::If };
        let scope = self.variables.len();
        let mut arms = Vec::new();
        let otherwise = loop {
            let pipe = self.pipeline(context, Kind::RightDelim)?;
            let (body, end) = self.list()?;
            arms.push((pipe, body));
            match end {
                End::End => break Vec::new(),
                End::Else(Some(keyword)) if keyword == chained => {
                    self.next();
                }
                End::Else(_) => break self.else_list()?,
            }
        };
        self.variables.truncate(scope);
        Ok(Node::Branch {
            with,
            arms,
            otherwise,
        })
    }

    /// What follows `else`, up to `end`.
    fn else_list(&mut self) -> Parsed<Vec<Node>> {
        let (body, end) = self.list()?;
        match end {
            End::End => Ok(body),
            End::Else(_) => Err(self.error(ParseErrorKind::ExpectedEnd)),
        }
    }

    fn range(&mut self) -> Parsed<Node> {
        let scope = self.variables.len();
        let pipe = self.pipeline("range", Kind::RightDelim)?;
        self.loops += 1;
        let (body, end) = self.list()?;
        self.loops -= 1;
        let otherwise = match end {
            End::End => Vec::new(),
            End::Else(_) => self.else_list()?,
        };
        self.variables.truncate(scope);
        Ok(Node::Range {
            pipe,
            body,
            otherwise,
        })
    }

    fn template(&mut self) -> Parsed<Node> {
        let token = self.next_non_space();
        let name = self.template_name(token, "template clause")?;
        let pipe = if self.peek_non_space().kind == Kind::RightDelim {
            self.next();
            None
        } else {
            Some(self.pipeline("template clause", Kind::RightDelim)?)
        };
        Ok(Node::Template {
            pos: token.span.start,
            name: name.into(),
            pipe,
        })
    }

    fn block(&mut self) -> Parsed<Node> {
        let token = self.next_non_space();
        let name = self.template_name(token, "block clause")?;
        let pipe = self.pipeline("block clause", Kind::RightDelim)?;
        let body = self.separate_list("block clause")?;
        self.define(Definition {
            name: Arc::from(name.as_str()),
            source: self.source.clone(),
            body,
        })?;
        Ok(Node::Template {
            pos: token.span.start,
            name: name.into(),
            pipe: Some(pipe),
        })
    }

    fn definition(&mut self) -> Parsed<()> {
        let token = self.next_non_space();
        let name = self.template_name(token, "define clause")?;
        self.expect(Kind::RightDelim, "define clause")?;
        let body = self.separate_list("define clause")?;
        self.define(Definition {
            name: Arc::from(name.as_str()),
            source: self.source.clone(),
            body,
        })
    }

    fn template_name(&self, token: Token, context: &'static str) -> Parsed<String> {
        if !matches!(token.kind, Kind::String | Kind::RawString) {
            return Err(self.unexpected(token, context));
        }
        literal::unquote(self.text(token)).ok_or_else(|| self.error(ParseErrorKind::BadString))
    }

    /// Of two definitions of one name in one text, one must be blank.
    fn define(&mut self, new: Definition) -> Parsed<()> {
        let Some(old) = self.definitions.iter_mut().find(|old| old.name == new.name) else {
            self.definitions.push(new);
            return Ok(());
        };
        if old.is_blank() {
            *old = new;
        } else if !new.is_blank() {
            let name = new.name.to_string();
            return Err(self.error(ParseErrorKind::MultipleDefinition(name)));
        }
        Ok(())
    }
}

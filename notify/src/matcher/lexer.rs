//! Tokens of the UTF-8 syntax.

use std::fmt;

/// Characters that an unquoted name or value may not have.
pub(super) fn is_reserved(c: char) -> bool {
    c.is_whitespace() || "{}!=~,\\\"'`".contains(c)
}

/// Columns of a token, in characters from 0, the end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.start, self.end)
    }
}

/// Characters that are no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LexError {
    /// An operator that is not complete, at the end of the text.
    #[error("{span}: unexpected end of input, expected one of '{expected}'")]
    End {
        /// Where.
        span: Span,
        /// Characters that could follow.
        expected: &'static str,
    },
    /// An operator that is not complete.
    #[error("{span}: {text}: expected one of '{expected}'")]
    Expected {
        /// Where.
        span: Span,
        /// What is there of it.
        text: String,
        /// Characters that could follow.
        expected: &'static str,
    },
    /// A character that begins nothing.
    #[error("{span}: {text}: invalid input")]
    Invalid {
        /// Where.
        span: Span,
        /// Which.
        text: String,
    },
    /// A quoted text without its end.
    #[error("{span}: {text}: missing end \"")]
    Unterminated {
        /// Where.
        span: Span,
        /// What there is of it.
        text: String,
    },
}

/// Kinds of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    OpenBrace,
    CloseBrace,
    Comma,
    Equal,
    NotEqual,
    Regex,
    NotRegex,
    Quoted,
    Unquoted,
}

/// A token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    pub(super) span: Span,
}

/// Cuts a text into tokens; copies look ahead.
#[derive(Clone, Copy)]
pub(super) struct Lexer<'t> {
    rest: &'t str,
    /// Characters before `rest`.
    column: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Lexer {
            rest: text,
            column: 0,
        }
    }

    /// Characters that were read.
    pub(super) fn column(&self) -> usize {
        self.column
    }

    /// The next token without reading it.
    pub(super) fn peek(&self) -> Result<Option<Token<'t>>, LexError> {
        let mut ahead = *self;
        ahead.next()
    }

    /// The next token; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Token<'t>>, LexError> {
        let trimmed = self.rest.trim_start();
        self.skip(self.rest.len() - trimmed.len());
        let Some(first) = self.rest.chars().next() else {
            return Ok(None);
        };
        let second = self.rest.chars().nth(1);
        let (kind, bytes) = match (first, second) {
            ('{', _) => (Kind::OpenBrace, 1),
            ('}', _) => (Kind::CloseBrace, 1),
            (',', _) => (Kind::Comma, 1),
            ('=', Some('~')) => (Kind::Regex, 2),
            ('=', _) => (Kind::Equal, 1),
            ('!', Some('=')) => (Kind::NotEqual, 2),
            ('!', Some('~')) => (Kind::NotRegex, 2),
            ('!', _) => return Err(self.half_operator(second.is_none())),
            ('"', _) => (Kind::Quoted, self.quoted_bytes()?),
            (c, _) if !is_reserved(c) => {
                let bytes = self.rest.find(is_reserved).unwrap_or(self.rest.len());
                (Kind::Unquoted, bytes)
            }
            (c, _) => {
                let (text, span) = self.shown(c.len_utf8());
                return Err(LexError::Invalid { span, text });
            }
        };
        let (text, span) = (&self.rest[..bytes], self.span(bytes));
        self.skip(bytes);
        Ok(Some(Token { kind, text, span }))
    }

    fn half_operator(&self, at_end: bool) -> LexError {
        let (text, span) = self.shown(1);
        let expected = "=~";
        if at_end {
            return LexError::End { span, expected };
        }
        LexError::Expected { span, text, expected }
    }

    /// Length of the quoted text that begins here.
    fn quoted_bytes(&self) -> Result<usize, LexError> {
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return Ok(at + 1),
                _ => {}
            }
        }
        let (text, span) = self.shown(self.rest.len());
        Err(LexError::Unterminated { span, text })
    }

    fn span(&self, bytes: usize) -> Span {
        Span {
            start: self.column,
            end: self.column + self.rest[..bytes].chars().count(),
        }
    }

    fn shown(&self, bytes: usize) -> (String, Span) {
        (self.rest[..bytes].to_owned(), self.span(bytes))
    }

    fn skip(&mut self, bytes: usize) {
        self.column += self.rest[..bytes].chars().count();
        self.rest = &self.rest[bytes..];
    }
}

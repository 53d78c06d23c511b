//! What is wrong with a matcher, in words that the Alertmanager's users know.

use model::regex::RegexError;

use super::lexer::{LexError, Span};

/// Why a text is no matcher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatcherError {
    /// One matcher was wanted, and there is a brace.
    #[error("unexpected open or close brace: {0}")]
    Brace(String),
    /// One matcher was wanted, and there is none.
    #[error("no matchers")]
    None,
    /// One matcher was wanted, and there are more.
    #[error("expected 1 matcher, found {0}")]
    Many(usize),
    /// Not of the form name, operator, value (classic).
    #[error("bad matcher format: {0}")]
    Format(String),
    /// A quote too many or too few (classic).
    #[error("matcher value contains unescaped double quote: {0}")]
    Quote(String),
    /// The pattern of a classic matcher.
    #[error(transparent)]
    Regex(#[from] RegexError),
    /// The pattern of a UTF-8 matcher.
    #[error("failed to create matcher: {0}")]
    Pattern(RegexError),
    /// Characters that are no token.
    #[error(transparent)]
    Token(#[from] LexError),
    /// Characters that are no token, where something was expected.
    #[error("{0}: {1}")]
    TokenFor(LexError, Expected),
    /// A token other than expected.
    #[error("{span}: unexpected {text}: {expected}")]
    Unexpected {
        /// Where.
        span: Span,
        /// The token.
        text: String,
        /// What should stand there.
        expected: Expected,
    },
    /// The text ends where something was expected.
    #[error("end of input: {0}")]
    End(Expected),
    /// A quoted text with an escape that means nothing.
    #[error("{span}: {text}: invalid input")]
    Escape {
        /// Where.
        span: Span,
        /// The token.
        text: String,
    },
    /// A brace is opened and not closed.
    #[error("0:{column}: end of input: expected close brace")]
    NotClosed {
        /// Where the text ends.
        column: usize,
    },
    /// A brace is closed that was not opened.
    #[error("0:{column}: }}: expected opening brace")]
    NotOpened {
        /// Where it ends.
        column: usize,
    },
    /// Something behind the end.
    #[error("{span}: {text}: expected end of input")]
    Trailing {
        /// Where.
        span: Span,
        /// The token.
        text: String,
    },
}

/// What a parser expects at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Expected {
    /// The name of a label.
    #[error("expected label name")]
    Name,
    /// How it is compared.
    #[error("expected an operator such as '=', '!=', '=~' or '!~'")]
    Operator,
    /// What with.
    #[error("expected label value")]
    Value,
    /// Another matcher or the end.
    #[error("expected a comma or close brace")]
    CommaOrBrace,
    /// Another matcher, or the end behind a comma.
    #[error("expected a matcher or close brace after comma")]
    MatcherOrBrace,
    /// Nothing more.
    #[error("expected end of input")]
    End,
}

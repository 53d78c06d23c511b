//! Why a pattern was refused, in the words that users of Go programs know.

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RegexErrorKind {
    /// A class whose range is upside down or whose name does not exist.
    #[error("invalid character class range")]
    InvalidCharRange,
    /// A backslash before something that it gives no meaning.
    #[error("invalid escape sequence")]
    InvalidEscape,
    /// A group name that is empty, unfinished or has other characters than letters, digits and underscores.
    #[error("invalid named capture")]
    InvalidNamedCapture,
    /// Something after `(?` that this syntax does not have.
    #[error("invalid or unsupported Perl syntax")]
    InvalidPerlSyntax,
    /// A repetition of a repetition, as in `a**`.
    #[error("invalid nested repetition operator")]
    InvalidRepeatOperator,
    /// More than 1,000 copies, or a range upside down.
    #[error("invalid repeat count")]
    InvalidRepeatCount,
    /// A class without its end.
    #[error("missing closing ]")]
    MissingBracket,
    /// A group without its end.
    #[error("missing closing )")]
    MissingParen,
    /// A repetition of nothing.
    #[error("missing argument to repetition operator")]
    MissingRepeatArgument,
    /// A backslash as the last character.
    #[error("trailing backslash at end of expression")]
    TrailingBackslash,
    /// A closing parenthesis too many.
    #[error("unexpected )")]
    UnexpectedParen,
    /// Groups nested deeper than the limit.
    #[error("expression nests too deeply")]
    NestingDepth,
    /// The compiled form would pass the size limit.
    #[error("expression too large")]
    TooLarge,
}

/// A refused pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {kind}: `{fragment}`")]
pub struct RegexError {
    /// What is wrong.
    pub kind: RegexErrorKind,
    /// The part of the pattern that is wrong; the whole pattern where no part is to blame alone.
    pub fragment: String,
}

impl RegexError {
    pub(super) fn new(kind: RegexErrorKind, fragment: &str) -> Self {
        RegexError {
            kind,
            fragment: fragment.to_owned(),
        }
    }
}

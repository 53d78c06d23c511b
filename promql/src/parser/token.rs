//! The words of the language and how messages name them.

use std::fmt;

use model::labels::write_quoted;

use crate::ast::{AggregateOp, BinaryOp, Span};

/// A word and where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// The kinds of word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Eof,
    /// A name without a colon.
    Identifier,
    /// A name with a colon: only metrics have those.
    MetricIdentifier,
    String,
    Number,
    Duration,
    Comma,
    Colon,
    Assign,
    MatchRegex,
    MatchNotRegex,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    At,
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    Builtin(Builtin),
}

/// Words that modify an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Anchored,
    Bool,
    By,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Smoothed,
    Without,
}

impl Keyword {
    /// Whether it is one of the three that fill in missing series.
    pub(super) fn is_fill(self) -> bool {
        matches!(self, Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)
    }
}

/// Functions that the grammar itself knows, because they occur behind `@` or among durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// The meaning of a word outside braces, in any case of its letters.
pub(super) fn keyword(word: &str) -> Option<Kind> {
    use Keyword as K;
    let kind = match word.to_ascii_lowercase().as_str() {
        "and" => Kind::Operator(BinaryOp::And),
        "or" => Kind::Operator(BinaryOp::Or),
        "unless" => Kind::Operator(BinaryOp::Unless),
        "atan2" => Kind::Operator(BinaryOp::Atan2),
        "anchored" => Kind::Keyword(K::Anchored),
        "bool" => Kind::Keyword(K::Bool),
        "by" => Kind::Keyword(K::By),
        "fill" => Kind::Keyword(K::Fill),
        "fill_left" => Kind::Keyword(K::FillLeft),
        "fill_right" => Kind::Keyword(K::FillRight),
        "group_left" => Kind::Keyword(K::GroupLeft),
        "group_right" => Kind::Keyword(K::GroupRight),
        "ignoring" => Kind::Keyword(K::Ignoring),
        "offset" => Kind::Keyword(K::Offset),
        "on" => Kind::Keyword(K::On),
        "smoothed" => Kind::Keyword(K::Smoothed),
        "without" => Kind::Keyword(K::Without),
        "inf" | "nan" => Kind::Number,
        lower => return builtin(lower).or_else(|| AggregateOp::from_name(lower).map(Kind::Aggregate)),
    };
    Some(kind)
}

fn builtin(lower: &str) -> Option<Kind> {
    Some(Kind::Builtin(match lower {
        "start" => Builtin::Start,
        "end" => Builtin::End,
        "step" => Builtin::Step,
        "range" => Builtin::Range,
        "max_of" => Builtin::MaxOf,
        "min_of" => Builtin::MinOf,
        _ => return None,
    }))
}

/// The words that may stand inside the brackets of a range.
pub(super) fn duration_keyword(word: &str) -> Option<Kind> {
    builtin(&word.to_ascii_lowercase())
        .filter(|kind| !matches!(kind, Kind::Builtin(Builtin::Start | Builtin::End)))
}

impl Kind {
    /// Whether a metric can be called this without quotes.
    pub(super) fn names_metric(self) -> bool {
        use Keyword as K;
        match self {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregate(_) | Kind::Builtin(_) => true,
            Kind::Operator(op) => matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless),
            Kind::Keyword(k) => !matches!(k, K::Bool | K::GroupLeft | K::GroupRight | K::Ignoring | K::On),
            _ => false,
        }
    }

    /// Whether a label can be called this without quotes where an aggregation or a join lists labels.
    pub(super) fn names_label(self) -> bool {
        match self {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregate(_) | Kind::Builtin(_) => true,
            Kind::Operator(op) => {
                matches!(
                    op,
                    BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2
                )
            }
            Kind::Keyword(k) => k != Keyword::Without,
            _ => false,
        }
    }

    /// Whether an expression can begin with this.
    pub(super) fn starts_expression(self) -> bool {
        self.names_metric()
            || matches!(
                self,
                Kind::Number
                    | Kind::Duration
                    | Kind::String
                    | Kind::LeftParen
                    | Kind::LeftBrace
                    | Kind::Operator(BinaryOp::Add | BinaryOp::Sub)
            )
    }

    /// Names a word for a message: its kind where that helps, and the word itself.
    pub(super) fn describe(self, word: &str) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = self.write_description(word, &mut out);
        out
    }

    fn write_description(self, word: &str, out: &mut String) -> fmt::Result {
        use fmt::Write as _;
        match self {
            Kind::Eof => out.write_str("end of input"),
            Kind::Identifier => {
                out.push_str("identifier ");
                write_quoted(out, word)
            }
            Kind::MetricIdentifier => {
                out.push_str("metric identifier ");
                write_quoted(out, word)
            }
            Kind::Keyword(_) => write!(out, "<{word}>"),
            Kind::Operator(_) | Kind::MatchRegex | Kind::MatchNotRegex | Kind::At => {
                write!(out, "<op:{word}>")
            }
            Kind::Aggregate(_) => write!(out, "<aggr:{word}>"),
            kind => {
                out.push_str(match kind {
                    Kind::String => "string ",
                    Kind::Number => "number ",
                    Kind::Duration => "duration ",
                    _ => "",
                });
                write_cut(out, word)
            }
        }
    }
}

/// A word in quotes, cut to ten characters where it has more than ten bytes.
fn write_cut(out: &mut String, word: &str) -> fmt::Result {
    const BYTES_MAX: usize = 10;
    if word.len() <= BYTES_MAX {
        return write_quoted(out, word);
    }
    let end = word
        .char_indices()
        .nth(BYTES_MAX)
        .map_or(word.len(), |(at, _)| at);
    write_quoted(out, &word[..end])?;
    out.push_str("...");
    Ok(())
}

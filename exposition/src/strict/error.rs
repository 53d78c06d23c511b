//! What is wrong with a body.

use model::go::{Quoted, QuotedBytes};

/// Where a body is not in the text format, and why. Compat: the words are the reference's (reports/check-metrics, push/pushgateway `text-bad`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("text format parsing error in line {line}: {problem}")]
pub struct TextError {
    pub(super) line: usize,
    pub(super) problem: Problem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("unexpected end of input stream")]
    End,
    #[error("invalid metric name")]
    NoName,
    #[error("invalid metric name {}", Quoted(.0))]
    Name(String),
    #[error("invalid metric name in comment")]
    NameInComment,
    #[error("multiple metric names for metric {}", Quoted(.0))]
    SecondName(String),
    #[error("unexpected end of metric name {}", letter(*.0))]
    NameEnd(u8),
    #[error("invalid label name for metric {}", Quoted(.0))]
    NoLabel(String),
    #[error("invalid label name {}", Quoted(.0))]
    LabelName(String),
    #[error("label name \"__name__\" is reserved")]
    ReservedLabel,
    #[error("expected '=' after label name, found {}", letter(*.0))]
    Equals(u8),
    #[error("duplicate label names for metric {}", Quoted(.0))]
    LabelTwice(String),
    #[error("expected '\"' at start of label value, found {}", letter(*.0))]
    Quote(u8),
    #[error("invalid label value {}", QuotedBytes(.0))]
    Value(Vec<u8>),
    #[error("unexpected end of label value {}", Quoted(.0))]
    ValueEnd(String),
    #[error("{what} {} contains unescaped new-line", Quoted(.token))]
    NewLine { what: &'static str, token: String },
    #[error("invalid escape sequence '\\{}'", char::from(*.0))]
    Escape(u8),
    #[error("expected float as value for '{label}' label, got {}", Quoted(.value))]
    LabelFloat { label: &'static str, value: String },
    #[error("expected float as value, got {}", Quoted(.0))]
    Float(String),
    #[error("negative count for histogram {}", Quoted(.0))]
    NegativeCount(String),
    #[error("negative bucket population for histogram {}", Quoted(.0))]
    NegativeBucket(String),
    #[error("expected integer as timestamp, got {}", Quoted(.0))]
    Timestamp(String),
    #[error("spurious string after timestamp: {}", Quoted(.0))]
    Spurious(String),
    #[error("second HELP line for metric name {}", Quoted(.0))]
    SecondHelp(String),
    #[error("second TYPE line for metric name {}, or TYPE reported after samples", Quoted(.0))]
    SecondType(String),
    #[error("unknown metric type {}", Quoted(.0))]
    Type(String),
}

fn letter(byte: u8) -> String {
    match byte {
        b'\n' => r"'\n'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        b'\'' => r"'\''".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        byte => format!("'{}'", char::from(byte)),
    }
}

//! What can be wrong with the text of a query, and how it is shown.

use std::fmt;

use model::duration::DurationError;
use model::histogram::IncompatibleSchemas;
use model::labels::{LABEL_BYTES_MAX, write_quoted};
use model::regex::RegexError;

use super::literal::QuotedText;
use crate::ast::{Span, ValueType};
use crate::engine::HumanBytes;

/// Why a text is not a query: at least one diagnostic, in order of their discovery.
///
/// Displayed, it is the first one in the reference's form: `1:5: parse error: unclosed left parenthesis`.
#[derive(Clone, Debug, PartialEq)]
pub struct ParseError {
    query: String,
    first: Diagnostic,
    others: Vec<Diagnostic>,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Where.
    pub span: Span,
    /// What.
    pub problem: Problem,
}

/// The things that can be wrong. Displayed, each is the reference's message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each one and its data are")]
pub enum Problem {
    // Words.
    #[error("unexpected character: {}", Quoted(*.0))]
    Character(char),
    #[error("unexpected character: {}, expected ':'", Quoted(*.0))]
    CharacterInRange(char),
    #[error("unexpected character in duration expression: {}", Quoted(*.0))]
    CharacterInDuration(char),
    #[error("unexpected character inside braces: {}", Quoted(*.0))]
    CharacterInBraces(char),
    #[error("unexpected character after '{after}'{place}: {}", Quoted(*.found))]
    CharacterAfter {
        after: char,
        found: char,
        place: &'static str,
    },
    #[error("unexpected left brace '{{'")]
    LeftBrace,
    #[error("unexpected right parenthesis ')'")]
    RightParen,
    #[error("unexpected right bracket ']'")]
    RightBracket,
    #[error("unexpected left bracket '['")]
    LeftBracket,
    #[error("unexpected colon ':'")]
    Colon,
    #[error("unexpected colon before duration in duration expression")]
    ColonBeforeDuration,
    #[error("unclosed left parenthesis")]
    UnclosedParen,
    #[error("unclosed left bracket")]
    UnclosedBracket,
    #[error("unexpected end of input inside braces")]
    UnclosedBrace,
    #[error("unexpected end of input in duration expression")]
    UnclosedDuration,
    #[error("unterminated quoted string")]
    UnterminatedString,
    #[error("unterminated raw string")]
    UnterminatedRawString,
    #[error("a word of {bytes} bytes is longer than a label can hold, which is {LABEL_BYTES_MAX} bytes")]
    TokenTooLong { bytes: usize },
    #[error("escape sequence not terminated")]
    EscapeNotTerminated,
    #[error("unknown escape sequence U+{:04X} '{}'", u32::from(*.0), .0)]
    UnknownEscape(char),
    #[error("illegal character U+{:04X} '{}' in escape sequence", u32::from(*.0), .0)]
    EscapeCharacter(char),
    #[error("escape sequence is an invalid Unicode code point")]
    EscapeCodePoint,
    #[error("bad number or duration syntax: {}", QuotedText(.0))]
    NumberSyntax(String),
    // Values of words. (The name of Go's function is part of the message that users know.)
    #[error("error parsing number: strconv.ParseFloat: parsing {}: {what}", QuotedText(.word))]
    Number { word: String, what: &'static str },
    #[error(transparent)]
    Duration(#[from] DurationError),
    #[error("duration out of range")]
    DurationRange,
    #[error("duration must be greater than 0")]
    DurationNotPositive,
    #[error("division by zero")]
    DivisionByZero,
    #[error("modulo by zero")]
    ModuloByZero,
    #[error(transparent)]
    Regex(#[from] RegexError),
    #[error("invalid label name for grouping: {}", QuotedText(.0))]
    GroupingLabel(String),
    #[error("timestamp out of bounds for @ modifier: {}", model::float::format_precision(*.0, model::float::Layout::Plain, 6))]
    TimestampRange(f64),
    // Grammar.
    #[error("no expression found in input")]
    NoExpression,
    #[error("unexpected {found}{}{context}{}{expected}",
        if .context.is_empty() { "" } else { " in " }, if .expected.is_empty() { "" } else { ", expected " })]
    Unexpected {
        found: String,
        context: &'static str,
        expected: &'static str,
    },
    #[error("trailing commas not allowed in function call args")]
    TrailingComma,
    #[error("unknown function with name {}", QuotedText(.name))]
    UnknownFunction {
        name: String,
        nearest: Option<&'static str>,
    },
    #[error("function {} is not enabled", QuotedText(.0))]
    FunctionNotEnabled(&'static str),
    #[error("{0}() is experimental and must be enabled with --enable-feature=promql-experimental-functions")]
    AggregatorNotEnabled(&'static str),
    #[error("experimental duration expression is not enabled")]
    DurationExprNotEnabled,
    #[error("binop fill modifiers are experimental and not enabled")]
    FillNotEnabled,
    #[error("{0} modifier is experimental and not enabled")]
    RangeModifierNotEnabled(&'static str),
    #[error("{0} modifier is not supported for subqueries")]
    RangeModifierOnSubquery(&'static str),
    #[error("{0} modifier not implemented")]
    RangeModifierElsewhere(&'static str),
    #[error("anchored and smoothed modifiers cannot be used together")]
    AnchoredAndSmoothed,
    #[error("no arguments for aggregate expression provided")]
    NoAggregateArguments,
    #[error("wrong number of arguments for aggregate expression provided, expected {expected}, got {found}")]
    AggregateArguments { expected: usize, found: usize },
    #[error("ranges only allowed for vector selectors")]
    RangeWithoutSelector,
    #[error("no {0} modifiers allowed before range")]
    ModifierBeforeRange(&'static str),
    #[error(
        "{0} modifier must be preceded by an instant vector selector or range vector selector or a subquery"
    )]
    ModifierWithoutSelector(&'static str),
    #[error("offset may not be set multiple times")]
    OffsetTwice,
    #[error("@ <timestamp> may not be set multiple times")]
    AtTwice,
    // Types.
    #[error("expected type {} in {place}, got {}", .expected.documented(), .found.documented())]
    Type {
        expected: ValueType,
        found: ValueType,
        place: Place,
    },
    #[error("expected {expected} argument(s) in call to {}, got {found}", QuotedText(.function))]
    ArgumentCount {
        function: &'static str,
        expected: usize,
        found: usize,
    },
    #[error("expected at least {least} argument(s) in call to {}, got {found}", QuotedText(.function))]
    TooFewArguments {
        function: &'static str,
        least: usize,
        found: usize,
    },
    #[error("expected at most {most} argument(s) in call to {}, got {found}", QuotedText(.function))]
    TooManyArguments {
        function: &'static str,
        most: usize,
        found: usize,
    },
    #[error("expected label selectors only, got vector selector instead")]
    InfoSelectorWithName,
    #[error("expected label selectors only")]
    InfoWithoutSelector,
    #[error("bool modifier can only be used on comparison operators")]
    BoolWithoutComparison,
    #[error("comparisons between scalars must use BOOL modifier")]
    ScalarComparison,
    #[error("label {} must not occur in ON and GROUP clause at once", QuotedText(.0))]
    LabelInOnAndGroup(String),
    #[error("binary expression must contain only scalar and instant vector types")]
    BinaryOperandType,
    #[error("vector matching only allowed between instant vectors")]
    MatchingBetweenScalars,
    #[error("filling in missing series only allowed between instant vectors")]
    FillBetweenScalars,
    #[error("no grouping allowed for \"{0}\" operation")]
    GroupedSetOperation(&'static str),
    #[error("set operations must always be many-to-many")]
    SetOperationCardinality,
    #[error("filling in missing series not allowed for set operators")]
    FilledSetOperation,
    #[error("set operator \"{0}\" not allowed in binary scalar expression")]
    ScalarSetOperation(&'static str),
    #[error(
        "unary expression only allowed on expressions of type scalar or instant vector, got \"{}\"",
        .0.documented()
    )]
    UnaryOperandType(ValueType),
    #[error("subquery is only allowed on instant vector, got {} instead", .0.as_str())]
    SubqueryOperandType(ValueType),
    #[error("metric name must not be set twice: {} or {}", QuotedText(.first), QuotedText(.second))]
    MetricNameTwice { first: String, second: String },
    #[error("vector selector must contain at least one non-empty matcher")]
    EmptySelector,
    // Series notation.
    #[error("unexpected {} in series values", QuotedText(.0))]
    SeriesValue(String),
    #[error("more than {0} values in a series")]
    TooManyValues(usize),
    #[error("error combining histograms: cannot merge from schema {from} to {to}")]
    CombineHistogramSchemas { from: i32, to: i32 },
    #[error(transparent)]
    CombineHistograms(#[from] IncompatibleSchemas),
    // Limits.
    #[error("query is longer than {0} bytes")]
    TooLong(usize),
    #[error("expression is nested more than {0} levels deep")]
    TooDeep(usize),
    #[error("expression has more than {0} words")]
    TooManyWords(usize),
    #[error(
        "the regular expressions of the query would take more than {} when compiled",
        HumanBytes(*.0)
    )]
    PatternsTooLarge(usize),
    #[error("duration is nested, or durations are chained, more than {0} levels deep")]
    DurationTooDeep(usize),
    #[error("expression has more than {0} operators")]
    TooManyOperators(usize),
}

/// Where a value of a certain type was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the place of its name")]
pub enum Place {
    Aggregation,
    AggregationParameter,
    Call(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Aggregation => f.write_str("aggregation expression"),
            Place::AggregationParameter => f.write_str("aggregation parameter"),
            Place::Call(name) => write!(f, "call to function \"{name}\""),
        }
    }
}

impl Problem {
    /// Advice beyond the message, if there is any.
    pub fn help(&self) -> Option<String> {
        match self {
            Problem::UnknownFunction {
                nearest: Some(name), ..
            } => Some(format!("did you mean {name}?")),
            Problem::FunctionNotEnabled(_) => {
                Some("it needs --enable-feature=promql-experimental-functions".to_owned())
            }
            Problem::FillNotEnabled => {
                Some("they need --enable-feature=promql-binop-fill-modifiers".to_owned())
            }
            Problem::RangeModifierNotEnabled(_) => {
                Some("it needs --enable-feature=promql-extended-range-selectors".to_owned())
            }
            Problem::ScalarComparison => Some("write `bool` behind the operator to get 0 or 1".to_owned()),
            Problem::Type {
                expected: ValueType::Matrix,
                found: ValueType::Vector,
                ..
            } => Some("a range such as [5m] behind a selector makes a range vector".to_owned()),
            _ => None,
        }
    }
}

impl ParseError {
    /// An error of `query`; `None` if `diagnostics` is empty.
    pub(crate) fn new(query: &str, diagnostics: Vec<Diagnostic>) -> Option<Self> {
        let mut diagnostics = diagnostics.into_iter();
        let first = diagnostics.next()?;
        Some(ParseError {
            query: query.to_owned(),
            first,
            others: diagnostics.collect(),
        })
    }

    /// The text that was to be parsed.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// What was found first: what the displayed error speaks of.
    pub fn first(&self) -> &Diagnostic {
        &self.first
    }

    /// Everything that was found.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Line and column of the first diagnostic, both counted from one, columns in bytes as the reference counts them;
    /// `None` for an empty query, where there is nothing to point at.
    pub fn position(&self) -> Option<(usize, usize)> {
        if self.query.is_empty() {
            return None;
        }
        let before = &self.query[..self.first.span.start as usize];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some((1 + before.matches('\n').count(), 1 + before.len() - line_start))
    }

    /// The error for a terminal: every diagnostic with its line of the query and a caret under the place.
    pub fn render(&self) -> String {
        self.diagnostics()
            .map(|diagnostic| self.render_one(diagnostic))
            .collect()
    }

    fn render_one(&self, diagnostic: &Diagnostic) -> String {
        let (start, end) = (diagnostic.span.start as usize, diagnostic.span.end as usize);
        let line_start = self.query[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.query[start..]
            .find('\n')
            .map_or(self.query.len(), |at| start + at);
        let line = &self.query[line_start..line_end];
        let number = (1 + self.query[..start].matches('\n').count()).to_string();
        // Tabs stay tabs in front of the caret, so that it stands under its place whatever they measure.
        let indent: String = self.query[line_start..start]
            .chars()
            .map(|c| if c == '\t' { c } else { ' ' })
            .collect();
        let width = self.query[start..end.clamp(start, line_end)]
            .chars()
            .count()
            .max(1);
        let margin = " ".repeat(number.len());
        let mut out = format!(
            "error: {problem}\n{margin} |\n{number} | {line}\n{margin} | {indent}{carets}\n",
            problem = diagnostic.problem,
            carets = "^".repeat(width),
        );
        if let Some(help) = diagnostic.problem.help() {
            out.push_str(&format!("{margin} = help: {help}\n"));
        }
        out
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position() {
            Some((line, column)) => write!(f, "{line}:{column}: ")?,
            None => f.write_str("unknown position: ")?,
        }
        write!(f, "parse error: {}", self.first.problem)
    }
}

impl std::error::Error for ParseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.first.problem)
    }
}

/// A character as Go's `%q` shows it.
struct Quoted(char);

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            '\'' => f.write_str("'\\''"),
            '"' => f.write_str("'\"'"),
            c => {
                let mut text = String::new();
                write_quoted(&mut text, c.encode_utf8(&mut [0; 4]))?;
                write!(f, "'{}'", &text[1..text.len() - 1])
            }
        }
    }
}

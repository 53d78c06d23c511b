//! What can be wrong with rule files and with the evaluation of rules.

pub(crate) use model::go::Quoted;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use model::labels::LabelTooLong;
use model::storage::{AppendError, Refusal, SeriesError};
use promql::parser::ParseError;
use supervise::Panicked;
use yaml::{Position, YamlError};

/// One thing that is wrong with a rule file. Displayed, it is one line that starts with the file's name.
#[derive(Debug)]
#[non_exhaustive]
pub enum FormatError {
    /// The file is not YAML, or not of the shape that rule files have.
    Yaml(YamlError),
    /// A group is wrong.
    Group {
        /// The file.
        path: String,
        /// Where, if messages tell it. Compat: they do not for labels (conformance `rules/rulefmt`).
        position: Option<Position>,
        /// Where the mark stands.
        mark: Mark,
        /// What is wrong.
        problem: GroupProblem,
    },
    /// A rule is wrong.
    Rule {
        /// The file.
        path: String,
        /// Where the part of the rule begins that is wrong.
        position: Position,
        /// Where the part is that it contradicts.
        other: Option<Position>,
        /// Whether messages tell the position. Compat: they do not for what is wrong with labels and annotations
        /// (conformance `rules/rulefmt`).
        located: bool,
        /// Where the mark stands: at the thing itself.
        mark: Mark,
        /// Name of its group.
        group: String,
        /// Number of the rule in its group, from 1.
        rule: usize,
        /// Name of the rule.
        name: String,
        /// What is wrong.
        problem: Box<RuleProblem>,
    },
}

/// A place of a file, and the file's text.
#[derive(Clone, PartialEq)]
pub struct Mark {
    pub(crate) position: Position,
    pub(crate) text: Arc<str>,
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.position.fmt(f)
    }
}

/// What can be wrong with a group; the texts are the reference's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupProblem {
    /// It has no name.
    #[error("Groupname must not be empty")]
    NoName,
    /// Another group of the file has its name.
    #[error("groupname: \"{0}\" is repeated in the same file")]
    Repeated(String),
    /// One of its labels has a name that labels cannot have.
    #[error("invalid label name: {0}")]
    LabelName(String),
    /// One of its labels is longer than labels can be.
    #[error(transparent)]
    LabelTooLong(#[from] LabelTooLong),
}

/// What can be wrong with a rule; the texts are the reference's.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum RuleProblem {
    /// Both kinds at once.
    #[error("only one of 'record' and 'alert' must be set")]
    BothKinds,
    /// Neither kind.
    #[error("one of 'record' or 'alert' must be set")]
    NoKind,
    /// No expression.
    #[error("field 'expr' must be set in rule")]
    NoExpr,
    /// The expression is not PromQL.
    #[error("could not parse expression: {0}")]
    Expr(ParseError),
    /// A field that only alerts have.
    #[error("invalid field '{0}' in recording rule")]
    AlertField(&'static str),
    /// A name that metrics cannot have.
    #[error("invalid recording rule name: {0}")]
    RecordName(String),
    /// A name that looks like a selector.
    #[error("braces present in the recording rule name; should it be in expr?: {0}")]
    Braces(String),
    /// A name that labels cannot have.
    #[error("invalid label name: {0}")]
    LabelName(String),
    /// A name that annotations cannot have.
    #[error("invalid annotation name: {0}")]
    AnnotationName(String),
    /// A name, label or annotation longer than a label can hold.
    #[error(transparent)]
    LabelTooLong(#[from] LabelTooLong),
    /// A label's or annotation's value is not a template.
    #[error("{part} {}: {error}", Quoted(.name))]
    Template {
        /// `label` or `annotation`.
        part: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        error: template::ParseError,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Yaml(error) => error.fmt(f),
            FormatError::Group {
                path,
                position,
                problem,
                ..
            } => {
                write!(f, "{path}: ")?;
                if let Some(Position { line, column, .. }) = position {
                    write!(f, "{line}:{column}: ")?;
                }
                problem.fmt(f)
            }
            FormatError::Rule {
                path,
                position,
                other,
                located,
                group,
                rule,
                name,
                problem,
                ..
            } => {
                write!(f, "{path}: ")?;
                let places = Some(position).filter(|_| *located).into_iter().chain(other);
                for Position { line, column, .. } in places {
                    write!(f, "{line}:{column}: ")?;
                }
                write!(
                    f,
                    "group {}, rule {rule}, {}: {problem}",
                    Quoted(group),
                    Quoted(name)
                )
            }
        }
    }
}

impl std::error::Error for FormatError {}

impl FormatError {
    /// Where it is: the thing itself, be it within an expression or a template.
    pub fn position(&self) -> Position {
        match self {
            FormatError::Yaml(error) => error.position(),
            FormatError::Group { mark, .. } | FormatError::Rule { mark, .. } => mark.position,
        }
    }

    /// The line that it speaks of, with a mark under the place and without the message; with colours if `color`.
    pub fn place(&self, color: bool) -> String {
        match self {
            FormatError::Yaml(error) => error.place(color),
            FormatError::Group { path, mark, .. } | FormatError::Rule { path, mark, .. } => {
                yaml::mark(path, &mark.text, mark.position, color)
            }
        }
    }
}

/// Why rules could not be loaded; the previous ones go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A pattern of `rule_files` is none.
    #[error("failed retrieving rule files for {}: {source}", Quoted(.pattern))]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why not.
        source: yaml::GlobError,
    },
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Files are wrong.
    #[error("{}", lines(.0))]
    Format(Vec<FormatError>),
    /// The manager was stopped.
    #[error("the rule manager is stopped")]
    Stopped,
    /// Reading the files panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl LoadError {
    /// The places that it speaks of, each with a mark; with colours if `color`.
    pub fn places(&self, color: bool) -> Option<String> {
        let LoadError::Format(errors) = self else {
            return None;
        };
        let places: Vec<String> = errors.iter().map(|error| error.place(color)).collect();
        Some(places.join("\n"))
    }
}

fn lines(errors: &[FormatError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Why the evaluation of a rule failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The query failed.
    #[error(transparent)]
    Query(#[from] promql::engine::QueryError),
    /// The expression gives a text or a range.
    #[error("rule result is not a vector or scalar")]
    NotAVector,
    /// Two elements are the same alert.
    #[error("vector contains metrics with the same labelset after applying alert labels")]
    SameAlert,
    /// Two elements are the same series.
    #[error("vector contains metrics with the same labelset after applying rule labels")]
    SameSeries,
    /// More series or alerts than the group's limit.
    #[error("exceeded limit of {limit} with {found} {what}")]
    Limit {
        /// The limit.
        limit: usize,
        /// How many there were.
        found: usize,
        /// `series` or `alerts`.
        what: &'static str,
    },
    /// A template, or the rule's labels, made a text that no label can hold.
    #[error(transparent)]
    LabelTooLong(#[from] LabelTooLong),
    /// A result was refused by the store.
    #[error("{0}")]
    Refused(Refusal),
    /// A new series was refused by the store.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// The store takes no writes.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A server elsewhere does not evaluate it.
    #[error(transparent)]
    Elsewhere(#[from] crate::backtest::RemoteError),
    /// The evaluation panicked; the group goes on.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl EvalError {
    /// Whether the query was ended on purpose, as when the server stops.
    pub(crate) fn is_canceled(&self) -> bool {
        matches!(
            self,
            EvalError::Query(promql::engine::QueryError::Canceled { .. })
        )
    }
}

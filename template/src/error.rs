//! What can go wrong: text that is not a template, execution that fails, functions that refuse.

use std::fmt;
use std::sync::Arc;

/// Text that is not a template.
///
/// Shown as `template: NAME:LINE: MESSAGE`, which is what users of the reference know.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("template: {name}:{line}: {kind}")]
pub struct ParseError {
    /// Name under which the text was parsed.
    pub name: String,
    /// Line of the token at which parsing stopped, from 1.
    pub line: usize,
    /// Byte offset of that token in the text.
    pub offset: usize,
    /// What is wrong.
    pub kind: ParseErrorKind,
}

/// Why text is not a template.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message says what its variant and fields are")]
pub enum ParseErrorKind {
    #[error("{0}")]
    Lex(LexError),
    #[error("unexpected {token} in {context}")]
    Unexpected { token: String, context: &'static str },
    #[error("unexpected {{{{{0}}}}}")]
    UnexpectedControl(&'static str),
    #[error("unexpected {{{{{control}}}}} in {context}")]
    UnexpectedControlIn {
        control: &'static str,
        context: &'static str,
    },
    #[error("expected end; found {{{{else}}}}")]
    ExpectedEnd,
    #[error("unexpected EOF")]
    UnexpectedEof,
    #[error("missing value for {0}")]
    MissingValue(&'static str),
    #[error("non executable command in pipeline stage {0}")]
    NonExecutable(usize),
    #[error("empty command")]
    EmptyCommand,
    #[error("range can only initialize variables")]
    RangeInitialise,
    #[error("too many declarations in {0}")]
    TooManyDeclarations(&'static str),
    #[error("{{{{{0}}}}} outside {{{{range}}}}")]
    OutsideRange(&'static str),
    #[error("unexpected . after term {0}")]
    DotAfterTerm(String),
    #[error("function {} not defined", quoted(.0))]
    UnknownFunction(String),
    #[error("undefined variable {}", quoted(.0))]
    UndefinedVariable(String),
    #[error("template: multiple definition of template {}", quoted(.0))]
    MultipleDefinition(String),
    #[error("invalid syntax")]
    BadString,
    #[error("illegal number syntax: {}", quoted(.0))]
    BadNumber(String),
    #[error("malformed character constant: {0}")]
    BadCharacter(String),
    #[error("max expression depth exceeded")]
    TooDeep,
    #[error("predefined escaper {} disallowed in template", quoted(.0))]
    PredefinedEscaper(String),
}

/// Why text inside an action is not made of tokens.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message says what its variant and fields are")]
pub enum LexError {
    #[error("unclosed comment")]
    UnclosedComment,
    #[error("comment ends before closing delimiter")]
    CommentEnd,
    #[error("unclosed action{}", started(.0))]
    UnclosedAction(Option<(String, usize)>),
    #[error("unclosed left paren")]
    UnclosedParen,
    #[error("unexpected right paren")]
    RightParen,
    #[error("expected :=")]
    ExpectedDeclare,
    #[error("unterminated quoted string")]
    UnterminatedString,
    #[error("unterminated raw quoted string")]
    UnterminatedRaw,
    #[error("unterminated character constant")]
    UnterminatedChar,
    #[error("bad number syntax: {}", quoted(.0))]
    BadNumber(String),
    #[error("bad character {}", unicode(*.0))]
    BadCharacter(Option<char>),
    #[error("unrecognized character in action: {}", unicode(Some(*.0)))]
    Unrecognized(char),
}

fn started(at: &Option<(String, usize)>) -> String {
    at.as_ref()
        .map_or_else(String::new, |(name, line)| format!(" started at {name}:{line}"))
}

/// `U+0021 '!'`
fn unicode(c: Option<char>) -> String {
    match c {
        None => "EOF".to_owned(),
        Some(c) if c.is_control() => format!("U+{:04X}", c as u32),
        Some(c) => format!("U+{:04X} '{c}'", c as u32),
    }
}

/// `text` in Go's double quotes.
pub(crate) fn quoted(text: &str) -> String {
    model::go::Quoted(text).to_string()
}

/// Execution that failed.
///
/// Shown as `template: NAME:LINE:COLUMN: executing "TEMPLATE" at <CODE>: MESSAGE`.
#[derive(Debug)]
pub struct ExecError {
    /// Name under which the text was parsed.
    pub source_name: Arc<str>,
    /// Name of the definition that was being executed.
    pub template: Arc<str>,
    /// Line in the text, from 1.
    pub line: usize,
    /// Byte within the line, from 0, as the reference counts.
    pub column: usize,
    /// Byte offset in the text.
    pub offset: usize,
    /// The code that was being evaluated.
    pub code: String,
    /// What went wrong.
    pub kind: ExecErrorKind,
}

/// Why execution failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message says what its variant and fields are")]
pub enum ExecErrorKind {
    #[error("template {} not defined", quoted(.0))]
    NotDefined(String),
    #[error("no such template {}", quoted(.0))]
    NoSuchTemplate(String),
    #[error("no template {} associated with template {}", quoted(.name), quoted(.root))]
    NoTemplate { name: String, root: String },
    #[error("nil is not a command")]
    NilCommand,
    #[error("can't give argument to non-function {0}")]
    NotAFunction(String),
    #[error("can't evaluate field {field} in type {type_name}")]
    NoField { field: String, type_name: String },
    #[error("{0} is not a method but has arguments")]
    NotAMethod(String),
    #[error("{0} has arguments but cannot be invoked as function")]
    FieldWithArguments(String),
    #[error("nil pointer evaluating interface {{}}.{0}")]
    NilPointer(String),
    #[error("wrong number of args for {name}: want {}{want} got {got}", if *.at_least { "at least " } else { "" })]
    ArgumentCount {
        name: String,
        at_least: bool,
        want: usize,
        got: usize,
    },
    #[error("expected {expected}; found {found}")]
    Expected { expected: &'static str, found: String },
    #[error("can't handle {found} for arg of type {wanted}")]
    CantHandle { found: String, wanted: &'static str },
    #[error("wrong type for value; expected {expected}; got {got}")]
    WrongType { expected: String, got: String },
    #[error("invalid value; expected {0}")]
    InvalidValue(String),
    #[error("cannot assign nil to {0}")]
    NilArgument(String),
    #[error("{0} overflows int")]
    Overflow(String),
    #[error("range can't iterate over {0}")]
    NotIterable(String),
    #[error("can't use {0} to iterate over more than one variable")]
    OneVariable(String),
    #[error("undefined variable: {0}")]
    UndefinedVariable(String),
    #[error("exceeded maximum template depth ({0})")]
    TooDeep(usize),
    #[error("exceeded maximum number of execution steps ({0})")]
    TooManySteps(usize),
    #[error("exceeded maximum size of values and output ({0} bytes)")]
    TooLarge(usize),
    #[error("output ends in a non-text HTML context")]
    EndContext,
    #[error("the surrounding HTML cannot be followed: {0}")]
    BadHtml(&'static str),
    #[error("error calling {name}: {error}")]
    Call {
        name: String,
        #[source]
        error: CallError,
    },
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source_name,
            template,
            line,
            column,
            code,
            kind,
            ..
        } = self;
        match kind {
            ExecErrorKind::NoSuchTemplate(_) => {
                write!(f, "html/template:{source_name}:{line}:{column}: {kind}")
            }
            ExecErrorKind::NoTemplate { .. } => write!(f, "template: {kind}"),
            ExecErrorKind::EndContext | ExecErrorKind::BadHtml(_) => {
                write!(f, "html/template:{source_name}: {kind}")
            }
            _ => write!(
                f,
                "template: {source_name}:{line}:{column}: executing {} at <{code}>: {kind}",
                quoted(template)
            ),
        }
    }
}

impl std::error::Error for ExecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.kind)
    }
}

/// Why a function refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message says what its variant and fields are")]
pub enum CallError {
    #[error("incompatible types for comparison: {0} and {1}")]
    Incompatible(String, String),
    #[error("invalid type for comparison")]
    BadComparison,
    #[error("missing argument for comparison")]
    NoComparison,
    #[error("non-comparable type {0}: {1}")]
    NonComparable(String, String),
    #[error("index of untyped nil")]
    IndexOfNil,
    #[error("slice of untyped nil")]
    SliceOfNil,
    #[error("can't index item of type {0}")]
    CantIndex(String),
    #[error("can't slice item of type {0}")]
    CantSlice(String),
    #[error("cannot index slice/array with type {0}")]
    IndexType(String),
    #[error("cannot index slice/array with nil")]
    IndexNil,
    #[error("value has type {got}; should be {want}")]
    KeyType { got: String, want: &'static str },
    #[error("index out of range: {0}")]
    OutOfRange(i64),
    #[error("invalid slice index: {0} > {1}")]
    SliceOrder(i64, i64),
    #[error("too many slice indexes: {0}")]
    TooManyIndexes(usize),
    #[error("cannot 3-index slice a string")]
    ThreeIndexString,
    #[error("slice bounds split a character")]
    SplitCharacter,
    #[error("len of type {0}")]
    LenOf(String),
    #[error("len of nil pointer")]
    LenOfNil,
    #[error("non-function {0} of type {1}")]
    NonFunction(String, String),
    #[error("call of nil")]
    CallOfNil,
    #[error("first() called on vector with no elements")]
    FirstOfNone,
    #[error("can't convert {0} to float")]
    NotNumber(String),
    #[error("strconv.ParseFloat: parsing {}: {error}", quoted(.text))]
    BadFloat {
        text: String,
        #[source]
        error: model::float::FloatError,
    },
    #[error("value is NaN or Inf")]
    NanOrInf,
    #[error("{0} cannot be represented as a nanoseconds timestamp since it overflows int64")]
    TimeOverflow(String),
    #[error(transparent)]
    BadDuration(#[from] model::duration::DurationError),
    #[error(transparent)]
    Regex(#[from] model::regex::RegexError),
    #[error("unknown time zone {0}")]
    UnknownZone(String),
    #[error("time out of range")]
    TimeRange,
    #[error("{0}")]
    RouteLabel(String),
    #[error("dict requires an even number of arguments")]
    DictOdd,
    #[error("dict keys must be strings")]
    DictKey,
    #[error("json: unsupported value: {0}")]
    JsonNumber(String),
    #[error("invalid URL escape {}", quoted(.0))]
    UrlEscape(String),
    #[error("illegal base64 data at input byte {0}")]
    Base64(usize),
    #[error("decoded text is not UTF-8")]
    NotUtf8,
    #[error("wrong number of args for {name}: want {want} got {got}")]
    ArgumentCount { name: String, want: usize, got: usize },
    #[error("wrong type for value; expected {expected}; got {got}")]
    WrongType { expected: &'static str, got: String },
    #[error("exceeded maximum size of values and output")]
    TooLarge,
    #[error("this function is not available here")]
    Unavailable,
    /// What the room behind the template answered: a query that failed, for instance.
    #[error("{0}")]
    Host(Box<dyn std::error::Error + Send + Sync>),
    /// A template that was executed from within a function.
    #[error(transparent)]
    Nested(Box<ExecError>),
}

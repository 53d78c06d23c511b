//! The Go template language, as alert rules and notifications use it.
//!
//! Parsed templates stand in a [`TemplateSet`], know each other by name, and are executed any number of times with a
//! room's own data ([`Value`], [`Object`]) and a [`Host`] that answers what functions ask. Two dialects: text, and HTML
//! that escapes every value for its place in the document. Two sets of functions: [`alert`] and [`notification`].
//!
//! This crate knows only `model`: no runtime, no files, no network. The one decision behind it: a template is a small
//! tree that is walked with values which carry the names of their Go types, because what users see of the language are
//! its printed values and its messages, and both speak of those types.
//!
//! Invariant: no template and no data makes the engine panic or run without end; see [`Limits`].
//!
//! ```
//! use narthex_template::{Dialect, NoHost, TemplateSet, Value, alert};
//! let mut set = TemplateSet::new(Dialect::Text, alert::FUNCTIONS);
//! set.add("greeting", "{{ .job | toUpper }} is {{ if true }}up{{ end }}").unwrap();
//! let data = Value::string_map([("job", "api")]);
//! assert_eq!(set.execute("greeting", data, &NoHost).unwrap(), "API is up");
//! ```

pub mod alert;
mod ast;
mod builtins;
mod error;
mod escape;
mod eval;
mod exec;
mod function;
mod html;
mod humanize;
mod json;
mod layout;
mod lexer;
mod literal;
pub mod notification;
mod number;
mod output;
mod parser;
mod pipeline;
mod print;
mod printf;
mod set;
mod text;
mod time;
mod uses;
mod value;

pub use error::{CallError, ExecError, ExecErrorKind, LexError, ParseError, ParseErrorKind};
pub use exec::Limits;
pub use function::{Call, Function, FunctionSet, Host, NoHost, QuerySample};
pub use json::to_json;
pub use set::{Dialect, TemplateSet};
pub use time::Time;
pub use uses::FieldUse;
pub use value::{List, Map, Object, Type, Value};

/// Text that could not be parsed, or not be executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not a template.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It failed.
    #[error(transparent)]
    Exec(#[from] Box<ExecError>),
}

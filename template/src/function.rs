//! Functions that templates call, and what they may ask of the room behind them.

use crate::error::{CallError, ExecError};
use crate::value::{Type, Value};

/// One series of a query's answer.
pub struct QuerySample {
    /// Labels, the metric name among them.
    pub labels: model::labels::Labels,
    /// A float, or a histogram as text.
    pub value: Value,
}

/// What functions ask of the room that executes the template.
///
/// Every question has an answer by default, so that a room implements what it can tell.
pub trait Host {
    /// Evaluates a PromQL expression at the template's time.
    ///
    /// # Errors
    /// Whatever the query engine says; it becomes the message of the failed call.
    fn query(&self, _expr: &str) -> Result<Vec<QuerySample>, CallError> {
        Err(CallError::Unavailable)
    }

    /// The template's time in milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64 {
        0
    }

    /// The URL under which users reach the server.
    fn external_url(&self) -> &str {
        ""
    }

    /// A label of the route that led to the notification; empty where it has none of this name.
    ///
    /// # Errors
    /// When the label is a template that fails.
    fn route_label(&self, _name: &str) -> Result<String, CallError> {
        Ok(String::new())
    }

    /// The path of [`Host::external_url`], without a slash at the end.
    fn path_prefix(&self) -> &str {
        let url = self.external_url();
        let behind_scheme = url.find("://").map_or(0, |at| at + 3);
        let path = url[behind_scheme..]
            .find('/')
            .map_or("", |at| &url[behind_scheme + at..]);
        path.split(['?', '#']).next().unwrap_or("").trim_end_matches('/')
    }
}

/// A host that answers nothing: for parsing, previews and templates that only compute.
pub struct NoHost;

impl Host for NoHost {}

/// Executes another template of the set from within a function.
pub(crate) trait Render {
    fn render(&mut self, name: &str, data: Value) -> Result<String, Box<ExecError>>;
}

/// A call in progress.
pub struct Call<'c> {
    /// The arguments: as many, and of the types, as the function's signature says.
    pub args: &'c [Value],
    /// Who is asked.
    pub host: &'c dyn Host,
    /// Bytes that the result may have.
    pub bytes_max: usize,
    pub(crate) renderer: &'c mut dyn Render,
}

impl Call<'_> {
    /// The text of argument `index`; empty where it is not text, which a signature excludes.
    pub fn text(&self, index: usize) -> &str {
        self.args.get(index).and_then(Value::as_str).unwrap_or("")
    }

    /// Argument `index`, or nothing.
    pub fn arg(&self, index: usize) -> &Value {
        self.args.get(index).unwrap_or(&Value::Nil)
    }

    pub(crate) fn render(&mut self, name: &str, data: Value) -> Result<String, CallError> {
        let rendered = self.renderer.render(name, data);
        rendered.map_err(CallError::Nested)
    }
}

/// A function that templates can call.
#[derive(Clone, Copy)]
pub struct Function {
    /// Name in templates.
    pub name: &'static str,
    /// Types of the parameters; of a variadic function the last may be given any number of times.
    pub params: &'static [Type],
    /// Whether the last parameter repeats.
    pub variadic: bool,
    /// What it does.
    pub call: fn(&mut Call<'_>) -> Result<Value, CallError>,
}

/// Which functions a template knows besides the language's own.
#[derive(Clone, Copy)]
pub struct FunctionSet {
    pub(crate) own: &'static [Function],
    pub(crate) more: &'static [Function],
}

impl FunctionSet {
    /// The language's own functions and `more`, which come first where names are equal.
    pub const fn new(more: &'static [Function]) -> Self {
        FunctionSet { own: &[], more }
    }

    /// This set and `own`.
    pub(crate) const fn with(self, own: &'static [Function]) -> Self {
        FunctionSet { own, ..self }
    }

    /// Place of the function called `name`.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.all().position(|function| function.name == name)
    }

    /// The function at a place that `find` gave.
    pub(crate) fn at(&self, index: usize) -> &'static Function {
        let (own, more) = (self.own.len(), self.more.len());
        if index < own {
            &self.own[index]
        } else if index < own + more {
            &self.more[index - own]
        } else {
            &crate::builtins::FUNCTIONS[index - own - more]
        }
    }

    fn all(&self) -> impl Iterator<Item = &'static Function> {
        self.own.iter().chain(self.more).chain(crate::builtins::FUNCTIONS)
    }

    /// Names of all functions but the language's own, for `/api/v1/features`.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.own.iter().chain(self.more).map(|function| function.name)
    }
}

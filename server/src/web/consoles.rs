//! `/consoles/…`: pages that people write as templates (`--web.console.templates`), which ask the server for what they show.
//!
//! What pages share lies in files of `--web.console.libraries`. See
//! <https://prometheus.io/docs/visualization/consoles/>.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{Path as Captured, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use model::clock::Clock;
use promql::engine::{EvalTime, QueryOptions};
use promql::value::SampleValue;
use rules::to_vector;
use template::alert::CONSOLE_FUNCTIONS;
use template::{CallError, Dialect, Host, Object, QuerySample, TemplateSet, Type, Value};
use tokio::runtime::Handle;

use super::answer::{CancelOnDrop, RequestEnded, blocking};
use super::form;
use super::listener::WholeQuery;
use super::state::ConsoleFolders;
use crate::queries::{Origin, Queries, Question};
use crate::reload::ConfigStatus;

/// Largest file of a console.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most files of what consoles share.
const LIBRARIES_MAX: usize = 200;
/// What stands before each page.
const PREFIX: &str = "{{$rawParams := .RawParams }}{{$params := .Params}}{{$path := .Path}}\
    {{$externalLabels := .ExternalLabels}}";

/// What consoles are made of.
pub(crate) struct ConsoleState {
    pub(crate) folders: ConsoleFolders,
    pub(crate) queries: Arc<Queries>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Links are this and a path that begins with a slash.
    pub(crate) external_url: String,
    /// Knows the external labels.
    pub(crate) config: Arc<ArcSwap<ConfigStatus>>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
enum ConsoleError {
    #[error("open consoles/{name}: {source}")]
    NotThere { name: String, source: io::Error },
    #[error("read {what}: {source}")]
    Read { what: String, source: io::Error },
    #[error("read {what}: a file of a console has at most {FILE_BYTES_MAX} bytes")]
    TooLarge { what: String },
    #[error("{0}: more than {LIBRARIES_MAX} libraries")]
    TooMany(String),
    #[error("{0}")]
    Form(#[from] form::FormError),
    #[error("error parsing template {name}: {source}")]
    Parse {
        name: String,
        source: Box<template::ParseError>,
    },
    #[error("error executing template {name}: {source}")]
    Execute {
        name: String,
        source: Box<template::ExecError>,
    },
    #[error(transparent)]
    Ended(#[from] RequestEnded),
}

impl IntoResponse for ConsoleError {
    fn into_response(self) -> Response {
        let status = match self {
            ConsoleError::NotThere { .. } => StatusCode::NOT_FOUND,
            ConsoleError::Form(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let headers = [(X_CONTENT_TYPE_OPTIONS, "nosniff")];
        (status, headers, format!("{self}\n")).into_response()
    }
}

/// The folder itself is no page.
pub(super) async fn folder(state: State<Arc<ConsoleState>>, query: WholeQuery) -> Response {
    page(state, Captured(String::new()), query).await
}

pub(super) async fn page(
    State(state): State<Arc<ConsoleState>>,
    Captured(name): Captured<String>,
    WholeQuery(query): WholeQuery,
) -> Response {
    let options = QueryOptions::default();
    let _hung_up = CancelOnDrop(options.cancel.clone());
    let runtime = Handle::current();
    let expanded = blocking(move || {
        let host = Asking {
            at_ms: state.clock.now_ms(),
            origin: Origin::Request {
                client: String::new(),
                method: "GET".to_owned(),
                path: format!("/consoles/{name}"),
            },
            state: &state,
            options,
            runtime,
        };
        expand(&host, &name, query.as_deref().unwrap_or_default())
    });
    match expanded.await {
        Ok(page) => {
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            ([(CONTENT_TYPE, html)], page).into_response()
        }
        Err(error) => error.into_response(),
    }
}

fn expand(host: &Asking<'_>, name: &str, query: &[u8]) -> Result<String, ConsoleError> {
    let folders = &host.state.folders;
    let text = read(&folders.templates, name)?;
    let mut pairs = Vec::new();
    if let Some(fault) = form::read_pairs(query, &mut pairs)? {
        return Err(fault.into());
    }
    let name = format!("__console_/{name}");
    let mut set = TemplateSet::new(Dialect::Html, CONSOLE_FUNCTIONS);
    let mut add = |file: &str, text: &str| {
        set.add(file, text).map_err(|source| ConsoleError::Parse {
            name: name.clone(),
            source: Box::new(source),
        })
    };
    add(&name, &format!("{PREFIX}{text}"))?;
    for (file, text) in libraries(&folders.libraries)? {
        add(&file, &text)?;
    }
    let config = host.state.config.load();
    let data = Value::object(Page {
        raw_params: raw_params(&pairs),
        params: params(&pairs),
        path: name.trim_start_matches("__console_/").into(),
        external_labels: Value::string_map(config.external_labels.iter()),
    });
    set.execute(&name, data, host)
        .map_err(|source| ConsoleError::Execute { name, source })
}

/// The text of a page.
fn read(folder: &Path, name: &str) -> Result<String, ConsoleError> {
    // A name with `..` in it, or none that a file can have, leads out of the folder or nowhere.
    let is_plain = |part: &str| part != ".." && !part.contains(['\0', '\\']);
    if !name.split('/').all(is_plain) {
        return Err(ConsoleError::NotThere {
            name: name.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        });
    }
    let path = folder.join(name.trim_matches('/'));
    let what = || format!("{}", path.display());
    let meta = std::fs::metadata(&path).map_err(|source| ConsoleError::NotThere {
        name: name.to_owned(),
        source,
    })?;
    // What is neither (a pipe, a device) could hold whoever opens it for ever.
    match meta.is_file() {
        true => read_file(&path),
        false => Err(ConsoleError::Read {
            what: what(),
            source: io::ErrorKind::IsADirectory.into(),
        }),
    }
}

fn read_file(path: &Path) -> Result<String, ConsoleError> {
    let what = path.display().to_string();
    let mut text = String::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(source) => Err(ConsoleError::Read { what, source }),
        Ok(bytes) if bytes as u64 > FILE_BYTES_MAX => Err(ConsoleError::TooLarge { what }),
        Ok(_) => Ok(text),
    }
}

/// Names and texts of what pages share, by name.
fn libraries(folder: &Path) -> Result<Vec<(String, String)>, ConsoleError> {
    // Compat: none are needed, and so no folder either.
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "lib") && path.is_file())
        .take(LIBRARIES_MAX + 1)
        .collect();
    if paths.len() > LIBRARIES_MAX {
        return Err(ConsoleError::TooMany(folder.display().to_string()));
    }
    paths.sort();
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    paths
        .iter()
        .map(|path| Ok((name(path), read_file(path)?)))
        .collect()
}

/// The first value of each parameter.
fn params(pairs: &[form::Pair]) -> Value {
    // Of equal names the last one given counts.
    Value::string_map(
        pairs
            .iter()
            .rev()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    )
}

/// All values of each parameter.
fn raw_params(pairs: &[form::Pair]) -> Value {
    let mut by_name: std::collections::BTreeMap<&str, Vec<Value>> = std::collections::BTreeMap::new();
    for (name, value) in pairs {
        by_name.entry(name).or_default().push(value.as_str().into());
    }
    let lists = by_name
        .into_iter()
        .map(|(name, values)| (Arc::from(name), Value::list(Type::Named("[]string"), values)));
    Value::map(lists.collect())
}

/// What a page sees.
struct Page {
    raw_params: Value,
    params: Value,
    path: Value,
    external_labels: Value,
}

impl Object for Page {
    fn type_name(&self) -> &'static str {
        "struct { RawParams url.Values; Params map[string]string; Path string; ExternalLabels map[string]string }"
    }

    fn fields(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("RawParams", "RawParams"),
            ("Params", "Params"),
            ("Path", "Path"),
            ("ExternalLabels", "ExternalLabels"),
        ]
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "RawParams" => Some(self.raw_params.clone()),
            "Params" => Some(self.params.clone()),
            "Path" => Some(self.path.clone()),
            "ExternalLabels" => Some(self.external_labels.clone()),
            _ => None,
        }
    }
}

/// Asks the server while a page is made, on a thread that may wait.
struct Asking<'s> {
    state: &'s ConsoleState,
    at_ms: i64,
    origin: Origin,
    options: QueryOptions,
    runtime: Handle,
}

impl Host for Asking<'_> {
    fn query(&self, expr: &str) -> Result<Vec<QuerySample>, CallError> {
        let queries = &self.state.queries;
        let failed = |error: &dyn std::fmt::Display| CallError::Host(error.to_string().into());
        let turn = self.runtime.block_on(queries.turn(expr, &self.origin, None));
        let question = Question {
            text: expr,
            expr: None,
            time: EvalTime::Instant { at_ms: self.at_ms },
            options: self.options.clone(),
            origin: &self.origin,
            may_be_kept: false,
        };
        let output = turn.and_then(|turn| queries.run(&turn, question));
        let samples = to_vector(output.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
        let samples = samples.into_iter().map(|sample| QuerySample {
            labels: sample.labels,
            value: match sample.value {
                SampleValue::Float(value) => Value::Float(value),
                SampleValue::Histogram(histogram) => Value::String(Arc::from(histogram.to_string())),
            },
        });
        Ok(samples.collect())
    }

    fn now_ms(&self) -> i64 {
        self.at_ms
    }

    fn external_url(&self) -> &str {
        &self.state.external_url
    }
}

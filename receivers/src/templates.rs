//! The templates that notifications are made of.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use model::labels::Labels;
use model::stack::deep;
use template::notification::{self, Data, Pairs};
use template::{CallError, Dialect, Host, ParseError, TemplateSet, Time, Value};

use crate::notification::{Alert, Notification, fingerprint};
use crate::rendering::Rendering;

/// Longest file of templates, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why templates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplatesError {
    /// A pattern of `templates:` is malformed, or a folder on its way cannot be read.
    #[error("{pattern}: {source}")]
    Pattern {
        /// Which.
        pattern: String,
        /// Why.
        source: yaml::GlobError,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is too long.
    #[error("{}: a file of templates has at most {FILE_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// A file is no template.
    #[error(transparent)]
    Parse(#[from] ParseError),
}

/// Templates by name: the default ones and those of the configuration's files, for plain text and for HTML. Cloning is
/// cheap.
#[derive(Clone)]
pub struct Templates {
    pub(crate) text: TemplateSet,
    html: TemplateSet,
    /// The default ones alone, for plain text: what stands in for one that fails.
    pub(crate) builtin: TemplateSet,
    external_url: Arc<str>,
    files: Vec<PathBuf>,
}

impl Templates {
    /// The default templates alone. `external_url` is where users reach the server.
    ///
    /// # Panics
    /// When the default templates are no templates, which a test excludes.
    pub fn new(external_url: &str) -> Self {
        let mut templates = Templates {
            text: TemplateSet::new(Dialect::Text, notification::FUNCTIONS),
            html: TemplateSet::new(Dialect::Html, notification::FUNCTIONS),
            builtin: TemplateSet::new(Dialect::Text, notification::FUNCTIONS),
            external_url: Arc::from(external_url),
            files: Vec::new(),
        };
        templates
            .add("", notification::DEFAULT_TEMPLATES)
            .expect("the default templates are templates");
        templates.builtin = templates.text.clone();
        templates
    }

    /// The default templates and those of the files that `patterns` name (`templates:` of the configuration, made
    /// absolute). A pattern that names nothing yet is none to complain of. Reads files: not for the network's threads.
    ///
    /// # Errors
    /// See [`TemplatesError`].
    pub fn load(patterns: &[PathBuf], external_url: &str) -> Result<Self, TemplatesError> {
        let mut templates = Templates::new(external_url);
        for pattern in patterns {
            let pattern = pattern.to_string_lossy();
            let files = yaml::glob(&pattern).map_err(|source| TemplatesError::Pattern {
                pattern: pattern.clone().into_owned(),
                source,
            })?;
            for path in files {
                let text = read(&path)?;
                let name = path
                    .file_name()
                    .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                templates.add(&name, &text)?;
                templates.files.push(path);
            }
        }
        Ok(templates)
    }

    fn add(&mut self, name: &str, text: &str) -> Result<(), ParseError> {
        self.text.add(name, text)?;
        self.html.add(name, text)
    }

    /// Files that were read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Where users reach the server.
    pub fn external_url(&self) -> &str {
        &self.external_url
    }

    /// What templates see of a notification.
    pub fn data(&self, notification: &Notification) -> Data {
        self.data_of(notification, &notification.alerts)
    }

    /// What templates see of a notification that tells of `alerts` only.
    pub(crate) fn data_of(&self, notification: &Notification, alerts: &[Alert]) -> Data {
        Data {
            receiver: quote_pattern(&notification.receiver),
            alerts: Arc::new(alerts.iter().map(alert).collect()),
            reason: notification.reason.as_str().to_owned(),
            group_labels: pairs(&notification.group_labels),
            common_labels: common(
                alerts,
                |alert| alert.labels.iter(),
                |alert, name| alert.labels.get(name),
            ),
            common_annotations: common(
                alerts,
                |alert| {
                    alert
                        .annotations
                        .iter()
                        .map(|(name, value)| (name.as_str(), value.as_str()))
                },
                |alert, name| alert.annotations.get(name).map(String::as_str),
            ),
            route_labels: Pairs::new(&notification.route_labels),
            external_url: self.external_url.to_string(),
        }
    }

    /// The labels that a route adds, whose values are templates that may refer to each other (`routeLabels`), for one
    /// group: with those that failed, and why. `data` is the group's; its own route labels are the unrendered ones.
    pub fn route_labels(
        &self,
        raw: &BTreeMap<String, String>,
        data: Data,
        now: Timestamp,
    ) -> (BTreeMap<String, String>, Vec<(String, String)>) {
        let rendering = RouteLabels {
            templates: self,
            raw,
            data: Value::object(data),
            now_ms: now.as_millisecond(),
            done: RefCell::default(),
            busy: RefCell::default(),
        };
        let (mut rendered, mut failed) = (BTreeMap::new(), Vec::new());
        for name in raw.keys() {
            match rendering.route_label(name) {
                Ok(value) => {
                    rendered.insert(name.clone(), value);
                }
                Err(error) => failed.push((name.clone(), error.to_string())),
            }
        }
        (rendered, failed)
    }

    /// Renders a text of its own, plain or for HTML, with `data` for what it sees.
    ///
    /// # Errors
    /// When it is no template, or fails.
    pub fn render(
        &self,
        dialect: Dialect,
        text: &str,
        data: Value,
        now: Timestamp,
    ) -> Result<String, template::Error> {
        let host = Plain {
            templates: self,
            now_ms: now.as_millisecond(),
        };
        self.set(dialect).expand("", text, data, &host)
    }

    pub(crate) fn set(&self, dialect: Dialect) -> &TemplateSet {
        match dialect {
            Dialect::Text => &self.text,
            Dialect::Html => &self.html,
        }
    }

    /// Begins to render texts of a notification that tells of `alerts`.
    pub(crate) fn rendering(
        &self,
        notification: &Notification,
        alerts: &[Alert],
        now_ms: i64,
    ) -> Rendering<'_> {
        Rendering::new(self, notification, alerts, now_ms)
    }
}

fn read(path: &std::path::Path) -> Result<String, TemplatesError> {
    let failed = |source| TemplatesError::File {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(TemplatesError::TooLong {
            path: path.to_owned(),
        });
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn pairs(labels: &Labels) -> Pairs {
    Pairs::new(labels)
}

fn alert(alert: &Alert) -> notification::Alert {
    let time = |at: Timestamp| Time::from_unix_ns(at.as_nanosecond());
    notification::Alert {
        firing: alert.ends_at.is_none(),
        labels: pairs(&alert.labels),
        annotations: Pairs::new(&alert.annotations),
        starts_at: time(alert.starts_at),
        ends_at: alert.ends_at.map_or_else(Time::zero, time),
        generator_url: alert.generator_url.clone(),
        fingerprint: format!("{:016x}", fingerprint(&alert.labels)),
    }
}

/// The labels (or annotations) that all alerts have: `all` gives those of one, `get` one of them.
fn common<'a, I: Iterator<Item = (&'a str, &'a str)>>(
    alerts: &'a [Alert],
    all: impl Fn(&'a Alert) -> I,
    get: impl Fn(&'a Alert, &str) -> Option<&'a str>,
) -> Pairs {
    let Some((first, others)) = alerts.split_first() else {
        return Pairs::default();
    };
    Pairs::new(all(first).filter(|(name, value)| {
        // Compat: no value is as good as an empty one.
        others
            .iter()
            .all(|alert| get(alert, name).unwrap_or("") == *value)
    }))
}

/// A text as a pattern that matches it.
fn quote_pattern(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

/// Renders without a route around.
struct Plain<'t> {
    templates: &'t Templates,
    now_ms: i64,
}

impl Host for Plain<'_> {
    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn external_url(&self) -> &str {
        &self.templates.external_url
    }
}

/// The labels of a route while they are rendered: each once, and none within itself.
struct RouteLabels<'t> {
    templates: &'t Templates,
    raw: &'t BTreeMap<String, String>,
    data: Value,
    now_ms: i64,
    done: RefCell<BTreeMap<String, String>>,
    /// Those around the one that is being rendered.
    busy: RefCell<Vec<String>>,
}

impl Host for RouteLabels<'_> {
    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn external_url(&self) -> &str {
        &self.templates.external_url
    }

    fn route_label(&self, name: &str) -> Result<String, CallError> {
        let Some(template) = self.raw.get(name) else {
            return Ok(String::new());
        };
        if let Some(done) = self.done.borrow().get(name) {
            return Ok(done.clone());
        }
        if self.busy.borrow().iter().any(|busy| busy == name) {
            let cycle = format!("{} -> {name}", self.busy.borrow().join(" -> "));
            return Err(CallError::RouteLabel(format!(
                "route label cycle detected: {cycle}"
            )));
        }
        self.busy.borrow_mut().push(name.to_owned());
        let rendered = if template.is_empty() {
            Ok(String::new())
        } else {
            deep(|| self.templates.text.expand("", template, self.data.clone(), self))
        };
        self.busy.borrow_mut().pop();
        let rendered = rendered.map_err(|error| CallError::RouteLabel(error.to_string()))?;
        self.done.borrow_mut().insert(name.to_owned(), rendered.clone());
        Ok(rendered)
    }
}

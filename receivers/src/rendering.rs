//! Renders the texts of one notification, and decides what is sent in the place of one whose template fails.

use std::collections::BTreeMap;

use serde_json::json;
use template::{CallError, Dialect, Host, Value};

use crate::receiver::Failure;
use crate::templates::Templates;
use crate::{Alert, Notification, despite, shorten};

/// Most of the default text in a document, in characters: escaped it must fit into what Jira takes.
const DOCUMENT_CHARS_MAX: usize = 5_000;

/// Renders the texts of one notification. After the first that fails, and that nothing stands in for, all are empty: whoever
/// is done asks [`Rendering::check`].
pub(crate) struct Rendering<'t> {
    templates: &'t Templates,
    data: Value,
    route_labels: BTreeMap<String, String>,
    now_ms: i64,
    failure: Option<String>,
}

/// What a field is for, and so what is sent in its place when its template fails and the notification goes out all the
/// same ([`crate::deliver_despite_templates`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose<'d> {
    /// A text for people: the default text, with the error and all alerts.
    Text,
    /// The same, for HTML.
    Html,
    /// The same, where these characters mean something unless a backslash stands before them.
    Escaped(&'static str),
    /// The same, in a form that is no list to who reads it as YAML.
    Value,
    /// The same, as a document of Jira's.
    Document,
    /// A line for people: the default subject.
    Line,
    /// A few words on a button or above a column.
    Label,
    /// What the service must have, or one of what it knows: what the field is where nothing is said, itself a template.
    Choice(&'d str),
    /// What the service can do without, and would refuse or misunderstand if it were made up: nothing.
    Extra,
    /// Whom or where to: the notification fails, as nobody would be told, or somebody else.
    Address,
}

impl<'t> Rendering<'t> {
    pub(crate) fn new(
        templates: &'t Templates,
        notification: &Notification,
        alerts: &[Alert],
        now_ms: i64,
    ) -> Self {
        Rendering {
            templates,
            data: Value::object(templates.data_of(notification, alerts)),
            route_labels: notification.route_labels.clone(),
            now_ms,
            failure: None,
        }
    }

    /// A plain text for people.
    pub(crate) fn text(&mut self, template: &str) -> String {
        self.render(Dialect::Text, template, Purpose::Text)
            .unwrap_or_default()
    }

    /// A text for HTML.
    pub(crate) fn html(&mut self, template: &str) -> String {
        self.render(Dialect::Html, template, Purpose::Html)
            .unwrap_or_default()
    }

    /// A text for people in which `special` characters mean something.
    pub(crate) fn escaped(&mut self, template: &str, special: &'static str) -> String {
        self.render(Dialect::Text, template, Purpose::Escaped(special))
            .unwrap_or_default()
    }

    /// A document of Jira's, in JSON.
    pub(crate) fn document(&mut self, template: &str) -> String {
        self.render(Dialect::Text, template, Purpose::Document)
            .unwrap_or_default()
    }

    /// A plain text for people, of one line.
    pub(crate) fn line(&mut self, template: &str) -> String {
        self.render(Dialect::Text, template, Purpose::Line)
            .unwrap_or_default()
    }

    /// A few words for people.
    pub(crate) fn label(&mut self, template: &str) -> String {
        self.render(Dialect::Text, template, Purpose::Label)
            .unwrap_or_default()
    }

    /// One of what a service knows, or what it must have; `default` is what it is where nothing is said.
    pub(crate) fn choice(&mut self, template: &str, default: &str) -> String {
        self.render(Dialect::Text, template, Purpose::Choice(default))
            .unwrap_or_default()
    }

    /// What may be empty: a look, a link, a tag.
    pub(crate) fn extra(&mut self, template: &str) -> String {
        self.part(template).unwrap_or_default()
    }

    /// The same, of something that is left out as a whole: none then.
    pub(crate) fn part(&mut self, template: &str) -> Option<String> {
        self.render(Dialect::Text, template, Purpose::Extra)
    }

    /// Whom or where to, and by what key.
    pub(crate) fn address(&mut self, template: &str) -> String {
        self.render(Dialect::Text, template, Purpose::Address)
            .unwrap_or_default()
    }

    /// A plain text for people that may be read as YAML, or why it cannot be had.
    pub(crate) fn try_value(&mut self, template: &str) -> Result<String, Failure> {
        let text = self.render(Dialect::Text, template, Purpose::Value);
        self.check("")?;
        Ok(text.unwrap_or_default())
    }

    /// Whether all has gone well; otherwise a failure that begins with `what`.
    pub(crate) fn check(&self, what: &str) -> Result<(), Failure> {
        match &self.failure {
            Some(error) => Err(Failure::last(format!("{what}{error}"))),
            None => Ok(()),
        }
    }

    /// The same, for who sends what is left of a message as the reference does: where the default text stands in for the
    /// rest, what has failed is an address.
    pub(crate) fn check_addresses(&self) -> Result<(), Failure> {
        match despite::is_on() {
            true => self.check(""),
            false => Ok(()),
        }
    }

    /// What the templates see.
    pub(crate) fn data(&self) -> Value {
        self.data.clone()
    }

    /// None where the template fails and the field is left out.
    fn render(&mut self, dialect: Dialect, template: &str, purpose: Purpose<'_>) -> Option<String> {
        if template.is_empty() || self.failure.is_some() {
            return Some(String::new());
        }
        let set = self.templates.set(dialect);
        match set.expand("", template, self.data.clone(), self) {
            Ok(text) => Some(text),
            Err(error) if purpose != Purpose::Address && despite::stands_in(&error) => {
                self.stand_in(&error, purpose)
            }
            Err(error) => {
                self.failure = Some(error.to_string());
                Some(String::new())
            }
        }
    }

    /// What is sent in the place of a text whose template fails: of the default templates, with the reason why it is not the
    /// other where there is room for it.
    fn stand_in(&self, error: &template::Error, purpose: Purpose<'_>) -> Option<String> {
        let template = match purpose {
            Purpose::Extra | Purpose::Address => return None,
            Purpose::Label => return Some(LABEL.to_owned()),
            Purpose::Choice(default) => return Some(self.default(default)),
            Purpose::Line => SUBJECT,
            _ => STAND_IN,
        };
        let text = self.default(template).replace(STAND_IN_ERROR, &error.to_string());
        Some(match purpose {
            Purpose::Html => format!("<pre>{}</pre>", escape_html(&text)),
            Purpose::Escaped(special) => escape(&text, special),
            Purpose::Value => text.replacen('[', "(", 1).replacen(']', ")", 1),
            Purpose::Document => document(text),
            _ => text,
        })
    }

    /// A default, by the default templates or, where it refers to others, by those.
    fn default(&self, template: &str) -> String {
        let sets = [&self.templates.builtin, &self.templates.text];
        let mut texts = sets
            .into_iter()
            .filter_map(|set| set.expand("", template, self.data.clone(), self).ok());
        texts.next().unwrap_or_default()
    }
}

/// The default subject.
const SUBJECT: &str = "{{ template \"__subject\" . }}";
/// The default text. The error stands near its beginning, as long texts are cut.
const STAND_IN: &str = "{{ template \"__subject\" . }}\n\
    This is the default text, as a template of this notification fails: \u{1}\n\n\
    {{ template \"__text_alert_list\" .Alerts }}";
/// Where the error stands in it.
const STAND_IN_ERROR: char = '\u{1}';
/// What fits on a button and is never wrong.
const LABEL: &str = "Alert";

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn escape(text: &str, special: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if special.contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// A text in Jira's format of documents.
fn document(text: String) -> String {
    let (text, _) = shorten::to_chars(text, DOCUMENT_CHARS_MAX);
    let block = json!({"type": "codeBlock", "content": [{"type": "text", "text": text}]});
    json!({"type": "doc", "version": 1, "content": [block]}).to_string()
}

impl Host for Rendering<'_> {
    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn external_url(&self) -> &str {
        self.templates.external_url()
    }

    fn route_label(&self, name: &str) -> Result<String, CallError> {
        Ok(self.route_labels.get(name).cloned().unwrap_or_default())
    }
}

//! Parameters of routes: names, forms, what they mean.

use std::sync::Arc;

use serde_json::{Value, json};

/// What the text of a parameter has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Kind {
    Text,
    /// RFC 3339, or seconds since the epoch.
    Time,
    /// `5m`, or seconds.
    Duration,
    /// A whole number.
    Whole,
    /// A whole number above 0.
    Positive,
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text, any number of times.
    Texts,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Place {
    /// In the query of the URL, or in the form.
    Query,
    Path,
}

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) struct Parameter {
    pub(in crate::web) name: &'static str,
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) required: bool,
    pub(super) about: &'static str,
}

/// The parameters of a route, kept with its requests while debug assertions are on.
#[derive(Clone, Debug)]
pub(in crate::web) struct Declared(pub(super) Arc<[Parameter]>);

impl Declared {
    /// Whether `name` is among them.
    pub(in crate::web) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|parameter| parameter.name == name)
    }
}

impl Parameter {
    /// One that may be left out.
    pub(in crate::web) const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Parameter {
            name,
            kind,
            place: Place::Query,
            required: false,
            about,
        }
    }

    /// One that is a part of the path.
    pub(super) const fn in_path(name: &'static str, about: &'static str) -> Self {
        Parameter {
            place: Place::Path,
            required: true,
            ..Parameter::new(name, Kind::Text, about)
        }
    }

    /// The same, which must be given.
    pub(super) const fn required(self) -> Self {
        Parameter {
            required: true,
            ..self
        }
    }

    /// Its form, as JSON Schema has it.
    pub(super) fn schema(&self) -> Value {
        match self.kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::Time => either("date-time", "unixtime"),
            Kind::Duration => either("duration", "float"),
            Kind::Whole => json!({ "type": "integer", "format": "int64" }),
            Kind::Positive => json!({ "type": "integer", "format": "int64", "minimum": 1 }),
            Kind::Switch => json!({ "type": "boolean" }),
            Kind::Word(words) => json!({ "type": "string", "enum": words }),
            Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        }
    }
}

/// A text, or a number: whichever it is, it comes as text.
fn either(text: &str, number: &str) -> Value {
    json!({ "anyOf": [{ "type": "string", "format": text }, { "type": "number", "format": number }] })
}

// ------------------------------------------------------------------------------------------------ shared by several routes

pub(super) const QUERY: Parameter = Parameter::new("query", Kind::Text, "An expression.").required();
pub(super) const TIME: Parameter = Parameter::new("time", Kind::Time, "The time to look at; now by default.");
pub(super) const START: Parameter = Parameter::new("start", Kind::Time, "Begin of the range of time.");
pub(super) const END: Parameter = Parameter::new("end", Kind::Time, "End of the range of time.");
pub(super) const STEP: Parameter =
    Parameter::new("step", Kind::Duration, "Time between two points.").required();
pub(super) const TIMEOUT: Parameter = Parameter::new(
    "timeout",
    Kind::Duration,
    "Longest evaluation; at most --query.timeout, the default.",
);
pub(super) const LIMIT: Parameter = Parameter::new(
    "limit",
    Kind::Whole,
    "Most elements of the answer; 0, the default, for all.",
);
pub(super) const LOOKBACK_DELTA: Parameter = Parameter::new(
    "lookback_delta",
    Kind::Duration,
    "How far back the newest sample of a series may lie, instead of --query.lookback-delta.",
);
pub(super) const STATS: Parameter = Parameter::new(
    "stats",
    Kind::Text,
    "\"true\" adds statistics to the answer, \"all\" those of each step, too.",
);
pub(super) const EXPLAIN: Parameter = Parameter::new(
    "explain",
    Kind::Word(&["plan", "analyze"]),
    "Adds the plan instead of executing it, or the plan and what its parts took.",
);
pub(super) const MATCH: Parameter = Parameter::new(
    "match[]",
    Kind::Texts,
    "Selectors; what any of them selects counts.",
);
pub(super) const METRIC: Parameter = Parameter::new("metric", Kind::Text, "The metric; all by default.");
pub(super) const SCRAPE_POOL: Parameter =
    Parameter::new("scrapePool", Kind::Text, "The job; all by default.");

//! Templates in labels and annotations of alerts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::labels::Labels;
use promql::value::SampleValue;
use template::alert::{AlertData, FUNCTIONS, PREFIX};
use template::{CallError, Dialect, ExecError, FieldUse, Host, ParseError, QuerySample, TemplateSet, Value};

use crate::source::{Asker, QuerySource};

/// Templates that were expanded, and those that could not be.
static EXPANSIONS: AtomicU64 = AtomicU64::new(0);
static FAILURES: AtomicU64 = AtomicU64::new(0);

/// Registers what is counted of templates.
pub(crate) fn register_metrics(registry: &metrics::Registry) {
    let read = |count: &'static AtomicU64| move || count.load(Ordering::Relaxed) as f64;
    registry.counter_fn(
        "prometheus_template_text_expansions_total",
        "The total number of template text expansions.",
        read(&EXPANSIONS),
    );
    registry.counter_fn(
        "prometheus_template_text_expansion_failures_total",
        "The total number of template text expansion failures.",
        read(&FAILURES),
    );
}

/// A label's or annotation's text, ready to be expanded any number of times.
pub(crate) struct Template {
    text: String,
    /// Absent where the text has no action: most labels are plain.
    parsed: Option<Parsed>,
}

struct Parsed {
    name: String,
    set: TemplateSet,
}

impl Template {
    /// Parses `text`, which belongs to the alert `alert`.
    pub(crate) fn parse(alert: &str, text: &str) -> Result<Self, ParseError> {
        let mut template = Template {
            text: text.to_owned(),
            parsed: None,
        };
        if text.contains("{{") {
            let name = format!("__alert_{alert}");
            let mut set = TemplateSet::new(Dialect::Text, FUNCTIONS);
            set.add(&name, &format!("{PREFIX}{text}"))?;
            template.parsed = Some(Parsed { name, set });
        }
        Ok(template)
    }

    /// The text as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What it reads, with places in the text as it was written.
    pub(crate) fn field_uses(&self) -> Vec<FieldUse> {
        let Some(Parsed { name, set }) = &self.parsed else {
            return Vec::new();
        };
        let mut uses = set.field_uses(name);
        // What stands in front of every template is not the author's.
        uses.retain(|found| found.start >= PREFIX.len());
        for found in &mut uses {
            found.start -= PREFIX.len();
            found.end -= PREFIX.len();
        }
        uses
    }

    /// Expands it, to see whether it can be; nothing is counted or logged.
    ///
    /// # Errors
    /// Why it cannot; with the offset in the text as it was written.
    pub(crate) fn try_expand(&self, data: &Value, host: &dyn Host) -> Result<String, Box<ExecError>> {
        let Some(Parsed { name, set }) = &self.parsed else {
            return Ok(self.text.clone());
        };
        set.execute(name, data.clone(), host).map_err(|mut error| {
            error.offset = error.offset.saturating_sub(PREFIX.len());
            error
        })
    }

    /// Expands it for one element of the rule's result. What fails is told in the text.
    pub(crate) fn expand(&self, data: &Value, host: &dyn Host) -> String {
        let Some(Parsed { name, set }) = &self.parsed else {
            return self.text.clone();
        };
        EXPANSIONS.fetch_add(1, Ordering::Relaxed);
        match set.execute(name, data.clone(), host) {
            Ok(text) => text,
            Err(error) => {
                FAILURES.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(alert = %name, %error, "Expanding alert template failed");
                format!("<error expanding template: error executing template {name}: {error}>")
            }
        }
    }
}

/// What templates of one evaluation share.
pub(crate) struct Context<'c> {
    pub(crate) source: &'c dyn QuerySource,
    pub(crate) asker: Asker<'c>,
    pub(crate) at_ms: i64,
    pub(crate) external_url: &'c str,
    pub(crate) external_labels: &'c Value,
}

impl Context<'_> {
    /// What the templates of an alert see.
    pub(crate) fn data(&self, labels: &Labels, value: &SampleValue) -> Value {
        Value::object(AlertData {
            labels: Value::string_map(labels.iter()),
            external_labels: self.external_labels.clone(),
            external_url: self.external_url.into(),
            value: to_value(value),
        })
    }
}

fn to_value(value: &SampleValue) -> Value {
    match value {
        SampleValue::Float(value) => Value::Float(*value),
        SampleValue::Histogram(histogram) => Value::String(Arc::from(histogram.to_string())),
    }
}

impl Host for Context<'_> {
    fn query(&self, expr: &str) -> Result<Vec<QuerySample>, CallError> {
        let samples = self.source.query_text(expr, self.at_ms, self.asker);
        let samples = samples.map_err(|error| CallError::Host(Box::new(error)))?;
        Ok(samples
            .into_iter()
            .map(|sample| QuerySample {
                labels: sample.labels,
                value: to_value(&sample.value),
            })
            .collect())
    }

    fn now_ms(&self) -> i64 {
        self.at_ms
    }

    fn external_url(&self) -> &str {
        self.external_url
    }
}

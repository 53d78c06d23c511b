//! NX303: a template that cannot be expanded, whatever the labels are.

use model::labels::Labels;
use promql::parser::{ParseOptions, parse};
use template::alert::AlertData;
use template::{CallError, ExecErrorKind, Host, QuerySample, Value};

use super::dropped_label::label_of;
use super::{Check, Explanation, Lint, Report, Severity};
use crate::expand::Template;
use crate::lint::labels::Presence;
use crate::lint::view::RuleView;

pub(super) static LINT: Lint = Lint {
    code: "NX303",
    name: "failing-template",
    severity: Severity::Error,
    explanation: Explanation {
        what: "A template fails when it is expanded.",
        why: "A template that fails becomes \"<error expanding template: …>\" in the notification, at the moment when \
              somebody needs it. Each template is expanded with samples of labels and values; what fails with all of them \
              is told: a function that gets the wrong type, a field that is not there, a query that is none.",
        wrong: "- alert: DiskFull
  expr: disk_used_ratio > 0.9
  annotations:
    summary: \"{{ $labels.device }} is at {{ $value | toUpper }}\"",
        right: "- alert: DiskFull
  expr: disk_used_ratio > 0.9
  annotations:
    summary: \"{{ $labels.device }} is at {{ $value | humanizePercentage }}\"",
        needs_server: false,
    },
    check: Check::Rule(check),
};

/// What labels have in the samples: a number, a word, a length of time, an address.
const SAMPLES: [&str; 4] = ["1", "sample", "1m", "sample.example:9090"];

fn check(rule: &RuleView<'_>, report: &mut Report<'_>) {
    if !rule.is_alert() {
        return;
    }
    for (section, name, text) in rule.templates() {
        let Ok(template) = Template::parse(&rule.rule.name, text) else {
            continue;
        };
        let uses = template.field_uses();
        let labels: Vec<&str> = uses
            .iter()
            .filter_map(label_of)
            .filter(|label| rule.result_labels().presence(label) != Presence::Never)
            .collect();
        let expand = |sample: &str| {
            let data = Value::object(AlertData {
                labels: Value::string_map(labels.iter().map(|label| (*label, sample))),
                external_labels: Value::string_map([] as [(&str, &str); 0]),
                external_url: "http://localhost:9090".into(),
                value: Value::Float(1.0),
            });
            template.try_expand(&data, &SampleHost).err()
        };
        let Some(errors) = SAMPLES.into_iter().map(expand).collect::<Option<Vec<_>>>() else {
            continue;
        };
        let Some(error) = errors
            .first()
            .filter(|_| !errors.iter().any(|error| depends_on_values(&error.kind)))
        else {
            continue;
        };
        let word = text.get(error.offset..).unwrap_or("");
        let is_word = |c: char| c.is_alphanumeric() || "._$".contains(c);
        let length = word.find(|c| !is_word(c)).unwrap_or(word.len());
        let place = rule.place_in_template(section, name, error.offset, error.offset + length);
        report.add(rule, place, format!("the template fails: {}", error.kind));
    }
}

/// Whether other labels could have gone well.
fn depends_on_values(error: &ExecErrorKind) -> bool {
    use CallError::{
        BadDuration, BadFloat, NanOrInf, OutOfRange, SliceOrder, TimeOverflow, TimeRange, UnknownZone,
    };
    let ExecErrorKind::Call { error, .. } = error else {
        return false;
    };
    matches!(
        error,
        BadFloat { .. }
            | BadDuration(_)
            | NanOrInf
            | OutOfRange(_)
            | SliceOrder(..)
            | TimeOverflow(_)
            | TimeRange
            | UnknownZone(_)
    )
}

/// Answers queries with one sample, if they are queries.
struct SampleHost;

impl Host for SampleHost {
    fn query(&self, expr: &str) -> Result<Vec<QuerySample>, CallError> {
        match parse(expr, &ParseOptions::ALL) {
            Ok(_) => Ok(vec![QuerySample {
                labels: Labels::empty(),
                value: Value::Float(1.0),
            }]),
            Err(error) => Err(CallError::Host(Box::new(error))),
        }
    }

    fn now_ms(&self) -> i64 {
        0
    }

    fn external_url(&self) -> &str {
        "http://localhost:9090"
    }
}

//! `test rules`: unit tests of rules, from files that people keep beside them.
//!
//! A test file gives input series and what alerts and expressions must be at some times. Each of its tests runs in a
//! store of its own, to which samples come as time goes by, so that no rule sees the future.

mod diff;
mod file;
mod run;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use model::labels::Labels;
use model::regex::Regex;
use promql::engine::{Features, QueryError};
use promql::parser::ParseError;
use yaml::YamlError;

use crate::error::{LoadError, Quoted};
use crate::format::FormatOptions;

/// How tests are run.
#[derive(Clone, Debug, Default)]
pub struct UnitOptions {
    /// What is accepted in rule files; unknown keys in the test file itself are always errors.
    pub format: FormatOptions,
    /// Which optional parts of PromQL are evaluated.
    pub features: Features,
    /// Only tests whose name matches somewhere.
    pub run: Option<Regex>,
    /// Whether [`UnitTest::dump`] is wanted.
    pub dump: bool,
}

/// What became of a test file.
#[derive(Debug)]
pub struct UnitReport {
    /// Its tests that were run, in order.
    pub tests: Vec<UnitTest>,
    /// Why it could not be run at all.
    pub error: Option<UnitFailure>,
    /// Patterns of rule files that match none.
    pub unmatched: Vec<String>,
}

/// What became of a test.
#[derive(Debug)]
pub struct UnitTest {
    /// Its name, or `unnamed#` and its number.
    pub name: String,
    /// What failed.
    pub failures: Vec<UnitFailure>,
    /// How long it took.
    pub elapsed: Duration,
    /// All samples at its end, input and results of rules, where that was asked for and the test came so far.
    pub dump: Option<UnitDump>,
}

/// The samples of a test's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitDump {
    /// From the start up to here, in milliseconds from the start.
    pub until_ms: i64,
    /// Series by series: labels, then a line for each sample.
    pub text: String,
}

/// Something that failed. Displayed, it is the reference's message, which may have several lines.
#[derive(Debug)]
#[non_exhaustive]
pub enum UnitFailure {
    /// The test file is not of the shape that test files have.
    Format(YamlError),
    /// A group is named twice in the order of evaluation.
    GroupOrder(String),
    /// A start time is none.
    StartTime(String),
    /// Rule files cannot be loaded.
    Load(LoadError),
    /// An input series cannot be read.
    Series {
        /// As it is written.
        series: String,
        /// Why not.
        error: Box<ParseError>,
    },
    /// A test of alerts does not say of which.
    NoAlertName {
        /// Its time, in milliseconds from the start.
        eval_time_ms: i64,
        /// The test's name, if it has one.
        test: String,
    },
    /// The evaluation of a rule failed.
    Rule {
        /// The rule.
        rule: String,
        /// When, in nanoseconds since the epoch.
        at_ns: i64,
        /// Why.
        error: String,
    },
    /// Other alerts fire than were expected.
    Alerts {
        /// The test's name, if it has one.
        test: String,
        /// Name of the alerts.
        alert: String,
        /// When, in milliseconds from the start.
        eval_time_ms: i64,
        /// What was expected.
        expected: Vec<FiringAlert>,
        /// What there is.
        got: Vec<FiringAlert>,
    },
    /// An expression cannot be evaluated.
    Query {
        /// The expression.
        expr: String,
        /// When, in milliseconds from the start.
        eval_time_ms: i64,
        /// Why not.
        error: Box<QueryFailure>,
    },
    /// An expression has another value than was expected.
    Samples {
        /// The expression.
        expr: String,
        /// When, in milliseconds from the start.
        eval_time_ms: i64,
        /// What was expected.
        expected: Vec<UnitSample>,
        /// What there is.
        got: Vec<UnitSample>,
    },
}

/// Why an expression of a test gave nothing to compare.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryFailure {
    /// The query failed.
    #[error("{0}")]
    Query(Box<QueryError>),
    /// It gives a text or a range.
    #[error("rule result is not a vector or scalar")]
    NotAVector,
    /// Expected labels are none.
    #[error("labels {}: {error}", Quoted(.labels))]
    Labels {
        /// As they are written.
        labels: String,
        /// Why not.
        error: Box<ParseError>,
    },
    /// An expected histogram is none.
    #[error("labels {}: expected histogram, got {histogram}", Quoted(.labels))]
    Histogram {
        /// Labels of the sample.
        labels: String,
        /// As it is written.
        histogram: String,
    },
}

/// A firing alert.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FiringAlert {
    /// Its labels.
    pub labels: Labels,
    /// Its annotations; values may be empty.
    pub annotations: Labels,
}

/// A sample of an expression's value.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitSample {
    /// Its labels.
    pub labels: Labels,
    /// Its value, where it is a float.
    pub value: f64,
    /// The histogram in the notation of tests, where it is one.
    pub histogram: Option<String>,
}

/// Runs the test file `text`, whose path is `path`: rule files are looked for beside it.
pub fn test_file(path: &Path, text: &str, options: &UnitOptions) -> UnitReport {
    let name = path.display().to_string();
    let mut report = UnitReport {
        tests: Vec::new(),
        error: None,
        unmatched: Vec::new(),
    };
    match file::read(&name, text) {
        Ok(file) => run::run(&file, path, options, &mut report),
        Err(error) => report.error = Some(error),
    }
    report
}

impl UnitReport {
    /// Everything that failed, in order.
    pub fn failures(&self) -> impl Iterator<Item = &UnitFailure> {
        let tests = self.tests.iter().flat_map(|test| &test.failures);
        self.error.iter().chain(tests)
    }

    /// Whether nothing failed.
    pub fn is_success(&self) -> bool {
        self.failures().next().is_none()
    }

    /// What goes to standard output.
    pub fn stdout(&self) -> String {
        if self.is_success() {
            return "  SUCCESS\n\n".to_owned();
        }
        // Compat: a line for each failure, which itself goes to standard error (`own_tests_fail`).
        "\n".repeat(self.failures().count() + 1)
    }

    /// What goes to standard error.
    pub fn stderr(&self) -> String {
        self.stderr_with(None)
    }

    /// What goes to standard error, with [`UnitFailure::diff`] where `diff` says whether in colours.
    pub fn stderr_with(&self, diff: Option<bool>) -> String {
        let warnings = self.unmatched.iter();
        let mut out: String = warnings
            .map(|pattern| format!("  WARNING: no file match pattern {pattern}\n"))
            .collect();
        if !self.is_success() {
            out.push_str("  FAILED:\n");
        }
        for failure in self.failures() {
            match diff {
                Some(color) => out.push_str(&failure.diff(color)),
                None => out.push_str(&failure.to_string()),
            }
            out.push('\n');
        }
        out
    }
}

impl fmt::Display for UnitFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |ms: &i64| model::duration::format_duration(*ms);
        match self {
            UnitFailure::Format(error) => error.fmt(f),
            UnitFailure::GroupOrder(group) => write!(f, "group name repeated in evaluation order: {group}"),
            UnitFailure::StartTime(text) => write!(f, "cannot parse {} to a valid timestamp", Quoted(text)),
            UnitFailure::Load(error) => error.fmt(f),
            UnitFailure::Series { series, error } => write!(f, "input series {}: {error}", Quoted(series)),
            UnitFailure::NoAlertName { eval_time_ms, test } => {
                let at = time(eval_time_ms);
                write!(
                    f,
                    "an item under alert_rule_test misses required attribute alertname at eval_time {at}"
                )?;
                if !test.is_empty() {
                    write!(f, " (in TestGroup {test})")?;
                }
                Ok(())
            }
            UnitFailure::Rule { rule, at_ns, error } => {
                let at = template::Value::Duration(*at_ns);
                write!(f, "    rule: {rule}, time: {at}, err: {error}")
            }
            UnitFailure::Alerts {
                test,
                alert,
                eval_time_ms,
                expected,
                got,
            } => {
                if !test.is_empty() {
                    writeln!(f, "    name: {test},")?;
                }
                let (at, expected, got) = (time(eval_time_ms), alerts_text(expected), alerts_text(got));
                write!(
                    f,
                    "    alertname: {alert}, time: {at}, \n        exp:{expected}, \n        got:{got}"
                )
            }
            UnitFailure::Query {
                expr,
                eval_time_ms,
                error,
            } => write!(
                f,
                "    expr: {}, time: {}, err: {error}",
                Quoted(expr),
                time(eval_time_ms)
            ),
            UnitFailure::Samples {
                expr,
                eval_time_ms,
                expected,
                got,
            } => {
                let (expected, got) = (samples_text(expected), samples_text(got));
                let at = time(eval_time_ms);
                write!(
                    f,
                    "    expr: {}, time: {at},\n        exp: {expected}\n        got: {got}",
                    Quoted(expr)
                )
            }
        }
    }
}

fn alerts_text(alerts: &[FiringAlert]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let shown = alerts.iter().enumerate().map(|(i, alert)| {
        let FiringAlert { labels, annotations } = alert;
        format!("            {i}:\n              Labels:{labels}\n              Annotations:{annotations}")
    });
    let shown: Vec<String> = shown.collect();
    format!("[\n{}\n            ]", shown.join(",\n"))
}

fn samples_text(samples: &[UnitSample]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let shown = samples.iter().map(|sample| match &sample.histogram {
        Some(histogram) => format!("{} {histogram}", sample.labels),
        None => {
            let value = model::float::format_exponent(sample.value);
            // Infinities and NaN keep their letters.
            let value = if sample.value.is_finite() {
                value.to_uppercase()
            } else {
                value
            };
            format!("{} {value}", sample.labels)
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Annotations as labels are kept: sorted, with empty values.
fn annotations(pairs: &BTreeMap<String, String>) -> Labels {
    Labels::from_sorted(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

//! From points to samples of a transaction.

use std::collections::BTreeMap;

use model::labels::{Labels, LabelsBuilder, METRIC_NAME};

use super::line::{LineError, Point, Problem, points};
use crate::intake::{Intake, Outcome, Sample, Samples, TooMuch};

/// The label that names the database.
const DATABASE: &str = "db";

/// The unit of times in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// By the number of digits, as VictoriaMetrics does where nothing is said.
    #[default]
    Guess,
    /// Nanoseconds.
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

impl Precision {
    /// From the parameter `precision`. As VictoriaMetrics: what is unknown counts as not said.
    pub fn from_parameter(word: &str) -> Self {
        match word {
            "ns" | "n" => Precision::Nanoseconds,
            "us" | "u" | "µ" => Precision::Microseconds,
            "ms" => Precision::Milliseconds,
            "s" => Precision::Seconds,
            "m" => Precision::Minutes,
            "h" => Precision::Hours,
            _ => Precision::Guess,
        }
    }

    /// A time in milliseconds; `now_ms` where none is said, or zero.
    pub fn to_ms(self, timestamp: Option<i64>, now_ms: i64) -> i64 {
        let Some(time) = timestamp.filter(|time| *time != 0) else {
            return now_ms;
        };
        match self {
            Precision::Guess if time >= 100_000_000_000_000_000 => time / 1_000_000,
            Precision::Guess if time >= 100_000_000_000_000 => time / 1_000,
            Precision::Guess if time >= 100_000_000_000 => time,
            Precision::Guess | Precision::Seconds => time.saturating_mul(1_000),
            Precision::Nanoseconds => time / 1_000_000,
            Precision::Microseconds => time / 1_000,
            Precision::Milliseconds => time,
            Precision::Minutes => time.saturating_mul(60_000),
            Precision::Hours => time.saturating_mul(3_600_000),
        }
    }
}

/// How a request is read.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Unit of its times.
    pub precision: Precision,
    /// Its database; empty for none.
    pub database: String,
    /// Labels that all samples get.
    pub extra_labels: BTreeMap<String, String>,
    /// Lines that are wrong are left out; else nothing of the request is stored.
    pub skip_bad_lines: bool,
}

/// Stores the points of a body, in one transaction.
pub fn read(body: &str, rules: &Rules, intake: &Intake<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut samples = Samples::default();
    for read in points(body) {
        let added =
            read.and_then(|point| add(&point, body, rules, intake.now_ms, &mut samples, &mut outcome));
        if let Err(error) = added {
            outcome.refuse_line(error.to_string());
            if error.problem == Problem::TooMuch {
                break;
            }
        }
    }
    if outcome.bad_lines > 0 && !rules.skip_bad_lines {
        return outcome;
    }
    intake.store(samples, &mut outcome);
    outcome
}

fn add(
    point: &Point<'_>,
    body: &str,
    rules: &Rules,
    now_ms: i64,
    samples: &mut Samples,
    outcome: &mut Outcome,
) -> Result<(), LineError> {
    let timestamp_ms = rules.precision.to_ms(point.timestamp, now_ms);
    let wrong = |problem| {
        let text = body.split('\n').nth(point.line - 1).unwrap_or("");
        LineError::new(point.line, text, 0, problem)
    };
    let begin = samples.len();
    for field in &point.fields {
        let Some(value) = field.value else {
            outcome.texts += 1;
            continue;
        };
        let added = match labels(point, &field.name, rules) {
            Ok(labels) => samples
                .push(Sample {
                    labels,
                    timestamp_ms,
                    value,
                    line: point.line,
                })
                .map_err(|TooMuch| Problem::TooMuch),
            Err(_) => Err(Problem::TooLong),
        };
        if let Err(problem) = added {
            samples.truncate(begin);
            return Err(wrong(problem));
        }
    }
    Ok(())
}

/// Whoever comes later wins: tags, then the database where no tag says it, then the labels of the request.
fn labels(point: &Point<'_>, field: &str, rules: &Rules) -> Result<Labels, model::labels::LabelTooLong> {
    let mut builder = LabelsBuilder::new();
    for (name, value) in point.tags.iter().filter(|(name, _)| name != METRIC_NAME) {
        builder.set(name, value);
    }
    if builder.value(DATABASE).is_empty() && !rules.database.is_empty() {
        builder.set(DATABASE, &rules.database);
    }
    for (name, value) in &rules.extra_labels {
        builder.set(name, value);
    }
    let name = match point.measurement.is_empty() {
        true => field.to_owned(),
        false => format!("{}_{field}", point.measurement),
    };
    builder.set(METRIC_NAME, &name);
    builder.try_build()
}

//! Running scripts.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use model::histogram::Histogram;
use model::labels::Labels;
use model::storage::{
    AppendBatch, AppendError, AppendOutcome, Appender, FloatSample, HistogramSample, Queryable, Refusal,
    SeriesError,
};

use super::command::{At as When, Command, Eval, Load, LoadedSeries, ScriptError, Steps, parse_script};
use super::compare::{Mismatch, sorted};
use super::evaluate::{Answer, Evaluate};
use super::nhcb::{self, ConvertError};
use crate::ast::{At, Expr, ExprKind, Modifiers};
use crate::parser::{ParseOptions, SequenceValue, parse};
use crate::value::{Sample, Value};

/// Where a script's data goes to and comes from.
pub trait Store: Appender + Queryable {}

impl<T: Appender + Queryable> Store for T {}

/// What came out of a script.
#[derive(Debug, Default)]
pub struct Report {
    /// Statements that did what they should.
    pub passed: usize,
    /// The others.
    pub failures: Vec<Failure>,
}

/// A statement that did not do what it should.
#[derive(Debug)]
pub struct Failure {
    /// Line of the script, counted from one.
    pub line: usize,
    /// The statement's first line.
    pub statement: String,
    /// Why.
    pub kind: FailureKind,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}\n    {}", self.line, self.statement, self.kind)
    }
}

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FailureKind {
    /// It is not understood.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// Its data cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its query gave an error.
    #[error("{asked}: error: {source}")]
    Query {
        /// How it was asked.
        asked: Asked,
        /// The error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Its query gave no error, or another one.
    #[error("{asked}: expected an error like {expected}, got {found}")]
    NotFailed {
        /// How it was asked.
        asked: Asked,
        /// What was expected.
        expected: String,
        /// The error, or the value in its place.
        found: String,
    },
    /// Its query gave something else.
    #[error("{asked}: {source}")]
    Answer {
        /// How it was asked.
        asked: Asked,
        /// What is different.
        source: Mismatch,
    },
}

/// One way in which a query was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    query: String,
    when: When,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.when {
            When::Instant(at_ms) => write!(f, "`{}` at {at_ms} ms", self.query),
            When::Range(Steps {
                start_ms,
                end_ms,
                step_ms,
            }) => {
                write!(
                    f,
                    "`{}` from {start_ms} to {end_ms} step {step_ms} ms",
                    self.query
                )
            }
        }
    }
}

/// Why data cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A series cannot be had.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// Nothing was appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A sample was not taken.
    #[error("sample refused: {0}")]
    Refused(#[from] Refusal),
    /// Classic histograms make no native ones.
    #[error(transparent)]
    Convert(#[from] ConvertError),
}

/// Runs a script; `open` gives a new, empty store for the beginning and for each `clear`.
pub fn run(script: &str, evaluate: &dyn Evaluate, open: &dyn Fn() -> Arc<dyn Store>) -> Report {
    let mut report = Report::default();
    let mut store = open();
    for statement in parse_script(script) {
        let result = match statement.command {
            Err(error) => Err(error.into()),
            Ok(Command::Clear) => {
                store = open();
                Ok(())
            }
            Ok(Command::Load(load)) => self::load(&load, &*store).map_err(FailureKind::from),
            Ok(Command::Eval(eval)) => Asking {
                evaluate,
                store: &*store,
                eval: &eval,
            }
            .check(),
        };
        match result {
            Ok(()) => report.passed += 1,
            Err(kind) => report.failures.push(Failure {
                line: statement.line,
                statement: statement.text,
                kind,
            }),
        }
    }
    report
}

/// Appends the data of a `load` in one transaction.
///
/// # Errors
/// When not all of it was taken.
pub fn load(load: &Load, store: &dyn Store) -> Result<(), LoadError> {
    let mut batch = AppendBatch::default();
    // Of several lines for one series the last counts.
    let by_labels: BTreeMap<&Labels, &LoadedSeries> = load
        .series
        .iter()
        .map(|series| (&series.labels, series))
        .collect();
    for series in by_labels.values() {
        let reference = store.resolve(&series.labels)?;
        for (step, value) in series.values.iter().enumerate() {
            let timestamp_ms = step as i64 * load.step_ms;
            let start = series.starts.get(step).copied().flatten();
            let start_ms = start.map_or(0, |start| timestamp_ms + start);
            match value {
                SequenceValue::Omitted => {}
                SequenceValue::Float(value) => {
                    batch.floats.push(FloatSample {
                        series: reference,
                        timestamp_ms,
                        value: *value,
                    });
                    batch.float_starts_ms.push(start_ms);
                }
                SequenceValue::Histogram { histogram, .. } => {
                    let histogram = Histogram::Float(Arc::clone(histogram));
                    batch.histograms.push(HistogramSample {
                        series: reference,
                        timestamp_ms,
                        histogram,
                    });
                    batch.histogram_starts_ms.push(start_ms);
                }
            }
        }
    }
    let converted = if load.with_nhcb {
        nhcb::convert(&load.series)?
    } else {
        Vec::new()
    };
    for (labels, step, histogram) in converted {
        let series = store.resolve(&labels)?;
        let timestamp_ms = step as i64 * load.step_ms;
        let histogram = Histogram::Float(Arc::new(histogram));
        batch.histograms.push(HistogramSample {
            series,
            timestamp_ms,
            histogram,
        });
        batch.histogram_starts_ms.push(0);
    }
    let mut outcome = AppendOutcome::default();
    store.append(&batch, &mut outcome)?;
    match outcome.refused.first() {
        Some((_, _, refusal)) => Err((*refusal).into()),
        None => Ok(()),
    }
}

/// Asks the query of one statement in all ways.
struct Asking<'a> {
    evaluate: &'a dyn Evaluate,
    store: &'a dyn Store,
    eval: &'a Eval,
}

impl Asking<'_> {
    fn check(&self) -> Result<(), FailureKind> {
        match self.eval.at {
            When::Range(steps) => {
                let asked = Asked {
                    query: self.eval.query.clone(),
                    when: self.eval.at,
                };
                self.compare(&asked, Some(steps)).map(|_| ())
            }
            When::Instant(at_ms) => {
                // A range vector is asked for at its last time.
                let at_ms = self.eval.expect.range_vector.map_or(at_ms, |steps| steps.end_ms);
                self.instant(&self.eval.query, at_ms)?;
                for (query, at_ms) in pinned(&self.eval.query, at_ms) {
                    self.instant(&query, at_ms)?;
                }
                Ok(())
            }
        }
    }

    /// Asks once, then again as the middle step of a range.
    fn instant(&self, query: &str, at_ms: i64) -> Result<(), FailureKind> {
        const MINUTE_MS: i64 = 60_000;
        let asked = Asked {
            query: query.to_owned(),
            when: When::Instant(at_ms),
        };
        let Some(answer) = self.compare(&asked, None)? else {
            return Ok(());
        };
        let expect = &self.eval.expect;
        let knows_its_range = ["start()", "end()", "range()", "step()"]
            .iter()
            .any(|call| query.contains(call));
        if expect.range_vector.is_some() || expect.string.is_some() || knows_its_range {
            return Ok(());
        }
        let steps = Steps {
            start_ms: at_ms - MINUTE_MS,
            end_ms: at_ms + MINUTE_MS,
            step_ms: MINUTE_MS,
        };
        let asked = Asked {
            query: query.to_owned(),
            when: When::Range(steps),
        };
        let ranged = self.ask(&asked).map_err(|source| FailureKind::Query {
            asked: asked.clone(),
            source,
        })?;
        // Ranges have an order of their own.
        if expect.ordered {
            return Ok(());
        }
        at_step(&ranged.value, at_ms, matches!(answer.value, Value::Scalar { .. }))
            .and_then(|value| expect.check_value(&value, None))
            .map_err(|source| FailureKind::Answer { asked, source })
    }

    fn ask(&self, asked: &Asked) -> Result<Answer, Box<dyn Error + Send + Sync>> {
        let store: &dyn Queryable = self.store;
        match asked.when {
            When::Instant(at_ms) => self.evaluate.instant(store, &asked.query, at_ms),
            When::Range(Steps {
                start_ms,
                end_ms,
                step_ms,
            }) => self
                .evaluate
                .range(store, &asked.query, start_ms, end_ms, step_ms),
        }
    }

    /// Asks and compares; the answer, unless an error was what was expected.
    fn compare(&self, asked: &Asked, steps: Option<Steps>) -> Result<Option<Answer>, FailureKind> {
        let expect = &self.eval.expect;
        let answer = match (self.ask(asked), &expect.fail) {
            (Ok(answer), None) => answer,
            (Err(error), Some(expected)) if expected.matches(&error.to_string()) => return Ok(None),
            (Err(source), None) => {
                return Err(FailureKind::Query {
                    asked: asked.clone(),
                    source,
                });
            }
            (found, Some(expected)) => {
                let found =
                    found.map_or_else(|error| error.to_string(), |answer| format!("{:?}", answer.value));
                let expected = expected.to_string();
                return Err(FailureKind::NotFailed {
                    asked: asked.clone(),
                    expected,
                    found,
                });
            }
        };
        expect
            .check_annotations(&answer, &asked.query)
            .and_then(|()| expect.check_value(&answer.value, steps))
            .map_err(|source| FailureKind::Answer {
                asked: asked.clone(),
                source,
            })?;
        Ok(Some(answer))
    }
}

/// What the answer to a range query says about one step, in the form of an answer to an instant query.
fn at_step(value: &Value, at_ms: i64, scalar: bool) -> Result<Value, Mismatch> {
    let Value::Matrix(series) = value else {
        return Err(Mismatch::Kind {
            expected: "a matrix",
            found: format!("{value:?}"),
        });
    };
    sorted(series)?;
    let samples: Vec<Sample> = series
        .iter()
        .filter_map(|series| {
            let (_, value) = series.points().find(|(found_ms, _)| *found_ms == at_ms)?;
            Some(Sample {
                labels: series.labels.clone(),
                timestamp_ms: at_ms,
                value,
            })
        })
        .collect();
    match (&samples[..], scalar) {
        (
            [
                Sample {
                    value: crate::value::SampleValue::Float(value),
                    ..
                },
            ],
            true,
        ) => Ok(Value::Scalar {
            timestamp_ms: at_ms,
            value: *value,
        }),
        _ => Ok(Value::Vector(samples)),
    }
}

/// The query with its selectors pinned to `at_ms`, and times at which it must then give the same; none where it depends
/// on the time of evaluation in other ways.
fn pinned(query: &str, at_ms: i64) -> Vec<(String, i64)> {
    let Ok(mut expr) = parse(query, &ParseOptions::ALL) else {
        return Vec::new();
    };
    let mut depends = false;
    expr.walk(&mut |expr| {
        if let ExprKind::Call(call) = &expr.kind {
            depends |= depends_on_time(call.function.name);
        }
    });
    if depends {
        return Vec::new();
    }
    pin(&mut expr, at_ms);
    let query = expr.to_string();
    let times = match at_ms {
        0 => vec![-1000, 0, 1000],
        at_ms => vec![-10 * at_ms, 0, at_ms / 5, at_ms, 10 * at_ms],
    };
    times.into_iter().map(|at_ms| (query.clone(), at_ms)).collect()
}

/// Whether a function looks at the time of evaluation, or at the timestamps of its samples.
fn depends_on_time(function: &str) -> bool {
    matches!(
        function,
        "day_of_month"
            | "day_of_week"
            | "day_of_year"
            | "days_in_month"
            | "end"
            | "hour"
            | "minute"
            | "month"
            | "predict_linear"
            | "range"
            | "start"
            | "step"
            | "time"
            | "timestamp"
            | "year"
    )
}

/// Pins selectors and subqueries that are not pinned to a time already. What is inside a subquery moves with it.
fn pin(expr: &mut Expr, at_ms: i64) {
    let set = |modifiers: &mut Modifiers| {
        if !matches!(modifiers.at, Some(At::Timestamp(_))) {
            modifiers.at = Some(At::Timestamp(at_ms));
        }
    };
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Vector(selector) => set(&mut selector.modifiers),
        ExprKind::Matrix(matrix) => set(&mut matrix.selector.modifiers),
        ExprKind::Subquery(subquery) => set(&mut subquery.modifiers),
        ExprKind::Call(call) => call.args.iter_mut().for_each(|arg| pin(arg, at_ms)),
        ExprKind::Aggregate(aggregate) => {
            pin(&mut aggregate.expr, at_ms);
            aggregate.param.iter_mut().for_each(|param| pin(param, at_ms));
        }
        ExprKind::Binary(binary) => {
            pin(&mut binary.lhs, at_ms);
            pin(&mut binary.rhs, at_ms);
        }
        ExprKind::Unary(unary) => pin(&mut unary.expr, at_ms),
        ExprKind::Paren(inner) => pin(inner, at_ms),
    }
}

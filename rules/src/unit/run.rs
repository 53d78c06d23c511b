//! Runs the tests of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use metrics::Registry;
use model::clock::ManualClock;
use model::histogram::Histogram;
use model::labels::{ALERT_NAME, Labels};
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, HistogramSample, SeriesRef};
use promql::engine::{Engine, EngineOptions, QueryOptions};
use promql::parser::{SequenceValue, parse_metric, parse_series};
use promql::script::MemoryStore;
use promql::value::{SampleValue, Value};
use tokio_util::sync::CancellationToken;

use super::file::{AlertCase, ExpectedSample, QueryCase, Test, TestFile};
use super::{
    FiringAlert, QueryFailure, UnitDump, UnitFailure, UnitOptions, UnitReport, UnitSample, UnitTest,
    annotations,
};
use crate::alerting::unknown_labels;
use crate::evaluate::Iteration;
use crate::format::RuleFile;
use crate::group::{Environment, Group};
use crate::instrument::RuleMetrics;
use crate::load::Settings;
use crate::source::EngineSource;
use crate::state::AlertState;

const MS_NS: i64 = 1_000_000;

/// Runs all tests of `file` that the options ask for.
pub(super) fn run(file: &TestFile, path: &Path, options: &UnitOptions, report: &mut UnitReport) {
    let folder = path.parent().unwrap_or(Path::new(""));
    let patterns = file
        .rule_files
        .iter()
        .map(|pattern| folder.join(pattern).display().to_string());
    let settings = Settings {
        patterns: patterns.collect(),
        format: options.format,
        ..Settings::default()
    };
    for pattern in &settings.patterns {
        let alone = Settings {
            patterns: vec![pattern.clone()],
            ..Settings::default()
        };
        if alone.paths().is_ok_and(|paths| paths.is_empty()) {
            report.unmatched.push(pattern.clone());
        }
    }
    let rules = match settings.read_files() {
        Ok(rules) => rules,
        Err(error) => {
            report.error = Some(UnitFailure::Load(error));
            return;
        }
    };
    for (number, test) in file.tests.iter().enumerate() {
        let name = match test.name.as_str() {
            "" => format!("unnamed#{number}"),
            name => name.to_owned(),
        };
        if options.run.as_ref().is_some_and(|run| !run.is_match(&test.name)) {
            continue;
        }
        let settings = Settings {
            interval_ms: test.interval_ms,
            external_labels: test.external_labels.clone(),
            external_url: test.external_url.clone(),
            ..settings.clone()
        };
        let started = Instant::now();
        let (failures, dump) = match Bench::new(file, test, &settings, &rules, options) {
            Ok(mut bench) => {
                let (failures, whole) = bench.run();
                let dump = (options.dump && whole).then(|| bench.dump()).flatten();
                (failures, dump)
            }
            Err(failure) => (vec![failure], None),
        };
        report.tests.push(UnitTest {
            name,
            failures,
            elapsed: started.elapsed(),
            dump,
        });
    }
}

/// An input series, and how much of it the store has.
struct Input {
    series: SeriesRef,
    values: Vec<SequenceValue>,
    appended: usize,
}

/// A test with its own store and engine.
struct Bench<'t> {
    file: &'t TestFile,
    test: &'t Test,
    store: Arc<MemoryStore>,
    engine: Arc<Engine>,
    environment: Environment,
    groups: Vec<Group>,
    inputs: Vec<Input>,
}

impl<'t> Bench<'t> {
    fn new(
        file: &'t TestFile,
        test: &'t Test,
        settings: &Settings,
        rules: &[(String, RuleFile)],
        options: &UnitOptions,
    ) -> Result<Self, UnitFailure> {
        let store = Arc::new(MemoryStore::new());
        let step_ms = file.evaluation_interval_ms;
        let engine = Arc::new(Engine::new(EngineOptions {
            threads: 1,
            features: options.features,
            default_subquery_step: Arc::new(move |_| step_ms),
            ..EngineOptions::default()
        }));
        let metrics = RuleMetrics::new(&Registry::new());
        let plans = settings.plans(rules).into_iter();
        let mut groups: Vec<Group> = plans.map(|plan| Group::new(plan, false, &metrics)).collect();
        let rank = |group: &Group| {
            file.group_order
                .iter()
                .position(|name| *name == group.spec.name)
                .unwrap_or(0)
        };
        groups.sort_by_key(rank);
        let clock = Arc::new(ManualClock::new(test.start_ms));
        let source = Arc::new(EngineSource::new(engine.clone(), store.clone()));
        let environment = Environment::offline(source, store.clone(), None, clock, Arc::new(metrics));
        let mut inputs = BTreeMap::new();
        for (series, values) in &test.input {
            if let Some(input) = input(&store, series, values)? {
                // Compat: of several inputs of one series the last counts, an empty one too (`dup-input-series`).
                inputs.insert(input.series, input);
            }
        }
        Ok(Bench {
            file,
            test,
            store,
            engine,
            environment,
            groups,
            inputs: inputs.into_values().collect(),
        })
    }

    /// What failed, and whether the test was run to its end.
    fn run(&mut self) -> (Vec<UnitFailure>, bool) {
        if let Some(case) = self.test.alerts.iter().find(|case| case.alert.is_empty()) {
            let failure = UnitFailure::NoAlertName {
                eval_time_ms: case.eval_time_ms,
                test: self.test.name.clone(),
            };
            return (vec![failure], false);
        }
        let mut failures = Vec::new();
        let step_ms = self.file.evaluation_interval_ms.max(1);
        let alert_times: BTreeSet<i64> = self.test.alerts.iter().map(|case| case.eval_time_ms).collect();
        let last_ms = self.last_ms();
        let mut since_ms = 0;
        while since_ms <= last_ms {
            self.append_until(since_ms);
            let failed = self.evaluate(since_ms);
            if !failed.is_empty() {
                failures.extend(failed);
                return (failures, false);
            }
            // Times between two evaluations see what the earlier one gave.
            for time_ms in alert_times.range(since_ms..since_ms.saturating_add(step_ms)) {
                let cases = self
                    .test
                    .alerts
                    .iter()
                    .filter(|case| case.eval_time_ms == *time_ms);
                failures.extend(cases.filter_map(|case| self.check_alerts(case)));
            }
            since_ms = since_ms.saturating_add(step_ms);
        }
        failures.extend(self.test.queries.iter().filter_map(|case| self.check_query(case)));
        (failures, true)
    }

    /// The last time that is looked at, in milliseconds from the start.
    fn last_ms(&self) -> i64 {
        let alerts = self.test.alerts.iter().map(|case| case.eval_time_ms);
        let queries = self.test.queries.iter().map(|case| case.eval_time_ms);
        alerts.chain(queries).max().unwrap_or(0)
    }

    /// Everything in the store up to the end of the second in which the last look lies.
    fn dump(&self) -> Option<UnitDump> {
        let until_ms = (self.last_ms() / 1000).saturating_add(1).saturating_mul(1000);
        let query = format!("{{__name__=~\".+\"}}[{until_ms}ms]");
        let at_ms = self.test.start_ms.saturating_add(until_ms);
        let output = self
            .engine
            .instant(&*self.store, &query, at_ms, &QueryOptions::default());
        let Ok(Value::Matrix(series)) = output.map(|output| output.value) else {
            return None;
        };
        let mut text = String::new();
        for (number, series) in series.iter().enumerate() {
            let separator = if number > 0 { "\n" } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{} =>", series.labels);
            for (timestamp_ms, value) in series.timestamps_ms.iter().zip(&series.values) {
                let _ = write!(text, "\n{} @[{timestamp_ms}]", model::float::format_float(*value));
            }
            for (timestamp_ms, histogram) in &series.histograms {
                let _ = write!(text, "\n{histogram} @[{timestamp_ms}]");
            }
        }
        Some(UnitDump { until_ms, text })
    }

    /// Appends the samples of the input series up to `since_ms` after the start.
    fn append_until(&mut self, since_ms: i64) {
        let wanted = (since_ms / self.test.interval_ms.max(1)).saturating_add(1);
        let wanted = usize::try_from(wanted).unwrap_or(0);
        let mut batch = AppendBatch::default();
        for input in &mut self.inputs {
            let until = wanted.min(input.values.len());
            for index in input.appended..until {
                let timestamp_ms = self.test.start_ms + index as i64 * self.test.interval_ms;
                match &input.values[index] {
                    SequenceValue::Omitted => {}
                    SequenceValue::Float(value) => batch.floats.push(FloatSample {
                        series: input.series,
                        timestamp_ms,
                        value: *value,
                    }),
                    SequenceValue::Histogram { histogram, .. } => batch.histograms.push(HistogramSample {
                        series: input.series,
                        timestamp_ms,
                        histogram: Histogram::Float(histogram.clone()),
                    }),
                }
            }
            input.appended = input.appended.max(until);
        }
        if !batch.is_empty() {
            // A store in memory takes everything that it has resolved.
            let _ = self.store.append(&batch, &mut AppendOutcome::default());
        }
    }

    /// Evaluates all groups; gives the rules that fail.
    fn evaluate(&self, since_ms: i64) -> Vec<UnitFailure> {
        let at_ns = self.test.start_ms.saturating_add(since_ms).saturating_mul(MS_NS);
        let mut failed = Vec::new();
        for group in &self.groups {
            let iteration = Iteration::due(at_ns);
            group.evaluate(iteration, &self.environment, &CancellationToken::new());
            for running in &group.rules {
                if let Some(error) = &running.status.lock().last_error {
                    failed.push(UnitFailure::Rule {
                        rule: running.rule.name.clone(),
                        at_ns,
                        error: error.to_string(),
                    });
                }
            }
        }
        failed
    }

    fn check_alerts(&self, case: &AlertCase) -> Option<UnitFailure> {
        let mut got: Vec<FiringAlert> = Vec::new();
        let rules = self.groups.iter().flat_map(|group| &group.rules);
        for running in rules.filter(|running| running.rule.name == case.alert) {
            let alerts = running.alerts.lock();
            let firing = alerts
                .iter()
                .filter(|(_, alert)| alert.state == AlertState::Firing);
            for (labels, alert) in firing {
                got.push(FiringAlert {
                    labels: labels.clone(),
                    annotations: alert.annotations.clone(),
                });
                // As they are sent: one beside it says that nobody can tell about it.
                let unknown = alert.unknown.as_deref().filter(|_| alert.is_unknown());
                got.extend(unknown.map(|unknown| {
                    let (labels, annotations) = unknown_labels(labels, &alert.annotations, unknown);
                    FiringAlert { labels, annotations }
                }));
            }
        }
        let expected = case.expected.iter().map(|(labels, notes)| {
            // Tests need not tell the name again.
            let mut builder = Labels::from_pairs(labels).to_builder();
            builder.set(ALERT_NAME, &case.alert);
            FiringAlert {
                labels: builder.build(),
                annotations: annotations(notes),
            }
        });
        let mut expected: Vec<FiringAlert> = expected.collect();
        got.sort();
        expected.sort();
        (got != expected).then(|| UnitFailure::Alerts {
            test: self.test.name.clone(),
            alert: case.alert.clone(),
            eval_time_ms: case.eval_time_ms,
            expected,
            got,
        })
    }

    fn check_query(&self, case: &QueryCase) -> Option<UnitFailure> {
        let eval_time_ms = case.eval_time_ms;
        let compared = self.query(case).and_then(|got| {
            let expected: Result<Vec<_>, _> = case.expected.iter().map(sample).collect();
            Ok((got, expected?))
        });
        let (mut got, mut expected) = match compared {
            Ok(both) => both,
            Err(error) => {
                return Some(UnitFailure::Query {
                    expr: case.expr.clone(),
                    eval_time_ms,
                    error: Box::new(error),
                });
            }
        };
        got.sort_by(|a, b| a.labels.cmp(&b.labels));
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        let same = got.len() == expected.len() && expected.iter().zip(&got).all(|(a, b)| self.is_same(a, b));
        (!same).then(|| UnitFailure::Samples {
            expr: case.expr.clone(),
            eval_time_ms,
            expected,
            got,
        })
    }

    fn query(&self, case: &QueryCase) -> Result<Vec<UnitSample>, QueryFailure> {
        let at_ms = self.test.start_ms.saturating_add(case.eval_time_ms);
        let options = QueryOptions::default();
        let output = self.engine.instant(&*self.store, &case.expr, at_ms, &options);
        let output = output.map_err(|error| QueryFailure::Query(Box::new(error)))?;
        let to_sample = |labels, value: &SampleValue| match value {
            SampleValue::Float(value) => UnitSample {
                labels,
                value: *value,
                histogram: None,
            },
            SampleValue::Histogram(histogram) => UnitSample {
                labels,
                value: 0.0,
                histogram: Some(histogram.test_expression()),
            },
        };
        match output.value {
            Value::Vector(samples) => Ok(samples
                .into_iter()
                .map(|s| to_sample(s.labels, &s.value))
                .collect()),
            Value::Scalar { value, .. } => Ok(vec![to_sample(Labels::empty(), &SampleValue::Float(value))]),
            _ => Err(QueryFailure::NotAVector),
        }
    }

    fn is_same(&self, a: &UnitSample, b: &UnitSample) -> bool {
        let values = match (&a.histogram, &b.histogram) {
            (None, None) => {
                let (x, y) = (a.value, b.value);
                let near = self.file.fuzzy && (x.next_up() == y || x.next_down() == y);
                x == y || near || (x.is_nan() && y.is_nan())
            }
            (x, y) => x == y,
        };
        values && a.labels == b.labels
    }
}

/// An input series, unless it has no values.
fn input(store: &MemoryStore, series: &str, values: &str) -> Result<Option<Input>, UnitFailure> {
    let text = format!("{series} {values}");
    let (labels, values) = parse_series(&text).map_err(|error| UnitFailure::Series {
        series: text.clone(),
        error: Box::new(error),
    })?;
    // A series without any label cannot be stored.
    let Ok(series) = store.resolve(&labels) else {
        return Ok(None);
    };
    Ok(Some(Input {
        series,
        values,
        appended: 0,
    }))
}

/// An expected sample.
fn sample(expected: &ExpectedSample) -> Result<UnitSample, QueryFailure> {
    let labels = match expected.labels.as_str() {
        "" => Labels::empty(),
        text => parse_metric(text).map_err(|error| QueryFailure::Labels {
            labels: text.to_owned(),
            error: Box::new(error),
        })?,
    };
    let mut sample = UnitSample {
        labels,
        value: expected.value,
        histogram: None,
    };
    if !expected.histogram.is_empty() {
        let parsed = parse_series(&format!("{{}} {}", expected.histogram));
        match parsed.as_ref().map(|(_, values)| values.as_slice()) {
            Ok([SequenceValue::Histogram { histogram, .. }]) => {
                sample.value = 0.0;
                sample.histogram = Some(histogram.test_expression());
            }
            _ => {
                return Err(QueryFailure::Histogram {
                    labels: expected.labels.clone(),
                    histogram: expected.histogram.clone(),
                });
            }
        }
    }
    Ok(sample)
}

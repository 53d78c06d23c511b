//! Test files: what stands in them.

use std::collections::{BTreeMap, HashSet};

use model::labels::{LabelTooLong, Labels};
use yaml::{Duration, Section, Value, YamlError};

use super::UnitFailure;

/// A test file.
pub(super) struct TestFile {
    pub(super) rule_files: Vec<String>,
    pub(super) evaluation_interval_ms: i64,
    /// Groups that are evaluated before others, by name.
    pub(super) group_order: Vec<String>,
    pub(super) fuzzy: bool,
    pub(super) tests: Vec<Test>,
}

/// One test.
pub(super) struct Test {
    pub(super) name: String,
    /// Distance of the input series' samples.
    pub(super) interval_ms: i64,
    pub(super) start_ms: i64,
    pub(super) external_labels: Labels,
    pub(super) external_url: String,
    /// Series and their values, in the notation of tests.
    pub(super) input: Vec<(String, String)>,
    pub(super) alerts: Vec<AlertCase>,
    pub(super) queries: Vec<QueryCase>,
}

/// Which alerts of a name fire at a time.
pub(super) struct AlertCase {
    pub(super) eval_time_ms: i64,
    pub(super) alert: String,
    /// Labels and annotations of each.
    pub(super) expected: Vec<(BTreeMap<String, String>, BTreeMap<String, String>)>,
}

/// What an expression gives at a time.
pub(super) struct QueryCase {
    pub(super) eval_time_ms: i64,
    pub(super) expr: String,
    pub(super) expected: Vec<ExpectedSample>,
}

pub(super) struct ExpectedSample {
    pub(super) labels: String,
    pub(super) value: f64,
    /// Empty for a float.
    pub(super) histogram: String,
}

/// Reads the test file `text`, called `path`.
///
/// # Errors
/// What is not of the shape that test files have.
pub(super) fn read(path: &str, text: &str) -> Result<TestFile, UnitFailure> {
    let document = yaml::parse(path, text).map_err(UnitFailure::Format)?;
    let mut starts = Vec::new();
    let mut file = file(document.root(), &mut starts).map_err(UnitFailure::Format)?;
    for (test, start) in file.tests.iter_mut().zip(starts) {
        if let Some(start) = start {
            test.start_ms = start_ms(&start).ok_or(UnitFailure::StartTime(start))?;
        }
    }
    let mut seen = HashSet::new();
    match file.group_order.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(UnitFailure::GroupOrder(name.clone())),
        None => Ok(file),
    }
}

/// The times at which tests start come as text into `starts`.
fn file(root: Value<'_>, starts: &mut Vec<Option<String>>) -> Result<TestFile, YamlError> {
    let mut section = root.section("unit test file")?;
    let evaluation_interval_ms = duration(&mut section, "evaluation_interval")?.unwrap_or(60_000);
    let file = TestFile {
        rule_files: section.get_or("rule_files", Vec::new())?,
        evaluation_interval_ms,
        group_order: section.get_or("group_eval_order", Vec::new())?,
        fuzzy: section.get_or("fuzzy_compare", false)?,
        tests: section.list("tests", |value| test(value, evaluation_interval_ms, starts))?,
    };
    section.finish()?;
    Ok(file)
}

/// A duration in milliseconds, unless it is absent or zero.
fn duration(section: &mut Section<'_>, key: &'static str) -> Result<Option<i64>, YamlError> {
    let duration = section.get::<Duration>(key)?.map(Duration::as_ms);
    Ok(duration.filter(|ms| *ms != 0))
}

/// A mapping of texts that labels can hold.
fn label_map(section: &mut Section<'_>, key: &'static str) -> Result<BTreeMap<String, String>, YamlError> {
    let map: BTreeMap<String, String> = section.get_or(key, BTreeMap::new())?;
    for (name, value) in &map {
        LabelTooLong::check(name, value).map_err(|error| section.error_at(key, error))?;
    }
    Ok(map)
}

fn test(value: Value<'_>, interval_ms: i64, starts: &mut Vec<Option<String>>) -> Result<Test, YamlError> {
    let mut section = value.section("test")?;
    let text = |section: &mut Section<'_>, key| section.get_or::<String>(key, String::new());
    let test = Test {
        name: text(&mut section, "name")?,
        interval_ms: duration(&mut section, "interval")?.unwrap_or(interval_ms),
        start_ms: 0,
        external_labels: Labels::from_pairs(label_map(&mut section, "external_labels")?),
        external_url: text(&mut section, "external_url")?,
        input: section.list("input_series", |value| {
            let mut section = value.section("input series")?;
            let series = (text(&mut section, "series")?, text(&mut section, "values")?);
            section.finish()?;
            Ok(series)
        })?,
        alerts: section.list("alert_rule_test", alert_case)?,
        queries: section.list("promql_expr_test", query_case)?,
    };
    starts.push(section.get("start_timestamp")?);
    section.finish()?;
    Ok(test)
}

fn alert_case(value: Value<'_>) -> Result<AlertCase, YamlError> {
    let mut section = value.section("test of alerts")?;
    let case = AlertCase {
        eval_time_ms: duration(&mut section, "eval_time")?.unwrap_or(0),
        alert: section.get_or("alertname", String::new())?,
        expected: section.list("exp_alerts", |value| {
            let mut section = value.section("expected alert")?;
            let labels = label_map(&mut section, "exp_labels")?;
            let annotations = label_map(&mut section, "exp_annotations")?;
            section.finish()?;
            Ok((labels, annotations))
        })?,
    };
    section.finish()?;
    Ok(case)
}

fn query_case(value: Value<'_>) -> Result<QueryCase, YamlError> {
    let mut section = value.section("test of an expression")?;
    let case = QueryCase {
        eval_time_ms: duration(&mut section, "eval_time")?.unwrap_or(0),
        expr: section.get_or("expr", String::new())?,
        expected: section.list("exp_samples", |value| {
            let mut section = value.section("expected sample")?;
            let sample = ExpectedSample {
                labels: section.get_or("labels", String::new())?,
                value: section.get_or("value", 0.0)?,
                histogram: section.get_or("histogram", String::new())?,
            };
            section.finish()?;
            Ok(sample)
        })?,
    };
    section.finish()?;
    Ok(case)
}

/// A moment in milliseconds since the epoch: seconds, or RFC 3339.
fn start_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Some((seconds * 1000.0).round() as i64);
    }
    let time = template::Time::parse_rfc3339(text)?;
    i64::try_from(time.unix_ns() / 1_000_000).ok()
}

//! What is configured: the list of rules that VictoriaMetrics calls a stream aggregation config, and the section around
//! it that is ours.

use std::sync::Arc;

use model::labels::{METRIC_NAME, NameScheme};
use promql::parser::parse_selector;
use yaml::{Document, Duration, FromYaml as _, Section, Value, YamlError, relabel_rules};

use crate::output::Output;
use crate::rule::{Grouping, Rule};

/// Most rules of a configuration.
pub const RULES_MAX: usize = 1000;
/// The shortest interval of a rule, in milliseconds.
const INTERVAL_MIN_MS: i64 = 1000;
/// After so long without a sample from the elected replica another one is elected, unless the section says otherwise.
const FAILOVER_MS: i64 = 30_000;

/// Section `aggregation`, or a file of rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Of the samples of a series in so many milliseconds only the newest is stored; 0 stores all.
    pub dedup_ms: i64,
    /// Whether series that no rule takes are left out.
    pub drop_unmatched: bool,
    /// Whether one of several replicas is elected, and by which labels.
    pub replicas: Option<ReplicasConfig>,
    /// In the order written; each looks at every series.
    pub rules: Vec<Arc<Rule>>,
}

/// Section `aggregation.replicas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicasConfig {
    /// Label that says which senders are replicas of each other.
    pub cluster_label: String,
    /// Label that says which of them a series comes from; it is not stored.
    pub replica_label: String,
    /// After so many milliseconds without a sample from the elected replica another one is elected.
    pub failover_ms: i64,
}

/// What a rule says where it does not say.
#[derive(Clone, Copy, Debug, Default)]
struct Defaults {
    keep_input: bool,
}

impl Config {
    /// Reads a file of rules.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse_file(path: &str, text: &str) -> Result<Self, YamlError> {
        let document = yaml::parse(path, text)?;
        Self::read_file(&document)
    }

    fn read_file(document: &Document) -> Result<Self, YamlError> {
        let root = document.root();
        let mut config = Config::default();
        if root.is_null() {
            return Ok(config);
        }
        for value in root.sequence()? {
            config.add(value, Defaults::default())?;
        }
        Ok(config)
    }

    /// Reads the section.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("aggregation")?;
        let defaults = Defaults {
            keep_input: section.get_or("keep_input", false)?,
        };
        let mut config = Config {
            dedup_ms: positive(&mut section, "dedup_interval")?.unwrap_or(0),
            drop_unmatched: section.get_or("drop_unmatched", false)?,
            replicas: section.value("replicas").map(ReplicasConfig::read).transpose()?,
            rules: Vec::new(),
        };
        section.list("rules", |value| config.add(value, defaults))?;
        section.finish()?;
        Ok(config)
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.dedup_ms == 0 && self.replicas.is_none() && !self.drop_unmatched
    }

    /// Both: what this one says, and the rules of `file` behind its own.
    #[must_use]
    pub fn with_file(mut self, file: Config) -> Self {
        self.rules.extend(file.rules);
        self
    }

    fn add(&mut self, value: Value<'_>, defaults: Defaults) -> Result<(), YamlError> {
        if self.rules.len() >= RULES_MAX {
            return Err(value.error(format_args!("there may be at most {RULES_MAX} rules")));
        }
        let rule = read_rule(value, defaults)?;
        self.rules.push(Arc::new(rule));
        Ok(())
    }
}

impl ReplicasConfig {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("aggregation.replicas")?;
        let label = |section: &mut Section<'_>, key, default: &str| {
            let name = section.get_or(key, default.to_owned())?;
            match name.as_str() {
                "" | METRIC_NAME => {
                    Err(section.error_at(key, format_args!("{name:?} cannot tell senders apart")))
                }
                _ => Ok(name),
            }
        };
        let config = ReplicasConfig {
            cluster_label: label(&mut section, "cluster_label", "cluster")?,
            replica_label: label(&mut section, "replica_label", "__replica__")?,
            failover_ms: positive(&mut section, "failover_timeout")?.unwrap_or(FAILOVER_MS),
        };
        if config.cluster_label == config.replica_label {
            return Err(section.error_at("replica_label", "it is the same label as cluster_label"));
        }
        section.finish()?;
        Ok(config)
    }
}

/// A duration that is more than nothing, where there is one.
fn positive(section: &mut Section<'_>, key: &'static str) -> Result<Option<i64>, YamlError> {
    match section.get::<Duration>(key)? {
        Some(duration) if duration.as_ms() <= 0 => {
            Err(section.error_at(key, format_args!("{key} must be longer than nothing")))
        }
        duration => Ok(duration.map(Duration::as_ms)),
    }
}

/// A duration in hours, minutes and seconds, and the text that it was written as.
fn read_interval(section: &mut Section<'_>) -> Result<(i64, String), YamlError> {
    const KEY: &str = "interval";
    let Some(interval) = section.get::<Duration>(KEY)? else {
        return Err(section.error("a rule needs an `interval`"));
    };
    if interval.as_ms() < INTERVAL_MIN_MS {
        let message = format!("interval cannot be shorter than 1s; this one is {interval}");
        return Err(section.error_at(KEY, message));
    }
    let written = section.peek(KEY).and_then(|value| value.scalar());
    let text = written.map_or_else(|| interval.to_string(), |scalar| scalar.text.clone());
    Ok((interval.as_ms(), text))
}

fn read_rule(value: Value<'_>, defaults: Defaults) -> Result<Rule, YamlError> {
    let mut section = value.section("a rule of stream aggregation")?;
    let (matchers, selectors) = read_match(&mut section)?;
    let (interval_ms, interval_text) = read_interval(&mut section)?;
    let dedup_ms = positive(&mut section, "dedup_interval")?.unwrap_or(0);
    if dedup_ms > 0 && interval_ms % dedup_ms != 0 {
        let message = format!("interval {interval_text} is no multiple of dedup_interval");
        return Err(section.error_at("dedup_interval", message));
    }
    let staleness_ms = positive(&mut section, "staleness_interval")?.unwrap_or(interval_ms);
    if staleness_ms < interval_ms {
        let message = format!("staleness_interval cannot be shorter than the interval, {interval_text}");
        return Err(section.error_at("staleness_interval", message));
    }
    let first_sample = section.get::<Duration>("ignore_first_sample_interval")?;
    let outputs = read_outputs(&mut section)?;
    let rule = Rule {
        name: section.get_or("name", String::new())?,
        matchers,
        selectors,
        interval_ms,
        interval_text,
        dedup_ms,
        staleness_ms,
        first_sample_ms: first_sample.map_or(staleness_ms, Duration::as_ms),
        grouping: read_grouping(&mut section)?,
        outputs,
        keep_input: section.get_or("keep_input", defaults.keep_input)?,
        keep_metric_names: section.get_or("keep_metric_names", false)?,
        ignore_old_samples: section.get_or("ignore_old_samples", false)?,
        ignore_first_intervals: section.get_or("ignore_first_intervals", 0)?,
        drop_input_labels: section.get_or("drop_input_labels", Vec::new())?,
        align: !section.get_or("no_align_flush_to_interval", false)?,
        flush_on_shutdown: section.get_or("flush_on_shutdown", false)?,
        input_relabel: read_relabel(&mut section, "input_relabel_configs")?,
        output_relabel: read_relabel(&mut section, "output_relabel_configs")?,
    };
    if section.get_or("enable_windows", false)? {
        let error = section.error_at(
            "enable_windows",
            "windows of the current and the last interval are not kept here",
        );
        return Err(error.with_help("leave it out; `ignore_old_samples` leaves out what comes late"));
    }
    check_names(&section, &rule)?;
    section.finish()?;
    Ok(rule)
}

/// What would give several series the same name, or write into what is read.
fn check_names(section: &Section<'_>, rule: &Rule) -> Result<(), YamlError> {
    const KEY: &str = "keep_metric_names";
    if !rule.keep_metric_names {
        return Ok(());
    }
    if rule.keep_input {
        return Err(section.error_at(
            KEY,
            "keep_metric_names and keep_input together would write to one series twice",
        ));
    }
    match rule.outputs.as_slice() {
        [output] if !output.is_many() => Ok(()),
        [output] => Err(section.error_at(
            KEY,
            format_args!("keep_metric_names cannot be used with {output}, which is several series"),
        )),
        _ => Err(section.error_at(KEY, "keep_metric_names needs `outputs` to have a single entry")),
    }
}

fn read_match(
    section: &mut Section<'_>,
) -> Result<(Vec<Vec<model::matcher::Matcher>>, Vec<String>), YamlError> {
    let Some(value) = section.value("match") else {
        return Ok((Vec::new(), Vec::new()));
    };
    let values = match value.scalar() {
        Some(_) => vec![value],
        None => value.sequence()?,
    };
    let mut read = (Vec::new(), Vec::new());
    for value in values {
        let text = String::from_yaml(value)?;
        let matchers = parse_selector(&text).map_err(|error| {
            value
                .error(format_args!("match: {error}"))
                .with_help("write it like http_requests_total{job=\"api\"}")
        })?;
        read.0.push(matchers);
        read.1.push(text);
    }
    Ok(read)
}

fn read_outputs(section: &mut Section<'_>) -> Result<Vec<Output>, YamlError> {
    const KEY: &str = "outputs";
    let mut outputs: Vec<Output> = Vec::new();
    let texts: Vec<String> = section.get_or(KEY, Vec::new())?;
    if texts.is_empty() {
        let names: Vec<&str> = Output::names().collect();
        let error = section.error_at(KEY, "a rule needs at least one output");
        return Err(error.with_help(format!("there are {}", names.join(", "))));
    }
    for (index, text) in texts.iter().enumerate() {
        let output = Output::parse(text).map_err(|error| {
            let error = section.error_at_item(KEY, index, error);
            match model::nearest::nearest(text, Output::names()) {
                Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
                None => error,
            }
        })?;
        if outputs.iter().any(|other| other.suffix() == output.suffix()) {
            let message = format!("output {} stands here twice", output.suffix());
            return Err(section.error_at_item(KEY, index, message));
        }
        outputs.push(output);
    }
    Ok(outputs)
}

fn read_grouping(section: &mut Section<'_>) -> Result<Grouping, YamlError> {
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names.dedup();
        names
    };
    let mut by = sorted(section.get_or("by", Vec::new())?);
    let without = sorted(section.get_or("without", Vec::new())?);
    match (by.is_empty(), without.is_empty()) {
        (true, true) => Ok(Grouping::Each),
        (true, false) => Ok(Grouping::Without(without)),
        (false, true) => {
            if let Err(at) = by.binary_search_by(|name| name.as_str().cmp(METRIC_NAME)) {
                by.insert(at, METRIC_NAME.to_owned());
            }
            Ok(Grouping::By(by))
        }
        (false, false) => Err(section.error_at("without", "a rule cannot have both `by` and `without`")),
    }
}

fn read_relabel(
    section: &mut Section<'_>,
    key: &'static str,
) -> Result<Vec<model::relabel::RelabelRule>, YamlError> {
    relabel_rules(section, key, "empty or null relabeling rule", NameScheme::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, told) in [
            ("- {outputs: [max]}", "1:3: a rule needs an `interval`"),
            (
                "- {interval: 500ms, outputs: [max]}",
                "1:14: interval cannot be shorter than 1s; this one is 500ms",
            ),
            (
                "- {interval: 1m, outputs: [maximum]}",
                "1:28: there is no output \"maximum\"",
            ),
            (
                "- {interval: 1m, outputs: [max, max]}",
                "1:33: output max stands here twice",
            ),
            (
                "- {interval: 1m, outputs: ['quantiles(2)']}",
                "1:28: \"2\" is no quantile: it must be a number from 0 to 1",
            ),
            (
                "- {interval: 1m, outputs: [max], by: [a], without: [b]}",
                "1:52: a rule cannot have both `by` and `without`",
            ),
            (
                "- {interval: 1m, outputs: [max], dedup_interval: 7s}",
                "1:50: interval 1m is no multiple of dedup_interval",
            ),
            (
                "- {interval: 1m, outputs: [max, min], keep_metric_names: true}",
                "1:58: keep_metric_names needs `outputs` to have a single entry",
            ),
            (
                "- {interval: 1m, outputs: [max], staleness: 5m}",
                "1:34: field staleness not found in a rule of stream aggregation",
            ),
            (
                "- {interval: 1m, outputs: [max], enable_windows: true}",
                "1:50: windows of the current and the last interval are not kept here",
            ),
        ] {
            let error = Config::parse_file("f", text).expect_err(text);
            let place = error.position();
            assert_eq!(
                format!("{}:{}: {}", place.line, place.column, error.message()),
                told,
                "{text}"
            );
        }
        let error = Config::parse_file("f", "- {match: 'a{', interval: 1m, outputs: [max]}")
            .expect_err("no selector");
        assert!(error.message().starts_with("match: 1:"), "{error}");
    }

    #[test]
    fn rules_are_bounded() {
        let rule = "- {interval: 1m, outputs: [max]}\n";
        assert!(Config::parse_file("f", &rule.repeat(RULES_MAX)).is_ok());
        assert!(Config::parse_file("f", &rule.repeat(RULES_MAX + 1)).is_err());
    }
}

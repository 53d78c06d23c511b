//! A rule: which series it takes, how they are grouped, what comes out and under which names.

use std::borrow::Cow;

use model::labels::{Labels, METRIC_NAME};
use model::matcher::Matcher;
use model::relabel::{self, RelabelRule};
use xxhash_rust::xxh3::xxh3_64;

use crate::output::Output;

/// How series are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Each series is a group: samples are thinned in time alone.
    Each,
    /// By the values of these labels, sorted; the name of the metric is one of them.
    By(Vec<String>),
    /// By all labels but these, sorted.
    Without(Vec<String>),
}

/// A rule as it was read. Two are equal that do the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What metrics and messages call it.
    pub name: String,
    /// Series are taken that satisfy all matchers of at least one of these; without any, all are.
    pub matchers: Vec<Vec<Matcher>>,
    /// The same as it was written.
    pub selectors: Vec<String>,
    /// How long samples are gathered, in milliseconds.
    pub interval_ms: i64,
    /// The same as it was written: names of outputs say it.
    pub interval_text: String,
    /// Of the samples of a series in so many milliseconds only the newest counts; 0 counts all.
    pub dedup_ms: i64,
    /// After so many milliseconds without a sample a series, and a group, begins anew.
    pub staleness_ms: i64,
    /// For so many milliseconds from the start no series is known to be new, and its first sample counts as no increase.
    pub first_sample_ms: i64,
    /// How series are put together.
    pub grouping: Grouping,
    /// What comes out.
    pub outputs: Vec<Output>,
    /// Whether the series are stored as well.
    pub keep_input: bool,
    /// Whether outputs are called what the series is called.
    pub keep_metric_names: bool,
    /// Whether samples from before the interval are left out.
    pub ignore_old_samples: bool,
    /// How many intervals after the start give nothing.
    pub ignore_first_intervals: u32,
    /// Labels that are not looked at.
    pub drop_input_labels: Vec<String>,
    /// Whether intervals begin at multiples of their length.
    pub align: bool,
    /// Whether what was gathered of an interval by a start or stop comes out.
    pub flush_on_shutdown: bool,
    /// Changes labels of series that are taken.
    pub input_relabel: Vec<RelabelRule>,
    /// Changes labels of what comes out.
    pub output_relabel: Vec<RelabelRule>,
}

/// What a rule makes of a series' labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The series as the rule sees it: two that are the same here are one.
    pub input: Labels,
    /// Its group.
    pub group: Labels,
}

impl Rule {
    /// Whether the rule takes a series.
    pub fn matches(&self, labels: &Labels) -> bool {
        let all = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches_labels(labels));
        self.matchers.is_empty() || self.matchers.iter().any(all)
    }

    /// What becomes of a series that the rule takes; `None` where relabelling drops it.
    pub fn take(&self, labels: &Labels) -> Option<Taken> {
        let mut input = Cow::Borrowed(labels);
        if !self.drop_input_labels.is_empty() {
            input = Cow::Owned(labels.without(|name| self.drop_input_labels.iter().any(|drop| drop == name)));
        }
        if !self.input_relabel.is_empty() {
            let mut builder = input.to_builder();
            if !relabel::apply(&self.input_relabel, &mut builder) {
                return None;
            }
            input = Cow::Owned(builder.try_build().ok()?);
        }
        if input.is_empty() {
            return None;
        }
        let listed = |names: &[String], name: &str| names.binary_search_by(|n| n.as_str().cmp(name)).is_ok();
        let group = match &self.grouping {
            Grouping::Each => input.clone().into_owned(),
            Grouping::By(names) => input.without(|name| !listed(names, name)),
            Grouping::Without(names) => input.without(|name| listed(names, name)),
        };
        Some(Taken {
            input: input.into_owned(),
            group,
        })
    }

    /// Labels of an output of `group`; `extra` is a label that tells several series of it apart. `None` where relabelling
    /// drops it.
    pub fn output_labels(
        &self,
        group: &Labels,
        output: &Output,
        extra: Option<(&str, &str)>,
    ) -> Option<Labels> {
        let mut builder = group.to_builder();
        if !self.keep_metric_names {
            let name = format!("{}{}{}", group.metric_name(), self.suffix(), output.suffix());
            builder.set(METRIC_NAME, &name);
        }
        if let Some((name, value)) = extra {
            builder.set(name, value);
        }
        if !relabel::apply(&self.output_relabel, &mut builder) {
            return None;
        }
        builder.try_build().ok().filter(|labels| !labels.is_empty())
    }

    /// What stands between a metric's name and that of an output: `:1m_by_job_`.
    fn suffix(&self) -> String {
        let (word, names) = match &self.grouping {
            Grouping::Each => ("", [].as_slice()),
            Grouping::By(names) => ("by", names.as_slice()),
            Grouping::Without(names) => ("without", names.as_slice()),
        };
        let names: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| *name != METRIC_NAME)
            .collect();
        match names.is_empty() {
            true => format!(":{}_", self.interval_text),
            false => format!(":{}_{word}_{}_", self.interval_text, names.join("_")),
        }
    }

    /// A number for what the state of cumulative outputs depends on, the same for ever: rules that have the same number
    /// may go on from each other's totals.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut text = String::new();
        let mut say = |part: &str| {
            text.push_str(part);
            text.push('\0');
        };
        self.selectors.iter().for_each(|selector| say(selector));
        say(&self.suffix());
        say(&self.dedup_ms.to_string());
        self.drop_input_labels.iter().for_each(|name| say(name));
        for rule in &self.input_relabel {
            let config = rule.config();
            config.source_labels.iter().for_each(|name| say(name));
            say(&config.separator);
            say(config.regex.as_deref().unwrap_or("(.*)"));
            say(&config.modulus.to_string());
            say(&config.target_label);
            say(&config.replacement);
            say(config.action.as_str());
        }
        xxh3_64(text.as_bytes())
    }

    /// Whether any output needs the last sample of each series.
    pub(crate) fn follows_counters(&self) -> bool {
        self.outputs.iter().any(Output::follows_counters)
    }

    /// Whether anything of it has to be kept over restarts: what goes on from interval to interval.
    pub(crate) fn has_memory(&self) -> bool {
        self.outputs
            .iter()
            .any(|output| output.is_cumulative() || output.follows_counters())
    }
}

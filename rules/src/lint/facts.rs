//! What a running server knows, and what it is asked for.

use std::collections::{BTreeMap, BTreeSet};

use model::labels::METRIC_NAME;
use model::matcher::MatchOp;
use promql::ast::VectorSelector;

use super::Source;
use crate::format::{FormatOptions, read};

/// What a metric's metadata says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, and begins anew at restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
    /// Quantiles, a sum and a count.
    Summary,
    /// Anything else: states, what is unknown.
    Other,
}

impl MetricKind {
    /// Of the word in metadata.
    pub fn from_word(word: &str) -> Self {
        match word {
            "counter" => MetricKind::Counter,
            "gauge" => MetricKind::Gauge,
            "histogram" => MetricKind::Histogram,
            "summary" => MetricKind::Summary,
            _ => MetricKind::Other,
        }
    }
}

/// What a server knows of the metrics that rules look at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Types by the metric's family, where metadata agrees with itself.
    pub kinds: BTreeMap<String, MetricKind>,
    /// Names of all metrics that there are.
    pub names: BTreeSet<String>,
    /// Number of series, by name.
    pub series: BTreeMap<String, u64>,
    /// Values that there are, by metric and label; absent where nobody asked or nobody knows.
    pub values: BTreeMap<(String, String), BTreeSet<String>>,
    /// The shortest interval at which targets are scraped.
    pub scrape_interval_ms: Option<i64>,
    /// How often rules are evaluated.
    pub evaluation_interval_ms: Option<i64>,
}

impl Facts {
    /// The type of the metric that series called `name` belong to.
    pub(super) fn kind(&self, name: &str) -> Option<MetricKind> {
        let of = |name: &str| self.kinds.get(name).copied();
        let part = |suffix: &str, kinds: &[MetricKind]| {
            let family = name.strip_suffix(suffix)?;
            of(family).filter(|kind| kinds.contains(kind))
        };
        use MetricKind::{Counter, Histogram, Summary};
        of(name).or_else(|| {
            // Parts of a family count; that of OpenMetrics' counters is called without `_total`.
            part("_total", &[Counter])
                .or_else(|| part("_bucket", &[Histogram]).map(|_| Counter))
                .or_else(|| part("_count", &[Histogram, Summary]).map(|_| Counter))
                .or_else(|| part("_sum", &[Histogram, Summary]).map(|_| Counter))
        })
    }
}

/// What to ask a server about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Names of metrics that rules select.
    pub names: BTreeSet<String>,
    /// Metrics and those of their labels that rules compare with one value.
    pub values: BTreeSet<(String, String)>,
}

/// What a server has to be asked about to look at `sources`; files that are none ask nothing.
pub fn questions(sources: &[Source], format: &FormatOptions) -> Questions {
    let mut questions = Questions::default();
    for source in sources {
        let Ok(file) = read(&source.path, &source.text, format) else {
            continue;
        };
        for rule in file.groups.iter().flat_map(|group| &group.rules) {
            for selector in rule.expr.selectors() {
                questions.add(selector);
            }
        }
    }
    questions
}

impl Questions {
    fn add(&mut self, selector: &VectorSelector) {
        let Some(name) = metric_name(selector) else {
            return;
        };
        self.names.insert(name.to_owned());
        let labels = selector.matchers.iter().filter(|matcher| {
            matcher.op == MatchOp::Equal && matcher.name != METRIC_NAME && !matcher.value.is_empty()
        });
        self.values
            .extend(labels.map(|matcher| (name.to_owned(), matcher.name.clone())));
    }
}

/// The one metric that a selector selects from.
pub(super) fn metric_name(selector: &VectorSelector) -> Option<&str> {
    let of_name = |matcher: &&model::matcher::Matcher| matcher.name == METRIC_NAME;
    let matcher = selector.matchers.iter().find(of_name)?;
    (matcher.op == MatchOp::Equal).then_some(matcher.value.as_str())
}

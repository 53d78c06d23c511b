//! Alerts that nobody can tell about: what a group wants of them, and which they are.
//!
//! Data of an alert is *missing* when its rule cannot be evaluated, or when the alert is not among the result any more and
//! for one of the expression's selectors all of this holds:
//!
//! 1. At the last evaluation that saw the alert, the selector found series that have those of the alert's labels which
//!    series of the selector had at all, labels that the rule sets aside; a range selector, anything of them within its
//!    range.
//! 2. None of them has a sample now.
//! 3. A target cannot be scraped now that one of them came from: there is a series `up` of value 0 with the same `job` and
//!    `instance`, as far as that series has them.
//!
//! A target that discovery has taken away has no `up`, so its alerts are resolved. The queries that this takes, two for
//! each selector and one for `up`, are made only when alerts of a group that wants it would be resolved.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use model::labels::{ALERT_NAME, Labels, METRIC_NAME};
use promql::ast::{Expr, ExprKind, MatrixSelector, VectorSelector};
use promql::value::{Sample, SampleValue};
use yaml::{FromYaml, Shape, Value, YamlError};

use crate::error::EvalError;
use crate::group::{Environment, Group, RunningRule};
use crate::state::{Absence, AlertState, Observed};

/// Times at which alerts were last seen that one evaluation looks at; where there are more, evaluations take turns, and an
/// alert stays missing until it is its time's turn.
const LOOKS_MAX: usize = 8;
/// What tells whether targets can be scraped.
const DOWN: &str = "up == 0";
/// Labels by which series and their targets are paired.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

/// What becomes of alerts whose data is missing: `no_data` of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoData {
    /// They are resolved, as in the reference; when a rule cannot be evaluated, nothing is done about its alerts.
    #[default]
    Resolve,
    /// They stay as they are.
    Keep,
    /// The same, and they are told to be unknown.
    Unknown,
}

const WORDS: [&str; 3] = ["resolve", "keep", "unknown"];

impl FromYaml for NoData {
    fn shape() -> Shape {
        Shape::Word(&WORDS)
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let known = [NoData::Resolve, NoData::Keep, NoData::Unknown];
        let word = String::from_yaml(value)?;
        let found = WORDS.iter().zip(known).find(|(known, _)| **known == word);
        match found {
            Some((_, no_data)) => Ok(no_data),
            None => Err(value.error(format_args!(
                "unknown value {word:?} for no_data: resolve, keep or unknown are known"
            ))),
        }
    }
}

impl NoData {
    /// The word of rule files.
    pub fn as_str(self) -> &'static str {
        WORDS[self as usize]
    }

    /// What it makes of an alert about which nobody can tell.
    pub(crate) fn absence(self, because: &Arc<str>) -> Absence {
        match self {
            NoData::Resolve => Absence::Gone,
            NoData::Keep => Absence::Missing,
            NoData::Unknown => Absence::Unknown(because.clone()),
        }
    }
}

/// Why a rule's alerts are missing when it cannot be evaluated.
pub(crate) fn because_of(error: &EvalError) -> Arc<str> {
    format!("the rule cannot be evaluated: {error}").into()
}

impl Group {
    /// Those of a rule's alerts which are not among `observed` at `at_ns` because their data is missing, and why; none
    /// where the group does not want to know.
    pub(crate) fn missing(
        &self,
        running: &RunningRule,
        observed: &[Observed],
        at_ns: i64,
        environment: &Environment,
    ) -> HashMap<Labels, Arc<str>> {
        if self.spec.no_data == NoData::Resolve {
            return HashMap::new();
        }
        let absent = self.absent(running, observed, at_ns);
        if absent.is_empty() {
            return HashMap::new();
        }
        let looks = absent.len();
        let turn = at_ns.div_euclid(self.schedule.interval_ns()).unsigned_abs() as usize * LOOKS_MAX;
        let mut missing = HashMap::new();
        for (number, (seen_ns, alerts)) in absent.into_iter().enumerate() {
            let is_its_turn = (number + looks - turn % looks) % looks < LOOKS_MAX;
            if !is_its_turn {
                let because: Arc<str> = "what would tell is missing in many places".into();
                missing.extend(alerts.into_iter().map(|labels| (labels, because.clone())));
                continue;
            }
            let look = Look {
                group: self,
                running,
                seen_ms: self.query_ms(seen_ns),
                now_ms: self.query_ms(at_ns),
                environment,
            };
            match look.missing(&alerts) {
                Ok(found) => missing.extend(found),
                Err(error) => {
                    let because: Arc<str> = format!("what is missing cannot be looked up: {error}").into();
                    missing.extend(alerts.into_iter().map(|labels| (labels, because.clone())));
                }
            }
        }
        missing
    }

    /// Counts the alerts whose data is missing, where the group wants to know.
    pub(crate) fn count_missing(&self, environment: &Environment) {
        if self.spec.no_data != NoData::Resolve {
            let missing = self.rules.iter().map(|running| running.alerts.lock().missing());
            environment.metrics.missing(&self.spec.key(), missing.sum());
        }
    }

    /// The alerts that would be resolved or dropped, by the time of the last evaluation that saw them. An alert whose end
    /// was seen already, and that is kept firing, is not among them.
    fn absent(&self, running: &RunningRule, observed: &[Observed], at_ns: i64) -> BTreeMap<i64, Vec<Labels>> {
        let present: HashSet<&Labels> = observed.iter().map(|element| &element.labels).collect();
        let mut absent: BTreeMap<i64, Vec<Labels>> = BTreeMap::new();
        for (labels, alert) in running.alerts.lock().iter() {
            let is_open = alert.state != AlertState::Inactive && alert.keep_firing_since_ns.is_none();
            if is_open && !present.contains(labels) {
                let since_ns = alert.missing_since_ns.unwrap_or(at_ns);
                let seen_ns = since_ns.saturating_sub(self.schedule.interval_ns());
                absent.entry(seen_ns).or_default().push(labels.clone());
            }
        }
        absent
    }
}

/// A comparison of what a rule's selectors find now with what they found when alerts were last seen.
struct Look<'a> {
    group: &'a Group,
    running: &'a RunningRule,
    seen_ms: i64,
    now_ms: i64,
    environment: &'a Environment,
}

impl Look<'_> {
    /// Those of `alerts` whose data is missing, and why.
    fn missing(&self, alerts: &[Labels]) -> Result<Vec<(Labels, Arc<str>)>, EvalError> {
        let mut missing: Vec<(Labels, Arc<str>)> = Vec::new();
        let mut rest: Vec<&Labels> = alerts.iter().collect();
        let mut down = None;
        for selector in selectors(&self.running.rule.expr) {
            let before = self.ask(&selector.found, self.seen_ms)?;
            let now = self.ask(&selector.current, self.now_ms)?;
            let (before, now) = (Series::new(&before), Series::new(&now));
            let mut found = Vec::new();
            for (number, alert) in rest.iter().enumerate() {
                let pairs = self.narrowing(alert, &before);
                let lost = before.having(&pairs);
                if lost.is_empty() || !now.having(&pairs).is_empty() {
                    continue;
                }
                let down = match &down {
                    Some(down) => down,
                    None => down.insert(self.ask(DOWN, self.now_ms)?),
                };
                if let Some(target) = lost.iter().find_map(|series| target_of(series, down)) {
                    missing.push(((*alert).clone(), target));
                    found.push(number);
                }
            }
            for number in found.into_iter().rev() {
                rest.remove(number);
            }
        }
        Ok(missing)
    }

    fn ask(&self, query: &str, at_ms: i64) -> Result<Vec<Sample>, EvalError> {
        let source = &self.environment.source;
        source.query_text(query, at_ms, self.group.spec.asker())
    }

    /// The labels by which an alert and series belong together.
    fn narrowing<'l>(&self, alert: &'l Labels, series: &Series<'_>) -> Vec<(&'l str, &'l str)> {
        let set_by_rule = |name: &str| self.running.rule.labels.get(name).is_some();
        let pairs = alert
            .iter()
            .filter(|(name, _)| *name != ALERT_NAME && !set_by_rule(name));
        pairs.filter(|pair| series.by_pair.contains_key(pair)).collect()
    }
}

/// A selector of a rule's expression, as queries.
#[derive(PartialEq, Eq)]
struct Selector {
    /// What gives the series that it found anything of.
    found: String,
    /// What gives those that have a sample at the time.
    current: String,
}

/// The expression's selectors, each once.
fn selectors(expr: &Expr) -> Vec<Selector> {
    let mut selectors: Vec<Selector> = Vec::new();
    expr.walk(&mut |expr| {
        let text = |kind| {
            let span = expr.span;
            Expr { kind, span }.to_string()
        };
        // What belongs to functions of ranges does not change which series there are.
        let plain = |selector: &VectorSelector| VectorSelector {
            anchored: false,
            smoothed: false,
            ..selector.clone()
        };
        let selector = match &expr.kind {
            ExprKind::Vector(selector) => {
                let current = text(ExprKind::Vector(plain(selector)));
                let found = current.clone();
                Selector { found, current }
            }
            ExprKind::Matrix(matrix) => {
                let selector = plain(&matrix.selector);
                let current = text(ExprKind::Vector(selector.clone()));
                let range = text(ExprKind::Matrix(MatrixSelector {
                    selector,
                    ..matrix.clone()
                }));
                let found = format!("last_over_time({range})");
                Selector { found, current }
            }
            _ => return,
        };
        if !selectors.contains(&selector) {
            selectors.push(selector);
        }
    });
    selectors
}

/// A vector, to be searched by labels.
struct Series<'a> {
    samples: &'a [Sample],
    by_pair: HashMap<(&'a str, &'a str), Vec<usize>>,
}

impl<'a> Series<'a> {
    fn new(samples: &'a [Sample]) -> Self {
        let mut by_pair: HashMap<_, Vec<usize>> = HashMap::new();
        for (number, sample) in samples.iter().enumerate() {
            for pair in &sample.labels {
                by_pair.entry(pair).or_default().push(number);
            }
        }
        Series { samples, by_pair }
    }

    /// The series that have all of `pairs`.
    fn having(&self, pairs: &[(&str, &str)]) -> Vec<&'a Labels> {
        let has_all = |labels: &&Labels| pairs.iter().all(|(name, value)| labels.get(name) == Some(value));
        let mut shortest: Option<&[usize]> = None;
        for pair in pairs {
            let numbers = self.by_pair.get(pair).map_or(&[][..], Vec::as_slice);
            if shortest.is_none_or(|shortest| numbers.len() < shortest.len()) {
                shortest = Some(numbers);
            }
        }
        match shortest {
            None => self.samples.iter().map(|sample| &sample.labels).collect(),
            Some(numbers) => {
                let labels = numbers.iter().map(|number| &self.samples[*number].labels);
                labels.filter(has_all).collect()
            }
        }
    }
}

/// Says of which target among `down` the series is, if of any.
fn target_of(series: &Labels, down: &[Sample]) -> Option<Arc<str>> {
    let wanted: Vec<(&str, &str)> = TARGET_LABELS
        .into_iter()
        .filter_map(|name| Some((name, series.get(name)?)))
        .collect();
    if wanted.is_empty() {
        return None;
    }
    let is_it = |sample: &&Sample| {
        matches!(sample.value, SampleValue::Float(_))
            && wanted
                .iter()
                .all(|(name, value)| sample.labels.get(name) == Some(value))
    };
    let target = &down.iter().find(is_it)?.labels;
    let target = target.without(|name| name == METRIC_NAME);
    Some(format!("the target {target} cannot be scraped").into())
}

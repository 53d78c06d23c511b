//! Rules as they are evaluated.

use std::collections::BTreeMap;

use model::labels::{ALERT_NAME, LabelTooLong, Labels, LabelsBuilder, LabelsPacker, METRIC_NAME};
use promql::ast::Expr;
use promql::engine::InstantVector;
use promql::value::SampleValue;
use template::Value;

use crate::error::EvalError;
use crate::expand::{Context, Template};
use crate::format::{self, RuleKind};
use crate::state::{ActiveAlert, Observed, Timing};

/// Name of the series that tell alerts and their states.
pub(crate) const ALERTS: &str = "ALERTS";
/// Name of the series that tell since when alerts are active.
pub(crate) const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
pub(crate) const ALERT_STATE: &str = "alertstate";

/// A rule, ready to be evaluated.
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) expr: Expr,
    /// The expression as the API shows it and links carry it.
    pub(crate) query: String,
    /// Labels of the group and the rule, as written; values may be empty.
    pub(crate) labels: Labels,
    pub(crate) action: Action,
}

/// What is done with the result.
pub(crate) enum Action {
    Record,
    Alert(Box<AlertAction>),
}

pub(crate) struct AlertAction {
    pub(crate) timing: Timing,
    labels: Vec<(String, Template)>,
    pub(crate) annotations: Vec<(String, Template)>,
}

impl Rule {
    /// Makes a rule of one from a file, whose group has `group_labels`.
    ///
    /// # Errors
    /// When a template is malformed, which reading a file refuses already.
    pub(crate) fn new(
        rule: &format::Rule,
        group_labels: &BTreeMap<String, String>,
    ) -> Result<Self, template::ParseError> {
        let mut labels = group_labels.clone();
        labels.extend(rule.labels.clone());
        let templates = |texts: &BTreeMap<String, String>| -> Result<Vec<_>, template::ParseError> {
            let parsed = texts
                .iter()
                .map(|(name, text)| Ok((name.clone(), Template::parse(&rule.name, text)?)));
            parsed.collect()
        };
        let action = match rule.kind {
            RuleKind::Recording => Action::Record,
            RuleKind::Alerting => Action::Alert(Box::new(AlertAction {
                timing: Timing {
                    hold_ns: rule.for_ms.saturating_mul(1_000_000),
                    keep_firing_ns: rule.keep_firing_for_ms.saturating_mul(1_000_000),
                },
                labels: templates(&labels)?,
                annotations: templates(&rule.annotations)?,
            })),
        };
        Ok(Rule {
            name: rule.name.clone(),
            query: rule.expr.to_string(),
            expr: rule.expr.clone(),
            // Empty values are kept: they take labels away.
            labels: Labels::from_sorted(labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
            action,
        })
    }

    /// What makes a rule the same one over a reload: its state goes on.
    pub(crate) fn identity(&self) -> (&str, &Labels) {
        (&self.name, &self.labels)
    }

    /// Whether nothing about the rule is different from `other`.
    pub(crate) fn is_same(&self, other: &Rule) -> bool {
        let actions = match (&self.action, &other.action) {
            (Action::Record, Action::Record) => true,
            (Action::Alert(a), Action::Alert(b)) => a.is_same(b),
            _ => false,
        };
        actions && self.identity() == other.identity() && self.query == other.query
    }

    /// Makes labels of a recording rule's series of those of its result.
    pub(crate) fn recorded_labels(&self) -> impl FnMut(&Labels) -> Labels {
        let mut own = self.labels.to_builder();
        own.set(METRIC_NAME, &self.name);
        let mut packer = LabelsPacker::default();
        move |labels| {
            let own: Vec<(&str, &str)> = own.iter().collect();
            overridden(labels, &own, &mut packer)
        }
    }

    /// Labels of the `ALERTS` series of an alert.
    pub(crate) fn state_series(&self, labels: &Labels, alert: &ActiveAlert) -> Labels {
        self.series(labels, ALERTS, Some(alert.shown_state().as_str()))
    }

    /// Labels of the `ALERTS_FOR_STATE` series of an alert.
    pub(crate) fn for_state_series(&self, labels: &Labels) -> Labels {
        self.series(labels, ALERTS_FOR_STATE, None)
    }

    fn series(&self, labels: &Labels, metric: &str, state: Option<&str>) -> Labels {
        // Compat: the rule's own labels come first (`empty_labels_take_labels_away`), so that one whose template expands
        // to nothing, and which the alert therefore lacks, shows up with its template as its value.
        let mut builder = LabelsBuilder::new();
        for (name, value) in self.labels.iter().chain(labels) {
            builder.set(name, value);
        }
        builder.set(METRIC_NAME, metric);
        builder.set(ALERT_NAME, &self.name);
        if let Some(state) = state {
            builder.set(ALERT_STATE, state);
        }
        builder.build()
    }
}

impl AlertAction {
    /// Whether it does the same as `other`, labels aside.
    fn is_same(&self, other: &AlertAction) -> bool {
        let texts = |action: &AlertAction| -> Vec<(String, String)> {
            let texts = action
                .annotations
                .iter()
                .map(|(n, t)| (n.clone(), t.text().to_owned()));
            texts.collect()
        };
        self.timing == other.timing && texts(self) == texts(other)
    }

    /// The result as alerts, their templates expanded.
    ///
    /// # Errors
    /// When two elements are the same alert, or a template makes a text that no label can hold.
    pub(crate) fn observe(
        &self,
        name: &str,
        result: &InstantVector,
        context: &Context<'_>,
    ) -> Result<Vec<Observed>, EvalError> {
        let mut seen = std::collections::HashSet::with_capacity(result.len());
        let mut observed = Vec::with_capacity(result.len());
        for sample in result.samples() {
            let data = context.data(&sample.labels, &sample.value);
            let labels = self.expand_labels(name, &sample.labels, &data, context)?;
            let annotations = self.expand_annotations(&data, context)?;
            if !seen.insert(labels.clone()) {
                return Err(EvalError::SameAlert);
            }
            observed.push(Observed {
                labels,
                annotations,
                value: match sample.value {
                    SampleValue::Float(value) => value,
                    SampleValue::Histogram(_) => 0.0,
                },
            });
        }
        Ok(observed)
    }

    fn expand_labels(
        &self,
        name: &str,
        labels: &Labels,
        data: &Value,
        context: &Context<'_>,
    ) -> Result<Labels, LabelTooLong> {
        let mut builder = labels.to_builder();
        builder.remove(METRIC_NAME);
        for (label, template) in &self.labels {
            builder.set(label, &template.expand(data, context));
        }
        builder.set(ALERT_NAME, name);
        builder.try_build()
    }

    /// Annotations keep empty values, unlike labels.
    fn expand_annotations(&self, data: &Value, context: &Context<'_>) -> Result<Labels, LabelTooLong> {
        let mut packer = LabelsPacker::default();
        for (name, template) in &self.annotations {
            let text = template.expand(data, context);
            LabelTooLong::check(name, &text)?;
            packer.push(name, &text);
        }
        Ok(packer.finish())
    }
}

/// `labels` with those of `own`, which is sorted, in place of or beside its own; empty ones take labels away.
fn overridden(labels: &Labels, own: &[(&str, &str)], packer: &mut LabelsPacker) -> Labels {
    let mut theirs = labels.iter().peekable();
    let mut push = |name: &str, value: &str| {
        if !value.is_empty() {
            packer.push(name, value);
        }
    };
    for (name, value) in own {
        while let Some((before, value)) = theirs.next_if(|(theirs, _)| theirs < name) {
            push(before, value);
        }
        theirs.next_if(|(theirs, _)| theirs == name);
        push(name, value);
    }
    for (name, value) in theirs {
        push(name, value);
    }
    packer.finish()
}

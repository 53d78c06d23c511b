//! What an evaluation makes of an alerting rule's result: states, series that tell of them, alerts to send.
//!
//! The order of things is the promise: alerts are changed in memory, the journal has the change on disk, and only then
//! anybody outside sees it.

use std::sync::atomic::Ordering;

use model::alert::Alert;
use model::labels::Labels;
use promql::engine::InstantVector;
use promql::value::{Sample, SampleValue};

use crate::error::EvalError;
use crate::evaluate::Iteration;
use crate::expand::Context;
use crate::group::{Environment, Group, RunningRule};
use crate::journal::{Recovery, Sending};
use crate::no_data::{NoData, because_of};
use crate::rule::{ALERT_STATE, AlertAction, Rule};
use crate::state::{Absence, ActiveAlert, AlertBook, AlertState, Due, Observed, Transition, Unknown};

const MS_NS: i64 = 1_000_000;
/// The annotation that says why nobody can tell about an alert.
const NO_DATA_ANNOTATION: &str = "no_data";

/// What an evaluation of an alerting rule gave.
pub(crate) struct Alerted {
    /// The series that tell of its alerts.
    pub(crate) samples: Vec<Sample>,
    /// Why it could not be evaluated; its alerts were looked after all the same.
    pub(crate) error: Option<EvalError>,
}

impl Group {
    /// Advances a rule's alerts to what `result` says, and sends what is due.
    ///
    /// # Errors
    /// When the rule could not be evaluated, and nothing was done.
    pub(crate) fn alert(
        &self,
        running: &RunningRule,
        action: &AlertAction,
        result: Result<InstantVector, EvalError>,
        iteration: Iteration,
        environment: &Environment,
    ) -> Result<Alerted, EvalError> {
        let at_ns = iteration.at_ns;
        let context = Context {
            source: &*environment.source,
            asker: self.spec.asker(),
            at_ms: at_ns.div_euclid(MS_NS),
            external_url: &self.spec.external_url,
            external_labels: &self.external_labels,
        };
        let observed = result.and_then(|result| action.observe(&running.rule.name, &result, &context));
        let no_data = self.spec.no_data;
        match observed {
            Ok(observed) => {
                let is_patient = self.is_patient(running, at_ns, environment);
                let missing = self.missing(running, &observed, at_ns, environment);
                let absence = |labels: &Labels, alert: &ActiveAlert| match missing.get(labels) {
                    Some(because) => no_data.absence(because),
                    None if is_patient && alert.is_restored => Absence::Missing,
                    None => Absence::Gone,
                };
                let samples = self.advance(running, action, observed, absence, iteration, environment)?;
                Ok(Alerted { samples, error: None })
            }
            Err(error) if no_data != NoData::Resolve && !error.is_canceled() => {
                let because = because_of(&error);
                let absence = |_: &Labels, _: &ActiveAlert| no_data.absence(&because);
                let samples = self.advance(running, action, Vec::new(), absence, iteration, environment)?;
                let error = Some(error);
                Ok(Alerted { samples, error })
            }
            Err(error) => Err(error),
        }
    }

    fn advance(
        &self,
        running: &RunningRule,
        action: &AlertAction,
        observed: Vec<Observed>,
        absence: impl Fn(&Labels, &ActiveAlert) -> Absence,
        iteration: Iteration,
        environment: &Environment,
    ) -> Result<Vec<Sample>, EvalError> {
        let at_ns = iteration.at_ns;
        let limit = self.spec.limit;
        let mut all = running.kept.begin();
        let mut alerts = running.alerts.lock();
        let had_some = !alerts.is_empty();
        let stepped = alerts.step_by(at_ns, observed, &action.timing, limit, absence);
        match &stepped {
            Ok(transitions) => log_changes(transitions),
            // All are forgotten.
            Err(_) => all |= had_some,
        }
        let samples = match running.restored.load(Ordering::Relaxed) {
            true => self.state_samples(&running.rule, &alerts, at_ns),
            false => Vec::new(),
        };
        let resend_ns = environment.options.resend_delay_ms.saturating_mul(MS_NS);
        let to_send = match iteration.is_caught_up {
            true => Vec::new(),
            false => self.due(&running.rule, &mut alerts, at_ns, resend_ns),
        };
        let sent = (!to_send.is_empty()).then_some(Sending { at_ns, resend_ns });
        let journal = environment.recovery.as_ref().map(Recovery::journal);
        let told =
            journal.and_then(|journal| Some((journal, self.record(running, &alerts, all, at_ns, sent)?)));
        drop(alerts);
        if let Some((journal, record)) = told {
            journal.write(&record);
        }
        running.kept.catch_up();
        if sent.is_some() {
            environment.sink.send(to_send);
        }
        stepped.map(|_| samples).map_err(|exceeded| EvalError::Limit {
            limit,
            found: exceeded.found,
            what: "alerts",
        })
    }

    /// `ALERTS` and `ALERTS_FOR_STATE` of the alerts that are pending or firing.
    fn state_samples(&self, rule: &Rule, alerts: &AlertBook, at_ns: i64) -> Vec<Sample> {
        let sample = |labels, value| Sample {
            labels,
            timestamp_ms: self.query_ms(at_ns),
            value: SampleValue::Float(value),
        };
        let active = alerts
            .iter()
            .filter(|(_, alert)| alert.state != AlertState::Inactive);
        active
            .flat_map(|(labels, alert)| {
                let since = alert.active_at_ns.div_euclid(1_000_000_000) as f64;
                [
                    sample(rule.state_series(labels, alert), 1.0),
                    sample(rule.for_state_series(labels), since),
                ]
            })
            .collect()
    }

    /// What is to be sent now, which counts as done.
    fn due(&self, rule: &Rule, alerts: &mut AlertBook, at_ns: i64, resend_ns: i64) -> Vec<Alert> {
        // Two evaluations or sends may fail before the receiver takes the alert for resolved.
        let valid_until_ns = at_ns.saturating_add(4 * self.schedule.interval_ns().max(resend_ns));
        let mut generator_url = None;
        let mut due = Vec::new();
        for Due {
            labels,
            alert,
            itself,
            unknown,
        } in alerts.note_sent(at_ns, resend_ns)
        {
            let link = || template::alert::graph_link(&rule.query, 1);
            let url = generator_url.get_or_insert_with(|| format!("{}{}", self.spec.external_url, link()));
            if itself {
                due.push(to_alert(labels, alert, valid_until_ns, url));
            }
            due.extend(unknown.map(|unknown| unknown_alert(labels, alert, unknown, valid_until_ns, url)));
        }
        due.sort_by(|a, b| a.labels.cmp(&b.labels));
        due
    }
}

fn log_changes(transitions: &[Transition]) {
    for change in transitions {
        let (from, to) = (
            change.from.map(AlertState::as_str),
            change.to.map(AlertState::as_str),
        );
        tracing::debug!(alert = %change.labels, from, to, "alert changed");
    }
}

fn to_alert(labels: &Labels, alert: &ActiveAlert, valid_until_ns: i64, generator_url: &str) -> Alert {
    Alert {
        labels: labels.clone(),
        annotations: alert.annotations.clone(),
        starts_at_ms: alert.fired_at_ns.unwrap_or(alert.active_at_ns).div_euclid(MS_NS),
        ends_at_ms: alert.resolved_at_ns.unwrap_or(valid_until_ns).div_euclid(MS_NS),
        generator_url: generator_url.to_owned(),
    }
}

/// The alert beside `alert` that says why nobody can tell about it.
fn unknown_alert(
    labels: &Labels,
    alert: &ActiveAlert,
    unknown: &Unknown,
    valid_until_ns: i64,
    generator_url: &str,
) -> Alert {
    let (labels, annotations) = unknown_labels(labels, &alert.annotations, unknown);
    Alert {
        labels,
        annotations,
        starts_at_ms: unknown.since_ns.div_euclid(MS_NS),
        ends_at_ms: unknown.ended_at_ns.unwrap_or(valid_until_ns).div_euclid(MS_NS),
        generator_url: generator_url.to_owned(),
    }
}

/// Labels and annotations of the alert that says that another one is unknown.
pub(crate) fn unknown_labels(labels: &Labels, annotations: &Labels, unknown: &Unknown) -> (Labels, Labels) {
    let mut labels = labels.to_builder();
    labels.set(ALERT_STATE, AlertState::Unknown.as_str());
    let since = jiff::Timestamp::from_millisecond(unknown.since_ns.div_euclid(MS_NS)).unwrap_or_default();
    let text = format!("{}, since {since:.0}", unknown.because);
    let own = (NO_DATA_ANNOTATION, text.as_str());
    let mut pairs: Vec<(&str, &str)> = annotations.iter().filter(|(name, _)| *name != own.0).collect();
    pairs.insert(pairs.partition_point(|(name, _)| *name < own.0), own);
    // Annotations may be empty.
    (labels.build(), Labels::from_sorted(pairs))
}

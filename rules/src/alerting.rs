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
use crate::rule::{AlertAction, Rule};
use crate::state::{Absence, ActiveAlert, AlertBook, AlertState, Observed, Transition};

const MS_NS: i64 = 1_000_000;

impl Group {
    /// Advances a rule's alerts to what `result` says, and sends what is due; gives the series that tell of them.
    pub(crate) fn alert(
        &self,
        running: &RunningRule,
        action: &AlertAction,
        result: &InstantVector,
        iteration: Iteration,
        environment: &Environment,
    ) -> Result<Vec<Sample>, EvalError> {
        let at_ns = iteration.at_ns;
        let context = Context {
            source: &*environment.source,
            asker: self.spec.asker(),
            at_ms: at_ns.div_euclid(MS_NS),
            external_url: &self.spec.external_url,
            external_labels: &self.external_labels,
        };
        let observed = action.observe(&running.rule.name, result, &context)?;
        let is_patient = self.is_patient(running, at_ns, environment);
        let absence = |_: &Labels, alert: &ActiveAlert| match is_patient && alert.is_restored {
            true => Absence::Missing,
            false => Absence::Gone,
        };
        self.advance(running, action, observed, absence, iteration, environment)
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

    /// The alerts that are to be sent now, which counts as done.
    fn due(&self, rule: &Rule, alerts: &mut AlertBook, at_ns: i64, resend_ns: i64) -> Vec<Alert> {
        // Two evaluations or sends may fail before the receiver takes the alert for resolved.
        let valid_until_ns = at_ns.saturating_add(4 * self.schedule.interval_ns().max(resend_ns));
        let mut generator_url = None;
        let due = alerts.note_sent(at_ns, resend_ns);
        let mut due: Vec<Alert> = due
            .map(|(labels, alert)| {
                let link = || template::alert::graph_link(&rule.query, 1);
                let url =
                    generator_url.get_or_insert_with(|| format!("{}{}", self.spec.external_url, link()));
                to_alert(labels, alert, valid_until_ns, url)
            })
            .collect();
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

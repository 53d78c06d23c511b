//! The alert state machine: pure, driven by what an expression gave and the time at which it was evaluated.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use model::labels::Labels;

/// How long a resolved alert is kept and sent again, so that no Alertmanager misses that it is resolved.
pub const RESOLVED_RETENTION_NS: i64 = 15 * 60 * 1_000_000_000;

/// State of an alert, or of a rule: that of its worst alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// The rule was not evaluated yet.
    Unknown,
    /// Resolved; of a rule, without alerts.
    Inactive,
    /// Its condition holds, but not yet for long enough.
    Pending,
    /// It fires.
    Firing,
}

impl AlertState {
    /// The word that series, the API and users know.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Unknown => "unknown",
            AlertState::Inactive => "inactive",
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
        }
    }
}

/// An alert. Times are in nanoseconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveAlert {
    /// Its annotations, from the last evaluation; values may be empty.
    pub annotations: Labels,
    /// Where it stands.
    pub state: AlertState,
    /// The expression's value at the last evaluation; 0 for a histogram.
    pub value: f64,
    /// Since when its condition holds.
    pub active_at_ns: i64,
    /// When it began to fire.
    pub fired_at_ns: Option<i64>,
    /// When it was resolved.
    pub resolved_at_ns: Option<i64>,
    /// When it was last sent.
    pub last_sent_at_ns: Option<i64>,
    /// Since when it fires although its condition is gone.
    pub keep_firing_since_ns: Option<i64>,
}

/// An element of an expression's result, as an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Labels that identify the alert.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// Its value.
    pub value: f64,
}

/// How long things last, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// `for`
    pub hold_ns: i64,
    /// `keep_firing_for`
    pub keep_firing_ns: i64,
}

/// A change of an alert's state; `None` stands for its not being known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The alert.
    pub labels: Labels,
    /// The state before.
    pub from: Option<AlertState>,
    /// The state now.
    pub to: Option<AlertState>,
}

/// The alerts of a rule.
#[derive(Clone, Debug, Default)]
pub struct AlertBook {
    alerts: HashMap<Labels, ActiveAlert, RandomState>,
}

/// More alerts than the limit: all are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    /// How many there were.
    pub found: usize,
}

impl AlertBook {
    /// The alerts and their labels, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Labels, &ActiveAlert)> {
        self.alerts.iter()
    }

    /// The alerts, to be changed: whoever sends them notes that here.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Labels, &mut ActiveAlert)> {
        self.alerts.iter_mut()
    }

    /// Number of alerts, resolved ones among them.
    pub fn len(&self) -> usize {
        self.alerts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }

    /// The worst state of them; inactive where there are none.
    pub fn worst(&self) -> AlertState {
        let states = self.alerts.values().map(|alert| alert.state);
        states.max().unwrap_or(AlertState::Inactive)
    }

    /// Moves all times by `by_ns`: the clock was set, and how long things have lasted does not change by that.
    pub fn shift(&mut self, by_ns: i64) {
        for alert in self.alerts.values_mut() {
            alert.active_at_ns = alert.active_at_ns.saturating_add(by_ns);
            let others = [
                &mut alert.fired_at_ns,
                &mut alert.resolved_at_ns,
                &mut alert.last_sent_at_ns,
                &mut alert.keep_firing_since_ns,
            ];
            for time in others.into_iter().flatten() {
                *time = time.saturating_add(by_ns);
            }
        }
    }

    /// Advances all alerts to `now_ns`, given the elements that the expression has then, each with labels of its own.
    /// A `limit` other than 0 bounds the number of pending and firing alerts.
    ///
    /// # Errors
    /// When there are more than the limit; the book is empty then.
    pub fn step(
        &mut self,
        now_ns: i64,
        observed: Vec<Observed>,
        timing: &Timing,
        limit: usize,
    ) -> Result<Vec<Transition>, LimitExceeded> {
        let mut transitions = Vec::new();
        let mut present: std::collections::HashSet<Labels, RandomState> =
            std::collections::HashSet::with_capacity_and_hasher(observed.len(), RandomState::default());
        for element in observed {
            present.insert(element.labels.clone());
            self.observe(now_ns, element, &mut transitions);
        }
        let mut active = 0;
        self.alerts.retain(|labels, alert| {
            let before = alert.state;
            let fate = if present.contains(labels) {
                alert.keep_firing_since_ns = None;
                Fate::Active
            } else {
                alert.vanish(now_ns, timing)
            };
            if fate == Fate::Active {
                active += 1;
                alert.ripen(now_ns, timing);
            }
            let to = (fate != Fate::Forgotten).then_some(alert.state);
            // What has been resolved for long is forgotten without a word.
            if to != Some(before) && before != AlertState::Inactive {
                transitions.push(Transition {
                    labels: labels.clone(),
                    from: Some(before),
                    to,
                });
            }
            fate != Fate::Forgotten
        });
        if limit > 0 && active > limit {
            self.alerts.clear();
            return Err(LimitExceeded { found: active });
        }
        Ok(transitions)
    }

    /// Takes over an element's value, or begins a new alert with it.
    fn observe(&mut self, now_ns: i64, element: Observed, transitions: &mut Vec<Transition>) {
        let known = self.alerts.get_mut(&element.labels);
        if let Some(alert) = known.filter(|alert| alert.state != AlertState::Inactive) {
            alert.value = element.value;
            alert.annotations = element.annotations;
            return;
        }
        let alert = ActiveAlert {
            annotations: element.annotations,
            state: AlertState::Pending,
            value: element.value,
            active_at_ns: now_ns,
            fired_at_ns: None,
            resolved_at_ns: None,
            last_sent_at_ns: None,
            keep_firing_since_ns: None,
        };
        let old = self.alerts.insert(element.labels.clone(), alert);
        transitions.push(Transition {
            labels: element.labels,
            from: old.map(|old| old.state),
            to: Some(AlertState::Pending),
        });
    }
}

/// What becomes of an alert in a step.
#[derive(PartialEq, Eq)]
enum Fate {
    Active,
    Resolved,
    Forgotten,
}

impl ActiveAlert {
    /// The condition is gone.
    fn vanish(&mut self, now_ns: i64, timing: &Timing) -> Fate {
        if self.state == AlertState::Firing && timing.keep_firing_ns > 0 {
            let since = *self.keep_firing_since_ns.get_or_insert(now_ns);
            if now_ns.saturating_sub(since) < timing.keep_firing_ns {
                return Fate::Active;
            }
        }
        let resolved_for = self.resolved_at_ns.map(|at| now_ns.saturating_sub(at));
        let forgotten =
            self.state == AlertState::Pending || resolved_for.is_some_and(|ns| ns > RESOLVED_RETENTION_NS);
        if self.state != AlertState::Inactive {
            self.state = AlertState::Inactive;
            self.resolved_at_ns = Some(now_ns);
        }
        if forgotten {
            Fate::Forgotten
        } else {
            Fate::Resolved
        }
    }

    /// Fires when it has been pending for long enough; is pending again when a reload asks for longer.
    fn ripen(&mut self, now_ns: i64, timing: &Timing) {
        let held = now_ns.saturating_sub(self.active_at_ns) >= timing.hold_ns;
        match (self.state, held) {
            (AlertState::Pending, true) => {
                self.state = AlertState::Firing;
                self.fired_at_ns = Some(now_ns);
            }
            (AlertState::Firing, false) => {
                self.state = AlertState::Pending;
                self.fired_at_ns = None;
                self.last_sent_at_ns = None;
                self.keep_firing_since_ns = None;
            }
            _ => {}
        }
    }

    /// Whether it is to be sent at `now_ns`: when it was resolved since it was last sent, or that is long ago.
    pub fn needs_sending(&self, now_ns: i64, resend_delay_ns: i64) -> bool {
        if self.state == AlertState::Pending {
            return false;
        }
        let news = match (self.resolved_at_ns, self.last_sent_at_ns) {
            (Some(resolved), Some(sent)) => resolved > sent,
            (Some(_), None) => true,
            (None, _) => false,
        };
        news || self
            .last_sent_at_ns
            .is_none_or(|sent| sent.saturating_add(resend_delay_ns) < now_ns)
    }
}

//! The alert state machine: pure, driven by what an expression gave and the time at which it was evaluated.

mod unknown;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::labels::Labels;

pub use unknown::Unknown;

/// How long a resolved alert is kept and sent again, so that no Alertmanager misses that it is resolved.
pub const RESOLVED_RETENTION_NS: i64 = 15 * 60 * 1_000_000_000;

/// State of an alert, or of a rule.
///
/// The numbers are those of the journal's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// Of an alert: what would tell is missing. Of a rule: it has such alerts and none that is known to fire, or it was
    /// not evaluated yet.
    Unknown = 0,
    /// Resolved; of a rule, without alerts.
    Inactive = 1,
    /// Its condition holds, but not yet for long enough.
    Pending = 2,
    /// It fires.
    Firing = 3,
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
    /// Where it stands, as far as is known: never unknown.
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
    /// Since when nobody can tell whether its condition holds.
    pub missing_since_ns: Option<i64>,
    /// That this is told, or was until not long ago.
    pub unknown: Option<Box<Unknown>>,
    /// It was there before a restart, and no evaluation has seen it since.
    pub is_restored: bool,
}

/// What an evaluation makes of an alert that its result does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Its condition is gone.
    Gone,
    /// What would tell is missing: the alert stays as it is, and the time does not count.
    Missing,
    /// The same, and it is told, with this reason.
    Unknown(Arc<str>),
}

/// An alert that is due, and what of it.
#[derive(Clone, Copy, Debug)]
pub struct Due<'a> {
    /// Its labels.
    pub labels: &'a Labels,
    /// It.
    pub alert: &'a ActiveAlert,
    /// Itself.
    pub itself: bool,
    /// That it is unknown, or that it is so no more.
    pub unknown: Option<&'a Unknown>,
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
    /// The alerts of which the last step changed more than value and annotations, those that it forgot among them.
    changed: Vec<Labels>,
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

    /// An alert.
    pub fn get(&self, labels: &Labels) -> Option<&ActiveAlert> {
        self.alerts.get(labels)
    }

    /// Puts an alert in the place of what is known of it.
    pub fn insert(&mut self, labels: Labels, alert: ActiveAlert) {
        self.alerts.insert(labels, alert);
    }

    /// Forgets an alert.
    pub fn remove(&mut self, labels: &Labels) {
        self.alerts.remove(labels);
    }

    /// The alerts of which the last step changed more than value and annotations; those that it forgot are not among the
    /// others any more.
    pub fn changed(&self) -> &[Labels] {
        &self.changed
    }

    /// Notes that what was due at `at_ns` is sent; gives it.
    pub fn note_sent(&mut self, at_ns: i64, resend_delay_ns: i64) -> impl Iterator<Item = Due<'_>> {
        self.alerts.iter_mut().filter_map(move |(labels, alert)| {
            let itself = alert.needs_sending(at_ns, resend_delay_ns);
            if itself {
                alert.last_sent_at_ns = Some(at_ns);
            }
            let told = alert.fired_at_ns.is_some();
            let unknown = alert.unknown.as_deref_mut();
            let unknown = unknown.filter(|unknown| told && unknown.needs_sending(at_ns, resend_delay_ns));
            let is_unknown_due = unknown
                .map(|unknown| unknown.last_sent_at_ns = Some(at_ns))
                .is_some();
            let alert = &*alert;
            (itself || is_unknown_due).then(|| Due {
                labels,
                alert,
                itself,
                unknown: alert.unknown.as_deref().filter(|_| is_unknown_due),
            })
        })
    }

    /// Doubts that what was sent last has arrived: it is due again.
    pub(crate) fn doubt_sent(&mut self) {
        for alert in self.alerts.values_mut() {
            alert.last_sent_at_ns = None;
            if let Some(unknown) = &mut alert.unknown {
                // Whether it was ever sent decides whether its end is.
                unknown.last_sent_at_ns = unknown.last_sent_at_ns.map(|_| i64::MIN);
            }
        }
    }

    /// Number of alerts, resolved ones among them.
    pub fn len(&self) -> usize {
        self.alerts.len()
    }

    /// Number of alerts about which nobody can tell.
    pub fn missing(&self) -> usize {
        let alerts = self.alerts.values();
        alerts.filter(|alert| alert.missing_since_ns.is_some()).count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }

    /// The worst state of them: firing, unknown, pending, inactive. Inactive where there are none.
    pub fn worst(&self) -> AlertState {
        let states = || self.alerts.values().map(ActiveAlert::shown_state);
        let worst = states().max().unwrap_or(AlertState::Inactive);
        match worst != AlertState::Firing && states().any(|state| state == AlertState::Unknown) {
            true => AlertState::Unknown,
            false => worst,
        }
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
                &mut alert.missing_since_ns,
            ];
            for time in others.into_iter().flatten() {
                *time = time.saturating_add(by_ns);
            }
            if let Some(unknown) = &mut alert.unknown {
                unknown.since_ns = unknown.since_ns.saturating_add(by_ns);
                for time in [&mut unknown.ended_at_ns, &mut unknown.last_sent_at_ns]
                    .into_iter()
                    .flatten()
                {
                    *time = time.saturating_add(by_ns);
                }
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
        self.step_by(now_ns, observed, timing, limit, |_, _| Absence::Gone)
    }

    /// As [`AlertBook::step`]; `absence` says what it means that a pending or firing alert is not among the elements.
    ///
    /// # Errors
    /// As there.
    pub fn step_by(
        &mut self,
        now_ns: i64,
        observed: Vec<Observed>,
        timing: &Timing,
        limit: usize,
        absence: impl Fn(&Labels, &ActiveAlert) -> Absence,
    ) -> Result<Vec<Transition>, LimitExceeded> {
        let mut transitions = Vec::new();
        self.changed.clear();
        // With those that are present: whether they are new.
        let mut present: HashMap<Labels, bool, RandomState> =
            HashMap::with_capacity_and_hasher(observed.len(), RandomState::default());
        for element in observed {
            let labels = element.labels.clone();
            let is_new = self.observe(now_ns, element, &mut transitions);
            present.insert(labels, is_new);
        }
        let mut active = 0;
        let changed = &mut self.changed;
        self.alerts.retain(|labels, alert| {
            let before = alert.marks();
            let found = present.get(labels);
            let absence = match alert.state == AlertState::Inactive {
                true => Absence::Gone,
                false if found.is_some() => Absence::Gone,
                false => absence(labels, alert),
            };
            let fate = match (found, &absence) {
                (Some(_), _) => alert.seen(now_ns),
                (None, Absence::Gone) => alert.vanish(now_ns, timing),
                (None, Absence::Missing | Absence::Unknown(_)) => {
                    alert.missing_since_ns.get_or_insert(now_ns);
                    Fate::Missing
                }
            };
            alert.tell_unknown(now_ns, absence);
            if matches!(fate, Fate::Active | Fate::Missing) {
                active += 1;
            }
            if fate == Fate::Active {
                alert.ripen(now_ns, timing);
            }
            if found == Some(&true) || fate == Fate::Forgotten || alert.marks() != before {
                changed.push(labels.clone());
            }
            let to = (fate != Fate::Forgotten).then_some(alert.state);
            let from = before.state;
            // What has been resolved for long is forgotten without a word.
            if to != Some(from) && from != AlertState::Inactive {
                transitions.push(Transition {
                    labels: labels.clone(),
                    from: Some(from),
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

    /// Takes over an element's value, or begins a new alert with it; says whether it did that.
    fn observe(&mut self, now_ns: i64, element: Observed, transitions: &mut Vec<Transition>) -> bool {
        let known = self.alerts.get_mut(&element.labels);
        if let Some(alert) = known.filter(|alert| alert.state != AlertState::Inactive) {
            alert.value = element.value;
            alert.annotations = element.annotations;
            return false;
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
            missing_since_ns: None,
            unknown: None,
            is_restored: false,
        };
        let old = self.alerts.insert(element.labels.clone(), alert);
        transitions.push(Transition {
            labels: element.labels,
            from: old.map(|old| old.state),
            to: Some(AlertState::Pending),
        });
        true
    }
}

/// What of an alert a step changes, value and annotations aside.
#[derive(PartialEq, Eq)]
struct Marks {
    state: AlertState,
    active_at_ns: i64,
    keep_firing_since_ns: Option<i64>,
    missing_since_ns: Option<i64>,
    unknown_since_ns: Option<i64>,
    is_unknown: bool,
}

/// What becomes of an alert in a step.
#[derive(PartialEq, Eq)]
enum Fate {
    Active,
    Missing,
    Resolved,
    Forgotten,
}

impl ActiveAlert {
    fn marks(&self) -> Marks {
        Marks {
            state: self.state,
            active_at_ns: self.active_at_ns,
            keep_firing_since_ns: self.keep_firing_since_ns,
            missing_since_ns: self.missing_since_ns,
            unknown_since_ns: self.unknown.as_ref().map(|unknown| unknown.since_ns),
            is_unknown: self.is_unknown(),
        }
    }

    /// The condition holds.
    fn seen(&mut self, now_ns: i64) -> Fate {
        self.keep_firing_since_ns = None;
        self.is_restored = false;
        self.end_missing(now_ns);
        Fate::Active
    }

    /// Somebody can tell again whether the condition holds. Time in which nobody could does not count as pending.
    fn end_missing(&mut self, now_ns: i64) {
        if let Some(since_ns) = self.missing_since_ns.take()
            && self.state == AlertState::Pending
        {
            let unseen_ns = now_ns.saturating_sub(since_ns).max(0);
            self.active_at_ns = self.active_at_ns.saturating_add(unseen_ns);
        }
    }

    /// The condition is gone.
    fn vanish(&mut self, now_ns: i64, timing: &Timing) -> Fate {
        self.missing_since_ns = None;
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

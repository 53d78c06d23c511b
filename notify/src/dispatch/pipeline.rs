//! What becomes of a group when it is looked at: inhibition, intervals, silences; what is left is told (`telling`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::clock::Clock;
use model::labels::Labels;
use receivers::{Integration, Templates};
use supervise::Supervisor;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::groups::{Look, MemberState, Seen};
use super::telling::Knowledge;
use crate::alert::{StoredAlert, by_job};
use crate::history::History;
use crate::inhibit::Inhibitor;
use crate::interval::NamedIntervals;
use crate::lease::Seat;
use crate::log::NotificationLog;
use crate::observer::{Decision, Observer, Outcome, Suppressor};
use crate::route::{Route, Tree};
use crate::silence::{MuteCache, Silences};
use crate::stats::Stats;

/// The least time that telling may take, however short the group's interval.
const TELLING_MIN: Duration = Duration::from_secs(10);
/// So many alerts are looked at before others have their turn on the thread.
const ALERTS_A_TURN: usize = 256;

/// What lasts from one configuration to the next.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) silences: Arc<Silences>,
    pub(crate) mutes: Arc<MuteCache>,
    pub(crate) log: Arc<NotificationLog>,
    pub(crate) stats: Stats,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) history: Option<Arc<History>>,
    /// Who of several servers sends.
    pub(crate) seat: Arc<Seat>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) supervisor: Supervisor,
    /// Where time is moved by hand.
    pub(crate) hand: Option<Hand>,
}

/// A moment of waiting, and what time of day it stands for: from there on both go by the clock, which somebody moves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hand {
    pub(crate) origin: Instant,
    pub(crate) origin_ms: i64,
}

impl Hand {
    /// The moment that a time of day stands for.
    pub(crate) fn instant(&self, at_ms: i64) -> Instant {
        self.origin + Duration::from_millis(u64::try_from(at_ms - self.origin_ms).unwrap_or(0))
    }

    /// The time of day that a moment stands for.
    pub(crate) fn time_ms(&self, at: Instant) -> i64 {
        let since = at.saturating_duration_since(self.origin).as_millis();
        self.origin_ms
            .saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

impl Surroundings {
    /// Now, as waits are measured.
    pub(crate) fn instant(&self) -> Instant {
        match &self.hand {
            Some(hand) => hand.instant(self.clock.now_ms()),
            None => Instant::now(),
        }
    }

    /// The time of day.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// What a configuration makes of alerts.
pub(crate) struct Pipeline {
    pub(crate) tree: Tree,
    /// Of the receivers that the tree names.
    pub(crate) integrations: HashMap<String, Vec<Integration>>,
    pub(crate) intervals: HashMap<String, NamedIntervals>,
    pub(crate) inhibitor: Inhibitor,
    pub(crate) templates: Templates,
    pub(crate) around: Surroundings,
}

/// One look at a group on its way through the pipeline.
pub(super) struct Way<'a> {
    pub(super) look: &'a Look,
    pub(super) route: &'a Route,
    /// When it began, by the time of day.
    pub(super) at: Timestamp,
    /// Those that nothing has suppressed so far.
    pub(super) alerts: Vec<Arc<StoredAlert>>,
    states: HashMap<Labels, MemberState>,
}

impl<'a> Way<'a> {
    pub(super) fn new(look: &'a Look, route: &'a Route, at: Timestamp) -> Self {
        Way {
            look,
            route,
            at,
            alerts: look.alerts.clone(),
            states: HashMap::with_capacity(look.alerts.len()),
        }
    }
}

impl Pipeline {
    /// How long telling a group of a node may take.
    pub(super) fn patience(&self, route: usize) -> Duration {
        self.tree.routes()[route].options.group_interval.max(TELLING_MIN)
    }

    /// Looks at a group, and tells whoever has to be told until `deadline` or until `stop` is cancelled.
    pub(super) async fn run(&self, look: &Look, deadline: Instant, stop: &CancellationToken) -> Seen {
        let at = self.around.now();
        let mut way = Way::new(look, &self.tree.routes()[look.route], at);
        way.alerts.sort_by(|a, b| by_job(&a.labels, &b.labels));
        let resolved: Vec<_> = way
            .alerts
            .iter()
            .filter(|alert| alert.is_resolved(at))
            .cloned()
            .collect();
        if let Some(history) = &self.around.history {
            // Also those that nobody has said the end of.
            resolved.iter().for_each(|alert| history.alert(alert, at));
        }
        let mut seen = Seen::default();
        self.inhibit(&mut way).await;
        if !way.alerts.is_empty() {
            seen.muted_by = Some(self.mute(&mut way));
        }
        self.silence(&mut way).await;
        let knowledge = match way.alerts.is_empty() {
            true => Knowledge::All,
            false => self.tell(&way, deadline, stop).await,
        };
        seen.is_told = knowledge == Knowledge::All;
        seen.is_held_back = knowledge == Knowledge::HeldBack;
        if seen.is_told {
            seen.done_with = resolved;
        }
        seen.states = way.states.into_iter().collect();
        seen
    }

    async fn inhibit(&self, way: &mut Way<'_>) {
        let before = way.alerts.len();
        let mut left = Vec::with_capacity(before);
        for (at, alert) in std::mem::take(&mut way.alerts).into_iter().enumerate() {
            take_turns(at).await;
            match self.inhibitor.inhibiting(&alert.labels, way.at) {
                Some(source) => {
                    way.states.insert(alert.labels.clone(), MemberState::Suppressed);
                    let source = &source.labels;
                    self.suppressed(way, &alert.labels, Suppressor::Inhibition { source });
                }
                None => {
                    way.states.insert(alert.labels.clone(), MemberState::Active);
                    left.push(alert);
                }
            }
        }
        self.around.stats.suppressed("inhibition", before - left.len());
        way.alerts = left;
    }

    /// Takes all alerts away where the node is mute; gives the names of the intervals that make it so.
    fn mute(&self, way: &mut Way<'_>) -> Vec<String> {
        let route = way.route;
        let options = &route.options;
        let active = &options.active_time_intervals;
        if !active.is_empty() && self.inside(active, way.at).is_empty() {
            self.all_suppressed(way, &Suppressor::Inactive { intervals: active });
            return active.clone();
        }
        let muted_by = self.inside(&options.mute_time_intervals, way.at);
        if !muted_by.is_empty() {
            self.all_suppressed(way, &Suppressor::Muted { intervals: &muted_by });
        }
        muted_by
    }

    /// Names of those intervals that an instant is in, once for each time that it is.
    fn inside(&self, names: &[String], at: Timestamp) -> Vec<String> {
        let times = |name: &String| self.intervals.get(name).map_or(0, |named| named.count(at));
        names
            .iter()
            .flat_map(|name| std::iter::repeat_n(name.clone(), times(name)))
            .collect()
    }

    fn all_suppressed(&self, way: &mut Way<'_>, by: &Suppressor<'_>) {
        self.around.stats.suppressed(by.as_str(), way.alerts.len());
        for alert in &std::mem::take(&mut way.alerts) {
            self.suppressed(way, &alert.labels, by.clone());
        }
    }

    async fn silence(&self, way: &mut Way<'_>) {
        let before = way.alerts.len();
        let mut left = Vec::with_capacity(before);
        for (at, alert) in std::mem::take(&mut way.alerts).into_iter().enumerate() {
            take_turns(at).await;
            let ids = self.silencing(&alert.labels, way.at);
            if ids.is_empty() {
                left.push(alert);
                continue;
            }
            way.states.insert(alert.labels.clone(), MemberState::Suppressed);
            self.suppressed(way, &alert.labels, Suppressor::Silences { ids: &ids });
        }
        self.around.stats.suppressed("silence", before - left.len());
        way.alerts = left;
    }

    /// Ids of the active silences that an alert with these labels meets.
    pub(crate) fn silencing(&self, labels: &Labels, at: Timestamp) -> Vec<String> {
        self.around.mutes.silencing(&self.around.silences, labels, at)
    }

    fn suppressed(&self, way: &Way<'_>, alert: &Labels, by: Suppressor<'_>) {
        self.observe(way, Outcome::Suppressed { alert, by });
    }

    pub(super) fn observe(&self, way: &Way<'_>, outcome: Outcome<'_>) {
        let decision = Decision {
            at: way.at,
            group_key: &way.look.key,
            group_labels: &way.look.labels,
            route_id: &way.route.id,
            receiver: &way.route.options.receiver,
            outcome,
        };
        if let Some(history) = &self.around.history {
            history.decided(&decision);
        }
        if let Some(observer) = &self.around.observer {
            observer.decided(&decision);
        }
    }
}

/// Lets others have their turn now and then.
async fn take_turns(at: usize) {
    if at > 0 && at.is_multiple_of(ALERTS_A_TURN) {
        tokio::task::yield_now().await;
    }
}

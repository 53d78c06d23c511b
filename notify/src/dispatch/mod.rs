//! Dispatching: alerts into groups, and every group looked at when its time has come.
//!
//! One task waits for the group that is due next and starts a task for each that is; a look therefore never waits for
//! another, and what hangs in one group hangs there alone. How long groups wait is time that goes by
//! ([`tokio::time::Instant`]); a clock that is set moves none of them.
//!
//! A dispatcher belongs to one configuration. With the next one a new dispatcher takes over all alerts, and the old one
//! begins nothing more: what it has begun it may finish for some seconds. Both may then want to tell the same integration
//! of the same group; the log of notifications lets one go after the other.

mod groups;
mod pipeline;
mod telling;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::labels::Labels;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alert::StoredAlert;
use crate::route::Route;
pub(crate) use groups::MemberState;
use groups::{Groups, Look, Seen};
pub(crate) use pipeline::{Hand, Pipeline, Surroundings};

/// How long a dispatcher that is to end waits for what it has begun.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// Groups of one configuration.
pub(crate) struct Dispatcher {
    pub(crate) pipeline: Pipeline,
    groups: Mutex<Groups>,
    /// Before this moment nothing is looked at.
    begins: Instant,
    /// A group may be due earlier than it seemed.
    sooner: Notify,
    looks: TaskTracker,
    /// Nothing more is begun.
    closing: CancellationToken,
    /// What was begun is broken off.
    breaking_off: CancellationToken,
}

/// A group as somebody sees it who asks.
pub(crate) struct GroupSeen<'d> {
    pub(crate) route: &'d Route,
    pub(crate) labels: Labels,
    pub(crate) key: Arc<str>,
    pub(crate) alerts: Vec<Arc<StoredAlert>>,
    pub(crate) muted_by: Vec<String>,
}

impl Dispatcher {
    /// A dispatcher without alerts, which looks at nothing before `begins` and at nothing until [`Dispatcher::start`].
    pub(crate) fn new(pipeline: Pipeline, groups_max: usize, begins: Instant) -> Arc<Self> {
        Arc::new(Dispatcher {
            pipeline,
            groups: Mutex::new(Groups::new(groups_max)),
            begins,
            sooner: Notify::new(),
            looks: TaskTracker::new(),
            closing: CancellationToken::new(),
            breaking_off: CancellationToken::new(),
        })
    }

    /// Begins to look at groups. Must be called inside a runtime.
    pub(crate) fn start(self: &Arc<Self>) {
        let dispatcher = self.clone();
        let supervisor = &self.pipeline.around.supervisor;
        supervisor.announce("notification");
        supervisor.spawn("dispatcher", &self.closing, move || dispatcher.clone().run());
    }

    /// Puts alerts into their groups, all of them before any group is looked at.
    pub(crate) fn insert(&self, alerts: &[Arc<StoredAlert>]) {
        let stats = &self.pipeline.around.stats;
        let routes = self.pipeline.tree.routes();
        let mut places = Vec::with_capacity(alerts.len());
        for alert in alerts {
            let begin = std::time::Instant::now();
            for number in self.pipeline.tree.matching(&alert.labels) {
                places.push((number, routes[number].options.group_labels(&alert.labels), alert));
            }
            stats.processing.observe(begin.elapsed().as_secs_f64());
        }
        let (now, time) = (self.pipeline.around.instant(), self.pipeline.around.now());
        let mut refused = 0_u64;
        let mut groups = self.groups.lock();
        for (number, labels, alert) in places {
            if groups
                .insert(number, &routes[number], labels, alert, now, time)
                .is_err()
            {
                refused += 1;
            }
        }
        let count = groups.len();
        drop(groups);
        stats.groups.set(count as f64);
        stats.group_limit_reached.add_count(refused);
        if refused > 0 {
            tracing::error!(
                groups = count,
                alerts = refused,
                "Too many aggregation groups: alerts are in none"
            );
        }
        self.sooner.notify_one();
    }

    async fn run(self: Arc<Self>) {
        tokio::select! {
            () = self.closing.cancelled() => return,
            () = tokio::time::sleep_until(self.begins) => {}
        }
        let mut turns = self.pipeline.around.seat.turns();
        loop {
            let next = self.begin_due();
            let wait = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                () = self.sooner.notified() => {}
                Ok(()) = turns.changed() => self.groups.lock().hurry(Instant::now()),
                () = wait => {}
            }
        }
    }

    /// Begins a look at each group that is due; gives when the next one is.
    fn begin_due(self: &Arc<Self>) -> Option<Instant> {
        let interval = |route: usize| self.pipeline.tree.routes()[route].options.group_interval;
        loop {
            let now = Instant::now();
            let mut groups = self.groups.lock();
            let Some((number, look)) = groups.begin(now, interval) else {
                return groups.next_due();
            };
            drop(groups);
            let (dispatcher, deadline) = (self.clone(), now + self.pipeline.patience(look.route));
            self.looks
                .spawn(async move { dispatcher.look_at(number, look, deadline).await });
        }
    }

    /// Where time is moved by hand: looks at each group that is due up to `until`, one after the other, when `set` has moved
    /// the clock to its time.
    pub(crate) async fn look_by_hand(self: &Arc<Self>, until: Instant, mut set: impl FnMut(Instant)) {
        let interval = |route: usize| self.pipeline.tree.routes()[route].options.group_interval;
        loop {
            let due = self.groups.lock().next_due();
            let Some(due) = due.filter(|due| *due <= until) else {
                return;
            };
            set(due);
            let begun = self.groups.lock().begin(due, interval);
            let Some((number, look)) = begun else { return };
            // Telling takes its time by another clock.
            let deadline = Instant::now() + self.pipeline.patience(look.route);
            self.clone().look_at(number, look, deadline).await;
        }
    }

    async fn look_at(self: Arc<Self>, number: u64, look: Look, deadline: Instant) {
        let looking = self.pipeline.run(&look, deadline, &self.breaking_off);
        let supervisor = &self.pipeline.around.supervisor;
        // After a panic the group is as it was, and is looked at again in its time.
        let seen = supervisor
            .round("notification", looking)
            .await
            .unwrap_or_else(|_| Seen::default());
        let is_our_turn = seen.is_held_back && self.pipeline.around.seat.permit().is_some();
        let mut groups = self.groups.lock();
        groups.finish(number, seen, is_our_turn.then(Instant::now));
        let count = groups.len();
        drop(groups);
        // The groups of a dispatcher that ends are no longer those that count.
        if !self.closing.is_cancelled() {
            self.pipeline.around.stats.groups.set(count as f64);
        }
        self.sooner.notify_one();
    }

    /// Begins nothing more, lets what was begun end, and after some seconds breaks it off.
    pub(crate) async fn stop(&self) {
        self.close();
        self.looks.close();
        if tokio::time::timeout(DRAIN_PATIENCE, self.looks.wait())
            .await
            .is_err()
        {
            self.breaking_off.cancel();
            self.looks.wait().await;
        }
    }

    /// Begins nothing more.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Whether groups are being looked at.
    pub(crate) fn is_running(&self) -> bool {
        !self.closing.is_cancelled() && Instant::now() >= self.begins
    }

    /// Groups of the nodes that `wants` says, with their alerts.
    pub(crate) fn groups(&self, wants: impl Fn(&Route) -> bool) -> Vec<GroupSeen<'_>> {
        let routes = self.pipeline.tree.routes();
        let groups = self.groups.lock();
        let wanted = groups.iter().filter(|group| wants(&routes[group.route]));
        wanted
            .map(|group| GroupSeen {
                route: &routes[group.route],
                labels: group.labels.clone(),
                key: group.key.clone(),
                alerts: group
                    .members
                    .values()
                    .map(|member| member.alert.clone())
                    .collect(),
                muted_by: group.muted_by.clone(),
            })
            .collect()
    }

    /// The labels that a group's node adds to it.
    pub(crate) fn route_labels(&self, group: &GroupSeen<'_>, now: Timestamp) -> BTreeMap<String, String> {
        let look = Look {
            route: 0,
            labels: group.labels.clone(),
            key: group.key.clone(),
            alerts: group.alerts.clone(),
        };
        self.pipeline.route_labels(group.route, &look, now)
    }

    /// Of the alerts that are not resolved, how many are in which state: with the group's key, group by group, or once
    /// for each alert with the gravest of its states.
    pub(crate) fn count_states(&self, now: Timestamp, by_group: bool) -> Vec<(String, [usize; 3])> {
        let groups = self.groups.lock();
        let mut gravest: HashMap<&Labels, MemberState> = HashMap::new();
        let mut counts = Vec::new();
        for group in groups.iter() {
            let mut count = [0; 3];
            for (labels, member) in &group.members {
                if member.alert.is_resolved(now) {
                    continue;
                }
                count[member.state as usize] += 1;
                let state = gravest.entry(labels).or_default();
                *state = (*state).max(member.state);
            }
            if by_group {
                counts.push((group.key.to_string(), count));
            }
        }
        if !by_group {
            let mut count = [0; 3];
            for state in gravest.into_values() {
                count[state as usize] += 1;
            }
            counts.push((String::new(), count));
        }
        counts
    }
}

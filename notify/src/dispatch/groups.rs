//! The groups: what is in them, and when each is looked at next. Pure: it is told what time it is.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::labels::Labels;
use tokio::time::Instant;

use crate::alert::StoredAlert;
use crate::log::after;
use crate::route::Route;

/// All groups of a routing tree.
#[derive(Default)]
pub(super) struct Groups {
    by_place: HashMap<(usize, Labels), u64>,
    groups: HashMap<u64, Group>,
    due: BTreeSet<(Instant, u64)>,
    /// Numbers are given once.
    made: u64,
    /// 0 for any number.
    max: usize,
}

/// Alerts that are told of together.
pub(super) struct Group {
    /// Number of the node in the tree.
    pub(super) route: usize,
    /// What its alerts have in common.
    pub(super) labels: Labels,
    pub(super) key: Arc<str>,
    pub(super) members: HashMap<Labels, Member>,
    /// Names of the intervals because of which it was mute when it was last looked at.
    pub(super) muted_by: Vec<String>,
    /// Whether something was left to who holds the lease, when it was last looked at.
    is_held_back: bool,
    /// When it is looked at next; a look that takes longer is followed by the next at once.
    next: Instant,
}

/// An alert of a group.
pub(super) struct Member {
    pub(super) alert: Arc<StoredAlert>,
    pub(super) state: MemberState,
}

/// What was found of an alert when its group was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MemberState {
    /// It has not been looked at.
    #[default]
    Unprocessed,
    /// It is told of.
    Active,
    /// It is inhibited or silenced.
    Suppressed,
}

/// What is looked at.
pub(super) struct Look {
    pub(super) route: usize,
    pub(super) labels: Labels,
    pub(super) key: Arc<str>,
    /// In no order.
    pub(super) alerts: Vec<Arc<StoredAlert>>,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Seen {
    /// Alerts that need not be told of again, if they are still as they were. None where telling failed.
    pub(super) done_with: Vec<Arc<StoredAlert>>,
    /// Whether all who had to be told were.
    pub(super) is_told: bool,
    /// Whether something was left to who holds the lease.
    pub(super) is_held_back: bool,
    pub(super) states: Vec<(Labels, MemberState)>,
    /// `None` where intervals were not asked.
    pub(super) muted_by: Option<Vec<String>>,
}

/// There are too many groups for another one.
pub(super) struct TooManyGroups;

impl Groups {
    pub(super) fn new(max: usize) -> Self {
        Groups {
            max,
            ..Groups::default()
        }
    }

    /// Puts an alert into its group at a node, which is made where there is none.
    pub(super) fn insert(
        &mut self,
        number: usize,
        route: &Route,
        labels: Labels,
        alert: &Arc<StoredAlert>,
        now: Instant,
        time: Timestamp,
    ) -> Result<(), TooManyGroups> {
        let place = (number, labels);
        if let Some(group) = self.by_place.get(&place).and_then(|at| self.groups.get_mut(at)) {
            group.put(alert);
            return Ok(());
        }
        if self.max > 0 && self.groups.len() >= self.max {
            return Err(TooManyGroups);
        }
        let wait = route.options.group_wait;
        // Whoever has fired for so long needs no more company; so it is after a restart.
        let is_old = after(alert.starts_at, wait) < time;
        let mut group = Group {
            route: number,
            key: Arc::from(route.group_key(&place.1)),
            labels: place.1.clone(),
            members: HashMap::new(),
            muted_by: Vec::new(),
            is_held_back: false,
            next: if is_old { now } else { now + wait },
        };
        group.put(alert);
        self.made += 1;
        self.due.insert((group.next, self.made));
        self.groups.insert(self.made, group);
        self.by_place.insert(place, self.made);
        Ok(())
    }

    /// When the next group has to be looked at.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(next, _)| *next)
    }

    /// A group that has to be looked at now, with what is to be looked at; it is looked at next after `interval` of its
    /// node, which `interval` gives.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        interval: impl Fn(usize) -> Duration,
    ) -> Option<(u64, Look)> {
        let first = *self.due.first().filter(|(next, _)| *next <= now)?;
        self.due.remove(&first);
        let group = self.groups.get_mut(&first.1)?;
        group.next = now + interval(group.route);
        let look = Look {
            route: group.route,
            labels: group.labels.clone(),
            key: group.key.clone(),
            alerts: group
                .members
                .values()
                .map(|member| member.alert.clone())
                .collect(),
        };
        Some((first.1, look))
    }

    /// What was left to somebody else is looked at now.
    pub(super) fn hurry(&mut self, now: Instant) {
        for (number, group) in &mut self.groups {
            // One that is being looked at is not in the list; who looks at it hears of this.
            if group.is_held_back && self.due.remove(&(group.next, *number)) {
                group.next = now;
                self.due.insert((now, *number));
            }
        }
    }

    /// Takes note of what came of a look; `hurry` says when what was held back is looked at again, if it must not wait. A
    /// group of which nothing is left goes.
    pub(super) fn finish(&mut self, number: u64, seen: Seen, hurry: Option<Instant>) {
        let Some(group) = self.groups.get_mut(&number) else {
            return;
        };
        for (labels, state) in seen.states {
            if let Some(member) = group.members.get_mut(&labels) {
                member.state = state;
            }
        }
        if let Some(muted_by) = seen.muted_by {
            group.muted_by = muted_by;
        }
        for alert in seen.done_with {
            let member = group.members.get(&alert.labels);
            // One that has fired again meanwhile is another.
            if member.is_some_and(|member| Arc::ptr_eq(&member.alert, &alert)) {
                group.members.remove(&alert.labels);
            }
        }
        if seen.is_told && group.members.is_empty() {
            let group = self.groups.remove(&number).expect("found above");
            self.by_place.remove(&(group.route, group.labels));
            return;
        }
        group.is_held_back = seen.is_held_back;
        if let Some(now) = hurry.filter(|_| seen.is_held_back) {
            group.next = now;
        }
        self.due.insert((group.next, number));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }
}

impl Group {
    fn put(&mut self, alert: &Arc<StoredAlert>) {
        let state = self.members.get(&alert.labels).map(|member| member.state);
        let member = Member {
            alert: alert.clone(),
            state: state.unwrap_or_default(),
        };
        self.members.insert(alert.labels.clone(), member);
    }
}

#[cfg(test)]
mod tests;

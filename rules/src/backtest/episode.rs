//! What became of alerts, one after the other.

use std::collections::HashMap;

use model::labels::Labels;

use crate::state::{ActiveAlert, AlertBook, AlertState};

const MS_NS: i64 = 1_000_000;
/// Most episodes of a rule that are kept; more are only counted.
const EPISODES_MAX: usize = 100_000;

/// An alert from when it became pending until it was over.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Its labels.
    pub labels: Labels,
    /// Its annotations when it began to fire; when it was last pending, if it never did.
    pub annotations: Labels,
    /// Its expression's value at the same time; 0 for a histogram.
    pub value: f64,
    /// Since when its condition held, in milliseconds since the epoch.
    pub pending_at_ms: i64,
    /// When it began to fire; absent where it was over before.
    pub fired_at_ms: Option<i64>,
    /// When it was over; absent where it was not, at the end of the backtest.
    pub ended_at_ms: Option<i64>,
    /// How it ended.
    pub end: End,
}

/// How an episode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It did not: the alert is pending or fires at the end of the backtest.
    Open,
    /// Its condition was gone, and `keep_firing_for` over.
    Resolved,
    /// Its rule had more alerts than its group's `limit`, and all were forgotten: nobody is told that such an alert is over.
    Forgotten,
}

impl End {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            End::Open => "open",
            End::Resolved => "resolved",
            End::Forgotten => "forgotten",
        }
    }
}

/// The episodes of a rule.
#[derive(Debug, Default)]
pub(super) struct Episodes {
    open: HashMap<Labels, Episode>,
    over: Vec<Episode>,
    /// How many there were, those that are not kept among them.
    pub(super) counts: Counts,
}

/// How many episodes there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub episodes: u64,
    /// Those in which the alert fired.
    pub fired: u64,
    /// Those that are only counted: there are more than are kept.
    pub left_out: u64,
}

impl Episodes {
    /// Takes in the alerts as the evaluation at `at_ns` left them; where there were `too_many`, it has forgotten all.
    pub(super) fn follow(&mut self, at_ns: i64, book: &AlertBook, too_many: bool) {
        for (labels, alert) in book.iter() {
            self.look_at(labels, alert);
        }
        let end = match too_many {
            true => End::Forgotten,
            false => End::Resolved,
        };
        let is_gone = |labels: &Labels, _: &mut Episode| book.get(labels).is_none();
        let gone: Vec<_> = self.open.extract_if(is_gone).collect();
        for (_, episode) in gone {
            self.close(episode, at_ns.div_euclid(MS_NS), end);
        }
    }

    fn look_at(&mut self, labels: &Labels, alert: &ActiveAlert) {
        let is_active = alert.state != AlertState::Inactive;
        if !self.open.contains_key(labels) {
            if !is_active {
                return;
            }
            self.counts.episodes += 1;
            let episode = Episode {
                labels: labels.clone(),
                annotations: alert.annotations.clone(),
                value: alert.value,
                pending_at_ms: alert.active_at_ns.div_euclid(MS_NS),
                fired_at_ms: None,
                ended_at_ms: None,
                end: End::Open,
            };
            self.open.insert(labels.clone(), episode);
        }
        let Some(episode) = self.open.get_mut(labels) else {
            return;
        };
        if is_active && episode.fired_at_ms.is_none() {
            episode.annotations = alert.annotations.clone();
            episode.value = alert.value;
            episode.fired_at_ms = alert.fired_at_ns.map(|at_ns| at_ns.div_euclid(MS_NS));
            self.counts.fired += u64::from(episode.fired_at_ms.is_some());
        }
        let over = alert.resolved_at_ns.filter(|_| !is_active);
        if let Some(at_ns) = over
            && let Some(episode) = self.open.remove(labels)
        {
            self.close(episode, at_ns.div_euclid(MS_NS), End::Resolved);
        }
    }

    fn close(&mut self, episode: Episode, at_ms: i64, end: End) {
        self.keep(Episode {
            ended_at_ms: Some(at_ms),
            end,
            ..episode
        });
    }

    fn keep(&mut self, episode: Episode) {
        match self.over.len() < EPISODES_MAX {
            true => self.over.push(episode),
            false => self.counts.left_out += 1,
        }
    }

    /// The episodes in order of their beginnings, and how many there were.
    pub(super) fn finish(mut self) -> (Vec<Episode>, Counts) {
        for (_, episode) in std::mem::take(&mut self.open) {
            self.keep(episode);
        }
        self.over.sort_by(|a, b| {
            let begin = a.pending_at_ms.cmp(&b.pending_at_ms);
            begin.then_with(|| a.labels.cmp(&b.labels))
        });
        (self.over, self.counts)
    }
}

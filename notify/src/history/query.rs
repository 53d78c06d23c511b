//! Asking for events.

use jiff::Timestamp;
use model::regex::Regex;

use super::event::{self, Event, EventKind, Pairs, What};
use super::segments::Segments;
use crate::matcher::Matchers;

/// Most bytes of segments that one question reads; where that is not enough, the next one goes on.
pub(super) const SCAN_BYTES_MAX: u64 = 32 << 20;
/// Most bytes of events in one answer, as they are stored, as far as there is no single longer one.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// Which events are asked for.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// What an alert of the event is like (see [`Matchers::filter`]); of silences, which matchers they have.
    pub matchers: Matchers,
    /// Those of receivers of this name; [`Regex::anchored_in_line`].
    pub receiver: Option<Regex>,
    /// Those of these kinds.
    pub kinds: Vec<EventKind>,
    /// Not older than this.
    pub start: Option<Timestamp>,
    /// Not younger than this.
    pub end: Option<Timestamp>,
    /// Those with lower numbers: where an earlier answer ended.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// Events of an answer, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryPage {
    /// The events; perhaps fewer than were asked for, although there are more.
    pub events: Vec<Event>,
    /// What to ask for as [`HistoryQuery::before`] for those that follow; `None` where none do.
    pub next: Option<u64>,
    /// What could not be read, and why.
    pub warnings: Vec<String>,
}

/// All events.
impl Default for HistoryQuery {
    fn default() -> Self {
        HistoryQuery {
            matchers: Matchers::default(),
            receiver: None,
            kinds: EventKind::ALL.to_vec(),
            start: None,
            end: None,
            before: None,
            limit: usize::MAX,
        }
    }
}

impl HistoryQuery {
    /// Whether an event is asked for.
    fn wants(&self, time: Timestamp, what: &What) -> bool {
        self.kinds.contains(&what.kind())
            && self.start.is_none_or(|start| start <= time)
            && self.end.is_none_or(|end| time <= end)
            && self
                .receiver
                .as_ref()
                .is_none_or(|name| receiver(what).is_some_and(|receiver| name.is_match(receiver)))
            && self.wants_labels(what)
    }

    fn wants_labels(&self, what: &What) -> bool {
        if self.matchers.is_empty() {
            return true;
        }
        let is_like = |labels: &Pairs| self.matchers.filter(|name| labels.get(name).cloned());
        match what {
            What::Alert(change) => is_like(&change.labels),
            What::Notification(notified) => notified.alerts.iter().any(|alert| is_like(&alert.labels)),
            What::Suppressed(suppression) => is_like(&suppression.labels),
            // As where silences are listed: each matcher is one of its own.
            What::Silence(change) => self
                .matchers
                .iter()
                .all(|wanted| change.matchers.contains(&wanted.to_string())),
        }
    }
}

fn receiver(what: &What) -> Option<&str> {
    match what {
        What::Notification(notified) => Some(&notified.receiver),
        What::Suppressed(suppression) => Some(&suppression.receiver),
        What::Alert(_) | What::Silence(_) => None,
    }
}

/// Looks for events, segment by segment from the newest on. Not for the network's threads.
pub(super) fn ask(segments: &Segments, query: &HistoryQuery, scan_bytes_max: u64) -> HistoryPage {
    let mut page = HistoryPage::default();
    let (mut end, mut scanned, mut taken) = (query.before.unwrap_or(u64::MAX), 0, 0);
    let (start_ms, end_ms) = (
        query.start.map_or(i64::MIN, Timestamp::as_millisecond),
        query.end.map_or(i64::MAX, Timestamp::as_millisecond),
    );
    for segment in segments.list().into_iter().rev() {
        if segment.first_id >= end {
            continue;
        }
        // Events are in the order of their numbers; that of their times may have been set back by a clock.
        let is_outside = segment.newest_ms < start_ms || segment.oldest_ms > end_ms;
        if is_outside {
            end = segment.first_id;
            continue;
        }
        if scanned >= scan_bytes_max {
            page.next = Some(end);
            return page;
        }
        let (events, bytes) = segments.read(segment.first_id, end).unwrap_or_else(|error| {
            page.warnings.push(error.to_string());
            Default::default()
        });
        scanned += bytes;
        for (id, bytes) in events.into_iter().rev() {
            let Some((time, what)) = event::decode(&bytes) else {
                continue;
            };
            if !query.wants(time, &what) {
                continue;
            }
            taken += bytes.len();
            let is_full = page.events.len() >= query.limit || taken > PAGE_BYTES_MAX;
            if is_full && !page.events.is_empty() {
                page.next = page.events.last().map(|last| last.id);
                return page;
            }
            page.events.push(Event { id, time, what });
        }
        end = segment.first_id;
    }
    page
}

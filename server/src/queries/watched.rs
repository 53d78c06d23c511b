//! Queries that wait or run, for people to look at and to stop, and those of requests that ended last.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use model::clock::Clock;
use parking_lot::Mutex;
use promql::engine::{CancelHandle, EvalTime, QueryError, QueryStats, QueryWatch};
use tokio_util::sync::CancellationToken;

use super::{Origin, QueryTimes};

/// Queries that have ended and are still told of.
const RECENT_MAX: usize = 100;
/// Bytes of a query's text that are kept.
const TEXT_BYTES_MAX: usize = 4096;

/// How a query is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Instant,
    Range,
    Rule,
}

/// How far a query has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Queued,
    Running,
    Done,
    Failed,
}

/// What is told of a query.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: u64,
    /// As much of its text as is kept.
    pub(crate) text: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) stage: Stage,
    /// Who asks: an address, or a group of rules.
    pub(crate) from: Arc<str>,
    /// When it came, in milliseconds since the epoch.
    pub(crate) came_ms: i64,
    /// How long it has waited.
    pub(crate) queued: Duration,
    /// How long it has run.
    pub(crate) ran: Duration,
    /// Bytes that it holds, or has held at most.
    pub(crate) bytes: usize,
    /// Most samples that it has held.
    pub(crate) samples: usize,
    pub(crate) error: Option<Arc<str>>,
    /// The times that it asks for, once it runs.
    pub(crate) time: Option<EvalTime>,
}

/// Why a query is not stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StopError {
    /// It has ended, or never was.
    #[error("no query {0} waits or runs")]
    NotThere(u64),
    /// It is a rule's.
    #[error("query {0} is a rule's: it ends by itself, or with its timeout")]
    OfRule(u64),
}

/// All of them.
pub(super) struct WatchedQueries {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    current: BTreeMap<u64, Arc<Entry>>,
    recent: VecDeque<Seen>,
}

struct Entry {
    text: Arc<str>,
    kind: Kind,
    from: Arc<str>,
    came_ms: i64,
    came: Instant,
    /// Ends its waiting.
    stop: CancellationToken,
    begun: OnceLock<Begun>,
}

struct Begun {
    at: Instant,
    time: EvalTime,
    cancel: CancelHandle,
    watch: QueryWatch,
}

/// A query that is told of, until this is dropped.
pub(super) struct Ticket {
    queries: Arc<WatchedQueries>,
    id: u64,
    entry: Arc<Entry>,
}

impl WatchedQueries {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        WatchedQueries {
            clock,
            state: Mutex::default(),
        }
    }

    /// A query has come.
    pub(super) fn enter(self: &Arc<Self>, text: &str, origin: &Origin) -> Ticket {
        let end = text.floor_char_boundary(TEXT_BYTES_MAX);
        let (kind, from) = match origin {
            Origin::Request { client, path, .. } => match path.ends_with("/query_range") {
                true => (Kind::Range, client.as_str().into()),
                false => (Kind::Instant, client.as_str().into()),
            },
            Origin::Rule { file, group } => (Kind::Rule, format!("{file}, {group}").into()),
        };
        let entry = Arc::new(Entry {
            text: text[..end].into(),
            kind,
            from,
            came_ms: self.clock.now_ms(),
            came: Instant::now(),
            stop: CancellationToken::new(),
            begun: OnceLock::new(),
        });
        let mut state = self.state.lock();
        state.last_id += 1;
        let id = state.last_id;
        state.current.insert(id, entry.clone());
        drop(state);
        Ticket {
            queries: self.clone(),
            id,
            entry,
        }
    }

    /// Those that wait or run, the oldest first, and then those that ended last, the newest first.
    pub(super) fn list(&self) -> Vec<Seen> {
        let state = self.state.lock();
        let current = state.current.iter().map(|(id, entry)| entry.seen(*id));
        current.chain(state.recent.iter().rev().cloned()).collect()
    }

    /// Stops one.
    ///
    /// # Errors
    /// When there is none, or it is not to be stopped.
    pub(super) fn stop(&self, id: u64) -> Result<(), StopError> {
        let entry = self.state.lock().current.get(&id).cloned();
        let entry = entry.ok_or(StopError::NotThere(id))?;
        if entry.kind == Kind::Rule {
            return Err(StopError::OfRule(id));
        }
        entry.stop.cancel();
        if let Some(begun) = entry.begun.get() {
            begun.cancel.cancel();
        }
        Ok(())
    }
}

impl Entry {
    fn seen(&self, id: u64) -> Seen {
        let begun = self.begun.get();
        let until = begun.map_or_else(Instant::now, |begun| begun.at);
        Seen {
            id,
            text: self.text.clone(),
            kind: self.kind,
            stage: if begun.is_some() {
                Stage::Running
            } else {
                Stage::Queued
            },
            from: self.from.clone(),
            came_ms: self.came_ms,
            queued: until.saturating_duration_since(self.came),
            ran: begun.map_or(Duration::ZERO, |begun| begun.at.elapsed()),
            bytes: begun.map_or(0, |begun| begun.watch.held_bytes()),
            samples: begun.map_or(0, |begun| begun.watch.peak_samples()),
            error: None,
            time: begun.map(|begun| begun.time),
        }
    }
}

impl Ticket {
    /// Ends when somebody stops the query while it waits.
    pub(super) async fn stopped(&self) {
        self.entry.stop.cancelled().await;
    }

    /// It runs now; gives what is to watch it. `cancel` ends it.
    pub(super) fn begin(&self, time: EvalTime, cancel: &CancelHandle) -> QueryWatch {
        let watch = QueryWatch::default();
        let begun = Begun {
            at: Instant::now(),
            time,
            cancel: cancel.clone(),
            watch: watch.clone(),
        };
        // A turn may be used for one query after another: what is shown is the first.
        let _ = self.entry.begun.set(begun);
        // It may have been stopped on the way here.
        if self.entry.stop.is_cancelled() {
            cancel.cancel();
        }
        watch
    }

    /// It has ended.
    pub(super) fn end(&self, error: Option<&QueryError>, stats: &QueryStats, times: &QueryTimes) {
        // Rules have an answer of their own that tells how they fare, and would leave no room for others.
        if self.entry.kind == Kind::Rule {
            return;
        }
        let seen = Seen {
            stage: if error.is_some() {
                Stage::Failed
            } else {
                Stage::Done
            },
            queued: times.waited,
            ran: times.total.saturating_sub(times.waited),
            bytes: stats.peak_bytes,
            samples: stats.peak_samples,
            error: error.map(|error| error.to_string().into()),
            ..self.entry.seen(self.id)
        };
        let mut state = self.queries.state.lock();
        state.current.remove(&self.id);
        if state.recent.len() == RECENT_MAX {
            state.recent.pop_front();
        }
        state.recent.push_back(seen);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queries.state.lock().current.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use model::clock::ManualClock;

    use super::*;

    fn request(path: &str) -> Origin {
        Origin::Request {
            client: "10.0.0.1".to_owned(),
            method: "GET".to_owned(),
            path: path.to_owned(),
        }
    }

    fn stages(queries: &WatchedQueries) -> Vec<(Kind, Stage)> {
        queries
            .list()
            .iter()
            .map(|seen| (seen.kind, seen.stage))
            .collect()
    }

    #[tokio::test]
    async fn queries_are_told_of_from_the_queue_to_the_end_and_can_be_stopped() {
        let queries = Arc::new(WatchedQueries::new(Arc::new(ManualClock::new(5_000))));
        let range = queries.enter(
            "é".repeat(TEXT_BYTES_MAX).as_str(),
            &request("/api/v1/query_range"),
        );
        let rule = Origin::Rule {
            file: "f".to_owned(),
            group: "g".to_owned(),
        };
        let rule = queries.enter("up", &rule);
        let queued = queries.enter("down", &request("/api/v1/query"));
        assert_eq!(queries.list()[0].text.len(), TEXT_BYTES_MAX);
        assert_eq!(queries.list()[0].came_ms, 5_000);
        let cancel = CancelHandle::new();
        range.begin(EvalTime::Instant { at_ms: 1 }, &cancel);
        assert_eq!(
            stages(&queries),
            [
                (Kind::Range, Stage::Running),
                (Kind::Rule, Stage::Queued),
                (Kind::Instant, Stage::Queued)
            ]
        );
        assert_eq!(queries.stop(range.id), Ok(()));
        assert!(cancel.is_canceled());
        assert_eq!(queries.stop(rule.id), Err(StopError::OfRule(rule.id)));
        assert_eq!(queries.stop(queued.id), Ok(()));
        queued.stopped().await;
        // Stopped between the queue and the begin.
        let late = CancelHandle::new();
        queued.begin(EvalTime::Instant { at_ms: 1 }, &late);
        assert!(late.is_canceled());
        let canceled = QueryError::Canceled { during: "test" };
        range.end(Some(&canceled), &QueryStats::default(), &QueryTimes::default());
        assert_eq!(queries.stop(range.id), Err(StopError::NotThere(range.id)));
        drop((range, rule, queued));
        assert_eq!(stages(&queries), [(Kind::Range, Stage::Failed)]);
    }

    #[test]
    fn only_the_newest_are_kept() {
        let queries = Arc::new(WatchedQueries::new(Arc::new(ManualClock::new(0))));
        for index in 0..=RECENT_MAX {
            let ticket = queries.enter(&index.to_string(), &request("/api/v1/query"));
            ticket.end(None, &QueryStats::default(), &QueryTimes::default());
        }
        let list = queries.list();
        assert_eq!(list.len(), RECENT_MAX);
        assert_eq!((&*list[0].text, &*list[RECENT_MAX - 1].text), ("100", "1"));
    }
}

//! What people should know of this server while it holds: that it starts, that a reload failed, that it stops.
//!
//! Whoever wants hears of changes as they come. Texts are the reference's, since its pages know them.

use std::sync::Arc;

use metrics::{Counter, Gauge, Registry};
use model::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// Changes that wait for a subscriber who does not take them; further ones are dropped, and counted.
const CHANGES_WAITING_MAX: usize = 10;

/// What there is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matter {
    /// The write-ahead log is being read.
    Starting,
    /// The configuration in force is not the one in the files.
    ReloadFailed,
    /// The server ends.
    Stopping,
}

impl Matter {
    /// In words.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Matter::Starting => "Prometheus is starting and replaying the write-ahead log (WAL).",
            Matter::ReloadFailed => "Configuration reload has failed.",
            Matter::Stopping => "Prometheus is shutting down and gracefully stopping all operations.",
        }
    }
}

/// That something holds, or that it holds no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) matter: Matter,
    /// Since when, in milliseconds since the epoch.
    pub(crate) since_ms: i64,
    pub(crate) active: bool,
}

/// What holds, and who wants to hear of changes.
pub(crate) struct Notices {
    clock: Arc<dyn Clock>,
    subscribers_max: usize,
    state: Mutex<State>,
    subscribed: Gauge,
    sent: Counter,
    dropped: Counter,
}

#[derive(Default)]
struct State {
    active: Vec<Notice>,
    subscribers: Vec<mpsc::Sender<Notice>>,
    /// Nobody can subscribe any more.
    stopped: bool,
}

impl Notices {
    /// Nothing to know. At most `subscribers_max` hear of changes.
    pub(crate) fn new(clock: Arc<dyn Clock>, subscribers_max: usize, registry: &Registry) -> Self {
        Notices {
            clock,
            subscribers_max,
            state: Mutex::default(),
            subscribed: registry.gauge(
                "prometheus_api_notification_active_subscribers",
                "The current number of active notification subscribers.",
            ),
            sent: registry.counter(
                "prometheus_api_notification_updates_sent_total",
                "Total number of notification updates sent.",
            ),
            dropped: registry.counter(
                "prometheus_api_notification_updates_dropped_total",
                "Total number of notification updates dropped.",
            ),
        }
    }

    /// It holds from now on.
    pub(crate) fn begin(&self, matter: Matter) {
        let notice = Notice {
            matter,
            since_ms: self.clock.now_ms(),
            active: true,
        };
        let mut state = self.state.lock();
        state.active.retain(|known| known.matter != matter);
        state.active.push(notice);
        self.tell(&mut state, notice);
    }

    /// It holds no more.
    pub(crate) fn end(&self, matter: Matter) {
        let mut state = self.state.lock();
        let Some(at) = state.active.iter().position(|known| known.matter == matter) else {
            return;
        };
        let ended = Notice {
            active: false,
            ..state.active.remove(at)
        };
        self.tell(&mut state, ended);
    }

    /// The server ends: all subscribers hear it, and then the end of what they hear.
    pub(crate) fn stop(&self) {
        self.begin(Matter::Stopping);
        let mut state = self.state.lock();
        state.stopped = true;
        state.subscribers.clear();
        self.subscribed.set(0.0);
    }

    /// What holds now.
    pub(crate) fn active(&self) -> Vec<Notice> {
        self.state.lock().active.clone()
    }

    /// What holds now, and every change from then on. `None` when as many listen as may, or the server ends.
    pub(crate) fn subscribe(&self) -> Option<mpsc::Receiver<Notice>> {
        let mut state = self.state.lock();
        self.forget_those_who_left(&mut state);
        if state.stopped || state.subscribers.len() >= self.subscribers_max {
            return None;
        }
        let (sender, changes) = mpsc::channel(CHANGES_WAITING_MAX);
        for notice in &state.active {
            // There is room for as many as there are matters.
            let _ = sender.try_send(*notice);
        }
        state.subscribers.push(sender);
        self.subscribed.set(state.subscribers.len() as f64);
        Some(changes)
    }

    /// A subscriber has gone: there is room for another.
    pub(crate) fn left(&self) {
        self.forget_those_who_left(&mut self.state.lock());
    }

    fn forget_those_who_left(&self, state: &mut State) {
        state.subscribers.retain(|subscriber| !subscriber.is_closed());
        self.subscribed.set(state.subscribers.len() as f64);
    }

    fn tell(&self, state: &mut State, notice: Notice) {
        for subscriber in &state.subscribers {
            self.sent.inc();
            if subscriber.try_send(notice).is_err() {
                self.dropped.inc();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::clock::ManualClock;

    use super::*;

    #[test]
    fn subscribers_hear_what_holds_and_what_changes_within_bounds() {
        let registry = Registry::new();
        let notices = Notices::new(Arc::new(ManualClock::new(1_000)), 2, &registry);
        notices.begin(Matter::Starting);
        let mut first = notices.subscribe().expect("room");
        let second = notices.subscribe().expect("room");
        assert!(notices.subscribe().is_none());
        notices.end(Matter::Starting);
        notices.end(Matter::Starting);
        let notice = |active| Notice {
            matter: Matter::Starting,
            since_ms: 1_000,
            active,
        };
        assert_eq!(first.try_recv(), Ok(notice(true)));
        assert_eq!(first.try_recv(), Ok(notice(false)));
        assert!(first.try_recv().is_err());
        // Nobody reads the second: its queue has a bound.
        for _ in 0..CHANGES_WAITING_MAX {
            notices.begin(Matter::ReloadFailed);
        }
        assert_eq!(notices.active().len(), 1);
        assert_eq!((notices.dropped.get(), notices.sent.get()), (2.0, 22.0));
        drop(second);
        notices.left();
        let mut third = notices.subscribe().expect("room");
        notices.stop();
        let heard: Vec<Matter> = std::iter::from_fn(|| third.try_recv().ok())
            .map(|notice| notice.matter)
            .collect();
        assert_eq!(heard, [Matter::ReloadFailed, Matter::Stopping]);
        assert!(third.is_closed() && notices.subscribe().is_none());
    }
}

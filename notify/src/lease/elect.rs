//! Who holds the lease: a loop that renews it, or waits for it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::clock::Clock;
use parking_lot::Mutex;
use supervise::Supervisor;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::share::{Beside, Shared};
use super::stats::LeaseStats;
use super::trouble::{Asking, News, Trouble};
use super::{LeaseConfig, LeaseStore, Permit, Record, Seat, StoreError, Version};

/// The tasks of a lease, in metrics.
const ELECT: &str = "alertmanager-lease";
const SHARE: &str = "alertmanager-lease-share";
/// Random bytes at the end of a name, so that no two servers ever have the same.
const NAME_BYTES: usize = 8;

/// From one renewal, or look, to the next.
pub(super) fn pause(duration: Duration) -> Duration {
    duration / 10
}

/// How long one request may take.
pub(super) fn ask_max(duration: Duration) -> Duration {
    duration / 5
}

/// How long a holder may send after the renewal that succeeded last was begun.
fn held_for(duration: Duration) -> Duration {
    duration * 6 / 10
}

/// How long a lease that does not change is respected.
fn respected_for(duration: Duration) -> Duration {
    duration * 8 / 10
}

/// A lease in force.
pub(crate) struct Lease {
    config: LeaseConfig,
    store: Arc<dyn LeaseStore>,
    /// Who we are.
    name: String,
    holding: Mutex<Option<Holding>>,
    /// Until when it is believed that somebody else holds it.
    others_until: Mutex<Option<Instant>>,
    trouble: Trouble,
    /// Number of the holding that has begun last.
    begun: watch::Sender<u64>,
    beside: Mutex<Option<Beside>>,
    pub(crate) stats: LeaseStats,
    pub(super) around: LeaseAround,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// What a lease needs of what is around it.
#[derive(Clone)]
pub(crate) struct LeaseAround {
    pub(crate) seat: Arc<Seat>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) supervisor: Supervisor,
}

/// The lease is ours.
struct Holding {
    term: u64,
    acquired: Timestamp,
    /// Whether it is known what others have sent.
    is_ready: bool,
    until: Instant,
    over: CancellationToken,
}

/// What was last seen of the lease.
#[derive(Default)]
struct Seen {
    record: Option<Record>,
    version: Option<Version>,
    /// Since when it is seen like this.
    since: Option<Instant>,
}

impl Lease {
    /// A lease that nobody waits for yet. `shared` are the books that lie beside it: the log first.
    pub(crate) fn new(
        config: LeaseConfig,
        store: Arc<dyn LeaseStore>,
        shared: Vec<Arc<dyn Shared>>,
        stats: LeaseStats,
        around: LeaseAround,
    ) -> Arc<Self> {
        let name = unique_name(&config.identity);
        Arc::new(Lease {
            beside: Mutex::new(Some(Beside::new(shared, store.room()))),
            config,
            store,
            name,
            holding: Mutex::default(),
            others_until: Mutex::default(),
            trouble: Trouble::default(),
            begun: watch::Sender::new(0),
            stats,
            around,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    pub(crate) fn config(&self) -> &LeaseConfig {
        &self.config
    }

    pub(super) fn store(&self) -> &dyn LeaseStore {
        &*self.store
    }

    pub(super) fn duration(&self) -> Duration {
        self.config.duration.as_std()
    }

    /// Begins to wait for it. Must be called inside a runtime; a second call does nothing.
    pub(crate) fn start(self: &Arc<Self>) {
        let Some(beside) = self.beside.lock().take() else {
            return;
        };
        tracing::info!(
            name = self.name,
            "Notifications are sent by the holder of the lease"
        );
        let supervisor = &self.around.supervisor;
        let lease = self.clone();
        self.tasks
            .spawn(supervisor.spawn(ELECT, &self.stopping, move || lease.clone().elect()));
        let (lease, beside) = (self.clone(), Arc::new(tokio::sync::Mutex::new(beside)));
        self.tasks.spawn(supervisor.spawn(SHARE, &self.stopping, move || {
            let (lease, beside) = (lease.clone(), beside.clone());
            async move { beside.lock().await.run(&lease).await }
        }));
    }

    /// Leave to send, while we hold it and know what was sent before.
    pub(crate) fn permit(&self) -> Option<Permit> {
        let holding = self.holding.lock();
        let holding = holding.as_ref()?;
        (holding.is_ready && Instant::now() < holding.until).then(|| Permit {
            term: Some(holding.term),
            over: holding.over.clone(),
        })
    }

    /// Ends it: what was sent is put beside it, and it is given back, so that another one takes it at once. Whoever calls
    /// has stopped sending.
    pub(crate) async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Changes when a holding begins.
    pub(super) fn begun(&self) -> watch::Receiver<u64> {
        self.begun.subscribe()
    }

    /// Whether this holding goes on.
    pub(super) fn is_held(&self, term: u64) -> bool {
        let holding = self.holding.lock();
        holding.as_ref().is_some_and(|holding| holding.term == term)
    }

    /// Whether we hold it at all.
    pub(super) fn holds(&self) -> bool {
        self.holding.lock().is_some()
    }

    /// Whether somebody is known to hold it, we ourselves perhaps.
    pub(crate) fn is_held_by_anybody(&self) -> bool {
        self.holds()
            || self
                .others_until
                .lock()
                .is_some_and(|until| Instant::now() < until)
    }

    /// What others have sent is known: sending may begin.
    pub(super) fn ready(&self, term: u64) {
        let mut holding = self.holding.lock();
        let Some(holding) = holding.as_mut().filter(|holding| holding.term == term) else {
            return;
        };
        holding.is_ready = true;
        self.stats.holding.set(1.0);
        tracing::info!(term, "Notifications are sent from here");
        self.around.seat.take_turn();
    }

    async fn elect(self: Arc<Self>) {
        let mut seen = Seen::default();
        loop {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => break,
                outcome = self.round(&mut seen) => self.heard(Asking::Lease, outcome),
                () = self.fence() => {}
            }
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => break,
                () = sleep(self.next_pause()) => {}
                () = self.fence() => {}
            }
        }
        self.give_back(&seen).await;
    }

    /// Takes note of what came of asking the store.
    pub(super) fn heard(&self, asking: Asking, outcome: Result<(), StoreError>) {
        match outcome {
            Ok(()) if self.trouble.end(asking) => {
                tracing::info!(
                    object = asking.object(),
                    "The lease's store does again what it is asked"
                );
            }
            Ok(()) => {}
            Err(error) => self.failed(asking, &error),
        }
    }

    /// Notes and tells that something could not be read or written.
    pub(super) fn failed(&self, asking: Asking, error: &StoreError) {
        let object = asking.object();
        self.stats.failures.with(&[object]).inc();
        match (self.trouble.begin(asking, &error.to_string()), asking) {
            (News::Begins, Asking::Lease) if self.holds() => tracing::error!(
                err = %error,
                "The lease's store does not do what it is asked: while that lasts, this server sends nothing once its lease \
                 could not be renewed in time"
            ),
            (News::Begins, Asking::Lease) => tracing::error!(
                err = %error,
                "The lease's store does not do what it is asked: while that lasts, this server sends nothing"
            ),
            (News::Begins, _) => tracing::warn!(
                object,
                err = %error,
                "What lies beside the lease cannot be read or written; it is tried again"
            ),
            (News::Changes, _) => {
                tracing::debug!(object, err = %error, "The lease's store does not do what it is asked");
            }
            (News::GoesOn, _) => {}
        }
    }

    /// Servers that began at the same moment shall not ask at the same moment for ever.
    fn next_pause(&self) -> Duration {
        let mut byte = [0_u8; 1];
        random(&mut byte);
        let pause = pause(self.duration());
        pause.mul_f64(0.9 + f64::from(byte[0]) / 255.0 * 0.2)
    }

    /// Waits until the time is over that we may send for, and ends the holding.
    async fn fence(&self) {
        let until = self.holding.lock().as_ref().map(|holding| holding.until);
        match until {
            Some(until) => {
                sleep_until(until).await;
                self.lose("it could not be renewed in time");
            }
            None => std::future::pending().await,
        }
    }

    /// Nothing is sent from here any more.
    fn lose(&self, why: &str) {
        let Some(holding) = self.holding.lock().take() else {
            return;
        };
        holding.over.cancel();
        self.stats.holding.set(0.0);
        self.stats.lost.inc();
        tracing::warn!(
            term = holding.term,
            why,
            "The lease is lost: nothing is sent from here"
        );
    }

    /// Renews the lease if we hold it; else looks whether it is to be had, and takes it.
    async fn round(&self, seen: &mut Seen) -> Result<(), StoreError> {
        if self.holds() && seen.version.is_some() {
            match self.renew(seen).await {
                Err(StoreError::Conflict { .. }) => {}
                renewed => return renewed,
            }
        }
        let found = self.in_time(self.store.read_lease()).await?;
        let now = Instant::now();
        let (record, version) = found.unzip();
        seen.version = version;
        if seen.record != record || seen.since.is_none() {
            self.tell_of(seen.record.as_ref(), record.as_ref());
            seen.record = record;
            seen.since = Some(now);
        }
        let Some(record) = &seen.record else {
            *self.others_until.lock() = None;
            return self.take(seen).await;
        };
        self.stats.term.set(record.term as f64);
        if record.holder == self.name && self.is_held(record.term) {
            // A renewal took effect although its answer was lost.
            return self.renew(seen).await;
        }
        self.lose("somebody else has taken it");
        let respected = respected_for(self.duration().max(record.duration));
        let until = seen.since.map(|since| since + respected);
        let is_over = until.is_some_and(|until| now >= until);
        let is_others = !record.holder.is_empty() && record.holder != self.name;
        *self.others_until.lock() = until.filter(|_| is_others);
        if !is_others || is_over {
            return self.take(seen).await;
        }
        Ok(())
    }

    fn tell_of(&self, before: Option<&Record>, after: Option<&Record>) {
        let holder = |record: Option<&Record>| record.map_or(String::new(), |record| record.holder.clone());
        let (before, after) = (holder(before), holder(after));
        if before != after && after != self.name {
            tracing::info!(holder = after, "The lease has another holder");
        }
    }

    async fn renew(&self, seen: &mut Seen) -> Result<(), StoreError> {
        let Some((term, acquired)) = self
            .holding
            .lock()
            .as_ref()
            .map(|holding| (holding.term, holding.acquired))
        else {
            return Ok(());
        };
        let began = self.write(seen, &self.name, term, acquired).await?;
        if let Some(holding) = self.holding.lock().as_mut() {
            holding.until = began + held_for(self.duration());
        }
        Ok(())
    }

    async fn take(&self, seen: &mut Seen) -> Result<(), StoreError> {
        self.lose("it is taken anew");
        let last = seen.record.as_ref().map_or(0, |record| record.term);
        let term = last.max(*self.begun.borrow()).saturating_add(1);
        let acquired = self.now();
        let began = match self.write(seen, &self.name, term, acquired).await {
            // Another one was faster.
            Err(StoreError::Conflict { .. }) => return Ok(()),
            written => written?,
        };
        *self.holding.lock() = Some(Holding {
            term,
            acquired,
            is_ready: false,
            until: began + held_for(self.duration()),
            over: CancellationToken::new(),
        });
        self.stats.taken.inc();
        self.stats.term.set(term as f64);
        tracing::info!(term, name = self.name, "The lease is taken");
        self.begun.send_replace(term);
        Ok(())
    }

    /// Writes the lease over what was seen; gives when that began.
    async fn write(
        &self,
        seen: &mut Seen,
        holder: &str,
        term: u64,
        acquired: Timestamp,
    ) -> Result<Instant, StoreError> {
        let record = Record {
            holder: holder.to_owned(),
            term,
            acquired,
            renewed: self.now(),
            duration: self.duration(),
        };
        let began = Instant::now();
        let writing = self.store.write_lease(&record, seen.version.as_ref());
        let version = self.in_time(writing).await?;
        *seen = Seen {
            record: Some(record),
            version: Some(version),
            since: Some(Instant::now()),
        };
        Ok(began)
    }

    /// Gives it back, so that nobody has to wait.
    async fn give_back(&self, seen: &Seen) {
        let Some(holding) = self.holding.lock().take() else {
            return;
        };
        holding.over.cancel();
        self.stats.holding.set(0.0);
        // What was sent is put beside it first.
        let shared = sleep(ask_max(self.duration()));
        tokio::select! {
            () = self.begun.closed() => {}
            () = shared => {}
        }
        let mut seen = Seen {
            version: seen.version.clone(),
            ..Seen::default()
        };
        let giving = self.write(&mut seen, "", holding.term, holding.acquired);
        match giving.await {
            Ok(_) => tracing::info!(term = holding.term, "The lease is given back"),
            Err(error) => self.failed(Asking::Lease, &error),
        }
    }

    /// An answer of the store, or the error that there is none in time.
    pub(super) async fn in_time<T>(
        &self,
        asking: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let after = ask_max(self.duration());
        let outcome = timeout(after, asking).await;
        outcome.unwrap_or(Err(StoreError::Timeout { after }))
    }

    /// The time of day.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.around.clock.now_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The name for people, and something that nobody else has: two servers with one configuration are two.
fn unique_name(identity: &str) -> String {
    let mut bytes = [0_u8; NAME_BYTES];
    random(&mut bytes);
    let suffix: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let machine = rustix::system::uname();
    let name = match identity {
        "" => machine.nodename().to_str().unwrap_or("narthex"),
        identity => identity,
    };
    format!("{name}_{suffix}")
}

fn random(bytes: &mut [u8]) {
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), bytes)
        .expect("the system has random numbers");
}

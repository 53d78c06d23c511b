//! What `--web.config.file` has in force, and the files that it comes from.
//!
//! The reference reads them anew for each request and each handshake; so whoever is taken out of the file is out at once.
//! Here each request looks whether they have changed (a few calls of `stat`, by one thread that does nothing else, for
//! all requests that wait at the time), and only a change is read. What is wrong leaves the old in force: it is logged
//! once for each change, counted, and an error of the next reload.
//!
//! A file may change what is guarded and how, but not take a guard away: one that has just been cut to nothing, or written
//! by half, would leave the server open. That needs a restart.

mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue};
use metrics::{Counter, Family, Gauge, Registry};
use parking_lot::Mutex;
use rustls::ServerConfig;
use supervise::Supervisor;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

use self::files::Seen;
use super::auth::passwords::Passwords;
use super::auth::rate::Limiter;
use super::auth::{Tokens, Users};
use crate::config::web::{WebConfig, WebConfigError, tls};
use crate::threads::Worker;

/// How long a request waits for the look at the files before it goes by what is in force.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);
/// A look that does not come back is told again after this time.
const STALL_SAID_EVERY: Duration = Duration::from_secs(60);

/// What is in force.
#[derive(Debug)]
pub(crate) struct InForce {
    /// `None` for plain HTTP.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Of every answer.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) limiter: Option<Arc<Limiter>>,
    pub(super) users: Users,
    pub(super) tokens: Tokens,
}

impl InForce {
    /// Whether callers have to say who they are.
    pub(super) fn authenticates(&self) -> bool {
        !self.users.is_empty() || !self.tokens.is_empty()
    }

    /// Makes what a configuration asks for, and reads what it names.
    fn new(config: &WebConfig) -> Result<Self, WebConfigError> {
        Ok(InForce {
            tls: config.tls.as_ref().map(tls::server).transpose()?.map(Arc::new),
            headers: config.http.headers.clone(),
            limiter: config.rate_limit.map(|limit| Arc::new(Limiter::new(limit))),
            users: Users::new(&config.users),
            tokens: Tokens::new(&config.tokens)?,
        })
    }
}

/// What was read and can be put in force.
#[derive(Debug)]
pub(crate) struct Prepared {
    seen: Seen,
    /// `None` where nothing has changed.
    new: Option<InForce>,
}

/// Reads `path` and what it names.
///
/// # Errors
/// When something is wrong.
pub(crate) fn read(path: &Path) -> Result<Prepared, WebConfigError> {
    read_with(path, &mut Seen::new(path))
}

/// The same; `seen` becomes what was read, whether or not it is of use.
fn read_with(path: &Path, seen: &mut Seen) -> Result<Prepared, WebConfigError> {
    // Before anything is read: what changes meanwhile is a change.
    *seen = Seen::of(path, seen.named());
    let config = WebConfig::load(path)?;
    let named = config.files();
    if named != seen.named() {
        *seen = Seen::of(path, &named);
    }
    let new = InForce::new(&config)?;
    Ok(Prepared {
        seen: seen.clone(),
        new: Some(new),
    })
}

/// What is told of the configuration.
#[derive(Debug)]
struct Counts {
    successful: Gauge,
    changes: Family<Counter>,
    stalled: Counter,
}

impl Counts {
    fn new(registry: &Registry) -> Self {
        let counts = Counts {
            successful: registry.gauge(
                "narthex_web_config_last_reload_successful",
                "Whether the web configuration that was read last is in force.",
            ),
            changes: registry.counter_vec(
                "narthex_web_config_reloads_total",
                "Changes of the web configuration and of the files that it names.",
                &["result"],
            ),
            stalled: registry.counter(
                "narthex_web_config_looks_stalled_total",
                "Looks at the files of the web configuration that did not come back in time.",
            ),
        };
        for result in ["success", "failure"] {
            counts.changes.with(&[result]);
        }
        counts.successful.set(1.0);
        counts
    }
}

/// What is in force, and what keeps it so.
#[derive(Debug)]
pub(crate) struct Guard {
    shared: Arc<Shared>,
    /// When the last look began. One looks at a time.
    looked: Arc<tokio::sync::Mutex<Option<Instant>>>,
    /// Since when there is one that has not come back.
    looking_since: Arc<Mutex<Option<Instant>>>,
    /// When a look that did not come back was last told.
    stall_said: Mutex<Option<Instant>>,
    worker: Worker,
    supervisor: Supervisor,
    pub(super) passwords: Passwords,
    pub(super) refused: Family<Counter>,
}

/// The part that the thread sees which looks.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    in_force: ArcSwap<InForce>,
    seen: Mutex<Seen>,
    counts: Counts,
}

impl Guard {
    /// Puts in force what was read of `path`.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn new(path: &Path, first: Prepared, registry: &Registry) -> std::io::Result<Self> {
        let Prepared { seen, new } = first;
        let refused = registry.counter_vec(
            "narthex_http_requests_refused_total",
            "Requests that --web.config.file kept from being answered.",
            &["reason"],
        );
        for reason in super::auth::Refusal::ALL {
            refused.with(&[reason.word()]);
        }
        Ok(Guard {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                in_force: ArcSwap::from_pointee(new.unwrap_or_else(InForce::open)),
                seen: Mutex::new(seen),
                counts: Counts::new(registry),
            }),
            looked: Arc::default(),
            looking_since: Arc::default(),
            stall_said: Mutex::default(),
            worker: Worker::start("web config", 0)?,
            supervisor: Supervisor::new(registry),
            passwords: Passwords::new(Supervisor::new(registry))?,
            refused,
        })
    }

    /// Whether TLS is spoken: that does not change.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.shared.in_force.load().tls.is_some()
    }

    /// What is in force by the files as they are now.
    pub(crate) async fn current(&self) -> Arc<InForce> {
        let stalled = self
            .looking_since
            .lock()
            .is_some_and(|since| since.elapsed() >= LOOK_PATIENCE);
        if stalled || timeout(LOOK_PATIENCE, self.look()).await.is_err() {
            self.shared.counts.stalled.inc();
            // Files that hang and processors that are all busy look the same from here.
            let mut said = self.stall_said.lock();
            if said.is_none_or(|said| said.elapsed() >= STALL_SAID_EVERY) {
                *said = Some(Instant::now());
                tracing::warn!(
                    file = %self.shared.path.display(),
                    "The files of the web configuration do not answer; what is in force stays so until they do"
                );
            }
        }
        self.shared.in_force.load_full()
    }

    /// Reads what has changed, if anything has.
    async fn look(&self) {
        let asked = Instant::now();
        let mut turn = self.looked.clone().lock_owned().await;
        // Somebody has looked since: once is enough for all who wait.
        if turn.is_some_and(|began| began > asked) {
            return;
        }
        *turn = Some(Instant::now());
        let turn = Turn::new(turn, self.looking_since.clone());
        let shared = self.shared.clone();
        let looked = self.worker.run(move || {
            let _turn = turn;
            shared.look();
        });
        if let Err(panic) = looked.await {
            // Counted and logged there; what was in force is.
            let _ = self.supervisor.catch("web config", || panic.resume());
        }
    }

    /// Reads everything anew, for a reload. It changes nothing.
    ///
    /// # Errors
    /// When something is wrong.
    pub(crate) async fn prepare(&self) -> Result<Prepared, WebConfigError> {
        let shared = self.shared.clone();
        match self.worker.run(move || shared.prepare()).await {
            Ok(prepared) => prepared,
            // Of the reload, which is watched over.
            Err(panic) => panic.resume(),
        }
    }

    /// Puts in force what was prepared.
    pub(crate) fn apply(&self, prepared: Prepared) {
        self.shared.apply(prepared);
    }
}

/// The turn of one look: it lasts until that has come back, even where nobody waits for it any more.
struct Turn {
    _turn: OwnedMutexGuard<Option<Instant>>,
    looking_since: Arc<Mutex<Option<Instant>>>,
}

impl Turn {
    fn new(turn: OwnedMutexGuard<Option<Instant>>, looking_since: Arc<Mutex<Option<Instant>>>) -> Self {
        *looking_since.lock() = *turn;
        Turn {
            _turn: turn,
            looking_since,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.looking_since.lock() = None;
    }
}

impl InForce {
    /// Asks for nothing.
    fn open() -> Self {
        InForce {
            tls: None,
            headers: Vec::new(),
            limiter: None,
            users: Users::default(),
            tokens: Tokens::default(),
        }
    }
}

impl Shared {
    fn look(&self) {
        let mut seen = self.seen.lock();
        if !seen.has_changed() {
            return;
        }
        match self.read(&mut seen) {
            Ok(prepared) => {
                drop(seen);
                tracing::info!(file = %self.path.display(), "The web configuration has changed and is in force");
                self.counts.changes.with(&["success"]).inc();
                self.apply(prepared);
            }
            Err(error) => {
                self.counts.changes.with(&["failure"]).inc();
                self.counts.successful.set(0.0);
                tracing::error!(
                    %error,
                    "The web configuration has changed and cannot be used; the one before stays in force"
                );
            }
        }
    }

    fn prepare(&self) -> Result<Prepared, WebConfigError> {
        let mut seen = self.seen.lock().clone();
        // What is in force keeps its sessions and its count of requests.
        if self.counts.successful.get() == 1.0 && !seen.has_changed() {
            return Ok(Prepared { seen, new: None });
        }
        self.read(&mut seen)
    }

    fn read(&self, seen: &mut Seen) -> Result<Prepared, WebConfigError> {
        let prepared = read_with(&self.path, seen)?;
        let Some(new) = &prepared.new else {
            return Ok(prepared);
        };
        let old = self.in_force.load();
        let what = match (&old.tls, &new.tls) {
            (Some(_), None) => "TLS would be turned off",
            (None, Some(_)) => "TLS would be turned on",
            _ if old.authenticates() && !new.authenticates() => {
                "nobody would have to say who they are any more"
            }
            _ => return Ok(prepared),
        };
        Err(WebConfigError::NeedsRestart {
            path: self.path.clone(),
            what,
        })
    }

    fn apply(&self, prepared: Prepared) {
        let Prepared { seen, new } = prepared;
        let Some(mut new) = new else { return };
        *self.seen.lock() = seen;
        let old = self.in_force.load();
        if let (Some(before), Some(now)) = (&old.limiter, &mut new.limiter)
            && before.limit() == now.limit()
        {
            *now = before.clone();
        }
        self.in_force.store(Arc::new(new));
        self.counts.successful.set(1.0);
    }
}

#[cfg(test)]
mod tests;

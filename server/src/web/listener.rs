//! Accepting connections: our own loop, because limits, deadlines and an orderly end are out of reach otherwise.
//!
//! From the accept to the last byte of an answer there is always something that must happen within a named time
//! ([`Conn::deadline`]): a whole request within `--web.read-timeout`, counted from its first byte or from the end of the
//! answer before, and some of the answer taken within [`conn::WRITE_PATIENCE`]. Where all places of
//! `--web.max-connections` are taken, the connection that has been of no use for longest makes room for a new one
//! ([`Conn::useless`]), so that clients that say nothing, or stop in the midst of it, never keep out those that do.
//!
//! Where a web configuration asks for TLS, the handshake is the first thing that must happen, in the connection's own task
//! (`tls`). Connections come from TCP addresses, Unix sockets and systemd alike (`address`).
//!
//! Everything here runs on the threads of the network and of the API, which are no others' (`serve::Threads`): whatever
//! clients do, rules, scrapes, reloads and the end of the program have theirs.

mod address;
mod conn;
mod heads;
mod streams;
mod tls;
mod wire;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::FromRequestParts;
use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, Uri};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{Counter, Family, Gauge, Registry};
use parking_lot::Mutex;
use rustls::ServerConfig;
use supervise::Supervisor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use address::{Address, Listener, Peer};
pub(super) use streams::OwnPace;

use super::guard::Guard;
use address::Stream;
use conn::{Conn, Cut};
use heads::{HEAD_BYTES_MAX, Protocol};
use streams::{Service, Streams};
use tls::{Channel, HandshakeError};
use wire::{Meter, Socket, Wire};

/// How long a request that is being answered may go on once the server stops.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// First pause after the system refused a connection, as it does when file descriptors run out; each doubles it.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(5);
/// Longest such pause.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long the same trouble of all connections is not said again.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Most headers of a request. The reference has no bound but that on their bytes.
const HEADERS_MAX: usize = 1000;
/// Most requests at the same time over one connection of HTTP/2.
const STREAMS_MAX: u32 = 100;
/// Longest head of a request over HTTP/2, in bytes: a URI has no more than 64 KiB.
const STREAM_HEAD_BYTES_MAX: u32 = 128 << 10;

/// Bounds of the listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at the same time, over all addresses.
    pub(crate) max_connections: usize,
    /// Time for a request to come, whole; and for an idle connection to stay.
    pub(crate) read_timeout: Duration,
}

/// The query of a request, whole: where it is too long for the URI it stands beside it, with a word in its place. So the
/// URI is not asked for it anywhere else.
pub(crate) fn query_of<'a>(uri: &'a Uri, extensions: &'a Extensions) -> Option<&'a [u8]> {
    match extensions.get::<heads::LongQuery>() {
        Some(long) => Some(&long.0),
        None => uri.query().map(str::as_bytes),
    }
}

/// The same for handlers.
pub(crate) struct WholeQuery(pub(crate) Option<Bytes>);

impl<S: Send + Sync> FromRequestParts<S> for WholeQuery {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = query_of(&parts.uri, &parts.extensions);
        Ok(WholeQuery(query.map(Bytes::copy_from_slice)))
    }
}

/// The same on all of them.
pub(crate) fn each(listeners: Vec<Listener>, router: &Router) -> Vec<(Listener, Router)> {
    listeners
        .into_iter()
        .map(|listener| (listener, router.clone()))
        .collect()
}

/// Serves on each listener the router beside it until `stop`, then lets running requests end. `guard` knows whether TLS is
/// spoken.
pub(crate) async fn serve(
    listeners: Vec<(Listener, Router)>,
    guard: Option<Arc<Guard>>,
    limits: Limits,
    registry: Registry,
    stop: CancellationToken,
) {
    let front = Arc::new(Front {
        guard,
        limits,
        supervisor: Supervisor::new(&registry),
        places: Arc::new(Semaphore::new(limits.max_connections.max(1))),
        conns: Mutex::default(),
        next: AtomicU64::new(0),
        tasks: TaskTracker::new(),
        counts: Counts::new(&registry),
        refused: Rarely::default(),
        failed: Rarely::default(),
        full: Rarely::default(),
        stop,
    });
    let loops: Vec<_> = listeners
        .into_iter()
        .map(|(listener, router)| {
            let (listener, front) = (Arc::new(listener), front.clone());
            let stop = front.stop.clone();
            let supervisor = front.supervisor.clone();
            supervisor.spawn("http accept", &stop, move || {
                accept(listener.clone(), router.clone(), front.clone())
            })
        })
        .collect();
    for running in loops {
        // It outlives its panics, and nobody ends it.
        let _ = running.await;
    }
    front.drain().await;
}

/// What all connections share.
struct Front {
    guard: Option<Arc<Guard>>,
    limits: Limits,
    supervisor: Supervisor,
    places: Arc<Semaphore>,
    conns: Mutex<BTreeMap<u64, Arc<Conn>>>,
    next: AtomicU64,
    tasks: TaskTracker,
    counts: Counts,
    refused: Rarely,
    failed: Rarely,
    full: Rarely,
    stop: CancellationToken,
}

/// What is told of connections.
struct Counts {
    open: Gauge,
    /// The same as the reference counts it.
    accepted: Counter,
    closed: Counter,
    cut: Family<Counter>,
    refused: Counter,
    handshakes: Family<Counter>,
}

impl Counts {
    fn new(registry: &Registry) -> Self {
        let listener = |name: &str, help: &str| {
            registry
                .counter_vec(name, help, &["listener_name"])
                .with(&["http"])
        };
        let counts = Counts {
            open: registry.gauge("narthex_http_connections", "Connections of clients."),
            accepted: listener(
                "net_conntrack_listener_conn_accepted_total",
                "Total number of connections opened to the listener of a given name.",
            ),
            closed: listener(
                "net_conntrack_listener_conn_closed_total",
                "Total number of connections closed that were made to the listener of a given name.",
            ),
            cut: registry.counter_vec(
                "narthex_http_connections_cut_total",
                "Connections that were ended because a client did not do its part in time, or others needed the place.",
                &["reason"],
            ),
            refused: registry.counter(
                "narthex_http_accept_failures_total",
                "Connections that the system refused, as it does when file descriptors run out.",
            ),
            handshakes: registry.counter_vec(
                "narthex_http_tls_handshakes_total",
                "TLS handshakes of clients, and what became of them.",
                &["result"],
            ),
        };
        for result in ["success", "failure", "plain_http"] {
            counts.handshakes.with(&[result]);
        }
        for reason in ["silent", "not_reading", "evicted", "stopping"] {
            counts.cut.with(&[reason]);
        }
        counts
    }

    fn cut(&self, cut: Cut) {
        let reason = match cut {
            Cut::Silent => "silent",
            Cut::NotReading => "not_reading",
            Cut::Evicted => "evicted",
            Cut::Stopping => "stopping",
        };
        self.cut.with(&[reason]).inc();
    }
}

async fn accept(listener: Arc<Listener>, router: Router, front: Arc<Front>) {
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            () = front.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = ACCEPT_PAUSE_MIN;
                let Some(place) = front.place().await else { return };
                front.begin(stream, peer, place, router.clone());
            }
            Err(error) => {
                front.refused(&error);
                tokio::select! {
                    () = sleep(pause) => {}
                    () = front.stop.cancelled() => return,
                }
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

impl Front {
    /// A place for a connection that is there already; `None` when the server stops meanwhile.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        /// How often it is looked for one that has become useless.
        const LOOK: Duration = Duration::from_millis(100);
        loop {
            if let Ok(place) = self.places.clone().try_acquire_owned() {
                return Some(place);
            }
            let evicted = self.evict();
            if let Some(silent) = self.full.may_say() {
                tracing::warn!(
                    connections = self.limits.max_connections,
                    made_room = evicted,
                    more_since_last_said = silent,
                    "All connections that --web.max-connections allows are taken; the one that is of no use for longest \
                     makes room"
                );
            }
            tokio::select! {
                place = self.places.clone().acquire_owned() => return place.ok(),
                () = sleep(LOOK) => {}
                () = self.stop.cancelled() => return None,
            }
        }
    }

    /// Ends the connection that has been of no use for longest; whether there is one.
    fn evict(&self) -> bool {
        let conns = self.conns.lock();
        let useless = conns.values().filter_map(|conn| {
            let key = conn.useless().filter(|_| conn.why().is_none())?;
            Some((key, conn))
        });
        match useless.min_by_key(|(key, _)| *key) {
            Some((_, conn)) => conn.cut(Cut::Evicted),
            None => return false,
        }
        true
    }

    fn refused(&self, error: &io::Error) {
        self.counts.refused.inc();
        let code = error.raw_os_error();
        let descriptors = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
            .iter()
            .any(|errno| code == Some(errno.raw_os_error()));
        let made_room = descriptors && self.evict();
        let Some(silent) = self.refused.may_say() else {
            return;
        };
        if descriptors {
            tracing::error!(
                %error,
                made_room,
                more_since_last_said = silent,
                "Connections cannot be taken: the file descriptors are used up. Raise the limit (ulimit -n, LimitNOFILE)"
            );
        } else {
            tracing::warn!(%error, more_since_last_said = silent, "Connection refused by the system");
        }
    }

    fn begin(self: &Arc<Self>, stream: Stream, peer: Peer, place: OwnedSemaphorePermit, router: Router) {
        let conn = Arc::new(Conn::new(peer, self.limits.read_timeout));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.conns.lock().insert(number, conn.clone());
        self.counts.open.inc();
        self.counts.accepted.inc();
        let front = self.clone();
        self.tasks.spawn(async move {
            let talk = front.talk(Meter::new(stream, conn.clone()), &conn, router);
            match front.supervisor.round("http connection", talk).await {
                Ok(Ok(())) | Err(_) => {}
                // Clients that went away or spoke nonsense.
                Ok(Err(error)) => tracing::debug!(client = %conn.peer, %error, "Connection ended"),
            }
            if let Some(why) = conn.why() {
                front.counts.cut(why);
            }
            conn.ended();
            front.conns.lock().remove(&number);
            front.counts.open.dec();
            front.counts.closed.inc();
            drop(place);
        });
    }

    /// Agrees upon TLS, where it is spoken, and answers what is asked.
    async fn talk(
        &self,
        meter: Meter<Stream>,
        conn: &Arc<Conn>,
        router: Router,
    ) -> Result<(), ConverseError> {
        let config = match &self.guard {
            Some(guard) => attend(conn, guard.current()).await?.tls.clone(),
            None => None,
        };
        let channel = match config {
            Some(config) => match open(meter, config, conn, &self.stop).await {
                Ok(channel) => {
                    if channel.is_some() {
                        self.counts.handshakes.with(&["success"]).inc();
                    }
                    channel
                }
                Err(error) => {
                    self.failed(conn, &error);
                    return Err(error);
                }
            },
            None => Some(Either::Left(meter)),
        };
        match channel {
            Some(channel) => converse(channel, conn, router, &self.supervisor, &self.stop).await,
            None => Ok(()),
        }
    }

    /// A handshake came to nothing.
    fn failed(&self, conn: &Conn, error: &ConverseError) {
        let result = match error {
            ConverseError::Handshake(HandshakeError::PlainHttp) => "plain_http",
            _ => "failure",
        };
        self.counts.handshakes.with(&[result]).inc();
        if let Some(silent) = self.failed.may_say() {
            tracing::warn!(client = %conn.peer, %error, more_since_last_said = silent, "No TLS with a client");
        }
    }

    /// Lets running requests end, and ends those that do not.
    async fn drain(&self) {
        self.tasks.close();
        if tokio::time::timeout(DRAIN_PATIENCE, self.tasks.wait())
            .await
            .is_ok()
        {
            return;
        }
        let left: Vec<Arc<Conn>> = self.conns.lock().values().cloned().collect();
        for conn in &left {
            conn.cut(Cut::Stopping);
        }
        self.tasks.wait().await;
        tracing::warn!(
            connections = left.len(),
            "Requests that were still running have been cut off"
        );
    }
}

/// Why a connection ended before its client wanted it to.
#[derive(Debug, thiserror::Error)]
enum ConverseError {
    #[error(transparent)]
    Cut(#[from] Cut),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// Agrees upon TLS in time; `None` where the client has gone, or the server stops.
async fn open<S: Socket>(
    meter: Meter<S>,
    config: Arc<ServerConfig>,
    conn: &Conn,
    stop: &CancellationToken,
) -> Result<Option<Channel<S>>, ConverseError> {
    conn.handshake_began();
    let channel = tokio::select! {
        accepted = attend(conn, tls::accept(meter, config)) => accepted??,
        () = stop.cancelled() => None,
    };
    conn.handshake_ended();
    Ok(channel)
}

/// Answers what comes over one connection, until it ends.
async fn converse<S: Socket>(
    channel: Channel<S>,
    conn: &Arc<Conn>,
    router: Router,
    supervisor: &Supervisor,
    stop: &CancellationToken,
) -> Result<(), ConverseError> {
    let mut wire = Wire::new(channel, conn.clone());
    let first = tokio::select! {
        first = attend(conn, wire.protocol()) => first??,
        // Nothing was asked.
        () = stop.cancelled() => return Ok(()),
    };
    let Some(protocol) = first else { return Ok(()) };
    let service = Service::new(router, conn.clone(), supervisor.clone(), protocol);
    let served = match protocol {
        Protocol::Http1 => {
            let mut serving = pin!(
                http1::Builder::new()
                    // The times for heads are ours.
                    .header_read_timeout(None)
                    .max_buf_size(HEAD_BYTES_MAX)
                    .max_header_size(HEAD_BYTES_MAX)
                    .max_headers(HEADERS_MAX)
                    .serve_connection(TokioIo::new(wire), service)
            );
            let ended = attend(conn, async {
                tokio::select! {
                    ended = serving.as_mut() => return ended,
                    () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
                }
                serving.as_mut().await
            })
            .await;
            if matches!(&ended, Ok(Err(error)) if error.is_user()) {
                // An answer that broke off must not look like a whole one.
                conn.reset();
            }
            ended
        }
        Protocol::Http2 => {
            let mut serving = pin!(
                http2::Builder::new(Streams(conn.clone()))
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(STREAMS_MAX)
                    .max_header_list_size(STREAM_HEAD_BYTES_MAX)
                    .serve_connection(TokioIo::new(wire), service)
            );
            attend(conn, async {
                tokio::select! {
                    ended = serving.as_mut() => return ended,
                    () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
                }
                serving.as_mut().await
            })
            .await
        }
    };
    Ok(served??)
}

/// Does `work` as long as the client does its part in time.
async fn attend<T>(conn: &Conn, work: impl Future<Output = T>) -> Result<T, Cut> {
    let mut work = pin!(work);
    let mut clock = pin!(sleep(conn.soonest()));
    loop {
        tokio::select! {
            biased;
            done = work.as_mut() => return Ok(done),
            () = conn.is_cut() => return Err(conn.why().unwrap_or(Cut::Stopping)),
            () = clock.as_mut() => {
                // Never later than a deadline that may come up meanwhile.
                let now = Instant::now();
                let soonest = now + conn.soonest();
                match conn.deadline() {
                    Some((until, why)) if until <= now => {
                        conn.cut(why);
                        return Err(why);
                    }
                    Some((until, _)) => clock.as_mut().reset(until.min(soonest)),
                    None => clock.as_mut().reset(soonest),
                }
            }
        }
    }
}

/// Says something that happens a thousand times a second once in a while.
#[derive(Debug, Default)]
struct Rarely(Mutex<(Option<Instant>, u64)>);

impl Rarely {
    /// How often it has not been said since, if it may be said now.
    fn may_say(&self) -> Option<u64> {
        let mut state = self.0.lock();
        if state.0.is_some_and(|said| said.elapsed() < SAID_AGAIN_AFTER) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(Instant::now());
        Some(std::mem::take(&mut state.1))
    }
}

#[cfg(test)]
mod tests;

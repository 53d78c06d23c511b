//! Connections that are kept, and the rule by which a request is sent again on another one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::wire::Progress;
use crate::{HEADERS_MAX, HEADERS_USUAL};

/// Idle connections are closed after this time, as in the reference.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How often those are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Idle connections kept for one host, as in the reference.
const IDLE_PER_HOST_MAX: usize = 1_000;
/// How long a connection that was given back may take to be ready again; one that takes longer is still busy with a
/// request that its server has answered before reading it.
const READY_WAIT: Duration = Duration::from_millis(50);

/// Hosts with many headers that are remembered; beyond that all are found out anew.
const WORDY_MAX: usize = 1_000;

/// The body of what we send: all of it at hand, so that it can be sent again.
pub(crate) type Outgoing = Full<Bytes>;

/// A connection, ready for a request.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: Sender,
    progress: Arc<Progress>,
    /// A proxy that wants whole URLs is at the other end.
    pub(crate) to_proxy: bool,
    /// The pool's number when the connection was made; with another one it is not kept.
    epoch: u64,
}

#[derive(Debug)]
pub(crate) enum Sender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::SendRequest<Outgoing>),
}

/// An exchange that failed.
pub(crate) struct Failure {
    pub(crate) error: hyper::Error,
    /// Nothing of the request was written.
    pub(crate) unsent: bool,
    /// The connection ended, and nothing of an answer had come.
    pub(crate) silent: bool,
}

impl Connection {
    pub(crate) fn new(sender: Sender, progress: Arc<Progress>, to_proxy: bool, epoch: u64) -> Self {
        Connection {
            sender,
            progress,
            to_proxy,
            epoch,
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn exchange(
        &mut self,
        request: http::Request<Outgoing>,
    ) -> Result<http::Response<Incoming>, Failure> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                self.progress.begin();
                let result = sender.try_send_request(request).await;
                result.map_err(|failed| {
                    let mut failure = Failure::new(failed);
                    let garbage = failure.error.is_parse() || failure.error.is_user();
                    failure.silent = self.progress.is_silent() && !garbage;
                    failure
                })
            }
            Sender::Http2(sender) => {
                let result = sender.try_send_request(request).await;
                result.map_err(|failed| {
                    let mut failure = Failure::new(failed);
                    failure.silent = sender.is_closed();
                    failure
                })
            }
        }
    }

    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    async fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) if sender.is_ready() => true,
            Sender::Http1(sender) => {
                matches!(tokio::time::timeout(READY_WAIT, sender.ready()).await, Ok(Ok(())))
            }
            Sender::Http2(sender) => sender.is_ready(),
        }
    }

    /// Requests share a connection of HTTP/2.
    fn share(&self) -> Option<Connection> {
        let Sender::Http2(sender) = &self.sender else {
            return None;
        };
        Some(Connection {
            sender: Sender::Http2(sender.clone()),
            progress: self.progress.clone(),
            to_proxy: self.to_proxy,
            epoch: self.epoch,
        })
    }
}

impl Failure {
    fn new<T>(mut failed: TrySendError<T>) -> Self {
        Failure {
            unsent: failed.take_message().is_some(),
            silent: false,
            error: failed.into_error(),
        }
    }
}

/// The connections of a client that no request is using, or that many can use.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    hosts: Mutex<HashMap<Arc<str>, Vec<Idle>>>,
    /// Hosts that answer with more headers than is usual.
    wordy: Mutex<HashSet<Arc<str>>>,
    epoch: AtomicU64,
    is_swept: AtomicBool,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// What a new connection is made under.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Most headers of an answer of this host.
    pub(crate) fn headers_max(&self, key: &str) -> usize {
        if self.wordy.lock().contains(key) {
            HEADERS_MAX
        } else {
            HEADERS_USUAL
        }
    }

    /// Remembers that this host has sent more headers than is usual; false where that is known.
    pub(crate) fn allow_headers(&self, key: &Arc<str>) -> bool {
        let mut wordy = self.wordy.lock();
        if wordy.len() >= WORDY_MAX {
            wordy.clear();
        }
        let is_new = wordy.insert(key.clone());
        drop(wordy);
        if is_new {
            self.hosts.lock().remove(key);
        }
        is_new
    }

    /// Lets go of all connections: they were made with certificates that have changed.
    pub(crate) fn clear(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        self.hosts.lock().clear();
    }

    /// A kept connection that is still good, the one used last.
    pub(crate) async fn take(&self, key: &Arc<str>) -> Option<Connection> {
        loop {
            let mut connection = self.pop(key)?;
            if connection.is_ready().await {
                return Some(connection);
            }
        }
    }

    fn pop(&self, key: &Arc<str>) -> Option<Connection> {
        let mut hosts = self.hosts.lock();
        let idle = hosts.get_mut(key)?;
        let found = loop {
            let Some(last) = idle.last_mut() else { break None };
            if last.connection.is_closed() || last.since.elapsed() > IDLE_TIMEOUT {
                idle.pop();
                continue;
            }
            if let Some(shared) = last.connection.share() {
                last.since = Instant::now();
                break Some(shared);
            }
            break idle.pop().map(|last| last.connection);
        };
        if idle.is_empty() {
            hosts.remove(key);
        }
        found
    }

    /// Keeps a connection for the next request.
    pub(crate) fn put(self: &Arc<Self>, key: &Arc<str>, connection: Connection) {
        if connection.is_closed() || connection.epoch != self.epoch() {
            return;
        }
        {
            let mut hosts = self.hosts.lock();
            let idle = hosts.entry(key.clone()).or_default();
            if idle.len() >= IDLE_PER_HOST_MAX {
                return;
            }
            idle.push(Idle {
                connection,
                since: Instant::now(),
            });
        }
        if !self.is_swept.swap(true, Ordering::Relaxed) {
            let pool = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(SWEEP_INTERVAL).await;
                    match pool.upgrade() {
                        Some(pool) if pool.sweep() => {}
                        _ => return,
                    }
                }
            });
        }
    }

    /// Closes what was idle too long; says whether anything is left to look after.
    fn sweep(&self) -> bool {
        let mut hosts = self.hosts.lock();
        hosts.retain(|_, idle| {
            idle.retain(|idle| !idle.connection.is_closed() && idle.since.elapsed() <= IDLE_TIMEOUT);
            !idle.is_empty()
        });
        if hosts.is_empty() {
            // Under the lock: whoever puts the next connection finds that nobody sweeps.
            self.is_swept.store(false, Ordering::Relaxed);
        }
        !hosts.is_empty()
    }
}

/// A connection that a body is still being read from.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    key: Arc<str>,
    connection: Connection,
}

impl Lease {
    pub(crate) fn new(pool: Arc<Pool>, key: Arc<str>, connection: Connection) -> Self {
        Lease {
            pool,
            key,
            connection,
        }
    }

    /// The body has been read: the connection can carry another request.
    pub(crate) fn give_back(self) {
        self.pool.put(&self.key, self.connection);
    }
}

/// Pushes a shared connection into the pool beside the request that opened it.
pub(crate) fn keep_shared(pool: &Arc<Pool>, key: &Arc<str>, connection: &Connection) {
    if let Some(shared) = connection.share() {
        pool.put(key, shared);
    }
}

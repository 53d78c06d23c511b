//! A copy of all objects of one kind, kept up to date by a watch. One for all discoveries that want the same.
//!
//! The state comes first, as the beginning of a watch (`sendInitialEvents`), or as a list where the server refuses that;
//! changes follow. A watch that ends is asked for again from the last version seen; where that version is too old, the
//! state is read anew. What fails is asked for again after a pause that grows, and what was known stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use httpclient::{HttpClientError, Response};
use metrics::Counter;
use parking_lot::{Mutex, MutexGuard};
use supervise::Supervisor;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::api::{Api, Failure};
use super::list::{ListReader, Piece};
use super::objects::Object;
use super::store::{Objects, Store};
use super::stream::{Event, Lines, Status, Unreadable, Versioned, read_event};
use crate::runner::spread;

/// Shortest pause after something has failed; it doubles each time, and up to as much again is added by chance.
const PAUSE_MIN: Duration = Duration::from_millis(800);
/// Where the doubling ends: with what chance adds, 30 s.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// After this long without a failure the next one is the first again.
const PAUSE_FORGET: Duration = Duration::from_secs(120);
/// Watches are asked for for this long, and up to twice as long by chance, so that they do not end in step.
const WATCH_MIN: Duration = Duration::from_secs(300);
/// How long a server may be late with ending a watch, before we do.
const WATCH_GRACE: Duration = Duration::from_secs(30);
/// Longest silence within the state that a watch begins with: some proxies let the request through and forget that it
/// asked for the state.
const INITIAL_SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest wait for the beginning of an answer to a watch. Some proxies hold it back until there is an event, which is at
/// the latest the bookmark that a server sends every minute.
const WATCH_OPENS_MAX: Duration = Duration::from_secs(150);
/// A watch that ends sooner is not asked for again at once.
const WATCH_SHORT: Duration = Duration::from_secs(1);
/// Longest time for one page of a list.
const LIST_TIMEOUT: Duration = Duration::from_secs(120);
/// Objects of a page.
const PAGE_ITEMS: &str = "500";
/// What panics are counted under.
const TASK: &str = "kubernetes watch";

/// Why it cannot be kept up to date at the moment.
pub(super) type Health = Option<Arc<str>>;

/// The copy. Dropping the last handle ends the watch.
#[derive(Debug)]
pub(super) struct Reflector<T: Object> {
    shared: Arc<Shared<T>>,
    stop: CancellationToken,
    is_started: AtomicBool,
    _ends: DropGuard,
}

#[derive(Debug)]
struct Shared<T> {
    api: Api,
    failures: Counter,
    supervisor: Supervisor,
    store: Mutex<Store<T>>,
    /// Why the last attempt failed, if it did. Only changes are said in the log.
    health: watch::Sender<Health>,
}

impl<T: Object> Reflector<T> {
    pub(super) fn new(api: Api, failures: Counter, supervisor: Supervisor) -> Self {
        let stop = CancellationToken::new();
        Reflector {
            shared: Arc::new(Shared {
                api,
                failures,
                supervisor,
                store: Mutex::default(),
                health: watch::Sender::new(None),
            }),
            _ends: stop.clone().drop_guard(),
            stop,
            is_started: AtomicBool::new(false),
        }
    }

    /// Starts the watch unless it runs. Must be called inside a runtime.
    pub(super) fn start(&self) {
        if !self.is_started.swap(true, Ordering::Relaxed) {
            let shared = self.shared.clone();
            let run = move || run(shared.clone());
            self.shared.supervisor.spawn(TASK, &self.stop, run);
        }
    }

    /// Whether it can list and watch, from now on.
    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// The objects.
    pub(super) fn store(&self) -> MutexGuard<'_, Store<T>> {
        self.shared.store.lock()
    }
}

/// How a watch has ended.
enum End {
    /// In the middle or at its end: the next goes on from there.
    Over,
    /// It was not had.
    Refused(Failure),
    /// It was had, and is of no use any more.
    Lost(Failure),
}

async fn run<T: Object>(shared: Arc<Shared<T>>) {
    let mut pause = Pause::default();
    loop {
        match shared.synchronise().await {
            Ok(stream) => {
                shared.succeeded();
                shared.follow(stream, &mut pause).await;
                pause.wait(Duration::ZERO).await;
            }
            Err(failure) => {
                shared.failed(&failure);
                pause.wait(failure.wait()).await;
            }
        }
    }
}

impl<T: Object> Shared<T> {
    /// Reads the whole state; the stream goes on from there, where there is one.
    async fn synchronise(&self) -> Result<Option<Stream>, Failure> {
        let failure = match self.stream_state().await {
            Ok(stream) => return Ok(Some(stream)),
            Err(failure @ (Failure::NoAnswer(_) | Failure::Throttled { .. })) => return Err(failure),
            Err(failure) => failure,
        };
        if matches!(failure, Failure::Expired(_)) {
            self.store.lock().version = Box::default();
            return self.stream_state().await.map(Some);
        }
        // A server that does not know the way, or may not go it.
        tracing::debug!(url = %self.api.url(), error = %failure, "Kubernetes: the state comes as a list");
        let last = self.store.lock().version.clone();
        // Compat: the first one may be as old as it likes, a later one must be as new as something known: a server answers
        // both from memory, and the latter not in pages (cases `pod-paged-list`, `error-watch-lost`).
        let first_query = match &*last {
            "" => [("limit", PAGE_ITEMS), ("resourceVersion", "0")].as_slice(),
            version => &[("resourceVersion", version)],
        };
        match self.list(first_query).await {
            Err(Failure::Expired(_)) => {
                self.store.lock().version = Box::default();
                self.list(&[("limit", PAGE_ITEMS)]).await?;
            }
            result => result?,
        }
        Ok(None)
    }

    /// Opens a watch that begins with the state, and reads that.
    async fn stream_state(&self) -> Result<Stream, Failure> {
        let mut stream = self.watch(true).await?;
        let mut objects = Objects::new();
        loop {
            let line = tokio::time::timeout(INITIAL_SILENCE_MAX, stream.next(self)).await;
            let line = line.unwrap_or_else(|_| Err(self.api.broken(HttpClientError::Timeout)))?;
            let line = line.ok_or_else(|| {
                self.api.told(&Status {
                    message: "the watch ended within the state that it begins with".to_owned(),
                    ..Status::default()
                })
            })?;
            match read_event(&line).map_err(|error| self.api.unreadable(&error))? {
                Event::Put(new) => objects.extend([self.store.lock().shared(new)]),
                Event::Gone(old) => {
                    objects.remove(&*old.key);
                }
                Event::Bookmark {
                    version,
                    is_complete: true,
                } => {
                    self.store.lock().replace(objects, version);
                    return Ok(stream);
                }
                Event::Bookmark { .. } | Event::Unknown => {}
                Event::Error(status) => return Err(self.api.told(&status)),
            }
        }
    }

    /// Reads the state as a list, page by page.
    async fn list(&self, first_query: &[(&str, &str)]) -> Result<(), Failure> {
        let mut objects = Objects::new();
        let answer = self.api.ask(first_query, LIST_TIMEOUT).await?;
        let mut page = self.read_page(answer, &mut objects).await?;
        while !page.r#continue.is_empty() {
            let query = [("limit", PAGE_ITEMS), ("continue", &*page.r#continue)];
            let answer = self.api.ask(&query, LIST_TIMEOUT).await?;
            page = self.read_page(answer, &mut objects).await?;
        }
        self.store.lock().replace(objects, page.resource_version);
        Ok(())
    }

    async fn read_page(&self, mut answer: Response, objects: &mut Objects<T>) -> Result<Page, Failure> {
        let mut reader = ListReader::default();
        let mut page = Page::default();
        while let Some(bytes) = answer.chunk().await.map_err(|error| self.api.broken(error))? {
            let read = reader.push(&bytes, &mut |piece| {
                match piece {
                    Piece::Item(text) => {
                        let new = Versioned::new(serde_json::from_slice(&text)?)?;
                        objects.extend([self.store.lock().shared(new)]);
                    }
                    Piece::Metadata(text) => page = serde_json::from_slice(&text)?,
                    Piece::TooLong => self.passed_over(&Unreadable::TooLong),
                }
                Ok(())
            });
            read.map_err(|error| self.api.unreadable(&error))?;
        }
        if reader.is_complete() {
            Ok(page)
        } else {
            Err(self.api.unreadable(&Unreadable::List("it ends in the middle")))
        }
    }

    /// Opens a watch, from the last version seen.
    async fn watch(&self, with_state: bool) -> Result<Stream, Failure> {
        let version = self.store.lock().version.clone();
        let seconds = WATCH_MIN.mul_f64(1.5 + spread() / 2.0).as_secs();
        let (limit, in_words) = (seconds.to_string(), format!("{}m{}s", seconds / 60, seconds % 60));
        let mut query = vec![
            ("allowWatchBookmarks", "true"),
            ("timeout", &*in_words),
            ("timeoutSeconds", &*limit),
            ("watch", "true"),
        ];
        if !version.is_empty() {
            query.push(("resourceVersion", &version));
        }
        if with_state {
            query.extend([
                ("resourceVersionMatch", "NotOlderThan"),
                ("sendInitialEvents", "true"),
            ]);
        }
        let limit = Duration::from_secs(seconds) + WATCH_GRACE;
        let answer = tokio::time::timeout(WATCH_OPENS_MAX, self.api.ask(&query, limit)).await;
        let answer = answer.unwrap_or_else(|_| Err(self.api.silent()))?;
        Ok(Stream {
            answer,
            lines: Lines::default(),
        })
    }

    /// Follows changes until the state must be read anew.
    async fn follow(&self, mut first: Option<Stream>, pause: &mut Pause) {
        loop {
            let start = Instant::now();
            let opened = match first.take() {
                Some(stream) => Ok(stream),
                None => self.watch(false).await,
            };
            let end = match opened {
                Ok(stream) => {
                    self.succeeded();
                    self.consume(stream).await
                }
                Err(failure) => End::Refused(failure),
            };
            match end {
                End::Over if start.elapsed() >= WATCH_SHORT => {}
                End::Over => pause.wait(Duration::ZERO).await,
                // It may well be that nothing was missed.
                End::Lost(failure @ Failure::Throttled { .. }) => pause.wait(failure.wait()).await,
                End::Refused(failure @ (Failure::NoAnswer(_) | Failure::Throttled { .. })) => {
                    self.failed(&failure);
                    pause.wait(failure.wait()).await;
                }
                End::Lost(Failure::Expired(error)) | End::Refused(Failure::Expired(error)) => {
                    tracing::debug!(url = %self.api.url(), %error, "Kubernetes: the watch is too old and begins anew");
                    return;
                }
                // Compat: what is said within a watch is no failed request.
                End::Lost(failure) => {
                    let (url, error) = (self.api.url(), failure);
                    tracing::warn!(discovery = "kubernetes", %url, %error, "A watch ends and begins anew");
                    return;
                }
                End::Refused(failure) => {
                    self.failed(&failure);
                    return;
                }
            }
        }
    }

    async fn consume(&self, mut stream: Stream) -> End {
        loop {
            let line = match stream.next(self).await {
                Ok(Some(line)) => line,
                Ok(None) => return End::Over,
                Err(Failure::Broken(error)) => {
                    tracing::debug!(url = %self.api.url(), %error, "Kubernetes: the watch broke and is begun again");
                    return End::Over;
                }
                Err(failure) => return End::Lost(failure),
            };
            let event = match read_event::<T>(&line) {
                Ok(event) => event,
                Err(error) => return End::Lost(self.api.unreadable(&error)),
            };
            let mut store = self.store.lock();
            match event {
                Event::Put(new) => store.put(new),
                Event::Gone(old) => store.remove(old),
                Event::Bookmark { version, .. } => store.seen(version),
                Event::Error(status) => return End::Lost(self.api.told(&status)),
                Event::Unknown => {}
            }
        }
    }

    /// One object is of no use; the others are.
    fn passed_over(&self, error: &Unreadable) {
        self.failures.inc();
        tracing::warn!(discovery = "kubernetes", url = %self.api.url(), %error, "An object is passed over");
    }

    fn failed(&self, failure: &Failure) {
        // Compat: to be asked for fewer requests is no failure
        // (`a_server_that_asks_for_patience_is_given_it_and_counts_as_no_failure`).
        if !matches!(failure, Failure::Throttled { .. }) {
            self.failures.inc();
        }
        let (url, error) = (self.api.url(), failure);
        let before = self.health.send_replace(Some(format!("{url}: {error}").into()));
        if before.is_some() {
            tracing::debug!(discovery = "kubernetes", %url, %error, "Unable to list or watch");
        } else {
            tracing::error!(discovery = "kubernetes", %url, %error, "Unable to list or watch; what was found before stays");
        }
        self.store.lock().failed();
    }

    fn succeeded(&self) {
        if self.health.send_if_modified(|health| health.take().is_some()) {
            tracing::info!(discovery = "kubernetes", url = %self.api.url(), "Listing and watching succeed again");
        }
    }
}

/// What a list says of itself.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Page {
    resource_version: Box<str>,
    r#continue: Box<str>,
}

/// A watch that is open.
struct Stream {
    answer: Response,
    lines: Lines,
}

impl Stream {
    /// The next line; one that is too long is said and passed over, so that one object costs itself and no other.
    async fn next<T: Object>(&mut self, shared: &Shared<T>) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.lines.next() {
                Ok(Some(line)) => return Ok(Some(line)),
                Ok(None) => {}
                Err(error) => {
                    shared.passed_over(&error);
                    continue;
                }
            }
            match self
                .answer
                .chunk()
                .await
                .map_err(|error| shared.api.broken(error))?
            {
                Some(piece) => self.lines.push(&piece),
                None => return Ok(None),
            }
        }
    }
}

/// Pauses between attempts.
#[derive(Debug, Default)]
struct Pause {
    next: Duration,
    last: Option<Instant>,
}

impl Pause {
    /// Waits, at least for `least`, and longer each time.
    async fn wait(&mut self, least: Duration) {
        let is_healthy = self.last.is_none_or(|last| last.elapsed() > PAUSE_FORGET);
        let base = if is_healthy { PAUSE_MIN } else { self.next };
        self.next = (base * 2).min(PAUSE_MAX);
        let by_chance = base.mul_f64(1.5 + spread() / 2.0);
        tokio::time::sleep(by_chance.max(least)).await;
        self.last = Some(Instant::now());
    }
}

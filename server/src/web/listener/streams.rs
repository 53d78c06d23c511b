//! Requests and answers of a connection: bodies that come in time, bodies that are taken in time.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use supervise::Supervisor;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tower::ServiceExt as _;

use super::conn::{Conn, PROGRESS_BYTES_MIN, Useless, WRITE_PATIENCE};
use super::heads::Protocol;
use crate::web::params::DISCARDED_BYTES_MAX;

/// Parts of an answer over HTTP/2, in bytes: a stream whose client takes no more holds one of them.
const PART_BYTES: usize = 16 << 10;

tokio::task_local! {
    /// Of the stream of HTTP/2 that the task serves.
    static PACE: Arc<Pace>;
}

/// How a client takes the answer of one stream.
#[derive(Debug, Default)]
struct Pace {
    /// When the last part was handed on, if none has been asked for since.
    handed_at: Mutex<Option<Instant>>,
}

/// Runs the streams of one connection of HTTP/2, each as a task that ends when its client does not take its answer.
#[derive(Clone)]
pub(super) struct Streams(pub(super) Arc<Conn>);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let conn = self.0.clone();
        let pace = Arc::new(Pace::default());
        tokio::spawn(async move {
            tokio::select! {
                _ = PACE.scope(pace.clone(), stream) => {}
                () = conn.is_cut() => {}
                () = stalled(&pace) => tracing::debug!(
                    client = %conn.peer,
                    "A stream was reset: the client took nothing of its answer"
                ),
            }
        });
    }
}

/// Returns once nothing of an answer was taken for too long.
async fn stalled(pace: &Pace) {
    loop {
        let handed_at = *pace.handed_at.lock();
        let until = handed_at.unwrap_or_else(Instant::now) + WRITE_PATIENCE;
        if handed_at.is_some() && until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

/// Answers the requests of one connection.
pub(super) struct Service {
    router: Router,
    conn: Arc<Conn>,
    supervisor: Supervisor,
    protocol: Protocol,
}

impl Service {
    pub(super) fn new(router: Router, conn: Arc<Conn>, supervisor: Supervisor, protocol: Protocol) -> Self {
        Service {
            router,
            conn,
            supervisor,
            protocol,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Answer>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let running = Running::begin(self.conn.clone());
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(self.conn.peer);
        if let Some(long) = parts.uri.query().and_then(|word| self.conn.targets.take(word)) {
            parts.extensions.insert(long);
        }
        let unread = Unread::default();
        let own_pace = OwnPace::default();
        parts.extensions.insert(own_pace.clone());
        // Whoever waits to be told that the body is wanted does not send it.
        let is_coming = self.protocol == Protocol::Http1 && !parts.headers.contains_key(EXPECT);
        let upload = Upload {
            body: Some(body),
            owed: Owed::new(&running),
            until: running.body_until,
            own_pace,
            clock: None,
            unread: unread.clone(),
        };
        let answer = self
            .router
            .clone()
            .oneshot(Request::from_parts(parts, Body::new(upload)));
        let (protocol, supervisor) = (self.protocol, self.supervisor.clone());
        Box::pin(async move {
            let mut answer = match supervisor.round("http request", answer).await {
                Ok(answer) => answer?,
                Err(_) => panicked(),
            };
            let unread = unread.lock().take().filter(|_| protocol == Protocol::Http1);
            if let Some(body) = unread
                && !(is_coming && discard(body, &running).await)
            {
                answer
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let pace = match protocol {
                Protocol::Http1 => None,
                Protocol::Http2 => PACE.try_with(Clone::clone).ok(),
            };
            Ok(answer.map(|body| Answer {
                body,
                rest: Bytes::new(),
                protocol,
                pace,
                running,
            }))
        })
    }
}

/// The answer where there is none.
fn panicked() -> Response<Body> {
    let mut answer = Response::new(Body::from("the request ended unexpectedly; the log says why\n"));
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    answer
}

/// A request that is being answered.
struct Running {
    conn: Arc<Conn>,
    number: u64,
    body_until: Instant,
}

impl Running {
    fn begin(conn: Arc<Conn>) -> Self {
        let (number, body_until) = conn.request_began();
        Running {
            conn,
            number,
            body_until,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.conn.request_ended(self.number);
    }
}

/// What a client still owes of its request: its connection knows since when nothing comes.
struct Owed {
    conn: Arc<Conn>,
    number: u64,
    /// That came since it was waited for.
    bytes: u64,
}

impl Owed {
    fn new(running: &Running) -> Self {
        Owed {
            conn: running.conn.clone(),
            number: running.number,
            bytes: 0,
        }
    }

    fn waits(&self) {
        self.conn.waits(self.number, Useless::NotSending);
    }

    /// Drops instead of bytes do not count: a client could send one every few seconds for ever.
    fn came(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.bytes >= PROGRESS_BYTES_MIN {
            self.bytes = 0;
            self.ended();
        }
    }

    fn ended(&self) {
        self.conn.waits_no_more(self.number);
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.ended();
    }
}

/// What is left of a request's body once it has been answered.
type Unread = Arc<Mutex<Option<Incoming>>>;

/// Reads a body that nobody wants, so that the next request can come after it; whether its end was reached.
///
/// Compat: so does Go's server. Hyper would end the connection, without a word, where the body has not come with its head
/// (Python's `requests` sends them apart): under the next request, and sometimes under the answer.
async fn discard(mut body: Incoming, running: &Running) -> bool {
    if body.size_hint().lower() > DISCARDED_BYTES_MAX as u64 {
        return false;
    }
    let mut owed = Owed::new(running);
    let all = async {
        let mut bytes = 0;
        loop {
            owed.waits();
            let Some(frame) = body.frame().await else { break };
            let Ok(frame) = frame else { return false };
            let more = frame.data_ref().map_or(0, Bytes::len);
            owed.came(more);
            bytes += more;
            if bytes > DISCARDED_BYTES_MAX {
                return false;
            }
        }
        true
    };
    timeout_at(running.body_until, all).await.unwrap_or(false)
}

/// Of a request: whoever reads its body looks after its pace, however long it takes in all.
#[derive(Clone, Debug, Default)]
pub(in crate::web) struct OwnPace(Arc<AtomicBool>);

impl OwnPace {
    /// From now on `--web.read-timeout` is no bound for the body.
    pub(in crate::web) fn take(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_taken(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request's body, which has to be there in time.
struct Upload {
    /// None after its end.
    body: Option<Incoming>,
    owed: Owed,
    until: Instant,
    own_pace: OwnPace,
    clock: Option<Pin<Box<Sleep>>>,
    unread: Unread,
}

impl Drop for Upload {
    fn drop(&mut self) {
        *self.unread.lock() = self.body.take().filter(|body| !body.is_end_stream());
    }
}

/// The body of a request did not come.
#[derive(Debug, thiserror::Error)]
enum UploadError {
    #[error("the body of the request did not come within --web.read-timeout")]
    Late,
    #[error(transparent)]
    Broken(#[from] hyper::Error),
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) {
            match &frame {
                Some(Ok(_)) if body.is_end_stream() => this.owed.ended(),
                Some(Ok(frame)) => this.owed.came(frame.data_ref().map_or(0, Bytes::len)),
                None | Some(Err(_)) => {
                    this.body = None;
                    this.owed.ended();
                }
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(UploadError::Broken)));
        }
        this.owed.waits();
        if this.own_pace.is_taken() {
            return Poll::Pending;
        }
        let until = this.until;
        let clock = this.clock.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(clock.as_mut().poll(context));
        Poll::Ready(Some(Err(UploadError::Late)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// An answer's body, handed on no faster than the client takes it.
pub(super) struct Answer {
    body: Body,
    /// Of the last part of `body`, over HTTP/2.
    rest: Bytes,
    protocol: Protocol,
    pace: Option<Arc<Pace>>,
    running: Running,
}

impl Answer {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.protocol == Protocol::Http1 {
            ready!(self.running.conn.poll_room(context));
            return Pin::new(&mut self.body).poll_frame(context);
        }
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let bytes = self.rest.len().min(PART_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(bytes)))))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(pace) = &self.pace {
            *pace.handed_at.lock() = None;
            self.running.conn.waits_no_more(self.running.number);
        }
        let part = ready!(self.poll_part(context));
        if let Some(Ok(data)) = part.as_ref().map(|part| part.as_ref().map(Frame::data_ref)) {
            let bytes = data.map_or(0, Bytes::len);
            self.running.conn.handed(bytes as u64);
            if let Some(pace) = &self.pace {
                *pace.handed_at.lock() = Some(Instant::now());
                self.running.conn.waits(self.running.number, Useless::NotReading);
            }
        }
        Poll::Ready(part)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() {
            return self.body.size_hint();
        }
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        hint.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

//! What others push in: the side of the network. What the bytes mean is read in `remote`.
//!
//! All ways in share three things. A body comes within a bound and at a pace ([`body`]), held in room that senders share
//! ([`room`]); what was read is worked on by threads of the API's own, never by those of the network, in places that are
//! shared in the same way ([`Intake::work`]). So whoever sends much, or slowly, keeps nobody else from sending.
//!
//! A way in that is switched off says by which flag it is switched on.

mod body;
pub(crate) mod gateway;
pub(crate) mod grpc;
mod import;
pub(super) mod influx;
mod lines;
pub(crate) mod otlp;
mod room;
mod write;

use std::sync::Arc;

use axum::handler::Handler;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use http::header::{RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use model::clock::Clock;
use model::storage::Appender;
use remote::write::Receiver;

use super::auth::scope::{Needs, Scope};
use super::state::StartState;
use super::{API, Cors, Routes, Trust, answer, cross_site, readiness, refuse_head};
use answer::{ApiError, RequestEnded};
use body::BodyError;
use room::{Room, Sender};

const WRITE: Needs = Needs::One(Scope::Write);

/// Largest body that is read, as sent.
pub(super) const BODY_BYTES_MAX: usize = 32 << 20;
/// Most that bodies which have come, or are coming, take together, in MiB.
const BODIES_MIB_MAX: usize = 256;
/// Bodies that are worked on at the same time, a processor.
const WORKING_PER_CORE: usize = 2;
/// Seconds after which whoever found no room may try again.
const TRY_AGAIN_SECONDS: &str = "5";

/// What the ways in have in common.
pub(crate) struct PushState {
    pub(crate) appender: Arc<dyn Appender>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) ways: Ways,
    /// Takes remote write, where it is switched on.
    pub(crate) write: Option<Arc<Receiver>>,
    /// The push gateway, where it is switched on.
    pub(crate) gateway: Option<Arc<gateway::GatewayState>>,
    /// What takes OTLP, where something does.
    otlp: Option<Arc<remote::otlp::Receiver>>,
    /// Whether that is to be had over HTTP.
    otlp_http: bool,
}

/// Ways in that are switched on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ways {
    /// Lines of InfluxDB's protocol.
    pub(crate) influx: bool,
    /// Text with times of its own.
    pub(crate) import: bool,
}

/// What senders share.
pub(crate) struct Intake {
    /// Of bodies, in MiB.
    bodies: Room,
    /// Of threads.
    working: Room,
}

impl PushState {
    pub(crate) fn new(appender: Arc<dyn Appender>, clock: Arc<dyn Clock>) -> Self {
        PushState {
            appender,
            clock,
            intake: Arc::default(),
            ways: Ways::default(),
            write: None,
            gateway: None,
            otlp: None,
            otlp_http: false,
        }
    }

    /// The same with what takes OTLP; over `http` if so.
    pub(crate) fn with_otlp(self, otlp: Option<Arc<remote::otlp::Receiver>>, http: bool) -> Self {
        PushState {
            otlp,
            otlp_http: http,
            ..self
        }
    }

    /// As [`Intake::work`].
    async fn work<T: Send + 'static>(
        &self,
        sender: &Sender,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PushError> {
        self.intake.work(sender, work).await
    }
}

impl Default for Intake {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Intake {
            bodies: Room::new(BODIES_MIB_MAX),
            working: Room::new(cores * WORKING_PER_CORE),
        }
    }
}

impl Intake {
    /// Does `work` off the threads of the network, once it is the sender's turn.
    async fn work<T: Send + 'static>(
        &self,
        sender: &Sender,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PushError> {
        let place = self.working.take(sender, 1).await;
        let done = answer::blocking(move || {
            // Also where nobody waits any more: the place is free when the work is done.
            let _place = place;
            Ok::<T, RequestEnded>(work())
        });
        Ok(done.await?)
    }
}

/// Why something pushed was not even looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum PushError {
    /// Its body did not come as it should.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The server ends.
    #[error(transparent)]
    Ended(#[from] RequestEnded),
}

impl IntoResponse for PushError {
    fn into_response(self) -> Response {
        let error = match self {
            PushError::Body(error) => error,
            PushError::Ended(error) => return ApiError::from(error).into_response(),
        };
        let status = match error {
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Broken { .. } => StatusCode::BAD_REQUEST,
            // Not 408, the proper word: senders take each 4xx for the last one.
            BodyError::TooSlow { .. } | BodyError::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut response = plain(status, format!("{error}\n"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, http::HeaderValue::from_static(TRY_AGAIN_SECONDS));
        }
        response
    }
}

/// An answer of text, as Go's errors are.
fn plain(status: StatusCode, text: impl Into<axum::body::Body>) -> Response {
    let mut response = (status, [(X_CONTENT_TYPE_OPTIONS, "nosniff")], text.into()).into_response();
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// The ways in.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(base: Base<'_>) -> Routes<S> {
    let write = match base.push.write.clone() {
        Some(receiver) => base.post(move |state, request| write::write(state, receiver, request)),
        None => base.off("remote write", "web.enable-remote-write-receiver"),
    };
    let routes = Routes::new(format!("{}{API}", base.prefix))
        .add("/write", WRITE, write)
        .add(
            "/otlp/v1/metrics",
            WRITE,
            match base.push.otlp_http {
                true => base.post(otlp::export),
                false => base.off("otlp write", "web.enable-otlp-receiver"),
            },
        );
    let routes = influx::add_to(import::add_to(routes, base), base);
    gateway::add_to(routes, base)
}

/// What routes are made of, whichever site they are of.
#[derive(Clone, Copy)]
pub(super) struct Base<'s> {
    pub(super) push: &'s Arc<PushState>,
    pub(super) start: &'s Arc<StartState>,
    /// In front of everything, without a slash at its end.
    pub(super) prefix: &'s str,
    /// Whether administrative actions are allowed.
    pub(super) admin: bool,
    pub(super) cors: &'s Cors,
    pub(super) trust: &'s Arc<Trust>,
}

impl Base<'_> {
    /// A route that takes POST: once the log is read, and from no foreign page, since a page may send bytes of no type without
    /// asking for leave. Compat: answers bear no headers but their own (`push/status`).
    fn post<H, T, S>(self, handler: H) -> MethodRouter<S>
    where
        H: Handler<T, Arc<PushState>>,
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        let cors = self.cors.clone();
        post(handler)
            .layer(middleware::from_fn_with_state(
                self.start.clone(),
                readiness::layer,
            ))
            .layer(middleware::from_fn_with_state(
                self.trust.clone(),
                cross_site::layer,
            ))
            .options(move |headers: HeaderMap| async move { cors.preflight(&headers) })
            .fallback(|| refuse_head("OPTIONS, POST"))
            .with_state(self.push.clone())
    }

    /// One that is switched off. Compat: the words are the reference's (`push/status`).
    fn off<S: Clone + Send + Sync + 'static>(
        self,
        what: &'static str,
        flag: &'static str,
    ) -> MethodRouter<S> {
        let text = move || async move {
            let text = format!("{what} receiver needs to be enabled with --{flag}\n");
            plain(StatusCode::NOT_FOUND, text)
        };
        self.post(text)
    }
}

//! `/api/v1/read`: what others read of the store.
//!
//! An answer is made and sent as those of queries are: on threads for work that takes long, put aside while the client does
//! not read, and accounted for among the memory of queries. Streams are made series by series.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use metrics::{Gauge, Registry};
use promql::engine::{CancelHandle, Search};
use remote::read::{
    AnswerError, Answering, Query, REQUEST_BYTES_MAX, ReadRequest, RequestError, ResponseType,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::answer::CancelOnDrop;
use super::api::{Answer, Route};
use super::chunks::{self, ChunkSink};
use super::push::{Base, PushState, plain};
use super::state::{QueryState, Site};
use super::{Cors, READ, Trust};
use crate::cli::serve_options::ReadOptions;
use crate::reload::ConfigStatus;

/// Where it lies in the API.
const PATTERN: &str = "/read";

/// Bytes of a whole answer that are handed on together.
const PIECE_BYTES: usize = 64 << 10;

/// Remote read.
pub(crate) struct ReadState {
    query: Arc<QueryState>,
    /// Knows the external labels.
    config: Arc<ArcSwap<ConfigStatus>>,
    /// Places for requests that are answered at the same time; none for any number.
    places: Option<Arc<Semaphore>>,
    queries: Gauge,
    options: ReadOptions,
}

impl ReadState {
    pub(crate) fn new(
        query: Arc<QueryState>,
        config: Arc<ArcSwap<ConfigStatus>>,
        options: ReadOptions,
        registry: &Registry,
    ) -> Self {
        let places = (options.concurrent_max > 0).then(|| Arc::new(Semaphore::new(options.concurrent_max)));
        ReadState {
            query,
            config,
            places,
            queries: registry.gauge(
                "prometheus_remote_read_handler_queries",
                "The current number of remote read queries that are either in execution or queued on the handler.",
            ),
            options,
        }
    }

    /// Waits for a place; to be kept until the answer has been sent.
    async fn turn(&self) -> Turn {
        let counted = Counted::new(&self.queries);
        let place = match &self.places {
            // Never closed.
            Some(places) => places.clone().acquire_owned().await.ok(),
            None => None,
        };
        Turn {
            _place: place,
            _counted: counted,
        }
    }
}

/// A request whose turn it is.
struct Turn {
    _place: Option<OwnedSemaphorePermit>,
    _counted: Counted,
}

/// A request that is counted.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The route.
pub(super) fn route(site: &Site, cors: &Cors, trust: &Arc<Trust>) -> Route {
    Route::new(PATTERN, &["post"], READ, Base { site, cors, trust }.post(read))
        .about("Answers other servers by remote read, with samples or streamed chunks.")
        .takes_body("application/x-protobuf")
        .answers_as(Answer::Bytes(&[
            "application/x-protobuf",
            "application/x-streamed-protobuf",
        ]))
}

/// Answers a request.
async fn read(
    State(state): State<Arc<ReadState>>,
    State(push): State<Arc<PushState>>,
    request: Request,
) -> Response {
    let body = match push.read(request, REQUEST_BYTES_MAX).await {
        Ok(pushed) => pushed,
        Err(error) => return super::push::PushError::from(error).into_response(),
    };
    let turn = state.turn().await;
    let asked = ReadRequest::decode(body.bytes()).and_then(|asked| Ok((asked.response_type()?, asked)));
    drop(body);
    match asked {
        Ok((form, asked)) => answer(&state, form, asked.queries, turn).await,
        Err(error) => refuse(&error),
    }
}

/// Compat: all that is wrong with a request is 400 (push: `body/*`).
fn refuse(error: &RequestError) -> Response {
    plain(StatusCode::BAD_REQUEST, format!("{error}\n"))
}

async fn answer(state: &ReadState, form: ResponseType, queries: Vec<Query>, turn: Turn) -> Response {
    let cancel = CancelHandle::new();
    let mut hung_up = CancelOnDrop(cancel.clone());
    let search = state.query.engine.search(cancel);
    let answering = Answering {
        storage: state.query.storage.clone(),
        external_labels: state.config.load().external_labels.clone(),
        watch: search.watch(),
        options: state.options.answers,
    };
    let (began, head) = oneshot::channel();
    let (sink, body) = chunks::channel();
    let writing = Writing { search, began, sink };
    let supervisor = state.query.supervisor.clone();
    tokio::task::spawn_blocking(move || {
        let writer = async move {
            match form {
                ResponseType::Samples => writing.whole(&answering, &queries).await,
                ResponseType::Chunks => writing.streamed(answering, queries).await,
            }
            drop(turn);
        };
        chunks::write(&supervisor, writer);
    });
    let body = match head.await {
        Ok(Ok(())) => body.into_body().await,
        Ok(Err(Refused { status, text })) => return plain(status, text),
        // It panicked, which was told where it happened.
        Err(_) => None,
    };
    // From here on the client's end is seen where the body is written.
    hung_up.0 = CancelHandle::new();
    match body {
        Some(body) => respond(form, body),
        None => plain(StatusCode::INTERNAL_SERVER_ERROR, "the answer was given up\n"),
    }
}

fn respond(form: ResponseType, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    match form {
        ResponseType::Samples => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        }
        ResponseType::Chunks => {
            let of_frames = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(of_frames));
        }
    }
    response
}

/// Why there is no answer.
struct Refused {
    status: StatusCode,
    text: String,
}

/// What writes an answer.
struct Writing {
    /// Accounts for it as long as it is there.
    search: Search,
    /// Where whether there is one is told, before any of it is sent.
    began: oneshot::Sender<Result<(), Refused>>,
    sink: ChunkSink,
}

impl Writing {
    async fn whole(self, answering: &Answering, queries: &[Query]) {
        let Writing {
            search,
            began,
            mut sink,
        } = self;
        let message = match answering.samples(queries) {
            Ok(message) => message,
            Err(error) => {
                // Whoever asked may be gone.
                let _ = began.send(Err(refused(&error, &search)));
                return;
            }
        };
        let _ = began.send(Ok(()));
        for piece in message.chunks(PIECE_BYTES) {
            sink.extend_from_slice(piece);
            if sink.is_full() && !sink.hand_on().await {
                return;
            }
        }
        sink.finish().await;
    }

    async fn streamed(self, answering: Answering, queries: Vec<Query>) {
        let Writing {
            search,
            began,
            mut sink,
        } = self;
        let mut began = Some(began);
        let mut stream = answering.stream(queries);
        loop {
            let put = stream.put_next(&mut sink);
            if let (Err(error), Some(began)) = (&put, began.take_if(|_| put.is_err())) {
                let _ = began.send(Err(refused(error, &search)));
                return;
            }
            if let Some(began) = began.take() {
                let _ = began.send(Ok(()));
            }
            match put {
                Ok(true) if sink.is_full() && !sink.hand_on().await => return,
                Ok(true) => {}
                Ok(false) => break,
                // Compat: the status is sent already, so its text stands behind the frames, where it is no frame (push:
                // `bad-regexp-second-query/chunks`).
                Err(error) => {
                    sink.extend_from_slice(refused(&error, &search).text.as_bytes());
                    break;
                }
            }
        }
        sink.finish().await;
    }
}

/// What a client is told. Why a read was interrupted says more than that it was.
fn refused(error: &AnswerError, search: &Search) -> Refused {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let why = match error.is_interruption() {
        true => search.finish().err().map(|why| why.to_string()),
        false => None,
    };
    Refused {
        status,
        text: format!("{}\n", why.unwrap_or_else(|| error.to_string())),
    }
}

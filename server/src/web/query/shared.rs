//! Queries whose answers may be kept: the front end is asked first, and what it has not is evaluated once for all who ask
//! the same at the same time.

use std::sync::Arc;
use std::time::Instant;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use promql::engine::{QueryOptions, QueryOutput};

use super::super::answer::{ApiError, RequestEnded, json_response};
use super::super::chunks::{self, ChunkSink};
use super::super::state::QueryState;
use super::{Answer, Asked, ended, send};
use crate::queries::{Landed, Landing, Origin, QueryTimes};

/// Tells that an answer was kept, and nothing evaluated for it.
const CACHE: HeaderName = HeaderName::from_static("x-narthex-cache");

/// The answer to `asked`.
pub(super) async fn answer(
    state: Arc<QueryState>,
    asked: Asked,
    origin: Origin,
    stats_warning: Option<String>,
) -> Response {
    let asked = Arc::new(asked);
    if let Some(output) = state.queries.known(&asked.question(&origin)) {
        let mut response = written(&state, asked, Arc::new(output), stats_warning).await;
        response
            .headers_mut()
            .insert(CACHE, HeaderValue::from_static("hit"));
        return response;
    }
    let flights = &state.queries.flights;
    let begun = flights.begun();
    loop {
        let (sink, chunks) = chunks::channel();
        let ticket = flights.board(&asked.question(&origin).same(), |landing| {
            let flight = Flight {
                state: state.clone(),
                asked: asked.clone(),
                origin: origin.clone(),
                stats_warning: stats_warning.clone(),
                sink,
            };
            // A query's panic is caught where it is evaluated; one of this task leaves everybody without an answer.
            tokio::spawn(flight.take_off(landing));
        });
        let number = ticket.number();
        // Whoever evaluates writes the answer for the one who began.
        if !ticket.is_late()
            && let Some(body) = chunks.into_body().await
        {
            return json_response(StatusCode::OK, body);
        }
        let Some(landed) = ticket.landed().await else {
            return ended().into_response();
        };
        if number <= begun && state.queries.has_changed_since(&landed) {
            continue;
        }
        return match &landed.result {
            Ok(output) => written(&state, asked, output.clone(), stats_warning).await,
            Err(error) => ApiError::of(error).into_response(),
        };
    }
}

/// What takes a question to its answer.
struct Flight {
    state: Arc<QueryState>,
    asked: Arc<Asked>,
    origin: Origin,
    stats_warning: Option<String>,
    sink: ChunkSink,
}

impl Flight {
    async fn take_off(self, landing: Landing) {
        let Flight {
            state,
            asked,
            origin,
            stats_warning,
            sink,
        } = self;
        let timeout = asked.options.timeout;
        let turn = match state.queries.turn(&asked.query, &origin, timeout).await {
            Ok(turn) => turn,
            Err(error) => {
                landing.land(Landed::failed(error));
                return;
            }
        };
        tokio::task::spawn_blocking(move || {
            let (begin, mut question) = (Instant::now(), asked.question(&origin));
            question.options = QueryOptions {
                cancel: landing.cancel().clone(),
                ..question.options
            };
            let Ok(landed) = state
                .supervisor
                .catch("query", || state.queries.run_shared(&turn, question))
            else {
                return;
            };
            let times = QueryTimes {
                waited: turn.waited,
                total: turn.waited + begin.elapsed(),
            };
            drop(turn);
            let landed = landing.land(landed);
            if let Ok(output) = &landed.result {
                let output = output.clone();
                send(&state, sink, asked, Answer { output, times }, stats_warning);
            }
        });
    }
}

/// A response with an answer that is there already.
async fn written(
    state: &Arc<QueryState>,
    asked: Arc<Asked>,
    output: Arc<QueryOutput>,
    stats_warning: Option<String>,
) -> Response {
    let (sink, chunks) = chunks::channel();
    let (state, times) = (state.clone(), QueryTimes::default());
    tokio::task::spawn_blocking(move || {
        send(&state, sink, asked, Answer { output, times }, stats_warning);
    });
    match chunks.into_body().await {
        Some(body) => json_response(StatusCode::OK, body),
        None => ApiError::from(RequestEnded).into_response(),
    }
}

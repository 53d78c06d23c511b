//! Unit tests of `readiness`.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use futures_util::future::join_all;
use http::Method;
use http::header::CONTENT_TYPE;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::super::form::FORM_BYTES_MAX;
use super::super::params::{LARGE_FORMS_MIB_MAX, Params};
use super::*;

fn state(folder: &std::path::Path) -> Arc<StartState> {
    let files = Arc::new(files::DiskFiles);
    let clock = Arc::new(model::clock::SystemClock);
    let db = tsdb::db::Db::open_blocks(files, folder, tsdb::db::Options::default(), clock);
    Arc::new(StartState {
        ready: watch::Sender::new(false),
        progress: Arc::default(),
        patience: std::time::Duration::from_secs(120),
        stop: CancellationToken::new(),
        store: Arc::new(db.expect("a store")),
        calls_itself: "Prometheus Server",
    })
}

/// A route that needs the log, and answers with the length of what it was asked.
fn site(state: &Arc<StartState>) -> Router {
    let seen = state.clone();
    let answer = async move |params: Params| match *seen.ready.borrow() {
        true => params.get("query").len().to_string().into_response(),
        false => not_yet(),
    };
    Router::new()
        .route("/api/v1/query", post(answer))
        .layer(from_fn_with_state(state.clone(), layer))
}

fn ask(bytes: usize) -> Request {
    let body = format!("query={}", "x".repeat(bytes));
    Request::builder()
        .method(Method::POST)
        .uri("/api/v1/query")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        // Without a length, it counts as one of the largest.
        .body(Body::from(body))
        .expect("a request")
}

#[tokio::test]
async fn forms_that_wait_for_the_log_are_bounded_together() {
    let folder = tempfile::tempdir().expect("folder");
    let state = state(folder.path());
    let site = site(&state);
    let fit = LARGE_FORMS_MIB_MAX / (FORM_BYTES_MAX >> 20);
    let answers = (0..fit + 3).map(|number| {
        let (site, state) = (site.clone(), state.clone());
        async move {
            let status = site.oneshot(ask(number)).await.expect("answers").status();
            // Whoever finds no room is told at once: the others wait still.
            if status != StatusCode::OK {
                assert!(!*state.ready.borrow());
            }
            status
        }
    });
    let refused_then_ready = async {
        // All have had their turn when this has one: the log is read once all are waiting or refused.
        tokio::task::yield_now().await;
        state.ready.send_replace(true);
    };
    let (statuses, ()) = tokio::join!(join_all(answers), refused_then_ready);
    let answered = statuses
        .iter()
        .filter(|status| **status == StatusCode::OK)
        .count();
    let refused = statuses
        .iter()
        .filter(|status| **status == StatusCode::SERVICE_UNAVAILABLE)
        .count();
    assert_eq!((answered, refused), (fit, 3), "{statuses:?}");

    // What waited is what is answered, whatever its length; what is too long is refused as ever. Here and not in tests of
    // their own: all of this process share the room.
    state.ready.send_replace(false);
    let waiting = tokio::spawn(site.clone().oneshot(ask(70_000)));
    let too_large = site.clone().oneshot(ask(FORM_BYTES_MAX)).await;
    assert_eq!(too_large.expect("answers").status(), StatusCode::BAD_REQUEST);
    state.ready.send_replace(true);
    let answer = waiting.await.expect("no panic").expect("answers");
    let body = axum::body::to_bytes(answer.into_body(), 100).await;
    assert_eq!(body.expect("body"), "70000");
}

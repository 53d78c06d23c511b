//! `POST /api/v1/import/prometheus`: the text format with times of its own, pushed; `--web.enable-import`, or with the
//! administrative actions.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_ENCODING;
use remote::import::{Rules, read};
use remote::intake::Intake;

use super::lines::{self, LinesError, Parameters};
use super::{BODY_BYTES_MAX, Base, PushState, Routes, WRITE};

const PATH: &str = "/import/prometheus";

/// Adds the route to those of a server's API.
pub(super) fn add_to<S: Clone + Send + Sync + 'static>(routes: Routes<S>, base: Base<'_>) -> Routes<S> {
    match base.push.ways.import || base.admin {
        true => routes.add(PATH, WRITE, base.post(import)),
        false => {
            let pattern = format!("{}{PATH}", routes.prefix);
            let off = base.off("import", "web.enable-import");
            routes.map(|router| router.route(&pattern, off))
        }
    }
}

fn rules(request: &Request) -> Result<Rules, LinesError> {
    let parameters = Parameters::of(request)?;
    let timestamp_ms = match parameters.first("timestamp") {
        "" => None,
        given => Some(
            given
                .parse()
                .map_err(|_| LinesError::Timestamp(given.to_owned()))?,
        ),
    };
    Ok(Rules {
        timestamp_ms,
        extra_labels: parameters.extra_labels,
    })
}

async fn import(State(state): State<Arc<PushState>>, request: Request) -> Response {
    let rules = match rules(&request) {
        Ok(rules) => rules,
        Err(error) => return lines::refused(StatusCode::BAD_REQUEST, &error),
    };
    let pushed = match state.read(request, BODY_BYTES_MAX).await {
        Ok(pushed) => pushed,
        Err(error) => return super::PushError::from(error).into_response(),
    };
    let (sender, shared) = (pushed.sender.clone(), state.clone());
    let work = move || {
        let encoding = lines::header(&pushed.parts.headers, &CONTENT_ENCODING);
        let body = lines::inflated(pushed.body, encoding)?;
        let intake = Intake {
            appender: &*shared.appender,
            now_ms: shared.clock.now_ms(),
        };
        Ok(read(&body, &rules, &intake))
    };
    match state.work(&sender, work).await {
        Ok(done) => lines::answer(done),
        Err(error) => error.into_response(),
    }
}

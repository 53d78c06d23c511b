//! `POST /api/v1/import`, JSON lines, and `POST /api/v1/import/prometheus`, text with times of its own: dumps of any length
//! and age, read as they come; `GET /api/v1/import` tells how far they are. `--web.enable-import`, or with the
//! administrative actions.
//!
//! An import is read piece by piece, each on its sender's turn, and no thread waits for the next one.

mod jobs;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::request::Parts;
use remote::import::{Form, Importer, Rules, Stores};
use remote::inflate::Stream;
use remote::intake::Outcome;
use tokio::time::timeout;

use super::body::{BodyError, Paced, ROOM_PATIENCE};
use super::lines::{self, LinesError, Parameters, header};
use super::room::{Room, Sender};
use super::{Base, PushError, PushState, Route, Routes, WRITE, pushing};
use crate::web::answer::success_json;
use crate::web::api::answers;
use crate::web::api::parameter::{Kind, Parameter};
use crate::web::listener::OwnPace;
use jobs::Jobs;

/// Paths, and what lines are there.
const FORMS: [(&str, Form); 2] = [("/import", Form::Json), ("/import/prometheus", Form::Text)];
/// Imports at the same time, half of them of one sender; others wait.
const IMPORTS_MAX: usize = 4;
/// Bytes of a body that are read in one turn.
const PIECE_BYTES: usize = 1 << 20;

const TIMESTAMP: Parameter = Parameter::new(
    "timestamp",
    Kind::Whole,
    "The time of samples that have none of their own, in milliseconds; now by default.",
);
const EXTRA_LABEL: Parameter = Parameter::new(
    lines::EXTRA_LABEL,
    Kind::Texts,
    "A label that all samples get: NAME=VALUE.",
);

/// What imports have in common.
pub(crate) struct ImportState {
    stores: Stores,
    room: Room,
    jobs: Jobs,
}

impl ImportState {
    pub(crate) fn new(stores: Stores) -> Self {
        ImportState {
            stores,
            room: Room::new(IMPORTS_MAX),
            jobs: Jobs::default(),
        }
    }
}

/// Adds the routes to those of a server's API.
pub(super) fn add_to(mut routes: Routes, base: Base<'_>) -> Routes {
    for (path, form) in FORMS {
        let Some(imports) = base.site.push.import.clone() else {
            let pattern = format!("{}{path}", routes.prefix);
            let off = base.off("import", "web.enable-import");
            routes = routes.map(|router| router.route(&pattern, off));
            continue;
        };
        let listed = imports.clone();
        let import = move |State(push): State<Arc<PushState>>, request: Request| async move {
            match import(&push, &imports, (path, form), request).await {
                Ok(done) => lines::answer(done),
                Err(error) => error.into_response(),
            }
        };
        let route = match form {
            Form::Json => {
                let list = || async move { success_json(&listed.jobs.list()) };
                Route::new(path, &["get", "post"], WRITE, base.post(import).get(list))
                    .about("Takes lines of JSON, of any age; or lists the newest imports.")
                    .answers(answers::imports)
                    .takes_body("application/stream+json")
            }
            Form::Text => pushing(path, base.post(import))
                .about("Takes text with times of its own, of any age.")
                .takes_body("text/plain"),
        };
        routes = routes.describe(route.takes([TIMESTAMP, EXTRA_LABEL]).fails_as(answers::refusal));
    }
    routes
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

async fn import(
    push: &PushState,
    imports: &ImportState,
    (path, form): (&'static str, Form),
    request: Request,
) -> Result<Result<Outcome, LinesError>, PushError> {
    let rules = match rules(&request) {
        Ok(rules) => rules,
        Err(error) => return Ok(Err(error)),
    };
    let sender = Sender::of(&request);
    let (parts, body) = request.into_parts();
    let encoding = header(&parts.headers, &CONTENT_ENCODING);
    let Some(stream) = Stream::of_encoding(encoding) else {
        return Ok(Err(LinesError::Encoding(encoding.to_owned())));
    };
    let _place = timeout(ROOM_PATIENCE, imports.room.take(&sender, 1))
        .await
        .map_err(|_| BodyError::NoRoom)?;
    if let Some(pace) = parts.extensions.get::<OwnPace>() {
        pace.take();
    }
    let job = imports
        .jobs
        .begin(path, &sender, length(&parts), imports.stores.clock.now_ms());
    let work = Work {
        importer: Importer::new(form, rules, imports.stores.clone(), job.progress()),
        stream,
        broken: None,
    };
    let outcome = work.all(push, &sender, body).await?;
    job.ended(&outcome, imports.stores.clock.now_ms());
    Ok(Ok(outcome))
}

fn length(parts: &Parts) -> Option<u64> {
    header(&parts.headers, &CONTENT_LENGTH).parse().ok()
}

/// An import under way.
struct Work {
    importer: Importer,
    stream: Stream,
    /// The stream is not what it is said to be.
    broken: Option<std::io::Error>,
}

impl Work {
    /// Reads all of a body.
    async fn all(mut self, push: &PushState, sender: &Sender, body: Body) -> Result<Outcome, PushError> {
        let mut body = Paced::new(body);
        while let Some(piece) = body.piece(PIECE_BYTES).await? {
            self = push.work(sender, move || self.read(&piece)).await?;
            if self.broken.is_some() || self.importer.has_failed() {
                break;
            }
        }
        push.work(sender, move || self.finish()).await
    }

    fn read(mut self, piece: &Bytes) -> Self {
        let inflated = self.stream.inflate(piece, |bytes| self.importer.read(bytes));
        self.broken = inflated.err();
        self
    }

    /// What was read before something broke is stored like anything else.
    fn finish(mut self) -> Outcome {
        let finished = match self.broken {
            Some(error) => Err(error),
            None => self.stream.finish(|bytes| self.importer.read(bytes)),
        };
        let mut outcome = self.importer.finish();
        if let Err(error) = finished {
            outcome.refuse_line(LinesError::Gzip(error).to_string());
        }
        outcome
    }
}

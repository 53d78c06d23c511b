//! `/api/v2/history`, which is ours: what happened to alerts, notifications and silences, and why.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use notify::history::{AlertChange, Event, EventKind, Notified, SilenceChange, Suppression, What};
use notify::{HistoryPage, HistoryQuery};
use serde::Serialize;

use super::answer::{Fault, json};
use super::request::{Query, TakesJson};
use super::state::AlertmanagerState;
use super::time;
use crate::web::answer::blocking;

/// Events of an answer where nothing is said.
const LIMIT: usize = 100;
/// Events of an answer, at most.
const LIMIT_MAX: usize = 1000;

/// `GET`: events that are like what is asked for, newest first.
pub(super) async fn list(
    State(state): State<Arc<AlertmanagerState>>,
    _: TakesJson,
    query: Query,
) -> Result<Response, Fault> {
    let alertmanager = state.alertmanager()?;
    let wanted = HistoryQuery {
        matchers: query.filter(alertmanager.syntax())?,
        receiver: query.receiver()?,
        kinds: kinds(&query)?,
        start: query.time("start")?,
        end: query.time("end")?,
        before: query.number("cursor")?,
        limit: query.number_in("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT),
    };
    blocking(move || match alertmanager.history(&wanted) {
        Some(page) => Ok(json(&Page::new(&page))),
        None => Err(Fault::Asked(
            StatusCode::NOT_FOUND,
            "no history is kept: its retention is 0 on the command line".to_owned(),
        )),
    })
    .await
}

/// The kinds of all `kind`; all where there is none.
fn kinds(query: &Query) -> Result<Vec<EventKind>, Fault> {
    let kind = |word: &str| {
        let known = EventKind::ALL.into_iter().find(|kind| kind.as_str() == word);
        known.ok_or_else(|| {
            let known = EventKind::ALL.map(EventKind::as_str).join(", ");
            Fault::bad(format_args!("unknown kind {word:?}: there are {known}"))
        })
    };
    let kinds: Vec<EventKind> = query.all("kind").map(kind).collect::<Result<_, _>>()?;
    Ok(match kinds.is_empty() {
        true => EventKind::ALL.to_vec(),
        false => kinds,
    })
}

#[derive(Serialize)]
struct Page<'p> {
    events: Vec<Shown<'p>>,
    /// A text, as clients are to take it as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'p [String],
}

#[derive(Serialize)]
struct Shown<'p> {
    id: u64,
    time: String,
    kind: &'static str,
    #[serde(flatten)]
    what: Fields<'p>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'p> {
    Alert(&'p AlertChange),
    Notification(&'p Notified),
    Suppressed(&'p Suppression),
    Silence(&'p SilenceChange),
}

impl<'p> Page<'p> {
    fn new(page: &'p HistoryPage) -> Self {
        Page {
            events: page.events.iter().map(Shown::new).collect(),
            next: page.next.map(|next| next.to_string()),
            warnings: &page.warnings,
        }
    }
}

impl<'p> Shown<'p> {
    fn new(event: &'p Event) -> Self {
        Shown {
            id: event.id,
            time: time::utc_text(event.time),
            kind: event.what.kind().as_str(),
            what: match &event.what {
                What::Alert(change) => Fields::Alert(change),
                What::Notification(notified) => Fields::Notification(notified),
                What::Suppressed(suppression) => Fields::Suppressed(suppression),
                What::Silence(change) => Fields::Silence(change),
            },
        }
    }
}

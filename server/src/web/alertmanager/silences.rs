//! `/api/v2/silences`, `/api/v2/silence/{id}`: looking at silences, making, changing and ending them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use model::go::Quoted;
use notify::matcher::{MatchOp, Matcher, Matchers};
use notify::{PostedSilence, Silence, SilenceError, SilenceState};
use serde::Serialize;

use super::answer::{Code, Fault, json};
use super::request::{JsonBody, Query, TakesJson};
use super::state::AlertmanagerState;
use super::{decode, time};
use crate::web::answer::blocking;
use crate::web::auth::scope::Asker;

/// `GET`: silences of the states that are asked for: first those that end soonest, then those that begin soonest, then
/// those that ended last.
pub(super) async fn list(
    State(state): State<Arc<AlertmanagerState>>,
    _: TakesJson,
    query: Query,
) -> Result<Response, Fault> {
    let alertmanager = state.alertmanager()?;
    let filter = query.filter(alertmanager.syntax())?;
    let wanted = SilenceState::ALL.map(|state| query.switch(state.as_str()));
    blocking(move || {
        let is_wanted = |silence: &Silence| {
            let state = alertmanager.silence_state(silence);
            let at = SilenceState::ALL.iter().position(|known| *known == state);
            at.is_some_and(|at| wanted[at]) && fits(silence, &filter)
        };
        let mut found: Vec<(SilenceState, Arc<Silence>)> = alertmanager
            .silences(is_wanted)
            .into_iter()
            .map(|silence| (alertmanager.silence_state(&silence), silence))
            .collect();
        found.sort_by(order);
        let shown: Vec<_> = found
            .iter()
            .map(|(state, silence)| Shown::new(silence, *state))
            .collect();
        Ok(json(&shown))
    })
    .await
}

/// Whether each matcher of a filter is one of the silence's own.
fn fits(silence: &Silence, filter: &Matchers) -> bool {
    let has = |own: &Matchers| {
        filter
            .iter()
            .all(|wanted| own.iter().any(|matcher| matcher == wanted))
    };
    silence.matchers.iter().any(has)
}

fn order(
    (state_a, a): &(SilenceState, Arc<Silence>),
    (state_b, b): &(SilenceState, Arc<Silence>),
) -> Ordering {
    state_a.cmp(state_b).then_with(|| match state_a {
        SilenceState::Active => a.ends_at.cmp(&b.ends_at),
        SilenceState::Pending => a.starts_at.cmp(&b.starts_at),
        SilenceState::Expired => b.ends_at.cmp(&a.ends_at),
    })
}

#[derive(Serialize)]
struct Made {
    #[serde(rename = "silenceID")]
    silence_id: String,
    /// Of ours, where there is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// `POST`: makes a silence, or changes the one whose id it has.
pub(super) async fn post(
    State(state): State<Arc<AlertmanagerState>>,
    asker: Option<Extension<Asker>>,
    body: JsonBody,
) -> Result<Response, Fault> {
    let alertmanager = state.alertmanager()?;
    let silence = decode::silence(&body.bytes)?;
    check_times(&silence, alertmanager.now())?;
    let (author, comment) = (silence.created_by.clone(), silence.comment.clone());
    let replaces = silence.id.clone();
    let by = name_of(&asker);
    let made = alertmanager.put_silence(silence, by).await.map_err(put_fault)?;
    tracing::info!(id = made.id, replaces, author, comment, by, "Silence set");
    Ok(json(&Made {
        silence_id: made.id,
        warnings: made.breadth.iter().map(ToString::to_string).collect(),
    }))
}

fn check_times(silence: &PostedSilence, now: jiff::Timestamp) -> Result<(), Fault> {
    if silence.starts_at >= silence.ends_at {
        return Err(Fault::bad(
            "Failed to create silence: start time must be before end time",
        ));
    }
    if silence.ends_at.is_some_and(|end| end < now) {
        return Err(Fault::bad(
            "Failed to create silence: end time can't be in the past",
        ));
    }
    Ok(())
}

fn put_fault(error: SilenceError) -> Fault {
    let status = match error {
        SilenceError::NotFound => StatusCode::NOT_FOUND,
        SilenceError::Commit(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    Fault::Asked(status, error.to_string())
}

/// `GET` of one.
pub(super) async fn get(
    State(state): State<Arc<AlertmanagerState>>,
    _: TakesJson,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let (alertmanager, id) = (state.alertmanager()?, uuid(&id)?);
    let silence = alertmanager
        .silence(&id)
        .ok_or(Fault::Bare(StatusCode::NOT_FOUND))?;
    Ok(json(&Shown::new(&silence, alertmanager.silence_state(&silence))))
}

/// `DELETE` of one: ends it.
pub(super) async fn expire(
    State(state): State<Arc<AlertmanagerState>>,
    _: TakesJson,
    asker: Option<Extension<Asker>>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let (alertmanager, id) = (state.alertmanager()?, uuid(&id)?);
    let by = name_of(&asker);
    match alertmanager.expire_silence(&id, by).await {
        Ok(()) => {
            tracing::info!(id, by, "Silence ended");
            Ok(StatusCode::OK.into_response())
        }
        Err(SilenceError::NotFound) => Err(Fault::Bare(StatusCode::NOT_FOUND)),
        Err(error) => Err(Fault::Asked(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// The name of who asks, where requests have one.
fn name_of(asker: &Option<Extension<Asker>>) -> Option<&str> {
    asker.as_ref().map(|Extension(Asker(name))| &**name)
}

/// An id in any of the forms in which UUIDs are written.
fn uuid(text: &str) -> Result<String, Fault> {
    let inner = match text.len() {
        45 if text[..9.min(text.len())].eq_ignore_ascii_case("urn:uuid:") => &text[9..],
        38 if text.starts_with('{') && text.ends_with('}') => &text[1..37],
        _ => text,
    };
    let is_uuid = match inner.len() {
        36 => inner.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        }),
        32 => inner.bytes().all(|byte| byte.is_ascii_hexdigit()),
        _ => false,
    };
    if is_uuid {
        return Ok(text.to_owned());
    }
    let message = format!("silenceID in path must be of type uuid: {}", Quoted(text));
    Err(Fault::Value(Code::Type, message))
}

/// A silence as the API shows it, in the reference's order of fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'s> {
    id: &'s str,
    status: ShownStatus,
    updated_at: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'s BTreeMap<String, String>,
    comment: &'s str,
    created_by: &'s str,
    ends_at: String,
    matchers: Vec<ShownMatcher<'s>>,
    starts_at: String,
}

#[derive(Serialize)]
struct ShownStatus {
    state: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownMatcher<'s> {
    is_equal: bool,
    is_regex: bool,
    name: &'s str,
    value: &'s str,
}

impl<'s> Shown<'s> {
    fn new(silence: &'s Silence, state: SilenceState) -> Self {
        // Compat: of several sets of matchers, which only later versions make, the first is shown.
        let matchers = silence.matchers.first().into_iter().flat_map(Matchers::iter);
        Shown {
            id: &silence.id,
            status: ShownStatus {
                state: state.as_str(),
            },
            updated_at: time::utc_text(silence.updated_at),
            annotations: &silence.annotations,
            comment: &silence.comment,
            created_by: &silence.created_by,
            ends_at: time::utc_text(silence.ends_at),
            matchers: matchers.map(ShownMatcher::new).collect(),
            starts_at: time::utc_text(silence.starts_at),
        }
    }
}

impl<'s> ShownMatcher<'s> {
    fn new(matcher: &'s Matcher) -> Self {
        ShownMatcher {
            is_equal: matches!(matcher.op, MatchOp::Equal | MatchOp::Regex),
            is_regex: matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex),
            name: &matcher.name,
            value: &matcher.value,
        }
    }
}

//! `silence add`, `expire`, `query` and `update`.

use std::time::Duration;

use jiff::Timestamp;
use model::duration::{DurationError, parse_duration};

use super::api::{NewSilence, Silence, SilenceMatcher};
use super::client::Client;
use super::error::AlertError;
use super::line::Line;
use super::matchers::Words;
use super::moment::Moment;
use super::print::Printer;
use super::recurring;
use crate::cli::render::out;

/// Adds a silence.
pub(super) async fn add(line: &Line, words: &Words) -> Result<(), AlertError> {
    let mut matchers = Vec::new();
    for word in words.with_alertname(line.args()) {
        matchers.push(SilenceMatcher::from(&words.matcher(&word)?));
    }
    if matchers.is_empty() {
        return Err(AlertError::NoMatchers);
    }
    let starts_at = match line.text("start") {
        "" => Moment::utc(Timestamp::now()),
        text => Moment::parse(text)?,
    };
    let ends_at = end(line, starts_at)?.ok_or(DurationError::Empty)?;
    if starts_at.at > ends_at.at {
        return Err(AlertError::EndsFirst);
    }
    let comment = line.text("comment");
    if line.is_on("require-comment") && comment.is_empty() {
        return Err(AlertError::NoComment);
    }
    let mut annotations = words.pairs(line.all("annotation"), "annotations")?;
    match (line.all("recurring"), line.get("time-zone")) {
        ([], None) => {}
        ([], Some(_)) => return Err(AlertError::NoRecurring),
        (texts, zone) => {
            let recurrence = recurring::annotation(texts, zone)?;
            annotations.insert(notify::RECURRENCE.to_owned(), recurrence);
        }
    }
    let author = match line.get("author") {
        Some(author) => author.to_owned(),
        None => user_name(),
    };
    let silence = NewSilence {
        id: "",
        annotations: &annotations,
        comment,
        created_by: &author,
        ends_at,
        matchers: &matchers,
        starts_at,
    };
    let client = Client::new(line).await?;
    if annotations.contains_key(notify::RECURRENCE) {
        // Others would silence all the time, and say nothing.
        client.expect_narthex().await?;
    }
    out(client.post_silence(&silence).await?);
    Ok(())
}

/// When a silence ends by the line's flags; `None` where they do not say.
fn end(line: &Line, starts_at: Moment) -> Result<Option<Moment>, AlertError> {
    if !line.text("end").is_empty() {
        return Ok(Some(Moment::parse(line.text("end"))?));
    }
    let Some(text) = line.get("duration").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let duration_ms = parse_duration(text)?;
    if duration_ms == 0 {
        return Err(AlertError::NoDuration);
    }
    let duration = Duration::from_millis(duration_ms.unsigned_abs());
    let end = starts_at.at.checked_add(duration);
    Ok(Some(Moment::utc(end.unwrap_or(Timestamp::MAX))))
}

/// The name of who runs this; empty where it is not known.
fn user_name() -> String {
    let id = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let is_own = |fields: &Vec<&str>| fields.get(2) == Some(&id.as_str());
    let own = users.lines().map(|line| line.split(':').collect()).find(is_own);
    match own {
        Some(fields) => fields[0].to_owned(),
        None => std::env::var("USER").unwrap_or_default(),
    }
}

/// Ends silences.
pub(super) async fn expire(line: &Line) -> Result<(), AlertError> {
    if line.args().is_empty() {
        return Err(AlertError::NoIds);
    }
    let client = Client::new(line).await?;
    for id in line.args() {
        client.expire_silence(id).await?;
    }
    Ok(())
}

/// Shows silences.
pub(super) async fn query(line: &Line, words: &Words) -> Result<(), AlertError> {
    let matchers = words.with_alertname(line.args());
    let mut silences = Client::new(line).await?.silences(&matchers).await?;
    let (now, within) = (Timestamp::now(), line.duration("within"));
    let expired = line.is_on("expired");
    silences.retain(|silence| {
        let end = silence.ends_at.at;
        let distance = Duration::try_from(if expired { now - end } else { end - now });
        distance.is_ok_and(|distance| within.is_zero() || distance <= within)
            && matches(line.text("created-by"), &silence.created_by)
            && matches(line.text("id"), &silence.id)
    });
    print(line, silences);
    Ok(())
}

/// Whether a filter lets a value pass; an empty one does always.
fn matches(filter: &str, value: &str) -> bool {
    filter.is_empty() || filter == value
}

/// Changes silences.
pub(super) async fn update(line: &Line) -> Result<(), AlertError> {
    if line.args().is_empty() {
        return Err(AlertError::NoIds);
    }
    let client = Client::new(line).await?;
    let mut updated = Vec::with_capacity(line.args().len());
    for id in line.args() {
        let mut silence = client.silence(id).await?;
        change(&mut silence, line)?;
        let posted = NewSilence {
            id: &silence.id,
            annotations: &silence.annotations,
            comment: &silence.comment,
            created_by: &silence.created_by,
            ends_at: silence.ends_at,
            matchers: &silence.matchers,
            starts_at: silence.starts_at,
        };
        silence.id = client.post_silence(&posted).await?;
        updated.push(silence);
    }
    print(line, updated);
    Ok(())
}

fn change(silence: &mut Silence, line: &Line) -> Result<(), AlertError> {
    if !line.text("start").is_empty() {
        silence.starts_at = Moment::parse(line.text("start"))?;
    }
    if let Some(ends_at) = end(line, silence.starts_at)? {
        silence.ends_at = ends_at;
    }
    if silence.starts_at.at > silence.ends_at.at {
        return Err(AlertError::EndsFirst);
    }
    if !line.text("comment").is_empty() {
        line.text("comment").clone_into(&mut silence.comment);
    }
    Ok(())
}

/// Shows silences, or their ids alone.
///
/// The reference prints addresses of memory in the place of the ids of silences that it has changed.
fn print(line: &Line, silences: Vec<Silence>) {
    if line.is_on("quiet") {
        silences.iter().for_each(|silence| out(&silence.id));
    } else {
        Printer::new(line).silences(silences);
    }
}

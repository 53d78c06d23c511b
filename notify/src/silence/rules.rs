//! What may become of a silence when somebody wants it to be otherwise.

use std::sync::Arc;

use jiff::Timestamp;
use model::go::Quoted;
use model::regex::{Regex, RegexError};

use super::recurrence::{RECURRENCE, Recurrence};
use super::{PostedMatcher, PostedSilence, Silence, SilenceState, Silences};
use crate::ledger::CommitError;
use crate::matcher::{MatchOp, Matcher, Matchers, Syntax};

/// Why a silence is not as somebody wants it to be.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SilenceError {
    /// There is none of this id.
    #[error("silence not found")]
    NotFound,
    /// It makes no sense.
    #[error("invalid silence: {0}")]
    Invalid(#[from] InvalidSilence),
    /// There are too many.
    #[error("exceeded maximum number of silences: {count} (limit: {limit})")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// It is too long.
    #[error("silence exceeded maximum size: {bytes} bytes (limit: {limit} bytes)")]
    TooLong {
        /// How long it is, as it is stored.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// It could not be stored.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Why a silence makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSilence {
    /// It says nothing of alerts.
    #[error("matcher set 0 is empty")]
    NoMatchers,
    /// It would silence everything.
    #[error("matcher set 0: at least one matcher must not match the empty string")]
    MatchesAll,
    /// A matcher for what is no label.
    #[error("invalid label matcher {index} in set 0: invalid label name {}", Quoted(name))]
    Name {
        /// Which matcher.
        index: usize,
        /// The name.
        name: String,
    },
    /// A malformed pattern.
    #[error(
        "invalid label matcher {index} in set 0: invalid regular expression {}: {error}",
        Quoted(pattern)
    )]
    Pattern {
        /// Which matcher.
        index: usize,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        error: RegexError,
    },
    /// It does not say when it recurs.
    #[error("annotation {RECURRENCE}: {what}")]
    Recurrence {
        /// What is wrong.
        what: String,
    },
    /// Without an end.
    #[error("invalid zero end timestamp")]
    NoEnd,
    /// It ends before it begins.
    #[error("end time must not be before start time")]
    UpsideDown,
}

impl Silences {
    /// Makes a silence, or changes one; gives its id, which is a new one where the change would rewrite the past: the old
    /// one expires then. A start that has gone by is now.
    ///
    /// # Errors
    /// See [`SilenceError`]; nothing has changed then.
    pub(crate) async fn put(
        &self,
        posted: PostedSilence,
        syntax: Syntax,
        now: impl Fn() -> Timestamp,
    ) -> Result<String, SilenceError> {
        let matchers = compile(&posted.matchers, syntax)?;
        let recurrence = Recurrence::of(&posted.annotations);
        let recurrence = recurrence.map_err(|what| InvalidSilence::Recurrence { what })?;
        let _changing = self.changing.lock().await;
        let now = now();
        let mut wanted = Silence {
            id: posted.id,
            matchers: vec![matchers],
            starts_at: posted.starts_at.unwrap_or(now),
            ends_at: posted.ends_at.ok_or(InvalidSilence::NoEnd)?,
            updated_at: now,
            created_by: posted.created_by,
            comment: posted.comment,
            annotations: posted.annotations,
            recurrence: recurrence.map(Arc::new),
            unknown: Vec::new(),
        };
        if wanted.ends_at < wanted.starts_at {
            return Err(InvalidSilence::UpsideDown.into());
        }
        let known = if wanted.id.is_empty() {
            None
        } else {
            Some(self.get(&wanted.id).ok_or(SilenceError::NotFound)?)
        };
        let mut changes = Vec::new();
        if !known
            .as_ref()
            .is_some_and(|known| keeps_past(known, &wanted, now))
        {
            self.check_count()?;
            changes.extend(known.and_then(|known| expired(&known, now)));
            wanted.id = new_id();
            wanted.starts_at = wanted.starts_at.max(now);
        }
        self.check_length(&wanted)?;
        let id = wanted.id.clone();
        changes.push(wanted);
        self.commit(changes).await?;
        Ok(id)
    }

    /// Ends a silence now, and gives it as it is then; one that is over already stays as it is.
    ///
    /// # Errors
    /// When there is none of this id, or the change could not be stored.
    pub(crate) async fn expire(
        &self,
        id: &str,
        now: impl Fn() -> Timestamp,
    ) -> Result<Option<Silence>, SilenceError> {
        let _changing = self.changing.lock().await;
        let known = self.get(id).ok_or(SilenceError::NotFound)?;
        let ended = expired(&known, now());
        if let Some(silence) = &ended {
            self.commit(vec![silence.clone()]).await?;
        }
        Ok(ended)
    }

    fn check_count(&self) -> Result<(), SilenceError> {
        let (count, limit) = (self.len(), self.limits.count_max);
        if limit > 0 && count >= limit {
            return Err(SilenceError::TooMany { count, limit });
        }
        Ok(())
    }

    fn check_length(&self, silence: &Silence) -> Result<(), SilenceError> {
        let limit = self.limits.bytes_max;
        if limit == 0 {
            return Ok(());
        }
        let bytes = self.record(silence.clone()).bytes();
        if bytes > limit {
            return Err(SilenceError::TooLong { bytes, limit });
        }
        Ok(())
    }
}

/// Whether a silence may become another under the same id: what it has silenced so far stays as it was.
fn keeps_past(known: &Silence, wanted: &Silence, now: Timestamp) -> bool {
    let still = match known.life(now) {
        SilenceState::Active => {
            known.starts_at.as_second() == wanted.starts_at.as_second() && wanted.ends_at >= now
        }
        SilenceState::Pending => wanted.starts_at >= now,
        SilenceState::Expired => false,
    };
    // Compat: in another order they are other matchers (`silences-life`).
    still && known.matchers == wanted.matchers && known.recurrence == wanted.recurrence
}

/// The silence as it is when it ends now; `None` where it is over already.
fn expired(known: &Silence, now: Timestamp) -> Option<Silence> {
    let starts_at = match known.life(now) {
        SilenceState::Expired => return None,
        SilenceState::Active => known.starts_at,
        SilenceState::Pending => now,
    };
    // Its last moment has to be before now, or it would still silence at this one.
    let ends_at = now - jiff::SignedDuration::from_nanos(1);
    Some(Silence {
        starts_at: starts_at.min(ends_at),
        ends_at,
        updated_at: now,
        ..known.clone()
    })
}

fn compile(posted: &[PostedMatcher], syntax: Syntax) -> Result<Matchers, InvalidSilence> {
    if posted.is_empty() {
        return Err(InvalidSilence::NoMatchers);
    }
    let mut matchers = Vec::with_capacity(posted.len());
    for (index, matcher) in posted.iter().enumerate() {
        if !syntax.is_label_name(&matcher.name) {
            let name = matcher.name.clone();
            return Err(InvalidSilence::Name { index, name });
        }
        let malformed = |error| InvalidSilence::Pattern {
            index,
            pattern: matcher.value.clone(),
            error,
        };
        if matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex) {
            // By itself first: so that the message shows what was written.
            Regex::unanchored(&matcher.value).map_err(malformed)?;
        }
        matchers.push(Matcher::new(matcher.op, &matcher.name, &matcher.value).map_err(malformed)?);
    }
    if matchers.iter().all(matches_empty) {
        return Err(InvalidSilence::MatchesAll);
    }
    Ok(Matchers::from(matchers))
}

/// Whether alerts without the label are silenced. Compat: negative matchers count as not doing so (`silences-post`).
fn matches_empty(matcher: &Matcher) -> bool {
    matches!(matcher.op, MatchOp::Equal | MatchOp::Regex) && matcher.matches("")
}

/// A random UUID.
fn new_id() -> String {
    let mut bytes = [0_u8; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .expect("the system has random numbers");
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

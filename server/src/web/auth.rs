//! Who asks, and what they may: the outermost layer of the site, where a web configuration is in force.
//!
//! As the reference's: a request first counts against `rate_limit`, then gets the configured headers, then has to say who
//! it comes from, whatever it asks for; health checks are no exception. Users may do everything, bearers of tokens what
//! their scopes name ([`scope`]).

pub(super) mod passwords;
pub(super) mod rate;
pub(super) mod scope;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use subtle::ConstantTimeEq as _;
use yaml::Secret;

use self::passwords::Verdict;
use self::scope::Caller;
use super::guard::{Guard, InForce};
use super::listener::Peer;
use crate::config::web::WebConfigError;
use crate::config::web::tokens::{self, BearerToken, TokenDigest};

/// Users and the hashes of their passwords.
#[derive(Debug, Default)]
pub(super) struct Users {
    hashes: BTreeMap<String, Secret>,
    /// Picks one of the hashes for a name that nobody has.
    stranger: RandomState,
}

impl Users {
    pub(super) fn new(users: &BTreeMap<String, Secret>) -> Self {
        Users {
            hashes: users.clone(),
            stranger: RandomState::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The hash to compare with, and whether that is the user's own. A name that nobody has is compared with the hash of
    /// another, always the same one: that takes as long as for one who is there, whatever the hashes cost.
    pub(super) fn hash_of(&self, user: &str) -> Option<(&Secret, bool)> {
        if let Some(hash) = self.hashes.get(user) {
            return Some((hash, true));
        }
        let count = self.hashes.len().max(1) as u64;
        let at = (self.stranger.hash_one(user) % count) as usize;
        self.hashes.values().nth(at).map(|hash| (hash, false))
    }
}

/// Tokens, by what they are known by.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<(TokenDigest, Caller)>);

impl Tokens {
    /// # Errors
    /// When the file of one cannot be read.
    pub(super) fn new(tokens: &[BearerToken]) -> Result<Self, WebConfigError> {
        let tokens = tokens.iter().map(|token| {
            let caller = Caller {
                name: token.name.as_str().into(),
                scopes: token.scopes.as_slice().into(),
            };
            Ok((token.digest()?, caller))
        });
        tokens.collect::<Result<_, _>>().map(Tokens)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token it is. How long that takes says nothing of any token.
    pub(super) fn caller(&self, token: &str) -> Option<&Caller> {
        let digest = tokens::digest_of(token);
        let mut found = None;
        for (known, caller) in &self.0 {
            if bool::from(known.ct_eq(&digest)) {
                found = Some(caller);
            }
        }
        found
    }
}

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It came without credentials, or with some that are of no known form.
    NoCredentials,
    /// Its credentials are wrong.
    WrongCredentials,
    /// Too many wait to have their passwords compared.
    Busy,
    /// Its token lacks the scope.
    MissingScope,
    /// `rate_limit`
    RateLimit,
}

impl Refusal {
    pub(super) const ALL: [Refusal; 5] = [
        Refusal::NoCredentials,
        Refusal::WrongCredentials,
        Refusal::Busy,
        Refusal::MissingScope,
        Refusal::RateLimit,
    ];

    /// Its word in the metric.
    pub(super) fn word(self) -> &'static str {
        match self {
            Refusal::NoCredentials => "no_credentials",
            Refusal::WrongCredentials => "wrong_credentials",
            Refusal::Busy => "busy",
            Refusal::MissingScope => "missing_scope",
            Refusal::RateLimit => "rate_limit",
        }
    }
}

/// What a request says of who it comes from.
#[derive(Debug, PartialEq, Eq)]
enum Credentials {
    Password { user: String, password: Vec<u8> },
    Token(String),
}

impl Credentials {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (kind, rest) = text.split_once(' ')?;
        if kind.eq_ignore_ascii_case("bearer") {
            return Some(Credentials::Token(rest.trim().to_owned()));
        }
        if !kind.eq_ignore_ascii_case("basic") {
            return None;
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(rest).ok()?;
        let colon = bytes.iter().position(|byte| *byte == b':')?;
        Some(Credentials::Password {
            user: String::from_utf8(bytes[..colon].to_vec()).ok()?,
            password: bytes[colon + 1..].to_vec(),
        })
    }
}

/// Lets requests pass that may.
pub(super) async fn layer(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let current = guard.current().await;
    if current.limiter.as_ref().is_some_and(|limiter| !limiter.allows()) {
        guard.refused.with(&[Refusal::RateLimit.word()]).inc();
        // Compat: without the configured headers (`a_rate_is_kept`).
        return plain(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n");
    }
    let credentials = Credentials::of(request.headers());
    let peer = request.extensions().get::<Peer>().copied();
    let user: Option<Arc<str>> = match &credentials {
        Some(Credentials::Password { user, .. }) if current.authenticates() => Some(user.as_str().into()),
        _ => None,
    };
    let mut response = match identify(&guard, &current, credentials, peer).await {
        Ok(caller) => {
            let name = caller.as_ref().map(|caller| caller.name.clone()).or(user);
            if let Some(name) = name {
                request.extensions_mut().insert(scope::Asker(name));
            }
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            let response = next.run(request).await;
            if response.extensions().get::<scope::Missing>().is_some() {
                guard.refused.with(&[Refusal::MissingScope.word()]).inc();
            }
            response
        }
        Err(refusal) => {
            guard.refused.with(&[refusal.word()]).inc();
            refuse(refusal, &current)
        }
    };
    for (name, value) in &current.headers {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

/// Who asks: `None` for one who may do everything.
async fn identify(
    guard: &Guard,
    current: &InForce,
    credentials: Option<Credentials>,
    peer: Option<Peer>,
) -> Result<Option<Caller>, Refusal> {
    if !current.authenticates() {
        return Ok(None);
    }
    match credentials.ok_or(Refusal::NoCredentials)? {
        Credentials::Token(token) => match current.tokens.caller(&token) {
            Some(caller) => Ok(Some(caller.clone())),
            None => Err(Refusal::WrongCredentials),
        },
        Credentials::Password { user, password } => {
            let Some((hash, is_own)) = current.users.hash_of(&user) else {
                return Err(Refusal::WrongCredentials);
            };
            match guard.passwords.verify(peer, &user, &password, hash).await {
                Verdict::Right if is_own => Ok(None),
                Verdict::Right | Verdict::Wrong => Err(Refusal::WrongCredentials),
                Verdict::Busy => Err(Refusal::Busy),
            }
        }
    }
}

fn refuse(refusal: Refusal, current: &InForce) -> Response {
    if refusal == Refusal::Busy {
        let mut response = plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many passwords wait to be compared\n",
        );
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    }
    // Compat: text and headers are the reference's (`curl_speaks_tls_with_us`).
    let mut response = plain(StatusCode::UNAUTHORIZED, "Unauthorized\n");
    let headers = response.headers_mut();
    if !current.users.is_empty() {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    }
    if !current.tokens.is_empty() {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// An answer as Go's `http.Error` makes it.
fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, [(X_CONTENT_TYPE_OPTIONS, "nosniff")], text).into_response()
}

#[cfg(test)]
mod tests;

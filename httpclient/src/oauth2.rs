//! Tokens of OAuth 2.0: for a client's credentials (RFC 6749, section 4.4), or for a token that we sign ourselves (RFC 7523).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, Value};
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded;

use crate::config::{JWT_BEARER, OAuth2};
use crate::connect::Surroundings;
use crate::error::HttpClientError;
use crate::files::Source;
use crate::renew::{Age, Renewed};
use crate::request::Request;
use crate::rsa::{Algorithm, KeyError, SigningKey};
use crate::transport::{Redirects, Transport};

/// A token is renewed this long before it expires, as in Go.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// How long a token that we sign is good, in seconds, as in the reference.
const ASSERTION_SECONDS: u64 = 600;
/// Longest wait for a token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer of a token endpoint, in bytes, as in Go.
const TOKEN_BODY_BYTES_MAX: usize = 1 << 20;
/// Characters of an answer that an error quotes.
const QUOTED_CHARS_MAX: usize = 200;

/// Fetches and keeps a token.
#[derive(Debug)]
pub(crate) struct TokenSource {
    endpoint: Arc<Endpoint>,
    secret: Source,
    /// By the secret that it was had with.
    token: Renewed<String, Token, HttpClientError>,
}

#[derive(Clone)]
struct Token {
    header: String,
    expires: Option<Instant>,
}

#[derive(Debug)]
struct Endpoint {
    transport: Transport,
    oauth2: OAuth2,
    /// The endpoint wants the credentials in the form instead of the header: found out at the first token.
    in_form: AtomicBool,
}

impl TokenSource {
    pub(crate) fn new(
        oauth2: &OAuth2,
        user_agent: &str,
        surroundings: &Surroundings,
    ) -> Result<Self, HttpClientError> {
        Ok(TokenSource {
            secret: if oauth2.signs() {
                Source::new(
                    oauth2.client_certificate_key.reveal(),
                    &oauth2.client_certificate_key_file,
                    "oauth2 client certificate key",
                )
            } else {
                Source::new(
                    oauth2.client_secret.reveal(),
                    &oauth2.client_secret_file,
                    "oauth2 client secret",
                )
            },
            endpoint: Arc::new(Endpoint {
                transport: Transport::new(
                    &oauth2.tls_config,
                    &oauth2.proxy,
                    true,
                    Redirects {
                        follow: true,
                        to_link_local: false,
                    },
                    user_agent,
                    surroundings,
                    None,
                )?,
                oauth2: oauth2.clone(),
                in_form: AtomicBool::new(false),
            }),
            token: Renewed::default(),
        })
    }

    /// The `Authorization` header.
    pub(crate) async fn header(&self) -> Result<String, HttpClientError> {
        let secret = self.secret.get().await?;
        let fetch = || {
            let (endpoint, secret) = (self.endpoint.clone(), secret.clone());
            async move { endpoint.token(&secret).await }
        };
        let token = self.token.get(&secret, Token::age, fetch).await;
        token
            .map(|token| token.header)
            .map_err(HttpClientError::SharedToken)
    }
}

impl Token {
    fn age(&self) -> Age {
        let left = self
            .expires
            .map(|expires| expires.saturating_duration_since(Instant::now()));
        match left {
            Some(Duration::ZERO) => Age::Gone,
            Some(left) if left <= TOKEN_MARGIN => Age::Waning,
            _ => Age::Fresh,
        }
    }
}

impl Endpoint {
    async fn token(&self, secret: &str) -> Result<Token, HttpClientError> {
        let answer = if self.oauth2.signs() {
            let form = self.signed_form(secret)?;
            self.exchange(form, None).await
        } else {
            self.ask_either_way(secret).await
        };
        let read = answer.and_then(|answer| read_token(&answer));
        read.map_err(|detail| HttpClientError::Token {
            url: self.oauth2.token_url.clone(),
            detail,
        })
    }

    async fn ask_either_way(&self, secret: &str) -> Result<Answer, String> {
        // Compat: as Go's library, the header is tried first, the form if that is refused, and what worked is kept.
        let in_form = self.in_form.load(Ordering::Relaxed);
        match self.ask(secret, in_form).await {
            Err(_) if !in_form => {
                let second = self.ask(secret, true).await;
                if second.is_ok() {
                    self.in_form.store(true, Ordering::Relaxed);
                }
                second
            }
            first => first,
        }
    }

    /// The body of a request that shows a token of our own. Compat: parameters may replace the grant's name and nothing
    /// else, as in the reference.
    fn signed_form(&self, key: &str) -> Result<String, HttpClientError> {
        let oauth2 = &self.oauth2;
        let failed = |source| HttpClientError::Key {
            what: "client_certificate_key",
            source,
        };
        let key = SigningKey::from_pem(key.as_bytes()).map_err(failed)?;
        let algorithm = Algorithm::NAMED
            .iter()
            .find(|(name, _)| *name == oauth2.signature_algorithm);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let or = |text: &str, other: &str| {
            if text.is_empty() {
                other.to_owned()
            } else {
                text.to_owned()
            }
        };
        let scopes = oauth2.scopes.join(" ");
        let mut claims = Map::new();
        for (name, value) in [
            ("iss", or(&oauth2.iss, &oauth2.client_id).into()),
            ("sub", oauth2.client_id.as_str().into()),
            ("jti", Value::from(unique().map_err(failed)?)),
            ("aud", or(&oauth2.audience, &oauth2.token_url).into()),
            ("iat", now.into()),
            ("exp", (now + ASSERTION_SECONDS).into()),
        ] {
            claims.insert(name.to_owned(), value);
        }
        if !scopes.is_empty() {
            claims.insert("scope".to_owned(), scopes.as_str().into());
        }
        claims.extend(oauth2.claims.clone());
        let algorithm = algorithm.map(|(_, algorithm)| *algorithm).unwrap_or_default();
        let assertion = key
            .token(algorithm, &oauth2.client_certificate_key_id, &claims)
            .map_err(failed)?;
        let mut form = BTreeMap::from([("assertion", assertion.as_str()), ("grant_type", JWT_BEARER)]);
        if !scopes.is_empty() {
            form.insert("scope", &scopes);
        }
        for (name, value) in &oauth2.endpoint_params {
            if form.contains_key(name.as_str()) && name != "grant_type" {
                return Err(HttpClientError::Token {
                    url: oauth2.token_url.clone(),
                    detail: format!("endpoint_params cannot overwrite {name:?}"),
                });
            }
            form.insert(name, value);
        }
        Ok(form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish())
    }

    /// The body of the token request.
    fn form(&self, secret: Option<&str>) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        let params = &self.oauth2.endpoint_params;
        if !params.contains_key("grant_type") {
            form.append_pair("grant_type", "client_credentials");
        }
        if !self.oauth2.scopes.is_empty() {
            form.append_pair("scope", &self.oauth2.scopes.join(" "));
        }
        if let Some(secret) = secret {
            form.append_pair("client_id", &self.oauth2.client_id);
            form.append_pair("client_secret", secret);
        }
        for (name, value) in params {
            form.append_pair(name, value);
        }
        form.finish()
    }

    async fn ask(&self, secret: &str, in_form: bool) -> Result<Answer, String> {
        let escape = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let header = (!in_form).then(|| {
            let pair = format!("{}:{}", escape(&self.oauth2.client_id), escape(secret));
            format!("Basic {}", BASE64.encode(pair))
        });
        self.exchange(self.form(in_form.then_some(secret)), header).await
    }

    async fn exchange(&self, form: String, authorization: Option<String>) -> Result<Answer, String> {
        let url = Url::parse(&self.oauth2.token_url).map_err(|error| error.to_string())?;
        let mut request = Request::post(url, "application/x-www-form-urlencoded", "")
            .secret_body(form)
            .timeout(TOKEN_TIMEOUT)
            .repeatable();
        if let Some(value) = authorization {
            request = request.secret_header("authorization", value);
        }
        let answer = self
            .transport
            .send(&request, &[])
            .await
            .map_err(|e| e.to_string())?;
        let status = answer.status();
        let is_form = matches!(
            answer
                .header("content-type")
                .split(';')
                .next()
                .unwrap_or("")
                .trim(),
            "application/x-www-form-urlencoded" | "text/plain"
        );
        let body = answer
            .bytes(TOKEN_BODY_BYTES_MAX)
            .await
            .map_err(|e| e.to_string())?;
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&body)
                .chars()
                .take(QUOTED_CHARS_MAX)
                .collect();
            return Err(format!("status {status}: {}", text.trim()));
        }
        Ok(Answer {
            is_form,
            body: body.to_vec(),
        })
    }
}

/// Something that was never there before.
fn unique() -> Result<String, KeyError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| KeyError::Signing)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

struct Answer {
    is_form: bool,
    body: Vec<u8>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct TokenAnswer {
    access_token: String,
    token_type: String,
    expires_in: Option<serde_json::Value>,
}

fn read_token(answer: &Answer) -> Result<Token, String> {
    let answer: TokenAnswer = if answer.is_form {
        let mut read = TokenAnswer::default();
        for (name, value) in form_urlencoded::parse(&answer.body) {
            match &*name {
                "access_token" => read.access_token = value.into_owned(),
                "token_type" => read.token_type = value.into_owned(),
                "expires_in" => read.expires_in = Some(value.into_owned().into()),
                _ => {}
            }
        }
        read
    } else {
        serde_json::from_slice(&answer.body).map_err(|error| format!("cannot parse json: {error}"))?
    };
    if answer.access_token.is_empty() {
        return Err("server response missing access_token".to_owned());
    }
    // Compat: some endpoints write the seconds as a text.
    let seconds = match &answer.expires_in {
        Some(serde_json::Value::String(text)) => text.parse().unwrap_or(0.0),
        Some(value) => value.as_f64().unwrap_or(0.0),
        None => 0.0,
    };
    let scheme = match answer.token_type.as_str() {
        kind if kind.is_empty() || kind.eq_ignore_ascii_case("bearer") => "Bearer",
        kind if kind.eq_ignore_ascii_case("mac") => "MAC",
        kind if kind.eq_ignore_ascii_case("basic") => "Basic",
        kind => kind,
    };
    Ok(Token {
        header: format!("{scheme} {}", answer.access_token),
        expires: (seconds > 0.0).then(|| Instant::now() + Duration::from_secs_f64(seconds.min(1e9))),
    })
}

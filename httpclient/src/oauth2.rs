//! Tokens of OAuth 2.0 (RFC 6749, section 4.4: client credentials).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded;

use crate::config::OAuth2;
use crate::connect::Surroundings;
use crate::error::HttpClientError;
use crate::files::Source;
use crate::renew::{Age, Renewed};
use crate::request::Request;
use crate::transport::Transport;

/// A token is renewed this long before it expires, as in Go.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
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
            secret: Source::new(
                oauth2.client_secret.reveal(),
                &oauth2.client_secret_file,
                "oauth2 client secret",
            ),
            endpoint: Arc::new(Endpoint {
                transport: Transport::new(
                    &oauth2.tls_config,
                    &oauth2.proxy,
                    true,
                    true,
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
        // Compat: as Go's library, the header is tried first, the form if that is refused, and what worked is kept.
        let in_form = self.in_form.load(Ordering::Relaxed);
        let first = match self.ask(secret, in_form).await {
            Err(_) if !in_form => {
                let second = self.ask(secret, true).await;
                if second.is_ok() {
                    self.in_form.store(true, Ordering::Relaxed);
                }
                second
            }
            first => first,
        };
        let detail = match first {
            Ok(answer) => match read_token(&answer) {
                Ok(token) => return Ok(token),
                Err(detail) => detail,
            },
            Err(detail) => detail,
        };
        Err(HttpClientError::Token {
            url: self.oauth2.token_url.clone(),
            detail,
        })
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
        let url = Url::parse(&self.oauth2.token_url).map_err(|error| error.to_string())?;
        let mut request = Request::post(url, "application/x-www-form-urlencoded", "")
            .secret_body(self.form(in_form.then_some(secret)))
            .timeout(TOKEN_TIMEOUT)
            .repeatable();
        if !in_form {
            let escape = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", escape(&self.oauth2.client_id), escape(secret));
            request = request.secret_header("authorization", format!("Basic {}", BASE64.encode(pair)));
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

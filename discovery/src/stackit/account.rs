//! Service accounts of STACKIT: tokens that are given for a text signed with the account's key.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpclient::Request;
use httpclient::rsa::{Algorithm, KeyError, SigningKey};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::Serializer;

use super::StackitConfig;
use crate::api::{Round, answers, is_empty_path, read_object};
use crate::prepare::{Context, DiscoveryError};

/// Where tokens are given, where the account names no other place.
const TOKENS: &str = "https://service-account.api.stackit.cloud/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long a signed text is good for.
const ASSERTION_LIFE: Duration = Duration::from_secs(3600);
/// How long before its end a token is replaced.
const LEEWAY: Duration = Duration::from_secs(5);
/// How long a token is used that does not say when it ends.
const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// Below the home folder: where credentials are when nothing says where.
const CREDENTIALS_FILE: &str = ".stackit/credentials.json";

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccountError {
    #[error("{what} {}: {source}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("service account key: {0}; write the whole JSON document")]
    Json(serde_json::Error),
    #[error("credentials file: {0}")]
    Credentials(serde_json::Error),
    #[error(
        "the service account key holds no private key, and none is given (private_key, private_key_path, STACKIT_PRIVATE_KEY)"
    )]
    NoKey,
    #[error("private key: {0}")]
    Key(#[from] KeyError),
    #[error("token endpoint {0:?}: {1}")]
    Endpoint(String, url::ParseError),
}

answers! {
    struct Document {
        credentials: Credentials,
    }
    #[serde(rename_all = "camelCase")]
    struct Credentials {
        aud: String,
        iss: String,
        kid: String,
        sub: String,
        private_key: String,
        token_endpoint: String,
    }
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    struct CredentialsFile {
        stackit_private_key: String,
        stackit_private_key_path: String,
    }
    struct Token {
        access_token: String,
        expires_in: u64,
    }
}

/// An account, and the token that it was given.
pub(super) struct Account {
    key: SigningKey,
    credentials: Credentials,
    tokens: Url,
    kept: Option<(String, Instant)>,
}

fn read(what: &'static str, path: &Path) -> Result<String, AccountError> {
    std::fs::read_to_string(path).map_err(|source| AccountError::File {
        what,
        path: path.to_owned(),
        source,
    })
}

impl Account {
    /// The account that is configured; `None` where none is.
    pub(super) fn new(config: &StackitConfig, context: &Context) -> Result<Option<Self>, AccountError> {
        let text = if !config.service_account_key.is_empty() {
            config.service_account_key.reveal().to_owned()
        } else if !is_empty_path(&config.service_account_key_path) {
            read("service_account_key_path", &config.service_account_key_path)?
        } else {
            return Ok(None);
        };
        let Document { credentials } = read_object(text.as_bytes()).map_err(AccountError::Json)?;
        let key = match given_key(config, context)? {
            Some(key) => key,
            None if credentials.private_key.is_empty() => return Err(AccountError::NoKey),
            None => credentials.private_key.clone(),
        };
        let named = context.var("STACKIT_TOKEN_BASEURL").unwrap_or_default();
        let tokens = [&*named, &credentials.token_endpoint, TOKENS];
        let tokens = tokens.into_iter().find(|url| !url.is_empty()).unwrap_or(TOKENS);
        Ok(Some(Account {
            key: SigningKey::from_pem(key.as_bytes())?,
            tokens: Url::parse(tokens).map_err(|error| AccountError::Endpoint(tokens.to_owned(), error))?,
            credentials,
            kept: None,
        }))
    }

    /// A token that is good for a while.
    pub(super) async fn token(&mut self, round: &Round<'_>) -> Result<String, DiscoveryError> {
        if let Some((token, until)) = &self.kept
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let failed = |error: KeyError| DiscoveryError::Other(error.into());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let assertion = self.assertion(now).map_err(failed)?;
        let body = Serializer::new(String::new())
            .append_pair("grant_type", GRANT)
            .append_pair("assertion", &assertion)
            .finish();
        let request = Request::post(
            self.tokens.clone(),
            "application/x-www-form-urlencoded",
            Vec::new(),
        )
        .header("accept", "application/json")
        .secret_body(body);
        let account = &self.credentials.iss;
        let answer = round.send_any(request).await?.good().map_err(|error| {
            DiscoveryError::content(format_args!("a token for the service account {account}"), error)
        })?;
        let Token {
            access_token,
            expires_in,
        } = answer.json()?;
        if access_token.is_empty() {
            return Err(DiscoveryError::content(&answer.url, "no access_token"));
        }
        let life = Duration::from_secs(expires_in).saturating_sub(LEEWAY);
        let life = if life.is_zero() { TOKEN_LIFE } else { life };
        self.kept = Some((access_token.clone(), Instant::now() + life.min(ASSERTION_LIFE)));
        Ok(access_token)
    }

    /// Forgets the token: it was refused.
    pub(super) fn forget(&mut self) {
        self.kept = None;
    }

    /// What is signed: who asks, of whom, and until when.
    fn assertion(&self, now: Duration) -> Result<String, KeyError> {
        let Credentials {
            aud, iss, kid, sub, ..
        } = &self.credentials;
        let issued_s = now.as_secs();
        let claims = json!({
            "iss": iss,
            "sub": sub,
            "aud": aud,
            // Different for each.
            "jti": format!("{iss}-{}", now.as_nanos()),
            "iat": issued_s,
            "exp": issued_s + ASSERTION_LIFE.as_secs(),
        });
        let Value::Object(claims) = claims else {
            return Err(KeyError::Signing);
        };
        self.key.token(Algorithm::Rs512, kid, &claims)
    }
}

/// The private key that is given beside the account: by the section, by the environment, or by a file of credentials.
fn given_key(config: &StackitConfig, context: &Context) -> Result<Option<String>, AccountError> {
    if !config.private_key.is_empty() {
        return Ok(Some(config.private_key.reveal().to_owned()));
    }
    if !is_empty_path(&config.private_key_path) {
        return read("private_key_path", &config.private_key_path).map(Some);
    }
    if let Some(path) = context.var("STACKIT_PRIVATE_KEY_PATH") {
        return read("STACKIT_PRIVATE_KEY_PATH", Path::new(&path)).map(Some);
    }
    if let Some(key) = context.var("STACKIT_PRIVATE_KEY") {
        return Ok(Some(key));
    }
    let named = !is_empty_path(&config.credentials_file_path);
    let file = if named {
        config.credentials_file_path.clone()
    } else if let Some(path) = context.var("STACKIT_CREDENTIALS_PATH") {
        path.into()
    } else {
        Path::new(&context.var("HOME").unwrap_or_default()).join(CREDENTIALS_FILE)
    };
    let text = match read("credentials_file_path", &file) {
        Ok(text) => text,
        Err(error) if named => return Err(error),
        // Nobody said that there is one.
        Err(_) => return Ok(None),
    };
    let file: CredentialsFile = read_object(text.as_bytes()).map_err(AccountError::Credentials)?;
    if !file.stackit_private_key_path.is_empty() {
        let path = Path::new(&file.stackit_private_key_path);
        return read("STACKIT_PRIVATE_KEY_PATH", path).map(Some);
    }
    Ok(Some(file.stackit_private_key).filter(|key| !key.is_empty()))
}

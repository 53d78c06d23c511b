//! Credentials of Google Cloud: the application default ones.
//!
//! In order: the file that `GOOGLE_APPLICATION_CREDENTIALS` names, gcloud's own, the metadata server of the machine. A
//! file is read again for each token, so that another key needs no reload.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use httpclient::renew::Renewed;
use httpclient::rsa::{Algorithm, SigningKey};
use httpclient::{HttpClient, HttpClientError, Request};
use jiff::Timestamp;
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use crate::ask::{ask, json};
pub use crate::bearer::Bearer;
use crate::error::CredentialsError;
use crate::machine::{Machine, read_now};

const OF: &str = "Google application default credentials";
const VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const GCLOUD_FILE: &str = ".config/gcloud/application_default_credentials.json";
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const METADATA: &str = "169.254.169.254";
/// Longest wait for the metadata server, which is on the machine itself.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// Where the machine's firmware says whose machine it is.
const PRODUCT_NAME: &str = "/sys/class/dmi/id/product_name";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long what we sign is good, in seconds: the most that Google takes.
const ASSERTION_SECONDS: i64 = 3_600;
/// What we sign is dated back by this, in seconds: clocks differ.
const CLOCK_SECONDS: i64 = 10;

/// Finds, keeps and renews a token. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Google {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    machine: Machine,
    client: HttpClient,
    plain: HttpClient,
    scope: String,
    from: From,
    kept: Renewed<(), Bearer, CredentialsError>,
}

/// Where tokens come from.
#[derive(Debug)]
enum From {
    File(PathBuf),
    MetadataServer,
}

/// A file of credentials.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Key {
    #[serde(rename = "type")]
    kind: String,
    client_id: String,
    client_secret: String,
    refresh_token: String,
    client_email: String,
    private_key: String,
    private_key_id: String,
    token_uri: String,
}

impl Google {
    /// Finds out where tokens come from; asks nobody.
    ///
    /// # Errors
    /// When there are no credentials, or a file of them cannot be used.
    pub fn find(machine: Machine, scope: &str) -> Result<Self, CredentialsError> {
        if let Some(path) = machine.var(VARIABLE) {
            return Google::of_file(machine, path.as_ref(), scope);
        }
        if let Some(path) = machine.at_home(GCLOUD_FILE)
            && path.exists()
        {
            return Google::of_file(machine, &path, scope);
        }
        // Compat: as the reference's library, the firmware's word is enough; it asks the network too, which a reload
        // must not wait for.
        let firmware = read_now(&machine.path(PRODUCT_NAME)).unwrap_or_default();
        if machine.var("GCE_METADATA_HOST").is_some() || firmware.trim_start().starts_with("Google") {
            return Google::new(machine, From::MetadataServer, scope);
        }
        Err(CredentialsError::unusable(
            OF,
            format_args!(
                "could not find default credentials: {VARIABLE} names no file, ~/{GCLOUD_FILE} does not exist, and this is no machine of Google's (GCE_METADATA_HOST says otherwise)"
            ),
        ))
    }

    /// Takes the credentials of a file.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn of_file(machine: Machine, path: &Path, scope: &str) -> Result<Self, CredentialsError> {
        let text = read_now(path).map_err(|source| CredentialsError::File {
            of: OF.to_owned(),
            path: path.to_owned(),
            source,
        })?;
        Key::read(&text, &of_file(path))?;
        Google::new(machine, From::File(path.to_owned()), scope)
    }

    fn new(machine: Machine, from: From, scope: &str) -> Result<Self, CredentialsError> {
        Ok(Google {
            shared: Arc::new(Shared {
                client: default_client(&machine)?,
                plain: machine.plain_client()?,
                machine,
                scope: scope.to_owned(),
                from,
                kept: Renewed::default(),
            }),
        })
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// When there is none, with the words of whoever refused it.
    pub async fn token(&self) -> Result<Bearer, Arc<CredentialsError>> {
        let fetch = || {
            let shared = self.shared.clone();
            async move { shared.fetch().await }
        };
        let age = |kept: &Bearer| kept.age(self.shared.machine.now());
        self.shared.kept.get(&(), age, fetch).await
    }

    /// Forgets what is kept: a service has refused it.
    pub fn forget(&self) {
        self.shared.kept.forget();
    }
}

/// A client as the vendors' own libraries have it: no settings but the environment's proxies.
pub(crate) fn default_client(machine: &Machine) -> Result<HttpClient, HttpClientError> {
    let mut config = httpclient::HttpClientConfig::default();
    config.proxy.proxy_from_environment = machine.env.is_none();
    machine.client(&config)
}

fn of_file(path: &Path) -> String {
    format!("{OF} of {}", path.display())
}

impl Key {
    fn read(text: &str, of: &str) -> Result<Self, CredentialsError> {
        let key: Key = json(text.as_bytes(), of)?;
        let missing = match key.kind.as_str() {
            "authorized_user" if key.refresh_token.is_empty() => Some("refresh_token"),
            "service_account" if key.client_email.is_empty() => Some("client_email"),
            "service_account" if key.private_key.is_empty() => Some("private_key"),
            "authorized_user" | "service_account" => None,
            other => {
                let detail = format!("type {other:?}: there are service_account and authorized_user");
                return Err(CredentialsError::unusable(of, detail));
            }
        };
        match missing {
            Some(name) => Err(CredentialsError::unusable(of, format_args!("{name} is missing"))),
            None => Ok(key),
        }
    }

    /// Where the key's owner gets tokens.
    fn token_url(&self, of: &str) -> Result<Url, CredentialsError> {
        let own = !self.token_uri.is_empty() && self.kind == "service_account";
        let text = if own { &self.token_uri } else { TOKEN_URL };
        Url::parse(text)
            .map_err(|error| CredentialsError::unusable(of, format_args!("token_uri {text:?}: {error}")))
    }

    /// What is posted for a token.
    fn form(&self, scope: &str, now: Timestamp, of: &str) -> Result<String, CredentialsError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        if self.kind == "authorized_user" {
            form.append_pair("client_id", &self.client_id)
                .append_pair("client_secret", &self.client_secret)
                .append_pair("grant_type", "refresh_token")
                .append_pair("refresh_token", &self.refresh_token);
            return Ok(form.finish());
        }
        let of_key = |source| CredentialsError::Key {
            of: of.to_owned(),
            source,
        };
        let key = SigningKey::from_pem(self.private_key.as_bytes()).map_err(of_key)?;
        let issued = now.as_second() - CLOCK_SECONDS;
        let claims: Map<String, Value> = [
            ("iss", Value::from(self.client_email.as_str())),
            ("scope", scope.into()),
            ("aud", self.token_url(of)?.as_str().into()),
            ("iat", issued.into()),
            ("exp", (issued + ASSERTION_SECONDS).into()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let assertion = key
            .token(Algorithm::Rs256, &self.private_key_id, &claims)
            .map_err(of_key)?;
        form.append_pair("assertion", &assertion)
            .append_pair("grant_type", GRANT);
        Ok(form.finish())
    }
}

impl Shared {
    async fn fetch(&self) -> Result<Bearer, CredentialsError> {
        let now = self.machine.now();
        match &self.from {
            From::File(path) => {
                let of = of_file(path);
                let key = Key::read(&self.machine.read(OF, path).await?, &of)?;
                let of = format!("{of} ({})", key.kind);
                let request = Request::post(key.token_url(&of)?, "application/x-www-form-urlencoded", "")
                    .secret_body(key.form(&self.scope, now, &of)?)
                    .repeatable();
                Bearer::read(&ask(&self.client, request, &of).await?, now, &of)
            }
            From::MetadataServer => {
                let of = "Google's metadata server";
                let host = self.machine.var("GCE_METADATA_HOST");
                let host = host.as_deref().unwrap_or(METADATA);
                let text =
                    format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
                let url = Url::parse_with_params(&text, [("scopes", &self.scope)])
                    .map_err(|error| CredentialsError::unusable(of, format_args!("{text:?}: {error}")))?;
                let request = Request::get(url)
                    .header("metadata-flavor", "Google")
                    .timeout(METADATA_TIMEOUT);
                Bearer::read(&ask(&self.plain, request, of).await?, now, of)
            }
        }
    }
}

//! What mechanisms that ask an HTTP API have in common: settings, calls of one refresh, what is read of answers, labels.

use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use httpclient::{HttpClient, HttpClientConfig, Request};
use model::labels::{Labels, LabelsBuilder};
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use url::Url;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::prepare::{BODY_BYTES_MAX, Context, DiscoveryError, PrepareError, bad_status, send};

/// Most calls of one refresh: a server whose pages never end must not be asked for ever.
pub(crate) const CALLS_MAX: usize = 10_000;
/// Longest wait for an answer where the refresh interval is 0.
const TIMEOUT_OF_ZERO: Duration = Duration::from_secs(60);
/// What surrounds and separates the members of a list in a label, so that a pattern need not mind a member's place.
pub(crate) const SEPARATOR: &str = ",";

/// Settings that nearly all have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApiSettings {
    /// Credentials, TLS, proxies.
    #[serde(flatten)]
    pub http: HttpClientConfig,
    /// How often to ask; also the longest wait for an answer.
    pub refresh_interval: yaml::Duration,
}

impl ApiSettings {
    /// Takes them out of an entry.
    pub(crate) fn read(
        section: &mut Section<'_>,
        default_interval: yaml::Duration,
    ) -> Result<Self, YamlError> {
        Ok(ApiSettings {
            refresh_interval: section.get_or("refresh_interval", default_interval)?,
            http: HttpClientConfig::read(section)?,
        })
    }

    pub(crate) fn resolve_paths(&mut self, folder: &Path) {
        self.http.resolve_paths(folder);
    }

    pub(crate) fn files(&self) -> Vec<&Path> {
        self.http.files()
    }

    /// A client for them.
    pub(crate) fn client(&self, context: &Context) -> Result<Api, PrepareError> {
        let interval = self.refresh_interval.as_std();
        Ok(Api {
            client: context.client(&self.http)?,
            timeout: if interval.is_zero() {
                TIMEOUT_OF_ZERO
            } else {
                interval
            },
        })
    }
}

/// The usual interval.
pub(crate) const MINUTE: yaml::Duration = yaml::Duration::from_ms(60_000);

/// A client of an API.
pub(crate) struct Api {
    client: HttpClient,
    timeout: Duration,
}

impl Api {
    /// The calls of one refresh, which share a limit.
    pub(crate) fn round(&self) -> Round<'_> {
        Round {
            api: self,
            calls_left: CALLS_MAX,
            bytes_left: BODY_BYTES_MAX,
        }
    }
}

/// The calls of one refresh: together at most [`CALLS_MAX`], with answers of at most [`BODY_BYTES_MAX`].
pub(crate) struct Round<'a> {
    api: &'a Api,
    calls_left: usize,
    bytes_left: usize,
}

/// An answer's body, and what else may matter of it.
pub(crate) struct Answer {
    pub(crate) url: String,
    headers: ::http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Round<'_> {
    /// Sends a request and reads the answer, whatever its status.
    pub(crate) async fn send_any(&mut self, request: Request) -> Result<Answer, DiscoveryError> {
        self.spend_call(request.url())?;
        let answer = send(&self.api.client, &request.timeout(self.api.timeout)).await?;
        self.read(answer).await
    }

    /// Sends a request and reads the answer, which must be a good one (2xx).
    pub(crate) async fn send(&mut self, request: Request) -> Result<Answer, DiscoveryError> {
        self.spend_call(request.url())?;
        let answer = send(&self.api.client, &request.timeout(self.api.timeout)).await?;
        if !answer.status().is_success() {
            return Err(bad_status(answer).await);
        }
        self.read(answer).await
    }

    /// What a GET of `url` gives.
    pub(crate) async fn get_json<T: DeserializeOwned>(&mut self, url: Url) -> Result<T, DiscoveryError> {
        let request = Request::get(url).header("accept", "application/json");
        self.send(request).await?.json()
    }

    fn spend_call(&mut self, url: &Url) -> Result<(), DiscoveryError> {
        self.calls_left = self.calls_left.checked_sub(1).ok_or_else(|| {
            DiscoveryError::content(url, format_args!("more than {CALLS_MAX} calls for one refresh"))
        })?;
        Ok(())
    }

    async fn read(&mut self, answer: httpclient::Response) -> Result<Answer, DiscoveryError> {
        let url = answer.url().to_string();
        let headers = answer.headers().clone();
        let body = answer.bytes(self.bytes_left).await;
        let body = body.map_err(|source| DiscoveryError::Http {
            url: url.clone(),
            source,
        })?;
        self.bytes_left = self.bytes_left.saturating_sub(body.len());
        Ok(Answer { url, headers, body })
    }
}

impl Answer {
    /// The body, read as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, DiscoveryError> {
        // Compat: `null` for the whole is an answer without anything, as to Go.
        self.json_or("{}")
    }

    /// The body, read as a JSON list.
    pub(crate) fn json_list<T: DeserializeOwned>(&self) -> Result<Vec<T>, DiscoveryError> {
        self.json_or("[]")
    }

    fn json_or<T: DeserializeOwned>(&self, nothing: &str) -> Result<T, DiscoveryError> {
        let read: Result<Option<T>, _> = serde_json::from_slice(&self.body);
        let read = read.and_then(|read| read.map_or_else(|| serde_json::from_str(nothing), Ok));
        read.map_err(|error| DiscoveryError::content(&self.url, error))
    }

    /// A header, or the empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }
}

/// Longest token in a file, in bytes.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// A file with a token, read anew for each refresh.
pub(crate) struct TokenFile(PathBuf);

impl TokenFile {
    /// None where no file is named.
    pub(crate) fn new(path: &Path) -> Option<Self> {
        (!is_empty_path(path)).then(|| TokenFile(path.to_owned()))
    }

    /// The token, without the white space around it.
    pub(crate) async fn read(&self) -> Result<String, DiscoveryError> {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            File::open(path)?
                .take(TOKEN_BYTES_MAX)
                .read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text.trim().to_owned())
        });
        let read = read.await.map_err(|error| DiscoveryError::Other(error.into()))?;
        read.map_err(|error| {
            let detail = format!("unable to read auth token file: {error}");
            DiscoveryError::content(self.0.display(), detail)
        })
    }
}

/// Whether no file is named.
pub(crate) fn is_empty_path(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// Makes a relative file name relative to `folder`.
pub(crate) fn resolve(folder: &Path, file: &mut PathBuf) {
    if !is_empty_path(file) && file.is_relative() {
        *file = folder.join(&*file);
    }
}

/// A URL of an API whose address is known, with parameters.
pub(crate) fn url(base: &str, parameters: &[(&str, &str)]) -> Result<Url, DiscoveryError> {
    let read = if parameters.is_empty() {
        Url::parse(base)
    } else {
        Url::parse_with_params(base, parameters)
    };
    read.map_err(|error| DiscoveryError::content(base, error))
}

/// Compat: to Go, `null` is the empty value, and what is missing is, too.
pub(crate) fn null_is_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Declares what is read of a JSON answer: every field may be missing or `null`.
macro_rules! answers {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$of_field:meta])* $field:ident: $kind:ty,)* })*) => {$(
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default)]
        $(#[$meta])*
        struct $name {
            $($(#[$of_field])* #[serde(deserialize_with = "crate::api::null_is_default")] $field: $kind,)*
        }
    )*};
}
pub(crate) use answers;

/// The labels of a target, as they are found out.
pub(crate) struct Target {
    /// Of the labels that one mechanism makes: `__meta_hetzner_`.
    prefix: &'static str,
    labels: LabelsBuilder,
    name: String,
}

impl Target {
    pub(crate) fn new(prefix: &'static str) -> Self {
        Target {
            prefix,
            labels: LabelsBuilder::new(),
            name: String::new(),
        }
    }

    /// Sets a label of the mechanism's; an empty value sets none.
    pub(crate) fn meta(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.name.clear();
        self.name.push_str(self.prefix);
        self.name.push_str(name);
        self.labels.set(&self.name, &value.to_string());
        self
    }

    /// Sets a label whose name has a part that came from outside.
    pub(crate) fn meta_of(&mut self, name: &str, foreign: &str, value: impl Display) -> &mut Self {
        self.meta(&format!("{name}{}", sanitize(foreign)), value)
    }

    /// Sets a label with the members of a list, surrounded and separated; none for a list without members.
    pub(crate) fn list(&mut self, name: &str, members: &[impl AsRef<str>], separator: &str) -> &mut Self {
        if members.is_empty() {
            return self;
        }
        self.meta(name, surrounded(members, separator))
    }

    /// Sets a label by its whole name.
    pub(crate) fn label(&mut self, name: &str, value: &str) -> &mut Self {
        self.labels.set(name, value);
        self
    }

    /// Sets the address.
    pub(crate) fn address(&mut self, host: &str, port: impl Display) -> &mut Self {
        self.label("__address__", &join_host_port(host, port))
    }

    /// The labels.
    pub(crate) fn build(&self) -> Result<Labels, DiscoveryError> {
        self.labels
            .try_build()
            .map_err(|error| DiscoveryError::Other(error.into()))
    }
}

/// The one group of a mechanism whose targets come together.
pub(crate) fn group(source: &str, targets: Vec<Labels>) -> Vec<TargetGroup> {
    vec![TargetGroup {
        source: source.to_owned(),
        targets,
        labels: Labels::default(),
    }]
}

/// The members of a list with a separator between, before and after them.
pub(crate) fn surrounded(members: &[impl AsRef<str>], separator: &str) -> String {
    let mut text = separator.to_owned();
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        text.push_str(member.as_ref());
    }
    text + separator
}

/// A part of a label's name: what is neither letter, digit nor `_` becomes `_`.
pub(crate) fn sanitize(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(keep).collect()
}

/// Host and port, the host in brackets where it holds colons.
pub(crate) fn join_host_port(host: &str, port: impl Display) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lists_and_addresses_are_written_as_the_reference_writes_them() {
        assert_eq!(sanitize("my.key/é-x_9"), "my_key___x_9");
        assert_eq!(surrounded(&["a", "b"], "|"), "|a|b|");
        assert_eq!(surrounded(&[""; 0], ","), ",,");
        assert_eq!(join_host_port("2001:db8::1", 80), "[2001:db8::1]:80");
        assert_eq!(join_host_port("a.example", 80), "a.example:80");
    }

    #[test]
    fn pages_without_an_end_stop_at_the_limit() {
        let registry = metrics::Registry::new();
        let context = Context::new("test", crate::Metrics::new(&registry));
        let settings = ApiSettings {
            http: HttpClientConfig::default(),
            refresh_interval: yaml::Duration::from_ms(0),
        };
        let api = settings.client(&context).expect("client");
        let mut round = api.round();
        let url = Url::parse("http://api.example/v1/servers").expect("URL");
        let allowed = (0..CALLS_MAX + 5)
            .take_while(|_| round.spend_call(&url).is_ok())
            .count();
        assert_eq!(allowed, CALLS_MAX);
        let error = round.spend_call(&url).expect_err("one too many").to_string();
        assert!(error.contains("more than 10000 calls for one refresh"), "{error}");
    }
}

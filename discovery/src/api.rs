//! What mechanisms that ask an HTTP API have in common: settings, the calls of one refresh, what is read of answers.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use httpclient::{HttpClient, HttpClientConfig, Request};
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Unexpected};
use url::Url;
use yaml::{Section, YamlError};

use crate::prepare::{BODY_BYTES_MAX, Context, DiscoveryError, PrepareError, bad_status, send};

/// Most calls of one refresh: a server whose pages never end must not be asked for ever.
pub(crate) const CALLS_MAX: usize = 10_000;
/// How often a call is tried whose failure passes, and the pause before the second time, doubled for the third.
pub(crate) const ATTEMPTS: u32 = 3;
pub(crate) const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause that a server may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Longest wait for an answer where the refresh interval is 0.
const TIMEOUT_OF_ZERO: Duration = Duration::from_secs(60);

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
        Ok(Api::new(context.client(&self.http)?, self.refresh_interval))
    }
}

/// The methods of `Discovery` about files, for mechanisms that name none but those of their client: `files_of!(api)`.
macro_rules! files_of {
    ($field:ident) => {
        fn resolve_paths(&mut self, folder: &std::path::Path) {
            self.$field.resolve_paths(folder);
        }

        fn files(&self) -> Vec<&std::path::Path> {
            self.$field.files()
        }
    };
}
pub(crate) use files_of;

/// Takes `role`, which is one of a few words; where there is no default, it must be there.
pub(crate) fn read_role(
    section: &mut Section<'_>,
    roles: &[&'static str],
    default: Option<&'static str>,
) -> Result<&'static str, YamlError> {
    let one_of = || format!("one of: {}", roles.join(", "));
    let Some(given) = section.get::<String>("role")? else {
        return default.ok_or_else(|| section.error(format_args!("role missing ({})", one_of())));
    };
    roles.iter().find(|role| **role == given).copied().ok_or_else(|| {
        section
            .error_at("role", format_args!("unknown role {given:?}"))
            .with_help(one_of())
    })
}

/// A URL that a mechanism is configured with. What is none makes the mechanism unavailable: the reference, too, finds out
/// only when it builds its client.
pub(crate) fn base_url(setting: &str, text: &str) -> Result<Url, PrepareError> {
    let url = Url::parse(text);
    let url =
        url.map_err(|error| PrepareError::Unavailable(format!("{setting} {text:?}: {error}").into()))?;
    if url.cannot_be_a_base() {
        let message = format!("{setting} {text:?} is not a URL such as http://host:1234");
        return Err(PrepareError::Unavailable(message.into()));
    }
    Ok(url)
}

/// The usual interval.
pub(crate) const MINUTE: yaml::Duration = yaml::Duration::from_ms(60_000);

/// A client of an API.
pub(crate) struct Api {
    client: HttpClient,
    timeout: Duration,
}

impl Api {
    /// An API behind `client`; an answer may take as long as an interval.
    pub(crate) fn new(client: HttpClient, interval: yaml::Duration) -> Self {
        let interval = interval.as_std();
        Api {
            client,
            timeout: if interval.is_zero() {
                TIMEOUT_OF_ZERO
            } else {
                interval
            },
        }
    }

    /// The calls of one refresh, which share a limit.
    pub(crate) fn round(&self) -> Round<'_> {
        Round {
            api: self,
            calls_left: AtomicUsize::new(CALLS_MAX),
            bytes_left: AtomicUsize::new(BODY_BYTES_MAX),
        }
    }
}

/// The calls of one refresh, which may go out at the same time: together at most [`CALLS_MAX`], with answers of at most
/// [`BODY_BYTES_MAX`].
pub(crate) struct Round<'a> {
    api: &'a Api,
    calls_left: AtomicUsize,
    bytes_left: AtomicUsize,
}

/// An answer's body, and what else may matter of it.
pub(crate) struct Answer {
    pub(crate) url: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Round<'_> {
    /// Sends a request and reads the answer, whatever its status.
    pub(crate) async fn send_any(&self, request: Request) -> Result<Answer, DiscoveryError> {
        self.send_for(request, |_| true).await
    }

    /// Sends a request and reads the answer, which must be a good one (2xx).
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, DiscoveryError> {
        self.send_for(request, |status| status.is_success()).await
    }

    /// Sends a request and reads the answer, whose status must be a wanted one.
    pub(crate) async fn send_for(
        &self,
        request: Request,
        is_wanted: impl Fn(StatusCode) -> bool,
    ) -> Result<Answer, DiscoveryError> {
        self.spend_call(request.url())?;
        let answer = send(&self.api.client, &request.timeout(self.api.timeout)).await?;
        if !is_wanted(answer.status()) {
            return Err(bad_status(answer).await);
        }
        self.read(answer).await
    }

    /// Sends a request that does no harm when it is sent again, and again where a failure passes; the last answer,
    /// whatever its status.
    pub(crate) async fn send_patiently(&self, request: &Request) -> Result<Answer, DiscoveryError> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            let answer = self.send_any(request.clone()).await?;
            if !matches!(answer.status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504) {
                return Ok(answer);
            }
            let wanted = answer.header("retry-after").parse().map(Duration::from_secs);
            tokio::time::sleep(wanted.unwrap_or(pause).min(PAUSE_MAX)).await;
            pause *= 2;
        }
        self.send_any(request.clone()).await
    }

    /// What a GET of `url` gives.
    pub(crate) async fn get_json<T: Default + DeserializeOwned>(
        &self,
        url: Url,
    ) -> Result<T, DiscoveryError> {
        let request = Request::get(url).header("accept", "application/json");
        self.send(request).await?.json()
    }

    /// Whether a limit is reached.
    fn is_spent(&self) -> bool {
        [&self.calls_left, &self.bytes_left]
            .iter()
            .any(|left| left.load(Ordering::Relaxed) == 0)
    }

    fn spend_call(&self, url: &Url) -> Result<(), DiscoveryError> {
        let left = |left: usize| left.checked_sub(1);
        let spent = self
            .calls_left
            .try_update(Ordering::Relaxed, Ordering::Relaxed, left);
        spent.map(drop).map_err(|_| {
            DiscoveryError::content(url, format_args!("more than {CALLS_MAX} calls for one refresh"))
        })
    }

    async fn read(&self, answer: httpclient::Response) -> Result<Answer, DiscoveryError> {
        let (url, status) = (answer.url().to_string(), answer.status());
        let headers = answer.headers().clone();
        let body = answer.bytes(self.bytes_left.load(Ordering::Relaxed)).await;
        let body = body.map_err(|source| DiscoveryError::Http {
            url: url.clone(),
            source,
        })?;
        let left = |left: usize| Some(left.saturating_sub(body.len()));
        let _ = self
            .bytes_left
            .try_update(Ordering::Relaxed, Ordering::Relaxed, left);
        Ok(Answer {
            url,
            status,
            headers,
            body,
        })
    }
}

impl Answer {
    /// The error of an answer whose status is not a wanted one, with the beginning of what it says.
    pub(crate) fn refused(&self) -> DiscoveryError {
        DiscoveryError::status(&self.url, self.status, &self.body)
    }

    /// The beginning of what it says.
    pub(crate) fn beginning(&self) -> String {
        crate::prepare::beginning(&self.body)
    }

    /// The error of an answer that refuses a token, which is named: it may have come to its end.
    pub(crate) fn refused_to(&self, bearer: &credentials::google::Bearer) -> DiscoveryError {
        DiscoveryError::content(self.refused(), format_args!("asked with {bearer}"))
    }

    /// Itself, if its status is a good one (2xx).
    pub(crate) fn good(self) -> Result<Self, DiscoveryError> {
        if self.status.is_success() {
            Ok(self)
        } else {
            Err(self.refused())
        }
    }

    /// The body, read as a JSON object.
    pub(crate) fn json<T: Default + DeserializeOwned>(&self) -> Result<T, DiscoveryError> {
        read_object(&self.body).map_err(|error| DiscoveryError::content(&self.url, error))
    }

    /// The body, read as a JSON list.
    pub(crate) fn json_list<T: DeserializeOwned>(&self) -> Result<Vec<T>, DiscoveryError> {
        let read: Result<Option<Vec<T>>, _> = serde_json::from_slice(&self.body);
        let read = read.map_err(|error| DiscoveryError::content(&self.url, error))?;
        Ok(read.unwrap_or_default())
    }

    /// A header, or the empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }
}

/// What is left out of a refresh because its details could not be had: said once, until it is there again.
pub(crate) struct Skipped {
    mechanism: &'static str,
    before: BTreeSet<String>,
    now: BTreeSet<String>,
}

impl Skipped {
    pub(crate) fn new(mechanism: &'static str) -> Self {
        Skipped {
            mechanism,
            before: BTreeSet::new(),
            now: BTreeSet::new(),
        }
    }

    /// A refresh begins.
    pub(crate) fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// Something is left out.
    ///
    /// # Errors
    /// Where a limit of the whole refresh is reached: leaving out what comes after would take back good targets.
    pub(crate) fn skip(
        &mut self,
        round: &Round<'_>,
        name: &str,
        error: DiscoveryError,
    ) -> Result<(), DiscoveryError> {
        if round.is_spent() {
            return Err(error);
        }
        if self.before.contains(name) {
            tracing::debug!(discovery = self.mechanism, name, %error, "left out of the targets");
        } else {
            tracing::warn!(discovery = self.mechanism, name, %error, "left out of the targets");
        }
        self.now.insert(name.to_owned());
        Ok(())
    }
}

/// Tokens of the pages of a list. One that comes again leads round in a circle.
#[derive(Debug, Default)]
pub(crate) struct Pages(HashSet<String>);

impl Pages {
    /// The token of the page after this one; `None` where this is the last: it names none, or an empty one.
    pub(crate) fn next(
        &mut self,
        list: impl ToString,
        token: Option<&str>,
    ) -> Result<Option<String>, DiscoveryError> {
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        if !self.0.insert(token.to_owned()) {
            return Err(DiscoveryError::content(list, "its pages lead round in a circle"));
        }
        Ok(Some(token.to_owned()))
    }
}

/// Runs calls, some at a time: their results in order, or the first error.
pub(crate) async fn some_at_a_time<T, F>(
    many: usize,
    calls: impl IntoIterator<Item = F>,
) -> Result<Vec<T>, DiscoveryError>
where
    F: Future<Output = Result<T, DiscoveryError>>,
{
    // Collected first: to a stream that maps, a closure that borrows is not general enough.
    let calls: Vec<F> = calls.into_iter().collect();
    futures_util::stream::iter(calls)
        .buffered(many)
        .try_collect()
        .await
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

/// Reads a JSON object.
///
/// Compat: to Go, `null` is one without anything, and a list is none: serde would take it for an object whose fields come
/// in their order, and `[]` for an empty one.
pub(crate) fn read_object<T: Default + DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err(serde::de::Error::invalid_type(Unexpected::Seq, &"an object"));
    }
    let read: Option<T> = serde_json::from_slice(text)?;
    Ok(read.unwrap_or_default())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_one_of_the_words_and_the_error_says_which() {
        let read = |text: &str, default| {
            let document = yaml::parse("f.yml", text).expect("YAML");
            let mut section = document.root().section("an entry").expect("mapping");
            read_role(&mut section, &["node", "pod"], default).map_err(|error| error.to_string())
        };
        assert_eq!(read("role: pod", None), Ok("pod"));
        assert_eq!(read("a: b", Some("node")), Ok("node"));
        let missing = read("a: b", None).expect_err("no role");
        assert!(missing.contains("role missing (one of: node, pod)"), "{missing}");
        assert!(read("role: ''", Some("node")).is_err());
        let unknown = read("role: poodle", Some("node")).expect_err("no such role");
        assert!(unknown.contains("unknown role \"poodle\""), "{unknown}");
    }

    #[test]
    fn pages_that_lead_round_in_a_circle_are_noticed() {
        let mut pages = Pages::default();
        for (token, next) in [
            (Some("a"), Some("a")),
            (Some("b"), Some("b")),
            (Some(""), None),
            (None, None),
        ] {
            assert_eq!(pages.next("l", token).expect("new").as_deref(), next);
        }
        let error = pages.next("the list", Some("a")).expect_err("again").to_string();
        assert_eq!(error, "the list: its pages lead round in a circle");
    }

    #[test]
    fn a_list_is_no_object() {
        #[derive(Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(default)]
        struct Few {
            count: u8,
        }
        assert_eq!(read_object::<Few>(b" null").expect("nothing"), Few::default());
        assert_eq!(read_object::<Few>(b"{\"count\": 1}").expect("an object").count, 1);
        for bad in [&b"[]"[..], b" [1]", b"", b"5", b"{} {}"] {
            assert!(
                read_object::<Few>(bad).is_err(),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
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
        let round = api.round();
        let url = Url::parse("http://api.example/v1/servers").expect("URL");
        let allowed = (0..CALLS_MAX + 5)
            .take_while(|_| round.spend_call(&url).is_ok())
            .count();
        assert_eq!(allowed, CALLS_MAX);
        let error = round.spend_call(&url).expect_err("one too many").to_string();
        assert!(error.contains("more than 10000 calls for one refresh"), "{error}");
    }
}

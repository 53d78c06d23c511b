//! `--web.config.file`: TLS, credentials, headers and a rate for whoever asks this server.
//!
//! Keys, defaults and what is refused are those of the reference's toolkit for web servers, `bearer_tokens` apart, which
//! is ours; errors stand at their place. [`WebConfig::load`] reads the file, [`tls::server`] and
//! [`BearerToken::digest`](tokens::BearerToken::digest) everything that it names, so that what has been checked can be
//! served.

mod certificate;
mod client_auth;
mod headers;
pub(crate) mod tls;
pub(crate) mod tokens;

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use yaml::{FromYaml, ScalarKind, Secret, Section, Value, YamlError};

use tls::{TlsError, TlsServerConfig};
use tokens::BearerToken;

/// Most requests and longest time that a rate is made of.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Costs of a bcrypt hash that can be meant: each step doubles the work, and 31 takes days.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=31;
/// Largest web configuration, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What the file says.
#[derive(Debug, Default)]
pub(crate) struct WebConfig {
    /// `tls_server_config`; `None` for plain HTTP.
    pub(crate) tls: Option<TlsServerConfig>,
    /// `http_server_config`
    pub(crate) http: HttpServerConfig,
    /// `rate_limit`; `None` for no limit.
    pub(crate) rate_limit: Option<RateLimit>,
    /// `basic_auth_users`: bcrypt hashes by name.
    pub(crate) users: BTreeMap<String, Secret>,
    /// `bearer_tokens`
    pub(crate) tokens: Vec<BearerToken>,
}

/// `http_server_config`
#[derive(Debug)]
pub(crate) struct HttpServerConfig {
    /// Whether clients may speak HTTP/2 over TLS.
    pub(crate) http2: bool,
    /// Headers of every answer.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Default for HttpServerConfig {
    fn default() -> Self {
        HttpServerConfig {
            http2: true,
            headers: Vec::new(),
        }
    }
}

/// `rate_limit`: so many requests at once, and one more each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    pub(crate) burst: u32,
    pub(crate) interval: Duration,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WebConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// Something in it is wrong; the text starts with the place.
    #[error(transparent)]
    Content(#[from] YamlError),
    /// What it names cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of a token cannot be read.
    #[error("token {name:?}: failed to read token_file ({}): {source}", path.display())]
    TokenFile {
        name: String,
        path: PathBuf,
        source: io::Error,
    },
    /// The file of a token holds none that is any good.
    #[error(
        "token {name:?}: {} must hold one token of at least {} characters; make one with `narthex token`",
        path.display(),
        tokens::TOKEN_BYTES_MIN
    )]
    WeakToken { name: String, path: PathBuf },
    /// A change that would leave the server open, or its clients without a way to speak to it.
    #[error("{}: {what}; restart the server if that is meant", path.display())]
    NeedsRestart { path: PathBuf, what: &'static str },
}

impl WebConfigError {
    /// The place in the file with a mark under it, where there is one; with colours if `color`.
    pub(crate) fn render(&self, color: bool) -> Option<String> {
        match self {
            WebConfigError::Content(error) => Some(error.render(color)),
            _ => None,
        }
    }
}

impl WebConfig {
    /// Reads the file `path`; file names in it become relative to its folder. An empty file asks for nothing.
    ///
    /// # Errors
    /// When it cannot be read, or something in it is wrong.
    pub(crate) fn load(path: &Path) -> Result<Self, WebConfigError> {
        let text = read_named(path, FILE_BYTES_MAX)
            .and_then(yaml::text_of)
            .map_err(|source| WebConfigError::Read {
                path: path.to_owned(),
                source,
            })?;
        let document = yaml::parse(&path.to_string_lossy(), &text)?;
        let mut config = WebConfig::read(document.root())?;
        let folder = path.parent().unwrap_or(Path::new(""));
        if let Some(tls) = &mut config.tls {
            tls.resolve_paths(folder);
        }
        for token in &mut config.tokens {
            token.resolve_path(folder);
        }
        Ok(config)
    }

    /// Files that it names.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let of_tls = self.tls.iter().flat_map(TlsServerConfig::files);
        let of_tokens = self.tokens.iter().filter_map(BearerToken::file);
        of_tls.chain(of_tokens).map(Path::to_owned).collect()
    }

    pub(crate) fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("the web configuration")?;
        let http = match section.value("http_server_config") {
            Some(value) => HttpServerConfig::read(value)?,
            None => HttpServerConfig::default(),
        };
        let config = WebConfig {
            tls: match section.value("tls_server_config") {
                Some(value) => TlsServerConfig::read(value, http.http2)?,
                None => None,
            },
            http,
            rate_limit: match section.value("rate_limit") {
                Some(value) => RateLimit::read(value)?,
                None => None,
            },
            users: read_users(&mut section)?,
            tokens: BearerToken::read_all(&mut section)?,
        };
        section.finish()?;
        Ok(config)
    }
}

/// Reads a file that is named in a configuration: no pipe, which might keep whoever reads it for ever, and no more than
/// `bytes_max`.
fn read_named(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

impl HttpServerConfig {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("http_server_config")?;
        let config = HttpServerConfig {
            http2: section.get_or("http2", true)?,
            headers: headers::read(&mut section)?,
        };
        section.finish()?;
        Ok(config)
    }
}

impl RateLimit {
    fn read(value: Value<'_>) -> Result<Option<Self>, YamlError> {
        let mut section = value.section("rate_limit")?;
        let burst: i64 = section.get_or("burst", 0)?;
        let interval = section
            .value("interval")
            .map(read_interval)
            .transpose()?
            .unwrap_or_default();
        let Ok(burst) = u32::try_from(burst) else {
            return Err(section.error_at("burst", "the burst must not be negative"));
        };
        // Compat: no interval means no limit, whatever the burst; with one, a burst of none refuses every request.
        if burst == 0 && !interval.is_zero() {
            let error = section.error_at("burst", "a burst of 0 refuses every request");
            return Err(error.with_help("say how many requests may come at once"));
        }
        section.finish()?;
        Ok((!interval.is_zero()).then_some(RateLimit { burst, interval }))
    }
}

/// A duration as Go writes it (`1.5s`, `250ms`), or a number of nanoseconds.
fn read_interval(value: Value<'_>) -> Result<Duration, YamlError> {
    let scalar = value
        .scalar()
        .ok_or_else(|| value.unexpected("a duration like 1s or 250ms"))?;
    let read = match scalar.kind {
        ScalarKind::Int(nanos) => u64::try_from(nanos).ok().map(Duration::from_nanos),
        _ => go_duration(&scalar.text),
    };
    read.filter(|interval| *interval <= INTERVAL_MAX)
        .ok_or_else(|| value.unexpected("a duration like 1s or 250ms, at most 24h"))
}

fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let behind = &rest[digits..];
        let unit = behind
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(behind.len());
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == &behind[..unit])?;
        seconds += number * factor;
        rest = &behind[unit..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

fn read_users(section: &mut Section<'_>) -> Result<BTreeMap<String, Secret>, YamlError> {
    let Some(value) = section.value("basic_auth_users") else {
        return Ok(BTreeMap::new());
    };
    let users: BTreeMap<String, String> = FromYaml::from_yaml(value)?;
    for (user, hash) in &users {
        if let Some(problem) = bcrypt_problem(hash) {
            let error = value.error(format_args!("user {user:?}: {problem}"));
            return Err(error.with_help("make one with `htpasswd -nBC 10 \"\"`"));
        }
    }
    Ok(users
        .into_iter()
        .map(|(user, hash)| (user, Secret::new(hash)))
        .collect())
}

/// What keeps a text from being a bcrypt hash: `$2y$10$`, 22 characters of salt and 31 of hash.
fn bcrypt_problem(hash: &str) -> Option<&'static str> {
    const CHARACTERS: usize = 60;
    let mut parts = hash.splitn(4, '$');
    let (before, version, cost) = (parts.next(), parts.next(), parts.next());
    let is_version = |version: &str| matches!(version, "2" | "2a" | "2b" | "2x" | "2y");
    let cost = cost
        .filter(|cost| cost.len() == 2)
        .and_then(|cost| cost.parse().ok());
    let is_digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/');
    if hash.len() < CHARACTERS - 1 {
        Some("too short for a bcrypt hash")
    } else if before != Some("") || !version.is_some_and(is_version) {
        Some("not a bcrypt hash: it must begin with $2y$, $2a$ or $2b$")
    } else if !cost.is_some_and(|cost| BCRYPT_COSTS.contains(&cost)) {
        Some("not a bcrypt hash: the cost must be from 4 to 31")
    } else if !parts.next().is_some_and(|rest| rest.chars().all(is_digit)) {
        Some("not a bcrypt hash: salt and hash are not of its characters")
    } else if hash.parse::<bcrypt::HashParts>().is_err() {
        // Whoever is let in is let in by this reader.
        Some("not a bcrypt hash that can be compared with")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;

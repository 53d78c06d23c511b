//! Values that the sections of receivers are made of.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use httpclient::HttpClientConfig;
use serde::{Serialize, Serializer};
use template::{Dialect, FunctionSet, TemplateSet};
use url::Url;
use yaml::{FromYaml, ScalarKind, Secret, Section, Value, YamlError};

use crate::Global;

/// What secrets are printed as, and what a printed configuration may be read with again.
const HIDDEN: &str = "<secret>";

/// Short words for what every section does.
pub(crate) trait Settings<'d> {
    fn text(&mut self, key: &'static str) -> Result<String, YamlError>;
    fn text_or(&mut self, key: &'static str, default: &str) -> Result<String, YamlError>;
    fn secret(&mut self, key: &'static str) -> Result<Secret, YamlError>;
    fn path(&mut self, key: &'static str) -> Result<PathBuf, YamlError>;
    fn flag(&mut self, key: &'static str, default: bool) -> Result<bool, YamlError>;
    /// `http_config` of this very section.
    fn own_http_config(&mut self) -> Result<Option<HttpClientConfig>, YamlError>;
    /// `http_config` of this section, or else the global one as a whole.
    fn http_config(&mut self, global: &Global) -> Result<HttpClientConfig, YamlError>;
    /// Refuses that two ways to give the same are both taken; `keys` are those that were.
    fn at_most_one(&self, keys: [(&str, bool); 2]) -> Result<(), YamlError>;
}

impl<'d> Settings<'d> for Section<'d> {
    fn text(&mut self, key: &'static str) -> Result<String, YamlError> {
        self.get_or(key, String::new())
    }

    fn text_or(&mut self, key: &'static str, default: &str) -> Result<String, YamlError> {
        self.get_or(key, default.to_owned())
    }

    fn secret(&mut self, key: &'static str) -> Result<Secret, YamlError> {
        self.get_or(key, Secret::default())
    }

    fn path(&mut self, key: &'static str) -> Result<PathBuf, YamlError> {
        Ok(PathBuf::from(self.text(key)?))
    }

    fn flag(&mut self, key: &'static str, default: bool) -> Result<bool, YamlError> {
        self.get_or(key, default)
    }

    fn own_http_config(&mut self) -> Result<Option<HttpClientConfig>, YamlError> {
        let Some(value) = self.value("http_config") else {
            return Ok(None);
        };
        let mut section = value.section("type config.plain")?;
        let config = HttpClientConfig::read(&mut section)?;
        section.finish()?;
        Ok(Some(config))
    }

    fn http_config(&mut self, global: &Global) -> Result<HttpClientConfig, YamlError> {
        Ok(self
            .own_http_config()?
            .unwrap_or_else(|| global.http_config.clone()))
    }

    fn at_most_one(&self, keys: [(&str, bool); 2]) -> Result<(), YamlError> {
        let [(first, has_first), (second, has_second)] = keys;
        if has_first && has_second {
            let message = format!("at most one of {first} & {second} must be configured");
            return Err(self.error_at(second, message));
        }
        Ok(())
    }
}

/// Whether a file is named.
pub(crate) fn is_named(path: &std::path::Path) -> bool {
    !path.as_os_str().is_empty()
}

/// For printing: a path that is not named.
pub(crate) fn is_unnamed(path: &std::path::Path) -> bool {
    !is_named(path)
}

/// For printing: what is left out when it is not set.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A web address. It is printed as it was written.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WebUrl {
    text: String,
    url: Url,
}

impl WebUrl {
    /// An address that is part of the program.
    pub(crate) fn fixed(text: &'static str) -> Self {
        let url = Url::parse(text).expect("an address that is part of the program");
        let text = text.to_owned();
        WebUrl { text, url }
    }

    /// Reads an address.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.to_owned();
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
            return Err(format!("unsupported scheme {scheme:?} for URL"));
        }
        match Url::parse(&text) {
            Ok(url) => Ok(WebUrl { text, url }),
            Err(url::ParseError::EmptyHost) => Err("missing host for URL".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The address with `parts` behind its path, between which there is one slash.
    pub(crate) fn join(&self, parts: &str) -> Url {
        let mut url = self.url.clone();
        let path = format!(
            "{}/{}",
            url.path().trim_end_matches('/'),
            parts.trim_start_matches('/')
        );
        url.set_path(&path);
        url
    }

    /// The same address with a slash at the end of its path.
    pub(crate) fn with_slash(&self) -> Self {
        if self.url.path().ends_with('/') && (self.text.ends_with('/') || self.url.path() != "/") {
            return self.clone();
        }
        let mut url = self.url.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", self.url.path()));
        }
        let text = url.to_string();
        WebUrl { text, url }
    }
}

impl fmt::Debug for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for WebUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl FromYaml for WebUrl {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        WebUrl::parse(&String::from_yaml(value)?).map_err(|message| value.error(message))
    }
}

/// A web address that nobody may see. Read from a printed configuration it is none.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretUrl(Option<WebUrl>);

impl SecretUrl {
    pub(crate) fn new(url: WebUrl) -> Self {
        SecretUrl(Some(url))
    }

    /// The address itself, for the one place that sends to it.
    pub(crate) fn reveal(&self) -> &str {
        self.0.as_ref().map_or("", WebUrl::as_str)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl FromYaml for SecretUrl {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        if String::from_yaml(value)? == HIDDEN {
            return Ok(SecretUrl(None));
        }
        WebUrl::from_yaml(value).map(SecretUrl::new)
    }
}

/// Whether a text is a template. What looks like one must be one.
///
/// Compat: functions of notifications are unknown where this is asked, as in the reference.
pub(crate) fn is_template(text: &str) -> Result<bool, template::ParseError> {
    if !text.contains("{{") {
        return Ok(false);
    }
    TemplateSet::new(Dialect::Html, FunctionSet::new(&[])).add("", text)?;
    Ok(true)
}

/// A length of time as Go writes it: `1m30s`, `500ms`; printed `1m30s`, `500ms`, `0s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoDuration(pub Duration);

impl GoDuration {
    /// Reads it; a negative one is as good as none.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
        if rest == "0" {
            return Some(GoDuration::default());
        }
        if rest.is_empty() {
            return None;
        }
        let mut ns = 0f64;
        let mut left = rest;
        while !left.is_empty() {
            let digits = left
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(left.len());
            let number: f64 = left[..digits].parse().ok()?;
            left = &left[digits..];
            let letters = left
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(left.len());
            let unit_ns = match &left[..letters] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 6e10,
                "h" => 3.6e12,
                _ => return None,
            };
            ns += number * unit_ns;
            left = &left[letters..];
        }
        let ns = if text.starts_with('-') { 0.0 } else { ns };
        (ns < 9.2e18).then_some(GoDuration(Duration::from_nanos(ns.round() as u64)))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.as_nanos();
        let (unit, unit_ns) = match ns {
            0 => return f.write_str("0s"),
            1..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            1_000_000..1_000_000_000 => ("ms", 1_000_000),
            _ => ("s", 1_000_000_000),
        };
        let (mut whole, part) = (ns / unit_ns, ns % unit_ns);
        if unit == "s" && whole >= 60 {
            if whole >= 3600 {
                write!(f, "{}h", whole / 3600)?;
            }
            write!(f, "{}m", whole / 60 % 60)?;
            whole %= 60;
        }
        write!(f, "{whole}")?;
        if part > 0 {
            let width = unit_ns.ilog10() as usize;
            let digits = format!("{part:0width$}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str(unit)
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromYaml for GoDuration {
    fn null() -> Option<Self> {
        Some(GoDuration::default())
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let scalar = value
            .scalar()
            .ok_or_else(|| value.unexpected("a duration like 30s"))?;
        // Compat: a bare number is nanoseconds.
        if let ScalarKind::Int(ns) = scalar.kind {
            return Ok(GoDuration(Duration::from_nanos(u64::try_from(ns).unwrap_or(0))));
        }
        GoDuration::parse(&scalar.text).ok_or_else(|| {
            let message = format!("time: invalid duration {:?}", scalar.text);
            value.error(message).with_help("write it like 30s, 5m or 1h30m")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, shown) in [
            ("0", "0s"),
            ("0s", "0s"),
            ("1s", "1s"),
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("1.5h", "1h30m0s"),
            ("1500ms", "1.5s"),
            ("1.25ms", "1.25ms"),
            ("2us", "2µs"),
            ("7ns", "7ns"),
            ("1h1m1.001s", "1h1m1.001s"),
            ("-3s", "0s"),
        ] {
            let read = GoDuration::parse(text).map(|duration| duration.to_string());
            assert_eq!(read.as_deref(), Some(shown), "{text}");
        }
        for text in ["", "-", "5", "1d", "s", "1s2", "1..5s"] {
            assert_eq!(GoDuration::parse(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_have_a_scheme_and_a_host() {
        for (text, message) in [
            ("", "unsupported scheme \"\" for URL"),
            ("host/path", "unsupported scheme \"\" for URL"),
            ("ftp://host", "unsupported scheme \"ftp\" for URL"),
            ("http://", "missing host for URL"),
        ] {
            assert_eq!(WebUrl::parse(text).err().as_deref(), Some(message), "{text}");
        }
        let slashed = |text: &str| WebUrl::parse(text).expect("address").with_slash();
        assert_eq!(slashed("http://h").as_str(), "http://h/");
        assert_eq!(slashed("http://h/a").as_str(), "http://h/a/");
        assert_eq!(slashed("http://h/a/").as_str(), "http://h/a/");
        assert_eq!(slashed("http://h/a?b").as_str(), "http://h/a/?b");
        let joined = |text: &str| WebUrl::parse(text).expect("address").join("b/c").to_string();
        assert_eq!(joined("http://h"), "http://h/b/c");
        assert_eq!(joined("http://h/a/"), "http://h/a/b/c");
    }
}

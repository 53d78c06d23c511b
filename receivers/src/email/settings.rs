//! The section of an e-mail receiver.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use httpclient::{HttpClientConfig, TlsConfig};
use serde::{Serialize, Serializer};
use yaml::{FromYaml, Secret, Section, Value, YamlError};

use crate::Global;
use crate::config::Kind;
use crate::integration::{Setup, Unbuilt};
use crate::receiver::Receiver;
use crate::settings::{Settings as _, is_default, is_named, is_unnamed};

/// A host and a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: String,
}

impl HostPort {
    /// The port's number; well-known names of mail are numbers, too.
    pub(crate) fn port_number(&self) -> Option<u16> {
        match self.port.as_str() {
            "smtp" => Some(25),
            "smtps" | "submissions" => Some(465),
            "submission" => Some(587),
            port => port.parse().ok(),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let bad = |what: &str| format!("address {text}: {what}");
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| bad("missing port in address"))?;
        let host = match host.strip_prefix('[') {
            Some(host) => host
                .strip_suffix(']')
                .ok_or_else(|| bad("missing ']' in address"))?,
            None if host.contains(':') => return Err(bad("too many colons in address")),
            None if text.ends_with(']') => return Err(bad("missing port in address")),
            None => host,
        };
        if port.is_empty() {
            return Err(format!("address {text:?}: port cannot be empty"));
        }
        Ok(HostPort {
            host: host.to_owned(),
            port: port.to_owned(),
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromYaml for HostPort {
    fn null() -> Option<Self> {
        Some(HostPort::default())
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let text = String::from_yaml(value)?;
        if text.is_empty() {
            return Ok(HostPort::default());
        }
        HostPort::parse(&text).map_err(|message| value.error(message))
    }
}

/// Which mails are shown as one conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Threading {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) enabled: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) thread_by_date: String,
}

/// The section; what it leaves open is filled in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct EmailConfig {
    send_resolved: bool,
    pub(super) to: String,
    pub(super) from: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) hello: String,
    pub(super) smarthost: HostPort,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) auth_username: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) auth_password: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    pub(super) auth_password_file: PathBuf,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) auth_secret: Secret,
    #[serde(skip_serializing_if = "is_unnamed")]
    pub(super) auth_secret_file: PathBuf,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) auth_identity: String,
    /// By their names in canonical case; `From`, `Subject` and `To` are among them.
    pub(super) headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) html: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) text: String,
    pub(super) require_tls: bool,
    pub(super) tls_config: TlsConfig,
    /// `None`: by the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) force_implicit_tls: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) threading: Threading,
}

impl Kind for EmailConfig {
    const NAME: &'static str = "email";
    const WHAT: &'static str = "type config.plain";
    const MISSING: &'static str = "missing email config";

    fn read(section: &mut Section<'_>, global: &Global) -> Result<Self, YamlError> {
        let smtp = &global.smtp;
        let mut config = EmailConfig {
            send_resolved: section.flag("send_resolved", false)?,
            to: section.text("to")?,
            from: or(section.text("from")?, &smtp.from),
            hello: or(section.text("hello")?, &smtp.hello),
            smarthost: or(section.get_or("smarthost", HostPort::default())?, &smtp.smarthost),
            auth_username: or(section.text("auth_username")?, &smtp.auth_username),
            auth_password: section.secret("auth_password")?,
            auth_password_file: section.path("auth_password_file")?,
            auth_secret: section.secret("auth_secret")?,
            auth_secret_file: section.path("auth_secret_file")?,
            auth_identity: or(section.text("auth_identity")?, &smtp.auth_identity),
            headers: read_headers(section)?,
            html: section.text_or("html", r#"{{ template "email.default.html" . }}"#)?,
            text: section.text("text")?,
            require_tls: section.get("require_tls")?.unwrap_or(smtp.require_tls),
            tls_config: section
                .value("tls_config")
                .map(TlsConfig::read)
                .transpose()?
                .unwrap_or_else(|| smtp.tls_config.clone()),
            force_implicit_tls: section.get("force_implicit_tls")?.or(smtp.force_implicit_tls),
            threading: read_threading(section)?,
        };
        config.check(section)?;
        if config.auth_password.is_empty() && !is_named(&config.auth_password_file) {
            config.auth_password = smtp.auth_password.clone();
            config.auth_password_file.clone_from(&smtp.auth_password_file);
        }
        if config.auth_secret.is_empty() && !is_named(&config.auth_secret_file) {
            config.auth_secret = smtp.auth_secret.clone();
            config.auth_secret_file.clone_from(&smtp.auth_secret_file);
        }
        config.fill_headers();
        Ok(config)
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn http_config(&mut self) -> Option<&mut HttpClientConfig> {
        None
    }

    fn html_key(&self) -> Option<&'static str> {
        Some("html")
    }

    fn build(&self, setup: &Setup) -> Result<Arc<dyn Receiver>, Unbuilt> {
        Ok(super::receiver(self, setup))
    }
}

impl EmailConfig {
    fn check(&self, section: &Section<'_>) -> Result<(), YamlError> {
        if self.to.is_empty() {
            return Err(section.error("missing to address in email config"));
        }
        if self.threading.enabled {
            for header in ["References", "In-Reply-To"] {
                if self.headers.contains_key(header) {
                    let message = format!(
                        "conflicting configuration: threading.enabled conflicts with custom {header} header"
                    );
                    return Err(section.error_at("headers", message));
                }
            }
            if !matches!(self.threading.thread_by_date.as_str(), "none" | "daily") {
                let message = "threading.thread_by_date must be either 'none' or 'daily'";
                return Err(section.error_at("threading", message));
            }
        }
        if self.smarthost == HostPort::default() {
            return Err(section.error("no global SMTP smarthost set"));
        }
        if self.from.is_empty() {
            return Err(section.error("no global SMTP from set"));
        }
        Ok(())
    }

    fn fill_headers(&mut self) {
        for (name, value) in [
            ("Subject", r#"{{ template "email.default.subject" . }}"#),
            ("To", self.to.as_str()),
            ("From", self.from.as_str()),
        ] {
            if !self.headers.contains_key(name) {
                self.headers.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// A value, or else the global one.
fn or<T: Default + PartialEq + Clone>(own: T, global: &T) -> T {
    if own == T::default() { global.clone() } else { own }
}

fn read_threading(section: &mut Section<'_>) -> Result<Threading, YamlError> {
    let Some(value) = section.value("threading") else {
        return Ok(Threading::default());
    };
    let mut section = value.section("type config.ThreadingConfig")?;
    let threading = Threading {
        enabled: section.flag("enabled", false)?,
        thread_by_date: section.text("thread_by_date")?,
    };
    section.finish()?;
    Ok(threading)
}

/// Headers by their names in canonical case: `reply-to` as `Reply-To`.
fn read_headers(section: &mut Section<'_>) -> Result<BTreeMap<String, String>, YamlError> {
    let given: BTreeMap<String, String> = section.get_or("headers", BTreeMap::new())?;
    let mut headers = BTreeMap::new();
    for (name, value) in given {
        let name = canonical(&name);
        if headers.insert(name.clone(), value).is_some() {
            return Err(section.error_at(
                "headers",
                format_args!("duplicate header {name:?} in email config"),
            ));
        }
    }
    Ok(headers)
}

/// A name that no header can have stays as it is.
fn canonical(name: &str) -> String {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !name.chars().all(is_token) {
        return name.to_owned();
    }
    let mut upper = true;
    let each = name.chars().map(|c| {
        let c = if upper {
            c.to_ascii_uppercase()
        } else {
            c.to_ascii_lowercase()
        };
        upper = c == '-';
        c
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_ports() {
        let shown = |text: &str| HostPort::parse(text).map(|parsed| parsed.to_string());
        assert_eq!(
            shown("mail.example.org:587").as_deref(),
            Ok("mail.example.org:587")
        );
        assert_eq!(shown("[::1]:25").as_deref(), Ok("[::1]:25"));
        assert_eq!(shown(":25").as_deref(), Ok(":25"));
        for (text, message) in [
            ("host", "address host: missing port in address"),
            ("::1:25", "address ::1:25: too many colons in address"),
            ("[::1]", "address [::1]: missing ']' in address"),
            ("host:", "address \"host:\": port cannot be empty"),
        ] {
            assert_eq!(shown(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn header_names_have_one_form() {
        for (name, form) in [("reply-to", "Reply-To"), ("X-MY-id", "X-My-Id"), ("ä-b", "ä-b")] {
            assert_eq!(canonical(name), form);
        }
    }
}

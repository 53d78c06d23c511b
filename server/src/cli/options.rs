//! From flags to typed options: every flag is read here, and everything that is wrong with any is told at once.

use std::path::PathBuf;
use std::time::Duration;

use yaml::Bytes;

use super::flags::{FlagValues, Mode, parse_number};
use crate::memory::MemoryFlag;
use crate::web::listener::Address;

/// Everything that is wrong with the flags: whoever puts one right wants to know of the others.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.0))]
pub(crate) struct OptionErrors(Vec<OptionError>);

fn lines(errors: &[OptionError]) -> String {
    let lines: Vec<String> = errors.iter().map(OptionError::to_string).collect();
    lines.join("\n")
}

/// What is wrong with one flag.
#[derive(Debug, thiserror::Error)]
enum OptionError {
    /// Not of the right form.
    #[error("--{flag}: {value:?} is not {expected}")]
    Value {
        /// Which flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// A pattern that does not compile.
    #[error("--{flag}: {source}")]
    Pattern {
        /// Which flag.
        flag: &'static str,
        /// Why not.
        source: model::regex::RegexError,
    },
    /// What is wrong with several parts of it together.
    #[error("{0}")]
    Said(String),
    /// Flags that a server, or an agent, has no use for. Compat: the words are the reference's
    /// (`an_agent_refuses_what_it_has_no_use_for`).
    #[error("The following flag(s) can {} in agent mode: [{}]", verdict(*mode), quoted(flags))]
    Mode {
        /// What was to be started.
        mode: Mode,
        /// The flags.
        flags: Vec<&'static str>,
    },
}

fn verdict(mode: Mode) -> &'static str {
    match mode {
        Mode::Server => "only be used",
        Mode::Agent => "not be used",
    }
}

fn quoted(flags: &[&str]) -> String {
    let flags: Vec<String> = flags.iter().map(|flag| format!("\"--{flag}\"")).collect();
    flags.join(" ")
}

impl OptionErrors {
    /// Whether flags were given that this kind of process has no use for.
    pub(crate) fn is_of_mode(&self) -> bool {
        self.0
            .iter()
            .any(|error| matches!(error, OptionError::Mode { .. }))
    }
}

/// Reads single flags, and notes what is wrong with them.
pub(super) struct Reader<'f> {
    pub(super) flags: &'f FlagValues,
    errors: Vec<OptionError>,
}

impl<'f> Reader<'f> {
    /// Reads what `read` wants of the flags.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(super) fn all<T>(
        flags: &'f FlagValues,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Result<T, OptionErrors> {
        let mut reader = Reader {
            flags,
            errors: Vec::new(),
        };
        reader.check_forms();
        let options = read(&mut reader);
        if reader.errors.is_empty() {
            Ok(options)
        } else {
            Err(OptionErrors(reader.errors))
        }
    }

    /// Notes values that are not of their flag's form. What is read below of such
    /// a value is its type's nothing.
    fn check_forms(&mut self) {
        for (flag, value, expected) in self.flags.malformed() {
            let value = value.to_owned();
            self.errors.push(OptionError::Value {
                flag,
                value,
                expected,
            });
        }
    }

    /// Notes flags that such a process has no use for.
    pub(super) fn check_mode(&mut self, mode: Mode) {
        let flags = self.flags.out_of_mode(mode);
        if !flags.is_empty() {
            self.errors.push(OptionError::Mode { mode, flags });
        }
    }

    pub(super) fn text(&self, flag: &'static str) -> &'f str {
        self.flags.get(flag)
    }

    pub(super) fn switch(&self, flag: &'static str) -> bool {
        self.text(flag) == "true"
    }

    pub(super) fn path(&self, flag: &'static str) -> Option<PathBuf> {
        Some(self.text(flag))
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    }

    pub(super) fn duration(&self, flag: &'static str) -> Duration {
        let ms = model::duration::parse_duration(self.text(flag)).unwrap_or(0);
        Duration::from_millis(ms.unsigned_abs())
    }

    pub(super) fn go_duration(&self, flag: &'static str) -> Duration {
        receivers::GoDuration::parse(self.text(flag)).map_or(Duration::ZERO, |duration| duration.0)
    }

    pub(super) fn bytes(&self, flag: &'static str) -> u64 {
        Bytes::parse(self.text(flag)).map_or(0, |bytes| bytes.0.max(0) as u64)
    }

    /// A bound; 0 for none.
    pub(super) fn limit(&self, flag: &'static str) -> usize {
        let number = self.text(flag).parse::<i64>().unwrap_or(0);
        usize::try_from(number).unwrap_or(0)
    }

    pub(super) fn number(&self, flag: &'static str) -> usize {
        parse_number(self.text(flag)).unwrap_or(0)
    }

    /// Where a server of its own is reached from outside, if that is said, and the path in front of its pages, without slashes
    /// around it.
    pub(super) fn place(&mut self) -> (Option<url::Url>, String) {
        let external_url = match self.text("web.external-url") {
            "" => None,
            text => {
                let url = url::Url::parse(text).ok();
                let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
                self.or_error(
                    "web.external-url",
                    "a URL that begins with http:// or https://",
                    url,
                )
            }
        };
        let prefix = match self.text("web.route-prefix") {
            "" => external_url.as_ref().map_or("", url::Url::path),
            prefix => prefix,
        };
        let prefix = prefix.trim_matches('/').to_owned();
        (external_url, prefix)
    }

    /// Notes what is wrong in words that name the flag.
    pub(super) fn note(&mut self, error: String) {
        self.errors.push(OptionError::Said(error));
    }

    /// The value, or a note that the flag's is not what is `expected`.
    pub(super) fn or_error<T>(
        &mut self,
        flag: &'static str,
        expected: &'static str,
        value: Option<T>,
    ) -> Option<T> {
        if value.is_none() {
            self.errors.push(OptionError::Value {
                flag,
                value: self.text(flag).to_owned(),
                expected,
            });
        }
        value
    }

    pub(super) fn addresses(&mut self, flag: &'static str) -> Vec<Address> {
        const EXPECTED: &str = "addresses like 0.0.0.0:9090, :9090 or unix:/run/narthex.sock";
        let addresses = self.text(flag).split(',').map(Address::parse).collect();
        self.or_error(flag, EXPECTED, addresses).unwrap_or_default()
    }

    /// One address, where one is given.
    pub(super) fn address(&mut self, flag: &'static str) -> Option<Address> {
        const EXPECTED: &str = "an address like 0.0.0.0:4317, :4317 or unix:/run/otlp.sock";
        let text = self.text(flag);
        if text.is_empty() {
            return None;
        }
        self.or_error(flag, EXPECTED, Address::parse(text))
    }

    pub(super) fn memory(&mut self, flag: &'static str) -> Option<MemoryFlag> {
        const EXPECTED: &str = "a size like 2GB, a share like 25%, or 0 for no limit";
        match self.text(flag) {
            "" => None,
            text => self.or_error(flag, EXPECTED, MemoryFlag::parse(text)),
        }
    }

    pub(super) fn pattern(&mut self, flag: &'static str) -> String {
        let text = self.text(flag);
        if let Err(source) = model::regex::Regex::new(text) {
            self.errors.push(OptionError::Pattern { flag, source });
        }
        text.to_owned()
    }
}

//! Names of metrics, labels and units, as the protocol's world writes them and as this one does.
//!
//! <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#otlp-metric-points-to-prometheus>
//!
//! Names come as bytes, since nobody upstream makes sure that they are UTF-8. Where names are escaped all that remains is
//! ASCII; where they are kept, what is no UTF-8 becomes U+FFFD.

use std::borrow::Cow;

use super::config::OtlpConfig;
use super::value::text;
use super::wire::Kind;

/// Why a name cannot be had. Compat: the words are the reference's, clients log them (payloads: name-alone-*,
/// attribute-name-*).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing of a metric's name is left.
    #[error("normalization for metric {} resulted in empty name", Quoted(.0))]
    EmptyMetric(String),
    /// Of a metric's name only underscores are left.
    #[error("normalization for metric {} resulted in invalid name {}", Quoted(.0), Quoted(.1))]
    InvalidMetric(String, String),
    /// An attribute without a name.
    #[error("label name is empty")]
    EmptyLabel,
    /// Of an attribute's name only underscores are left.
    #[error("normalization for label name {} resulted in invalid name {}", Quoted(.0), Quoted(.1))]
    InvalidLabel(String, String),
    /// An attribute's name has nothing but underscores.
    #[error("label name {} contains only underscores", Quoted(.0))]
    Underscores(String),
}

/// A text in Go's quotes.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        model::labels::write_quoted(f, self.0)
    }
}

/// What names look like: from the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naming {
    /// Only letters, digits and underscores (and colons in metrics' names) are left.
    pub(super) escape: bool,
    /// Units and kinds are told at the end of metrics' names.
    suffixes: bool,
    /// Labels do not begin with an underscore.
    key_prefix: bool,
    /// Several underscores beside each other stay that many.
    keep_underscores: bool,
}

impl Naming {
    pub(super) fn new(config: &OtlpConfig) -> Self {
        Naming {
            escape: config.translation_strategy.escapes(),
            suffixes: config.translation_strategy.adds_suffixes(),
            key_prefix: config.label_name_underscore_sanitization,
            keep_underscores: config.label_name_preserve_multiple_underscores,
        }
    }

    /// The name of a metric's series, apart from what histograms and summaries append.
    pub(super) fn metric(
        &self,
        name: &[u8],
        unit: &[u8],
        kind: Kind,
        counts_up: bool,
    ) -> Result<String, NameError> {
        let ending = match kind {
            Kind::Sum if counts_up => Some("total"),
            // Compat: many take the unit 1 for "a number of", so only gauges are taken for ratios
            // (payloads: units-gauge, units-counter).
            Kind::Gauge if unit == b"1" => Some("ratio"),
            _ => None,
        };
        let (main, per) = unit_words(&text(unit));
        if !self.escape {
            let mut name = name.to_vec();
            if self.suffixes {
                append_suffixes(&mut name, &main, &per, ending);
            }
            return Ok(text(&name).into_owned());
        }
        let mut escaped = if self.suffixes {
            join_words(name, &cleaned(&main), &cleaned(&per), ending)
        } else {
            let words = name.split(|byte| !is_word(*byte) && *byte != b'_');
            words.filter(|word| !word.is_empty()).fold(String::new(), join)
        };
        if escaped.starts_with(|c: char| c.is_ascii_digit()) {
            escaped.insert(0, '_');
        }
        let named = || text(name).into_owned();
        if escaped.is_empty() {
            return Err(NameError::EmptyMetric(named()));
        }
        if escaped.as_bytes() != name && escaped.bytes().all(|byte| byte == b'_') {
            return Err(NameError::InvalidMetric(named(), escaped));
        }
        Ok(escaped)
    }

    /// The name of a label that an attribute becomes.
    pub(super) fn label<'b>(&self, name: &'b [u8]) -> Result<Cow<'b, str>, NameError> {
        if name.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        let only_underscores = |name: &[u8]| name.iter().all(|byte| *byte == b'_');
        if !self.escape {
            if only_underscores(name) {
                return Err(NameError::Underscores(text(name).into_owned()));
            }
            return Ok(text(name));
        }
        let mut escaped = self.escaped_label(name);
        if escaped.starts_with(|c: char| c.is_ascii_digit()) {
            escaped = Cow::Owned(format!("key_{escaped}"));
        } else if self.key_prefix && escaped.starts_with('_') && !escaped.starts_with("__") {
            escaped = Cow::Owned(format!("key{escaped}"));
        }
        if only_underscores(escaped.as_bytes()) {
            return Err(NameError::InvalidLabel(
                text(name).into_owned(),
                escaped.into_owned(),
            ));
        }
        Ok(escaped)
    }

    fn escaped_label<'b>(&self, name: &'b [u8]) -> Cow<'b, str> {
        if self.keep_underscores {
            if let Ok(same) = std::str::from_utf8(name)
                && name
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            {
                return Cow::Borrowed(same);
            }
            return Cow::Owned(letters(name).collect());
        }
        let inner = match name {
            [b'_', b'_', inner @ .., b'_', b'_'] => Some(inner),
            _ => None,
        };
        let mut escaped = String::with_capacity(name.len());
        for letter in letters(inner.unwrap_or(name)) {
            if letter != '_' || !escaped.ends_with('_') {
                escaped.push(letter);
            }
        }
        match inner {
            Some(_) => Cow::Owned(format!("__{escaped}__")),
            None => Cow::Owned(escaped),
        }
    }
}

/// The unit as metadata and labels tell it.
pub(super) fn unit_name(unit: &str, escape: bool) -> String {
    let (main, per) = unit_words(unit);
    let (main, per) = if escape {
        (cleaned(&main), cleaned(&per))
    } else {
        (main, per)
    };
    let name = match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        (false, true) => main,
        (true, _) => per,
    };
    let name = name.strip_prefix('_').unwrap_or(&name);
    name.strip_suffix('_').unwrap_or(name).to_owned()
}

/// The name's letters, an underscore for each that may not be in a label's name.
fn letters(name: &[u8]) -> impl Iterator<Item = char> {
    name.utf8_chunks().flat_map(|chunk| {
        let valid = chunk
            .valid()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
        // One for each byte, as Go reads them.
        valid.chain(chunk.invalid().iter().map(|_| '_'))
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b':'
}

fn join(mut name: String, word: &[u8]) -> String {
    if !name.is_empty() {
        name.push('_');
    }
    name.push_str(&text(word));
    name
}

/// The words of a name, its unit and its ending, each once.
fn join_words(name: &[u8], main: &str, per: &str, ending: Option<&str>) -> String {
    let mut words: Vec<&[u8]> = name
        .split(|byte| !is_word(*byte))
        .filter(|word| !word.is_empty())
        .collect();
    let mut main = if words.contains(&main.as_bytes()) {
        ""
    } else {
        main
    };
    let per = match per {
        "per_" => "",
        per => per.strip_suffix('_').unwrap_or(per),
    };
    let per = if words.contains(&per.as_bytes()) { "" } else { per };
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(main);
    }
    words.extend(
        [main, per]
            .into_iter()
            .filter(|word| !word.is_empty())
            .map(str::as_bytes),
    );
    if let Some(ending) = ending {
        words.retain(|word| *word != ending.as_bytes());
        words.push(ending.as_bytes());
    }
    words.into_iter().fold(String::new(), join)
}

/// Appends what is told of unit and kind to a name that is kept as it is.
fn append_suffixes(name: &mut Vec<u8>, main: &str, per: &str, ending: Option<&str>) {
    for suffix in ending.into_iter().chain((!per.is_empty()).then_some(per)) {
        // With whatever separates it.
        if name.ends_with(suffix.as_bytes()) && name.len() > suffix.len() + 1 {
            name.truncate(name.len() - suffix.len() - 1);
        }
    }
    let main = Some(main).filter(|main| !name.ends_with(main.as_bytes()));
    for suffix in [main, Some(per), ending]
        .into_iter()
        .flatten()
        .filter(|word| !word.is_empty())
    {
        name.push(b'_');
        name.extend_from_slice(suffix.as_bytes());
    }
}

/// What a unit is called: itself, and what it is a rate by, with `per_` in front. Empty where nothing is to be said.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    // What is in braces is a remark.
    let is_unit = |unit: &str| !unit.is_empty() && !unit.contains(['{', '}']);
    let (main, per) = (main.trim(), per.trim());
    let main = if is_unit(main) { long_name(main) } else { "" };
    let per = if is_unit(per) {
        format!("per_{}", singular(per))
    } else {
        String::new()
    };
    (main.to_owned(), per)
}

/// Units of <https://ucum.org/ucum> that have a name in Prometheus.
fn long_name(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => other,
    }
}

/// What something is a rate by. (A minute here, and not a metre.)
fn singular(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

/// Letters, digits and single underscores of a unit.
fn cleaned(unit: &str) -> String {
    let mut cleaned = String::with_capacity(unit.len());
    for c in unit.chars() {
        let c = if c.is_ascii_alphanumeric() || c == ':' {
            c
        } else {
            '_'
        };
        if c != '_' || !cleaned.ends_with('_') {
            cleaned.push(c);
        }
    }
    match cleaned.strip_prefix('_') {
        Some(rest) => rest.to_owned(),
        None => cleaned,
    }
}

//! Which format to ask for, and which one an answer is in.

use crate::entry::Format;

/// A format in one version, as `scrape_protocols` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScrapeProtocol {
    /// Delimited protobuf messages.
    PrometheusProto,
    /// Prometheus text, version 0.0.4.
    PrometheusText0_0_4,
    /// Prometheus text, version 1.0.0: with quoted names.
    PrometheusText1_0_0,
    /// OpenMetrics, version 0.0.1.
    OpenMetricsText0_0_1,
    /// OpenMetrics, version 1.0.0.
    OpenMetricsText1_0_0,
}

impl ScrapeProtocol {
    /// All of them, sorted by their names.
    pub const ALL: [ScrapeProtocol; 5] = [
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::PrometheusProto,
        ScrapeProtocol::PrometheusText0_0_4,
        ScrapeProtocol::PrometheusText1_0_0,
    ];

    /// What is asked for by default, best first.
    pub const DEFAULT: [ScrapeProtocol; 4] = [
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::PrometheusText1_0_0,
        ScrapeProtocol::PrometheusText0_0_4,
    ];

    /// What is asked for by default when native histograms are wanted.
    pub const DEFAULT_PROTOBUF_FIRST: [ScrapeProtocol; 5] = [
        ScrapeProtocol::PrometheusProto,
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::PrometheusText1_0_0,
        ScrapeProtocol::PrometheusText0_0_4,
    ];

    /// The protocol with this name in configuration files.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == name)
    }

    /// Its name in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            ScrapeProtocol::PrometheusProto => "PrometheusProto",
            ScrapeProtocol::PrometheusText0_0_4 => "PrometheusText0.0.4",
            ScrapeProtocol::PrometheusText1_0_0 => "PrometheusText1.0.0",
            ScrapeProtocol::OpenMetricsText0_0_1 => "OpenMetricsText0.0.1",
            ScrapeProtocol::OpenMetricsText1_0_0 => "OpenMetricsText1.0.0",
        }
    }

    /// The format that it is a version of.
    pub fn format(self) -> Format {
        match self {
            ScrapeProtocol::PrometheusProto => Format::Protobuf,
            ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0 => Format::Text,
            ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0 => {
                Format::OpenMetrics
            }
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            ScrapeProtocol::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
            ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0",
            ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
        }
    }
}

/// How targets are asked to write names that are not of the old kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EscapingScheme {
    /// As they are.
    #[default]
    AllowUtf8,
    /// Every odd character becomes `_`.
    Underscores,
    /// `.` becomes `_dot_`, `_` becomes `__`, the rest `__`.
    Dots,
    /// `U__` in front, and code points in hexadecimal.
    Values,
}

impl EscapingScheme {
    /// The scheme with this name in configuration files and headers.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values]
            .into_iter()
            .find(|scheme| scheme.as_str() == name)
    }

    /// Its name in configuration files and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            EscapingScheme::AllowUtf8 => "allow-utf-8",
            EscapingScheme::Underscores => "underscores",
            EscapingScheme::Dots => "dots",
            EscapingScheme::Values => "values",
        }
    }
}

/// The `Accept` header for these protocols, best first.
pub fn accept_header(protocols: &[ScrapeProtocol], escaping: EscapingScheme) -> String {
    let mut header = String::new();
    let mut weight = ScrapeProtocol::ALL.len() + 1;
    for protocol in protocols {
        header.push_str(protocol.media_type());
        // Older versions know no escaping.
        if matches!(
            protocol,
            ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::OpenMetricsText1_0_0
        ) {
            header.push_str(";escaping=");
            header.push_str(escaping.as_str());
        }
        header.push_str(&format!(";q=0.{weight},"));
        weight = weight.saturating_sub(1);
    }
    header.push_str(&format!("*/*;q=0.{weight}"));
    header
}

/// Why the format of an answer is not known for sure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentTypeError {
    /// No Content-Type at all.
    #[error("non-compliant scrape target sending blank Content-Type{instead}", instead = instead(.0))]
    Blank(Option<ScrapeProtocol>),
    /// A malformed Content-Type.
    // Compat: two lines (`malformed_content_types`).
    #[error("{}\n{why}", malformed(header, fallback))]
    Malformed {
        /// The header.
        header: String,
        /// What is assumed instead.
        fallback: Option<ScrapeProtocol>,
        /// What is wrong with it.
        why: MediaTypeError,
    },
    /// The media type of something else.
    #[error("received unsupported Content-Type {0:?}{instead}", instead = instead(.1))]
    Unsupported(String, Option<ScrapeProtocol>),
}

/// What makes a Content-Type malformed; the texts are those of Go's library, which the reference shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MediaTypeError {
    /// It does not begin with a token.
    #[error("mime: no media type")]
    NoType,
    /// The type goes on without a slash.
    #[error("mime: expected slash after first token")]
    NoSlash,
    /// Nothing behind the slash.
    #[error("mime: expected token after slash")]
    NoSubtype,
    /// Something else than parameters behind the subtype.
    #[error("mime: unexpected content after media subtype")]
    AfterSubtype,
    /// What follows a semicolon is no `name=value`.
    #[error("mime: invalid media parameter")]
    Parameter,
    /// A parameter has two values.
    #[error("mime: duplicate parameter name")]
    Repeated,
}

fn instead(fallback: &Option<ScrapeProtocol>) -> String {
    match fallback {
        None => " and no fallback_scrape_protocol specified for target".to_owned(),
        Some(protocol) => using(*protocol),
    }
}

fn using(protocol: ScrapeProtocol) -> String {
    format!(
        ", using fallback_scrape_protocol {:?}",
        media_type_only(protocol.media_type())
    )
}

fn malformed(header: &str, fallback: &Option<ScrapeProtocol>) -> String {
    match fallback {
        None => format!("cannot parse Content-Type {header:?} and no fallback_scrape_protocol for target"),
        Some(protocol) => format!(
            "could not parse received Content-Type {header:?}{}",
            using(*protocol)
        ),
    }
}

fn media_type_only(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or("").trim()
}

/// The format of an answer with this `Content-Type`. Where the header does not tell, the fallback's format is given
/// together with what is wrong, to be logged; without a fallback the scrape fails.
pub fn format_of(
    content_type: &str,
    fallback: Option<ScrapeProtocol>,
) -> (Option<Format>, Option<ContentTypeError>) {
    let error = if content_type.is_empty() {
        ContentTypeError::Blank(fallback)
    } else if let Err(why) = check_media_type(content_type) {
        let header = content_type.to_owned();
        ContentTypeError::Malformed {
            header,
            fallback,
            why,
        }
    } else {
        match media_type_only(content_type).to_ascii_lowercase().as_str() {
            "application/openmetrics-text" => return (Some(Format::OpenMetrics), None),
            "application/vnd.google.protobuf" => return (Some(Format::Protobuf), None),
            "text/plain" => return (Some(Format::Text), None),
            _ => ContentTypeError::Unsupported(content_type.to_owned(), fallback),
        }
    };
    (fallback.map(ScrapeProtocol::format), Some(error))
}

/// Checks for `type/subtype`, or `type` alone, with parameters `name=value` or `name="value"` behind semicolons (RFC 2045,
/// section 5.1).
///
/// Compat: a semicolon at the end is forgiven, a second one is not; a parameter may be repeated with the same value
/// (malformed_content_types).
fn check_media_type(content_type: &str) -> Result<(), MediaTypeError> {
    let (media_type, parameters) = match content_type.find(';') {
        Some(at) => content_type.split_at(at),
        None => (content_type, ""),
    };
    let (kind, rest) = token(media_type.trim());
    if kind.is_empty() {
        return Err(MediaTypeError::NoType);
    }
    if !rest.is_empty() {
        let rest = rest.strip_prefix('/').ok_or(MediaTypeError::NoSlash)?;
        let (subtype, rest) = token(rest);
        if subtype.is_empty() {
            return Err(MediaTypeError::NoSubtype);
        }
        if !rest.is_empty() {
            return Err(MediaTypeError::AfterSubtype);
        }
    }
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut rest = parameters.trim_start();
    while !rest.is_empty() && rest.trim() != ";" {
        let (name, value, behind) = parameter(rest).ok_or(MediaTypeError::Parameter)?;
        if seen
            .iter()
            .any(|(known, other)| *known == name && *other != value)
        {
            return Err(MediaTypeError::Repeated);
        }
        seen.push((name, value));
        rest = behind.trim_start();
    }
    Ok(())
}

/// The token that `text` begins with, and what follows it.
fn token(text: &str) -> (&str, &str) {
    let is_token = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b);
    let end = text.bytes().position(|b| !is_token(b)).unwrap_or(text.len());
    text.split_at(end)
}

/// The parameter that `text` begins with, semicolon first: its name, its value, and what follows it.
fn parameter(text: &str) -> Option<(String, String, &str)> {
    let (name, rest) = token(text.strip_prefix(';')?.trim_start());
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => quoted_value(quoted)?,
        None => {
            let (value, rest) = token(rest);
            if value.is_empty() {
                return None;
            }
            (value.to_owned(), rest)
        }
    };
    (!name.is_empty()).then(|| (name.to_ascii_lowercase(), value, rest))
}

/// A quoted value whose first quote has been read.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\r' | '\n' => return None,
            // Compat: a backslash escapes only what has a meaning (malformed_content_types).
            '\\' if text[at + 1..].starts_with(|c| "()<>@,;:\\\"/[]?=".contains(c)) => {
                value.extend(chars.next().map(|(_, c)| c));
            }
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept() {
        assert_eq!(
            accept_header(&ScrapeProtocol::DEFAULT, EscapingScheme::AllowUtf8),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(
            accept_header(&[ScrapeProtocol::PrometheusProto], EscapingScheme::Dots),
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,*/*;q=0.5"
        );
    }

    #[test]
    fn names() {
        for protocol in ScrapeProtocol::ALL {
            assert_eq!(ScrapeProtocol::from_name(protocol.as_str()), Some(protocol));
        }
        assert_eq!(ScrapeProtocol::from_name("prometheusproto"), None);
        assert_eq!(EscapingScheme::from_name("dots"), Some(EscapingScheme::Dots));
    }

    #[test]
    fn malformed_content_types() {
        use MediaTypeError as E;
        for (header, want) in [
            ("text/plain;", Ok(())),
            ("text/plain; ", Ok(())),
            ("text/plain;a=1;a=1 ;", Ok(())),
            (r#"text/plain;a="";b="\"\x";"#, Ok(())),
            ("text/plain;version=0.0.4;;", Err(E::Parameter)),
            ("text/plain;;", Err(E::Parameter)),
            ("text/plain;version=0.0.4; ;", Err(E::Parameter)),
            ("text/plain;version", Err(E::Parameter)),
            ("text/plain;version=", Err(E::Parameter)),
            ("text/plain;=1", Err(E::Parameter)),
            ("text/plain;a=1 b=2", Err(E::Parameter)),
            (r#"text/plain;a="1"#, Err(E::Parameter)),
            ("text/plain;a=1;A=2", Err(E::Repeated)),
            ("/plain", Err(E::NoType)),
            (";a=1", Err(E::NoType)),
            ("text plain", Err(E::NoSlash)),
            ("text/", Err(E::NoSubtype)),
            ("text/plain charset=x", Err(E::AfterSubtype)),
            ("text/plain, text/plain", Err(E::AfterSubtype)),
        ] {
            assert_eq!(check_media_type(header), want, "{header}");
        }
        let text = |fallback| {
            format_of("text/plain;;", fallback)
                .1
                .map(|error| error.to_string())
        };
        assert_eq!(
            text(None).as_deref(),
            Some(
                "cannot parse Content-Type \"text/plain;;\" and no fallback_scrape_protocol for target\n\
                 mime: invalid media parameter"
            )
        );
        assert_eq!(
            text(Some(ScrapeProtocol::OpenMetricsText1_0_0)).as_deref(),
            Some(
                "could not parse received Content-Type \"text/plain;;\", using fallback_scrape_protocol \
                 \"application/openmetrics-text\"\nmime: invalid media parameter"
            )
        );
    }

    #[test]
    fn content_types() {
        for (header, want) in [
            ("text/plain", Format::Text),
            ("Text/Plain; version=0.0.4; charset=\"utf-8\"", Format::Text),
            ("text/plain;version=0.0.4;", Format::Text),
            (
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
                Format::OpenMetrics,
            ),
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
                Format::Protobuf,
            ),
        ] {
            assert_eq!(format_of(header, None), (Some(want), None), "{header}");
        }
        let fallback = Some(ScrapeProtocol::PrometheusText0_0_4);
        for header in [
            "",
            "text/html",
            "application/json; a=b",
            "text/plain; version",
            "text/plain; a=1; a=2",
        ] {
            let (format, error) = format_of(header, None);
            assert_eq!(format, None, "{header}");
            assert!(error.is_some());
            assert_eq!(format_of(header, fallback).0, Some(Format::Text), "{header}");
        }
        assert_eq!(
            format_of("", None).1.map(|e| e.to_string()).as_deref(),
            Some(
                "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
            )
        );
        assert_eq!(
            format_of("text/html", fallback)
                .1
                .map(|e| e.to_string())
                .as_deref(),
            Some(
                r#"received unsupported Content-Type "text/html", using fallback_scrape_protocol "text/plain""#
            )
        );
    }
}

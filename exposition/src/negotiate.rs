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
    /// A Content-Type that is none.
    #[error("cannot parse Content-Type {0:?}{instead}", instead = instead(.1))]
    Malformed(String, Option<ScrapeProtocol>),
    /// The media type of something else.
    #[error("received unsupported Content-Type {0:?}{instead}", instead = instead(.1))]
    Unsupported(String, Option<ScrapeProtocol>),
}

fn instead(fallback: &Option<ScrapeProtocol>) -> String {
    match fallback {
        None => " and no fallback_scrape_protocol specified for target".to_owned(),
        Some(protocol) => format!(
            ", using fallback_scrape_protocol {:?}",
            media_type_only(protocol.media_type())
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
    } else {
        let media_type = media_type_only(content_type).to_ascii_lowercase();
        match media_type.as_str() {
            "application/openmetrics-text" if well_formed(content_type) => {
                return (Some(Format::OpenMetrics), None);
            }
            "application/vnd.google.protobuf" if well_formed(content_type) => {
                return (Some(Format::Protobuf), None);
            }
            "text/plain" if well_formed(content_type) => return (Some(Format::Text), None),
            _ if well_formed(content_type) => {
                ContentTypeError::Unsupported(content_type.to_owned(), fallback)
            }
            _ => ContentTypeError::Malformed(content_type.to_owned(), fallback),
        }
    };
    (fallback.map(ScrapeProtocol::format), Some(error))
}

/// Whether `content_type` is `type/subtype` with parameters `name=value` or `name="value"`, none of them twice.
fn well_formed(content_type: &str) -> bool {
    let is_token = |text: &str| {
        let special = |b: u8| b"()<>@,;:\\\"/[]?=".contains(&b);
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !special(b))
    };
    let (media_type, mut rest) = content_type.split_once(';').unwrap_or((content_type, ""));
    let (kind, subtype) = media_type
        .trim()
        .split_once('/')
        .unwrap_or((media_type.trim(), "x"));
    if !is_token(kind) || !is_token(subtype) {
        return false;
    }
    let mut seen = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return true;
        }
        let Some((name, after)) = rest.split_once('=') else {
            // A semicolon at the end is forgiven.
            return rest == ";";
        };
        let name = name.trim().to_ascii_lowercase();
        let Some((value, after)) = parameter_value(after) else {
            return false;
        };
        if !is_token(&name) || seen.contains(&name) || !(value == ParameterValue::Quoted || after.1) {
            return false;
        }
        seen.push(name);
        rest = after.0;
    }
}

#[derive(PartialEq, Eq)]
enum ParameterValue {
    Token,
    Quoted,
}

/// Reads a parameter's value; gives what follows its semicolon, and whether the value is a token.
fn parameter_value(text: &str) -> Option<(ParameterValue, (&str, bool))> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut escaped = false;
        let end = quoted.bytes().position(|b| {
            let ends = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        })?;
        let after = quoted[end + 1..].trim_start();
        let rest = if after.is_empty() {
            ""
        } else {
            after.strip_prefix(';')?
        };
        return Some((ParameterValue::Quoted, (rest, true)));
    }
    let (value, rest) = text.split_once(';').unwrap_or((text, ""));
    let value = value.trim_end();
    let token = !value.is_empty()
        && value
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b));
    Some((ParameterValue::Token, (rest, token)))
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

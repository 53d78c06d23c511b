//! Metric families as `/federate` and `/metrics` send them: in the text format or as protobuf, with names escaped as
//! the client wants them.
//!
//! Formats: <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/instrumenting/escaping_schemes/>.

mod escape;
mod protobuf;
mod text;

pub(super) use escape::Escaping;
pub(super) use protobuf::json;

use model::histogram::Span;

/// Kind of a family; the numbers are protobuf's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyKind {
    Counter = 0,
    Gauge = 1,
    Summary = 2,
    Untyped = 3,
    Histogram = 4,
    GaugeHistogram = 5,
}

/// Metrics of one name.
#[derive(Clone, Debug)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) help: Option<String>,
    pub(super) kind: FamilyKind,
    pub(super) metrics: Vec<Metric>,
}

/// One metric.
#[derive(Clone, Debug)]
pub(super) struct Metric {
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: MetricValue,
    pub(super) timestamp_ms: Option<i64>,
}

/// What a metric says.
#[derive(Clone, Debug)]
pub(super) enum MetricValue {
    Number(f64),
    Summary {
        quantiles: Vec<(f64, f64)>,
        sum: f64,
        count: u64,
    },
    Classic(ClassicHistogram),
    /// Protobuf only: the text format has no room for it.
    Native(NativeHistogram),
    /// What somebody pushed as a message.
    Pushed {
        /// The message's fields but for the labels, which go out as they came.
        fields: Box<[u8]>,
        /// What of it fits into text.
        shown: Box<MetricValue>,
    },
}

/// A histogram of cumulative buckets.
#[derive(Clone, Debug)]
pub(super) struct ClassicHistogram {
    /// Upper bounds and cumulative counts; the last one, which is infinite, may be left out.
    pub(super) buckets: Vec<(f64, f64)>,
    pub(super) sum: f64,
    pub(super) count: f64,
    /// Whether counts are whole by nature: protobuf has fields of its own for others.
    pub(super) whole: bool,
}

/// A histogram of exponential buckets.
#[derive(Clone, Debug)]
pub(super) struct NativeHistogram {
    pub(super) sum: f64,
    pub(super) count: f64,
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: f64,
    pub(super) negative_spans: Vec<Span>,
    pub(super) negative_counts: Vec<f64>,
    pub(super) positive_spans: Vec<Span>,
    pub(super) positive_counts: Vec<f64>,
}

/// How families are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Text, version 0.0.4.
    Text,
    /// Messages, each behind its length.
    ProtoDelimited,
    /// Messages as protobuf's debugging text.
    ProtoText,
    /// The same, a line a message.
    ProtoCompact,
}

/// Encoding and escaping that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) encoding: Encoding,
    pub(super) escaping: Escaping,
}

impl Format {
    /// From an `Accept` header.
    ///
    /// Compat: OpenMetrics is never answered, and the escaping is that of the last range looked at
    /// (push/federate `accept/*`).
    pub(super) fn negotiate(accept: &str) -> Self {
        let mut ranges: Vec<Range<'_>> = accept.split(',').map(Range::new).collect();
        ranges.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        let mut escaping = Escaping::Underscores;
        for range in &ranges {
            if let Some(asked) = range.parameter("escaping").and_then(Escaping::from_name) {
                escaping = asked;
            }
            let protobuf = range.media == "application/vnd.google.protobuf"
                && range.parameter("proto") == Some("io.prometheus.client.MetricFamily");
            let encoding = match range.parameter("encoding").filter(|_| protobuf) {
                Some("delimited") => Encoding::ProtoDelimited,
                Some("text") => Encoding::ProtoText,
                Some("compact-text") => Encoding::ProtoCompact,
                _ if range.media == "text/plain"
                    && matches!(range.parameter("version"), None | Some("0.0.4" | "")) =>
                {
                    Encoding::Text
                }
                _ => continue,
            };
            return Format { encoding, escaping };
        }
        Format {
            encoding: Encoding::Text,
            escaping,
        }
    }

    /// Value of the answer's `Content-Type` header.
    pub(super) fn content_type(self) -> String {
        let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=";
        let escaping = self.escaping.name();
        match self.encoding {
            Encoding::Text => format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}"),
            Encoding::ProtoDelimited => format!("{protobuf}delimited; escaping={escaping}"),
            Encoding::ProtoText => format!("{protobuf}text; escaping={escaping}"),
            Encoding::ProtoCompact => format!("{protobuf}compact-text; escaping={escaping}"),
        }
    }

    /// Writes a family.
    pub(super) fn write(self, out: &mut Vec<u8>, family: &Family) {
        let family = &self.escaping.apply(family);
        match self.encoding {
            Encoding::Text => text::write(out, family),
            Encoding::ProtoDelimited => protobuf::write_delimited(out, family),
            Encoding::ProtoText => protobuf::write_text(out, family),
            Encoding::ProtoCompact => protobuf::write_compact(out, family),
        }
    }
}

/// One range of an `Accept` header.
struct Range<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    weight: f64,
}

impl<'a> Range<'a> {
    fn new(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        let parameters: Vec<_> = parts
            .filter_map(|parameter| parameter.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
            .collect();
        let weight = parameters.iter().find(|(name, _)| *name == "q");
        let weight = weight.and_then(|(_, value)| value.parse().ok()).unwrap_or(1.0);
        Range {
            media,
            parameters,
            weight,
        }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let found = self.parameters.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}

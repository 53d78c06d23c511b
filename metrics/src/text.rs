//! The text formats, byte for byte as Go's client library writes them.

use model::float::{TextSink, write_general};

use crate::registry::{Collected, FamilySamples, Kind, Value};

/// Format of a `/metrics` answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// The text format, version 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` header prefers, the text format where it says nothing of these two.
    pub fn negotiate(accept: &str) -> Self {
        let mut best = (0.0, Format::Text);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or("");
            let (mut weight, mut version) = (1.0, None);
            for parameter in parts {
                match parameter.split_once('=') {
                    Some(("q", value)) => weight = value.parse().unwrap_or(0.0),
                    Some(("version", value)) => version = Some(value.trim_matches('"')),
                    _ => {}
                }
            }
            let format = match (media, version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics,
                ("text/plain", None | Some("0.0.4")) | ("*/*" | "text/*", _) => Format::Text,
                _ => continue,
            };
            if weight > best.0 {
                best = (weight, format);
            }
        }
        best.1
    }

    /// Value of the answer's `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            Format::OpenMetrics => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
            }
        }
    }
}

pub(crate) fn render(collected: &Collected, format: Format) -> String {
    let mut writer = Writer {
        out: String::new(),
        format,
    };
    for (name, family) in collected
        .families
        .iter()
        .filter(|(_, family)| !family.samples.is_empty())
    {
        writer.family(name, family);
    }
    if format == Format::OpenMetrics {
        writer.out.push_str("# EOF\n");
    }
    writer.out
}

struct Writer {
    out: String,
    format: Format,
}

impl Writer {
    fn family(&mut self, name: &str, family: &FamilySamples) {
        let open_metrics = self.format == Format::OpenMetrics;
        let counter_base = name
            .strip_suffix("_total")
            .filter(|_| family.kind == Kind::Counter);
        let (title, kind) = match (family.kind, counter_base) {
            (Kind::Counter, Some(base)) if open_metrics => (base, "counter"),
            // OpenMetrics knows no counter without the suffix.
            (Kind::Counter, None) if open_metrics => (name, "unknown"),
            (Kind::Counter, _) => (name, "counter"),
            (Kind::Gauge, _) => (name, "gauge"),
            (Kind::Histogram, _) => (name, "histogram"),
            (Kind::Summary, _) => (name, "summary"),
        };
        self.put(&["# HELP ", title, " "]);
        self.escaped(&family.help, open_metrics);
        self.put(&["\n# TYPE ", title, " ", kind, "\n"]);
        for (labels, value) in &family.samples {
            self.metric(name, labels, value);
        }
    }

    fn metric(&mut self, name: &str, labels: &[(String, String)], value: &Value) {
        match value {
            Value::Single(value) => {
                self.series(name, "", labels, None);
                self.float(*value);
                self.put(&["\n"]);
            }
            Value::Histogram { buckets, sum } => {
                for (bound, count) in buckets {
                    self.series(name, "_bucket", labels, Some(("le", *bound)));
                    self.count(*count);
                }
                self.sum_and_count(name, labels, *sum, buckets.last().map_or(0, |(_, count)| *count));
            }
            Value::Summary {
                quantiles,
                sum,
                count,
            } => {
                for (quantile, value) in quantiles {
                    self.series(name, "", labels, Some(("quantile", *quantile)));
                    self.float(*value);
                    self.put(&["\n"]);
                }
                self.sum_and_count(name, labels, *sum, *count);
            }
        }
    }

    fn sum_and_count(&mut self, name: &str, labels: &[(String, String)], sum: f64, count: u64) {
        self.series(name, "_sum", labels, None);
        self.float(sum);
        self.put(&["\n"]);
        self.series(name, "_count", labels, None);
        self.count(count);
    }

    /// Name, labels and the space before the value.
    fn series(&mut self, name: &str, suffix: &str, labels: &[(String, String)], bound: Option<(&str, f64)>) {
        self.put(&[name, suffix]);
        let mut separator = "{";
        for (label, value) in labels {
            self.put(&[separator, label, "=\""]);
            self.escaped(value, true);
            self.put(&["\""]);
            separator = ",";
        }
        if let Some((label, bound)) = bound {
            self.put(&[separator, label, "=\""]);
            self.float(bound);
            self.put(&["\""]);
            separator = ",";
        }
        self.put(&[if separator == "," { "} " } else { " " }]);
    }

    fn count(&mut self, count: u64) {
        match self.format {
            // Compat: here counts are floats like all numbers, with an exponent from 1e+06 on where that is shorter.
            Format::Text => self.float(count as f64),
            Format::OpenMetrics => self.out.push_str(&count.to_string()),
        }
        self.put(&["\n"]);
    }

    fn float(&mut self, value: f64) {
        // Compat: minus zero loses its sign.
        let value = if value == 0.0 { 0.0 } else { value };
        let start = self.out.len();
        write_general(&mut self.out, value);
        let whole = value.is_finite() && !self.out[start..].contains(['e', '.']);
        if self.format == Format::OpenMetrics && whole {
            self.put(&[".0"]);
        }
    }

    fn escaped(&mut self, text: &str, quotes: bool) {
        for c in text.chars() {
            match c {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '"' if quotes => self.out.push_str("\\\""),
                _ => self.out.push(c),
            }
        }
    }

    fn put(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.out.put(part));
    }
}

//! The text format, version 0.0.4.

use super::escape::is_classic;
use super::{ClassicHistogram, Family, FamilyKind, Metric, MetricValue};

/// Writes a family. Native histograms have no text: they are left out.
pub(super) fn write(out: &mut Vec<u8>, family: &Family) {
    let kind = match family.kind {
        FamilyKind::Counter => "counter",
        FamilyKind::Gauge => "gauge",
        FamilyKind::Summary => "summary",
        FamilyKind::Untyped => "untyped",
        FamilyKind::Histogram | FamilyKind::GaugeHistogram => "histogram",
    };
    if let Some(help) = &family.help {
        out.extend_from_slice(b"# HELP ");
        name(out, &family.name);
        out.push(b' ');
        escaped(out, help, false);
        out.push(b'\n');
    }
    out.extend_from_slice(b"# TYPE ");
    name(out, &family.name);
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
    for metric in &family.metrics {
        let value = match &metric.value {
            MetricValue::Pushed { shown, .. } => shown,
            value => value,
        };
        match value {
            MetricValue::Number(value) => line(out, &family.name, "", metric, None, *value),
            MetricValue::Summary {
                quantiles,
                sum,
                count,
            } => {
                for (quantile, value) in quantiles {
                    line(
                        out,
                        &family.name,
                        "",
                        metric,
                        Some(("quantile", *quantile)),
                        *value,
                    );
                }
                line(out, &family.name, "_sum", metric, None, *sum);
                line(out, &family.name, "_count", metric, None, *count as f64);
            }
            MetricValue::Classic(histogram) => classic(out, &family.name, metric, histogram),
            MetricValue::Native(_) | MetricValue::Pushed { .. } => {}
        }
    }
}

fn classic(out: &mut Vec<u8>, family: &str, metric: &Metric, histogram: &ClassicHistogram) {
    for (bound, count) in &histogram.buckets {
        line(out, family, "_bucket", metric, Some(("le", *bound)), *count);
    }
    // Compat: a last bound that says something else than the count stays (push/pushgateway `text-histogram-incomplete`).
    if !histogram.buckets.iter().any(|(bound, _)| *bound == f64::INFINITY) {
        let bound = Some(("le", f64::INFINITY));
        line(out, family, "_bucket", metric, bound, histogram.count);
    }
    line(out, family, "_sum", metric, None, histogram.sum);
    line(out, family, "_count", metric, None, histogram.count);
}

fn line(
    out: &mut Vec<u8>,
    family: &str,
    suffix: &str,
    metric: &Metric,
    bound: Option<(&str, f64)>,
    value: f64,
) {
    let quoted = !is_classic(family);
    let mut separator = b'{';
    if quoted {
        // A name with other letters stands among the labels.
        out.extend_from_slice(b"{\"");
        escaped(out, family, true);
        out.extend_from_slice(suffix.as_bytes());
        out.push(b'"');
        separator = b',';
    } else {
        out.extend_from_slice(family.as_bytes());
        out.extend_from_slice(suffix.as_bytes());
    }
    for (label, value) in &metric.labels {
        out.push(separator);
        name(out, label);
        out.extend_from_slice(b"=\"");
        escaped(out, value, true);
        out.push(b'"');
        separator = b',';
    }
    if let Some((label, bound)) = bound {
        out.push(separator);
        out.extend_from_slice(label.as_bytes());
        out.extend_from_slice(b"=\"");
        float(out, bound);
        out.push(b'"');
        separator = b',';
    }
    if separator == b',' {
        out.push(b'}');
    }
    out.push(b' ');
    float(out, value);
    if let Some(timestamp_ms) = metric.timestamp_ms {
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(timestamp_ms).as_bytes());
    }
    out.push(b'\n');
}

/// A name, in quotes where it has other than the classic letters.
fn name(out: &mut Vec<u8>, name: &str) {
    if is_classic(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        out.push(b'"');
        escaped(out, name, true);
        out.push(b'"');
    }
}

fn float(out: &mut Vec<u8>, value: f64) {
    // Compat: minus zero loses its sign (push/federate `match/everything`).
    model::float::write_general(out, if value == 0.0 { 0.0 } else { value });
}

fn escaped(out: &mut Vec<u8>, text: &str, quotes: bool) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'"' if quotes => out.extend_from_slice(b"\\\""),
            _ => out.push(byte),
        }
    }
}

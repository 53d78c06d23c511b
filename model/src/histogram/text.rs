//! Histograms as text.

use std::fmt::{self, Write as _};

use crate::float::format_general;

use super::iter::Bucket;
use super::{CounterResetHint, FloatHistogram, IntHistogram, Span};

/// `{count:5, sum:18.4, [-0.001,0.001]:1, (1,2]:4}`: populated buckets, ascending.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(f, self, &format_general(self.count), format_general)
    }
}

/// As for float histograms, with whole counts.
impl fmt::Display for IntHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(f, &self.to_float(), &self.count.to_string(), |count| {
            (count as u64).to_string()
        })
    }
}

fn write_text(
    f: &mut fmt::Formatter<'_>,
    histogram: &FloatHistogram,
    count: &str,
    format_count: impl Fn(f64) -> String,
) -> fmt::Result {
    write!(f, "{{count:{count}, sum:{}", format_general(histogram.sum))?;
    let zero = Some(histogram.zero_bucket()).filter(|_| !histogram.uses_custom_buckets());
    for bucket in histogram.negative().rev().chain(zero).chain(histogram.positive()) {
        if bucket.count != 0.0 {
            write!(f, ", {}:{}", Bounds(bucket), format_count(bucket.count))?;
        }
    }
    f.write_char('}')
}

/// A bucket's bounds: `(1,2]`.
struct Bounds(Bucket);

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = &self.0;
        f.write_char(if bucket.lower_inclusive { '[' } else { '(' })?;
        write!(
            f,
            "{},{}",
            format_general(bucket.lower),
            format_general(bucket.upper)
        )?;
        f.write_char(if bucket.upper_inclusive { ']' } else { ')' })
    }
}

impl FloatHistogram {
    /// The histogram in the notation of PromQL tests and rule unit tests: `{{schema:1 count:5 sum:18.4 buckets:[1 4]}}`.
    pub fn test_expression(&self) -> String {
        let mut copy = self.clone();
        // One span a side: the notation has a single offset.
        copy.compact(usize::MAX);
        let mut parts = Vec::new();
        if copy.schema != 0 {
            parts.push(format!("schema:{}", copy.schema));
        }
        for (name, value) in [
            ("count", copy.count),
            ("sum", copy.sum),
            ("z_bucket", copy.zero_count),
            ("z_bucket_w", copy.zero_threshold),
        ] {
            if value != 0.0 {
                parts.push(format!("{name}:{}", format_general(value)));
            }
        }
        if copy.uses_custom_buckets() {
            parts.push(format!("custom_values:{}", list(copy.bounds())));
        }
        match copy.counter_reset_hint {
            CounterResetHint::Unknown => {}
            CounterResetHint::Reset => parts.push("counter_reset_hint:reset".to_owned()),
            CounterResetHint::NotReset => parts.push("counter_reset_hint:not_reset".to_owned()),
            CounterResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
        }
        push_side(&mut parts, "", &copy.positive_spans, &copy.positive_buckets);
        push_side(&mut parts, "n_", &copy.negative_spans, &copy.negative_buckets);
        format!("{{{{{}}}}}", parts.join(" "))
    }
}

fn push_side(parts: &mut Vec<String>, prefix: &str, spans: &[Span], buckets: &[f64]) {
    if let Some(span) = spans.first()
        && span.offset != 0
    {
        parts.push(format!("{prefix}offset:{}", span.offset));
    }
    if !buckets.is_empty() {
        parts.push(format!("{prefix}buckets:{}", list(buckets)));
    }
}

/// `[1 2.5]`
fn list(values: &[f64]) -> String {
    let values: Vec<_> = values.iter().map(|value| format_general(*value)).collect();
    format!("[{}]", values.join(" "))
}

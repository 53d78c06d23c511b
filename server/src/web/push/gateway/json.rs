//! What is kept, as JSON: `GET /api/v1/metrics`.

use model::float::format_general;
use remote::gateway::{Family, Gateway, Kind, LabelSet, Metric, Stored, Value};

use crate::web::answer::{SUCCESS_HEAD, tail};
use crate::web::json;

/// The answer: all groups.
pub(super) fn groups(gateway: &Gateway) -> Vec<u8> {
    let mut out = SUCCESS_HEAD.to_vec();
    list(&mut out, gateway.groups(), |out, (key, group)| {
        out.extend_from_slice(b"{\"labels\":");
        map(out, key.labels(), |value| {
            String::from_utf8_lossy(value).into_owned()
        });
        let succeeded = group.last_push_succeeded();
        out.extend_from_slice(format!(",\"last_push_successful\":{succeeded}").as_bytes());
        if let Some(ttl_ms) = group.ttl_ms {
            out.extend_from_slice(b",\"time_to_live\":");
            json::string(out, &model::duration::format_duration(ttl_ms));
        }
        for (name, stored) in &group.families {
            out.push(b',');
            json::string(out, name);
            out.push(b':');
            family(out, stored);
        }
        out.push(b'}');
    });
    tail(&mut out, &[], &[]);
    out
}

fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// A map from texts to texts.
fn map<'a, V: 'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a [u8], V)>, text: impl Fn(V) -> String) {
    out.push(b'{');
    for (index, (name, value)) in pairs.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::string(out, &String::from_utf8_lossy(name));
        out.push(b':');
        json::string(out, &text(value));
    }
    out.push(b'}');
}

fn family(out: &mut Vec<u8>, stored: &Stored) {
    let Family {
        kind, help, metrics, ..
    } = &stored.family;
    out.extend_from_slice(b"{\"time_stamp\":");
    json::string(out, &time(stored.pushed_ms));
    out.extend_from_slice(b",\"type\":");
    json::string(out, kind.name());
    if let Some(help) = help.as_ref().filter(|help| !help.is_empty()) {
        out.extend_from_slice(b",\"help\":");
        json::string(out, help);
    }
    out.extend_from_slice(b",\"metrics\":");
    list(out, metrics, |out, each| metric(out, *kind, each));
    out.push(b'}');
}

fn time(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms);
    time.map_or_else(|_| ms.to_string(), |time| time.to_string())
}

fn labels(out: &mut Vec<u8>, labels: &LabelSet) {
    let pairs = labels.iter().map(|(name, value)| (&**name, &**value));
    map(out, pairs, |value| String::from_utf8_lossy(value).into_owned());
}

/// Numbers by numbers, each as a text.
fn numbers(out: &mut Vec<u8>, pairs: &[(f64, f64)]) {
    let texts: Vec<(String, f64)> = pairs
        .iter()
        .map(|(name, value)| (format_general(*name), *value))
        .collect();
    map(
        out,
        texts.iter().map(|(name, value)| (name.as_bytes(), *value)),
        format_general,
    );
}

fn metric(out: &mut Vec<u8>, kind: Kind, metric: &Metric) {
    out.extend_from_slice(b"{\"labels\":");
    labels(out, &metric.labels);
    let text = |out: &mut Vec<u8>, name: &str, text: &str| {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        json::string(out, text);
    };
    match metric.value(kind) {
        Value::Number(value) => text(out, "value", &format_general(value)),
        Value::Summary {
            quantiles,
            sum,
            count,
        } => {
            out.extend_from_slice(b",\"quantiles\":");
            numbers(out, &quantiles);
            text(out, "sum", &format_general(sum));
            text(out, "count", &count.to_string());
        }
        Value::Histogram(histogram) => {
            out.extend_from_slice(b",\"buckets\":");
            match histogram.native() {
                Some(native) => native_buckets(out, &native.to_float(), histogram.is_whole()),
                None => numbers(out, &histogram.buckets),
            }
            let count = match histogram.count_float > 0.0 {
                true => format_general(histogram.count_float),
                false => histogram.count.to_string(),
            };
            text(out, "count", &count);
            text(out, "sum", &format_general(histogram.sum));
        }
    }
    out.push(b'}');
}

/// Which ends a bucket includes, its ends, and its count. Compat: those without observations are left out.
fn native_buckets(out: &mut Vec<u8>, histogram: &model::histogram::FloatHistogram, whole: bool) {
    let buckets = histogram.buckets().filter(|bucket| bucket.count != 0.0);
    list(out, buckets, |out, bucket| {
        out.extend_from_slice(format!("[{}", bucket.boundaries()).as_bytes());
        let count = match whole {
            true => (bucket.count as u64).to_string(),
            false => format_general(bucket.count),
        };
        for text in [format_general(bucket.lower), format_general(bucket.upper), count] {
            out.push(b',');
            json::string(out, &text);
        }
        out.push(b']');
    });
}

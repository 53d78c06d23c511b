//! Federation against data of our own, and against the answers of the reference.

use std::path::Path;

use model::clock::SystemClock;
use model::histogram::{Buckets, Histogram, Span};
use model::storage::{AppendBatch, AppendOutcome, Appender as _, FloatSample, HistogramSample};
use serde_json::{Map, Value, json};

use super::*;

const BASE_MS: i64 = 1_800_000_000_000;

fn store(folder: &Path) -> tsdb::db::Db {
    let disk = Arc::new(files::DiskFiles);
    let settings = tsdb::db::Options {
        lock: false,
        ..tsdb::db::Options::default()
    };
    let db = tsdb::db::Db::open_blocks(disk, folder, settings, Arc::new(SystemClock)).expect("blocks");
    db.open_head().expect("head");
    db
}

fn answer(
    db: &tsdb::db::Db,
    selectors: &[&str],
    external: &Labels,
    lookback_ms: i64,
    format: Format,
) -> Vec<u8> {
    let selectors: Vec<_> = selectors
        .iter()
        .map(|text| promql::parser::parse_selector(text).expect("a selector"))
        .collect();
    let hints = SelectHints {
        sorted: true,
        ..SelectHints::default()
    };
    let range = TimeRange::new(BASE_MS - lookback_ms, BASE_MS);
    let families = families(db, &hints, range, &selectors, external, format.encoding).expect("an answer");
    let mut body = Vec::new();
    families.iter().for_each(|family| format.write(&mut body, family));
    body
}

#[test]
fn the_newest_samples_come_with_what_the_outside_should_see() {
    let folder = tempfile::tempdir().expect("folder");
    let db = store(folder.path());
    let mut batch = AppendBatch::default();
    for (labels, at, value) in [
        (
            Labels::from_pairs([("__name__", "b"), ("zone", "own")]),
            -3000,
            1.5,
        ),
        (
            Labels::from_pairs([("__name__", "b"), ("zone", "own")]),
            -1000,
            -0.0,
        ),
        (
            Labels::from_pairs([("__name__", "a.b"), ("é", "line\n\"")]),
            -1000,
            2.0,
        ),
        (
            Labels::from_pairs([("__name__", "gone")]),
            -1000,
            model::sample::stale_nan(),
        ),
        (Labels::from_pairs([("__name__", "old")]), -9000, 1.0),
        (Labels::from_pairs([("nameless", "x")]), -1000, 1.0),
    ] {
        batch.floats.push(FloatSample {
            series: db.resolve(&labels).expect("a series"),
            timestamp_ms: BASE_MS + at,
            value,
        });
    }
    db.append(&batch, &mut AppendOutcome::default()).expect("taken");
    let external = Labels::from_pairs([("zone", "outer"), ("dc", "eu")]);
    let text = |selectors: &[&str], accept: &str| {
        let body = answer(&db, selectors, &external, 5000, Format::negotiate(accept));
        String::from_utf8(body).expect("text")
    };
    assert_eq!(
        text(&["{__name__=~\".+\"}", "b"], ""),
        "# TYPE a_b untyped\na_b{_=\"line\\n\\\"\",dc=\"eu\",instance=\"\",zone=\"outer\"} 2 1799999999000\n\
         # TYPE b untyped\nb{zone=\"own\",dc=\"eu\",instance=\"\"} 0 1799999999000\n"
    );
    assert_eq!(
        text(&["{\"a.b\"}"], "text/plain; version=1.0.0; escaping=allow-utf-8"),
        "# TYPE \"a.b\" untyped\n{\"a.b\",\"é\"=\"line\\n\\\"\",dc=\"eu\",instance=\"\",zone=\"outer\"} 2 1799999999000\n"
    );
    assert_eq!(text(&["{}"], ""), "");
}

/// The reference's answers to the reference's data.
#[test]
fn answers_are_the_references() {
    let Some(folder) = testkit::conformance("push/federate") else {
        return;
    };
    let input = std::fs::read_to_string(folder.join("input.json")).expect("conformance data");
    let scratch = tempfile::tempdir().expect("folder");
    let db = store(scratch.path());
    let input: Value = serde_json::from_str(&at_base(&input)).expect("JSON");
    fill(&db, &input);
    let packed = std::fs::File::open(folder.join("cases.jsonl.gz")).expect("cases");
    let mut cases = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed), &mut cases).expect("cases");
    let mut seen = 0;
    for line in cases.lines() {
        // The reference overwrites a float histogram with the next series' one: here `h_float` with `h_gauge`, which
        // differs in the kind alone.
        let line = line.replace(r#"\"h_float\"\ntype: GAUGE_"#, r#"\"h_float\"\ntype: "#);
        let line = line.replace(r#"\"h_float\" type:GAUGE_"#, r#"\"h_float\" type:"#);
        let mut case: Value = serde_json::from_str(&at_base(&line)).expect("JSON");
        let families = case
            .pointer_mut("/response/families")
            .and_then(Value::as_array_mut);
        for family in families.into_iter().flatten() {
            if family["name"] == "h_float" {
                family["type"] = "HISTOGRAM".into();
            }
        }
        let (name, answered) = (case["name"].as_str().expect("a name"), &case["response"]);
        if case.get("method").is_some() || case.get("path").is_some() || answered["code"] != 200 {
            continue;
        }
        seen += 1;
        let (external, lookback_ms) = match case["setup"].as_str() {
            Some("external-labels") => (
                vec![("cluster", "c1"), ("zone", "z1"), ("instance", "ext")],
                300_000,
            ),
            Some("external-labels-no-instance") => (vec![("cluster", "c1"), ("zone", "z1")], 300_000),
            Some("lookback-10m") => (vec![], 600_000),
            _ => (vec![], 300_000),
        };
        let selectors: Vec<&str> = case["match"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let format = Format::negotiate(case["accept"].as_str().unwrap_or(""));
        let content_type = answered["headers"]
            .as_array()
            .expect("headers")
            .iter()
            .find(|h| h[0] == "Content-Type");
        assert_eq!(content_type.expect("a type")[1], format.content_type(), "{name}");
        let body = answer(
            &db,
            &selectors,
            &Labels::from_pairs(external),
            lookback_ms,
            format,
        );
        match answered.get("families") {
            Some(families) => assert_eq!(&decoded(&body), families, "{name}"),
            None => assert_eq!(
                String::from_utf8_lossy(&body),
                answered["body"].as_str().expect("text"),
                "{name}"
            ),
        }
    }
    assert!(seen > 40, "only {seen} cases");
}

/// The text with `{base-20000}` and its like as numbers.
fn at_base(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("{base") {
        let end = at + rest[at..].find('}').expect("a brace");
        let offset: i64 = rest[at + 5..end].parse().unwrap_or(0);
        out.push_str(&rest[..at]);
        out.push_str(&(BASE_MS + offset).to_string());
        rest = &rest[end + 1..];
    }
    out + rest
}

fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) if text == "StaleNaN" || text == "stale" => model::sample::stale_nan(),
        Value::String(text) => model::float::parse_float(text).expect("a float"),
        value => value.as_f64().unwrap_or(0.0),
    }
}

fn fill(db: &tsdb::db::Db, input: &Value) {
    for series in input["series"].as_array().expect("series") {
        let pairs = series["labels"].as_array().expect("labels").iter();
        let labels = Labels::from_pairs(
            pairs.map(|pair| (pair[0].as_str().expect("text"), pair[1].as_str().expect("text"))),
        );
        let id = db.resolve(&labels).expect("a series");
        for sample in series["samples"].as_array().into_iter().flatten() {
            let mut batch = AppendBatch::default();
            batch.floats.push(FloatSample {
                series: id,
                timestamp_ms: sample[0].as_str().expect("text").parse().expect("a time"),
                value: number(&sample[1]),
            });
            db.append(&batch, &mut AppendOutcome::default()).expect("taken");
        }
        for sample in series["histograms"].as_array().into_iter().flatten() {
            let mut batch = AppendBatch::default();
            batch.histograms.push(HistogramSample {
                series: id,
                timestamp_ms: sample["timestamp"]
                    .as_str()
                    .expect("text")
                    .parse()
                    .expect("a time"),
                histogram: histogram(sample),
            });
            let mut outcome = AppendOutcome::default();
            db.append(&batch, &mut outcome).expect("taken");
            assert!(outcome.refused.is_empty(), "{labels:?}: {outcome:?}");
        }
    }
}

fn histogram(sample: &Value) -> Histogram {
    let list = |key: &str| sample[key].as_array().cloned().unwrap_or_default();
    let spans = |key: &str| -> Vec<Span> {
        let span = |span: &Value| Span {
            offset: span["offset"].as_i64().unwrap_or(0) as i32,
            length: span["length"].as_u64().unwrap_or(0) as u32,
        };
        list(key).iter().map(span).collect()
    };
    let bounds: Vec<f64> = list("custom_values").iter().map(number).collect();
    let counter_reset_hint = match sample["reset_hint"].as_str() {
        Some("GAUGE") => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    };
    macro_rules! buckets {
        ($count:expr, $zero:expr, $positive:expr, $negative:expr) => {
            Buckets {
                counter_reset_hint,
                schema: sample["schema"].as_i64().unwrap_or(0) as i32,
                zero_threshold: number(&sample["zero_threshold"]),
                zero_count: $zero,
                count: $count,
                sum: number(&sample["sum"]),
                positive_spans: spans("positive_spans"),
                negative_spans: spans("negative_spans"),
                positive_buckets: $positive,
                negative_buckets: $negative,
                custom_values: (!bounds.is_empty()).then(|| bounds.clone().into()),
            }
        };
    }
    if sample.get("count_float").is_some() {
        let counts = |key: &str| list(key).iter().map(number).collect();
        let float = buckets!(
            number(&sample["count_float"]),
            number(&sample["zero_count_float"]),
            counts("positive_counts"),
            counts("negative_counts")
        );
        return Histogram::Float(Arc::new(float));
    }
    let deltas = |key: &str| list(key).iter().filter_map(Value::as_i64).collect();
    let int = buckets!(
        sample["count_int"].as_u64().unwrap_or(0),
        sample["zero_count_int"].as_u64().unwrap_or(0),
        deltas("positive_deltas"),
        deltas("negative_deltas")
    );
    Histogram::Int(Arc::new(int))
}

/// What a field of a message is: name, and the message or kind of number.
fn field_of(message: &str, number: u64) -> (&'static str, &'static str) {
    match (message, number) {
        ("family", 1) => ("name", "text"),
        ("family", 3) => ("type", "enum"),
        ("family", 4) => ("metric", "*metric"),
        ("metric", 1) => ("label", "*label"),
        ("metric", 5) => ("untyped", "value"),
        ("metric", 6) => ("timestamp_ms", "text_number"),
        ("metric", 7) => ("histogram", "histogram"),
        ("label", 1) => ("name", "text"),
        ("label", 2) => ("value", "text"),
        ("value", 1) => ("value", "double"),
        ("histogram", 2) => ("sample_sum", "double"),
        ("histogram", 3) => ("bucket", "*bucket"),
        ("histogram", 4) => ("sample_count_float", "double"),
        ("histogram", 5) => ("schema", "signed"),
        ("histogram", 6) => ("zero_threshold", "double"),
        ("histogram", 8) => ("zero_count_float", "double"),
        ("histogram", 9) => ("negative_span", "*span"),
        ("histogram", 11) => ("negative_count", "*double"),
        ("histogram", 12) => ("positive_span", "*span"),
        ("histogram", 14) => ("positive_count", "*double"),
        ("bucket", 2) => ("upper_bound", "double"),
        ("bucket", 4) => ("cumulative_count_float", "double"),
        ("span", 1) => ("offset", "signed"),
        ("span", 2) => ("length", "number"),
        _ => panic!("field {number} of {message}"),
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

fn decoded(mut body: &[u8]) -> Value {
    let mut families = Vec::new();
    while !body.is_empty() {
        let length = varint(&mut body) as usize;
        families.push(decoded_message(&body[..length], "family"));
        body = &body[length..];
    }
    Value::Array(families)
}

fn decoded_message(mut bytes: &[u8], message: &str) -> Value {
    let mut map = Map::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let (name, kind) = field_of(message, key >> 3);
        let (many, kind) = kind.strip_prefix('*').map_or((false, kind), |kind| (true, kind));
        let value = match key & 7 {
            1 => {
                let value = f64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
                bytes = &bytes[8..];
                Value::from(model::float::format_general(value))
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (inner, rest) = bytes.split_at(length);
                bytes = rest;
                match kind {
                    "text" => String::from_utf8(inner.to_vec()).expect("UTF-8").into(),
                    kind => decoded_message(inner, kind),
                }
            }
            _ => {
                let value = varint(&mut bytes);
                match kind {
                    "signed" => json!((value >> 1) as i64 ^ -((value & 1) as i64)),
                    "text_number" => value.to_string().into(),
                    "enum" => [
                        "COUNTER",
                        "GAUGE",
                        "SUMMARY",
                        "UNTYPED",
                        "HISTOGRAM",
                        "GAUGE_HISTOGRAM",
                    ][value as usize]
                        .into(),
                    _ => value.into(),
                }
            }
        };
        if many {
            let list = map.entry(name).or_insert_with(|| json!([]));
            list.as_array_mut().expect("a list").push(value);
        } else {
            map.insert(name.to_owned(), value);
        }
    }
    Value::Object(map)
}

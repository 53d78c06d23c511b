//! Messages in the recordings' form for reading, from bytes and into transactions.

use model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::protobuf::{Field, Fields, Value as Wire, zigzag};
use model::sample::{Exemplar, Metadata, MetricType, is_stale_nan, stale_nan};
use model::storage::{AppendBatch, Appender, FloatSample, HistogramSample};
use serde_json::{Map, Value, json};

const TYPES: [&str; 8] = [
    "UNKNOWN",
    "COUNTER",
    "GAUGE",
    "HISTOGRAM",
    "GAUGEHISTOGRAM",
    "SUMMARY",
    "INFO",
    "STATESET",
];
const HINTS: [&str; 4] = ["UNKNOWN", "YES", "NO", "GAUGE"];

fn float_text(value: f64) -> String {
    if is_stale_nan(value) {
        return "StaleNaN".to_owned();
    }
    model::float::format_json(value)
}

fn float(field: &Field<'_>) -> Value {
    json!(float_text(f64::from_bits(field.number())))
}

fn fields(bytes: &[u8], mut each: impl FnMut(Field<'_>)) {
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next_field().expect("a message") {
        each(field);
    }
}

fn push(object: &mut Map<String, Value>, key: &str, value: Value) {
    let list = object.entry(key).or_insert_with(|| json!([]));
    list.as_array_mut().expect("a list").push(value);
}

fn packed_doubles(field: &Field<'_>) -> Value {
    let doubles = field.bytes().chunks_exact(8);
    let texts = doubles.map(|b| float_text(f64::from_le_bytes(b.try_into().expect("eight"))));
    json!(texts.collect::<Vec<_>>())
}

fn numbers(field: &Field<'_>) -> Vec<u64> {
    let mut list = Vec::new();
    field.numbers(&mut list).expect("numbers");
    list
}

fn deltas(field: &Field<'_>) -> Value {
    json!(numbers(field).into_iter().map(zigzag).collect::<Vec<_>>())
}

fn label(bytes: &[u8]) -> Value {
    let mut label = json!({});
    fields(bytes, |f| {
        let key = if f.number == 1 { "name" } else { "value" };
        label[key] = json!(f.text().expect("text"));
    });
    label
}

fn sample(bytes: &[u8]) -> Value {
    let mut sample = json!({});
    fields(bytes, |f| match f.number {
        1 => sample["value"] = float(&f),
        2 => sample["timestamp"] = json!(f.number() as i64),
        _ => sample["start_timestamp"] = json!(f.number() as i64),
    });
    sample
}

fn exemplar(bytes: &[u8], is_v2: bool) -> Value {
    let mut exemplar = Map::new();
    fields(bytes, |f| match f.number {
        1 if is_v2 => {
            exemplar.insert("labels_refs".to_owned(), json!(numbers(&f)));
        }
        1 => push(&mut exemplar, "labels", label(f.bytes())),
        2 => {
            exemplar.insert("value".to_owned(), float(&f));
        }
        _ => {
            exemplar.insert("timestamp".to_owned(), json!(f.number() as i64));
        }
    });
    Value::Object(exemplar)
}

fn span(bytes: &[u8]) -> Value {
    let mut span = json!({});
    fields(bytes, |f| match f.number {
        1 => span["offset"] = json!(zigzag(f.number())),
        _ => span["length"] = json!(f.number()),
    });
    span
}

fn histogram(bytes: &[u8]) -> Value {
    let mut histogram = Map::new();
    fields(bytes, |f| {
        let (key, value) = match f.number {
            1 => ("count_int", json!(f.number())),
            2 => ("count_float", float(&f)),
            3 => ("sum", float(&f)),
            4 => ("schema", json!(zigzag(f.number()))),
            5 => ("zero_threshold", float(&f)),
            6 => ("zero_count_int", json!(f.number())),
            7 => ("zero_count_float", float(&f)),
            8 => return push(&mut histogram, "negative_spans", span(f.bytes())),
            9 => ("negative_deltas", deltas(&f)),
            10 => ("negative_counts", packed_doubles(&f)),
            11 => return push(&mut histogram, "positive_spans", span(f.bytes())),
            12 => ("positive_deltas", deltas(&f)),
            13 => ("positive_counts", packed_doubles(&f)),
            14 => ("reset_hint", json!(HINTS[f.number() as usize])),
            15 => ("timestamp", json!(f.number() as i64)),
            16 => ("custom_values", packed_doubles(&f)),
            _ => ("start_timestamp", json!(f.number() as i64)),
        };
        histogram.insert(key.to_owned(), value);
    });
    Value::Object(histogram)
}

fn metadata_v2(bytes: &[u8]) -> Value {
    let mut metadata = json!({});
    fields(bytes, |f| match f.number {
        1 => metadata["type"] = json!(TYPES[f.number() as usize]),
        3 => metadata["help_ref"] = json!(f.number()),
        _ => metadata["unit_ref"] = json!(f.number()),
    });
    metadata
}

fn metadata_v1(bytes: &[u8]) -> Value {
    let mut metadata = json!({});
    fields(bytes, |f| match f.number {
        1 => metadata["type"] = json!(TYPES[f.number() as usize]),
        2 => metadata["metric_family_name"] = json!(f.text().expect("text")),
        4 => metadata["help"] = json!(f.text().expect("text")),
        _ => metadata["unit"] = json!(f.text().expect("text")),
    });
    metadata
}

fn series(bytes: &[u8], is_v2: bool) -> Value {
    let mut series = Map::new();
    fields(bytes, |f| match (f.number, is_v2) {
        (1, true) => {
            series.insert("labels_refs".to_owned(), json!(numbers(&f)));
        }
        (1, false) => push(&mut series, "labels", label(f.bytes())),
        (2, _) => push(&mut series, "samples", sample(f.bytes())),
        (3, false) | (4, true) => push(&mut series, "exemplars", exemplar(f.bytes(), is_v2)),
        (4, false) | (3, true) => push(&mut series, "histograms", histogram(f.bytes())),
        _ => {
            series.insert("metadata".to_owned(), metadata_v2(f.bytes()));
        }
    });
    Value::Object(series)
}

/// A message as it came, compressed.
pub(super) fn read(body: &[u8], is_v2: bool) -> Value {
    let plain = snap::raw::Decoder::new().decompress_vec(body).expect("snappy");
    let mut message = Map::new();
    fields(&plain, |f| match (f.number, is_v2) {
        (4, true) => push(&mut message, "symbols", json!(f.text().expect("text"))),
        (5, true) | (1, false) => push(&mut message, "timeseries", series(f.bytes(), is_v2)),
        (3, false) => push(&mut message, "metadata", metadata_v1(f.bytes())),
        (number, _) => panic!("field {number} {:?}", matches!(f.value, Wire::Bytes(_))),
    });
    Value::Object(message)
}

fn number(value: &Value) -> f64 {
    match value.as_str() {
        None => 0.0,
        Some("StaleNaN") => stale_nan(),
        Some(text) => text.parse().expect("a number"),
    }
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], |list| &list[..])
}

fn labels_of(object: &Value, symbols: &[Value], without: &[&str]) -> Labels {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut pairs: Vec<(String, String)> = list(object, "labels")
        .iter()
        .map(|l| (text(&l["name"]), text(&l["value"])))
        .collect();
    let references: Vec<String> = list(object, "labels_refs")
        .iter()
        .map(|r| text(&symbols[r.as_u64().expect("a reference") as usize]))
        .collect();
    pairs.extend(
        references
            .chunks(2)
            .map(|pair| (pair[0].clone(), pair[1].clone())),
    );
    pairs.retain(|(name, _)| !without.contains(&name.as_str()));
    Labels::from_pairs(pairs)
}

fn histogram_of(h: &Value) -> Histogram {
    let spans = |key| {
        let span = |s: &Value| Span {
            offset: s["offset"].as_i64().unwrap_or(0) as i32,
            length: s["length"].as_u64().unwrap_or(0) as u32,
        };
        list(h, key).iter().map(span).collect::<Vec<_>>()
    };
    let schema = h["schema"].as_i64().unwrap_or(0) as i32;
    let custom_values =
        (schema == CUSTOM_BUCKETS_SCHEMA).then(|| list(h, "custom_values").iter().map(number).collect());
    let counter_reset_hint = match h["reset_hint"].as_str() {
        Some("GAUGE") => CounterResetHint::Gauge,
        Some("YES") => CounterResetHint::Reset,
        Some("NO") => CounterResetHint::NotReset,
        _ => CounterResetHint::Unknown,
    };
    if h.get("count_int").is_some() {
        let deltas = |key| {
            list(h, key)
                .iter()
                .map(|d| d.as_i64().expect("a delta"))
                .collect()
        };
        return Histogram::Int(
            Buckets {
                counter_reset_hint,
                schema,
                zero_threshold: number(&h["zero_threshold"]),
                zero_count: h["zero_count_int"].as_u64().unwrap_or(0),
                count: h["count_int"].as_u64().unwrap_or(0),
                sum: number(&h["sum"]),
                positive_spans: spans("positive_spans"),
                negative_spans: spans("negative_spans"),
                positive_buckets: deltas("positive_deltas"),
                negative_buckets: deltas("negative_deltas"),
                custom_values,
            }
            .into(),
        );
    }
    let counts = |key| list(h, key).iter().map(number).collect();
    Histogram::Float(
        Buckets {
            counter_reset_hint,
            schema,
            zero_threshold: number(&h["zero_threshold"]),
            zero_count: number(&h["zero_count_float"]),
            count: number(&h["count_float"]),
            sum: number(&h["sum"]),
            positive_spans: spans("positive_spans"),
            negative_spans: spans("negative_spans"),
            positive_buckets: counts("positive_counts"),
            negative_buckets: counts("negative_counts"),
            custom_values,
        }
        .into(),
    )
}

fn metric_type(word: &str) -> MetricType {
    match word {
        "COUNTER" => MetricType::Counter,
        "GAUGE" => MetricType::Gauge,
        "HISTOGRAM" => MetricType::Histogram,
        "GAUGEHISTOGRAM" => MetricType::GaugeHistogram,
        "SUMMARY" => MetricType::Summary,
        "INFO" => MetricType::Info,
        "STATESET" => MetricType::StateSet,
        _ => MetricType::Unknown,
    }
}

/// Families of a message of version 1.0.
pub(super) fn families(message: &Value) -> Vec<narthex_remote::send::Family> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let family = |f: &Value| narthex_remote::send::Family {
        name: text(&f["metric_family_name"]),
        metadata: Metadata {
            metric_type: metric_type(f["type"].as_str().unwrap_or_default()),
            unit: text(&f["unit"]),
            help: text(&f["help"]),
        },
    };
    list(message, "metadata").iter().map(family).collect()
}

/// The transaction that a message tells of; labels of `without` are left out, and metadata that say
/// nothing unless `with_empty`.
pub(super) fn batch_of(
    message: &Value,
    appender: &dyn Appender,
    without: &[&str],
    with_empty: bool,
) -> AppendBatch {
    let mut batch = AppendBatch::default();
    let symbols = list(message, "symbols");
    let text = |value: &Value| {
        symbols[value.as_u64().unwrap_or(0) as usize]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    for entry in list(message, "timeseries") {
        let labels = labels_of(entry, symbols, without);
        let series = appender.resolve(&labels).expect("a series");
        let said = &entry["metadata"];
        if said
            .as_object()
            .is_some_and(|said| with_empty || !said.is_empty())
        {
            let metadata = Metadata {
                metric_type: metric_type(said["type"].as_str().unwrap_or_default()),
                unit: text(&said["unit_ref"]),
                help: text(&said["help_ref"]),
            };
            if !batch.metadata.iter().any(|(of, _)| *of == series) {
                batch.metadata.push((series, metadata));
            }
        }
        for sample in list(entry, "samples") {
            batch.floats.push(FloatSample {
                series,
                timestamp_ms: sample["timestamp"].as_i64().expect("a time"),
                value: number(&sample["value"]),
            });
            batch
                .float_starts_ms
                .push(sample["start_timestamp"].as_i64().unwrap_or(0));
        }
        for histogram in list(entry, "histograms") {
            batch.histograms.push(HistogramSample {
                series,
                timestamp_ms: histogram["timestamp"].as_i64().expect("a time"),
                histogram: histogram_of(histogram),
            });
            batch
                .histogram_starts_ms
                .push(histogram["start_timestamp"].as_i64().unwrap_or(0));
        }
        for exemplar in list(entry, "exemplars") {
            let exemplar = Exemplar {
                labels: labels_of(exemplar, symbols, &[]),
                value: number(&exemplar["value"]),
                timestamp_ms: exemplar["timestamp"].as_i64(),
            };
            batch.exemplars.push((series, exemplar));
        }
    }
    batch
}

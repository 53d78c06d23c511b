//! Families as messages of `io.prometheus.client`: described once as a tree of fields, written as bytes or as text.

use model::histogram::Span;
use serde_json::{Map, Value};

use super::{Family, FamilyKind, Metric, MetricValue, NativeHistogram};

/// A field of a message: its number, its name, what it holds.
struct Field {
    number: u32,
    name: &'static str,
    value: FieldValue,
}

enum FieldValue {
    Text(String),
    Double(f64),
    /// `int64`, `uint64`, `uint32`.
    Integer(i64),
    /// `sint32`.
    Signed(i32),
    Enum(u32, &'static str),
    Message(Vec<Field>),
    /// Fields as they came, and what of them is shown as text.
    Raw(Box<[u8]>, Vec<Field>),
}

fn field(number: u32, name: &'static str, value: FieldValue) -> Field {
    Field { number, name, value }
}

fn double(number: u32, name: &'static str, value: f64) -> Field {
    field(number, name, FieldValue::Double(value))
}

fn message(number: u32, name: &'static str, fields: Vec<Field>) -> Field {
    field(number, name, FieldValue::Message(fields))
}

fn family_fields(family: &Family) -> Vec<Field> {
    let kind = match family.kind {
        FamilyKind::Counter => "COUNTER",
        FamilyKind::Gauge => "GAUGE",
        FamilyKind::Summary => "SUMMARY",
        FamilyKind::Untyped => "UNTYPED",
        FamilyKind::Histogram => "HISTOGRAM",
        FamilyKind::GaugeHistogram => "GAUGE_HISTOGRAM",
    };
    let mut fields = vec![field(1, "name", FieldValue::Text(family.name.clone()))];
    if let Some(help) = &family.help {
        fields.push(field(2, "help", FieldValue::Text(help.clone())));
    }
    fields.push(field(3, "type", FieldValue::Enum(family.kind as u32, kind)));
    let metrics = family.metrics.iter();
    fields.extend(metrics.map(|metric| message(4, "metric", metric_fields(family.kind, metric))));
    fields
}

fn metric_fields(kind: FamilyKind, metric: &Metric) -> Vec<Field> {
    let mut fields: Vec<Field> = metric
        .labels
        .iter()
        .map(|(name, value)| {
            let name = field(1, "name", FieldValue::Text(name.clone()));
            let value = field(2, "value", FieldValue::Text(value.clone()));
            message(1, "label", vec![name, value])
        })
        .collect();
    fields.push(value_field(kind, &metric.value));
    if let Some(timestamp_ms) = metric.timestamp_ms {
        fields.push(field(6, "timestamp_ms", FieldValue::Integer(timestamp_ms)));
    }
    fields
}

fn value_field(kind: FamilyKind, value: &MetricValue) -> Field {
    match value {
        MetricValue::Pushed { fields, shown } => {
            let shown = vec![value_field(kind, shown)];
            field(0, "", FieldValue::Raw(fields.clone(), shown))
        }
        MetricValue::Number(value) => {
            let (number, name) = match kind {
                FamilyKind::Gauge => (2, "gauge"),
                FamilyKind::Counter => (3, "counter"),
                _ => (5, "untyped"),
            };
            message(number, name, vec![double(1, "value", *value)])
        }
        MetricValue::Summary {
            quantiles,
            sum,
            count,
        } => {
            let mut parts = vec![
                field(1, "sample_count", FieldValue::Integer(*count as i64)),
                double(2, "sample_sum", *sum),
            ];
            parts.extend(quantiles.iter().map(|(quantile, value)| {
                message(
                    3,
                    "quantile",
                    vec![double(1, "quantile", *quantile), double(2, "value", *value)],
                )
            }));
            message(4, "summary", parts)
        }
        MetricValue::Classic(histogram) => {
            let whole = histogram.whole;
            let count = |number: u32, whole_name: &'static str, float_number: u32, float_name, value: f64| {
                match whole {
                    true => field(number, whole_name, FieldValue::Integer(value as i64)),
                    false => double(float_number, float_name, value),
                }
            };
            let mut parts = vec![
                count(1, "sample_count", 4, "sample_count_float", histogram.count),
                double(2, "sample_sum", histogram.sum),
            ];
            parts.extend(histogram.buckets.iter().map(|(bound, cumulative)| {
                let cumulative = count(1, "cumulative_count", 4, "cumulative_count_float", *cumulative);
                message(3, "bucket", vec![cumulative, double(2, "upper_bound", *bound)])
            }));
            message(7, "histogram", parts)
        }
        MetricValue::Native(histogram) => message(7, "histogram", native_fields(histogram)),
    }
}

fn native_fields(histogram: &NativeHistogram) -> Vec<Field> {
    let mut fields = vec![
        double(4, "sample_count_float", histogram.count),
        double(2, "sample_sum", histogram.sum),
        field(5, "schema", FieldValue::Signed(histogram.schema)),
        double(6, "zero_threshold", histogram.zero_threshold),
        double(8, "zero_count_float", histogram.zero_count),
    ];
    let spans = |number, name, spans: &[Span]| -> Vec<Field> {
        let parts = |span: &Span| {
            vec![
                field(1, "offset", FieldValue::Signed(span.offset)),
                field(2, "length", FieldValue::Integer(i64::from(span.length))),
            ]
        };
        spans
            .iter()
            .map(|span| message(number, name, parts(span)))
            .collect()
    };
    let counts = |number, name, counts: &[f64]| -> Vec<Field> {
        counts.iter().map(|count| double(number, name, *count)).collect()
    };
    fields.extend(spans(9, "negative_span", &histogram.negative_spans));
    fields.extend(counts(11, "negative_count", &histogram.negative_counts));
    fields.extend(spans(12, "positive_span", &histogram.positive_spans));
    fields.extend(counts(14, "positive_count", &histogram.positive_counts));
    fields
}

/// The message behind its length.
pub(super) fn write_delimited(out: &mut Vec<u8>, family: &Family) {
    let fields = family_fields(family);
    let length = fields.iter().map(size).sum::<usize>();
    varint(out, length as u64);
    fields.iter().for_each(|field| binary(out, field));
}

/// Bytes of a field with its key.
fn size(field: &Field) -> usize {
    if let FieldValue::Raw(bytes, _) = &field.value {
        return bytes.len();
    }
    let with_length = |length: usize| varint_size(length as u64) + length;
    varint_size(u64::from(field.number) << 3)
        + match &field.value {
            FieldValue::Text(text) => with_length(text.len()),
            FieldValue::Double(_) => 8,
            FieldValue::Integer(value) => varint_size(*value as u64),
            FieldValue::Signed(value) => varint_size(zigzag(*value)),
            FieldValue::Enum(value, _) => varint_size(u64::from(*value)),
            FieldValue::Message(fields) => with_length(fields.iter().map(size).sum()),
            FieldValue::Raw(..) => 0,
        }
}

fn binary(out: &mut Vec<u8>, field: &Field) {
    const VARINT: u64 = 0;
    const FIXED64: u64 = 1;
    const LENGTH: u64 = 2;
    let key = u64::from(field.number) << 3;
    match &field.value {
        FieldValue::Text(text) => {
            varint(out, key | LENGTH);
            varint(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        FieldValue::Double(value) => {
            varint(out, key | FIXED64);
            out.extend_from_slice(&value.to_le_bytes());
        }
        FieldValue::Integer(value) => {
            varint(out, key | VARINT);
            varint(out, *value as u64);
        }
        FieldValue::Signed(value) => {
            varint(out, key | VARINT);
            varint(out, zigzag(*value));
        }
        FieldValue::Enum(value, _) => {
            varint(out, key | VARINT);
            varint(out, u64::from(*value));
        }
        FieldValue::Message(fields) => {
            varint(out, key | LENGTH);
            varint(out, fields.iter().map(size).sum::<usize>() as u64);
            fields.iter().for_each(|field| binary(out, field));
        }
        FieldValue::Raw(bytes, _) => out.extend_from_slice(bytes),
    }
}

fn zigzag(value: i32) -> u64 {
    u64::from(((value << 1) ^ (value >> 31)) as u32)
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_size(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Protobuf's text, indented; an empty line behind it.
pub(super) fn write_text(out: &mut Vec<u8>, family: &Family) {
    for field in family_fields(family) {
        indented(out, &field, 0);
    }
    out.push(b'\n');
}

fn indented(out: &mut Vec<u8>, field: &Field, depth: usize) {
    if let FieldValue::Raw(_, shown) = &field.value {
        return shown.iter().for_each(|field| indented(out, field, depth));
    }
    let indent = "  ".repeat(depth);
    out.extend_from_slice(indent.as_bytes());
    out.extend_from_slice(field.name.as_bytes());
    out.extend_from_slice(b": ");
    match &field.value {
        FieldValue::Message(fields) => {
            out.extend_from_slice(b"{\n");
            fields.iter().for_each(|field| indented(out, field, depth + 1));
            out.extend_from_slice(indent.as_bytes());
            out.push(b'}');
        }
        value => scalar(out, value),
    }
    out.push(b'\n');
}

/// The same in one line.
pub(super) fn write_compact(out: &mut Vec<u8>, family: &Family) {
    compact(out, &family_fields(family));
    out.push(b'\n');
}

fn compact(out: &mut Vec<u8>, fields: &[Field]) {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        if let FieldValue::Raw(_, shown) = &field.value {
            compact(out, shown);
            continue;
        }
        out.extend_from_slice(field.name.as_bytes());
        out.push(b':');
        match &field.value {
            FieldValue::Message(fields) => {
                out.push(b'{');
                compact(out, fields);
                out.push(b'}');
            }
            value => scalar(out, value),
        }
    }
}

/// The message as JSON, in the form that protobuf gives it: <https://protobuf.dev/programming-guides/json>.
pub(in crate::web) fn json(family: &Family) -> Value {
    json_object(&family_fields(family))
}

/// Fields that are lists even where there is one.
const REPEATED: [&str; 8] = [
    "metric",
    "label",
    "bucket",
    "quantile",
    "negative_span",
    "negative_count",
    "positive_span",
    "positive_count",
];

fn json_object(fields: &[Field]) -> Value {
    let mut object = Map::new();
    for field in fields {
        if let FieldValue::Raw(_, shown) = &field.value {
            object.extend(
                shown
                    .iter()
                    .map(|field| (camel_case(field.name), json_value(&field.value))),
            );
            continue;
        }
        let (name, value) = (camel_case(field.name), json_value(&field.value));
        if !REPEATED.contains(&field.name) {
            object.insert(name, value);
        } else if let Some(list) = object
            .entry(name)
            .or_insert_with(|| Value::Array(Vec::new()))
            .as_array_mut()
        {
            list.push(value);
        }
    }
    Value::Object(object)
}

fn json_value(value: &FieldValue) -> Value {
    match value {
        FieldValue::Text(text) => text.as_str().into(),
        FieldValue::Double(value) if value.is_nan() => "NaN".into(),
        FieldValue::Double(value) if value.is_infinite() => {
            if *value > 0.0 { "Infinity" } else { "-Infinity" }.into()
        }
        FieldValue::Double(value) => (*value).into(),
        // 64 bits do not fit the numbers of JSON's readers.
        FieldValue::Integer(value) => value.to_string().into(),
        FieldValue::Signed(value) => (*value).into(),
        FieldValue::Enum(_, name) => (*name).into(),
        FieldValue::Message(fields) | FieldValue::Raw(_, fields) => json_object(fields),
    }
}

/// `sample_count` as `sampleCount`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or("").to_owned();
    words.fold(first, |mut whole, word| {
        let mut chars = word.chars();
        whole.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        whole.push_str(chars.as_str());
        whole
    })
}

fn scalar(out: &mut Vec<u8>, value: &FieldValue) {
    let mut integers = itoa::Buffer::new();
    match value {
        FieldValue::Text(text) => quoted(out, text),
        // Compat: protobuf's text has its own words for what is not a number.
        FieldValue::Double(value) if value.is_nan() => out.extend_from_slice(b"nan"),
        FieldValue::Double(value) if value.is_infinite() => {
            out.extend_from_slice(if *value > 0.0 { b"inf" } else { b"-inf" });
        }
        FieldValue::Double(value) => model::float::write_general(out, *value),
        FieldValue::Integer(value) => out.extend_from_slice(integers.format(*value).as_bytes()),
        FieldValue::Signed(value) => out.extend_from_slice(integers.format(*value).as_bytes()),
        FieldValue::Enum(_, name) => out.extend_from_slice(name.as_bytes()),
        FieldValue::Message(_) | FieldValue::Raw(..) => {}
    }
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 | 0x7f => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

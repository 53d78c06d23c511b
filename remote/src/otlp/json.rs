//! The protocol's JSON form, written anew as protocol buffers: what comes after has one form to read.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>
//!
//! Names of fields are in camel case or as in the protocol's definition, 64-bit integers are texts or numbers, kinds are
//! names or numbers, ids are in hexadecimal; what is unknown is skipped, and `null` stands for nothing at all.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::float::parse_float;
use model::protobuf::{put_delimited, put_varint, to_zigzag};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Why a text is no request.
#[derive(Debug, thiserror::Error)]
#[error("the body is not OTLP's JSON: {0}")]
pub struct JsonError(#[from] serde_json::Error);

/// The request that `body` begins with, as protocol buffers.
///
/// # Errors
/// When it is not JSON, or a value is not what its field wants.
pub(super) fn to_protobuf(body: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::with_capacity(body.len() / 2);
    let mut reader = serde_json::Deserializer::from_slice(body);
    // Compat: what follows the request is not looked at (cases: json-trailing).
    Object {
        message: &REQUEST,
        out: &mut out,
    }
    .deserialize(&mut reader)?;
    Ok(out)
}

/// A message of the protocol.
struct Message {
    fields: &'static [Field],
}

/// A field of one.
struct Field {
    name: &'static str,
    /// The same as the protocol's definition has it.
    definition_name: &'static str,
    number: u64,
    kind: Kind,
    repeated: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// In base64.
    Bytes,
    /// In hexadecimal, of so many bytes.
    Id(usize),
    Bool,
    Double,
    /// Unsigned, of eight bytes.
    Fixed64,
    /// Signed, of eight bytes.
    SFixed64,
    UInt64,
    UInt32,
    Int64,
    SInt32,
    /// Names of the numbers from 0 on.
    Enum(&'static [&'static str]),
    Message(&'static Message),
}

const fn one(name: &'static str, definition_name: &'static str, number: u64, kind: Kind) -> Field {
    Field {
        name,
        definition_name,
        number,
        kind,
        repeated: false,
    }
}

const fn many(name: &'static str, definition_name: &'static str, number: u64, kind: Kind) -> Field {
    Field {
        name,
        definition_name,
        number,
        kind,
        repeated: true,
    }
}

const TEMPORALITIES: &[&str] = &[
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
];

static REQUEST: Message = Message {
    fields: &[many(
        "resourceMetrics",
        "resource_metrics",
        1,
        Kind::Message(&RESOURCE_METRICS),
    )],
};
static RESOURCE_METRICS: Message = Message {
    fields: &[
        one("resource", "resource", 1, Kind::Message(&RESOURCE)),
        many("scopeMetrics", "scope_metrics", 2, Kind::Message(&SCOPE_METRICS)),
        many(
            "deprecatedScopeMetrics",
            "deprecated_scope_metrics",
            1000,
            Kind::Message(&SCOPE_METRICS),
        ),
    ],
};
static RESOURCE: Message = Message {
    fields: &[many("attributes", "attributes", 1, Kind::Message(&ATTRIBUTE))],
};
static SCOPE_METRICS: Message = Message {
    fields: &[
        one("scope", "scope", 1, Kind::Message(&SCOPE)),
        many("metrics", "metrics", 2, Kind::Message(&METRIC)),
        one("schemaUrl", "schema_url", 3, Kind::Text),
    ],
};
static SCOPE: Message = Message {
    fields: &[
        one("name", "name", 1, Kind::Text),
        one("version", "version", 2, Kind::Text),
        many("attributes", "attributes", 3, Kind::Message(&ATTRIBUTE)),
    ],
};
static METRIC: Message = Message {
    fields: &[
        one("name", "name", 1, Kind::Text),
        one("description", "description", 2, Kind::Text),
        one("unit", "unit", 3, Kind::Text),
        one("gauge", "gauge", 5, Kind::Message(&GAUGE)),
        one("sum", "sum", 7, Kind::Message(&SUM)),
        one("histogram", "histogram", 9, Kind::Message(&HISTOGRAM)),
        one(
            "exponentialHistogram",
            "exponential_histogram",
            10,
            Kind::Message(&EXPONENTIAL),
        ),
        one("summary", "summary", 11, Kind::Message(&SUMMARY)),
    ],
};
static GAUGE: Message = Message {
    fields: &[many("dataPoints", "data_points", 1, Kind::Message(&NUMBER_POINT))],
};
static SUM: Message = Message {
    fields: &[
        many("dataPoints", "data_points", 1, Kind::Message(&NUMBER_POINT)),
        one(
            "aggregationTemporality",
            "aggregation_temporality",
            2,
            Kind::Enum(TEMPORALITIES),
        ),
        one("isMonotonic", "is_monotonic", 3, Kind::Bool),
    ],
};
static HISTOGRAM: Message = Message {
    fields: &[
        many("dataPoints", "data_points", 1, Kind::Message(&HISTOGRAM_POINT)),
        one(
            "aggregationTemporality",
            "aggregation_temporality",
            2,
            Kind::Enum(TEMPORALITIES),
        ),
    ],
};
static EXPONENTIAL: Message = Message {
    fields: &[
        many("dataPoints", "data_points", 1, Kind::Message(&EXPONENTIAL_POINT)),
        one(
            "aggregationTemporality",
            "aggregation_temporality",
            2,
            Kind::Enum(TEMPORALITIES),
        ),
    ],
};
static SUMMARY: Message = Message {
    fields: &[many(
        "dataPoints",
        "data_points",
        1,
        Kind::Message(&SUMMARY_POINT),
    )],
};
static NUMBER_POINT: Message = Message {
    fields: &[
        one("startTimeUnixNano", "start_time_unix_nano", 2, Kind::Fixed64),
        one("timeUnixNano", "time_unix_nano", 3, Kind::Fixed64),
        one("asDouble", "as_double", 4, Kind::Double),
        many("exemplars", "exemplars", 5, Kind::Message(&EXEMPLAR)),
        one("asInt", "as_int", 6, Kind::SFixed64),
        many("attributes", "attributes", 7, Kind::Message(&ATTRIBUTE)),
        one("flags", "flags", 8, Kind::UInt32),
    ],
};
static HISTOGRAM_POINT: Message = Message {
    fields: &[
        one("startTimeUnixNano", "start_time_unix_nano", 2, Kind::Fixed64),
        one("timeUnixNano", "time_unix_nano", 3, Kind::Fixed64),
        one("count", "count", 4, Kind::Fixed64),
        one("sum", "sum", 5, Kind::Double),
        many("bucketCounts", "bucket_counts", 6, Kind::Fixed64),
        many("explicitBounds", "explicit_bounds", 7, Kind::Double),
        many("exemplars", "exemplars", 8, Kind::Message(&EXEMPLAR)),
        many("attributes", "attributes", 9, Kind::Message(&ATTRIBUTE)),
        one("flags", "flags", 10, Kind::UInt32),
        one("min", "min", 11, Kind::Double),
        one("max", "max", 12, Kind::Double),
    ],
};
static EXPONENTIAL_POINT: Message = Message {
    fields: &[
        many("attributes", "attributes", 1, Kind::Message(&ATTRIBUTE)),
        one("startTimeUnixNano", "start_time_unix_nano", 2, Kind::Fixed64),
        one("timeUnixNano", "time_unix_nano", 3, Kind::Fixed64),
        one("count", "count", 4, Kind::Fixed64),
        one("sum", "sum", 5, Kind::Double),
        one("scale", "scale", 6, Kind::SInt32),
        one("zeroCount", "zero_count", 7, Kind::Fixed64),
        one("positive", "positive", 8, Kind::Message(&BUCKETS)),
        one("negative", "negative", 9, Kind::Message(&BUCKETS)),
        one("flags", "flags", 10, Kind::UInt32),
        many("exemplars", "exemplars", 11, Kind::Message(&EXEMPLAR)),
        one("min", "min", 12, Kind::Double),
        one("max", "max", 13, Kind::Double),
        one("zeroThreshold", "zero_threshold", 14, Kind::Double),
    ],
};
static BUCKETS: Message = Message {
    fields: &[
        one("offset", "offset", 1, Kind::SInt32),
        many("bucketCounts", "bucket_counts", 2, Kind::UInt64),
    ],
};
static SUMMARY_POINT: Message = Message {
    fields: &[
        one("startTimeUnixNano", "start_time_unix_nano", 2, Kind::Fixed64),
        one("timeUnixNano", "time_unix_nano", 3, Kind::Fixed64),
        one("count", "count", 4, Kind::Fixed64),
        one("sum", "sum", 5, Kind::Double),
        many("quantileValues", "quantile_values", 6, Kind::Message(&QUANTILE)),
        many("attributes", "attributes", 7, Kind::Message(&ATTRIBUTE)),
        one("flags", "flags", 8, Kind::UInt32),
    ],
};
static QUANTILE: Message = Message {
    fields: &[
        one("quantile", "quantile", 1, Kind::Double),
        one("value", "value", 2, Kind::Double),
    ],
};
static EXEMPLAR: Message = Message {
    fields: &[
        one("timeUnixNano", "time_unix_nano", 2, Kind::Fixed64),
        one("asDouble", "as_double", 3, Kind::Double),
        one("spanId", "span_id", 4, Kind::Id(8)),
        one("traceId", "trace_id", 5, Kind::Id(16)),
        one("asInt", "as_int", 6, Kind::SFixed64),
        many(
            "filteredAttributes",
            "filtered_attributes",
            7,
            Kind::Message(&ATTRIBUTE),
        ),
    ],
};
static ATTRIBUTE: Message = Message {
    fields: &[
        one("key", "key", 1, Kind::Text),
        one("value", "value", 2, Kind::Message(&VALUE)),
    ],
};
static VALUE: Message = Message {
    fields: &[
        one("stringValue", "string_value", 1, Kind::Text),
        one("boolValue", "bool_value", 2, Kind::Bool),
        one("intValue", "int_value", 3, Kind::Int64),
        one("doubleValue", "double_value", 4, Kind::Double),
        one("arrayValue", "array_value", 5, Kind::Message(&LIST)),
        one("kvlistValue", "kvlist_value", 6, Kind::Message(&MAP)),
        one("bytesValue", "bytes_value", 7, Kind::Bytes),
    ],
};
static LIST: Message = Message {
    fields: &[many("values", "values", 1, Kind::Message(&VALUE))],
};
static MAP: Message = Message {
    fields: &[many("values", "values", 1, Kind::Message(&ATTRIBUTE))],
};

/// Reads an object, or null, and writes the message's fields.
struct Object<'o> {
    message: &'static Message,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(found) = map.next_key_seed(FieldName(self.message))? {
            match found {
                Some(field) => map.next_value_seed(FieldValue {
                    field,
                    out: &mut *self.out,
                })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Finds a field by its name.
struct FieldName(&'static Message);

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let named = |field: &&Field| field.name == name || field.definition_name == name;
        Ok(self.0.fields.iter().find(named))
    }
}

/// Reads what a field holds, or a list of it.
struct FieldValue<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for FieldValue<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.field.repeated {
            return deserializer.deserialize_any(self);
        }
        Item {
            field: self.field,
            out: self.out,
        }
        .deserialize(deserializer)
    }
}

impl<'de> Visitor<'de> for FieldValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list for {:?}", self.field.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        loop {
            let item = Item {
                field: self.field,
                out: &mut *self.out,
            };
            if list.next_element_seed(item)?.is_none() {
                return Ok(());
            }
        }
    }
}

/// Reads a single value and writes it with its field's number.
struct Item<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
}

/// Bytes in which a message's length is written before it is known.
const LENGTH_BYTES: usize = 5;

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<(), D::Error> {
        match self.field.kind {
            Kind::Message(message) => {
                self.tag(2);
                let begin = self.out.len();
                self.out.extend_from_slice(&[0; LENGTH_BYTES]);
                let out = &mut *self.out;
                Object { message, out }.deserialize(deserializer)?;
                let mut len = out.len() - begin - LENGTH_BYTES;
                for (i, byte) in out[begin..begin + LENGTH_BYTES].iter_mut().enumerate() {
                    let more = if i + 1 < LENGTH_BYTES { 0x80 } else { 0 };
                    *byte = (len & 0x7f) as u8 | more;
                    len >>= 7;
                }
                Ok(())
            }
            // As bytes, so that nobody asks for UTF-8.
            Kind::Text | Kind::Bytes | Kind::Id(_) => deserializer.deserialize_option(self),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl Item<'_> {
    fn tag(&mut self, kind: u64) {
        put_varint(self.out, self.field.number << 3 | kind);
    }

    fn fixed(mut self, bits: u64) {
        self.tag(1);
        self.out.extend_from_slice(&bits.to_le_bytes());
    }

    fn varint(mut self, number: u64) {
        self.tag(0);
        put_varint(self.out, number);
    }

    fn delimited(mut self, bytes: &[u8]) {
        self.tag(2);
        put_delimited(self.out, bytes);
    }

    fn integer<E: Error>(self, number: i128) -> Result<(), E> {
        let beyond = |_| E::custom(format_args!("{number} is too large for {:?}", self.field.name));
        match self.field.kind {
            Kind::Double => self.fixed((number as f64).to_bits()),
            Kind::Fixed64 => {
                let number = u64::try_from(number).map_err(beyond)?;
                self.fixed(number);
            }
            Kind::SFixed64 => {
                let number = i64::try_from(number).map_err(beyond)?;
                self.fixed(number as u64);
            }
            Kind::UInt64 => {
                let number = u64::try_from(number).map_err(beyond)?;
                self.varint(number);
            }
            Kind::UInt32 => {
                let number = u32::try_from(number).map_err(beyond)?;
                self.varint(u64::from(number));
            }
            Kind::Int64 => {
                let number = i64::try_from(number).map_err(beyond)?;
                self.varint(number as u64);
            }
            Kind::SInt32 => {
                let number = i32::try_from(number).map_err(beyond)?;
                self.varint(to_zigzag(i64::from(number)));
            }
            Kind::Enum(_) => {
                let number = i32::try_from(number).map_err(beyond)?;
                self.varint(i64::from(number) as u64);
            }
            Kind::Bool | Kind::Text | Kind::Bytes | Kind::Id(_) | Kind::Message(_) => {
                return Err(E::custom(format_args!("{:?} is no number", self.field.name)));
            }
        }
        Ok(())
    }

    fn wrong<E: Error>(&self, text: &str, what: &str) -> E {
        let text: String = text.chars().take(40).collect();
        E::custom(format_args!("{:?} of {:?} is no {what}", text, self.field.name))
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value for {:?}", self.field.name)
    }

    fn visit_none<E>(self) -> Result<(), E> {
        self.delimited(&[]);
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_bytes(self)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<(), E> {
        match self.field.kind {
            Kind::Bytes => match STANDARD.decode(bytes) {
                Ok(decoded) => self.delimited(&decoded),
                Err(_) => return Err(self.wrong(&String::from_utf8_lossy(bytes), "base64")),
            },
            Kind::Id(len) => match unhex(bytes) {
                Some(id) if id.is_empty() || id.len() == len => self.delimited(&id),
                _ => return Err(self.wrong(&String::from_utf8_lossy(bytes), "id in hexadecimal")),
            },
            _ => self.delimited(bytes),
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => match parse_float(text) {
                Ok(double) => {
                    self.fixed(double.to_bits());
                    Ok(())
                }
                Err(_) => Err(self.wrong(text, "number")),
            },
            Kind::Enum(names) => match names.iter().position(|name| *name == text) {
                Some(number) => {
                    self.varint(number as u64);
                    Ok(())
                }
                None => Err(self.wrong(text, "name of one that is known")),
            },
            Kind::Bool => Err(self.wrong(text, "boolean")),
            _ => {
                let signed = matches!(self.field.kind, Kind::SFixed64 | Kind::Int64 | Kind::SInt32);
                match text.parse::<i128>() {
                    Ok(number) if signed || !text.starts_with('+') => self.integer(number),
                    _ => Err(self.wrong(text, "whole number")),
                }
            }
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        if !matches!(self.field.kind, Kind::Bool) {
            return Err(E::custom(format_args!("{:?} is no boolean", self.field.name)));
        }
        self.varint(u64::from(value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.integer(i128::from(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.integer(i128::from(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        if !matches!(self.field.kind, Kind::Double) {
            return Err(E::custom(format_args!(
                "{:?} is no whole number",
                self.field.name
            )));
        }
        self.fixed(number.to_bits());
        Ok(())
    }
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8))
        .collect()
}

//! The protocol's JSON form, written anew as protocol buffers: what comes after has one form to read.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>
//!
//! Names of fields are in camel case or as in the protocol's definition, 64-bit integers are texts or numbers, kinds are
//! names or numbers, ids are in hexadecimal; what is unknown is skipped, and `null` stands for nothing at all.

mod schema;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::float::parse_float;
use model::protobuf::{put_delimited, put_varint, to_zigzag};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use schema::{Field, Kind, Message, REQUEST};

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
        Ok(self.0.fields.iter().find(|field| field.is_called(name)))
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

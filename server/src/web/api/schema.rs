//! Forms of answers, as JSON Schema has them (OpenAPI 3.1 takes that over whole).
//!
//! Source: <https://json-schema.org/draft/2020-12/json-schema-core>.

use serde_json::{Map, Value, json};

/// A schema.
pub(super) type Schema = Value;

pub(super) fn text() -> Schema {
    json!({ "type": "string" })
}

/// One of these words.
pub(super) fn word(words: &[&str]) -> Schema {
    json!({ "type": "string", "enum": words })
}

/// RFC 3339.
pub(super) fn time() -> Schema {
    json!({ "type": "string", "format": "date-time" })
}

pub(super) fn integer() -> Schema {
    json!({ "type": "integer" })
}

pub(super) fn number() -> Schema {
    json!({ "type": "number" })
}

pub(super) fn switch() -> Schema {
    json!({ "type": "boolean" })
}

/// Any value.
pub(super) fn anything() -> Schema {
    json!({})
}

pub(super) fn list(item: Schema) -> Schema {
    json!({ "type": "array", "items": item })
}

/// A list of exactly these.
pub(super) fn tuple<const N: usize>(items: [Schema; N]) -> Schema {
    json!({ "type": "array", "prefixItems": items.to_vec(), "minItems": N, "maxItems": N })
}

/// An object with any keys.
pub(super) fn map(value: Schema) -> Schema {
    json!({ "type": "object", "additionalProperties": value })
}

/// A label set.
pub(super) fn labels() -> Schema {
    map(text())
}

/// The same, or null.
pub(super) fn or_null(schema: Schema) -> Schema {
    one_of([schema, json!({ "type": "null" })])
}

pub(super) fn one_of<const N: usize>(schemas: [Schema; N]) -> Schema {
    json!({ "oneOf": schemas.to_vec() })
}

/// A key of an object.
pub(super) struct Field(&'static str, Schema, bool);

/// A key that is always there.
pub(super) fn must(name: &'static str, schema: Schema) -> Field {
    Field(name, schema, true)
}

/// A key that may be missing.
pub(super) fn may(name: &'static str, schema: Schema) -> Field {
    Field(name, schema, false)
}

/// An object with these keys and no others.
pub(super) fn object<const N: usize>(fields: [Field; N]) -> Schema {
    let mut required = Vec::new();
    let mut properties = Map::new();
    for Field(name, schema, is_required) in fields {
        if is_required {
            required.push(name);
        }
        properties.insert(name.to_owned(), schema);
    }
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

//! Whether a document is what a JSON schema says: the part of the language that our schemas use.

use std::path::Path;

use serde_json::{Value, json};

/// The schema of a kind of file, of what its reader asks for.
///
/// # Panics
/// When `shape` is no object.
pub fn titled(title: &str, shape: Value) -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
    });
    let Value::Object(keys) = shape else {
        panic!("a schema is an object");
    };
    schema.as_object_mut().expect("an object").extend(keys);
    schema
}

/// Compares a schema with its file, which `UPDATE_EXPECT=1` writes anew.
///
/// # Panics
/// When they differ, or there is no file.
pub fn expect_file(path: &Path, schema: &Value) {
    let want = format!("{schema:#}\n");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, want).expect("written");
        return;
    }
    let got = std::fs::read_to_string(path).expect("the schema");
    assert_eq!(got, want, "{}: UPDATE_EXPECT=1 rewrites it", path.display());
}

/// What is wrong with `document`, each with its path; `matches` says whether a text matches a pattern somewhere.
///
/// # Panics
/// When the schema uses what is not known here, so that nothing is passed over.
pub fn violations(schema: &Value, document: &Value, matches: &dyn Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let checker = Checker {
        root: schema,
        matches,
    };
    checker.check(schema, document, "", &mut found);
    found
}

struct Checker<'s> {
    root: &'s Value,
    matches: &'s dyn Fn(&str, &str) -> bool,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, document: &Value, path: &str, found: &mut Vec<String>) {
        let rules = schema
            .as_object()
            .unwrap_or_else(|| panic!("{path}: a schema is an object"));
        for (keyword, rule) in rules {
            let told = match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" | "properties" => None,
                "$ref" => {
                    let pointer = rule.as_str().and_then(|text| text.strip_prefix('#'));
                    let target = pointer.and_then(|pointer| self.root.pointer(pointer));
                    self.check(target.expect("a place in the schema"), document, path, found);
                    None
                }
                "type" => (!has_type(document, rule)).then(|| format!("is not of {rule}")),
                "enum" => {
                    let known = rule.as_array().is_some_and(|values| values.contains(document));
                    (!known).then(|| format!("is none of {rule}"))
                }
                "pattern" => {
                    let pattern = rule.as_str().unwrap_or("");
                    let text = document.as_str();
                    text.filter(|text| !(self.matches)(pattern, text))
                        .map(|text| format!("{text:?} does not match"))
                }
                "minLength" => document
                    .as_str()
                    .is_some_and(str::is_empty)
                    .then(|| "is empty".to_owned()),
                "minimum" => below(document, rule).then(|| format!("is below {rule}")),
                "maximum" => below(rule, document).then(|| format!("is above {rule}")),
                "items" => {
                    for (index, item) in document.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{path}/{index}"), found);
                    }
                    None
                }
                "additionalProperties" => {
                    let named = rules.get("properties").unwrap_or(&Value::Null);
                    self.properties(named, rule, document, path, found);
                    None
                }
                other => panic!("{path}: the keyword {other:?} is not known"),
            };
            found.extend(told.map(|told| format!("{path}: {told}")));
        }
    }

    fn properties(
        &self,
        named: &Value,
        others: &Value,
        document: &Value,
        path: &str,
        found: &mut Vec<String>,
    ) {
        for (key, value) in document.as_object().into_iter().flatten() {
            let path = format!("{path}/{key}");
            match (named.get(key), others) {
                (Some(schema), _) => self.check(schema, value, &path, found),
                (None, Value::Bool(false)) => found.push(format!("{path}: no such key")),
                (None, Value::Bool(true)) => {}
                (None, schema) => self.check(schema, value, &path, found),
            }
        }
    }
}

fn has_type(document: &Value, types: &Value) -> bool {
    let is_type = |name: &Value| match name.as_str() {
        Some("null") => document.is_null(),
        Some("boolean") => document.is_boolean(),
        Some("integer") => document.as_f64().is_some_and(|number| number.fract() == 0.0),
        Some("number") => document.is_number(),
        Some("string") => document.is_string(),
        Some("array") => document.is_array(),
        Some("object") => document.is_object(),
        other => panic!("the type {other:?} is not known"),
    };
    match types {
        Value::Array(types) => types.iter().any(is_type),
        name => is_type(name),
    }
}

fn below(a: &Value, b: &Value) -> bool {
    matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a < b)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn violations_have_their_paths() {
        let schema = json!({
            "type": "object",
            "properties": {"a": {"type": ["array", "null"], "items": {"type": "integer", "maximum": 5}}, "b": {"pattern": "x"}},
            "additionalProperties": false,
        });
        let check = |document: Value| violations(&schema, &document, &|pattern, text| text.contains(pattern));
        assert_eq!(check(json!({"a": [1, 2.0], "b": "axb"})), [] as [&str; 0]);
        assert_eq!(check(json!({"a": null, "b": 5})), [] as [&str; 0]);
        assert_eq!(
            check(json!({"a": [1, 6, "x"], "b": "y", "c": 1})),
            [
                "/a/1: is above 5",
                "/a/2: is not of \"integer\"",
                "/b: \"y\" does not match",
                "/c: no such key"
            ]
        );
    }
}

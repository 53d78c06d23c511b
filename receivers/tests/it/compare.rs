//! What is expected, with placeholders for what varies, beside what came.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// What stands for what varies.
const VARYING: [(&str, &str); 12] = [
    ("${VERSION}", r"[^ ]+"),
    ("${NANOSECONDS}", r"\d+"),
    ("${RANDOM}", r"\d+"),
    ("${HOSTNAME}", r"[^>]+"),
    ("${BOUNDARY}", r"[0-9a-f]{60}"),
    ("${RFC1123Z}", r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}"),
    ("${DATE}", r"(?:\d{8}|\d{4}-\d\d-\d\d)"),
    ("${SIGNATURE}", r"[0-9a-f]{64}"),
    ("${AWS_SDK}", r".*"),
    ("${VARIES}", r".*"),
    ("${CLOSED}", r".*"),
    ("${TIME}", r".*"),
];

/// `${REPEAT:c:n}` as n times c.
pub(crate) fn expanded(text: &str) -> String {
    static REPEAT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\$\{REPEAT:(.):(\d+)\}").expect("pattern"));
    if !text.contains("${REPEAT") {
        return text.to_owned();
    }
    let times = |found: &regex::Captures<'_>| found[1].repeat(found[2].parse().expect("a number"));
    REPEAT.replace_all(text, times).into_owned()
}

/// A value with all its texts expanded.
pub(crate) fn expand(value: &Value) -> Value {
    match value {
        Value::String(text) => expanded(text).into(),
        Value::Array(items) => items.iter().map(expand).collect(),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(name, value)| (expanded(name), expand(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Where what came differs from what is expected.
pub(crate) fn difference(expected: &Value, came: &Value, at: &str) -> Option<String> {
    match (expected, came) {
        (Value::String(expected), Value::String(came)) if is_alike(expected, came) => None,
        (Value::Array(expected), Value::Array(came)) if expected.len() == came.len() => {
            let mut pairs = expected.iter().zip(came).enumerate();
            pairs.find_map(|(index, (expected, came))| difference(expected, came, &format!("{at}[{index}]")))
        }
        (Value::Object(expected), Value::Object(other)) => {
            let missing = expected.keys().find(|key| !other.contains_key(*key));
            let more = other.keys().find(|key| !expected.contains_key(*key));
            if let Some(key) = missing.or(more) {
                let which = if missing.is_some() {
                    "misses"
                } else {
                    "has besides"
                };
                return Some(format!("{at} {which} {key:?}: {came}"));
            }
            let mut keys = expected.keys();
            keys.find_map(|key| difference(&expected[key], &other[key], &format!("{at}.{key}")))
        }
        (Value::Number(expected), Value::Number(came)) if expected.as_f64() == came.as_f64() => None,
        _ if expected == came => None,
        _ => Some(format!("{at}\n  expected {expected}\n  came     {came}")),
    }
}

/// Whether a text is what is expected, up to what varies.
pub(crate) fn is_alike(expected: &str, came: &str) -> bool {
    if expected == came {
        return true;
    }
    if !expected.contains("${") {
        return false;
    }
    let mut pattern = regex::escape(expected);
    for (placeholder, varying) in VARYING {
        pattern = pattern.replace(&regex::escape(placeholder), varying);
    }
    Regex::new(&format!("(?s)^{pattern}$"))
        .expect("pattern")
        .is_match(came)
}

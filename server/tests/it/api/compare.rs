//! Whether an answer is the reference's: codes, headers, keys, types and values, by the rules of the conformance data.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::remote_read;
use super::wire::{Answer, now};

/// Headers that were recorded.
const HEADERS: [&str; 11] = [
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "allow",
    "cache-control",
    "content-encoding",
    "content-type",
    "location",
    "vary",
    "x-content-type-options",
];
/// Difference of floats that counts as none.
const TOLERANCE: f64 = 1e-12;
/// Seconds that a clock may differ by.
const CLOCK: f64 = 120.0;
/// Characters of a body that are shown.
const SHOWN: usize = 300;

/// The first difference.
pub(super) fn difference(line: &Value, expected: &Value, answer: &Answer) -> Option<String> {
    if expected["code"] != answer.code {
        let body: String = answer.text().chars().take(SHOWN).collect();
        return Some(format!(
            "code {} instead of {}: {body}",
            answer.code, expected["code"]
        ));
    }
    headers(&expected["headers"], answer).or_else(|| body(line, &expected["body"], answer))
}

fn headers(expected: &Value, answer: &Answer) -> Option<String> {
    HEADERS.into_iter().find_map(|name| {
        let want: Vec<&str> = match &expected[name] {
            Value::String(text) => vec![text],
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        let got = answer.headers.get(name).cloned().unwrap_or_default();
        let same = match name {
            // These may say more.
            "vary" | "allow" => {
                let items = |list: &mut dyn Iterator<Item = &str>| -> BTreeSet<String> {
                    list.flat_map(|text| text.split(','))
                        .map(|item| item.trim().to_owned())
                        .collect()
                };
                items(&mut want.iter().copied()).is_subset(&items(&mut got.iter().map(String::as_str)))
            }
            "content-type" if answer.body.is_empty() => true,
            _ => want.first().copied() == got.first().map(String::as_str),
        };
        (!same).then(|| format!("header {name}: {got:?} instead of {want:?}"))
    })
}

fn body(line: &Value, want: &Value, answer: &Answer) -> Option<String> {
    let text = answer.text();
    let is_error = answer.code >= 400;
    let shown = || text.chars().take(SHOWN).collect::<String>();
    let same_emptiness =
        |want: &str| (want.is_empty() != text.is_empty()).then(|| format!("body {:?}", shown()));
    match (line["mode"].as_str(), want) {
        (Some("size"), Value::String(want)) => same_emptiness(want),
        (Some("lines"), want) => {
            let lines: Result<Value, _> = text.lines().map(serde_json::from_str::<Value>).collect();
            match lines {
                Ok(lines) => value(want, &lines, line["sort"] == true, ""),
                Err(_) => Some(format!("no lines of JSON: {}", shown())),
            }
        }
        (Some("first"), Value::String(want)) => same_emptiness(want),
        (Some("first"), want) => {
            let event = text.strip_prefix("data: ").map(str::trim_end);
            let got = event.and_then(|event| serde_json::from_str(event).ok());
            got.map_or_else(
                || Some(format!("no event: {}", shown())),
                |got| value(want, &got, false, ""),
            )
        }
        (Some("read"), want) if !is_error => {
            let content_type = answer.headers.get("content-type")?.first()?;
            remote_read::shown(content_type, &answer.body).map_or_else(
                || Some("no answer of remote read".to_owned()),
                |got| value(want, &got, false, ""),
            )
        }
        // The wording of refusals is ours.
        (_, Value::String(want)) if is_error => same_emptiness(want),
        (Some("shape"), Value::String(want)) => same_emptiness(want),
        (_, Value::String(want)) => {
            (!fits(want, &text)).then(|| format!("text {:?} instead of {want:?}", shown()))
        }
        (Some("shape"), want) => {
            let got = shape(&answer.json());
            (got != sorted_lists(want)).then(|| format!("shape {got} instead of {want}"))
        }
        (_, want) => {
            let got = serde_json::from_slice(&answer.body).ok();
            let sort = line["sort"] == true;
            got.map_or_else(
                || Some(format!("no JSON: {}", shown())),
                |got| value(want, &got, sort, ""),
            )
        }
    }
}

/// Whether `got` is `want`, in which words in angles stand for what changes from run to run.
fn fits(want: &str, got: &str) -> bool {
    let Some((before, kind, after)) = placeholder(want) else {
        return want == got;
    };
    let Some(rest) = got.strip_prefix(before) else {
        return false;
    };
    let of_kind = |c: char| match kind {
        "number" | "now" => c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e'),
        _ => !c.is_whitespace() && c != '"',
    };
    let length = rest.find(|c| !of_kind(c)).unwrap_or(rest.len());
    length > 0 && fits(after, &rest[length..])
}

/// What stands before the first placeholder, its kind, and what stands behind it.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    const KINDS: [&str; 7] = ["number", "now", "time", "str", "folder", "token", "snapshot"];
    let found = KINDS
        .iter()
        .filter_map(|kind| Some((text.find(&format!("<{kind}>"))?, *kind)));
    let (at, kind) = found.min()?;
    Some((&text[..at], kind, &text[at + kind.len() + 2..]))
}

fn same_number(want: f64, got: f64) -> bool {
    want == got
        || (want.is_nan() && got.is_nan())
        || (want - got).abs() <= TOLERANCE * want.abs().max(got.abs())
}

fn value(want: &Value, got: &Value, sort: bool, path: &str) -> Option<String> {
    let other = || Some(format!("{path}: {got} instead of {want}"));
    match (want, got) {
        (Value::String(want), got) => {
            let fits = match (want.as_str(), got) {
                ("<number>", got) => got.is_number(),
                ("<now>", got) => got.as_f64().is_some_and(|time| (time - now()).abs() < CLOCK),
                ("<list>", got) => got.is_array(),
                ("<str>" | "<token>" | "<snapshot>" | "<folder>" | "<time>", got) => got.is_string(),
                (want, Value::String(got)) => {
                    let wording = path.ends_with(".error") || path.ends_with(".lastError");
                    let floats = (model::float::parse_float(want), model::float::parse_float(got));
                    let close = matches!(floats, (Ok(want), Ok(got)) if same_number(want, got));
                    // Compat of YAML texts: quotes of one kind or the other.
                    let quotes =
                        path.ends_with(".yaml") && want.replace('\'', "\"") == got.replace('\'', "\"");
                    fits(want, got) || close || quotes || (wording && want.is_empty() == got.is_empty())
                }
                _ => false,
            };
            if fits { None } else { other() }
        }
        (Value::Number(want), Value::Number(got)) => {
            let (want, got) = (want.as_f64().unwrap_or(0.0), got.as_f64().unwrap_or(0.0));
            if same_number(want, got) { None } else { other() }
        }
        (Value::Object(want), Value::Object(got)) => {
            let keys: BTreeSet<&String> = want.keys().chain(got.keys()).collect();
            keys.into_iter()
                .find_map(|key| match (want.get(key), got.get(key)) {
                    (Some(want), Some(got)) => value(want, got, sort, &format!("{path}.{key}")),
                    (Some(want), None) => Some(format!("{path}.{key} is missing: {want}")),
                    (None, got) => Some(format!("{path}.{key} is too much: {got:?}")),
                })
        }
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => {
            if sort || path.ends_with("alerts") {
                return as_sets(want, got, sort, path);
            }
            let pairs = want.iter().zip(got).enumerate();
            pairs
                .into_iter()
                .find_map(|(at, (want, got))| value(want, got, sort, &format!("{path}[{at}]")))
        }
        (want, got) if want == got => None,
        _ => other(),
    }
}

fn as_sets(want: &[Value], got: &[Value], sort: bool, path: &str) -> Option<String> {
    let mut left: Vec<&Value> = got.iter().collect();
    for item in want {
        match left
            .iter()
            .position(|got| value(item, got, sort, &format!("{path}[]")).is_none())
        {
            Some(at) => drop(left.swap_remove(at)),
            None => return Some(format!("{path}: {item} is missing; there is {left:?}")),
        }
    }
    None
}

/// Types in the place of values; lists by their different elements.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "text".into(),
        Value::Array(list) => {
            let shapes: BTreeSet<String> = list.iter().map(|item| shape(item).to_string()).collect();
            shapes
                .iter()
                .flat_map(|text| serde_json::from_str::<Value>(text))
                .collect()
        }
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), shape(value)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

/// A recorded shape, in which lists have no order.
fn sorted_lists(value: &Value) -> Value {
    match value {
        Value::Array(list) => {
            let items: BTreeSet<String> = list.iter().map(|item| sorted_lists(item).to_string()).collect();
            items
                .iter()
                .flat_map(|text| serde_json::from_str::<Value>(text))
                .collect()
        }
        Value::Object(map) => {
            let sorted = map.iter().map(|(key, value)| (key.clone(), sorted_lists(value)));
            sorted.collect::<Map<_, _>>().into()
        }
        value => value.clone(),
    }
}

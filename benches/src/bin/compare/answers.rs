//! Whether two servers gave the same answer: series as sets, values to a relative 1e-9.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How far apart two values may be, relative to the larger one.
const TOLERANCE: f64 = 1e-9;

/// What a server answered, in a form that can be compared.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// Series by their labels, with time (seconds) and value of each point.
    Series(BTreeMap<String, Vec<(f64, f64)>>),
    /// Label sets or values, without order.
    Set(BTreeSet<String>),
}

impl Answer {
    /// Reads the body of an answer of the query, series and label values endpoints.
    pub(crate) fn parse(body: &[u8]) -> Result<Self> {
        let answer: Value = serde_json::from_slice(body).context("the answer is no JSON")?;
        let data = &answer["data"];
        if let Some(items) = data.as_array() {
            return Ok(Answer::Set(items.iter().map(canonical).collect()));
        }
        let result = data["result"].as_array().context("the answer has no data")?;
        let mut series = BTreeMap::new();
        for entry in result {
            let points = match (entry["values"].as_array(), entry["value"].as_array()) {
                (Some(points), _) => points.iter().map(point).collect::<Result<_>>()?,
                (None, Some(_)) => vec![point(&entry["value"])?],
                (None, None) => bail!("a series without points: {entry}"),
            };
            if series.insert(canonical(&entry["metric"]), points).is_some() {
                bail!("a series twice: {}", entry["metric"]);
            }
        }
        Ok(Answer::Series(series))
    }

    /// Number of series or entries.
    pub(crate) fn len(&self) -> usize {
        match self {
            Answer::Series(series) => series.len(),
            Answer::Set(set) => set.len(),
        }
    }

    /// The first difference from `other`; none when the answers are the same.
    pub(crate) fn difference(&self, other: &Answer) -> Option<String> {
        match (self, other) {
            (Answer::Set(a), Answer::Set(b)) => a
                .symmetric_difference(b)
                .next()
                .map(|entry| format!("only one has {entry}")),
            (Answer::Series(a), Answer::Series(b)) => {
                if let Some(labels) = a.keys().find(|l| !b.contains_key(*l)) {
                    return Some(format!(
                        "{} series against {}: only one has {labels}",
                        a.len(),
                        b.len()
                    ));
                }
                if let Some(labels) = b.keys().find(|l| !a.contains_key(*l)) {
                    return Some(format!(
                        "{} series against {}: only one has {labels}",
                        a.len(),
                        b.len()
                    ));
                }
                a.iter()
                    .find_map(|(labels, points)| differing_point(labels, points, &b[labels]))
            }
            _ => Some("answers of different kinds".to_owned()),
        }
    }
}

fn differing_point(labels: &str, a: &[(f64, f64)], b: &[(f64, f64)]) -> Option<String> {
    if a.len() != b.len() {
        return Some(format!("{labels}: {} points against {}", a.len(), b.len()));
    }
    let (x, y) = a.iter().zip(b).find(|(x, y)| x.0 != y.0 || !close(x.1, y.1))?;
    Some(format!("{labels}: {} at {} against {} at {}", x.1, x.0, y.1, y.0))
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

fn point(pair: &Value) -> Result<(f64, f64)> {
    let time = pair[0].as_f64().context("a point without time")?;
    let value = pair[1].as_str().context("a point without value")?;
    Ok((time, value.parse()?))
}

/// A label set as text with its names in order, whatever order the server has.
fn canonical(value: &Value) -> String {
    match value.as_object() {
        Some(labels) => {
            let sorted: BTreeMap<_, _> = labels
                .iter()
                .map(|(n, v)| (n, v.as_str().unwrap_or_default()))
                .collect();
            format!("{sorted:?}")
        }
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(values: &[(&str, &str)]) -> Answer {
        let result: Vec<_> = values
            .iter()
            .map(|(label, value)| serde_json::json!({"metric": {"l": label, "a": "b"}, "value": [5, value]}))
            .collect();
        Answer::parse(
            serde_json::json!({"data": {"result": result}})
                .to_string()
                .as_bytes(),
        )
        .expect("an answer")
    }

    #[test]
    fn order_and_the_last_digits_do_not_matter() {
        let a = vector(&[("x", "1"), ("y", "NaN")]);
        assert_eq!(
            a.difference(&vector(&[("y", "NaN"), ("x", "1.0000000001")])),
            None
        );
        assert!(
            a.difference(&vector(&[("y", "NaN"), ("x", "1.00000001")]))
                .is_some()
        );
        assert!(a.difference(&vector(&[("x", "1")])).is_some());
        assert!(
            a.difference(&vector(&[("x", "1"), ("y", "NaN"), ("z", "1")]))
                .is_some()
        );
    }

    #[test]
    fn points_must_be_at_the_same_times() {
        let range = |time: u32| {
            let body =
                format!(r#"{{"data":{{"result":[{{"metric":{{}},"values":[[{time},"1"],[30,"2"]]}}]}}}}"#);
            Answer::parse(body.as_bytes()).expect("an answer")
        };
        assert_eq!(range(15).difference(&range(15)), None);
        assert!(range(15).difference(&range(16)).is_some());
    }

    #[test]
    fn lists_are_sets() {
        let set = |text: &str| Answer::parse(text.as_bytes()).expect("an answer");
        assert_eq!(
            set(r#"{"data":["a","b"]}"#).difference(&set(r#"{"data":["b","a"]}"#)),
            None
        );
        assert!(
            set(r#"{"data":["a"]}"#)
                .difference(&set(r#"{"data":["b"]}"#))
                .is_some()
        );
        assert!(Answer::parse(br#"{"status":"error"}"#).is_err());
    }
}

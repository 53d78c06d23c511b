//! A line of JSON: `{"metric":{"__name__":"m","a":"b"},"values":[1,2.5],"timestamps":[1700000000000,1700000015000]}`.
//!
//! As VictoriaMetrics exports and imports it: timestamps in milliseconds, infinities and NaN as texts, `null` for no value.
//! The latter is read as the marker of staleness, which is what an export writes so.

use std::fmt;

use model::float::parse_float;
use model::labels::Labels;
use model::sample::stale_nan;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{LineError, LineLabels, Rules};

/// The samples of a line; its buffers are used again.
#[derive(Default)]
pub(super) struct Line {
    pub(super) values: Vec<f64>,
    pub(super) timestamps_ms: Vec<i64>,
}

impl Line {
    /// Makes it one sample.
    pub(super) fn set(&mut self, timestamp_ms: i64, value: f64) {
        self.values.clear();
        self.timestamps_ms.clear();
        self.values.push(value);
        self.timestamps_ms.push(timestamp_ms);
    }

    /// Reads a line; its labels, or nothing where it is blank.
    pub(super) fn read(&mut self, line: &[u8], rules: &Rules) -> Result<Option<Labels>, LineError> {
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        self.values.clear();
        self.timestamps_ms.clear();
        let mut labels = LineLabels::default();
        let mut reader = serde_json::Deserializer::from_slice(line);
        reader.deserialize_map(Object {
            line: self,
            labels: &mut labels,
        })?;
        reader.end()?;
        let (values, timestamps) = (self.values.len(), self.timestamps_ms.len());
        if values != timestamps {
            return Err(LineError::Lengths { values, timestamps });
        }
        Ok(Some(labels.finish(rules)?))
    }
}

/// The error without the place in the line, which is told otherwise.
pub(super) fn what(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Reads the object of a line.
struct Object<'l> {
    line: &'l mut Line,
    labels: &'l mut LineLabels,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with metric, values and timestamps")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metric" => map.next_value_seed(Metric(self.labels))?,
                "values" => map.next_value_seed(List(&mut self.line.values, Value))?,
                "timestamps" => map.next_value_seed(List(&mut self.line.timestamps_ms, Timestamp))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Reads the labels.
struct Metric<'l>(&'l mut LineLabels);

impl<'de> DeserializeSeed<'de> for Metric<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metric<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            self.0.set(&name, &value);
        }
        Ok(())
    }
}

/// Reads a list of what the second reads.
struct List<'l, T, R>(&'l mut Vec<T>, R);

impl<'de, T, R: DeserializeSeed<'de, Value = T> + Copy> DeserializeSeed<'de> for List<'_, T, R> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T, R: DeserializeSeed<'de, Value = T> + Copy> Visitor<'de> for List<'_, T, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(item) = list.next_element_seed(self.1)? {
            self.0.push(item);
        }
        Ok(())
    }
}

/// Reads a value.
#[derive(Clone, Copy)]
struct Value;

impl<'de> DeserializeSeed<'de> for Value {
    type Value = f64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<f64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Value {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, null, or one of the texts NaN, Infinity and -Infinity")
    }

    fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_unit<E>(self) -> Result<f64, E> {
        Ok(stale_nan())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
        match text {
            "null" => Ok(stale_nan()),
            _ => parse_float(text).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }
}

/// Reads a timestamp.
#[derive(Clone, Copy)]
struct Timestamp;

impl<'de> DeserializeSeed<'de> for Timestamp {
    type Value = i64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<i64, D::Error> {
        serde::Deserialize::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use model::sample::is_stale_nan;

    use super::*;

    /// The line as it is read, or why it is not.
    fn read(text: &str) -> Result<(String, Line), String> {
        let mut line = Line::default();
        match line.read(text.as_bytes(), &Rules::default()) {
            Ok(Some(labels)) => Ok((labels.to_string(), line)),
            Ok(None) => Err("blank".to_owned()),
            Err(error) => Err(format!("{}: {error}", error.at())),
        }
    }

    #[test]
    fn lines_are_read() {
        let text = r#"{"timestamps":[1,-2,3,4,5,6],"more":{"a":[1]},"metric":{"a\n":"é\"","__name__":"m","b":""},
            "values":[1,-2.5e-3,"NaN",null,"-Infinity",0.1]}"#;
        let (labels, line) = read(&text.replace('\n', " ")).expect("a line");
        assert_eq!(labels, r#"{__name__="m", "a\n"="é\""}"#);
        assert_eq!(line.timestamps_ms, [1, -2, 3, 4, 5, 6]);
        assert_eq!(line.values[..2], [1.0, -0.0025]);
        assert!(line.values[2].is_nan() && !is_stale_nan(line.values[2]));
        assert!(is_stale_nan(line.values[3]));
        assert_eq!(line.values[4..], [f64::NEG_INFINITY, 0.1]);
        assert_eq!(read(" \t").err().as_deref(), Some("blank"));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told() {
        let metric = r#"{"metric":{"__name__":"m"},"#;
        for (text, wanted) in [
            ("nothing", "expected ident"),
            (
                "[]",
                "invalid type: sequence, expected an object with metric, values and timestamps",
            ),
            (
                r#"{"metric":{"a":1}}"#,
                "invalid type: integer `1`, expected a string",
            ),
            (r#"{"values":[],"timestamps":[]}"#, "no labels"),
            (
                &format!(r#"{metric}"values":[1],"timestamps":[1,2]}}"#),
                "1 values and 2 timestamps",
            ),
            (
                &format!(r#"{metric}"values":["x"],"timestamps":[1]}}"#),
                r#"invalid value: string "x", expected a number"#,
            ),
            (
                &format!(r#"{metric}"values":[1e999],"timestamps":[1]}}"#),
                "number out of range",
            ),
            (
                &format!(r#"{metric}"values":[1],"timestamps":[1.5]}}"#),
                "invalid type: floating point",
            ),
            (
                &format!(r#"{metric}"values":[1],"timestamps":[1]}} x"#),
                "trailing characters",
            ),
        ] {
            let said = read(text).err().unwrap_or_default();
            assert!(
                said.contains(wanted) && !said.contains(" at line "),
                "{text}: {said}"
            );
        }
        let deep = format!(r#"{{"x":{}"#, "[".repeat(100_000));
        assert!(read(&deep).is_err());
        let labels: Vec<String> = (0..=crate::intake::LABELS_MAX)
            .map(|n| format!(r#""a{n}":"x""#))
            .collect();
        let many = format!(
            r#"{{"metric":{{{}}},"values":[],"timestamps":[]}}"#,
            labels.join(",")
        );
        assert_eq!(read(&many).err().as_deref(), Some("0: more than 4096 labels"));
    }
}

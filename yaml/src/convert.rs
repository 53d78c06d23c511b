//! Values that sections are made of.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::YamlError;
use crate::node::{NodeKind, ScalarKind, Value};
use crate::shape::Shape;

/// Can be read from a YAML value.
pub trait FromYaml: Sized {
    /// What null is, where that is something: the empty text, list or mapping, zero, false. Types that have nothing of
    /// the kind keep their default, and elements of them may not be null.
    fn null() -> Option<Self> {
        None
    }

    /// What it accepts, for schemas.
    fn shape() -> Shape {
        Shape::Any
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the value is of another kind or out of range; the error says where, what was found and what was expected.
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError>;
}

/// Text is taken as it was written: `version: 1.10` is "1.10", `on` is "on".
impl FromYaml for String {
    fn null() -> Option<Self> {
        Some(String::new())
    }

    fn shape() -> Shape {
        Shape::Text
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let scalar = value.scalar().ok_or_else(|| value.unexpected("a text"))?;
        match scalar.kind {
            ScalarKind::Null => Ok(String::new()),
            // Compat: a number in JSON is not text (conformance `file-sd-json-is-not-yaml`).
            kind if kind != ScalarKind::String && value.document.is_json() => {
                Err(value.unexpected("a text in quotes"))
            }
            _ => Ok(scalar.text.clone()),
        }
    }
}

/// An element of a list or mapping, which may be null where there is something that null is.
fn element<T: FromYaml>(value: Value<'_>) -> Result<T, YamlError> {
    match T::null() {
        Some(null) if value.is_null() => Ok(null),
        _ => T::from_yaml(value),
    }
}

impl FromYaml for bool {
    fn null() -> Option<Self> {
        Some(false)
    }

    fn shape() -> Shape {
        Shape::Bool
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        match value.scalar().map(|scalar| scalar.kind) {
            Some(ScalarKind::Bool(b)) => Ok(b),
            _ => Err(value.unexpected("true or false")),
        }
    }
}

impl FromYaml for f64 {
    fn null() -> Option<Self> {
        Some(0.0)
    }

    fn shape() -> Shape {
        Shape::Number
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        match value.scalar().map(|scalar| scalar.kind) {
            Some(ScalarKind::Float(x)) => Ok(x),
            Some(ScalarKind::Int(i)) => Ok(i as f64),
            _ => Err(value.unexpected("a number")),
        }
    }
}

macro_rules! integers {
    ($($int:ty),*) => {$(
        impl FromYaml for $int {
            fn null() -> Option<Self> {
                Some(0)
            }

            fn shape() -> Shape {
                Shape::Integer
            }

            fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
                let whole = match value.scalar().map(|scalar| scalar.kind) {
                    Some(ScalarKind::Int(i)) => Some(i),
                    // Go's reader takes 5.0 where 5 is meant.
                    Some(ScalarKind::Float(x)) if x.fract() == 0.0 && x.abs() < 9e15 => Some(x as i64),
                    _ => None,
                };
                let whole = whole.ok_or_else(|| value.unexpected("a whole number"))?;
                <$int>::try_from(whole).map_err(|_| {
                    value.unexpected(concat!("a whole number that fits ", stringify!($int)))
                })
            }
        }
    )*};
}
integers!(i32, i64, u16, u32, u64, usize);

impl<T: FromYaml> FromYaml for Vec<T> {
    fn null() -> Option<Self> {
        Some(Vec::new())
    }

    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        value.sequence()?.into_iter().map(element).collect()
    }
}

impl<T: FromYaml> FromYaml for BTreeMap<String, T> {
    fn null() -> Option<Self> {
        Some(BTreeMap::new())
    }

    fn shape() -> Shape {
        Shape::Map(Box::new(T::shape()))
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let NodeKind::Mapping(pairs) = &value.node.kind else {
            return Err(value.unexpected("a mapping"));
        };
        let mut map = BTreeMap::new();
        for (key, item) in pairs {
            let at = |node| Value {
                document: value.document,
                node,
            };
            map.insert(String::from_yaml(at(key))?, element(at(item))?);
        }
        Ok(map)
    }
}

/// A length of time as the reference writes it: `30s`, `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    ms: i64,
}

impl Duration {
    /// From milliseconds.
    pub const fn from_ms(ms: i64) -> Self {
        Duration { ms }
    }

    /// In milliseconds.
    pub const fn as_ms(self) -> i64 {
        self.ms
    }

    /// As the standard library has it; never negative.
    pub fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.ms.max(0) as u64)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&model::duration::format_duration(self.ms))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromYaml for Duration {
    fn shape() -> Shape {
        Shape::Duration
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let scalar = value
            .scalar()
            .ok_or_else(|| value.unexpected("a duration like 30s"))?;
        let ms = model::duration::parse_duration(&scalar.text)
            .map_err(|error| value.error(error).with_help("write it like 30s, 5m or 1h30m"))?;
        Ok(Duration { ms })
    }
}

/// A number of bytes as the reference writes it: `512MB`, `10GiB`; powers of 1024 either way. 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub i64);

/// Units of a size, by powers of two, largest first. Compat: a text keeps to one way of writing them
/// (`sizes_are_read_and_written_as_the_reference_does`).
const BYTE_UNITS: [[(&str, u32); 7]; 2] = [
    [
        ("EiB", 60),
        ("PiB", 50),
        ("TiB", 40),
        ("GiB", 30),
        ("MiB", 20),
        ("KiB", 10),
        ("B", 0),
    ],
    [
        ("EB", 60),
        ("PB", 50),
        ("TB", 40),
        ("GB", 30),
        ("MB", 20),
        ("KB", 10),
        ("B", 0),
    ],
];

impl Bytes {
    /// Reads the text form; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Bytes(0));
        }
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest.is_empty() {
            return None;
        }
        let total = BYTE_UNITS.iter().find_map(|units| Bytes::sum(rest, units))?;
        (total < 9.2e18).then_some(Bytes(if negative { -total as i64 } else { total as i64 }))
    }

    /// Numbers with units, one after the other.
    fn sum(mut rest: &str, units: &[(&str, u32)]) -> Option<f64> {
        let mut total = 0f64;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            let number: f64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let (unit, shift) = units.iter().find(|(unit, _)| rest.starts_with(unit))?;
            rest = &rest[unit.len()..];
            total += number * 2f64.powi(*shift as i32);
        }
        Some(total)
    }
}

/// As the reference writes it: `1MiB512KiB`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0B");
        }
        let mut rest = self.0;
        for (unit, shift) in BYTE_UNITS[0] {
            let (count, size) = (rest / (1 << shift), 1i64 << shift);
            if count != 0 {
                write!(f, "{count}{unit}")?;
                rest -= count * size;
            }
        }
        Ok(())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromYaml for Bytes {
    fn null() -> Option<Self> {
        Some(Bytes(0))
    }

    fn shape() -> Shape {
        Shape::Bytes
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let scalar = value
            .scalar()
            .ok_or_else(|| value.unexpected("a size like 512MB"))?;
        Bytes::parse(&scalar.text).ok_or_else(|| value.unexpected("a size like 512MB"))
    }
}

/// A text that is never shown: it prints as `<secret>`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { "<secret>" })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromYaml for Secret {
    fn null() -> Option<Self> {
        Some(Secret::default())
    }

    fn shape() -> Shape {
        Shape::Text
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        String::from_yaml(value).map(Secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_as_the_reference_does() {
        for (text, shown) in [
            ("0", "0B"),
            ("0B", "0B"),
            ("10B", "10B"),
            ("1000B", "1000B"),
            ("1KiB", "1KiB"),
            ("2GB", "2GiB"),
            ("1.5MiB", "1MiB512KiB"),
            ("1GiB512MiB", "1GiB512MiB"),
            ("1537KB", "1MiB513KiB"),
            (".5GB", "512MiB"),
            ("5.GB", "5GiB"),
            ("0.3B", "0B"),
            ("1.5KiB1B", "1KiB513B"),
            ("+1MB", "1MiB"),
            ("-3KB", "-3KiB"),
            ("-1KB1B", "-1KiB-1B"),
            ("7EiB", "7EiB"),
        ] {
            let read = Bytes::parse(text).map(|bytes| bytes.to_string());
            assert_eq!(read.as_deref(), Some(shown), "{text}");
        }
        for text in [
            "",
            ".",
            "+",
            "10",
            "1kB",
            "1mib",
            "1 MB",
            "1M",
            "1Mi",
            "1e3B",
            "1ZB",
            "9EB",
            "1GB1MiB",
            "1MiB1GB",
            "99999999999999999999B",
        ] {
            assert_eq!(Bytes::parse(text), None, "{text}");
        }
    }
}

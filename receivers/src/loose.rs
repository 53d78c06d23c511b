//! Values of any shape in a configuration (`payload`, `details`, `fields`), whose texts are templates.

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Number};
use yaml::{FromYaml, Node, NodeKind, ScalarKind, Value, YamlError};

use crate::receiver::Failure;

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Loose {
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number that is too large for the above.
    UInt(u64),
    Float(f64),
    Text(String),
    List(Vec<Loose>),
    /// Keys are values of any shape, too.
    Map(Vec<(Loose, Loose)>),
}

impl Loose {
    fn from_node(node: &Node) -> Self {
        match &node.kind {
            NodeKind::Scalar(scalar) => match scalar.kind {
                ScalarKind::Null => Loose::Null,
                ScalarKind::Bool(is) => Loose::Bool(is),
                ScalarKind::Int(number) => Loose::Int(number),
                ScalarKind::Float(number) => match scalar.text.parse() {
                    Ok(whole) => Loose::UInt(whole),
                    Err(_) => Loose::Float(number),
                },
                ScalarKind::String => Loose::Text(scalar.text.clone()),
            },
            NodeKind::Sequence(items) => Loose::List(items.iter().map(Loose::from_node).collect()),
            NodeKind::Mapping(pairs) => {
                let pair = |(key, value): &(Node, Node)| (Loose::from_node(key), Loose::from_node(value));
                Loose::Map(pairs.iter().map(pair).collect())
            }
        }
    }

    /// The value with its templates rendered by `text`, as JSON.
    ///
    /// Compat: a rendered text that reads as YAML becomes what it reads as; keys that are no texts are left out
    /// (conformance `payload-yaml-traps`).
    pub(crate) fn render(
        &self,
        text: &mut dyn FnMut(&str) -> Result<String, Failure>,
    ) -> Result<serde_json::Value, Failure> {
        match self {
            Loose::Text(template) => {
                let rendered = text(template)?;
                match read_again(&rendered) {
                    Some(value) => value.into_json(),
                    None => Ok(rendered.into()),
                }
            }
            Loose::List(items) => items.iter().map(|item| item.render(text)).collect(),
            Loose::Map(pairs) => {
                let mut map = Map::new();
                for (key, value) in pairs {
                    if let Loose::Text(key) = key {
                        map.insert(text(key)?, value.render(text)?);
                    }
                }
                Ok(map.into())
            }
            scalar => scalar.clone().into_json(),
        }
    }

    fn into_json(self) -> Result<serde_json::Value, Failure> {
        Ok(match self {
            Loose::Null => serde_json::Value::Null,
            Loose::Bool(is) => is.into(),
            Loose::Int(number) => number.into(),
            Loose::UInt(number) => number.into(),
            Loose::Float(number) => match Number::from_f64(number) {
                Some(number) => number.into(),
                None => {
                    let shown = model::float::format_float(number);
                    return Err(Failure::last(format!("json: unsupported value: {shown}")));
                }
            },
            Loose::Text(text) => text.into(),
            Loose::List(items) => items
                .into_iter()
                .map(Loose::into_json)
                .collect::<Result<_, Failure>>()?,
            Loose::Map(pairs) => {
                let mut map = Map::new();
                for (key, value) in pairs {
                    if let Loose::Text(key) = key {
                        map.insert(key, value.into_json()?);
                    }
                }
                map.into()
            }
        })
    }
}

/// What a text is as YAML, unless it is none or a text.
fn read_again(text: &str) -> Option<Loose> {
    // Compat: the end of a document that has not begun is an error there.
    if text.trim_start().lines().next() == Some("...") {
        return None;
    }
    let document = yaml::parse("", text)
        .or_else(|error| yaml::parse("", flow_collection(text).ok_or(error)?))
        .ok()?;
    match Loose::from_node(document.root().node) {
        Loose::Text(_) => None,
        other => Some(other),
    }
}

/// The collection in brackets or braces that a text begins with.
///
/// Compat: the reference's reader stops behind it and never looks at what follows.
fn flow_collection(text: &str) -> Option<&str> {
    let begin = text.trim_start();
    if !begin.starts_with(['[', '{']) {
        return None;
    }
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (at, c) in begin.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), c) if c == open && !escaped => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(&begin[..=at]);
                }
            }
            (None, _) => {}
        }
        escaped = false;
    }
    None
}

impl FromYaml for Loose {
    fn null() -> Option<Self> {
        Some(Loose::Null)
    }

    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        Ok(Loose::from_node(value.node))
    }
}

/// For printing a configuration: mappings in the order of their keys.
impl Serialize for Loose {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Loose::Null => serializer.serialize_unit(),
            Loose::Bool(is) => serializer.serialize_bool(*is),
            Loose::Int(number) => serializer.serialize_i64(*number),
            Loose::UInt(number) => serializer.serialize_u64(*number),
            Loose::Float(number) => serializer.serialize_f64(*number),
            Loose::Text(text) => serializer.serialize_str(text),
            Loose::List(items) => serializer.collect_seq(items),
            Loose::Map(pairs) => {
                let mut sorted: Vec<&(Loose, Loose)> = pairs.iter().collect();
                sorted.sort_by_key(|(key, _)| key.sorting());
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                for (key, value) in sorted {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl Loose {
    fn sorting(&self) -> String {
        match self {
            Loose::Text(text) => text.clone(),
            other => format!("{other:?}"),
        }
    }
}

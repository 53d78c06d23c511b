//! What readers accept, found by watching them read: the source of the JSON schemas.
//!
//! Keys stand nowhere but in the readers, which ask a [`Section`](crate::Section) for them one by one. While [`record`]
//! runs, sections note what they were asked for and as what; over enough files, together, that is the shape of the whole.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::node::{NodeKind, Value};

/// What a value may be. It serialises as the JSON schema of that.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Shape {
    /// Nobody said.
    #[default]
    Any,
    /// Any single value: it is taken as it was written.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// True or false.
    Bool,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A length of time.
    Duration,
    /// A number of bytes.
    Bytes,
    /// A list.
    List(Box<Shape>),
    /// Any keys, with values of one shape.
    Map(Box<Shape>),
    /// These keys and no others.
    Section(BTreeMap<String, Shape>),
    /// What a [`Schema`] tells once under this name.
    Shared(String),
}

/// The shape of a whole file, in which what stands under certain keys, wherever they are, is told once. It serialises as a
/// JSON schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    root: Shape,
    shared: BTreeMap<String, Shape>,
}

impl Shape {
    /// What accepts what either accepts; anything where they are of different kinds.
    #[must_use]
    pub fn merged(self, other: Shape) -> Shape {
        match (self, other) {
            (Shape::Any, shape) | (shape, Shape::Any) => shape,
            (Shape::List(a), Shape::List(b)) => Shape::List(Box::new(a.merged(*b))),
            (Shape::Map(a), Shape::Map(b)) => Shape::Map(Box::new(a.merged(*b))),
            (Shape::Section(mut a), Shape::Section(b)) => {
                for (key, shape) in b {
                    let known = a.entry(key).or_default();
                    *known = std::mem::take(known).merged(shape);
                }
                Shape::Section(a)
            }
            (a, b) if a == b => a,
            _ => Shape::Any,
        }
    }

    /// Tells what stands under each of `keys` once, for all places together: what was seen in one of them counts for all,
    /// and what holds itself comes to an end.
    pub fn sharing(self, keys: &[&str]) -> Schema {
        let mut shared = BTreeMap::new();
        let root = self.without(keys, &mut shared);
        Schema { root, shared }
    }

    fn without(self, keys: &[&str], shared: &mut BTreeMap<String, Shape>) -> Shape {
        match self {
            Shape::List(items) => Shape::List(Box::new(items.without(keys, shared))),
            Shape::Map(values) => Shape::Map(Box::new(values.without(keys, shared))),
            Shape::Section(entries) => {
                let entry = |(key, shape): (String, Shape)| {
                    let shape = shape.without(keys, shared);
                    if !keys.contains(&key.as_str()) {
                        return (key, shape);
                    }
                    let known = shared.entry(key.clone()).or_default();
                    *known = std::mem::take(known).merged(shape);
                    (key.clone(), Shape::Shared(key))
                };
                Shape::Section(entries.into_iter().map(entry).collect())
            }
            shape => shape,
        }
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'s> {
            #[serde(flatten)]
            root: &'s Shape,
            #[serde(rename = "$defs", skip_serializing_if = "BTreeMap::is_empty")]
            shared: &'s BTreeMap<String, Shape>,
        }
        let (root, shared) = (&self.root, &self.shared);
        Whole { root, shared }.serialize(serializer)
    }
}

/// Null is nothing, and so allowed wherever a value may be left out, which is everywhere.
impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Shape::Any => {}
            Shape::Text => map.serialize_entry("type", &["string", "number", "boolean", "null"])?,
            Shape::Word(words) => {
                let words = words.iter().map(|word| Some(*word)).chain([None]);
                map.serialize_entry("enum", &words.collect::<Vec<_>>())?;
            }
            Shape::Bool => map.serialize_entry("type", &["boolean", "null"])?,
            Shape::Integer => map.serialize_entry("type", &["integer", "null"])?,
            Shape::Number => map.serialize_entry("type", &["number", "null"])?,
            Shape::Duration => quantity(&mut map, DURATION)?,
            Shape::Bytes => quantity(&mut map, BYTES)?,
            Shape::List(items) => {
                map.serialize_entry("type", &["array", "null"])?;
                map.serialize_entry("items", items)?;
            }
            Shape::Map(values) => {
                map.serialize_entry("type", &["object", "null"])?;
                map.serialize_entry("additionalProperties", values)?;
            }
            Shape::Section(keys) => {
                map.serialize_entry("type", &["object", "null"])?;
                map.serialize_entry("properties", keys)?;
                map.serialize_entry("additionalProperties", &false)?;
            }
            Shape::Shared(key) => map.serialize_entry("$ref", &format!("#/$defs/{key}"))?,
        }
        map.end()
    }
}

/// Lengths of time as [`crate::Duration`] reads them.
const DURATION: &str = "^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$";
/// Sizes as [`crate::Bytes`] reads them.
const BYTES: &str = "^(0|[+-]?([0-9.]+([EPTGMK]i?)?B)+)$";

/// A number with units, or 0.
fn quantity<M: SerializeMap>(map: &mut M, pattern: &str) -> Result<(), M::Error> {
    map.serialize_entry("type", &["string", "integer", "null"])?;
    map.serialize_entry("pattern", pattern)?;
    map.serialize_entry("minLength", &1)?;
    map.serialize_entry("minimum", &0)?;
    map.serialize_entry("maximum", &0)
}

thread_local! {
    /// Sections that were opened since recording began; `None` where nobody records.
    static OPENED: RefCell<Option<Vec<Opened>>> = const { RefCell::new(None) };
}

/// A section that was opened, and what it was asked for.
struct Opened {
    /// Address of its node.
    node: usize,
    keys: BTreeMap<&'static str, Vec<Asked>>,
}

struct Asked {
    shape: Shape,
    /// Addresses of the value's node, of its elements if it is a list, and of its values if it is a mapping.
    node: Option<usize>,
    elements: Vec<usize>,
    values: Vec<usize>,
}

/// Reads, and tells the shape of the first section that was opened meanwhile on this thread, with all below it.
pub fn record<T>(read: impl FnOnce() -> T) -> (T, Shape) {
    OPENED.set(Some(Vec::new()));
    let result = read();
    let opened = OPENED.take().unwrap_or_default();
    let root = opened
        .first()
        .map_or(Shape::Any, |root| shape_of(root.node, &opened));
    (result, root)
}

/// A section was opened.
pub(crate) fn note_section(value: Value<'_>) {
    note(|opened| {
        opened.push(Opened {
            node: address(value),
            keys: BTreeMap::new(),
        });
    });
}

/// A section was asked for `key`, which is a `shape` and has `found` as its value.
pub(crate) fn note_key(section: Value<'_>, key: &'static str, shape: Shape, found: Option<Value<'_>>) {
    note(|opened| {
        let node = address(section);
        let Some(section) = opened.iter_mut().rev().find(|opened| opened.node == node) else {
            return;
        };
        let addresses = |nodes: &mut dyn Iterator<Item = &crate::node::Node>| -> Vec<usize> {
            nodes.map(|node| std::ptr::from_ref(node) as usize).collect()
        };
        let kind = found.map(|value| &value.node.kind);
        section.keys.entry(key).or_default().push(Asked {
            shape,
            node: found.map(address),
            elements: match kind {
                Some(NodeKind::Sequence(items)) => addresses(&mut items.iter()),
                _ => Vec::new(),
            },
            values: match kind {
                Some(NodeKind::Mapping(pairs)) => addresses(&mut pairs.iter().map(|(_, value)| value)),
                _ => Vec::new(),
            },
        });
    });
}

fn note(add: impl FnOnce(&mut Vec<Opened>)) {
    OPENED.with_borrow_mut(|opened| opened.as_mut().map(add));
}

fn address(value: Value<'_>) -> usize {
    std::ptr::from_ref(value.node) as usize
}

/// The shape of all sections that were opened at a node. Documents are nested at most some hundred levels deep.
fn shape_of(node: usize, opened: &[Opened]) -> Shape {
    let sections = opened.iter().filter(|opened| opened.node == node);
    let shapes = sections.map(|section| {
        let keys = section.keys.iter().map(|(key, asked)| {
            let shapes = asked.iter().map(|asked| asked_shape(asked, opened));
            ((*key).to_owned(), shapes.fold(Shape::Any, Shape::merged))
        });
        Shape::Section(keys.collect())
    });
    shapes.fold(Shape::Any, Shape::merged)
}

fn asked_shape(asked: &Asked, opened: &[Opened]) -> Shape {
    let of = |nodes: &[usize]| {
        let shapes = nodes.iter().map(|node| shape_of(*node, opened));
        shapes.fold(Shape::Any, Shape::merged)
    };
    let itself = of(asked.node.as_slice());
    let shape = asked.shape.clone().merged(itself);
    // A mapping whose values are sections, unless it is one itself.
    let shape = match (of(&asked.values), &shape) {
        (Shape::Any, _) | (_, Shape::Section(_)) => shape,
        (values, _) => shape.merged(Shape::Map(Box::new(values))),
    };
    match of(&asked.elements) {
        Shape::Any => shape,
        elements => shape.merged(Shape::List(Box::new(elements))),
    }
}

//! What templates compute with.

use std::fmt;
use std::sync::Arc;

use crate::error::CallError;
use crate::print;
use crate::time::Time;

/// The types that templates can tell apart, by their names in the reference's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the Go type of its name")]
pub enum Type {
    Any,
    Bool,
    Int,
    Float,
    String,
    Duration,
    Time,
    Strings,
    Anys,
    StringMap,
    AnyMap,
    Html,
    Url,
    /// Any other, by its name.
    Named(&'static str),
}

impl Type {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Type::Any => "interface {}",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Float => "float64",
            Type::String => "string",
            Type::Duration => "time.Duration",
            Type::Time => "time.Time",
            Type::Strings => "[]string",
            Type::Anys => "[]interface {}",
            Type::StringMap => "map[string]string",
            Type::AnyMap => "map[string]interface {}",
            Type::Html => "template.HTML",
            Type::Url => "template.URL",
            Type::Named(name) => name,
        }
    }

    /// Whether a parameter of this type takes `nil`.
    pub(crate) fn can_be_nil(self) -> bool {
        matches!(
            self,
            Type::Any | Type::Strings | Type::Anys | Type::StringMap | Type::AnyMap
        )
    }

    /// What a map with elements of the map type `self` gives for a key that it has not.
    fn missing_element(self) -> Value {
        match self {
            Type::StringMap => Value::from(""),
            _ => Value::Nil,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A value. Cloning counts references.
#[derive(Clone)]
pub enum Value {
    /// Nothing: printed `<no value>`.
    Nil,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    String(Arc<str>),
    /// Text that the HTML dialect does not escape: from `safeHtml`.
    Html(Arc<str>),
    /// A URL that the HTML dialect does not filter: from `safeUrl`.
    Url(Arc<str>),
    /// A duration in nanoseconds.
    Duration(i64),
    /// A moment.
    Time(Arc<Time>),
    /// Values in order.
    List(Arc<List>),
    /// Values by text.
    Map(Arc<Map>),
    /// A room's own data.
    Object(Arc<dyn Object>),
}

/// Values in order, and their Go type.
pub struct List {
    /// Type of the whole list.
    pub list_type: Type,
    /// The values.
    pub items: Vec<Value>,
}

/// Values by text, and their Go type.
pub struct Map {
    map_type: Type,
    /// Sorted by key, no key twice.
    entries: Vec<(Arc<str>, Value)>,
}

impl Map {
    /// A map of `entries`; of several entries with one key the last counts.
    pub fn new(map_type: Type, mut entries: Vec<(Arc<str>, Value)>) -> Self {
        // The sort is stable, so reversing first puts the last of equal keys where dedup keeps it.
        entries.reverse();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|a, b| a.0 == b.0);
        Map { map_type, entries }
    }

    /// A map of texts.
    pub fn of_strings<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let entries = pairs
            .into_iter()
            .map(|(k, v)| (Arc::from(k), Value::from(v)))
            .collect();
        Map::new(Type::StringMap, entries)
    }

    /// The value of `key`, or what the map's type has in place of nothing.
    pub fn get(&self, key: &str) -> Value {
        match self.entries.binary_search_by(|(k, _)| (**k).cmp(key)) {
            Ok(at) => self.entries[at].1.clone(),
            Err(_) => self.map_type.missing_element(),
        }
    }

    /// Entries in order of their keys.
    pub fn entries(&self) -> &[(Arc<str>, Value)] {
        &self.entries
    }
}

/// A room's own data in a template: what Go calls a struct, or a named map or list, with methods.
///
/// A struct names its fields in [`Object::fields`]; a named map or list gives itself in [`Object::underlying`].
pub trait Object: Send + Sync {
    /// Name of the type, for messages.
    fn type_name(&self) -> &'static str;

    /// The fields of a struct in order: the name in templates, and the name in JSON.
    fn fields(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// The value of a field that [`Object::fields`] names.
    fn field(&self, _name: &str) -> Option<Value> {
        None
    }

    /// Calls a method; `None` when there is none of this name.
    fn method(&self, _name: &str, _args: &[Value]) -> Option<Result<Value, CallError>> {
        None
    }

    /// The map or list that this is, unless it is a struct.
    fn underlying(&self) -> Option<Value> {
        None
    }

    /// How it prints, when it does not print as its parts.
    fn text(&self) -> Option<String> {
        None
    }
}

impl Value {
    /// A list of texts.
    pub fn strings<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Self {
        let items = items.into_iter().map(|s| Value::from(s.as_ref())).collect();
        Value::list(Type::Strings, items)
    }

    /// A list of the list type `list_type`.
    pub fn list(list_type: Type, items: Vec<Value>) -> Self {
        Value::List(Arc::new(List { list_type, items }))
    }

    /// A map of any values.
    pub fn map(entries: Vec<(Arc<str>, Value)>) -> Self {
        Value::Map(Arc::new(Map::new(Type::AnyMap, entries)))
    }

    /// A map of texts, such as the labels of an alert.
    pub fn string_map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Value::Map(Arc::new(Map::of_strings(pairs)))
    }

    /// A moment in UTC, by milliseconds since the Unix epoch.
    pub fn time_ms(unix_ms: i64) -> Self {
        Value::Time(Arc::new(Time::from_unix_ns(i128::from(unix_ms) * 1_000_000)))
    }

    /// A room's own data.
    pub fn object(object: impl Object + 'static) -> Self {
        Value::Object(Arc::new(object))
    }

    /// Name of the type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "<nil>",
            Value::Bool(_) => Type::Bool.name(),
            Value::Int(_) => Type::Int.name(),
            Value::Float(_) => Type::Float.name(),
            Value::String(_) => Type::String.name(),
            Value::Html(_) => Type::Html.name(),
            Value::Url(_) => Type::Url.name(),
            Value::Duration(_) => Type::Duration.name(),
            Value::Time(_) => Type::Time.name(),
            Value::List(list) => list.list_type.name(),
            Value::Map(map) => map.map_type.name(),
            Value::Object(object) => object.type_name(),
        }
    }

    /// Whether `if` takes it for true: everything but zeros and what is empty.
    pub fn truth(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(b) => *b,
            Value::Int(i) | Value::Duration(i) => *i != 0,
            Value::Float(f) => *f != 0.0,
            Value::String(s) | Value::Html(s) | Value::Url(s) => !s.is_empty(),
            Value::Time(_) => true,
            Value::List(list) => !list.items.is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            Value::Object(object) => object.underlying().is_none_or(|value| value.truth()),
        }
    }

    /// The map or list inside a named one; anything else as it is.
    pub(crate) fn plain(&self) -> Value {
        match self {
            Value::Object(object) => object.underlying().unwrap_or_else(|| self.clone()),
            _ => self.clone(),
        }
    }

    /// The text, of all kinds of text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) | Value::Html(s) | Value::Url(s) => Some(s),
            _ => None,
        }
    }

    /// Bytes that holding the value takes, nearly, without what it shares.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Value::String(s) | Value::Html(s) | Value::Url(s) => s.len(),
            Value::List(list) => list.items.len() * size_of::<Value>(),
            Value::Map(map) => map.entries.len() * 2 * size_of::<Value>(),
            _ => 0,
        }
    }
}

/// As `%v` prints it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        print::value(&mut out, self);
        f.write_str(&out)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({self})", self.type_name())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(Arc::from(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(Arc::from(text))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Float(number)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

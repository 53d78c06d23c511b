//! Reading a mapping key by key, so that no key is left unread.

use std::fmt;

use model::nearest::nearest;

use crate::convert::FromYaml;
use crate::error::YamlError;
use crate::node::{NodeKind, Value};
use crate::shape::{Shape, note_key, note_section};

/// A mapping being read. Keys are taken by name; [`Section::finish`] refuses what was not taken.
///
/// A key whose value is null counts as absent where its type has no empty value (sections, lists that are read element
/// by element, durations) or where nobody gave a default. Where there is a default, null means the empty value instead:
/// `metrics_path: ~` is the empty path, and not `/metrics`.
///
/// Compat: that is what go-yaml makes of null (conformance `null-labels`).
pub struct Section<'d> {
    value: Value<'d>,
    /// What the section is called in messages.
    what: &'static str,
    entries: Vec<Entry<'d>>,
    /// Keys that were asked for: what an unknown key may have been meant to be.
    known: Vec<&'static str>,
}

struct Entry<'d> {
    key: Value<'d>,
    text: &'d str,
    value: Value<'d>,
    taken: bool,
}

impl<'d> Value<'d> {
    /// Opens a mapping, called `what` in messages; null is an empty one.
    ///
    /// # Errors
    /// When it is a list or a scalar.
    pub fn section(self, what: &'static str) -> Result<Section<'d>, YamlError> {
        let pairs = match &self.node.kind {
            NodeKind::Mapping(pairs) => pairs.as_slice(),
            _ if self.is_null() => &[],
            _ => return Err(self.unexpected(&format!("a mapping ({what})"))),
        };
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let key = Value {
                document: self.document,
                node: key,
            };
            let text = key.scalar().ok_or_else(|| key.unexpected("a key"))?.text.as_str();
            entries.push(Entry {
                key,
                text,
                value: Value {
                    document: self.document,
                    node: value,
                },
                taken: false,
            });
        }
        note_section(self);
        Ok(Section {
            value: self,
            what,
            entries,
            known: Vec::new(),
        })
    }
}

impl<'d> Section<'d> {
    /// The value of `key`, unless it is absent or null.
    pub fn value(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.raw_value(key).filter(|value| !value.is_null())
    }

    /// The value of `key`, null included: `Some` says that the key was written.
    pub fn raw_value(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.ask(key, Shape::Any)
    }

    /// The value of `key`, which is to be read as a `shape`.
    fn ask(&mut self, key: &'static str, shape: Shape) -> Option<Value<'d>> {
        let found = self.find(key);
        note_key(self.value, key, shape, found);
        found
    }

    fn find(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.known.push(key);
        if !self.value.document.is_json() {
            let entry = self.entries.iter_mut().find(|entry| entry.text == key)?;
            entry.taken = true;
            return Some(entry.value);
        }
        // Compat: Go's JSON finds keys in any case, and the last one counts.
        let mut found = None;
        for entry in &mut self.entries {
            if entry.text.eq_ignore_ascii_case(key) {
                entry.taken = true;
                found = Some(entry.value);
            }
        }
        found
    }

    /// The value of `key` without taking it: for checks that look twice.
    pub fn peek(&self, key: &str) -> Option<Value<'d>> {
        self.value.entry(key)
    }

    /// Reads `key`; `None` where it is absent or null.
    ///
    /// # Errors
    /// When its value is not a `T`.
    pub fn get<T: FromYaml>(&mut self, key: &'static str) -> Result<Option<T>, YamlError> {
        let value = self.ask(key, T::shape()).filter(|value| !value.is_null());
        value.map(T::from_yaml).transpose()
    }

    /// Reads `key`; where it is absent, takes `default`. Null is the empty value of types that have one.
    ///
    /// # Errors
    /// When its value is not a `T`.
    pub fn get_or<T: FromYaml>(&mut self, key: &'static str, default: T) -> Result<T, YamlError> {
        match self.ask(key, T::shape()) {
            None => Ok(default),
            Some(value) if value.is_null() => Ok(T::null().unwrap_or(default)),
            Some(value) => T::from_yaml(value),
        }
    }

    /// Reads the elements of the list at `key`, each by `read`; an absent list is empty.
    ///
    /// # Errors
    /// When it is no list, or `read` fails.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(Value<'d>) -> Result<T, YamlError>,
    ) -> Result<Vec<T>, YamlError> {
        let list = self.ask(key, Shape::List(Box::default()));
        let Some(list) = list.filter(|list| !list.is_null()) else {
            return Ok(Vec::new());
        };
        list.sequence()?.into_iter().map(&mut read).collect()
    }

    /// Whether `key` was written, null or not.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.text == key)
    }

    /// An error about the value of `key`, or about the section where the key is absent.
    pub fn error_at(&self, key: &str, message: impl fmt::Display) -> YamlError {
        let entry = self.entries.iter().find(|entry| entry.text == key);
        entry
            .map_or(self.value, |entry| {
                if entry.value.is_null() {
                    entry.key
                } else {
                    entry.value
                }
            })
            .error(message)
    }

    /// An error about one element of the list at `key`.
    pub fn error_at_item(&self, key: &str, index: usize, message: impl fmt::Display) -> YamlError {
        let items = self.peek(key).and_then(|list| list.sequence().ok());
        match items.as_ref().and_then(|items| items.get(index)) {
            Some(item) => item.error(message),
            None => self.error_at(key, message),
        }
    }

    /// An error about the section as a whole.
    pub fn error(&self, message: impl fmt::Display) -> YamlError {
        self.value.error(message)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When a key was not asked for: it is unknown here.
    pub fn finish(self) -> Result<(), YamlError> {
        let Some(entry) = self.entries.iter().find(|entry| !entry.taken) else {
            return Ok(());
        };
        let error = entry
            .key
            .error(format_args!("field {} not found in {}", entry.text, self.what));
        Err(match nearest(entry.text, self.known.iter().copied()) {
            Some(known) => error.with_help(format!("did you mean `{known}`?")),
            None => error,
        })
    }
}

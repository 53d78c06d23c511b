//! A list's answer, read as it arrives: an object is kept when it has been read and the text before it is forgotten, so
//! that a list of any length takes the memory of one object.

use super::stream::{OBJECT_BYTES_MAX, Unreadable};

/// Longest key of the list's own, in bytes; the longest that there is has ten.
const KEY_BYTES_MAX: usize = 256;

/// Something of a list that is whole.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// One of its objects.
    Item(Vec<u8>),
    /// What the list says of itself.
    Metadata(Vec<u8>),
    /// An object that is too long.
    TooLong,
}

/// Cuts what arrives into objects.
#[derive(Debug, Default)]
pub(super) struct ListReader {
    place: Place,
    /// The key or value being read.
    text: Vec<u8>,
    /// Opened and not closed within the value.
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    is_too_long: bool,
    key: Key,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Place {
    #[default]
    Start,
    /// Before a key, or the end.
    Key,
    InKey,
    Colon,
    /// Before a value of the list's own.
    Value,
    InValue,
    /// After a value: a comma, or the end.
    Comma,
    /// Before an item, or the end of the items.
    Item,
    InItem,
    ItemComma,
    End,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Key {
    Items,
    Metadata,
    #[default]
    Other,
}

impl ListReader {
    /// Takes what has arrived, and gives to `found` what is whole.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        found: &mut impl FnMut(Piece) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        let mut at = 0;
        while at < bytes.len() {
            if matches!(self.place, Place::InValue | Place::InItem) {
                at += self.value(&bytes[at..], found)?;
            } else {
                self.between(bytes[at])?;
                at += 1;
            }
        }
        Ok(())
    }

    /// Whether the list is whole.
    pub(super) fn is_complete(&self) -> bool {
        self.place == Place::End
    }

    /// A byte outside of values.
    fn between(&mut self, byte: u8) -> Result<(), Unreadable> {
        if byte.is_ascii_whitespace() && self.place != Place::InKey {
            return Ok(());
        }
        self.place = match (self.place, byte) {
            (Place::Start, b'{') => Place::Key,
            (Place::Key | Place::Comma, b'}') => Place::End,
            (Place::Comma, b',') => Place::Key,
            (Place::Key, b'"') => {
                self.text.clear();
                self.is_escaped = false;
                Place::InKey
            }
            (Place::InKey, b'"') if !self.is_escaped => {
                self.key = match &*self.text {
                    b"items" => Key::Items,
                    b"metadata" => Key::Metadata,
                    _ => Key::Other,
                };
                Place::Colon
            }
            (Place::InKey, _) => {
                self.is_escaped = byte == b'\\' && !self.is_escaped;
                self.text.push(byte);
                if self.text.len() > KEY_BYTES_MAX {
                    return Err(Unreadable::List("a key is too long"));
                }
                Place::InKey
            }
            (Place::Colon, b':') => Place::Value,
            (Place::Value, b'[') if self.key == Key::Items => Place::Item,
            (Place::Item | Place::ItemComma, b']') => Place::Comma,
            (Place::ItemComma, b',') => Place::Item,
            (Place::Value | Place::Item, _) => {
                let place = if self.place == Place::Value {
                    Place::InValue
                } else {
                    Place::InItem
                };
                self.text.clear();
                (self.depth, self.in_string, self.is_escaped) = (0, false, false);
                self.place = place;
                return self.first_of_value(byte);
            }
            _ => return Err(Unreadable::List("it is no JSON object")),
        };
        Ok(())
    }

    fn first_of_value(&mut self, byte: u8) -> Result<(), Unreadable> {
        match byte {
            b'{' | b'[' => self.depth = 1,
            b'"' => self.in_string = true,
            b'}' | b']' | b',' | b':' => return Err(Unreadable::List("a value is missing")),
            _ => {}
        }
        self.text.push(byte);
        Ok(())
    }

    /// Bytes of a value; returns how many were its.
    fn value(
        &mut self,
        bytes: &[u8],
        found: &mut impl FnMut(Piece) -> Result<(), Unreadable>,
    ) -> Result<usize, Unreadable> {
        let is_scalar = self.depth == 0 && self.text.first() != Some(&b'"');
        for (at, byte) in bytes.iter().enumerate() {
            let is_over = if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                !self.in_string && self.depth == 0
            } else if is_scalar {
                if matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace() {
                    self.keep(&bytes[..at]);
                    self.end_value(found)?;
                    return Ok(at);
                }
                false
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth -= 1,
                    _ => {}
                }
                self.depth == 0
            };
            if is_over {
                self.keep(&bytes[..=at]);
                self.end_value(found)?;
                return Ok(at + 1);
            }
        }
        self.keep(bytes);
        Ok(bytes.len())
    }

    /// What nobody asks for is not kept, but for its first byte, by which its kind is known; nor is what is too long.
    fn keep(&mut self, bytes: &[u8]) {
        if self.place == Place::InItem || self.key == Key::Metadata {
            self.is_too_long |= self.text.len() + bytes.len() > OBJECT_BYTES_MAX;
            if self.is_too_long {
                self.text.truncate(1);
            } else {
                self.text.extend_from_slice(bytes);
            }
        }
    }

    fn end_value(
        &mut self,
        found: &mut impl FnMut(Piece) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        let text = std::mem::take(&mut self.text);
        let is_too_long = std::mem::take(&mut self.is_too_long);
        let is_item = self.place == Place::InItem;
        self.place = if is_item { Place::ItemComma } else { Place::Comma };
        match self.key {
            _ if is_item && is_too_long => found(Piece::TooLong),
            _ if is_item => found(Piece::Item(text)),
            Key::Metadata if is_too_long => Err(Unreadable::TooLong),
            Key::Metadata => found(Piece::Metadata(text)),
            Key::Items | Key::Other => Ok(()),
        }
    }
}

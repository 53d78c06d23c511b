//! The little of protocol buffers that the reference's files are made of.
//!
//! A message is a list of fields, each a number and a value; a file is a list of messages, each behind its length.

use jiff::Timestamp;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// They end within a field.
    #[error("the message ends too soon")]
    Short,
    /// A number has more than 64 bits.
    #[error("a number is too long")]
    Number,
    /// A field of a type that does not exist.
    #[error("field {0} is of an unknown type")]
    Type(u64),
    /// A text that is not UTF-8.
    #[error("field {0} is not UTF-8")]
    Text(u64),
    /// A time beyond what can be told.
    #[error("a time is out of range")]
    Time,
    /// Something without which the message means nothing is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A number that stands for nothing.
    #[error("{0} {1} is unknown")]
    Unknown(&'static str, u64),
    /// A pattern that is none.
    #[error("a pattern is malformed")]
    Pattern,
}

/// A field's value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'b> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'b [u8]),
}

/// The fields of a message, one after the other.
pub(crate) struct Fields<'b> {
    rest: &'b [u8],
}

/// A field: its number, its value, and all its bytes.
pub(crate) struct Field<'b> {
    pub(crate) number: u64,
    pub(crate) value: Value<'b>,
    pub(crate) whole: &'b [u8],
}

impl<'b> Fields<'b> {
    pub(crate) fn new(message: &'b [u8]) -> Self {
        Fields { rest: message }
    }

    /// The next field; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Field<'b>>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let begin = self.rest;
        let tag = take_varint(&mut self.rest)?;
        let value = match tag & 7 {
            0 => Value::Varint(take_varint(&mut self.rest)?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(take_delimited(&mut self.rest)?),
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError::Type(tag >> 3)),
        };
        Ok(Some(Field {
            number: tag >> 3,
            value,
            whole: &begin[..begin.len() - self.rest.len()],
        }))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(*array)
    }
}

impl<'b> Field<'b> {
    /// A message or bytes; nothing where the field is of another type.
    pub(crate) fn bytes(&self) -> &'b [u8] {
        match self.value {
            Value::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// A text.
    pub(crate) fn text(&self) -> Result<String, WireError> {
        let text = std::str::from_utf8(self.bytes()).map_err(|_| WireError::Text(self.number))?;
        Ok(text.to_owned())
    }

    /// A number.
    pub(crate) fn number(&self) -> u64 {
        match self.value {
            Value::Varint(number) | Value::Fixed64(number) => number,
            Value::Fixed32(number) => u64::from(number),
            Value::Bytes(_) => 0,
        }
    }

    /// Adds the numbers of a list, be they packed or one field each.
    pub(crate) fn numbers(&self, list: &mut Vec<u64>) -> Result<(), WireError> {
        let Value::Bytes(mut packed) = self.value else {
            list.push(self.number());
            return Ok(());
        };
        while !packed.is_empty() {
            list.push(take_varint(&mut packed)?);
        }
        Ok(())
    }

    /// A `google.protobuf.Timestamp`.
    pub(crate) fn time(&self) -> Result<Timestamp, WireError> {
        let (mut seconds, mut nanos) = (0, 0);
        let mut fields = Fields::new(self.bytes());
        while let Some(field) = fields.next()? {
            match field.number {
                1 => seconds = field.number() as i64,
                2 => nanos = field.number() as i32,
                _ => {}
            }
        }
        Timestamp::new(seconds, nanos).map_err(|_| WireError::Time)
    }
}

/// The number at the beginning of `rest`, which is then behind it.
fn take_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first().ok_or(WireError::Short)?;
        *rest = behind;
        if shift == 63 && *byte > 1 {
            return Err(WireError::Number);
        }
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Ok(number);
        }
    }
    Err(WireError::Number)
}

/// The message behind its length at the beginning of `rest`, which is then behind it.
pub(crate) fn take_delimited<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], WireError> {
    let mut behind = *rest;
    let len = usize::try_from(take_varint(&mut behind)?).map_err(|_| WireError::Short)?;
    let (message, behind) = behind.split_at_checked(len).ok_or(WireError::Short)?;
    *rest = behind;
    Ok(message)
}

/// Appends a message behind its length.
pub(crate) fn put_delimited(out: &mut Vec<u8>, message: &[u8]) {
    put_varint(out, message.len() as u64);
    out.extend_from_slice(message);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A message under construction. Values that are a type's default are left out, as the format has it.
#[derive(Default)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn tag(&mut self, number: u64, kind: u64) {
        put_varint(&mut self.bytes, number << 3 | kind);
    }

    /// A number.
    pub(crate) fn uint(&mut self, field: u64, number: u64) -> &mut Self {
        if number != 0 {
            self.always_uint(field, number);
        }
        self
    }

    /// A number that is said even where it is zero.
    pub(crate) fn always_uint(&mut self, field: u64, number: u64) -> &mut Self {
        self.tag(field, 0);
        put_varint(&mut self.bytes, number);
        self
    }

    /// A float that is said even where it is zero.
    pub(crate) fn always_double(&mut self, field: u64, number: f64) -> &mut Self {
        self.tag(field, 1);
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// A text.
    pub(crate) fn text(&mut self, field: u64, text: &str) -> &mut Self {
        if text.is_empty() {
            return self;
        }
        self.bytes(field, text.as_bytes())
    }

    /// Bytes, or a message, that are said even where they are empty.
    pub(crate) fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.tag(field, 2);
        put_delimited(&mut self.bytes, bytes);
        self
    }

    /// A message.
    pub(crate) fn message(&mut self, field: u64, fill: impl FnOnce(&mut Message)) -> &mut Self {
        let mut message = Message::default();
        fill(&mut message);
        self.bytes(field, &message.bytes)
    }

    /// A list of numbers, packed.
    pub(crate) fn uints(&mut self, field: u64, numbers: &[u64]) -> &mut Self {
        if numbers.is_empty() {
            return self;
        }
        let mut packed = Vec::with_capacity(numbers.len() * 10);
        for number in numbers {
            put_varint(&mut packed, *number);
        }
        self.bytes(field, &packed)
    }

    /// A `google.protobuf.Timestamp`.
    pub(crate) fn time(&mut self, field: u64, time: Timestamp) -> &mut Self {
        let (mut seconds, mut nanos) = (time.as_second(), time.subsec_nanosecond());
        // Jiff's fraction of a second has the sign of the whole.
        if nanos < 0 {
            seconds -= 1;
            nanos += 1_000_000_000;
        }
        self.message(field, |message| {
            message.uint(1, seconds as u64).uint(2, nanos as u64);
        })
    }

    /// Fields as they were read.
    pub(crate) fn raw(&mut self, fields: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(fields);
        self
    }
}

#[cfg(test)]
mod tests;

//! Protocol buffers, as far as files and messages of others are made of them.
//!
//! A message is a list of fields, each a number and a value; a file is a list of messages, each behind its length. Read
//! field by field over borrowed bytes and written field by field: no tree, no generated code.
//! <https://protobuf.dev/programming-guides/encoding/>

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
}

/// A field's value.
#[derive(Clone, Copy, Debug)]
pub enum Value<'b> {
    /// A number of up to 64 bits.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// A text, bytes, a message, or a packed list.
    Bytes(&'b [u8]),
}

/// The fields of a message, one after the other.
#[derive(Clone, Debug)]
pub struct Fields<'b> {
    rest: &'b [u8],
}

/// A field: its number, its value, and all its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Field<'b> {
    /// Which field of the message.
    pub number: u64,
    /// What it holds.
    pub value: Value<'b>,
    /// All its bytes, tag included.
    pub whole: &'b [u8],
}

impl<'b> Fields<'b> {
    /// Those of `message`.
    pub fn new(message: &'b [u8]) -> Self {
        Fields { rest: message }
    }

    /// The next field; `None` at the end.
    pub fn next_field(&mut self) -> Result<Option<Field<'b>>, WireError> {
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
    pub fn bytes(&self) -> &'b [u8] {
        match self.value {
            Value::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// A text.
    pub fn text(&self) -> Result<String, WireError> {
        let text = std::str::from_utf8(self.bytes()).map_err(|_| WireError::Text(self.number))?;
        Ok(text.to_owned())
    }

    /// A number.
    pub fn number(&self) -> u64 {
        match self.value {
            Value::Varint(number) | Value::Fixed64(number) => number,
            Value::Fixed32(number) => u64::from(number),
            Value::Bytes(_) => 0,
        }
    }

    /// Adds the numbers of a list, be they packed or one field each.
    pub fn numbers(&self, list: &mut Vec<u64>) -> Result<(), WireError> {
        let Value::Bytes(mut packed) = self.value else {
            list.push(self.number());
            return Ok(());
        };
        while !packed.is_empty() {
            list.push(take_varint(&mut packed)?);
        }
        Ok(())
    }
}

/// The number at the beginning of `rest`, which is then behind it.
pub fn take_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
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
pub fn take_delimited<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], WireError> {
    let mut behind = *rest;
    let len = usize::try_from(take_varint(&mut behind)?).map_err(|_| WireError::Short)?;
    let (message, behind) = behind.split_at_checked(len).ok_or(WireError::Short)?;
    *rest = behind;
    Ok(message)
}

/// A signed number as the types `sint32` and `sint64` write it.
pub fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// The opposite of [`zigzag`].
pub fn to_zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// Appends a message behind its length.
pub fn put_delimited(out: &mut Vec<u8>, message: &[u8]) {
    put_varint(out, message.len() as u64);
    out.extend_from_slice(message);
}

/// Appends a number.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A message under construction. Values that are a type's default are left out, as the format has it.
#[derive(Clone, Debug, Default)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn tag(&mut self, number: u64, kind: u64) {
        put_varint(&mut self.bytes, number << 3 | kind);
    }

    /// A number.
    pub fn uint(&mut self, field: u64, number: u64) -> &mut Self {
        if number != 0 {
            self.always_uint(field, number);
        }
        self
    }

    /// A number that is said even where it is zero.
    pub fn always_uint(&mut self, field: u64, number: u64) -> &mut Self {
        self.tag(field, 0);
        put_varint(&mut self.bytes, number);
        self
    }

    /// A float that is said even where it is zero.
    pub fn always_double(&mut self, field: u64, number: f64) -> &mut Self {
        self.tag(field, 1);
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// A text.
    pub fn text(&mut self, field: u64, text: &str) -> &mut Self {
        if text.is_empty() {
            return self;
        }
        self.bytes(field, text.as_bytes())
    }

    /// Bytes, or a message, that are said even where they are empty.
    pub fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.tag(field, 2);
        put_delimited(&mut self.bytes, bytes);
        self
    }

    /// A message.
    pub fn message(&mut self, field: u64, fill: impl FnOnce(&mut Message)) -> &mut Self {
        let mut message = Message::default();
        fill(&mut message);
        self.bytes(field, &message.bytes)
    }

    /// A list of numbers, packed.
    pub fn uints(&mut self, field: u64, numbers: &[u64]) -> &mut Self {
        if numbers.is_empty() {
            return self;
        }
        let mut packed = Vec::with_capacity(numbers.len() * 10);
        for number in numbers {
            put_varint(&mut packed, *number);
        }
        self.bytes(field, &packed)
    }

    /// Fields as they were read.
    pub fn raw(&mut self, fields: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(fields);
        self
    }
}

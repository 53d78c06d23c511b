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
    /// A field without a number.
    #[error("a field has the number 0")]
    Zero,
    /// Groups, which nobody writes any more, lie in each other deeper than is followed.
    #[error("groups are nested deeper than {GROUPS_DEPTH_MAX}")]
    Groups,
    /// A field that must be of another type.
    #[error("field {0} is of the wrong type")]
    Wrong(u64),
}

/// Groups that may lie in each other.
pub const GROUPS_DEPTH_MAX: usize = 100;

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

    /// The next field; `None` at the end. Groups are passed over.
    ///
    /// # Errors
    /// When the bytes are no message.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'b>>, WireError> {
        loop {
            if self.rest.is_empty() {
                return Ok(None);
            }
            let begin = self.rest;
            let tag = take_varint(&mut self.rest)?;
            let number = tag >> 3;
            if number == 0 {
                return Err(WireError::Zero);
            }
            let value = match tag & 7 {
                0 => Value::Varint(take_varint(&mut self.rest)?),
                1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
                2 => Value::Bytes(take_delimited(&mut self.rest)?),
                3 => {
                    self.pass_group(number)?;
                    continue;
                }
                5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
                _ => return Err(WireError::Type(number)),
            };
            return Ok(Some(Field {
                number,
                value,
                whole: &begin[..begin.len() - self.rest.len()],
            }));
        }
    }

    /// Passes over what is left of the group of that number, with those inside it.
    #[cold]
    fn pass_group(&mut self, number: u64) -> Result<(), WireError> {
        let mut open = vec![number];
        while let Some(inmost) = open.last() {
            let tag = take_varint(&mut self.rest)?;
            match (tag >> 3, tag & 7) {
                (0, _) => return Err(WireError::Zero),
                (_, 0) => drop(take_varint(&mut self.rest)?),
                (_, 1) => drop(self.array::<8>()?),
                (_, 2) => drop(take_delimited(&mut self.rest)?),
                (_, 3) if open.len() == GROUPS_DEPTH_MAX => return Err(WireError::Groups),
                (number, 3) => open.push(number),
                (number, 4) if number == *inmost => drop(open.pop()),
                (_, 5) => drop(self.array::<4>()?),
                (number, _) => return Err(WireError::Type(number)),
            }
        }
        Ok(())
    }

    #[inline]
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

    /// A message, bytes or a text, and nothing else.
    ///
    /// # Errors
    /// When it is of another type.
    #[inline]
    pub fn expect_bytes(&self) -> Result<&'b [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::Wrong(self.number)),
        }
    }

    /// A number of variable length, and nothing else.
    ///
    /// # Errors
    /// When it is of another type.
    #[inline]
    pub fn expect_varint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(number) => Ok(number),
            _ => Err(WireError::Wrong(self.number)),
        }
    }

    /// A float of eight bytes, and nothing else.
    ///
    /// # Errors
    /// When it is of another type.
    #[inline]
    pub fn expect_double(&self) -> Result<f64, WireError> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(WireError::Wrong(self.number)),
        }
    }

    /// Gives the numbers of variable length of a list to `each`, be they packed or one field each.
    ///
    /// # Errors
    /// When it is of another type, cut off, or `each` says so.
    #[inline]
    pub fn each_varint<E: From<WireError>>(
        &self,
        mut each: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.value {
            Value::Varint(number) => each(number),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    each(take_varint(&mut packed)?)?;
                }
                Ok(())
            }
            _ => Err(WireError::Wrong(self.number).into()),
        }
    }

    /// Gives the floats of eight bytes of a list to `each`, be they packed or one field each.
    ///
    /// # Errors
    /// When it is of another type, cut off, or `each` says so.
    pub fn each_double<E: From<WireError>>(
        &self,
        mut each: impl FnMut(f64) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.value {
            Value::Fixed64(bits) => each(f64::from_bits(bits)),
            Value::Bytes(packed) => {
                let (floats, []) = packed.as_chunks::<8>() else {
                    return Err(WireError::Short.into());
                };
                floats.iter().try_for_each(|bits| each(f64::from_le_bytes(*bits)))
            }
            _ => Err(WireError::Wrong(self.number).into()),
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
#[inline]
pub fn take_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    match *rest {
        // Nearly all tags and lengths.
        [byte, behind @ ..] if *byte < 0x80 => {
            *rest = behind;
            Ok(u64::from(*byte))
        }
        _ => take_long_varint(rest),
    }
}

fn take_long_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
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
#[inline]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_passed_over_as_deep_as_is_bounded() {
        let group =
            |depth: usize| [vec![0x0b; depth], vec![0x10, 7], vec![0x0c; depth], vec![0x18, 5]].concat();
        for depth in [0, 1, GROUPS_DEPTH_MAX] {
            let bytes = group(depth);
            let mut fields = Fields::new(&bytes);
            let mut last = None;
            while let Some(field) = fields.next_field().expect("a message") {
                last = Some((field.number, field.number()));
            }
            assert_eq!(last, Some((3, 5)), "{depth}");
        }
        let next = |bytes: &[u8]| Fields::new(bytes).next_field().map(|_| ());
        assert_eq!(next(&group(GROUPS_DEPTH_MAX + 1)), Err(WireError::Groups));
        assert_eq!(next(&[0x0b, 0x14]), Err(WireError::Type(2)));
        assert_eq!(next(&[0x0b]), Err(WireError::Short));
        assert_eq!(next(&[0x0c]), Err(WireError::Type(1)));
        assert_eq!(next(&[0x00, 0x01]), Err(WireError::Zero));
    }

    #[test]
    fn fields_are_of_the_type_that_is_asked_for() {
        let bytes = Message::default()
            .uint(1, 300)
            .always_double(2, 0.5)
            .uints(3, &[1, 300])
            .bytes(4, &2.5_f64.to_le_bytes())
            .clone()
            .into_bytes();
        let mut fields = Fields::new(&bytes);
        let mut next = || fields.next_field().expect("a message").expect("a field");
        let (one, two, three, four) = (next(), next(), next(), next());
        assert_eq!(one.expect_varint(), Ok(300));
        assert_eq!(
            (one.expect_double(), one.expect_bytes()),
            (Err(WireError::Wrong(1)), Err(WireError::Wrong(1)))
        );
        assert_eq!(
            (two.expect_double(), two.expect_varint()),
            (Ok(0.5), Err(WireError::Wrong(2)))
        );
        let mut seen = Vec::new();
        for field in [one, three] {
            field
                .each_varint(|number| -> Result<(), WireError> {
                    seen.push(number);
                    Ok(())
                })
                .expect("numbers");
        }
        assert_eq!(seen, [300, 1, 300]);
        let mut seen = Vec::new();
        for field in [two, four] {
            field
                .each_double(|number| -> Result<(), WireError> {
                    seen.push(number);
                    Ok(())
                })
                .expect("floats");
        }
        assert_eq!(seen, [0.5, 2.5]);
        let cut = three.each_double(|_| -> Result<(), WireError> { Ok(()) });
        assert_eq!(cut, Err(WireError::Short));
    }
}

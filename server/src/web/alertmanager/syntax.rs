//! Why a text is no JSON, in Go's words.

/// What is wrong with the first value of a text that does not begin with one. Keeps a byte a level of nesting.
pub(super) fn fault(text: &str) -> String {
    let mut scanner = Scanner {
        rest: text.as_bytes(),
        open: Vec::new(),
    };
    match scanner.value() {
        Err(Fault::End) => "unexpected EOF".to_owned(),
        Err(Fault::At(byte, context)) => format!("invalid character {} {context}", quoted(byte)),
        // Go's reader takes it, ours does not: nesting beyond its bound, a number beyond what can be told.
        Ok(()) => "exceeded max depth, or a number is out of range".to_owned(),
    }
}

/// Bytes of `\ud800`.
const ESCAPE_BYTES: usize = 6;

/// The text with U+FFFD in the place of every escape that is half a surrogate pair, as Go reads them; `None` where there is
/// none.
pub(super) fn without_half_pairs(text: &str) -> Option<String> {
    // A backslash outside of a text in quotes is no JSON, and the reader says so.
    let bytes = text.as_bytes();
    let unit = |at: usize| -> Option<u16> {
        let escape = bytes.get(at..at + ESCAPE_BYTES)?.strip_prefix(b"\\u")?;
        let digits = escape.iter().all(u8::is_ascii_hexdigit);
        let digits = digits.then(|| std::str::from_utf8(escape).ok()).flatten()?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut mended, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(next) = bytes[at..].iter().position(|byte| *byte == b'\\') {
        at += next;
        at += match (unit(at), unit(at + ESCAPE_BYTES)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 2 * ESCAPE_BYTES,
            (Some(0xd800..=0xdfff), _) => {
                mended.push_str(&text[copied..at]);
                mended.push_str(r"\ufffd");
                copied = at + ESCAPE_BYTES;
                ESCAPE_BYTES
            }
            // Whatever is escaped is no backslash that begins the next escape.
            _ => 2,
        };
        if at >= bytes.len() {
            break;
        }
    }
    (copied > 0).then(|| mended + &text[copied..])
}

/// Where scanning ends.
enum Fault {
    /// The text ends early.
    End,
    /// A byte that may not stand here.
    At(u8, String),
}

struct Scanner<'t> {
    rest: &'t [u8],
    /// `{` and `[` that are open.
    open: Vec<u8>,
}

impl Scanner<'_> {
    fn next(&mut self) -> Result<u8, Fault> {
        let (first, rest) = self.rest.split_first().ok_or(Fault::End)?;
        self.rest = rest;
        Ok(*first)
    }

    /// The next byte that is no blank.
    fn next_token(&mut self) -> Result<u8, Fault> {
        loop {
            let byte = self.next()?;
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(byte);
            }
        }
    }

    /// One whole value.
    fn value(&mut self) -> Result<(), Fault> {
        loop {
            match self.next_token()? {
                b'{' => {
                    self.open.push(b'{');
                    if !self.key(true)? {
                        continue;
                    }
                }
                b'[' => {
                    self.open.push(b'[');
                    match self.peek_token() {
                        Some(b']') => {
                            self.next_token()?;
                            self.open.pop();
                        }
                        _ => continue,
                    }
                }
                b'"' => self.string()?,
                byte @ (b'-' | b'0'..=b'9') => self.number(byte)?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                byte => return at(byte, "looking for beginning of value"),
            }
            if self.after_value()? {
                return Ok(());
            }
        }
    }

    fn peek_token(&self) -> Option<u8> {
        let blank = |byte: &&u8| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.rest.iter().find(blank).copied()
    }

    /// A key and its colon, or, where the object may be empty, its end: whether that was it.
    fn key(&mut self, may_end: bool) -> Result<bool, Fault> {
        match self.next_token()? {
            b'}' if may_end => {
                self.open.pop();
                return Ok(true);
            }
            b'"' => self.string()?,
            byte => return at(byte, "looking for beginning of object key string"),
        }
        match self.next_token()? {
            b':' => Ok(false),
            byte => at(byte, "after object key"),
        }
    }

    /// What stands behind a value: whether nothing has to follow any more.
    fn after_value(&mut self) -> Result<bool, Fault> {
        while let Some(open) = self.open.last().copied() {
            match (open, self.next_token()?) {
                (b'{', b',') => return self.key(false),
                (b'{', b'}') | (b'[', b']') => drop(self.open.pop()),
                (b'[', b',') => return Ok(false),
                (b'{', byte) => return at(byte, "after object key:value pair"),
                (_, byte) => return at(byte, "after array element"),
            }
        }
        Ok(true)
    }

    /// The rest of a text in quotes.
    fn string(&mut self) -> Result<(), Fault> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let byte = self.next()?;
                            if !byte.is_ascii_hexdigit() {
                                return at(byte, "in \\u hexadecimal character escape");
                            }
                        }
                    }
                    byte => return at(byte, "in string escape code"),
                },
                byte if byte < 0x20 => return at(byte, "in string literal"),
                _ => {}
            }
        }
    }

    /// The rest of a number, of which `first` was read.
    fn number(&mut self, first: u8) -> Result<(), Fault> {
        let leading = match first {
            b'-' => self.digit("in numeric literal")?,
            first => first,
        };
        if leading != b'0' {
            self.digits();
        }
        if self.rest.first() == Some(&b'.') {
            self.next()?;
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.rest.first(), Some(b'e' | b'E')) {
            self.next()?;
            if matches!(self.rest.first(), Some(b'+' | b'-')) {
                self.next()?;
            }
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn digit(&mut self, context: &str) -> Result<u8, Fault> {
        match self.next()? {
            byte if byte.is_ascii_digit() => Ok(byte),
            byte => at(byte, context),
        }
    }

    fn digits(&mut self) {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.rest = &self.rest[count..];
    }

    /// The rest of a word, whose first letter was read.
    fn literal(&mut self, word: &str) -> Result<(), Fault> {
        for expected in word.chars().skip(1) {
            let byte = self.next()?;
            if char::from(byte) != expected {
                return at(byte, format!("in literal {word} (expecting '{expected}')"));
            }
        }
        Ok(())
    }
}

fn at<T>(byte: u8, context: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::At(byte, context.into()))
}

fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => r#"'"'"#.to_owned(),
        byte => {
            let text = char::from(byte).to_string();
            let quoted = model::go::Quoted(&text).to_string();
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_surrogate_pair_becomes_the_character_for_what_cannot_be_read() {
        for (text, mended) in [
            (r"\ud800", Some(r"\ufffd")),
            (r"a\uDFFFb", Some(r"a\ufffdb")),
            (r"\ud83d\ude00", None),
            (r"\ud83d\ud83d\ude00", Some(r"\ufffd\ud83d\ude00")),
            (r"\ude00\ud83d", Some(r"\ufffd\ufffd")),
            (r"\ud800\n", Some(r"\ufffd\n")),
            // The backslash itself is escaped.
            (r"\\ud800", None),
            (r"\\\ud800", Some(r"\\\ufffd")),
            (r"\ud80", None),
            (r"\ud8é0", None),
            ("\\", None),
            ("\\é\\ud800", Some("\\é\\ufffd")),
            ("", None),
        ] {
            assert_eq!(without_half_pairs(text).as_deref(), mended, "{text}");
        }
    }

    #[test]
    fn faults_are_told_in_gos_words() {
        for (text, message) in [
            ("x", "invalid character 'x' looking for beginning of value"),
            ("", "unexpected EOF"),
            ("[{\"labels\": {\"a\": \"b\"}", "unexpected EOF"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            (
                "{a",
                "invalid character 'a' looking for beginning of object key string",
            ),
            ("{\"a\" 1", "invalid character '1' after object key"),
            (
                "{\"a\": 1 \"",
                "invalid character '\"' after object key:value pair",
            ),
            (
                "{\"a\": 1,}",
                "invalid character '}' looking for beginning of object key string",
            ),
            ("[\"\n", "invalid character '\\n' in string literal"),
            ("[\"\\x", "invalid character 'x' in string escape code"),
            (
                "[\"\\u00g",
                "invalid character 'g' in \\u hexadecimal character escape",
            ),
            ("[trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("[-x", "invalid character 'x' in numeric literal"),
            (
                "[1.x",
                "invalid character 'x' after decimal point in numeric literal",
            ),
            ("[1e'", "invalid character '\\'' in exponent of numeric literal"),
            ("[01]", "invalid character '1' after array element"),
        ] {
            assert_eq!(fault(text), message, "{text}");
        }
        let deep = "[".repeat(1 << 20);
        assert_eq!(fault(&deep), "unexpected EOF");
    }
}

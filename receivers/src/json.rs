//! JSON as the reference's encoder writes it: characters that mean something in HTML escaped, a newline at the end.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

/// A request's body, or what a tool prints. Values that JSON cannot hold have been refused before.
///
/// # Panics
/// When a map's keys are no texts.
pub fn body<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Go(CompactFormatter));
    value
        .serialize(&mut serializer)
        .expect("our own messages have texts for keys, and a vector takes all bytes");
    out.push(b'\n');
    out
}

struct Go(CompactFormatter);

impl Formatter for Go {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let magnitude = value.abs();
        if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
            let text = model::float::format_exponent(value).replace("e-0", "e-");
            return writer.write_all(text.as_bytes());
        }
        writer.write_all(model::float::format_float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut written = 0;
        let special = |c: &char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        for (at, c) in fragment.char_indices().filter(|(_, c)| special(c)) {
            writer.write_all(&fragment.as_bytes()[written..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            written = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[written..])
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_escaped_and_end_with_a_newline() {
        let text = |value: serde_json::Value| String::from_utf8(body(&value)).expect("text");
        assert_eq!(
            text("<a href=\"x\">&\u{2028}\u{1}\n\u{8}é".into()),
            "\"\\u003ca href=\\\"x\\\"\\u003e\\u0026\\u2028\\u0001\\n\\bé\"\n"
        );
        for (number, shown) in [
            (1.0, "1\n"),
            (1.5, "1.5\n"),
            (1e21, "1e+21\n"),
            (1e-7, "1e-7\n"),
            (0.0, "0\n"),
        ] {
            assert_eq!(text(number.into()), shown);
        }
    }
}

//! From a file's bytes to text.

use std::io;

/// Why bytes are not text.
#[derive(Debug, thiserror::Error)]
enum EncodingError {
    /// They are not UTF-8.
    #[error("line {line}, column {column}: invalid UTF-8 (byte 0x{byte:02x} at offset {offset})")]
    Utf8 {
        line: usize,
        column: usize,
        offset: usize,
        byte: u8,
    },
    /// They start as UTF-16 does and do not go on as such.
    #[error("line {line}, column {column}: invalid UTF-16")]
    Utf16 { line: usize, column: usize },
}

/// The text of a configuration or rule file. A byte order mark says that it is UTF-16; else it is UTF-8.
///
/// Compat: go-yaml reads UTF-16 of both orders (conformance `utf16`).
///
/// # Errors
/// With the place, when the bytes are not text; of the kind `InvalidData`, so that readers of files have one error.
pub fn text_of(bytes: Vec<u8>) -> io::Result<String> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes).map_err(invalid),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes).map_err(invalid),
        _ => String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            let (line, column) = place(&String::from_utf8_lossy(&bytes[..offset]));
            invalid(EncodingError::Utf8 {
                line,
                column,
                offset,
                byte: bytes[offset],
            })
        }),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, EncodingError> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(pairs.len());
    let units = pairs.iter().map(|pair| unit(*pair));
    // Half a unit at the end is as wrong as half a pair.
    let half = (!rest.is_empty()).then_some(0xd800);
    for unit in char::decode_utf16(units.chain(half)) {
        let (line, column) = match unit {
            Ok(char) => {
                text.push(char);
                continue;
            }
            Err(_) => place(&text),
        };
        return Err(EncodingError::Utf16 { line, column });
    }
    Ok(text)
}

/// Line and column, from 1, of what follows `text`.
fn place(text: &str) -> (usize, usize) {
    let last = text.rsplit('\n').next().unwrap_or("");
    (text.matches('\n').count() + 1, last.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16_bytes(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        "\u{feff}"
            .encode_utf16()
            .chain(text.encode_utf16())
            .flat_map(unit)
            .collect()
    }

    #[test]
    fn marks_say_what_the_bytes_are() {
        let text = "a: 'é 😀'\n";
        assert_eq!(
            text_of(utf16_bytes(text, u16::to_le_bytes)).expect("little"),
            text
        );
        assert_eq!(text_of(utf16_bytes(text, u16::to_be_bytes)).expect("big"), text);
        assert_eq!(text_of(text.into()).expect("UTF-8"), text);
        assert_eq!(text_of(Vec::new()).expect("empty"), "");
    }

    #[test]
    fn what_is_no_text_is_named_with_its_place() {
        let error = |bytes: Vec<u8>| text_of(bytes).expect_err("no text").to_string();
        assert_eq!(
            error(b"a: 1\n\xc3\xa9: \xe9\n".to_vec()),
            "line 2, column 4: invalid UTF-8 (byte 0xe9 at offset 9)"
        );
        let mut bytes = utf16_bytes("a\nb", u16::to_le_bytes);
        bytes.push(1);
        assert_eq!(error(bytes), "line 2, column 2: invalid UTF-16");
        assert_eq!(
            error(vec![0xff, 0xfe, 0x00, 0xd8, 0x20, 0x00]),
            "line 1, column 1: invalid UTF-16"
        );
    }
}

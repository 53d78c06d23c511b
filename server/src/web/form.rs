//! Reading forms as Go reads them: in a URL, as a body, and in parts (`multipart/form-data`, what `curl -F` sends).

/// Largest form, in bytes: the reference's bound.
pub(crate) const FORM_BYTES_MAX: usize = 10 << 20;
/// Most parameters of a request, in its URL and its body together. They are counted before any is read.
pub(crate) const PARAMETERS_MAX: usize = 20_000;
/// Most parts of a form in parts, the reference's bound.
const PARTS_MAX: usize = 1000;
/// Longest head of a part, in bytes.
const PART_HEAD_BYTES_MAX: usize = 16 << 10;

/// Why a form could not be read, or not as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FormError {
    /// Names and values are separated by `&` alone.
    #[error("invalid semicolon separator in query")]
    Semicolon,
    /// A `%` without two hexadecimal digits behind it.
    #[error("invalid URL escape {0:?}")]
    Escape(String),
    /// Bytes that are not text.
    #[error("parameter {0:?} is not UTF-8")]
    NotUtf8(String),
    /// The body is longer than a form may be.
    #[error("request body too large: a form may have {FORM_BYTES_MAX} bytes")]
    TooLarge,
    /// There are more parameters than a request may have.
    #[error("too many parameters: {count}, at most {PARAMETERS_MAX} are read")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// The body ended early.
    #[error("request body cannot be read: {0}")]
    Read(String),
    /// A form in parts is not one.
    #[error("multipart: {0}")]
    Parts(&'static str),
}

/// Name and value.
pub(crate) type Pair = (String, String);

/// How many parameters a text has, without reading them.
pub(crate) fn count(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'&').count() + 1
}

/// Reads `name=value&…` into `pairs`. What is not escaped as it should be is left out, and the first such error given
/// back: the reference goes on with the rest.
///
/// # Errors
/// What is not text: nothing is like it, and leaving it out would ask for something else.
pub(crate) fn read_pairs(text: &[u8], pairs: &mut Vec<Pair>) -> Result<Option<FormError>, FormError> {
    let mut first = None;
    for piece in text.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()) {
        match pair(piece) {
            Ok(pair) => pairs.push(pair),
            Err(error @ FormError::NotUtf8(_)) => return Err(error),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Ok(first)
}

fn pair(piece: &[u8]) -> Result<Pair, FormError> {
    if piece.contains(&b';') {
        return Err(FormError::Semicolon);
    }
    let (name, value) = match piece.iter().position(|byte| *byte == b'=') {
        Some(at) => (&piece[..at], &piece[at + 1..]),
        None => (piece, &[][..]),
    };
    let (name, value) = (unescape(name)?, unescape(value)?);
    let not_text = || FormError::NotUtf8(String::from_utf8_lossy(&name).into_owned());
    match (std::str::from_utf8(&name), String::from_utf8(value)) {
        (Ok(name), Ok(value)) => Ok((name.to_owned(), value)),
        _ => Err(not_text()),
    }
}

fn unescape(text: &[u8]) -> Result<Vec<u8>, FormError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = tail.get(..2).and_then(|two| Some((hex(two[0])?, hex(two[1])?)));
                let Some((high, low)) = digits else {
                    let shown = &tail[..tail.len().min(2)];
                    return Err(FormError::Escape(format!("%{}", String::from_utf8_lossy(shown))));
                };
                out.push(high << 4 | low);
                rest = &tail[2..];
            }
            byte => out.push(*byte),
        }
    }
    Ok(out)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

/// The boundary that a `Content-Type` of `multipart/form-data` names.
pub(crate) fn boundary(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').skip(1);
    let value = parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))
        .map(|(_, value)| value.trim().trim_matches('"'))?;
    (!value.is_empty() && value.len() <= 70).then_some(value)
}

/// Reads a form in parts; files among them are left out.
pub(crate) fn read_parts(body: &[u8], boundary: &str, pairs: &mut Vec<Pair>) -> Result<(), FormError> {
    let delimiter = format!("--{boundary}");
    let mut rest = after_delimiter(body, delimiter.as_bytes())?;
    for _ in 0..PARTS_MAX {
        if rest.starts_with(b"--") {
            return Ok(());
        }
        // Blanks may stand behind a boundary.
        let line = find(rest, b"\r\n").ok_or(FormError::Parts("NextPart: EOF"))?;
        let part = &rest[line + 2..];
        let head_end = match part.strip_prefix(b"\r\n") {
            Some(_) => 0,
            None => find(part, b"\r\n\r\n").ok_or(FormError::Parts("NextPart: EOF"))? + 2,
        };
        if head_end > PART_HEAD_BYTES_MAX {
            return Err(FormError::Parts("head of a part too large"));
        }
        let content = &part[head_end + 2..];
        let end = format!("\r\n{delimiter}");
        let length = find(content, end.as_bytes()).ok_or(FormError::Parts("NextPart: unexpected EOF"))?;
        if let Some(name) = field_name(&part[..head_end]) {
            pairs.push((name, String::from_utf8_lossy(&content[..length]).into_owned()));
        }
        rest = &content[length + end.len()..];
    }
    Err(FormError::Parts("too many parts"))
}

/// What follows the first boundary: at the very beginning, or of a line.
fn after_delimiter<'b>(body: &'b [u8], delimiter: &[u8]) -> Result<&'b [u8], FormError> {
    if let Some(rest) = body.strip_prefix(delimiter) {
        return Ok(rest);
    }
    let line = [b"\r\n", delimiter].concat();
    let at = find(body, &line).ok_or(FormError::Parts("NextPart: EOF"))?;
    Ok(&body[at + line.len()..])
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// The name of a field, from the head of its part; `None` for files and for parts without a name.
fn field_name(head: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(head);
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let mut name = None;
    for parameter in disposition.split(';').skip(1) {
        let (key, value) = parameter.split_once('=')?;
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => name = Some(value.trim_matches('"').replace("\\\"", "\"").replace("%22", "\"")),
            "filename" | "filename*" => return None,
            _ => {}
        }
    }
    name.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> (Vec<(String, String)>, Option<FormError>) {
        let mut pairs = Vec::new();
        let error = read_pairs(text.as_bytes(), &mut pairs).expect("text");
        (pairs, error)
    }

    #[test]
    fn what_can_be_read_of_a_form_counts_and_the_first_fault_is_told() {
        let owned = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()
        };
        for (text, want, error) in [
            ("", &[][..], None),
            ("a=1&&b", &[("a", "1"), ("b", "")], None),
            ("q=a+b%2Bc%20d&q=2", &[("q", "a b+c d"), ("q", "2")], None),
            ("a=%zz&b=2", &[("b", "2")], Some(FormError::Escape("%zz".into()))),
            ("a=%&b=2", &[("b", "2")], Some(FormError::Escape("%".into()))),
            ("a=1;b=2&c=3", &[("c", "3")], Some(FormError::Semicolon)),
            ("a=b=c", &[("a", "b=c")], None),
        ] {
            assert_eq!(pairs(text), (owned(want), error), "{text}");
        }
        let refused = read_pairs(b"a=1&b=%ff", &mut Vec::new());
        assert_eq!(refused, Err(FormError::NotUtf8("b".into())));
    }

    #[test]
    fn parts_are_fields_and_files_are_left_out() {
        let body = "preamble\r\n--x\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nup\r\n--x \r\n\
            content-disposition: form-data; name=file; filename=\"f\"\r\nContent-Type: text/plain\r\n\r\nno\r\n--x\r\n\
            Content-Disposition: form-data; name=\"two lines\"\r\n\r\na\r\nb\r\n--x--\r\n";
        let mut pairs = Vec::new();
        assert_eq!(read_parts(body.as_bytes(), "x", &mut pairs), Ok(()));
        let want = [("query", "up"), ("two lines", "a\r\nb")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(pairs, want);
        // Cut anywhere it is an error or a shorter form, never a panic.
        for end in 0..body.len() {
            let _ = read_parts(&body.as_bytes()[..end], "x", &mut Vec::new());
        }
        let many = "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n".repeat(PARTS_MAX + 1);
        let refused = read_parts(format!("{many}--x--").as_bytes(), "x", &mut Vec::new());
        assert_eq!(refused, Err(FormError::Parts("too many parts")));
        assert_eq!(
            boundary("multipart/form-data; charset=x; Boundary=\"a b\""),
            Some("a b")
        );
        assert_eq!(boundary("multipart/form-data"), None);
    }
}

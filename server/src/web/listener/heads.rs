//! Where requests of HTTP/1 begin, and what their first lines ask for.
//!
//! Clients send request targets that the grammar does not allow, a raw quote or `<` above all, and targets longer than
//! 64 KiB; Go's server takes them, the library that parses requests here does not. [`Heads`] reads along before that
//! library does. It knows which bytes of a connection are heads and which are bodies, holds a head back until it is
//! whole, and makes its target one that the library takes: forbidden bytes are percent-encoded, a query that is too
//! long is put aside ([`Targets`]) with a word in its place. Everything else passes as it came.
//!
//! Where a message is not beyond doubt (two lengths, an odd transfer encoding, a broken chunk), nothing is changed on
//! this connection any more: the library decides about it alone, and no byte of a body is taken for a head's.

use std::hash::{BuildHasher as _, RandomState};

use bytes::{Buf as _, Bytes, BytesMut};
use parking_lot::Mutex;

/// Longest head of a request, in bytes. Compat: Go's default, with the 4 KiB it adds (reports/url-over-64k).
pub(super) const HEAD_BYTES_MAX: usize = (1 << 20) + 4096;
/// Longest target that is handed on; the library's own bound is 65,534 bytes.
const TARGET_BYTES_MAX: usize = 60_000;
/// How connections of HTTP/2 begin.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// The query of a request that was too long for its URI, its forbidden bytes percent-encoded as a URI's would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LongQuery(pub(super) Bytes);

/// Queries that were put aside, under the words that stand in their place. The words cannot be guessed, or a client could
/// name another's query.
#[derive(Debug)]
pub(super) struct Targets {
    secret: u64,
    aside: Mutex<Vec<(u64, Bytes)>>,
}

impl Targets {
    pub(super) fn new() -> Self {
        let secret = RandomState::new().hash_one(std::process::id());
        Targets {
            secret,
            aside: Mutex::default(),
        }
    }

    fn put(&self, query: Bytes) -> String {
        let mut aside = self.aside.lock();
        let number = aside.last().map_or(0, |(number, _)| number + 1);
        aside.push((number, query));
        self.word(number)
    }

    fn word(&self, number: u64) -> String {
        format!("long-query-{:016x}-{number}", self.secret)
    }

    /// The query that `word` stands for.
    pub(super) fn take(&self, word: &str) -> Option<LongQuery> {
        let mut aside = self.aside.lock();
        let at = aside.iter().position(|(number, _)| self.word(*number) == word)?;
        Some(LongQuery(aside.remove(at).1))
    }
}

/// Reads along.
#[derive(Debug)]
pub(super) struct Heads {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the very beginning: which protocol is not known.
    Start,
    /// In a head, of which so many bytes hold no end.
    Head { searched: usize },
    /// In a body of which so many bytes are to come.
    Body { left: u64 },
    /// In the line that says how long a chunk is.
    ChunkSize { size: u64, digits: u32, ended: bool },
    /// In a chunk and the line end behind it.
    Chunk { left: u64 },
    /// In the lines behind the last chunk; the current one has so many bytes.
    Trailer { bytes: u64 },
    /// Nothing is looked at any more.
    Opaque,
}

/// How the body behind a head is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    Doubtful,
}

impl Heads {
    pub(super) fn new() -> Self {
        Heads { state: State::Start }
    }

    /// Looks at nothing: HTTP/2 was agreed upon.
    pub(super) fn opaque() -> Self {
        Heads { state: State::Opaque }
    }

    /// Which protocol the first bytes speak; `None` while they are too few. Passes all of HTTP/2 from then on.
    pub(super) fn protocol(&mut self, input: &[u8]) -> Option<Protocol> {
        if self.state == State::Start {
            let same = input.iter().zip(PREFACE).take_while(|(a, b)| a == b).count();
            match (same == PREFACE.len(), same == input.len()) {
                (true, _) => self.state = State::Opaque,
                (false, true) => return None,
                (false, false) => self.state = State::Head { searched: 0 },
            }
        }
        Some(match self.state {
            State::Opaque => Protocol::Http2,
            _ => Protocol::Http1,
        })
    }

    /// Whether nothing is looked at any more.
    pub(super) fn is_opaque(&self) -> bool {
        self.state == State::Opaque
    }

    /// Whether bytes that come belong to a head: all that came before is whole.
    pub(super) fn in_head(&self) -> bool {
        matches!(self.state, State::Head { .. })
    }

    /// Moves bytes of `input` that may be handed on to `output`: one head at most, so that what is put aside is bounded.
    pub(super) fn feed(&mut self, input: &mut BytesMut, output: &mut BytesMut, targets: &Targets) {
        while !input.is_empty() {
            self.state = match self.state {
                State::Start | State::Head { .. } => return self.feed_head(input, output, targets),
                State::Body { left } => {
                    let left = left - pass(input, output, left);
                    if left == 0 {
                        State::Head { searched: 0 }
                    } else {
                        State::Body { left }
                    }
                }
                State::ChunkSize { size, digits, ended } => {
                    let byte = input[0];
                    pass(input, output, 1);
                    chunk_size(byte, size, digits, ended)
                }
                State::Chunk { left } => match left - pass(input, output, left) {
                    0 => State::ChunkSize {
                        size: 0,
                        digits: 0,
                        ended: false,
                    },
                    left => State::Chunk { left },
                },
                State::Trailer { bytes } => {
                    let byte = input[0];
                    pass(input, output, 1);
                    match (byte, bytes) {
                        (b'\n', 0) => State::Head { searched: 0 },
                        (b'\n', _) => State::Trailer { bytes: 0 },
                        (b'\r', 0) => State::Trailer { bytes: 0 },
                        _ => State::Trailer { bytes: bytes + 1 },
                    }
                }
                State::Opaque => {
                    pass(input, output, u64::MAX);
                    State::Opaque
                }
            };
        }
    }

    fn feed_head(&mut self, input: &mut BytesMut, output: &mut BytesMut, targets: &Targets) {
        let State::Head { searched } = self.state else {
            return;
        };
        // Empty lines before a request are allowed.
        if searched == 0 {
            let empty = input
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count();
            input.advance(empty);
        }
        let (end, searched) = head_end(input, searched);
        let Some(end) = end else {
            self.state = State::Head { searched };
            if input.len() > HEAD_BYTES_MAX {
                // The library has the same bound, and the words for it.
                self.state = State::Opaque;
                pass(input, output, u64::MAX);
            }
            return;
        };
        let head = input.split_to(end);
        let line_end = head.iter().position(|byte| *byte == b'\n').unwrap_or(end);
        let (line, rest) = head.split_at(line_end);
        self.state = match framing(line, rest) {
            Framing::Length(0) => State::Head { searched: 0 },
            Framing::Length(left) => State::Body { left },
            Framing::Chunked => State::ChunkSize {
                size: 0,
                digits: 0,
                ended: false,
            },
            Framing::Doubtful => State::Opaque,
        };
        match acceptable_line(line, targets) {
            Some(line) => output.extend_from_slice(&line),
            None => output.extend_from_slice(line),
        }
        output.extend_from_slice(rest);
    }
}

/// Moves up to `most` bytes; how many.
fn pass(input: &mut BytesMut, output: &mut BytesMut, most: u64) -> u64 {
    let bytes = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    if bytes == input.len() && output.is_empty() {
        std::mem::swap(input, output);
    } else {
        output.extend_from_slice(&input.split_to(bytes));
    }
    bytes as u64
}

/// The end of the head at the beginning of `input`, and how far there is certainly none.
fn head_end(input: &[u8], searched: usize) -> (Option<usize>, usize) {
    let mut from = searched;
    while let Some(at) = input[from..].iter().position(|byte| *byte == b'\n') {
        let line = from + at;
        match input[line + 1..] {
            [b'\n', ..] => return (Some(line + 2), from),
            [b'\r', b'\n', ..] => return (Some(line + 3), from),
            [] | [b'\r'] => return (None, line),
            _ => from = line + 1,
        }
    }
    (None, input.len())
}

/// What a byte of a chunk's first line makes of its state.
fn chunk_size(byte: u8, size: u64, digits: u32, ended: bool) -> State {
    /// More is no chunk that anybody sends.
    const DIGITS_MAX: u32 = 15;
    let digit = char::from(byte).to_digit(16);
    match (byte, digit) {
        (b'\n', _) if digits == 0 => State::Opaque,
        (b'\n', _) if size == 0 => State::Trailer { bytes: 0 },
        // And the line end behind it, which is not looked at.
        (b'\n', _) => State::Chunk { left: size + 2 },
        (_, Some(digit)) if !ended && digits < DIGITS_MAX => State::ChunkSize {
            size: size * 16 + u64::from(digit),
            digits: digits + 1,
            ended,
        },
        // Extensions.
        (b';' | b' ' | b'\t' | b'\r', _) => State::ChunkSize {
            size,
            digits,
            ended: true,
        },
        _ if ended => State::ChunkSize { size, digits, ended },
        _ => State::Opaque,
    }
}

/// How the body behind a head is delimited: `rest` are the lines behind the first.
fn framing(line: &[u8], rest: &[u8]) -> Framing {
    let mut length: Option<u64> = None;
    let mut chunked = false;
    for field in rest.split(|byte| *byte == b'\n') {
        let Some(colon) = field.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&field[..colon], field[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let text = std::str::from_utf8(value).unwrap_or("");
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            match text.parse() {
                Ok(bytes) if digits && length.is_none_or(|before| before == bytes) => length = Some(bytes),
                _ => return Framing::Doubtful,
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Framing::Doubtful;
            }
            chunked = true;
        } else if field.first().is_some_and(u8::is_ascii_whitespace) || name.trim_ascii() != name {
            // Folded lines and odd names might hide one of the two.
            return Framing::Doubtful;
        }
    }
    let connects = line.starts_with(b"CONNECT ");
    let old = !line.trim_ascii_end().ends_with(b"HTTP/1.1");
    match (chunked, length) {
        _ if connects => Framing::Doubtful,
        (true, Some(_)) => Framing::Doubtful,
        (true, None) if old => Framing::Doubtful,
        (true, None) => Framing::Chunked,
        (false, length) => Framing::Length(length.unwrap_or(0)),
    }
}

/// The first line with a target that the library takes; `None` where it takes this one, or where it is no request.
fn acceptable_line(line: &[u8], targets: &Targets) -> Option<Vec<u8>> {
    let first = line.iter().position(|byte| *byte == b' ')?;
    let last = line.iter().rposition(|byte| *byte == b' ')?;
    let target = line.get(first + 1..last)?;
    let plain = target.len() <= TARGET_BYTES_MAX && !target.iter().any(|byte| is_forbidden(*byte));
    // Compat: Go refuses blanks and control characters too, so the library may say so.
    if plain || target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return None;
    }
    let question = target
        .iter()
        .position(|byte| *byte == b'?')
        .unwrap_or(target.len());
    let (path, query) = target.split_at(question);
    let mut new = line[..=first].to_vec();
    encode(path, &mut new);
    let path_end = new.len();
    encode(query, &mut new);
    if new.len() - first > TARGET_BYTES_MAX && !query.is_empty() {
        let query = Bytes::copy_from_slice(&new[path_end + 1..]);
        new.truncate(path_end);
        new.push(b'?');
        new.extend_from_slice(targets.put(query).as_bytes());
    }
    new.extend_from_slice(&line[last..]);
    Some(new)
}

/// Whether a byte that Go's server takes in a target is none of a URI's.
fn is_forbidden(byte: u8) -> bool {
    matches!(
        byte,
        b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80..
    )
}

fn encode(text: &[u8], into: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        if is_forbidden(*byte) {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            into.push(b'%');
            into.extend_from_slice(&digits);
        } else {
            into.push(*byte);
        }
    }
}

#[cfg(test)]
mod tests;

//! Functions on text that both function sets share.

use model::regex::{Regex, Template};

use crate::error::CallError;

/// Longest text that patterns are compiled from, in bytes.
const PATTERN_BYTES_MAX: usize = 4096;

/// Most bytes that replacing may make.
const REPLACED_BYTES_MAX: usize = 64 << 20;

fn compile(pattern: &str) -> Result<Regex, CallError> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(CallError::TooLarge);
    }
    Ok(Regex::unanchored(pattern)?)
}

/// Whether `pattern` matches somewhere in `text`.
pub(crate) fn matches(pattern: &str, text: &str) -> Result<bool, CallError> {
    Ok(compile(pattern)?.is_match(text))
}

/// `text` with every match of `pattern` replaced; `$1` and `${name}` stand for groups.
pub(crate) fn replace(pattern: &str, with: &str, text: &str) -> Result<String, CallError> {
    // There are at most as many matches as characters, and their groups together are no longer than the text for each
    // reference in the replacement.
    let most = (text.len() + 1).saturating_mul(with.len() + 1).saturating_mul(2);
    if most > REPLACED_BYTES_MAX {
        return Err(CallError::TooLarge);
    }
    Ok(compile(pattern)?.replace_all(text, &Template::new(with)))
}

/// `text` with the first letter of each word in title case, the others in lower case where `lower` is set.
///
/// Digits and underscores belong to words; apostrophes, full stops and colons do between letters.
pub(crate) fn title(text: &str, lower: bool) -> String {
    let mut out = String::with_capacity(text.len());
    // Whether the word's first letter has been seen.
    let mut begun = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphabetic() && !begun {
            push_title(&mut out, c);
            begun = true;
        } else if c.is_alphanumeric() || c == '_' {
            out.push(if lower { model::case::lower(c) } else { c });
        } else {
            let joins = matches!(c, '\'' | '\u{2019}' | '.' | ':' | '\u{b7}');
            begun &= joins && chars.peek().is_some_and(|next| next.is_alphabetic());
            out.push(c);
        }
    }
    out
}

/// Title case: upper case, but of what takes several letters only the first.
fn push_title(out: &mut String, c: char) {
    match c {
        // Two letters in one character have a title case of their own.
        '\u{1c4}'..='\u{1c6}' => out.push('\u{1c5}'),
        '\u{1c7}'..='\u{1c9}' => out.push('\u{1c8}'),
        '\u{1ca}'..='\u{1cc}' => out.push('\u{1cb}'),
        '\u{1f1}'..='\u{1f3}' => out.push('\u{1f2}'),
        c => {
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            out.extend(upper.map(model::case::lower));
        }
    }
}

/// Host and port of `host:port` or `[host]:port`; `None` where there is no port.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return (!inner.contains(['[', ']'])).then_some((inner, port));
    }
    (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

/// `host:port` without the domain of a host that is a name.
pub(crate) fn strip_domain(text: &str) -> String {
    let (host, port) = split_host_port(text).unwrap_or((text, ""));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let first = host.split('.').next().unwrap_or("");
    match port {
        "" => first.to_owned(),
        port if first.contains(':') => format!("[{first}]:{port}"),
        port => format!("{first}:{port}"),
    }
}

/// Base64 with the URL alphabet and padding.
pub(crate) fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for i in 0..4 {
            if i <= group.len() {
                out.push(char::from(BASE64[(bits >> (18 - 6 * i) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// Undoes [`base64_encode`]; line ends inside are ignored.
pub(crate) fn base64_decode(text: &str) -> Result<Vec<u8>, CallError> {
    let symbols: Vec<(usize, u8)> = text
        .bytes()
        .enumerate()
        .filter(|(_, b)| !matches!(b, b'\r' | b'\n'))
        .collect();
    let end = text.len();
    let mut out = Vec::with_capacity(symbols.len() / 4 * 3);
    let groups = symbols.chunks(4);
    let last = groups.len().saturating_sub(1);
    for (index, group) in groups.enumerate() {
        let padding = group.iter().rev().take_while(|(_, b)| *b == b'=').count();
        if group.len() < 4 || padding > 2 || (padding > 0 && index < last) {
            let at = group.iter().find(|(_, b)| *b == b'=').map_or(end, |(at, _)| *at);
            return Err(CallError::Base64(at));
        }
        let mut bits = 0u32;
        for (at, symbol) in &group[..4 - padding] {
            let value = BASE64
                .iter()
                .position(|b| b == symbol)
                .ok_or(CallError::Base64(*at))?;
            bits = bits << 6 | value as u32;
        }
        bits <<= 6 * padding;
        out.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    Ok(out)
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

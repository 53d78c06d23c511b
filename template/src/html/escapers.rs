//! What makes a value harmless in each place.

use std::fmt::Write;

use super::context::{Context, State};
use super::javascript::is_ident;
use super::transition;
use crate::json;
use crate::print;
use crate::value::Value;

/// Stands in place of a value that nothing can make harmless; easy to search for.
const FAILSAFE: &str = "ZgotmplZ";

/// One step of escaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escaper {
    Html,
    Attr,
    Rcdata,
    NoSpace,
    Name,
    Comment,
    UrlFilter,
    UrlNormalize,
    Url,
    Srcset,
    Css,
    CssFilter,
    JsValue,
    JsString,
    JsTemplate,
    JsRegexp,
    /// The function `html`, moved to where escaping happens.
    FunctionHtml,
    /// The function `urlquery`, likewise.
    FunctionUrlquery,
}

/// What the text of a value is known to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Plain,
    Html,
    Url,
}

/// Escapes `value` by `steps`, in order.
pub(crate) fn apply(value: &Value, steps: &[Escaper]) -> String {
    let (mut text, mut content) = text_of(value);
    for (i, step) in steps.iter().enumerate() {
        text = match step {
            // The first step sees the value itself.
            Escaper::JsValue if i == 0 => js_value(value),
            Escaper::JsValue => js_value(&Value::from(text)),
            step => escape(*step, &text, content),
        };
        content = Content::Plain;
    }
    text
}

fn text_of(value: &Value) -> (String, Content) {
    match value {
        Value::Nil => (String::new(), Content::Plain),
        Value::Html(text) => (text.to_string(), Content::Html),
        Value::Url(text) => (text.to_string(), Content::Url),
        value => {
            let mut out = String::new();
            print::value(&mut out, value);
            (out, Content::Plain)
        }
    }
}

fn escape(step: Escaper, text: &str, content: Content) -> String {
    let is_html = content == Content::Html;
    match step {
        Escaper::Html if is_html => text.to_owned(),
        Escaper::Rcdata if is_html => replaced(text, |c| html_char(c).filter(|_| c != '&')),
        Escaper::Attr if is_html => replaced(&without_tags(text), |c| html_char(c).filter(|_| c != '&')),
        Escaper::Html | Escaper::Rcdata | Escaper::Attr => replaced(text, html_char),
        Escaper::NoSpace if text.is_empty() => FAILSAFE.to_owned(),
        Escaper::NoSpace if is_html => {
            replaced(&without_tags(text), |c| unquoted_char(c).filter(|_| c != '&'))
        }
        Escaper::NoSpace => replaced(text, unquoted_char),
        Escaper::Name => name(text, is_html),
        Escaper::Comment => String::new(),
        Escaper::UrlFilter if content == Content::Url || is_safe_url(text) => text.to_owned(),
        Escaper::UrlFilter => format!("#{FAILSAFE}"),
        Escaper::UrlNormalize => url(text, true),
        Escaper::Url => url(text, content == Content::Url),
        Escaper::Srcset if content == Content::Url => url(text, true).replace(',', "%2c"),
        Escaper::Srcset => text.split(',').map(srcset_element).collect::<Vec<_>>().join(","),
        Escaper::Css => css(text),
        Escaper::CssFilter => css_filter(text),
        Escaper::JsString => replaced(text, js_string_char),
        Escaper::JsTemplate => replaced(text, |c| match c {
            '$' | '{' | '}' => Some(format!("\\u{:04x}", c as u32)),
            c => js_string_char(c),
        }),
        Escaper::JsRegexp if text.is_empty() => "(?:)".to_owned(),
        Escaper::JsRegexp => replaced(text, |c| match c {
            '$' | '(' | ')' | '*' | '-' | '.' | '?' | '[' | ']' | '^' | '{' | '|' | '}' => {
                Some(format!("\\{c}"))
            }
            '`' => None,
            c => js_string_char(c),
        }),
        Escaper::JsValue => js_value(&Value::from(text)),
        Escaper::FunctionHtml => crate::escape::html(text),
        Escaper::FunctionUrlquery => crate::escape::query(text),
    }
}

fn replaced(text: &str, with: impl Fn(char) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match with(c) {
            Some(replacement) => out.push_str(&replacement),
            None => out.push(c),
        }
    }
    out
}

fn html_char(c: char) -> Option<String> {
    let replacement = match c {
        '\0' => "\u{fffd}",
        '"' => "&#34;",
        '&' => "&amp;",
        '\'' => "&#39;",
        '+' => "&#43;",
        '<' => "&lt;",
        '>' => "&gt;",
        _ => return None,
    };
    Some(replacement.to_owned())
}

/// For attribute values without quotes: also what would end them, and what old browsers misread.
fn unquoted_char(c: char) -> Option<String> {
    match c {
        '\0' => Some("&#xfffd;".to_owned()),
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ' | '=' | '`' => Some(format!("&#{};", c as u32)),
        '\u{fdd0}'..='\u{fdef}' | '\u{fff0}'..='\u{ffff}' => Some(format!("&#x{:x};", c as u32)),
        c => html_char(c),
    }
}

fn js_string_char(c: char) -> Option<String> {
    Some(match c {
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\r' => "\\r".to_owned(),
        '/' => "\\/".to_owned(),
        '\\' => "\\\\".to_owned(),
        '"' | '`' | '&' | '\'' | '+' | '<' | '>' | '\u{2028}' | '\u{2029}' => format!("\\u{:04x}", c as u32),
        c if c < ' ' => format!("\\u{:04x}", c as u32),
        _ => return None,
    })
}

/// A name for an attribute: nothing that has a meaning of its own.
fn name(text: &str, is_html: bool) -> String {
    if is_html {
        return text.to_owned();
    }
    let lower = text.to_ascii_lowercase();
    let is_word = !lower.is_empty() && lower.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_word && super::attribute::is_harmless(&lower) {
        return lower;
    }
    FAILSAFE.to_owned()
}

/// Whether `url` is relative or of a scheme that runs nothing.
fn is_safe_url(url: &str) -> bool {
    match url.split_once(':') {
        Some((scheme, _)) if !scheme.contains('/') => ["http", "https", "mailto"]
            .iter()
            .any(|safe| scheme.eq_ignore_ascii_case(safe)),
        _ => true,
    }
}

/// Percent-encodes; where `keep` is set, what has a meaning in URLs stays, escapes among it.
fn url(text: &str, keep: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len() + 16);
    for (i, byte) in bytes.iter().enumerate() {
        let stays = match byte {
            b'!' | b'#' | b'$' | b'&' | b'*' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'?' | b'@'
            | b'[' | b']' => keep,
            b'-' | b'.' | b'_' | b'~' => true,
            b'%' => {
                let hex = bytes.get(i + 1..i + 3);
                keep && hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
            }
            byte => byte.is_ascii_alphanumeric(),
        };
        if stays {
            out.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02x}");
        }
    }
    out
}

/// One of the URLs of a `srcset`, with the size behind it.
fn srcset_element(element: &str) -> String {
    let space = [' ', '\t', '\n', '\u{c}', '\r'];
    let start = element.len() - element.trim_start_matches(space).len();
    let end = element[start..]
        .find(space)
        .map_or(element.len(), |at| start + at);
    let harmless = |c: char| space.contains(&c) || c.is_ascii_alphanumeric();
    if is_safe_url(&element[start..end]) && element[end..].chars().all(harmless) {
        return format!(
            "{}{}{}",
            &element[..start],
            url(&element[start..end], true),
            &element[end..]
        );
    }
    format!("#{FAILSAFE}")
}

fn css(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\0' | '\t' | '\n' | '\u{c}' | '\r' | '"' | '&' | '\'' | '(' | ')' | '+' | '/' | ':' | ';'
            | '<' | '>' | '{' | '}' => {
                let _ = write!(out, "\\{:x}", c as u32);
                // A space ends the number where something follows that could belong to it.
                let ends = chars.peek().is_none_or(|next| {
                    next.is_ascii_hexdigit() || matches!(next, '\t' | '\n' | '\u{c}' | '\r' | ' ')
                });
                if ends {
                    out.push(' ');
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// Lets through numbers with units, names, colours; nothing that ends a value or runs.
fn css_filter(text: &str) -> String {
    let decoded = decode_css(text);
    let forbidden = [
        '\0', '"', '\'', '(', ')', '/', ';', '@', '[', '\\', ']', '`', '{', '}', '<', '>',
    ];
    let name: String = decoded
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_')
        .collect::<String>()
        .to_ascii_lowercase();
    let runs = name.contains("expression") || name.contains("mozbinding");
    if decoded.contains(forbidden) || decoded.contains("--") || runs {
        return FAILSAFE.to_owned();
    }
    decoded
}

/// Replaces CSS escapes by what they stand for.
pub(super) fn decode_css(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let digits = rest.bytes().take(6).take_while(u8::is_ascii_hexdigit).count();
        if digits > 0 {
            let code = u32::from_str_radix(&rest[..digits], 16)
                .ok()
                .and_then(char::from_u32);
            out.push(code.unwrap_or('\u{fffd}'));
            rest = &rest[digits..];
            rest = rest.strip_prefix("\r\n").unwrap_or_else(|| {
                rest.strip_prefix([' ', '\t', '\n', '\u{c}', '\r'])
                    .unwrap_or(rest)
            });
        } else if let Some(c) = rest.chars().next() {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out.push_str(rest);
    out
}

/// A value as an expression in JavaScript.
fn js_value(value: &Value) -> String {
    let text = match value {
        Value::Duration(_) => Some(value.to_string()),
        Value::Object(object) => object.text(),
        _ => None,
    };
    let text = text.map(Value::from);
    let json = match json::to_json(text.as_ref().unwrap_or(value)) {
        Ok(json) => json,
        Err(error) => {
            let message = error.to_string().replace("*/", "* /").replace('<', "\\x3C");
            return format!(" /* {message} */null ");
        }
    };
    // Numbers and words must not run into the words beside them.
    if json.starts_with(is_ident) || json.ends_with(is_ident) {
        return format!(" {json} ");
    }
    json
}

/// The text between the tags of `html`.
fn without_tags(html: &str) -> String {
    let mut context = Context::text();
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while !rest.is_empty() {
        let before = context.clone();
        let Ok(length) = transition::advance(&mut context, rest) else {
            break;
        };
        if matches!(before.state, State::Text | State::Rcdata) {
            let end = if context.state == before.state {
                length
            } else {
                rest[..length].rfind('<').unwrap_or(length)
            };
            out.push_str(&rest[..end]);
        }
        if length == 0 && context == before {
            break;
        }
        rest = &rest[length..];
    }
    out
}

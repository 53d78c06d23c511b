//! How text moves the writer through a document.

use super::attribute;
use super::context::{Attr, Context, Delim, Element, State, UrlPart};
use super::javascript::{is_script_type, slash_divides};

const SPACE: [char; 5] = [' ', '\t', '\n', '\u{c}', '\r'];

/// Why text cannot be followed.
pub(super) type BadHtml = &'static str;

/// Moves `context` over a part of `text`, never empty unless the context changes, and gives its length in bytes.
pub(super) fn advance(context: &mut Context, text: &str) -> Result<usize, BadHtml> {
    if context.delim == Delim::None {
        let end = special_end(context, text);
        if end == Some(0) {
            *context = Context::text();
            return Ok(0);
        }
        return step(context, &text[..end.unwrap_or(text.len())]);
    }
    let end = text.find(context.delim.ends()).unwrap_or(text.len());
    if context.delim == Delim::SpaceOrTagEnd && text[..end].contains(['"', '\'', '<', '=', '`']) {
        return Err("quote, '<', '=' or '`' in an unquoted attribute value");
    }
    if end == text.len() {
        // Entities are decoded, so that the languages inside attributes see what a browser would hand them.
        let decoded = unescape(text);
        let mut rest = decoded.as_str();
        while !rest.is_empty() {
            let before = context.clone();
            let length = step(context, rest)?;
            if length == 0 && *context == before {
                break;
            }
            rest = &rest[length..];
        }
        return Ok(text.len());
    }
    let foreign = context.state == State::Attr
        && context.element == Element::Script
        && context.attr == Attr::ScriptType
        && !is_script_type(&text[..end]);
    let element = if foreign { Element::None } else { context.element };
    let quote = usize::from(context.delim != Delim::SpaceOrTagEnd);
    *context = Context::new(State::Tag, element);
    Ok(end + quote)
}

/// Where the end tag of a special element starts, if `text` has it and it counts.
fn special_end(context: &Context, text: &str) -> Option<usize> {
    let marker = context.element.end_marker();
    // Inside a script's literals and comments an end tag is text, which the writer makes harmless.
    let literal = context.state.is_script_literal() || context.state.is_comment();
    if marker.is_empty() || (context.element == Element::Script && literal) {
        return None;
    }
    text.match_indices("</").map(|(at, _)| at).find(|at| {
        let name = &text.as_bytes()[at + 2..];
        name.len() > marker.len()
            && name[..marker.len()].eq_ignore_ascii_case(marker.as_bytes())
            && b"> \t\n\x0c/".contains(&name[marker.len()])
    })
}

fn step(context: &mut Context, text: &str) -> Result<usize, BadHtml> {
    match context.state {
        State::Text => Ok(in_text(context, text)),
        State::Tag => in_tag(context, text),
        State::AttrName => {
            let length = attr_name(text)?;
            if length != text.len() {
                context.state = State::AfterName;
            }
            Ok(length)
        }
        State::AfterName => Ok(after_name(context, text)),
        State::BeforeValue => Ok(before_value(context, text)),
        State::HtmlComment => Ok(match text.find("-->") {
            Some(at) => {
                *context = Context::text();
                at + 3
            }
            None => text.len(),
        }),
        State::Rcdata | State::Attr => Ok(text.len()),
        State::Url | State::Srcset => {
            in_url(context, text);
            Ok(text.len())
        }
        State::MetaContent => Ok(in_meta_content(context, text)),
        State::MetaContentUrl => Ok(match text.find(';') {
            Some(at) => {
                context.state = State::MetaContent;
                at + 1
            }
            None => text.len(),
        }),
        State::Js => Ok(in_js(context, text)),
        State::JsDoubleQuoted | State::JsSingleQuoted | State::JsRegexp => in_js_literal(context, text),
        State::JsTemplate => in_js_template(context, text),
        State::JsBlockComment => Ok(in_block_comment(context, text, State::Js)),
        State::CssBlockComment => Ok(in_block_comment(context, text, State::Css)),
        State::JsLineComment | State::JsHtmlOpenComment | State::JsHtmlCloseComment => {
            let ends = ['\n', '\r', '\u{2028}', '\u{2029}'];
            Ok(in_line_comment(context, text, &ends, State::Js))
        }
        State::CssLineComment => Ok(in_line_comment(context, text, &['\n', '\u{c}', '\r'], State::Css)),
        State::Css => Ok(in_css(context, text)),
        State::CssDoubleQuoted
        | State::CssSingleQuoted
        | State::CssDoubleQuotedUrl
        | State::CssSingleQuotedUrl
        | State::CssUrl => in_css_string(context, text),
    }
}

fn skip_space(text: &str) -> usize {
    text.len() - text.trim_start_matches(SPACE).len()
}

fn in_text(context: &mut Context, text: &str) -> usize {
    for (at, _) in text.match_indices('<') {
        let rest = &text[at..];
        if rest.starts_with("<!--") {
            *context = Context::new(State::HtmlComment, Element::None);
            return at + 4;
        }
        let (end_tag, name_at) = if rest.starts_with("</") {
            (true, 2)
        } else {
            (false, 1)
        };
        let length = tag_name(&rest[name_at..]);
        if length > 0 {
            let name = &rest[name_at..name_at + length];
            let element = if end_tag { Element::None } else { Element::of(name) };
            *context = Context::new(State::Tag, element);
            return at + name_at + length;
        }
    }
    text.len()
}

/// Length of the tag name that `text` starts with: letters and digits, with single `-` and `:` between them.
fn tag_name(text: &str) -> usize {
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(u8::is_ascii_alphabetic) {
        return 0;
    }
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        let joins = matches!(byte, b':' | b'-') && bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric);
        match (byte.is_ascii_alphanumeric(), joins) {
            (true, _) => at += 1,
            (false, true) => at += 2,
            _ => break,
        }
    }
    at
}

fn in_tag(context: &mut Context, text: &str) -> Result<usize, BadHtml> {
    let start = skip_space(text);
    let rest = &text[start..];
    if rest.is_empty() {
        return Ok(text.len());
    }
    if rest.starts_with('>') {
        let element = match context.element {
            // It has no end tag.
            Element::Meta => Element::None,
            element => element,
        };
        *context = Context::new(element.content(), element);
        return Ok(start + 1);
    }
    let length = attr_name(rest)?;
    if length == 0 {
        return Err("expected space, attribute name, or end of tag");
    }
    let name = rest[..length].to_ascii_lowercase();
    let attr = match (context.element, name.as_str()) {
        (Element::Script, "type") => Attr::ScriptType,
        (Element::Meta, "content") => Attr::MetaContent,
        (_, name) => attribute::kind(name),
    };
    let state = if start + length == text.len() {
        State::AttrName
    } else {
        State::AfterName
    };
    *context = Context::new(state, context.element);
    context.attr = attr;
    Ok(start + length)
}

/// Length of the attribute name that `text` starts with.
fn attr_name(text: &str) -> Result<usize, BadHtml> {
    let end = text
        .find(|c: char| SPACE.contains(&c) || matches!(c, '=' | '>' | '\'' | '"' | '<'))
        .unwrap_or(text.len());
    match text[end..].chars().next() {
        Some('\'' | '"' | '<') => Err("quote or '<' in an attribute name"),
        _ => Ok(end),
    }
}

fn after_name(context: &mut Context, text: &str) -> usize {
    let at = skip_space(text);
    if at == text.len() {
        return at;
    }
    if text[at..].starts_with('=') {
        context.state = State::BeforeValue;
        return at + 1;
    }
    // No value.
    context.state = State::Tag;
    at
}

fn before_value(context: &mut Context, text: &str) -> usize {
    let at = skip_space(text);
    let (delim, quote) = match text[at..].chars().next() {
        None => return at,
        Some('\'') => (Delim::SingleQuote, 1),
        Some('"') => (Delim::DoubleQuote, 1),
        Some(_) => (Delim::SpaceOrTagEnd, 0),
    };
    context.state = context.attr.start();
    context.delim = delim;
    at + quote
}

fn in_url(context: &mut Context, text: &str) {
    if text.contains(['#', '?']) {
        context.url_part = UrlPart::QueryOrFragment;
    } else if context.url_part == UrlPart::Start && skip_space(text) != text.len() {
        context.url_part = UrlPart::PreQuery;
    }
}

/// `content="5; url=…"`
fn in_meta_content(context: &mut Context, text: &str) -> usize {
    let lower = text.to_ascii_lowercase();
    for (at, _) in lower.match_indices("url") {
        let behind = at + 3 + skip_space(&text[at + 3..]);
        if text[behind..].starts_with('=') {
            context.state = State::MetaContentUrl;
            return behind + 1;
        }
    }
    text.len()
}

fn in_js(context: &mut Context, text: &str) -> usize {
    let Some(at) = text.find(['"', '`', '\'', '/', '{', '}', '<', '-', '#']) else {
        context.slash_divides = slash_divides(text, context.slash_divides);
        return text.len();
    };
    context.slash_divides = slash_divides(&text[..at], context.slash_divides);
    let rest = &text[at..];
    let (state, length) = match rest.as_bytes()[0] {
        quote @ (b'"' | b'\'' | b'`') => {
            context.slash_divides = false;
            match quote {
                b'"' => (State::JsDoubleQuoted, 1),
                b'\'' => (State::JsSingleQuoted, 1),
                _ => (State::JsTemplate, 1),
            }
        }
        b'/' if rest.starts_with("//") => (State::JsLineComment, 2),
        b'/' if rest.starts_with("/*") => (State::JsBlockComment, 2),
        b'/' if context.slash_divides => {
            context.slash_divides = false;
            (State::Js, 1)
        }
        b'/' => (State::JsRegexp, 1),
        // Old browsers' way to hide scripts: both ends comment out the rest of their line.
        b'<' if rest.starts_with("<!--") => (State::JsHtmlOpenComment, 4),
        b'-' if rest.starts_with("-->") => (State::JsHtmlCloseComment, 3),
        b'#' if rest.starts_with("#!") => (State::JsLineComment, 2),
        brace @ (b'{' | b'}') => (js_brace(context, brace), 1),
        // Compat: `<`, `-` and `#` alone leave the question of the slash as it was before them.
        _ => (State::Js, 1),
    };
    context.state = state;
    at + length
}

/// Counts a brace, and tells what comes behind it: more script, or the template literal around it.
fn js_brace(context: &mut Context, brace: u8) -> State {
    match context.js_braces.last_mut() {
        Some(open) if brace == b'{' => *open += 1,
        Some(open) if *open > 0 => *open -= 1,
        Some(_) => {
            context.js_braces.pop();
            return State::JsTemplate;
        }
        None => {}
    }
    context.slash_divides = false;
    State::Js
}

const PARTIAL_ESCAPE: BadHtml = "unfinished escape sequence";

fn in_js_template(context: &mut Context, text: &str) -> Result<usize, BadHtml> {
    let mut at = 0;
    while let Some(hit) = text[at..].find(['`', '\\', '$']) {
        at += hit;
        match text.as_bytes()[at] {
            b'\\' => at += escaped(&text[at..])?,
            b'$' if text[at..].starts_with("${") => {
                context.js_braces.push(0);
                context.state = State::Js;
                return Ok(at + 2);
            }
            b'`' => {
                context.state = State::Js;
                return Ok(at + 1);
            }
            _ => at += 1,
        }
    }
    Ok(text.len())
}

/// Length of a backslash and what it escapes.
fn escaped(text: &str) -> Result<usize, BadHtml> {
    let c = text[1..].chars().next().ok_or(PARTIAL_ESCAPE)?;
    Ok(1 + c.len_utf8())
}

fn in_js_literal(context: &mut Context, text: &str) -> Result<usize, BadHtml> {
    let specials: &[char] = match context.state {
        State::JsDoubleQuoted => &['\\', '"'],
        State::JsSingleQuoted => &['\\', '\''],
        _ => &['\\', '/', '[', ']'],
    };
    let (mut at, mut in_class) = (0, false);
    while let Some(hit) = text[at..].find(specials) {
        at += hit;
        match text.as_bytes()[at] {
            b'\\' => {
                at += escaped(&text[at..])?;
                continue;
            }
            b'[' => in_class = true,
            b']' => in_class = false,
            b'/' if at > 0 && is_script_end(&text.as_bytes()[at - 1..]) => at += 1,
            _ if !in_class => {
                context.state = State::Js;
                context.slash_divides = true;
                return Ok(at + 1);
            }
            _ => {}
        }
        at += 1;
    }
    if in_class {
        return Err("unfinished character class in a regular expression");
    }
    Ok(text.len())
}

fn is_script_end(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && bytes[..8].eq_ignore_ascii_case(b"</script")
}

fn in_block_comment(context: &mut Context, text: &str, behind: State) -> usize {
    match text.find("*/") {
        Some(at) => {
            context.state = behind;
            at + 2
        }
        None => text.len(),
    }
}

/// The end of the line is not part of the comment.
fn in_line_comment(context: &mut Context, text: &str, ends: &[char], behind: State) -> usize {
    match text.find(ends) {
        Some(at) => {
            context.state = behind;
            at
        }
        None => text.len(),
    }
}

fn in_css(context: &mut Context, text: &str) -> usize {
    for (at, hit) in text.match_indices(['(', '"', '\'', '/']) {
        let next = text.as_bytes().get(at + 1);
        let (state, length) = match hit {
            "(" if ends_with_url(&text[..at]) => return css_url(context, text, at + 1),
            "/" if next == Some(&b'/') => (State::CssLineComment, 2),
            "/" if next == Some(&b'*') => (State::CssBlockComment, 2),
            "\"" => (State::CssDoubleQuoted, 1),
            "'" => (State::CssSingleQuoted, 1),
            _ => continue,
        };
        context.state = state;
        return at + length;
    }
    text.len()
}

/// Whether `text` ends with the function name `url`.
fn ends_with_url(text: &str) -> bool {
    let text = text.trim_end_matches(SPACE);
    let Some(start) = text.len().checked_sub(3).filter(|at| text.is_char_boundary(*at)) else {
        return false;
    };
    let name_char = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii();
    text[start..].eq_ignore_ascii_case("url") && !text[..start].ends_with(name_char)
}

fn css_url(context: &mut Context, text: &str, start: usize) -> usize {
    let at = start + skip_space(&text[start..]);
    let (state, quote) = match text.as_bytes().get(at) {
        Some(b'"') => (State::CssDoubleQuotedUrl, 1),
        Some(b'\'') => (State::CssSingleQuotedUrl, 1),
        _ => (State::CssUrl, 0),
    };
    context.state = state;
    at + quote
}

fn in_css_string(context: &mut Context, text: &str) -> Result<usize, BadHtml> {
    let ends: &[char] = match context.state {
        State::CssDoubleQuoted | State::CssDoubleQuotedUrl => &['\\', '"'],
        State::CssSingleQuoted | State::CssSingleQuotedUrl => &['\\', '\''],
        _ => &['\\', '\t', '\n', '\u{c}', '\r', ' ', ')'],
    };
    let mut at = 0;
    while let Some(hit) = text[at..].find(ends) {
        at += hit;
        if text.as_bytes()[at] != b'\\' {
            context.state = State::Css;
            return Ok(at + 1);
        }
        at += escaped(&text[at..])?;
        in_url(context, &super::escapers::decode_css(&text[..at]));
    }
    in_url(context, &super::escapers::decode_css(&text[at..]));
    Ok(text.len())
}

/// Replaces entities by what they stand for: numbers, and the names that attribute values use.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match rest.find(';').and_then(|end| Some((entity(&rest[1..end])?, end))) {
            Some((c, end)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return char::from_u32(code.ok()?);
    }
    Some(match name {
        "amp" | "AMP" => '&',
        "lt" | "LT" => '<',
        "gt" | "GT" => '>',
        "quot" | "QUOT" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "sol" => '/',
        "num" => '#',
        "quest" => '?',
        "colon" => ':',
        "lpar" => '(',
        "rpar" => ')',
        "grave" => '`',
        "bsol" => '\\',
        "Tab" => '\t',
        "NewLine" => '\n',
        _ => return None,
    })
}

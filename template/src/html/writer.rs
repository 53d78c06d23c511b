//! Writes a document, following it.

use super::context::{Context, Delim, State, UrlPart};
use super::escapers::Escaper;
use super::transition;
use crate::error::ExecErrorKind;

/// A document that is being written.
pub(crate) struct HtmlWriter {
    out: String,
    context: Context,
}

impl HtmlWriter {
    pub(crate) fn new() -> Self {
        HtmlWriter {
            out: String::new(),
            context: Context::text(),
        }
    }

    /// The document, which must be back in plain text.
    pub(crate) fn finish(self) -> Result<String, ExecErrorKind> {
        if self.context.state == State::Text {
            return Ok(self.out);
        }
        Err(ExecErrorKind::EndContext)
    }

    /// Adds what has been made harmless.
    pub(crate) fn escaped(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Adds text of the template: comments go, and stray `<` are escaped.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), ExecErrorKind> {
        let mut rest = text;
        while !rest.is_empty() {
            let before = self.context.clone();
            let length = transition::advance(&mut self.context, rest).map_err(ExecErrorKind::BadHtml)?;
            let part = &rest[..length];
            let (state, after) = (before.state, self.context.state);
            let opens_comment = state != after && after.is_comment() && self.context.delim == Delim::None;
            if state == State::Text || state == State::Rcdata {
                let end = if state == after {
                    length
                } else {
                    part.rfind('<').unwrap_or(length)
                };
                self.stray(&part[..end]);
                if !opens_comment {
                    self.out.push_str(&part[end..]);
                }
            } else if state.is_comment() && before.delim == Delim::None {
                self.comment(state, part);
            } else if opens_comment {
                self.out.push_str(&part[..length - comment_start(after)]);
            } else if state.is_script_literal() {
                self.script_literal(part);
            } else {
                self.out.push_str(part);
            }
            if length == 0 && self.context == before {
                // Cannot happen: every step moves on or changes the context.
                return Err(ExecErrorKind::BadHtml("no progress"));
            }
            rest = &rest[length..];
        }
        Ok(())
    }

    /// Text outside tags, in which `<` that starts no tag is escaped.
    fn stray(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find('<') {
            self.out.push_str(&rest[..at]);
            let doctype = rest[at..]
                .get(..9)
                .is_some_and(|head| head.eq_ignore_ascii_case("<!DOCTYPE"));
            self.out.push_str(if doctype { "<" } else { "&lt;" });
            rest = &rest[at + 1..];
        }
        self.out.push_str(rest);
    }

    /// A comment is white space to what is around it.
    fn comment(&mut self, state: State, text: &str) {
        match state {
            State::JsBlockComment if text.contains(['\n', '\r', '\u{2028}', '\u{2029}']) => {
                self.out.push('\n');
            }
            State::JsBlockComment | State::CssBlockComment => self.out.push(' '),
            _ => {}
        }
    }

    /// Text inside a script's literal, in which nothing may look like the start or end of a script.
    fn script_literal(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find('<') {
            self.out.push_str(&rest[..at]);
            let behind = &rest[at + 1..];
            let special = ["script", "/script", "!--"].iter().any(|word| {
                let head = behind.get(..word.len());
                head.is_some_and(|head| head.eq_ignore_ascii_case(word))
            });
            self.out.push_str(if special { "\\x3C" } else { "<" });
            rest = behind;
        }
        self.out.push_str(rest);
    }

    /// How a value must be escaped here.
    pub(crate) fn escapers(&mut self) -> Vec<Escaper> {
        let context = &mut self.context;
        context.nudge();
        let mut steps = Vec::with_capacity(3);
        match context.state {
            State::Url
            | State::CssDoubleQuoted
            | State::CssSingleQuoted
            | State::CssDoubleQuotedUrl
            | State::CssSingleQuotedUrl
            | State::CssUrl => {
                if context.url_part == UrlPart::Start {
                    steps.push(Escaper::UrlFilter);
                }
                steps.push(match (context.url_part, context.state) {
                    (UrlPart::QueryOrFragment, _) => Escaper::Url,
                    (_, State::CssDoubleQuoted | State::CssSingleQuoted) => Escaper::Css,
                    _ => Escaper::UrlNormalize,
                });
            }
            State::MetaContent | State::Attr => {}
            State::MetaContentUrl => steps.push(Escaper::UrlFilter),
            State::Js => {
                steps.push(Escaper::JsValue);
                context.slash_divides = true;
            }
            State::JsDoubleQuoted | State::JsSingleQuoted => steps.push(Escaper::JsString),
            State::JsTemplate => steps.push(Escaper::JsTemplate),
            State::JsRegexp => steps.push(Escaper::JsRegexp),
            State::Css => steps.push(Escaper::CssFilter),
            State::Text => steps.push(Escaper::Html),
            State::Rcdata => steps.push(Escaper::Rcdata),
            State::AttrName | State::Tag | State::AfterName | State::BeforeValue => {
                context.state = State::AttrName;
                steps.push(Escaper::Name);
            }
            State::Srcset => steps.push(Escaper::Srcset),
            _ => steps.push(Escaper::Comment),
        }
        let last = steps.last().copied();
        let outer = match context.delim {
            Delim::None => None,
            Delim::SpaceOrTagEnd => Some(Escaper::NoSpace),
            _ => Some(Escaper::Attr),
        };
        // What these leave over needs no quoting.
        let clean = matches!(
            last,
            Some(
                Escaper::Comment | Escaper::Css | Escaper::JsRegexp | Escaper::JsString | Escaper::JsTemplate
            )
        );
        steps.extend(outer.filter(|outer| !(clean && *outer == Escaper::Attr)));
        steps
    }

    /// Whether values are written into an attribute without quotes.
    pub(crate) fn is_unquoted_value(&self) -> bool {
        self.context.state == State::Attr && self.context.delim == Delim::SpaceOrTagEnd
    }
}

/// Length of what opens a comment of this kind.
fn comment_start(state: State) -> usize {
    match state {
        State::HtmlComment | State::JsHtmlOpenComment => 4,
        State::JsHtmlCloseComment => 3,
        _ => 2,
    }
}

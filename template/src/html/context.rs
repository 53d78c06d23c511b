//! Where in an HTML document the writer stands.

/// Kinds of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Text,
    Tag,
    AttrName,
    AfterName,
    BeforeValue,
    HtmlComment,
    /// Inside `textarea` and `title`.
    Rcdata,
    Attr,
    Url,
    Srcset,
    MetaContent,
    MetaContentUrl,
    Js,
    JsDoubleQuoted,
    JsSingleQuoted,
    JsTemplate,
    JsRegexp,
    JsBlockComment,
    JsLineComment,
    JsHtmlOpenComment,
    JsHtmlCloseComment,
    Css,
    CssDoubleQuoted,
    CssSingleQuoted,
    CssDoubleQuotedUrl,
    CssSingleQuotedUrl,
    CssUrl,
    CssBlockComment,
    CssLineComment,
}

impl State {
    pub(super) fn is_comment(self) -> bool {
        matches!(
            self,
            State::HtmlComment
                | State::JsBlockComment
                | State::JsLineComment
                | State::JsHtmlOpenComment
                | State::JsHtmlCloseComment
                | State::CssBlockComment
                | State::CssLineComment
        )
    }

    pub(super) fn is_script_literal(self) -> bool {
        matches!(
            self,
            State::JsDoubleQuoted | State::JsSingleQuoted | State::JsTemplate | State::JsRegexp
        )
    }
}

/// What ends the current attribute value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delim {
    /// Not in an attribute value.
    None,
    DoubleQuote,
    SingleQuote,
    SpaceOrTagEnd,
}

impl Delim {
    pub(super) fn ends(self) -> &'static [char] {
        match self {
            Delim::None => &[],
            Delim::DoubleQuote => &['"'],
            Delim::SingleQuote => &['\''],
            Delim::SpaceOrTagEnd => &[' ', '\t', '\n', '\u{c}', '\r', '>'],
        }
    }
}

/// How far a URL has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UrlPart {
    Start,
    PreQuery,
    QueryOrFragment,
}

/// Elements whose content is not text with tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    None,
    Script,
    Style,
    Textarea,
    Title,
    Meta,
}

impl Element {
    pub(super) fn of(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "script" => Element::Script,
            "style" => Element::Style,
            "textarea" => Element::Textarea,
            "title" => Element::Title,
            "meta" => Element::Meta,
            _ => Element::None,
        }
    }

    /// Name in its end tag.
    pub(super) fn end_marker(self) -> &'static str {
        match self {
            Element::Script => "script",
            Element::Style => "style",
            Element::Textarea => "textarea",
            Element::Title => "title",
            Element::None | Element::Meta => "",
        }
    }

    /// What its content is.
    pub(super) fn content(self) -> State {
        match self {
            Element::Script => State::Js,
            Element::Style => State::Css,
            Element::Textarea | Element::Title => State::Rcdata,
            Element::None | Element::Meta => State::Text,
        }
    }
}

/// Kinds of attribute, by what their values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attr {
    Plain,
    Script,
    ScriptType,
    Style,
    Url,
    Srcset,
    MetaContent,
}

impl Attr {
    /// Where its value starts.
    pub(super) fn start(self) -> State {
        match self {
            Attr::Plain | Attr::ScriptType => State::Attr,
            Attr::Script => State::Js,
            Attr::Style => State::Css,
            Attr::Url => State::Url,
            Attr::Srcset => State::Srcset,
            Attr::MetaContent => State::MetaContent,
        }
    }
}

/// A place in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) state: State,
    pub(super) delim: Delim,
    pub(super) url_part: UrlPart,
    /// Whether a slash divides rather than opening a regular expression.
    pub(super) slash_divides: bool,
    /// Open braces in each `${` that is open.
    pub(super) js_braces: Vec<u32>,
    pub(super) attr: Attr,
    pub(super) element: Element,
}

impl Context {
    pub(super) fn new(state: State, element: Element) -> Self {
        Context {
            state,
            delim: Delim::None,
            url_part: UrlPart::Start,
            slash_divides: false,
            js_braces: Vec::new(),
            attr: Attr::Plain,
            element,
        }
    }

    pub(super) fn text() -> Self {
        Context::new(State::Text, Element::None)
    }

    /// Moves on where a value, unlike text, needs no character to do so.
    pub(super) fn nudge(&mut self) {
        match self.state {
            State::Tag => self.state = State::AttrName,
            State::BeforeValue => {
                self.state = self.attr.start();
                self.delim = Delim::SpaceOrTagEnd;
                self.attr = Attr::Plain;
            }
            State::AfterName => {
                self.state = State::AttrName;
                self.attr = Attr::Plain;
            }
            _ => {}
        }
    }
}

//! XML answers as trees: what AWS's older protocols speak. Bounded in depth and number, so that foreign bytes cost what
//! they are long.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Most elements of an answer: a hundred for each of 20,000 instances.
pub const ELEMENTS_MAX: usize = 2 << 20;
/// Elements within elements; AWS has about ten.
pub const DEPTH_MAX: usize = 64;

/// Why an answer cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XmlError {
    /// Other bytes than text.
    #[error("the answer is not UTF-8")]
    NotUtf8,
    /// Nothing in it.
    #[error("the answer holds no XML element")]
    NoElement,
    /// An element that does not end.
    #[error("unexpected end within <{0}>")]
    Open(String),
    /// Too many.
    #[error("more than {ELEMENTS_MAX} XML elements")]
    TooMany,
    /// Too deep.
    #[error("XML elements nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// No XML.
    #[error(transparent)]
    Syntax(#[from] quick_xml::Error),
}

/// An element.
#[derive(Debug)]
pub struct Element<'x> {
    start: BytesStart<'x>,
    text: String,
    children: Vec<Element<'x>>,
}

impl<'x> Element<'x> {
    /// The outermost element of a document.
    ///
    /// # Errors
    /// When it is none, or a limit is reached.
    pub fn parse(document: &'x [u8]) -> Result<Self, XmlError> {
        let document = std::str::from_utf8(document).map_err(|_| XmlError::NotUtf8)?;
        let mut reader = Reader::from_str(document);
        reader.config_mut().expand_empty_elements = true;
        let mut open: Vec<Element<'x>> = Vec::new();
        let mut seen = 0;
        loop {
            match reader.read_event()? {
                Event::Start(start) => {
                    seen += 1;
                    if seen > ELEMENTS_MAX {
                        return Err(XmlError::TooMany);
                    }
                    if open.len() == DEPTH_MAX {
                        return Err(XmlError::TooDeep);
                    }
                    open.push(Element {
                        start,
                        text: String::new(),
                        children: Vec::new(),
                    });
                }
                Event::End(_) => {
                    let Some(ended) = open.pop() else { continue };
                    match open.last_mut() {
                        Some(around) => around.children.push(ended),
                        None => return Ok(ended),
                    }
                }
                Event::Text(part) => {
                    if let Some(element) = open.last_mut() {
                        element
                            .text
                            .push_str(&part.decode().map_err(quick_xml::Error::from)?);
                    }
                }
                Event::CData(part) => {
                    if let Some(element) = open.last_mut() {
                        element
                            .text
                            .push_str(&part.decode().map_err(quick_xml::Error::from)?);
                    }
                }
                Event::GeneralRef(name) => {
                    let name = name.decode().map_err(quick_xml::Error::from)?;
                    let entity = format!("&{name};");
                    let text = quick_xml::escape::unescape(&entity).map_err(quick_xml::Error::from)?;
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text);
                    }
                }
                Event::Eof => {
                    return Err(open.pop().map_or(XmlError::NoElement, |element| {
                        XmlError::Open(
                            String::from_utf8_lossy(element.start.local_name().as_ref()).into_owned(),
                        )
                    }));
                }
                _ => {}
            }
        }
    }

    /// Compat: names are compared without regard to case, as AWS's SDK does.
    fn is(&self, name: &str) -> bool {
        self.start
            .local_name()
            .as_ref()
            .eq_ignore_ascii_case(name.as_bytes())
    }

    /// The first element of a name directly in this one.
    pub fn child(&self, name: &str) -> Option<&Element<'x>> {
        self.children.iter().find(|child| child.is(name))
    }

    /// The first element on a path of names below this one.
    pub fn at(&self, path: &[&str]) -> Option<&Element<'x>> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// The text of an element directly in this one; `None` where there is no such element.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// The text directly in this element.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The elements directly in the element `name` of this one, whatever they are called: the members of a list.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &Element<'x>> {
        self.child(name).into_iter().flat_map(|list| list.children.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_read_and_what_is_broken_or_too_much_is_named() {
        let document = b"<?xml version=\"1.0\"?>\n<R xmlns='x'><a:L xmlns:a='y'><item><k>x &amp; &#33;</k><e/></item><item><![CDATA[<y>]]></item></a:L></R>";
        let root = Element::parse(document).expect("XML");
        let items: Vec<&Element<'_>> = root.list("l").collect();
        assert_eq!(items[0].text_of("K"), Some("x & !"));
        assert_eq!(
            (items[0].text_of("e"), items[0].text_of("none")),
            (Some(""), None)
        );
        assert_eq!(items[1].text(), "<y>");
        assert_eq!(root.at(&["L", "item", "k"]).map(Element::text), Some("x & !"));
        for bad in ["", "{}", "<a><b></a>", "<a>", "<a", "<a>&nothing;</a>", "<a b=>"] {
            assert!(Element::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(matches!(Element::parse(&[b'<', 0xff]), Err(XmlError::NotUtf8)));
        let deep = "<a>".repeat(DEPTH_MAX + 1);
        assert!(matches!(Element::parse(deep.as_bytes()), Err(XmlError::TooDeep)));
        let many = format!("<r>{}</r>", "<a/>".repeat(ELEMENTS_MAX));
        assert!(matches!(Element::parse(many.as_bytes()), Err(XmlError::TooMany)));
    }

    /// Bytes from outside never panic: a good answer cut at every place, and with bytes changed at random.
    #[test]
    fn damaged_answers_never_panic() {
        let document = b"<?xml version=\"1.0\"?><R xmlns='x' a=\"b\"><L><item><k>x &amp; &#x21;</k><e/></item><!-- c --><i><![CDATA[<y>]]></i></L></R>";
        for end in 0..document.len() {
            let _ = Element::parse(&document[..end]);
        }
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..20_000 {
            let mut damaged = document.to_vec();
            for _ in 0..3 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = (random >> 8) as usize % damaged.len();
                damaged[at] = random as u8;
            }
            let _ = Element::parse(&damaged);
        }
    }
}

//! A YAML document as a tree that remembers where everything stands.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use model::stack::{deep, with_bytes};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;

use crate::error::YamlError;

/// Deepest nesting of lists and mappings; configurations have some ten levels.
const NESTING_MAX: usize = 100;

/// Marks that open a collection and are open at a time, beyond which a text is not even handed to the reader. Texts in
/// quotes are not told apart, hence more than [`NESTING_MAX`].
const MARKS_OPEN_MAX: usize = 1000;
/// Stack for the reader: what it takes for that many.
const READER_STACK_BYTES: usize = 64 << 20;

/// Where a node stands in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// First byte.
    pub offset: usize,
    /// Length in bytes; for a collection, that of its opening mark.
    pub bytes: usize,
}

/// A node of the tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Where it stands; for an alias, where the anchor's value stands.
    pub position: Position,
}

/// The kinds of node.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order written.
    Mapping(Vec<(Node, Node)>),
}

/// A single value: what it would be by itself, and the text that it was written as.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The value as text: unquoted for strings, as written for all else.
    pub text: String,
    /// What it is.
    pub kind: ScalarKind,
}

/// What a scalar is when nobody asks for a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScalarKind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true`, `yes`, `on` and their opposites.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text, quoted or not.
    String,
}

/// A file's text and its tree.
#[derive(Debug)]
pub struct Document {
    path: String,
    text: Arc<str>,
    root: Node,
    is_json: bool,
}

impl Document {
    pub(crate) fn new(path: &str, text: Arc<str>, root: Node, is_json: bool) -> Self {
        Document {
            path: path.to_owned(),
            text,
            root,
            is_json,
        }
    }

    /// Whether the rules of JSON hold: texts have quotes, keys any case.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// The name that errors give.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The text as it was read.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The outermost value; null for an empty document.
    pub fn root(&self) -> Value<'_> {
        Value {
            document: self,
            node: &self.root,
        }
    }
}

/// A node together with its document: what sections are read from.
#[derive(Clone, Copy, Debug)]
pub struct Value<'d> {
    /// The document that errors quote.
    pub document: &'d Document,
    /// The node.
    pub node: &'d Node,
}

impl<'d> Value<'d> {
    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(
            &self.node.kind,
            NodeKind::Scalar(Scalar {
                kind: ScalarKind::Null,
                ..
            })
        )
    }

    /// The scalar, if it is one.
    pub fn scalar(&self) -> Option<&'d Scalar> {
        match &self.node.kind {
            NodeKind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The value of a mapping's key.
    pub fn entry(&self, key: &str) -> Option<Value<'d>> {
        let NodeKind::Mapping(pairs) = &self.node.kind else {
            return None;
        };
        let is_key = |node: &Node| matches!(&node.kind, NodeKind::Scalar(scalar) if scalar.text == key);
        let (_, node) = pairs.iter().find(|(name, _)| is_key(name))?;
        Some(Value {
            document: self.document,
            node,
        })
    }

    /// Elements of a list; none for null.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn sequence(&self) -> Result<Vec<Value<'d>>, YamlError> {
        match &self.node.kind {
            NodeKind::Sequence(nodes) => Ok(nodes
                .iter()
                .map(|node| Value {
                    document: self.document,
                    node,
                })
                .collect()),
            _ if self.is_null() => Ok(Vec::new()),
            _ => Err(self.unexpected("a list")),
        }
    }

    /// An error about this value.
    pub fn error(&self, message: impl fmt::Display) -> YamlError {
        YamlError::new(self.document, self.node.position, message.to_string())
    }

    /// An error that says what was found and what was expected.
    pub fn unexpected(&self, expected: &str) -> YamlError {
        let found = match &self.node.kind {
            NodeKind::Scalar(Scalar {
                kind: ScalarKind::Null,
                ..
            }) => "nothing".to_owned(),
            NodeKind::Scalar(scalar) => format!("`{}`", shorten(&scalar.text)),
            NodeKind::Sequence(_) => "a list".to_owned(),
            NodeKind::Mapping(_) => "a mapping".to_owned(),
        };
        self.error(format_args!("expected {expected}, found {found}"))
    }
}

fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    match line.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// Reads the first document of `text`; `path` is the name that errors give.
///
/// # Errors
/// When `text` is not YAML, or a mapping has a key twice.
pub fn parse(path: &str, text: &str) -> Result<Document, YamlError> {
    // Go's reader takes the first document of several and never looks at the rest.
    let mut documents = parse_all(path, text)?;
    if documents.is_empty() {
        let root = Node {
            kind: NodeKind::Scalar(Scalar {
                text: String::new(),
                kind: ScalarKind::Null,
            }),
            position: Position {
                line: 1,
                column: 1,
                ..Position::default()
            },
        };
        return Ok(Document::new(path, Arc::from(text), root, false));
    }
    Ok(documents.swap_remove(0))
}

/// Reads every document of `text`.
///
/// # Errors
/// As [`parse`].
pub fn parse_all(path: &str, text: &str) -> Result<Vec<Document>, YamlError> {
    let shared: Arc<str> = Arc::from(text);
    let options = serde_yaml::options! {
        budget: None,
        legacy_octal_numbers: true,
        non_finite_float_policy: serde_yaml::NonFiniteFloatPolicy::PassThrough,
    };
    if let Some(offset) = too_deep(text) {
        return Err(nested_too_deep(path, &shared, offset));
    }
    // The reader recurses, too.
    let raw: Vec<Spanned<Raw>> = with_bytes(READER_STACK_BYTES, || {
        serde_yaml::from_multiple_with_options(text, options)
    })
    .map_err(|error| YamlError::from_reader(path, &shared, &error))?;
    Ok(raw
        .into_iter()
        .map(|root| Document::new(path, shared.clone(), to_node(root, text), false))
        .collect())
}

/// Where a text opens more collections than the reader could bear: brackets and braces within each other, lines that are
/// indented more and more, or dashes and question marks behind each other.
fn too_deep(text: &str) -> Option<usize> {
    let (mut flow, mut offset) = (0_usize, 0);
    let mut indents: Vec<usize> = Vec::new();
    for line in text.split_inclusive('\n') {
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        if !content.trim().is_empty() {
            while indents.last().is_some_and(|last| *last >= indent) {
                indents.pop();
            }
            indents.push(indent);
        }
        let mut rest = content;
        let mut marks = 0;
        while let Some(behind) = ["- ", "? "].iter().find_map(|mark| rest.strip_prefix(mark)) {
            rest = behind.trim_start_matches(' ');
            marks += 1;
        }
        for (at, byte) in line.bytes().enumerate() {
            match byte {
                b'[' | b'{' => flow += 1,
                b']' | b'}' => flow = flow.saturating_sub(1),
                _ => continue,
            }
            if flow > MARKS_OPEN_MAX {
                return Some(offset + at);
            }
        }
        if marks + indents.len() > MARKS_OPEN_MAX {
            return Some(offset + indent);
        }
        offset += line.len();
    }
    None
}

fn nested_too_deep(path: &str, text: &Arc<str>, offset: usize) -> YamlError {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let position = Position {
        line: 1 + before.matches('\n').count() as u32,
        column: 1 + before[line_start..].chars().count() as u32,
        offset,
        bytes: 1,
    };
    let document = Document {
        path: path.to_owned(),
        is_json: false,
        text: text.clone(),
        root: Node {
            kind: NodeKind::Sequence(Vec::new()),
            position,
        },
    };
    let message = format!("lists and mappings are nested more than {NESTING_MAX} levels deep");
    YamlError::new(&document, position, message)
}

/// What the YAML reader gives before positions and texts are looked up.
enum Raw {
    Scalar(ScalarKind, String),
    Sequence(Vec<Spanned<Raw>>),
    Mapping(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

fn to_node(raw: Spanned<Raw>, text: &str) -> Node {
    let location = raw.defined;
    let span = location.span();
    let offset = span.byte_offset().unwrap_or(0) as usize;
    let bytes = span.byte_len().unwrap_or(0) as usize;
    let position = Position {
        line: location.line() as u32,
        column: location.column() as u32,
        offset,
        bytes,
    };
    let kind = match raw.value {
        Raw::Scalar(ScalarKind::String, text) => NodeKind::Scalar(Scalar {
            text,
            kind: ScalarKind::String,
        }),
        Raw::Scalar(kind, _) => {
            let written = text
                .get(offset..offset + bytes)
                .unwrap_or("")
                .trim_end()
                .to_owned();
            NodeKind::Scalar(Scalar { text: written, kind })
        }
        Raw::Sequence(items) => {
            NodeKind::Sequence(items.into_iter().map(|item| to_node(item, text)).collect())
        }
        Raw::Mapping(pairs) => NodeKind::Mapping(
            pairs
                .into_iter()
                .map(|(k, v)| (to_node(k, text), to_node(v, text)))
                .collect(),
        ),
    };
    Node { kind, position }
}

thread_local! {
    /// Collections around the one that is being read: values of lists and mappings are read by way of types that cannot
    /// hand it on.
    static NESTING: Cell<usize> = const { Cell::new(0) };
}

/// One more collection, until it is dropped.
struct Nested;

impl Nested {
    fn begin<E: serde::de::Error>() -> Result<Self, E> {
        let nesting = NESTING.get();
        if nesting == NESTING_MAX {
            return Err(E::custom(format_args!(
                "lists and mappings are nested more than {NESTING_MAX} levels deep"
            )));
        }
        NESTING.set(nesting + 1);
        Ok(Nested)
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        NESTING.set(NESTING.get() - 1);
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deep(|| deserializer.deserialize_any(RawVisitor))
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(ScalarKind::Null, String::new()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(ScalarKind::Bool(value), String::new()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(ScalarKind::Int(value), String::new()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(
            i64::try_from(value).map_or(ScalarKind::Float(value as f64), ScalarKind::Int),
            String::new(),
        ))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(ScalarKind::Float(value), String::new()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(ScalarKind::String, value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Scalar(ScalarKind::String, value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let _nested = Nested::begin()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let _nested = Nested::begin()?;
        let mut pairs = Vec::new();
        while let Some(pair) = access.next_entry()? {
            pairs.push(pair);
        }
        Ok(Raw::Mapping(pairs))
    }
}

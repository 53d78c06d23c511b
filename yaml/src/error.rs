//! What is wrong with a configuration file, and where.

use std::fmt;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::node::{Document, Position};

/// An error about one place of a file. `Display` gives one line, [`YamlError::render`] shows the place.
#[derive(Clone)]
pub struct YamlError {
    path: String,
    text: Arc<str>,
    position: Position,
    message: String,
    help: Option<String>,
}

impl YamlError {
    pub(crate) fn new(document: &Document, position: Position, message: String) -> Self {
        YamlError {
            path: document.path().to_owned(),
            text: document.text().clone(),
            position,
            message,
            help: None,
        }
    }

    /// An error about a place of `text` that another reader found; `path` is the name that the error gives.
    pub fn at(path: &str, text: &str, position: Position, message: impl Into<String>) -> Self {
        YamlError {
            path: path.to_owned(),
            text: Arc::from(text),
            position,
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn from_reader(path: &str, text: &Arc<str>, error: &serde_yaml::Error) -> Self {
        let location = error.location();
        let (line, column) = location.map_or((1, 1), |l| (l.line() as u32, l.column() as u32));
        let position = Position {
            line,
            column,
            offset: offset_of(text, line, column),
            bytes: 1,
        };
        let whole = error.without_snippet().to_string();
        // The reader repeats the position in front of its message and names its own options behind some.
        let message = whole
            .strip_prefix(&format!("line {line} column {column}: "))
            .unwrap_or(&whole);
        let message = message.strip_prefix("error: ").unwrap_or(message);
        let message = match message.split_once(", set DuplicateKeyPolicy") {
            Some((head, _)) => head,
            None => message.split(" at line ").next().unwrap_or(message),
        };
        let message = message.split(". If you just use").next().unwrap_or(message);
        YamlError {
            path: path.to_owned(),
            text: text.clone(),
            position,
            message: message.to_owned(),
            help: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Name of the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The line that it speaks of, with a mark under the place and without the message; with colours if `color`.
    pub fn place(&self, color: bool) -> String {
        mark(&self.path, &self.text, self.position, color)
    }

    /// The error with the line it speaks of and a mark under the place; with colours if `color`.
    pub fn render(&self, color: bool) -> String {
        // Offsets that fell behind the end of the text would make the renderer panic.
        let start = floor_char_boundary(&self.text, self.position.offset.min(self.text.len()));
        let line_end = self.text[start..]
            .find('\n')
            .map_or(self.text.len(), |at| start + at);
        let end =
            floor_char_boundary(&self.text, (start + self.position.bytes.max(1)).min(line_end)).max(start);
        let snippet = Snippet::source(&*self.text)
            .path(self.path.as_str())
            .fold(true)
            .annotation(AnnotationKind::Primary.span(start..end));
        let mut group = Level::ERROR.primary_title(self.message.as_str()).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
    }
}

/// `file:line:column: message (help)`
impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.path, self.position.line, self.position.column, self.message
        )?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "YamlError({self})")
    }
}

impl std::error::Error for YamlError {}

/// The line of a file's `text` at `position`, with a mark under the place, and nothing said about it; with colours if
/// `color`. Looks at that line alone.
pub fn mark(path: &str, text: &str, position: Position, color: bool) -> String {
    let start = floor_char_boundary(text, position.offset.min(text.len()));
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let end = floor_char_boundary(text, (start + position.bytes.max(1)).min(line_end)).max(start);
    let snippet = Snippet::source(&text[line_start..line_end])
        .path(path)
        .line_start(position.line.max(1) as usize)
        .annotation(AnnotationKind::Primary.span(start - line_start..end - line_start));
    let group = Level::ERROR.primary_title("").element(snippet);
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let whole = renderer.decor_style(DecorStyle::Ascii).render(&[group]);
    // The title is the first line.
    whole
        .split_once('\n')
        .map_or(String::new(), |(_, rest)| rest.to_owned())
}

fn offset_of(text: &str, line: u32, column: u32) -> usize {
    let line_start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1) as usize)
        .map(str::len)
        .sum();
    let rest = &text[line_start.min(text.len())..];
    line_start
        + rest
            .char_indices()
            .nth(column.saturating_sub(1) as usize)
            .map_or(rest.len(), |(at, _)| at)
}

fn floor_char_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

//! The Alertmanager's label matchers: what routes, inhibition rules, silences and filters ask of an alert.
//!
//! There are two ways of writing them. The classic one knows names of ASCII letters and takes nearly anything for a
//! value; the UTF-8 one knows any name and is strict about quotes. By default both are tried, and where they disagree the
//! classic one's word counts ([`Syntax::Fallback`]).
//!
//! ```
//! use narthex_notify::matcher::{Matchers, Syntax};
//! let matchers = Syntax::default().matchers(r#"{team=~"db|web", env!=lab}"#)?;
//! assert_eq!(Matchers::from(matchers).to_string(), r#"{team=~"db|web",env!="lab"}"#);
//! # Ok::<(), narthex_notify::matcher::MatcherError>(())
//! ```

mod classic;
mod lexer;
mod utf8;

use std::fmt;

use model::go::Quoted;
use model::labels::{Labels, is_legacy_label_name};
use model::regex::{Regex, RegexError};

pub use error::MatcherError;
pub use model::matcher::MatchOp;

mod error;

/// One condition on the value of one label; a missing label has the empty value.
///
/// Differs from [`model::matcher::Matcher`] in what `.` means and in how it prints.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Label whose value is looked at.
    pub name: String,
    /// How.
    pub op: MatchOp,
    /// What it is compared with: a literal or a pattern.
    pub value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// A matcher; compiles the pattern of regular-expression operators.
    ///
    /// # Errors
    /// When the pattern is not valid RE2 syntax.
    pub fn new(op: MatchOp, name: impl Into<String>, value: impl Into<String>) -> Result<Self, RegexError> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Regex::anchored_in_line(&value)?),
        };
        Ok(Matcher {
            name: name.into(),
            op,
            value,
            regex,
        })
    }

    /// Whether a label of this value satisfies the condition.
    pub fn matches(&self, value: &str) -> bool {
        let is = match &self.regex {
            Some(regex) => regex.is_match(value),
            None => self.value == value,
        };
        is != matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// What two matchers are compared by: the order that the reference sorts them in.
    fn key(&self) -> (&str, &str, MatchOp) {
        (&self.name, &self.value, self.op)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Matcher {}

/// `name="value"`; the name is quoted where the UTF-8 syntax asks for it.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self.op.as_str();
        if self.name.chars().any(lexer::is_reserved) {
            return write!(f, "{}{op}{}", Quoted(&self.name), Quoted(&self.value));
        }
        write!(f, "{}{op}\"", self.name)?;
        for c in self.value.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => fmt::Write::write_char(f, c)?,
            }
        }
        f.write_str("\"")
    }
}

/// Matchers that must all be satisfied, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matchers(Vec<Matcher>);

impl Matchers {
    /// Whether `labels` satisfies all of them.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0
            .iter()
            .all(|matcher| matcher.matches(labels.value(&matcher.name)))
    }

    /// Whether labels pass as a filter of the API: as [`Matchers::matches`], but an empty value asks for the absence or
    /// presence of the label alone.
    pub fn filter(&self, label: impl Fn(&str) -> Option<String>) -> bool {
        self.0.iter().all(|matcher| {
            let value = label(&matcher.name);
            let negative = matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRegex);
            // Compat: decided by the label's presence, where the pattern is empty (`alerts-get`).
            (matcher.value.is_empty() && value.is_some() == negative)
                || matcher.matches(value.as_deref().unwrap_or(""))
        })
    }

    /// Sorted by name, value and operator, as the configuration has them.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| a.key().cmp(&b.key()));
        self
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Matcher> {
        self.0.iter()
    }

    /// Whether there are none: then everything matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<Vec<Matcher>> for Matchers {
    fn from(matchers: Vec<Matcher>) -> Self {
        Matchers(matchers)
    }
}

impl FromIterator<Matcher> for Matchers {
    fn from_iter<I: IntoIterator<Item = Matcher>>(matchers: I) -> Self {
        Matchers(matchers.into_iter().collect())
    }
}

/// `{a="b",c=~"d"}`
impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, matcher) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            matcher.fmt(f)?;
        }
        f.write_str("}")
    }
}

/// How matchers are written, and which names labels may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syntax {
    /// Both; the classic one where they disagree, and names of any characters.
    #[default]
    Fallback,
    /// The classic one alone (`--enable-feature=classic-mode`).
    Classic,
    /// The UTF-8 one alone (`--enable-feature=utf8-strict-mode`).
    Utf8,
}

impl Syntax {
    /// Reads a list of matchers, in braces or without.
    ///
    /// # Errors
    /// In the reference's words.
    pub fn matchers(self, text: &str) -> Result<Vec<Matcher>, MatcherError> {
        match self {
            Syntax::Classic => classic::matchers(text),
            Syntax::Utf8 => utf8::matchers(text),
            Syntax::Fallback => {
                agree(utf8::matchers(text), classic::matchers(text)).map(|agreed| logged(text, agreed))
            }
        }
    }

    /// Reads one matcher, without braces. The log is told of dissent.
    ///
    /// # Errors
    /// In the reference's words.
    pub fn matcher(self, text: &str) -> Result<Matcher, MatcherError> {
        self.matcher_and_dissent(text).map(|agreed| logged(text, agreed))
    }

    /// Reads one matcher, without braces, and leaves it to the caller to tell of dissent.
    ///
    /// # Errors
    /// In the reference's words.
    pub fn matcher_and_dissent(self, text: &str) -> Result<(Matcher, Option<Dissent>), MatcherError> {
        if self != Syntax::Classic && (text.starts_with('{') || text.ends_with('}')) {
            return Err(MatcherError::Brace(text.to_owned()));
        }
        match self {
            Syntax::Classic => Ok((classic::matcher(text)?, None)),
            Syntax::Utf8 => Ok((utf8::matcher(text)?, None)),
            Syntax::Fallback => agree(utf8::matcher(text), classic::matcher(text)),
        }
    }

    /// Whether a label may be called so.
    pub fn is_label_name(self, name: &str) -> bool {
        match self {
            Syntax::Classic => is_legacy_label_name(name),
            Syntax::Fallback | Syntax::Utf8 => !name.is_empty(),
        }
    }
}

/// What the two ways of writing make of a text that they do not agree on. The classic one's word counts; who wrote the text
/// should hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dissent {
    /// It is not in the UTF-8 syntax: why not.
    NotUtf8(MatcherError),
    /// It means something else there.
    Different,
}

impl Dissent {
    fn log(&self, text: &str) {
        match self {
            Dissent::NotUtf8(error) => tracing::warn!(
                input = text,
                err = %error,
                "Matchers are not in the UTF-8 syntax; quote values and escape backslashes"
            ),
            Dissent::Different => tracing::warn!(
                input = text,
                "Matchers mean different things in the classic and the UTF-8 syntax"
            ),
        }
    }
}

/// Decides between what the two parsers made of a text.
fn agree<T: PartialEq>(
    strict: Result<T, MatcherError>,
    classic: Result<T, MatcherError>,
) -> Result<(T, Option<Dissent>), MatcherError> {
    match (strict, classic) {
        (Err(_), Err(classic)) => Err(classic),
        (Err(error), Ok(classic)) => Ok((classic, Some(Dissent::NotUtf8(error)))),
        (Ok(strict), Ok(classic)) if strict != classic => Ok((classic, Some(Dissent::Different))),
        (Ok(strict), _) => Ok((strict, None)),
    }
}

/// Tells the log of what the parsers do not agree on.
fn logged<T>(text: &str, (agreed, dissent): (T, Option<Dissent>)) -> T {
    if let Some(dissent) = dissent {
        dissent.log(text);
    }
    agreed
}

#[cfg(test)]
mod tests;

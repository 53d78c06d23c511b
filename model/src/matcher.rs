//! Label matchers: what a selector asks of a series.

use std::fmt;

use crate::labels::{Labels, is_legacy_label_name, write_quoted};
use crate::regex::{Regex, RegexError};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// One condition on the value of one label; a missing label has the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Label whose value is looked at.
    pub name: String,
    /// How.
    pub op: MatchOp,
    /// What it is compared with: a literal or a pattern.
    pub value: String,
    /// Compiled pattern, for the two regular-expression operators.
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
            MatchOp::Regex | MatchOp::NotRegex => Some(Regex::new(&value)?),
        };
        Ok(Matcher {
            name: name.into(),
            op,
            value,
            regex,
        })
    }

    /// A matcher for what `regex` matches, or for what it does not match: for patterns that are compiled already.
    pub fn of_regex(negative: bool, name: impl Into<String>, regex: Regex) -> Self {
        Matcher {
            name: name.into(),
            op: if negative {
                MatchOp::NotRegex
            } else {
                MatchOp::Regex
            },
            value: regex.pattern().to_owned(),
            regex: Some(regex),
        }
    }

    /// A matcher for one value.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Matcher {
            name: name.into(),
            op: MatchOp::Equal,
            value: value.into(),
            regex: None,
        }
    }

    /// Whether a label of this value satisfies the condition.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => self.value == value,
            (MatchOp::NotEqual, _) => self.value != value,
            (MatchOp::Regex, Some(regex)) => regex.is_match(value),
            (MatchOp::NotRegex, Some(regex)) => !regex.is_match(value),
            (_, None) => unreachable!("regex operators carry a pattern"),
        }
    }

    /// Whether `labels` satisfies the condition.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.value(&self.name))
    }

    /// Whether series without this label satisfy the condition.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The compiled pattern of a regular-expression matcher, with its literals and prefix for index look-ups.
    pub fn regex(&self) -> Option<&Regex> {
        self.regex.as_ref()
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

/// `name="value"`, the name quoted where it must be.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            write_quoted(f, &self.name)?;
        }
        f.write_str(self.op.as_str())?;
        write_quoted(f, &self.value)
    }
}

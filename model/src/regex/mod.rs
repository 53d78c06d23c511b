//! Regular expressions in RE2's syntax, anchored at both ends as matchers and relabelling use them.

/// A compiled pattern that must match a whole text; `.` matches line ends.
#[derive(Clone, Debug)]
pub struct Regex {
    inner: regex_automata::meta::Regex,
    pattern: String,
}

/// Why a pattern was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {what}: `{fragment}`")]
pub struct RegexError {
    /// What is wrong.
    pub what: String,
    /// The part of the pattern that is wrong.
    pub fragment: String,
}

impl Regex {
    /// Compiles `pattern` as `^(?s:pattern)$`.
    ///
    /// # Errors
    /// When `pattern` is not valid RE2 syntax.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let inner =
            regex_automata::meta::Regex::new(&format!("^(?s:{pattern})$")).map_err(|e| RegexError {
                what: e.to_string(),
                fragment: pattern.to_owned(),
            })?;
        Ok(Regex {
            inner,
            pattern: pattern.to_owned(),
        })
    }

    /// The pattern as it was given.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.inner.is_match(text)
    }
}

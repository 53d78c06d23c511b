//! The regular expressions of a query, compiled once each and within a budget: a text of a few megabytes can hold
//! hundreds of thousands of them, and each takes kilobytes.

use foldhash::HashMap;
use model::matcher::{MatchOp, Matcher};
use model::regex::{AUTOMATON_BYTES_MAX, Regex, RegexError, RegexErrorKind};

use super::error::Problem;

/// What has been compiled so far.
#[derive(Default)]
pub(super) struct Patterns {
    compiled: HashMap<String, Regex>,
    bytes: usize,
}

impl Patterns {
    /// A matcher; its pattern, if it has one, is compiled unless it was before.
    ///
    /// # Errors
    /// When the pattern is wrong, or all of them would take more than `bytes_max`.
    pub(super) fn matcher(
        &mut self,
        op: MatchOp,
        name: String,
        value: String,
        bytes_max: usize,
    ) -> Result<Matcher, Problem> {
        if let MatchOp::Equal | MatchOp::NotEqual = op {
            return Ok(Matcher::new(op, name, value)?);
        }
        let negative = op == MatchOp::NotRegex;
        if let Some(regex) = self.compiled.get(&value) {
            return Ok(Matcher::of_regex(negative, name, regex.clone()));
        }
        let too_large = Problem::PatternsTooLarge(bytes_max);
        let Some(left) = bytes_max.checked_sub(self.bytes).filter(|left| *left > 0) else {
            return Err(too_large);
        };
        let over_budget =
            |error: &RegexError| error.kind == RegexErrorKind::TooLarge && left < AUTOMATON_BYTES_MAX;
        let regex = match Regex::new_within(&value, left) {
            Ok(regex) => regex,
            Err(error) if over_budget(&error) => return Err(too_large),
            Err(error) => return Err(error.into()),
        };
        self.bytes += regex.memory_bytes();
        if self.bytes > bytes_max {
            return Err(too_large);
        }
        self.compiled.insert(value, regex.clone());
        Ok(Matcher::of_regex(negative, name, regex))
    }
}

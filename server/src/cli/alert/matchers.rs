//! Matchers and labels on the command line.

use std::fmt::Write as _;

use jiff::Timestamp;
use model::go::Quoted;
use notify::matcher::{Dissent, MatchOp, Matcher, MatcherError, Syntax};

use super::api::Pairs;
use super::error::AlertError;
use super::line::Line;
use crate::cli::render::out;
use crate::logging::write_value;

/// What users of the classic syntax are told.
const NOT_UTF8: &str = "Alertmanager is moving to a new parser for labels and matchers, and this input is incompatible. \
    Alertmanager has instead parsed the input using the classic matchers parser as a fallback. To make this input \
    compatible with the UTF-8 matchers parser please make sure all regular expressions and values are double-quoted and \
    backslashes are escaped. If you are still seeing this message please open an issue.";

/// Reads the words of a line, and warns of those that another Alertmanager may understand otherwise.
pub(super) struct Words {
    syntax: Syntax,
}

impl Words {
    /// In the syntax that `--enable-feature` names.
    ///
    /// # Errors
    /// When it names features that are not there, or two that exclude each other.
    pub(super) fn new(line: &Line) -> Result<Self, AlertError> {
        const OTHERS: [&str; 5] = [
            "alert-names-in-metrics",
            "receiver-name-in-metrics",
            "group-key-in-metrics",
            "auto-gomemlimit",
            "event-recorder",
        ];
        let (mut classic, mut strict) = (false, false);
        for name in line.text("enable-feature").split(',') {
            match name {
                "classic-mode" => classic = true,
                "utf8-strict-mode" => strict = true,
                name if name.is_empty() || OTHERS.contains(&name) => {}
                name => {
                    let error = format!("unknown option '{name}' for --enable-feature");
                    return Err(AlertError::Feature(error));
                }
            }
        }
        let syntax = match (classic, strict) {
            (true, true) => {
                let error = "cannot have both classic and UTF-8 modes enabled".to_owned();
                return Err(AlertError::Feature(error));
            }
            (true, false) => Syntax::Classic,
            (false, true) => Syntax::Utf8,
            (false, false) => Syntax::Fallback,
        };
        Ok(Words { syntax })
    }

    /// The syntax.
    pub(super) fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// Reads a matcher. Compat: warnings are log lines on standard output (`alert-add`).
    pub(super) fn matcher(&self, word: &str) -> Result<Matcher, MatcherError> {
        let (matcher, dissent) = self.syntax.matcher_and_dissent(word)?;
        match dissent {
            Some(Dissent::NotUtf8(error)) => {
                let suggestion = matcher.to_string();
                let fields = [("err", error.to_string()), ("suggestion", suggestion)];
                warn(NOT_UTF8, word, &fields);
            }
            Some(Dissent::Different) => warn("Matchers input has disagreement", word, &[]),
            None => {}
        }
        Ok(matcher)
    }

    /// The words of a line, of which the first may be an alertname alone.
    pub(super) fn with_alertname(&self, words: &[String]) -> Vec<String> {
        let mut words = words.to_vec();
        if let Some(first) = words.first_mut()
            && self.matcher(first).is_err()
        {
            *first = format!("alertname={}", Quoted(first));
        }
        words
    }

    /// Reads `name=value` words; of several with one name the last counts. `what` they are is for errors.
    ///
    /// # Errors
    /// When one is no matcher, or compares otherwise.
    pub(super) fn pairs(&self, words: &[String], what: &'static str) -> Result<Pairs, AlertError> {
        let mut pairs = Pairs::new();
        for word in words {
            let matcher = self.matcher(word)?;
            if matcher.op != MatchOp::Equal {
                return Err(AlertError::NotPairs(what));
            }
            pairs.insert(matcher.name, matcher.value);
        }
        Ok(pairs)
    }
}

fn warn(message: &str, input: &str, fields: &[(&str, String)]) {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    let mut line = format!("time={now} level=WARN source=matcher msg={}", Quoted(message));
    let first = [("input", input), ("origin", "cli")];
    let rest = fields.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in first.into_iter().chain(rest) {
        write!(line, " {name}=").expect("writing to memory");
        write_value(&mut line, value).expect("writing to memory");
    }
    out(line);
}

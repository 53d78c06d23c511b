//! A line with a mark under the place where something is wrong: how ways in whose bodies are lines tell it.

use std::fmt;

/// Most bytes of a line that are shown, around the place.
const SHOWN_BYTES: usize = 120;

/// A place in a line, and what is around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// Character of the line, from 1.
    pub(crate) column: usize,
    /// The line, or the part of it around the place.
    shown: String,
    /// Characters of what is shown in front of the place.
    mark: usize,
}

impl Excerpt {
    /// What is around byte `at` of a line. What is no text in it is shown as such.
    pub(crate) fn new(line: &[u8], at: usize) -> Self {
        let at = boundary(line, at.min(line.len()));
        let begin = boundary(line, at.saturating_sub(SHOWN_BYTES / 2));
        let end = boundary(line, (begin + SHOWN_BYTES).min(line.len()));
        let chars = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().count();
        Excerpt {
            column: chars(&line[..at]) + 1,
            // What would move the mark, or do worse, is shown as a blank.
            shown: String::from_utf8_lossy(&line[begin..end])
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
            mark: chars(&line[begin..at]),
        }
    }
}

/// The last place up to `at` that is not within a character.
fn boundary(line: &[u8], mut at: usize) -> usize {
    while line.get(at).is_some_and(|byte| byte & 0xc0 == 0x80) && at > 0 {
        at -= 1;
    }
    at
}

/// The line, and the mark in a line of its own.
impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Excerpt { shown, mark, .. } = self;
        write!(f, "  {shown}\n  {:mark$}^", "")
    }
}

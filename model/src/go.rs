//! Forms of Go's that the reference's messages and parameters have.

use std::fmt;

use crate::labels::write_quoted;

/// A text in Go's double quotes, as `%q` prints it.
///
/// ```
/// use narthex_model::go::Quoted;
/// assert_eq!(Quoted("a \"b\"\n").to_string(), r#""a \"b\"\n""#);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_quoted(f, self.0)
    }
}

/// The words that Go takes for booleans.
///
/// ```
/// use narthex_model::go::parse_bool;
/// assert_eq!([parse_bool("T"), parse_bool("0"), parse_bool("yes")], [Some(true), Some(false), None]);
/// ```
pub fn parse_bool(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

//! Values of flags.

use std::io::ErrorKind;
use std::path::Path;

use model::go::Quoted;
use url::Url;

use super::error::LineError;
use super::{Flag, Kind};

/// Whether a flag may have a value.
///
/// # Errors
/// Why it may not.
pub(super) fn check(flag: &Flag, value: &str) -> Result<(), LineError> {
    match flag.kind {
        Kind::Text | Kind::Texts => Ok(()),
        Kind::Switch => match model::go::parse_bool(value) {
            Some(_) => Ok(()),
            None => Err(LineError::Switch(value.to_owned())),
        },
        Kind::Word(words) if words.contains(&value) => Ok(()),
        Kind::Word(words) => Err(LineError::Word {
            words,
            word: value.to_owned(),
        }),
        Kind::Duration => match receivers::GoDuration::parse(value) {
            Some(_) => Ok(()),
            None => Err(LineError::Duration(why_no_duration(value))),
        },
        Kind::Number => match value.parse::<f64>() {
            Ok(_) => Ok(()),
            Err(_) => Err(LineError::Number(value.to_owned())),
        },
        Kind::Url => match Url::parse(value) {
            Ok(_) => Ok(()),
            Err(source) => Err(LineError::Url {
                text: value.to_owned(),
                source,
            }),
        },
        Kind::File => check_file(value),
        Kind::OpenFile => match std::fs::File::open(value) {
            Ok(_) => Ok(()),
            Err(source) => Err(LineError::Open {
                path: value.to_owned(),
                source,
            }),
        },
    }
}

/// Whether there is a file.
///
/// # Errors
/// When there is none.
pub(super) fn check_file(path: &str) -> Result<(), LineError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let name = Path::new(path).file_name();
            let name = name.map_or(path.into(), |name| name.to_string_lossy());
            Err(LineError::Folder(name.into_owned()))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(LineError::NoFile(path.to_owned())),
        Err(source) => Err(LineError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The reference's words for a text that is no duration.
fn why_no_duration(text: &str) -> String {
    let invalid = format!("invalid duration {}", Quoted(text));
    let mut left = text.strip_prefix(['+', '-']).unwrap_or(text);
    while !left.is_empty() {
        let number = left.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (digits, rest) = left.split_at(number.unwrap_or(left.len()));
        if digits.parse::<f64>().is_err() {
            return invalid;
        }
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, rest) = rest.split_at(unit.unwrap_or(rest.len()));
        match unit {
            "" => return format!("missing unit in duration {}", Quoted(text)),
            "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h" => {}
            unit => return format!("unknown unit {} in duration {}", Quoted(unit), Quoted(text)),
        }
        left = rest;
    }
    invalid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_refused_in_the_references_words() {
        for (text, words) in [
            ("nope", "invalid duration \"nope\""),
            ("", "invalid duration \"\""),
            ("5", "missing unit in duration \"5\""),
            ("5d", "unknown unit \"d\" in duration \"5d\""),
            ("1h5", "missing unit in duration \"1h5\""),
            ("-", "invalid duration \"-\""),
        ] {
            assert_eq!(why_no_duration(text), words);
        }
    }
}

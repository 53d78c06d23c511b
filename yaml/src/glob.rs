//! Which files a path pattern names.
//!
//! The rules are those of Go's `filepath.Glob`, which differ from a shell's: `*` matches a leading dot too, braces mean
//! themselves, and what is found comes sorted. Unlike there, a folder that exists and cannot be read is an error: what is
//! in it would be missed without a word.

use std::path::{Path, PathBuf};

/// A malformed pattern: a `[` without its end, or a backslash at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
struct BadPattern;

/// Why a pattern names no files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GlobError {
    /// It is malformed.
    #[error("syntax error in pattern")]
    Pattern,
    /// A folder on the way cannot be read.
    #[error("{}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl From<BadPattern> for GlobError {
    fn from(_: BadPattern) -> Self {
        GlobError::Pattern
    }
}

/// Paths that `pattern` names now. A pattern without special characters names the path if it exists.
///
/// # Errors
/// When the pattern is malformed, or a folder cannot be read.
pub fn glob(pattern: &str) -> Result<Vec<PathBuf>, GlobError> {
    matches(pattern, "")?;
    expand(Path::new(pattern))
}

/// Whether a file's name is one that the last part of a path pattern stands for; a malformed pattern stands for none.
pub fn glob_name(pattern: &Path, name: &str) -> bool {
    let last = pattern.file_name().map(std::ffi::OsStr::to_string_lossy);
    last.is_some_and(|last| matches(&last, name).unwrap_or(false))
}

fn expand(pattern: &Path) -> Result<Vec<PathBuf>, GlobError> {
    let text = pattern.to_string_lossy();
    if !has_meta(&text) {
        return match pattern.symlink_metadata() {
            Ok(_) => Ok(vec![pattern.to_owned()]),
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            Err(source) => Err(GlobError::Folder {
                path: pattern.to_owned(),
                source,
            }),
        };
    }
    let Some(name) = pattern.file_name() else {
        return Ok(Vec::new());
    };
    let name = name.to_string_lossy();
    let folder = pattern.parent().unwrap_or(Path::new(""));
    let folders = if has_meta(&folder.to_string_lossy()) {
        expand(folder)?
    } else {
        vec![folder.to_owned()]
    };
    let mut paths = Vec::new();
    for folder in folders {
        let listed = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &folder
        };
        let mut found = Vec::new();
        for entry in entries(listed)? {
            if matches(&name, &entry.file_name().to_string_lossy())? {
                found.push(folder.join(entry.file_name()));
            }
        }
        found.sort();
        paths.append(&mut found);
    }
    Ok(paths)
}

/// What a folder holds; nothing where there is no folder.
fn entries(folder: &Path) -> Result<Vec<std::fs::DirEntry>, GlobError> {
    let read = std::fs::read_dir(folder).and_then(Iterator::collect);
    match read {
        Err(source) if !is_absent(&source) => Err(GlobError::Folder {
            path: folder.to_owned(),
            source,
        }),
        read => Ok(read.unwrap_or_default()),
    }
}

/// Whether an error says that something is not there, not that it cannot be looked into.
fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

fn has_meta(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Whether `name` is of the form `pattern`. The whole pattern is looked at, so that a malformed one is always found.
fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let tokens = tokens(pattern)?;
    let name: Vec<char> = name.chars().collect();
    // Which lengths of the pattern match the part of the name that has been seen.
    let mut states = vec![false; tokens.len() + 1];
    states[0] = true;
    skip_stars(&tokens, &mut states);
    for c in name {
        let mut next = vec![false; tokens.len() + 1];
        for (at, token) in tokens.iter().enumerate().filter(|(at, _)| states[*at]) {
            match token {
                Token::Star if c != '/' => next[at] = true,
                Token::Any if c != '/' => next[at + 1] = true,
                Token::Char(wanted) if *wanted == c => next[at + 1] = true,
                Token::Class { negated, ranges } => {
                    let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    next[at + 1] |= inside != *negated;
                }
                _ => {}
            }
        }
        states = next;
        skip_stars(&tokens, &mut states);
    }
    Ok(states[tokens.len()])
}

/// A star may match nothing.
fn skip_stars(tokens: &[Token], states: &mut [bool]) {
    for (at, token) in tokens.iter().enumerate() {
        if states[at] && matches!(token, Token::Star) {
            states[at + 1] = true;
        }
    }
}

enum Token {
    Star,
    Any,
    Char(char),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

fn tokens(pattern: &str) -> Result<Vec<Token>, BadPattern> {
    let mut chars = pattern.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::Char(chars.next().ok_or(BadPattern)?),
            '[' => class(&mut chars)?,
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, BadPattern> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_char(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() {
            class_char(chars)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, BadPattern> {
    match chars.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => chars.next().ok_or(BadPattern),
        Some(c) => Ok(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", Ok(true)),
            ("*", "abc", Ok(true)),
            ("*", ".hidden", Ok(true)),
            ("*.yml", "a.yml", Ok(true)),
            ("*.yml", "a.yml.bak", Ok(false)),
            ("a*b*c", "axxbyyc", Ok(true)),
            ("a*/b", "a/c/b", Ok(false)),
            ("a?c", "aéc", Ok(true)),
            ("a?c", "a/c", Ok(false)),
            ("[a-c]x", "bx", Ok(true)),
            ("[^a-c]x", "bx", Ok(false)),
            ("[\\]]", "]", Ok(true)),
            ("\\*", "*", Ok(true)),
            ("[a", "", Err(BadPattern)),
            ("[]a]", "", Err(BadPattern)),
            ("[-]", "", Err(BadPattern)),
            ("[a-]", "", Err(BadPattern)),
            ("a\\", "", Err(BadPattern)),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_in_order_one_level_deep() {
        let folder = tempfile::tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["b.yml", "a.yml", "c.yaml"] {
            std::fs::write(at(name), "").expect("file");
        }
        std::fs::create_dir(at("sub")).expect("folder");
        std::fs::write(at("sub/d.yml"), "").expect("file");
        let names = |pattern: &str| -> Vec<String> {
            let paths = glob(&at(pattern).to_string_lossy()).expect("pattern");
            let prefix = folder.path();
            paths
                .iter()
                .map(|path| {
                    path.strip_prefix(prefix)
                        .expect("inside")
                        .to_string_lossy()
                        .into_owned()
                })
                .collect()
        };
        assert_eq!(names("*.yml"), ["a.yml", "b.yml"]);
        assert_eq!(names("s?b/*"), ["sub/d.yml"]);
        assert_eq!(names("a.yml"), ["a.yml"]);
        assert_eq!(names("none.yml"), [""; 0]);
        assert_eq!(names("none/*"), [""; 0]);
        assert_eq!(
            glob("[").map_err(|error| error.to_string()),
            Err("syntax error in pattern".to_owned())
        );
    }
}

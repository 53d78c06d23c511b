//! `bearer_tokens`: who may ask by a token instead of a password, and for what.
//!
//! The key is ours. A token is long and random, so its SHA-256 says nothing of it: unlike a password it needs no slow hash.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use yaml::{Section, Value, YamlError};

use super::{WebConfigError, read_named};

/// Shortest token of a file, in bytes: shorter ones can be guessed.
pub(crate) const TOKEN_BYTES_MIN: usize = 20;
/// Most tokens: each request is compared with all of them.
const TOKENS_MAX: usize = 1000;
/// Largest file of a token, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 64 << 10;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Ask: queries, targets, rules, status, pages.
    Read,
    /// Send samples.
    Write,
    /// Delete, snapshot, reload, quit.
    Admin,
}

impl Scope {
    const ALL: [Scope; 3] = [Scope::Read, Scope::Write, Scope::Admin];

    /// Its word in the file.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        }
    }

    /// The scope of a word.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Scope::ALL.into_iter().find(|scope| scope.word() == word)
    }
}

/// What a token is known by.
pub(crate) type TokenDigest = [u8; 32];

/// What `token` is known by.
pub(crate) fn digest_of(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

/// One of `bearer_tokens`, as the file has it.
#[derive(Debug)]
pub(crate) struct BearerToken {
    pub(crate) name: String,
    source: Source,
    pub(crate) scopes: Vec<Scope>,
}

#[derive(Debug)]
enum Source {
    /// `token_hash`
    Digest(TokenDigest),
    /// `token_file`
    File(PathBuf),
}

impl BearerToken {
    /// Reads the list.
    pub(super) fn read_all(section: &mut Section<'_>) -> Result<Vec<Self>, YamlError> {
        let tokens = section.list("bearer_tokens", BearerToken::read)?;
        if tokens.len() > TOKENS_MAX {
            return Err(section.error_at("bearer_tokens", format_args!("more than {TOKENS_MAX} tokens")));
        }
        for (index, token) in tokens.iter().enumerate() {
            if tokens[..index].iter().any(|before| before.name == token.name) {
                let message = format_args!("token {:?} is there twice", token.name);
                return Err(section.error_at_item("bearer_tokens", index, message));
            }
        }
        Ok(tokens)
    }

    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("bearer_tokens")?;
        let name: String = section.get_or("name", String::new())?;
        if name.is_empty() {
            return Err(section.error_at(
                "name",
                "a token needs a name, by which answers and the log speak of it",
            ));
        }
        let hash: Option<String> = section.get("token_hash")?;
        let file: Option<String> = section.get("token_file")?;
        let source = match (hash, file) {
            (Some(hash), None) => Source::Digest(read_digest(&hash).ok_or_else(|| {
                // Not at its place: whoever has put the token itself there shall not read it in the log.
                let error = section.error_at(
                    "name",
                    format_args!(
                        "the token_hash of token {name:?} is no SHA-256: 64 hexadecimal digits are expected"
                    ),
                );
                error.with_help("make a token and its hash with `narthex token`, or a hash with `printf %s TOKEN | sha256sum`")
            })?),
            (None, Some(file)) if !file.is_empty() => Source::File(file.into()),
            _ => {
                let error = section.error(format_args!(
                    "token {name:?} needs one of token_hash and token_file"
                ));
                return Err(error.with_help("make a token and its hash with `narthex token`"));
            }
        };
        let scopes = section.list("scopes", |value| {
            let word = <String as yaml::FromYaml>::from_yaml(value)?;
            Scope::of_word(&word).ok_or_else(|| {
                let error = value.error(format_args!("unknown scope: {word}"));
                error.with_help("a scope is read, write or admin")
            })
        })?;
        let may_nothing = section.error_at("scopes", format_args!("token {name:?} may do nothing"));
        section.finish()?;
        if scopes.is_empty() {
            return Err(may_nothing.with_help("name its scopes: read, write, admin"));
        }
        Ok(BearerToken { name, source, scopes })
    }

    pub(super) fn resolve_path(&mut self, folder: &Path) {
        if let Source::File(path) = &mut self.source {
            *path = folder.join(&*path);
        }
    }

    /// Its file, if it stands in one.
    pub(super) fn file(&self) -> Option<&Path> {
        match &self.source {
            Source::Digest(_) => None,
            Source::File(path) => Some(path),
        }
    }

    /// What it is known by.
    ///
    /// # Errors
    /// When its file cannot be read, or holds no token.
    pub(crate) fn digest(&self) -> Result<TokenDigest, WebConfigError> {
        let path = match &self.source {
            Source::Digest(digest) => return Ok(*digest),
            Source::File(path) => path,
        };
        let failed = |source| WebConfigError::TokenFile {
            name: self.name.clone(),
            path: path.clone(),
            source,
        };
        let bytes = read_named(path, TOKEN_FILE_BYTES_MAX).map_err(failed)?;
        let text = String::from_utf8(bytes).unwrap_or_default();
        let token = text.trim();
        if token.len() < TOKEN_BYTES_MIN || token.contains(char::is_whitespace) {
            return Err(WebConfigError::WeakToken {
                name: self.name.clone(),
                path: path.clone(),
            });
        }
        Ok(digest_of(token))
    }
}

fn read_digest(hex: &str) -> Option<TokenDigest> {
    let mut digest = TokenDigest::default();
    if hex.len() != 2 * digest.len() || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// Bytes as the file has them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! The labels that name a group, as they stand in a path: `/job/NAME/label/value/…`.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use model::go::{Quoted, QuotedBytes};
use model::labels::NameScheme;

use super::family::LabelSet;

/// What follows the name of a label whose value is in base64.
const BASE64: &str = "@base64";
/// Names that begin so are ours.
const RESERVED: &str = "__";

/// The URL's alphabet. Compat: bits that stand for nothing are passed over, as Go does it.
const ALPHABET: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Why a path names no group. Compat: the words are the reference's (push/pushgateway `odd-path`, `bad-label-names`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The path is that of no group: it does not begin with a job.
    #[error("404 page not found")]
    NotFound,
    /// A label without a value.
    #[error("odd number of components in label string {}", QuotedBytes(.0))]
    Odd(Vec<u8>),
    /// A label that no group may have.
    #[error("improper label name {}", QuotedBytes(.0))]
    Name(Vec<u8>),
    /// A value that is not what its label's name announces.
    #[error("invalid base64 encoding for label {label}={}: illegal base64 data at input byte {at}", QuotedBytes(.value))]
    Base64 {
        /// The label.
        label: String,
        /// What was given.
        value: Vec<u8>,
        /// Where it goes wrong.
        at: usize,
    },
    /// The same of the job.
    #[error(
        "invalid base64 encoding in job name {}: illegal base64 data at input byte {at}",
        Quoted("")
    )]
    JobBase64 {
        /// Where it goes wrong.
        at: usize,
    },
    /// The job has no name.
    #[error("job name is required")]
    NoJob,
}

/// The labels of a group, sorted by name: its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey(pub(super) LabelSet);

impl GroupKey {
    /// Names and values.
    pub fn labels(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// From what follows `/metrics/` in a path, percent signs decoded: `job/a` or `job@base64/YQ`, and labels behind it.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_path(path: &[u8], scheme: NameScheme) -> Result<Self, KeyError> {
        let (base64, rest) = match path.strip_prefix(b"job/") {
            Some(rest) => (false, rest),
            None => (true, path.strip_prefix(b"job@base64/").ok_or(KeyError::NotFound)?),
        };
        let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let (job, labels) = rest.split_at(end);
        if job.is_empty() {
            return Err(KeyError::NotFound);
        }
        let job = match base64 {
            true => decoded(job).map_err(|at| KeyError::JobBase64 { at })?,
            false => job.to_vec(),
        };
        let mut set = labels_of(labels, scheme)?;
        if job.is_empty() {
            return Err(KeyError::NoJob);
        }
        put(&mut set, b"job", job);
        set.sort();
        Ok(GroupKey(set))
    }

    pub(super) fn from_labels(mut labels: LabelSet) -> Self {
        labels.sort();
        GroupKey(labels)
    }
}

/// Compat: of a label that stands there twice the last value counts (`label-twice-in-path`).
fn put(set: &mut LabelSet, name: &[u8], value: Vec<u8>) {
    match set.iter_mut().find(|(known, _)| **known == *name) {
        Some(entry) => entry.1 = value.into(),
        None => set.push((name.into(), value.into())),
    }
}

fn labels_of(path: &[u8], scheme: NameScheme) -> Result<LabelSet, KeyError> {
    let mut set = LabelSet::new();
    // Compat: a slash behind the job does no harm, one behind labels does (`trailing-slash`).
    let [b'/', rest @ ..] = path else { return Ok(set) };
    if rest.is_empty() {
        return Ok(set);
    }
    let parts: Vec<&[u8]> = rest.split(|byte| *byte == b'/').collect();
    let (pairs, []) = parts.as_chunks::<2>() else {
        return Err(KeyError::Odd(path.to_vec()));
    };
    for [name, value] in pairs {
        let bare = name.strip_suffix(BASE64.as_bytes()).unwrap_or(name);
        let improper = || KeyError::Name(bare.to_vec());
        let text = std::str::from_utf8(bare).map_err(|_| improper())?;
        let unescaped = match scheme {
            NameScheme::Utf8 => unescaped(text),
            NameScheme::Legacy => text.to_owned(),
        };
        // Compat: what is reserved is looked for before escapes are resolved (`utf8-on/escaped-reserved`).
        if !scheme.is_valid_label_name(&unescaped) || text.starts_with(RESERVED) {
            return Err(improper());
        }
        let value = match bare.len() == name.len() {
            true => value.to_vec(),
            false => decoded(value).map_err(|at| KeyError::Base64 {
                label: text.to_owned(),
                value: value.to_vec(),
                at,
            })?,
        };
        put(&mut set, unescaped.as_bytes(), value);
    }
    Ok(set)
}

/// Compat: padding may be there or not, one sign of it alone stands for nothing at all (`base64-empty-value`).
fn decoded(text: &[u8]) -> Result<Vec<u8>, usize> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let bare = &text[..text.len() - padding];
    // Compat: Go passes over line ends.
    let bare: Vec<u8> = bare
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    ALPHABET.decode(&bare).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) => at,
        _ => bare.len(),
    })
}

/// The name that `U__…` stands for; what is no such escape is a name as it is. Format:
/// <https://prometheus.io/docs/instrumenting/escaping_schemes/>.
fn unescaped(name: &str) -> String {
    let whole = || name.to_owned();
    let Some(mut rest) = name.strip_prefix("U__") else {
        return whole();
    };
    let mut out = String::with_capacity(rest.len());
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        if first != '_' {
            out.push(first);
            continue;
        }
        if let Some(behind) = rest.strip_prefix('_') {
            out.push('_');
            rest = behind;
            continue;
        }
        let Some((digits, behind)) = rest.split_once('_') else {
            return whole();
        };
        let is_short = !digits.is_empty() && digits.len() <= 6;
        let code = is_short.then(|| u32::from_str_radix(digits, 16).ok()).flatten();
        match code.and_then(char::from_u32) {
            Some(c) => out.push(c),
            None => return whole(),
        }
        rest = behind;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> String {
        match GroupKey::from_path(path.as_bytes(), NameScheme::Utf8) {
            Ok(key) => {
                let labels = key.labels();
                let texts = labels.map(|(name, value)| {
                    let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
                    format!("{name}={value}")
                });
                texts.collect::<Vec<_>>().join(",")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn paths_name_groups() {
        for (path, said) in [
            ("job/a", "job=a"),
            ("job/a/", "job=a"),
            ("job/a/b/c/a/d", "a=d,b=c,job=a"),
            ("job/a/job/b", "job=a"),
            ("job@base64/YS9i", "job=a/b"),
            ("job@base64/YS9i/x@base64/=", "job=a/b,x="),
            ("job@base64/=", "job name is required"),
            (
                "job@base64/+",
                "invalid base64 encoding in job name \"\": illegal base64 data at input byte 0",
            ),
            ("job/a/U__b_2e_c/d", "b.c=d,job=a"),
            ("job/a/U__b_zz_/d", "U__b_zz_=d,job=a"),
            ("job/a/U__b__c/d", "b_c=d,job=a"),
            ("job/a/__b/d", "improper label name \"__b\""),
            ("job/a/b", "odd number of components in label string \"/b\""),
            ("jobs/a", "404 page not found"),
            ("job/", "404 page not found"),
        ] {
            assert_eq!(key(path), said, "{path}");
        }
    }
}

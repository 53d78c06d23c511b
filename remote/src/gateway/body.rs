//! From the body of a push to families.

use std::collections::BTreeMap;

use model::labels::NameScheme;

use super::error::BodyError;
use super::family::{self, Family};
use crate::inflate::{InflateError, gunzip, inflate};

/// How a body is compressed. Compat: the names do not depend on capitals, and what is unknown counts as not compressed
/// (push/pushgateway `content-encoding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    None,
    Gzip,
    Snappy,
}

impl Encoding {
    fn of(header: &str) -> Self {
        match header.to_ascii_lowercase().as_str() {
            "gzip" => Encoding::Gzip,
            "snappy" => Encoding::Snappy,
            _ => Encoding::None,
        }
    }
}

/// Reads a body of at most `bytes_max` bytes once it is inflated.
///
/// # Errors
/// See [`BodyError`].
pub(super) fn read(
    body: &[u8],
    content_type: &str,
    content_encoding: &str,
    names: NameScheme,
    bytes_max: usize,
) -> Result<BTreeMap<String, Family>, BodyError> {
    let inflated;
    let body = match Encoding::of(content_encoding) {
        Encoding::None => body,
        Encoding::Gzip => {
            inflated = gunzip(body, bytes_max)?;
            &inflated
        }
        // Compat: it is the framed form, not that of remote write.
        Encoding::Snappy => {
            inflated = inflate(snap::read::FrameDecoder::new(body), bytes_max)?;
            &inflated
        }
    };
    match is_protobuf(content_type) {
        true => family::from_protobuf(body),
        false => family::from_text(body, names),
    }
}

impl From<InflateError> for BodyError {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::Malformed(error) => BodyError::Encoding(error.to_string()),
            InflateError::TooLong { bytes_max } => BodyError::TooLong { max: bytes_max },
        }
    }
}

/// Compat: everything that is not told exactly so is read as text (`content-types`).
fn is_protobuf(content_type: &str) -> bool {
    let mut parts = content_type.split(';');
    let media = parts.next().unwrap_or("").trim();
    let (mut delimited, mut families) = (false, false);
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "encoding" => delimited = value == "delimited",
            "proto" => families = value == "io.prometheus.client.MetricFamily",
            _ => {}
        }
    }
    media.eq_ignore_ascii_case("application/vnd.google.protobuf") && delimited && families
}

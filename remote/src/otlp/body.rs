//! Bodies: what they are, and what they are before they were compressed.

use std::borrow::Cow;

use super::receiver::Encoding;
use crate::inflate::{InflateError, NoRoom, Taken, gunzip_counted};

/// Longest body, before and after it is inflated. Compat: the reference's limit.
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The header `Content-Type` names neither form. Compat: letter by letter, without parameters (cases: content-type-*).
    #[error("unsupported content type: {0}, supported: [application/json, application/x-protobuf]")]
    ContentType(String),
    /// The header `Content-Encoding` names something else than gzip (cases: encoding-*).
    #[error("unsupported compression: {0}. Only \"gzip\" or no compression supported")]
    Compression(String),
    /// The bytes are not gzip.
    #[error("the body is not gzip, although its header says so: {0}")]
    Gzip(std::io::Error),
    /// There is more than may be.
    #[error("the body has more than {BODY_BYTES_MAX} bytes once it is inflated; send smaller batches")]
    TooLarge,
    /// Others take all memory that there is for bodies.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

impl Encoding {
    /// What the header `Content-Type` says.
    ///
    /// # Errors
    /// When it says something else.
    pub fn of(content_type: &str) -> Result<Self, BodyError> {
        match content_type {
            "application/x-protobuf" => Ok(Encoding::Protobuf),
            "application/json" => Ok(Encoding::Json),
            other => Err(BodyError::ContentType(other.to_owned())),
        }
    }
}

/// The body as it was before it was compressed, by what the header `Content-Encoding` says; what it takes is counted in
/// `taken`.
pub(super) fn inflated<'b>(
    body: &'b [u8],
    content_encoding: &str,
    taken: &mut Taken<'_>,
) -> Result<Cow<'b, [u8]>, BodyError> {
    match content_encoding {
        "" if body.len() > BODY_BYTES_MAX => Err(BodyError::TooLarge),
        "" => Ok(Cow::Borrowed(body)),
        "gzip" => match gunzip_counted(body, BODY_BYTES_MAX, taken)? {
            Ok(inflated) => Ok(Cow::Owned(inflated)),
            Err(InflateError::Malformed(error)) => Err(BodyError::Gzip(error)),
            Err(InflateError::TooLong { .. }) => Err(BodyError::TooLarge),
        },
        other => Err(BodyError::Compression(other.to_owned())),
    }
}

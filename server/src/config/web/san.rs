//! The names that a certificate stands for (X.509's subject alternative names, RFC 5280 section 4.2.1.6), in DER.

use std::net::{Ipv4Addr, Ipv6Addr};

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
/// The place of the extensions in a certificate's signed part.
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Names of hosts, mail addresses, URIs and IP addresses; `None` where the certificate is malformed.
pub(super) fn names(certificate: &[u8]) -> Option<Vec<String>> {
    let whole = Der(certificate).expect(SEQUENCE)?;
    let mut signed = Der(whole).expect(SEQUENCE).map(Der)?;
    let mut extensions = None;
    while let Some((tag, value)) = signed.next()? {
        if tag == EXTENSIONS {
            extensions = Some(Der(value).expect(SEQUENCE).map(Der)?);
        }
    }
    let Some(mut extensions) = extensions else {
        return Some(Vec::new());
    };
    while let Some((_, extension)) = extensions.next()? {
        let mut parts = Der(extension);
        if parts.expect(OBJECT_ID)? != SUBJECT_ALT_NAME {
            continue;
        }
        let (mut tag, mut value) = parts.next()??;
        if tag == BOOLEAN {
            (tag, value) = parts.next()??;
        }
        return (tag == OCTETS).then(|| general_names(value))?;
    }
    Some(Vec::new())
}

fn general_names(value: &[u8]) -> Option<Vec<String>> {
    let mut list = Der(value).expect(SEQUENCE).map(Der)?;
    let mut names = Vec::new();
    while let Some((tag, value)) = list.next()? {
        let text = || std::str::from_utf8(value).ok().map(str::to_owned);
        names.extend(match tag {
            // Mail, host, URI.
            0x81 | 0x82 | 0x86 => text(),
            0x87 => address(value),
            _ => None,
        });
    }
    Some(names)
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(bytes).to_string())
}

/// What is left of a series of values.
struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    /// The next value with its tag; `Some(None)` at the end, `None` where there is no whole value.
    #[expect(
        clippy::option_option,
        reason = "malformed, at the end, or a value: the callers' `?` is for the first"
    )]
    fn next(&mut self) -> Option<Option<(u8, &'d [u8])>> {
        let [tag, first, rest @ ..] = self.0 else {
            return self.0.is_empty().then_some(None);
        };
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0usize, |length, byte| length << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Some((*tag, value)))
    }

    /// The next value, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'d [u8]> {
        match self.next()?? {
            (found, value) if found == tag => Some(value),
            _ => None,
        }
    }
}

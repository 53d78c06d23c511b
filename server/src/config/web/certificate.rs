//! What a certificate says, in DER: the names that it stands for (X.509's subject alternative names, RFC 5280 section
//! 4.2.1.6), and when it is valid (section 4.1.2.5).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use jiff::civil::date;

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The place of the version, which the oldest certificates lack.
const VERSION: u8 = 0xa0;
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

/// From when to when it is valid, in seconds since the epoch; `None` where the certificate is malformed.
pub(super) fn validity(certificate: &[u8]) -> Option<RangeInclusive<u64>> {
    let whole = Der(certificate).expect(SEQUENCE)?;
    let mut signed = Der(whole).expect(SEQUENCE).map(Der)?;
    let (tag, _) = signed.next()??;
    // The version, the number, the algorithm, who signed it.
    for _ in 0..if tag == VERSION { 3 } else { 2 } {
        signed.next()??;
    }
    let mut times = signed.expect(SEQUENCE).map(Der)?;
    let (from, until) = (time(&mut times)?, time(&mut times)?);
    Some(from..=until)
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, as RFC 5280 restricts them.
fn time(times: &mut Der<'_>) -> Option<u64> {
    let (tag, text) = times.next()??;
    let digits = text.strip_suffix(b"Z")?;
    let pairs: Option<Vec<i16>> = digits
        .chunks(2)
        .map(|pair| match pair {
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
                Some(i16::from(tens - b'0') * 10 + i16::from(ones - b'0'))
            }
            _ => None,
        })
        .collect();
    let (year, rest) = match (tag, pairs?.as_slice()) {
        (UTC_TIME, [year, rest @ ..]) => (year + if *year < 50 { 2000 } else { 1900 }, rest.to_vec()),
        (GENERALIZED_TIME, [century, year, rest @ ..]) => (century * 100 + year, rest.to_vec()),
        _ => return None,
    };
    let rest: Vec<i8> = rest.into_iter().filter_map(|pair| pair.try_into().ok()).collect();
    let [month, day, hour, minute, second] = rest[..] else {
        return None;
    };
    let civil = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let epoch = date(1970, 1, 1).at(0, 0, 0, 0);
    let seconds = civil.duration_since(epoch).as_secs();
    // Before the epoch is long ago.
    Some(u64::try_from(seconds).unwrap_or(0))
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

//! Checks AWS's signatures the way AWS does, from a request as it came over the wire and from nothing of ours: the other
//! side of `credentials::sigv4`.

use std::fmt::Write as _;

use ring::{digest, hmac};

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'r> {
    /// `POST`
    pub method: &'r str,
    /// Path and query, as in the first line.
    pub target: &'r str,
    /// All headers.
    pub headers: &'r [(String, String)],
    /// All of it.
    pub body: &'r [u8],
}

/// Whether `request` is signed with `secret`.
///
/// # Errors
/// What is wrong with it.
pub fn check(request: Signed<'_>, secret: &str) -> Result<(), String> {
    let header = |name: &str| {
        let found = request
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let values: Vec<&str> = found.map(|(_, value)| value.trim()).collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    let authorization = header("authorization").ok_or("no Authorization")?;
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(&format!("{name}="))?;
        rest.split(',').next().map(str::trim)
    };
    let credential = part("Credential").ok_or("no Credential")?;
    let names = part("SignedHeaders").ok_or("no SignedHeaders")?;
    let claimed = part("Signature").ok_or("no Signature")?;
    let mut scope = credential.splitn(2, '/');
    let scope = scope.nth(1).ok_or("no scope")?;
    let [date, region, service, "aws4_request"] = scope.split('/').collect::<Vec<_>>()[..] else {
        return Err(format!("scope {scope:?}"));
    };
    let time = header("x-amz-date").ok_or("no X-Amz-Date")?;
    if !time.starts_with(date) {
        return Err(format!("{time} is not on {date}"));
    }
    let signed: Vec<&str> = names.split(';').collect();
    let must = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase());
    let must = must.filter(|name| name == "host" || name.starts_with("x-amz-"));
    if let Some(unsigned) = must.into_iter().find(|name| !signed.contains(&&**name)) {
        return Err(format!("{unsigned} is not signed"));
    }
    let mut canonical = String::new();
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            format!("{}={}", escape(&unescape(name), ""), escape(&unescape(value), ""))
        })
        .collect();
    pairs.sort();
    let _ = write!(
        canonical,
        "{}\n{}\n{}\n",
        request.method,
        escape(path.as_bytes(), "/"),
        pairs.join("&")
    );
    for name in &signed {
        let value = header(name).ok_or_else(|| format!("{name} is signed and not there"))?;
        let value: Vec<&str> = value.split(' ').filter(|word| !word.is_empty()).collect();
        let _ = writeln!(canonical, "{name}:{}", value.join(" "));
    }
    let _ = write!(canonical, "\n{names}\n{}", sha256(request.body));
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        sha256(canonical.as_bytes())
    );
    let mut key = ["AWS4", secret].concat().into_bytes();
    for step in [date, region, service, "aws4_request", &text] {
        key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), step.as_bytes())
            .as_ref()
            .to_vec();
    }
    let wanted = hex(&key);
    (wanted == claimed)
        .then_some(())
        .ok_or_else(|| format!("the signature is {claimed}, not {wanted}, of {canonical:?}"))
}

fn escape(bytes: &[u8], keep: &str) -> String {
    let one = |byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        byte if keep.as_bytes().contains(byte) => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    bytes.iter().map(one).collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut at, mut out) = (0, Vec::new());
    while let Some(byte) = bytes.get(at) {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
        at += 1;
    }
    out
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of AWS's documentation ("Create a signed AWS API request": ListUsers on 2015-08-30).
    #[test]
    fn the_documented_example_is_good_and_a_changed_one_is_not() {
        let headers = [
            ("Host", "iam.amazonaws.com"),
            ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("X-Amz-Date", "20150830T123600Z"),
            (
                "Authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date, \
                 Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            ),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let request = Signed {
            method: "GET",
            target: "/?Action=ListUsers&Version=2010-05-08",
            headers: &headers,
            body: b"",
        };
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        assert_eq!(check(request, secret), Ok(()));
        assert!(check(request, "another").is_err());
        assert!(
            check(
                Signed {
                    body: b"x",
                    ..request
                },
                secret
            )
            .is_err()
        );
        let more = [
            &headers[..],
            &[("X-Amz-Security-Token".to_owned(), "t".to_owned())],
        ]
        .concat();
        let unsigned = Signed {
            headers: &more,
            ..request
        };
        assert_eq!(
            check(unsigned, secret),
            Err("x-amz-security-token is not signed".to_owned())
        );
    }
}

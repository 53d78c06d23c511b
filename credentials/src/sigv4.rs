//! Signing requests as AWS wants it (Signature Version 4): what is sent, when, and for which service of which region is
//! hashed with a key that is derived from the secret one.

use httpclient::{HttpClientError, Request};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::{digest, hmac};

use crate::aws::AwsCredentials;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What is never escaped (RFC 3986, 2.3).
const STRICT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const STRICT_BUT_SLASHES: &AsciiSet = &STRICT.remove(b'/');

/// What a signature is good for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The region.
    pub region: &'a str,
    /// The service's name for signatures: `ec2`, `aps`.
    pub service: &'a str,
    /// When.
    pub at: Timestamp,
}

/// Adds the headers that make a request a signed one. Its content type and its `x-amz-` headers are signed with it.
///
/// # Errors
/// When no request can be sent to the URL.
pub fn sign(
    request: Request,
    credentials: &AwsCredentials,
    scope: Scope<'_>,
) -> Result<Request, HttpClientError> {
    let time = scope
        .at
        .to_zoned(TimeZone::UTC)
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string();
    let date = &time[..8];
    let mut request = request.header("x-amz-date", &time);
    if let Some(token) = &credentials.session_token {
        request = request.secret_header("x-amz-security-token", token);
    }
    let (canonical, signed_headers) = canonical(&request)?;
    let scope_text = format!("{date}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!(
        "{ALGORITHM}\n{time}\n{scope_text}\n{}",
        sha256(canonical.as_bytes())
    );
    let mut key = format!("AWS4{}", credentials.secret_access_key).into_bytes();
    for part in [date, scope.region, scope.service, "aws4_request"] {
        key = hmac_sha256(&key, part);
    }
    let signature = hex(&hmac_sha256(&key, &to_sign));
    let id = &credentials.access_key_id;
    Ok(request.secret_header(
        "authorization",
        format!(
            "{ALGORITHM} Credential={id}/{scope_text}, SignedHeaders={signed_headers}, Signature={signature}"
        ),
    ))
}

/// A request in the one form that is signed, and the names of its signed headers.
fn canonical(request: &Request) -> Result<(String, String), HttpClientError> {
    let host = request.host()?;
    let mut headers: Vec<(String, String)> = vec![("host".to_owned(), words(host.as_bytes()))];
    for name in request.headers().keys() {
        let name = name.as_str();
        if name == "content-type" || name.starts_with("x-amz-") {
            let values = request.headers().get_all(name).iter();
            let values: Vec<String> = values.map(|value| words(value.as_bytes())).collect();
            headers.push((name.to_owned(), values.join(",")));
        }
    }
    headers.sort();
    let url = request.url();
    let mut pairs: Vec<(String, String)> = url
        .query_pairs()
        .map(|(name, value)| (strict(&name), strict(&value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    // Escaped a second time, as every service but S3 wants it.
    let path = utf8_percent_encode(url.path(), STRICT_BUT_SLASHES);
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let canonical = format!(
        "{}\n{path}\n{}\n{lines}\n{names}\n{}",
        request.method(),
        pairs.join("&"),
        sha256(request.content())
    );
    Ok((canonical, names))
}

fn strict(text: &str) -> String {
    utf8_percent_encode(text, STRICT).to_string()
}

/// A header's value without needless white space.
fn words(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
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
    fn the_documented_example_has_the_documented_signature() {
        let credentials = AwsCredentials::lasting(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "a test",
        );
        let url = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08";
        let request = Request::get(url.parse().expect("URL"))
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let scope = Scope {
            region: "us-east-1",
            service: "iam",
            at: "2015-08-30T12:36:00Z".parse().expect("time"),
        };
        let signed = sign(request, &credentials, scope).expect("signed");
        assert_eq!(
            signed.headers()["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
        assert_eq!(signed.headers()["x-amz-date"], "20150830T123600Z");
    }

    #[test]
    fn odd_paths_queries_and_headers_have_one_form() {
        let url = "http://h.example:8000/v1/a%2Fb%3A/n?b=2&a=%2B+x&a=&k";
        let request = Request::get(url.parse().expect("URL"))
            .header("x-amz-target", "  T   a ")
            .header("x-amz-many", "1")
            .header("x-amz-many", "2")
            .header("accept", "unsigned");
        let (canonical, names) = canonical(&request).expect("canonical");
        let lines: Vec<&str> = canonical.lines().collect();
        assert_eq!(lines[1], "/v1/a%252Fb%253A/n");
        assert_eq!(lines[2], "a=&a=%2B%20x&b=2&k=");
        assert_eq!(
            lines[3..6],
            ["host:h.example:8000", "x-amz-many:1,2", "x-amz-target:T a"]
        );
        assert_eq!(names, "host;x-amz-many;x-amz-target");
    }
}

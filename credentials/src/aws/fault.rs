//! Errors of AWS's services, in their protocols' forms.

use std::fmt;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::xml::Element;

/// Codes that say something of the credentials, not of what was asked.
const OF_CREDENTIALS: [&str; 17] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];
/// Codes that ask for patience.
const OF_HASTE: [&str; 14] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

/// What a service says when it does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its short name: `ExpiredToken`.
    pub code: String,
    /// In words.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", message) => f.write_str(message),
            (code, "") => f.write_str(code),
            (code, message) => write!(f, "{code}: {message}"),
        }
    }
}

impl Fault {
    /// The fault that an answer in XML tells of: EC2's form, or that of the others.
    pub fn of_xml(body: &[u8]) -> Option<Self> {
        let root = Element::parse(body).ok()?;
        let error = root.at(&["Errors", "Error"]).or_else(|| root.child("Error"))?;
        Some(Fault {
            code: error.text_of("Code").unwrap_or("").to_owned(),
            message: error.text_of("Message").unwrap_or("").to_owned(),
        })
    }

    /// The fault that an answer in JSON tells of.
    pub fn of_json(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |names: [&str; 2]| names.iter().find_map(|name| json[*name].as_str());
        let header = headers
            .get("x-amzn-errortype")
            .and_then(|value| value.to_str().ok());
        let code = header.or_else(|| text(["__type", "code"]))?;
        // `namespace#Code:address`
        let code = code.split(':').next().unwrap_or("");
        let code = code.rsplit('#').next().unwrap_or("");
        Some(Fault {
            code: code.to_owned(),
            message: text(["message", "Message"]).unwrap_or("").to_owned(),
        })
    }

    /// Whether it is about the credentials.
    pub fn is_of_credentials(&self) -> bool {
        OF_CREDENTIALS.contains(&&*self.code)
    }

    /// Whether asking later may help.
    pub fn passes(&self, status: StatusCode) -> bool {
        matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504) || OF_HASTE.contains(&&*self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_in_each_protocols_form() {
        let ec2 = b"<Response><Errors><Error><Code>AuthFailure</Code><Message>not you</Message></Error></Errors></Response>";
        let fault = Fault::of_xml(ec2).expect("a fault");
        assert_eq!(fault.to_string(), "AuthFailure: not you");
        assert!(fault.is_of_credentials() && !fault.passes(StatusCode::UNAUTHORIZED));
        let json = br#"{"__type":"com.amazon#ThrottlingException","Message":"slower"}"#;
        let fault = Fault::of_json(&HeaderMap::new(), json).expect("a fault");
        assert_eq!(fault.to_string(), "ThrottlingException: slower");
        assert!(fault.passes(StatusCode::BAD_REQUEST) && !fault.is_of_credentials());
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-errortype", "NotFound:http://x/".parse().expect("header"));
        assert_eq!(Fault::of_json(&headers, b"").expect("a fault").code, "NotFound");
        assert_eq!(Fault::of_json(&HeaderMap::new(), b"<html>"), None);
        assert_eq!(Fault::of_xml(b"<html></html>"), None);
    }
}

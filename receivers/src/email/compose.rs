//! The mail itself: headers, parts, and how both are encoded.
//!
//! Not by lettre's builder: the reference's headers are never folded, their values are encoded as a whole, and receivers
//! filter by what they know.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::str::FromStr as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lettre::address::Address;
use lettre::message::Mailboxes;

use super::Email;
use crate::Notification;
use crate::group_key::hash;
use crate::receiver::Failure;

/// Longest line of a quoted-printable part, its break not counted.
const LINE_CHARS_MAX: usize = 76;
/// Longest encoded word of a header, without `=?utf-8?q?` and `?=`.
const WORD_CHARS_MAX: usize = 63;

/// A mail that is ready to be sent.
pub(super) struct Mail {
    /// One address with a name or without.
    pub(super) from: String,
    /// Addresses with names or without.
    pub(super) to: String,
    /// Headers and body; lines end with CR LF.
    pub(super) content: String,
}

impl Mail {
    /// Renders all templates.
    pub(super) fn compose(email: &Email, notification: &Notification) -> Result<Self, Failure> {
        let config = &email.config;
        let mut texts = email.setup.rendering(notification, &notification.alerts);
        let from = texts.address(&config.from);
        texts.check("execute 'from' template: ")?;
        let to = texts.address(&config.to);
        texts.check("execute 'to' template: ")?;
        let mut content = String::new();
        for (name, template) in &config.headers {
            let value = match name.as_str() {
                "Subject" | "Comments" => Some(texts.line(template)),
                "From" => Some(texts.choice(template, &config.from)),
                // Others are for machines.
                _ => texts.part(template),
            };
            texts.check(&format!("execute {name:?} header template: "))?;
            if let Some(value) = value {
                header(&mut content, name, &encode_value(&value));
            }
        }
        let now = email.setup.machine.now();
        if !config.headers.contains_key("Message-Id") {
            let id = format!("<{}.{}@{}>", now.as_nanosecond(), random(0), email.hostname);
            header(&mut content, "Message-Id", &id);
        }
        if config.threading.enabled {
            let root = thread_root(notification, &config.threading.thread_by_date, now);
            header(&mut content, "References", &root);
            header(&mut content, "In-Reply-To", &root);
        }
        let local = now.to_zoned(TimeZone::system());
        header(
            &mut content,
            "Date",
            &local.strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
        );
        let boundary: String = (1..=4).map(|part| format!("{:016x}", random(part))).collect();
        let boundary = &boundary[..60];
        header(
            &mut content,
            "Content-Type",
            &format!("multipart/alternative;  boundary={boundary}"),
        );
        header(&mut content, "MIME-Version", "1.0");
        content.push_str("\r\n");
        let text = texts.text(&config.text);
        texts.check("execute text template: ")?;
        let html = texts.html(&config.html);
        texts.check("execute html template: ")?;
        // The one that readers prefer stands last (RFC 2046, 5.1.4).
        let mut between = "";
        for (kind, template, body) in [("plain", &config.text, text), ("html", &config.html, html)] {
            if template.is_empty() {
                continue;
            }
            let _ = write!(content, "{between}--{boundary}\r\n");
            header(&mut content, "Content-Transfer-Encoding", "quoted-printable");
            header(
                &mut content,
                "Content-Type",
                &format!("text/{kind}; charset=UTF-8"),
            );
            content.push_str("\r\n");
            quote_printable(&mut content, &body);
            between = "\r\n";
        }
        let _ = write!(content, "\r\n--{boundary}--\r\n");
        Ok(Mail { from, to, content })
    }
}

fn header(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, "{name}: {value}\r\n");
}

/// The message that all of a group (and of a day) answer to; it was never sent.
fn thread_root(notification: &Notification, by_date: &str, now: Timestamp) -> String {
    let date = if by_date == "none" {
        String::new()
    } else {
        now.to_zoned(TimeZone::system()).strftime("%Y-%m-%d").to_string()
    };
    format!(
        "<alert-{}-{date}@alertmanager>",
        &hash(&notification.group_key)[..16]
    )
}

/// A number that nobody else comes upon.
fn random(part: u8) -> u64 {
    // Hashers are seeded at random.
    RandomState::new().hash_one(part)
}

/// Addresses of a list.
pub(super) fn addresses(list: &str) -> Result<Vec<Address>, String> {
    let parsed = Mailboxes::from_str(list.trim())
        .map_err(|error| format!("mail: {}", error.to_string().to_lowercase()))?;
    let found: Vec<Address> = parsed.into_iter().map(|mailbox| mailbox.email).collect();
    if found.is_empty() {
        return Err("mail: no address".to_owned());
    }
    Ok(found)
}

/// A header's value; one that is not printable ASCII as encoded words, which are parted by spaces.
fn encode_value(value: &str) -> String {
    if value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return value.to_owned();
    }
    let mut words = vec![String::new()];
    for c in value.chars() {
        let mut piece = String::new();
        match c {
            ' ' => piece.push('_'),
            '!'..='~' if !matches!(c, '=' | '?' | '_') => piece.push(c),
            _ => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(piece, "={byte:02X}");
                }
            }
        }
        let last = words.last_mut().expect("there is always one");
        if last.len() + piece.len() > WORD_CHARS_MAX {
            words.push(piece);
        } else {
            last.push_str(&piece);
        }
    }
    let words: Vec<String> = words.iter().map(|word| format!("=?utf-8?q?{word}?=")).collect();
    words.join(" ")
}

/// Appends a text as quoted-printable (RFC 2045, 6.7); any line end becomes CR LF.
fn quote_printable(out: &mut String, text: &str) {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push_str("\r\n");
        }
        quote_line(out, line.as_bytes());
    }
}

fn quote_line(out: &mut String, line: &[u8]) {
    let mut column = 0;
    for (at, byte) in line.iter().enumerate() {
        let is_last = at + 1 == line.len();
        let is_plain = match byte {
            b'!'..=b'~' => *byte != b'=',
            b' ' | b'\t' => !is_last,
            _ => false,
        };
        let width = if is_plain { 1 } else { 3 };
        if column + width > LINE_CHARS_MAX - 1 {
            out.push_str("=\r\n");
            column = 0;
        }
        if is_plain {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "={byte:02X}");
        }
        column += width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = String::new();
        quote_printable(&mut out, text);
        out
    }

    #[test]
    fn lines_are_quoted_and_kept_short() {
        assert_eq!(
            quoted("a=b\r\nc \nd\te\r\té"),
            "a=3Db\r\nc=20\r\nd\te\r\n\t=C3=A9"
        );
        assert_eq!(quoted("\n\n"), "\r\n\r\n");
        assert_eq!(quoted(&"x".repeat(75)), "x".repeat(75));
        assert_eq!(quoted(&"x".repeat(76)), format!("{}=\r\nx", "x".repeat(75)));
        let long = quoted(&"é".repeat(100));
        assert!(long.split("\r\n").all(|line| line.len() <= LINE_CHARS_MAX));
        let read = quoted_back(&long);
        assert_eq!(read, "é".repeat(100));
    }

    fn quoted_back(text: &str) -> String {
        let joined = text.replace("=\r\n", "");
        let mut bytes = Vec::new();
        let mut rest = joined.as_str();
        while let Some(c) = rest.chars().next() {
            if c == '=' {
                bytes.push(u8::from_str_radix(&rest[1..3], 16).expect("hex"));
                rest = &rest[3..];
            } else {
                bytes.extend_from_slice(&rest.as_bytes()[..c.len_utf8()]);
                rest = &rest[c.len_utf8()..];
            }
        }
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn header_values_are_encoded_as_a_whole() {
        assert_eq!(encode_value("plain _=?\ttext"), "plain _=?\ttext");
        assert_eq!(encode_value("é a_b"), "=?utf-8?q?=C3=A9_a=5Fb?=");
        assert_eq!(encode_value("a\r\nBcc: x"), "=?utf-8?q?a=0D=0ABcc:_x?=");
        let long = encode_value(&"ä".repeat(30));
        assert!(long.split(' ').count() > 1);
        assert!(long.split(' ').all(|word| word.len() <= 75));
    }

    #[test]
    fn address_lists_are_read() {
        let read = |list: &str| {
            addresses(list).map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let list = "Ops Team <ops@example.org>, \"Müller, A.\" <a.mueller@example.org>, plain@example.org";
        assert_eq!(
            read(list),
            Ok(vec![
                "ops@example.org".to_owned(),
                "a.mueller@example.org".to_owned(),
                "plain@example.org".to_owned()
            ])
        );
        assert_eq!(
            read("Alerts – warning <am@example.org>"),
            Ok(vec!["am@example.org".to_owned()])
        );
        assert_eq!(
            read("Ä <am-ä@example.org>"),
            Ok(vec!["am-ä@example.org".to_owned()])
        );
        assert_eq!(read(" root@localhost "), Ok(vec!["root@localhost".to_owned()]));
        for bad in [
            "",
            "a@example.org; b@example.org",
            "nobody",
            "<>",
            "a@",
            "a@b\r\nRCPT TO:<c@d>",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}

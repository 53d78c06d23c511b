//! Whether a text is a URI, as Go's `url.ParseRequestURI` decides.

/// Whether a text is a path from the root, or a URI with a scheme; what stands behind `#` is not looked at.
pub(super) fn is_request_uri(text: &str) -> bool {
    let text = text.split('#').next().unwrap_or("");
    if text.is_empty() || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return false;
    }
    if text == "*" {
        return true;
    }
    let Some((scheme, rest)) = split_scheme(text) else {
        return false;
    };
    let (rest, _query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        // `mailto:a@b` is one, `a/b` is none.
        return scheme;
    }
    let path = match rest.strip_prefix("//") {
        Some(rest) if scheme => {
            let end = rest.find('/').unwrap_or(rest.len());
            if !is_authority(&rest[..end]) {
                return false;
            }
            &rest[end..]
        }
        _ => rest,
    };
    has_good_escapes(path)
}

/// Whether there is a scheme, and what stands behind it; `None` where a colon has none in front.
fn split_scheme(text: &str) -> Option<(bool, &str)> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at > 0 => return Some((true, &text[at + 1..])),
            b':' => return None,
            _ => break,
        }
    }
    Some((false, text))
}

fn is_authority(text: &str) -> bool {
    const IN_USER: &[u8] = b"-._~!$&'()*+,;=:@%";
    const IN_HOST: &[u8] = b"-._~!$&'()*+,;=:[]<>\"%";
    let (user, host) = text.rsplit_once('@').unwrap_or(("", text));
    let user_is_good = user
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || IN_USER.contains(&byte))
        && has_good_escapes(user);
    let host_is_good = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii() || IN_HOST.contains(&byte));
    let port = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((_, port)) => port,
            None => return false,
        },
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let port_is_good = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    user_is_good && host_is_good && port_is_good
}

fn has_good_escapes(text: &str) -> bool {
    let mut parts = text.split('%');
    parts.next();
    let mut digits = parts.map(|part| part.as_bytes().get(..2));
    digits.all(|two| two.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_told_from_other_texts() {
        for text in [
            "http://p.example.org/graph?a=b&c=<d>",
            "http://[::1]:9090/x",
            "http://user:pw@host:1/",
            "http://ü.example.org",
            "https://host#@frag",
            "/relative",
            "//host/path",
            "mailto:a@b",
            "http:",
            "*",
        ] {
            assert!(is_request_uri(text), "{text}");
        }
        for text in [
            "",
            "not a url",
            "relative/path",
            "#frag",
            "http://a b/",
            "http://host:port/",
            "http://[::1/",
            "/%zz",
            ":foo",
            "/a\nb",
            "1http://a",
        ] {
            assert!(!is_request_uri(text), "{text}");
        }
    }
}

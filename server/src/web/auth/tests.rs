//! Who is let in, and who is told what.

use super::*;

fn headers(authorization: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, authorization.parse().expect("a header"));
    headers
}

#[test]
fn credentials_are_read_as_go_reads_them() {
    let password = |user: &str, password: &str| {
        Some(Credentials::Password {
            user: user.to_owned(),
            password: password.as_bytes().to_vec(),
        })
    };
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    for (header, expected) in [
        (
            format!("Basic {}", encoded("me:secret")),
            password("me", "secret"),
        ),
        (format!("bAsIc {}", encoded("me:a:b")), password("me", "a:b")),
        (format!("Basic {}", encoded(":")), password("", "")),
        (format!("Basic {}", encoded("me")), None),
        (format!("Basic {}!", encoded("me:secret")), None),
        (
            format!("Basic {}", encoded("me:secrets").trim_end_matches('=')),
            None,
        ),
        (format!("Digest {}", encoded("me:secret")), None),
        ("Basic".to_owned(), None),
        (
            "Bearer abc".to_owned(),
            Some(Credentials::Token("abc".to_owned())),
        ),
        (
            "bearer  abc ".to_owned(),
            Some(Credentials::Token("abc".to_owned())),
        ),
        (String::new(), None),
    ] {
        assert_eq!(Credentials::of(&headers(&header)), expected, "{header}");
    }
    assert_eq!(Credentials::of(&HeaderMap::new()), None);
}

#[test]
fn a_stranger_is_compared_with_somebody() {
    let users: BTreeMap<String, Secret> = (0..3)
        .map(|user| (format!("user{user}"), Secret::new(format!("hash{user}"))))
        .collect();
    let users = Users::new(&users);
    let (hash, is_own) = users.hash_of("user1").expect("a hash");
    assert_eq!((hash.reveal(), is_own), ("hash1", true));
    for name in ["", "nobody", "user3"] {
        let (hash, is_own) = users.hash_of(name).expect("a hash");
        assert!(!is_own && hash.reveal().starts_with("hash"), "{name}");
        // Always the same, or the time it takes would tell.
        assert_eq!(users.hash_of(name).expect("a hash").0, hash);
    }
    assert!(Users::default().hash_of("anybody").is_none());
}

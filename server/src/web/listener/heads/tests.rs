//! Connections cut at every byte, against what they mean.

use super::*;

/// Feeds `parts` one after the other; what is handed on.
fn fed<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Heads, Targets) {
    let (mut heads, targets) = (Heads::new(), Targets::new());
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut all = Vec::new();
    for part in parts {
        input.extend_from_slice(part);
        if heads.protocol(&input).is_none() {
            continue;
        }
        loop {
            heads.feed(&mut input, &mut output, &targets);
            if output.is_empty() {
                break;
            }
            all.extend_from_slice(&output.split());
        }
    }
    (all, heads, targets)
}

#[track_caller]
fn check(sent: &[u8], expected: &[u8]) {
    let (got, heads, _) = fed([sent]);
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
    let opaque = heads.is_opaque();
    for at in 0..sent.len() {
        let (got, heads, _) = fed([&sent[..at], &sent[at..]]);
        assert_eq!(
            String::from_utf8_lossy(&got),
            String::from_utf8_lossy(expected),
            "cut at {at}"
        );
        assert_eq!(heads.is_opaque(), opaque, "cut at {at}");
    }
    let (got, ..) = fed(sent.chunks(1));
    assert_eq!(got, expected, "byte by byte");
}

#[test]
fn targets_become_ones_that_the_library_takes() {
    for (sent, expected) in [
        (
            "GET /a?b=\"x\"&c={d} HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /a?b=%22x%22&c=%7Bd%7D HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        (
            "GET /a?b=1<2>1#`^| HTTP/1.1\r\n\r\n",
            "GET /a?b=1%3C2%3E1%23%60%5E%7C HTTP/1.1\r\n\r\n",
        ),
        ("GET /ä HTTP/1.1\n\n", "GET /%C3%A4 HTTP/1.1\n\n"),
        (
            "\r\n\r\nGET /%22 HTTP/1.0\r\nA: \"<>\"\r\n\r\n",
            "GET /%22 HTTP/1.0\r\nA: \"<>\"\r\n\r\n",
        ),
        // Whatever the library refuses as Go does passes as it came.
        ("GET /a b\" HTTP/1.1\r\n\r\n", "GET /a b\" HTTP/1.1\r\n\r\n"),
        ("nonsense\r\n\r\n", "nonsense\r\n\r\n"),
        ("GET /\"\r\n\r\n", "GET /\"\r\n\r\n"),
    ] {
        check(sent.as_bytes(), expected.as_bytes());
    }
}

#[test]
fn bodies_pass_even_where_they_look_like_heads() {
    let looks = "GET /\"< HTTP/1.1\r\n\r\n";
    let length = looks.len();
    let plain =
        format!("POST /\" HTTP/1.1\r\ncontent-length:  {length} \r\n\r\n{looks}GET /\" HTTP/1.1\r\n\r\n");
    let expected =
        format!("POST /%22 HTTP/1.1\r\ncontent-length:  {length} \r\n\r\n{looks}GET /%22 HTTP/1.1\r\n\r\n");
    check(plain.as_bytes(), expected.as_bytes());
    let chunks = format!("{length:x};a=\"b\"\r\n{looks}\r\n5\r\nGET /\r\n0\r\nA: /\"\r\n\r\n");
    let head = "POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sent = format!("{head}{chunks}{head}0\r\n\r\nGET /\" HTTP/1.1\r\n\r\n");
    let expected = format!("{head}{chunks}{head}0\r\n\r\nGET /%22 HTTP/1.1\r\n\r\n");
    check(sent.as_bytes(), expected.as_bytes());
}

#[test]
fn what_is_in_doubt_is_left_alone_for_good() {
    let next = "GET /\" HTTP/1.1\r\n\r\n";
    for head in [
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nA: b\r\n Content-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
        "CONNECT /a HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1111111111111111\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let sent = format!("{head}{next}");
        check(sent.as_bytes(), sent.as_bytes());
        assert!(fed([sent.as_bytes()]).1.is_opaque(), "{head}");
    }
}

#[test]
fn long_queries_are_put_aside() {
    let query = format!("match[]={}", "a\"b".repeat(40_000));
    let sent = format!("GET /api?{query} HTTP/1.1\r\nHost: x\r\n\r\n");
    let (got, heads, targets) = fed([sent.as_bytes(), sent.as_bytes()]);
    assert!(heads.in_head());
    let text = String::from_utf8(got).expect("text");
    let words: Vec<&str> = text
        .split("GET /api?")
        .skip(1)
        .map(|rest| {
            rest.strip_suffix(" HTTP/1.1\r\nHost: x\r\n\r\n")
                .expect("the rest as it was")
        })
        .collect();
    assert_eq!(words.len(), 2);
    assert_eq!(targets.take("long-query-0"), None);
    for word in [words[1], words[0]] {
        assert_eq!(
            targets.take(word),
            Some(LongQuery(Bytes::from(query.replace('"', "%22"))))
        );
        assert_eq!(targets.take(word), None);
    }
    // A long path is nothing that exists; the library says so.
    let sent = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000));
    check_once(&sent);
}

#[track_caller]
fn check_once(sent: &str) {
    assert_eq!(fed([sent.as_bytes()]).0, sent.as_bytes());
}

#[test]
fn a_head_beyond_the_bound_is_the_librarys() {
    let sent = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(HEAD_BYTES_MAX));
    let (got, heads, _) = fed(sent.as_bytes().chunks(100_000));
    assert_eq!(got.len(), sent.len());
    assert!(heads.is_opaque());
    let fits = format!(
        "GET / HTTP/1.1\r\nA: {}\r\n\r\n",
        "b".repeat(HEAD_BYTES_MAX - 100)
    );
    let (got, heads, _) = fed(fits.as_bytes().chunks(100_000));
    assert_eq!(got.len(), fits.len());
    assert!(!heads.is_opaque());
}

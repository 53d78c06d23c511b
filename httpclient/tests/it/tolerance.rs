//! Odd but common answers (conformance `http-response-tolerance`): taken where Go's client takes them.

use narthex_httpclient::{HEAD_BYTES_MAX, HEADERS_MAX, HttpClientConfig, HttpClientError, Request};

use crate::server::{Server, client, get, read_request, say};

/// What a client makes of the bytes: the body, or the error.
async fn read(bytes: Vec<u8>) -> Result<String, HttpClientError> {
    let server = Server::start(move |mut stream, _, _| {
        let bytes = bytes.clone();
        async move {
            read_request(&mut stream).await;
            say(stream, &bytes).await;
        }
    })
    .await;
    let answer = client(&HttpClientConfig::default())
        .send(&get(&server.url("/")))
        .await?;
    Ok(String::from_utf8_lossy(&answer.bytes(100).await?).into_owned())
}

#[tokio::test]
async fn odd_answers_are_read() {
    let length = "Content-Length: 4\r\n";
    let many: String = (0..2_000).map(|i| format!("X-{i}: y\r\n")).collect();
    for (what, head) in [
        ("folded", format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain;\r\n version=0.0.4\r\n\tx=y\r\n{length}\r\n")),
        ("space in a name", format!("HTTP/1.1 200 OK\r\nX Y: z\r\n{length}\r\n")),
        ("many headers", format!("HTTP/1.1 200 OK\r\n{many}{length}\r\n")),
        ("version 1.2", format!("HTTP/1.2 200 OK\r\n{length}\r\n")),
        ("version 1.0", format!("HTTP/1.0 200 OK\r\n{length}\r\n")),
        ("no reason", format!("HTTP/1.1 200\r\n{length}\r\n")),
        ("empty reason", format!("HTTP/1.1 200 \r\n{length}\r\n")),
        ("reason in Latin", format!("HTTP/1.1 200 tr\u{e8}s bien\r\n{length}\r\n")),
        ("unknown status", format!("HTTP/1.1 299 ?\r\n{length}\r\n")),
        ("bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 4\n\n".to_owned()),
        ("value beyond ASCII", format!("HTTP/1.1 200 OK\r\nServer: caf\u{e9}\r\n{length}\r\n")),
        ("value with a tab", format!("HTTP/1.1 200 OK\r\nServer: a\tb\r\n{length}\r\n")),
        ("empty value", format!("HTTP/1.1 200 OK\r\nServer:\r\n{length}\r\n")),
        ("length twice", format!("HTTP/1.1 200 OK\r\n{length}{length}\r\n")),
        ("no length", "HTTP/1.1 200 OK\r\n\r\n".to_owned()),
        ("hints first", format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n{length}\r\n")),
        ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0004;x=y\r\na 1\n\r\n0\r\nTrailer: t\r\n\r\n".to_owned()),
    ] {
        let bytes = if what == "chunks" { head } else { format!("{head}a 1\n") };
        let body = read(bytes.into_bytes()).await;
        assert_eq!(body.unwrap_or_else(|error| error.to_string()), "a 1\n", "{what}");
    }
}

#[tokio::test]
async fn garbage_is_an_error() {
    for bytes in [
        "",
        "SSH-2.0-OpenSSH_10.0\r\n",
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 1",
    ] {
        read(bytes.into()).await.expect_err(bytes);
    }
}

/// An answer with more headers than is usual is asked for again where that is safe, on a connection that has room for it;
/// from then on there is room at once.
#[tokio::test]
async fn more_headers_than_usual_cost_one_request() {
    let head: String = (0..2_000).map(|i| format!("X-{i}: y\r\n")).collect();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    let server = Server::start(move |mut stream, _, _| {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 0\r\n\r\n");
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            read_request(&mut stream).await;
            say(stream, answer.as_bytes()).await;
        }
    })
    .await;
    let url = server.url("/").parse().expect("a URL");
    let post = Request::post(url, "text/plain", "not twice");
    let fresh = client(&HttpClientConfig::default());
    let error = fresh
        .send(&post)
        .await
        .expect_err("no room, and not to be repeated");
    assert!(matches!(error, HttpClientError::HeadTooLong), "{error:?}");
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    fresh.send(&post).await.expect("room now");
    let other = client(&HttpClientConfig::default());
    for _ in 0..2 {
        other.send(&get(&server.url("/"))).await.expect("asked again");
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2 + 3);
}

#[tokio::test]
async fn heads_are_bounded() {
    let head =
        |headers: String| format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n").into_bytes();
    let long = |bytes: usize| head(format!("X: {}\r\n", "x".repeat(bytes)));
    read(long(HEAD_BYTES_MAX - 200)).await.expect("just fits");
    let many = |count: usize| head((0..count).map(|i| format!("X-{i}: \r\n")).collect());
    read(many(HEADERS_MAX - 1)).await.expect("just fit");
    for bytes in [long(HEAD_BYTES_MAX + 1), many(HEADERS_MAX + 1)] {
        let error = read(bytes).await.expect_err("too much");
        assert!(matches!(error, HttpClientError::HeadTooLong), "{error:?}");
    }
}

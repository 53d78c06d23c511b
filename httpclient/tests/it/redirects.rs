//! Redirects, and what they carry along.

use narthex_httpclient::{HttpClientConfig, HttpClientError, Request};

use crate::server::{Server, answer, client, get};
use crate::settings::read;

/// A server that sends everybody to `to`, unless the path is `/end`.
async fn sending(status: &'static str, to: String) -> Server {
    Server::answering(move |head| {
        if head.contains(" /end") {
            answer("200 OK", "", "end")
        } else {
            answer(status, &format!("Location: {to}\r\n"), "elsewhere")
        }
    })
    .await
}

#[tokio::test]
async fn credentials_stay_with_their_host() {
    let config = read(
        "basic_auth: {username: u, password: p}\nhttp_headers: {X-Scope: {values: [open]}, X-Key: {secrets: [hidden]}}",
    )
    .expect("valid");
    let end = Server::answering(|_| answer("200 OK", "", "")).await;
    // Both names lead to this machine, but they are not the same host.
    for (host, told) in [("127.0.0.1", true), ("localhost", false)] {
        let to = format!("http://{host}:{}/end", end.address().port());
        let start = sending("307 Temporary Redirect", to).await;
        let request = get(&start.url("/"))
            .secret_header("X-Token", "hidden too")
            .header("Cookie", "c=d");
        client(&config).send(&request).await.expect("answer");
        let head = end.heads().pop().expect("request").to_ascii_lowercase();
        assert!(head.contains("x-scope: open"), "{head}");
        for secret in ["authorization:", "x-key:", "x-token:", "cookie:"] {
            assert_eq!(head.contains(secret), told, "{host}: {secret} in {head}");
        }
        assert!(start.heads()[0].to_ascii_lowercase().contains("x-key: hidden"));
    }
}

#[tokio::test]
async fn methods_and_bodies_follow_the_status() {
    for (status, line, body) in [
        ("301 Moved Permanently", "GET /end ", ""),
        ("302 Found", "GET /end ", ""),
        ("303 See Other", "GET /end ", ""),
        ("307 Temporary Redirect", "POST /end ", "body"),
        ("308 Permanent Redirect", "POST /end ", "body"),
    ] {
        let server = sending(status, "/end".to_owned()).await;
        let request = Request::post(server.url("/").parse().expect("URL"), "text/plain", "body");
        let response = client(&HttpClientConfig::default())
            .send(&request)
            .await
            .expect("answer");
        assert_eq!(response.url().path(), "/end");
        assert!(
            server.heads()[1].starts_with(line),
            "{status}: {:?}",
            server.heads()
        );
        assert_eq!(
            server.heads()[1].to_ascii_lowercase().contains("content-type"),
            !body.is_empty(),
            "{status}"
        );
        assert_eq!(server.bodies()[1], body, "{status}");
    }
}

#[tokio::test]
async fn circles_end_and_redirects_can_be_refused() {
    let server = sending("302 Found", "/again".to_owned()).await;
    let error = client(&HttpClientConfig::default())
        .send(&get(&server.url("/")))
        .await
        .expect_err("circle");
    assert_eq!(error.to_string(), "stopped after 10 redirects");
    assert_eq!(server.heads().len(), 11);
    let config = read("follow_redirects: false").expect("valid");
    let response = client(&config)
        .send(&get(&server.url("/")))
        .await
        .expect("answer");
    assert_eq!(response.status(), 302);
    let nowhere = sending("302 Found", "http://[".to_owned()).await;
    let error = client(&HttpClientConfig::default())
        .send(&get(&nowhere.url("/")))
        .await
        .expect_err("no place");
    assert!(matches!(error, HttpClientError::Location { .. }), "{error:?}");
}

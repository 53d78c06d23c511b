//! Tokens: fetched once for all that wait, kept, renewed, bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use narthex_httpclient::HttpClient;

use crate::server::{Server, answer, client, get};
use crate::settings::read;

fn with_endpoint(tokens: &Server, more: &str) -> HttpClient {
    let text = format!(
        "oauth2: {{client_id: 'i d', client_secret: 's&s', scopes: [a, b], endpoint_params: {{x: y}}, token_url: '{}'{more}}}",
        tokens.url("/token")
    );
    client(&read(&text).expect("valid"))
}

#[tokio::test]
async fn one_token_serves_all_that_wait() {
    let tokens =
        Server::answering(|_| answer("200 OK", "", r#"{"access_token":"t","expires_in":"3600"}"#)).await;
    let target = Server::answering(|_| answer("200 OK", "", "")).await;
    let client = with_endpoint(&tokens, "");
    let requests: Vec<_> = (0..16)
        .map(|_| {
            let (client, request) = (client.clone(), get(&target.url("/")));
            tokio::spawn(async move { client.send(&request).await.map(|answer| answer.status()) })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.expect("no panic").expect("answer"), 200);
    }
    assert_eq!(tokens.heads().len(), 1);
    assert_eq!(tokens.bodies()[0], "grant_type=client_credentials&scope=a+b&x=y");
    assert!(
        tokens.heads()[0]
            .to_ascii_lowercase()
            .contains("authorization: basic astkonmlmjzz"),
        "{:?}",
        tokens.heads()
    );
    assert!(
        target
            .heads()
            .iter()
            .all(|head| head.to_ascii_lowercase().contains("authorization: bearer t\r\n"))
    );
}

#[tokio::test]
async fn endpoints_that_want_the_form_get_the_form() {
    let tokens = Server::answering(|head| {
        if head.to_ascii_lowercase().contains("authorization") {
            answer("401 Unauthorized", "", "no header please")
        } else {
            answer(
                "200 OK",
                "Content-Type: text/plain\r\n",
                "access_token=t&token_type=bearer",
            )
        }
    })
    .await;
    let target = Server::answering(|_| answer("200 OK", "", "")).await;
    let client = with_endpoint(&tokens, "");
    for _ in 0..2 {
        client.send(&get(&target.url("/"))).await.expect("answer");
    }
    assert_eq!(tokens.heads().len(), 2);
    assert!(
        tokens.bodies()[1].contains("client_id=i+d&client_secret=s%26s"),
        "{:?}",
        tokens.bodies()
    );
}

#[tokio::test]
async fn tokens_are_renewed_before_they_expire_and_after_failures() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    // The first two attempts (header and form) fail; then tokens that are as good as expired.
    let tokens = Server::answering(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => answer("503 Service Unavailable", "", "later"),
        n => answer(
            "200 OK",
            "",
            &format!(r#"{{"access_token":"t{n}","expires_in":5}}"#),
        ),
    })
    .await;
    let target = Server::answering(|_| answer("200 OK", "", "")).await;
    let client = with_endpoint(&tokens, "");
    let error = client
        .send(&get(&target.url("/")))
        .await
        .expect_err("no token")
        .to_string();
    assert!(
        error.ends_with("status 503 Service Unavailable: later"),
        "{error}"
    );
    for _ in 0..2 {
        client.send(&get(&target.url("/"))).await.expect("answer");
    }
    let heads = target.heads().concat().to_ascii_lowercase();
    assert!(
        heads.contains("bearer t2\r\n") && heads.contains("bearer t3\r\n"),
        "{heads}"
    );
}

#[tokio::test]
async fn answers_without_a_token_or_without_an_end_are_errors() {
    let long = answer(
        "200 OK",
        "",
        &format!(r#"{{"access_token":"{}"}}"#, "x".repeat(1 << 20)),
    );
    for (text, part) in [
        (answer("200 OK", "", "{}"), "server response missing access_token"),
        (answer("200 OK", "", "<html>"), "cannot parse json"),
        (long, "more than 1048576 bytes"),
    ] {
        let tokens = Server::answering(move |_| text.clone()).await;
        let error = with_endpoint(&tokens, "")
            .send(&get("http://127.0.0.1:1/"))
            .await
            .expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn no_redirect_takes_the_secret_elsewhere() {
    let other = Server::answering(|_| answer("200 OK", "", r#"{"access_token":"t"}"#)).await;
    let to = format!("http://localhost:{}/", other.address().port());
    let tokens =
        Server::answering(move |_| answer("307 Temporary Redirect", &format!("Location: {to}\r\n"), ""))
            .await;
    let error = with_endpoint(&tokens, "")
        .send(&get("http://127.0.0.1:1/"))
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("holds credentials"), "{error}");
    assert!(other.heads().is_empty());
}

//! Redirects, and what they carry along.

use std::net::SocketAddr;
use std::sync::Arc;

use narthex_httpclient::{
    HttpClient, HttpClientConfig, HttpClientError, Request, Resolve, Resolving, Surroundings,
};

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

/// All names and addresses lead to one server, but names that say so lead to where metadata is given out.
#[derive(Debug)]
struct Everywhere(SocketAddr);

impl Resolve for Everywhere {
    fn resolve<'r>(&'r self, host: &'r str, _: u16) -> Resolving<'r> {
        let address = if host == "sneaky.example" {
            SocketAddr::from(([169, 254, 169, 254], 80))
        } else {
            self.0
        };
        Box::pin(async move { Ok(vec![address]) })
    }
}

#[tokio::test]
async fn nobody_sends_us_to_the_machines_own_metadata() {
    let server = Server::answering(|head| {
        let target = head.split(' ').nth(1).unwrap_or("/");
        match target.strip_prefix("/to/") {
            Some(host) => answer("302 Found", &format!("Location: http://{host}/end\r\n"), ""),
            None => answer("200 OK", "", "end"),
        }
    })
    .await;
    let ask = async |settings: &str, start: &str, to: &str| {
        let surroundings = Surroundings {
            resolver: Arc::new(Everywhere(server.address())),
            roots: None,
        };
        let client =
            HttpClient::within(&read(settings).expect("valid"), "test", surroundings).expect("client");
        client.send(&get(&format!("http://{start}/to/{to}"))).await
    };
    let refused = [
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "sneaky.example",
    ];
    for to in refused {
        let error = ask("{}", "public.example", to).await.expect_err(to).to_string();
        let host = to.trim_matches(['[', ']']);
        assert!(
            error.starts_with(&format!("redirect to {host} refused")),
            "{to}: {error}"
        );
    }
    assert_eq!(
        server.heads().len(),
        refused.len(),
        "only the first request of each goes out"
    );
    for (settings, start, to) in [
        ("{}", "public.example", "elsewhere.example"),
        ("{}", "169.254.169.254", "169.254.170.2"),
        (
            "allow_link_local_redirects: true",
            "public.example",
            "169.254.169.254",
        ),
    ] {
        let answered = ask(settings, start, to).await.expect(to);
        assert_eq!(answered.url().path(), "/end", "{start} to {to}");
    }
}

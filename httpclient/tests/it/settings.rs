//! The section of client settings, and what of it is sent.

use narthex_httpclient::HttpClientConfig;

use crate::server::{Server, answer, client, get};

pub(crate) fn read(text: &str) -> Result<HttpClientConfig, yaml::YamlError> {
    let document = yaml::parse("f.yml", text)?;
    let mut section = document.root().section("config")?;
    let config = HttpClientConfig::read(&mut section)?;
    section.finish()?;
    Ok(config)
}

#[test]
fn contradictions_are_refused() {
    let cases = [
        (
            "bearer_token: a\nbearer_token_file: b",
            "at most one of bearer_token & bearer_token_file must be configured",
        ),
        (
            "bearer_token: a\nbasic_auth: {username: u}",
            "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
        ),
        (
            "authorization: {type: Basic}",
            r#"authorization type cannot be set to "basic", use "basic_auth" instead"#,
        ),
        (
            "tls_config: {cert_file: c}",
            "exactly one of key or key_file must be configured when a client certificate is configured",
        ),
        (
            "no_proxy: x",
            "if no_proxy is configured, proxy_url must also be configured",
        ),
        (
            "http_headers: {authorization: {values: [x]}}",
            r#"setting header "Authorization" is not allowed"#,
        ),
        ("oauth2: {client_id: x}", "oauth2 token_url must be configured"),
        (
            "basic_auth: {username: u, user: v}",
            "field user not found in basic_auth",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(read(text).expect_err(text).message(), message, "{text}");
    }
}

#[test]
fn secrets_are_never_shown() {
    let config = read("basic_auth: {username: u, password: geheim}").expect("valid");
    let shown = format!("{config:?}{}", yaml::to_string(&config).expect("plain"));
    assert!(!shown.contains("geheim") && shown.contains("<secret>"), "{shown}");
}

/// Sends one request and gives back its head, in lower case.
async fn one_request(config: &HttpClientConfig) -> String {
    let server = Server::answering(|_| answer("204 No Content", "", "")).await;
    let response = client(config)
        .send(&get(&server.url("/x")))
        .await
        .expect("answer");
    assert_eq!(response.status(), 204);
    server.heads()[0].to_ascii_lowercase()
}

#[tokio::test]
async fn credentials_and_headers_are_sent() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "t0ken\n").expect("write");
    let text = format!(
        "bearer_token_file: {}\nhttp_headers: {{X-Scope: {{values: [a, b]}}}}",
        file.display()
    );
    let head = one_request(&read(&text).expect("valid")).await;
    assert!(head.contains("authorization: bearer t0ken\r\n"), "{head}");
    assert!(
        head.contains("x-scope: a\r\n") && head.contains("x-scope: b\r\n"),
        "{head}"
    );
    assert!(head.contains("user-agent: narthex/test\r\n"), "{head}");
    let head = one_request(&read("basic_auth: {username: u, password: p}").expect("valid")).await;
    assert!(head.contains("authorization: basic dtpw\r\n"), "{head}");
}

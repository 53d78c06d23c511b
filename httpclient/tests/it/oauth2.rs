//! Tokens: fetched once for all that wait, kept, renewed, bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use narthex_httpclient::{HttpClient, JWT_BEARER};
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaKeyPair, UnparsedPublicKey,
    VerificationAlgorithm,
};

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

/// A client whose token is had for one that it signs with the key in `file`.
fn signing(tokens: &Server, file: &std::path::Path, more: &str) -> HttpClient {
    let text = format!(
        "oauth2: {{client_id: me, grant_type: '{JWT_BEARER}', client_certificate_key_file: '{}', token_url: '{}'{more}}}",
        file.display(),
        tokens.url("/token")
    );
    client(&read(&text).expect("valid"))
}

/// The parts of the token that a request showed, and whether its signature is that of a key.
fn shown(body: &str, key: &str) -> (serde_json::Value, serde_json::Value) {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let form = url::form_urlencoded::parse(body.as_bytes());
    let token = form
        .into_owned()
        .find(|(name, _)| name == "assertion")
        .expect("an assertion")
        .1;
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let part =
        |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).expect("base64")).expect("JSON");
    let (header, claims) = signed.split_once('.').expect("two parts");
    let lines: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(lines).expect("base64");
    let pair = RsaKeyPair::from_pkcs8(&der)
        .or_else(|_| RsaKeyPair::from_der(&der))
        .expect("key");
    let header: serde_json::Value = part(header);
    let how: &dyn VerificationAlgorithm = if header["alg"] == "RS512" {
        &RSA_PKCS1_2048_8192_SHA512
    } else {
        &RSA_PKCS1_2048_8192_SHA256
    };
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    UnparsedPublicKey::new(how, pair.public().as_ref())
        .verify(signed.as_bytes(), &signature)
        .expect("a good signature");
    (header, part(claims))
}

#[tokio::test]
async fn a_token_is_had_for_one_that_we_sign_and_another_key_needs_no_reload() {
    let (first, second) = (
        include_str!("../../testdata/rsa.pem"),
        include_str!("../../testdata/rsa-pkcs1.pem"),
    );
    let tokens =
        Server::answering(|_| answer("200 OK", "", r#"{"access_token":"t","expires_in":3600}"#)).await;
    let target = Server::answering(|_| answer("200 OK", "", "")).await;
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("key.pem");
    std::fs::write(&file, first).expect("write");
    let more = ", client_certificate_key_id: k1, signature_algorithm: RS512, audience: them, scopes: [a, b], \
                claims: {tenant: t, level: 3, deep: {list: [true, ~]}, iss: other}, endpoint_params: {x: y}";
    let client = signing(&tokens, &file, more);
    for _ in 0..2 {
        client.send(&get(&target.url("/"))).await.expect("answer");
    }
    let bodies = tokens.bodies();
    assert_eq!(bodies.len(), 1, "kept");
    assert!(
        bodies[0].contains("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&scope=a+b&x=y")
    );
    let (header, claims) = shown(&bodies[0], first);
    assert_eq!(
        header,
        serde_json::json!({"alg": "RS512", "kid": "k1", "typ": "JWT"})
    );
    assert_eq!(
        claims["exp"].as_u64().expect("a time") - claims["iat"].as_u64().expect("a time"),
        600
    );
    for (name, wanted) in [
        ("iss", serde_json::json!("other")),
        ("sub", "me".into()),
        ("aud", "them".into()),
        ("scope", "a b".into()),
        ("tenant", "t".into()),
        ("level", 3.into()),
        ("deep", serde_json::json!({"list": [true, null]})),
    ] {
        assert_eq!(claims[name], wanted, "{name}");
    }
    std::fs::write(&file, second).expect("write");
    client.send(&get(&target.url("/"))).await.expect("answer");
    let bodies = tokens.bodies();
    assert_eq!(bodies.len(), 2);
    assert_ne!(shown(&bodies[1], second).1["jti"], claims["jti"]);
    // A key that is none is named, and nobody is asked with it.
    std::fs::write(&file, "no key").expect("write");
    let error = client
        .send(&get(&target.url("/")))
        .await
        .expect_err("no key")
        .to_string();
    assert!(
        error.starts_with("oauth2: client_certificate_key: no private key in PEM"),
        "{error}"
    );
    assert_eq!(tokens.bodies().len(), 2);
    let overwrites = signing(
        &tokens,
        &folder.path().join("good.pem"),
        ", endpoint_params: {assertion: mine}",
    );
    std::fs::write(folder.path().join("good.pem"), first).expect("write");
    let error = overwrites
        .send(&get(&target.url("/")))
        .await
        .expect_err("overwrites")
        .to_string();
    assert!(error.contains(r#"cannot overwrite "assertion""#), "{error}");
}

#[test]
fn settings_of_signed_grants_are_checked_like_those_of_secrets() {
    let read_it = |more: &str| {
        let text = format!("oauth2: {{client_id: c, token_url: u, {more}}}");
        read(&text).map(|_| ()).map_err(|error| error.to_string())
    };
    let jwt = format!("grant_type: '{JWT_BEARER}'");
    for good in [
        format!("{jwt}, client_certificate_key: k, client_secret: a, client_secret_file: b"),
        format!("{jwt}, client_certificate_key_file: f, signature_algorithm: RS384"),
        "grant_type: anything, client_certificate_key: k, client_certificate_key_file: f".to_owned(),
        "signature_algorithm: odd".to_owned(),
        jwt.clone(),
    ] {
        assert_eq!(read_it(&good), Ok(()), "{good}");
    }
    for (bad, wanted) in [
        (
            format!("{jwt}, client_certificate_key: k, client_certificate_key_file: f"),
            "at most one of oauth2 client_certificate_key",
        ),
        (
            format!("{jwt}, signature_algorithm: HS256"),
            "valid signature algorithms are RS256, RS384 and RS512",
        ),
        (
            "client_secret: a, client_secret_file: b".to_owned(),
            "at most one of oauth2 client_secret",
        ),
        (format!("{jwt}, claims: [a]"), "a mapping of claims"),
    ] {
        let error = read_it(&bad).expect_err(&bad);
        assert!(error.contains(wanted), "{error}");
    }
}

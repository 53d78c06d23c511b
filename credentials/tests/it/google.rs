//! Google's application default credentials.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use model::clock::Clock as _;
use narthex_credentials::google::Google;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::server::Server;

const SCOPE: &str = "https://www.googleapis.com/auth/compute.readonly";
const KEY: &str = include_str!("../../testdata/rsa.pem");

fn token(value: &str) -> (u16, String) {
    (
        200,
        json!({"access_token": value, "expires_in": 3600, "token_type": "Bearer"}).to_string(),
    )
}

/// A file of credentials.
fn file(content: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), content.to_string()).expect("write");
    file
}

#[tokio::test]
async fn a_service_account_signs_what_it_wants() {
    let server = Server::start(|_| token("sa")).await;
    let key = file(&json!({
        "type": "service_account", "client_email": "me@project.example", "private_key": KEY, "private_key_id": "kid",
        "token_uri": "http://token.example/t",
    }));
    let path = key.path().to_string_lossy();
    let machine = server.machine(&[("GOOGLE_APPLICATION_CREDENTIALS", &*path)]);
    let google = Google::find(machine, SCOPE).expect("credentials");
    assert_eq!(google.token().await.expect("a token").token, "sa");
    let asked = &server.asked()[0];
    assert_eq!(
        asked.form("grant_type"),
        "urn:ietf:params:oauth:grant-type:jwt-bearer"
    );
    let assertion = asked.form("assertion");
    let (signed, signature) = assertion.rsplit_once('.').expect("three parts");
    let parts: Vec<Value> = signed
        .split('.')
        .map(|part| serde_json::from_slice(&BASE64URL.decode(part).expect("base64")).expect("JSON"))
        .collect();
    assert_eq!(parts[0], json!({"alg": "RS256", "kid": "kid", "typ": "JWT"}));
    let now = server.clock.now_ms() / 1_000;
    assert_eq!(
        parts[1],
        json!({"iss": "me@project.example", "scope": SCOPE, "aud": "http://token.example/t",
               "iat": now - 10, "exp": now - 10 + 3_600})
    );
    check_signature(signed.as_bytes(), &BASE64URL.decode(signature).expect("base64"));
}

/// By the key's public half.
fn check_signature(message: &[u8], signature: &[u8]) {
    let lines: String = KEY.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD
        .decode(lines)
        .expect("base64");
    let pair = RsaKeyPair::from_pkcs8(&der).expect("key");
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref())
        .verify(message, signature)
        .expect("a good signature");
}

#[tokio::test]
async fn a_token_is_kept_and_another_key_needs_no_reload() {
    let server = Server::start(|asked| match asked.form("refresh_token").as_str() {
        "bad" => (
            400,
            r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#
                .to_owned(),
        ),
        other => token(other),
    })
    .await;
    let user = |refresh: &str| json!({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": refresh});
    let key = file(&user("first"));
    let path = key.path().to_string_lossy();
    let machine = server.machine(&[("GOOGLE_APPLICATION_CREDENTIALS", &*path)]);
    let google = Google::find(machine, SCOPE).expect("credentials");
    assert_eq!(google.token().await.expect("a token").token, "first");
    std::fs::write(key.path(), user("second").to_string()).expect("write");
    assert_eq!(google.token().await.expect("kept").token, "first");
    google.forget();
    assert_eq!(google.token().await.expect("refused, so another").token, "second");
    assert_eq!(server.asked().len(), 2);
    // The words of who refuses it, and which credentials it is about.
    std::fs::write(key.path(), user("bad").to_string()).expect("write");
    server.clock.set(server.clock.now_ms() + 3_600_000);
    let error = google.token().await.expect_err("revoked").to_string();
    assert_eq!(
        error,
        format!(
            "Google application default credentials of {path} (authorized_user): 400 Bad Request: \
                 invalid_grant: Token has been expired or revoked."
        )
    );
}

#[tokio::test]
async fn the_machine_itself_has_credentials_where_its_firmware_says_so() {
    let server = Server::start(|asked| match asked.header("metadata-flavor") {
        "Google" => token("machine"),
        _ => (403, String::new()),
    })
    .await;
    let mut machine = server.machine(&[]);
    let error = Google::find(machine.clone(), SCOPE)
        .expect_err("nothing")
        .to_string();
    assert!(error.contains("could not find default credentials"), "{error}");
    let root = tempfile::tempdir().expect("folder");
    let dmi = root.path().join("sys/class/dmi/id");
    std::fs::create_dir_all(&dmi).expect("folder");
    std::fs::write(dmi.join("product_name"), "Google Compute Engine\n").expect("write");
    machine.root = root.path().to_owned();
    let google = Google::find(machine, SCOPE).expect("credentials");
    assert_eq!(google.token().await.expect("a token").token, "machine");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_said_at_once() {
    let server = Server::start(|_| token("x")).await;
    for (content, wanted) in [
        (json!({}), r#"type "": there are"#),
        (json!({"type": "external_account"}), r#"type "external_account""#),
        (
            json!({"type": "service_account", "client_email": "e"}),
            "private_key is missing",
        ),
        (json!({"type": "authorized_user"}), "refresh_token is missing"),
        (json!([]), "type"),
        (json!("x"), "expected struct"),
    ] {
        let key = file(&content);
        let error = Google::of_file(server.machine(&[]), key.path(), SCOPE)
            .expect_err("bad")
            .to_string();
        assert!(error.contains(wanted), "{content}: {error}");
    }
    let bad_key = file(&json!({"type": "service_account", "client_email": "e", "private_key": "no PEM"}));
    let google = Google::of_file(server.machine(&[]), bad_key.path(), SCOPE).expect("read");
    let error = google.token().await.expect_err("no key").to_string();
    assert!(error.contains("no private key in PEM"), "{error}");
    let machine = server.machine(&[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")]);
    let error = Google::find(machine, SCOPE).expect_err("missing").to_string();
    assert!(error.contains("/nowhere/key.json"), "{error}");
}

//! TLS with certificates made here.

use std::path::Path;
use std::sync::Arc;

use narthex_httpclient::{HttpClientConfig, HttpClientError, Resolve, Resolving};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;

use crate::server::{Server, answer, client, get, read_request};
use crate::settings::read;

/// A certificate for a name, and its text.
fn certificate(name: &str) -> (rcgen::CertifiedKey<rcgen::KeyPair>, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("certificate");
    let text = made.cert.pem();
    (made, text)
}

fn acceptor(of: &rcgen::CertifiedKey<rcgen::KeyPair>, alpn: &[u8]) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(of.signing_key.serialize_der()).expect("key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![of.cert.der().clone()], key)
        .expect("server");
    config.alpn_protocols = vec![alpn.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// A server that answers over TLS and notes the name it was asked for instead of the request's body.
async fn server(acceptor: Arc<Mutex<TlsAcceptor>>) -> Server {
    Server::start(move |stream, _, note| {
        let acceptor = acceptor.lock().clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let name = stream.get_ref().1.server_name().unwrap_or("").to_owned();
            while let Some((head, _)) = read_request(&mut stream).await {
                note.request((head, name.clone()));
                stream
                    .write_all(answer("200 OK", "", "ok").as_bytes())
                    .await
                    .expect("answer");
            }
        }
    })
    .await
}

fn settings(ca: &Path, more: &str) -> HttpClientConfig {
    read(&format!("tls_config: {{ca_file: '{}'{more}}}", ca.display())).expect("valid")
}

/// A certificate that signed itself, marked as an authority's, as `openssl req -x509` makes them.
fn own_authority(name: &str, ends: (i32, u8, u8)) -> (rcgen::CertifiedKey<rcgen::KeyPair>, String) {
    let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).expect("name");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.not_after = rcgen::date_time_ymd(ends.0, ends.1, ends.2);
    let signing_key = rcgen::KeyPair::generate().expect("key");
    let cert = parameters.self_signed(&signing_key).expect("certificate");
    let text = cert.pem();
    (rcgen::CertifiedKey { cert, signing_key }, text)
}

#[tokio::test]
async fn a_server_may_vouch_for_itself() {
    let folder = tempfile::tempdir().expect("folder");
    let ca = folder.path().join("ca.pem");
    let (made, text) = own_authority("given.test", (2090, 1, 1));
    std::fs::write(&ca, &text).expect("write");
    let own = server(Arc::new(Mutex::new(acceptor(&made, b"http/1.1")))).await;
    let url = format!("https://{}/", own.address());
    let named = settings(&ca, ", server_name: given.test");
    client(&named)
        .send(&get(&url))
        .await
        .expect("the very certificate");
    let refused = |settings: HttpClientConfig, url: String, what: &'static str| async move {
        let error = client(&settings).send(&get(&url)).await.expect_err(what);
        assert!(
            matches!(error, HttpClientError::Handshake { .. }),
            "{what}: {error:?}"
        );
    };
    let other_name = settings(&ca, ", server_name: other.test");
    refused(other_name, url.clone(), "another name").await;
    let (_, other) = own_authority("given.test", (2090, 1, 1));
    std::fs::write(&ca, other).expect("write");
    refused(named.clone(), url, "another certificate").await;
    let (old, text) = own_authority("given.test", (2001, 1, 1));
    std::fs::write(&ca, text).expect("write");
    let over = server(Arc::new(Mutex::new(acceptor(&old, b"http/1.1")))).await;
    refused(
        named,
        format!("https://{}/", over.address()),
        "one whose time is over",
    )
    .await;
}

#[tokio::test]
async fn names_are_checked_and_can_be_given() {
    let folder = tempfile::tempdir().expect("folder");
    let ca = folder.path().join("ca.pem");
    let (made, text) = certificate("given.test");
    std::fs::write(&ca, text).expect("write");
    let server = server(Arc::new(Mutex::new(acceptor(&made, b"http/1.1")))).await;
    let url = format!("https://{}/", server.address());
    let error = client(&settings(&ca, ""))
        .send(&get(&url))
        .await
        .expect_err("another name");
    assert!(matches!(error, HttpClientError::Handshake { .. }), "{error:?}");
    client(&settings(&ca, ", server_name: given.test"))
        .send(&get(&url))
        .await
        .expect("the name given");
    assert_eq!(server.bodies(), ["given.test"], "asked for by that name too");
    client(&read("tls_config: {insecure_skip_verify: true}").expect("valid"))
        .send(&get(&url))
        .await
        .expect("any name");
    let missing = settings(&folder.path().join("none.pem"), "");
    let error = narthex_httpclient::HttpClient::new(&missing, "")
        .expect_err("no file")
        .to_string();
    assert!(error.starts_with("unable to read CA cert "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn changed_certificates_need_no_reload() {
    let folder = tempfile::tempdir().expect("folder");
    let ca = folder.path().join("ca.pem");
    let (old, old_text) = certificate("127.0.0.1");
    let (new, new_text) = certificate("127.0.0.1");
    std::fs::write(&ca, &old_text).expect("write");
    let accept = Arc::new(Mutex::new(acceptor(&old, b"http/1.1")));
    let server = server(accept.clone()).await;
    let client = client(&settings(&ca, ""));
    let request = get(&format!("https://{}/", server.address()));
    client.send(&request).await.expect("the old one");
    std::fs::write(&ca, "no certificate").expect("write");
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    client
        .send(&request)
        .await
        .expect("half a change changes nothing");
    *accept.lock() = acceptor(&new, b"http/1.1");
    std::fs::write(&ca, format!("{new_text}\n\n")).expect("write");
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    client
        .send(&request)
        .await
        .expect("the new one, and no connection made with the old");
}

/// Leads every name to one address.
#[derive(Debug)]
struct Everywhere(std::net::SocketAddr);

impl Resolve for Everywhere {
    fn resolve<'r>(&'r self, _host: &'r str, _port: u16) -> Resolving<'r> {
        Box::pin(async { Ok(vec![self.0]) })
    }
}

#[tokio::test]
async fn http2_shares_a_connection_and_names_lead_where_a_test_wants() {
    let folder = tempfile::tempdir().expect("folder");
    let ca = folder.path().join("ca.pem");
    let (made, text) = certificate("cloud.test");
    std::fs::write(&ca, text).expect("write");
    let acceptor = acceptor(&made, b"h2");
    let server = Server::start(move |stream, _, note| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await.expect("handshake");
            let service =
                hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    note.request((
                        format!("{} {:?}", request.uri(), request.version()),
                        String::new(),
                    ));
                    async {
                        Ok::<_, std::convert::Infallible>(hyper::Response::new(http_body_util::Full::new(
                            "h2".into(),
                        )))
                            as Result<hyper::Response<http_body_util::Full<bytes::Bytes>>, _>
                    }
                });
            let _ = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    let surroundings = narthex_httpclient::Surroundings {
        resolver: Arc::new(Everywhere(server.address())),
        roots: None,
    };
    let client = narthex_httpclient::HttpClient::within(&settings(&ca, ""), "Narthex/test", surroundings)
        .expect("client");
    for _ in 0..5 {
        let response = client
            .send(&get("https://cloud.test/a?b=c"))
            .await
            .expect("answer");
        assert_eq!(response.bytes(10).await.expect("body"), "h2");
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(server.heads()[4], "https://cloud.test/a?b=c HTTP/2.0");
}

//! OTLP over real connections: HTTP as the reference answers it, and gRPC as its clients speak it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

use crate::harness::{Server, free_port, http_client};
use crate::push::lines;

const PATH: &str = "/api/v1/otlp/v1/metrics";
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// The recorded requests of one kind, by their names.
fn recorded(folder: &Path, name: &str) -> Value {
    let cases = lines(&folder.join("cases.jsonl.gz"));
    cases
        .into_iter()
        .find(|case| case["name"] == name)
        .unwrap_or_else(|| panic!("no case {name}"))
}

fn body(request: &Value) -> Vec<u8> {
    STANDARD
        .decode(request["body"].as_str().unwrap_or_default())
        .expect("base64")
}

#[tokio::test]
async fn framing_over_http_is_the_references() {
    let Some(folder) = testkit::conformance("push/otlp") else {
        return;
    };
    let data = tempfile::tempdir().expect("folder");
    let server = Server::start(data.path(), "global: {}\n", &["--web.enable-otlp-receiver"]).await;
    let client = http_client();
    let mut compared = 0;
    for case in lines(&folder.join("cases.jsonl.gz")) {
        // What depends on what was stored before is tried in the room.
        let frames = [
            "protobuf",
            "json",
            "gzip",
            "encoding",
            "content",
            "no-content",
            "empty",
            "method",
            "path",
        ];
        let name = case["name"].as_str().expect("a name");
        if !frames.iter().any(|of| name.starts_with(of)) {
            continue;
        }
        for request in case["requests"].as_array().expect("requests") {
            let path = request["path"].as_str().expect("a path");
            if path.ends_with('/') {
                // A redirect, as for all paths of the API.
                continue;
            }
            let method = request["method"]
                .as_str()
                .expect("a method")
                .parse()
                .expect("a method");
            let mut asked = client
                .request(method, format!("{}{path}", server.url))
                .body(body(request));
            for header in request["headers"].as_array().into_iter().flatten() {
                asked = asked.header(
                    header[0].as_str().expect("a name"),
                    header[1].as_str().expect("a value"),
                );
            }
            let answer = asked.send().await.expect("an answer");
            let response = &request["response"];
            assert_eq!(u64::from(answer.status().as_u16()), response["code"], "{name}");
            for header in response["headers"].as_array().into_iter().flatten() {
                let header_name = header[0].as_str().expect("a name");
                if header_name != "Content-Length" {
                    let own = answer
                        .headers()
                        .get(header_name)
                        .and_then(|value| value.to_str().ok());
                    assert_eq!(own, header[1].as_str(), "{name}: {header_name}");
                }
            }
            if answer.status() == 200 {
                assert!(answer.headers().get("content-type").is_none(), "{name}");
                assert_eq!(answer.text().await.expect("a body"), "", "{name}");
            }
            compared += 1;
        }
    }
    println!("push/otlp: {compared} answers over HTTP agree");
    assert!(compared > 30);
}

#[tokio::test]
async fn what_was_pushed_can_be_asked_for_and_a_reload_changes_how_it_is_named() {
    let Some(folder) = testkit::conformance("push/otlp") else {
        return;
    };
    let data = tempfile::tempdir().expect("folder");
    let flags = ["--web.enable-otlp-receiver"];
    let server = Server::start(data.path(), "global: {}\n", &flags).await;
    let client = http_client();
    let message = body(&recorded(&folder, "protobuf")["requests"][0]);
    let push = async || {
        let asked = client.post(format!("{}{PATH}", server.url));
        let asked = asked
            .header("Content-Type", "application/x-protobuf")
            .body(message.clone());
        asked.send().await.expect("an answer").status().as_u16()
    };
    let count = async |query: &str| {
        let answer = server
            .api("query", &[("query", query), ("time", "1735689600")])
            .await;
        answer["data"]["result"].as_array().expect("a vector").len()
    };
    assert_eq!(push().await, 200);
    assert_eq!(
        count(r#"frame_ok * on (job, instance) group_left (host_name) target_info"#).await,
        1
    );
    std::fs::write(
        data.path().join("narthex.yml"),
        "otlp: {translation_strategy: NoTranslation}\n",
    )
    .expect("writes");
    let reloaded = client.post(format!("{}/-/reload", server.url)).send().await;
    assert_eq!(reloaded.expect("an answer").status(), 200);
    assert_eq!(push().await, 200);
    assert_eq!(count(r#"{"frame.ok"}"#).await, 1);
}

/// A call over gRPC: the HTTP status, the status of the call and its text, and the message that came back.
async fn call(
    port: u16,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, String, String, Bytes) {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("connects");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    let running = tokio::spawn(connection);
    let mut request = hyper::Request::post(format!("http://127.0.0.1:{port}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.expect("a body");
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let text = |name: &str| {
        let value = trailers.get(name).or_else(|| parts.headers.get(name));
        value.map_or("", |value| value.to_str().expect("text")).to_owned()
    };
    let (status, message) = (text("grpc-status"), text("grpc-message"));
    running.abort();
    (parts.status.as_u16(), status, message, collected.to_bytes())
}

fn framed(compressed: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![compressed];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

#[tokio::test]
async fn calls_of_grpc_are_taken_and_refused_with_their_codes() {
    let Some(folder) = testkit::conformance("push/otlp") else {
        return;
    };
    let data = tempfile::tempdir().expect("folder");
    let port = free_port();
    let address = format!("--web.otlp-grpc-listen-address=127.0.0.1:{port}");
    let server = Server::start(data.path(), "global: {}\n", &[&address]).await;
    let of = |name: &str, index: usize| body(&recorded(&folder, name)["requests"][index]);
    let plain = of("protobuf", 0);
    let taken = (200, "0".to_owned(), String::new(), Bytes::from_static(&[0; 5]));
    assert_eq!(call(port, EXPORT, &[], framed(0, &plain)).await, taken);
    let gzip = ("grpc-encoding", "gzip");
    assert_eq!(
        call(port, EXPORT, &[gzip], framed(1, &of("protobuf-gzip", 0))).await,
        taken
    );
    // A compression that is offered need not be used.
    assert_eq!(call(port, EXPORT, &[gzip], framed(0, &plain)).await, taken);
    let code = async |path: &str, headers: &[(&str, &str)], body: Vec<u8>| {
        let (http, status, message, _) = call(port, path, headers, body).await;
        assert_eq!(http, 200);
        (status, message)
    };
    let (status, message) = code(EXPORT, &[], framed(0, &of("delta-refused-rolls-back", 0))).await;
    assert_eq!(status, "3", "nothing heals it");
    assert_eq!(
        message,
        "invalid temporality and type combination for metric \"o.j\""
    );
    assert_eq!(code(EXPORT, &[], framed(0, &of("too-old", 0))).await.0, "0");
    assert_eq!(
        code(EXPORT, &[], framed(0, &of("duplicate-other-value", 1)))
            .await
            .0,
        "3",
        "too late"
    );
    for (headers, body, wanted) in [
        (vec![], framed(0, b"\xff"), "3"),
        (vec![], plain.clone(), "3"),
        (vec![], Vec::new(), "3"),
        (vec![("grpc-encoding", "snappy")], framed(1, &plain), "12"),
        (vec![gzip], framed(1, &plain), "3"),
    ] {
        assert_eq!(code(EXPORT, &headers, body).await.0, wanted);
    }
    let traces = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    assert_eq!(code(traces, &[], framed(0, b"")).await.0, "12");
    // Nothing else is to be had there, and nothing of it elsewhere.
    let url = format!("{}{PATH}", server.url);
    assert_eq!(
        http_client().post(url).send().await.expect("an answer").status(),
        404
    );
    let (status, _) = server.get("/api/v1/query?query=frame_ok&time=1735689600").await;
    assert_eq!(status, 200);
    let found = server
        .api("query", &[("query", "frame_ok"), ("time", "1735689600")])
        .await;
    assert_eq!(found["data"]["result"].as_array().expect("a vector").len(), 1);
}

#[tokio::test]
async fn who_may_call_is_what_the_web_configuration_says() {
    let data = tempfile::tempdir().expect("folder");
    let (writer, reader) = ("a".repeat(32), "b".repeat(32));
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path.display().to_string()
    };
    let web = format!(
        "bearer_tokens:\n- {{name: agent, token_file: {}, scopes: [write]}}\n\
         - {{name: reader, token_file: {}, scopes: [read]}}\n",
        file("writer", &writer),
        file("reader", &reader),
    );
    let port = free_port();
    let flag = format!("--web.otlp-grpc-listen-address=127.0.0.1:{port}");
    let headers = [("authorization", format!("Bearer {reader}"))];
    let headers = headers.into_iter().map(|(name, value)| {
        let name = http::HeaderName::from_static(name);
        (name, value.parse().expect("a header"))
    });
    let client = reqwest::Client::builder()
        .default_headers(headers.collect())
        .build()
        .expect("a client");
    let _server = Server::start_guarded(data.path(), &web, &[&flag], client).await;
    let (writer, reader) = (format!("Bearer {writer}"), format!("Bearer {reader}"));
    for (credentials, http, status) in [
        (None, 401, ""),
        (Some(&reader), 403, ""),
        (Some(&writer), 200, "0"),
    ] {
        let headers: Vec<(&str, &str)> = credentials
            .iter()
            .map(|credentials| ("authorization", credentials.as_str()))
            .collect();
        let (code, grpc, ..) = call(port, EXPORT, &headers, framed(0, b"")).await;
        assert_eq!((code, grpc.as_str()), (http, status));
    }
}

#[test]
fn deltas_are_added_up_or_stored_but_not_both() {
    let folder = tempfile::tempdir().expect("folder");
    let both = "--enable-feature=otlp-deltatocumulative,otlp-native-delta-ingestion";
    let output = crate::harness::narthex(&[both], folder.path(), b"");
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    let words =
        "cannot enable otlp-deltatocumulative and otlp-native-delta-ingestion features at the same time";
    assert!(told.contains(words), "{told}");
}

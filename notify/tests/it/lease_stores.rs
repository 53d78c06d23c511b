//! What a lease is kept in: servers that speak the Lease API of Kubernetes and S3's conditional writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use credentials::Machine;
use narthex_notify::config::Config;
use narthex_notify::lease::{LeaseStore, Part, Record, StoreError, Version, open_store};
use narthex_notify::matcher::Syntax;
use parking_lot::Mutex;
use serde_json::{Value, json};

fn lease(text: &str) -> Arc<dyn LeaseStore> {
    let text =
        format!("route: {{receiver: a}}\nreceivers: [{{name: a}}]\nhigh_availability: {{lease: {text}}}\n");
    let config = Config::parse("alertmanager.yml", &text, Syntax::Fallback).expect("good");
    let config = config.high_availability.expect("there").lease;
    open_store(&config, &Machine::new("Narthex/test")).expect("opened")
}

fn record(holder: &str, term: u64) -> Record {
    Record {
        holder: holder.to_owned(),
        term,
        acquired: "2026-05-13T10:00:50Z".parse().expect("time"),
        renewed: "2026-05-13T10:00:51.5Z".parse().expect("time"),
        duration: std::time::Duration::from_secs(15),
    }
}

/// What every store does, whatever it is made of.
async fn try_out(store: &dyn LeaseStore) {
    assert_eq!(store.read_lease().await.expect("asked"), None);
    let first = store.write_lease(&record("a", 1), None).await.expect("written");
    let again = store.write_lease(&record("b", 1), None).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
    assert_eq!(
        store.read_lease().await.expect("read"),
        Some((record("a", 1), first.clone()))
    );
    let second = store
        .write_lease(&record("b", 2), Some(&first))
        .await
        .expect("written");
    let stale = store.write_lease(&record("a", 1), Some(&first)).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })), "{stale:?}");
    assert_eq!(
        store.read_lease().await.expect("read"),
        Some((record("b", 2), second))
    );

    let bytes = vec![0, 1, 2, 255, 10];
    assert_eq!(
        store.read_part("nflog-0", None).await.expect("asked"),
        Part::Absent
    );
    let first = store
        .write_part("nflog-0", bytes.clone(), None)
        .await
        .expect("written");
    let part = store.read_part("nflog-0", None).await.expect("read");
    let version = first.clone();
    assert_eq!(part, Part::Present { bytes, version });
    assert_eq!(
        store.read_part("nflog-0", Some(&first)).await.expect("asked"),
        Part::Unchanged
    );
    let second = store
        .write_part("nflog-0", vec![7], Some(&first))
        .await
        .expect("written");
    for stale in [None, Some(&first)] {
        let stale = store.write_part("nflog-0", vec![8], stale).await;
        assert!(matches!(stale, Err(StoreError::Conflict { .. })), "{stale:?}");
    }
    let part = store.read_part("nflog-0", Some(&first)).await.expect("read");
    assert_eq!(
        part,
        Part::Present {
            bytes: vec![7],
            version: second
        }
    );
    let gone = store
        .write_part("silences-0", vec![8], Some(&Version("\"9\"".into())))
        .await;
    assert!(matches!(gone, Err(StoreError::Conflict { .. })), "{gone:?}");
}

struct Asked {
    method: &'static str,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// What a server has, and what it was asked.
#[derive(Default)]
struct Served {
    objects: BTreeMap<String, (Vec<u8>, u64)>,
    asked: Vec<Asked>,
    made: u64,
    minds_no_conditions: bool,
}

impl Served {
    fn ask(&mut self, method: &'static str, path: &str, headers: &HeaderMap, body: &[u8]) {
        self.asked.push(Asked {
            method,
            path: path.to_owned(),
            headers: headers.clone(),
            body: body.to_vec(),
        });
    }
}

type Shared = Arc<Mutex<Served>>;

async fn serve(app: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address").to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn status(code: StatusCode, message: &str) -> Response {
    (
        code,
        json!({"kind": "Status", "message": message, "code": code.as_u16()}).to_string(),
    )
        .into_response()
}

/// Gives the object a version, and keeps it.
fn keep(served: &mut Served, path: String, mut object: Value) -> Response {
    served.made += 1;
    object["metadata"]["resourceVersion"] = json!(served.made.to_string());
    let text = object.to_string();
    served
        .objects
        .insert(path, (text.clone().into_bytes(), served.made));
    text.into_response()
}

async fn kube_get(State(served): State<Shared>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    let mut served = served.lock();
    served.ask("GET", &path, &headers, &[]);
    match served.objects.get(&path) {
        Some((object, _)) => object.clone().into_response(),
        None => status(StatusCode::NOT_FOUND, "not found"),
    }
}

async fn kube_post(State(served): State<Shared>, Path(path): Path<String>, body: Bytes) -> Response {
    let object: Value = serde_json::from_slice(&body).expect("JSON");
    let path = format!("{path}/{}", object["metadata"]["name"].as_str().expect("a name"));
    let mut served = served.lock();
    if served.objects.contains_key(&path) {
        return status(StatusCode::CONFLICT, "already exists");
    }
    keep(&mut served, path, object)
}

async fn kube_put(State(served): State<Shared>, Path(path): Path<String>, body: Bytes) -> Response {
    let object: Value = serde_json::from_slice(&body).expect("JSON");
    let mut served = served.lock();
    let Some((_, version)) = served.objects.get(&path) else {
        return status(StatusCode::NOT_FOUND, "not found");
    };
    if object["metadata"]["resourceVersion"].as_str() != Some(version.to_string().as_str()) {
        return status(StatusCode::CONFLICT, "the object has been modified");
    }
    keep(&mut served, path, object)
}

const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'http://ADDRESS/below'}}]
users: [{name: u, user: {token: s3cret}}]
";

#[tokio::test]
async fn kubernetes_refuses_what_is_not_about_its_version() {
    let served = Shared::default();
    let app = axum::Router::new()
        .route("/below/{*path}", get(kube_get).post(kube_post).put(kube_put))
        .with_state(served.clone());
    let address = serve(app).await;
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, KUBECONFIG.replace("ADDRESS", &address)).expect("written");
    let place = json!({"namespace": "watch", "name": "am", "kubeconfig_file": file});
    let store = lease(&format!("{{kubernetes: {place}}}"));
    try_out(&*store).await;

    let path = "apis/coordination.k8s.io/v1/namespaces/watch/leases/am";
    {
        let served = served.lock();
        assert_eq!(served.asked[0].path, path);
        // A kubeconfig's credentials go over TLS only.
        assert!(!served.asked[0].headers.contains_key("authorization"));
    }
    let object =
        |path: &str| -> Value { serde_json::from_slice(&served.lock().objects[path].0).expect("JSON") };
    assert_eq!(
        object(path)["spec"],
        json!({
            "holderIdentity": "b",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-05-13T10:00:50.000000Z",
            "renewTime": "2026-05-13T10:00:51.500000Z",
            "leaseTransitions": 2,
        })
    );
    let map = object("api/v1/namespaces/watch/configmaps/am-nflog-0");
    assert_eq!(
        (&map["kind"], &map["binaryData"]["entries"]),
        (&json!("ConfigMap"), &json!("Bw=="))
    );

    // What others write on the lease is kept; what means nothing is somebody's who does not renew it.
    let mut labelled = object(path);
    labelled["metadata"]["labels"] = json!({"team": "a"});
    keep(&mut served.lock(), path.to_owned(), labelled);
    let (_, version) = store.read_lease().await.expect("read").expect("there");
    store
        .write_lease(&record("c", 3), Some(&version))
        .await
        .expect("written");
    assert_eq!(object(path)["metadata"]["labels"], json!({"team": "a"}));
    let mut broken = object(path);
    broken["spec"] = json!({"leaseTransitions": "many"});
    keep(&mut served.lock(), path.to_owned(), broken);
    let (broken, version) = store.read_lease().await.expect("read").expect("there");
    assert!(!broken.holder.is_empty() && broken.term == 0);
    store
        .write_lease(&record("d", 4), Some(&version))
        .await
        .expect("written");

    served
        .lock()
        .objects
        .insert(path.to_owned(), (b"<html>".to_vec(), 0));
    let garbage = store.read_lease().await.expect_err("garbage").to_string();
    assert!(garbage.starts_with("watch/am: "), "{garbage}");
}

fn matches_condition(served: &Served, path: &str, headers: &HeaderMap) -> Result<(), StatusCode> {
    let there = served
        .objects
        .get(path)
        .map(|(_, version)| format!("\"{version}\""));
    let said = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().expect("text").to_owned())
    };
    if served.minds_no_conditions {
        return Ok(());
    }
    match (said("if-none-match"), said("if-match"), there) {
        (Some(_), _, None) => Ok(()),
        (_, Some(_), None) => Err(StatusCode::NOT_FOUND),
        (_, Some(tag), Some(there)) if tag == there => Ok(()),
        _ => Err(StatusCode::PRECONDITION_FAILED),
    }
}

async fn bucket_get(State(served): State<Shared>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    let mut served = served.lock();
    served.ask("GET", &path, &headers, &[]);
    let Some((bytes, version)) = served.objects.get(&path) else {
        return (StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>").into_response();
    };
    let tag = format!("\"{version}\"");
    if headers.get("if-none-match").is_some_and(|known| *known == tag) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    ([("etag", tag)], bytes.clone()).into_response()
}

async fn bucket_put(
    State(served): State<Shared>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut served = served.lock();
    served.ask("PUT", &path, &headers, &body);
    if let Err(code) = matches_condition(&served, &path, &headers) {
        return (code, "<Error><Code>PreconditionFailed</Code></Error>").into_response();
    }
    served.made += 1;
    let made = served.made;
    served.objects.insert(path, (body.to_vec(), made));
    [("etag", format!("\"{made}\""))].into_response()
}

async fn bucket() -> (Shared, String) {
    let served = Shared::default();
    let app = axum::Router::new()
        .route("/{*path}", get(bucket_get).put(bucket_put))
        .with_state(served.clone());
    (served, serve(app).await)
}

fn in_bucket(address: &str) -> Arc<dyn LeaseStore> {
    let sigv4 = "sigv4: {region: eu-west-1, access_key: AKID, secret_key: s}";
    lease(&format!(
        "{{bucket: {{endpoint: 'http://{address}', bucket: alerts, prefix: 'ha/', {sigv4}}}}}"
    ))
}

#[tokio::test]
async fn a_bucket_refuses_what_is_not_about_its_object() {
    let (served, address) = bucket().await;
    let store = in_bucket(&address);
    try_out(&*store).await;
    for asked in &served.lock().asked {
        let headers: Vec<(String, String)> = asked
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
            .collect();
        let signed = testkit::sigv4::Signed {
            method: asked.method,
            target: &format!("/{}", asked.path),
            headers: &headers,
            body: &asked.body,
        };
        testkit::sigv4::check(signed, "s").expect("signed");
        let scope = asked.headers["authorization"].to_str().expect("text");
        assert!(scope.contains("Credential=AKID/") && scope.contains("/eu-west-1/s3/aws4_request"));
        assert!(asked.path.starts_with("alerts/ha/"), "{}", asked.path);
    }
    let text = String::from_utf8(served.lock().objects["alerts/ha/lease.json"].0.clone()).expect("text");
    assert_eq!(
        text,
        "{\"holder\":\"b\",\"term\":2,\"acquired\":\"2026-05-13T10:00:50.000000Z\",\
         \"renewed\":\"2026-05-13T10:00:51.500000Z\",\"duration_ms\":15000}"
    );
    served
        .lock()
        .objects
        .insert("alerts/ha/lease.json".to_owned(), (b"x".to_vec(), 99));
    let (broken, version) = store.read_lease().await.expect("read").expect("there");
    assert!(!broken.holder.is_empty() && broken.term == 0);
    store
        .write_lease(&record("d", 4), Some(&version))
        .await
        .expect("written");
}

#[tokio::test]
async fn a_service_that_minds_no_conditions_is_found_out() {
    let (served, address) = bucket().await;
    served.lock().minds_no_conditions = true;
    let refused = in_bucket(&address).write_lease(&record("a", 1), None).await;
    let message = refused.expect_err("found out").to_string();
    assert!(message.contains("If-None-Match"), "{message}");
    assert!(!served.lock().objects.contains_key("alerts/ha/lease.json"));
}

#[test]
fn mistakes_in_the_section_have_a_place() {
    for (text, line, expected) in [
        ("{}", 3, "high_availability needs a lease"),
        ("{lease: {}}", 3, "a lease needs a place: kubernetes or bucket"),
        (
            "\n  lease: {kubernetes: {}, bucket: {bucket: a}}",
            4,
            "a lease is in one place",
        ),
        (
            "\n  lease:\n    kubernetes: {}\n    duration: 1s",
            6,
            "from 5s to 10m",
        ),
        (
            "\n  lease:\n    kubernetes: {name: 'A b'}",
            5,
            "is no name in Kubernetes",
        ),
        ("\n  lease:\n    kubernetes: {nam: a}", 5, "field nam not found"),
        (
            "\n  lease:\n    kubernetes: {kubeconfig_file: a}",
            5,
            "needs a namespace",
        ),
        (
            "\n  lease:\n    bucket: {prefix: a}",
            5,
            "the bucket's name is missing",
        ),
        (
            "\n  lease:\n    bucket: {bucket: a, prefix: 'a b'}",
            5,
            "has characters beyond",
        ),
        (
            "\n  lease:\n    bucket: {bucket: a, endpoint: 'x'}",
            5,
            "is no address",
        ),
        (
            "\n  lease:\n    bucket: {bucket: a, basic_auth: {username: u}, sigv4: {region: r}}",
            5,
            "exclude each other",
        ),
    ] {
        let text = format!("route: {{receiver: a}}\nreceivers: [{{name: a}}]\nhigh_availability: {text}\n");
        let error = Config::parse("am.yml", &text, Syntax::Fallback).expect_err(expected);
        assert!(error.message().contains(expected), "{error}");
        assert_eq!(error.position().line, line, "{error}");
    }
    let text = "route: {receiver: a}\nreceivers: [{name: a}]\nhigh_availability:\n  lease:\n    bucket: {bucket: b, \
                sigv4: {access_key: k, secret_key: hidden}}\n";
    let config = Config::parse("am.yml", text, Syntax::Fallback).expect("good");
    let shown = config.to_yaml();
    assert!(
        shown.contains("    duration: 15s\n") && !shown.contains("hidden"),
        "{shown}"
    );
    assert!(
        Config::parse("am.yml", &shown, Syntax::Fallback).is_ok(),
        "{shown}"
    );
}

#[test]
fn the_example_is_taken() {
    let example = include_str!("../../../examples/high-availability/alertmanagers.yml");
    let (_, rest) = example
        .split_once("  alertmanager.yml: |\n")
        .expect("a file in it");
    let (text, _) = rest.split_once("---").expect("an end");
    let lines: Vec<&str> = text.lines().map(|line| line.get(4..).unwrap_or("")).collect();
    let config = Config::parse("am.yml", &lines.join("\n"), Syntax::Fallback).expect("good");
    let lease = config.high_availability.expect("there").lease;
    assert_eq!(lease.duration.as_std().as_secs(), 15);
}

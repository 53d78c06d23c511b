//! `check service-discovery` with mechanisms that ask servers: what is found, how long it is waited for, what is said.

use std::path::Path;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use crate::harness::narthex;

fn check(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let args = [&["check", "service-discovery"][..], args].concat();
    let output = narthex(&args, folder, b"");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Answers as the first matching exchange of a recording's beginning says; a question that waits for a change waits.
async fn serve(exchanges: Vec<Value>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let port = listener.local_addr().expect("address").port();
    let app = axum::Router::new().fallback(answer).with_state(exchanges);
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

async fn answer(State(exchanges): State<Vec<Value>>, request: Request) -> (StatusCode, HeaderMap, String) {
    let (uri, method) = (request.uri(), request.method().as_str());
    let query: Vec<(String, String)> = url::form_urlencoded::parse(uri.query().unwrap_or("").as_bytes())
        .into_owned()
        .collect();
    let matches = |exchange: &&Value| {
        let wanted = &exchange["request"];
        let is_now = exchange["phases"].as_array().is_none_or(|span| span[0] == 0);
        let has = |(name, value): (&String, &Value)| {
            let found = query.iter().find(|(key, _)| key == name);
            match (value, found) {
                (Value::Null, found) => found.is_none(),
                (_, None) => false,
                (Value::String(text), Some((_, found))) => text.starts_with(['*', '~']) || text == found,
                _ => true,
            }
        };
        is_now
            && wanted["method"].as_str().unwrap_or("GET") == method
            && wanted["path"] == uri.path()
            && wanted["query"]
                .as_object()
                .is_none_or(|pairs| pairs.iter().all(has))
    };
    let Some(exchange) = exchanges.iter().find(matches) else {
        return (StatusCode::NOT_FOUND, HeaderMap::new(), String::new());
    };
    let response = &exchange["response"];
    if response["blocking"].is_object() && query.iter().any(|(name, value)| name == "index" && value != "0") {
        std::future::pending::<()>().await;
    }
    let mut headers = HeaderMap::new();
    let body = match (&response["body"], response.get("json")) {
        (Value::String(text), _) => text.clone(),
        (_, Some(json)) => {
            headers.insert("content-type", HeaderValue::from_static("application/json"));
            json.to_string()
        }
        _ => String::new(),
    };
    for (name, value) in response["headers"].as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        headers.insert(
            HeaderName::try_from(name).expect("name"),
            HeaderValue::try_from(value).expect("value"),
        );
    }
    let status = response["status"].as_u64().unwrap_or(200) as u16;
    (StatusCode::from_u16(status).expect("status"), headers, body)
}

/// The reference's recorded runs, of the mechanisms whose addresses are configured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_references_runs_are_repeated() {
    let Some(folder) = testkit::conformance("discovery") else {
        return;
    };
    let cases = [
        "consul/listed-services",
        "docker/containers",
        "eureka/apps",
        "file/files",
        "http/error-from-the-start",
        "http/groups",
        "http/invalid-target",
        "http/two-configs",
        "nomad/services",
        "static/groups",
    ];
    let mut judged = 0;
    for name in cases {
        // Part of the recording is kept aside.
        let Ok(text) = std::fs::read(folder.join(format!("{name}.json"))) else {
            continue;
        };
        let case: Value = serde_json::from_slice(&text).expect("JSON");
        let port = serve(case["exchanges"].as_array().cloned().unwrap_or_default()).await;
        let work = tempfile::tempdir().expect("folder");
        let fill = |text: &str| {
            text.replace("@PORT@", &port.to_string())
                .replace("@DIR@", &work.path().to_string_lossy())
        };
        for (file, content) in case["files"].as_object().into_iter().flatten() {
            let path = work.path().join(file);
            std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
            std::fs::write(path, fill(content.as_str().expect("text"))).expect("write");
        }
        let config = fill(case["config"].as_str().expect("configuration"));
        std::fs::write(work.path().join("prometheus.yml"), config).expect("write");
        for run in case["check_service_discovery"].as_array().into_iter().flatten() {
            let args: Vec<&str> = run["args"].as_array().expect("arguments")[2..]
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let (code, out, err) = check(work.path(), &args);
            judged += 1;
            // The reference panics over a target that is refused.
            let wanted = if run["exit"] == 2 {
                Some(0)
            } else {
                run["exit"].as_i64()
            };
            assert_eq!(code.map(i64::from), wanted, "{name}: {err}");
            let Some(wanted) = run["stdout"].as_array() else {
                continue;
            };
            let sorted = |list: &[Value]| {
                let mut texts: Vec<String> = list.iter().map(|target| fill(&target.to_string())).collect();
                texts.sort();
                texts
            };
            let found: Vec<Value> = serde_json::from_str(&out).expect("a list");
            assert_eq!(sorted(&found), sorted(wanted), "{name}");
        }
    }
    assert!(judged > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_had_is_waited_for_and_named() {
    let folder = tempfile::tempdir().expect("folder");
    let port = serve(Vec::new()).await;
    let config = format!(
        "scrape_configs:\n\
         - {{job_name: none, http_sd_configs: [{{url: 'http://127.0.0.1:{port}/none', refresh_interval: 1s}}]}}\n\
         - {{job_name: bad, docker_sd_configs: [{{host: 'ftp://x'}}]}}\n"
    );
    std::fs::write(folder.path().join("p.yml"), config).expect("write");
    let begin = Instant::now();
    let (code, out, err) = check(folder.path(), &["--timeout=700ms", "p.yml", "none"]);
    assert_eq!((code, out.trim()), (Some(0), "[]"), "{err}");
    assert!(
        begin.elapsed() >= Duration::from_millis(700),
        "it might have come"
    );
    assert!(
        err.contains("Unable to refresh target groups") && err.contains("404"),
        "{err}"
    );
    let (code, _, err) = check(folder.path(), &["p.yml", "bad"]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("Could not create new discoverer") && err.contains("ftp"),
        "{err}"
    );
}

//! A server whose `remote_read` leads to a store that records what it is asked and answers by script, as in
//! `push/remote-read/client`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http_body_util::BodyExt as _;
use model::matcher::MatchOp;
use model::protobuf::Message;
use parking_lot::Mutex;
use remote::read::{Hints, MatcherKind, Query, ReadRequest};
use serde_json::{Value, json};

use super::bytes;
use crate::golden::copy_folder;
use crate::harness::{Server, http_client};
use crate::push::lines;

/// Type of an answer as samples.
const SAMPLES: &str = "application/x-protobuf";
/// Type of an answer as frames.
const CHUNKS: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
/// The first sample of the store's series, and how many there are, fifteen seconds apart.
const FIRST_MS: i64 = 1_735_689_600_000;
const SAMPLE_COUNT: i64 = 9;

/// What the store says to a request.
#[derive(Clone)]
struct Said {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
}

/// A request: path, headers, body.
type Asked = (String, BTreeMap<String, String>, Vec<u8>);

/// A store behind a socket.
struct Store {
    said: Mutex<Said>,
    asked: Mutex<Vec<Asked>>,
}

impl Store {
    /// Listens; its address.
    async fn listen(said: Said) -> (Arc<Store>, String) {
        let store = Arc::new(Store {
            said: Mutex::new(said),
            asked: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("address").to_string();
        let router = Router::new().fallback(answer).with_state(store.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (store, address)
    }
}

async fn answer(State(store): State<Arc<Store>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
    let path = head.uri.path().to_owned();
    store.asked.lock().push((path, headers.collect(), body.to_vec()));
    let Said {
        status,
        content_type,
        body,
    } = store.said.lock().clone();
    let mut response = Response::builder().status(status);
    if !content_type.is_empty() {
        response = response.header("content-type", content_type);
    }
    response.body(Body::from(body)).expect("a response")
}

fn label_pairs(out: &mut Message, labels: &[(&str, &str)]) {
    for (name, value) in labels {
        out.message(1, |out| {
            out.text(1, name).text(2, value);
        });
    }
}

/// A series of the value 5 at `times_ms`; stale where a time is negative.
fn series(labels: &[(&str, &str)], times_ms: impl Iterator<Item = i64>) -> Vec<u8> {
    let mut series = Message::default();
    label_pairs(&mut series, labels);
    for at_ms in times_ms {
        let value = match at_ms < 0 {
            true => model::sample::stale_nan(),
            false => 5.0,
        };
        series.message(2, |out| {
            out.always_double(1, value).uint(2, at_ms.unsigned_abs());
        });
    }
    series.into_bytes()
}

fn times() -> impl Iterator<Item = i64> + Clone {
    (0..SAMPLE_COUNT).map(|n| FIRST_MS + n * 15_000)
}

/// A message of one result.
fn sampled(list: &[Vec<u8>]) -> Said {
    let mut message = Message::default();
    message.message(1, |out| {
        for series in list {
            out.bytes(1, series);
        }
    });
    compressed(&message.into_bytes())
}

fn compressed(message: &[u8]) -> Said {
    let body = snap::raw::Encoder::new().compress_vec(message).expect("short");
    said(SAMPLES, body)
}

fn said(content_type: &'static str, body: Vec<u8>) -> Said {
    Said {
        status: 200,
        content_type,
        body,
    }
}

/// Frames of one series each, with the checksum changed by `wrong`.
fn framed(list: &[&[(&str, &str)]], wrong: u32) -> Said {
    let mut columns = model::columns::Columns::default();
    times().for_each(|at_ms| columns.push(at_ms, 5.0));
    let chunks = tsdb::chunk::encode(&columns, &tsdb::chunk::EncodeOptions::default());
    let mut body = Vec::new();
    for labels in list {
        let mut message = Message::default();
        message.message(1, |out| {
            label_pairs(out, labels);
            for chunk in &chunks {
                out.message(2, |out| {
                    out.uint(1, chunk.min_ms as u64)
                        .uint(2, chunk.max_ms as u64)
                        .uint(3, chunk.encoding as u64)
                        .bytes(4, &chunk.bytes);
                });
            }
        });
        let message = message.into_bytes();
        model::protobuf::put_varint(&mut body, message.len() as u64);
        body.extend_from_slice(&(crc32c(&message) ^ wrong).to_be_bytes());
        body.extend_from_slice(&message);
    }
    said(CHUNKS, body)
}

/// Castagnoli, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

/// What the recording store answered in the run of this name, which the recording tells by what came of it.
fn script(name: &str) -> Said {
    let m = [("__name__", "m"), ("a", "1")];
    let plain = || series(&m, times());
    let other = || series(&[("__name__", "m"), ("a", "2")], times());
    let of_cluster = [("__name__", "m"), ("a", "1"), ("cluster", "c1")];
    match name {
        "default-chunks" | "chunked-read-limit" => framed(&[&m], 0),
        "answer/chunks-bad-checksum" => framed(&[&m], 1),
        "answer/chunks-truncated" => {
            let mut cut = framed(&[&m], 0);
            cut.body.truncate(cut.body.len() - 10);
            cut
        }
        "answer/chunks-unsorted" => framed(&[&[("__name__", "m"), ("a", "2")], &m], 0),
        "answer/chunks-external-label" => framed(&[&of_cluster], 0),
        "answer/empty" => sampled(&[]),
        "answer/unsorted-series" => sampled(&[other(), plain()]),
        "answer/unsorted-labels" => sampled(&[series(&[("a", "1"), ("__name__", "m")], times())]),
        "answer/duplicate-series" => sampled(&[plain(), plain()]),
        "answer/duplicate-labels" => {
            sampled(&[series(&[("__name__", "m"), ("a", "1"), ("a", "2")], times())])
        }
        "answer/samples-out-of-order" => {
            let backwards: Vec<i64> = times().collect();
            sampled(&[series(&m, backwards.into_iter().rev())])
        }
        "answer/samples-outside-range" => {
            let more = (-40..60).map(|n| FIRST_MS + n * 15_000);
            sampled(&[series(&m, more)])
        }
        "answer/stale" => {
            let ends = times().map(|at_ms| if at_ms > FIRST_MS + 30_000 { -at_ms } else { at_ms });
            sampled(&[series(&m, ends)])
        }
        "answer/not-what-was-asked" => sampled(&[series(&[("__name__", "other")], times())]),
        "answer/too-few-results" => compressed(&[]),
        "answer/content-type-unknown" => said("text/plain", b"hello".to_vec()),
        "answer/content-type-missing" => said("", plain()),
        "answer/bad-snappy" => said(SAMPLES, b"\xff\xff\xff".to_vec()),
        "answer/bad-protobuf" => compressed(&[0x0a, 0x50, 1]),
        _ if name.starts_with("answer/http-") => Said {
            status: name["answer/http-".len()..].parse().expect("a status"),
            content_type: "text/plain",
            body: b"store says no\n".to_vec(),
        },
        // What is asked for in the external labels comes with one of them.
        _ => sampled(&[series(&of_cluster, times())]),
    }
}

#[tokio::test]
async fn queries_read_elsewhere_as_those_of_the_reference_do() {
    let Some(conformance) = testkit::conformance("") else {
        return;
    };
    let mut differ = Vec::new();
    let runs = lines(&conformance.join("push/remote-read/client.jsonl.gz"));
    for run in &runs {
        let name = run["name"].as_str().expect("name");
        let (store, address) = Store::listen(script(name)).await;
        let folder = tempfile::tempdir().expect("folder");
        if name.starts_with("local-data/") {
            copy_folder(&conformance.join("tsdb/plain/data"), &folder.path().join("data"));
        }
        let config = run["prometheus.yml"]
            .as_str()
            .expect("text")
            .replace("STORE", &address);
        let flags: Vec<&str> = run["flags"]
            .as_array()
            .expect("flags")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let server = Server::start(folder.path(), &config, &flags).await;
        for ask in run["asks"].as_array().expect("asks") {
            store.asked.lock().clear();
            let found = check(&server, &store, &address, ask).await;
            differ.extend(found.err().map(|why| format!("{name}: {}: {why}", ask["params"])));
        }
        if let Err(why) = counters(&server, &address, &run["counters"]).await {
            differ.push(format!("{name}: {why}"));
        }
    }
    println!("push/remote-read/client: {} runs", runs.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

async fn check(server: &Server, store: &Store, address: &str, ask: &Value) -> Result<(), String> {
    let path = ask["path"].as_str().expect("path");
    let mut params: Vec<(&str, String)> = Vec::new();
    for (name, value) in ask["params"].as_object().expect("params") {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match value.as_array() {
            Some(list) => params.extend(list.iter().map(|value| (name.as_str(), text(value)))),
            None => params.push((name, text(value))),
        }
    }
    let mut url = url::Url::parse(&format!("{}/api/v1/{path}", server.url)).expect("URL");
    url.query_pairs_mut().extend_pairs(params);
    let answer = http_client().get(url).send().await.expect("an answer");
    if u64::from(answer.status().as_u16()) != ask["code"] {
        return Err(format!("{} instead of {}", answer.status(), ask["code"]));
    }
    let body: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
    same_requests(&store.asked.lock(), ask, address)?;
    same_body(&body, &ask["body"], address)
}

/// The same requests, in any order.
fn same_requests(asked: &[Asked], ask: &Value, address: &str) -> Result<(), String> {
    let mut given: Vec<Value> = asked
        .iter()
        .map(|(path, headers, body)| {
            let request = ReadRequest::decode(body).expect("a request");
            json!({"path": path, "headers": shown_headers(headers, address), "decoded": shown(&request)})
        })
        .collect();
    let mut wanted: Vec<Value> = ask["requests"]
        .as_array()
        .expect("requests")
        .iter()
        .map(|request| {
            let pairs: Vec<(String, String)> =
                serde_json::from_value(request["headers"].clone()).expect("pairs");
            let headers = pairs
                .into_iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value));
            let decoded = ReadRequest::decode(&bytes(&request["body"])).expect("a request");
            json!({"path": request["path"], "headers": shown_headers(&headers.collect(), "STORE"),
                   "decoded": shown(&decoded)})
        })
        .collect();
    given.sort_by_key(Value::to_string);
    wanted.sort_by_key(Value::to_string);
    match given == wanted {
        true => Ok(()),
        false => Err(format!("asked {}\ninstead of {}", json!(given), json!(wanted))),
    }
}

/// Headers but for those that name us or count bytes.
fn shown_headers(headers: &BTreeMap<String, String>, address: &str) -> Value {
    let shown = headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "user-agent" | "content-length"))
        .map(|(name, value)| (name.clone(), value.replace(address, "STORE").into()));
    Value::Object(shown.collect())
}

fn shown(request: &ReadRequest) -> Value {
    let matcher = |kind: MatcherKind| match kind {
        MatcherKind::Known(MatchOp::Equal) => "=",
        MatcherKind::Known(MatchOp::NotEqual) => "!=",
        MatcherKind::Known(MatchOp::Regex) => "=~",
        MatcherKind::Known(MatchOp::NotRegex) => "!~",
        MatcherKind::Unknown(_) => "?",
    };
    let query = |query: &Query| {
        let matchers = query.matchers.iter();
        let Hints {
            step_ms,
            function,
            start_ms,
            end_ms,
            grouping,
            by,
            range_ms,
        } = query.hints.clone().unwrap_or_default();
        json!({
            "range": [query.start_ms, query.end_ms],
            "matchers": matchers.map(|m| format!("{}{}{}", m.name, matcher(m.kind), m.value)).collect::<Vec<_>>(),
            "hints": [json!(step_ms), json!(function), json!([start_ms, end_ms]), json!(grouping), json!(by), json!(range_ms)],
        })
    };
    json!([
        request.queries.iter().map(query).collect::<Vec<_>>(),
        request.accepted
    ])
}

/// The same answer; warnings may be worded in another way.
fn same_body(given: &Value, wanted: &Value, address: &str) -> Result<(), String> {
    let without = |body: &Value| {
        let mut body = body.clone();
        let warnings = body.as_object_mut().and_then(|body| body.remove("warnings"));
        let of_store = |text: &str| !text.starts_with("PromQL");
        let texts = warnings
            .iter()
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(Value::as_str);
        let stores = texts.clone().filter(|text| of_store(text)).count();
        let others: Vec<String> = texts.filter(|text| !of_store(text)).map(str::to_owned).collect();
        (body, stores, others)
    };
    if without(given) != without(wanted) {
        return Err(format!("{given}\ninstead of {wanted}"));
    }
    // Of statuses the words are the same.
    let statuses = |body: &Value| -> Vec<String> {
        let texts = body["warnings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let texts = texts.filter(|text| text.contains("http status"));
        texts.map(|text| text.replace(address, "STORE")).collect()
    };
    match statuses(given) == statuses(wanted) {
        true => Ok(()),
        false => Err(format!("{:?} instead of {:?}", statuses(given), statuses(wanted))),
    }
}

/// Each counter that the reference had has the same value here.
async fn counters(server: &Server, address: &str, wanted: &Value) -> Result<(), String> {
    let (_, text) = server.get("/metrics").await;
    // Neither names nor addresses of stores are those of the recording, in which two that are asked the same are one line.
    let family = |line: &str| -> (String, Vec<String>) {
        let (name, labels) = line.split_once('{').unwrap_or((line, ""));
        let labels = labels.rsplit_once('}').map_or("", |(labels, _)| labels);
        let mut labels: Vec<String> = labels
            .split(',')
            .filter(|label| !label.starts_with("remote_name=") && !label.starts_with("url="))
            .map(str::to_owned)
            .collect();
        labels.sort();
        (name.trim().to_owned(), labels)
    };
    for (line, value) in wanted.as_object().expect("counters") {
        let wanted: f64 = value.as_str().expect("text").parse().expect("a number");
        let given: Vec<f64> = text
            .lines()
            .filter_map(|given| given.rsplit_once(' '))
            .filter(|(given, _)| family(given) == family(line))
            .filter_map(|(_, value)| value.parse().ok())
            .collect();
        if given.is_empty() || given.iter().any(|given| *given != wanted) {
            return Err(format!("{line} is {given:?}, not {wanted} ({address})"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_store_that_hangs_holds_nothing_but_its_query() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("address");
    // It takes connections and says nothing.
    let hanging = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    let folder = tempfile::tempdir().expect("folder");
    let config = format!("remote_read: [{{url: \"http://{address}/r\", read_recent: true}}]\n");
    let server = Server::start(folder.path(), &config, &["--query.timeout=1s"]).await;
    let begun = std::time::Instant::now();
    let hung = server.api("query", &[("query", "up")]);
    // What needs no store is answered meanwhile.
    let quick = async {
        let answer = server.api("query", &[("query", "1 + 1")]).await;
        (answer, begun.elapsed())
    };
    let (hung, (quick, after)) = tokio::join!(hung, quick);
    assert_eq!(hung["errorType"], "timeout", "{hung}");
    assert_eq!(quick["data"]["result"][1], "2");
    assert!(after < Duration::from_secs(1), "{after:?}");
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(20),
        "{took:?}"
    );
    hanging.abort();
}

#[tokio::test]
async fn what_stores_bring_counts_as_the_querys_memory() {
    // 64 MiB in three: a query may hold 16.
    let samples = (0..4_000_000).map(|n| FIRST_MS + n);
    let (_store, address) = Store::listen(sampled(&[series(&[("__name__", "m")], samples)])).await;
    let folder = tempfile::tempdir().expect("folder");
    let config = format!("remote_read: [{{url: \"http://{address}/r\", read_recent: true}}]\n");
    let server = Server::start(folder.path(), &config, &["--query.max-memory=16MB"]).await;
    let answer = server.api("query", &[("query", "m")]).await;
    assert_eq!(answer["errorType"], "execution", "{answer}");
    assert!(
        answer["error"].as_str().expect("text").contains("memory"),
        "{answer}"
    );
    // A length that is a lie is not believed to the byte.
    *_store.said.lock() = said(SAMPLES, vec![0xff, 0xff, 0xff, 0xff, 0x0f]);
    let answer = server.api("query", &[("query", "m")]).await;
    assert_eq!(answer["data"]["result"], json!([]));
    assert!(
        answer["warnings"][0]
            .as_str()
            .expect("text")
            .contains("more than"),
        "{answer}"
    );
}

#[tokio::test]
async fn stores_are_exchanged_by_a_reload_or_stay_as_they_were() {
    let m = [("__name__", "m"), ("a", "1")];
    let (_store, address) = Store::listen(sampled(&[series(&m, times())])).await;
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "global: {}\n", &[]).await;
    let at = (FIRST_MS / 1000).to_string();
    let ask = async || server.api("query", &[("query", "m"), ("time", &at)]).await["data"]["result"].clone();
    assert_eq!(ask().await, json!([]));
    let reload = async |config: &str| {
        std::fs::write(folder.path().join("narthex.yml"), config).expect("configuration");
        let answer = http_client()
            .post(format!("{}/-/reload", server.url))
            .send()
            .await;
        answer.expect("an answer").status().as_u16()
    };
    let entry = format!("{{url: \"http://{address}/r\"}}");
    assert_eq!(reload(&format!("remote_read: [{entry}]\n")).await, 200);
    assert_eq!(ask().await[0]["metric"]["a"], "1");
    assert_eq!(reload(&format!("remote_read: [{entry}, {entry}]\n")).await, 500);
    assert_eq!(ask().await[0]["metric"]["a"], "1", "the old one is in force");
    assert_eq!(reload("remote_read: []\n").await, 200);
    assert_eq!(ask().await, json!([]));
}

//! A server that answers as the reference's recording says: one HTTP port, one HTTPS port, and a phase that only grows.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use regex::Regex;
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Longest wait of a long poll.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query, as in the first line.
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Whether the recording has an answer.
    pub(crate) known: bool,
}

/// The server.
pub(crate) struct ReplayServer {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    /// Its certificate, as a file that clients can be given and as roots.
    pub(crate) ca_pem: String,
    pub(crate) roots: Arc<RootCertStore>,
    state: Arc<State>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct State {
    exchanges: Vec<Value>,
    phase: watch::Sender<u64>,
    asked: Mutex<Vec<Asked>>,
}

impl ReplayServer {
    /// Starts it; `names` are the hosts that its certificate is for, besides this machine.
    pub(crate) async fn start(exchanges: Vec<Value>, names: &[String]) -> ReplayServer {
        let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        all.extend(names.iter().cloned());
        let made = rcgen::generate_simple_self_signed(all).expect("certificate");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("root");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("server");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let plain = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let secure = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let (http, https) = (
            plain.local_addr().expect("address"),
            secure.local_addr().expect("address"),
        );
        // Answers lead back to the server.
        let text = Value::Array(exchanges)
            .to_string()
            .replace("@PORT@", &http.port().to_string())
            .replace("@TLSPORT@", &https.port().to_string());
        let exchanges: Vec<Value> = serde_json::from_str(&text).expect("exchanges");
        let state = Arc::new(State {
            exchanges,
            phase: watch::Sender::new(0),
            asked: Mutex::default(),
        });
        let (for_plain, for_secure) = (state.clone(), state.clone());
        let tasks = vec![
            tokio::spawn(async move {
                while let Ok((stream, _)) = plain.accept().await {
                    tokio::spawn(serve(stream, for_plain.clone()));
                }
            }),
            tokio::spawn(async move {
                while let Ok((stream, _)) = secure.accept().await {
                    let (acceptor, state) = (acceptor.clone(), for_secure.clone());
                    tokio::spawn(async move {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(stream, state).await;
                        }
                    });
                }
            }),
        ];
        ReplayServer {
            http,
            https,
            ca_pem: made.cert.pem(),
            roots: Arc::new(roots),
            state,
            tasks,
        }
    }

    /// Moves to a phase.
    pub(crate) fn advance(&self, phase: u64) {
        self.state.phase.send_replace(phase);
    }

    /// The phase that it is in.
    pub(crate) fn phase(&self) -> watch::Receiver<u64> {
        self.state.phase.subscribe()
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().clone()
    }
}

impl Drop for ReplayServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    while let Some(asked) = read(&mut stream).await {
        if !answer(&mut stream, &state, asked).await {
            return;
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut asked = Asked {
        method,
        path: path.to_owned(),
        target: target.to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        headers,
        ..Asked::default()
    };
    let host = asked.header("host").unwrap_or("").to_owned();
    asked.host = host
        .rsplit_once(':')
        .map_or(host.clone(), |(host, _)| host.to_owned());
    let mut body = Vec::new();
    if let Some(length) = asked
        .header("content-length")
        .and_then(|length| length.parse().ok())
    {
        body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
    } else if asked.header("transfer-encoding").is_some() {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(stream.read_u8().await.ok()?);
            }
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).ok()?;
            let start = body.len();
            body.resize(start + size + 2, 0);
            stream.read_exact(&mut body[start..]).await.ok()?;
            body.truncate(start + size);
            if size == 0 {
                break;
            }
        }
    }
    asked.body = String::from_utf8_lossy(&body).into_owned();
    Some(asked)
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl State {
    /// The first exchange that holds now and matches.
    fn find(&self, asked: &Asked) -> Option<&Value> {
        let phase = *self.phase.borrow();
        self.exchanges.iter().find(|exchange| {
            let holds = match exchange["phases"].as_array() {
                Some(span) => {
                    phase >= span[0].as_u64().unwrap_or(0)
                        && span[1].as_u64().is_none_or(|last| phase <= last)
                }
                None => true,
            };
            holds && exchange["request"].is_object() && matches(&exchange["request"], asked)
        })
    }
}

fn matches(wanted: &Value, asked: &Asked) -> bool {
    if wanted["method"].as_str().unwrap_or("GET") != asked.method || wanted["path"] != asked.path.as_str() {
        return false;
    }
    if wanted["host"].as_str().is_some_and(|host| host != asked.host) {
        return false;
    }
    if wanted["text"]
        .as_str()
        .is_some_and(|text| !asked.body.contains(text))
    {
        return false;
    }
    let form: Vec<(String, String)> = url::form_urlencoded::parse(asked.body.as_bytes())
        .into_owned()
        .collect();
    let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
    all(&wanted["query"], &asked.query, false)
        && all(&wanted["headers"], &asked.headers, true)
        && all(&wanted["form"], &form, false)
        && contains(&wanted["json"], &body)
}

/// Whether every wanted key has its value.
fn all(wanted: &Value, pairs: &[(String, String)], any_case: bool) -> bool {
    let Some(wanted) = wanted.as_object() else {
        return true;
    };
    wanted.iter().all(|(key, value)| {
        let is_key = |name: &str| {
            if any_case {
                name.eq_ignore_ascii_case(key)
            } else {
                name == key
            }
        };
        let found: Vec<&str> = pairs
            .iter()
            .filter(|(name, _)| is_key(name))
            .map(|(_, value)| &**value)
            .collect();
        match value {
            Value::Null => found.is_empty(),
            Value::Array(list) => {
                list.len() == found.len() && list.iter().zip(found).all(|(value, found)| is(value, found))
            }
            value => found.first().is_some_and(|found| is(value, found)),
        }
    })
}

fn is(wanted: &Value, found: &str) -> bool {
    match wanted.as_str() {
        Some("*") => true,
        Some(text) => match text.strip_prefix('~') {
            Some(pattern) => Regex::new(&format!("^(?s:{pattern})$"))
                .expect("pattern")
                .is_match(found),
            None => text == found,
        },
        // A number, as it is written.
        None => serde_json::from_str::<Value>(found).is_ok_and(|found| found == *wanted),
    }
}

/// Whether `found` has all that `wanted` has.
pub(crate) fn contains(wanted: &Value, found: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::Object(pairs) => pairs.iter().all(|(key, value)| contains(value, &found[key])),
        Value::String(text) if text == "*" => !found.is_null(),
        Value::String(_) if found.is_string() => is(wanted, found.as_str().unwrap_or("")),
        value => value == found,
    }
}

/// Writes the answer; `false` ends the connection.
async fn answer(stream: &mut (impl AsyncWrite + Unpin), state: &State, mut asked: Asked) -> bool {
    let mut phases = state.phase.subscribe();
    let start = tokio::time::Instant::now();
    loop {
        phases.borrow_and_update();
        let found = state.find(&asked);
        asked.known = found.is_some();
        let response = found.map_or_else(|| json!({"status": 404}), |exchange| exchange["response"].clone());
        if start.elapsed() < Duration::from_millis(1) || !asked.known {
            state.asked.lock().push(asked.clone());
        }
        if let Some(wait) = long_poll(&response, &asked) {
            let left = wait.saturating_sub(start.elapsed());
            if !left.is_zero() && tokio::time::timeout(left, phases.changed()).await.is_ok() {
                continue;
            }
        }
        if let Some(seconds) = response["delay"].as_f64() {
            let late = tokio::time::sleep(Duration::from_secs_f64(seconds));
            tokio::select! {
                () = late => {}
                _ = phases.changed() => return false,
            }
        }
        if response["close"] == true {
            return false;
        }
        if response["kubernetes"].is_object() {
            return kubernetes(stream, state, &response["kubernetes"], &asked).await;
        }
        return write(stream, &asked.method, &response).await;
    }
}

/// How long an answer that the client knows already may wait for another phase.
fn long_poll(response: &Value, asked: &Asked) -> Option<Duration> {
    let blocking = response["blocking"].as_object()?;
    let (query, header) = (
        blocking.get("query")?.as_str()?,
        blocking.get("header")?.as_str()?,
    );
    let given = asked
        .query
        .iter()
        .find(|(key, _)| key == query)
        .map(|(_, value)| value.as_str());
    let now = response["headers"]
        .as_object()?
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(header))?
        .1;
    let now = now.as_str().map_or_else(|| now.to_string(), str::to_owned);
    let wait = asked.query.iter().find(|(key, _)| key == "wait");
    let wait = wait.and_then(|(_, value)| model::duration::parse_duration(value).ok());
    let wait = wait.map_or(WAIT_MAX, |ms| Duration::from_millis(ms.max(0) as u64));
    (given == Some(now.as_str())).then_some(wait)
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), method: &str, response: &Value) -> bool {
    use base64::Engine as _;
    let (body, kind) = if let Some(text) = response["body"].as_str() {
        (text.as_bytes().to_vec(), None)
    } else if let Some(text) = response["base64"].as_str() {
        (
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .expect("base64"),
            None,
        )
    } else if response.get("json").is_some() {
        (
            response["json"].to_string().into_bytes(),
            Some("application/json"),
        )
    } else {
        (Vec::new(), None)
    };
    let status = response["status"].as_u64().unwrap_or(200);
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status as u16));
    let mut has_type = false;
    for (name, value) in response["headers"].as_object().into_iter().flatten() {
        has_type |= name.eq_ignore_ascii_case("content-type");
        for value in value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if !value.is_null() {
                head.push_str(&format!("{name}: {text}\r\n"));
            }
        }
    }
    if let Some(kind) = kind.filter(|_| !has_type) {
        head.push_str(&format!("Content-Type: {kind}\r\n"));
    }
    if status != 304 && status != 204 {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if method != "HEAD" {
        bytes.extend(body);
    }
    stream.write_all(&bytes).await.is_ok()
}

fn reason(status: u16) -> &'static str {
    ::http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("")
}

/// Lists and watches of a resource.
async fn kubernetes(
    stream: &mut (impl AsyncWrite + Unpin),
    state: &State,
    resource: &Value,
    asked: &Asked,
) -> bool {
    let param = |name: &str| {
        asked
            .query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let is_true = |name: &str| matches!(param(name), Some("true" | "1"));
    let phase = *state.phase.borrow();
    let (items, version) = items_at(resource, phase);
    if !is_true("watch") {
        let size = resource["page_size"].as_u64().unwrap_or(u64::MAX) as usize;
        let from = param("continue").and_then(|at| at.strip_prefix("at-")?.parse().ok());
        let from: usize = from.unwrap_or(0);
        let page: Vec<&Value> = items.iter().skip(from).take(size).collect();
        let mut metadata = json!({"resourceVersion": version});
        if from + page.len() < items.len() {
            metadata["continue"] = format!("at-{}", from + page.len()).into();
        }
        let kind = format!("{}List", resource["kind"].as_str().unwrap_or(""));
        let list =
            json!({"kind": kind, "apiVersion": resource["apiVersion"], "metadata": metadata, "items": page});
        return write(stream, "GET", &json!({"json": list})).await;
    }
    let with_initial = is_true("sendInitialEvents");
    if with_initial && resource["watch_list"] == false {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422});
        return write(stream, "GET", &json!({"status": 422, "json": status})).await;
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    if stream.write_all(head.as_bytes()).await.is_err() {
        return false;
    }
    let mut lines = Vec::new();
    if with_initial {
        lines.extend(items.iter().map(|item| json!({"type": "ADDED", "object": item})));
        lines.push(json!({"type": "BOOKMARK", "object": {
            "kind": resource["kind"], "apiVersion": resource["apiVersion"],
            "metadata": {"resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"}},
        }}));
    } else {
        let since: u64 = param("resourceVersion")
            .and_then(|version| version.parse().ok())
            .unwrap_or(0);
        let newer = |event: &&Value| {
            let version = event["object"]["metadata"]["resourceVersion"].as_str();
            event["phase"].as_u64().unwrap_or(0) <= phase
                && event["type"] != "ERROR"
                && version
                    .and_then(|version| version.parse::<u64>().ok())
                    .is_some_and(|version| version > since)
        };
        lines.extend(
            resource["events"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(newer)
                .map(event_line),
        );
    }
    if !stream_lines(stream, &lines).await {
        return false;
    }
    let mut phases = state.phase.subscribe();
    let mut seen = phase;
    loop {
        if phases.changed().await.is_err() {
            return false;
        }
        let now = *phases.borrow_and_update();
        let happened = |event: &&Value| {
            let at = event["phase"].as_u64().unwrap_or(0);
            seen < at && at <= now
        };
        let events: Vec<&Value> = resource["events"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(happened)
            .collect();
        let lines: Vec<Value> = events.iter().map(|event| event_line(event)).collect();
        let ends = events.iter().any(|event| event["type"] == "ERROR");
        if !stream_lines(stream, &lines).await || ends {
            return false;
        }
        seen = now;
    }
}

fn event_line(event: &Value) -> Value {
    json!({"type": event["type"], "object": event["object"]})
}

async fn stream_lines(stream: &mut (impl AsyncWrite + Unpin), lines: &[Value]) -> bool {
    for line in lines {
        let text = format!("{line}\n");
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            return false;
        }
    }
    stream.flush().await.is_ok()
}

/// The items of a resource in a phase, and their version.
fn items_at(resource: &Value, phase: u64) -> (Vec<Value>, String) {
    let mut items = resource["items"].as_array().cloned().unwrap_or_default();
    let mut version = resource["resourceVersion"].as_str().unwrap_or("1").to_owned();
    let key = |item: &Value| {
        (
            item["metadata"]["namespace"].clone(),
            item["metadata"]["name"].clone(),
        )
    };
    for event in resource["events"].as_array().into_iter().flatten() {
        let object = &event["object"];
        if event["phase"].as_u64().unwrap_or(0) > phase || event["type"] == "ERROR" {
            continue;
        }
        items.retain(|item| key(item) != key(object));
        if event["type"] != "DELETED" && event["type"] != "BOOKMARK" {
            items.push(object.clone());
        }
        if let Some(newer) = object["metadata"]["resourceVersion"].as_str() {
            newer.clone_into(&mut version);
        }
    }
    (items, version)
}

/// Placeholders of the recording that stand for what varies.
pub(crate) static VARIES: LazyLock<Regex> = LazyLock::new(|| Regex::new("@[A-Z]+@").expect("pattern"));

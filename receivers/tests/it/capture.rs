//! A server that keeps what it is asked and answers as it is told. It is a proxy, too, and ends TLS itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use regex::Regex;
use serde_json::{Map, Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Headers that say nothing of the receiver.
const UNSEEN: [&str; 4] = ["Host", "Content-Length", "Accept-Encoding", "Connection"];

/// How requests are answered.
#[derive(Clone)]
pub(crate) enum Answer {
    /// By the first rule that fits, as long as it may be used; with 200 otherwise.
    Rules(Arc<Mutex<Vec<Rule>>>),
    /// Not at all.
    Silence,
    /// By the end of the connection.
    Close,
    /// By something that is no HTTP.
    Nonsense,
    /// By 200 and this beginning of a body.
    Torn(&'static str),
}

pub(crate) struct Rule {
    method: Option<String>,
    path: Regex,
    times: Option<u64>,
    status: u64,
    headers: Map<String, Value>,
    body: String,
}

impl Answer {
    /// From a case's `answers`.
    pub(crate) fn rules(rules: &Value) -> Self {
        let rule = |rule: &Value| Rule {
            method: rule["method"].as_str().map(str::to_owned),
            path: Regex::new(rule["path"].as_str().unwrap_or("")).expect("pattern"),
            times: rule["times"].as_u64(),
            status: rule["status"].as_u64().unwrap_or(200),
            headers: match &rule["headers"] {
                Value::Object(headers) => headers.clone(),
                _ if rule["json"].is_null() => Map::new(),
                _ => Map::from_iter([("Content-Type".to_owned(), "application/json".into())]),
            },
            body: match &rule["json"] {
                Value::Null => rule["body"].as_str().unwrap_or("").to_owned(),
                json => json.to_string(),
            },
        };
        let rules = rules.as_array().map_or(&[][..], Vec::as_slice);
        Answer::Rules(Arc::new(Mutex::new(rules.iter().map(rule).collect())))
    }
}

/// The server; it ends with its value.
pub(crate) struct Capture {
    /// Host and port.
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<Value>>>,
    bodies: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Server {
    address: String,
    answer: Answer,
    acceptor: TlsAcceptor,
    seen: Arc<Mutex<Vec<Value>>>,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Capture {
    pub(crate) async fn start(answer: Answer, acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address").to_string();
        let server = Server {
            address: address.clone(),
            answer,
            acceptor,
            seen: Arc::default(),
            bodies: Arc::default(),
        };
        let (seen, bodies) = (server.seen.clone(), server.bodies.clone());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(Box::new(stream), None).await });
            }
        });
        Capture {
            address,
            seen,
            bodies,
            serving,
        }
    }

    /// What was asked since the last time.
    pub(crate) fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.seen.lock().expect("seen"))
    }

    /// How much was asked since the last time it was taken.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().expect("seen").len()
    }

    /// Bodies of all requests.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.bodies.lock().expect("bodies").clone()
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Asked {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Server {
    /// Serves a connection; behind a tunnel to `host`.
    async fn serve(&self, stream: Box<dyn Stream>, host: Option<&str>) {
        let mut stream = BufReader::new(stream);
        while let Some(asked) = read(&mut stream).await {
            if asked.method == "CONNECT" {
                let established = stream
                    .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    .await;
                if established.is_ok()
                    && let Ok(stream) = self.acceptor.accept(stream).await
                {
                    // The one recursion: a tunnel has none within.
                    Box::pin(self.serve(Box::new(stream), Some(&asked.target))).await;
                }
                return;
            }
            self.keep(&asked, host);
            let answer = match &self.answer {
                Answer::Rules(rules) => answer(&mut rules.lock().expect("rules"), &asked),
                Answer::Silence => {
                    // Until the other side has had enough.
                    let _ = stream.read_u8().await;
                    return;
                }
                Answer::Close => return,
                Answer::Torn(body) => {
                    let torn = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{body}");
                    let _ = stream.write_all(torn.as_bytes()).await;
                    return;
                }
                Answer::Nonsense => {
                    let _ = stream.write_all(b"this is no http\r\n\r\n").await;
                    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_u8()).await;
                    return;
                }
            };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn keep(&self, asked: &Asked, host: Option<&str>) {
        let header = |name: &str| {
            let found = asked.headers.iter().find(|(known, _)| known == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        let (path, query) = match asked.path().split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (asked.path(), None),
        };
        let mut kept = json!({
            "method": asked.method,
            "host": host.unwrap_or(header("Host")).replace(&self.address, "${HTTP}"),
            "path": percent_decode_str(path).decode_utf8_lossy(),
            "headers": headers(asked, &self.address),
        });
        if let Some(query) = query {
            kept["query"] = form(query.as_bytes());
        }
        let content_type = header("Content-Type");
        let body = String::from_utf8_lossy(&asked.body).into_owned();
        if content_type.starts_with("application/json") && !body.is_empty() {
            kept["json"] = serde_json::from_str(&body).unwrap_or_else(|_| body.clone().into());
        } else if content_type == "application/x-www-form-urlencoded" {
            kept["form"] = form(&asked.body);
        } else if !body.is_empty() {
            kept["text"] = body.clone().into();
        }
        self.seen.lock().expect("seen").push(kept);
        self.bodies.lock().expect("bodies").push(body);
    }
}

impl Asked {
    /// Path and query.
    fn path(&self) -> &str {
        match self.target.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
            None => &self.target,
        }
    }
}

/// Names and values, sorted.
fn form(text: &[u8]) -> Value {
    let mut pairs: Vec<(String, String)> = url::form_urlencoded::parse(text)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    pairs.sort();
    json!(pairs)
}

/// Those that matter; one that came several times is a list.
fn headers(asked: &Asked, address: &str) -> Value {
    let mut headers = Map::new();
    for (name, value) in &asked.headers {
        if UNSEEN.contains(&name.as_str()) {
            continue;
        }
        let value = value.replace(address, "${HTTP}");
        match headers.get_mut(name) {
            None => {
                headers.insert(name.clone(), value.into());
            }
            Some(Value::Array(values)) => values.push(value.into()),
            Some(first) => *first = json!([first.clone(), value]),
        }
    }
    headers.into()
}

async fn read(stream: &mut BufReader<impl AsyncRead + Unpin>) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        // Names have one form, as Go's servers give them.
        let words = name.split('-').map(|word| {
            let (first, rest) = word.split_at(1.min(word.len()));
            first.to_ascii_uppercase() + &rest.to_ascii_lowercase()
        });
        headers.push((words.collect::<Vec<_>>().join("-"), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "Content-Length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().expect("a length"))];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked {
        method,
        target,
        headers,
        body,
    })
}

fn answer(rules: &mut [Rule], asked: &Asked) -> String {
    let fits = |rule: &&mut Rule| {
        rule.times != Some(0)
            && rule.path.is_match(asked.path())
            && rule.method.as_ref().is_none_or(|method| *method == asked.method)
    };
    let Some(rule) = rules.iter_mut().find(fits) else {
        return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned();
    };
    if let Some(times) = &mut rule.times {
        *times -= 1;
    }
    let mut answer = format!(
        "HTTP/1.1 {} x\r\nContent-Length: {}\r\n",
        rule.status,
        rule.body.len()
    );
    for (name, value) in &rule.headers {
        answer += &format!("{name}: {}\r\n", value.as_str().unwrap_or(""));
    }
    format!("{answer}\r\n{}", rule.body)
}

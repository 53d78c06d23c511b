//! Requests byte by byte as recorded, and answers as they come: a client library would make both better than they are.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
pub(super) struct Answer {
    pub(super) code: u16,
    /// By names in small letters; of a name that comes several times, all values.
    pub(super) headers: BTreeMap<String, Vec<String>>,
    /// Without chunks and compression.
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, null where it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The token of the next page of rule groups; empty where there is none.
    pub(super) fn group_token(&self) -> String {
        self.json()["data"]["groupNextToken"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    }
}

/// Seconds since the epoch.
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// `{now}`, `{now-60}` and `{token}` as what they stand for.
fn filled(path: &str, token: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some(at) = rest.find("{now") {
        let end = at + rest[at..].find('}').expect("a brace");
        let offset: f64 = rest[at + 4..end].parse().unwrap_or(0.0);
        out.push_str(&rest[..at]);
        out.push_str(&format!("{:.3}", now() + offset));
        rest = &rest[end + 1..];
    }
    (out + rest).replace("{token}", token)
}

fn request(line: &Value, port: u16, token: &str) -> Vec<u8> {
    let pad = line["pad"].as_u64().unwrap_or(0) as usize;
    let mut path = filled(line["path"].as_str().expect("a path"), token);
    let packed = line["base64"].as_str();
    let mut body = match packed {
        Some(packed) => Some(STANDARD.decode(packed).expect("base64")),
        None => line["body"].as_str().map(|text| text.as_bytes().to_vec()),
    };
    if let (Some(body), true) = (&mut body, pad > 0) {
        body.extend_from_slice(b"&pad=");
        body.resize(body.len() + pad, b'a');
    } else {
        path.push_str(&"a".repeat(pad));
    }
    let method = line["method"].as_str().unwrap_or("GET");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    let given = line["headers"].as_object();
    let mut names = Vec::new();
    for (name, value) in given.into_iter().flatten() {
        names.push(name.to_lowercase());
        head.push_str(&format!("{name}: {}\r\n", value.as_str().unwrap_or("")));
    }
    let mut default = |name: &str, value: &str| {
        if !names.contains(&name.to_lowercase()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    };
    default("Accept-Encoding", "identity");
    if body.is_some() && packed.is_none() {
        default("Content-Type", "application/x-www-form-urlencoded");
    }
    for index in 0..line["fill"].as_u64().unwrap_or(0) {
        head.push_str(&format!("X-Fill-{index}: x\r\n"));
    }
    let body = body.unwrap_or_default();
    if method != "GET" || !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.into_bytes(), body].concat()
}

/// Asks, and reads until the server ends the connection.
pub(super) async fn ask(port: u16, line: &Value, token: &str) -> std::io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(&request(line, port, token)).await?;
        let mut bytes = Vec::new();
        match line["mode"] == "first" {
            true => read_first(&mut stream, &mut bytes).await?,
            false => drop(stream.read_to_end(&mut bytes).await?),
        }
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = tokio::time::timeout(PATIENCE, exchange)
        .await
        .map_err(std::io::Error::from)??;
    parsed(&bytes).ok_or_else(|| std::io::Error::other(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Reads the head of a stream of events, and the first of them if one comes soon. What was read ends like a whole answer.
async fn read_first(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    const SOON: Duration = Duration::from_secs(1);
    let ends = |bytes: &[u8]| bytes.windows(4).any(|window| window == b"}\n\n\r");
    while !ends(bytes) {
        let mut buffer = [0; 4096];
        match tokio::time::timeout(SOON, stream.read(&mut buffer)).await {
            Ok(Ok(0)) | Err(_) => break,
            Ok(read) => bytes.extend_from_slice(&buffer[..read?]),
        }
    }
    if !bytes.ends_with(b"\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    Ok(())
}

fn parsed(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let code = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        headers
            .entry(name.to_lowercase())
            .or_default()
            .push(value.trim().to_owned());
    }
    let mut body = bytes[end + 4..].to_vec();
    if headers
        .get("transfer-encoding")
        .is_some_and(|coding| coding[0] == "chunked")
    {
        body = unchunked(&body)?;
    }
    let mut plain = Vec::new();
    match headers.get("content-encoding").map(|coding| coding[0].as_str()) {
        Some("gzip") => drop(
            flate2::read::GzDecoder::new(&*body)
                .read_to_end(&mut plain)
                .ok()?,
        ),
        Some("deflate") => drop(
            flate2::read::ZlibDecoder::new(&*body)
                .read_to_end(&mut plain)
                .ok()?,
        ),
        _ => plain = body,
    }
    Some(Answer {
        code,
        headers,
        body: plain,
    })
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.trim(), 16).ok()?;
        let content = rest.get(line + 2..line + 2 + length)?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(content);
        rest = rest.get(line + 4 + length..)?;
    }
}

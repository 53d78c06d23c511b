//! A server whose every byte is the test's.

use std::net::SocketAddr;
use std::sync::Arc;

use narthex_httpclient::{HttpClient, HttpClientConfig, Request};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A client with these settings.
pub(crate) fn client(config: &HttpClientConfig) -> HttpClient {
    HttpClient::new(config, "Narthex/test").expect("client")
}

/// A GET.
pub(crate) fn get(url: &str) -> Request {
    Request::get(url.parse().expect("URL"))
}

/// An answer that says how long it is.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads a request; `None` when the connection ends first.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("text");
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, String::from_utf8(body).expect("text")))
}

/// What a server has seen.
#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<(String, String)>,
}

/// A server on a port of its own.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Answers every request with what `answer` makes of its head, on connections that stay open.
    pub(crate) async fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Server {
        let answer = Arc::new(answer);
        Server::start(move |mut stream, _, note| {
            let answer = answer.clone();
            async move {
                while let Some(request) = read_request(&mut stream).await {
                    let text = answer(&request.0);
                    note.request(request);
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Hands each connection with its number, from 0, to `serve`.
    pub(crate) async fn start<F>(serve: impl Fn(TcpStream, usize, Note) -> F + Send + 'static) -> Server
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let note = Note(seen.clone());
        let task = tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.expect("client");
                note.0.lock().connections += 1;
                tokio::spawn(serve(stream, number, note.clone()));
            }
        });
        Server { address, seen, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().connections
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen
            .lock()
            .requests
            .iter()
            .map(|(head, _)| head.clone())
            .collect()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.seen
            .lock()
            .requests
            .iter()
            .map(|(_, body)| body.clone())
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where a connection notes what it has read.
#[derive(Clone)]
pub(crate) struct Note(Arc<Mutex<Seen>>);

impl Note {
    pub(crate) fn request(&self, request: (String, String)) {
        self.0.lock().requests.push(request);
    }
}

/// Writes and closes.
pub(crate) async fn say(mut stream: impl AsyncWrite + Unpin, bytes: &[u8]) {
    // A client that has heard enough hangs up.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
}

//! Which connections make room for others: real sockets, a paused clock.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use metrics::{Format, Registry};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::super::{Limits, Listener, each, serve};
use super::*;

const PLACES: usize = 8;
/// Far beyond whatever is waited for here.
const READ_TIMEOUT: Duration = Duration::from_secs(3600);
const SHORT: &str = "GET /short HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
/// More than what a stream may hold.
const LONG_BYTES: usize = 1 << 20;

struct Served {
    address: SocketAddr,
    registry: Registry,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

async fn served() -> Served {
    let router = Router::new()
        .route("/short", get(|| async { "short" }))
        .route("/long", get(|| async { Body::from(vec![b'x'; LONG_BYTES]) }))
        .route("/never", get(std::future::pending::<&'static str>))
        .route("/echo", post(|body: Bytes| async move { body }))
        .route("/refused", post(|| async { http::StatusCode::FORBIDDEN }))
        .route(
            "/works",
            post(|_: Bytes| async {
                sleep(3 * BODY_PATIENCE).await;
                "done"
            }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (registry, stop) = (Registry::new(), CancellationToken::new());
    let limits = Limits {
        max_connections: PLACES,
        read_timeout: READ_TIMEOUT,
    };
    let serving = tokio::spawn(serve(
        each(vec![Listener::Tcp(listener)], &router),
        None,
        limits,
        registry.clone(),
        stop.clone(),
    ));
    Served {
        address,
        registry,
        stop,
        serving,
    }
}

impl Served {
    async fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.write_all(bytes).await.expect("sent");
        stream
    }

    /// As many as there are places.
    async fn fill(&self, bytes: &[u8]) -> Vec<TcpStream> {
        let mut all = Vec::new();
        for _ in 0..PLACES {
            all.push(self.send(bytes).await);
        }
        all
    }

    /// Asks for something short, which is answered within `patience`; after how long.
    async fn asked(&self, patience: Duration) -> Option<Duration> {
        let begin = Instant::now();
        let answered = tokio::time::timeout(patience, async {
            let mut answer = String::new();
            let mut stream = self.send(SHORT.as_bytes()).await;
            stream.read_to_string(&mut answer).await.expect("an answer");
            assert!(answer.ends_with("short"), "{answer}");
        });
        answered.await.ok().map(|()| begin.elapsed())
    }

    fn evicted(&self) -> bool {
        let text = self.registry.render(Format::Text);
        text.lines()
            .filter_map(|line| line.strip_prefix("narthex_http_connections_cut_total{reason=\"evicted\"} "))
            .any(|count| count != "0")
    }

    async fn end(self) {
        self.stop.cancel();
        self.serving.await.expect("no panic");
    }
}

/// Type, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// HTTP/2 without a window, and a request for each; the bodies, where there are such, are to follow.
fn without_window(requests: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    bytes.extend(frame(4, 1, 0, &[]));
    for (stream, (method, path)) in (1..).step_by(2).zip(requests) {
        bytes.extend(request(stream, method, path));
    }
    bytes
}

fn request(stream: u32, method: &str, path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", method),
        (":path", path),
        (":scheme", "http"),
        (":authority", "x"),
    ] {
        block.extend([0, name.len() as u8]);
        block.extend(name.as_bytes());
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    let flags = if method == "GET" { 5 } else { 4 };
    frame(1, flags, stream, &block)
}

#[tokio::test(start_paused = true)]
async fn clients_that_stop_in_the_midst_make_room() {
    let post = |path: &str, more: &str| format!("POST {path} HTTP/1.1\r\nHost: x\r\n{more}").into_bytes();
    for (name, sent, patience) in [
        ("nothing", Vec::new(), IDLE_PATIENCE),
        ("half a head", b"GET / HT".to_vec(), IDLE_PATIENCE),
        (
            "one byte of a body",
            post("/echo", "Content-Length: 100000\r\n\r\nx"),
            BODY_PATIENCE,
        ),
        (
            "one chunk of a body",
            post("/echo", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"),
            BODY_PATIENCE,
        ),
        (
            "one byte of a body that nobody wants",
            post("/refused", "Content-Length: 100\r\n\r\nx"),
            BODY_PATIENCE,
        ),
        (
            "no body of a stream",
            without_window(&[("POST", "/echo")]),
            BODY_PATIENCE,
        ),
        (
            "a stream that is not taken",
            without_window(&[("GET", "/long")]),
            IDLE_PATIENCE,
        ),
    ] {
        let served = served().await;
        let taken = served.fill(&sent).await;
        let waited = served.asked(READ_TIMEOUT / 2).await;
        let waited = waited.unwrap_or_else(|| panic!("{name}: shut out"));
        let bounds = patience..patience + Duration::from_secs(1);
        assert!(bounds.contains(&waited), "{name}: {waited:?}");
        assert!(served.evicted(), "{name}");
        drop(taken);
        served.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn drops_instead_of_a_body_make_room_and_a_body_that_comes_on_does_not() {
    let head = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {LONG_BYTES}\r\n\r\n");
    for (bytes, makes_room) in [(1, true), (PROGRESS_BYTES_MIN as usize, false)] {
        let served = served().await;
        let mut taken = served.fill(head.as_bytes()).await;
        let sending = tokio::spawn(async move {
            let part = vec![b'x'; bytes];
            for _ in 0..4 * BODY_PATIENCE.as_secs() {
                sleep(Duration::from_secs(1)).await;
                for stream in &mut taken {
                    // One of them may have made room.
                    let _ = stream.write_all(&part).await;
                }
            }
            taken
        });
        let asked = served.asked(3 * BODY_PATIENCE).await;
        assert_eq!(asked.is_some(), makes_room, "{bytes}: {asked:?}");
        assert_eq!(served.evicted(), makes_room, "{bytes}");
        sending.abort();
        let _ = sending.await;
        served.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_being_answered_makes_no_room() {
    let whole = "POST /works HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
    let one_of_two = without_window(&[("GET", "/long"), ("GET", "/never")]);
    for (name, sent) in [
        ("a request", b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a body that has come", whole.as_bytes().to_vec()),
        ("one stream of two", one_of_two),
    ] {
        let served = served().await;
        let taken = served.fill(&sent).await;
        let asked = served.asked(2 * BODY_PATIENCE).await;
        assert_eq!(asked, None, "{name}");
        assert!(!served.evicted(), "{name}");
        drop(taken);
        served.end().await;
    }
}

#[test]
fn the_one_that_loses_least_goes_first() {
    assert!(Useless::Silent < Useless::NotSending);
    assert!(Useless::NotSending < Useless::NotReading);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_counts_from_its_last_progress() {
    let conn = Arc::new(Conn::new(Peer::Unix, READ_TIMEOUT));
    let (first, _) = conn.request_began();
    conn.waits(first, Useless::NotSending);
    sleep(BODY_PATIENCE - Duration::from_secs(1)).await;
    conn.waits(first, Useless::NotSending);
    sleep(Duration::from_secs(1)).await;
    let (why, since) = conn.useless().expect("of no use");
    assert_eq!((why, since.elapsed()), (Useless::NotSending, BODY_PATIENCE));
    conn.waits_no_more(first);
    assert_eq!(conn.useless(), None);
    // Two that wait: since the later of both.
    conn.waits(first, Useless::NotSending);
    sleep(BODY_PATIENCE).await;
    let (second, _) = conn.request_began();
    assert_eq!(conn.useless(), None);
    conn.waits(second, Useless::NotSending);
    assert_eq!(conn.useless(), None);
    conn.request_ended(second);
    assert!(conn.useless().is_some());
    conn.request_ended(first);
    assert_eq!(conn.useless(), None);
    sleep(IDLE_PATIENCE).await;
    assert_eq!(conn.useless().map(|(why, _)| why), Some(Useless::Silent));
}

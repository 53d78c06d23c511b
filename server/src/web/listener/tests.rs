//! Connections over pipes in memory and a paused clock: what clients do not do, and how long they are waited for.

use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::conn::WRITE_PATIENCE;
use super::*;

const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Of the pipes: less than any answer that is called long.
const PIPE_BYTES: usize = 4096;
const LONG_BYTES: usize = 1 << 20;

impl Socket for DuplexStream {
    fn end_by_reset(&self) {}
}

fn router() -> Router {
    Router::new()
        .route("/short", get(|| async { "short" }))
        .route("/long", get(|| async { Body::from(vec![b'x'; LONG_BYTES]) }))
        .route(
            "/soon",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                "soon"
            }),
        )
        .route("/never", get(std::future::pending::<&'static str>))
        .route(
            "/refused",
            post(|_: Request| async { http::StatusCode::FORBIDDEN }),
        )
        .route("/echo", post(|body: axum::body::Bytes| async move { body }))
        .route(
            "/count",
            post(|request: Request| async move {
                if let Some(pace) = request.extensions().get::<OwnPace>() {
                    pace.take();
                }
                let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
                body.map_or("broken".to_owned(), |bytes| bytes.len().to_string())
            }),
        )
        .route(
            "/query",
            get(|request: Request| async move {
                query_of(request.uri(), request.extensions())
                    .unwrap_or_default()
                    .to_vec()
            }),
        )
}

struct Talk {
    client: DuplexStream,
    conn: Arc<Conn>,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), ConverseError>>,
    begun: Instant,
}

fn talk() -> Talk {
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    let conn = Arc::new(Conn::new(Peer::Unix, READ_TIMEOUT));
    let stop = CancellationToken::new();
    let (of_task, stopping) = (conn.clone(), stop.clone());
    let served = tokio::spawn(async move {
        let ended = converse(
            Either::Left(Meter::new(server, of_task.clone())),
            &of_task,
            router(),
            &Supervisor::new(&Registry::new()),
            &stopping,
        )
        .await;
        of_task.ended();
        ended
    });
    Talk {
        client,
        conn,
        stop,
        served,
        begun: Instant::now(),
    }
}

impl Talk {
    async fn send(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.expect("sent");
    }

    /// The next `text`.
    async fn expect(&mut self, text: &str) {
        let mut got = vec![0; text.len()];
        self.client.read_exact(&mut got).await.expect("an answer");
        assert_eq!(String::from_utf8_lossy(&got), text);
    }

    /// Reads up to the end of a head and `body`.
    async fn answer(&mut self, body: &str) -> String {
        let mut got = Vec::new();
        while !got.ends_with(format!("\r\n\r\n{body}").as_bytes()) {
            got.push(self.client.read_u8().await.unwrap_or_else(|error| {
                panic!("{error} behind {}", String::from_utf8_lossy(&got));
            }));
        }
        String::from_utf8(got).expect("text")
    }

    /// Waits for the end; why and after how many seconds.
    async fn end(self) -> (Option<Cut>, u64) {
        // What became of it is in the connection.
        let _ = self.served.await.expect("no panic");
        (self.conn.why(), self.begun.elapsed().as_secs())
    }
}

const SHORT: &str = "GET /short HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection() {
    // Nothing at all; half of a preface, of a head, of HTTP/2.
    for sent in [
        "",
        "PRI * HT",
        "GET / HTTP/1.1\r\nHost: x\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut talk = talk();
        talk.send(sent).await;
        assert_eq!(talk.end().await, (Some(Cut::Silent), 10), "{sent:?}");
    }
    // A head that comes byte by byte, each in good time.
    let mut talk = talk();
    for byte in SHORT.chars() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if talk.client.write_all(byte.to_string().as_bytes()).await.is_err() {
            break;
        }
    }
    assert_eq!(talk.conn.why(), Some(Cut::Silent));
    // From its first byte on.
    assert!((11..13).contains(&talk.begun.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_stays_as_long_as_the_flag_says() {
    let mut talk = talk();
    for _ in 0..5 {
        talk.send(SHORT).await;
        talk.answer("short").await;
        tokio::time::sleep(READ_TIMEOUT - Duration::from_secs(1)).await;
    }
    assert_eq!(talk.end().await, (Some(Cut::Silent), 5 * 9 + 1));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_an_error() {
    for (encoding, part) in [
        ("Content-Length: 100", "half"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n"),
    ] {
        let mut talk = talk();
        talk.send(&format!(
            "POST /echo HTTP/1.1\r\nHost: x\r\n{encoding}\r\n\r\n{part}"
        ))
        .await;
        let mut answer = String::new();
        talk.client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert_eq!(talk.end().await, (None, 10), "{encoding}");
    }
}

/// Whoever looks after its pace may read a body for as long as it comes.
#[tokio::test(start_paused = true)]
async fn a_body_of_its_own_pace_has_more_time() {
    let mut talk = talk();
    talk.send("POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n")
        .await;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        talk.send("x").await;
    }
    talk.answer("60").await;
}

/// As Python's `requests` asks: the body comes after its head, and another request on the same connection.
#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_wants_ends_no_connection() {
    for (encoding, parts) in [
        ("Content-Length: 8", ["abcd", "efgh"]),
        (
            "Transfer-Encoding: chunked",
            ["4\r\nabcd\r\n", "4\r\nefgh\r\n0\r\n\r\n"],
        ),
    ] {
        let mut talk = talk();
        for path in ["/nowhere", "/short", "/refused"] {
            talk.send(&format!("POST {path} HTTP/1.1\r\nHost: x\r\n{encoding}\r\n\r\n"))
                .await;
            for part in parts {
                tokio::time::sleep(Duration::from_secs(1)).await;
                talk.send(part).await;
            }
            let answer = talk.answer("").await;
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
            assert!(!answer.contains("connection: close"), "{answer}");
        }
        talk.send(SHORT).await;
        talk.answer("short").await;
    }
    // One that is too long, that waits to be asked for, or that does not come: the answer says that it is the last.
    for (more, seconds) in [
        (format!("Content-Length: {}", 1_u64 << 40), 0),
        ("Content-Length: 8\r\nExpect: 100-continue".to_owned(), 0),
        ("Content-Length: 8".to_owned(), READ_TIMEOUT.as_secs()),
    ] {
        let mut talk = talk();
        talk.send(&format!("POST /nowhere HTTP/1.1\r\nHost: x\r\n{more}\r\n\r\n"))
            .await;
        let mut answer = String::new();
        talk.client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert_eq!(talk.end().await, (None, seconds), "{more}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_long_is_waited_for() {
    let mut talk = talk();
    talk.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(talk.conn.why(), None);
    assert!(!talk.served.is_finished());
    // Until the client goes away.
    drop(talk.client);
    let _ = talk.served.await.expect("no panic");
}

/// As `nc -N` and some health checkers ask.
#[tokio::test(start_paused = true)]
async fn a_client_that_has_ended_its_side_is_answered() {
    for path in ["/short", "/soon", "/long"] {
        for (version, more) in [("1.0", ""), ("1.1", "Connection: close\r\n"), ("1.1", "")] {
            let mut talk = talk();
            talk.send(&format!("GET {path} HTTP/{version}\r\nHost: x\r\n{more}\r\n"))
                .await;
            talk.client.shutdown().await.expect("its side ends");
            let (mut all, mut part) = (Vec::new(), vec![0; PIPE_BYTES]);
            loop {
                // The long one for minutes: whoever reads is there.
                let bytes = talk.client.read(&mut part).await.expect("an answer");
                if bytes == 0 {
                    break;
                }
                all.extend_from_slice(&part[..bytes]);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let text = String::from_utf8_lossy(&all);
            let head = format!("HTTP/{version} 200 OK");
            assert!(text.starts_with(&head), "{path} {version}: {text}");
            let body = match path {
                "/long" => "x".repeat(LONG_BYTES),
                path => path[1..].to_owned(),
            };
            assert!(
                text.ends_with(&format!("\r\n\r\n{body}")),
                "{path} {version}: {} bytes",
                text.len()
            );
            assert_eq!(talk.end().await.0, None, "{path}");
        }
    }
    // Two requests in advance.
    let mut talk = talk();
    talk.send(&SHORT.repeat(2)).await;
    talk.client.shutdown().await.expect("its side ends");
    talk.answer("short").await;
    talk.answer("short").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_is_not_waited_for() {
    let mut talk = talk();
    talk.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await;
    talk.client.shutdown().await.expect("its side ends");
    let begin = talk.begun;
    talk.served.await.expect("no panic").expect_err("it is cut short");
    assert_eq!(begin.elapsed(), wire::HALF_CLOSED_PATIENCE);
    // A body that breaks off is an error at once.
    let mut talk = self::talk();
    talk.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        .await;
    talk.client.shutdown().await.expect("its side ends");
    let begin = Instant::now();
    let mut answer = String::new();
    talk.client.read_to_string(&mut answer).await.expect("an end");
    assert!(
        begin.elapsed() < Duration::from_millis(100),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_ends_a_connection() {
    let mut talk = talk();
    talk.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(
        talk.end().await,
        (Some(Cut::NotReading), WRITE_PATIENCE.as_secs())
    );
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_slow_gets_all() {
    let mut talk = talk();
    talk.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (mut bytes, mut part) = (0, vec![0; PIPE_BYTES]);
    while bytes < LONG_BYTES {
        tokio::time::sleep(WRITE_PATIENCE - Duration::from_secs(1)).await;
        let more = talk.client.read(&mut part).await.expect("more");
        assert_ne!(more, 0, "cut after {bytes} bytes");
        bytes += more;
    }
    talk.send(SHORT).await;
    tokio::time::timeout(Duration::from_secs(1), talk.answer("short"))
        .await
        .expect("at once");
}

#[tokio::test(start_paused = true)]
async fn drops_instead_of_bytes_are_no_reading() {
    let mut talk = talk();
    talk.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n").await;
    // A byte a second keeps it for less than two patiences.
    while talk.client.read_u8().await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if talk.conn.why().is_some() {
            break;
        }
    }
    assert_eq!(talk.conn.why(), Some(Cut::NotReading));
    assert!(talk.begun.elapsed() <= 2 * WRITE_PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_what_is_idle_and_lets_the_rest_end() {
    for first in ["", "GET / HT", SHORT] {
        let mut talk = talk();
        talk.send(first).await;
        if first == SHORT {
            talk.answer("short").await;
        }
        talk.stop.cancel();
        let begin = Instant::now();
        let (why, _) = talk.end().await;
        assert_eq!((why, begin.elapsed().as_secs()), (None, 0), "{first:?}");
    }
    let mut talk = talk();
    talk.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    talk.stop.cancel();
    let mut all = Vec::new();
    talk.client.read_to_end(&mut all).await.expect("the rest");
    assert!(all.len() > LONG_BYTES);
}

#[tokio::test(start_paused = true)]
async fn targets_are_taken_as_gos_server_takes_them() {
    let mut talk = talk();
    let long = format!("match[]=up{{a=~\"{}\"}}", "10.0.0.1:9100|".repeat(6000));
    assert!(long.len() > 64 << 10);
    let named = ["{", "\"", "|", "}"].iter().fold(long.clone(), |text, byte| {
        text.replace(byte, &format!("%{:02X}", byte.as_bytes()[0]))
    });
    for (target, query) in [
        ("/query?match[]=up{job=\"x\"}", "match[]=up%7Bjob=%22x%22%7D"),
        ("/query?query=vector(2)>1", "query=vector(2)%3E1"),
        (&format!("/query?{long}"), &*named),
        ("/query", ""),
        ("/query?ä", "%C3%A4"),
    ] {
        talk.send(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await;
        let head = talk.answer("").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{target}: {head}");
        talk.expect(query).await;
    }
    // Many headers, and long ones.
    let headers: String = (0..900)
        .map(|number| format!("X-{number}: {}\r\n", "y".repeat(1000)))
        .collect();
    talk.send(&format!("GET /short HTTP/1.1\r\nHost: x\r\n{headers}\r\n"))
        .await;
    talk.answer("short").await;
}

#[tokio::test(start_paused = true)]
async fn heads_beyond_the_bound_are_refused() {
    for (headers, lines) in [(1, HEAD_BYTES_MAX), (HEADERS_MAX + 1, 1)] {
        let talk = talk();
        let lines: String = (0..headers)
            .map(|number| format!("X-{number}: {}\r\n", "y".repeat(lines)))
            .collect();
        let request = format!("GET /short HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        let (mut read, mut write) = tokio::io::split(talk.client);
        // The rest of it may be of no interest any more.
        let sending = tokio::spawn(async move { drop(write.write_all(request.as_bytes()).await) });
        let mut answer = Vec::new();
        let _ = read.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        sending.abort();
        talk.served.abort();
    }
}

/// A client of HTTP/2 by hand, to whom no window was given.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_is_reset_alone() {
    /// Type, flags, stream, payload.
    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }
    fn headers(stream: u32, path: &str) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "GET"),
            (":path", path),
            (":scheme", "http"),
            (":authority", "x"),
        ] {
            block.extend([0, name.len() as u8]);
            block.extend(name.as_bytes());
            block.push(value.len() as u8);
            block.extend(value.as_bytes());
        }
        frame(1, 5, stream, &block)
    }
    let mut talk = talk();
    let window = [0, 4, 0, 0, 0, 0];
    let begin = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &window),
    ]
    .concat();
    talk.client.write_all(&begin).await.expect("sent");
    for (stream, path) in [(1, "/long"), (3, "/short"), (5, "/never")] {
        talk.client.write_all(&headers(stream, path)).await.expect("sent");
    }
    let mut reset = Vec::new();
    while reset.len() < 2 {
        let mut head = [0; 9];
        talk.client.read_exact(&mut head).await.expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        talk.client.read_exact(&mut payload).await.expect("a payload");
        assert_ne!(head[3], 0, "data without a window");
        match (head[3], head[4] & 1) {
            (3, _) => reset.push(u32::from_be_bytes([head[5], head[6], head[7], head[8]])),
            (4, 0) => talk.client.write_all(&frame(4, 1, 0, &[])).await.expect("sent"),
            (6, 0) => talk
                .client
                .write_all(&frame(6, 1, 0, &payload))
                .await
                .expect("sent"),
            _ => {}
        }
    }
    reset.sort_unstable();
    assert_eq!(reset, [1, 3]);
    assert!(talk.begun.elapsed() <= 2 * WRITE_PATIENCE + Duration::from_secs(1));
    // The third is still being answered, so the connection lives.
    assert!(!talk.served.is_finished());
    talk.conn.cut(Cut::Stopping);
    assert_eq!(talk.end().await.0, Some(Cut::Stopping));
}

/// A server's and a client's side of TLS.
fn tls_sides() -> (Arc<ServerConfig>, tokio_rustls::TlsConnector) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("key");
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a pair");
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client).into())
}

/// A connection on which TLS is expected.
fn tls_talk(config: Arc<ServerConfig>) -> Talk {
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    let conn = Arc::new(Conn::new(Peer::Unix, READ_TIMEOUT));
    let stop = CancellationToken::new();
    let (of_task, stopping) = (conn.clone(), stop.clone());
    let served = tokio::spawn(async move {
        let meter = Meter::new(server, of_task.clone());
        let ended = match open(meter, config, &of_task, &stopping).await {
            Ok(Some(channel)) => {
                let supervisor = Supervisor::new(&Registry::new());
                converse(channel, &of_task, router(), &supervisor, &stopping).await
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        of_task.ended();
        ended
    });
    Talk {
        client,
        conn,
        stop,
        served,
        begun: Instant::now(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_its_time() {
    let (config, _) = tls_sides();
    // Nothing; the beginning of a record; a record that promises more; a byte every second.
    for sent in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut talk = tls_talk(config.clone());
        talk.client.write_all(sent).await.expect("sent");
        let expected = (Some(Cut::Silent), conn::HANDSHAKE_PATIENCE.as_secs());
        assert_eq!(talk.end().await, expected, "{sent:?}");
    }
    let mut talk = tls_talk(config.clone());
    for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00" {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if talk.client.write_u8(*byte).await.is_err() {
            break;
        }
    }
    assert_eq!(talk.conn.why(), Some(Cut::Silent));
    // The end of the server ends a handshake; so does a client that goes.
    let talk = tls_talk(config.clone());
    talk.stop.cancel();
    assert_eq!(talk.end().await, (None, 0));
    let mut talk = tls_talk(config);
    talk.client.shutdown().await.expect("gone");
    talk.served.await.expect("no panic").expect("nothing is wrong");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_tls_is_told_apart() {
    const ANSWER: &str = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let (config, _) = tls_sides();
    for (sent, expected) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", ANSWER),
        ("HEAD /-/ready HTTP/1.1\r\n\r\n", ANSWER),
        ("POST /x HTTP/1.1\r\n", ANSWER),
        ("PUT /x", ANSWER),
        ("OPTIONS * HTTP/1.1\r\n\r\n", ANSWER),
        ("DELETE /x HTTP/1.1\r\n\r\n", ""),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
        ("SSH-2.0-x\r\n", ""),
        ("\0\0\0\0\0\0", ""),
    ] {
        let mut talk = tls_talk(config.clone());
        talk.send(sent).await;
        talk.client.shutdown().await.expect("its side ends");
        let mut answer = String::new();
        talk.client.read_to_string(&mut answer).await.expect("an end");
        assert_eq!(answer, expected, "{sent}");
        let error = talk.served.await.expect("no panic").expect_err("no TLS");
        let is_plain = matches!(error, ConverseError::Handshake(HandshakeError::PlainHttp));
        assert_eq!(is_plain, expected == ANSWER, "{sent}");
    }
}

/// Random bytes behind the first one of a handshake.
#[tokio::test(start_paused = true)]
async fn garbage_is_no_handshake() {
    let (config, _) = tls_sides();
    let mut state: u64 = 0x5eed;
    for _ in 0..200 {
        let mut bytes = vec![0x16, 3, 1, 0, 100];
        while bytes.len() < 105 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.push(state as u8);
        }
        let mut talk = tls_talk(config.clone());
        talk.client.write_all(&bytes).await.expect("sent");
        // An alert, and the end.
        let mut answer = Vec::new();
        talk.client.read_to_end(&mut answer).await.expect("an end");
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
        talk.served.await.expect("no panic").expect_err("no TLS");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_over_tls_are_those_over_none() {
    let (config, connector) = tls_sides();
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let client = async |talk: &mut Talk| {
        let (near, _) = tokio::io::duplex(1);
        let client = std::mem::replace(&mut talk.client, near);
        connector.connect(name.clone(), client).await.expect("TLS")
    };
    // One that ends its side is answered.
    for path in ["/short", "/soon", "/long"] {
        let mut talk = tls_talk(config.clone());
        let mut stream = client(&mut talk).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("its side ends");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        let body = match path {
            "/long" => "x".repeat(LONG_BYTES),
            path => path[1..].to_owned(),
        };
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{path}: {text}");
        assert!(text.ends_with(&format!("\r\n\r\n{body}")), "{path}");
    }
    // One that does not read is cut, and one that reads slowly is not.
    let mut talk = tls_talk(config.clone());
    let mut stream = client(&mut talk).await;
    let request = "GET /long HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let (why, seconds) = talk.end().await;
    assert_eq!((why, seconds), (Some(Cut::NotReading), WRITE_PATIENCE.as_secs()));
    let mut talk = tls_talk(config.clone());
    let mut stream = client(&mut talk).await;
    stream.write_all(request.as_bytes()).await.expect("sent");
    let (mut bytes, mut part) = (0, vec![0; LONG_BYTES / 8]);
    while bytes < LONG_BYTES {
        tokio::time::sleep(WRITE_PATIENCE - Duration::from_secs(1)).await;
        let more = stream.read(&mut part).await.expect("more");
        assert_ne!(more, 0, "cut after {bytes} bytes");
        bytes += more;
    }
    // An idle one ends as without TLS.
    let mut talk = tls_talk(config);
    let _stream = client(&mut talk).await;
    assert_eq!(talk.end().await, (Some(Cut::Silent), READ_TIMEOUT.as_secs()));
}

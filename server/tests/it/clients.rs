//! Clients that do not do their part, from outside: real sockets, a clock outside, the whole server.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Server, http_client, own_program};

const POLL: Duration = Duration::from_millis(20);
/// Some megabytes of an answer, from nothing.
const LARGE: &str = "/api/v1/query?query=vector(time())[20d:10s]&time=10000000";
const RULES: &str = "groups: [{name: g, interval: 1s, rules: [{record: r, expr: vector(time())}]}]";
const CONFIG: &str = "rule_files: [rules.yml]\n";
const CONFIG_EMPTY: &str = "{}";

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.url.trim_start_matches("http://")).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn send(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(server);
    stream.write_all(bytes).expect("sent");
    stream
}

async fn metric(server: &Server, name: &str) -> f64 {
    let (_, text) = server.get("/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or(f64::NAN)
}

async fn wait_until(server: &Server, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < PATIENCE, "not {what}:\n{}", server.log());
        tokio::time::sleep(POLL).await;
    }
}

/// Our program, begun by a shell that sets limits first.
fn limited(folder: &Path, limits: &str) -> PathBuf {
    let script = folder.join("limited");
    let text = format!("#!/bin/sh\n{limits}\nexec '{}' \"$@\"\n", own_program().display());
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("executable");
    script
}

#[tokio::test]
async fn clients_that_say_nothing_are_let_go_and_keep_nobody_out() {
    let folder = tempfile::tempdir().expect("folder");
    let flags = ["--web.read-timeout=3s", "--web.max-connections=20"];
    let server = Server::start(folder.path(), CONFIG_EMPTY, &flags).await;
    let post = "POST /api/v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
        Content-Length: 100\r\n\r\nquery=1";
    let begin = Instant::now();
    // As many as there are places, twice.
    let mut silent: Vec<TcpStream> = (0..20)
        .flat_map(|_| [send(&server, b""), send(&server, b"GET / HTTP/1.1\r\nHos")])
        .collect();
    silent.extend((0..5).map(|_| send(&server, post.as_bytes())));
    // Others are answered long before the timeout.
    assert_eq!(server.query("vector(1)").await.len(), 1);
    for stream in &mut silent {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = stream.read_to_end(&mut rest);
        assert!(
            rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&rest)
        );
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let log = server.log();
    assert!(log.contains("--web.max-connections allows are taken"), "{log}");
    assert_eq!(server.query("vector(1)").await.len(), 1);
    assert!(metric(&server, "narthex_http_connections_cut_total{reason=\"evicted\"}").await > 0.0);
}

/// Rules, queries and reloads go on, and the end comes in time.
async fn goes_on_and_ends(mut server: Server) {
    let at = || async { server.query("r").await };
    let before = at().await;
    wait_until(&server, "evaluated", async || at().await != before).await;
    let reload = http_client()
        .post(format!("{}/-/reload", server.url))
        .send()
        .await
        .expect("an answer");
    assert_eq!(reload.status(), 200);
    let begin = Instant::now();
    server.stop().await;
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}\n{}",
        begin.elapsed(),
        server.log()
    );
    let log = server.log();
    assert!(log.contains("See you next time"), "{log}");
}

#[tokio::test]
async fn clients_that_do_not_read_hold_no_thread() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("rules.yml"), RULES).expect("rules");
    let server = Server::start(folder.path(), CONFIG, &[]).await;
    let request = format!("GET {LARGE} HTTP/1.1\r\nHost: x\r\n\r\n");
    let readers: Vec<TcpStream> = (0..30).map(|_| send(&server, request.as_bytes())).collect();
    wait_until(&server, "evaluated", async || {
        metric(&server, "prometheus_engine_queries ").await == 0.0
            && metric(&server, "narthex_query_memory_bytes ").await > 0.0
    })
    .await;
    goes_on_and_ends(server).await;
    drop(readers);
}

#[tokio::test]
async fn streams_without_a_window_hold_no_thread() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("rules.yml"), RULES).expect("rules");
    let server = Server::start(folder.path(), CONFIG, &[]).await;
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    };
    let mut begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    begin.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    begin.extend(frame(4, 1, 0, &[]));
    for number in 0..30 {
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "GET"),
            (":path", LARGE),
            (":scheme", "http"),
            (":authority", "x"),
        ] {
            block.extend([0, name.len() as u8]);
            block.extend(name.as_bytes());
            block.push(value.len() as u8);
            block.extend(value.as_bytes());
        }
        begin.extend(frame(1, 5, 2 * number + 1, &block));
    }
    let clients: Vec<TcpStream> = (0..3).map(|_| send(&server, &begin)).collect();
    wait_until(&server, "evaluated", async || {
        metric(&server, "prometheus_engine_queries ").await == 0.0
            && metric(&server, "narthex_query_memory_bytes ").await > 0.0
    })
    .await;
    goes_on_and_ends(server).await;
    drop(clients);
}

#[tokio::test]
async fn running_out_of_descriptors_is_said_and_got_over() {
    let folder = tempfile::tempdir().expect("folder");
    let program = limited(folder.path(), "ulimit -n 64");
    let server = Server::start_program(program, folder.path(), CONFIG_EMPTY, &[]).await;
    let mut clients: Vec<TcpStream> = (0..100).map(|_| connect(&server)).collect();
    wait_until(&server, "said", async || {
        server.log().contains("the file descriptors are used up")
    })
    .await;
    // Those of no use make room.
    assert_eq!(server.query("vector(1)").await.len(), 1);
    clients.clear();
    assert_eq!(server.query("vector(1)").await.len(), 1);
    let said = server.log().matches("descriptors are used up").count();
    assert!(said <= 2, "said {said} times:\n{}", server.log());
}

#[tokio::test]
async fn the_soft_limit_of_descriptors_is_raised() {
    let folder = tempfile::tempdir().expect("folder");
    let program = limited(folder.path(), "ulimit -Sn 300; ulimit -Hn 700");
    let server = Server::start_program(program, folder.path(), CONFIG_EMPTY, &[]).await;
    assert_eq!(metric(&server, "process_max_fds ").await, 700.0);
    let log = server.log();
    assert!(log.contains("soft=700") && log.contains("hard=700"), "{log}");
}

/// Raw quotes, long queries and long heads, as Go's server takes them, down to the routes.
#[tokio::test]
async fn requests_that_gos_server_takes_are_answered() {
    let folder = tempfile::tempdir().expect("folder");
    let assets = format!("--web.user-assets={}", folder.path().display());
    let server = Server::start(folder.path(), CONFIG_EMPTY, &[&assets]).await;
    let asked = |target: &str, more: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
        let mut stream = send(&server, request.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).expect("a status").to_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (status, head.to_owned(), body.to_owned())
    };
    let ask = |target: &str, more: &str| {
        let (status, _, body) = asked(target, more);
        (status, body)
    };
    let long = format!("up{{instance=~\"{}\"}}", "10.0.0.1:9100|".repeat(8000));
    for (target, body) in [
        ("/api/v1/series?match[]=up{job=\"x\"}", "\"data\":[]"),
        ("/api/v1/query?query=vector(2)>1&time=5", "[5,\"2\"]"),
        ("/api/v1/query?query=vector(1)<2&time=5", "[5,\"1\"]"),
        ("/api/v1/query?query=\"ä\"&time=5", "[5,\"ä\"]"),
        (&format!("/api/v1/series?match[]={long}"), "\"data\":[]"),
        (&format!("/api/v1/query?query={long}&time=5"), "\"result\":[]"),
    ] {
        let (status, answer) = ask(target, "");
        let short = &target[..target.len().min(100)];
        assert_eq!(status, "200", "{short}: {answer}");
        assert!(answer.contains(body), "{short}: {answer}");
    }
    // Wherever a query is handed on or read.
    let sent = format!("x={{{}}}", "up|".repeat(30_000));
    let named = format!("x=%7B{}%7D", "up%7C".repeat(30_000));
    for (target, status, place) in [
        ("//api/v1/series", "307", "/api/v1/series"),
        ("/api/v1/series/", "301", "/api/v1/series"),
        ("/graph", "302", "/query"),
        ("/user", "301", "/user/"),
    ] {
        let (got, head, _) = asked(&format!("{target}?{sent}"), "");
        let at = head.lines().find_map(|line| line.strip_prefix("location: "));
        assert_eq!(got, status, "{target}");
        assert_eq!(at, Some(&*format!("{place}?{named}")), "{target}");
    }
    let selector = "up|".repeat(30_000);
    let (status, text) = ask(&format!("/federate?match[]={{a=\"{selector}\"}}&match[]=no("), "");
    assert_eq!(status, "400");
    assert!(text.contains("1:3: parse error: unexpected \"(\""), "{text}");
    let many: String = (0..500).map(|number| format!("X-{number}: y\r\n")).collect();
    assert_eq!(ask("/-/healthy", &many).0, "200");
    assert_eq!(
        ask("/-/healthy", &format!("X: {}\r\n", "y".repeat((1 << 20) + 8192))).0,
        "431"
    );
}

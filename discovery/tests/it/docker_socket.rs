//! A Docker engine at a Unix socket.

use std::sync::Arc;
use std::time::Duration;

use metrics::Registry;
use narthex_discovery::{Context, Manager, Mechanisms, Metrics, SCRAPE};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

/// Answers as an engine with one container does, and keeps what it was asked.
async fn engine(listener: UnixListener, asked: Arc<Mutex<Vec<String>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("request"));
        }
        let head = String::from_utf8(head).expect("text");
        let line = head.lines().next().expect("first line").to_owned();
        let body = if line.contains("/containers/json") {
            r#"[{"Id":"c1","Names":["/one"],"HostConfig":{"NetworkMode":"bridge"},"Ports":null,
                "NetworkSettings":{"Networks":{"bridge":{"NetworkID":"n1","IPAddress":"192.0.2.7"}}}}]"#
        } else if line.contains("/networks") {
            r#"[{"Id":"n1","Name":"bridge","Labels":null}]"#
        } else {
            ""
        };
        asked.lock().push(line);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nApi-Version: 9.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.expect("answer");
    }
}

#[tokio::test]
async fn an_engine_at_a_unix_socket_is_asked_in_the_newest_version_that_both_know() {
    let folder = tempfile::tempdir().expect("folder");
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let listener = UnixListener::bind(folder.path().join("engine.sock")).expect("socket");
    let serving = tokio::spawn(engine(listener, asked.clone()));
    let text = "docker_sd_configs: [{host: 'unix:///engine.sock', port: 81}]";
    let document = yaml::parse("job", text).expect("YAML");
    let mut section = document.root().section("a job").expect("section");
    let mechanisms = Mechanisms::read(&mut section).expect("configuration");
    let mut context = Context::new("test", Metrics::new(&Registry::new()));
    context.root = folder.path().to_owned();
    let mut manager = Manager::new(SCRAPE, context);
    let mut found = manager.subscribe();
    let prepared = manager.prepare([("a".to_owned(), mechanisms)].into_iter().collect());
    manager.apply(prepared.expect("prepared"));
    let patience = Duration::from_secs(30);
    let snapshot = tokio::time::timeout(
        patience,
        found.wait_for(|snapshot| {
            let mut groups = snapshot.values().flat_map(|groups| groups.iter());
            groups.any(|group| !group.targets.is_empty())
        }),
    );
    let snapshot = snapshot.await.expect("in time").expect("running").clone();
    let groups = snapshot.values().next().expect("job").clone();
    assert_eq!(groups[0].targets[0].value("__address__"), "192.0.2.7:81");
    assert_eq!(
        *asked.lock(),
        [
            "HEAD /_ping HTTP/1.1",
            "GET /v1.52/containers/json HTTP/1.1",
            "GET /v1.52/networks HTTP/1.1"
        ]
    );
    serving.abort();
}

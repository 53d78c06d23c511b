//! Connections that end just as they are used again (conformance `keepalive-race`).

use narthex_httpclient::{HttpClient, HttpClientConfig, HttpClientError, Request};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::server::{Note, Server, answer, client, get, read_request};

/// How a connection ends at its second request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Closed when the request has come.
    Eof,
    /// Reset when the request has come.
    Reset,
    /// Closed as soon as the first answer is out.
    AtOnce,
    /// Cut within the answer's head.
    WithinHead,
}

async fn serve(mut stream: TcpStream, end: End, note: Note) {
    let Some(request) = read_request(&mut stream).await else {
        return;
    };
    note.request(request);
    stream
        .write_all(answer("200 OK", "", "a 1\n").as_bytes())
        .await
        .expect("answer");
    if end == End::AtOnce {
        return;
    }
    if read_request(&mut stream).await.is_none() {
        return;
    }
    match end {
        End::Reset => stream.set_zero_linger().expect("linger"),
        End::WithinHead => stream.write_all(b"HTTP/1.1 2").await.expect("half"),
        End::Eof | End::AtOnce => {}
    }
}

async fn ending(end: End) -> (Server, HttpClient) {
    let server = Server::start(move |stream, _, note| serve(stream, end, note)).await;
    (server, client(&HttpClientConfig::default()))
}

async fn ask(client: &HttpClient, request: &Request) -> Result<usize, HttpClientError> {
    Ok(client.send(request).await?.bytes(100).await?.len())
}

fn post(server: &Server) -> Request {
    Request::post(server.url("/").parse().expect("URL"), "text/plain", "body")
}

#[tokio::test]
async fn requests_that_are_safe_to_repeat_are_repeated() {
    for end in [End::Eof, End::Reset, End::AtOnce] {
        let (server, client) = ending(end).await;
        for round in 0..10 {
            let request = if round % 2 == 0 {
                get(&server.url("/"))
            } else {
                post(&server).repeatable()
            };
            assert_eq!(
                ask(&client, &request).await.expect("repeated"),
                4,
                "{end:?} round {round}"
            );
        }
        assert_eq!(server.connections(), 10, "{end:?}: each served one request");
        assert!(
            server.bodies().iter().any(|body| body == "body"),
            "bodies are sent again too"
        );
    }
}

#[tokio::test]
async fn keys_that_name_the_deed_make_it_repeatable() {
    let (server, client) = ending(End::Eof).await;
    for _ in 0..2 {
        let request = post(&server).header("Idempotency-Key", "7");
        assert_eq!(ask(&client, &request).await.expect("repeated"), 4);
    }
}

#[tokio::test]
async fn other_requests_are_not_once_they_were_written() {
    for end in [End::Eof, End::Reset] {
        let (server, client) = ending(end).await;
        ask(&client, &get(&server.url("/"))).await.expect("first");
        let error = ask(&client, &post(&server))
            .await
            .expect_err("written, not answered");
        assert!(matches!(error, HttpClientError::Exchange(_)), "{error:?}");
        assert_eq!(server.connections(), 1, "{end:?}");
    }
}

#[tokio::test]
async fn nothing_is_repeated_once_an_answer_has_begun() {
    let (server, client) = ending(End::WithinHead).await;
    ask(&client, &get(&server.url("/"))).await.expect("first");
    ask(&client, &get(&server.url("/")))
        .await
        .expect_err("half an answer");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_new_connection_that_ends_is_the_servers_word() {
    let server = Server::start(|mut stream, _, _| async move {
        read_request(&mut stream).await;
    })
    .await;
    let client = client(&HttpClientConfig::default());
    ask(&client, &get(&server.url("/"))).await.expect_err("closed");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::answering(|_| answer("200 OK", "", "body")).await;
    let client = client(&HttpClientConfig::default());
    for _ in 0..50 {
        assert_eq!(ask(&client, &get(&server.url("/"))).await.expect("answer"), 4);
    }
    client
        .send(&get(&server.url("/")))
        .await
        .expect("answer")
        .discard()
        .await;
    ask(&client, &get(&server.url("/"))).await.expect("answer");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn bodies_and_times_are_bounded() {
    let server = Server::answering(|head| {
        if head.contains("/late") {
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nlate".to_owned()
        } else if head.contains("/chunks") {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n4\r\nefgh\r\n4\r\nijkl\r\n0\r\n\r\n".to_owned()
        } else {
            answer("200 OK", "", "0123456789")
        }
    })
    .await;
    let client = client(&HttpClientConfig::default());
    for (path, bytes_max, fits) in [
        ("/", 10, true),
        ("/", 9, false),
        ("/chunks", 12, true),
        ("/chunks", 11, false),
    ] {
        let response = client.send(&get(&server.url(path))).await.expect("answer");
        assert_eq!(
            response.bytes(bytes_max).await.is_ok(),
            fits,
            "{path} {bytes_max}"
        );
    }
    let request = get(&server.url("/late")).timeout(std::time::Duration::from_millis(50));
    let error = ask(&client, &request).await.expect_err("never complete");
    assert!(error.is_timeout(), "{error:?}");
}

#[tokio::test]
async fn errors_say_what_happened_once() {
    let client = client(&HttpClientConfig::default());
    let free = Server::answering(|_| String::new()).await.address();
    tokio::task::yield_now().await;
    for (url, text) in [
        (
            format!("http://{free}/"),
            format!("dial tcp {free}: connect: connection refused"),
        ),
        (
            "ftp://a.test/".to_owned(),
            "unsupported protocol scheme \"ftp\"".to_owned(),
        ),
    ] {
        let mut error = client.send(&get(&url)).await.expect_err("no server").to_string();
        // The port of a server that was just stopped may take a moment to be free.
        for _ in 0..100 {
            if error == text {
                break;
            }
            tokio::task::yield_now().await;
            error = client.send(&get(&url)).await.expect_err("no server").to_string();
        }
        assert_eq!(error, text);
    }
}

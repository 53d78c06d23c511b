//! Bodies polled as layers and clients poll them, over real sockets.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};

use axum::Router;
use axum::routing::get;
use futures_util::future::poll_fn;
use tower_http::compression::CompressionLayer;

use super::*;

/// More than every buffer on the way.
const LONG_BYTES: usize = 40 * CHUNK_BYTES;

/// An answer of `LONG_BYTES`, or one whose writer panics on the way to there.
async fn long(panics: bool) -> Body {
    let (mut sink, chunks) = channel();
    let writer = async move {
        for number in 0..LONG_BYTES / 8 {
            sink.extend_from_slice(format!("{number:08}").as_bytes());
            if sink.is_full() && !sink.hand_on().await {
                return;
            }
            assert!(!panics || number < LONG_BYTES / 16, "as the test wants it");
        }
        sink.finish().await;
    };
    let supervisor = Supervisor::new(&metrics::Registry::new());
    drop(tokio::task::spawn_blocking(move || write(&supervisor, writer)));
    chunks.into_body().await.expect("a first chunk")
}

async fn serve() -> SocketAddr {
    let routes = Router::new()
        .route("/whole", get(|| long(false)))
        .route("/broken", get(|| long(true)))
        .layer(CompressionLayer::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

/// All that comes until the server closes the connection, however it does.
fn read_all(address: SocketAddr, request: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut all = Vec::new();
    // A connection that is cut may be reset.
    let _ = stream.read_to_end(&mut all);
    all
}

#[tokio::test]
async fn a_body_that_has_ended_may_be_polled_again() {
    let mut body = std::pin::pin!(long(false).await);
    let mut bytes = 0;
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        bytes += frame
            .expect("all is well")
            .into_data()
            .map_or(0, |data| data.len());
    }
    assert_eq!(bytes, LONG_BYTES);
    assert!(body.is_end_stream());
    for _ in 0..3 {
        assert!(
            poll_fn(|context| body.as_mut().poll_frame(context))
                .await
                .is_none()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_writer_panics_does_not_end_cleanly() {
    let address = serve().await;
    for encoding in ["identity", "gzip", "deflate"] {
        for (path, is_whole) in [("/whole", true), ("/broken", false)] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {encoding}\r\nConnection: close\r\n\r\n"
            );
            let all = tokio::task::spawn_blocking(move || read_all(address, &request));
            let all = all.await.expect("read");
            assert!(all.starts_with(b"HTTP/1.1 200"), "{encoding} {path}");
            // The last chunk of HTTP's own, which says that the body is whole.
            assert_eq!(all.ends_with(b"\r\n0\r\n\r\n"), is_whole, "{encoding} {path}");
        }
    }
}

/// Many answers that nobody reads, and few threads to write them.
#[test]
fn readers_that_do_not_read_hold_no_thread() {
    const THREADS: usize = 2;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(THREADS)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut bodies = Vec::new();
        for _ in 0..10 * THREADS {
            bodies.push(Box::pin(long(false).await));
        }
        // A thread is there for somebody else all the same.
        tokio::task::spawn_blocking(|| {}).await.expect("done");
        // And each answer is whole when it is read after all, whichever comes first.
        for mut body in bodies.into_iter().rev() {
            let mut bytes = 0;
            while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
                bytes += frame
                    .expect("all is well")
                    .into_data()
                    .map_or(0, |data| data.len());
            }
            assert_eq!(bytes, LONG_BYTES);
        }
        // Those that are dropped let their writers go.
        let (mut sink, chunks) = channel();
        let (told, tell) = tokio::sync::oneshot::channel();
        let writer = async move {
            let _told = told;
            while sink.is_wanted() {
                sink.resize(CHUNK_BYTES, b' ');
                sink.hand_on().await;
            }
        };
        let supervisor = Supervisor::new(&metrics::Registry::new());
        drop(tokio::task::spawn_blocking(move || write(&supervisor, writer)));
        drop(chunks.into_body().await.expect("a first chunk"));
        let _: Result<(), _> = tell.await;
    });
}

//! Accepting connections: our own loop, because limits, timeouts and an orderly end are out of reach otherwise.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::util::MapRequest;

/// How long a request that is being answered may go on once the server stops.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// Pause after the system refused a connection, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Bounds of the listener.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Connections at the same time, over all addresses.
    pub(crate) max_connections: usize,
    /// Time to wait for the head of a request.
    pub(crate) read_timeout: Duration,
}

/// Serves `router` on all `listeners` until `stop`, then lets running requests end.
pub(crate) async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.max_connections.max(1)));
    let loops = listeners.into_iter().map(|listener| {
        tokio::spawn(accept(
            listener,
            router.clone(),
            limits.clone(),
            slots.clone(),
            stop.clone(),
        ))
    });
    for running in loops.collect::<Vec<_>>() {
        if let Err(error) = running.await {
            tracing::error!(%error, "Listener ended unexpectedly");
        }
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(limits.read_timeout));
    loop {
        // The slot is taken before the connection: further clients wait in the system's queue.
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot,
            () = stop.cancelled() => break,
        };
        let Ok(slot) = slot else { break };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "Connection refused by the system");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        no_delay(&stream);
        let peer = Peer(peer.ip());
        let service = TowerToHyperService::new(MapRequest::new(
            router.clone(),
            move |mut request: http::Request<Incoming>| {
                request.extensions_mut().insert(peer);
                request
            },
        ));
        let connection = http
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            // Errors here are clients that went away or spoke nonsense.
            if let Err(error) = watched.await {
                tracing::debug!(%error, "Connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_PATIENCE, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("Requests that were still running have been cut off");
    }
}

fn no_delay(stream: &TcpStream) {
    // Not being able to ask for it costs some latency, nothing else.
    let _ = stream.set_nodelay(true);
}

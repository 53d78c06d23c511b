//! From a destination to a connection: names, TCP, proxies, TLS, protocol.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::Uri;
use hyper::client::conn::{http1, http2};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::net::sockopt;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::client::TlsStream;
use tower::Service as _;
use url::Url;

use crate::HEAD_BYTES_MAX;
use crate::error::HttpClientError;
use crate::pool::{Connection, Sender};
use crate::proxy::{self, Proxies};
use crate::reach::is_of_machine;
use crate::request::Destination;
use crate::tls::TlsSource;
use crate::wire::{Io, Progress, Wire};

/// Longest wait for a connection, all addresses of a name together.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest TLS handshake, as in Go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The next address of a name is tried when one has not answered after this time (RFC 8305, as in Go).
const STAGGER: Duration = Duration::from_millis(300);
/// Silent connections are probed after this time, as in Go.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Idle HTTP/2 connections are asked for a sign of life, as in the reference.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Names that are looked up at the same time. The system's resolver holds a thread for each, and a name server that
/// does not answer must not take the threads of everybody else.
const LOOKUPS_MAX: usize = 64;

static LOOKUPS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(LOOKUPS_MAX));

/// Addresses on their way.
pub type Resolving<'r> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'r>>;

/// Finds the addresses of a host. The seam where tests put their own servers behind other people's names.
pub trait Resolve: Send + Sync + std::fmt::Debug {
    /// Addresses of `host`, which may be an address itself, with `port`.
    fn resolve<'r>(&'r self, host: &'r str, port: u16) -> Resolving<'r>;
}

/// The machine's own resolver.
#[derive(Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'r>(&'r self, host: &'r str, port: u16) -> Resolving<'r> {
        Box::pin(async move {
            if let Ok(address) = host.parse::<IpAddr>() {
                return Ok(vec![SocketAddr::new(address, port)]);
            }
            let _turn = LOOKUPS.acquire().await.map_err(io::Error::other)?;
            Ok(tokio::net::lookup_host((host, port)).await?.collect())
        })
    }
}

/// What a client finds around it: the machine's, unless a test has its own.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// From names to addresses.
    pub resolver: Arc<dyn Resolve>,
    /// Whom to trust where the settings name nobody; `None` are the machine's roots.
    pub roots: Option<Arc<RootCertStore>>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Surroundings {
            resolver: Arc::new(SystemResolver),
            roots: None,
        }
    }
}

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Connector {
    /// A Unix socket that takes every connection, whatever the URL's host.
    pub(crate) socket: Option<Arc<Path>>,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) proxies: Proxies,
    pub(crate) tls: TlsSource,
}

impl Connector {
    /// A new connection to `to`, through the proxy where there is one.
    /// On it answers have `headers_max` headers at most.
    pub(crate) async fn connect(
        &self,
        to: &Destination,
        epoch: u64,
        headers_max: usize,
    ) -> Result<Connection, HttpClientError> {
        let mut to_proxy = false;
        let socket = to.socket.as_ref().or(self.socket.as_ref());
        let io = match (socket, self.proxies.choose(to.https, &to.host, to.port)) {
            (Some(path), _) => dial_socket(path).await?,
            (None, None) => Box::new(dial(&*self.resolver, &to.host, to.port, to.is_guarded).await?),
            (None, Some(proxy)) => {
                to_proxy = !to.https && matches!(proxy.scheme(), "http" | "https");
                self.through(proxy, to).await?
            }
        };
        if !to.https {
            return http1_connection(io, to_proxy, epoch, headers_max).await;
        }
        let stream = handshake(self.tls.config(), self.tls.server_name(&to.host)?, &to.host, io).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            http2_connection(Box::new(stream), epoch).await
        } else {
            http1_connection(Box::new(stream), false, epoch, headers_max).await
        }
    }

    /// A way through a proxy: to the proxy itself for plain HTTP, else a tunnel to the host.
    async fn through(&self, proxy: &Url, to: &Destination) -> Result<Box<dyn Io>, HttpClientError> {
        let failed = |detail: String| HttpClientError::Proxy {
            url: proxy::without_password(proxy),
            detail,
        };
        let host = proxy::bare(proxy.host_str().unwrap_or(""));
        let port = match proxy.scheme() {
            "http" => 80,
            "https" => 443,
            "socks5" | "socks5h" => 1080,
            other => return Err(failed(format!("unsupported protocol scheme {other:?}"))),
        };
        let io = dial(&*self.resolver, host, proxy.port().unwrap_or(port), false).await;
        let io: Box<dyn Io> = Box::new(io.map_err(|error| failed(error.to_string()))?);
        let io: Box<dyn Io> = if proxy.scheme() == "https" {
            let mut config = ClientConfig::clone(&*self.tls.config());
            config.alpn_protocols.clear();
            let name = self.tls.server_name(host)?;
            Box::new(handshake(Arc::new(config), name, host, io).await?)
        } else {
            io
        };
        // A connector that gives the connection which is there already.
        let mut ready = Some(TokioIo::new(io));
        let given = tower::service_fn(move |_: Uri| {
            std::future::ready(
                ready
                    .take()
                    .ok_or_else(|| io::Error::other("one connection, one tunnel")),
            )
        });
        let (at, target) = (Uri::from_static("http://proxy"), to.absolute_form.clone());
        let tunnelled = async {
            if proxy.scheme().starts_with("socks") {
                let mut socks = SocksV5::new(at, given);
                if let Some((user, password)) = proxy::user_info(proxy) {
                    socks = socks.with_auth(user, password);
                }
                socks.call(target).await.map_err(|error| failed(causes(&error)))
            } else if to.https {
                let mut tunnel = Tunnel::new(at, given).with_headers(self.proxies.connect_headers.clone());
                if let Some(auth) = proxy::basic_auth(proxy) {
                    tunnel = tunnel.with_auth(auth);
                }
                tunnel.call(target).await.map_err(|error| failed(causes(&error)))
            } else {
                let mut given = given;
                given.call(at).await.map_err(|error| failed(error.to_string()))
            }
        };
        let io = tokio::time::timeout(DIAL_TIMEOUT, tunnelled).await;
        Ok(io.map_err(|_| HttpClientError::Timeout)??.into_inner())
    }

    /// `Proxy-Authorization` for a request that a proxy passes on.
    pub(crate) fn proxy_auth(&self, to: &Destination) -> Option<http::HeaderValue> {
        proxy::basic_auth(self.proxies.choose(to.https, &to.host, to.port)?)
    }
}

/// A connection to `host`. `is_guarded`: a server has sent us there, so no address of the machine's own will do.
pub(crate) async fn dial(
    resolver: &dyn Resolve,
    host: &str,
    port: u16,
    is_guarded: bool,
) -> Result<TcpStream, HttpClientError> {
    let stream = tokio::time::timeout(DIAL_TIMEOUT, dial_any(resolver, host, port, is_guarded)).await;
    let stream = stream.map_err(|_| HttpClientError::Timeout)??;
    let _ = stream.set_nodelay(true);
    // Probing is a help, not a need: a socket that does not want it is used all the same.
    let _ = sockopt::set_socket_keepalive(&stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(&stream, KEEPALIVE))
        .and_then(|()| sockopt::set_tcp_keepintvl(&stream, KEEPALIVE));
    Ok(stream)
}

async fn dial_any(
    resolver: &dyn Resolve,
    host: &str,
    port: u16,
    is_guarded: bool,
) -> Result<TcpStream, HttpClientError> {
    let no_address = |source| HttpClientError::Resolve {
        host: host.to_owned(),
        source,
    };
    let addresses = resolver.resolve(host, port).await.map_err(no_address)?;
    if is_guarded && addresses.iter().any(|address| is_of_machine(address.ip())) {
        return Err(HttpClientError::LinkLocal {
            host: host.to_owned(),
        });
    }
    let mut left = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = None;
    loop {
        match left.next() {
            Some(address) => {
                attempts.push(async move { (address, TcpStream::connect(address).await) });
            }
            None if attempts.is_empty() => {
                let none = || no_address(io::Error::new(io::ErrorKind::NotFound, "no such host"));
                return Err(failure.unwrap_or_else(none));
            }
            None => {}
        }
        tokio::select! {
            Some((address, result)) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(source) => {
                    failure.get_or_insert(HttpClientError::Connect { address, source });
                }
            },
            () = tokio::time::sleep(STAGGER), if left.len() > 0 => {}
        }
    }
}

async fn dial_socket(path: &Path) -> Result<Box<dyn Io>, HttpClientError> {
    let stream = tokio::time::timeout(DIAL_TIMEOUT, UnixStream::connect(path)).await;
    let stream = stream.map_err(|_| HttpClientError::Timeout)?;
    Ok(Box::new(stream.map_err(|source| HttpClientError::Socket {
        path: path.to_path_buf(),
        source,
    })?))
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    host: &str,
    io: S,
) -> Result<TlsStream<S>, HttpClientError> {
    let connecting = tokio_rustls::TlsConnector::from(config).connect(name, io);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(result) => result.map_err(|source| HttpClientError::Handshake {
            host: host.to_owned(),
            source,
        }),
        Err(_) => Err(HttpClientError::Handshake {
            host: host.to_owned(),
            source: io::Error::new(io::ErrorKind::TimedOut, "handshake timeout"),
        }),
    }
}

async fn http1_connection(
    io: Box<dyn Io>,
    to_proxy: bool,
    epoch: u64,
    headers_max: usize,
) -> Result<Connection, HttpClientError> {
    let progress = Arc::new(Progress::default());
    let wire = TokioIo::new(Wire::new(io, progress.clone(), true));
    // Compat: what Go's client takes from servers (conformance `http-response-tolerance`): folded headers, names that
    // are none, and as many as fit into the head.
    let (sender, connection) = http1::Builder::new()
        .max_headers(headers_max)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .title_case_headers(true)
        .handshake(wire)
        .await
        .map_err(HttpClientError::Exchange)?;
    // What goes wrong here is told to the request that is under way.
    tokio::spawn(async move { drop(connection.await) });
    Ok(Connection::new(Sender::Http1(sender), progress, to_proxy, epoch))
}

async fn http2_connection(io: Box<dyn Io>, epoch: u64) -> Result<Connection, HttpClientError> {
    let progress = Arc::new(Progress::default());
    let wire = TokioIo::new(Wire::new(io, progress.clone(), false));
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .adaptive_window(true)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .handshake(wire)
        .await
        .map_err(HttpClientError::Exchange)?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(Connection::new(Sender::Http2(sender), progress, false, epoch))
}

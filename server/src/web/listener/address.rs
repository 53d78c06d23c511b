//! Where the server listens: TCP addresses, Unix sockets, and what systemd hands over.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use super::wire::Socket;

/// What a Unix socket's address begins with.
const UNIX: &str = "unix:";
/// Who may connect to a Unix socket where its address does not say: its owner and group.
const UNIX_MODE: u32 = 0o660;

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    Ip(IpAddr),
    /// A process of this machine.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Ip(ip) => ip.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

/// One of `--web.listen-address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Host and port; no host means every interface.
    Tcp(String),
    Unix {
        path: PathBuf,
        mode: u32,
    },
}

impl Address {
    /// Reads `host:port`, `:port`, or `unix:/path` with `?mode=` and octal digits behind it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Some(rest) = text.strip_prefix(UNIX) else {
            let (_, port) = text.rsplit_once(':')?;
            return port.parse::<u16>().is_ok().then(|| Address::Tcp(text.to_owned()));
        };
        let (path, mode) = match rest.split_once("?mode=") {
            Some((path, digits)) => (
                path,
                u32::from_str_radix(digits, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o777)?,
            ),
            None => (rest, UNIX_MODE),
        };
        (!path.is_empty()).then(|| Address::Unix {
            path: path.into(),
            mode,
        })
    }

    /// Begins to listen. Whoever calls it hears of its connections.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) async fn listen(&self) -> io::Result<Listener> {
        match self {
            Address::Tcp(address) => listen_tcp(address).await.map(Listener::Tcp),
            Address::Unix { path, mode } => listen_unix(path, *mode).await,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => f.write_str(address),
            Address::Unix { path, .. } => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Compat: a port alone means all interfaces, of IPv6 too where there is such a thing.
async fn listen_tcp(address: &str) -> io::Result<TcpListener> {
    let Some(port) = address.strip_prefix(':') else {
        return TcpListener::bind(address).await;
    };
    match TcpListener::bind(format!("[::]:{port}")).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(format!("0.0.0.0:{port}")).await
        }
        bound => bound,
    }
}

/// Listens under another name first, so that the socket is there with its mode or not at all.
async fn listen_unix(path: &Path, mode: u32) -> io::Result<Listener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket lies there",
            ));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process listens there",
            ));
        }
        // Left behind by one that is gone.
        Ok(_) | Err(_) => {}
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let aside = PathBuf::from(name);
    // Of a process of this number that has crashed.
    let _ = std::fs::remove_file(&aside);
    let listener = UnixListener::bind(&aside)?;
    let set = std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(mode))
        .and_then(|()| std::fs::metadata(&aside))
        .and_then(|metadata| std::fs::rename(&aside, path).map(|()| metadata.ino()));
    match set {
        Ok(inode) => Ok(Listener::Unix {
            listener,
            file: Some(SocketFile {
                path: path.to_owned(),
                inode,
            }),
        }),
        Err(error) => {
            let _ = std::fs::remove_file(&aside);
            Err(error)
        }
    }
}

/// The file of a Unix socket: it goes with this, unless another socket has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "The file of a socket cannot be removed");
        }
    }
}

/// Where connections come from.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// None where somebody else made the socket.
        file: Option<SocketFile>,
    },
}

impl Listener {
    /// What systemd hands over (`LISTEN_FDS`).
    ///
    /// # Errors
    /// When there is nothing, or something that connections do not come from.
    pub(crate) fn from_systemd() -> io::Result<Vec<Self>> {
        let mut handed = ListenFd::from_env();
        let count = handed.len();
        if count == 0 {
            let why = "no socket was handed over: LISTEN_FDS is not set, or meant for another process";
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        let take = |at| {
            if let Ok(Some(listener)) = handed.take_unix_listener(at) {
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                return Ok(Listener::Unix { listener, file: None });
            }
            let Some(listener) = handed.take_tcp_listener(at)? else {
                return Err(io::Error::from(io::ErrorKind::NotFound));
            };
            listener.set_nonblocking(true)?;
            Ok(Listener::Tcp(TcpListener::from_std(listener)?))
        };
        (0..count).map(take).collect()
    }

    /// Its address on the network.
    pub(crate) fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix { .. } => None,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Not being able to ask for it costs some latency, nothing else.
                let _ = stream.set_nodelay(true);
                Ok((Either::Left(stream), Peer::Ip(peer.ip().to_canonical())))
            }
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Either::Right(stream), Peer::Unix))
            }
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("tcp"),
            },
            Listener::Unix { listener, file } => {
                let bound = listener.local_addr().ok();
                let path = match file {
                    Some(file) => Some(file.path.as_path()),
                    None => bound.as_ref().and_then(|address| address.as_pathname()),
                };
                write!(f, "{UNIX}{}", path.unwrap_or(Path::new("")).display())
            }
        }
    }
}

/// A connection as it was accepted.
pub(super) type Stream = Either<TcpStream, UnixStream>;

impl Socket for Stream {
    fn end_by_reset(&self) {
        if let Either::Left(stream) = self {
            // Not being able to costs clients the difference between a part and the whole, over HTTP/1.0 only.
            let _ = stream.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests;

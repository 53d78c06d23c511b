//! What every server of this program begins with: the network's threads, addresses, signals.

use std::net::SocketAddr;

use supervise::Supervisor;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::threads::{Network, raise_descriptor_limit};
use crate::web::listener::{Address, Listener};

/// Why a server cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// systemd has handed nothing over that can be listened on.
    #[error("--web.systemd-socket: {0}")]
    Systemd(#[source] std::io::Error),
    /// The system gives no threads for the network.
    #[error("cannot start the threads of the network")]
    Network(#[source] std::io::Error),
    /// The system refuses a signal handler.
    #[error("cannot handle signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// Starts the threads of the network, and opens all addresses, or takes what systemd hands over.
pub(crate) async fn listen(
    addresses: &[Address],
    from_systemd: bool,
) -> Result<(Network, Vec<Listener>), StartError> {
    raise_descriptor_limit();
    let network = Network::start().map_err(StartError::Network)?;
    let mut listeners = Vec::new();
    let joined = |error| StartError::Network(std::io::Error::other(error));
    if from_systemd {
        let handed = network.spawn(async { Listener::from_systemd() }).await;
        listeners = handed.map_err(joined)?.map_err(StartError::Systemd)?;
    } else {
        for address in addresses {
            listeners.push(open(&network, address).await?);
        }
    }
    for listener in &listeners {
        tracing::info!(address = %listener, "Listening on");
    }
    Ok((network, listeners))
}

/// Opens one address.
pub(crate) async fn open(network: &Network, address: &Address) -> Result<Listener, StartError> {
    let (address, text) = (address.clone(), address.to_string());
    // Whoever opens it hears of its connections.
    let opened = network.spawn(async move { address.listen().await }).await;
    let opened = opened.map_err(|error| StartError::Network(std::io::Error::other(error)))?;
    opened.map_err(|source| StartError::Listen {
        address: text,
        source,
    })
}

/// The address under which this machine reaches the first of the listeners that is on the network.
pub(crate) fn own_address(listeners: &[Listener]) -> Option<String> {
    let address: SocketAddr = listeners.iter().find_map(Listener::socket_addr)?;
    Some(match address.ip().is_unspecified() {
        true => format!("localhost:{}", address.port()),
        false => address.to_string(),
    })
}

/// The port of an address.
pub(crate) fn port_of(address: &str) -> Option<u16> {
    address.rsplit(':').next().and_then(|port| port.parse().ok())
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Lets a write beyond the limit of a file's size (`LimitFSIZE=` of systemd, `ulimit -f`) be an error, as one to a full disk
/// is: the signal that comes with it would end the process without a word. For as long as the process lives.
pub(crate) fn outlive_file_size_limit() -> Result<(), StartError> {
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // The handler stays although nobody listens to it.
    signal(kind).map(drop).map_err(StartError::Signals)
}

/// Whoever sends SIGHUP wants a reload.
pub(crate) fn hangups() -> Result<Signal, StartError> {
    signal(SignalKind::hangup()).map_err(StartError::Signals)
}

/// Cancels `stop` at SIGTERM and SIGINT.
pub(crate) fn stop_on_signals(supervisor: &Supervisor, stop: CancellationToken) -> Result<(), StartError> {
    let both =
        || -> std::io::Result<_> { Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)) };
    // What the system refuses is said now; it is asked again only after a panic.
    let mut handlers = Some(both().map_err(StartError::Signals)?);
    supervisor.spawn("signals", &stop.clone(), move || {
        let (handlers, stop) = (handlers.take(), stop.clone());
        async move {
            let again = || both().ok();
            let Some((mut terminate, mut interrupt)) = handlers.or_else(again) else { return };
            tokio::select! {
                _ = terminate.recv() => tracing::warn!(signal = "terminated", "Received an OS signal, exiting gracefully..."),
                _ = interrupt.recv() => tracing::warn!(signal = "interrupt", "Received an OS signal, exiting gracefully..."),
                () = stop.cancelled() => {}
            }
            stop.cancel();
        }
    });
    Ok(())
}

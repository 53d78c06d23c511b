//! What every server with this configuration begins with: its files are read and its sockets opened, before anything is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinHandle;

use crate::cli::serve_options::ServeOptions;
use crate::config::Loaded;
use crate::process;
use crate::reload::{self, Source};
use crate::serve::ServeError;
use crate::threads::Network;
use crate::web;
use crate::web::guard::{self, Guard};
use crate::web::listener::{self, Listener};
use crate::web::push::PushState;
use crate::web::state::{PageState, StartState};

/// Our own address where we have none on the network.
const NO_ADDRESS: &str = "localhost:9090";

/// What there is before anything is opened or made.
pub(crate) struct Beginning {
    pub(crate) sockets: Sockets,
    pub(crate) read: Read,
}

/// Where requests come in.
pub(crate) struct Sockets {
    pub(crate) network: Network,
    pub(crate) listeners: Vec<Listener>,
    /// For OTLP by gRPC.
    pub(crate) grpc: Option<Listener>,
    pub(crate) own_address: String,
}

/// What files say at the start.
pub(crate) struct Read {
    pub(crate) config: Loaded,
    /// What tells whether the configuration's files have changed since.
    pub(crate) fingerprint: Option<u64>,
    /// The web configuration, where there is one.
    pub(crate) guard: Option<(PathBuf, guard::Prepared)>,
}

impl Beginning {
    /// Reads the files and opens the sockets. A mistake in the configuration comes before whatever else is wrong, and must not
    /// cost the replay of a log.
    pub(crate) async fn new(options: &ServeOptions, source: &Source) -> Result<Self, ServeError> {
        say_what_has_no_effect(options);
        let guard = match &options.web_config_file {
            Some(path) => Some((path.clone(), guard::read(path)?)),
            None => None,
        };
        say_configuration(options.config_file.as_deref());
        let fingerprint = fingerprint(source, options.auto_reload).await;
        let read = |own_address| reload::read(source, own_address);
        let named = options.config_file.is_some();
        let config = named.then(|| read(NO_ADDRESS)).transpose()?;
        let (network, listeners) = process::listen(&options.listen_addresses, options.systemd_socket).await?;
        let grpc = match &options.otlp.grpc_address {
            Some(address) => Some(process::open(&network, address).await?),
            None => None,
        };
        let own_address = process::own_address(&listeners).unwrap_or_else(|| NO_ADDRESS.to_owned());
        // The built-in configuration scrapes the server itself.
        let config = config.map_or_else(|| read(&own_address), Ok)?;
        Ok(Beginning {
            sockets: Sockets {
                network,
                listeners,
                grpc,
                own_address,
            },
            read: Read {
                config,
                fingerprint,
                guard,
            },
        })
    }
}

impl Sockets {
    /// Where pages are.
    pub(crate) fn url(&self, guard: Option<&Guard>, prefix: &str) -> String {
        let scheme = match guard {
            Some(guard) if guard.speaks_tls() => "https",
            _ => "http",
        };
        format!("{scheme}://{}{prefix}", self.own_address)
    }

    /// Answers requests by `router`, and OTLP by gRPC from what takes it, until it is time to stop.
    pub(crate) fn serve(
        &mut self,
        options: &ServeOptions,
        router: Router,
        guard: Option<Arc<Guard>>,
        (push, start): (&Arc<PushState>, &Arc<StartState>),
        pages: &PageState,
    ) -> JoinHandle<()> {
        let limits = listener::Limits {
            max_connections: options.max_connections,
            read_timeout: options.read_timeout,
        };
        let mut served = listener::each(std::mem::take(&mut self.listeners), &router);
        if let Some(listener) = self.grpc.take() {
            tracing::info!(address = %listener, "Listening for OTLP over gRPC");
            let router = web::push::grpc::router(push.clone(), start.clone(), guard.clone());
            served.push((listener, router));
        }
        let registry = pages.metrics.clone();
        let stop = start.stop.clone();
        self.network
            .spawn(listener::serve(served, guard, limits, registry, stop))
    }
}

/// A flag's help is a promise; where it is an empty one, the log says so, too.
fn say_what_has_no_effect(options: &ServeOptions) {
    for (flag, why) in options.flags.without_effect() {
        tracing::warn!(flag, why, "This flag is accepted and has no effect");
    }
    for (option, why) in &options.features.without_effect {
        tracing::warn!(
            option,
            why,
            "This option for --enable-feature is accepted and has no effect"
        );
    }
    for option in &options.features.unknown {
        tracing::warn!(option, "Unknown option for --enable-feature");
    }
}

/// Which configuration counts: a file that was named, one that lies here, or none.
fn say_configuration(file: Option<&Path>) {
    match file {
        Some(file) => tracing::info!(file = %file.display(), "Loading configuration file"),
        None => tracing::info!(
            "No --config.file was given and no prometheus.yml lies here: the built-in configuration scrapes this \
             server itself"
        ),
    }
}

/// What tells whether the configuration's files have changed; `None` where nobody asks.
pub(crate) async fn fingerprint(source: &Source, auto_reload: Option<Duration>) -> Option<u64> {
    let path = source.config_file.clone().filter(|_| auto_reload.is_some())?;
    let alertmanager = source.alertmanager_file.clone();
    let read =
        tokio::task::spawn_blocking(move || crate::config::fingerprint(&path, alertmanager.as_deref()));
    read.await.ok()
}

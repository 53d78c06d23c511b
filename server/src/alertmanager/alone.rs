//! `narthex alertmanager`: an Alertmanager that serves alone. What is started in which order, and how it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::Files as _;
use model::clock::SystemClock;
use supervise::Supervisor;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Change, SetUpError, Slot};
use crate::cli::alertmanager::AlertmanagerOptions;
use crate::config::web::WebConfigError;
use crate::config::{ConfigError, read_alertmanager};
use crate::process::{self, StartError};
use crate::version::{ALERTMANAGER, OWN};
use crate::web::alertmanager::alone::{Site, router};
use crate::web::alertmanager::state::AlertmanagerState;
use crate::web::guard::{self, Guard};
use crate::web::listener;
use crate::web::state::PageState;
use crate::web::{AskedMetrics, Trust};

/// Requests to reload that may wait for one under way.
const RELOADS_WAITING: usize = 8;
/// Where we listen on no network.
const NO_ADDRESS: &str = "localhost:9093";
/// What panics of reading the configuration are counted under.
const TASK: &str = "alertmanager configuration";
/// The file that keeps a second server out of a folder.
const LOCK: &str = "alertmanager.lock";

/// How a reload went.
pub(crate) type ReloadResult = Result<(), AloneError>;
/// A request to reload, and where to say how it went.
pub(crate) type ReloadRequest = oneshot::Sender<ReloadResult>;

/// Why it did not start, or could not be configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AloneError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The web configuration is wrong.
    #[error("--web.config.file: {0}")]
    WebConfig(#[from] WebConfigError),
    /// The configuration cannot be put in force.
    #[error("{0}")]
    SetUp(#[from] SetUpError),
    /// It cannot begin.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system gives no threads, or no random bytes.
    #[error("--web.config.file: {0}")]
    Guard(#[source] std::io::Error),
    /// Another one has the folder.
    #[error("--storage.path {}: {source}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A mistake of ours on the way.
    #[error(transparent)]
    Ended(#[from] supervise::Ended),
}

impl AloneError {
    /// The place in a file with a mark under it, where there is one; with colours if `color`.
    pub(crate) fn render(&self, color: bool) -> Option<String> {
        match self {
            AloneError::Config(error) => error.render(color),
            AloneError::WebConfig(error) => error.render(color),
            _ => None,
        }
    }

    /// As clients of the reference know it.
    pub(crate) fn in_the_references_words(&self) -> String {
        match self {
            AloneError::Config(ConfigError::Content(error)) => super::in_the_references_words(error),
            other => other.to_string(),
        }
    }
}

/// Serves until a signal ends it.
pub(crate) async fn run(options: AlertmanagerOptions) -> Result<(), AloneError> {
    process::outlive_file_size_limit()?;
    tracing::info!(
        version = OWN,
        reference = ALERTMANAGER,
        "Starting Narthex as an Alertmanager"
    );
    say_what_has_no_effect(&options);
    let guarded = match &options.web_config_file {
        Some(path) => Some((path.clone(), guard::read(path)?)),
        None => None,
    };
    let registry = metrics::Registry::new();
    registry.collect_process();
    let supervisor = Supervisor::new(&registry);
    // A mistake in the configuration comes before whatever else is wrong.
    tracing::info!(file = %options.config_file.display(), "Loading configuration file");
    let first = read(&options, &supervisor).await?;
    let _lock = lock(&options.folder, &supervisor).await?;
    let (network, listeners) = process::listen(&options.listen_addresses, options.systemd_socket).await?;
    let own_address = process::own_address(&listeners).unwrap_or_else(|| NO_ADDRESS.to_owned());
    let external_url = external_url(&options, &own_address);
    let slot = Slot::new(slot_options(&options, &external_url, &registry));
    let change = slot.prepare(Some(first)).await?;
    slot.apply(change).await;
    let guard = match guarded {
        Some((path, first)) => {
            let guard = Guard::new(&path, first, &registry).map_err(AloneError::Guard)?;
            Some(Arc::new(guard))
        }
        None => None,
    };
    let stop = CancellationToken::new();
    process::stop_on_signals(&supervisor, stop.clone())?;
    let hangups = process::hangups()?;
    let (reload, reloads) = mpsc::channel(RELOADS_WAITING);
    let site = site(&options, &external_url, &registry, slot.clone(), reload);
    let limits = listener::Limits {
        max_connections: options.max_connections,
        read_timeout: options.read_timeout,
    };
    let router = router(site, Trust::new(None, &external_url), guard.clone());
    let serving = network.spawn(listener::serve(
        listener::each(listeners, &router),
        guard.clone(),
        limits,
        registry.clone(),
        stop.clone(),
    ));
    tracing::info!(address = own_address, "Server is ready to receive web requests.");
    let reloader = Reloader {
        options,
        slot: slot.clone(),
        guard,
        supervisor,
    };
    reloader.follow(reloads, hangups, stop).await;
    tracing::info!("Stopping");
    // In this order: nobody asks any more, nobody is told any more.
    if let Err(error) = serving.await {
        tracing::error!(%error, "A task ended badly");
    }
    slot.stop().await;
    tracing::info!("See you next time!");
    Ok(())
}

/// A flag's help is a promise; where it is an empty one, the log says so, too.
fn say_what_has_no_effect(options: &AlertmanagerOptions) {
    for (flag, why) in options.without_effect() {
        tracing::warn!(flag, why, "This flag is accepted and has no effect");
    }
    for (option, why) in &options.features.without_effect {
        tracing::warn!(
            option,
            why,
            "This option for --enable-feature is accepted and has no effect"
        );
    }
}

/// Keeps a second server out of the folder: two would write over each other.
async fn lock(folder: &Path, supervisor: &Supervisor) -> Result<files::FileLock, AloneError> {
    let path = folder.to_owned();
    let locking = move || {
        std::fs::create_dir_all(&path)?;
        files::DiskFiles
            .lock(&path.join(LOCK))
            .map_err(|error| std::io::Error::other(error.to_string()))
    };
    let locked = supervisor.blocking(TASK, locking).await?;
    locked.map_err(|source| AloneError::Folder {
        folder: folder.to_owned(),
        source,
    })
}

/// Reads the configuration file, off the network's threads.
async fn read(
    options: &AlertmanagerOptions,
    supervisor: &Supervisor,
) -> Result<notify::config::Config, AloneError> {
    let (path, syntax) = (options.config_file.clone(), options.features.syntax);
    let read = supervisor
        .blocking(TASK, move || read_alertmanager(&path, syntax))
        .await?;
    Ok(read?)
}

/// Compat: the flag's word, without a slash at its end, else this machine's name and our port.
fn external_url(options: &AlertmanagerOptions, own_address: &str) -> url::Url {
    let named = || {
        let port = own_address.rsplit(':').next().unwrap_or("9093");
        url::Url::parse(&format!("http://{}:{port}/", process::host_name()))
    };
    let url = options.external_url.clone().or_else(|| named().ok());
    url.unwrap_or_else(|| url::Url::parse("http://localhost:9093").expect("a constant URL"))
}

fn slot_options(
    options: &AlertmanagerOptions,
    external_url: &url::Url,
    registry: &metrics::Registry,
) -> notify::Options {
    let external_url = external_url.as_str().trim_end_matches('/').to_owned();
    let clock = Arc::new(SystemClock);
    notify::Options {
        retention: options.retention,
        maintenance_interval: options.maintenance_interval,
        alert_gc_interval: options.alert_gc_interval,
        history: options.history,
        silence_limits: options.silence_limits,
        alerts_per_name_max: options.alerts_per_name_max,
        start_delay: options.start_delay,
        syntax: options.features.syntax,
        metric_labels: options.features.metric_labels,
        ..super::options(&options.folder, external_url, clock, registry)
    }
}

fn site(
    options: &AlertmanagerOptions,
    external_url: &url::Url,
    registry: &metrics::Registry,
    slot: Arc<Slot>,
    reload: mpsc::Sender<ReloadRequest>,
) -> Site {
    let state = AlertmanagerState::new(slot, registry, options.reads_max, options.timeout);
    Site {
        alertmanager: Arc::new(state),
        pages: Arc::new(PageState {
            title: "Alertmanager".to_owned(),
            user_assets: None,
            prefix: match options.route_prefix.as_str() {
                "" => String::new(),
                prefix => format!("/{prefix}"),
            },
            external_path: external_url.path().trim_end_matches('/').to_owned(),
            metrics: registry.clone(),
            asked: AskedMetrics::new(registry),
        }),
        reload,
    }
}

/// What a reload needs.
struct Reloader {
    options: AlertmanagerOptions,
    slot: Arc<Slot>,
    guard: Option<Arc<Guard>>,
    supervisor: Supervisor,
}

impl Reloader {
    /// Reloads when asked to, by a request or by SIGHUP. Returns when the server is to stop.
    async fn follow(
        &self,
        mut requests: mpsc::Receiver<ReloadRequest>,
        mut hangups: tokio::signal::unix::Signal,
        stop: CancellationToken,
    ) {
        loop {
            let answer = tokio::select! {
                () = stop.cancelled() => return,
                request = requests.recv() => request,
                _ = hangups.recv() => None,
            };
            tracing::info!(file = %self.options.config_file.display(), "Loading configuration file");
            // One that panics has failed like another.
            let done = self.supervisor.round(TASK, self.reload()).await;
            let result = done.unwrap_or_else(|panic| Err(supervise::Ended::from(panic).into()));
            match &result {
                Ok(()) => tracing::info!("Completed loading of configuration file"),
                Err(error) => tracing::error!(%error, "Loading configuration file failed"),
            }
            if let Some(answer) = answer {
                // Whoever asked may be gone.
                let _ = answer.send(result);
            }
        }
    }

    /// Reads the configuration and puts it in force. On an error everything stays as it was.
    async fn reload(&self) -> ReloadResult {
        let config = read(&self.options, &self.supervisor).await.inspect_err(|_| {
            if let Some(alertmanager) = self.slot.current() {
                alertmanager.refused_config();
            }
        })?;
        let change: Change = self.slot.prepare(Some(config)).await?;
        let guarded = match &self.guard {
            Some(guard) => Some((guard, guard.prepare().await?)),
            None => None,
        };
        // From here on nothing fails.
        self.slot.apply(change).await;
        if let Some((guard, prepared)) = guarded {
            guard.apply(prepared);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

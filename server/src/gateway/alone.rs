//! `narthex pushgateway`: a push gateway that serves alone. What is started in which order, and how it ends.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::Files as _;
use model::clock::{Clock, SystemClock};
use remote::gateway::{Gateway, Options};
use supervise::Supervisor;
use tokio_util::sync::CancellationToken;

use super::OpenError;
use crate::cli::pushgateway::PushgatewayOptions;
use crate::config::web::WebConfigError;
use crate::process::{self, StartError};
use crate::version::{self, OWN, PUSHGATEWAY};
use crate::web::guard::{self, Guard};
use crate::web::listener;
use crate::web::push::Intake;
use crate::web::push::gateway::alone::{Site, Told, router};
use crate::web::push::gateway::{GatewayState, own_families};
use crate::web::state::PageState;
use crate::web::{AskedMetrics, Trust};

/// Where we listen on no network.
const NO_ADDRESS: &str = "localhost:9091";
/// What panics of looking at files are counted under.
const TASK: &str = "push gateway";
/// What is added to the name of `--persistence.file`: the reference's file and ours are different things.
const JOURNAL: &str = "journal";
/// What is added to keep a second gateway away from it.
const LOCK: &str = "lock";

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AloneError {
    /// The web configuration is wrong.
    #[error("--web.config.file: {0}")]
    WebConfig(#[from] WebConfigError),
    /// It cannot begin.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system gives no threads, or no random bytes.
    #[error("--web.config.file: {0}")]
    Guard(#[source] std::io::Error),
    /// Another one has the file, or its folder cannot be made.
    #[error("--persistence.file {}: {source}", path.display())]
    Lock {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The groups cannot be read.
    #[error("--persistence.file: {0}")]
    Open(#[from] OpenError),
    /// A mistake of ours on the way.
    #[error(transparent)]
    Ended(#[from] supervise::Ended),
}

impl AloneError {
    /// The place in a file with a mark under it, where there is one; with colours if `color`.
    pub(crate) fn render(&self, color: bool) -> Option<String> {
        match self {
            AloneError::WebConfig(error) => error.render(color),
            _ => None,
        }
    }
}

/// Serves until a signal or a request ends it.
pub(crate) async fn run(options: PushgatewayOptions) -> Result<(), AloneError> {
    process::outlive_file_size_limit()?;
    tracing::info!(
        version = OWN,
        reference = PUSHGATEWAY,
        "Starting Narthex as a push gateway"
    );
    for (flag, why) in options.flags.without_effect() {
        tracing::warn!(flag, why, "This flag is accepted and has no effect");
    }
    let guarded = match &options.web_config_file {
        Some(path) => Some((path.clone(), guard::read(path)?)),
        None => None,
    };
    let registry = metrics::Registry::new();
    registry.collect_process();
    let supervisor = Supervisor::new(&registry);
    let _lock = match &options.persistence_file {
        Some(path) => Some(lock(path, &supervisor).await?),
        None => None,
    };
    let (network, listeners) = process::listen(&options.listen_addresses, options.systemd_socket).await?;
    let own_address = process::own_address(&listeners).unwrap_or_else(|| NO_ADDRESS.to_owned());
    let guard = match guarded {
        Some((path, first)) => {
            let guard = Guard::new(&path, first, &registry).map_err(AloneError::Guard)?;
            Some(Arc::new(guard))
        }
        None => None,
    };
    let stop = CancellationToken::new();
    process::stop_on_signals(&supervisor, stop.clone())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let pages = page_state(&options, &registry);
    let gateway = open(&options, clock, &registry, &supervisor).await?;
    let limits = listener::Limits {
        max_connections: options.max_connections,
        read_timeout: options.read_timeout,
    };
    let external_url = external_url(&options, &own_address);
    let site = site(options, pages, gateway, &registry, stop.clone());
    let router = router(site, Trust::new(None, &external_url), guard.clone());
    let serving = network.spawn(listener::serve(
        listener::each(listeners, &router),
        guard,
        limits,
        registry.clone(),
        stop.clone(),
    ));
    tracing::info!(address = own_address, "Server is ready to receive web requests.");
    // The listener ends when it is told to; what it has answered is on the disk by then.
    if let Err(error) = serving.await {
        tracing::error!(%error, "A task ended badly");
    }
    tracing::info!("See you next time!");
    Ok(())
}

async fn open(
    options: &PushgatewayOptions,
    clock: Arc<dyn Clock>,
    registry: &metrics::Registry,
    supervisor: &Supervisor,
) -> Result<Arc<Gateway>, AloneError> {
    let journal = match &options.persistence_file {
        Some(path) => {
            let path = path.clone();
            let looking = path.clone();
            let found = supervisor.blocking(TASK, move || is_foreign(&looking)).await?;
            if found {
                tracing::warn!(
                    file = %path.display(),
                    journal = %beside(&path, JOURNAL).display(),
                    "The persistence file of a Pushgateway was found. It is written in a form of Go's own that is not \
                     read here: its groups are not taken over, and it is left as it is. Groups are kept in the journal"
                );
            }
            Some(beside(&path, JOURNAL))
        }
        None => None,
    };
    let settings = Options {
        own: own_families(registry),
        ..options.gateway.clone()
    };
    Ok(super::open(settings, clock, journal.as_deref(), supervisor).await?)
}

/// Whether there is a file that the reference has written. It is not ours in any case.
fn is_foreign(path: &Path) -> bool {
    let mut first = [0; 1];
    std::fs::File::open(path).is_ok_and(|mut file| file.read(&mut first).is_ok_and(|count| count > 0))
}

/// The file that is called `path` with `suffix` behind it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Keeps a second gateway away from the file: two would write over each other.
async fn lock(path: &Path, supervisor: &Supervisor) -> Result<files::FileLock, AloneError> {
    let file = beside(path, LOCK);
    let locking = move || {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        files::DiskFiles
            .lock(&file)
            .map_err(|error| std::io::Error::other(error.to_string()))
    };
    let locked = supervisor.blocking(TASK, locking).await?;
    locked.map_err(|source| AloneError::Lock {
        path: path.to_owned(),
        source,
    })
}

fn external_url(options: &PushgatewayOptions, own_address: &str) -> url::Url {
    let named = || url::Url::parse(&format!("http://{own_address}/"));
    let url = options.external_url.clone().or_else(|| named().ok());
    url.unwrap_or_else(|| url::Url::parse("http://localhost:9091").expect("a constant URL"))
}

fn page_state(options: &PushgatewayOptions, registry: &metrics::Registry) -> PageState {
    version::tell_build(registry, "pushgateway", PUSHGATEWAY);
    PageState {
        title: "Push gateway".to_owned(),
        user_assets: None,
        prefix: with_slash(&options.route_prefix),
        external_path: options.external_url.as_ref().map_or_else(
            || with_slash(&options.route_prefix),
            |url| url.path().trim_end_matches('/').to_owned(),
        ),
        metrics: registry.clone(),
        asked: AskedMetrics::new(registry),
    }
}

fn with_slash(path: &str) -> String {
    match path {
        "" => String::new(),
        path => format!("/{path}"),
    }
}

fn site(
    options: PushgatewayOptions,
    pages: PageState,
    gateway: Arc<Gateway>,
    registry: &metrics::Registry,
    stop: CancellationToken,
) -> Site {
    let intake = Arc::new(Intake::default());
    let gateway = GatewayState::new(gateway, intake, pages.prefix.clone(), registry);
    Site {
        gateway: Arc::new(gateway),
        pages: Arc::new(pages),
        told: Arc::new(Told {
            start: jiff::Timestamp::now(),
            telemetry_path: options.telemetry_path,
            lifecycle: options.lifecycle,
            admin: options.admin,
            flags: options.flags,
            stop,
        }),
    }
}

#[cfg(test)]
mod tests;

//! The push gateway that runs in this process: inside a server, whose scraper reads it, or alone ([`alone`]).
//!
//! What it does with groups is the room `remote`'s; here it is opened and put where it is asked.

pub(crate) mod alone;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::clock::Clock;
use model::storage::StorageError;
use remote::gateway::{Gateway, Options, Recovered};
use scraper::{ScrapeConfig, ScrapeDefaults};
use supervise::Supervisor;

/// What panics of opening its file are counted under.
const TASK: &str = "push gateway";
/// Names of the job that scrapes the gateway inside, where the configuration has none: the first that is free.
const JOBS: [&str; 2] = ["pushgateway", "narthex-pushgateway"];

/// Why it cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    /// Its file cannot be read, or its folder not be made.
    #[error("cannot open the push gateway's file {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: StorageError,
    },
    /// A mistake of ours on the way.
    #[error(transparent)]
    Ended(#[from] supervise::Ended),
}

/// Opens a gateway, which keeps its groups in the file `path` where there is one.
///
/// # Errors
/// See [`OpenError`].
pub(crate) async fn open(
    options: Options,
    clock: Arc<dyn Clock>,
    path: Option<&Path>,
    supervisor: &Supervisor,
) -> Result<Arc<Gateway>, OpenError> {
    let Some(path) = path.map(Path::to_owned) else {
        return Ok(Arc::new(Gateway::new(options, clock)));
    };
    let opened = {
        let path = path.clone();
        let opening = move || Gateway::open(options, clock, Arc::new(files::DiskFiles), &path);
        supervisor.blocking(TASK, opening).await?
    };
    let (gateway, recovered) = opened.map_err(|source| OpenError::File {
        path: path.clone(),
        source,
    })?;
    tell(&path, &recovered);
    Ok(Arc::new(gateway))
}

fn tell(path: &Path, recovered: &Recovered) {
    let (file, opened) = (path.display(), &recovered.opened);
    if let Some(damage) = opened.damage {
        let kept_as = opened.kept_as.as_ref().map(|path| path.display().to_string());
        tracing::error!(%file, %damage, kept_as, "The push gateway's file is damaged; what can be read of it is used");
    }
    if recovered.unreadable > 0 {
        let records = recovered.unreadable;
        tracing::error!(%file, records, "Records of the push gateway's file mean nothing to this program");
    }
    tracing::info!(%file, groups = recovered.groups, "Push gateway opened");
}

/// Adds a job that scrapes the gateway inside, where there is none with `push_gateway: true`.
pub(crate) fn add_job(jobs: &mut Vec<ScrapeConfig>, defaults: &ScrapeDefaults) {
    if jobs.iter().any(|job| job.push_gateway) {
        return;
    }
    let free = JOBS
        .iter()
        .find(|name| jobs.iter().all(|job| job.job_name != **name));
    let Some(name) = free else {
        let names = JOBS.join(" and ");
        tracing::error!(
            "Jobs are called {names} already, so that none scrapes the push gateway: add one with push_gateway: true"
        );
        return;
    };
    let text = format!("{{job_name: {name}, push_gateway: true}}");
    let read =
        yaml::parse("push gateway", &text).and_then(|document| ScrapeConfig::read(document.root(), defaults));
    match read {
        Ok(job) => jobs.push(job),
        // Settings of `global` that contradict each other have been refused before.
        Err(error) => tracing::error!(%error, "The push gateway is not scraped"),
    }
}

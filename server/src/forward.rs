//! Remote write: what the room is given.

use std::path::Path;
use std::sync::Arc;

use model::clock::Clock;
use model::log::Log;
use remote::send::{Family, Forwarder, Options, first_needed_segment};

use crate::cli::serve_options::ServeOptions;
use crate::version::USER_AGENT;

/// What forwards the samples of the store whose log this is, without queues yet.
pub(crate) fn forwarder(
    options: &ServeOptions,
    log: Arc<dyn Log>,
    scraper: &Arc<scraper::Manager>,
    clock: &Arc<dyn Clock>,
    registry: &metrics::Registry,
) -> Arc<Forwarder> {
    let files: Arc<dyn files::Files> = Arc::new(files::DiskFiles);
    keep_log(&files, &options.storage.path, &*log);
    let mut machine = credentials::Machine::new(USER_AGENT);
    machine.clock = clock.clone();
    let scraper = scraper.clone();
    Arc::new(Forwarder::new(Options {
        files,
        dir: options.storage.path.clone(),
        log,
        clock: clock.clone(),
        registry: registry.clone(),
        machine,
        flush_deadline: options.forward.flush_deadline,
        spool_bytes: options.forward.spool_bytes,
        spool_age: options.forward.spool_age,
        families: Arc::new(move || families(&scraper)),
        type_and_unit_labels: options.features.promql.type_and_unit_labels,
    }))
}

/// Keeps what queues of the last run still need, before the store begins to work.
fn keep_log(files: &Arc<dyn files::Files>, dir: &Path, log: &dyn Log) {
    match first_needed_segment(files, dir) {
        Ok(segment) => log.keep_from(segment),
        Err(error) => {
            tracing::error!(%error, "Cursors of remote write cannot be read; the log is kept whole");
            log.keep_from(Some(0));
        }
    }
}

/// What active targets say of their metric families.
fn families(scraper: &scraper::Manager) -> Vec<Family> {
    let pools = scraper.targets();
    let targets = pools.iter().flat_map(|pool| &pool.active);
    let said = targets.flat_map(scraper::ActiveTarget::metadata);
    said.map(|said| Family {
        name: said.family,
        metadata: said.metadata,
    })
    .collect()
}

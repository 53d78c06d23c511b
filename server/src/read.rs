//! Remote read: what the room is given.

use std::sync::Arc;

use model::clock::Clock;
use remote::read::{FanIn, FanInOptions};
use tsdb::db::Db;

use crate::cli::serve_options::ServeOptions;
use crate::version::USER_AGENT;

/// Blocks' ranges that the local store is given to become whole.
const MARGIN_RANGES: i64 = 2;

/// The store with what the section `remote_read` names, without anything of that yet. Called within the runtime that
/// connections are to live on.
pub(crate) fn fan_in(
    options: &ServeOptions,
    db: &Arc<Db>,
    clock: &Arc<dyn Clock>,
    registry: &metrics::Registry,
) -> Arc<FanIn> {
    let margin_ms = MARGIN_RANGES * options.storage.min_block.as_millis() as i64;
    let (local, clock) = (db.clone(), clock.clone());
    Arc::new(FanIn::new(FanInOptions {
        local: db.clone(),
        // Compat: two ranges behind the oldest block; without a block, two ranges ahead (push: `local-data`, `default`).
        local_start_ms: Arc::new(move || {
            let blocks = local.blocks();
            let oldest_ms = blocks.iter().map(|block| block.meta().min_time).min();
            Ok(oldest_ms
                .unwrap_or_else(|| clock.now_ms())
                .saturating_add(margin_ms))
        }),
        user_agent: USER_AGENT.to_owned(),
        surroundings: httpclient::Surroundings::default(),
        runtime: tokio::runtime::Handle::current(),
        registry: registry.clone(),
    }))
}

//! Putting an agent's configuration in force: everything is built aside first, and only then exchanged.

use std::sync::Arc;

use model::clock::Clock;
use tsdb::agent::Agent;

use crate::cli::serve_options::StorageOptions;
use crate::config::Loaded;
use crate::reload::{ConfigStatus, Reload, ReloadError, Source, read_again, status};
use crate::traffic::Traffic;
use crate::web::guard::Guard;

/// The parts that an agent's configuration steers.
pub(super) struct AgentReloader {
    pub(super) source: Source,
    /// Our own address, which the built-in configuration scrapes.
    pub(super) own_address: String,
    pub(super) store: Arc<Agent>,
    pub(super) traffic: Traffic,
    /// What guards the listener, where something does.
    pub(super) guard: Option<Arc<Guard>>,
    pub(super) storage: StorageOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) supervisor: supervise::Supervisor,
}

impl Reload for AgentReloader {
    fn source(&self) -> &Source {
        &self.source
    }

    async fn reload(&self) -> Result<ConfigStatus, ReloadError> {
        let apply = |loaded| self.apply(loaded);
        read_again(&self.source, &self.own_address, &self.supervisor, apply).await
    }
}

impl AgentReloader {
    /// Puts a configuration in force. On an error everything stays as it was.
    pub(super) async fn apply(&self, loaded: Loaded) -> Result<ConfigStatus, ReloadError> {
        let Loaded {
            config,
            jobs,
            warnings,
            ..
        } = loaded;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let traffic = self.traffic.prepare(&config, jobs)?;
        let guarded = match &self.guard {
            Some(guard) => Some((guard, guard.prepare().await?)),
            None => None,
        };
        // From here on nothing fails.
        self.traffic.apply(traffic).await;
        let window = config.storage.tsdb.out_of_order_time_window;
        self.store.set_out_of_order_window(window.as_ms());
        if let Some((guard, prepared)) = guarded {
            guard.apply(prepared);
        }
        for section in config.unserved() {
            tracing::warn!(
                section,
                "This section is configured, but this version does not serve it"
            );
        }
        if config.unserved.remote_write.is_empty() {
            tracing::warn!("There is no remote_write: what is scraped and pushed in goes nowhere");
        }
        // Compat: an agent tells of a retention that it has no use for, as the reference's does.
        let now_ms = self.clock.now_ms();
        Ok(status(&config, &self.storage, &self.source.features, now_ms))
    }
}

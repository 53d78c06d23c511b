//! How samples come in and go out, in a server and in an agent alike: what a configuration says of it.

use std::sync::Arc;

use parking_lot::Mutex;
use remote::otlp::OtlpConfig;
use scraper::ScrapeConfig;
use supervise::Supervisor;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::reload::ReloadError;

/// The parts.
pub(crate) struct Traffic {
    pub(crate) scraper: Arc<scraper::Manager>,
    pub(crate) discovery: Mutex<discovery::Manager>,
    /// Whether there is a push gateway inside, to be scraped.
    pub(crate) push_gateway: bool,
    pub(crate) otlp: Option<Arc<remote::otlp::Receiver>>,
    pub(crate) forwarder: Arc<remote::send::Forwarder>,
}

/// What is to be put in force.
pub(crate) struct Prepared {
    scrapes: scraper::Prepared,
    discovery: discovery::Prepared,
    otlp: OtlpConfig,
    forwards: remote::send::Prepared,
}

impl Traffic {
    /// Builds what a configuration asks for, and changes nothing.
    ///
    /// # Errors
    /// When something of it cannot be built.
    pub(crate) fn prepare(
        &self,
        config: &Config,
        mut jobs: Vec<ScrapeConfig>,
    ) -> Result<Prepared, ReloadError> {
        let labels = config.global.external_labels();
        if self.push_gateway {
            crate::gateway::add_job(&mut jobs, &config.global.scrape);
        }
        let found_by = jobs
            .iter()
            .map(|job| (job.job_name.clone(), job.discovery.clone()))
            .collect();
        Ok(Prepared {
            discovery: self.discovery.lock().prepare(found_by)?,
            scrapes: self.scraper.prepare(jobs, &labels)?,
            otlp: config.otlp.clone(),
            forwards: self.forwarder.prepare(&config.unserved.remote_write, &labels)?,
        })
    }

    /// Scrapes what discovery finds, until `stop`.
    pub(crate) fn scrape(&self, supervisor: &Supervisor, stop: &CancellationToken) -> JoinHandle<()> {
        let found = self.discovery.lock().subscribe();
        let (scraper, stop) = (self.scraper.clone(), stop.clone());
        supervisor.spawn("scrape manager", &stop.clone(), move || {
            let (scraper, found, stop) = (scraper.clone(), found.clone(), stop.clone());
            async move { scraper.run(found, stop).await }
        })
    }

    /// Puts it in force. Who sends on comes before those who bring.
    pub(crate) async fn apply(&self, prepared: Prepared) {
        self.forwarder.apply(prepared.forwards);
        self.scraper.apply(prepared.scrapes).await;
        if let Some(otlp) = &self.otlp {
            otlp.apply(&prepared.otlp);
        }
        self.discovery.lock().apply(prepared.discovery);
    }
}

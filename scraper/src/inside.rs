//! What is scraped in this process: a job with `push_gateway: true` asks no address, but the gateway beside the scraper.
//!
//! Everything else of a scrape is as it is with others: intervals, limits, relabelling, staleness, `up`.

use std::fmt;
use std::sync::Arc;

use supervise::{Ended, Supervisor};

use crate::error::FetchError;
use crate::fetch::{Body, Fetch, FetchRules, Fetching};

/// What the target of such a job is called where others have host and port.
pub(crate) const ADDRESS: &str = "push-gateway";
/// Name of making a body, as panics are counted.
const TASK: &str = "scrape_inside";

/// Why there is no body.
pub type ExposeError = Box<dyn std::error::Error + Send + Sync>;

/// Something that shows metrics as a target does.
pub trait Expose: Send + Sync {
    /// Writes its metrics behind what is in `body`, in the best form that the `Accept` header `accept` names; gives the
    /// value of `Content-Type`. May take a while: it is not called on threads that wait for a network.
    ///
    /// # Errors
    /// When there is nothing that could be shown.
    fn expose(&self, accept: &str, body: &mut Vec<u8>) -> Result<String, ExposeError>;
}

/// What is beside the scraper, if anything.
#[derive(Clone, Default)]
pub struct Inside(pub Option<Arc<dyn Expose>>);

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inside").field(&self.0.is_some()).finish()
    }
}

/// Asks it.
pub(crate) struct InsideFetch {
    pub(crate) inside: Inside,
    pub(crate) supervisor: Supervisor,
}

impl Fetch for InsideFetch {
    fn fetch<'f>(&'f self, rules: &'f FetchRules, body: &'f mut Body) -> Fetching<'f> {
        Box::pin(async move {
            body.clear();
            let inside = self.inside.0.clone().ok_or(FetchError::NothingInside)?;
            let (mut bytes, accept) = (std::mem::take(&mut body.bytes), rules.accept.clone());
            let exposing = move || inside.expose(&accept, &mut bytes).map(|format| (format, bytes));
            let exposed = self.supervisor.blocking(TASK, exposing);
            let exposed = match tokio::time::timeout(rules.timeout, exposed).await {
                Ok(exposed) => exposed.map_err(|ended: Ended| FetchError::Inside(ended.into()))?,
                Err(_) => {
                    return Err(FetchError::Timeout {
                        url: rules.url.clone(),
                    });
                }
            };
            let (format, bytes) = exposed.map_err(FetchError::Inside)?;
            body.bytes = bytes;
            body.content_type = format;
            match body.bytes.len() as u64 >= rules.body_limit.bytes {
                true => Err(rules.body_limit.exceeded()),
                false => Ok(()),
            }
        })
    }
}

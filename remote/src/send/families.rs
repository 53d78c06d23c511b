//! Telling of metric families in messages of version 1.0, which have no place for them beside samples.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::deliver::Sending;
use super::encode::Family;

/// Tells which families the targets have at the moment.
pub type Families = Arc<dyn Fn() -> Vec<Family> + Send + Sync>;

/// Tells of families at every interval, until `stop` is cancelled.
pub(super) async fn tell(sending: Sending, families: Families, stop: CancellationToken) {
    let config = &sending.config.metadata_config;
    let mut encoder = sending.encoder();
    let period = Duration::from_millis(config.send_interval.as_ms().max(1) as u64);
    let mut due = interval(period);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    due.tick().await;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        let mut seen = HashSet::new();
        let mut there = families();
        there.retain(|family| seen.insert(family.clone()));
        for part in there.chunks(config.max_samples_per_send) {
            match encoder.encode_families(part) {
                Ok(body) => {
                    if !sending.families(&body, part.len() as u64).await {
                        return;
                    }
                }
                Err(error) => {
                    sending.metrics.metadata_failed.add_count(part.len() as u64);
                    tracing::error!(remote_name = sending.config.name, %error, "Metadata cannot be sent");
                }
            }
        }
    }
}

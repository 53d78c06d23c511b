//! The task that ends intervals as time goes by.

use std::sync::Arc;
use std::time::Duration;

use supervise::Supervisor;
use tokio_util::sync::CancellationToken;

use crate::thinner::Thinner;

/// What panics of it are counted under.
const TASK: &str = "aggregation";

/// Does what is due until it is told to stop. The store is written on threads for such work.
pub async fn run(thinner: Arc<Thinner>, supervisor: Supervisor, stop: CancellationToken) {
    loop {
        let pause = Duration::from_millis(thinner.pause_ms().unsigned_abs());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let ticking = thinner.clone();
        // A panic has cost this round; it is counted and said.
        let _ = supervisor.blocking(TASK, move || ticking.tick()).await;
    }
}

//! One destination's queue: bounded, oldest out first when it is full, sent in batches by a task of its own.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use httpclient::{HttpClientError, StatusCode};
use metrics::{Histogram, Summary};
use model::alert::Alert;
use parking_lot::Mutex;
use supervise::{Panicked, Supervisor};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Upper bounds of how long deliveries take, in seconds: the reference's.
const LATENCIES: [f64; 4] = [0.01, 0.1, 1.0, 10.0];

/// What a queue has done so far.
#[derive(Debug)]
pub struct QueueStats {
    /// Alerts delivered.
    pub sent: AtomicU64,
    /// Alerts given up: the queue was full, or delivery failed.
    pub dropped: AtomicU64,
    /// Alerts whose delivery failed.
    pub errors: AtomicU64,
    /// How long deliveries took that succeeded, in seconds.
    pub latency: Summary,
    /// The same.
    pub latencies: Histogram,
    /// Alerts waiting now.
    pub waiting: AtomicU64,
}

impl Default for QueueStats {
    fn default() -> Self {
        QueueStats {
            sent: AtomicU64::default(),
            dropped: AtomicU64::default(),
            errors: AtomicU64::default(),
            latency: Summary::new(&[0.5, 0.9, 0.99]),
            latencies: Histogram::new(&LATENCIES),
            waiting: AtomicU64::default(),
        }
    }
}

/// Why a batch was not delivered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DeliveryError {
    /// The request failed before there was an answer.
    #[error(transparent)]
    Request(#[from] HttpClientError),
    /// The receiver did not take it.
    #[error("bad response status {0}")]
    Refused(StatusCode),
    /// A mistake of ours on the way.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// Delivers batches to one place.
pub(crate) trait Deliver: Send + Sync + 'static {
    /// Sends one batch; the error is logged.
    fn deliver(&self, alerts: Vec<Alert>) -> impl Future<Output = Result<(), DeliveryError>> + Send;
}

/// A destination and its queue. [`Queue::stop`] ends the task.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    url: String,
    capacity: usize,
    batch: usize,
    waiting: Mutex<VecDeque<Alert>>,
    work: Notify,
    stop: CancellationToken,
    stats: QueueStats,
}

impl Queue {
    /// Starts the task. Must be called inside a runtime.
    pub(crate) fn start(
        url: String,
        capacity: usize,
        batch: usize,
        supervisor: &Supervisor,
        destination: impl Deliver,
    ) -> Self {
        let shared = Arc::new(Shared {
            url: url.clone(),
            capacity,
            batch: batch.max(1),
            waiting: Mutex::default(),
            work: Notify::new(),
            stop: CancellationToken::new(),
            stats: QueueStats::default(),
        });
        let task = tokio::spawn(run(shared.clone(), supervisor.clone(), destination));
        Queue { url, shared, task }
    }

    /// Queues alerts; the oldest give way when there is no room.
    pub(crate) fn add(&self, alerts: &[Alert]) {
        let mut waiting = self.shared.waiting.lock();
        waiting.extend(alerts.iter().cloned());
        let over = waiting.len().saturating_sub(self.shared.capacity);
        if over > 0 {
            waiting.drain(..over);
            self.shared
                .stats
                .dropped
                .fetch_add(over as u64, Ordering::Relaxed);
            tracing::warn!(alertmanager = %self.url, count = over, "Alert notification queue full, dropping alerts");
        }
        self.shared
            .stats
            .waiting
            .store(waiting.len() as u64, Ordering::Relaxed);
        drop(waiting);
        self.shared.work.notify_one();
    }

    /// Counts alerts that were lost before they reached the queue.
    pub(crate) fn count_lost(&self, alerts: u64) {
        self.shared.stats.errors.fetch_add(alerts, Ordering::Relaxed);
        self.shared.stats.dropped.fetch_add(alerts, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> &QueueStats {
        &self.shared.stats
    }

    /// Ends the task; what still waits is sent first if `drain`, for at most `patience`.
    pub(crate) async fn stop(self, drain: bool, patience: Duration) {
        if !drain {
            let count = std::mem::take(&mut *self.shared.waiting.lock()).len();
            if count > 0 {
                self.shared
                    .stats
                    .dropped
                    .fetch_add(count as u64, Ordering::Relaxed);
                tracing::warn!(alertmanager = %self.url, count, "Alert notification queue not drained, dropping alerts");
            }
        }
        self.shared.stop.cancel();
        let mut task = self.task;
        if tokio::time::timeout(patience, &mut task).await.is_err() {
            task.abort();
        }
    }
}

async fn run(shared: Arc<Shared>, supervisor: Supervisor, destination: impl Deliver) {
    loop {
        let batch: Vec<Alert> = {
            let mut waiting = shared.waiting.lock();
            let take = waiting.len().min(shared.batch);
            let batch = waiting.drain(..take).collect();
            shared
                .stats
                .waiting
                .store(waiting.len() as u64, Ordering::Relaxed);
            batch
        };
        if batch.is_empty() {
            // Stopping ends the loop only once nothing waits: what is queued has been promised.
            tokio::select! {
                () = shared.work.notified() => continue,
                () = shared.stop.cancelled() => {
                    if shared.waiting.lock().is_empty() { return } else { continue }
                }
            }
        }
        let (count, begin) = (batch.len() as u64, Instant::now());
        // A panic costs the batch: whatever waits behind it has nothing to do with it.
        let delivered = supervisor.round("notification", destination.deliver(batch)).await;
        let delivered = delivered.unwrap_or_else(|panicked| Err(panicked.into()));
        match delivered {
            Ok(()) => {
                shared.stats.sent.fetch_add(count, Ordering::Relaxed);
                let seconds = begin.elapsed().as_secs_f64();
                shared.stats.latency.observe(seconds);
                shared.stats.latencies.observe(seconds);
            }
            Err(error) => {
                shared.stats.errors.fetch_add(count, Ordering::Relaxed);
                shared.stats.dropped.fetch_add(count, Ordering::Relaxed);
                tracing::error!(alertmanager = %shared.url, count, err = %error, "Error sending alerts");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics::Registry;
    use model::labels::Labels;
    use tokio::sync::mpsc;

    use super::*;

    /// Panics at the first batch, hands on the names of those after it.
    struct Panicking {
        delivered: mpsc::UnboundedSender<String>,
        first: AtomicU64,
    }

    impl Deliver for Panicking {
        async fn deliver(&self, alerts: Vec<Alert>) -> Result<(), DeliveryError> {
            assert_ne!(self.first.fetch_add(1, Ordering::SeqCst), 0, "as prepared");
            for alert in alerts {
                // The test may have seen enough.
                let _ = self.delivered.send(alert.labels.value("alertname").to_owned());
            }
            Ok(())
        }
    }

    fn alert(name: &str) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: Labels::empty(),
            starts_at_ms: 0,
            ends_at_ms: 1,
            generator_url: String::new(),
        }
    }

    #[tokio::test]
    async fn a_delivery_that_panics_costs_its_batch() {
        let (delivered, mut names) = mpsc::unbounded_channel();
        let destination = Panicking {
            delivered,
            first: AtomicU64::new(0),
        };
        let queue = Queue::start(
            "http://x".into(),
            10,
            1,
            &Supervisor::new(&Registry::new()),
            destination,
        );
        queue.add(&[alert("lost"), alert("kept")]);
        assert_eq!(names.recv().await.as_deref(), Some("kept"));
        let stats = queue.stats();
        assert_eq!(stats.errors.load(Ordering::Relaxed), 1);
        assert_eq!(stats.dropped.load(Ordering::Relaxed), 1);
        queue.stop(true, Duration::from_secs(10)).await;
    }
}

//! Several streams to one receiver: a series always takes the same one, so that its samples stay in order.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::cursor::Ledger;
use super::deliver::Sending;
use super::item::{Counts, Item};

/// The streams of a queue. Dropping it breaks them off.
pub(super) struct Shards {
    pub(super) entries: Entries,
    pub(super) tasks: JoinSet<()>,
}

/// Where items are put in.
pub(super) struct Entries {
    shards: Vec<Shard>,
    batch_max: usize,
    sending: Arc<Sending>,
}

struct Shard {
    shared: Arc<Waiting>,
    batches: mpsc::Sender<Vec<Item>>,
}

/// What waits for a stream and is no batch yet.
struct Waiting {
    partial: Mutex<Vec<Item>>,
    /// Emptied batches, to be filled again.
    spare: Mutex<Vec<Vec<Item>>>,
    batch_max: usize,
}

impl Waiting {
    fn take_partial(&self) -> Vec<Item> {
        let fresh = self.spare.lock().pop().unwrap_or_default();
        std::mem::replace(&mut *self.partial.lock(), fresh)
    }

    fn give_back(&self, mut batch: Vec<Item>) {
        batch.clear();
        let mut spare = self.spare.lock();
        // One that is filled, and one that is sent.
        if spare.len() < 2 {
            spare.push(batch);
        }
    }
}

impl Shards {
    pub(super) fn start(number: usize, sending: Arc<Sending>, ledger: &Arc<Mutex<Ledger>>) -> Self {
        let queue = &sending.config.queue_config;
        let batch_max = queue.max_samples_per_send;
        let batches_max = (queue.capacity / batch_max).max(1);
        sending.metrics.pending.clear();
        sending.metrics.shards.set(number as f64);
        let mut tasks = JoinSet::new();
        let shards = (0..number)
            .map(|_| {
                let (batches, receiver) = mpsc::channel(batches_max);
                let shared = Arc::new(Waiting {
                    partial: Mutex::default(),
                    spare: Mutex::default(),
                    batch_max,
                });
                tasks.spawn(stream(shared.clone(), receiver, sending.clone(), ledger.clone()));
                Shard { shared, batches }
            })
            .collect();
        let entries = Entries {
            shards,
            batch_max,
            sending,
        };
        Shards { entries, tasks }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.shards.len()
    }

    /// Lets the streams send what they have, and waits until they are done.
    ///
    /// # Errors
    /// When one of them panicked.
    pub(super) async fn finish(&mut self) -> Result<(), JoinError> {
        self.entries.shards.clear();
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// Waits until a stream ends although it was not told to.
pub(super) async fn ended(tasks: &mut JoinSet<()>) -> Option<JoinError> {
    match tasks.join_next().await {
        Some(Err(error)) => Some(error),
        Some(Ok(())) => None,
        None => std::future::pending().await,
    }
}

impl Entries {
    fn shard(&self, reference: u64) -> &Shard {
        &self.shards[(reference % self.shards.len() as u64) as usize]
    }

    /// Puts an item into its shard; gives it back where that is full.
    pub(super) fn push(&self, item: Item) -> Result<(), Item> {
        let shard = self.shard(item.reference);
        let mut counts = Counts::default();
        counts.add(&item);
        let timestamp_ms = item.timestamp_ms;
        let mut partial = shard.shared.partial.lock();
        if partial.len() + 1 < self.batch_max {
            partial.push(item);
        } else {
            let Ok(permit) = shard.batches.try_reserve() else {
                drop(partial);
                self.sending.metrics.enqueue_retries.inc();
                return Err(item);
            };
            partial.push(item);
            let fresh = shard.shared.spare.lock().pop().unwrap_or_default();
            permit.send(std::mem::replace(&mut *partial, fresh));
        }
        drop(partial);
        self.sending.metrics.pending.add(counts);
        self.sending.metrics.highest_queued.note_ms(timestamp_ms);
        Ok(())
    }

    /// Waits until the shard of this series has room.
    pub(super) async fn room(&self, reference: u64) {
        // Where nobody receives any more, `ended` tells of it.
        if self.shard(reference).batches.reserve().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// One stream. Ends when there is nothing more to come, or the queue ends while the receiver fails.
async fn stream(
    waiting: Arc<Waiting>,
    mut batches: mpsc::Receiver<Vec<Item>>,
    sending: Arc<Sending>,
    ledger: Arc<Mutex<Ledger>>,
) {
    let deadline =
        Duration::from_millis(sending.config.queue_config.batch_send_deadline.as_ms().max(1) as u64);
    let mut encoder = sending.encoder();
    let mut due = Instant::now() + deadline;
    loop {
        let (batch, is_last) = tokio::select! {
            biased;
            batch = batches.recv() => match batch {
                Some(batch) => (batch, false),
                None => (waiting.take_partial(), true),
            },
            () = tokio::time::sleep_until(due) => (batches.try_recv().unwrap_or_else(|_| waiting.take_partial()), false),
        };
        if !batch.is_empty() && !send(&sending, &mut encoder, &waiting, &ledger, batch).await {
            return;
        }
        if is_last {
            return;
        }
        due = Instant::now() + deadline;
    }
}

async fn send(
    sending: &Sending,
    encoder: &mut super::encode::Encoder,
    waiting: &Waiting,
    ledger: &Mutex<Ledger>,
    mut batch: Vec<Item>,
) -> bool {
    debug_assert!(
        batch.len() <= waiting.batch_max,
        "a batch is no larger than it may be"
    );
    if !sending.batch(encoder, &mut batch).await {
        return false;
    }
    {
        let mut ledger = ledger.lock();
        for run in batch.chunk_by(|a, b| a.record == b.record) {
            ledger.finish(run[0].record, run.len() as u64);
        }
    }
    waiting.give_back(batch);
    true
}

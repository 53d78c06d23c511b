//! One message to its end: tries, pauses, and what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use model::clock::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::{MessageKind, RemoteWriteConfig};
use super::encode::{EncodeError, Encoder};
use super::item::{Counts, Item};
use super::metrics::{Dropped, QueueMetrics};
use super::rate::Rate;
use super::target::{Answer, Target, Written};

/// What all shards of a queue have alike.
pub(super) struct Sending {
    pub(super) config: Arc<RemoteWriteConfig>,
    pub(super) target: Arc<dyn Target>,
    pub(super) metrics: QueueMetrics,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) traffic: Traffic,
    /// Whether labels say of which type and unit a series is.
    pub(super) type_and_unit_labels: bool,
    /// Cancelled when the queue is to end: who waits for a receiver that fails gives up.
    pub(super) stop: CancellationToken,
}

/// What the number of shards follows.
#[derive(Default)]
pub(super) struct Traffic {
    pub(super) went: Rate,
    pub(super) dropped: Rate,
    /// Nanoseconds of sending.
    pub(super) busy: Rate,
    /// When something was last sent or refused, in milliseconds of [`Clock::elapsed`]; -1 for never.
    pub(super) last_sent_ms: AtomicI64,
    /// Until when the receiver is to be left alone.
    pub(super) troubled_until_ms: AtomicI64,
}

/// What became of a message.
pub(super) enum Outcome {
    /// Taken, or refused for good: it is done.
    Done(Ended),
    /// It is neither; the queue ends.
    GaveUp,
}

pub(super) struct Ended {
    written: Written,
    /// Why it was refused.
    reason: Option<String>,
}

impl Sending {
    pub(super) fn encoder(&self) -> Encoder {
        Encoder::new(self.config.protobuf_message, self.type_and_unit_labels)
    }

    fn elapsed_ms(&self) -> i64 {
        self.clock.elapsed().as_millis() as i64
    }

    /// The time before which samples are too old to be sent.
    pub(super) fn oldest_ms(&self) -> i64 {
        match self.config.queue_config.sample_age_limit.as_ms() {
            0 => i64::MIN,
            limit => self.clock.now_ms().saturating_sub(limit),
        }
    }

    /// Sends a batch until it is done with; empties it then. False where the queue ends before.
    pub(super) async fn batch(&self, encoder: &mut Encoder, items: &mut Vec<Item>) -> bool {
        let counts = Counts::of(items);
        let newest_ms = items.iter().map(|item| item.timestamp_ms).max().unwrap_or(0);
        let begun = Instant::now();
        let mut message = Message {
            sending: self,
            encoder,
            oldest_ms: items.iter().map(|item| item.timestamp_ms).min().unwrap_or(0),
            items,
            counts,
            body: Bytes::new(),
        };
        let outcome = match message.encode() {
            Ok(metadata) => self.tries(&mut message, metadata).await,
            Err(error) => Outcome::Done(Ended {
                written: Written::default(),
                reason: Some(error.to_string()),
            }),
        };
        let bytes = message.body.len();
        let Outcome::Done(ended) = outcome else {
            return false;
        };
        self.metrics.bytes.add_count(bytes as u64);
        self.metrics.highest_sent.note_ms(newest_ms);
        self.count(counts, &ended);
        self.metrics.pending.sub(counts);
        self.traffic.went.add(counts.all());
        self.traffic.busy.add(begun.elapsed().as_nanos() as u64);
        self.traffic
            .last_sent_ms
            .store(self.elapsed_ms(), Ordering::Relaxed);
        true
    }

    /// Counts what was not written, and says so.
    fn count(&self, counts: Counts, ended: &Ended) {
        let written = ended.written;
        let left = Counts {
            floats: counts.floats.saturating_sub(written.floats),
            histograms: counts.histograms.saturating_sub(written.histograms),
            exemplars: counts.exemplars.saturating_sub(written.exemplars),
        };
        self.metrics.failed.add(left);
        match &ended.reason {
            Some(reason) => tracing::error!(
                remote_name = self.config.name,
                url = crate::section::redacted(&self.config.url),
                samples = left.floats,
                histograms = left.histograms,
                exemplars = left.exemplars,
                reason,
                "The receiver of remote write refuses samples; they are not sent again"
            ),
            None if left.all() > 0 => tracing::error!(
                remote_name = self.config.name,
                url = crate::section::redacted(&self.config.url),
                samples = left.floats,
                histograms = left.histograms,
                exemplars = left.exemplars,
                "The receiver of remote write has taken a message and says that it has not written all of it"
            ),
            None => {}
        }
    }

    async fn tries(&self, message: &mut Message<'_>, metadata: u64) -> Outcome {
        let mut written = Written::default();
        let mut pauses = Pauses::new(self);
        loop {
            if let Err(error) = message.leave_out_old() {
                return Outcome::Done(Ended {
                    written,
                    reason: Some(error.to_string()),
                });
            }
            self.metrics.sent.add(message.counts);
            self.metrics.metadata.add_count(metadata);
            let (reason, after) = match self.try_once(&message.body, pauses.attempt).await {
                Answer::Delivered(now) => {
                    return Outcome::Done(self.judge(message.counts, written.and(now), now));
                }
                Answer::Refused { reason, written: now } => {
                    return Outcome::Done(Ended {
                        written: written.and(now),
                        reason: Some(reason),
                    });
                }
                Answer::Failed {
                    reason,
                    written: now,
                    after,
                } => {
                    written = written.and(now);
                    (reason, after)
                }
            };
            if !pauses.wait(&reason, after).await {
                return Outcome::GaveUp;
            }
            self.metrics.retried.add(message.counts);
        }
    }

    async fn try_once(&self, body: &Bytes, attempt: u32) -> Answer {
        let begun = Instant::now();
        let answer = self.target.send(body.clone(), attempt).await;
        self.metrics.duration.observe(begun.elapsed().as_secs_f64());
        if self.config.failed_request_logging
            && let Answer::Refused { reason, .. } | Answer::Failed { reason, .. } = &answer
        {
            tracing::info!(
                remote_name = self.config.name,
                attempt,
                bytes = body.len(),
                reason,
                "A request of remote write failed"
            );
        }
        answer
    }

    /// What a message that was taken comes to. Compat: version 1.0 needs no word on what was written, 2.0 does, and without
    /// one nothing counts as written (push: `answer/*`).
    fn judge(&self, counts: Counts, written: Written, last: Written) -> Ended {
        match self.config.protobuf_message {
            MessageKind::V1 if !written.is_told => Ended {
                written: Written {
                    floats: counts.floats,
                    histograms: counts.histograms,
                    exemplars: counts.exemplars,
                    is_told: false,
                },
                reason: None,
            },
            MessageKind::V2 if counts.all() > 0 && last.is_nothing() => Ended {
                written,
                reason: Some(
                    "it answers with success and does not say that it has written anything; a receiver of version 2.0 \
                     would: set protobuf_message to prometheus.WriteRequest if it only knows version 1.0"
                        .to_owned(),
                ),
            },
            _ => Ended { written, reason: None },
        }
    }

    /// Sends a message that tells of families; false where the queue ends before.
    pub(super) async fn families(&self, body: &Bytes, families: u64) -> bool {
        let mut pauses = Pauses::new(self);
        loop {
            let (reason, after) = match self.try_once(body, pauses.attempt).await {
                Answer::Delivered(_) => {
                    self.metrics.metadata.add_count(families);
                    self.metrics.metadata_bytes.add_count(body.len() as u64);
                    return true;
                }
                Answer::Refused { reason, .. } => {
                    self.metrics.metadata_failed.add_count(families);
                    tracing::error!(
                        remote_name = self.config.name,
                        families,
                        reason,
                        "The receiver of remote write refuses metadata"
                    );
                    return true;
                }
                Answer::Failed { reason, after, .. } => (reason, after),
            };
            if !pauses.wait(&reason, after).await {
                return false;
            }
            self.metrics.metadata_retried.add_count(families);
        }
    }
}

/// Waits between tries, longer each time.
struct Pauses<'s> {
    sending: &'s Sending,
    pause: Duration,
    attempt: u32,
}

fn span(duration: yaml::Duration) -> Duration {
    Duration::from_millis(duration.as_ms().max(0) as u64)
}

impl<'s> Pauses<'s> {
    fn new(sending: &'s Sending) -> Self {
        Pauses {
            sending,
            pause: span(sending.config.queue_config.min_backoff),
            attempt: 0,
        }
    }

    /// Waits before the next try; false where the queue ends meanwhile.
    async fn wait(&mut self, reason: &str, after: Option<Duration>) -> bool {
        let sending = self.sending;
        let pause = after.unwrap_or(self.pause);
        // More shards would make it worse.
        let until_ms = sending.elapsed_ms() + 2 * pause.as_millis() as i64;
        sending
            .traffic
            .troubled_until_ms
            .fetch_max(until_ms, Ordering::Relaxed);
        tracing::warn!(
            remote_name = sending.config.name,
            attempt = self.attempt,
            pause_ms = pause.as_millis() as u64,
            reason,
            "Samples could not be sent by remote write; they are sent again"
        );
        tokio::select! {
            biased;
            () = sending.stop.cancelled() => return false,
            () = tokio::time::sleep(pause) => {}
        }
        self.pause = (pause * 2).min(span(sending.config.queue_config.max_backoff));
        self.attempt = self.attempt.saturating_add(1);
        true
    }
}

/// A batch and its bytes.
struct Message<'m> {
    sending: &'m Sending,
    encoder: &'m mut Encoder,
    items: &'m mut Vec<Item>,
    counts: Counts,
    oldest_ms: i64,
    body: Bytes,
}

impl Message<'_> {
    /// Makes the bytes; returns how many series tell their metadata.
    fn encode(&mut self) -> Result<u64, EncodeError> {
        let encoded = self.encoder.encode(self.items)?;
        self.body = encoded.body;
        Ok(encoded.metadata)
    }

    /// Makes the bytes anew without what has grown too old.
    fn leave_out_old(&mut self) -> Result<(), EncodeError> {
        let limit_ms = self.sending.oldest_ms();
        if self.oldest_ms >= limit_ms {
            return Ok(());
        }
        let mut old = Counts::default();
        let fresh = |item: &Item| item.timestamp_ms >= limit_ms;
        self.items
            .iter()
            .filter(|item| !fresh(item))
            .for_each(|item| old.add(item));
        self.sending.metrics.drop(old, Dropped::TooOld);
        // Items stay where they are counted from; only the message leaves them out.
        let whole = std::mem::take(self.items);
        let (kept, dropped): (Vec<Item>, Vec<Item>) = whole.into_iter().partition(fresh);
        *self.items = kept;
        self.oldest_ms = self
            .items
            .iter()
            .map(|item| item.timestamp_ms)
            .min()
            .unwrap_or(i64::MAX);
        let encoded = self.encode();
        self.items.extend(dropped);
        encoded.map(|_| ())
    }
}

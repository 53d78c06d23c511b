//! The loop of one target: when to scrape, and what to do when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exposition::{ContentTypeError, Format, HistogramOptions, ParserOptions, ScrapeProtocol, format_of};
use model::clock::Clock;
use model::storage::Appender;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::absorb::{SampleRules, Scratch, schema_for_factor};
use crate::buffers::Buffers;
use crate::config::ScrapeConfig;
use crate::error::{FetchError, SampleError, ScrapeError};
use crate::failure_log::FailureLog;
use crate::fetch::{Body, Fetch, FetchRules};
use crate::ingest::{ExtraReport, Report, Scrape, TargetMemory};
use crate::labels::{LabelLimits, LabelRules};
use crate::metrics::ScrapeMetrics;
use crate::target::{Health, Target, TargetStatus};

/// What all loops share.
pub(crate) struct Shared {
    pub(crate) appender: Arc<dyn Appender>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: ScrapeMetrics,
    pub(crate) options: crate::Options,
    pub(crate) scratches: Buffers<Scratch>,
    pub(crate) bodies: Buffers<Body>,
    /// The program is ending: stop at once and write nothing more.
    pub(crate) shutdown: CancellationToken,
}

/// What the loops of a pool share.
#[derive(Debug, Default)]
pub(crate) struct PoolState {
    /// More targets than `target_limit` allows: their number. No target of the pool is scraped then.
    pub(crate) over_target_limit: Mutex<Option<usize>>,
    pub(crate) failure_log: Mutex<Option<Arc<FailureLog>>>,
}

/// A loop to be run.
pub(crate) struct ScrapeLoop {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Arc<PoolState>,
    pub(crate) config: Arc<ScrapeConfig>,
    pub(crate) target: Arc<Target>,
    pub(crate) fetch: Arc<dyn Fetch>,
    pub(crate) seed: u64,
    pub(crate) interval: Duration,
    pub(crate) fetch_rules: FetchRules,
}

/// A loop that runs.
#[derive(Debug)]
pub(crate) struct LoopHandle {
    stop: CancellationToken,
    hand_over: Arc<AtomicBool>,
    task: JoinHandle<Option<Box<TargetMemory>>>,
}

impl LoopHandle {
    /// Ends the loop after the scrape that it is at. Its series are marked stale some time later, unless the target is
    /// scraped again by then.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the loop, which was stopped, scrapes no more.
    pub(crate) async fn stopped(self) {
        let _ = self.task.await;
    }

    /// Ends the loop after the scrape that it is at, and takes what it knows of the target.
    async fn take_over(self) -> Option<Box<TargetMemory>> {
        self.hand_over.store(true, Ordering::SeqCst);
        self.stop.cancel();
        self.task.await.ok().flatten()
    }
}

impl ScrapeLoop {
    /// Starts the loop; it begins with what `before` knows of the target, once that has ended.
    pub(crate) fn spawn(self, before: Option<LoopHandle>) -> LoopHandle {
        let stop = CancellationToken::new();
        let hand_over = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(self.live(before, stop.clone(), Arc::clone(&hand_over)));
        LoopHandle {
            stop,
            hand_over,
            task,
        }
    }

    async fn live(
        self,
        before: Option<LoopHandle>,
        stop: CancellationToken,
        hand_over: Arc<AtomicBool>,
    ) -> Option<Box<TargetMemory>> {
        let mut memory = match before {
            Some(before) => before.take_over().await.unwrap_or_default(),
            None => Box::default(),
        };
        *self.target.metadata.lock() = Some(Arc::clone(&memory.metadata));
        let last = self.scrape_until(&mut memory, &stop).await;
        if self.shared.shutdown.is_cancelled() {
            return None;
        }
        if hand_over.load(Ordering::SeqCst) {
            return Some(memory);
        }
        if let Some(last) = last {
            tokio::spawn(async move { self.end(memory, last).await });
        }
        None
    }

    /// Scrapes until told to stop; gives the time of the last scrape.
    async fn scrape_until(&self, memory: &mut TargetMemory, stop: &CancellationToken) -> Option<Instant> {
        let shared = &self.shared;
        let offset = self
            .target
            .offset(shared.clock.now_ms(), self.interval, self.seed);
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return None,
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(offset) => {}
        }
        let mut ticker = tokio::time::interval_at(Instant::now() + self.interval, self.interval);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut cycle = Cycle::new(
            shared.clock.now_ms(),
            self.interval,
            shared.options.timestamp_tolerance,
        );
        let mut last = None;
        loop {
            let timestamp_ms = cycle.align(shared.clock.now_ms());
            let started = Instant::now();
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return last,
                () = self.scrape(memory, timestamp_ms, started, last) => {}
            }
            last = Some(started);
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return last,
                () = stop.cancelled() => return last,
                _ = ticker.tick() => {}
            }
        }
    }

    /// One scrape, from the request to storage.
    async fn scrape(
        &self,
        memory: &mut TargetMemory,
        timestamp_ms: i64,
        started: Instant,
        last: Option<Instant>,
    ) {
        let metrics = &self.shared.metrics;
        if let Some(last) = last {
            let length = (started - last).as_secs_f64();
            let interval = model::duration::format_duration(self.interval.as_millis() as i64);
            metrics.interval_length.with(&[&interval]).observe(length);
            metrics
                .interval_length_histogram
                .with(&[&interval])
                .observe(length);
        }
        let mut body = self.shared.bodies.take();
        let fetched = self.fetch_body(&mut body).await;
        let body_bytes = match &fetched {
            Ok(_) => body.bytes.len() as i64,
            Err(ScrapeError::Fetch(FetchError::BodySize)) => -1,
            Err(_) => 0,
        };
        let mut scratch = self.shared.scratches.take();
        let report = memory.ingest(
            &*self.shared.appender,
            &self.sample_rules(),
            Scrape {
                timestamp_ms,
                body: fetched.map(|format| (format, body.bytes.as_slice())),
                elapsed_s: &|| started.elapsed().as_secs_f64(),
                extra: self.config.extra_scrape_metrics.then(|| ExtraReport {
                    timeout_s: self.fetch_rules.timeout.as_secs_f64(),
                    sample_limit: self.config.sample_limit,
                    body_bytes,
                }),
            },
            &mut scratch,
        );
        self.shared.scratches.give(scratch);
        self.shared.bodies.give(body);
        if self.config.extra_scrape_metrics {
            metrics.scrape_duration.observe(started.elapsed().as_secs_f64());
        }
        self.tell(&report, timestamp_ms);
    }

    /// Fetches the body and finds out what it is in. An empty one may be in anything.
    async fn fetch_body(&self, body: &mut Body) -> Result<Format, ScrapeError> {
        if let Some(targets) = *self.pool.over_target_limit.lock() {
            return Err(ScrapeError::TargetLimit {
                targets,
                limit: self.config.target_limit,
            });
        }
        let fetched = self
            .fetch
            .fetch(&self.fetch_rules, body)
            .await
            .map_err(ScrapeError::from);
        if let Err(error) = &fetched {
            if let Some(log) = &*self.pool.failure_log.lock() {
                log.write(
                    self.shared.clock.now_ms(),
                    &error.to_string(),
                    &self.config.job_name,
                    &self.target.url,
                );
            }
            tracing::debug!(target_url = %self.target.url, %error, "Scrape failed");
        }
        fetched?;
        if body.bytes.is_empty() {
            return Ok(Format::Text);
        }
        match format_of(&body.content_type, self.config.fallback_scrape_protocol) {
            (Some(format), None) => Ok(format),
            (Some(format), Some(odd)) => {
                tracing::debug!(target_url = %self.target.url, error = %odd, "Invalid content type on scrape, using fallback setting.");
                Ok(format)
            }
            (None, error) => {
                let fallback = self
                    .config
                    .fallback_scrape_protocol
                    .map_or("", ScrapeProtocol::as_str);
                let error = ScrapeError::from(error.unwrap_or(ContentTypeError::Blank(None)));
                tracing::error!(target_url = %self.target.url, fallback, %error, "Failed to determine correct type of scrape target.");
                Err(error)
            }
        }
    }

    fn sample_rules(&self) -> SampleRules<'_> {
        let config = &*self.config;
        let (native, keep_classic, convert_classic) = self.target.histogram_switches(config);
        SampleRules {
            labels: LabelRules {
                target: &self.target.public,
                honor_labels: config.honor_labels,
                relabel: &config.metric_relabel_configs,
                scheme: config.metric_name_validation_scheme,
                limits: LabelLimits {
                    labels_max: config.label_limit,
                    name_bytes_max: config.label_name_length_limit,
                    value_bytes_max: config.label_value_length_limit,
                },
            },
            honor_timestamps: config.honor_timestamps,
            track_timestamps_staleness: config.track_timestamps_staleness,
            sample_limit: config.sample_limit,
            bucket_limit: config.native_histogram_bucket_limit,
            schema_max: schema_for_factor(config.native_histogram_min_bucket_factor),
            parser: ParserOptions {
                start_timestamps: self.shared.options.start_timestamps,
                histograms: HistogramOptions {
                    ignore_native: !native,
                    keep_classic,
                    convert_classic,
                },
            },
            append_metadata: self.shared.options.append_metadata,
        }
    }

    /// Tells status, metrics and log about a scrape.
    fn tell(&self, report: &Report, timestamp_ms: i64) {
        *self.target.status.lock() = TargetStatus {
            health: if report.error.is_none() {
                Health::Up
            } else {
                Health::Down
            },
            last_error: report
                .error
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
            last_scrape_ms: Some(timestamp_ms),
            last_duration_s: report.duration_s,
        };
        self.count(report);
        let url = &self.target.url;
        let refused = &report.refused;
        let out_of_bounds = refused.out_of_bounds + report.counts.out_of_bounds;
        let duplicates = refused.duplicates + report.counts.duplicates;
        if let Some(error) = &report.storage_error {
            tracing::error!(target_url = %url, %error, "Scrape commit failed");
        }
        if report.series_refused > 0 {
            tracing::warn!(target_url = %url, num_dropped = report.series_refused, "Series were not created: storage is at its limit");
        }
        if refused.out_of_order > 0 {
            tracing::warn!(target_url = %url, num_dropped = refused.out_of_order, "Error on ingesting out-of-order samples");
        }
        if duplicates > 0 {
            tracing::warn!(target_url = %url, num_dropped = duplicates, "Error on ingesting samples with different value but same timestamp");
        }
        if out_of_bounds > 0 {
            tracing::warn!(target_url = %url, num_dropped = out_of_bounds, "Error on ingesting samples that are too old or are too far into the future");
        }
        if refused.exemplars_out_of_order > 0 {
            tracing::warn!(target_url = %url, num_dropped = refused.exemplars_out_of_order, "Error on ingesting out-of-order exemplars");
        }
    }

    fn count(&self, report: &Report) {
        let metrics = &self.shared.metrics;
        match &report.error {
            Some(ScrapeError::Fetch(FetchError::BodySize)) => metrics.exceeded_body_size_limit.inc(),
            Some(ScrapeError::Sample(SampleError::SampleLimit)) => metrics.exceeded_sample_limit.inc(),
            Some(ScrapeError::Sample(SampleError::BucketLimit)) => metrics.exceeded_bucket_limit.inc(),
            Some(ScrapeError::Sample(error)) if error.is_label_limit() => metrics.exceeded_label_limits.inc(),
            _ => {}
        }
        let refused = &report.refused;
        metrics.sample_out_of_order.add_count(refused.out_of_order);
        metrics
            .sample_duplicate
            .add_count(refused.duplicates + report.counts.duplicates);
        metrics
            .sample_out_of_bounds
            .add_count(refused.out_of_bounds + report.counts.out_of_bounds);
        metrics
            .exemplar_out_of_order
            .add_count(refused.exemplars_out_of_order);
    }

    /// Marks the target's series stale, late enough for another loop to have taken over: its samples are then newer
    /// than the markers, which storage refuses.
    async fn end(self, mut memory: Box<TargetMemory>, last: Instant) {
        let next = last + self.interval;
        let wait = async {
            tokio::time::sleep_until(next).await;
            let timestamp_ms = self.shared.clock.now_ms();
            tokio::time::sleep_until(Instant::now().max(next) + self.interval).await;
            tokio::time::sleep(self.interval / 10).await;
            timestamp_ms
        };
        let timestamp_ms = tokio::select! {
            biased;
            () = self.shared.shutdown.cancelled() => return,
            timestamp_ms = wait => timestamp_ms,
        };
        let mut scratch = self.shared.scratches.take();
        let (appender, target) = (&*self.shared.appender, &self.target.public);
        let extra = self.config.extra_scrape_metrics;
        if let Err(error) = memory.end(appender, target, timestamp_ms, extra, &mut scratch) {
            tracing::warn!(target_url = %self.target.url, %error, "Stale commit failed");
        }
        self.shared.scratches.give(scratch);
    }
}

/// The even steps that timestamps near them are moved onto, because even steps compress better.
struct Cycle {
    next_ms: i64,
    interval_ms: i64,
    tolerance_ms: i64,
}

impl Cycle {
    fn new(start_ms: i64, interval: Duration, tolerance: Duration) -> Self {
        let interval_ms = (interval.as_millis() as i64).max(1);
        Cycle {
            next_ms: start_ms,
            interval_ms,
            tolerance_ms: (tolerance.as_millis() as i64).min(interval_ms / 100),
        }
    }

    /// `now_ms`, or the step just before it if that is within the tolerance.
    fn align(&mut self, now_ms: i64) -> i64 {
        let late_ms = now_ms.saturating_sub(self.next_ms);
        if late_ms >= self.interval_ms {
            self.next_ms += late_ms / self.interval_ms * self.interval_ms;
        }
        if now_ms.saturating_sub(self.next_ms) <= self.tolerance_ms {
            self.next_ms
        } else {
            now_ms
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_near_the_cycle_are_moved_onto_it() {
        let mut cycle = Cycle::new(1_000, Duration::from_secs(1), Duration::from_millis(2));
        assert_eq!(cycle.align(1_000), 1_000);
        assert_eq!(cycle.align(2_002), 2_000);
        assert_eq!(cycle.align(3_003), 3_003);
        assert_eq!(cycle.align(7_001), 7_000);
        // A clock that was set back is not followed for long, but not denied either.
        assert_eq!(cycle.align(6_500), 7_000);
    }
}

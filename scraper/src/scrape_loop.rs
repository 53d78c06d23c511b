//! The loop of one target: when to scrape, and what to do when it ends.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exposition::{ContentTypeError, Format, HistogramOptions, ParserOptions, ScrapeProtocol, format_of};
use model::clock::Clock;
use model::storage::Appender;
use parking_lot::Mutex;
use supervise::{Ended, Supervisor};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::body::{DROPPED_METRICS_MAX, OTHER_METRICS, SampleRules, Scratch, schema_for_factor};
use crate::buffers::Buffers;
use crate::config::ScrapeConfig;
use crate::error::{SampleError, ScrapeError};
use crate::failure_log::FailureLog;
use crate::fetch::{Body, Fetch, FetchRules};
use crate::ingest::{ExtraReport, Report, Scrape, TargetMemory};
use crate::labels::{LabelLimits, LabelRules};
use crate::metrics::ScrapeMetrics;
use crate::network::Network;
use crate::target::{Health, Target, TargetStatus};
use crate::workers::{Pending, Workers};

/// Names of what is done here, as panics are counted.
const LOOP: &str = "scrape_loop";
const SCRAPE: &str = "scrape";
const END: &str = "end_of_target";

/// Metrics that a target's warning names.
const WARNING_METRICS_MAX: usize = 5;

/// What all loops share.
pub(crate) struct Shared {
    pub(crate) appender: Arc<dyn Appender>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: ScrapeMetrics,
    pub(crate) options: crate::Options,
    pub(crate) scratches: Buffers<Scratch>,
    pub(crate) bodies: Buffers<Body>,
    pub(crate) workers: Workers,
    pub(crate) network: Network,
    pub(crate) supervisor: Supervisor,
    /// The program is ending: stop at once and write nothing more.
    pub(crate) shutdown: CancellationToken,
}

/// What the loops of a pool share.
#[derive(Debug, Default)]
pub(crate) struct PoolState {
    /// More targets than `target_limit` allows: their number. No target of the pool is scraped then.
    pub(crate) over_target_limit: Mutex<Option<usize>>,
    pub(crate) failure_log: Mutex<Option<Arc<FailureLog>>>,
    /// Metrics that dropped series are counted under.
    dropped_metrics: Mutex<HashSet<String>>,
}

impl PoolState {
    /// Under what name the dropped series of `metric` are counted: bodies bring any number of names.
    fn dropped_name<'m>(&self, metric: &'m str) -> &'m str {
        let mut known = self.dropped_metrics.lock();
        if known.contains(metric) {
            metric
        } else if known.len() < DROPPED_METRICS_MAX {
            known.insert(metric.to_owned());
            metric
        } else {
            OTHER_METRICS
        }
    }
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

/// A loop that runs; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct LoopHandle {
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    hand_over: Arc<AtomicBool>,
    task: JoinHandle<Option<Progress>>,
}

/// What a loop knows of its target, and when it scraped it last.
type Progress = (Box<TargetMemory>, Option<Instant>);

/// A scrape on its way from the network to storage.
struct Fetched {
    /// Why there is no body.
    failure: Option<ScrapeError>,
    body: Body,
    timestamp_ms: i64,
    started: Instant,
    /// Until when the body has to be inflated.
    deadline: std::time::Instant,
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
    async fn take_over(self) -> Option<Progress> {
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
        let shared = Arc::clone(&self.shared);
        let live = Arc::new(self).live(before, stop.clone(), Arc::clone(&hand_over));
        LoopHandle {
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            hand_over,
            task: shared.network.spawn(live),
        }
    }

    async fn live(
        self: Arc<Self>,
        before: Option<LoopHandle>,
        stop: CancellationToken,
        hand_over: Arc<AtomicBool>,
    ) -> Option<Progress> {
        let (mut memory, before) = match before {
            Some(before) => before.take_over().await.unwrap_or_default(),
            None => Progress::default(),
        };
        let (memory, last) = loop {
            *self.target.metadata.lock() = Some(Arc::clone(&memory.metadata));
            match self
                .shared
                .supervisor
                .round(LOOP, self.scrape_until(memory, before, &stop))
                .await
            {
                Ok(progress) => break progress,
                // A scrape catches its own panics, so that this one comes from the loop itself. It begins anew at the
                // target's next turn.
                Err(panicked) => self.tell_of_panic(panicked.into()),
            }
            memory = Box::default();
        };
        if self.shared.shutdown.is_cancelled() {
            return None;
        }
        if hand_over.load(Ordering::SeqCst) {
            return Some((memory, last));
        }
        if let Some(last) = last {
            tokio::spawn(async move {
                let supervisor = self.shared.supervisor.clone();
                // Nobody waits for it: a panic has been told.
                let _ = supervisor.round(END, self.end(memory, last)).await;
            });
        }
        None
    }

    /// Scrapes until told to stop. What the loop `before` this one has scraped last counts until the first scrape: a target
    /// may be gone by then, and its series are to be ended all the same.
    async fn scrape_until(
        self: &Arc<Self>,
        mut memory: Box<TargetMemory>,
        before: Option<Instant>,
        stop: &CancellationToken,
    ) -> Progress {
        let shared = &self.shared;
        let offset = self
            .target
            .offset(shared.clock.now_ms(), self.interval, self.seed);
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return (memory, before),
            () = stop.cancelled() => return (memory, before),
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
        let mut lengths = IntervalLengths::new(self.interval);
        loop {
            let timestamp_ms = cycle.align(shared.clock.now_ms());
            let started = Instant::now();
            if let Some(last) = last {
                lengths.note(&shared.metrics, started - last);
            }
            // Only the network is waited for no longer at shutdown: what has begun to be stored is stored, so that
            // nothing is written once storage closes.
            let fetched = tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return (memory, last.or(before)),
                fetched = self.fetch(timestamp_ms, started) => fetched,
            };
            let stored = self.hand_over_to_store(memory, fetched);
            last = Some(started);
            let goes_on = tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => false,
                () = stop.cancelled() => false,
                _ = ticker.tick() => true,
            };
            // Asked for only now, by when it has long been there: waking this loop for it would cost as much as a tenth
            // of a scrape.
            memory = self.memory_of(stored).await;
            if !goes_on {
                return (memory, last);
            }
        }
    }

    /// Asks the target.
    async fn fetch(&self, timestamp_ms: i64, started: Instant) -> Fetched {
        let deadline = std::time::Instant::now() + self.fetch_rules.timeout;
        let shared = &self.shared;
        let mut body = shared.bodies.take();
        let over_target_limit = *self.pool.over_target_limit.lock();
        let failure = match over_target_limit {
            Some(targets) => Some(ScrapeError::TargetLimit {
                targets,
                limit: self.config.target_limit,
            }),
            None => match shared
                .supervisor
                .round(SCRAPE, self.fetch.fetch(&self.fetch_rules, &mut body))
                .await
            {
                Ok(fetched) => fetched.err().map(ScrapeError::from),
                Err(panicked) => Some(panicked.into()),
            },
        };
        Fetched {
            failure,
            body,
            timestamp_ms,
            started,
            deadline,
        }
    }

    fn hand_over_to_store(
        self: &Arc<Self>,
        memory: Box<TargetMemory>,
        fetched: Fetched,
    ) -> Pending<Box<TargetMemory>> {
        let this = Arc::clone(self);
        self.shared
            .workers
            .begin(SCRAPE, move || this.store(memory, fetched))
    }

    /// What is known of the target after a scrape, once that is stored.
    async fn memory_of(&self, stored: Pending<Box<TargetMemory>>) -> Box<TargetMemory> {
        stored.result().await.unwrap_or_else(|ended| {
            self.tell_of_panic(ended);
            self.fresh_memory()
        })
    }

    /// From the body to storage; everything of a scrape that takes a processor or a disk. A panic costs this scrape.
    fn store(&self, mut memory: Box<TargetMemory>, fetched: Fetched) -> Box<TargetMemory> {
        let Fetched {
            failure,
            mut body,
            timestamp_ms,
            started,
            deadline,
        } = fetched;
        let shared = &*self.shared;
        let supervisor = &shared.supervisor;
        let format = match failure {
            None => supervisor
                .catch(SCRAPE, || self.format(&mut body, deadline))
                .unwrap_or_else(|panicked| Err(panicked.into())),
            Some(failure) => Err(failure),
        };
        if let Err(error) = &format {
            self.log_failure(error);
        }
        let extra = self.config.extra_scrape_metrics.then(|| ExtraReport {
            timeout_s: self.fetch_rules.timeout.as_secs_f64(),
            sample_limit: self.config.sample_limit,
            body_bytes: match &format {
                Ok(_) => body.bytes.len() as i64,
                Err(error) if error.is_body_limit() => -1,
                Err(_) => 0,
            },
        });
        let elapsed_s = || started.elapsed().as_secs_f64();
        let scrape = |body| Scrape {
            timestamp_ms,
            body,
            elapsed_s: &elapsed_s,
            extra,
        };
        let mut scratch = shared.scratches.take();
        let (appender, rules) = (&*shared.appender, self.sample_rules());
        let bytes = body.bytes.as_slice();
        let ingested = supervisor.catch(SCRAPE, || {
            let body = format.map(|format| (format, bytes));
            memory.ingest(appender, &rules, scrape(body), &mut scratch)
        });
        let report = ingested.unwrap_or_else(|panicked| {
            // What was half done is forgotten. The series that there were are marked stale, as after any failed scrape.
            scratch = Scratch::default();
            memory.restart();
            let failed = ScrapeError::Panicked(panicked.clone());
            let again = supervisor.catch(SCRAPE, || {
                memory.ingest(appender, &rules, scrape(Err(failed)), &mut scratch)
            });
            again.unwrap_or_else(|_| {
                scratch = Scratch::default();
                memory = self.fresh_memory();
                Report::of_failure(panicked.into(), started.elapsed().as_secs_f64())
            })
        });
        shared.scratches.give(scratch);
        shared.bodies.give(body);
        if self.config.extra_scrape_metrics {
            shared
                .metrics
                .scrape_duration
                .observe(started.elapsed().as_secs_f64());
        }
        self.tell(&report, timestamp_ms);
        memory
    }

    fn fresh_memory(&self) -> Box<TargetMemory> {
        let memory = Box::<TargetMemory>::default();
        *self.target.metadata.lock() = Some(Arc::clone(&memory.metadata));
        memory
    }

    /// Inflates the body and finds out what it is in. An empty one may be in anything.
    fn format(&self, body: &mut Body, deadline: std::time::Instant) -> Result<Format, ScrapeError> {
        body.inflate(&self.fetch_rules, deadline)?;
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

    /// Logs that there is no body.
    fn log_failure(&self, error: &ScrapeError) {
        let ScrapeError::Fetch(error) = error else { return };
        let log = self.pool.failure_log.lock().clone();
        if let Some(log) = log {
            log.write(
                self.shared.clock.now_ms(),
                &error.to_string(),
                &self.config.job_name,
                &self.target.url,
            );
        }
        tracing::debug!(target_url = %self.target.url, %error, "Scrape failed");
    }

    /// Tells status, metrics and log of a panic that nothing was stored about.
    fn tell_of_panic(&self, ended: Ended) {
        let Ended::Panicked(panicked) = ended else { return };
        self.tell(
            &Report::of_failure(panicked.into(), 0.0),
            self.shared.clock.now_ms(),
        );
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
            sample_limit_action: config.sample_limit_action,
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
            last_warning: self.dropped_warning(&report.dropped),
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

    /// What the target's page says of series that a soft `sample_limit` has dropped; empty where there are none.
    fn dropped_warning(&self, dropped: &[(String, u64)]) -> String {
        if dropped.is_empty() {
            return String::new();
        }
        let total: u64 = dropped.iter().map(|(_, series)| series).sum();
        let mut most: Vec<&(String, u64)> = dropped.iter().collect();
        most.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        let named: Vec<String> = most
            .iter()
            .take(WARNING_METRICS_MAX)
            .map(|(metric, series)| format!("{metric} {series}"))
            .collect();
        let more = if most.len() > named.len() { ", …" } else { "" };
        format!(
            "sample_limit of {} reached: {total} new series dropped ({}{more})",
            self.config.sample_limit,
            named.join(", ")
        )
    }

    fn count(&self, report: &Report) {
        let metrics = &self.shared.metrics.refusals;
        match &report.error {
            Some(error) if error.is_body_limit() => metrics.exceeded_body_size_limit.inc(),
            Some(ScrapeError::Sample(SampleError::SampleLimit)) => metrics.exceeded_sample_limit.inc(),
            Some(ScrapeError::Sample(SampleError::BucketLimit)) => metrics.exceeded_bucket_limit.inc(),
            Some(ScrapeError::Sample(error)) if error.is_label_limit() => metrics.exceeded_label_limits.inc(),
            _ => {}
        }
        for (metric, series) in &report.dropped {
            let name = self.pool.dropped_name(metric);
            metrics
                .series_dropped
                .with(&[&self.config.job_name, name])
                .add_count(*series);
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
    async fn end(self: Arc<Self>, mut memory: Box<TargetMemory>, last: Instant) {
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
        let this = Arc::clone(&self);
        let ended = self.shared.workers.begin(END, move || {
            let mut scratch = this.shared.scratches.take();
            let (appender, target) = (&*this.shared.appender, &this.target.public);
            let extra = this.config.extra_scrape_metrics;
            let ended = memory.end(appender, target, timestamp_ms, extra, &mut scratch);
            this.shared.scratches.give(scratch);
            ended
        });
        match ended.result().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(target_url = %self.target.url, %error, "Stale commit failed");
            }
            // The panic has been told.
            Err(_) => {}
        }
    }
}

/// The metrics of the time from scrape to scrape; looked up at the first, so that there are none before.
struct IntervalLengths {
    interval: Duration,
    cells: Option<(metrics::Summary, metrics::Histogram)>,
}

impl IntervalLengths {
    fn new(interval: Duration) -> Self {
        IntervalLengths {
            interval,
            cells: None,
        }
    }

    fn note(&mut self, metrics: &ScrapeMetrics, length: Duration) {
        let (summary, histogram) = self.cells.get_or_insert_with(|| {
            let interval = model::duration::format_duration(self.interval.as_millis() as i64);
            (
                metrics.interval_length.with(&[&interval]),
                metrics.interval_length_histogram.with(&[&interval]),
            )
        });
        summary.observe(length.as_secs_f64());
        histogram.observe(length.as_secs_f64());
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

    /// `now_ms`, or the step just before it if that is within the tolerance. Where the clock was set back, the steps
    /// begin anew.
    fn align(&mut self, now_ms: i64) -> i64 {
        let late_ms = now_ms.saturating_sub(self.next_ms);
        if late_ms < -self.tolerance_ms {
            self.next_ms = now_ms;
            return now_ms;
        }
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
        // A hair early, as after the last timestamp was moved back.
        assert_eq!(cycle.align(6_999), 7_000);
        // A clock that was set back is followed at once, and steps begin there.
        assert_eq!(cycle.align(6_500), 6_500);
        assert_eq!(cycle.align(7_501), 7_500);
    }
}

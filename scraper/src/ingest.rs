//! One scrape of one target, from its body to storage: a single transaction, whatever happens.

use exposition::Format;
use model::histogram::{Buckets, CounterResetHint, Histogram};
use model::labels::Labels;
use model::sample::stale_nan;
use model::storage::{
    AppendBatch, AppendError, Appender, BatchList, FloatSample, HistogramSample, Refusal, SeriesRef,
    StorageError, append_resolved,
};
use std::collections::HashMap;
use std::sync::Arc;

use crate::body::{BodyReader, Counts, SampleRules, Scratch};
use crate::error::ScrapeError;
use crate::labels::report_labels;
use crate::metadata::MetadataStore;
use crate::table::Table;

/// Series that describe scrapes: always five, and three more where they are asked for.
const REPORT_NAMES: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];
const REPORT_ALWAYS: usize = 5;

/// What is remembered of a target from scrape to scrape.
#[derive(Debug, Default)]
pub(crate) struct TargetMemory {
    table: Table,
    /// References of the series called [`REPORT_NAMES`].
    report: [Option<SeriesRef>; REPORT_NAMES.len()],
    pub(crate) metadata: Arc<MetadataStore>,
}

/// A scrape that has been fetched, or could not be.
pub(crate) struct Scrape<'s> {
    /// Timestamp of the scrape.
    pub(crate) timestamp_ms: i64,
    /// Format and body, or why there is none. An empty body says that the target has nothing now.
    pub(crate) body: Result<(Format, &'s [u8]), ScrapeError>,
    /// Seconds since the scrape began.
    pub(crate) elapsed_s: &'s dyn Fn() -> f64,
    /// For `scrape_timeout_seconds` and the like; nothing where they are not asked for.
    pub(crate) extra: Option<ExtraReport>,
}

/// What the additional report series tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtraReport {
    pub(crate) timeout_s: f64,
    pub(crate) sample_limit: u64,
    /// -1 where the body was too large, 0 where there was none.
    pub(crate) body_bytes: i64,
}

/// What came of a scrape.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) counts: Counts,
    pub(crate) refused: Refused,
    /// Why the scrape failed, if it did.
    pub(crate) error: Option<ScrapeError>,
    /// Why nothing was stored, if so.
    pub(crate) storage_error: Option<StorageError>,
    /// Series that storage would not create.
    pub(crate) series_refused: u64,
    /// New series that a soft `sample_limit` has dropped, by metric.
    pub(crate) dropped: Vec<(String, u64)>,
    pub(crate) duration_s: f64,
}

impl Report {
    /// Of a scrape that stored nothing.
    pub(crate) fn of_failure(error: ScrapeError, duration_s: f64) -> Self {
        Report {
            counts: Counts::default(),
            refused: Refused::default(),
            error: Some(error),
            storage_error: None,
            series_refused: 0,
            dropped: Vec::new(),
            duration_s,
        }
    }
}

/// Samples that storage refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) out_of_order: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_bounds: u64,
    pub(crate) exemplars_out_of_order: u64,
}

fn storage_error(failure: AppendError) -> StorageError {
    match failure {
        AppendError::Storage(error) => error,
        unknown => StorageError::Other(unknown.to_string()),
    }
}

impl TargetMemory {
    /// Forgets everything but which series the next scrape has to mark stale where it does not have them: after a panic,
    /// when what was half done must not be gone on with.
    pub(crate) fn restart(&mut self) {
        self.table.restart();
        self.report = Default::default();
        self.metadata.clear();
    }

    /// Stores a scrape: its samples, staleness markers for what it no longer has, and the report about it. A failed
    /// scrape is one without samples.
    pub(crate) fn ingest(
        &mut self,
        appender: &dyn Appender,
        rules: &SampleRules<'_>,
        scrape: Scrape<'_>,
        scratch: &mut Scratch,
    ) -> Report {
        let Scrape {
            timestamp_ms,
            body,
            elapsed_s,
            extra,
        } = scrape;
        let (body, mut error) = match body {
            Ok(body) => (Some(body), None),
            Err(error) => (None, Some(error)),
        };
        let mut report = Report {
            counts: Counts::default(),
            refused: Refused::default(),
            error: None,
            storage_error: None,
            series_refused: 0,
            dropped: Vec::new(),
            duration_s: 0.0,
        };
        let appended = append_resolved(
            &mut (&mut *self, &mut *scratch),
            |(memory, scratch)| {
                scratch.clear();
                memory.table.begin();
                report.series_refused = 0;
                let mut flush = false;
                if let (Some((format, body)), None) = (body, &error)
                    && !body.is_empty()
                {
                    report.counts = Counts::default();
                    match memory.read(rules, format, body, timestamp_ms, scratch, &mut report.counts) {
                        Ok(()) => flush = true,
                        Err(failure) => {
                            // Nothing is added by a scrape that is taken back.
                            report.counts.added = 0;
                            memory.table.abandon();
                            memory.table.begin();
                            scratch.clear();
                            error = Some(failure);
                        }
                    }
                }
                report.series_refused = memory.resolve(appender, scratch, &mut report.counts);
                let own = (scratch.batch.floats.len(), scratch.batch.histograms.len());
                memory.mark_stale(timestamp_ms, scratch);
                report.duration_s = elapsed_s();
                let values = report_values(&report, error.is_none(), extra);
                memory.add_report(appender, rules.labels.target, timestamp_ms, &values, scratch);
                appender.append(&scratch.batch, &mut scratch.outcome)?;
                Ok((flush, own))
            },
            |(memory, _), gone| memory.forget(gone),
        );
        match appended {
            Ok((flush, (samples, histograms))) => {
                report.refused = self.take_refusals(samples, histograms, scratch);
                report.storage_error = self.mark_ended(appender, timestamp_ms, scratch);
                self.table.complete(flush);
                report.dropped = std::mem::take(&mut scratch.dropped);
            }
            Err(failure) => {
                self.table.abandon();
                report.storage_error = Some(storage_error(failure));
            }
        }
        report.error = error;
        report
    }

    /// Ends all series of the target: it is no longer scraped. Markers that come too late, because somebody else has
    /// scraped the target since, are refused by storage.
    pub(crate) fn end(
        &mut self,
        appender: &dyn Appender,
        target: &Labels,
        timestamp_ms: i64,
        extra: bool,
        scratch: &mut Scratch,
    ) -> Result<(), StorageError> {
        let values = vec![stale_nan(); if extra { REPORT_NAMES.len() } else { REPORT_ALWAYS }];
        let appended = append_resolved(
            &mut (&mut *self, scratch),
            |(memory, scratch)| {
                scratch.clear();
                memory.table.begin();
                memory.mark_stale(timestamp_ms, scratch);
                memory.add_report(appender, target, timestamp_ms, &values, scratch);
                scratch.batch.discard_out_of_order = true;
                appender.append(&scratch.batch, &mut scratch.outcome)
            },
            |(memory, _), gone| memory.forget(gone),
        );
        match appended {
            Ok(()) => self.table.complete(false),
            // Series that storage goes on forgetting need no end.
            Err(AppendError::UnknownSeries(_)) => {}
            Err(failure) => return Err(storage_error(failure)),
        }
        Ok(())
    }

    fn read(
        &mut self,
        rules: &SampleRules<'_>,
        format: Format,
        body: &[u8],
        timestamp_ms: i64,
        scratch: &mut Scratch,
        counts: &mut Counts,
    ) -> Result<(), ScrapeError> {
        let metadata = Arc::clone(&self.metadata);
        let mut families = metadata.begin();
        BodyReader::new(
            &mut self.table,
            &mut families,
            rules,
            scratch,
            counts,
            timestamp_ms,
        )
        .run(format, body)?;
        families.end();
        Ok(())
    }

    /// Asks storage for the series of new lines and fills their references in; gives how many it would not create.
    fn resolve(&mut self, appender: &dyn Appender, scratch: &mut Scratch, counts: &mut Counts) -> u64 {
        if scratch.unresolved.is_empty() {
            return 0;
        }
        let mut refused = 0;
        for (line, labels) in &scratch.unresolved {
            match appender.resolve(labels) {
                Ok(series) => self.table.resolve(*line, series),
                Err(_) => {
                    refused += 1;
                    counts.added = counts.added.saturating_sub(u64::from(self.table.is_new(*line)));
                }
            }
        }
        let series_of = |line: u32| self.table.line(line).series();
        let (batch, lines) = (&mut scratch.batch, &mut scratch.lines);
        if refused > 0 {
            remove_unresolved(batch, lines, &series_of);
        }
        let fill = |series: &mut SeriesRef, line: &u32| {
            if let Some(resolved) = series_of(*line) {
                *series = resolved;
            }
        };
        batch
            .floats
            .iter_mut()
            .zip(&lines.floats)
            .for_each(|(item, line)| fill(&mut item.series, line));
        batch
            .histograms
            .iter_mut()
            .zip(&lines.histograms)
            .for_each(|(item, line)| fill(&mut item.series, line));
        batch
            .exemplars
            .iter_mut()
            .zip(&lines.exemplars)
            .for_each(|(item, line)| fill(&mut item.0, line));
        batch
            .metadata
            .iter_mut()
            .zip(&lines.metadata)
            .for_each(|(item, line)| fill(&mut item.0, line));
        refused
    }

    /// Adds a marker for each series that is gone.
    fn mark_stale(&self, timestamp_ms: i64, scratch: &mut Scratch) {
        self.table.stale(&mut scratch.stale);
        push_markers(&scratch.stale, timestamp_ms, &mut scratch.batch);
    }

    fn add_report(
        &mut self,
        appender: &dyn Appender,
        target: &Labels,
        timestamp_ms: i64,
        values: &[f64],
        scratch: &mut Scratch,
    ) {
        for ((name, known), value) in REPORT_NAMES.iter().zip(&mut self.report).zip(values) {
            let series = known.or_else(|| appender.resolve(&report_labels(name, target)).ok());
            *known = series;
            if let Some(series) = series {
                scratch.batch.floats.push(FloatSample {
                    series,
                    timestamp_ms,
                    value: *value,
                });
            }
        }
        let batch = &mut scratch.batch;
        if !batch.float_starts_ms.is_empty() {
            batch.float_starts_ms.resize(batch.floats.len(), 0);
        }
        if !batch.histogram_starts_ms.is_empty() {
            batch.histogram_starts_ms.resize(batch.histograms.len(), 0);
        }
    }

    fn forget(&mut self, gone: &[SeriesRef]) {
        self.table.abandon();
        self.table.forget(gone);
        for known in &mut self.report {
            if known.is_some_and(|series| gone.contains(&series)) {
                *known = None;
            }
        }
    }

    /// Marks series stale that [`TargetMemory::take_refusals`] found to have ended.
    fn mark_ended(
        &self,
        appender: &dyn Appender,
        timestamp_ms: i64,
        scratch: &mut Scratch,
    ) -> Option<StorageError> {
        if scratch.stale.is_empty() {
            return None;
        }
        scratch.batch.clear();
        scratch.batch.discard_out_of_order = true;
        push_markers(&scratch.stale, timestamp_ms, &mut scratch.batch);
        match appender.append(&scratch.batch, &mut scratch.outcome) {
            Err(AppendError::Storage(error)) => Some(error),
            // A series that storage has forgotten needs no marker.
            _ => None,
        }
    }

    /// Counts refusals of the first `samples` floats and `histograms` histograms; what follows them is ours, and late
    /// markers and reports are no error. Leaves in `scratch.stale` the series whose last samples were all refused: those
    /// do not count as seen.
    fn take_refusals(&mut self, samples: usize, histograms: usize, scratch: &mut Scratch) -> Refused {
        let mut refused = Refused::default();
        scratch.stale.clear();
        if scratch.outcome.refused.is_empty() {
            return refused;
        }
        let lines = &scratch.lines;
        let mut left = LineCounts::default();
        let mut exemplars_left = LineCounts::default();
        for (list, index, refusal) in &scratch.outcome.refused {
            let index = *index as usize;
            let line = match list {
                BatchList::Floats if index < samples => lines.floats.get(index),
                BatchList::Histograms if index < histograms => lines.histograms.get(index),
                BatchList::Exemplars if *refusal == Refusal::OutOfOrderExemplar => {
                    if let Some(line) = lines.exemplars.get(index) {
                        *exemplars_left.entry(*line).or_default() -= 1;
                    }
                    None
                }
                _ => None,
            };
            let Some(line) = line else { continue };
            *left.entry(*line).or_default() -= 1;
            match refusal {
                Refusal::OutOfOrder => refused.out_of_order += 1,
                Refusal::DuplicateTimestamp => refused.duplicates += 1,
                // Compat: who sends a series twice in one scrape under different texts, as after `labeldrop`, does not
                // hear of it (tests/ingest.rs, texts_of_one_series_are_no_error).
                Refusal::Overtaken | Refusal::Doubled => {}
                _ => refused.out_of_bounds += 1,
            }
        }
        add_counts(&mut left, lines.floats.iter().chain(&lines.histograms));
        for (line, _) in left.iter().filter(|(_, left)| **left == 0) {
            scratch.stale.extend(self.table.untrack(*line));
        }
        if !scratch.stale.is_empty() {
            self.table.retain_ended(&mut scratch.stale);
        }
        // Compat: exemplars of one sample are told of only where all of them are out of order
        // (tests/ingest.rs, exemplars_of_native_histograms).
        let all = exemplars_left.clone();
        add_counts(&mut exemplars_left, lines.exemplars.iter());
        let none_left = all
            .iter()
            .filter(|(line, _)| exemplars_left.get(line) == Some(&0));
        refused.exemplars_out_of_order = none_left.map(|(_, taken)| taken.unsigned_abs()).sum();
        refused
    }
}

/// How many items of a batch come from a line, less those that were refused.
type LineCounts = HashMap<u32, i64, foldhash::fast::RandomState>;

/// Adds the items of the lines that are counted already.
fn add_counts<'l>(counts: &mut LineCounts, lines: impl Iterator<Item = &'l u32>) {
    if counts.is_empty() {
        return;
    }
    for line in lines {
        if let Some(count) = counts.get_mut(line) {
            *count += 1;
        }
    }
}

/// Adds a marker for each series.
fn push_markers(ended: &[(SeriesRef, bool)], timestamp_ms: i64, batch: &mut AppendBatch) {
    for (series, is_histogram) in ended {
        if *is_histogram {
            batch.histograms.push(HistogramSample {
                series: *series,
                timestamp_ms,
                histogram: stale_histogram(),
            });
        } else {
            batch.floats.push(FloatSample {
                series: *series,
                timestamp_ms,
                value: stale_nan(),
            });
        }
    }
}

/// Takes items out of the batch whose series storage would not create.
fn remove_unresolved(
    batch: &mut AppendBatch,
    lines: &mut crate::body::BatchLines,
    series_of: &impl Fn(u32) -> Option<SeriesRef>,
) {
    fn keep<T>(items: &mut Vec<T>, lines: &[u32], wanted: &impl Fn(u32) -> bool) {
        let mut line = lines.iter();
        items.retain(|_| line.next().is_none_or(|line| wanted(*line)));
    }
    let wanted = |line| series_of(line).is_some();
    keep(&mut batch.floats, &lines.floats, &wanted);
    keep(&mut batch.float_starts_ms, &lines.floats, &wanted);
    keep(&mut batch.histograms, &lines.histograms, &wanted);
    keep(&mut batch.histogram_starts_ms, &lines.histograms, &wanted);
    keep(&mut batch.exemplars, &lines.exemplars, &wanted);
    keep(&mut batch.metadata, &lines.metadata, &wanted);
    for lines in [
        &mut lines.floats,
        &mut lines.histograms,
        &mut lines.exemplars,
        &mut lines.metadata,
    ] {
        lines.retain(|line| wanted(*line));
    }
}

fn report_values(report: &Report, up: bool, extra: Option<ExtraReport>) -> Vec<f64> {
    let mut values = vec![
        if up { 1.0 } else { 0.0 },
        report.duration_s,
        report.counts.scraped as f64,
        report.counts.relabelled as f64,
        report.counts.added as f64,
    ];
    if let Some(extra) = extra {
        values.extend([
            extra.timeout_s,
            extra.sample_limit as f64,
            extra.body_bytes as f64,
        ]);
    }
    values
}

fn stale_histogram() -> Histogram {
    Histogram::Float(Arc::new(Buckets {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count: 0.0,
        sum: stale_nan(),
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        positive_buckets: Vec::new(),
        negative_buckets: Vec::new(),
        custom_values: None,
    }))
}

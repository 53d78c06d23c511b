//! Reading a body into a batch: the hot path.

use exposition::{Entry, ExemplarText, Format, HistogramSeries, Parser, ParserOptions, Series, parse_series};
use model::histogram::{EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, Histogram, is_exponential_schema};
use model::labels::{Labels, METRIC_NAME};
use model::sample::{Exemplar, MetricType};
use model::storage::{AHEAD_MAX_MS, AppendBatch, AppendOutcome, FloatSample, HistogramSample, SeriesRef};

use crate::buffers::Buffer;
use crate::config::SampleLimitAction;
use crate::error::{SampleError, ScrapeError};
use crate::labels::LabelRules;
use crate::metadata::Families;
use crate::table::{Table, TextHash};

/// Metrics of a scrape that are named where their series are dropped; all others are counted as one.
pub(crate) const DROPPED_METRICS_MAX: usize = 32;
/// What those others are called.
pub(crate) const OTHER_METRICS: &str = "(other)";
/// Stands in a batch for a series that is resolved once the whole body has been read.
const LATER: SeriesRef = SeriesRef(u64::MAX);

/// What is done to the samples of a target.
#[derive(Clone, Debug)]
pub(crate) struct SampleRules<'c> {
    pub(crate) labels: LabelRules<'c>,
    pub(crate) honor_timestamps: bool,
    pub(crate) track_timestamps_staleness: bool,
    /// Most samples after relabelling; 0 is no limit.
    pub(crate) sample_limit: u64,
    /// What becomes of more.
    pub(crate) sample_limit_action: SampleLimitAction,
    /// Most buckets of a native histogram; 0 is no limit.
    pub(crate) bucket_limit: u64,
    /// Finest exponential schema.
    pub(crate) schema_max: i32,
    pub(crate) parser: ParserOptions,
    /// Hand metadata to storage.
    pub(crate) append_metadata: bool,
}

/// Numbers that a scrape reports about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Samples in the body.
    pub(crate) scraped: u64,
    /// Samples that relabelling left.
    pub(crate) relabelled: u64,
    /// Series that were new.
    pub(crate) added: u64,
    /// Samples of a series that the body had already.
    pub(crate) duplicates: u64,
    /// Samples too far in the future.
    pub(crate) out_of_bounds: u64,
}

/// Buffers of a scrape; reused from scrape to scrape, of whichever target.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) batch: AppendBatch,
    pub(crate) outcome: AppendOutcome,
    /// The table's line of each item of the batch, list by list.
    pub(crate) lines: BatchLines,
    /// Labels of lines whose series storage has to be asked for.
    pub(crate) unresolved: Vec<(u32, Labels)>,
    pub(crate) stale: Vec<(SeriesRef, bool)>,
    /// Metrics whose new series the soft `sample_limit` has dropped, and how many.
    pub(crate) dropped: Vec<(String, u64)>,
    pairs: Vec<(String, String)>,
}

/// The table's line of each item of a batch.
#[derive(Debug, Default)]
pub(crate) struct BatchLines {
    pub(crate) floats: Vec<u32>,
    pub(crate) histograms: Vec<u32>,
    pub(crate) exemplars: Vec<u32>,
    pub(crate) metadata: Vec<u32>,
}

impl Buffer for Scratch {
    fn held_bytes(&self) -> usize {
        fn of<T>(items: &Vec<T>) -> usize {
            items.capacity() * size_of::<T>()
        }
        let (batch, lines) = (&self.batch, &self.lines);
        let samples = of(&batch.floats) + of(&batch.float_starts_ms);
        let histograms = of(&batch.histograms) + of(&batch.histogram_starts_ms);
        let rest = of(&batch.exemplars) + of(&batch.metadata) + of(&self.outcome.refused);
        let lines = of(&lines.floats) + of(&lines.histograms) + of(&lines.exemplars) + of(&lines.metadata);
        let pairs = self
            .pairs
            .iter()
            .map(|(name, value)| name.capacity() + value.capacity());
        samples
            + histograms
            + rest
            + lines
            + of(&self.unresolved)
            + of(&self.stale)
            + of(&self.pairs)
            + pairs.sum::<usize>()
    }
}

impl Scratch {
    pub(crate) fn clear(&mut self) {
        self.batch.clear();
        self.lines.floats.clear();
        self.lines.histograms.clear();
        self.lines.exemplars.clear();
        self.lines.metadata.clear();
        self.unresolved.clear();
        self.dropped.clear();
    }
}

/// A body on its way into a batch.
pub(crate) struct BodyReader<'a> {
    pub(crate) table: &'a mut Table,
    pub(crate) families: &'a mut Families,
    pub(crate) rules: &'a SampleRules<'a>,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) counts: &'a mut Counts,
    /// Timestamp of samples that have none of their own.
    pub(crate) now_ms: i64,
    pub(crate) limits: LimitsHit,
    format: Format,
    kind: MetricType,
}

/// Limits that fail the scrape, but only once everything has been counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LimitsHit {
    samples: u64,
    sample_limit: bool,
    bucket_limit: bool,
    /// How many new series there is room for under a soft limit; found out by the first.
    room: Option<u64>,
}

/// The parts of a sample that are the same for floats and histograms.
#[derive(Clone, Copy)]
struct Place {
    line: u32,
    timestamp_ms: i64,
    tracked: bool,
    /// The series was not known before this scrape.
    new: bool,
}

impl<'a> BodyReader<'a> {
    pub(crate) fn new(
        table: &'a mut Table,
        families: &'a mut Families,
        rules: &'a SampleRules<'a>,
        scratch: &'a mut Scratch,
        counts: &'a mut Counts,
        now_ms: i64,
    ) -> Self {
        BodyReader {
            table,
            families,
            rules,
            scratch,
            counts,
            now_ms,
            limits: LimitsHit::default(),
            format: Format::Text,
            kind: MetricType::Unknown,
        }
    }

    /// Reads the whole body into the batch.
    ///
    /// # Errors
    /// When the scrape fails as a whole; what the batch holds then must not be stored.
    pub(crate) fn run(&mut self, format: Format, body: &[u8]) -> Result<(), ScrapeError> {
        let mut parser = Parser::new(format, body, self.rules.parser);
        self.format = format;
        self.kind = MetricType::Unknown;
        loop {
            if let Some((line, series)) = self.expected(&mut parser)? {
                self.float(line, &series)
                    .map_err(|error| self.in_line(error, body, series.text))?;
                continue;
            }
            let Some(entry) = parser.next()? else { break };
            match entry {
                Entry::Series(series) => {
                    let line = self.locate(series.text);
                    self.float(line, &series)
                        .map_err(|error| self.in_line(error, body, series.text))?;
                }
                Entry::Histogram(series) => {
                    let line = self.locate(series.text);
                    let text = series.text;
                    self.histogram(line, series)
                        .map_err(|error| self.in_line(error, body, text))?;
                }
                Entry::Type { name, kind } => {
                    self.kind = kind;
                    self.families.set_type(name, kind);
                }
                Entry::Help { name, text } => self.families.set_help(name, &text),
                Entry::Unit { name, unit } => self.families.set_unit(name, unit),
                Entry::Comment(_) => {}
            }
        }
        if self.limits.sample_limit {
            return Err(SampleError::SampleLimit.into());
        }
        if self.limits.bucket_limit {
            return Err(SampleError::BucketLimit.into());
        }
        Ok(())
    }

    #[cold]
    fn in_line(&self, error: ScrapeError, body: &[u8], text: &[u8]) -> ScrapeError {
        match self.format {
            Format::Protobuf => error,
            Format::Text | Format::OpenMetrics => error.in_line(body, text),
        }
    }

    /// Reads the next line if it is the one that the last scrape had here, or the one after it.
    #[inline]
    fn expected<'b>(&mut self, parser: &mut Parser<'b>) -> Result<Option<(u32, Series<'b>)>, ScrapeError> {
        for ahead in 0..2 {
            let Some((index, line)) = self.table.expected(ahead) else {
                break;
            };
            let known = |text: &[u8]| Table::matches(line, text);
            if let Some(series) = parser.next_known(line.length as usize, known)? {
                return Ok(Some((index, series)));
            }
        }
        Ok(None)
    }

    /// The line with this text, by the map; a new one where there is none.
    fn locate(&mut self, text: &[u8]) -> u32 {
        let hash = TextHash::of(text);
        self.table
            .find(hash, text.len())
            .unwrap_or_else(|| self.table.insert(hash, text.len()))
    }

    /// What all samples have in common; `None` where there is nothing to store.
    #[inline]
    fn place(
        &mut self,
        line: u32,
        text: &[u8],
        timestamp_ms: Option<i64>,
    ) -> Result<Option<Place>, ScrapeError> {
        self.counts.scraped += 1;
        let touched = self.table.touch(line);
        if self.table.line(line).is_dropped() {
            return Ok(None);
        }
        let is_known = self.table.line(line).series().is_some();
        let refused_before = !is_known && self.table.line(line).is_refused();
        if !is_known && !touched.again && !self.read_labels(line, text)? {
            return Ok(None);
        }
        self.counts.relabelled += 1;
        if !is_known && self.table.line(line).is_refused() {
            return Ok(None);
        }
        let own_timestamp_ms = timestamp_ms.filter(|_| self.rules.honor_timestamps);
        if touched.again && own_timestamp_ms.is_none() {
            self.counts.duplicates += 1;
            return Ok(None);
        }
        Ok(Some(Place {
            line,
            timestamp_ms: own_timestamp_ms.unwrap_or(self.now_ms),
            tracked: own_timestamp_ms.is_none() || self.rules.track_timestamps_staleness,
            new: !touched.again && (refused_before || self.table.is_new(line)),
        }))
    }

    /// Reads the labels of a series that storage has to be asked for; `false` where relabelling drops it.
    #[cold]
    fn read_labels(&mut self, line: u32, text: &[u8]) -> Result<bool, ScrapeError> {
        let pairs = &mut self.scratch.pairs;
        pairs.clear();
        parse_series(self.format, text, self.kind, |name, value| {
            pairs.push((name.to_owned(), value.to_owned()));
        })
        .map_err(SampleError::from)?;
        match self.rules.labels.series_labels(pairs)? {
            Some(labels) if self.has_room() => {
                self.table.admit_line(line);
                self.scratch.unresolved.push((line, labels));
                Ok(true)
            }
            Some(labels) => {
                self.table.refuse_line(line);
                note_dropped(&mut self.scratch.dropped, labels.value(METRIC_NAME));
                Ok(true)
            }
            None => {
                self.table.drop_line(line);
                Ok(false)
            }
        }
    }

    /// Whether a series that the target did not have before may come in under a soft limit, and takes its place.
    fn has_room(&mut self) -> bool {
        if self.rules.sample_limit == 0 || self.rules.sample_limit_action == SampleLimitAction::Fail {
            return true;
        }
        let limit = self.rules.sample_limit;
        let room = self
            .limits
            .room
            .get_or_insert_with(|| limit.saturating_sub(self.table.resolved()));
        let has_room = *room > 0;
        *room = room.saturating_sub(1);
        has_room
    }

    /// Counts a sample against the limits; `false` where it is not to be stored.
    #[inline]
    fn admit(&mut self, place: &Place) -> bool {
        self.limits.samples += 1;
        let hard = self.rules.sample_limit_action == SampleLimitAction::Fail;
        if hard && self.rules.sample_limit > 0 && self.limits.samples > self.rules.sample_limit {
            self.limits.sample_limit = true;
            return false;
        }
        if place.timestamp_ms > self.now_ms.saturating_add(AHEAD_MAX_MS) {
            self.counts.out_of_bounds += 1;
            return false;
        }
        if place.tracked {
            self.table.track(place.line, false);
        }
        if place.new && !self.limits.sample_limit && !self.limits.bucket_limit {
            self.counts.added += 1;
        }
        true
    }

    /// The start timestamp as far as it is wanted.
    #[inline]
    fn start_ms(&self, start_ms: i64) -> i64 {
        if self.rules.parser.start_timestamps {
            start_ms
        } else {
            0
        }
    }

    #[inline]
    fn float(&mut self, line: u32, series: &Series<'_>) -> Result<(), ScrapeError> {
        let Some(place) = self.place(line, series.text, series.timestamp_ms)? else {
            return Ok(());
        };
        if !self.admit(&place) {
            return Ok(());
        }
        let start_ms = self.start_ms(series.start_ms);
        let batch = &mut self.scratch.batch;
        note_start(&mut batch.float_starts_ms, batch.floats.len(), start_ms);
        batch.floats.push(FloatSample {
            series: self.table.line(line).series().unwrap_or(LATER),
            timestamp_ms: place.timestamp_ms,
            value: series.value,
        });
        self.scratch.lines.floats.push(line);
        if let Some(exemplar) = &series.exemplar {
            self.exemplar(&place, exemplar)?;
        }
        if self.rules.append_metadata {
            self.metadata(&place);
        }
        Ok(())
    }

    fn histogram(&mut self, line: u32, series: HistogramSeries<'_>) -> Result<(), ScrapeError> {
        let Some(place) = self.place(line, series.text, series.timestamp_ms)? else {
            return Ok(());
        };
        let mut histogram = series.histogram;
        if !self.fit(&mut histogram)? {
            self.limits.bucket_limit = true;
            return Ok(());
        }
        if !self.admit(&place) {
            return Ok(());
        }
        if place.tracked {
            self.table.track(line, true);
        }
        let start_ms = self.start_ms(series.start_ms);
        let batch = &mut self.scratch.batch;
        note_start(&mut batch.histogram_starts_ms, batch.histograms.len(), start_ms);
        batch.histograms.push(HistogramSample {
            series: self.table.line(line).series().unwrap_or(LATER),
            timestamp_ms: place.timestamp_ms,
            histogram,
        });
        self.scratch.lines.histograms.push(line);
        self.histogram_exemplars(&place, &series.exemplars)?;
        if self.rules.append_metadata {
            self.metadata(&place);
        }
        Ok(())
    }

    /// Checks a histogram and brings it within the limits of resolution and size; `false` where that cannot be.
    fn fit(&self, histogram: &mut Histogram) -> Result<bool, SampleError> {
        let limit = match self.rules.bucket_limit {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        macro_rules! fit {
            ($histogram:expr) => {{
                $histogram.validate()?;
                let exponential = is_exponential_schema($histogram.schema);
                let mut schema = $histogram.schema;
                if exponential && schema > self.rules.schema_max {
                    schema = self.rules.schema_max;
                    if std::sync::Arc::make_mut($histogram)
                        .reduce_resolution(schema)
                        .is_err()
                    {
                        return Ok(false);
                    }
                }
                while $histogram.positive_buckets.len() + $histogram.negative_buckets.len() > limit {
                    schema -= 1;
                    let coarser = exponential && schema >= EXPONENTIAL_SCHEMA_MIN;
                    if !coarser
                        || std::sync::Arc::make_mut($histogram)
                            .reduce_resolution(schema)
                            .is_err()
                    {
                        return Ok(false);
                    }
                }
            }};
        }
        match histogram {
            Histogram::Int(histogram) => fit!(histogram),
            Histogram::Float(histogram) => fit!(histogram),
        }
        Ok(true)
    }

    /// Adds the exemplars of a native histogram in order of time, unless the target has sent the same ones before.
    ///
    /// Compat: those without a time of their own are left out, since new ones could not be told from old ones
    /// (tests/ingest.rs, exemplars_of_native_histograms).
    fn histogram_exemplars(&mut self, place: &Place, texts: &[ExemplarText<'_>]) -> Result<(), ScrapeError> {
        let timed = || texts.iter().filter(|text| text.timestamp_ms.is_some());
        let all = timed().fold(0_u32, |all, text| all.rotate_left(5) ^ fingerprint(text));
        if timed().next().is_none() || !self.table.note_exemplar(place.line, all) {
            return Ok(());
        }
        let mut exemplars = Vec::with_capacity(texts.len());
        for text in timed() {
            exemplars.push(text.parse().map_err(SampleError::from)?);
        }
        exemplars.sort_by(|a, b| {
            let by_time = a.timestamp_ms.cmp(&b.timestamp_ms);
            by_time
                .then_with(|| a.value.total_cmp(&b.value))
                .then_with(|| a.labels.cmp(&b.labels))
        });
        let series = self.table.line(place.line).series().unwrap_or(LATER);
        for exemplar in exemplars {
            self.scratch.batch.exemplars.push((series, exemplar));
            self.scratch.lines.exemplars.push(place.line);
        }
        Ok(())
    }

    /// Adds an exemplar, unless the target has sent the same one before.
    fn exemplar(&mut self, place: &Place, text: &ExemplarText<'_>) -> Result<(), ScrapeError> {
        let fingerprint = fingerprint(text);
        if !self.table.note_exemplar(place.line, fingerprint) {
            return Ok(());
        }
        let read = text.parse().map_err(SampleError::from)?;
        let exemplar = Exemplar {
            timestamp_ms: Some(read.timestamp_ms.unwrap_or(place.timestamp_ms)),
            ..read
        };
        let series = self.table.line(place.line).series().unwrap_or(LATER);
        self.scratch.batch.exemplars.push((series, exemplar));
        self.scratch.lines.exemplars.push(place.line);
        Ok(())
    }

    /// Adds what the body says about the family of a series that is new.
    fn metadata(&mut self, place: &Place) {
        // The name of a known series is not at hand; only new series have their labels read.
        let Some((_, labels)) = self
            .scratch
            .unresolved
            .iter()
            .rev()
            .find(|(line, _)| *line == place.line)
        else {
            return;
        };
        if let Some(metadata) = self.families.of_sample(labels.value(METRIC_NAME)) {
            let series = self.table.line(place.line).series().unwrap_or(LATER);
            self.scratch.batch.metadata.push((series, metadata.clone()));
            self.scratch.lines.metadata.push(place.line);
        }
    }
}

/// Adds the start timestamp of item number `items`; the list stays empty until there is one.
#[inline]
fn note_start(starts_ms: &mut Vec<i64>, items: usize, start_ms: i64) {
    if start_ms != 0 || !starts_ms.is_empty() {
        starts_ms.resize(items, 0);
        starts_ms.push(start_ms);
    }
}

/// Counts a dropped series by its metric: by name as far as there is room for names.
fn note_dropped(dropped: &mut Vec<(String, u64)>, metric: &str) {
    let named = dropped.len() < DROPPED_METRICS_MAX;
    let metric = if named || dropped.iter().any(|(name, _)| name == metric) {
        metric
    } else {
        OTHER_METRICS
    };
    match dropped.iter_mut().find(|(name, _)| name == metric) {
        Some((_, count)) => *count += 1,
        None => dropped.push((metric.to_owned(), 1)),
    }
}

/// Tells exemplars apart.
fn fingerprint(exemplar: &ExemplarText<'_>) -> u32 {
    let time = exemplar.timestamp_ms.unwrap_or(i64::MIN) as u64;
    let seed = exemplar.value.to_bits() ^ time.rotate_left(32);
    xxhash_rust::xxh3::xxh3_64_with_seed(exemplar.text, seed) as u32
}

/// Finest schema whose buckets grow by at least `factor`; the finest of all where no factor is set.
pub(crate) fn schema_for_factor(factor: f64) -> i32 {
    if factor <= 1.0 {
        return EXPONENTIAL_SCHEMA_MAX;
    }
    let schema = (-factor.log2().log2()).floor();
    schema.clamp(
        f64::from(EXPONENTIAL_SCHEMA_MIN),
        f64::from(EXPONENTIAL_SCHEMA_MAX),
    ) as i32
}

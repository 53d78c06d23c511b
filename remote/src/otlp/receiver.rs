//! Takes requests: reads, translates, stores.

use std::sync::Arc;

use metrics::{Counter, Family, Registry};
use model::clock::Clock;
use model::histogram::Histogram;
use model::labels::Labels;
use model::storage::{
    AHEAD_MAX_MS, AppendBatch, AppendError, AppendOutcome, Appender, BatchList, FloatSample, HistogramSample,
    Refusal, SeriesError, SeriesRef, append_resolved,
};
use parking_lot::{Mutex, RwLock};

use super::body::{BodyError, inflated};
use super::config::OtlpConfig;
use super::delta::Streams;
use super::json::{JsonError, to_protobuf};
use super::samples::{Samples, SetId};
use super::translate::{Settings, TranslateErrors, TranslateOptions, Translated, Warnings, translate};
use super::wire::{DecodeError, Request, Temporality};
use crate::inflate::Budget;

/// Memory that bodies take together once they are inflated; JSON counts twice.
const INFLATED_BYTES_MAX: usize = 256 << 20;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/json`
    Json,
}

/// What the command line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtlpOptions {
    /// How metrics are translated.
    pub translate: TranslateOptions,
    /// Metrics with delta temporality are added up.
    pub delta_to_cumulative: bool,
}

/// Why a request was not taken; nothing of it is stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// The body cannot be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body is no request.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The body is no request.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Metrics that cannot be stored.
    #[error("{0}")]
    Translate(TranslateErrors),
    /// Samples that the store does not take any more.
    #[error("{refusal}: {series} at {timestamp_ms}{}", Others(*others))]
    Refused {
        /// Why not.
        refusal: Refusal,
        /// The first of them.
        series: Labels,
        /// Its time.
        timestamp_ms: i64,
        /// How many more there are.
        others: usize,
    },
    /// A series cannot be had.
    #[error("{source}: {series}")]
    Series {
        /// Which.
        series: Labels,
        /// Why not.
        source: SeriesError,
    },
    /// The store refuses writes.
    #[error(transparent)]
    Store(#[from] AppendError),
}

/// What a sender is to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing: the same request is never taken.
    Malformed,
    /// Nothing either. Compat: metrics that cannot be translated get 500 by HTTP, as in the reference.
    Untranslatable,
    /// Nothing: the store is further than that.
    TooLate,
    /// Wait: there is no room for more series.
    Full,
    /// Try again.
    Unavailable,
}

impl OtlpError {
    /// What the sender is to do.
    pub fn verdict(&self) -> Verdict {
        match self {
            OtlpError::Body(BodyError::NoRoom(_)) => Verdict::Unavailable,
            OtlpError::Body(_) | OtlpError::Json(_) | OtlpError::Decode(_) => Verdict::Malformed,
            OtlpError::Translate(errors) => errors.verdict(),
            OtlpError::Refused { .. } => Verdict::TooLate,
            OtlpError::Series { source, .. } => match source {
                SeriesError::LimitReached => Verdict::Full,
                SeriesError::Empty => Verdict::Untranslatable,
                _ => Verdict::Malformed,
            },
            OtlpError::Store(_) => Verdict::Unavailable,
        }
    }

    /// The code that HTTP has for it.
    pub fn status(&self) -> u16 {
        match self.verdict() {
            Verdict::Malformed if matches!(self, OtlpError::Body(BodyError::TooLarge)) => 413,
            Verdict::Malformed | Verdict::TooLate => 400,
            Verdict::Untranslatable => 500,
            Verdict::Full => 429,
            Verdict::Unavailable => 503,
        }
    }
}

/// How many other samples were refused, if there are.
struct Others(usize);

impl std::fmt::Display for Others {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (and one sample more)"),
            others => write!(f, " (and {others} samples more)"),
        }
    }
}

/// Takes requests for a store.
pub struct Receiver {
    appender: Arc<dyn Appender>,
    options: OtlpOptions,
    settings: RwLock<Arc<Settings>>,
    /// Where deltas are added up, if they are.
    streams: Option<Mutex<Streams>>,
    clock: Arc<dyn Clock>,
    inflating: Budget,
    warnings: Family<Counter>,
    without_metadata: Counter,
    exemplars_out_of_order: Counter,
}

impl Receiver {
    /// A receiver with the default configuration.
    pub fn new(
        appender: Arc<dyn Appender>,
        options: OtlpOptions,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Self {
        Receiver {
            appender,
            options,
            settings: RwLock::new(Arc::new(Settings::new(&OtlpConfig::default(), options.translate))),
            streams: options
                .delta_to_cumulative
                .then(|| Mutex::new(Streams::new(clock.clone()))),
            clock,
            inflating: Budget::new(INFLATED_BYTES_MAX),
            warnings: registry.counter_vec(
                "prometheus_api_otlp_translation_warnings_total",
                "Oddities found while OTLP metrics were translated, by category.",
                &["category"],
            ),
            without_metadata: registry.counter(
                "prometheus_api_otlp_appended_samples_without_metadata_total",
                "Samples ingested from OTLP whose type, unit and help are all unknown.",
            ),
            exemplars_out_of_order: registry.counter(
                "prometheus_api_otlp_out_of_order_exemplars_total",
                "Exemplars received by OTLP that were refused because they were out of order.",
            ),
        }
    }

    /// Puts a configuration in force for the requests that come from now on.
    pub fn apply(&self, config: &OtlpConfig) {
        *self.settings.write() = Arc::new(Settings::new(config, self.options.translate));
    }

    /// Takes a request, whole or not at all. `content_encoding` is what the header says, or empty.
    ///
    /// # Errors
    /// When it is not taken.
    pub fn receive(&self, encoding: Encoding, content_encoding: &str, body: &[u8]) -> Result<(), OtlpError> {
        let mut taken = self.inflating.part();
        let body = inflated(body, content_encoding, &mut taken)?;
        match encoding {
            Encoding::Protobuf => self.take(&body),
            Encoding::Json => {
                // Written anew it is rarely longer.
                taken.grow(body.len()).map_err(BodyError::from)?;
                let message = to_protobuf(&body)?;
                drop(body);
                self.take(&message)
            }
        }
    }

    fn take(&self, message: &[u8]) -> Result<(), OtlpError> {
        let request = Request::decode(message)?;
        let settings = Arc::clone(&self.settings.read());
        let translated = self.translate(&request, &settings);
        drop(request);
        self.count(translated.warnings);
        if !translated.errors.shown().is_empty() {
            return Err(OtlpError::Translate(translated.errors));
        }
        self.check_future(&translated.samples)?;
        self.without_metadata
            .add_count(translated.samples.without_metadata);
        self.store(&translated.samples)
    }

    fn translate(&self, request: &Request<'_>, settings: &Settings) -> Translated {
        let has_delta = |metric: &super::wire::Metric<'_>| metric.temporality == Temporality::Delta;
        match &self.streams {
            Some(streams) if request.metrics.iter().any(has_delta) => {
                let mut streams = streams.lock();
                streams.sweep();
                translate(request, settings, Some(&mut streams))
            }
            _ => translate(request, settings, None),
        }
    }

    fn count(&self, warnings: Warnings) {
        let by_category = [
            ("empty_data_points", warnings.empty_data_points),
            ("label_name_collision", warnings.label_name_collisions),
            (
                "histogram_zero_count_non_zero_sum",
                warnings.zero_count_non_zero_sum,
            ),
        ];
        for (category, count) in by_category {
            if count > 0 {
                self.warnings.with(&[category]).add_count(count as u64);
            }
        }
        if warnings != Warnings::default() {
            tracing::debug!(?warnings, "Warnings translating OTLP metrics");
        }
    }

    fn store(&self, samples: &Samples) -> Result<(), OtlpError> {
        if samples.sets().is_empty() {
            return Ok(());
        }
        let mut outcome = AppendOutcome::default();
        let attempt = |outcome: &mut AppendOutcome| match self.resolve(samples) {
            Ok(series) => self.appender.append(&batch(samples, &series), outcome).map(Ok),
            Err(error) => Ok(Err(error)),
        };
        append_resolved(&mut outcome, attempt, |_, _| ())??;
        self.judge(samples, &outcome)
    }

    /// Looks for samples that are further ahead than any clock is wrong.
    fn check_future(&self, samples: &Samples) -> Result<(), OtlpError> {
        let last_ms = self.clock.now_ms().saturating_add(AHEAD_MAX_MS);
        let floats = samples.floats.iter().map(|float| (float.set, float.timestamp_ms));
        let natives = samples
            .natives
            .iter()
            .map(|native| (native.set, native.timestamp_ms));
        let mut ahead = floats
            .chain(natives)
            .filter(|(_, timestamp_ms)| *timestamp_ms > last_ms);
        match ahead.next() {
            None => Ok(()),
            Some((set, timestamp_ms)) => Err(OtlpError::Refused {
                refusal: Refusal::TooFarInFuture,
                series: samples.labels(set),
                timestamp_ms,
                others: ahead.count(),
            }),
        }
    }

    /// References of all label sets: of a series that is known no set is made.
    fn resolve(&self, samples: &Samples) -> Result<Vec<SeriesRef>, OtlpError> {
        let mut found = Vec::new();
        self.appender.find(samples.sets(), &mut found);
        let resolve = |(number, known): (usize, Option<SeriesRef>)| match known {
            Some(series) => Ok(series),
            None => {
                let labels = samples.labels(SetId::of(number));
                let resolved = self.appender.resolve(&labels);
                resolved.map_err(|source| OtlpError::Series {
                    series: labels,
                    source,
                })
            }
        };
        found.into_iter().enumerate().map(resolve).collect()
    }

    /// Tells what the sender is to hear of.
    fn judge(&self, samples: &Samples, outcome: &AppendOutcome) -> Result<(), OtlpError> {
        let mut refused = outcome.refused.iter().filter(|(list, _, refusal)| {
            *list != BatchList::Exemplars && !matches!(refusal, Refusal::Overtaken | Refusal::Doubled)
        });
        let Some((list, index, refusal)) = refused.next() else {
            // Compat: exemplars that are known or not wanted are left out in silence (cases: out-of-order-exemplar).
            let late = outcome.refused.iter().filter(|(list, _, refusal)| {
                *list == BatchList::Exemplars
                    && !matches!(refusal, Refusal::DuplicateExemplar | Refusal::ExemplarsDisabled)
            });
            self.exemplars_out_of_order.add_count(late.count() as u64);
            return Ok(());
        };
        let index = *index as usize;
        let (set, timestamp_ms) = match list {
            BatchList::Histograms => (samples.natives[index].set, samples.natives[index].timestamp_ms),
            _ => (samples.floats[index].set, samples.floats[index].timestamp_ms),
        };
        Err(OtlpError::Refused {
            refusal: *refusal,
            series: samples.labels(set),
            timestamp_ms,
            others: refused.count(),
        })
    }
}

fn batch(samples: &Samples, series: &[SeriesRef]) -> AppendBatch {
    let mut batch = AppendBatch {
        all_or_nothing: true,
        // A guess: where it does not fit, it hinders nothing.
        start_floats: samples.zeros.clone(),
        start_histograms: samples.native_zeros.clone(),
        ..AppendBatch::default()
    };
    batch
        .floats
        .extend(samples.floats.iter().map(|float| FloatSample {
            series: series[float.set.index()],
            timestamp_ms: float.timestamp_ms,
            value: float.value,
        }));
    if samples.floats.iter().any(|float| float.start_ms != 0) {
        batch
            .float_starts_ms
            .extend(samples.floats.iter().map(|float| float.start_ms));
    }
    batch
        .histograms
        .extend(samples.natives.iter().map(|native| HistogramSample {
            series: series[native.set.index()],
            timestamp_ms: native.timestamp_ms,
            histogram: Histogram::Int(Arc::clone(&native.histogram)),
        }));
    if samples.natives.iter().any(|native| native.start_ms != 0) {
        batch
            .histogram_starts_ms
            .extend(samples.natives.iter().map(|native| native.start_ms));
    }
    batch.exemplars.extend(
        samples
            .exemplars
            .iter()
            .map(|(set, exemplar)| (series[set.index()], exemplar.clone())),
    );
    batch
}

//! A request's metrics become samples.

mod error;
mod exemplars;
mod histograms;
mod native;
mod numbers;
mod settings;
mod target_info;

use std::borrow::Cow;
use std::collections::HashSet;

use model::float::{Layout, format_precision};
use model::labels::METRIC_NAME;
use model::sample::MetricType;

use super::delta::{DeltaError, StreamKey, Streams};
use super::labels::{Fixed, Labeller};
use super::names::unit_name;
use super::samples::{Float, Samples, SetId};
use super::value::{text, value_text};
use super::wire::{Attribute, Head, Kind, Metric, Request, Run, Scope, Temporality};

pub use error::{TranslateError, TranslateErrors};
pub use settings::TranslateOptions;

pub(super) use settings::Settings;

/// Attributes that say which process it is: `job` and `instance` are made from them.
const SERVICE_NAME: &[u8] = b"service.name";
const SERVICE_NAMESPACE: &[u8] = b"service.namespace";
const SERVICE_INSTANCE: &[u8] = b"service.instance.id";

/// Oddities of a request that do not hinder it, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warnings {
    /// Metrics without points.
    pub empty_data_points: usize,
    /// Labels that several attributes share.
    pub label_name_collisions: usize,
    /// Histograms with a sum of no observations.
    pub zero_count_non_zero_sum: usize,
}

/// What came of a request.
pub(super) struct Translated {
    pub(super) samples: Samples,
    pub(super) warnings: Warnings,
    pub(super) errors: TranslateErrors,
}

/// Translates a request. Where there are `streams`, deltas are added up in them.
pub(super) fn translate<'b>(
    request: &Request<'b>,
    settings: &Settings,
    streams: Option<&mut Streams>,
) -> Translated {
    let mut translator = Translator {
        request,
        settings,
        streams,
        labeller: Labeller::new(settings.naming),
        samples: Samples::default(),
        exemplars: Vec::new(),
        empty: HashSet::new(),
        odd_sums: HashSet::new(),
    };
    let mut errors = TranslateErrors::default();
    for resource in &request.resources {
        let attributes = &request.attributes[resource.attributes.range()];
        translator.resource(attributes, resource.scopes, &mut errors);
    }
    Translated {
        warnings: Warnings {
            empty_data_points: translator.empty.len(),
            label_name_collisions: translator.labeller.collisions(),
            zero_count_non_zero_sum: translator.odd_sums.len(),
        },
        samples: translator.samples,
        errors,
    }
}

struct Translator<'r, 'b> {
    request: &'r Request<'b>,
    settings: &'r Settings,
    streams: Option<&'r mut Streams>,
    labeller: Labeller<'b>,
    samples: Samples,
    /// Those of one point; the buffer is used again.
    exemplars: Vec<model::sample::Exemplar>,
    /// Names of metrics without points.
    empty: HashSet<&'b [u8]>,
    /// Sums of histograms without observations, and whether they are exponential ones.
    odd_sums: HashSet<(bool, String)>,
}

/// Labels that the series of a resource share.
struct ResourceLabels<'b> {
    job_and_instance: Vec<(String, Cow<'b, str>)>,
    promoted: Fixed<'b>,
}

/// A metric about to be translated.
struct Family<'f, 'b> {
    metric: &'f Metric<'b>,
    /// The name of its series.
    name: String,
    under: &'f Fixed<'b>,
    over: &'f Fixed<'b>,
    has_metadata: bool,
}

/// Times of points, in nanoseconds.
struct Times {
    first_ns: u64,
    last_ns: u64,
}

type Result<T, E = TranslateError> = std::result::Result<T, E>;

impl<'b> Translator<'_, 'b> {
    fn resource(&mut self, attributes: &[Attribute<'b>], scopes: Run, errors: &mut TranslateErrors) {
        let request = self.request;
        let labels = match self.resource_labels(attributes) {
            Ok(labels) => labels,
            Err(error) => return errors.push(error),
        };
        let mut times = Times {
            first_ns: u64::MAX,
            last_ns: 0,
        };
        for scope in &request.scopes[scopes.range()] {
            let over = match self.scope_labels(&labels, &request.attributes[scope.attributes.range()], scope)
            {
                Ok(over) => over,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            let fixed = self.labeller.fixed(over.iter().cloned());
            for metric in &request.metrics[scope.metrics.range()] {
                self.begin_stream_of(attributes, scope, metric);
                if let Err(error) = self.metric(metric, &labels.promoted, &over, &fixed, &mut times) {
                    errors.push(error);
                }
            }
        }
        if times.first_ns < u64::MAX
            && let Err(error) = self.target_info(attributes, &labels, &times)
        {
            errors.push(error);
        }
    }

    fn resource_labels(&mut self, attributes: &[Attribute<'b>]) -> Result<ResourceLabels<'b>> {
        // Of several attributes with one name the first counts.
        let find = |name| attributes.iter().find(|attribute| attribute.key == name);
        let mut job_and_instance = Vec::new();
        if let Some(name) = find(SERVICE_NAME) {
            let mut job = value_text(&name.value);
            if let Some(namespace) = find(SERVICE_NAMESPACE) {
                job = Cow::Owned(format!("{}/{job}", value_text(&namespace.value)));
            }
            job_and_instance.push(("job".to_owned(), job));
        }
        if let Some(instance) = find(SERVICE_INSTANCE) {
            job_and_instance.push(("instance".to_owned(), value_text(&instance.value)));
        }
        // Compat: an empty one leaves an attribute of the name `job` alone (payloads: resource-empty-values).
        job_and_instance.retain(|(_, value)| !value.is_empty());
        let mut promoted = Vec::new();
        for attribute in attributes {
            if self.settings.promotion.takes(attribute.key) {
                let name = self.labeller.name("", attribute.key)?;
                promoted.push((name, value_text(&attribute.value)));
            }
        }
        Ok(ResourceLabels {
            job_and_instance,
            promoted: self.labeller.fixed(promoted),
        })
    }

    /// Labels that take the place of a point's own.
    fn scope_labels(
        &mut self,
        resource: &ResourceLabels<'b>,
        attributes: &[Attribute<'b>],
        scope: &Scope<'b>,
    ) -> Result<Vec<(String, Cow<'b, str>)>> {
        let mut over = resource.job_and_instance.clone();
        if !self.settings.scope_labels || scope.name.is_empty() {
            return Ok(over);
        }
        for attribute in attributes {
            let name = self.labeller.name("otel_scope_", attribute.key)?;
            over.push((name, value_text(&attribute.value)));
        }
        over.push(("otel_scope_name".to_owned(), text(scope.name)));
        over.push(("otel_scope_version".to_owned(), text(scope.version)));
        over.push(("otel_scope_schema_url".to_owned(), text(scope.schema_url)));
        Ok(over)
    }

    fn begin_stream_of(&mut self, resource: &[Attribute<'b>], scope: &Scope<'b>, metric: &Metric<'b>) {
        let request = self.request;
        if let Some(streams) = self.streams.as_mut()
            && metric.temporality == Temporality::Delta
        {
            streams.begin(
                resource,
                scope,
                &request.attributes[scope.attributes.range()],
                metric,
            );
        }
    }

    /// Adds a point of a stream of deltas up, as `add` does it; whether something is to be stored.
    fn add_up(
        &mut self,
        head: &Head,
        add: impl FnOnce(&mut Streams, StreamKey) -> Result<bool, DeltaError>,
    ) -> Result<bool> {
        let request = self.request;
        match self.streams.as_mut() {
            // A point without a value ends the series for now, and adds nothing.
            Some(streams) if !head.no_value() => {
                let key = streams.key(&request.attributes[head.attributes.range()]);
                Ok(add(streams, key)?)
            }
            _ => Ok(true),
        }
    }

    /// Whether the metric's points are to be added up.
    fn adds_up(&self, metric: &Metric<'_>) -> bool {
        self.streams.is_some() && metric.temporality == Temporality::Delta
    }

    fn metric(
        &mut self,
        metric: &Metric<'b>,
        under: &Fixed<'b>,
        scope: &[(String, Cow<'b, str>)],
        over: &Fixed<'b>,
        times: &mut Times,
    ) -> Result<()> {
        let settings = self.settings;
        let named = || text(metric.name).into_owned();
        let temporal = match metric.kind {
            Kind::Missing => return Err(TranslateError::NoData(named())),
            Kind::Gauge | Kind::Summary => false,
            Kind::Sum | Kind::Histogram | Kind::Exponential => true,
        };
        let taken = match metric.temporality {
            Temporality::Cumulative => true,
            Temporality::Delta => settings.native_delta || self.streams.is_some(),
            Temporality::Unspecified | Temporality::Unknown => false,
        };
        if temporal && !taken {
            return Err(TranslateError::Temporality(named()));
        }
        let name = settings
            .naming
            .metric(metric.name, metric.unit, metric.kind, metric.monotonic)?;
        if metric.points.is_empty() {
            if !self.adds_up(metric) {
                self.empty.insert(metric.name);
            }
            return Ok(());
        }
        let unit = unit_name(&text(metric.unit), true);
        let metric_type = metric_type(metric, self.adds_up(metric));
        let labelled;
        let over = if settings.type_and_unit_labels {
            let mut pairs = scope.to_vec();
            if metric_type != MetricType::Unknown {
                pairs.push(("__type__".to_owned(), Cow::Borrowed(metric_type.as_str())));
            }
            if !unit.is_empty() {
                let unit = unit_name(&unit, settings.naming.escape);
                pairs.push(("__unit__".to_owned(), Cow::Owned(unit)));
            }
            labelled = self.labeller.fixed(pairs);
            &labelled
        } else {
            over
        };
        let described =
            metric_type != MetricType::Unknown || !unit.is_empty() || !metric.description.is_empty();
        let family = Family {
            metric,
            name,
            under,
            over,
            has_metadata: described,
        };
        match metric.kind {
            Kind::Missing => Ok(()),
            Kind::Gauge | Kind::Sum => self.numbers(&family, times),
            Kind::Histogram if settings.custom_buckets => self.custom_histograms(&family, times),
            Kind::Histogram => self.classic_histograms(&family, times),
            Kind::Exponential => self.exponential_histograms(&family, times),
            Kind::Summary => self.summaries(&family, times),
        }
    }

    /// Works out a point's labels.
    fn point_labels(&mut self, family: &Family<'_, 'b>, head: &Head) -> Result<()> {
        let attributes = &self.request.attributes[head.attributes.range()];
        let ignore = |name: &[u8]| name == METRIC_NAME.as_bytes();
        Ok(self
            .labeller
            .base(attributes, ignore, family.under, family.over)?)
    }

    /// Adds a label set: the point's labels, a name, and perhaps one more.
    fn set(&mut self, name: &str, extra: Option<(&str, &str)>) -> Result<SetId> {
        let packer = self.labeller.packed(name, extra)?;
        Ok(self.samples.set(packer)?)
    }

    /// Adds a float.
    fn float(&mut self, family: &Family<'_, 'b>, set: SetId, head: &Head, value: f64) {
        let (start_ms, timestamp_ms) = (millis(head.start_ns), millis(head.time_ns));
        if self.settings.zero_samples && start_ms != 0 && start_ms < timestamp_ms {
            self.samples.zeros.push(self.samples.floats.len() as u32);
            self.samples.floats.push(Float {
                set,
                start_ms: 0,
                timestamp_ms: start_ms,
                value: 0.0,
            });
        }
        self.samples.floats.push(Float {
            set,
            start_ms,
            timestamp_ms,
            value: if head.no_value() {
                model::sample::stale_nan()
            } else {
                value
            },
        });
        self.samples.without_metadata += u64::from(!family.has_metadata);
    }

    /// Notes that a histogram has a sum of nothing.
    fn note_odd_sum(&mut self, exponential: bool, count: u64, sum: f64) {
        if count == 0 && sum != 0.0 {
            self.odd_sums
                .insert((exponential, format_precision(sum, Layout::Plain, 6)));
        }
    }
}

impl Times {
    fn note(&mut self, head: &Head) {
        self.first_ns = self.first_ns.min(head.time_ns);
        self.last_ns = self.last_ns.max(head.time_ns);
    }
}

/// The protocol's time in milliseconds, cut.
fn millis(ns: u64) -> i64 {
    ns as i64 / 1_000_000
}

/// The kind that the metric has in this world. Compat: of deltas nothing is said, since no kind fits them.
fn metric_type(metric: &Metric<'_>, added_up: bool) -> MetricType {
    let delta = metric.temporality == Temporality::Delta && !added_up;
    match metric.kind {
        Kind::Missing => MetricType::Unknown,
        Kind::Gauge => MetricType::Gauge,
        Kind::Summary => MetricType::Summary,
        _ if delta => MetricType::Unknown,
        Kind::Sum if metric.monotonic => MetricType::Counter,
        Kind::Sum => MetricType::Gauge,
        Kind::Histogram | Kind::Exponential => MetricType::Histogram,
    }
}

//! What a scrape of the gateway sees: all groups together, in the form that it asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use remote::gateway::{Faults, Gateway, Kind, Merged, Metric as Pushed, OwnFamily, Value};
use scraper::{Expose, ExposeError};

use crate::web::families::{ClassicHistogram, Family, FamilyKind, Format, Metric, MetricValue};
use crate::web::metrics_page;

/// The gateway of a server, as its own scraper sees it.
pub(crate) struct GatewayBody(pub(crate) Arc<Gateway>);

impl Expose for GatewayBody {
    fn expose(&self, accept: &str, body: &mut Vec<u8>) -> Result<String, ExposeError> {
        let format = Format::negotiate(accept);
        for family in families(&self.0, Vec::new())? {
            format.write(body, &family);
        }
        Ok(format.content_type())
    }
}

/// The families of the gateway, with `own` put among them, by name.
///
/// # Errors
/// When they do not fit together.
pub(super) fn families(gateway: &Gateway, own: Vec<Family>) -> Result<Vec<Family>, Faults> {
    let mut by_name: BTreeMap<String, Family> = own
        .into_iter()
        .map(|family| (family.name.clone(), family))
        .collect();
    for merged in gateway.families()? {
        let metrics = merged
            .metrics()
            .into_iter()
            .map(|metric| shown(merged.kind, metric));
        let metrics: Vec<Metric> = metrics.collect();
        if metrics.is_empty() {
            continue;
        }
        match by_name.get_mut(&merged.name) {
            Some(family) => {
                family.metrics.extend(metrics);
                family
                    .metrics
                    .sort_by(|one, other| order(&one.labels).cmp(&order(&other.labels)));
            }
            None => drop(by_name.insert(merged.name.clone(), family(merged, metrics))),
        }
    }
    Ok(by_name.into_values().collect())
}

/// Compat: fewer labels first, then by values.
fn order(labels: &[(String, String)]) -> (usize, Vec<&str>) {
    (
        labels.len(),
        labels.iter().map(|(_, value)| value.as_str()).collect(),
    )
}

fn family(merged: Merged, metrics: Vec<Metric>) -> Family {
    Family {
        name: merged.name,
        help: merged.help,
        kind: kind(merged.kind),
        metrics,
    }
}

fn kind(kind: Kind) -> FamilyKind {
    match kind {
        Kind::Counter => FamilyKind::Counter,
        Kind::Gauge => FamilyKind::Gauge,
        Kind::Summary => FamilyKind::Summary,
        Kind::Untyped => FamilyKind::Untyped,
        Kind::Histogram => FamilyKind::Histogram,
        Kind::GaugeHistogram => FamilyKind::GaugeHistogram,
    }
}

fn shown(kind: Kind, metric: &Pushed) -> Metric {
    // What is no text is not let in, or refused as a whole where it is read.
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = match metric.value(kind) {
        Value::Number(value) => MetricValue::Number(value),
        Value::Summary {
            quantiles,
            sum,
            count,
        } => MetricValue::Summary {
            quantiles,
            sum,
            count,
        },
        Value::Histogram(histogram) => MetricValue::Classic(ClassicHistogram {
            count: histogram.total(),
            sum: histogram.sum,
            whole: histogram.is_whole(),
            buckets: histogram.buckets,
        }),
    };
    Metric {
        labels: metric
            .labels
            .iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
        value: MetricValue::Pushed {
            fields: metric.fields.clone(),
            shown: Box::new(value),
        },
        timestamp_ms: None,
    }
}

/// Names by which pushed metrics have to go where both are shown together: those of `registry`, and those that the
/// reference has and we have not.
pub(crate) fn own_families(registry: &metrics::Registry) -> BTreeMap<String, OwnFamily> {
    let reserved = RESERVED.iter().flat_map(|(kind, names)| {
        let own = |name: &&str| {
            (
                (*name).to_owned(),
                OwnFamily {
                    kind: *kind,
                    help: None,
                },
            )
        };
        names.iter().map(own)
    });
    let mut own: BTreeMap<String, OwnFamily> = reserved.collect();
    for family in metrics_page::own(registry) {
        let kind = match family.kind {
            FamilyKind::Counter => Kind::Counter,
            FamilyKind::Gauge => Kind::Gauge,
            FamilyKind::Summary => Kind::Summary,
            FamilyKind::Untyped => Kind::Untyped,
            FamilyKind::Histogram => Kind::Histogram,
            FamilyKind::GaugeHistogram => Kind::GaugeHistogram,
        };
        own.insert(
            family.name,
            OwnFamily {
                kind,
                help: family.help,
            },
        );
    }
    own
}

/// What the reference shows of itself. Compat: whoever pushes these must keep to their types (`help-of-own-metric`).
const RESERVED: [(Kind, &[&str]); 3] = [
    (
        Kind::Gauge,
        &[
            "go_gc_gogc_percent",
            "go_gc_gomemlimit_bytes",
            "go_goroutines",
            "go_info",
            "go_memstats_alloc_bytes",
            "go_memstats_buck_hash_sys_bytes",
            "go_memstats_gc_sys_bytes",
            "go_memstats_heap_alloc_bytes",
            "go_memstats_heap_idle_bytes",
            "go_memstats_heap_inuse_bytes",
            "go_memstats_heap_objects",
            "go_memstats_heap_released_bytes",
            "go_memstats_heap_sys_bytes",
            "go_memstats_last_gc_time_seconds",
            "go_memstats_mcache_inuse_bytes",
            "go_memstats_mcache_sys_bytes",
            "go_memstats_mspan_inuse_bytes",
            "go_memstats_mspan_sys_bytes",
            "go_memstats_next_gc_bytes",
            "go_memstats_other_sys_bytes",
            "go_memstats_stack_inuse_bytes",
            "go_memstats_stack_sys_bytes",
            "go_memstats_sys_bytes",
            "go_sched_gomaxprocs_threads",
            "go_threads",
            "pushgateway_build_info",
        ],
    ),
    (
        Kind::Counter,
        &[
            "go_memstats_alloc_bytes_total",
            "go_memstats_frees_total",
            "go_memstats_mallocs_total",
            "process_network_receive_bytes_total",
            "process_network_transmit_bytes_total",
            "pushgateway_http_requests_total",
        ],
    ),
    (
        Kind::Summary,
        &[
            "go_gc_duration_seconds",
            "pushgateway_http_push_duration_seconds",
            "pushgateway_http_push_size_bytes",
        ],
    ),
];

//! The registry: everything that `/metrics` shows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::family::Family;
use crate::process;
use crate::summary::Summary;
use crate::text::{self, Format};
use crate::value::{Counter, Gauge, Histogram};

/// Kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets.
    Histogram,
    /// Quantiles.
    Summary,
}

/// All metrics of the program. Clones share them.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<Sources>>);

#[derive(Default)]
struct Sources {
    families: BTreeMap<String, Registered>,
    collectors: Vec<Arc<Collector>>,
}

type Collector = dyn Fn(&mut Collected) + Send + Sync;

#[derive(Clone)]
struct Registered {
    help: String,
    metrics: Metrics,
}

#[derive(Clone)]
enum Metrics {
    Counter(Family<Counter>),
    Gauge(Family<Gauge>),
    Histogram(Family<Histogram>),
    Summary(Family<Summary>),
}

/// Families as a scrape finds them, by name.
#[derive(Debug, Default)]
pub struct Collected {
    pub(crate) families: BTreeMap<String, FamilySamples>,
}

/// One family as a scrape finds it.
#[derive(Debug)]
pub struct FamilySamples {
    pub(crate) kind: Kind,
    pub(crate) help: String,
    pub(crate) samples: Vec<Labelled>,
}

/// What a metric says.
#[derive(Debug)]
pub enum Value {
    /// A counter's or gauge's number.
    Single(f64),
    /// A histogram's.
    Histogram {
        /// Upper bounds, the last one infinite, and cumulative counts.
        buckets: Vec<(f64, u64)>,
        /// Sum of what was observed.
        sum: f64,
    },
    /// A summary's.
    Summary {
        /// Quantiles and their values.
        quantiles: Vec<(f64, f64)>,
        /// Sum of what was observed.
        sum: f64,
        /// How much was observed.
        count: u64,
    },
}

impl From<&Histogram> for Value {
    fn from(histogram: &Histogram) -> Self {
        Value::Histogram {
            buckets: histogram.cumulative(),
            sum: histogram.sum(),
        }
    }
}

impl From<&Summary> for Value {
    fn from(summary: &Summary) -> Self {
        let now = summary.snapshot();
        Value::Summary {
            quantiles: now.quantiles,
            sum: now.sum,
            count: now.count,
        }
    }
}

/// Label pairs, sorted by name, and the value.
pub type Labelled = (Vec<(String, String)>, Value);

impl Collected {
    /// The family `name`, to which samples can be added; `kind` and `help` count where it is new.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) -> &mut FamilySamples {
        self.families
            .entry(name.to_owned())
            .or_insert_with(|| FamilySamples {
                kind,
                help: help.to_owned(),
                samples: Vec::new(),
            })
    }
}

impl FamilySamples {
    /// Adds a counter's or gauge's value with its labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.value(labels, Value::Single(value))
    }

    /// Adds what a metric of any kind says, with its labels.
    pub fn value(&mut self, labels: &[(&str, &str)], value: Value) -> &mut Self {
        let labels = labels
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        self.push(labels, value);
        self
    }

    fn push(&mut self, mut labels: Vec<(String, String)>, value: Value) {
        labels.sort();
        self.samples.push((labels, value));
    }

    fn extend<M: Clone>(&mut self, family: &Family<M>, value: impl Fn(&M) -> Value) {
        for (values, metric) in family.children() {
            let labels = family.label_names().iter().cloned().zip(values).collect();
            self.push(labels, value(&metric));
        }
    }
}

/// Makes the methods that register a family of one kind, with labels and without.
macro_rules! register {
    ($metric:ident, $plain:ident, $vec:ident, $what:literal $(, $option:ident: $type:ty)?) => {
        #[doc = concat!("Registers ", $what, " without labels, or gives the one of that name.")]
        ///
        /// # Panics
        /// If the name is registered as another kind or with other labels: that is a mistake in the program.
        pub fn $plain(&self, name: &str, help: &str $(, $option: $type)?) -> $metric {
            self.$vec(name, help, &[] $(, $option)?).with(&[])
        }

        #[doc = concat!("Registers ", $what, " for each combination of values of `labels`, or gives the family of that name.")]
        ///
        /// # Panics
        /// If the name is registered as another kind or with other labels: that is a mistake in the program.
        pub fn $vec(&self, name: &str, help: &str, labels: &[&str] $(, $option: $type)?) -> Family<$metric> {
            let registered = self.register(name, help, || {
                $(let $option = $option.to_vec();)?
                Metrics::$metric(Family::new(labels, move || register!(@make $metric $(, $option)?)))
            });
            match registered {
                Metrics::$metric(family) if family.label_names().iter().eq(labels.iter()) => family,
                _ => panic!("metric {name} is registered with another kind or other labels"),
            }
        }
    };
    (@make $metric:ident) => { $metric::default() };
    (@make $metric:ident, $option:ident) => { $metric::new(&$option) };
}

impl Registry {
    /// A registry without metrics.
    pub fn new() -> Self {
        Registry::default()
    }

    register!(Counter, counter, counter_vec, "a counter");
    register!(Gauge, gauge, gauge_vec, "a gauge");
    register!(Histogram, histogram, histogram_vec, "a histogram with these upper bounds", bounds: &[f64]);
    register!(Summary, summary, summary_vec, "a summary of these quantiles", quantiles: &[f64]);

    /// Registers a counter whose value `read` knows; asked at each scrape.
    pub fn counter_fn(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.value_fn(name, Kind::Counter, help, read);
    }

    /// Registers a gauge whose value `read` knows; asked at each scrape.
    pub fn gauge_fn(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.value_fn(name, Kind::Gauge, help, read);
    }

    /// Registers a closure that adds families at each scrape. It runs without a lock of the registry held.
    pub fn collect(&self, collect: impl Fn(&mut Collected) + Send + Sync + 'static) {
        self.0.lock().collectors.push(Arc::new(collect));
    }

    /// Registers what the kernel tells about this process (`process_cpu_seconds_total` and so on).
    pub fn collect_process(&self) {
        self.collect(process::collect);
    }

    /// Everything, as the body of an answer: families by name, in each the metrics by their label values.
    pub fn render(&self, format: Format) -> String {
        text::render(&self.gather(), format)
    }

    /// Shows everything to `show`, family by family: name, kind, help, metrics. Empty families are left out.
    pub fn visit(&self, mut show: impl FnMut(&str, Kind, &str, &[Labelled])) {
        for (name, family) in &self.gather().families {
            if !family.samples.is_empty() {
                show(name, family.kind, &family.help, &family.samples);
            }
        }
    }

    fn value_fn(&self, name: &str, kind: Kind, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        let (name, help) = (name.to_owned(), help.to_owned());
        self.collect(move |collected| {
            collected.family(&name, kind, &help).sample(&[], read());
        });
    }

    fn register(&self, name: &str, help: &str, make: impl FnOnce() -> Metrics) -> Metrics {
        let mut sources = self.0.lock();
        let registered = sources
            .families
            .entry(name.to_owned())
            .or_insert_with(|| Registered {
                help: help.to_owned(),
                metrics: make(),
            });
        registered.metrics.clone()
    }

    fn gather(&self) -> Collected {
        let (families, collectors) = {
            let sources = self.0.lock();
            (sources.families.clone(), sources.collectors.clone())
        };
        let mut collected = Collected::default();
        for (name, registered) in &families {
            registered.metrics.collect(name, &registered.help, &mut collected);
        }
        for collector in &collectors {
            collector(&mut collected);
        }
        for family in collected.families.values_mut() {
            family.samples.sort_by(|(a, _), (b, _)| {
                a.len()
                    .cmp(&b.len())
                    .then_with(|| a.iter().map(|(_, v)| v).cmp(b.iter().map(|(_, v)| v)))
            });
        }
        collected
    }
}

impl Metrics {
    fn collect(&self, name: &str, help: &str, out: &mut Collected) {
        match self {
            Metrics::Counter(family) => {
                out.family(name, Kind::Counter, help)
                    .extend(family, |m| Value::Single(m.get()));
            }
            Metrics::Gauge(family) => {
                out.family(name, Kind::Gauge, help)
                    .extend(family, |m| Value::Single(m.get()));
            }
            Metrics::Histogram(family) => {
                out.family(name, Kind::Histogram, help)
                    .extend(family, |m| Value::from(m));
            }
            Metrics::Summary(family) => {
                out.family(name, Kind::Summary, help)
                    .extend(family, |m| Value::from(m));
            }
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

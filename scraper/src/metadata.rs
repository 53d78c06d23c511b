//! What a target says about its metric families, for `/api/v1/metadata` and `/api/v1/targets/metadata`.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

use model::sample::{Metadata, MetricType};
use parking_lot::{Mutex, MutexGuard};

/// A family is forgotten when it was not seen for this many scrapes.
const KEPT_SCRAPES: u32 = 10;

/// One metric family of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyMetadata {
    /// Name of the family.
    pub family: String,
    /// What is said about it.
    pub metadata: Metadata,
}

/// The families of one target; shared between its scrape loop and the API.
#[derive(Debug, Default)]
pub(crate) struct MetadataStore {
    families: Mutex<Families>,
    /// How many families there are, and the bytes of what is said about them. Kept beside them as they change: whoever
    /// asks for our own metrics neither walks over all families of all targets nor waits for a body that is being read.
    entries: AtomicUsize,
    bytes: AtomicUsize,
}

/// The families, held while a body is read.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    families: MutexGuard<'a, Families>,
    store: &'a MetadataStore,
}

/// The families while a body is read.
#[derive(Debug, Default)]
pub(crate) struct Families {
    families: Vec<Family>,
    by_name: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
    /// The family of the last metadata line.
    last: Option<usize>,
    scrape: u32,
}

#[derive(Debug)]
struct Family {
    name: Box<[u8]>,
    metadata: Metadata,
    seen: u32,
}

impl MetadataStore {
    /// All families, in order of their first appearance.
    pub(crate) fn list(&self) -> Vec<FamilyMetadata> {
        self.families
            .lock()
            .families
            .iter()
            .map(|family| FamilyMetadata {
                family: String::from_utf8_lossy(&family.name).into_owned(),
                metadata: family.metadata.clone(),
            })
            .collect()
    }

    /// One family.
    pub(crate) fn get(&self, name: &str) -> Option<Metadata> {
        let families = self.families.lock();
        let at = *families.by_name.get(name.as_bytes())?;
        Some(families.families[at].metadata.clone())
    }

    /// Number of families, and the bytes of what is said about them.
    pub(crate) fn size(&self) -> (usize, usize) {
        (
            self.entries.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }

    /// Forgets all families.
    pub(crate) fn clear(&self) {
        *self.begin() = Families::default();
    }

    /// Opens the families for a body.
    pub(crate) fn begin(&self) -> Reading<'_> {
        let mut families = self.families.lock();
        families.scrape += 1;
        families.last = None;
        Reading {
            families,
            store: self,
        }
    }
}

impl Deref for Reading<'_> {
    type Target = Families;
    fn deref(&self) -> &Families {
        &self.families
    }
}

impl DerefMut for Reading<'_> {
    fn deref_mut(&mut self) -> &mut Families {
        &mut self.families
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let bytes = |m: &Metadata| m.help.len() + m.unit.len() + m.metric_type.as_str().len();
        let families = &self.families.families;
        let sum = families.iter().map(|family| bytes(&family.metadata)).sum();
        self.store.entries.store(families.len(), Ordering::Relaxed);
        self.store.bytes.store(sum, Ordering::Relaxed);
    }
}

impl Families {
    /// Notes the type of a family.
    pub(crate) fn set_type(&mut self, name: &[u8], metric_type: MetricType) {
        let family = self.family(name);
        family.metadata.metric_type = metric_type;
    }

    /// Notes the help text of a family.
    pub(crate) fn set_help(&mut self, name: &[u8], help: &str) {
        let family = self.family(name);
        if family.metadata.help != help {
            help.clone_into(&mut family.metadata.help);
        }
    }

    /// Notes the unit of a family.
    pub(crate) fn set_unit(&mut self, name: &[u8], unit: &[u8]) {
        let family = self.family(name);
        if family.metadata.unit.as_bytes() != unit {
            family.metadata.unit = String::from_utf8_lossy(unit).into_owned();
        }
    }

    /// Metadata of the family announced last, if a sample called `metric` belongs to it.
    pub(crate) fn of_sample(&self, metric: &str) -> Option<&Metadata> {
        let family = &self.families[self.last?];
        belongs_to(metric, &family.name, family.metadata.metric_type).then_some(&family.metadata)
    }

    /// Forgets families that have not been seen for long.
    pub(crate) fn end(&mut self) {
        let scrape = self.scrape;
        let is_old = |family: &Family| scrape - family.seen > KEPT_SCRAPES;
        if self.families.iter().any(is_old) {
            self.families.retain(|family| !is_old(family));
            self.by_name = self
                .families
                .iter()
                .enumerate()
                .map(|(at, f)| (f.name.clone(), at))
                .collect();
        }
        self.last = None;
    }

    /// The family called `name`: mostly the last one, or the one after it in the order of the last scrape.
    fn family(&mut self, name: &[u8]) -> &mut Family {
        let at = self.find(name).unwrap_or_else(|| {
            let at = self.families.len();
            self.by_name.insert(name.into(), at);
            self.families.push(Family {
                name: name.into(),
                metadata: Metadata::default(),
                seen: 0,
            });
            at
        });
        self.last = Some(at);
        let family = &mut self.families[at];
        family.seen = self.scrape;
        family
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let next = self.last.map_or(0, |last| last + 1);
        let is_it = |at: &usize| self.families.get(*at).is_some_and(|family| *family.name == *name);
        self.last
            .filter(is_it)
            .or(Some(next).filter(is_it))
            .or_else(|| self.by_name.get(name).copied())
    }
}

/// Whether a sample called `metric` is one of a family, by the suffixes that its type allows.
fn belongs_to(metric: &str, family: &[u8], metric_type: MetricType) -> bool {
    let Some(suffix) = metric.as_bytes().strip_prefix(family) else {
        return false;
    };
    let suffixes: &[&[u8]] = match metric_type {
        MetricType::Counter => &[b"_total"],
        MetricType::Histogram => &[b"_bucket", b"_sum", b"_count"],
        MetricType::GaugeHistogram => &[b"_bucket", b"_gsum", b"_gcount"],
        MetricType::Summary => &[b"_sum", b"_count"],
        MetricType::Info => &[b"_info"],
        _ => &[],
    };
    suffix.is_empty() || suffixes.contains(&suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_known_without_the_families() {
        let store = MetadataStore::default();
        assert_eq!(store.size(), (0, 0));
        let mut reading = store.begin();
        reading.set_type(b"up", MetricType::Gauge);
        reading.set_help(b"up", "Whether it is.");
        reading.set_help(b"b", "B");
        // While a body is read, what was before is told, and nobody waits.
        assert_eq!(store.size(), (0, 0));
        reading.end();
        drop(reading);
        assert_eq!(store.size(), (2, "gaugeWhether it is.unknownB".len()));
        for _ in 0..=KEPT_SCRAPES {
            let mut reading = store.begin();
            reading.set_help(b"b", "Bb");
            reading.end();
        }
        assert_eq!(store.size(), (1, "unknownBb".len()));
        store.clear();
        assert_eq!(store.size(), (0, 0));
    }
}

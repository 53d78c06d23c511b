//! Whether metrics fit together, as a scrape of all of them would find out.
//!
//! The reference makes that scrape for each push. Here a push is held against what names and series there are, so that
//! what it costs depends on the push alone; only where something is known not to fit is everything looked at.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::error::{Fault, Faults};
use super::family::{Family, Kind, LabelSet, Metric, Text};
use super::state::{FAILURE_TIME, Group, PUSH_TIME, State, Stored};
use super::value::Shown;
use super::{GroupKey, OwnFamily};

/// What begins so in labels is ours.
const RESERVED: &[u8] = b"__";
/// What histograms and summaries add to their names.
const SUFFIXES: [&str; 3] = ["_count", "_sum", "_bucket"];

/// Families of one name, put together.
#[derive(Clone, Debug)]
pub struct Merged {
    /// Their name.
    pub name: String,
    /// Their help: of several the last, by groups, that has one.
    pub help: Option<String>,
    /// The kind of the first that has metrics.
    pub kind: Kind,
    /// What groups have of it.
    pub parts: Vec<Arc<Stored>>,
}

impl Merged {
    /// All metrics, in the order in which they are shown.
    ///
    /// Compat: fewer labels first, then by values (push/pushgateway `utf8-off/escaped-label-in-path`).
    pub fn metrics(&self) -> Vec<&Metric> {
        let mut metrics: Vec<&Metric> = self.parts.iter().flat_map(|part| &part.family.metrics).collect();
        metrics.sort_by(|one, other| {
            let by_count = one.labels.len().cmp(&other.labels.len());
            by_count.then_with(|| values(&one.labels).cmp(values(&other.labels)))
        });
        metrics
    }
}

fn values(labels: &LabelSet) -> impl Iterator<Item = &Text> {
    labels.iter().map(|(_, value)| value)
}

impl State {
    /// All families, by name.
    pub(super) fn merged(&self, own: &BTreeMap<String, OwnFamily>) -> Vec<Merged> {
        let mut names: BTreeMap<&str, Merged> = BTreeMap::new();
        for group in self.groups.values() {
            for (name, stored) in &group.families {
                let family = &stored.family;
                let merged = names.entry(name).or_insert_with(|| Merged {
                    name: name.clone(),
                    help: None,
                    kind: family.kind,
                    parts: Vec::new(),
                });
                if merged.parts.iter().all(|part| part.family.metrics.is_empty()) {
                    merged.kind = family.kind;
                }
                // Compat: of different texts one wins (`help-conflict-with-other-group`).
                if family.help.is_some() || merged.help.is_none() {
                    merged.help.clone_from(&family.help);
                }
                merged.parts.push(stored.clone());
            }
        }
        let mut merged: Vec<Merged> = names.into_values().collect();
        for merged in &mut merged {
            // Compat: the gateway's own words win (`help-of-own-metric`).
            if let Some(help) = own.get(&merged.name).and_then(|own| own.help.as_ref()) {
                merged.help = Some(help.clone());
            }
        }
        merged
    }

    /// What a push of `families` to a group would be refused for.
    pub(super) fn faults_of_push(
        &self,
        own: &BTreeMap<String, OwnFamily>,
        key: &GroupKey,
        families: &[Arc<Stored>],
        replace: bool,
    ) -> Vec<Fault> {
        let empty = Group::default();
        let group = self.groups.get(key).unwrap_or(&empty);
        let after = After {
            state: self,
            own,
            group,
            pushed: families
                .iter()
                .map(|stored| (stored.family.name.as_str(), &**stored))
                .collect(),
            replace,
        };
        let mut faults = Vec::new();
        for stored in families {
            after.check(stored, &mut faults);
        }
        faults.sort_by_cached_key(ToString::to_string);
        faults
    }

    /// Everything that would not fit after a push that fits by itself.
    pub(super) fn faults_after(
        &mut self,
        own: &BTreeMap<String, OwnFamily>,
        key: &GroupKey,
        families: &[Arc<Stored>],
        replace: bool,
    ) -> Result<(), Faults> {
        let before = self.groups.get(key).cloned();
        self.put(key, families.to_vec(), replace);
        let found = self.all_faults(own);
        self.remove(key);
        if let Some(before) = before {
            self.put(key, before.families.values().cloned().collect(), true);
            if let Some(group) = self.groups.get_mut(key) {
                *group = before;
            }
        }
        found
    }

    /// Everything that does not fit.
    pub(super) fn all_faults(&self, own: &BTreeMap<String, OwnFamily>) -> Result<(), Faults> {
        let mut faults = Vec::new();
        let merged = self.merged(own);
        let mut before: BTreeMap<&str, Kind> =
            own.iter().map(|(name, own)| (name.as_str(), own.kind)).collect();
        for merged in &merged {
            match own.get(&merged.name) {
                Some(own) if own.kind != merged.kind => {
                    faults.push(of_own(&merged.name, merged.kind, own.kind));
                    continue;
                }
                Some(_) => {}
                None => {
                    let find = |name: &str| before.get(name).copied();
                    if let Some(fault) = collision(&merged.name, merged.kind, find) {
                        faults.push(fault);
                        continue;
                    }
                    before.insert(&merged.name, merged.kind);
                }
            }
            let mut seen = HashSet::new();
            for part in &merged.parts {
                for (metric, hash) in part.family.metrics.iter().zip(&part.hashes) {
                    let fault = fault_of(&merged.name, merged.kind, metric);
                    let twice = || (!seen.insert(*hash)).then(|| twice(&merged.name, metric));
                    faults.extend(fault.or_else(twice));
                }
            }
        }
        faults.sort_by_cached_key(ToString::to_string);
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Faults(faults))
        }
    }
}

/// What there would be after a push.
struct After<'s> {
    state: &'s State,
    own: &'s BTreeMap<String, OwnFamily>,
    /// The group as it is.
    group: &'s Group,
    pushed: HashMap<&'s str, &'s Stored>,
    replace: bool,
}

impl After<'_> {
    /// Whether the group's own family of this name goes with the push.
    fn goes(&self, name: &str) -> bool {
        let kept = name == PUSH_TIME || name == FAILURE_TIME;
        self.pushed.contains_key(name) || (self.replace && !kept)
    }

    /// What the group has of this name and would have no longer.
    fn gone(&self, name: &str) -> Option<&Stored> {
        let stored = self.group.families.get(name)?;
        self.goes(name).then_some(stored)
    }

    /// Kind of the metrics that others have of this name, if there are any.
    fn kind_elsewhere(&self, name: &str) -> Option<Kind> {
        let known = self.state.names.get(name)?;
        let gone = self.gone(name).filter(|gone| !gone.family.metrics.is_empty());
        let gone = gone.map(|gone| gone.family.kind);
        [
            Kind::Counter,
            Kind::Gauge,
            Kind::Summary,
            Kind::Untyped,
            Kind::Histogram,
            Kind::GaugeHistogram,
        ]
        .into_iter()
        .find(|kind| known.kinds[*kind as usize] > usize::from(gone == Some(*kind)))
    }

    /// Kind of the family of this name that there would be.
    fn kind(&self, name: &str) -> Option<Kind> {
        if let Some(own) = self.own.get(name) {
            return Some(own.kind);
        }
        let elsewhere = || self.kind_elsewhere(name);
        let pushed = self.pushed.get(name).map(|stored| stored.family.kind);
        elsewhere().or(pushed).or_else(|| {
            // Without metrics, somewhere.
            let known = self.state.names.get(name)?;
            let gone = usize::from(self.gone(name).is_some());
            (known.groups > gone).then_some(Kind::Untyped)
        })
    }

    fn check(&self, stored: &Stored, faults: &mut Vec<Fault>) {
        let Family { name, kind, .. } = &stored.family;
        match self.own.get(name) {
            Some(own) if own.kind != *kind => return faults.push(of_own(name, *kind, own.kind)),
            Some(_) => {}
            None => {
                if let Some(fault) = collision(name, *kind, |name| self.kind(name)) {
                    return faults.push(fault);
                }
            }
        }
        let family_kind = self.kind_elsewhere(name).unwrap_or(*kind);
        let known = self.state.names.get(name);
        let mut gone: HashMap<u64, u32> = HashMap::new();
        for hash in self.gone(name).into_iter().flat_map(|gone| &gone.hashes) {
            *gone.entry(*hash).or_default() += 1;
        }
        let mut seen = HashSet::new();
        for (metric, hash) in stored.family.metrics.iter().zip(&stored.hashes) {
            if let Some(fault) = fault_of(name, family_kind, metric) {
                faults.push(fault);
                continue;
            }
            let there = known
                .and_then(|known| known.series.get(hash))
                .copied()
                .unwrap_or(0);
            let elsewhere = there > gone.get(hash).copied().unwrap_or(0);
            if !seen.insert(*hash) || elsewhere {
                faults.push(twice(name, metric));
            }
        }
    }
}

fn of_own(name: &str, kind: Kind, own: Kind) -> Fault {
    Fault::Own {
        name: name.to_owned(),
        kind: kind.name(),
        own: own.name(),
    }
}

fn twice(name: &str, metric: &Metric) -> Fault {
    Fault::Twice {
        name: name.to_owned(),
        metric: Shown(metric).to_string(),
    }
}

/// What is wrong with a metric of a family of this kind by itself.
fn fault_of(name: &str, kind: Kind, metric: &Metric) -> Option<Fault> {
    let (name, shown) = (|| name.to_owned(), || Shown(metric).to_string());
    // Compat: nobody looks at the values of gauge histograms there.
    if kind != Kind::GaugeHistogram && !metric.has(kind.value_field()) {
        return Some(Fault::Kind {
            name: name(),
            metric: shown(),
            kind: kind.name(),
        });
    }
    let mut previous: Option<&[u8]> = None;
    for (label, value) in &metric.labels {
        if previous == Some(label) {
            return Some(Fault::LabelTwice {
                name: name(),
                metric: shown(),
                label: label.to_vec(),
            });
        }
        let is_text = std::str::from_utf8(label).is_ok();
        if label.is_empty() || !is_text || label.starts_with(RESERVED) {
            return Some(Fault::LabelName {
                name: name(),
                metric: shown(),
                label: label.to_vec(),
            });
        }
        if **label == *b"quantile" && metric.has(Kind::Summary.value_field()) {
            return Some(Fault::Quantile {
                name: name(),
                metric: shown(),
            });
        }
        if std::str::from_utf8(value).is_err() {
            return Some(Fault::NotUtf8 {
                name: name(),
                metric: shown(),
                label: label.to_vec(),
                value: value.to_vec(),
            });
        }
        previous = Some(label);
    }
    None
}

/// Whether a family's name is a part of another's, or another's a part of it; `kind_of` knows the others.
fn collision(name: &str, kind: Kind, kind_of: impl Fn(&str) -> Option<Kind>) -> Option<Fault> {
    let fault = |what, other, other_name: &str| {
        Some(Fault::Collides {
            what,
            name: name.to_owned(),
            other,
            other_name: other_name.to_owned(),
        })
    };
    let base = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    if let Some(base) = base.filter(|base| !base.is_empty()) {
        match kind_of(base) {
            Some(Kind::Summary) if !name.ends_with("_bucket") => return fault("metric", "summary", base),
            Some(Kind::Histogram) => return fault("metric", "histogram", base),
            _ => {}
        }
    }
    if matches!(kind, Kind::Summary | Kind::Histogram) {
        for suffix in ["_count", "_sum"] {
            let part = format!("{name}{suffix}");
            if kind_of(&part).is_some() {
                return fault("histogram or summary", "metric", &part);
            }
        }
    }
    if kind == Kind::Histogram {
        let part = format!("{name}_bucket");
        if kind_of(&part).is_some() {
            return fault("histogram", "metric", &part);
        }
    }
    None
}

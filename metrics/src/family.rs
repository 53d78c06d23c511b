//! Families: one metric for each combination of label values.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

/// The metrics of one name, told apart by label values. Clones share the metrics.
///
/// [`Family::with`] takes a lock and searches; hot paths keep the handle that it returns.
#[derive(Clone)]
pub struct Family<M>(Arc<Cells<M>>);

struct Cells<M> {
    label_names: Vec<String>,
    make: Box<dyn Fn() -> M + Send + Sync>,
    /// A tree, because a reload may add or remove a hundred thousand at once.
    children: RwLock<BTreeMap<Key, M>>,
}

/// Label values of a metric, by which it is sorted.
struct Key(Vec<String>);

/// What a key is compared by, so that values are looked up as they are given.
trait Values {
    fn at(&self, index: usize) -> Option<&str>;
}

impl Values for Key {
    fn at(&self, index: usize) -> Option<&str> {
        self.0.get(index).map(String::as_str)
    }
}

impl Values for &[&str] {
    fn at(&self, index: usize) -> Option<&str> {
        self.get(index).copied()
    }
}

impl<'a> Borrow<dyn Values + 'a> for Key {
    fn borrow(&self) -> &(dyn Values + 'a) {
        self
    }
}

impl Ord for dyn Values + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        let mut index = 0;
        loop {
            match (self.at(index), other.at(index)) {
                (None, None) => return Ordering::Equal,
                (mine, theirs) if mine != theirs => return mine.cmp(&theirs),
                _ => index += 1,
            }
        }
    }
}

impl PartialOrd for dyn Values + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Values + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for dyn Values + '_ {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key {}

impl<M: Clone> Family<M> {
    pub(crate) fn new(label_names: &[&str], make: impl Fn() -> M + Send + Sync + 'static) -> Self {
        Family(Arc::new(Cells {
            label_names: label_names.iter().map(ToString::to_string).collect(),
            make: Box::new(make),
            children: RwLock::new(BTreeMap::new()),
        }))
    }

    /// The metric with these label values, in the order in which the names were given; made when it is new.
    ///
    /// # Panics
    /// If the number of values is not the number of names.
    pub fn with(&self, values: &[&str]) -> M {
        assert_eq!(
            values.len(),
            self.0.label_names.len(),
            "values of the labels {:?}",
            self.0.label_names
        );
        if let Some(metric) = self.0.children.read().get(&values as &dyn Values) {
            return metric.clone();
        }
        let key = Key(values.iter().map(ToString::to_string).collect());
        let mut children = self.0.children.write();
        children.entry(key).or_insert_with(|| (self.0.make)()).clone()
    }

    /// Removes the metric with these label values; handles to it go on counting into nothing.
    pub fn remove(&self, values: &[&str]) {
        self.0.children.write().remove(&values as &dyn Values);
    }

    /// Keeps the metrics whose label values satisfy `keep`.
    pub fn retain(&self, mut keep: impl FnMut(&[String]) -> bool) {
        self.0.children.write().retain(|key, _| keep(&key.0));
    }

    /// Removes all metrics.
    pub fn clear(&self) {
        self.0.children.write().clear();
    }

    pub(crate) fn label_names(&self) -> &[String] {
        &self.0.label_names
    }

    /// All metrics, sorted by label values.
    pub(crate) fn children(&self) -> Vec<(Vec<String>, M)> {
        let children = self.0.children.read();
        children
            .iter()
            .map(|(key, metric)| (key.0.clone(), metric.clone()))
            .collect()
    }
}

impl<M> fmt::Debug for Family<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family")
            .field("label_names", &self.0.label_names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_removed_and_sorted_by_their_values() {
        let family: Family<Arc<()>> = Family::new(&["a", "b"], Arc::default);
        let values = [["x", "z"], ["x", ""], ["", "y"], ["x\0", ""], ["x", "a"]];
        let made: Vec<_> = values.iter().map(|pair| family.with(pair)).collect();
        for (pair, metric) in values.iter().zip(&made) {
            assert!(Arc::ptr_eq(&family.with(pair), metric));
        }
        family.remove(&["x", "z"]);
        family.remove(&["nobody", "z"]);
        let left: Vec<Vec<String>> = family.children().into_iter().map(|(key, _)| key).collect();
        assert_eq!(left, [["", "y"], ["x", ""], ["x", "a"], ["x\0", ""]]);
    }
}

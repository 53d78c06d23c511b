//! Families: one metric for each combination of label values.

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
    /// Sorted by label values.
    children: RwLock<Vec<(Vec<String>, M)>>,
}

impl<M: Clone> Family<M> {
    pub(crate) fn new(label_names: &[&str], make: impl Fn() -> M + Send + Sync + 'static) -> Self {
        Family(Arc::new(Cells {
            label_names: label_names.iter().map(ToString::to_string).collect(),
            make: Box::new(make),
            children: RwLock::new(Vec::new()),
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
        {
            let children = self.0.children.read();
            if let Ok(at) = search(&children, values) {
                return children[at].1.clone();
            }
        }
        let mut children = self.0.children.write();
        match search(&children, values) {
            Ok(at) => children[at].1.clone(),
            Err(at) => {
                let metric = (self.0.make)();
                children.insert(
                    at,
                    (values.iter().map(ToString::to_string).collect(), metric.clone()),
                );
                metric
            }
        }
    }

    /// Removes the metric with these label values; handles to it go on counting into nothing.
    pub fn remove(&self, values: &[&str]) {
        self.retain(|child| !child.iter().eq(values.iter()));
    }

    /// Keeps the metrics whose label values satisfy `keep`.
    pub fn retain(&self, mut keep: impl FnMut(&[String]) -> bool) {
        self.0.children.write().retain(|(values, _)| keep(values));
    }

    /// Removes all metrics.
    pub fn clear(&self) {
        self.0.children.write().clear();
    }

    pub(crate) fn label_names(&self) -> &[String] {
        &self.0.label_names
    }

    pub(crate) fn children(&self) -> Vec<(Vec<String>, M)> {
        self.0.children.read().clone()
    }
}

fn search<M>(children: &[(Vec<String>, M)], values: &[&str]) -> Result<usize, usize> {
    children.binary_search_by(|(child, _)| child.iter().map(String::as_str).cmp(values.iter().copied()))
}

impl<M> fmt::Debug for Family<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family")
            .field("label_names", &self.0.label_names)
            .finish_non_exhaustive()
    }
}

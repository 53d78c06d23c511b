//! Whether an answer depends on more than the samples around each of its steps: on which series storage lists besides
//! those that have samples there, and in which order.
//!
//! Sums are put together from runs of series, and where a sum lies in the middle between two floats its last digit tells
//! how. `topk` keeps the first of equal values. Samples that contradict each other are resolved by what is read at once.
//! Whoever keeps answers in pieces has to know; for all others nobody looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes note for one query, where somebody wants to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrderWatch(Option<Arc<AtomicBool>>);

impl OrderWatch {
    /// Nothing has been noticed yet, or nobody wants to know.
    pub(crate) fn new(wanted: bool) -> Self {
        OrderWatch(wanted.then(Arc::default))
    }

    /// Whether somebody wants to know.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Notes that the order shows.
    pub(crate) fn note(&self) {
        if let Some(shows) = &self.0 {
            shows.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it does. True where nobody has looked.
    pub(crate) fn shows(&self) -> bool {
        self.0.as_ref().is_none_or(|shows| shows.load(Ordering::Relaxed))
    }
}

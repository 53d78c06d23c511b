//! Looking at a query while it is evaluated.

use std::sync::{Arc, OnceLock};

use crate::exec::Limits;

/// What a query holds, for whoever has a clone of it. Nothing before the query begins.
#[derive(Clone, Debug, Default)]
pub struct QueryWatch(Arc<OnceLock<Arc<Limits>>>);

impl QueryWatch {
    /// Bytes that its buffers take now.
    pub fn held_bytes(&self) -> usize {
        self.0.get().map_or(0, |limits| limits.held_bytes())
    }

    /// Most samples that it has held at a time so far.
    pub fn peak_samples(&self) -> usize {
        self.0.get().map_or(0, |limits| limits.peak_samples())
    }

    /// The query begins. What is watched is the first that was given this.
    pub(super) fn begin(&self, limits: &Arc<Limits>) {
        let _ = self.0.set(limits.clone());
    }
}

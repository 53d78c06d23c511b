//! What the head counts as it happens.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count of floats and one of histograms.
#[derive(Debug, Default)]
pub struct ByType {
    /// Floats.
    pub floats: AtomicU64,
    /// Histograms, native ones.
    pub histograms: AtomicU64,
}

impl ByType {
    /// Both together.
    pub fn all(&self) -> u64 {
        self.floats.load(Ordering::Relaxed) + self.histograms.load(Ordering::Relaxed)
    }
}

/// Counters of what the head has done since it was opened.
#[derive(Debug, Default)]
pub struct HeadCounters {
    /// Floats taken.
    pub floats_appended: AtomicU64,
    /// Histograms taken.
    pub histograms_appended: AtomicU64,
    /// Late samples taken.
    pub late_appended: AtomicU64,
    /// Those of them that are histograms.
    pub late_histograms_appended: AtomicU64,
    /// Samples refused because a newer one is stored.
    pub out_of_order: ByType,
    /// Samples refused because they are older than what the head takes.
    pub out_of_bounds: ByType,
    /// Samples refused because they are older than the out-of-order window.
    pub too_old: ByType,
    /// Exemplars taken.
    pub exemplars_appended: AtomicU64,
    /// Exemplars refused as older than the newest.
    pub exemplars_out_of_order: AtomicU64,
    /// Times that a series was refused because there were as many as there may be.
    pub series_refused: AtomicU64,
    /// Series created.
    pub series_created: AtomicU64,
    /// Series removed.
    pub series_removed: AtomicU64,
    /// Chunks removed.
    pub chunks_removed: AtomicU64,
    /// Truncations of the head.
    pub truncations: AtomicU64,
    /// Checkpoints written.
    pub checkpoints: AtomicU64,
    /// Checkpoints that failed.
    pub checkpoints_failed: AtomicU64,
    /// Checkpoints whose superseded files could not be removed.
    pub checkpoint_removals_failed: AtomicU64,
    /// Damaged chunks that were read from the logs again.
    pub chunks_healed: AtomicU64,
    /// Damaged chunks that the logs had nothing of.
    pub chunks_lost: AtomicU64,
}

//! How far an import has come, for whoever looks on.

use std::sync::atomic::{AtomicU64, Ordering};

use super::lines::Lines;
use crate::intake::Outcome;

/// Is told by the importer, and asked by others.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    lines: AtomicU64,
    stored: AtomicU64,
    refused: AtomicU64,
    bad_lines: AtomicU64,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of the stream, inflated.
    pub bytes: u64,
    /// Lines.
    pub lines: u64,
    /// Samples stored; what waits to be stored is in neither count.
    pub stored: u64,
    /// Samples refused.
    pub refused: u64,
    /// Lines that could not be read.
    pub bad_lines: u64,
}

impl Progress {
    pub(super) fn told(&self, lines: &Lines, outcome: &Outcome) {
        let (number, bytes) = lines.read_so_far();
        let pairs = [
            (&self.bytes, bytes),
            (&self.lines, number as u64),
            (&self.stored, outcome.stored),
            (&self.refused, outcome.refused()),
            (&self.bad_lines, outcome.bad_lines as u64),
        ];
        for (count, now) in pairs {
            count.store(now, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            bytes: count(&self.bytes),
            lines: count(&self.lines),
            stored: count(&self.stored),
            refused: count(&self.refused),
            bad_lines: count(&self.bad_lines),
        }
    }
}

//! Series that no transaction has logged yet: their record goes out before anything that speaks of them.

use std::sync::atomic::{AtomicBool, Ordering};

use model::labels::Labels;
use model::storage::SeriesError;
use parking_lot::Mutex;

use super::record::{RecordType, begin, put_series};
use super::{Compressor, Keep, Wal};

/// References must stay below this: chunk references of the reference pack them into 40 bits.
pub(crate) const REFERENCE_MAX: u64 = 1 << 40;
/// Bytes that the texts of a label set may have together. A set is written in one piece to the log, whose readers take
/// records of 512 MiB at most.
pub const LABELS_BYTES_MAX: usize = 64 << 20;
/// Bytes after which the record is queued without waiting for a transaction.
const RECORD_BYTES: usize = 1 << 20;

/// Whether the log can take the label set of a new series.
///
/// # Errors
/// Why not.
pub(crate) fn check_labels(labels: &Labels) -> Result<(), SeriesError> {
    if labels.is_empty() {
        return Err(SeriesError::Empty);
    }
    let (bytes, max) = (labels.as_bytes().len(), LABELS_BYTES_MAX);
    if bytes > max {
        return Err(SeriesError::TooLong { bytes, max });
    }
    Ok(())
}

/// The series record under construction.
#[derive(Default)]
pub(crate) struct FreshSeries {
    record: Mutex<Vec<u8>>,
    has_any: AtomicBool,
}

impl FreshSeries {
    /// Adds a series; true where there is so much that it should be queued. Called under the lock under which references are
    /// given out, so that records stand in the log in the order of references.
    pub(crate) fn add(&self, reference: u64, labels: &Labels) -> bool {
        let mut record = self.record.lock();
        if record.is_empty() {
            begin(&mut record, RecordType::Series);
        }
        put_series(&mut record, reference, labels);
        self.has_any.store(true, Ordering::Release);
        record.len() > RECORD_BYTES
    }

    /// Queues the record: it goes out before whatever is logged next.
    pub(crate) fn queue(&self, wal: &Wal, compressor: &mut Compressor) {
        if !self.has_any.load(Ordering::Acquire) {
            return;
        }
        // Held while queueing: whoever finds the record empty must find it in the queue.
        let mut record = self.record.lock();
        if !record.is_empty() {
            // Kept: whoever fails next, the series exist from now on.
            wal.enqueue(compressor, &record, Keep::Yes);
            record.clear();
            record.shrink_to(RECORD_BYTES);
        }
        self.has_any.store(false, Ordering::Release);
    }
}

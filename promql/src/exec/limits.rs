//! What a query may take: time, samples, bytes; and what it took.
//!
//! Bytes are counted where buffers are made or kept: rows, tables, label sets, accumulators, decoded columns, lists of
//! series, the answer itself. They count twice: for the query, and for all queries of the engine together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use model::labels::Labels;

use crate::engine::{CancelHandle, MemoryLimit, MemoryPool, QueryError};
use crate::parser::PATTERN_BYTES_MAX;
use crate::row::Row;

/// What the reference calls the place where most queries end early.
pub(crate) const EVALUATION: &str = "expression evaluation";
/// What a query may hold however little the process can take: rules and small panels go on beside heavy queries.
const SMALL_BYTES: usize = 1 << 20;
/// What a kept label set takes besides its text: counters, a table's entry.
const LABELS_OVERHEAD_BYTES: usize = 48;

/// The bounds of one query, shared by all threads that work on it.
#[derive(Debug)]
pub(crate) struct Limits {
    deadline: Option<Instant>,
    cancel: CancelHandle,
    samples: Meter,
    bytes: Meter,
    all_queries: Arc<MemoryPool>,
}

#[derive(Debug)]
struct Meter {
    max: usize,
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Meter {
    fn new(max: usize) -> Self {
        Meter {
            max,
            now: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    /// Adds `amount`; the new sum.
    fn add(&self, amount: usize) -> usize {
        let now = self.add_quietly(amount);
        self.peak.fetch_max(now, Ordering::Relaxed);
        now
    }

    /// The same, and the peak is not to know.
    fn add_quietly(&self, amount: usize) -> usize {
        self.now
            .fetch_add(amount, Ordering::Relaxed)
            .saturating_add(amount)
    }

    fn remove(&self, amount: usize) {
        self.now.fetch_sub(amount, Ordering::Relaxed);
    }
}

impl Limits {
    /// Bounds that start now.
    pub(crate) fn new(
        deadline: Option<Instant>,
        cancel: CancelHandle,
        max_samples: usize,
        max_bytes: usize,
        all_queries: Arc<MemoryPool>,
    ) -> Self {
        Limits {
            deadline,
            cancel,
            samples: Meter::new(max_samples),
            bytes: Meter::new(max_bytes),
            all_queries,
        }
    }

    /// Whether the query may go on.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        self.check_at(Instant::now())
    }

    /// The same in a loop over items of which one is nothing: looks up now and then only.
    pub(crate) fn check_now_and_then(&self, index: usize) -> Result<(), QueryError> {
        const ITEMS_UNCHECKED: usize = 512;
        match index % ITEMS_UNCHECKED {
            0 => self.check(),
            _ => Ok(()),
        }
    }

    /// The same for callers that know the time.
    pub(crate) fn check_at(&self, now: Instant) -> Result<(), QueryError> {
        self.check_canceled()?;
        match self.deadline {
            Some(deadline) if now >= deadline => Err(QueryError::Timeout { during: EVALUATION }),
            _ => Ok(()),
        }
    }

    /// Whether anybody waits for it still: costs nothing, even in the smallest of loops.
    pub(crate) fn check_canceled(&self) -> Result<(), QueryError> {
        match self.cancel.is_canceled() {
            true => Err(QueryError::Canceled { during: EVALUATION }),
            false => Ok(()),
        }
    }

    /// Most samples held at a time.
    pub(crate) fn peak_samples(&self) -> usize {
        self.samples.peak.load(Ordering::Relaxed)
    }

    /// What the patterns of `label_replace` may take together.
    pub(crate) fn pattern_bytes_max(&self) -> usize {
        pattern_bytes_max(self.bytes.max)
    }

    /// Most bytes held at a time.
    pub(crate) fn peak_bytes(&self) -> usize {
        self.bytes.peak.load(Ordering::Relaxed)
    }

    /// Bytes held now.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.now.load(Ordering::Relaxed)
    }

    /// Makes the peak what is held now; gives the peak so far, which goes back by
    /// [`restore_peak`](Self::restore_peak).
    pub(crate) fn restart_peak(&self) -> usize {
        self.bytes.peak.swap(self.held_bytes(), Ordering::Relaxed)
    }

    /// Takes an earlier peak into account again.
    pub(crate) fn restore_peak(&self, earlier: usize) {
        self.bytes.peak.fetch_max(earlier, Ordering::Relaxed);
    }

    /// Makes the peak of samples what is held now; gives what is held, and the peak so far.
    pub(crate) fn restart_sample_peak(&self) -> (usize, usize) {
        let now = self.samples.now.load(Ordering::Relaxed);
        (now, self.samples.peak.swap(now, Ordering::Relaxed))
    }

    /// Takes an earlier peak into account again.
    pub(crate) fn restore_sample_peak(&self, earlier: usize) {
        self.samples.peak.fetch_max(earlier, Ordering::Relaxed);
    }

    /// Whether `samples` more could be held for a moment, asked by one of several threads: what they hold together
    /// depends on chance, and is no peak.
    pub(crate) fn allow_samples(&self, samples: usize) -> Result<(), QueryError> {
        let sum = self.samples.add_quietly(samples);
        self.samples.remove(samples);
        self.judge_samples(sum)
    }

    /// Whether `samples` more could be held for a moment.
    pub(crate) fn touch_samples(&self, samples: usize) -> Result<(), QueryError> {
        let sum = self.samples.add(samples);
        self.samples.remove(samples);
        self.judge_samples(sum)
    }

    fn judge_samples(&self, sum: usize) -> Result<(), QueryError> {
        match sum <= self.samples.max {
            true => Ok(()),
            false => Err(QueryError::TooManySamples {
                max_samples: self.samples.max,
            }),
        }
    }

    /// Whether `bytes` more could be held for a moment.
    pub(crate) fn touch_bytes(self: &Arc<Self>, bytes: usize) -> Result<(), QueryError> {
        Held::new(self).add_bytes(bytes)
    }

    fn take_bytes(&self, bytes: usize) -> Result<(), QueryError> {
        let own = self.bytes.add(bytes);
        let all = self.all_queries.add(bytes);
        let over = if own > self.bytes.max {
            (own, self.bytes.max, MemoryLimit::Query)
        } else if all > self.all_queries.max_bytes() {
            (all, self.all_queries.max_bytes(), MemoryLimit::AllQueries)
        } else if own > SMALL_BYTES && all > self.all_queries.standing_bytes() {
            (all, self.all_queries.standing_bytes(), MemoryLimit::Process)
        } else {
            // Whatever takes long grows something, and so comes by here.
            return self.check_canceled();
        };
        let (needed_bytes, limit_bytes, limit) = over;
        Err(QueryError::TooManyBytes {
            operator: String::new(),
            span: None,
            needed_bytes,
            limit_bytes,
            limit,
        })
    }

    fn give_bytes(&self, bytes: usize) {
        self.bytes.remove(bytes);
        self.all_queries.remove(bytes);
    }
}

/// What some part of a query holds of its limits; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    limits: Arc<Limits>,
    samples: usize,
    bytes: usize,
}

impl Held {
    /// Nothing yet.
    pub(crate) fn new(limits: &Arc<Limits>) -> Self {
        Held {
            limits: limits.clone(),
            samples: 0,
            bytes: 0,
        }
    }

    /// Of whom it is held.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Holds `samples` more.
    pub(crate) fn add_samples(&mut self, samples: usize) -> Result<(), QueryError> {
        self.samples += samples;
        let sum = self.limits.samples.add(samples);
        self.limits.judge_samples(sum)
    }

    /// Holds `samples` more for one of several threads.
    pub(crate) fn add_samples_quietly(&mut self, samples: usize) -> Result<(), QueryError> {
        self.samples += samples;
        let sum = self.limits.samples.add_quietly(samples);
        self.limits.judge_samples(sum)
    }

    /// Samples that it holds.
    pub(crate) fn samples(&self) -> usize {
        self.samples
    }

    /// Holds `samples` instead of what it held.
    pub(crate) fn set_samples(&mut self, samples: usize) -> Result<(), QueryError> {
        let before = std::mem::take(&mut self.samples);
        self.limits.samples.remove(before);
        self.add_samples(samples)
    }

    /// Holds `bytes` more.
    pub(crate) fn add_bytes(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.limits.take_bytes(bytes)
    }

    /// Whether `bytes` more could be held for a moment.
    pub(crate) fn touch_bytes(&self, bytes: usize) -> Result<(), QueryError> {
        self.limits.touch_bytes(bytes)
    }

    /// Holds at least `bytes`: for buffers that only grow.
    pub(crate) fn grow_bytes(&mut self, bytes: usize) -> Result<(), QueryError> {
        match bytes.checked_sub(self.bytes) {
            Some(more) if more > 0 => self.add_bytes(more),
            _ => Ok(()),
        }
    }

    /// Holds `bytes` less.
    pub(crate) fn free_bytes(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.limits.give_bytes(bytes);
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes over what `other` holds.
    pub(crate) fn absorb(&mut self, mut other: Held) {
        self.samples += std::mem::take(&mut other.samples);
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.limits.samples.remove(self.samples);
        self.limits.give_bytes(self.bytes);
    }
}

/// What the compiled patterns of a query's selectors may take of all that it may, since they are compiled before anything
/// else is counted, by as many queries as there are slots; and once more those of its `label_replace`.
pub(crate) fn pattern_bytes_max(query_bytes_max: usize) -> usize {
    const SHARE: usize = 16;
    const LEAST: usize = 4 << 20;
    (query_bytes_max / SHARE).clamp(LEAST, PATTERN_BYTES_MAX)
}

/// Bytes that a row of floats takes at `steps` steps.
pub(crate) fn float_row_bytes(steps: usize) -> usize {
    size_of::<Row>().saturating_add(steps.saturating_mul(8).saturating_add(steps / 8))
}

/// Bytes that a row takes.
pub(crate) fn row_bytes(row: &Row) -> usize {
    let histograms: usize = row
        .histograms
        .iter()
        .map(|(_, histogram)| 16 + histogram.size_bytes())
        .sum();
    float_row_bytes(row.values.len()) + histograms
}

/// Bytes that a kept label set takes.
pub(crate) fn labels_bytes(labels: &Labels) -> usize {
    labels.as_bytes().len() + LABELS_OVERHEAD_BYTES
}

/// Samples that a row counts for: 1 a float, a histogram by its size.
pub(crate) fn row_samples(row: &Row) -> usize {
    let extra: usize = row
        .histograms
        .iter()
        .map(|(_, histogram)| histogram.sample_weight())
        .sum();
    row.present.count() - row.histograms.len() + extra
}

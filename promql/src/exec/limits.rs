//! What a query may take: time, samples, bytes; and what it took.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::engine::{CancelHandle, QueryError};
use crate::row::Row;

/// What the reference calls the place where most queries end early.
pub(crate) const EVALUATION: &str = "expression evaluation";

/// The bounds of one query, shared by all threads that work on it.
#[derive(Debug)]
pub(crate) struct Limits {
    deadline: Option<Instant>,
    cancel: CancelHandle,
    samples: Meter,
    bytes: Meter,
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

    /// Adds `amount`; false when that is too much.
    fn add(&self, amount: usize) -> bool {
        let now = self
            .now
            .fetch_add(amount, Ordering::Relaxed)
            .saturating_add(amount);
        self.peak.fetch_max(now, Ordering::Relaxed);
        now <= self.max
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
    ) -> Self {
        Limits {
            deadline,
            cancel,
            samples: Meter::new(max_samples),
            bytes: Meter::new(max_bytes),
        }
    }

    /// Whether the query may go on.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.cancel.is_canceled() {
            return Err(QueryError::Canceled { during: EVALUATION });
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(QueryError::Timeout { during: EVALUATION }),
            _ => Ok(()),
        }
    }

    /// Most samples held at a time.
    pub(crate) fn peak_samples(&self) -> usize {
        self.samples.peak.load(Ordering::Relaxed)
    }

    /// Most bytes held at a time.
    pub(crate) fn peak_bytes(&self) -> usize {
        self.bytes.peak.load(Ordering::Relaxed)
    }

    /// Whether `samples` more could be held for a moment.
    pub(crate) fn touch_samples(&self, samples: usize) -> Result<(), QueryError> {
        let fits = self.samples.add(samples);
        self.samples.remove(samples);
        match fits {
            true => Ok(()),
            false => Err(self.too_many_samples()),
        }
    }

    fn too_many_samples(&self) -> QueryError {
        QueryError::TooManySamples {
            max_samples: self.samples.max,
        }
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

    /// Holds `samples` more.
    pub(crate) fn add_samples(&mut self, samples: usize) -> Result<(), QueryError> {
        self.samples += samples;
        match self.limits.samples.add(samples) {
            true => Ok(()),
            false => Err(self.limits.too_many_samples()),
        }
    }

    /// Holds `samples` instead of what it held.
    pub(crate) fn set_samples(&mut self, samples: usize) -> Result<(), QueryError> {
        let before = std::mem::take(&mut self.samples);
        self.limits.samples.remove(before);
        self.add_samples(samples)
    }

    /// Holds `bytes` more.
    pub(crate) fn add_bytes(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.bytes += bytes;
        match self.limits.bytes.add(bytes) {
            true => Ok(()),
            false => Err(QueryError::TooManyBytes {
                budget_bytes: self.limits.bytes.max,
            }),
        }
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
        self.limits.bytes.remove(self.bytes);
    }
}

/// Bytes that a row takes.
pub(crate) fn row_bytes(row: &Row) -> usize {
    let histograms: usize = row
        .histograms
        .iter()
        .map(|(_, histogram)| 16 + histogram.size_bytes())
        .sum();
    size_of::<Row>() + row.values.len() * 8 + row.values.len() / 8 + histograms
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

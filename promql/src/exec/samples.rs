//! The samples of a range selector, as they are stored.

use std::ops::Range;
use std::sync::Arc;

use model::columns::Columns;
use model::histogram::{FloatHistogram, Histogram};
use model::sample::is_stale_nan;
use model::storage::SeriesSet;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::engine::{ExecutionError, QueryError};
use crate::kernels::Extension;
use crate::plan::SampleSelect;
use crate::value::{Series, Value};

use super::Execution;
use super::limits::{Held, labels_bytes};
use super::ordered;
use super::pipeline::Shared;
use super::profile::Took;

/// Series that a thread reads at a time.
const PART_SERIES: usize = 64;

impl Execution<'_> {
    /// The matrix of a range selector.
    pub(super) fn samples(&self, select: &SampleSelect, held: &mut Held) -> Result<Value, QueryError> {
        let frame = self.enter();
        let set = self.series(&select.matchers)?;
        let parts = set.len().div_ceil(PART_SERIES);
        let shared = &self.shared;
        let range = |part: usize| part * PART_SERIES..set.len().min((part + 1) * PART_SERIES);
        let read = |part: usize| Part::read(shared, &*set, select, range(part));
        let parts: Vec<_> = match parts {
            0 | 1 => (0..parts).map(read).collect(),
            _ => shared.crew.install(|helped| match helped {
                true => (0..parts).into_par_iter().map(read).collect(),
                false => (0..parts).map(read).collect(),
            }),
        };
        let mut took = Took::default();
        let mut all = Vec::with_capacity(set.len());
        for part in parts {
            let part = part?;
            held.absorb(part.held);
            all.extend(part.series);
            took.series += part.took.series;
            took.samples += part.took.samples;
            took.samples_decoded += part.took.samples_decoded;
        }
        let samples = took.samples as usize;
        self.counts
            .borrow_mut()
            .add_samples(self.plan.steps.start_ms, samples);
        ordered::sort_by(&mut all, &self.shared.limits, |a, b| a.labels.cmp(&b.labels))?;
        self.leave_samples(frame, set.len(), &took);
        Ok(Value::Matrix(all))
    }
}

/// Some of the series.
struct Part {
    series: Vec<Series>,
    took: Took,
    held: Held,
}

impl Part {
    fn read(
        shared: &Shared,
        set: &dyn SeriesSet,
        select: &SampleSelect,
        indices: Range<usize>,
    ) -> Result<Part, QueryError> {
        let mut part = Part {
            series: Vec::with_capacity(indices.len()),
            took: Took::default(),
            held: Held::new(&shared.limits),
        };
        let mut columns = Columns::default();
        for index in indices {
            shared.limits.check()?;
            set.read(index, select.range(), &mut columns)?;
            part.took.samples_decoded += columns.len() as u64;
            let (mut floats, histograms) = live_samples(&columns);
            match select.extension {
                Extension::None => {}
                Extension::Anchored if !histograms.is_empty() => {
                    return Err(ExecutionError::ExtendedHistograms("anchored").into());
                }
                Extension::Smoothed if !histograms.is_empty() => {
                    return Err(ExecutionError::ExtendedHistograms("smoothed").into());
                }
                extension => floats = extended(&floats, select, extension),
            }
            part.add(set, index, floats, histograms)?;
        }
        Ok(part)
    }

    fn add(
        &mut self,
        set: &dyn SeriesSet,
        index: usize,
        floats: Floats,
        histograms: Vec<(i64, Arc<FloatHistogram>)>,
    ) -> Result<(), QueryError> {
        let (mut samples, mut histogram_bytes) = (floats.values.len(), 0);
        for (_, histogram) in &histograms {
            samples += histogram.sample_weight();
            histogram_bytes += 16 + histogram.size_bytes();
        }
        if samples == 0 {
            return Ok(());
        }
        let labels = set.labels(index);
        let floats_bytes = floats.values.len() * 16;
        self.held.add_samples(samples)?;
        self.held
            .add_bytes(size_of::<Series>() + labels_bytes(&labels) + floats_bytes + histogram_bytes)?;
        self.took.series += 1;
        self.took.samples += samples as u64;
        self.series.push(Series {
            labels,
            timestamps_ms: floats.timestamps_ms,
            values: floats.values,
            histograms,
        });
        Ok(())
    }
}

/// Floats with their times, one each.
struct Floats {
    timestamps_ms: Arc<[i64]>,
    values: Vec<f64>,
}

impl FromIterator<(i64, f64)> for Floats {
    fn from_iter<I: IntoIterator<Item = (i64, f64)>>(pairs: I) -> Self {
        let (timestamps_ms, values): (Vec<i64>, Vec<f64>) = pairs.into_iter().unzip();
        Floats {
            timestamps_ms: timestamps_ms.into(),
            values,
        }
    }
}

/// The floats of an extended range.
fn extended(floats: &Floats, select: &SampleSelect, extension: Extension) -> Floats {
    let end_ms = select.windows.ends.start_ms;
    let start_ms = end_ms - select.windows.range_ms;
    let times = floats.timestamps_ms.iter().copied();
    let pairs: Vec<_> = times.zip(floats.values.iter().copied()).collect();
    let smoothed = extension == Extension::Smoothed;
    super::smoothed::extend(&pairs, start_ms, end_ms, smoothed)
        .into_iter()
        .collect()
}

/// Floats and histograms that are no staleness markers.
fn live_samples(columns: &Columns) -> (Floats, Vec<(i64, Arc<FloatHistogram>)>) {
    let times = columns.timestamps_ms.iter().copied();
    let pairs = times.zip(columns.values.iter().copied());
    if columns.histograms.is_empty() {
        let has_nan = columns
            .values
            .iter()
            .fold(false, |any, value| any | value.is_nan());
        let floats = match has_nan {
            true => pairs.filter(|(_, value)| !is_stale_nan(*value)).collect(),
            false => Floats {
                timestamps_ms: columns.timestamps_ms.as_slice().into(),
                values: columns.values.clone(),
            },
        };
        return (floats, Vec::new());
    }
    let mut floats = Vec::with_capacity(columns.len());
    let mut found = Vec::with_capacity(columns.histograms.len());
    let mut histograms = columns.histograms.iter().peekable();
    for (row, (time_ms, value)) in pairs.enumerate() {
        if let Some((_, histogram)) = histograms.next_if(|(at, _)| *at as usize == row) {
            let histogram = match histogram {
                Histogram::Float(histogram) => histogram.clone(),
                Histogram::Int(histogram) => Arc::new(histogram.to_float()),
            };
            if !is_stale_nan(histogram.sum) {
                found.push((time_ms, histogram));
            }
        } else if !is_stale_nan(value) {
            floats.push((time_ms, value));
        }
    }
    (floats.into_iter().collect(), found)
}

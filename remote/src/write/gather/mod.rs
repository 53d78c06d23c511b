//! From series as they are read to a transaction: the part that both versions share.
//!
//! Series are read one after the other ([`Gather::begin`] … [`Gather::end`]); some hundred together are then looked up. Until
//! then their samples bear the place of their series in place of a reference.

mod gathered;
mod look_up;

use std::borrow::Cow;

use model::histogram::Histogram;
use model::packed_sets::PackedSets;
use model::sample::{Exemplar, Metadata};
use model::storage::{AppendBatch, Appender, FloatSample, HistogramSample, SeriesRef};

use super::error::{DecodeError, Fault, LabelFault};
use super::labels::{ExemplarLabels, Pair, Shown, exemplar_labels, pack};
use crate::budget::{Budget, OverBudget};
use crate::histogram::{Timed, zero_like};

pub(super) use gathered::Gathered;

/// Series that are looked up together, at most …
const LOOKED_UP_TOGETHER: usize = 256;
/// … unless their labels have more bytes than this.
const LOOKED_UP_BYTES: usize = 256 << 10;
/// Memory that what is read of a request may take: some two million samples.
const GATHERED_BYTES_MAX: usize = 64 << 20;
/// Bytes of all label sets of a request. They are not kept, but symbols may be named again and again.
const LABEL_BYTES_TOTAL_MAX: usize = 256 << 20;
/// The reference of a series that is not to be stored.
const GONE: SeriesRef = SeriesRef(u64::MAX);

/// How a request is to be understood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// What is later than this is not stored.
    pub(super) latest_ms: i64,
    /// Start timestamps become samples.
    pub(super) start_zeros: bool,
    /// Exemplars come after all samples of their series.
    pub(super) samples_first: bool,
}

impl From<OverBudget> for DecodeError {
    fn from(_: OverBudget) -> Self {
        DecodeError::Memory {
            what: "series and samples",
            max: GATHERED_BYTES_MAX,
        }
    }
}

/// The series that are read.
pub(super) struct Gather<'m, 'r> {
    appender: &'r dyn Appender,
    rules: Rules,
    batch: &'r mut AppendBatch,
    sets: &'r mut PackedSets,
    found: &'r mut Vec<Option<SeriesRef>>,
    pub(super) budget: Budget,
    label_bytes: usize,
    /// Labels of the series that is read.
    pub(super) pairs: Vec<Pair<'m>>,
    now: Reading,
    /// Series that are looked up next begin here …
    first: Lengths,
    /// … and their places here.
    first_series: usize,
    /// What is to be known of series that are looked up next.
    waiting: Vec<Waiting>,
    has_gone: bool,
    result: Gathered<'m>,
}

/// Lengths of the batch's lists.
#[derive(Clone, Copy, Default)]
struct Lengths {
    floats: usize,
    histograms: usize,
    exemplars: usize,
    metadata: usize,
    start_floats: usize,
    start_histograms: usize,
}

/// The series that is read.
#[derive(Default)]
struct Reading {
    began: Lengths,
    /// Samples that there are, be they stored or not.
    samples: u64,
    histograms: u64,
    passed_over: u64,
    /// What is wrong with what it brings.
    faults: Vec<Fault>,
}

struct Waiting {
    /// It is made where it is new.
    creates: bool,
    /// There are exemplars of it …
    has_exemplars: bool,
    /// … and they are stored, be it new or not.
    keeps_exemplars: bool,
}

impl<'m, 'r> Gather<'m, 'r> {
    pub(super) fn new(
        appender: &'r dyn Appender,
        rules: Rules,
        batch: &'r mut AppendBatch,
        sets: &'r mut PackedSets,
        found: &'r mut Vec<Option<SeriesRef>>,
    ) -> Self {
        sets.clear();
        Gather {
            appender,
            rules,
            batch,
            sets,
            found,
            budget: Budget::new(GATHERED_BYTES_MAX),
            label_bytes: 0,
            pairs: Vec::new(),
            now: Reading::default(),
            first: Lengths::default(),
            first_series: 0,
            waiting: Vec::new(),
            has_gone: false,
            result: Gathered::default(),
        }
    }

    /// A series begins.
    pub(super) fn begin(&mut self) {
        self.pairs.clear();
        self.now = Reading {
            began: self.lengths(),
            faults: std::mem::take(&mut self.now.faults),
            ..Reading::default()
        };
        self.now.faults.clear();
    }

    /// Of the series that is read: how many samples and histograms there are.
    pub(super) fn samples(&self) -> u64 {
        self.now.samples + self.now.histograms
    }

    /// A float of the series that is read.
    #[inline]
    pub(super) fn float(&mut self, value: f64, timestamp_ms: i64, start_ms: i64) -> Result<(), DecodeError> {
        self.now.samples += 1;
        if self.starts(timestamp_ms, start_ms) {
            self.budget.take(size_of::<u32>())?;
            self.batch.start_floats.push(self.batch.floats.len() as u32);
            self.push_float(start_ms, 0.0)?;
        }
        if timestamp_ms > self.rules.latest_ms {
            return self.fault(Fault::Future { timestamp_ms });
        }
        self.push_float(timestamp_ms, value)
    }

    #[inline]
    fn push_float(&mut self, timestamp_ms: i64, value: f64) -> Result<(), DecodeError> {
        let series = self.result.series.len() as u32;
        self.budget.push(&mut self.result.floats_of, series)?;
        let sample = FloatSample {
            series: GONE,
            timestamp_ms,
            value,
        };
        Ok(self.budget.push(&mut self.batch.floats, sample)?)
    }

    /// A histogram of the series that is read.
    pub(super) fn histogram(&mut self, timed: Timed) -> Result<(), DecodeError> {
        self.now.histograms += 1;
        let Timed {
            timestamp_ms,
            start_ms,
            histogram,
        } = timed;
        let histogram = match histogram {
            Ok(histogram) => histogram,
            Err(error) => return Ok(self.budget.push(&mut self.now.faults, error.into())?),
        };
        if self.starts(timestamp_ms, start_ms) {
            self.budget.take(size_of::<u32>())?;
            let at = self.batch.histograms.len() as u32;
            self.batch.start_histograms.push(at);
            self.push_histogram(start_ms, zero_like(&histogram))?;
        }
        if timestamp_ms > self.rules.latest_ms {
            return self.fault(Fault::Future { timestamp_ms });
        }
        self.push_histogram(timestamp_ms, histogram)
    }

    fn push_histogram(&mut self, timestamp_ms: i64, histogram: Histogram) -> Result<(), DecodeError> {
        let series = self.result.series.len() as u32;
        self.budget.push(&mut self.result.histograms_of, series)?;
        // The shared part of it is not in the list.
        self.budget.take(size_of::<model::histogram::FloatHistogram>())?;
        let sample = HistogramSample {
            series: GONE,
            timestamp_ms,
            histogram,
        };
        Ok(self.budget.push(&mut self.batch.histograms, sample)?)
    }

    /// Compat: a start that is not before its sample says nothing (remote-write: start-timestamp/equal-ct-zero).
    #[inline]
    fn starts(&self, timestamp_ms: i64, start_ms: i64) -> bool {
        self.rules.start_zeros && start_ms != 0 && timestamp_ms != 0 && start_ms < timestamp_ms
    }

    /// An exemplar of the series that is read.
    pub(super) fn exemplar(
        &mut self,
        pairs: &[Pair<'m>],
        value: f64,
        timestamp_ms: i64,
    ) -> Result<(), DecodeError> {
        if timestamp_ms > self.rules.latest_ms {
            return Ok(());
        }
        let labels = match exemplar_labels(pairs) {
            ExemplarLabels::Kept(labels) => labels,
            ExemplarLabels::TooLong => return Ok(()),
            // Compat: counted as written (remote-write: v2/exemplar/invalid-utf8).
            ExemplarLabels::NotUtf8 => {
                self.now.passed_over += 1;
                return Ok(());
            }
        };
        self.budget.take(labels.as_bytes().len())?;
        let exemplar = Exemplar {
            labels,
            value,
            timestamp_ms: Some(timestamp_ms),
        };
        let series = self.result.series.len() as u32;
        self.budget.push(&mut self.result.exemplars_of, series)?;
        Ok(self.budget.push(&mut self.batch.exemplars, (GONE, exemplar))?)
    }

    /// Metadata of the series that is read.
    pub(super) fn metadata(&mut self, metadata: Metadata) -> Result<(), DecodeError> {
        self.budget.take(metadata.help.len() + metadata.unit.len())?;
        let series = self.result.series.len() as u32;
        self.budget.push(&mut self.result.metadata_of, series)?;
        Ok(self.budget.push(&mut self.batch.metadata, (GONE, metadata))?)
    }

    /// Something else is wrong with the series that is read.
    pub(super) fn fault(&mut self, fault: Fault) -> Result<(), DecodeError> {
        Ok(self.budget.push(&mut self.now.faults, fault)?)
    }

    /// The series that is read is not one. Its samples count as ones with bad labels where `are_invalid`.
    pub(super) fn refuse(&mut self, fault: &Fault, are_invalid: bool) {
        self.truncate(self.now.began);
        if are_invalid {
            self.result.invalid += self.samples();
        }
        let pairs = &self.pairs;
        self.result.faults.note(fault, || Shown(Cow::Borrowed(pairs)));
        self.result.is_refused = true;
    }

    /// The series that is read is complete; `message` is it.
    pub(super) fn end(&mut self, message: &'m [u8]) -> Result<(), DecodeError> {
        if let Err(fault) = pack(&mut self.pairs, self.sets) {
            self.refuse_labels(fault);
            return Ok(());
        }
        let pairs = &self.pairs;
        for fault in self.now.faults.drain(..) {
            self.result.faults.note(&fault, || Shown(Cow::Borrowed(pairs)));
            self.result.is_refused = true;
            self.result.is_whole_refused = true;
        }
        self.result.exemplars_passed_over += self.now.passed_over;
        let (began, ended) = (self.now.began, self.lengths());
        let (floats, histograms) = (ended.floats > began.floats, ended.histograms > began.histograms);
        let waiting = Waiting {
            creates: floats || histograms,
            has_exemplars: ended.exemplars > began.exemplars,
            keeps_exemplars: floats || (histograms && self.rules.samples_first),
        };
        self.budget.push(&mut self.waiting, waiting)?;
        self.budget.push(&mut self.result.series, message)?;
        if self.sets.len() >= LOOKED_UP_TOGETHER || self.sets.bytes() >= LOOKED_UP_BYTES {
            self.look_up()?;
        }
        Ok(())
    }

    /// The series that is read is complete, and has no samples: 2.0 has none such.
    pub(super) fn end_empty(&mut self) -> Result<(), DecodeError> {
        let packed = pack(&mut self.pairs, self.sets);
        let fault = match packed {
            Ok(()) => {
                self.sets.remove_last();
                Fault::NoSamples
            }
            Err(fault) => Fault::Labels(fault),
        };
        self.refuse(&fault, false);
        Ok(())
    }

    /// Compat: 1.0 drops such a series without a word to the sender (remote-write: v1/missing-name).
    fn refuse_labels(&mut self, fault: LabelFault) {
        let fault = Fault::Labels(fault);
        if self.rules.samples_first {
            self.refuse(&fault, true);
            return;
        }
        self.truncate(self.now.began);
        self.result.invalid += 1;
        tracing::debug!(series = %Shown(Cow::Borrowed(&self.pairs)), %fault, "A pushed series was dropped");
    }

    /// All series are read.
    pub(super) fn finish(mut self) -> Result<Gathered<'m>, DecodeError> {
        self.look_up()?;
        if self.has_gone {
            self.remove_gone();
        }
        Ok(self.result)
    }

    fn lengths(&self) -> Lengths {
        Lengths {
            floats: self.batch.floats.len(),
            histograms: self.batch.histograms.len(),
            exemplars: self.batch.exemplars.len(),
            metadata: self.batch.metadata.len(),
            start_floats: self.batch.start_floats.len(),
            start_histograms: self.batch.start_histograms.len(),
        }
    }

    fn truncate(&mut self, to: Lengths) {
        let (batch, result) = (&mut *self.batch, &mut self.result);
        batch.floats.truncate(to.floats);
        batch.histograms.truncate(to.histograms);
        batch.exemplars.truncate(to.exemplars);
        batch.metadata.truncate(to.metadata);
        batch.start_floats.truncate(to.start_floats);
        batch.start_histograms.truncate(to.start_histograms);
        result.floats_of.truncate(to.floats);
        result.histograms_of.truncate(to.histograms);
        result.exemplars_of.truncate(to.exemplars);
        result.metadata_of.truncate(to.metadata);
    }
}

//! From series as they are read to a transaction: the part that both versions share.
//!
//! Series are read one after the other ([`Gather::begin`] … [`Gather::end`]); some hundred together are then looked up. Until
//! then their samples bear the place of their series in place of a reference.

use std::borrow::Cow;

use model::histogram::Histogram;
use model::packed_sets::{PackedSet, PackedSets};
use model::sample::{Exemplar, Metadata};
use model::storage::{AppendBatch, Appender, BatchList, FloatSample, HistogramSample, Refusal, SeriesRef};

use super::error::{DecodeError, Fault, Faults, LabelFault};
use super::labels::{ExemplarLabels, Pair, Shown, exemplar_labels, pack};
use super::v2::Symbols;
use super::{v1, v2};
use crate::budget::{Budget, OverBudget};
use crate::histogram::{Timed, zero_like};

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

/// What was read.
pub(super) struct Gathered<'m> {
    /// Messages of the series.
    series: Vec<&'m [u8]>,
    /// The series of each item of the batch's lists.
    floats_of: Vec<u32>,
    histograms_of: Vec<u32>,
    exemplars_of: Vec<u32>,
    metadata_of: Vec<u32>,
    /// Where labels are references.
    pub(super) symbols: Option<Symbols<'m>>,
    pub(super) faults: Faults,
    /// Something is not stored, and the sender is to know.
    pub(super) is_refused: bool,
    /// It is a sample of a series that could be stored: 1.0 stores nothing then.
    pub(super) is_whole_refused: bool,
    /// Samples with labels that make no sense; in 1.0, series.
    pub(super) invalid: u64,
    /// Exemplars that count as written and are not.
    pub(super) exemplars_passed_over: u64,
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
            result: Gathered {
                series: Vec::new(),
                floats_of: Vec::new(),
                histograms_of: Vec::new(),
                exemplars_of: Vec::new(),
                metadata_of: Vec::new(),
                symbols: None,
                faults: Faults::default(),
                is_refused: false,
                is_whole_refused: false,
                invalid: 0,
                exemplars_passed_over: 0,
            },
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

    /// Gives the series that were read since the last time their references.
    fn look_up(&mut self) -> Result<(), DecodeError> {
        self.label_bytes += self.sets.bytes();
        if self.label_bytes > LABEL_BYTES_TOTAL_MAX {
            return Err(DecodeError::Memory {
                what: "label sets",
                max: LABEL_BYTES_TOTAL_MAX,
            });
        }
        self.appender.find(self.sets, self.found);
        let mut is_incomplete = false;
        for number in 0..self.waiting.len() {
            let waiting = &mut self.waiting[number];
            match self.found[number] {
                Some(_) => waiting.keeps_exemplars = true,
                None if waiting.creates => {
                    self.has_gone |= waiting.has_exemplars && !waiting.keeps_exemplars;
                    self.found[number] = self.create(number);
                }
                None => is_incomplete |= waiting.has_exemplars,
            }
        }
        if is_incomplete {
            self.find_others();
        }
        let base = self.first_series;
        let found = &*self.found;
        let reference = |series: &u32| found[*series as usize - base].unwrap_or(GONE);
        let first = self.first;
        let batch = &mut *self.batch;
        for (item, series) in batch.floats[first.floats..]
            .iter_mut()
            .zip(&self.result.floats_of[first.floats..])
        {
            item.series = reference(series);
        }
        let owners = &self.result.histograms_of[first.histograms..];
        for (item, series) in batch.histograms[first.histograms..].iter_mut().zip(owners) {
            item.series = reference(series);
        }
        let owners = &self.result.exemplars_of[first.exemplars..];
        for (item, series) in batch.exemplars[first.exemplars..].iter_mut().zip(owners) {
            item.0 = match self.waiting[*series as usize - base].keeps_exemplars {
                true => reference(series),
                false => GONE,
            };
        }
        let owners = &self.result.metadata_of[first.metadata..];
        for (item, series) in batch.metadata[first.metadata..].iter_mut().zip(owners) {
            item.0 = reference(series);
        }
        self.first = self.lengths();
        self.first_series = self.result.series.len();
        self.waiting.clear();
        self.sets.clear();
        Ok(())
    }

    /// Makes a series, which is new.
    fn create(&mut self, number: usize) -> Option<SeriesRef> {
        let set = self.sets.get(number);
        let created = match set.to_labels() {
            Some(labels) => self.appender.resolve(&labels).map_err(Fault::Series),
            None => Err(Fault::Labels(LabelFault::NotUtf8)),
        };
        self.has_gone |= created.is_err();
        let fault = match created {
            Ok(series) => return Some(series),
            Err(fault) => fault,
        };
        let is_told = self.rules.samples_first || !matches!(fault, Fault::Labels(_));
        if matches!(fault, Fault::Labels(_)) {
            self.result.invalid += match self.rules.samples_first {
                true => self.items_of(number),
                false => 1,
            };
        }
        if is_told {
            self.result.faults.note(&fault, || shown(set));
            self.result.is_refused = true;
        }
        None
    }

    /// Samples and histograms of a series that waits.
    fn items_of(&self, number: usize) -> u64 {
        let series = (self.first_series + number) as u32;
        let count = |owners: &[u32]| owners.iter().filter(|of| **of == series).count() as u64;
        let starts = |starts: &[u32], owners: &[u32]| {
            starts.iter().filter(|at| owners[**at as usize] == series).count() as u64
        };
        let result = &self.result;
        count(&result.floats_of[self.first.floats..]) + count(&result.histograms_of[self.first.histograms..])
            - starts(
                &self.batch.start_floats[self.first.start_floats..],
                &result.floats_of,
            )
            - starts(
                &self.batch.start_histograms[self.first.start_histograms..],
                &result.histograms_of,
            )
    }

    /// Of series that bring nothing but exemplars, and were not known: they may be by now.
    #[cold]
    fn find_others(&mut self) {
        let mut again = Vec::new();
        self.appender.find(self.sets, &mut again);
        for (number, waiting) in self.waiting.iter_mut().enumerate() {
            if self.found[number].is_none() && !waiting.creates {
                self.found[number] = again[number];
                waiting.keeps_exemplars = again[number].is_some();
            }
        }
        self.has_gone = true;
    }

    /// Takes out what is not to be stored.
    #[cold]
    fn remove_gone(&mut self) {
        let (batch, result) = (&mut *self.batch, &mut self.result);
        remove(
            &mut batch.floats,
            &mut result.floats_of,
            &mut batch.start_floats,
            |sample| sample.series == GONE,
        );
        remove(
            &mut batch.histograms,
            &mut result.histograms_of,
            &mut batch.start_histograms,
            |sample| sample.series == GONE,
        );
        let none = &mut Vec::new();
        remove(&mut batch.exemplars, &mut result.exemplars_of, none, |item| {
            item.0 == GONE
        });
        remove(&mut batch.metadata, &mut result.metadata_of, none, |item| {
            item.0 == GONE
        });
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

impl Gathered<'_> {
    /// The place of the series of an item.
    pub(super) fn owner(&self, list: BatchList, index: u32) -> u32 {
        let owners = match list {
            BatchList::Floats => &self.floats_of,
            BatchList::Histograms => &self.histograms_of,
            BatchList::Exemplars => &self.exemplars_of,
        };
        owners[index as usize]
    }

    /// Notes why the store has refused an item.
    pub(super) fn note_refusal(
        &mut self,
        batch: &AppendBatch,
        list: BatchList,
        index: u32,
        refusal: Refusal,
    ) {
        let at = index as usize;
        let fault = match list {
            BatchList::Floats => Fault::Refused {
                refusal,
                timestamp_ms: batch.floats[at].timestamp_ms,
            },
            BatchList::Histograms => {
                let sample = &batch.histograms[at];
                let checked = match &sample.histogram {
                    Histogram::Int(histogram) => histogram.validate(),
                    Histogram::Float(histogram) => histogram.validate(),
                };
                match checked {
                    Err(error) if refusal == Refusal::InvalidHistogram => Fault::Histogram {
                        error,
                        timestamp_ms: sample.timestamp_ms,
                    },
                    _ => Fault::Refused {
                        refusal,
                        timestamp_ms: sample.timestamp_ms,
                    },
                }
            }
            BatchList::Exemplars => Fault::Refused {
                refusal,
                timestamp_ms: batch.exemplars[at].1.timestamp_ms.unwrap_or(0),
            },
        };
        let message = self.series[self.owner(list, index) as usize];
        let symbols = self.symbols.as_ref();
        self.faults.note(&fault, || {
            let mut pairs = Vec::new();
            let read = match symbols {
                Some(symbols) => v2::labels_of(message, symbols, &mut pairs),
                None => v1::labels_of(message, &mut pairs),
            };
            debug_assert!(read.is_ok(), "they were read before");
            Shown(Cow::Owned(pairs))
        });
    }
}

fn shown(set: PackedSet<'_>) -> Shown<'_> {
    Shown(Cow::Owned(set.pairs().collect()))
}

/// Removes items, with what is said of them: whose they are, and which of them are starts.
fn remove<T>(items: &mut Vec<T>, owners: &mut Vec<u32>, starts: &mut Vec<u32>, is_gone: impl Fn(&T) -> bool) {
    let gone: Vec<bool> = items.iter().map(&is_gone).collect();
    let mut places = Vec::with_capacity(starts.len());
    let mut next_start = starts.iter().peekable();
    let mut kept = 0;
    for (at, gone) in gone.iter().enumerate() {
        let is_start = next_start.next_if(|start| **start as usize == at).is_some();
        if !gone {
            if is_start {
                places.push(kept);
            }
            kept += 1;
        }
    }
    let mut each = gone.iter();
    items.retain(|_| !each.next().is_some_and(|gone| *gone));
    let mut each = gone.iter();
    owners.retain(|_| !each.next().is_some_and(|gone| *gone));
    *starts = places;
}

//! What was read of a request: whose each item is, and what is wrong.

use std::borrow::Cow;

use model::histogram::Histogram;
use model::storage::{AppendBatch, BatchList, Refusal};

use super::super::error::{Fault, Faults};
use super::super::labels::Shown;
use super::super::v2::Symbols;
use super::super::{v1, v2};

/// What was read.
#[derive(Default)]
pub(in crate::write) struct Gathered<'m> {
    /// Messages of the series.
    pub(super) series: Vec<&'m [u8]>,
    /// The series of each item of the batch's lists.
    pub(super) floats_of: Vec<u32>,
    pub(super) histograms_of: Vec<u32>,
    pub(super) exemplars_of: Vec<u32>,
    pub(super) metadata_of: Vec<u32>,
    /// Where labels are references.
    pub(in crate::write) symbols: Option<Symbols<'m>>,
    pub(in crate::write) faults: Faults,
    /// Something is not stored, and the sender is to know.
    pub(in crate::write) is_refused: bool,
    /// It is a sample of a series that could be stored: 1.0 stores nothing then.
    pub(in crate::write) is_whole_refused: bool,
    /// Samples with labels that make no sense; in 1.0, series.
    pub(in crate::write) invalid: u64,
    /// Exemplars that count as written and are not.
    pub(in crate::write) exemplars_passed_over: u64,
}

impl Gathered<'_> {
    /// The place of the series of an item.
    pub(in crate::write) fn owner(&self, list: BatchList, index: u32) -> u32 {
        let owners = match list {
            BatchList::Floats => &self.floats_of,
            BatchList::Histograms => &self.histograms_of,
            BatchList::Exemplars => &self.exemplars_of,
        };
        owners[index as usize]
    }

    /// Notes why the store has refused an item.
    pub(in crate::write) fn note_refusal(
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

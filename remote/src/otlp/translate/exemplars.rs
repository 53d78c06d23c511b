//! Exemplars.

use std::borrow::Cow;
use std::fmt::Write as _;

use model::labels::Labels;
use model::sample::Exemplar;

use super::super::labels::LabelsError;
use super::super::samples::SetId;
use super::super::value::{text, value_text};
use super::super::wire::{ExemplarPoint, Head};
use super::{Result, TranslateError, Translator};

/// Characters that an exemplar's labels may have in all.
const LABEL_CHARS_MAX: usize = 128;

impl<'b> Translator<'_, 'b> {
    /// Reads a point's exemplars into the buffer.
    pub(super) fn read_exemplars(&mut self, head: &Head) -> Result<()> {
        let request = self.request;
        self.exemplars.clear();
        for point in &request.exemplars[head.exemplars.range()] {
            let value = point.value.value().ok_or(TranslateError::ExemplarWithoutValue)?;
            let labels = self.exemplar_labels(point)?;
            self.exemplars.push(Exemplar {
                labels,
                value,
                timestamp_ms: Some((point.time_ns as i64).div_euclid(1_000_000)),
            });
        }
        Ok(())
    }

    fn exemplar_labels(&self, point: &ExemplarPoint<'b>) -> Result<Labels> {
        let mut pairs: Vec<(Cow<'b, str>, Cow<'b, str>)> = Vec::new();
        for (name, id) in [("trace_id", point.trace_id), ("span_id", point.span_id)] {
            if id.iter().any(|byte| *byte != 0) {
                pairs.push((Cow::Borrowed(name), Cow::Owned(hex(id))));
            }
        }
        let ids = pairs.len();
        for attribute in &self.request.attributes[point.attributes.range()] {
            pairs.push((text(attribute.key), value_text(&attribute.value)));
        }
        let chars: usize = pairs
            .iter()
            .map(|(name, value)| name.chars().count() + value.chars().count())
            .sum();
        if chars > LABEL_CHARS_MAX {
            // Compat: all attributes or none (cases: exemplar-too-long).
            pairs.truncate(ids);
        }
        Ok(Labels::try_from_pairs(pairs).map_err(LabelsError::from)?)
    }

    /// Gives those in the buffer to a series, from the first on as long as they belong to it.
    pub(super) fn add_exemplars(&mut self, set: SetId, head: &Head, belongs: impl Fn(f64) -> bool) {
        let count = self
            .exemplars
            .iter()
            .take_while(|exemplar| belongs(exemplar.value))
            .count();
        let belonging = self.exemplars.drain(..count);
        // A point without a value is no example of anything.
        if !head.no_value() {
            self.samples
                .exemplars
                .extend(belonging.map(|exemplar| (set, exemplar)));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

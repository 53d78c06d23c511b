//! By which labels rows of two vectors match.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use model::labels::{Labels, LabelsPacker, METRIC_NAME};

use crate::engine::QueryError;
use crate::plan::MatchLabels;

use super::limits::{Held, Limits, labels_bytes};
use super::table::Table;

/// What operators keep for each signature: the rows that have it, the steps that have found a partner.
const EACH_BYTES: usize = 128;

/// Numbers for signatures: rows of either side with one number match.
#[derive(Debug)]
pub(crate) struct Signatures<'p> {
    on: &'p MatchLabels,
    numbers: HashMap<Labels, usize>,
    packer: LabelsPacker,
    held: Held,
}

impl<'p> Signatures<'p> {
    /// No signatures yet.
    pub(crate) fn new(on: &'p MatchLabels, limits: &Arc<Limits>) -> Self {
        Signatures {
            on,
            numbers: HashMap::new(),
            packer: LabelsPacker::default(),
            held: Held::new(limits),
        }
    }

    /// The number of signatures.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The signature's number of each row.
    pub(crate) fn of_rows(&mut self, table: &Table) -> Result<Vec<usize>, QueryError> {
        // The numbers, and lists of the rows that have each.
        self.held.add_bytes(2 * size_of::<usize>() * table.series.len())?;
        let numbered = table.series.iter().enumerate().map(|(index, series)| {
            self.held.limits().check_now_and_then(index)?;
            self.of(&series.labels)
        });
        numbered.collect()
    }

    /// The number of the signature of a row with these labels.
    pub(crate) fn of(&mut self, labels: &Labels) -> Result<usize, QueryError> {
        for (name, value) in labels {
            if self.on.matches_by(name) {
                self.packer.push(name, value);
            }
        }
        if let Some(number) = self.numbers.get(self.packer.as_bytes()) {
            let number = *number;
            self.packer.clear();
            return Ok(number);
        }
        let number = self.numbers.len();
        let labels = self.packer.finish();
        self.held.add_bytes(labels_bytes(&labels) + EACH_BYTES)?;
        self.numbers.insert(labels, number);
        Ok(number)
    }
}

impl MatchLabels {
    /// Whether a label takes part in matching.
    pub(crate) fn matches_by(&self, name: &str) -> bool {
        let named = self
            .labels
            .binary_search_by(|label| label.as_str().cmp(name))
            .is_ok();
        match self.on {
            true => named,
            false => !named && name != METRIC_NAME,
        }
    }

    /// The labels by which a series matches.
    pub(crate) fn of(&self, labels: &Labels) -> Labels {
        labels.without(|name| !self.matches_by(name))
    }
}

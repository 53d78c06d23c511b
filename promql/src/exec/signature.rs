//! By which labels rows of two vectors match.

use foldhash::{HashMap, HashMapExt};
use model::labels::{Labels, LabelsPacker, METRIC_NAME};

use crate::plan::MatchLabels;

use super::table::Table;

/// Numbers for signatures: rows of either side with one number match.
#[derive(Debug)]
pub(crate) struct Signatures<'p> {
    on: &'p MatchLabels,
    numbers: HashMap<Labels, usize>,
    packer: LabelsPacker,
}

impl<'p> Signatures<'p> {
    /// No signatures yet.
    pub(crate) fn new(on: &'p MatchLabels) -> Self {
        Signatures {
            on,
            numbers: HashMap::new(),
            packer: LabelsPacker::default(),
        }
    }

    /// The number of signatures.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The signature's number of each row.
    pub(crate) fn of_rows(&mut self, table: &Table) -> Vec<usize> {
        table
            .series
            .iter()
            .map(|series| self.of(&series.labels))
            .collect()
    }

    fn of(&mut self, labels: &Labels) -> usize {
        for (name, value) in labels {
            if self.on.matches_by(name) {
                self.packer.push(name, value);
            }
        }
        if let Some(number) = self.numbers.get(self.packer.as_bytes()) {
            let number = *number;
            self.packer.clear();
            return number;
        }
        let number = self.numbers.len();
        self.numbers.insert(self.packer.finish(), number);
        number
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

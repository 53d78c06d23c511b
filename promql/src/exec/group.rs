//! Which group a row belongs to.

use foldhash::HashMap;
use foldhash::HashMapExt;
use model::labels::{Labels, LabelsPacker, METRIC_NAME};

use crate::ast::Grouping;

use super::head::Head;

/// Gives groups of rows their numbers, in order of their first appearance.
#[derive(Debug)]
pub(crate) struct Groups<'p> {
    grouping: &'p Grouping,
    numbers: HashMap<Labels, usize>,
    packer: LabelsPacker,
}

impl<'p> Groups<'p> {
    /// No groups yet. The labels of `grouping` are sorted.
    pub(crate) fn new(grouping: &'p Grouping) -> Self {
        Groups {
            grouping,
            numbers: HashMap::new(),
            packer: LabelsPacker::default(),
        }
    }

    /// The number of the group of `head`, and its labels if it is new.
    pub(crate) fn find(&mut self, head: &Head) -> (usize, Option<Labels>) {
        let named = |name: &str| {
            self.grouping
                .labels
                .binary_search_by(|label| label.as_str().cmp(name))
                .is_ok()
        };
        for (name, value) in head.iter() {
            let keep = match self.grouping.without {
                true => name != METRIC_NAME && !named(name),
                false => named(name),
            };
            if keep {
                self.packer.push(name, value);
            }
        }
        self.number()
    }

    /// The number of the group with these labels, and whether it is new.
    pub(crate) fn find_labels(&mut self, labels: &Labels) -> (usize, bool) {
        let next = self.numbers.len();
        let number = *self.numbers.entry(labels.clone()).or_insert(next);
        (number, number == next)
    }

    fn number(&mut self) -> (usize, Option<Labels>) {
        if let Some(number) = self.numbers.get(self.packer.as_bytes()) {
            let number = *number;
            self.packer.clear();
            return (number, None);
        }
        let labels = self.packer.finish();
        let number = self.numbers.len();
        self.numbers.insert(labels.clone(), number);
        (number, Some(labels))
    }
}

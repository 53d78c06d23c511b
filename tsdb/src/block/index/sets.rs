//! Label sets of an index as numbers of a selection's pairs.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use model::label_table::LabelPairs;
use model::storage::StorageError;

use super::{IndexReader, SERIES_ALIGN};

/// Turns entries of one index into label sets; series that come in order share most of their labels with the one before.
pub(crate) struct SetReader<'i> {
    index: &'i IndexReader,
    /// Numbers by symbols of name and value.
    known: HashMap<(u32, u32), u32, FixedState>,
    last: Vec<(u32, u32)>,
    set: Vec<u32>,
}

impl<'i> SetReader<'i> {
    /// For one selection.
    pub(crate) fn new(index: &'i IndexReader) -> Self {
        SetReader {
            index,
            known: HashMap::default(),
            last: Vec::new(),
            set: Vec::new(),
        }
    }

    /// The numbers of the pairs with these symbols, which are those of series number `series`.
    ///
    /// # Errors
    /// When symbols are missing or no UTF-8, or not in order.
    pub(crate) fn numbers(
        &mut self,
        series: u32,
        labels: &[(u32, u32)],
        pairs: &mut LabelPairs,
    ) -> Result<&[u32], StorageError> {
        let shared = self.last.iter().zip(labels).take_while(|(a, b)| a == b).count();
        self.last.truncate(shared);
        self.set.truncate(shared);
        for pair in &labels[shared..] {
            // Symbols are numbered in order of their texts.
            if self.last.last().is_some_and(|(name, _)| *name >= pair.0) {
                return Err(self.disorder(series));
            }
            let number = match self.known.get(pair) {
                Some(number) => *number,
                None => {
                    let number = self.number(series, *pair, pairs)?;
                    self.known.insert(*pair, number);
                    number
                }
            };
            self.last.push(*pair);
            self.set.push(number);
        }
        Ok(&self.set)
    }

    fn number(
        &self,
        series: u32,
        (name, value): (u32, u32),
        pairs: &mut LabelPairs,
    ) -> Result<u32, StorageError> {
        let name_text = self
            .index
            .label_name(name)
            .ok_or_else(|| self.index.no_symbol(series, name))?;
        let value_text = self
            .index
            .symbols
            .get(value)
            .ok_or_else(|| self.index.no_symbol(series, value))?;
        if name_text.is_empty() || value_text.is_empty() {
            return Err(self.disorder(series));
        }
        Ok(pairs.number(name_text, value_text))
    }

    fn disorder(&self, series: u32) -> StorageError {
        let at = series as usize * SERIES_ALIGN;
        self.index
            .path
            .corrupt(at, "labels of the series are not in order")
    }
}

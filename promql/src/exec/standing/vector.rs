//! A vector at one moment: a row across its elements.

use std::sync::Arc;

use crate::exec::limits::{Held, Limits};
use crate::row::{Bits, Row};

use super::Halt;
use super::column::Whose;

/// Floats at one moment.
pub(crate) struct Vector {
    pub(crate) whose: Whose,
    /// Where each element stands in the column; in the vector's order.
    pub(crate) places: Arc<Vec<u32>>,
    /// The floats.
    pub(crate) values: Arc<Vec<f64>>,
    /// The size of the selection whose series the elements are, one by one and in its order; nothing where they have been
    /// put together in between. Sums are folded in parts that are cut by it.
    pub(crate) selected: Option<usize>,
    /// Its samples.
    pub(crate) held: Held,
}

impl Vector {
    /// The results of an operator that puts elements together.
    pub(crate) fn of(
        whose: Whose,
        places: Vec<u32>,
        values: Vec<f64>,
        limits: &Arc<Limits>,
    ) -> Result<Self, Halt> {
        let mut held = Held::new(limits);
        held.add_bytes(places.len() * (size_of::<u32>() + size_of::<f64>()))?;
        held.add_samples(places.len())?;
        Ok(Vector {
            whose,
            places: Arc::new(places),
            values: Arc::new(values),
            selected: None,
            held,
        })
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Changes all elements by what works on the steps of a row; those that it takes away are gone.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Row)) {
        let mut row = full_row(std::mem::take(Arc::make_mut(&mut self.values)));
        change(&mut row);
        if row.present.count() < row.values.len() {
            keep_present(Arc::make_mut(&mut self.places), &row.present);
            keep_present(&mut row.values, &row.present);
        }
        self.values = Arc::new(row.values);
    }
}

/// A row with a float at each step.
pub(crate) fn full_row(values: Vec<f64>) -> Row {
    let mut present = Bits::default();
    present.reset(values.len());
    for (index, word) in present.words_mut().iter_mut().enumerate() {
        *word = u64::MAX >> (64 - (values.len() - index * 64).min(64));
    }
    Row {
        values,
        present,
        histograms: Vec::new(),
    }
}

/// Keeps the entries whose bits are set.
pub(crate) fn keep_present<T: Copy>(entries: &mut Vec<T>, present: &Bits) {
    let mut kept = 0;
    present.for_each_set(|index| {
        entries[kept] = entries[index];
        kept += 1;
    });
    entries.truncate(kept);
}

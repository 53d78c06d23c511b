//! What waits to be sent.

use std::sync::Arc;

use model::histogram::Histogram;
use model::labels::Labels;
use model::sample::{Exemplar, Metadata};

use crate::wire::{put_message, put_text};

/// A series as it is sent: relabelled, and in the form of its message.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) form: Form,
    /// What the source says of it; of version 2.0.
    pub(super) metadata: Option<Metadata>,
}

#[derive(Clone, Debug)]
pub(super) enum Form {
    /// The label fields of a message of version 1.0, as they stand in it.
    V1(Box<[u8]>),
    /// The labels, of which messages of version 2.0 have a table.
    V2(Labels),
}

impl Form {
    pub(super) fn v1(labels: &Labels) -> Self {
        let mut bytes = Vec::new();
        for (name, value) in labels.iter() {
            put_message(&mut bytes, 1, |out| {
                put_text(out, 1, name);
                put_text(out, 2, value);
            });
        }
        Form::V1(bytes.into())
    }
}

/// A sample, histogram or exemplar.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) series: Arc<Sent>,
    pub(super) start_ms: i64,
    pub(super) timestamp_ms: i64,
    pub(super) value: ItemValue,
    /// Number of the record that it came with.
    pub(super) record: u64,
    /// Reference of the series, which says to which shard it goes.
    pub(super) reference: u64,
}

#[derive(Debug)]
pub(super) enum ItemValue {
    Float(f64),
    Histogram(Histogram),
    Exemplar(Box<Exemplar>),
}

/// How many of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) floats: u64,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
}

impl Counts {
    pub(super) fn of(items: &[Item]) -> Self {
        let mut counts = Counts::default();
        items.iter().for_each(|item| counts.add(item));
        counts
    }

    pub(super) fn add(&mut self, item: &Item) {
        match item.value {
            ItemValue::Float(_) => self.floats += 1,
            ItemValue::Histogram(_) => self.histograms += 1,
            ItemValue::Exemplar(_) => self.exemplars += 1,
        }
    }

    pub(super) fn all(self) -> u64 {
        self.floats + self.histograms + self.exemplars
    }
}

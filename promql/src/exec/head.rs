//! Whose a row is.

use model::labels::{Labels, METRIC_NAME};

/// Name of the label that holds a metric's type.
pub(crate) const TYPE_LABEL: &str = "__type__";
/// Name of the label that holds a metric's unit.
pub(crate) const UNIT_LABEL: &str = "__unit__";

/// Whether a label tells what a metric is, rather than where it comes from: such labels are dropped where a result is
/// no longer of the metric.
pub(crate) fn is_metadata_label(name: &str) -> bool {
    matches!(name, METRIC_NAME | TYPE_LABEL | UNIT_LABEL)
}

/// Which labels count as dropped though they are still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dropped {
    /// None.
    Nothing,
    /// The metric name.
    Name,
    /// Name, type and unit.
    Metadata,
}

/// The labels of a row.
///
/// Labels that are dropped are only marked, since most rows end in a group and are never seen by themselves.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// All labels.
    pub(crate) labels: Labels,
    /// Which of them are not there any more.
    pub(crate) dropped: Dropped,
    /// Name, type and unit are to be dropped when the query is done (delayed name removal).
    pub(crate) drop_name: bool,
}

impl Head {
    /// A row with these labels.
    pub(crate) fn new(labels: Labels) -> Self {
        Head {
            labels,
            dropped: Dropped::Nothing,
            drop_name: false,
        }
    }

    /// Drops what is not of the metric: now, or later where `delayed`.
    pub(crate) fn drop_metadata(&mut self, what: Dropped, delayed: bool) {
        if delayed {
            self.drop_name = true;
        } else {
            self.dropped = self.dropped.max(what);
        }
    }

    /// Whether a label of this name is there.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        match self.dropped {
            Dropped::Nothing => true,
            Dropped::Name => name != METRIC_NAME,
            Dropped::Metadata => !is_metadata_label(name),
        }
    }

    /// The labels that are there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().filter(|(name, _)| self.keeps(name))
    }

    /// The labels that are there.
    pub(crate) fn into_labels(self) -> Labels {
        match self.dropped {
            Dropped::Nothing => self.labels,
            _ => self.labels.without(|name| !self.keeps(name)),
        }
    }

    /// Makes dropped labels go for good.
    pub(crate) fn settle(&mut self) {
        if self.dropped != Dropped::Nothing {
            self.labels = self.labels.without(|name| !self.keeps(name));
            self.dropped = Dropped::Nothing;
        }
    }
}

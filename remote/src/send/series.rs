//! What is known of series: as what they are sent, if they are.

use std::collections::HashMap;
use std::sync::Arc;

use model::labels::{Labels, LabelsBuilder};
use model::relabel::{self, RelabelRule};
use model::sample::Metadata;

use super::config::MessageKind;
use super::item::{Form, Sent};

/// How series become what is sent.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    pub(super) external: Labels,
    pub(super) rules: Arc<[RelabelRule]>,
    pub(super) kind: MessageKind,
}

/// The series of the log, by reference.
pub(super) struct Table {
    naming: Naming,
    series: HashMap<u64, Entry, foldhash::fast::FixedState>,
    builder: LabelsBuilder,
}

struct Entry {
    /// Nothing for series that relabelling drops.
    sent: Option<Arc<Sent>>,
    /// The last segment, or checkpoint, that named it.
    segment: u64,
}

impl Table {
    pub(super) fn new(naming: Naming) -> Self {
        Table {
            naming,
            series: HashMap::default(),
            builder: LabelsBuilder::new(),
        }
    }

    /// As what a series is sent: the outer nothing is a series that was never named, the inner one that is dropped.
    pub(super) fn get(&self, reference: u64) -> Option<Option<&Arc<Sent>>> {
        self.series.get(&reference).map(|entry| entry.sent.as_ref())
    }

    /// Notes a series that segment `segment` names.
    pub(super) fn name(&mut self, reference: u64, labels: &Labels, segment: u64) {
        if let Some(entry) = self.series.get_mut(&reference) {
            entry.segment = entry.segment.max(segment);
            return;
        }
        let sent = self.relabel(labels).map(|labels| {
            let form = match self.naming.kind {
                MessageKind::V1 => Form::v1(&labels),
                MessageKind::V2 => Form::V2(labels),
            };
            Arc::new(Sent { form, metadata: None })
        });
        self.series.insert(reference, Entry { sent, segment });
    }

    /// With external labels, which give way to those of the series, and then relabelled; nothing where it is dropped.
    fn relabel(&mut self, labels: &Labels) -> Option<Labels> {
        let naming = &self.naming;
        if naming.external.is_empty() && naming.rules.is_empty() {
            return Some(labels.clone());
        }
        self.builder.clear();
        for (name, value) in labels.iter() {
            self.builder.set(name, value);
        }
        for (name, value) in naming.external.iter() {
            if self.builder.value(name).is_empty() {
                self.builder.set(name, value);
            }
        }
        if !relabel::apply(&naming.rules, &mut self.builder) {
            return None;
        }
        self.builder.try_build().ok()
    }

    /// Notes what the source of a series says of it; messages of version 1.0 have no place for it.
    pub(super) fn describe(&mut self, reference: u64, metadata: Metadata) {
        if self.naming.kind == MessageKind::V1 {
            return;
        }
        if let Some(Entry { sent: Some(sent), .. }) = self.series.get_mut(&reference)
            && sent.metadata.as_ref() != Some(&metadata)
        {
            *sent = Arc::new(Sent {
                form: sent.form.clone(),
                metadata: Some(metadata),
            });
        }
    }

    /// Notes that checkpoint `number` still has this series.
    pub(super) fn touch(&mut self, reference: u64, number: u64) {
        if let Some(entry) = self.series.get_mut(&reference) {
            entry.segment = entry.segment.max(number);
        }
    }

    /// Forgets series that neither checkpoint `number` nor anything behind it names.
    pub(super) fn forget_before(&mut self, number: u64) {
        self.series.retain(|_, entry| entry.segment >= number);
    }

    pub(super) fn len(&self) -> usize {
        self.series.len()
    }
}

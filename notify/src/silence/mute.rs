//! Which silences an alert meets, found once.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use model::labels::Labels;
use parking_lot::Mutex;

use super::{SilenceState, Silences};
use crate::alert::StoredAlert;

/// What is known of each alert: the silences that match its labels, among those up to a version.
///
/// Matchers of a silence never change, so what matched once goes on matching; only silences that came since have to be
/// looked at. As many entries as alerts are held.
#[derive(Default)]
pub(crate) struct MuteCache(Mutex<HashMap<Labels, Known>>);

#[derive(Clone, Default)]
struct Known {
    version: u64,
    ids: Vec<String>,
}

impl MuteCache {
    /// Ids of the active silences that an alert with these labels meets, oldest first.
    pub(crate) fn silencing(&self, silences: &Silences, labels: &Labels, now: Timestamp) -> Vec<String> {
        let mut known = self.0.lock().get(labels).cloned().unwrap_or_default();
        let (active, changed) = silences.ledger.read(|shelf| {
            let count = known.ids.len();
            known.ids.retain(|id| shelf.get(id).is_some());
            let is_new = known.version < shelf.version();
            if is_new {
                let (ids, looked_at) = shelf.meeting(labels, known.version);
                silences.stats.scanned(looked_at, shelf.len());
                known.ids.extend(ids);
                known.version = shelf.version();
            }
            let is_active = |id: &&String| {
                let record = shelf.get(id);
                record.is_some_and(|record| record.silence.state(now) == SilenceState::Active)
            };
            let active: Vec<String> = known.ids.iter().filter(is_active).cloned().collect();
            (active, is_new || known.ids.len() != count)
        });
        if changed {
            self.0.lock().insert(labels.clone(), known);
        }
        active
    }

    /// Forgets alerts.
    pub(crate) fn forget(&self, alerts: &[Arc<StoredAlert>]) {
        let mut known = self.0.lock();
        for alert in alerts {
            known.remove(&alert.labels);
        }
    }
}

impl super::Silence {
    /// Whether it is about an alert with these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().any(|matchers| matchers.matches(labels))
    }
}

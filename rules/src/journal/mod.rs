//! What alerts are, kept on disk: each change is there before anybody outside can see it, and a start takes it up exactly.
//!
//! One journal has the alerts of all rules. An evaluation that changed something writes one record, which says how the
//! alerts concerned are; values and annotations alone are no change, since the next evaluation gives them again.

mod record;
mod recovery;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use files::Files;
use files::journal::{Format, Journal, Opened, Whole};
use metrics::{Counter, Registry};
use model::clock::Clock;
use model::storage::StorageError;
use parking_lot::{Mutex, RwLock};

use crate::group::Group;
use crate::state::AlertBook;
use record::{AlertsRecord, RuleKey, Saved, SavedRule, write_gone, write_stopped};

pub(crate) use record::{RuleName, Sending};
pub(crate) use recovery::Kept;
pub use recovery::Recovery;

const FORMAT: Format = Format {
    magic: *b"NTX alrt",
    version: 1,
};
/// Its name in the folder.
const FILE: &str = "journal";

/// The journal of all alerts.
pub struct AlertJournal {
    journal: Arc<Journal>,
    /// The groups whose alerts make the whole, by file and name.
    groups: RwLock<BTreeMap<(String, String), Arc<Group>>>,
    /// What was found and no configuration was held against yet.
    saved: Mutex<HashMap<RuleKey, SavedRule>>,
    /// Whether everything was sent and nothing is evaluated any more.
    is_stopped: AtomicBool,
    /// Whether the last write failed: that is told once.
    is_failing: AtomicBool,
    records: Counter,
    failures: Counter,
    restored: Counter,
}

impl AlertJournal {
    /// Opens the journal in `folder`, which is made where it is missing, and reads what it holds.
    ///
    /// # Errors
    /// When the folder cannot be made or the file not read.
    pub fn open(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        folder: &Path,
        registry: &Registry,
    ) -> Result<Self, StorageError> {
        let path = folder.join(FILE);
        let (mut saved, mut unreadable) = (Saved::default(), 0_u64);
        let read = |record: &[u8]| {
            if let Err(error) = saved.apply(record) {
                unreadable += 1;
                tracing::debug!(%error, "A record of the alert journal cannot be read");
            }
        };
        let (journal, opened) = Journal::open(files, clock, &path, FORMAT, read)?;
        say_what_was_found(&path, &opened, unreadable);
        let Saved {
            mut rules,
            is_stopped,
        } = saved;
        if !is_stopped {
            // Whether the last ones left the process nobody knows: they are sent again.
            rules.values_mut().for_each(|rule| rule.alerts.doubt_sent());
        }
        let journal = Arc::new(journal);
        let (file, written) = (journal.clone(), journal.clone());
        registry.gauge_fn(
            "narthex_rules_journal_bytes",
            "Length of the journal of alerts, in bytes.",
            move || file.file_bytes() as f64,
        );
        registry.counter_fn(
            "narthex_rules_journal_written_bytes_total",
            "Bytes written to the journal of alerts.",
            move || written.written_bytes() as f64,
        );
        Ok(AlertJournal {
            journal,
            groups: RwLock::default(),
            saved: Mutex::new(rules),
            is_stopped: AtomicBool::new(false),
            is_failing: AtomicBool::new(false),
            records: registry.counter(
                "narthex_rules_journal_records_total",
                "Records for the journal of alerts.",
            ),
            failures: registry.counter(
                "narthex_rules_journal_failures_total",
                "Records that the journal of alerts could not be given: what they say would not survive a restart.",
            ),
            restored: registry.counter(
                "narthex_rules_restored_alerts_total",
                "Alerts taken over from before a restart.",
            ),
        })
    }

    /// Gives a group that is new the alerts that its rules had before the start.
    pub(crate) fn hand_over(&self, group: &Group) {
        let count = group.take_over(&self.saved.lock());
        self.restored.add_count(count as u64);
    }

    /// Answers for the group's alerts from now on, in the place of the group that it replaces.
    pub(crate) fn adopt(&self, group: &Arc<Group>) {
        let key = (group.spec.file.clone(), group.spec.name.clone());
        self.groups.write().insert(key, group.clone());
    }

    /// The rules that have alerts.
    pub(crate) fn rules(&self) -> Vec<RuleKey> {
        let groups = self.groups.read();
        let alerting = groups.values().flat_map(|group| group.alerting());
        let with_alerts = alerting.filter(|(running, _)| !running.alerts.lock().is_empty());
        let keys = with_alerts.map(|(_, name)| name.to_key());
        keys.chain(self.saved.lock().keys().cloned()).collect()
    }

    /// The configuration has `groups` and no others: of the rules that had alerts `before`, those that are not among them
    /// are gone. To be called where waiting for the disk is fine.
    pub(crate) fn settle(&self, groups: &BTreeMap<(String, String), Arc<Group>>, mut before: Vec<RuleKey>) {
        groups.clone_into(&mut self.groups.write());
        self.saved.lock().clear();
        let names = groups
            .values()
            .flat_map(|group| group.alerting().map(|(_, name)| name));
        let now: HashSet<RuleName<'_>> = names.collect();
        before.retain(|key| !now.contains(&key.name()));
        if !before.is_empty() {
            let mut record = Vec::new();
            write_gone(&mut record, &before);
            self.write(&record);
        }
    }

    /// All evaluations have ended, and what they gave was sent or is where it will be.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let mut record = Vec::new();
        write_stopped(&mut record);
        self.write(&record);
    }

    /// Writes a record; returns once it is on disk, or cannot be.
    pub(crate) fn write(&self, record: &[u8]) {
        self.records.inc();
        match self.journal.write(record, |whole| self.push_whole(whole)) {
            Ok(()) => {
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("The journal of alerts is written again");
                }
            }
            Err(error) => {
                self.failures.inc();
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        %error,
                        "The journal of alerts cannot be written: alerts are sent all the same, but a restart would not \
                         know them"
                    );
                }
            }
        }
    }

    fn push_whole(&self, whole: &mut Whole<'_>) {
        let mut record = Vec::new();
        // These nobody changes; whoever wants them waits, which is as rules are loaded first.
        for (key, rule) in &*self.saved.lock() {
            write_all(&mut record, key.name(), &rule.alerts, rule.at_ns);
            whole.push(&record);
        }
        let groups: Vec<Arc<Group>> = self.groups.read().values().cloned().collect();
        for group in groups {
            for (running, name) in group.alerting() {
                let alerts = running.alerts.lock();
                if alerts.is_empty() {
                    continue;
                }
                write_all(&mut record, name, &alerts, running.kept.at_ns());
                // Not while the disk is waited for.
                drop(alerts);
                whole.push(&record);
            }
        }
        if self.is_stopped.load(Ordering::Relaxed) {
            record.clear();
            write_stopped(&mut record);
            whole.push(&record);
        }
    }
}

/// Makes `record` one of all alerts of a rule.
fn write_all(record: &mut Vec<u8>, rule: RuleName<'_>, alerts: &AlertBook, at_ns: i64) {
    record.clear();
    let all = AlertsRecord {
        rule,
        at_ns,
        alerts,
        changes_only: false,
        sent: None,
    };
    all.write(record);
}

fn say_what_was_found(path: &Path, opened: &Opened, unreadable: u64) {
    let file = path.display();
    if let Some(damage) = &opened.damage {
        let kept_as = opened.kept_as.as_ref().map(|path| path.display().to_string());
        tracing::error!(%file, %damage, kept_as, "The journal of alerts is damaged; what can be read of it is used");
    }
    if unreadable > 0 {
        tracing::error!(%file, unreadable, "Records of the journal of alerts cannot be read");
    }
    if opened.torn_bytes > 0 {
        let bytes = opened.torn_bytes;
        tracing::warn!(%file, bytes, "The end of the journal of alerts, which a crash had torn, was cut off");
    }
}

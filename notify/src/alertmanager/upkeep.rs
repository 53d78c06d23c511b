//! What is done from time to time, and at the end.

use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::{Collected, Kind};
use model::storage::StorageError;

use super::{Alertmanager, Shared};
use crate::history::SilenceFate;
use crate::ledger::Recovery;
use crate::silence::{Silence, SilenceState};

/// The task that forgets alerts and writes snapshots, in metrics.
const TASK: &str = "alertmanager-upkeep";
/// How often it is looked which silences have ended.
const SILENCES_INTERVAL: Duration = Duration::from_secs(15);

impl Alertmanager {
    /// Begins forgetting what is over, and writing snapshots.
    pub(super) fn start_upkeep(&self) {
        let shared = &self.shared;
        let options = &shared.options;
        if let Some(history) = &shared.around.history {
            history.start(&options.supervisor, &shared.stopping);
        }
        self.start_telling_of_ends();
        for (interval, work) in [
            (options.alert_gc_interval, Shared::forget_alerts as fn(&Shared)),
            (options.maintenance_interval, Shared::maintain_logged),
            (SILENCES_INTERVAL, Shared::note_ended_silences),
        ] {
            let weak = Arc::downgrade(shared);
            let stopping = shared.stopping.clone();
            let supervisor = options.supervisor.clone();
            options.supervisor.spawn(TASK, &shared.stopping, move || {
                let (weak, stopping, supervisor) = (weak.clone(), stopping.clone(), supervisor.clone());
                async move {
                    loop {
                        tokio::select! {
                            () = stopping.cancelled() => return,
                            () = tokio::time::sleep(interval) => {}
                        }
                        let Some(shared) = weak.upgrade() else { return };
                        // A panic is counted and logged; the next time is another.
                        let _ = supervisor.blocking(TASK, move || work(&shared)).await;
                    }
                }
            });
        }
    }

    /// Ends it: begins no more notifications, waits for some seconds for those that are on their way, and writes
    /// snapshots.
    ///
    /// # Errors
    /// When a snapshot could not be written; nothing is lost, the journals have it.
    pub async fn stop(&self) -> Result<(), StorageError> {
        let shared = &self.shared;
        shared.stopping.cancel();
        if let Some(running) = self.running() {
            running.dispatcher.stop().await;
        }
        shared.retiring.close();
        shared.retiring.wait().await;
        // Nothing is sent any more: others may be told so.
        if let Some(lease) = shared.around.seat.replace(None) {
            lease.stop().await;
        }
        let last = shared.clone();
        let finish = move || {
            if let Some(history) = &last.around.history {
                // What goes wrong is in the log.
                history.write_all();
            }
            last.maintain()
        };
        let done = shared.options.supervisor.blocking(TASK, finish).await;
        done.unwrap_or_else(|error| Err(StorageError::Other(error.to_string())))
    }
}

impl Shared {
    /// Forgets alerts that are resolved; groups that still have to tell of them keep them.
    pub(super) fn forget_alerts(&self) {
        // Held to the end: one that comes again meanwhile must not be forgotten by those who know it anew.
        let _intake = self.intake.lock();
        let gone = self.store.lock().forget(self.around.now());
        self.around.mutes.forget(&gone);
        if let Some(running) = self.running.read().clone() {
            running.dispatcher.pipeline.inhibitor.forget(&gone);
        }
    }

    /// Tells the history of silences that ended by themselves since it was looked last.
    fn note_ended_silences(&self) {
        let Some(history) = &self.around.history else {
            return;
        };
        let (mut until, now) = (self.ended_until.lock(), self.around.now());
        let since = until.replace(now).unwrap_or(now);
        // Those that somebody ended were changed at their end, or after.
        let has_ended = |silence: &Silence| {
            silence.ends_at >= since && silence.ends_at < now && silence.updated_at < silence.ends_at
        };
        let mut ended = self.around.silences.list(has_ended);
        ended.sort_by_key(|silence| silence.ends_at);
        for silence in ended {
            history.silence(&silence, SilenceFate::Ended, None, None, silence.ends_at);
        }
    }

    fn maintain(&self) -> Result<(), StorageError> {
        let now = self.around.now();
        // One that fails must not keep the other from being tried.
        let silences = self.around.silences.maintain(now);
        self.around.log.maintain(now).and(silences)
    }

    pub(super) fn maintain_logged(&self) {
        if let Err(error) = self.maintain() {
            tracing::error!(err = %error, "Snapshots of silences and notifications could not be written");
        }
    }
}

/// Tells what was found at the start and could not be used.
pub(super) fn tell(what: &'static str, recovery: &Recovery) {
    if recovery.journal.torn_bytes > 0 {
        let bytes = recovery.journal.torn_bytes;
        tracing::warn!(
            what,
            bytes,
            "The journal ends in a write that a crash cut; nobody was told of it"
        );
    }
    if let Some(damage) = recovery.journal.damage {
        let kept_as = recovery
            .journal
            .kept_as
            .as_deref()
            .unwrap_or(std::path::Path::new(""));
        tracing::error!(what, %damage, kept_as = %kept_as.display(), "The journal is damaged");
    }
    if recovery.snapshot_lost_bytes + recovery.unreadable_entries > 0 {
        tracing::error!(
            what,
            bytes = recovery.snapshot_lost_bytes,
            entries = recovery.unreadable_entries,
            "A part of the file cannot be read; it is kept beside it"
        );
    }
}

/// Registers what is counted when somebody looks.
pub(super) fn collect_metrics(shared: &Arc<Shared>) {
    let weak: Weak<Shared> = Arc::downgrade(shared);
    shared.options.registry.collect(move |collected| {
        if let Some(shared) = weak.upgrade() {
            count_alerts(&shared, collected);
            count_silences(&shared, collected);
        }
    });
}

fn count_alerts(shared: &Shared, collected: &mut Collected) {
    let running = shared.running.read().clone();
    let Some(running) = running.filter(|running| running.dispatcher.is_running()) else {
        return;
    };
    let by_group = shared.options.metric_labels.group_keys;
    let family = collected.family("alertmanager_alerts", Kind::Gauge, "How many alerts by state.");
    for (key, counts) in running.dispatcher.count_states(shared.around.now(), by_group) {
        for (state, count) in ["unprocessed", "active", "suppressed"].into_iter().zip(counts) {
            let mut labels = vec![("state", state)];
            if by_group {
                labels.push(("group_key", &key));
            }
            family.sample(&labels, count as f64);
        }
    }
}

fn count_silences(shared: &Shared, collected: &mut Collected) {
    let (silences, now) = (&shared.around.silences, shared.around.now());
    let family = collected.family(
        "alertmanager_silences",
        Kind::Gauge,
        "How many silences by state.",
    );
    for state in SilenceState::ALL {
        family.sample(&[("state", state.as_str())], silences.count(state, now) as f64);
    }
    for (name, help) in [
        (
            "alertmanager_silences_state_size",
            "The number of silences in the state map.",
        ),
        (
            "alertmanager_silences_matcher_index_size",
            "The number of entries in the matcher cache index.",
        ),
        (
            "alertmanager_silences_version_index_size",
            "The number of entries in the version index.",
        ),
    ] {
        let all = silences.len() as f64;
        collected.family(name, Kind::Gauge, help).sample(&[], all);
    }
}

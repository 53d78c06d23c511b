//! A word before a silence ends, to whom `silence_expiry` of the configuration names.
//!
//! It is a notification like others, of an alert that nobody has posted: tried again while it fails, counted, and in the
//! log of notifications, so that a restart does not tell again of what was told.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use model::labels::{ALERT_NAME, Labels};
use receivers::fingerprint;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Alertmanager, Running};
use crate::alert::{Offsets, StoredAlert};
use crate::config::{Config, SilenceExpiryConfig};
use crate::log::after;
use crate::silence::{Silence, SilenceState};

/// The task, in metrics.
const TASK: &str = "silence-expiry";
/// How often it is looked which silences are about to end, besides whenever one is made or changed.
const INTERVAL: Duration = Duration::from_secs(15);
/// How long changes of silences are gathered before it is looked.
const GATHER: Duration = Duration::from_millis(100);
/// How long telling of one may take; it is tried again at the next look.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many are told of at the same time.
const AT_ONCE: usize = 8;
/// The name of the alert that tells of it.
const NAME: &str = "SilenceExpires";
/// The route that it seems to come by.
const ROUTE: &str = "{silence_expiry}";

/// Silences that were told of, with the ends that they had.
type ToldOf = HashSet<(String, Timestamp)>;

impl Alertmanager {
    /// Begins to tell of silences that are about to end.
    pub(super) fn start_telling_of_ends(&self) {
        let shared = &self.shared;
        let (weak, stopping) = (Arc::downgrade(shared), shared.stopping.clone());
        let changes = shared.around.silences.shared().changes();
        let supervisor = &shared.options.supervisor;
        supervisor.spawn(TASK, &shared.stopping, move || {
            let (weak, stopping, mut changes) = (weak.clone(), stopping.clone(), changes.clone());
            async move {
                let mut told = ToldOf::new();
                loop {
                    tokio::select! {
                        () = stopping.cancelled() => return,
                        () = tokio::time::sleep(INTERVAL) => {}
                        () = a_change(&mut changes) => {}
                    }
                    let Some(shared) = weak.upgrade() else { return };
                    Alertmanager { shared }.tell_of_ends(&mut told).await;
                }
            }
        });
    }

    /// Warns of a time that is longer than it is remembered who was told.
    pub(super) fn warn_of_expiry(&self, config: &Config) {
        let retention = self.shared.options.retention;
        if let Some(expiry) = &config.silence_expiry
            && expiry.before.as_std() > retention
        {
            let (before, retention) = (expiry.before, receivers::GoDuration(retention));
            tracing::warn!(
                %before,
                %retention,
                "silence_expiry.before is longer than notifications are remembered: it is told that long before the end"
            );
        }
    }

    async fn tell_of_ends(&self, told: &mut ToldOf) {
        // Of several servers, the one that sends tells of it.
        if self.shared.around.seat.permit().is_none() {
            return;
        }
        let Some(running) = self.running().filter(|running| running.dispatcher.is_running()) else {
            return;
        };
        let Some(expiry) = &running.config.silence_expiry else {
            return;
        };
        let before = expiry.before.as_std().min(self.shared.options.retention);
        let now = self.now();
        // Of one that has not begun nobody need be reminded yet.
        let ends_soon = |silence: &Silence| {
            silence.life(now) == SilenceState::Active && silence.ends_at <= after(now, before)
        };
        let due = self.shared.around.silences.list(ends_soon);
        told.retain(|(_, ends_at)| *ends_at >= now);
        let due = due
            .into_iter()
            .filter(|silence| !told.contains(&(silence.id.clone(), silence.ends_at)));
        let due: Vec<Arc<Silence>> = due.collect();
        let telling = futures_util::stream::iter(due).map(|silence| {
            let running = &running;
            async move {
                let is_told = self.tell_of_end(running, expiry, &silence, now).await;
                (is_told, (silence.id.clone(), silence.ends_at))
            }
        });
        let outcomes = telling.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        told.extend(
            outcomes
                .into_iter()
                .filter(|(is_told, _)| *is_told)
                .map(|(_, key)| key),
        );
    }

    /// Tells of one; whether all who had to be told were.
    async fn tell_of_end(
        &self,
        running: &Running,
        expiry: &SilenceExpiryConfig,
        silence: &Arc<Silence>,
        now: Timestamp,
    ) -> bool {
        let (server, counted) = (self.clone(), silence.clone());
        let supervisor = &self.shared.options.supervisor;
        let Ok(breadth) = supervisor
            .blocking(TASK, move || server.count_met(&counted))
            .await
        else {
            return false;
        };
        let base = &self.shared.options.external_url;
        let alert = StoredAlert {
            generator_url: format!("{base}/#/silences/{}", silence.id),
            ..alert_of(silence, breadth.met, now)
        };
        let group = Labels::from_pairs([(ALERT_NAME, NAME), ("silence", silence.id.as_str())]);
        let pipeline = &running.dispatcher.pipeline;
        let deadline = Instant::now() + PATIENCE;
        pipeline
            .tell_apart(
                &expiry.receiver,
                ROUTE,
                group,
                Arc::new(alert),
                deadline,
                &self.shared.stopping,
            )
            .await
    }
}

/// Waits until a silence is made or changed, and for those that come with it.
async fn a_change(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(GATHER).await;
    changes.mark_unchanged();
}

/// The alert that tells of a silence's end. One that is given another end is told of again: its labels are others then.
fn alert_of(silence: &Silence, muted: usize, now: Timestamp) -> StoredAlert {
    let ends_at = silence.ends_at.to_string();
    let labels = Labels::from_pairs([
        (ALERT_NAME, NAME),
        ("ends_at", &ends_at),
        ("silence", &silence.id),
    ]);
    let matchers: Vec<String> = silence.matchers.iter().map(ToString::to_string).collect();
    let (matchers, author, comment) = (matchers.join(" or "), &silence.created_by, &silence.comment);
    let alerts = if muted == 1 { "alert" } else { "alerts" };
    let annotations = [
        (
            "summary",
            format!("A silence of {author} ends at {ends_at}: {comment}"),
        ),
        (
            "description",
            format!(
                "The silence {} of {matchers} mutes {muted} {alerts} now.",
                silence.id
            ),
        ),
        ("author", author.clone()),
        ("comment", comment.clone()),
        ("matchers", matchers.clone()),
        ("muted_alerts", muted.to_string()),
    ];
    StoredAlert {
        fingerprint: fingerprint(&labels),
        labels,
        annotations: annotations
            .map(|(name, text)| (name.to_owned(), text))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        starts_at: now,
        // It goes on while it is being told.
        ends_at: Timestamp::MAX,
        times_out: false,
        generator_url: String::new(),
        offsets: Offsets::default(),
        updated_at: now,
    }
}

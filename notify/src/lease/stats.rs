//! What a lease tells of itself. The names are ours: the reference has no lease.

use metrics::{Counter, Family, Gauge, Registry};

/// Whose turn it is, and how sharing goes.
#[derive(Clone)]
pub(crate) struct LeaseStats {
    /// 1 while notifications are sent from here.
    pub(super) holding: Gauge,
    /// Number of the holding that was last seen, whoever's.
    pub(super) term: Gauge,
    pub(super) taken: Counter,
    pub(super) lost: Counter,
    pub(super) failures: Family<Counter>,
    pub(super) shared_bytes: Family<Gauge>,
    pub(super) left_out: Family<Gauge>,
    pub(super) merged: Family<Counter>,
    pub(super) unreadable: Family<Counter>,
    /// Notifications that were left to the holder.
    pub(crate) left_to_holder: Counter,
    /// Notifications that nobody is known to send.
    pub(crate) waiting: Counter,
}

impl LeaseStats {
    pub(crate) fn new(r: &Registry) -> Self {
        let stats = LeaseStats {
            holding: r.gauge(
                "narthex_alertmanager_lease_holding",
                "Whether notifications are sent from here: 1 while the lease is held.",
            ),
            term: r.gauge(
                "narthex_alertmanager_lease_term",
                "Number of the holding of the lease that was last seen, whoever the holder is.",
            ),
            taken: r.counter(
                "narthex_alertmanager_lease_taken_total",
                "How often this server took the lease.",
            ),
            lost: r.counter(
                "narthex_alertmanager_lease_lost_total",
                "How often this server lost the lease without giving it back: somebody took it, or it could not be renewed.",
            ),
            failures: r.counter_vec(
                "narthex_alertmanager_lease_failures_total",
                "How often the lease, or what lies beside it, could not be read or written.",
                &["object"],
            ),
            shared_bytes: r.gauge_vec(
                "narthex_alertmanager_lease_shared_bytes",
                "Bytes that lie beside the lease.",
                &["object"],
            ),
            left_out: r.gauge_vec(
                "narthex_alertmanager_lease_left_out_entries",
                "Entries for which there is no room beside the lease; after a takeover they may be told again.",
                &["object"],
            ),
            merged: r.counter_vec(
                "narthex_alertmanager_lease_merged_entries_total",
                "Entries that were learnt from what lies beside the lease.",
                &["object"],
            ),
            unreadable: r.counter_vec(
                "narthex_alertmanager_lease_unreadable_total",
                "How often what lies beside the lease could not be understood.",
                &["object"],
            ),
            left_to_holder: r.counter(
                "narthex_alertmanager_lease_notifications_left_total",
                "How often a notification was left to the holder of the lease.",
            ),
            waiting: r.counter(
                "narthex_alertmanager_lease_notifications_waiting_total",
                "How often a notification was not sent although nobody was known to hold the lease.",
            ),
        };
        for object in ["lease", "nflog", "silences"] {
            stats.failures.with(&[object]);
        }
        stats
    }
}

//! How it goes, for a status page.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::thinner::Thinner;

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The rules in force, in order.
    pub rules: Vec<RuleStatus>,
    /// Clusters of replicas.
    pub clusters: Vec<ClusterStatus>,
    /// Samples of replicas that are not elected.
    pub replicas_dropped: u64,
    /// Samples that deduplication left out.
    pub duplicates_dropped: u64,
    /// Samples that no rule takes, left out.
    pub unmatched_dropped: u64,
    /// Samples of deduplication that the store did not take.
    pub held_refused: u64,
}

/// How a rule goes. All but the first seven are counts since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleStatus {
    /// Its name, or its place in the list.
    pub name: String,
    /// What it matches; nothing for everything.
    pub selectors: Vec<String>,
    /// Its interval as it was written.
    pub interval: String,
    /// Its outputs.
    pub outputs: Vec<String>,
    /// When the interval ends, in milliseconds since the epoch.
    pub ends_ms: i64,
    /// Series that it takes.
    pub series: usize,
    /// Groups that are going.
    pub groups: usize,
    /// Samples taken.
    pub taken: u64,
    /// Of those, samples whose interval was over.
    pub late: u64,
    /// Samples left out because their interval was over.
    pub dropped_late: u64,
    /// Samples left out because they are no numbers, staleness markers among them.
    pub dropped_nan: u64,
    /// Samples left out by deduplication.
    pub dropped_duplicate: u64,
    /// Samples that an output had no memory for.
    pub dropped_memory: u64,
    /// Histograms, which are stored as they come.
    pub histograms: u64,
    /// Series that are too many.
    pub refused_series: u64,
    /// Samples written.
    pub written: u64,
    /// Samples that the store did not take.
    pub refused_outputs: u64,
    /// Intervals whose results could not be written.
    pub failed_flushes: u64,
}

/// A cluster of replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Its name.
    pub cluster: String,
    /// Who is elected.
    pub elected: String,
    /// Who has sent.
    pub replicas: Vec<String>,
    /// How often another one was elected.
    pub changes: u64,
}

impl Thinner {
    /// How it goes.
    pub fn status(&self) -> Status {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut status = Status {
            replicas_dropped: get(&self.totals.replicas_dropped),
            duplicates_dropped: get(&self.totals.duplicates_dropped),
            unmatched_dropped: get(&self.totals.unmatched_dropped),
            held_refused: get(&self.totals.held_refused),
            ..Status::default()
        };
        let Some(active) = self.active.load_full() else {
            return status;
        };
        for (number, runner) in active.runners.iter().enumerate() {
            let (rule, counts) = (&runner.rule, &runner.counts);
            let running = runner.running.lock();
            status.rules.push(RuleStatus {
                name: if rule.name.is_empty() {
                    number.to_string()
                } else {
                    rule.name.clone()
                },
                selectors: rule.selectors.clone(),
                interval: rule.interval_text.clone(),
                outputs: rule.outputs.iter().map(ToString::to_string).collect(),
                ends_ms: running.schedule.flush_ms,
                series: running.state.series(),
                groups: running.state.live_groups(),
                taken: get(&counts.taken),
                late: get(&counts.late),
                dropped_late: get(&counts.dropped_late),
                dropped_nan: get(&counts.dropped_nan),
                dropped_duplicate: get(&counts.dropped_duplicate),
                dropped_memory: get(&counts.dropped_memory),
                histograms: get(&counts.histograms),
                refused_series: get(&counts.refused_series),
                written: get(&counts.written),
                refused_outputs: get(&counts.refused_outputs),
                failed_flushes: get(&counts.failed_flushes),
            });
        }
        for cluster in &active.election.lock().clusters {
            status.clusters.push(ClusterStatus {
                cluster: cluster.name.clone(),
                elected: cluster.replicas[cluster.elected as usize].clone(),
                replicas: cluster.replicas.clone(),
                changes: cluster.changes,
            });
        }
        status
    }
}

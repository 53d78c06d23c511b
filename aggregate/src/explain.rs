//! Which rules take a series, and what comes of it.

use model::labels::Labels;

use crate::accumulator::{Part, part_label};
use crate::buckets;
use crate::config::Config;
use crate::output::Output;
use crate::rule::{Rule, Taken};

/// What becomes of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// As it is stored, where it is: without the label of its replica.
    pub stored: Labels,
    /// Whether it is stored.
    pub is_stored: bool,
    /// Whether it is held against other replicas of its cluster.
    pub is_elected: bool,
    /// The rules that take it.
    pub taken: Vec<TakenBy>,
}

/// A rule that takes a series.
#[derive(Clone, Debug, PartialEq)]
pub struct TakenBy {
    /// Which, from 0.
    pub rule: usize,
    /// The series and its group as the rule sees them; `None` where relabelling drops it.
    pub taken: Option<Taken>,
    /// The series that come out; of ranges of values, one for an example.
    pub outputs: Vec<Labels>,
}

/// Says what becomes of a series.
pub fn explain(config: &Config, labels: &Labels) -> Explained {
    let mut stored = labels.clone();
    let mut is_elected = false;
    if let Some(replicas) = &config.replicas {
        let has = |name: &str| labels.get(name).is_some();
        is_elected = has(&replicas.cluster_label) && has(&replicas.replica_label);
        if is_elected {
            stored = labels.without(|name| name == replicas.replica_label);
        }
    }
    let matching: Vec<_> = config
        .rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.matches(&stored))
        .collect();
    let is_stored = match matching.is_empty() {
        true => !config.drop_unmatched,
        false => matching.iter().any(|(_, rule)| rule.keep_input),
    };
    let taken = matching.into_iter().map(|(number, rule)| {
        let taken = rule.take(&stored);
        TakenBy {
            rule: number,
            outputs: taken
                .as_ref()
                .map_or_else(Vec::new, |taken| outputs(rule, &taken.group)),
            taken,
        }
    });
    Explained {
        is_stored,
        is_elected,
        taken: taken.collect(),
        stored,
    }
}

fn outputs(rule: &Rule, group: &Labels) -> Vec<Labels> {
    let parts = |output: &Output| match output {
        Output::Quantiles(phis) => (0..phis.len())
            .map(|place| Part::Quantile(place as u16))
            .collect(),
        Output::HistogramBucket => vec![Part::Range(buckets::range_of(1.0).unwrap_or(0) as u16)],
        _ => vec![Part::Whole],
    };
    let outputs = rule
        .outputs
        .iter()
        .flat_map(|output| parts(output).into_iter().map(move |part| (output, part)));
    let labels = outputs.filter_map(|(output, part)| {
        let extra = part_label(output, part);
        rule.output_labels(
            group,
            output,
            extra.as_ref().map(|(name, value)| (*name, value.as_str())),
        )
    });
    labels.collect()
}

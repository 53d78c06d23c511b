//! The configuration as text, for the page that shows what is in force: what is not the default, in the order of the
//! documentation.

use model::relabel::RelabelRule;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use yaml::{Duration, relabel_rules_to_yaml};

use crate::config::{Config, ReplicasConfig};
use crate::output::Output;
use crate::rule::{Grouping, Rule};

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.drop_unmatched {
            map.serialize_entry("drop_unmatched", &true)?;
        }
        if self.dedup_ms > 0 {
            map.serialize_entry("dedup_interval", &Duration::from_ms(self.dedup_ms))?;
        }
        if let Some(replicas) = &self.replicas {
            map.serialize_entry("replicas", replicas)?;
        }
        if !self.rules.is_empty() {
            map.serialize_entry(
                "rules",
                &self.rules.iter().map(|rule| &**rule).collect::<Vec<_>>(),
            )?;
        }
        map.end()
    }
}

impl Serialize for ReplicasConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("cluster_label", &self.cluster_label)?;
        map.serialize_entry("replica_label", &self.replica_label)?;
        map.serialize_entry("failover_timeout", &Duration::from_ms(self.failover_ms))?;
        map.end()
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.name.is_empty() {
            map.serialize_entry("name", &self.name)?;
        }
        if !self.selectors.is_empty() {
            map.serialize_entry("match", &self.selectors)?;
        }
        map.serialize_entry("interval", &self.interval_text)?;
        let outputs: Vec<String> = self.outputs.iter().map(Output::to_string).collect();
        map.serialize_entry("outputs", &outputs)?;
        match &self.grouping {
            Grouping::Each => {}
            Grouping::By(names) => map.serialize_entry("by", names)?,
            Grouping::Without(names) => map.serialize_entry("without", names)?,
        }
        if !self.drop_input_labels.is_empty() {
            map.serialize_entry("drop_input_labels", &self.drop_input_labels)?;
        }
        if self.dedup_ms > 0 {
            map.serialize_entry("dedup_interval", &Duration::from_ms(self.dedup_ms))?;
        }
        map.serialize_entry("staleness_interval", &Duration::from_ms(self.staleness_ms))?;
        map.serialize_entry(
            "ignore_first_sample_interval",
            &Duration::from_ms(self.first_sample_ms),
        )?;
        if self.ignore_first_intervals > 0 {
            map.serialize_entry("ignore_first_intervals", &self.ignore_first_intervals)?;
        }
        for (key, switch) in [
            ("keep_input", self.keep_input),
            ("ignore_old_samples", self.ignore_old_samples),
            ("no_align_flush_to_interval", !self.align),
            ("flush_on_shutdown", self.flush_on_shutdown),
            ("keep_metric_names", self.keep_metric_names),
        ] {
            if switch {
                map.serialize_entry(key, &true)?;
            }
        }
        for (key, rules) in [
            ("input_relabel_configs", &self.input_relabel),
            ("output_relabel_configs", &self.output_relabel),
        ] {
            if !rules.is_empty() {
                map.serialize_entry(key, &Relabelling(rules))?;
            }
        }
        map.end()
    }
}

struct Relabelling<'r>(&'r [RelabelRule]);

impl Serialize for Relabelling<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        relabel_rules_to_yaml(self.0, serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_the_same() {
        let text = "\
dedup_interval: 15s
replicas: {replica_label: r}
rules:
- {name: n, match: [a, 'b{c=\"d\"}'], interval: 60s, outputs: [total, 'quantiles(0.5, 1)'], by: [job], ignore_old_samples: true,
   dedup_interval: 30s, input_relabel_configs: [{action: labeldrop, regex: pod}], no_align_flush_to_interval: true}
- {interval: 1m, outputs: [last], keep_metric_names: true, staleness_interval: 5m, drop_input_labels: [x], ignore_first_intervals: 2}
";
        let read = |text: &str| {
            let document = yaml::parse("f", text).expect("YAML");
            Config::read(document.root()).expect("a section")
        };
        let config = read(text);
        let shown = yaml::to_string(&config).expect("text");
        assert_eq!(read(&shown), config, "{shown}");
    }
}

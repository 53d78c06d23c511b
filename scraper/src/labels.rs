//! From the labels in a body to those of the stored series: the target's labels, relabelling, and limits.

use model::labels::{Labels, LabelsBuilder, METRIC_NAME, NameScheme};
use model::relabel::{self, RelabelRule};

use crate::error::SampleError;

/// Put in front of a label in the body that the target has too.
const EXPORTED_PREFIX: &str = "exported_";
/// How many characters of a name or value an error shows.
const SHOWN_CHARS_MAX: usize = 50;

/// What is done to the labels of a target's samples.
#[derive(Clone, Debug)]
pub(crate) struct LabelRules<'c> {
    /// The target's labels that samples get.
    pub(crate) target: &'c Labels,
    /// Labels in the body win.
    pub(crate) honor_labels: bool,
    pub(crate) relabel: &'c [RelabelRule],
    pub(crate) scheme: NameScheme,
    pub(crate) limits: LabelLimits,
}

/// Limits of label sets; 0 means no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LabelLimits {
    pub(crate) labels_max: u64,
    pub(crate) name_bytes_max: u64,
    pub(crate) value_bytes_max: u64,
}

impl LabelRules<'_> {
    /// The labels of the series that the body calls `exposed`; `None` where relabelling drops it.
    ///
    /// # Errors
    /// When the labels cannot be stored, which fails the whole scrape.
    pub(crate) fn series_labels(&self, exposed: &[(String, String)]) -> Result<Option<Labels>, SampleError> {
        let mut builder = LabelsBuilder::new();
        for (name, value) in exposed {
            builder.set(name, value);
        }
        let repeated = repeated(exposed);
        for name in &repeated {
            builder.set(name, first_of(exposed, name));
        }
        if self.honor_labels {
            for (name, value) in self.target {
                // Compat: an empty value in the body counts as a label that is there
                // (the_targets_labels_win_unless_told_otherwise).
                if !exposed.iter().any(|(exposed, _)| exposed == name) {
                    builder.set(name, value);
                }
            }
        } else {
            self.move_conflicts(&mut builder);
        }
        if !relabel::apply(self.relabel, &mut builder) || builder.is_empty() {
            return Ok(None);
        }
        let labels = builder.try_build()?;
        self.check(&labels)?;
        if let Some(name) = repeated.iter().find(|name| self.is_left(exposed, name, &labels)) {
            let name = (*name).to_owned();
            return Err(SampleError::RepeatedLabel { name });
        }
        Ok(Some(labels))
    }

    /// Whether a label that the body repeats is still as the body has it: neither the target nor relabelling has put
    /// another in its place.
    ///
    /// Compat: storage refuses what is left of it, not the parser (what_relabelling_makes_of_a_repeated_label).
    fn is_left(&self, exposed: &[(String, String)], name: &str, labels: &Labels) -> bool {
        let of_target = !self.honor_labels && self.target.get(name).is_some();
        let value = labels.get(name);
        !of_target
            && exposed
                .iter()
                .any(|(n, v)| n == name && Some(v.as_str()) == value)
    }

    /// Sets the target's labels; those of the body that they displace get another name.
    fn move_conflicts(&self, builder: &mut LabelsBuilder) {
        let mut displaced: Vec<(&str, String)> = Vec::new();
        for (name, value) in self.target {
            let exposed = builder.value(name);
            if !exposed.is_empty() {
                displaced.push((name, exposed.to_owned()));
            }
            builder.set(name, value);
        }
        displaced.sort_by_key(|(name, _)| name.len());
        for (name, value) in displaced {
            let mut free = format!("{EXPORTED_PREFIX}{name}");
            while !builder.value(&free).is_empty() {
                free.insert_str(0, EXPORTED_PREFIX);
            }
            builder.set(&free, &value);
        }
    }

    fn check(&self, labels: &Labels) -> Result<(), SampleError> {
        let Some(metric) = labels.get(METRIC_NAME) else {
            return Err(SampleError::NoMetricName);
        };
        let valid = labels.iter().all(|(name, value)| {
            if name == METRIC_NAME {
                self.scheme.is_valid_metric_name(value)
            } else {
                self.scheme.is_valid_label_name(name)
            }
        });
        if !valid {
            return Err(SampleError::InvalidNames {
                labels: labels.clone(),
            });
        }
        self.check_limits(labels, metric)
    }

    fn check_limits(&self, labels: &Labels, metric: &str) -> Result<(), SampleError> {
        let limits = &self.limits;
        let over = |length: usize, limit: u64| limit > 0 && length as u64 > limit;
        if limits.labels_max > 0 {
            let count = labels.len();
            if over(count, limits.labels_max) {
                return Err(SampleError::LabelLimit {
                    metric: shortened(metric),
                    count,
                    limit: limits.labels_max,
                });
            }
        }
        for (name, value) in labels {
            if over(name.len(), limits.name_bytes_max) {
                return Err(SampleError::LabelNameLength {
                    metric: shortened(metric),
                    name: shortened(name),
                    bytes: name.len(),
                    limit: limits.name_bytes_max,
                });
            }
            if over(value.len(), limits.value_bytes_max) {
                return Err(SampleError::LabelValueLength {
                    metric: shortened(metric),
                    name: shortened(name),
                    value: shortened(value),
                    bytes: value.len(),
                    limit: limits.value_bytes_max,
                });
            }
        }
        Ok(())
    }
}

/// Labels of a series that describes the scrape itself: only the target's beside its name.
pub(crate) fn report_labels(metric: &str, target: &Labels) -> Labels {
    let mut builder = target.to_builder();
    builder.set(METRIC_NAME, metric);
    builder.build()
}

/// Names that stand in the body more than once.
fn repeated(exposed: &[(String, String)]) -> Vec<&str> {
    let mut names: Vec<&str> = exposed.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let mut repeated: Vec<&str> = names
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
        .collect();
    repeated.dedup();
    repeated
}

/// What a repeated label counts as: its first value, or none where one of its values is empty.
fn first_of<'e>(exposed: &'e [(String, String)], name: &str) -> &'e str {
    let values = || exposed.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let has_empty = values().any(str::is_empty);
    values().next().filter(|_| !has_empty).unwrap_or("")
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::relabel::{RelabelAction, RelabelConfig};

    fn rules(target: &Labels, honor_labels: bool) -> LabelRules<'_> {
        LabelRules {
            target,
            honor_labels,
            relabel: &[],
            scheme: NameScheme::Utf8,
            limits: LabelLimits::default(),
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn the_targets_labels_win_unless_told_otherwise() {
        let target = Labels::from_pairs([("job", "j"), ("instance", "i")]);
        let exposed = pairs(&[
            ("__name__", "m"),
            ("job", "x"),
            ("exported_job", "y"),
            ("instance", ""),
        ]);
        let labels = rules(&target, false).series_labels(&exposed).unwrap().unwrap();
        assert_eq!(
            labels.to_string(),
            r#"{__name__="m", exported_exported_job="x", exported_job="y", instance="i", job="j"}"#
        );
        let labels = rules(&target, true).series_labels(&exposed).unwrap().unwrap();
        assert_eq!(labels.to_string(), r#"{__name__="m", exported_job="y", job="x"}"#);
    }

    #[test]
    fn what_cannot_be_stored_fails() {
        let target = Labels::empty();
        let mut rules = rules(&target, false);
        let error = |rules: &LabelRules<'_>, exposed: &[(&str, &str)]| {
            rules.series_labels(&pairs(exposed)).unwrap_err().to_string()
        };
        assert_eq!(
            error(&rules, &[("a", "b")]),
            "missing metric name (__name__ label)"
        );
        assert_eq!(
            error(&rules, &[("__name__", "m"), ("a", "1"), ("a", "2")]),
            r#"label name "a" is not unique: invalid sample"#
        );
        rules.scheme = NameScheme::Legacy;
        assert_eq!(
            error(&rules, &[("__name__", "m.n")]),
            r#"invalid metric name or label names: {__name__="m.n"}"#
        );
        rules.limits = LabelLimits {
            labels_max: 2,
            name_bytes_max: 8,
            value_bytes_max: 4,
        };
        assert_eq!(
            error(&rules, &[("__name__", "m"), ("a", "1"), ("b", "1")]),
            "label_limit exceeded (metric: m, number of labels: 3, limit: 2)"
        );
        assert_eq!(
            error(&rules, &[("__name__", "m"), ("abcdefghi", "1")]),
            "label_name_length_limit exceeded (metric: m, label name: abcdefghi, length: 9, limit: 8)"
        );
        assert_eq!(
            error(&rules, &[("__name__", "m"), ("a", "12345")]),
            r#"label_value_length_limit exceeded (metric: m, label name: a, value: "12345", length: 5, limit: 4)"#
        );
    }

    #[test]
    fn what_relabelling_makes_of_a_repeated_label() {
        let twice = pairs(&[("__name__", "m"), ("a", "1"), ("a", "2")]);
        let target = Labels::from_pairs([("a", "target")]);
        let labels = rules(&target, false).series_labels(&twice).unwrap().unwrap();
        assert_eq!(
            labels.to_string(),
            r#"{__name__="m", a="target", exported_a="1"}"#
        );
        rules(&target, true).series_labels(&twice).unwrap_err();

        let none = Labels::empty();
        let drop = RelabelConfig {
            action: RelabelAction::LabelDrop,
            regex: Some("a".to_owned()),
            ..RelabelConfig::default()
        };
        let drop = [RelabelRule::new(drop, NameScheme::Utf8).unwrap()];
        let dropping = LabelRules {
            relabel: &drop,
            ..rules(&none, false)
        };
        let labels = dropping.series_labels(&twice).unwrap().unwrap();
        assert_eq!(labels.to_string(), r#"{__name__="m"}"#);

        let with_empty = pairs(&[("__name__", "m"), ("a", "1"), ("a", "")]);
        let labels = rules(&none, false).series_labels(&with_empty).unwrap().unwrap();
        assert_eq!(labels.to_string(), r#"{__name__="m"}"#);
    }
}

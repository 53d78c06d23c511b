//! `--enable-feature`: what each name of the reference's does here.

use promql::engine::Features;

/// What `--enable-feature` names.
#[derive(Clone, Debug, Default)]
pub(crate) struct FeatureFlags {
    pub(crate) promql: Features,
    pub(crate) exemplar_storage: bool,
    /// Samples keep their start timestamps, and scrapes ask for the format that has them first.
    pub(crate) start_timestamps: bool,
    /// Floats are encoded as XOR2 where the configuration names no encoding.
    pub(crate) xor2_floats: bool,
    /// `extra_scrape_metrics` is on where the configuration does not name it.
    pub(crate) extra_scrape_metrics: bool,
    /// Rules of a group that do not look at each other are evaluated beside each other.
    pub(crate) concurrent_rules: bool,
    /// Deltas that come by OTLP are added up.
    pub(crate) otlp_delta_to_cumulative: bool,
    /// Deltas that come by OTLP are stored as they are.
    pub(crate) otlp_native_delta: bool,
    /// Start timestamps that are pushed become samples of zero.
    pub(crate) start_zeros: bool,
    /// Metadata of what is scraped and pushed is written to the log.
    pub(crate) metadata_records: bool,
    /// As `--config.auto-reload`.
    pub(crate) auto_reload: bool,
    /// Names without an effect, and why.
    pub(crate) without_effect: Vec<(String, &'static str)>,
    /// Names of no feature.
    pub(crate) unknown: Vec<String>,
}

impl FeatureFlags {
    /// From the flag's value: names with commas.
    pub(super) fn new(list: &str) -> Self {
        let mut flags = FeatureFlags::default();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            flags.take(name);
        }
        flags
    }

    /// What cannot be had together. Compat: the reference's words (push/otlp/other.json).
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        (self.otlp_delta_to_cumulative && self.otlp_native_delta).then_some(
            "Error parsing feature list: cannot enable otlp-deltatocumulative and otlp-native-delta-ingestion \
             features at the same time",
        )
    }

    fn take(&mut self, name: &str) {
        let promql = &mut self.promql;
        let switch = match name {
            "promql-experimental-functions" => &mut promql.experimental_functions,
            "promql-delayed-name-removal" => &mut promql.delayed_name_removal,
            "promql-extended-range-selectors" => &mut promql.extended_range_selectors,
            "promql-binop-fill-modifiers" => &mut promql.binop_fill_modifiers,
            "promql-per-step-stats" => &mut promql.per_step_stats,
            "type-and-unit-labels" => &mut promql.type_and_unit_labels,
            "use-start-timestamps" => &mut promql.use_start_timestamps,
            "exemplar-storage" => &mut self.exemplar_storage,
            "st-storage" => &mut self.start_timestamps,
            "xor2-encoding" => &mut self.xor2_floats,
            "extra-scrape-metrics" => &mut self.extra_scrape_metrics,
            "created-timestamp-zero-ingestion" => &mut self.start_zeros,
            "metadata-wal-records" => &mut self.metadata_records,
            "auto-reload-config" => &mut self.auto_reload,
            "concurrent-rule-eval" => &mut self.concurrent_rules,
            "otlp-deltatocumulative" => &mut self.otlp_delta_to_cumulative,
            "otlp-native-delta-ingestion" => &mut self.otlp_native_delta,
            name => {
                match without_effect(name) {
                    Some(why) => self.without_effect.push((name.to_owned(), why)),
                    None => self.unknown.push(name.to_owned()),
                }
                return;
            }
        };
        *switch = true;
    }
}

/// Why a feature of the reference's has no effect here; `None` for a name of none.
fn without_effect(name: &str) -> Option<&'static str> {
    Some(match name {
        "promql-at-modifier"
        | "promql-negative-offset"
        | "promql-duration-expr"
        | "native-histograms"
        | "ooo-native-histograms" => "it is always on",
        "histograms-st-encoding" => {
            "histograms that are stored with a start timestamp always have room for it"
        }
        "memory-snapshot-on-shutdown" | "fast-startup" => {
            "the head is always written beside the write-ahead log"
        }
        "auto-gomaxprocs" | "auto-gomemlimit" => "there is no Go runtime to steer",
        "old-ui" => "there is one page only",
        "delayed-compaction" => "a block is written as soon as the head is full",
        "search-api" => "the search API is not in this version",
        "st-synthesis" | "use-uncached-io" => "it is not in this version",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that the reference's help lists, and those that it takes without listing them.
    const OF_THE_REFERENCE: &str = "concurrent-rule-eval,created-timestamp-zero-ingestion,delayed-compaction,exemplar-storage,\
        extra-scrape-metrics,histograms-st-encoding,memory-snapshot-on-shutdown,metadata-wal-records,old-ui,\
        otlp-deltatocumulative,otlp-native-delta-ingestion,promql-binop-fill-modifiers,promql-delayed-name-removal,\
        promql-experimental-functions,promql-extended-range-selectors,promql-per-step-stats,search-api,st-storage,\
        st-synthesis,type-and-unit-labels,use-start-timestamps,use-uncached-io,xor2-encoding,\
        auto-reload-config,promql-duration-expr,native-histograms,ooo-native-histograms,fast-startup";

    #[test]
    fn every_feature_of_the_reference_is_served_or_said() {
        let none = format!("{:?}", FeatureFlags::default());
        for name in OF_THE_REFERENCE.split(',') {
            let flags = FeatureFlags::new(name);
            assert!(flags.unknown.is_empty(), "{name}");
            assert_ne!(format!("{flags:?}"), none, "{name}");
        }
        assert_eq!(FeatureFlags::new("a, st-storage,,b").unknown, ["a", "b"]);
    }
}

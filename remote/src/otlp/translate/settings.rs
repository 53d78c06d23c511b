//! How requests are translated: what the section `otlp` and the command line say about it.

use std::collections::HashSet;

use super::super::config::OtlpConfig;
use super::super::names::Naming;

/// Which attributes of resources become labels of all their series.
#[derive(Clone, Debug)]
pub(super) enum Promotion {
    Only(HashSet<Vec<u8>>),
    AllBut(HashSet<Vec<u8>>),
}

impl Promotion {
    pub(super) fn takes(&self, name: &[u8]) -> bool {
        match self {
            Promotion::Only(names) => names.contains(name),
            Promotion::AllBut(names) => !names.contains(name),
        }
    }
}

/// How requests are translated.
#[derive(Clone, Debug)]
pub(in crate::otlp) struct Settings {
    pub(super) naming: Naming,
    pub(super) promotion: Promotion,
    pub(super) keep_identifying: bool,
    pub(super) custom_buckets: bool,
    pub(super) scope_labels: bool,
    pub(super) type_and_unit_labels: bool,
    /// Deltas are stored as they are.
    pub(super) native_delta: bool,
    /// Distance of samples of `target_info`.
    pub(super) target_info_ns: i64,
    /// A zero is stored where something began to be counted.
    pub(super) zero_samples: bool,
}

/// What the command line says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranslateOptions {
    /// Metrics with delta temporality are stored as they come.
    pub native_delta: bool,
    /// Kinds and units become labels.
    pub type_and_unit_labels: bool,
    /// A zero is stored where something began to be counted.
    pub zero_samples: bool,
    /// How far queries look back, in milliseconds.
    pub lookback_ms: i64,
}

impl Settings {
    pub(in crate::otlp) fn new(config: &OtlpConfig, options: TranslateOptions) -> Self {
        let names = |names: &[String]| names.iter().map(|name| name.clone().into_bytes()).collect();
        let lookback_ms = match options.lookback_ms {
            ..=0 => 300_000,
            some => some,
        };
        Settings {
            naming: Naming::new(config),
            promotion: if config.promote_all_resource_attributes {
                Promotion::AllBut(names(&config.ignore_resource_attributes))
            } else {
                Promotion::Only(names(&config.promote_resource_attributes))
            },
            keep_identifying: config.keep_identifying_resource_attributes,
            custom_buckets: config.convert_histograms_to_nhcb,
            scope_labels: config.promote_scope_metadata,
            type_and_unit_labels: options.type_and_unit_labels,
            native_delta: options.native_delta,
            target_info_ns: lookback_ms.saturating_mul(500_000),
            zero_samples: options.zero_samples,
        }
    }
}

//! The sections `global` and `runtime`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::labels::{LabelTooLong, Labels, NameScheme};
use scraper::ScrapeDefaults;
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};
use yaml::{Duration, FromYaml, NodeKind, Section, Value, YamlError};

use super::expand::expand;
use super::load::{LoadOptions, Warning};

const DEFAULT_EVALUATION_INTERVAL: Duration = Duration::from_ms(60_000);
const DEFAULT_GOGC: i64 = 75;

/// `global`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GlobalConfig {
    /// What scrape configurations fall back to.
    pub(crate) scrape: ScrapeDefaults,
    /// How often rule groups are evaluated that do not say so themselves.
    pub(crate) evaluation_interval: Duration,
    /// How far rule groups look back that do not say so themselves.
    pub(crate) rule_query_offset: Duration,
    /// File that queries are logged to; empty for none.
    pub(crate) query_log_file: PathBuf,
    /// Labels of this server, with variables replaced; see [`GlobalConfig::external_labels`].
    pub(crate) external: BTreeMap<String, String>,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        GlobalConfig {
            scrape: ScrapeDefaults {
                // Compat: shown in the status only where the file has no `global` section (testdata/config/empty.good.yml).
                metric_name_escaping_scheme: Some(exposition::EscapingScheme::AllowUtf8),
                ..ScrapeDefaults::default()
            },
            evaluation_interval: DEFAULT_EVALUATION_INTERVAL,
            rule_query_offset: Duration::default(),
            query_log_file: PathBuf::new(),
            external: BTreeMap::new(),
        }
    }
}

impl GlobalConfig {
    /// Reads the section.
    pub(super) fn read(
        value: Value<'_>,
        options: &LoadOptions<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, YamlError> {
        let mut section = value.section("global")?;
        let scrape = ScrapeDefaults::read(&mut section)?;
        let mut external = read_labels(&mut section, scrape.metric_name_validation_scheme)?;
        for (label, value) in &mut external {
            let mut empty = Vec::new();
            *value = expand(value, options.environment, &mut empty);
            let warning = |variable| Warning::EmptyVariable {
                label: label.clone(),
                variable,
            };
            warnings.extend(empty.into_iter().map(warning));
            LabelTooLong::check(label, value).map_err(|error| section.error_at("external_labels", error))?;
        }
        let evaluation_interval = section.get_or("evaluation_interval", Duration::default())?;
        let global = GlobalConfig {
            scrape,
            // Compat: 0 counts as not given (`the_text_of_a_configuration_is_the_references`).
            evaluation_interval: match evaluation_interval.as_ms() {
                0 => DEFAULT_EVALUATION_INTERVAL,
                _ => evaluation_interval,
            },
            rule_query_offset: section.get_or("rule_query_offset", Duration::default())?,
            query_log_file: PathBuf::from(section.get_or("query_log_file", String::new())?),
            external,
        };
        let says_extra = section.has("extra_scrape_metrics");
        section.finish()?;
        Ok(global.with_features(options, says_extra))
    }

    /// With what feature flags change where the section does not say; `says_extra` is whether it has
    /// `extra_scrape_metrics`.
    pub(super) fn with_features(mut self, options: &LoadOptions<'_>, says_extra: bool) -> Self {
        self.scrape.extra_scrape_metrics |= options.extra_scrape_metrics && !says_extra;
        if options.protobuf_first && self.scrape.scrape_protocols.is_none() {
            self.scrape.scrape_protocols = Some(exposition::ScrapeProtocol::DEFAULT_PROTOBUF_FIRST.to_vec());
        }
        self
    }

    /// Labels that leave this server with every alert and every sample; empty ones are none.
    pub(crate) fn external_labels(&self) -> Labels {
        Labels::from_pairs(&self.external)
    }

    /// Makes relative file names relative to `folder`.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        self.scrape.resolve_paths(folder);
        if !self.query_log_file.as_os_str().is_empty() {
            self.query_log_file = folder.join(&self.query_log_file);
        }
    }
}

/// Reads `external_labels`; an error stands at the label that it is about.
fn read_labels(section: &mut Section<'_>, scheme: NameScheme) -> Result<BTreeMap<String, String>, YamlError> {
    let Some(value) = section.value("external_labels") else {
        return Ok(BTreeMap::new());
    };
    if let NodeKind::Mapping(pairs) = &value.node.kind {
        for (key, _) in pairs {
            let key = Value {
                document: value.document,
                node: key,
            };
            let name = String::from_yaml(key)?;
            if !scheme.is_valid_label_name(&name) {
                return Err(key.error(format_args!("{name:?} is not a valid label name")));
            }
        }
    }
    FromYaml::from_yaml(value)
}

/// The order in which the reference prints the section; it goes back and forth between what scraping and what others
/// use.
const ORDER: [&str; 22] = [
    "scrape_interval",
    "scrape_timeout",
    "scrape_protocols",
    "evaluation_interval",
    "rule_query_offset",
    "query_log_file",
    "scrape_failure_log_file",
    "external_labels",
    "body_size_limit",
    "sample_limit",
    "sample_limit_action",
    "target_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "keep_dropped_targets",
    "metric_name_validation_scheme",
    "metric_name_escaping_scheme",
    "scrape_native_histograms",
    "convert_classic_histograms_to_nhcb",
    "always_scrape_classic_histograms",
    "extra_scrape_metrics",
];

impl Serialize for GlobalConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = match serde_json::to_value(&self.scrape).map_err(S::Error::custom)? {
            serde_json::Value::Object(fields) => fields,
            _ => serde_json::Map::new(),
        };
        let mut add = |key: &str, there: bool, value: serde_json::Value| {
            if there {
                fields.insert(key.to_owned(), value);
            }
        };
        add(
            "evaluation_interval",
            true,
            self.evaluation_interval.to_string().into(),
        );
        add(
            "rule_query_offset",
            self.rule_query_offset.as_ms() != 0,
            self.rule_query_offset.to_string().into(),
        );
        let log = self.query_log_file.to_string_lossy();
        add("query_log_file", !log.is_empty(), log.as_ref().into());
        let labels = self
            .external
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        add(
            "external_labels",
            !self.external.is_empty(),
            serde_json::Value::Object(labels),
        );
        let mut map = serializer.serialize_map(None)?;
        for key in ORDER {
            match fields.get(key) {
                // Only these two switches are told when they are off.
                Some(serde_json::Value::Bool(false))
                    if !matches!(key, "scrape_native_histograms" | "extra_scrape_metrics") => {}
                Some(value) => map.serialize_entry(key, value)?,
                None => {}
            }
        }
        map.end()
    }
}

/// `runtime`: settings of a Go process, read and shown, without a meaning here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RuntimeConfig {
    gogc: i64,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        RuntimeConfig { gogc: DEFAULT_GOGC }
    }
}

impl RuntimeConfig {
    pub(super) fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("runtime")?;
        let gogc = section
            .get("gogc")?
            .filter(|gogc| *gogc != 0)
            .unwrap_or(DEFAULT_GOGC);
        section.finish()?;
        Ok(RuntimeConfig { gogc })
    }
}

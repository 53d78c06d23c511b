//! Asking a server what it knows of the metrics that rules look at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::rules::lint::{Facts, MetricKind, Questions};
use model::matcher::Matcher;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::LintError;
use crate::cli::client::Client;
use crate::cli::query::path_segment;
use crate::cli::render::err;

/// A server that needs longer has other problems.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How far back series count as being there.
const LOOK_BACK: Duration = Duration::from_secs(24 * 60 * 60);
/// Metrics that are counted by one query.
const COUNTED_AT_ONCE: usize = 200;
/// Labels of metrics whose values are asked for, each by a request.
const VALUES_MAX: usize = 1_000;

/// One thing that metadata says of a metric.
#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "type")]
    kind: String,
}

/// The answer to a query for a vector.
#[derive(Deserialize)]
struct Vector {
    result: Vec<Element>,
}

#[derive(Deserialize)]
struct Element {
    metric: BTreeMap<String, String>,
    value: (IgnoredAny, String),
}

#[derive(Deserialize)]
struct Config {
    yaml: String,
}

/// Asks `server` for what `questions` want.
pub(super) async fn ask(
    server: &str,
    http_config: Option<&str>,
    questions: &Questions,
) -> Result<Facts, LintError> {
    let asker = Asker::new(Client::new(server, http_config, &[])?);
    let mut facts = asker.intervals().await?;
    facts.names = asker.values("__name__", None).await?;
    facts.kinds = asker.kinds().await?;
    let known: Vec<&str> = questions
        .names
        .iter()
        .map(String::as_str)
        .filter(|name| facts.names.contains(*name))
        .collect();
    facts.series = asker.series(&known).await?;
    let wanted = questions
        .values
        .iter()
        .filter(|(name, _)| facts.names.contains(name));
    let wanted: Vec<&(String, String)> = wanted.collect();
    if wanted.len() > VALUES_MAX {
        let (all, asked) = (wanted.len(), VALUES_MAX);
        err(format_args!(
            "{all} labels are compared; the values of the first {asked} are asked for"
        ));
    }
    for (name, label) in wanted.into_iter().take(VALUES_MAX) {
        let values = asker.values(label, Some(name)).await?;
        facts.values.insert((name.clone(), label.clone()), values);
    }
    Ok(facts)
}

struct Asker {
    client: Client,
    /// Since when series count, in seconds since the epoch.
    start: u64,
}

impl Asker {
    fn new(client: Client) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Asker {
            client,
            start: now.saturating_sub(LOOK_BACK).as_secs(),
        }
    }

    /// The values of a label: of all series, or of those of a metric.
    async fn values(&self, label: &str, metric: Option<&str>) -> Result<BTreeSet<String>, LintError> {
        let mut params = vec![("start", self.start.to_string())];
        if let Some(metric) = metric {
            params.push(("match[]", selector(metric)));
        }
        let path = format!("api/v1/label/{}/values", path_segment(label));
        let answer = self.client.api_get(&path, &params, TIMEOUT).await?;
        Ok(answer.data)
    }

    /// The types of metrics, where all targets say the same of them.
    async fn kinds(&self) -> Result<BTreeMap<String, MetricKind>, LintError> {
        let answer = self.client.api_get("api/v1/metadata", &[], TIMEOUT).await?;
        let metadata: BTreeMap<String, Vec<Metadata>> = answer.data;
        let kinds = metadata.into_iter().filter_map(|(name, said)| {
            let mut kinds = said.iter().map(|said| MetricKind::from_word(&said.kind));
            let first = kinds.next()?;
            kinds.all(|kind| kind == first).then_some((name, first))
        });
        Ok(kinds.collect())
    }

    /// How many series metrics have.
    async fn series(&self, names: &[&str]) -> Result<BTreeMap<String, u64>, LintError> {
        let mut series = BTreeMap::new();
        for names in names.chunks(COUNTED_AT_ONCE) {
            let alternatives: Vec<String> = names.iter().map(|name| pattern(name)).collect();
            let all = model::go::Quoted(&alternatives.join("|")).to_string();
            let query = format!("count by (__name__) ({{__name__=~{all}}})");
            let answer = self
                .client
                .api_post("api/v1/query", &[("query", query)], TIMEOUT)
                .await?;
            let counted: Vector = answer.data;
            series.extend(counted.result.into_iter().filter_map(|element| {
                let name = element.metric.get("__name__")?.clone();
                Some((name, element.value.1.parse().ok()?))
            }));
        }
        Ok(series)
    }

    /// The intervals of the server's configuration.
    async fn intervals(&self) -> Result<Facts, LintError> {
        let answer = self.client.api_get("api/v1/status/config", &[], TIMEOUT).await?;
        let config: Config = answer.data;
        let document = yaml::parse("configuration", &config.yaml).map_err(LintError::ServerConfig)?;
        let root = document.root();
        let interval = |value: Option<yaml::Value<'_>>, key: &str| {
            let value = value.and_then(|value| value.entry(key))?;
            let duration: yaml::Duration = yaml::FromYaml::from_yaml(value).ok()?;
            Some(duration.as_ms())
        };
        let jobs = root.entry("scrape_configs").and_then(|jobs| jobs.sequence().ok());
        let of_jobs = jobs
            .into_iter()
            .flatten()
            .filter_map(|job| interval(Some(job), "scrape_interval"));
        let global = root.entry("global");
        Ok(Facts {
            scrape_interval_ms: of_jobs.chain(interval(global, "scrape_interval")).min(),
            evaluation_interval_ms: interval(global, "evaluation_interval"),
            ..Facts::default()
        })
    }
}

fn selector(metric: &str) -> String {
    format!("{{{}}}", Matcher::equal("__name__", metric))
}

/// A metric's name as a pattern that matches nothing else.
fn pattern(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_punctuation() && !"_:".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

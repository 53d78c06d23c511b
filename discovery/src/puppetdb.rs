//! `puppetdb_sd_configs`: nodes that a query of PuppetDB finds.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::Request;
use model::labels::Labels;
use serde::Serialize;
use serde_json::Value;
use url::Url;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, ApiSettings, MINUTE, answers, files_of};
use crate::http::{check_url, is_json};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, SEPARATOR, group, label_name};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PuppetDbConfig {
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
    /// The root of PuppetDB's API.
    pub url: String,
    /// The query, in PQL.
    pub query: String,
    /// Make labels of the resources' parameters, which may hold secrets.
    pub include_parameters: bool,
    /// Port of the targets.
    pub port: i64,
}

impl Discovery for PuppetDbConfig {
    const KEY: &'static str = "puppetdb_sd_configs";
    const NAME: &'static str = "puppetdb";
    const HELP: &'static str = "nodes that a query of PuppetDB finds";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let url: String = section.get_or("url", String::new())?;
        check_url(section, &url)?;
        let query: String = section.get_or("query", String::new())?;
        if query.is_empty() {
            return Err(section.error_at("query", "query missing"));
        }
        Ok(PuppetDbConfig {
            url,
            query,
            include_parameters: section.get_or("include_parameters", false)?,
            port: section.get_or("port", 80)?,
            api: ApiSettings::read(section, MINUTE)?,
        })
    }

    files_of!(api);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let mut url = Url::parse(&self.url).map_err(|error| PrepareError::Unavailable(error.into()))?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["pdb", "query", "v4"]);
        }
        let body = serde_json::json!({"query": self.query}).to_string();
        let request = Request::post(url, "application/json", body).header("accept", "application/json");
        let poll = PuppetDb {
            api: self.api.client(context)?,
            request: request.repeatable(),
            config: self.clone(),
        };
        Ok(Runner::poll(self.api.refresh_interval, poll))
    }
}

struct PuppetDb {
    api: Api,
    request: Request,
    config: PuppetDbConfig,
}

impl Poll for PuppetDb {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let answer = self.api.round().send(self.request.clone()).await?;
            if !is_json(answer.header("content-type")) {
                let detail = format!("unsupported content type {:?}", answer.header("content-type"));
                return Err(DiscoveryError::content(&answer.url, detail));
            }
            let resources: Vec<Resource> = answer.json_list()?;
            let targets: Result<_, _> = resources
                .into_iter()
                .map(|resource| of_resource(resource, &self.config))
                .collect();
            Ok(group(
                &format!("{}?query={}", self.request.url(), self.config.query),
                targets?,
            ))
        }
        .boxed()
    }
}

answers! {
    struct Resource {
        certname: String,
        resource: String,
        #[serde(rename = "type")]
        kind: String,
        title: String,
        exported: bool,
        tags: Vec<String>,
        file: String,
        environment: String,
        parameters: BTreeMap<String, Value>,
    }
}

fn of_resource(resource: Resource, config: &PuppetDbConfig) -> Result<Labels, DiscoveryError> {
    let mut target = MetaLabels::new("__meta_puppetdb_");
    target
        .address(&resource.certname, config.port)
        .meta("query", &config.query)
        .meta("certname", &resource.certname)
        .meta("resource", &resource.resource)
        .meta("type", &resource.kind)
        .meta("title", &resource.title)
        .meta("exported", resource.exported)
        .meta("file", &resource.file)
        .meta("environment", &resource.environment)
        .list("tags", &resource.tags, SEPARATOR);
    if config.include_parameters {
        for (name, value) in &resource.parameters {
            parameter(&mut target, &format!("parameter_{}", label_name(name)), value);
        }
    }
    target.build()
}

/// Sets the labels of a parameter. A document that is read is no deeper than what the JSON reader takes.
fn parameter(target: &mut MetaLabels, name: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            for (inner, value) in members {
                parameter(target, &format!("{name}_{}", label_name(inner)), value);
            }
        }
        // Compat: joined, not surrounded; what is no plain value leaves a gap (conformance `discovery/puppetdb/resources`).
        Value::Array(members) => {
            let texts: Vec<String> = members
                .iter()
                .map(|member| plain(member).unwrap_or_default())
                .collect();
            if !texts.is_empty() {
                target.meta(name, texts.join(SEPARATOR));
            }
        }
        value => {
            if let Some(text) = plain(value).filter(|text| !text.is_empty()) {
                target.meta(name, text);
            }
        }
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Number(number) => number.as_f64().map(model::float::format_general),
        _ => None,
    }
}

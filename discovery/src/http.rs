//! `http_sd_configs`: a list of target groups that an HTTP server gives.

use ::http::StatusCode;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::Request;
use metrics::Counter;
use serde::Serialize;
use url::Url;
use yaml::{Section, YamlError};

use crate::api::{Api, ApiSettings, MINUTE, base_url, files_of};
use crate::mechanism::Discovery;
use crate::metrics::Metrics;
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};
use crate::{TargetGroup, target_list};

/// Added to each target.
const URL_LABEL: &str = "__meta_url";

/// Where to ask, and how often.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpConfig {
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
    /// Whom.
    pub url: String,
}

impl Discovery for HttpConfig {
    const KEY: &'static str = "http_sd_configs";
    const NAME: &'static str = "http";
    const HELP: &'static str = "target groups as JSON from an HTTP server";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let url: String = section.get_or("url", String::new())?;
        check_url(section, &url)?;
        Ok(HttpConfig {
            url,
            api: ApiSettings::read(section, MINUTE)?,
        })
    }

    files_of!(api);

    fn register(metrics: &Metrics) {
        failures(metrics);
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let interval = self.api.refresh_interval;
        let request = Request::get(base_url("url", &self.url)?)
            .header("accept", "application/json")
            .header(
                "x-prometheus-refresh-interval-seconds",
                model::float::format_float(interval.as_std().as_secs_f64()),
            );
        let poll = HttpPoll {
            api: self.api.client(context)?,
            request,
            url: self.url.clone(),
            failures: failures(&context.metrics),
        };
        Ok(Runner::poll(interval, poll))
    }
}

/// Refuses what is no URL of an HTTP server.
pub(crate) fn check_url(section: &Section<'_>, url: &str) -> Result<(), YamlError> {
    if url.is_empty() {
        return Err(section.error_at("url", "URL is missing"));
    }
    let parsed = Url::parse(url);
    match &parsed {
        Ok(parsed) if !matches!(parsed.scheme(), "http" | "https") => {
            return Err(section.error_at("url", "URL scheme must be 'http' or 'https'"));
        }
        Ok(parsed) if parsed.host_str().is_some_and(|host| !host.is_empty()) => {}
        Ok(_) | Err(url::ParseError::EmptyHost) => {
            return Err(section.error_at("url", "host is missing in URL"));
        }
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            return Err(section.error_at("url", "URL scheme must be 'http' or 'https'"));
        }
        Err(error) => return Err(section.error_at("url", format_args!("parse {url:?}: {error}"))),
    }
    Ok(())
}

fn failures(metrics: &Metrics) -> Counter {
    metrics.registry().counter(
        "prometheus_sd_http_failures_total",
        "Number of HTTP service discovery refresh failures.",
    )
}

struct HttpPoll {
    api: Api,
    request: Request,
    /// As it was written: what sources and labels carry.
    url: String,
    failures: Counter,
}

impl Poll for HttpPoll {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async { self.ask().await.inspect_err(|_| self.failures.inc()) }.boxed()
    }
}

impl HttpPoll {
    async fn ask(&self) -> Result<Vec<TargetGroup>, DiscoveryError> {
        let round = self.api.round();
        let answer = round.send_for(self.request.clone(), |status| status == StatusCode::OK);
        let answer = answer.await?;
        let content_type = answer.header("content-type");
        if !is_json(content_type) {
            let detail = format!("unsupported content type {content_type:?}");
            return Err(DiscoveryError::content(&self.url, detail));
        }
        let document =
            yaml::parse_json(&self.url, &answer.body).map_err(|e| DiscoveryError::Other(e.into()))?;
        target_list::read(&document, &self.url, URL_LABEL).map_err(|e| DiscoveryError::Other(e.into()))
    }
}

/// Compat: JSON, and if it says a character set, UTF-8 (conformance `discovery/http/content-types`).
pub(crate) fn is_json(content_type: &str) -> bool {
    let lower = content_type.trim().to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("application/json") else {
        return false;
    };
    let Some(parameter) = rest.strip_prefix(';') else {
        return rest.is_empty();
    };
    let value = parameter.trim_start().strip_prefix("charset=");
    value.is_some_and(|value| matches!(value, "utf-8" | "\"utf-8\""))
}

//! What is found in AWS: settings and the signed calls that all its services share.
//!
//! Three protocols: forms that are answered in XML (EC2, RDS, ElastiCache), JSON with a target in a header (ECS,
//! Lightsail), and plain paths with JSON (MSK). [`Service`] signs, sends, tries again what passes, and names the
//! credentials where they are what an answer complains of.

pub(crate) mod ec2;
pub(crate) mod ecs;
pub(crate) mod elasticache;
mod elasticache_labels;
pub(crate) mod lightsail;
pub(crate) mod msk;
pub(crate) mod rds;
mod rds_labels;
mod table;
pub(crate) mod umbrella;

use std::sync::Arc;

use ::http::StatusCode;
use credentials::CredentialsError;
use credentials::aws::fault::Fault;
use credentials::aws::{Aws, AwsCredentials, AwsSettings};
use credentials::xml::Element;
use httpclient::{HttpClientConfig, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use url::{Url, form_urlencoded};
use yaml::{FromYaml, Section, Value, YamlError};

use crate::api::{ATTEMPTS, Answer, Api, ApiSettings, MINUTE, PAUSE, Round};
use crate::meta::MetaLabels;
use crate::prepare::{Context, DiscoveryError, PrepareError};

/// Port of the targets where none is configured.
const PORT: i64 = 80;
/// Most requests at the same time, whatever is configured.
const CONCURRENCY_MAX: i64 = 100;

/// Settings of every mechanism that asks AWS.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AwsApiSettings {
    /// Where the service is asked; empty: where it is in the region.
    pub endpoint: String,
    /// Region and credentials.
    #[serde(flatten)]
    pub aws: AwsSettings,
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
    /// Port of the targets.
    pub port: i64,
}

impl AwsApiSettings {
    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        AwsApiSettings::read_with(section, HttpClientConfig::read)
    }

    fn read_with(
        section: &mut Section<'_>,
        read_http: fn(&mut Section<'_>) -> Result<HttpClientConfig, YamlError>,
    ) -> Result<Self, YamlError> {
        Ok(AwsApiSettings {
            endpoint: section.get_or("endpoint", String::new())?,
            aws: AwsSettings::read(section)?,
            port: section.get_or("port", PORT)?,
            api: ApiSettings {
                refresh_interval: section.get_or("refresh_interval", MINUTE)?,
                http: read_http(section)?,
            },
        })
    }

    fn resolve_paths(&mut self, folder: &std::path::Path) {
        self.api.resolve_paths(folder);
    }

    fn files(&self) -> Vec<&std::path::Path> {
        self.api.files()
    }

    /// A service of the region; `name` is what signatures and hosts call it.
    fn service(&self, context: &Context, name: &'static str) -> Result<Service, PrepareError> {
        let aws = Aws::new(
            self.aws.clone(),
            context.client(&self.api.http)?,
            context.machine(),
        )?;
        let endpoint = match self.endpoint.as_str() {
            "" => None,
            text => Some(crate::api::base_url("endpoint", text)?),
        };
        Ok(Service {
            // As the reference, not bounded by the interval: many calls make a refresh.
            api: Arc::new(Api::new(context.client(&self.api.http)?, MINUTE)),
            aws,
            name,
            endpoint,
            tested: OnceCell::new(),
        })
    }
}

/// What to look for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AwsFilter {
    /// A name of AWS's.
    pub name: String,
    /// Any of these.
    pub values: Vec<String>,
}

impl FromYaml for AwsFilter {
    fn from_yaml(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("filters")?;
        let filter = AwsFilter {
            name: section.get_or("name", String::new())?,
            values: section.get_or("values", Vec::new())?,
        };
        section.finish()?;
        Ok(filter)
    }
}

/// Takes `request_concurrency`.
fn read_concurrency(section: &mut Section<'_>, default: i64) -> Result<i64, YamlError> {
    section.get_or("request_concurrency", default)
}

/// How many requests go out at the same time. Compat: a negative number knows no limit to the reference; 0 would let it
/// wait for ever.
fn concurrency(configured: i64) -> usize {
    match configured {
        0 => 1,
        some if (1..CONCURRENCY_MAX).contains(&some) => some as usize,
        _ => CONCURRENCY_MAX as usize,
    }
}

/// A service of a region, asked with signed requests.
struct Service {
    api: Arc<Api>,
    aws: Aws,
    name: &'static str,
    endpoint: Option<Url>,
    /// Set once the credentials were found good.
    tested: OnceCell<()>,
}

/// Why a service did not do what was asked.
#[derive(Debug, thiserror::Error)]
enum AwsError {
    /// There is nothing to sign with.
    #[error("{service}: {source}")]
    Credentials {
        service: &'static str,
        source: Arc<CredentialsError>,
    },
    /// It says why.
    #[error("{service}: {action}: {status}: {fault}{}", with(.credentials))]
    Refused {
        service: &'static str,
        action: String,
        status: StatusCode,
        fault: Fault,
        /// Where they are what it complains of.
        credentials: Option<Box<AwsCredentials>>,
    },
}

fn with(credentials: &Option<Box<AwsCredentials>>) -> String {
    credentials
        .as_ref()
        .map(|credentials| format!("; asked with {credentials}"))
        .unwrap_or_default()
}

impl From<AwsError> for DiscoveryError {
    fn from(error: AwsError) -> Self {
        DiscoveryError::Other(error.into())
    }
}

impl Service {
    /// The service of another name, with the same credentials, at its own address.
    fn sibling(&self, name: &'static str) -> Service {
        Service {
            api: self.api.clone(),
            aws: self.aws.clone(),
            name,
            endpoint: None,
            tested: OnceCell::new(),
        }
    }

    /// The calls of one refresh.
    fn round(&self) -> Round<'_> {
        self.api.round()
    }

    /// Makes a call that is of no use but to find bad credentials, as the reference does, until it succeeds once.
    async fn test<T>(
        &self,
        call: impl Future<Output = Result<T, DiscoveryError>>,
    ) -> Result<(), DiscoveryError> {
        let call = || async { call.await.map(drop) };
        self.tested.get_or_try_init(call).await.copied()
    }

    async fn region(&self) -> Result<String, DiscoveryError> {
        Ok(self.aws.region().await.map_err(|source| self.without(source))?)
    }

    fn without(&self, source: Arc<CredentialsError>) -> AwsError {
        AwsError::Credentials {
            service: self.name,
            source,
        }
    }

    async fn url(&self) -> Result<Url, DiscoveryError> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        let region = self.region().await?;
        let endpoint = self.aws.endpoint(self.name, &region);
        Ok(endpoint.map_err(|source| self.without(Arc::new(source)))?)
    }

    /// A call whose parameters are a form.
    async fn query(
        &self,
        round: &Round<'_>,
        version: &str,
        action: &str,
        parameters: &[(String, String)],
    ) -> Result<Answer, DiscoveryError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", action)
            .extend_pairs(parameters)
            .append_pair("Version", version)
            .finish();
        let url = self.url().await?;
        let request = Request::post(url, "application/x-www-form-urlencoded", body).repeatable();
        self.call(round, action, request, |answer| Fault::of_xml(&answer.body))
            .await
    }

    /// A call whose parameters are JSON.
    async fn json<T: Default + DeserializeOwned>(
        &self,
        round: &Round<'_>,
        target: &str,
        action: &str,
        parameters: &serde_json::Value,
    ) -> Result<T, DiscoveryError> {
        let url = self.url().await?;
        let request = Request::post(url, "application/x-amz-json-1.1", parameters.to_string())
            .header("x-amz-target", format!("{target}.{action}"))
            .repeatable();
        self.call(round, action, request, fault_of_json).await?.json()
    }

    /// What a path of the service gives; its segments are escaped whole.
    async fn get<T: Default + DeserializeOwned>(
        &self,
        round: &Round<'_>,
        segments: &[&str],
        parameters: &[(&str, &str)],
    ) -> Result<T, DiscoveryError> {
        let mut url = self.url().await?;
        let path: Vec<String> = segments.iter().map(|segment| escaped(segment)).collect();
        url.set_path(&format!(
            "{}/{}",
            url.path().trim_end_matches('/'),
            path.join("/")
        ));
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let action = segments.join("/");
        self.call(round, &action, Request::get(url), fault_of_json)
            .await?
            .json()
    }

    /// Signs and sends, and again where a failure passes.
    async fn call(
        &self,
        round: &Round<'_>,
        action: &str,
        request: Request,
        fault_of: impl Fn(&Answer) -> Option<Fault>,
    ) -> Result<Answer, DiscoveryError> {
        let region = self.region().await?;
        let mut pause = PAUSE;
        for attempt in 1.. {
            let credentials = self
                .aws
                .credentials()
                .await
                .map_err(|source| self.without(source))?;
            let signed = self
                .aws
                .sign_with(request.clone(), &credentials, &region, self.name)
                .map_err(|error| self.without(Arc::new(error.into())))?;
            let answer = round.send_any(signed).await?;
            if answer.status.is_success() {
                return Ok(answer);
            }
            let fault = fault_of(&answer).unwrap_or_else(|| Fault {
                code: String::new(),
                message: answer.beginning(),
            });
            if attempt < ATTEMPTS && fault.passes(answer.status) {
                tokio::time::sleep(pause).await;
                pause *= 2;
                continue;
            }
            let is_of_credentials = fault.is_of_credentials()
                || matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            if is_of_credentials {
                self.aws.forget();
            }
            return Err(AwsError::Refused {
                service: self.name,
                action: action.to_owned(),
                status: answer.status,
                fault,
                credentials: is_of_credentials.then(|| Box::new(credentials)),
            }
            .into());
        }
        unreachable!("the last attempt returns")
    }
}

fn fault_of_json(answer: &Answer) -> Option<Fault> {
    Fault::of_json(&answer.headers, &answer.body)
}

fn escaped(segment: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(segment, KEEP).to_string()
}

/// The outermost element of an answer.
fn xml(answer: &Answer) -> Result<Element<'_>, DiscoveryError> {
    Element::parse(&answer.body).map_err(|error| DiscoveryError::content(&answer.url, error))
}

/// A parameter of a form.
fn pair(name: impl Into<String>, value: impl Into<String>) -> (String, String) {
    (name.into(), value.into())
}

/// The members of a list as parameters: `InstanceId.1`, `InstanceId.2`.
fn members<'m>(
    name: &'m str,
    values: impl IntoIterator<Item = &'m String>,
) -> impl Iterator<Item = (String, String)> {
    let values = values.into_iter().zip(1..);
    values.map(move |(value, number)| pair(format!("{name}.{number}"), value))
}

/// Sets a label for each tag of an element's list: pairs of `key` and `value`, whatever their case.
fn tags(target: &mut MetaLabels, name: &str, element: &Element<'_>, list: &str) {
    for tag in element.list(list) {
        if let (Some(key), Some(value)) = (tag.text_of("key"), tag.text_of("value")) {
            target.meta_of(name, key, value);
        }
    }
}

crate::api::answers! {
    /// A tag, as JSON has it.
    struct Tag {
        key: Option<String>,
        value: Option<String>,
    }
}

/// Sets a label for each tag that has a value.
fn json_tags(target: &mut MetaLabels, name: &str, tags: &[Tag]) {
    for tag in tags {
        if let (Some(key), Some(value)) = (&tag.key, &tag.value) {
            target.meta_of(name, key, value);
        }
    }
}

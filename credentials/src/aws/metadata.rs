//! Credentials that the instance or the container has.

use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use httpclient::Request;
use jiff::Timestamp;
use url::{Host, Url};

use super::{AwsCredentials, Shared};
use crate::ask::{ask, json};
use crate::error::CredentialsError;

const OF_INSTANCE: &str = "AWS instance metadata";
const OF_CONTAINER: &str = "AWS container credentials";
const INSTANCE: &str = "http://169.254.169.254";
const INSTANCE_IPV6: &str = "http://[fd00:ec2::254]";
const CONTAINER: &str = "http://169.254.170.2";
/// Where ECS and EKS give out credentials without TLS.
const CONTAINER_ADDRESSES: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
/// How long a session with the metadata service lasts, in seconds, as in the SDK.
const SESSION_SECONDS: &str = "300";
/// Longest wait for the metadata service, which is on the machine itself. Where no answer comes to the question for a
/// session, a container's network has taken it away, and the service is asked without one.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Credentials as both kinds of services write them.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    access_key_id: String,
    #[serde(default)]
    secret_access_key: String,
    token: Option<String>,
    #[serde(default, deserialize_with = "crate::ask::time")]
    expiration: Option<Timestamp>,
}

impl Given {
    fn read(self, of: &str, source: String) -> Result<AwsCredentials, CredentialsError> {
        if !self.code.is_empty() && self.code != "Success" {
            return Err(CredentialsError::unusable(
                of,
                format_args!("{}: {}", self.code, self.message),
            ));
        }
        if self.access_key_id.is_empty() || self.secret_access_key.is_empty() {
            return Err(CredentialsError::unusable(of, "the answer holds no keys"));
        }
        Ok(AwsCredentials {
            access_key_id: self.access_key_id,
            secret_access_key: self.secret_access_key,
            session_token: self.token.filter(|token| !token.is_empty()),
            expires: self.expiration,
            source: source.into(),
            look_again: None,
        })
    }
}

/// A session with the instance's metadata service: version 2 with a token, version 1 without.
struct Instance<'s> {
    shared: &'s Shared,
    base: Url,
    token: Option<String>,
}

impl<'s> Instance<'s> {
    async fn open(shared: &'s Shared) -> Result<Self, CredentialsError> {
        let machine = &shared.machine;
        if machine.is_set("AWS_EC2_METADATA_DISABLED") {
            let detail = "switched off by AWS_EC2_METADATA_DISABLED";
            return Err(CredentialsError::unusable(OF_INSTANCE, detail));
        }
        let base = machine
            .var("AWS_EC2_METADATA_SERVICE_ENDPOINT")
            .unwrap_or_else(|| {
                let mode = machine
                    .var("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")
                    .unwrap_or_default();
                let base = if mode.eq_ignore_ascii_case("ipv6") {
                    INSTANCE_IPV6
                } else {
                    INSTANCE
                };
                base.to_owned()
            });
        let base = Url::parse(&base)
            .map_err(|error| CredentialsError::unusable(OF_INSTANCE, format_args!("{base:?}: {error}")))?;
        let mut instance = Instance {
            shared,
            base,
            token: None,
        };
        let request = Request::new(http::Method::PUT, instance.url("latest/api/token")?)
            .header("x-aws-ec2-metadata-token-ttl-seconds", SESSION_SECONDS)
            .timeout(TIMEOUT);
        match ask(&shared.plain, request, OF_INSTANCE).await {
            Ok(token) => instance.token = Some(String::from_utf8_lossy(&token).trim().to_owned()),
            // Compat: as the SDK, a service that knows no sessions, or whose answer is lost, is asked without one.
            Err(error) if falls_back(&error) && !machine.is_set("AWS_EC2_METADATA_V1_DISABLED") => {
                tracing::debug!(%error, "Instance metadata without a session");
            }
            Err(error) => return Err(error),
        }
        Ok(instance)
    }

    fn url(&self, path: &str) -> Result<Url, CredentialsError> {
        let text = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|error| CredentialsError::unusable(OF_INSTANCE, error))
    }

    async fn get(&self, path: &str) -> Result<bytes::Bytes, CredentialsError> {
        let mut request = Request::get(self.url(path)?).timeout(TIMEOUT);
        if let Some(token) = &self.token {
            request = request.secret_header("x-aws-ec2-metadata-token", token);
        }
        ask(&self.shared.plain, request, OF_INSTANCE).await
    }
}

fn falls_back(error: &CredentialsError) -> bool {
    match error {
        CredentialsError::Refused { status, .. } => {
            matches!(
                *status,
                StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
            )
        }
        CredentialsError::Ask { source, .. } => source.is_timeout(),
        _ => false,
    }
}

/// The region that the instance is in.
pub(super) async fn region(shared: &Shared) -> Result<String, CredentialsError> {
    #[derive(serde::Deserialize)]
    struct Document {
        #[serde(default)]
        region: String,
    }
    let instance = Instance::open(shared).await?;
    let answer = instance.get("latest/dynamic/instance-identity/document").await?;
    let document: Document = json(&answer, OF_INSTANCE)?;
    if document.region.is_empty() {
        return Err(CredentialsError::unusable(
            OF_INSTANCE,
            "the instance's document names no region",
        ));
    }
    Ok(document.region)
}

/// Credentials of the instance's role.
pub(super) async fn of_instance(shared: &Shared) -> Result<AwsCredentials, CredentialsError> {
    let instance = Instance::open(shared).await?;
    let roles = instance.get("latest/meta-data/iam/security-credentials/").await?;
    let roles = String::from_utf8_lossy(&roles).into_owned();
    let role = roles.lines().next().unwrap_or("").trim();
    if role.is_empty() {
        return Err(CredentialsError::unusable(
            OF_INSTANCE,
            "the instance has no role",
        ));
    }
    let path = format!("latest/meta-data/iam/security-credentials/{role}");
    let given: Given = json(&instance.get(&path).await?, OF_INSTANCE)?;
    given.read(OF_INSTANCE, format!("instance metadata (role {role})"))
}

/// Credentials of the container, where it has some: ECS, or EKS's pod identities.
pub(super) async fn of_container(shared: &Shared) -> Result<Option<AwsCredentials>, CredentialsError> {
    let machine = &shared.machine;
    let relative = machine.var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let full = machine.var("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    let text = match (relative, full) {
        (Some(relative), _) => format!("{CONTAINER}{relative}"),
        (None, Some(full)) => full,
        (None, None) => return Ok(None),
    };
    let url = Url::parse(&text)
        .map_err(|error| CredentialsError::unusable(OF_CONTAINER, format_args!("{text:?}: {error}")))?;
    if !may_give(&url) {
        let detail =
            format!("{url}: without TLS only this machine and the addresses of ECS and EKS are asked");
        return Err(CredentialsError::unusable(OF_CONTAINER, detail));
    }
    let mut request = Request::get(url)
        .header("accept", "application/json")
        .timeout(TIMEOUT);
    let token = match machine.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => Some(machine.read(OF_CONTAINER, file.as_ref()).await?),
        None => machine.var("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    };
    if let Some(token) = token {
        request = request.secret_header("authorization", token.trim());
    }
    let given: Given = json(&ask(&shared.plain, request, OF_CONTAINER).await?, OF_CONTAINER)?;
    given
        .read(OF_CONTAINER, "container credentials".to_owned())
        .map(Some)
}

/// Whether credentials from there are taken: what is not encrypted must not leave the machine.
fn may_give(url: &Url) -> bool {
    let allowed = |address: IpAddr| {
        address.is_loopback()
            || CONTAINER_ADDRESSES
                .iter()
                .any(|known| known.parse() == Ok(address))
    };
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Ipv4(address))) => allowed(address.into()),
        ("http", Some(Host::Ipv6(address))) => allowed(address.into()),
        ("http", Some(Host::Domain(name))) => name == "localhost",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_only_known_addresses_give_credentials() {
        for (url, wanted) in [
            ("http://127.0.0.1:80/c", true),
            ("http://[::1]/c", true),
            ("http://localhost/c", true),
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("https://anywhere.example/c", true),
            ("http://anywhere.example/c", false),
            ("http://169.254.169.254/c", false),
            ("ftp://127.0.0.1/c", false),
        ] {
            assert_eq!(may_give(&url.parse().expect("URL")), wanted, "{url}");
        }
    }
}

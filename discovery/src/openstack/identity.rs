//! Keystone, version 3: who asks, the token that is given for it, and the catalogue of addresses that comes with it.

use httpclient::Request;
use serde_json::{Value, json};
use url::Url;

use crate::api::{Round, answers};
use crate::prepare::{Context, DiscoveryError};

/// The version of the identity service that is spoken.
const V3: &str = "v3";
/// The version of all services that are asked.
const MAJOR: u32 = 2;
/// States of a version that may be used.
const GOOD_STATES: [&str; 3] = ["current", "supported", "stable"];

/// Who asks, and for which project. The empty text is what is not given.
#[derive(Clone, Default)]
pub(super) struct Login {
    pub(super) endpoint: String,
    pub(super) user_name: String,
    pub(super) user_id: String,
    pub(super) password: String,
    pub(super) passcode: String,
    pub(super) project_name: String,
    pub(super) project_id: String,
    pub(super) domain_name: String,
    pub(super) domain_id: String,
    pub(super) application_name: String,
    pub(super) application_id: String,
    pub(super) application_secret: String,
    /// For the whole cloud, not a project.
    pub(super) system: bool,
}

/// Why nobody can be logged in.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginError {
    #[error(
        "the environment variable {0} is missing: without identity_endpoint, all settings come from OS_…"
    )]
    Missing(&'static str),
    #[error("{0}")]
    Settings(&'static str),
}

impl Login {
    /// What the environment says (`OS_AUTH_URL` and its kin).
    pub(super) fn from_env(context: &Context) -> Result<Self, LoginError> {
        let var = |name| context.var(name).unwrap_or_default();
        let either = |first, second| context.var(first).unwrap_or_else(|| var(second));
        let login = Login {
            endpoint: var("OS_AUTH_URL"),
            user_name: var("OS_USERNAME"),
            user_id: var("OS_USERID"),
            password: var("OS_PASSWORD"),
            passcode: var("OS_PASSCODE"),
            project_id: either("OS_PROJECT_ID", "OS_TENANT_ID"),
            project_name: either("OS_PROJECT_NAME", "OS_TENANT_NAME"),
            domain_id: var("OS_DOMAIN_ID"),
            domain_name: var("OS_DOMAIN_NAME"),
            application_id: var("OS_APPLICATION_CREDENTIAL_ID"),
            application_name: var("OS_APPLICATION_CREDENTIAL_NAME"),
            application_secret: var("OS_APPLICATION_CREDENTIAL_SECRET"),
            system: var("OS_SYSTEM_SCOPE") == "all",
        };
        let has_application = !login.application_id.is_empty() || !login.application_name.is_empty();
        let nobody = login.user_id.is_empty() && login.user_name.is_empty();
        let no_domain = login.domain_id.is_empty() && login.domain_name.is_empty();
        let missing = if login.endpoint.is_empty() {
            "OS_AUTH_URL"
        } else if nobody && login.application_id.is_empty() && login.application_secret.is_empty() {
            "OS_USERNAME or OS_USERID"
        } else if login.password.is_empty() && login.passcode.is_empty() && !has_application {
            "OS_PASSWORD"
        } else if has_application && login.application_secret.is_empty() {
            "OS_APPLICATION_CREDENTIAL_SECRET"
        } else if no_domain && login.project_id.is_empty() && !login.project_name.is_empty() {
            "OS_PROJECT_ID"
        } else {
            return Ok(login);
        };
        Err(LoginError::Missing(missing))
    }

    /// The body of the request for a token.
    pub(super) fn body(&self) -> Result<Value, LoginError> {
        let mut auth = json!({"identity": self.identity()?});
        if let Some(scope) = self.scope()? {
            auth["scope"] = scope;
        }
        Ok(json!({ "auth": auth }))
    }

    fn identity(&self) -> Result<Value, LoginError> {
        if self.password.is_empty() && self.passcode.is_empty() {
            return self.application();
        }
        let user = self.user()?;
        let (mut identity, mut methods) = (json!({}), Vec::new());
        for (method, field, secret) in [
            ("password", "password", &self.password),
            ("totp", "passcode", &self.passcode),
        ] {
            if !secret.is_empty() {
                let mut user = user.clone();
                user[field] = secret.as_str().into();
                identity[method] = json!({ "user": user });
                methods.push(method);
            }
        }
        identity["methods"] = methods.into();
        Ok(identity)
    }

    fn application(&self) -> Result<Value, LoginError> {
        let mut application = json!({"secret": self.application_secret});
        if !self.application_id.is_empty() {
            application["id"] = self.application_id.as_str().into();
        } else if !self.application_name.is_empty() {
            application["name"] = self.application_name.as_str().into();
            application["user"] = if self.user_id.is_empty() {
                self.user()?
            } else {
                json!({"id": self.user_id})
            };
        } else {
            return Err(LoginError::Settings(
                "openstack: neither password nor application credential is given",
            ));
        }
        if self.application_secret.is_empty() {
            return Err(LoginError::Settings(
                "openstack: application_credential_secret is missing",
            ));
        }
        Ok(json!({"methods": ["application_credential"], "application_credential": application}))
    }

    /// By name and domain, or by number.
    fn user(&self) -> Result<Value, LoginError> {
        match (self.user_name.is_empty(), self.user_id.is_empty()) {
            (true, true) | (false, false) => Err(LoginError::Settings(
                "openstack: exactly one of username and userid is needed",
            )),
            (false, true) => Ok(json!({"name": self.user_name, "domain": self.domain()?})),
            (true, false) if self.domain_id.is_empty() && self.domain_name.is_empty() => {
                Ok(json!({"id": self.user_id}))
            }
            (true, false) => Err(LoginError::Settings(
                "openstack: userid needs no domain; leave out domain_id and domain_name",
            )),
        }
    }

    fn domain(&self) -> Result<Value, LoginError> {
        match (self.domain_id.is_empty(), self.domain_name.is_empty()) {
            (false, true) => Ok(json!({"id": self.domain_id})),
            (true, false) => Ok(json!({"name": self.domain_name})),
            _ => Err(LoginError::Settings(
                "openstack: exactly one of domain_id and domain_name is needed with a user's or project's name",
            )),
        }
    }

    fn scope(&self) -> Result<Option<Value>, LoginError> {
        Ok(if self.system {
            Some(json!({"system": {"all": true}}))
        } else if !self.project_id.is_empty() {
            Some(json!({"project": {"id": self.project_id}}))
        } else if !self.project_name.is_empty() {
            Some(json!({"project": {"name": self.project_name, "domain": self.project_domain()?}}))
        } else {
            None
        })
    }

    /// Compat: where both are given, the project's domain goes by its number.
    fn project_domain(&self) -> Result<Value, LoginError> {
        if self.domain_id.is_empty() {
            self.domain()
        } else {
            Ok(json!({"id": self.domain_id}))
        }
    }
}

/// A token, and the addresses that it is good for.
pub(super) struct Session {
    token: String,
    services: Vec<Service>,
}

answers! {
    struct TokenAnswer {
        token: Token,
    }
    struct Token {
        catalog: Vec<Service>,
    }
    struct Service {
        #[serde(rename = "type")]
        kind: String,
        endpoints: Vec<Endpoint>,
    }
    struct Endpoint {
        interface: String,
        region: String,
        region_id: String,
        url: String,
    }
    struct Version {
        id: String,
        status: String,
        links: Vec<Link>,
    }
    struct Link {
        rel: String,
        href: String,
    }
}

/// Asks for a token.
pub(super) async fn log_in(round: &mut Round<'_>, login: &Login) -> Result<Session, DiscoveryError> {
    let tokens = format!("{}auth/tokens", identity_address(round, &login.endpoint).await?);
    let body = login
        .body()
        .map_err(|error| DiscoveryError::Other(error.into()))?;
    let request = Request::post(parse(&tokens)?, "application/json", Vec::new())
        .header("accept", "application/json")
        .secret_body(body.to_string());
    let answer = round
        .send_for(request, |status| matches!(status.as_u16(), 200..=202))
        .await?;
    let token = answer.header("x-subject-token").to_owned();
    if token.is_empty() {
        return Err(DiscoveryError::content(&answer.url, "no X-Subject-Token"));
    }
    let read: TokenAnswer = answer.json()?;
    Ok(Session {
        token,
        services: read.token.catalog,
    })
}

/// The address of version 3: the one that is configured, or the one that the service names.
async fn identity_address(round: &mut Round<'_>, configured: &str) -> Result<String, DiscoveryError> {
    let configured = with_slash(configured);
    if configured.ends_with("/v3/") {
        return Ok(configured);
    }
    let (base, version) = split_at_version(&configured);
    if version.starts_with("v2") {
        let message = "version 2 of the identity service is not spoken; leave the version out or write v3";
        return Err(DiscoveryError::content(&configured, message));
    }
    let request = Request::get(parse(base)?).header("accept", "application/json");
    let answer = round
        .send_for(request, |status| matches!(status.as_u16(), 200 | 300))
        .await?;
    let found = versions(&answer.json()?).into_iter().filter_map(|version| {
        let own = version.links.into_iter().find(|link| link.rel == "self");
        let is_good = GOOD_STATES.contains(&&*version.status.to_ascii_lowercase());
        (version.id.contains(V3) && is_good)
            .then_some(own)
            .flatten()
            .map(|link| with_slash(&link.href))
    });
    found
        .into_iter()
        .next()
        .ok_or_else(|| DiscoveryError::content(base, "names no address of version 3 that is in use"))
}

impl Session {
    /// A request with the token.
    pub(super) fn get(&self, url: Url) -> Request {
        Request::get(url)
            .header("accept", "application/json")
            .secret_header("x-auth-token", &self.token)
    }

    /// The address of a service, ending with a slash.
    pub(super) async fn address(
        &self,
        round: &mut Round<'_>,
        service: &str,
        region: &str,
        interface: &str,
    ) -> Result<String, DiscoveryError> {
        let endpoints = self
            .services
            .iter()
            .filter(|known| known.kind == service)
            .flat_map(|known| &known.endpoints)
            .filter(|endpoint| {
                endpoint.interface == interface && (endpoint.region == region || endpoint.region_id == region)
            });
        for endpoint in endpoints {
            let address = with_slash(&endpoint.url);
            if self.speaks(round, &address).await? {
                return Ok(address);
            }
        }
        let message = format!("no {interface} endpoint of {service} in region {region:?}");
        Err(DiscoveryError::content("the service catalogue", message))
    }

    /// Whether a service speaks the version that is asked for: its address says so, or it is asked.
    async fn speaks(&self, round: &mut Round<'_>, address: &str) -> Result<bool, DiscoveryError> {
        let (base, version) = split_at_version(address);
        let version = version.split('/').next().unwrap_or("");
        if let Some(major) = major(version) {
            return Ok(major == MAJOR);
        }
        let answer = self.get(parse(&format!("{base}{version}"))?);
        let answer = round
            .send_for(answer, |status| matches!(status.as_u16(), 200 | 300))
            .await?;
        let versions = versions(&answer.json()?);
        Ok(versions.iter().any(|version| major(&version.id) == Some(MAJOR)))
    }
}

/// The versions that a service names, in whichever of its forms.
fn versions(document: &Value) -> Vec<Version> {
    let read = |value: &Value| serde_json::from_value::<Vec<Version>>(value.clone()).ok();
    read(&document["versions"])
        .or_else(|| read(&document["versions"]["values"]))
        .or_else(|| {
            serde_json::from_value(document["version"].clone())
                .ok()
                .map(|one| vec![one])
        })
        .or_else(|| serde_json::from_value(document.clone()).ok().map(|one| vec![one]))
        .unwrap_or_default()
}

/// The major number of `v2`, `v2.1` or `2`.
fn major(version: &str) -> Option<u32> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(major) && is_number(minor))
        .then(|| major.parse().ok())
        .flatten()
}

/// What stands before the version in an address, and what follows.
fn split_at_version(address: &str) -> (&str, &str) {
    let path = address.find("://").map_or(0, |at| at + 3);
    let path = address[path..].find('/').map_or(address.len(), |at| path + at);
    let is_version = |at: usize| {
        let mut rest = address[at + 1..].chars();
        rest.next().is_some_and(|c| c.is_ascii_digit() || c == '.')
    };
    let mut places = address[path..].match_indices('v').map(|(at, _)| path + at);
    match places.find(|at| is_version(*at)) {
        Some(at) => address.split_at(at),
        None => (address, ""),
    }
}

fn with_slash(address: &str) -> String {
    if address.ends_with('/') {
        address.to_owned()
    } else {
        format!("{address}/")
    }
}

pub(super) fn parse(address: &str) -> Result<Url, DiscoveryError> {
    Url::parse(address).map_err(|error| DiscoveryError::content(address, error))
}

#[cfg(test)]
mod tests;

//! Credentials of AWS, found where AWS's SDK finds them, and the region.
//!
//! In order: keys that the settings give; with `profile`, that profile of the shared files; keys of the environment; a
//! web identity that the environment names; the environment's or the default profile; container credentials; the
//! instance metadata service. A `role_arn` of the settings is then assumed with what was found.

mod chain;
mod endpoint;
pub mod fault;
mod metadata;
mod process;
mod profile;
mod sts;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use httpclient::renew::{Age, Renewed};
use httpclient::{HttpClient, HttpClientError, Request};
use jiff::Timestamp;
use serde::Serialize;
use url::Url;
use yaml::{Secret, Section, YamlError};

use crate::error::CredentialsError;
use crate::machine::Machine;
use crate::sigv4::{self, Scope};

/// Credentials are renewed this long before they end, as in the SDK.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// Settings of credentials, as every section that asks AWS has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AwsSettings {
    /// The region; empty: as found.
    pub region: String,
    /// Key, with `secret_key`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub access_key: String,
    /// Its secret.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub secret_key: Secret,
    /// Profile of the shared files.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// Role to assume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role_arn: String,
    /// What the role's owner wants to be told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub external_id: String,
}

impl AwsSettings {
    /// Takes the keys out of the section that carries them.
    ///
    /// # Errors
    /// When a value is malformed.
    pub fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(AwsSettings {
            region: section.get_or("region", String::new())?,
            access_key: section.get_or("access_key", String::new())?,
            secret_key: section.get_or("secret_key", Secret::default())?,
            profile: section.get_or("profile", String::new())?,
            role_arn: section.get_or("role_arn", String::new())?,
            external_id: section.get_or("external_id", String::new())?,
        })
    }
}

/// What requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsCredentials {
    /// The key's name.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// What goes along where the key is a temporary one.
    pub session_token: Option<String>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Where it came from, in words.
    pub source: Arc<str>,
    /// When to look whether there is another one; of keys in files, which nobody announces.
    look_again: Option<Timestamp>,
}

impl fmt::Debug for AwsCredentials {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `credentials from instance metadata (key ASIA…, until 2026-01-01T00:00:00Z)`.
impl fmt::Display for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credentials from {} (key {}", self.source, self.access_key_id)?;
        if let Some(expires) = self.expires {
            write!(f, ", until {expires:.0}")?;
        }
        f.write_str(")")
    }
}

impl AwsCredentials {
    /// Keys without an end.
    pub fn lasting(id: impl Into<String>, secret: impl Into<String>, source: impl Into<Arc<str>>) -> Self {
        AwsCredentials {
            access_key_id: id.into(),
            secret_access_key: secret.into(),
            session_token: None,
            expires: None,
            source: source.into(),
            look_again: None,
        }
    }

    fn age(&self, now: Timestamp) -> Age {
        let left = |end: Timestamp| Duration::try_from(end.duration_since(now)).unwrap_or_default();
        if let Some(end) = self.expires {
            return match left(end) {
                Duration::ZERO => Age::Gone,
                left if left <= MARGIN => Age::Waning,
                _ => Age::Fresh,
            };
        }
        match self.look_again {
            Some(at) if left(at).is_zero() => Age::Waning,
            _ => Age::Fresh,
        }
    }
}

type Kept = Renewed<(), AwsCredentials, CredentialsError>;

/// Finds credentials and the region, keeps and renews them. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Aws {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: AwsSettings,
    machine: Machine,
    /// Asks STS.
    client: HttpClient,
    /// Asks metadata services.
    plain: HttpClient,
    found: Kept,
    assumed: Kept,
    region: Renewed<(), String, CredentialsError>,
}

impl Aws {
    /// Looks for nothing yet. `client` asks the token service.
    ///
    /// # Errors
    /// When the machine has no client to offer.
    pub fn new(settings: AwsSettings, client: HttpClient, machine: Machine) -> Result<Self, HttpClientError> {
        Ok(Aws {
            shared: Arc::new(Shared {
                plain: machine.plain_client()?,
                settings,
                machine,
                client,
                found: Renewed::default(),
                assumed: Renewed::default(),
                region: Renewed::default(),
            }),
        })
    }

    /// The region: of the settings, the environment, the shared files, or the instance.
    ///
    /// # Errors
    /// When none of them knows it.
    pub async fn region(&self) -> Result<String, Arc<CredentialsError>> {
        let fetch = || {
            let shared = self.shared.clone();
            async move { shared.find_region().await }
        };
        self.shared.region.get(&(), |_| Age::Fresh, fetch).await
    }

    /// Credentials that are good now.
    ///
    /// # Errors
    /// When there are none, with the words of whoever refused them.
    pub async fn credentials(&self) -> Result<AwsCredentials, Arc<CredentialsError>> {
        if self.shared.settings.role_arn.is_empty() {
            return self.found().await;
        }
        let fetch = || {
            let aws = self.clone();
            async move { aws.assume().await }
        };
        let age = |kept: &AwsCredentials| kept.age(self.shared.machine.now());
        self.shared.assumed.get(&(), age, fetch).await
    }

    async fn found(&self) -> Result<AwsCredentials, Arc<CredentialsError>> {
        let fetch = || {
            let aws = self.clone();
            async move {
                let region = aws.region().await.unwrap_or_default();
                chain::find(&aws.shared, &region).await
            }
        };
        let age = |kept: &AwsCredentials| kept.age(self.shared.machine.now());
        self.shared.found.get(&(), age, fetch).await
    }

    async fn assume(&self) -> Result<AwsCredentials, CredentialsError> {
        let settings = &self.shared.settings;
        let of = format!("AWS role {}", settings.role_arn);
        let unusable = |error: Arc<CredentialsError>| CredentialsError::unusable(&of, error);
        let region = self.region().await.map_err(unusable)?;
        let own = self.found().await.map_err(unusable)?;
        let role = sts::Role {
            arn: &settings.role_arn,
            external_id: &settings.external_id,
            ..sts::Role::default()
        };
        sts::assume_role(&self.shared, &region, &own, &role).await
    }

    /// A request, signed for a service of the region.
    ///
    /// # Errors
    /// When there are no credentials, or nothing can be sent to the URL.
    pub async fn sign(&self, request: Request, service: &str) -> Result<Request, Arc<CredentialsError>> {
        let (region, credentials) = (self.region().await?, self.credentials().await?);
        self.sign_with(request, &credentials, &region, service)
            .map_err(|error| Arc::new(error.into()))
    }

    /// A request, signed with given credentials.
    ///
    /// # Errors
    /// When nothing can be sent to the URL.
    pub fn sign_with(
        &self,
        request: Request,
        credentials: &AwsCredentials,
        region: &str,
        service: &str,
    ) -> Result<Request, HttpClientError> {
        let at = self.shared.machine.now();
        sigv4::sign(request, credentials, Scope { region, service, at })
    }

    /// Forgets what is kept: a service has refused it, and there may be another one by now.
    pub fn forget(&self) {
        self.shared.found.forget();
        self.shared.assumed.forget();
    }

    /// Where a service of a region is asked, unless the environment says otherwise.
    ///
    /// # Errors
    /// When the region is no name, or the environment's address none.
    pub fn endpoint(&self, service: &str, region: &str) -> Result<Url, CredentialsError> {
        endpoint::of(&self.shared.machine, service, region)
    }
}

impl Shared {
    async fn find_region(&self) -> Result<String, CredentialsError> {
        let of = "could not determine AWS region";
        if !self.settings.region.is_empty() {
            return Ok(self.settings.region.clone());
        }
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            if let Some(region) = self.machine.var(name) {
                return Ok(region);
            }
        }
        let profiles = profile::read(&self.machine).await?;
        let region_of = |name: &str| profiles.get(name).map(|profile| profile.get("region").to_owned());
        let own = profile::name_of(&self.machine);
        if let Some(region) = region_of(&own).filter(|region| !region.is_empty()) {
            return Ok(region);
        }
        // Compat: as the reference, the configured profile's region is not looked at before the instance's; ours is to
        // look at it at all.
        match metadata::region(self).await {
            Ok(region) => Ok(region),
            Err(error) => region_of(&self.settings.profile)
                .filter(|region| !region.is_empty())
                .ok_or_else(|| {
                    CredentialsError::unusable(
                        of,
                        format_args!("no region is configured, none in AWS_REGION or a profile, and {error}"),
                    )
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_renewed_before_they_end_and_show_no_secret() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("time");
        let mut credentials = AwsCredentials::lasting("AKID", "very secret", "a test");
        assert_eq!(credentials.age(now), Age::Fresh);
        credentials.look_again = Some(now);
        assert_eq!(credentials.age(now), Age::Waning);
        credentials.session_token = Some("hidden".to_owned());
        for (minutes, age) in [(0, Age::Gone), (-1, Age::Gone), (5, Age::Waning), (6, Age::Fresh)] {
            credentials.expires = Some(now + jiff::Span::new().minutes(minutes));
            assert_eq!(credentials.age(now), age, "{minutes}");
        }
        credentials.expires = Some(now);
        assert_eq!(
            format!("{credentials:?}"),
            "credentials from a test (key AKID, until 2026-01-01T00:00:00Z)"
        );
    }
}

//! Credentials of clouds: `sigv4`, `azuread`, `google_iam`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use credentials::aws::{Aws, AwsSettings};
use credentials::azure::{Azure, Cloud, Method};
use credentials::google::Google;
use credentials::{CredentialsError, Machine};
use httpclient::{HttpClient, HttpClientConfig, HttpClientError, Request};
use serde::Serialize;
use yaml::{Secret, Section, Value, YamlError};

/// What requests to Amazon's managed service are signed for where nothing else is said.
const AWS_SERVICE: &str = "aps";
const GOOGLE_SCOPE: &str = "https://www.googleapis.com/auth/monitoring.write";
/// Where the webhook of workload identities puts a pod's token.
const WORKLOAD_TOKEN: &str = "/var/run/secrets/azure/tokens/azure-identity-token";
const KINDS: [&str; 3] = ["sigv4", "azuread", "google_iam"];

/// Which credentials are configured: at most one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AuthConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    sigv4: Option<SigV4Config>,
    #[serde(skip_serializing_if = "Option::is_none")]
    azuread: Option<AzureAdConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    google_iam: Option<GoogleIamConfig>,
}

/// `sigv4`
#[derive(Clone, Debug, PartialEq, Serialize)]
struct SigV4Config {
    #[serde(flatten)]
    aws: AwsSettings,
    #[serde(skip_serializing_if = "is_off")]
    use_fips_sts_endpoint: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    service_name: String,
}

/// `azuread`
#[derive(Clone, Debug, PartialEq, Serialize)]
struct AzureAdConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    managed_identity: Option<Identity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload_identity: Option<Identity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth: Option<Identity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sdk: Option<Identity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate>,
    cloud: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
}

/// Who we are to Azure.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Identity {
    #[serde(skip_serializing_if = "String::is_empty")]
    client_id: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    client_secret: Secret,
    #[serde(skip_serializing_if = "String::is_empty")]
    tenant_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    token_file_path: String,
}

/// `azuread.certificate`
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Certificate {
    client_id: String,
    tenant_id: String,
    certificate_path: PathBuf,
    #[serde(skip_serializing_if = "is_empty_path")]
    certificate_key_path: PathBuf,
    #[serde(skip_serializing_if = "is_off")]
    send_certificate_chain: bool,
}

/// `google_iam`
#[derive(Clone, Debug, PartialEq, Serialize)]
struct GoogleIamConfig {
    #[serde(skip_serializing_if = "is_empty_path")]
    credentials_file: PathBuf,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_off(switch: &bool) -> bool {
    !*switch
}

fn is_empty_path(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// Refuses a section that has several credentials.
pub(super) fn refuse_several(section: &Section<'_>, http: &HttpClientConfig) -> Result<(), YamlError> {
    let plain = [
        ("basic_auth", http.basic_auth.is_some()),
        ("authorization", http.authorization.is_some()),
        ("oauth2", http.oauth2.is_some()),
    ];
    let cloud = KINDS.map(|key| (key, section.peek(key).is_some_and(|value| !value.is_null())));
    let there: Vec<&str> = plain
        .into_iter()
        .chain(cloud)
        .filter(|(_, there)| *there)
        .map(|(key, _)| key)
        .collect();
    if there.len() > 1 {
        let message = format!(
            "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured. \
             Currently configured: [{}]",
            there.join(" ")
        );
        return Err(section.error_at(there[1], message));
    }
    Ok(())
}

impl AuthConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(AuthConfig {
            sigv4: section.value("sigv4").map(SigV4Config::read).transpose()?,
            azuread: section.value("azuread").map(AzureAdConfig::read).transpose()?,
            google_iam: section
                .value("google_iam")
                .map(GoogleIamConfig::read)
                .transpose()?,
        })
    }

    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        if let Some(google) = &mut self.google_iam
            && !is_empty_path(&google.credentials_file)
        {
            google.credentials_file = folder.join(&google.credentials_file);
        }
        let certificate = self
            .azuread
            .as_mut()
            .and_then(|azuread| azuread.certificate.as_mut());
        if let Some(certificate) = certificate {
            certificate.certificate_path = folder.join(&certificate.certificate_path);
            if !is_empty_path(&certificate.certificate_key_path) {
                certificate.certificate_key_path = folder.join(&certificate.certificate_key_path);
            }
        }
    }
}

impl SigV4Config {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("sigv4")?;
        let aws = AwsSettings::read(&mut section)?;
        if aws.access_key.is_empty() != aws.secret_key.is_empty() {
            return Err(section.error(
                "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config",
            ));
        }
        if !aws.external_id.is_empty() && aws.role_arn.is_empty() {
            return Err(section.error_at("external_id", "external_id can only be used with role_arn"));
        }
        let config = SigV4Config {
            aws,
            use_fips_sts_endpoint: section.get_or("use_fips_sts_endpoint", false)?,
            service_name: section.get_or("service_name", String::new())?,
        };
        section.finish()?;
        Ok(config)
    }
}

impl AzureAdConfig {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("azuread")?;
        let certificate = section.value("certificate").map(Certificate::read).transpose()?;
        let mut identity = |key: &'static str, keys: &[&'static str]| match section.value(key) {
            Some(value) => Identity::read(value, key, keys).map(Some),
            None => Ok(None),
        };
        let config = AzureAdConfig {
            managed_identity: identity("managed_identity", &["client_id"])?,
            workload_identity: identity(
                "workload_identity",
                &["client_id", "tenant_id", "token_file_path"],
            )?,
            oauth: identity("oauth", &["client_id", "client_secret", "tenant_id"])?,
            sdk: identity("sdk", &["tenant_id"])?,
            certificate,
            cloud: section.get_or("cloud", "AzurePublic".to_owned())?,
            scope: section.get_or("scope", String::new())?,
        };
        if cloud_of(&config.cloud).is_none() {
            return Err(section.error_at("cloud", "must provide a cloud in the Azure AD config"));
        }
        let methods = [
            &config.managed_identity,
            &config.workload_identity,
            &config.oauth,
            &config.sdk,
        ];
        let methods = methods.iter().filter(|method| method.is_some()).count();
        match methods + usize::from(config.certificate.is_some()) {
            0 => {
                return Err(section.error(
                    "must provide an Azure Managed Identity, Azure Workload Identity, Azure OAuth, Azure Certificate or \
                     Azure SDK in the Azure AD config",
                ));
            }
            1 => {}
            _ => {
                return Err(
                    section.error("cannot provide multiple authentication methods in the Azure AD config")
                );
            }
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_ :/.-\t".contains(c);
        if !config.scope.chars().all(allowed) {
            return Err(section.error_at("scope", "the provided scope contains invalid characters"));
        }
        section.finish()?;
        Ok(config)
    }

    fn method(&self) -> Method {
        let text = String::clone;
        if let Some(oauth) = &self.oauth {
            return Method::ClientSecret {
                tenant: text(&oauth.tenant_id),
                client: text(&oauth.client_id),
                secret: oauth.client_secret.reveal().to_owned(),
            };
        }
        if let Some(certificate) = &self.certificate {
            return Method::Certificate {
                tenant: text(&certificate.tenant_id),
                client: text(&certificate.client_id),
                certificate: certificate.certificate_path.clone(),
                key: certificate.certificate_key_path.clone(),
                with_chain: certificate.send_certificate_chain,
            };
        }
        if let Some(workload) = &self.workload_identity {
            return Method::WorkloadIdentity {
                tenant: text(&workload.tenant_id),
                client: text(&workload.client_id),
                token_file: text(&workload.token_file_path),
            };
        }
        match (&self.sdk, &self.managed_identity) {
            (Some(sdk), _) => Method::Sdk {
                tenant: text(&sdk.tenant_id),
            },
            (None, managed) => Method::ManagedIdentity {
                client: managed.as_ref().map_or_else(String::new, |m| text(&m.client_id)),
            },
        }
    }
}

/// The cloud of a name, and whom tokens for its monitoring are meant for.
fn cloud_of(name: &str) -> Option<(Cloud, &'static str)> {
    let (name, scope) = match name {
        "AzurePublic" => ("AzurePublicCloud", "https://monitor.azure.com//.default"),
        "AzureChina" => ("AzureChinaCloud", "https://monitor.azure.cn//.default"),
        "AzureGovernment" => ("AzureUSGovernment", "https://monitor.azure.us//.default"),
        _ => return None,
    };
    Cloud::named(name).map(|cloud| (cloud, scope))
}

impl Identity {
    fn read(value: Value<'_>, of: &'static str, keys: &[&'static str]) -> Result<Self, YamlError> {
        let mut section = value.section(of)?;
        let mut identity = Identity::default();
        for key in keys {
            match *key {
                "client_secret" => {
                    identity.client_secret = section.get_or("client_secret", Secret::default())?;
                }
                "client_id" => identity.client_id = section.get_or("client_id", String::new())?,
                "tenant_id" => identity.tenant_id = section.get_or("tenant_id", String::new())?,
                _ => identity.token_file_path = section.get_or("token_file_path", String::new())?,
            }
        }
        let (whose, needed): (&str, &[(&str, bool)]) = match of {
            "oauth" => (
                "OAuth",
                &[
                    ("client_id", identity.client_id.is_empty()),
                    ("client_secret", identity.client_secret.is_empty()),
                    ("tenant_id", identity.tenant_id.is_empty()),
                ],
            ),
            "workload_identity" => (
                "Workload Identity",
                &[
                    ("client_id", identity.client_id.is_empty()),
                    ("tenant_id", identity.tenant_id.is_empty()),
                ],
            ),
            "managed_identity" => ("Managed Identity", &[]),
            _ => ("SDK", &[]),
        };
        if let Some((key, _)) = needed.iter().find(|(_, is_missing)| *is_missing) {
            let what = format!("must provide an Azure {whose} {key} in the Azure AD config");
            return Err(section.error_at(key, what));
        }
        for (key, id) in [
            ("client_id", &identity.client_id),
            ("tenant_id", &identity.tenant_id),
        ] {
            let is_uuid = key == "client_id" || of == "workload_identity";
            if is_uuid && !id.is_empty() && !looks_like_uuid(id) {
                let what = format!("the provided Azure {whose} {key} is invalid");
                return Err(section.error_at(key, what));
            }
        }
        section.finish()?;
        Ok(identity)
    }
}

impl Certificate {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("certificate")?;
        if section.has("certificate_password") {
            let error = section.error_at("certificate_password", "files with a password are not read");
            return Err(
                error.with_help("write certificate and key as PEM without one (openssl pkcs12 -nodes)")
            );
        }
        let text = |section: &mut Section<'_>, key| section.get_or(key, String::new());
        let certificate = Certificate {
            client_id: text(&mut section, "client_id")?,
            tenant_id: text(&mut section, "tenant_id")?,
            certificate_path: text(&mut section, "certificate_path")?.into(),
            certificate_key_path: text(&mut section, "certificate_key_path")?.into(),
            send_certificate_chain: section.get_or("send_certificate_chain", false)?,
        };
        for (key, is_missing) in [
            ("client_id", certificate.client_id.is_empty()),
            ("tenant_id", certificate.tenant_id.is_empty()),
            ("certificate_path", is_empty_path(&certificate.certificate_path)),
        ] {
            if is_missing {
                let what = format!("must provide an Azure Certificate {key} in the Azure AD config");
                return Err(section.error_at(key, what));
            }
        }
        if !looks_like_uuid(&certificate.client_id) {
            let what = "the provided Azure Certificate client_id is invalid";
            return Err(section.error_at("client_id", what));
        }
        section.finish()?;
        Ok(certificate)
    }
}

fn looks_like_uuid(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    digits == 32 && text.bytes().all(|b| b.is_ascii_hexdigit() || b"-{}".contains(&b))
}

impl GoogleIamConfig {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("google_iam")?;
        let config = GoogleIamConfig {
            credentials_file: PathBuf::from(section.get_or("credentials_file", String::new())?),
        };
        section.finish()?;
        Ok(config)
    }
}

/// Credentials cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A client cannot be built.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// There are none.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// What shows requests to be ours.
pub(super) enum Auth {
    /// The HTTP client's own settings, or nothing.
    None,
    Aws(Aws, String),
    Azure(Azure),
    Google(Google),
}

impl Auth {
    pub(super) fn new(
        config: &AuthConfig,
        machine: &Machine,
        client: &HttpClient,
    ) -> Result<Self, AuthError> {
        if let Some(sigv4) = &config.sigv4 {
            let aws = Aws::new(sigv4.aws.clone(), client.clone(), machine.clone())?;
            let service = match sigv4.service_name.as_str() {
                "" => AWS_SERVICE,
                name => name,
            };
            return Ok(Auth::Aws(aws, service.to_owned()));
        }
        if let Some(azuread) = &config.azuread
            && let Some((cloud, scope)) = cloud_of(&azuread.cloud)
        {
            let scope = match azuread.scope.as_str() {
                "" => scope,
                scope => scope,
            };
            let mut method = azuread.method();
            if let Method::WorkloadIdentity { token_file, .. } = &mut method
                && token_file.is_empty()
                && machine.var("AZURE_FEDERATED_TOKEN_FILE").is_none()
            {
                *token_file = WORKLOAD_TOKEN.to_owned();
            }
            let azure = Azure::with_scope(machine.clone(), cloud, method, scope.to_owned())?;
            return Ok(Auth::Azure(azure));
        }
        if let Some(google) = &config.google_iam {
            let google = match is_empty_path(&google.credentials_file) {
                true => Google::find(machine.clone(), GOOGLE_SCOPE)?,
                false => Google::of_file(machine.clone(), &google.credentials_file, GOOGLE_SCOPE)?,
            };
            return Ok(Auth::Google(google));
        }
        Ok(Auth::None)
    }

    /// The request with what shows it to be ours.
    pub(super) async fn sign(&self, request: Request) -> Result<Request, Arc<CredentialsError>> {
        let bearer = match self {
            Auth::None => return Ok(request),
            Auth::Aws(aws, service) => return aws.sign(request, service).await,
            Auth::Azure(azure) => azure.token().await?,
            Auth::Google(google) => google.token().await?,
        };
        Ok(request.secret_header("authorization", format!("Bearer {}", bearer.token)))
    }

    /// What was shown was refused: it is not kept.
    pub(super) fn refused(&self, challenge: &str) {
        match self {
            Auth::None => {}
            Auth::Aws(aws, _) => aws.forget(),
            Auth::Azure(azure) => azure.refused(challenge),
            Auth::Google(google) => google.forget(),
        }
    }
}

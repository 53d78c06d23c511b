//! Credentials of Azure: a client's secret or certificate, the identity that Azure manages for a machine, or the one that it takes from
//! a cluster (workload identity).

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use httpclient::renew::Renewed;
use httpclient::rsa::CertifiedKey;
use httpclient::{HttpClient, HttpClientError, Request};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};

use crate::ask::ask;
pub use crate::bearer::Bearer;
use crate::error::CredentialsError;
use crate::google::default_client;
use crate::machine::Machine;

const METADATA: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const METADATA_VERSION: &str = "2018-02-01";
const APP_SERVICE_VERSION: &str = "2019-08-01";
/// Longest wait for the metadata service, which is on the machine itself.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what a certificate's key has signed is good, in seconds.
const ASSERTION_SECONDS: i64 = 600;
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// One of Azure's clouds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Where tokens are had.
    pub authority: &'static str,
    /// Where resources are managed.
    pub management: &'static str,
    /// Whom tokens for that are meant for.
    pub audience: &'static str,
}

const PUBLIC: Cloud = Cloud {
    authority: "https://login.microsoftonline.com",
    management: "https://management.azure.com",
    audience: "https://management.core.windows.net/",
};
const CHINA: Cloud = Cloud {
    authority: "https://login.chinacloudapi.cn",
    management: "https://management.chinacloudapi.cn",
    audience: "https://management.core.chinacloudapi.cn",
};
const GOVERNMENT: Cloud = Cloud {
    authority: "https://login.microsoftonline.us",
    management: "https://management.usgovcloudapi.net",
    audience: "https://management.core.usgovcloudapi.net",
};

impl Cloud {
    /// The cloud of a name, whatever its case.
    pub fn named(name: &str) -> Option<Cloud> {
        match name.to_ascii_uppercase().as_str() {
            // The German cloud was closed; the reference's library leads it to the public one.
            "AZURECLOUD" | "AZUREPUBLICCLOUD" | "AZUREGERMANCLOUD" => Some(PUBLIC),
            "AZURECHINACLOUD" => Some(CHINA),
            "AZUREUSGOVERNMENT" | "AZUREUSGOVERNMENTCLOUD" => Some(GOVERNMENT),
            _ => None,
        }
    }
}

/// How to come by a token.
#[derive(Clone, PartialEq, Eq)]
pub enum Method {
    /// With a client's secret.
    ClientSecret {
        /// Directory.
        tenant: String,
        /// Application.
        client: String,
        /// Its secret.
        secret: String,
    },
    /// With the identity that Azure manages for this machine.
    ManagedIdentity {
        /// Which, where there are several; empty: the machine's own.
        client: String,
    },
    /// With a token that the cluster's file holds. What is empty is the environment's.
    WorkloadIdentity {
        /// Directory.
        tenant: String,
        /// Application.
        client: String,
        /// The file.
        token_file: String,
    },
    /// With a key whose certificate the application knows, both in PEM.
    Certificate {
        /// Directory.
        tenant: String,
        /// Application.
        client: String,
        /// File of the certificate, and of those that vouch for it.
        certificate: PathBuf,
        /// File of the key; empty: the same.
        key: PathBuf,
        /// Whether the certificates go along, so that the subject alone need be known.
        with_chain: bool,
    },
    /// By whichever of the first three the environment speaks of.
    Sdk {
        /// Directory; empty: the environment's.
        tenant: String,
    },
}

impl std::fmt::Debug for Method {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Method::ClientSecret { .. } => "ClientSecret",
            Method::ManagedIdentity { .. } => "ManagedIdentity",
            Method::WorkloadIdentity { .. } => "WorkloadIdentity",
            Method::Certificate { .. } => "Certificate",
            Method::Sdk { .. } => "Sdk",
        })
    }
}

/// Fetches, keeps and renews a token for the management of resources. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Azure {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    machine: Machine,
    client: HttpClient,
    plain: HttpClient,
    cloud: Cloud,
    /// What tokens are good for: whom they are meant for, with `/.default` behind it.
    scope: String,
    method: Method,
    /// What a service wanted a token to say when it refused one.
    wanted_claims: Mutex<Option<Value>>,
    kept: Renewed<(), Bearer, CredentialsError>,
}

impl Azure {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// When the machine has no client to offer.
    pub fn new(machine: Machine, cloud: Cloud, method: Method) -> Result<Self, HttpClientError> {
        Azure::with_scope(machine, cloud, method, format!("{}/.default", cloud.audience))
    }

    /// As [`Azure::new`], with tokens for something else than the management of resources: `scope` is whom they are meant
    /// for, with `/.default` behind it.
    ///
    /// # Errors
    /// When the machine has no client to offer.
    pub fn with_scope(
        machine: Machine,
        cloud: Cloud,
        method: Method,
        scope: String,
    ) -> Result<Self, HttpClientError> {
        Ok(Azure {
            shared: Arc::new(Shared {
                client: default_client(&machine)?,
                plain: machine.plain_client()?,
                machine,
                cloud,
                scope,
                method,
                wanted_claims: Mutex::default(),
                kept: Renewed::default(),
            }),
        })
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// When there is none, with the words of whoever refused it.
    pub async fn token(&self) -> Result<Bearer, Arc<CredentialsError>> {
        let fetch = || {
            let shared = self.shared.clone();
            async move { shared.fetch().await }
        };
        let age = |kept: &Bearer| kept.age(self.shared.machine.now());
        self.shared.kept.get(&(), age, fetch).await
    }

    /// Forgets what is kept: a service has refused it. `challenge`, its `WWW-Authenticate`, may tell what the next one
    /// has to say (continuous access evaluation).
    pub fn refused(&self, challenge: &str) {
        *self.shared.wanted_claims.lock() = claims_of(challenge);
        self.shared.kept.forget();
    }
}

fn claims_of(challenge: &str) -> Option<Value> {
    let (_, rest) = challenge.split_once("claims=\"")?;
    let decoded = BASE64.decode(rest.split('"').next()?).ok()?;
    serde_json::from_slice(&decoded).ok().filter(Value::is_object)
}

impl Shared {
    async fn fetch(&self) -> Result<Bearer, CredentialsError> {
        let var = |name: &str| self.machine.var(name).unwrap_or_default();
        match &self.method {
            Method::ClientSecret {
                tenant,
                client,
                secret,
            } => self.by_secret(tenant, client, secret).await,
            Method::ManagedIdentity { client } => self.managed(client).await,
            Method::WorkloadIdentity {
                tenant,
                client,
                token_file,
            } => self.by_workload(tenant, client, token_file).await,
            Method::Certificate { .. } => self.by_certificate(&self.method).await,
            Method::Sdk { tenant } => {
                let tenant = match tenant.as_str() {
                    "" => var("AZURE_TENANT_ID"),
                    tenant => tenant.to_owned(),
                };
                let (client, secret) = (var("AZURE_CLIENT_ID"), var("AZURE_CLIENT_SECRET"));
                if !client.is_empty() && !secret.is_empty() && !var("AZURE_TENANT_ID").is_empty() {
                    self.by_secret(&var("AZURE_TENANT_ID"), &client, &secret).await
                } else if !client.is_empty() && !var("AZURE_FEDERATED_TOKEN_FILE").is_empty() {
                    self.by_workload(&tenant, "", "").await
                } else {
                    self.managed(&client).await
                }
            }
        }
    }

    async fn by_secret(&self, tenant: &str, client: &str, secret: &str) -> Result<Bearer, CredentialsError> {
        let of = format!("Azure client {client} of tenant {tenant}");
        self.login(&of, tenant, client, &[("client_secret", secret)])
            .await
    }

    async fn by_workload(&self, tenant: &str, client: &str, file: &str) -> Result<Bearer, CredentialsError> {
        let of = "Azure workload identity";
        let or_var = |given: &str, name: &str| {
            let missing = || CredentialsError::unusable(of, format_args!("{name} is not set"));
            match given {
                "" => self.machine.var(name).ok_or_else(missing),
                given => Ok(given.to_owned()),
            }
        };
        let client = or_var(client, "AZURE_CLIENT_ID")?;
        let file = or_var(file, "AZURE_FEDERATED_TOKEN_FILE")?;
        let tenant = &or_var(tenant, "AZURE_TENANT_ID")?;
        let assertion = self.machine.read(of, file.as_ref()).await?;
        let pairs = [
            ("client_assertion", assertion.trim()),
            ("client_assertion_type", ASSERTION),
        ];
        self.login(of, tenant, &client, &pairs).await
    }

    /// Files are read each time: a new certificate needs no reload.
    async fn by_certificate(&self, method: &Method) -> Result<Bearer, CredentialsError> {
        let Method::Certificate {
            tenant,
            client,
            certificate,
            key,
            with_chain,
        } = method
        else {
            return Err(CredentialsError::unusable("Azure certificate", "there is none"));
        };
        let of = format!(
            "Azure client {client} of tenant {tenant} with {}",
            certificate.display()
        );
        let certificates = self.machine.read(&of, certificate).await?;
        let of_key = |source| CredentialsError::Key {
            of: of.clone(),
            source,
        };
        let key_text = match key.as_os_str().is_empty() {
            true => certificates.clone(),
            false => self.machine.read(&of, key).await?,
        };
        let key = CertifiedKey::from_pem(certificates.as_bytes(), key_text.as_bytes()).map_err(of_key)?;
        let claims = assertion_claims(
            self.token_url(&of, tenant)?.as_str(),
            client,
            self.machine.now().as_second(),
        );
        let assertion = key.token(*with_chain, &claims).map_err(of_key)?;
        let pairs = [
            ("client_assertion", assertion.as_str()),
            ("client_assertion_type", ASSERTION),
        ];
        self.login(&of, tenant, client, &pairs).await
    }

    /// Where a tenant's tokens are had.
    fn token_url(&self, of: &str, tenant: &str) -> Result<Url, CredentialsError> {
        let mut url =
            Url::parse(self.cloud.authority).map_err(|error| CredentialsError::unusable(of, error))?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend([tenant, "oauth2", "v2.0", "token"]);
        }
        Ok(url)
    }

    async fn login(
        &self,
        of: &str,
        tenant: &str,
        client: &str,
        proof: &[(&str, &str)],
    ) -> Result<Bearer, CredentialsError> {
        let url = self.token_url(of, tenant)?;
        let scope = format!("{} openid offline_access profile", self.scope);
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("claims", &self.claims())
            .append_pair("client_id", client)
            .extend_pairs(proof)
            .append_pair("grant_type", "client_credentials")
            .append_pair("scope", &scope)
            .finish();
        let request = Request::post(url, "application/x-www-form-urlencoded; charset=utf-8", "")
            .secret_body(body)
            .repeatable();
        let now = self.machine.now();
        Bearer::read(&ask(&self.client, request, of).await?, now, of)
    }

    /// What a token shall say: that we understand when it is called back, and what was wanted when one was.
    fn claims(&self) -> String {
        let mut claims = self.wanted_claims.lock().clone().unwrap_or_else(|| json!({}));
        if !claims["access_token"].is_object() {
            claims["access_token"] = json!({});
        }
        claims["access_token"]["xms_cc"] = json!({"values": ["CP1"]});
        claims.to_string()
    }

    async fn managed(&self, client: &str) -> Result<Bearer, CredentialsError> {
        let of = "Azure managed identity";
        let own = self.machine.var("IDENTITY_ENDPOINT");
        let secret = self.machine.var("IDENTITY_HEADER");
        let (base, version) = match (&own, &secret) {
            (Some(base), Some(_)) => (base.as_str(), APP_SERVICE_VERSION),
            (Some(_), None) => {
                let detail = "IDENTITY_ENDPOINT without IDENTITY_HEADER (Azure Arc) is not supported; use a client secret";
                return Err(CredentialsError::unusable(of, detail));
            }
            _ => (METADATA, METADATA_VERSION),
        };
        let resource = self.scope.strip_suffix("/.default").unwrap_or(&self.scope);
        let mut pairs = vec![("api-version", version), ("resource", resource)];
        if !client.is_empty() {
            pairs.push(("client_id", client));
        }
        let url = Url::parse_with_params(base, pairs)
            .map_err(|error| CredentialsError::unusable(of, format_args!("{base:?}: {error}")))?;
        let mut request = Request::get(url).timeout(METADATA_TIMEOUT);
        request = match &secret {
            Some(secret) if own.is_some() => request.secret_header("x-identity-header", secret),
            _ => request.header("metadata", "true"),
        };
        let now = self.machine.now();
        Bearer::read(&ask(&self.plain, request, of).await?, now, of)
    }
}

/// What an application says with its certificate's key.
/// <https://learn.microsoft.com/en-us/entra/identity-platform/certificate-credentials>
fn assertion_claims(audience: &str, client: &str, now_seconds: i64) -> Map<String, Value> {
    // Used once: the service may look.
    let unique = format!("{:016x}{:016x}", random(), random());
    [
        ("aud", Value::from(audience)),
        ("iss", client.into()),
        ("sub", client.into()),
        ("jti", unique.into()),
        ("nbf", now_seconds.into()),
        ("exp", (now_seconds + ASSERTION_SECONDS).into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_tells_what_the_next_token_has_to_say() {
        let wanted = json!({"access_token": {"nbf": {"essential": true, "value": "5"}}});
        let challenge = format!(
            "Bearer realm=\"\", error=\"insufficient_claims\", claims=\"{}\"",
            BASE64.encode(wanted.to_string())
        );
        assert_eq!(claims_of(&challenge), Some(wanted));
        for none in ["", "Bearer realm=\"\"", "Bearer claims=\"!\"", "Bearer claims=\""] {
            assert_eq!(claims_of(none), None, "{none}");
        }
        let mut machine = Machine::new("test");
        machine.env = Some(Arc::default());
        let method = Method::Sdk {
            tenant: String::new(),
        };
        let azure = Azure::new(machine, PUBLIC, method).expect("client");
        assert_eq!(
            azure.shared.claims(),
            r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#
        );
        azure.refused(&challenge);
        assert!(
            azure.shared.claims().contains("essential"),
            "{}",
            azure.shared.claims()
        );
        // What is no object is put right.
        azure.refused(&format!("claims=\"{}\"", BASE64.encode("[1]")));
        assert!(azure.shared.claims().contains("CP1"));
    }
}

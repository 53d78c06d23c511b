//! `high_availability`: a section of ours in `alertmanager.yml`, and where the lease is that it speaks of.

use std::path::{Path, PathBuf};

use credentials::aws::AwsSettings;
use httpclient::HttpClientConfig;
use serde::Serialize;
use url::Url;
use yaml::{Duration, Section, Value, YamlError};

/// Within which another server takes over, where nothing is said.
const DURATION_MS: i64 = 15_000;
/// The least: a tenth of it is the pause between two renewals.
const DURATION_MS_MIN: i64 = 5_000;
/// The most: nobody is told of anything for so long when the holder dies.
const DURATION_MS_MAX: i64 = 10 * 60_000;
/// The lease's name, where nothing is said.
const NAME: &str = "narthex-alertmanager";
/// Longest name: names of the objects beside the lease are longer, and Kubernetes ends at 253 characters.
const NAME_CHARS_MAX: usize = 200;
/// Longest name of a server; Kubernetes takes more.
const IDENTITY_CHARS_MAX: usize = 128;

/// Who of several servers sends. In the order of printing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HighAvailability {
    /// By a lease.
    pub lease: LeaseConfig,
}

/// A lease: its holder sends.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeaseConfig {
    /// Where it is.
    #[serde(flatten)]
    pub place: LeasePlace,
    /// Within which another server takes over when its holder is gone.
    pub duration: Duration,
    /// What this server is called where people look at the lease; the machine's name if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identity: String,
}

/// Where a lease is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LeasePlace {
    /// An object of a Kubernetes cluster.
    Kubernetes(KubernetesLease),
    /// An object in a bucket.
    Bucket(Box<BucketLease>),
}

/// A `Lease` of a Kubernetes cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KubernetesLease {
    /// Its namespace; the one that we run in if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name, which those of the objects beside it begin with.
    pub name: String,
    /// Which cluster, and who asks; the one that we run in if empty.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub kubeconfig_file: PathBuf,
}

/// Objects in a bucket behind S3's protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BucketLease {
    /// Where the service is; AWS's own of the region if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// What names of objects begin with.
    pub prefix: String,
    /// Who signs; found where AWS's programs find it.
    pub sigv4: AwsSettings,
    /// Credentials of another kind, TLS, proxies.
    #[serde(flatten)]
    pub http: HttpClientConfig,
}

impl HighAvailability {
    /// Reads the section.
    ///
    /// # Errors
    /// When a value is malformed or missing, or a key unknown.
    pub fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("high_availability")?;
        let Some(lease) = section.value("lease") else {
            return Err(section.error("high_availability needs a lease"));
        };
        let lease = LeaseConfig::read(lease)?;
        section.finish()?;
        Ok(HighAvailability { lease })
    }

    /// Makes relative file names relative to `folder`.
    pub fn resolve_paths(&mut self, folder: &Path) {
        match &mut self.lease.place {
            LeasePlace::Kubernetes(kubernetes) => {
                let file = &mut kubernetes.kubeconfig_file;
                if !is_empty_path(file) && file.is_relative() {
                    *file = folder.join(&*file);
                }
            }
            LeasePlace::Bucket(bucket) => bucket.http.resolve_paths(folder),
        }
    }
}

impl LeaseConfig {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("high_availability.lease")?;
        let (kubernetes, bucket) = (section.raw_value("kubernetes"), section.value("bucket"));
        let place = match (kubernetes, bucket) {
            (Some(value), None) => LeasePlace::Kubernetes(KubernetesLease::read(value)?),
            (None, Some(value)) => LeasePlace::Bucket(Box::new(BucketLease::read(value)?)),
            (Some(_), Some(_)) => {
                return Err(section.error_at("bucket", "a lease is in one place: kubernetes or bucket"));
            }
            (None, None) => return Err(section.error("a lease needs a place: kubernetes or bucket")),
        };
        let duration: Duration = section.get_or("duration", Duration::from_ms(DURATION_MS))?;
        let ms = duration.as_std().as_millis();
        if !(DURATION_MS_MIN as u128..=DURATION_MS_MAX as u128).contains(&ms) {
            return Err(section.error_at("duration", "the lease's duration must be from 5s to 10m"));
        }
        let identity: String = section.get_or("identity", String::new())?;
        if identity.chars().count() > IDENTITY_CHARS_MAX || identity.contains(char::is_control) {
            let message = format!("an identity is at most {IDENTITY_CHARS_MAX} printable characters");
            return Err(section.error_at("identity", message));
        }
        section.finish()?;
        Ok(LeaseConfig {
            place,
            duration,
            identity,
        })
    }
}

impl KubernetesLease {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("high_availability.lease.kubernetes")?;
        let lease = KubernetesLease {
            namespace: name(&mut section, "namespace", "")?,
            name: name(&mut section, "name", NAME)?,
            kubeconfig_file: PathBuf::from(section.get_or("kubeconfig_file", String::new())?),
        };
        if lease.name.is_empty() {
            return Err(section.error_at("name", "the lease's name is empty"));
        }
        if lease.namespace.is_empty() && !is_empty_path(&lease.kubeconfig_file) {
            return Err(section.error("with a kubeconfig_file, the lease needs a namespace"));
        }
        section.finish()?;
        Ok(lease)
    }
}

/// A name as Kubernetes has them.
fn name(section: &mut Section<'_>, key: &'static str, default: &str) -> Result<String, YamlError> {
    let name: String = section.get_or(key, default.to_owned())?;
    let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if name.len() > NAME_CHARS_MAX || !name.chars().all(is_fine) {
        let message = format!(
            "{name:?} is no name in Kubernetes: at most {NAME_CHARS_MAX} lower-case letters, digits, '-' and '.'"
        );
        return Err(section.error_at(key, message));
    }
    Ok(name)
}

impl BucketLease {
    fn read(value: Value<'_>) -> Result<Self, YamlError> {
        let mut section = value.section("high_availability.lease.bucket")?;
        let sigv4 = section.value("sigv4").map(read_sigv4).transpose()?;
        let lease = BucketLease {
            endpoint: section.get_or("endpoint", String::new())?,
            bucket: section.get_or("bucket", String::new())?,
            prefix: section.get_or("prefix", format!("{NAME}/"))?,
            http: HttpClientConfig::read(&mut section)?,
            sigv4: sigv4.clone().unwrap_or_default(),
        };
        if lease.bucket.is_empty() {
            return Err(section.error_at("bucket", "the bucket's name is missing"));
        }
        // Names that need no escaping: what is signed is then what is sent, whoever escapes how.
        let is_fine = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        for (key, text) in [("bucket", &lease.bucket), ("prefix", &lease.prefix)] {
            if !text.chars().all(is_fine) || text.starts_with('/') || text.contains("..") {
                let message =
                    format!("{text:?} has characters beyond letters, digits, '-', '_', '.' and '/'");
                return Err(section.error_at(key, message));
            }
        }
        if !lease.endpoint.is_empty() {
            let url = lease.endpoint.parse::<Url>();
            let is_http = url.is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if !is_http {
                let message = format!("{:?} is no address of a service: https://…", lease.endpoint);
                return Err(section.error_at("endpoint", message));
            }
        }
        if sigv4.is_some() && !lease.is_signed() {
            return Err(section.error_at(
                "sigv4",
                "sigv4 and other credentials (basic_auth, authorization, oauth2) exclude each other",
            ));
        }
        section.finish()?;
        Ok(lease)
    }

    /// Whether requests are signed; other credentials take its place.
    pub(crate) fn is_signed(&self) -> bool {
        let http = &self.http;
        http.basic_auth.is_none() && http.authorization.is_none() && http.oauth2.is_none()
    }
}

fn read_sigv4(value: Value<'_>) -> Result<AwsSettings, YamlError> {
    let mut section = value.section("high_availability.lease.bucket.sigv4")?;
    let settings = AwsSettings::read(&mut section)?;
    if settings.access_key.is_empty() != settings.secret_key.is_empty() {
        return Err(section.error("access_key and secret_key come together, or not at all"));
    }
    section.finish()?;
    Ok(settings)
}

fn is_empty_path(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

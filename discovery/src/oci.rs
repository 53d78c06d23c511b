//! `oci_sd_configs`: compute instances of Oracle Cloud Infrastructure.
//!
//! Compartments from the tenancy down (unless they are listed), the instances of each, and each instance's interfaces until
//! the primary one is found. Requests are signed with an RSA key of the user's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use httpclient::rsa::{Algorithm, SigningKey};
use httpclient::{HttpClientConfig, Request};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::labels::Labels;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;
use yaml::{Secret, Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, MINUTE, Pages, Round, Skipped, answers, is_empty_path, resolve, url};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, SEPARATOR, group, label_name};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const API_KEY: &str = "api_key";
const INSTANCE_PRINCIPAL: &str = "instance_principal";
/// The version of both interfaces.
const VERSION: &str = "20160918";
/// Members of a page.
const LIMIT: &str = "100";
/// The domain of regions that are in no other realm.
const DOMAIN: &str = "oraclecloud.com";
/// Domains of other realms, and their regions.
const REALMS: &[(&str, &[&str])] = &[
    (
        "oraclegovcloud.com",
        &[
            "us-langley-1",
            "us-luke-1",
            "us-gov-ashburn-1",
            "us-gov-chicago-1",
            "us-gov-phoenix-1",
        ],
    ),
    ("oraclegovcloud.uk", &["uk-gov-london-1", "uk-gov-cardiff-1"]),
    ("oraclecloud8.com", &["ap-chiyoda-1", "ap-ibaraki-1"]),
    ("oraclecloud9.com", &["me-dcc-muscat-1", "me-ibri-1"]),
    ("oraclecloud10.com", &["ap-dcc-canberra-1"]),
    (
        "oraclecloud14.com",
        &[
            "eu-dcc-milan-1",
            "eu-dcc-milan-2",
            "eu-dcc-dublin-1",
            "eu-dcc-dublin-2",
            "eu-dcc-rating-1",
            "eu-dcc-rating-2",
        ],
    ),
    ("oraclecloud15.com", &["ap-dcc-gazipur-1"]),
    ("oraclecloud.eu", &["eu-madrid-2", "eu-frankfurt-2"]),
    ("oraclecloud20.com", &["eu-jovanovac-1"]),
    ("oraclecloud21.com", &["me-dcc-doha-1", "me-alrayyan-1"]),
    ("oraclecloud23.com", &["us-somerset-1", "us-thames-1"]),
    ("oraclecloud24.com", &["eu-dcc-zurich-1", "eu-crissier-1"]),
    ("oraclecloud26.com", &["me-abudhabi-3", "me-alain-1"]),
    ("oraclecloud29.com", &["me-abudhabi-2", "me-abudhabi-4"]),
    (
        "oraclecloud35.com",
        &["ap-seoul-2", "ap-suwon-1", "ap-chuncheon-2"],
    ),
    ("oraclecloud42.com", &["us-ashburn-2", "us-newark-1"]),
    ("oraclecloud51.com", &["eu-budapest-1"]),
    ("oraclecloud52.com", &["sa-riodejaneiro-1"]),
];

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OciConfig {
    /// `api_key` or `instance_principal`.
    pub auth: String,
    /// The tenancy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenancy: String,
    /// Who asks.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Of the user's key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// File that holds the key.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub key_file: PathBuf,
    /// What the key is locked with.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub key_passphrase: Secret,
    /// File that holds that.
    #[serde(skip_serializing_if = "is_empty_path")]
    pub key_passphrase_file: PathBuf,
    /// The region that is looked at.
    pub region: String,
    /// Compartments that are looked at; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compartments: Vec<String>,
    /// Credentials, TLS, proxies.
    #[serde(flatten)]
    pub http: HttpClientConfig,
    /// Port of the targets.
    pub port: i64,
    /// How often to ask; also the longest wait for an answer.
    pub refresh_interval: yaml::Duration,
}

impl Discovery for OciConfig {
    const KEY: &'static str = "oci_sd_configs";
    const NAME: &'static str = "oci";
    const HELP: &'static str = "compute instances of Oracle Cloud Infrastructure";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let text = |section: &mut Section<'_>, key| section.get_or(key, String::new());
        let config = OciConfig {
            auth: section.get_or("auth", API_KEY.to_owned())?,
            tenancy: text(section, "tenancy")?,
            user: text(section, "user")?,
            fingerprint: text(section, "fingerprint")?,
            key_file: PathBuf::from(text(section, "key_file")?),
            key_passphrase: section.get_or("key_passphrase", Secret::default())?,
            key_passphrase_file: PathBuf::from(text(section, "key_passphrase_file")?),
            region: text(section, "region")?,
            compartments: section.get_or("compartments", Vec::new())?,
            http: HttpClientConfig::read(section)?,
            port: section.get_or("port", 80)?,
            refresh_interval: section.get_or("refresh_interval", MINUTE)?,
        };
        if let Some(at) = config.compartments.iter().position(String::is_empty) {
            let message = format!("oci_sd: compartments[{at}] must not be empty");
            return Err(section.error_at_item("compartments", at, message));
        }
        match config.problem() {
            Some((key, message)) => Err(section.error_at(key, format_args!("oci_sd: {message}"))),
            None => Ok(config),
        }
    }

    fn resolve_paths(&mut self, folder: &Path) {
        self.http.resolve_paths(folder);
        resolve(folder, &mut self.key_file);
        resolve(folder, &mut self.key_passphrase_file);
    }

    fn files(&self) -> Vec<&Path> {
        let mut files = self.http.files();
        files.extend([&*self.key_file, &*self.key_passphrase_file]);
        files.retain(|file| !is_empty_path(file));
        files
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let unavailable = |detail: String| PrepareError::Unavailable(detail.into());
        if self.auth == INSTANCE_PRINCIPAL {
            let message = "auth: instance_principal is not built into this version; use api_key";
            return Err(unavailable(message.to_owned()));
        }
        let key = std::fs::read(&self.key_file)
            .map_err(|error| unavailable(format!("key_file {}: {error}", self.key_file.display())))?;
        let key = SigningKey::from_pem(&key).map_err(|error| {
            let locked = if self.key_passphrase.is_empty() && is_empty_path(&self.key_passphrase_file) {
                ""
            } else {
                "; keys that are locked with a passphrase are not built into this version: unlock it with openssl pkey"
            };
            unavailable(format!("key_file {}: {error}{locked}", self.key_file.display()))
        })?;
        let domain = REALMS
            .iter()
            .find(|(_, regions)| regions.contains(&&*self.region))
            .map_or(DOMAIN, |(domain, _)| domain);
        let poll = Oci {
            api: Api::new(context.client(&self.http)?, self.refresh_interval),
            signer: Signer {
                key,
                id: format!("{}/{}/{}", self.tenancy, self.user, self.fingerprint),
            },
            identity: format!("https://identity.{}.oci.{domain}/{VERSION}", self.region),
            iaas: format!("https://iaas.{}.{domain}/{VERSION}", self.region),
            config: self.clone(),
            skipped: Skipped::new(Self::NAME),
        };
        Ok(Runner::poll(self.refresh_interval, poll))
    }
}

impl OciConfig {
    /// What is wrong, and at which key.
    fn problem(&self) -> Option<(&'static str, String)> {
        if self.region.is_empty() {
            return Some(("region", "region is required".to_owned()));
        }
        let given = [
            ("tenancy", !self.tenancy.is_empty()),
            ("user", !self.user.is_empty()),
            ("fingerprint", !self.fingerprint.is_empty()),
            ("key_file", !is_empty_path(&self.key_file)),
            ("key_passphrase", !self.key_passphrase.is_empty()),
            ("key_passphrase_file", !is_empty_path(&self.key_passphrase_file)),
        ];
        match &*self.auth {
            API_KEY => {
                if let Some((key, _)) = given[..4].iter().find(|(_, is_given)| !is_given) {
                    return Some((key, format!("api_key auth requires {key}")));
                }
                if given[4].1 && given[5].1 {
                    let message = "at most one of key_passphrase and key_passphrase_file must be configured";
                    return Some(("key_passphrase_file", message.to_owned()));
                }
            }
            INSTANCE_PRINCIPAL => {
                if let Some((key, _)) = given.iter().find(|(_, is_given)| *is_given) {
                    return Some((key, format!("instance_principal auth must not have {key} set")));
                }
            }
            other => {
                let message =
                    format!("unknown auth method {other:?}, expected {API_KEY:?} or {INSTANCE_PRINCIPAL:?}");
                return Some(("auth", message));
            }
        }
        self.refresh_interval.as_std().is_zero().then(|| {
            let message = format!("refresh_interval must be positive, got {}", self.refresh_interval);
            ("refresh_interval", message)
        })
    }
}

/// Signs requests.
struct Signer {
    key: SigningKey,
    /// Tenancy, user and fingerprint.
    id: String,
}

impl Signer {
    /// Signs a GET: its time, path and host.
    fn get(&self, url: Url) -> Result<Request, DiscoveryError> {
        let date = Timestamp::now()
            .to_zoned(TimeZone::UTC)
            .strftime("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        let text = to_sign(&url, &date);
        let signature = self
            .key
            .sign(Algorithm::Rs256, text.as_bytes())
            .map_err(|error| DiscoveryError::Other(error.into()))?;
        let authorization = format!(
            "Signature version=\"1\",headers=\"date (request-target) host\",keyId=\"{}\",algorithm=\"rsa-sha256\",\
             signature=\"{}\"",
            self.id,
            BASE64.encode(signature)
        );
        Ok(Request::get(url)
            .header("accept", "application/json")
            .header("date", date)
            .secret_header("authorization", authorization))
    }
}

/// What is signed of a GET.
fn to_sign(url: &Url, date: &str) -> String {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let host = url.host_str().unwrap_or("");
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!(
        "date: {date}\n(request-target): get {}{query}\nhost: {host}{port}",
        url.path()
    )
}

struct Oci {
    api: Api,
    signer: Signer,
    /// Addresses of both interfaces.
    identity: String,
    iaas: String,
    config: OciConfig,
    skipped: Skipped,
}

answers! {
    #[serde(rename_all = "camelCase")]
    struct Compartment {
        id: String,
        lifecycle_state: String,
    }
    #[serde(rename_all = "camelCase")]
    struct Instance {
        id: String,
        compartment_id: String,
        display_name: String,
        lifecycle_state: String,
        shape: String,
        availability_domain: String,
        fault_domain: String,
        region: String,
        image_id: String,
        freeform_tags: BTreeMap<String, String>,
        defined_tags: BTreeMap<String, BTreeMap<String, Value>>,
    }
    #[serde(rename_all = "camelCase")]
    struct Attachment {
        vnic_id: String,
        lifecycle_state: String,
    }
    #[serde(rename_all = "camelCase")]
    struct Vnic {
        id: String,
        is_primary: bool,
        private_ip: String,
        public_ip: String,
        hostname_label: String,
        ipv6_addresses: Vec<String>,
    }
}

impl Poll for Oci {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            self.skipped.begin();
            let calls = Calls {
                round: self.api.round(),
                signer: &self.signer,
            };
            let compartments = if self.config.compartments.is_empty() {
                compartments(&calls, &self.identity, &self.config.tenancy, &mut self.skipped).await?
            } else {
                self.config.compartments.clone()
            };
            let mut targets = Vec::new();
            for compartment in &compartments {
                let list = format!("{}/instances", self.iaas);
                let instances: Vec<Instance> = calls.list(&list, &[("compartmentId", compartment)]).await?;
                let whole =
                    |instance: &&Instance| !instance.id.is_empty() && !instance.compartment_id.is_empty();
                for instance in instances.iter().filter(whole) {
                    match primary(&calls, &self.iaas, instance).await {
                        Ok(vnic) => targets.extend(of_instance(instance, &vnic, &self.config)?),
                        Err(error) => self.skipped.skip(&calls.round, &instance.id, error)?,
                    }
                }
            }
            Ok(group("OCI", targets))
        }
        .boxed()
    }
}

/// Signed calls of one refresh.
struct Calls<'a> {
    round: Round<'a>,
    signer: &'a Signer,
}

impl Calls<'_> {
    /// All pages of a list.
    async fn list<T: DeserializeOwned>(
        &self,
        list: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Vec<T>, DiscoveryError> {
        let (mut all, mut pages, mut next) = (Vec::new(), Pages::default(), None);
        loop {
            let mut parameters = [parameters, &[("limit", LIMIT)]].concat();
            parameters.extend(next.as_deref().map(|page: &str| ("page", page)));
            let request = self.signer.get(url(list, &parameters)?)?;
            let answer = self.round.send_patiently(&request).await?.good()?;
            all.append(&mut answer.json_list()?);
            next = pages.next(list, Some(answer.header("opc-next-page")))?;
            if next.is_none() {
                return Ok(all);
            }
        }
    }
}

/// A tenancy and all that is below it. What may not be listed is told, and left out with what is below it.
async fn compartments(
    calls: &Calls<'_>,
    identity: &str,
    tenancy: &str,
    skipped: &mut Skipped,
) -> Result<Vec<String>, DiscoveryError> {
    let mut todo = VecDeque::from([tenancy.to_owned()]);
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    while let Some(current) = todo.pop_front() {
        if !seen.insert(current.clone()) {
            continue;
        }
        let parameters = [
            ("compartmentId", &*current),
            ("accessLevel", "ACCESSIBLE"),
            ("compartmentIdInSubtree", "false"),
        ];
        let list = format!("{identity}/compartments");
        match calls.list::<Compartment>(&list, &parameters).await {
            Ok(children) => {
                let active = children
                    .into_iter()
                    .filter(|child| child.lifecycle_state == "ACTIVE" && !child.id.is_empty());
                todo.extend(active.map(|child| child.id));
            }
            Err(error) => skipped.skip(&calls.round, &current, error)?,
        }
        all.push(current);
    }
    Ok(all)
}

/// The primary interface of an instance; one without anything where it has none.
async fn primary(calls: &Calls<'_>, iaas: &str, instance: &Instance) -> Result<Vnic, DiscoveryError> {
    let parameters = [
        ("compartmentId", &*instance.compartment_id),
        ("instanceId", &instance.id),
    ];
    let attachments: Vec<Attachment> = calls
        .list(&format!("{iaas}/vnicAttachments"), &parameters)
        .await?;
    let attached = attachments
        .iter()
        .filter(|attachment| attachment.lifecycle_state == "ATTACHED" && !attachment.vnic_id.is_empty());
    for attachment in attached {
        let request = calls
            .signer
            .get(url(&format!("{iaas}/vnics/{}", attachment.vnic_id), &[])?)?;
        let vnic: Vnic = calls.round.send_patiently(&request).await?.good()?.json()?;
        if vnic.is_primary {
            return Ok(vnic);
        }
    }
    Ok(Vnic::default())
}

/// Nothing for an instance without addresses.
fn of_instance(
    instance: &Instance,
    vnic: &Vnic,
    config: &OciConfig,
) -> Result<Option<Labels>, DiscoveryError> {
    let mut ipv6 = vnic.ipv6_addresses.clone();
    ipv6.sort();
    let addresses = [&vnic.private_ip, &vnic.public_ip];
    let Some(address) = addresses
        .into_iter()
        .chain(ipv6.first())
        .find(|ip| !ip.is_empty())
    else {
        return Ok(None);
    };
    let mut target = MetaLabels::new("__meta_oci_");
    target
        .address(address, config.port)
        .meta("instance_id", &instance.id)
        .meta("instance_name", &instance.display_name)
        .meta("instance_state", &instance.lifecycle_state)
        .meta("instance_shape", &instance.shape)
        .meta("availability_domain", &instance.availability_domain)
        .meta("fault_domain", &instance.fault_domain)
        .meta("region", &instance.region)
        .meta("tenancy_id", &config.tenancy)
        .meta("compartment_id", &instance.compartment_id)
        .meta("image_id", &instance.image_id)
        .meta("vnic_id", &vnic.id)
        .meta("private_ip", &vnic.private_ip)
        .meta("public_ip", &vnic.public_ip)
        .meta("hostname_label", &vnic.hostname_label)
        .list("ipv6_addresses", &ipv6, SEPARATOR)
        .all("tag_", &instance.freeform_tags);
    for (namespace, tags) in &instance.defined_tags {
        for (name, value) in tags {
            // Lists and maps fit into no label.
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Bool(is) => is.to_string(),
                Value::Number(number) => number.as_f64().unwrap_or_default().to_string(),
                _ => continue,
            };
            let space = format!("defined_tag_{}_", label_name(namespace));
            target.meta_of(&space, name, text);
        }
    }
    target.build().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requests_time_path_and_host_are_signed() {
        let url =
            Url::parse("https://iaas.eu-frankfurt-1.oraclecloud.com/20160918/instances?limit=100&page=p")
                .expect("URL");
        assert_eq!(
            to_sign(&url, "Thu, 01 Jan 2026 00:00:00 GMT"),
            "date: Thu, 01 Jan 2026 00:00:00 GMT\n\
             (request-target): get /20160918/instances?limit=100&page=p\n\
             host: iaas.eu-frankfurt-1.oraclecloud.com"
        );
    }

    #[test]
    fn tags_of_all_plain_kinds_become_labels() {
        let tags = serde_json::json!({"id": "i", "definedTags": {"n s": {"whole": 5, "part": 1.5, "yes": true, "list": [1]}}});
        let instance: Instance = serde_json::from_value(tags).expect("an instance");
        let vnic = Vnic {
            ipv6_addresses: vec!["2001:db8::2".to_owned(), "2001:db8::1".to_owned()],
            ..Vnic::default()
        };
        let text = "{region: r, tenancy: t, user: u, fingerprint: f, key_file: k}";
        let document = yaml::parse("f.yml", text).expect("YAML");
        let mut section = document.root().section("an entry").expect("mapping");
        let config = OciConfig::read(&mut section).expect("valid");
        let labels = of_instance(&instance, &vnic, &config)
            .expect("short")
            .expect("an address");
        for (name, value) in [
            ("__address__", "[2001:db8::1]:80"),
            ("__meta_oci_ipv6_addresses", ",2001:db8::1,2001:db8::2,"),
            ("__meta_oci_defined_tag_n_s_whole", "5"),
            ("__meta_oci_defined_tag_n_s_part", "1.5"),
            ("__meta_oci_defined_tag_n_s_yes", "true"),
            ("__meta_oci_defined_tag_n_s_list", ""),
        ] {
            assert_eq!(labels.value(name), value, "{name}");
        }
        assert!(
            of_instance(&instance, &Vnic::default(), &config)
                .expect("short")
                .is_none()
        );
    }
}

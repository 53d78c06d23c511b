//! `digitalocean_sd_configs`: droplets or managed databases of DigitalOcean.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::labels::Labels;
use serde::Serialize;
use url::Url;
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::api::{Api, ApiSettings, MINUTE, Round, answers, files_of, read_role, url};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, SEPARATOR, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const DROPLETS: &str = "https://api.digitalocean.com/v2/droplets";
const DATABASES: &str = "https://api.digitalocean.com/v2/databases";
const DATABASES_PER_PAGE: &str = "100";

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DigitalOceanConfig {
    /// How to ask.
    #[serde(flatten)]
    pub api: ApiSettings,
    /// Port of the targets.
    pub port: i64,
    /// `droplets` or `databases`.
    pub role: &'static str,
}

impl Discovery for DigitalOceanConfig {
    const KEY: &'static str = "digitalocean_sd_configs";
    const NAME: &'static str = "digitalocean";
    const HELP: &'static str = "droplets and databases of DigitalOcean";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(DigitalOceanConfig {
            port: section.get_or("port", 80)?,
            role: read_role(section, &["droplets", "databases"], Some("droplets"))?,
            api: ApiSettings::read(section, MINUTE)?,
        })
    }

    files_of!(api);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let poll = DigitalOcean {
            api: self.api.client(context)?,
            port: self.port,
            role: self.role,
        };
        Ok(Runner::poll(self.api.refresh_interval, poll))
    }
}

struct DigitalOcean {
    api: Api,
    port: i64,
    role: &'static str,
}

impl Poll for DigitalOcean {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let mut round = self.api.round();
            if self.role == "databases" {
                let targets = databases(&mut round, self.port).await?;
                return Ok(group("DigitalOcean Databases", targets));
            }
            let targets = droplets(&mut round, self.port).await?;
            Ok(group("DigitalOcean", targets))
        }
        .boxed()
    }
}

answers! {
    struct Page {
        droplets: Vec<Droplet>,
        databases: Vec<Database>,
        links: Links,
    }
    struct Links {
        pages: Pages,
    }
    struct Pages {
        prev: String,
        last: String,
    }
    struct Droplet {
        id: i64,
        name: String,
        status: String,
        features: Vec<String>,
        image: Image,
        size_slug: String,
        networks: Networks,
        region: Region,
        tags: Vec<String>,
        vpc_uuid: String,
    }
    struct Image {
        slug: String,
        name: String,
    }
    struct Networks {
        v4: Vec<Address>,
        v6: Vec<Address>,
    }
    struct Address {
        ip_address: String,
        #[serde(rename = "type")]
        kind: String,
    }
    struct Region {
        slug: String,
    }
    struct Database {
        id: String,
        name: String,
        engine: String,
        version: String,
        status: String,
        region: String,
        size: String,
        num_nodes: i64,
        tags: Vec<String>,
        connection: Connection,
        private_connection: Connection,
    }
    struct Connection {
        host: String,
    }
}

async fn droplets(round: &mut Round<'_>, port: i64) -> Result<Vec<Labels>, DiscoveryError> {
    let mut targets = Vec::new();
    let mut number = String::new();
    loop {
        let parameters = [("page", number.as_str())];
        let parameters = if number.is_empty() {
            &[][..]
        } else {
            &parameters[..]
        };
        let page: Page = round.get_json(url(DROPLETS, parameters)?).await?;
        for droplet in &page.droplets {
            targets.extend(of_droplet(droplet, port)?);
        }
        let links = page.links.pages;
        if links.last.is_empty() {
            return Ok(targets);
        }
        // The one after this, and this is the one after the one before.
        number = (page_number(&links.prev)? + 2).to_string();
    }
}

/// The number of a page that a link leads to; 0 where there is no link.
fn page_number(link: &str) -> Result<u64, DiscoveryError> {
    if link.is_empty() {
        return Ok(0);
    }
    let parsed = Url::parse(link).map_err(|error| DiscoveryError::content(link, error))?;
    let number = parsed
        .query_pairs()
        .find(|(name, _)| name == "page")
        .and_then(|(_, number)| number.parse::<u32>().ok());
    number
        .map(u64::from)
        .ok_or_else(|| DiscoveryError::content(link, "a link to a page without its number"))
}

/// Nothing for a droplet without IPv4.
fn of_droplet(droplet: &Droplet, port: i64) -> Result<Option<Labels>, DiscoveryError> {
    if droplet.networks.v4.is_empty() {
        return Ok(None);
    }
    let first = |list: &[Address], kind: &str| {
        let found = list.iter().find(|address| address.kind == kind);
        found
            .map(|address| address.ip_address.clone())
            .unwrap_or_default()
    };
    let public = first(&droplet.networks.v4, "public");
    let mut target = MetaLabels::new("__meta_digitalocean_");
    target
        .address(&public, port)
        .meta("droplet_id", droplet.id)
        .meta("droplet_name", &droplet.name)
        .meta("image", &droplet.image.slug)
        .meta("image_name", &droplet.image.name)
        .meta("private_ipv4", first(&droplet.networks.v4, "private"))
        .meta("public_ipv4", &public)
        .meta("public_ipv6", first(&droplet.networks.v6, "public"))
        .meta("region", &droplet.region.slug)
        .meta("size", &droplet.size_slug)
        .meta("status", &droplet.status)
        .meta("vpc", &droplet.vpc_uuid)
        .list("features", &droplet.features, SEPARATOR)
        .list("tags", &droplet.tags, SEPARATOR);
    target.build().map(Some)
}

/// Compat: pages are read until one is empty, whatever the links say (conformance `discovery/digitalocean/databases`).
async fn databases(round: &mut Round<'_>, port: i64) -> Result<Vec<Labels>, DiscoveryError> {
    let mut targets = Vec::new();
    for number in 1_u64.. {
        let parameters = [("page", &*number.to_string()), ("per_page", DATABASES_PER_PAGE)];
        let page: Page = round.get_json(url(DATABASES, &parameters)?).await?;
        if page.databases.is_empty() {
            break;
        }
        for database in &page.databases {
            targets.push(of_database(database, port)?);
        }
    }
    Ok(targets)
}

fn of_database(database: &Database, port: i64) -> Result<Labels, DiscoveryError> {
    let (private, public) = (&database.private_connection.host, &database.connection.host);
    let mut target = MetaLabels::new("__meta_digitalocean_db_");
    target
        .meta("id", &database.id)
        .meta("name", &database.name)
        .meta("engine", &database.engine)
        .meta("version", &database.version)
        .meta("status", &database.status)
        .meta("region", &database.region)
        .meta("size", &database.size)
        .meta("num_nodes", database.num_nodes)
        .meta("private_host", private)
        .meta("host", public);
    let host = if private.is_empty() { public } else { private };
    if !host.is_empty() {
        target.address(host, port);
    }
    for tag in &database.tags {
        // Compat: the only label names that are not cleaned.
        target.meta(&format!("tag_{tag}"), true);
    }
    target.build()
}

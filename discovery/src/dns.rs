//! `dns_sd_configs`: addresses and services that name servers know.
//!
//! Messages are written and read by hickory-proto; asking is done here and not by hickory's resolver, because what counts is
//! the answer as one server gave it: the resolver follows aliases, keeps answers and takes "no such name" of one server
//! for the word of all, and targets that are found must not go because a server is ill.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use metrics::Counter;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use yaml::{Section, YamlError};

use crate::TargetGroup;
use crate::mechanism::Discovery;
use crate::meta::MetaLabels;
use crate::metrics::Metrics;
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const PREFIX: &str = "__meta_dns_";
/// Where the machine's name servers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Longest wait for one server.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer over UDP, in bytes, as servers are told.
const UDP_BYTES_MAX: u16 = 4096;
/// Names of one entry that are asked for at the same time.
const CONCURRENT_MAX: usize = 64;
/// Highest `ndots`.
const NDOTS_MAX: usize = 15;

/// What to look up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DnsConfig {
    /// Names.
    pub names: Vec<String>,
    /// How often to ask.
    pub refresh_interval: yaml::Duration,
    /// Type of the records.
    #[serde(rename = "type")]
    pub record_type: String,
    /// The targets' port; records of type SRV have their own.
    pub port: i64,
}

impl DnsConfig {
    fn query_type(&self) -> Option<RecordType> {
        match &*self.record_type.to_ascii_uppercase() {
            "SRV" => Some(RecordType::SRV),
            "A" => Some(RecordType::A),
            "AAAA" => Some(RecordType::AAAA),
            "MX" => Some(RecordType::MX),
            "NS" => Some(RecordType::NS),
            _ => None,
        }
    }
}

impl Discovery for DnsConfig {
    const KEY: &'static str = "dns_sd_configs";
    const NAME: &'static str = "dns";
    const HELP: &'static str = "records of name servers (A, AAAA, SRV, MX, NS)";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let config = DnsConfig {
            names: section.get_or("names", Vec::new())?,
            refresh_interval: section.get_or("refresh_interval", yaml::Duration::from_ms(30_000))?,
            record_type: section.get_or("type", "SRV".to_owned())?,
            port: section.get_or("port", 0)?,
        };
        if config.names.is_empty() {
            let message = "DNS-SD config must contain at least one SRV record name";
            return Err(section.error_at("names", message));
        }
        match config.query_type() {
            None => {
                let message = format!("invalid DNS-SD records type {}", config.record_type);
                Err(section.error_at("type", message))
            }
            Some(kind) if kind != RecordType::SRV && config.port == 0 => Err(section.error_at(
                "port",
                "a port is required in DNS-SD configs for all record types except SRV",
            )),
            Some(_) => Ok(config),
        }
    }

    fn register(metrics: &Metrics) {
        DnsMetrics::new(metrics);
    }

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let lookup = Lookup {
            resolv_conf: context.machine_path(RESOLV_CONF),
            server_port: context.dns_port,
            record_type: self.query_type().unwrap_or(RecordType::SRV),
        };
        let poll = DnsPoll {
            lookup,
            config: self.clone(),
            metrics: DnsMetrics::new(&context.metrics),
            known: HashMap::new(),
        };
        Ok(Runner::poll(self.refresh_interval, poll))
    }
}

struct DnsMetrics {
    lookups: Counter,
    failures: Counter,
}

impl DnsMetrics {
    fn new(metrics: &Metrics) -> Self {
        let registry = metrics.registry();
        DnsMetrics {
            lookups: registry.counter("prometheus_sd_dns_lookups_total", "The number of DNS-SD lookups."),
            failures: registry.counter(
                "prometheus_sd_dns_lookup_failures_total",
                "The number of DNS-SD lookup failures.",
            ),
        }
    }
}

struct DnsPoll {
    lookup: Lookup,
    config: DnsConfig,
    metrics: DnsMetrics,
    known: HashMap<String, Known>,
}

/// What is known of a name.
#[derive(Default)]
struct Known {
    /// As it was found last.
    group: Option<TargetGroup>,
    /// Whether the last lookup failed: only changes are said.
    is_failing: bool,
}

impl Poll for DnsPoll {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let lookup = &self.lookup;
            let results: Vec<_> = futures_util::stream::iter(self.config.names.clone())
                .map(|name| async move {
                    let records = lookup.records(&name).await;
                    (name, records)
                })
                .buffer_unordered(CONCURRENT_MAX)
                .collect()
                .await;
            // Compat: a name that fails keeps its own targets, and the round is a good one all the same (conformance
            // `discovery/dns/changes-and-errors`).
            for (name, result) in results {
                self.metrics.lookups.inc();
                let group = result.and_then(|records| group(&name, &records, self.config.port));
                let known = self.known.entry(name.clone()).or_default();
                match group {
                    Ok(group) => {
                        known.group = Some(group);
                        known.is_failing = false;
                    }
                    Err(error) => {
                        self.metrics.failures.inc();
                        if !std::mem::replace(&mut known.is_failing, true) {
                            tracing::error!(discovery = DnsConfig::NAME, name, %error, "Error refreshing DNS targets; those found before stay");
                        }
                    }
                }
            }
            Ok(self.known.values().filter_map(|known| known.group.clone()).collect())
        }
        .boxed()
    }
}

/// The group of a name.
fn group(name: &str, records: &[Record], port: i64) -> Result<TargetGroup, DiscoveryError> {
    let mut targets = Vec::new();
    for record in records {
        let mut labels = MetaLabels::new(PREFIX);
        labels.meta("name", name);
        // The labels have the name with its final dot, the address has it without.
        let plain = |name: &str| name.trim_end_matches('.').to_owned();
        match &record.data {
            RData::A(address) => labels.address(&address.0.to_string(), port),
            RData::AAAA(address) => labels.address(&address.0.to_canonical().to_string(), port),
            RData::SRV(service) => {
                let target = service.target.to_ascii();
                labels
                    .address(&plain(&target), service.port)
                    .meta("srv_record_target", &target)
                    .meta("srv_record_port", service.port)
            }
            RData::MX(mail) => {
                let target = mail.exchange.to_ascii();
                labels
                    .address(&plain(&target), port)
                    .meta("mx_record_target", &target)
            }
            RData::NS(server) => {
                let target = server.0.to_ascii();
                labels
                    .address(&plain(&target), port)
                    .meta("ns_record_target", &target)
            }
            // What leads to the records of another name.
            RData::CNAME(_) => continue,
            other => {
                tracing::warn!(discovery = DnsConfig::NAME, name, kind = %other.record_type(), "Invalid record");
                continue;
            }
        };
        targets.push(labels.build()?);
    }
    Ok(TargetGroup {
        source: name.to_owned(),
        targets,
        ..TargetGroup::default()
    })
}

/// The machine's settings, as far as they count here.
#[derive(Debug, Default, PartialEq)]
struct ResolvConf {
    servers: Vec<String>,
    search: Vec<String>,
    ndots: Option<usize>,
}

impl ResolvConf {
    fn parse(text: &str) -> Self {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().map(str::to_owned)),
                Some("domain") => conf.search = words.next().map(str::to_owned).into_iter().collect(),
                Some("search") => conf.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let mut ndots =
                        words.filter_map(|word| word.strip_prefix("ndots:")?.parse::<usize>().ok());
                    if let Some(ndots) = ndots.next_back() {
                        conf.ndots = Some(ndots.min(NDOTS_MAX));
                    }
                }
                _ => {}
            }
        }
        conf
    }

    /// The full names that a name may stand for, in the order in which they are tried.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let as_it_is = format!("{name}.");
        let searched = self.search.iter().map(|domain| {
            let domain = domain.trim_matches('.');
            if domain.is_empty() {
                as_it_is.clone()
            } else {
                format!("{name}.{domain}.")
            }
        });
        let mut all: Vec<String> = searched.collect();
        let has_dots = name.matches('.').count() >= self.ndots.unwrap_or(1);
        all.insert(if has_dots { 0 } else { all.len() }, as_it_is);
        all
    }
}

/// Asks for the records of names.
struct Lookup {
    resolv_conf: PathBuf,
    server_port: u16,
    record_type: RecordType,
}

impl Lookup {
    /// The records of the first name that there is; none if every server says that there is no such name.
    async fn records(&self, name: &str) -> Result<Vec<Record>, DiscoveryError> {
        let text = tokio::fs::read_to_string(&self.resolv_conf).await;
        let text = text.map_err(|error| DiscoveryError::content(self.resolv_conf.display(), error))?;
        let conf = ResolvConf::parse(&text);
        let mut failure = None;
        for candidate in conf.candidates(name) {
            match self.ask_any(&conf.servers, &candidate).await {
                Ok(answer) if answer.metadata.response_code == ResponseCode::NoError => {
                    return Ok(answer.answers);
                }
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(Vec::new()), Err)
    }

    /// The first good word of a server, which may be that there is no such name.
    async fn ask_any(&self, servers: &[String], name: &str) -> Result<Message, DiscoveryError> {
        let mut last = "there is no name server".to_owned();
        for server in servers {
            let answer = match server.parse::<IpAddr>() {
                Ok(ip) => self.ask(SocketAddr::new(ip, self.server_port), name).await,
                Err(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not an address")),
            };
            match answer {
                Ok(answer) => match answer.metadata.response_code {
                    ResponseCode::NoError | ResponseCode::NXDomain => return Ok(answer),
                    code => last = format!("server {server}: {code}"),
                },
                Err(error) => last = format!("server {server}: {error}"),
            }
        }
        let detail = format!("no server returned a viable answer; {last}");
        Err(DiscoveryError::content(
            format!("could not resolve {name:?}"),
            detail,
        ))
    }

    /// Asks one server; over TCP when the answer is cut.
    async fn ask(&self, server: SocketAddr, name: &str) -> io::Result<Message> {
        let name = Name::from_str_relaxed(name).map_err(io::Error::other)?;
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(name, self.record_type));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_BYTES_MAX);
        query.set_edns(edns);
        let answer = within(over_udp(server, &query)).await?;
        if !answer.metadata.truncation {
            return Ok(answer);
        }
        query.edns = None;
        let answer = within(over_tcp(server, &query)).await?;
        if answer.metadata.truncation {
            return Err(io::Error::other("the answer is cut over TCP, too"));
        }
        Ok(answer)
    }
}

async fn within<T>(asking: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let answer = tokio::time::timeout(SERVER_TIMEOUT, asking).await;
    answer.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))?
}

async fn over_udp(server: SocketAddr, query: &Message) -> io::Result<Message> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    // Connected, so that only this server's packets come, and its refusals.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&query.to_vec().map_err(io::Error::other)?).await?;
    let mut buffer = vec![0; usize::from(UDP_BYTES_MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What is not the answer to this question may be somebody's guess: wait on.
        match read_answer(&buffer[..length], query) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            answer => return answer,
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let message = query.to_vec().map_err(io::Error::other)?;
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), &*message].concat())
        .await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    read_answer(&answer, query)
}

/// Reads an answer; [`io::ErrorKind::InvalidData`] says that it answers another question.
fn read_answer(bytes: &[u8], query: &Message) -> io::Result<Message> {
    if !bytes.starts_with(&query.metadata.id.to_be_bytes()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "an answer to another question",
        ));
    }
    Message::from_vec(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;

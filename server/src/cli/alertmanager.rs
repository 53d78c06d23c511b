//! `narthex alertmanager`, or a program that is called so: the command line of an Alertmanager alone.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Command};
use notify::matcher::Syntax;
use notify::{HistoryLimits, MetricLabels, SilenceLimits};

use super::flags::Kind::{
    Duration as FlagDuration, GoDuration, Limit, Number, Repeated, Share, Size, Switch, Text, Word,
};
use super::flags::Standing::{Accepted, Served};
use super::flags::{self, Flag, FlagValues, flags};
use super::options::{OptionErrors, Reader};
use super::{Action, named};
use crate::web::listener::Address;

/// Why flags of a cluster have no effect.
const NO_CLUSTER: &str = "instances do not talk to each other; let one run, which knows after a restart what it sent, or several \
                          that share a lease (high_availability in the configuration file)";
/// The flag that turns the reference's cluster off when it is empty.
const CLUSTER_ADDRESS: &str = "cluster.listen-address";

/// Every flag, in the order of the help text. Names and defaults are the reference's.
#[rustfmt::skip]
pub(crate) const FLAGS: &[Flag] = flags! {
    "config.file", Text("alertmanager.yml"), Served, "Configuration file: routes, receivers, inhibition rules, time intervals.";
    "storage.path", Text("data/"), Served, "Folder of the data: silences, and what was sent.";
    "data.retention", GoDuration("120h"), Served, "How long silences are kept after their end, and notifications are remembered.";
    "data.maintenance-interval", GoDuration("15m"), Served, "How often what is over is forgotten, and the files are written that another Alertmanager reads. What was answered is on the disk at once.";
    "history.retention.time", FlagDuration("15d"), Served, "How long is remembered what happened to alerts, notifications and silences, for /api/v2/history; 0s for no history.";
    "history.retention.size", Size("64MB"), Served, "Most bytes that this history takes on the disk; 0 for no history.";
    "silences.max-silences", Limit("0"), Served, "Most silences, expired ones included; 0 for no limit.";
    "silences.max-silence-size-bytes", Limit("0"), Served, "Largest silence, in bytes as it is stored; 0 for no limit.";
    "log.silences", Switch(false), Accepted("changes of silences are always logged"), "Log changes of silences.";
    "alerts.gc-interval", GoDuration("30m"), Served, "How often resolved alerts are forgotten.";
    "alerts.per-alertname-limit", Limit("0"), Served, "Most alerts of one name; further ones are dropped and counted. 0 for no limit.";
    "dispatch.maintenance-interval", GoDuration("30s"), Accepted("an empty group goes at once"), "How often empty groups are looked for.";
    "dispatch.start-delay", GoDuration("0s"), Served, "How long nothing is sent after the start, so that senders of alerts have time to tell of theirs.";
    "web.systemd-socket", Switch(false), Served, "Listen on the sockets that systemd hands over (LISTEN_FDS) instead of --web.listen-address.";
    "web.listen-address", Repeated(":9093"), Served, "Address to listen on for API and metrics: host:port, :port, or unix:/path, with ?mode=0660 behind it. Can be repeated.";
    "web.config.file", Text(""), Served, "File that turns on TLS, authentication, headers and a limit of requests. A change of it, or of what it names, is in force with the next request.";
    "web.external-url", Text(""), Served, "URL under which this server is reached from outside: links in notifications begin with it. Its path, if any, stands in front of every page.";
    "web.route-prefix", Text(""), Served, "Path in front of every page. Default: the path of --web.external-url.";
    "web.get-concurrency", Limit("0"), Served, "Most GET requests at the same time; further ones get 503. 0 for as many as there are processors, at least 8.";
    "web.timeout", GoDuration("0s"), Served, "Longest time that a request may take; 0 for no limit.";
    "web.read-timeout", GoDuration("5m"), Served, "Longest time for a request to come, whole, from its first byte on; and for an idle connection to stay.";
    "web.max-connections", Number("512"), Served, "Most connections at the same time, over all addresses. The one of least use makes room for another.";
    "auto-gomemlimit.ratio", Share("0.9"), Accepted("there is no Go runtime to steer"), "Share of the memory that the runtime may use.";
    "cluster.listen-address", Text("0.0.0.0:9094"), Accepted(NO_CLUSTER), "Address for other instances.";
    "cluster.advertise-address", Text(""), Accepted(NO_CLUSTER), "Address that other instances are told.";
    "cluster.peer-name", Text(""), Accepted(NO_CLUSTER), "Name among other instances.";
    "cluster.peer", Repeated(""), Accepted(NO_CLUSTER), "Another instance. Can be repeated.";
    "cluster.peer-timeout", GoDuration("15s"), Accepted(NO_CLUSTER), "How long an instance waits for the one before it.";
    "cluster.peers-resolve-timeout", GoDuration("15s"), Accepted(NO_CLUSTER), "Longest time for finding other instances.";
    "cluster.gossip-interval", GoDuration("200ms"), Accepted(NO_CLUSTER), "How often changes are passed on.";
    "cluster.pushpull-interval", GoDuration("1m0s"), Accepted(NO_CLUSTER), "How often whole states are exchanged.";
    "cluster.tcp-timeout", GoDuration("10s"), Accepted(NO_CLUSTER), "Longest time for exchanging a whole state.";
    "cluster.probe-timeout", GoDuration("500ms"), Accepted(NO_CLUSTER), "How long an instance has for saying that it lives.";
    "cluster.probe-interval", GoDuration("1s"), Accepted(NO_CLUSTER), "How often instances are asked whether they live.";
    "cluster.settle-timeout", GoDuration("1m0s"), Accepted(NO_CLUSTER), "Longest wait for the cluster before anything is sent.";
    "cluster.reconnect-interval", GoDuration("10s"), Accepted(NO_CLUSTER), "How often lost instances are looked for.";
    "cluster.reconnect-timeout", GoDuration("6h0m0s"), Accepted(NO_CLUSTER), "How long lost instances are looked for.";
    "cluster.tls-config", Text(""), Accepted(NO_CLUSTER), "File that turns on TLS between instances.";
    "cluster.allow-insecure-public-advertise-address-discovery", Switch(false), Accepted(NO_CLUSTER), "Listen for other instances on a public address.";
    "cluster.label", Text(""), Accepted(NO_CLUSTER), "What tells this cluster from others.";
    "enable-feature", Repeated(""), Served, "Comma-separated names of features to turn on: alert-names-in-metrics, receiver-name-in-metrics, group-key-in-metrics, classic-mode, utf8-strict-mode. auto-gomemlimit and event-recorder are accepted and have no effect.";
    "log.level", Word("info", &["debug", "info", "warn", "error"]), Served, "Least severity to log: debug, info, warn or error.";
    "log.format", Word("logfmt", &["logfmt", "json"]), Served, "Form of log lines: logfmt or json.";
};

const ABOUT: &str = "Takes alerts, groups and silences them, and sends notifications: an Alertmanager.";

/// What an Alertmanager alone was told.
#[derive(Clone, Debug)]
pub(crate) struct AlertmanagerOptions {
    pub(crate) config_file: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) retention: Duration,
    pub(crate) maintenance_interval: Duration,
    pub(crate) history: HistoryLimits,
    pub(crate) silence_limits: SilenceLimits,
    pub(crate) alert_gc_interval: Duration,
    /// 0 for no limit.
    pub(crate) alerts_per_name_max: usize,
    pub(crate) start_delay: Duration,
    pub(crate) systemd_socket: bool,
    pub(crate) listen_addresses: Vec<Address>,
    pub(crate) web_config_file: Option<PathBuf>,
    pub(crate) external_url: Option<url::Url>,
    /// Without slashes at its ends; the external URL's path where none is given.
    pub(crate) route_prefix: String,
    /// 0 for as many as there are processors.
    pub(crate) reads_max: usize,
    pub(crate) timeout: Option<Duration>,
    pub(crate) read_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) features: Features,
    /// The flags as they were given.
    pub(crate) flags: FlagValues,
}

/// What `--enable-feature` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    pub(crate) syntax: Syntax,
    pub(crate) metric_labels: MetricLabels,
    /// Names without an effect, and why.
    pub(crate) without_effect: Vec<(&'static str, &'static str)>,
}

impl Features {
    /// From the flag's value: names with commas.
    ///
    /// # Errors
    /// The reference's words for a name that it does not know, and for two that exclude each other.
    fn new(list: &str) -> Result<Self, String> {
        let mut features = Features::default();
        let (mut classic, mut strict) = (false, false);
        for name in list.split(',').filter(|name| !name.is_empty()) {
            match name {
                "alert-names-in-metrics" => features.metric_labels.alert_names = true,
                "receiver-name-in-metrics" => features.metric_labels.receiver_names = true,
                "group-key-in-metrics" => features.metric_labels.group_keys = true,
                "classic-mode" => classic = true,
                "utf8-strict-mode" => strict = true,
                "auto-gomemlimit" => {
                    let why = "there is no Go runtime to steer";
                    features.without_effect.push(("auto-gomemlimit", why));
                }
                "event-recorder" => {
                    let why = "it is not in this version";
                    features.without_effect.push(("event-recorder", why));
                }
                name => return Err(format!("unknown option '{name}' for --enable-feature")),
            }
        }
        features.syntax = match (classic, strict) {
            (true, true) => return Err("cannot have both classic and UTF-8 modes enabled".to_owned()),
            (true, false) => Syntax::Classic,
            (false, true) => Syntax::Utf8,
            (false, false) => Syntax::Fallback,
        };
        Ok(features)
    }
}

/// The program of this name.
pub(super) fn program() -> Command {
    flags::add_to(FLAGS, named("alertmanager").about(ABOUT))
}

/// The command of ours.
pub(super) fn command() -> Command {
    flags::add_to(
        FLAGS,
        Command::new("alertmanager").about("Serve as an Alertmanager alone"),
    )
}

/// What a command line asks for.
pub(super) fn action(matches: &ArgMatches) -> Action {
    Action::Alertmanager(FlagValues::from_matches(FLAGS, matches))
}

impl AlertmanagerOptions {
    /// From the flags.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn new(flags: FlagValues) -> Result<Self, OptionErrors> {
        let options = Reader::all(&flags, AlertmanagerOptions::read)?;
        Ok(AlertmanagerOptions { flags, ..options })
    }

    fn read(read: &mut Reader<'_>) -> Self {
        let (external_url, route_prefix) = read.place();
        let features = Features::new(read.text("enable-feature"));
        AlertmanagerOptions {
            config_file: PathBuf::from(read.text("config.file")),
            folder: PathBuf::from(read.text("storage.path")),
            retention: read.go_duration("data.retention"),
            maintenance_interval: read.go_duration("data.maintenance-interval"),
            history: HistoryLimits {
                age: read.duration("history.retention.time"),
                bytes: read.bytes("history.retention.size"),
            },
            silence_limits: SilenceLimits {
                count_max: read.limit("silences.max-silences"),
                bytes_max: read.limit("silences.max-silence-size-bytes"),
            },
            alert_gc_interval: read.go_duration("alerts.gc-interval"),
            alerts_per_name_max: read.limit("alerts.per-alertname-limit"),
            start_delay: read.go_duration("dispatch.start-delay"),
            systemd_socket: read.switch("web.systemd-socket"),
            listen_addresses: read.addresses("web.listen-address"),
            web_config_file: read.path("web.config.file"),
            route_prefix,
            external_url,
            reads_max: read.limit("web.get-concurrency"),
            timeout: Some(read.go_duration("web.timeout")).filter(|timeout| !timeout.is_zero()),
            read_timeout: read.go_duration("web.read-timeout"),
            max_connections: read.number("web.max-connections"),
            features: features.unwrap_or_else(|error| {
                read.note(error);
                Features::default()
            }),
            flags: FlagValues::default(),
        }
    }

    /// Flags that were given and have no effect, and why. One that turns off what is not there is none of them.
    pub(crate) fn without_effect(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let flags = self.flags.without_effect();
        flags.filter(|(flag, _)| *flag != CLUSTER_ADDRESS || !self.flags.get(flag).is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<AlertmanagerOptions, OptionErrors> {
        let line = std::iter::once("alertmanager").chain(words.iter().copied());
        let matches = program().try_get_matches_from(line).expect("valid");
        AlertmanagerOptions::new(FlagValues::from_matches(FLAGS, &matches))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        program().debug_assert();
        let given = options(&[]).expect("defaults");
        assert_eq!(given.retention, Duration::from_secs(120 * 3600));
        assert_eq!(given.timeout, None);
        assert_eq!(given.without_effect().count(), 0);
    }

    #[test]
    fn flags_are_read_as_the_reference_reads_them() {
        let given = options(&[
            "--config.file=a.yml",
            "--web.external-url=http://a.example.org/ops/",
            "--silences.max-silences=-1",
            "--web.timeout=1m30s",
            "--cluster.listen-address=",
            "--cluster.peer=a:1",
            "--cluster.peer=b:1",
            "--enable-feature=classic-mode,group-key-in-metrics",
        ])
        .expect("valid");
        assert_eq!(given.route_prefix, "ops");
        assert_eq!(given.silence_limits.count_max, 0);
        assert_eq!(given.timeout, Some(Duration::from_secs(90)));
        assert_eq!(given.features.syntax, Syntax::Classic);
        assert!(given.features.metric_labels.group_keys);
        let idle: Vec<&str> = given.without_effect().map(|(flag, _)| flag).collect();
        assert_eq!(idle, ["cluster.peer"]);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let error = options(&[
            "--data.retention=5d",
            "--web.external-url=ftp://a",
            "--enable-feature=nosuch",
        ]);
        assert_eq!(
            error.expect_err("wrong").to_string(),
            "--data.retention: \"5d\" is not a duration like 30s, 5m or 1h30m\n\
             --web.external-url: \"ftp://a\" is not a URL that begins with http:// or https://\n\
             unknown option 'nosuch' for --enable-feature"
        );
    }
}

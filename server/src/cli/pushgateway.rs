//! `narthex pushgateway`, or a program that is called so: the command line of a push gateway alone.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Command};
use model::labels::NameScheme;
use remote::gateway::Options;

use super::flags::Kind::{
    Duration as PrometheusDuration, GoDuration, Limit, Number, Repeated, Size, Switch, Text, Word,
};
use super::flags::Standing::{Accepted, Served};
use super::flags::{self, Flag, FlagValues, flags};
use super::options::{OptionErrors, Reader};
use super::{Action, named};
use crate::web::listener::Address;

/// Every flag, in the order of the help text. Names and defaults are the reference's; ours are those of the listener, of
/// the time to live and of bounds.
#[rustfmt::skip]
pub(crate) const FLAGS: &[Flag] = flags! {
    "web.systemd-socket", Switch(false), Served, "Listen on the sockets that systemd hands over (LISTEN_FDS) instead of --web.listen-address.";
    "web.listen-address", Repeated(":9091"), Served, "Address to listen on for pushes and metrics: host:port, :port, or unix:/path, with ?mode=0660 behind it. Can be repeated.";
    "web.config.file", Text(""), Served, "File that turns on TLS, authentication, headers and a limit of requests. A change of it, or of what it names, is in force with the next request.";
    "web.telemetry-path", Text("/metrics"), Served, "Path of the metrics: those that were pushed, and the gateway's own.";
    "web.external-url", Text(""), Served, "URL under which this server is reached from outside. Its path, if any, stands in front of every page.";
    "web.route-prefix", Text(""), Served, "Path in front of every page. Default: the path of --web.external-url.";
    "web.enable-lifecycle", Switch(false), Served, "Allow PUT and POST of /-/quit.";
    "web.enable-admin-api", Switch(false), Served, "Allow PUT of /api/v1/admin/wipe, which deletes everything.";
    "web.read-timeout", GoDuration("5m"), Served, "Longest time for a request to come, whole, from its first byte on; and for an idle connection to stay.";
    "web.max-connections", Number("512"), Served, "Most connections at the same time, over all addresses. The one of least use makes room for another.";
    "persistence.file", Text(""), Served, "Where groups are kept over restarts: in a journal of this name with .journal behind it. Without the flag they are kept in memory only.";
    "persistence.interval", GoDuration("5m"), Accepted("what was pushed is on the disk before it is answered"), "How often groups are written to the disk.";
    "push.disable-consistency-check", Switch(false), Served, "Take what is pushed without holding it against what is there. What does not fit then makes all metrics fail.";
    "push.enable-utf8-names", Switch(false), Served, "Allow all letters in names of metrics and labels.";
    "push.ttl", PrometheusDuration("0s"), Served, "How long a group lives after its last push; a push may say another time by the parameter ttl or the header X-Push-TTL. 0s for ever.";
    "push.max-groups", Limit("100000"), Served, "Most groups; further ones are refused with 429. 0 for no limit.";
    "push.max-bytes", Size("256MB"), Served, "Most memory that all groups may take, about; what would need more is refused with 429. 0 for no limit.";
    "push.max-body-size", Size("16MB"), Served, "Largest body of a push, inflated.";
    "log.level", Word("info", &["debug", "info", "warn", "error"]), Served, "Least severity to log: debug, info, warn or error.";
    "log.format", Word("logfmt", &["logfmt", "json"]), Served, "Form of log lines: logfmt or json.";
};

const ABOUT: &str = "Takes metrics that are pushed and shows them to whoever scrapes: a push gateway.";

/// What a gateway alone was told.
#[derive(Clone, Debug)]
pub(crate) struct PushgatewayOptions {
    pub(crate) systemd_socket: bool,
    pub(crate) listen_addresses: Vec<Address>,
    pub(crate) web_config_file: Option<PathBuf>,
    pub(crate) telemetry_path: String,
    pub(crate) external_url: Option<url::Url>,
    /// Without slashes at its ends; the external URL's path where none is given.
    pub(crate) route_prefix: String,
    pub(crate) lifecycle: bool,
    pub(crate) admin: bool,
    pub(crate) read_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) persistence_file: Option<PathBuf>,
    pub(crate) gateway: Options,
    /// The flags as they were given.
    pub(crate) flags: FlagValues,
}

/// The program of this name.
pub(super) fn program() -> Command {
    flags::add_to(FLAGS, named("pushgateway").about(ABOUT))
}

/// The command of ours.
pub(super) fn command() -> Command {
    flags::add_to(
        FLAGS,
        Command::new("pushgateway").about("Serve as a push gateway alone"),
    )
}

/// What a command line asks for.
pub(super) fn action(matches: &ArgMatches) -> Action {
    Action::Pushgateway(FlagValues::from_matches(FLAGS, matches))
}

/// Reads the flags that are the same of a gateway alone and inside.
pub(super) fn gateway_options(read: &Reader<'_>) -> Options {
    let ttl_ms = i64::try_from(read.duration("push.ttl").as_millis()).unwrap_or(i64::MAX);
    let bytes = |flag| usize::try_from(read.bytes(flag)).unwrap_or(usize::MAX);
    Options {
        check: !read.switch("push.disable-consistency-check"),
        names: match read.switch("push.enable-utf8-names") {
            true => NameScheme::Utf8,
            false => NameScheme::Legacy,
        },
        ttl_ms: Some(ttl_ms).filter(|ttl_ms| *ttl_ms > 0),
        groups_max: read.limit("push.max-groups"),
        bytes_max: bytes("push.max-bytes"),
        body_bytes_max: bytes("push.max-body-size"),
        ..Options::default()
    }
}

impl PushgatewayOptions {
    /// From the flags.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn new(flags: FlagValues) -> Result<Self, OptionErrors> {
        let options = Reader::all(&flags, PushgatewayOptions::read)?;
        Ok(PushgatewayOptions { flags, ..options })
    }

    fn read(read: &mut Reader<'_>) -> Self {
        let (external_url, route_prefix) = read.place();
        PushgatewayOptions {
            systemd_socket: read.switch("web.systemd-socket"),
            listen_addresses: read.addresses("web.listen-address"),
            web_config_file: read.path("web.config.file"),
            telemetry_path: read.text("web.telemetry-path").to_owned(),
            route_prefix,
            external_url,
            lifecycle: read.switch("web.enable-lifecycle"),
            admin: read.switch("web.enable-admin-api"),
            read_timeout: read.go_duration("web.read-timeout"),
            max_connections: read.number("web.max-connections"),
            persistence_file: read.path("persistence.file"),
            gateway: gateway_options(read),
            flags: FlagValues::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<PushgatewayOptions, OptionErrors> {
        let line = std::iter::once("pushgateway").chain(words.iter().copied());
        let matches = program().try_get_matches_from(line).expect("valid");
        PushgatewayOptions::new(FlagValues::from_matches(FLAGS, &matches))
    }

    #[test]
    fn flags_are_read_as_the_reference_reads_them() {
        program().debug_assert();
        let given = options(&[]).expect("defaults");
        assert!(given.gateway.check && !given.admin && !given.lifecycle);
        assert_eq!(given.gateway.names, NameScheme::Legacy);
        let default = Options::default();
        assert_eq!(
            (
                given.gateway.ttl_ms,
                given.gateway.groups_max,
                given.gateway.bytes_max,
                given.gateway.body_bytes_max
            ),
            (
                None,
                default.groups_max,
                default.bytes_max,
                default.body_bytes_max
            )
        );
        let given = options(&[
            "--web.external-url=http://a.example.org/push/",
            "--persistence.file=/var/lib/push",
            "--persistence.interval=1s",
            "--push.enable-utf8-names",
            "--push.disable-consistency-check",
            "--push.ttl=1d",
            "--push.max-groups=5",
        ])
        .expect("valid");
        assert_eq!(given.route_prefix, "push");
        assert_eq!(given.gateway.ttl_ms, Some(86_400_000));
        assert!(!given.gateway.check && given.gateway.names == NameScheme::Utf8);
        let idle: Vec<&str> = given.flags.without_effect().map(|(flag, _)| flag).collect();
        assert_eq!(idle, ["persistence.interval"]);
        let error = options(&["--web.external-url=ftp://a"])
            .expect_err("wrong")
            .to_string();
        assert!(error.contains("a URL that begins with http://"), "{error}");
    }
}

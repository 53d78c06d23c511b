//! The server's flags: one list that makes the parser, the help text, the words at the start and `/api/v1/status/flags`.
//!
//! Names, defaults and the `--[no-]name` form of switches are the reference's. What a flag promises stands beside it: it
//! is served, or accepted without effect; help and log say which, and a test holds the list against what the
//! server reads.

use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use yaml::Bytes;

/// A flag of the server.
pub(crate) struct Flag {
    /// Name without the dashes.
    pub(crate) name: &'static str,
    /// `no-name`: what turns a switch off.
    negated: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// What the server makes of it.
    pub(crate) standing: Standing,
    /// One paragraph.
    help: &'static str,
}

/// What a flag takes; each with its default.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A switch; `--no-name` turns it off.
    Switch(bool),
    /// Any text.
    Text(&'static str),
    /// A text that may be given several times.
    Repeated(&'static str),
    /// A whole number, `5e7` too.
    Number(&'static str),
    /// A number above 0, at most 1.
    Share(&'static str),
    /// A duration like `5m`.
    Duration(&'static str),
    /// A size like `512MB`.
    Size(&'static str),
    /// One of some words.
    Word(&'static str, &'static [&'static str]),
    /// A duration as Go writes it, like `1h30m`.
    GoDuration(&'static str),
    /// A whole number; below 1 for no limit.
    Limit(&'static str),
}

/// What the server makes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has its effect.
    Served,
    /// Existing command lines have it; it has no effect here, and why.
    Accepted(&'static str),
}

use Kind::{Duration, GoDuration, Limit, Number, Repeated, Share, Size, Switch, Text, Word};
use Standing::{Accepted, Served};

impl Flag {
    pub(super) const fn new(
        name: &'static str,
        negated: &'static str,
        kind: Kind,
        standing: Standing,
        help: &'static str,
    ) -> Self {
        Flag {
            name,
            negated,
            kind,
            standing,
            help,
        }
    }
}

macro_rules! flags {
    ($($name:literal, $kind:expr, $standing:expr, $help:literal;)*) => {
        &[$(Flag::new($name, concat!("no-", $name), $kind, $standing, $help)),*]
    };
}
pub(super) use flags;

/// Every flag of `narthex serve`, in the order of the help text.
#[rustfmt::skip]
pub(crate) const FLAGS: &[Flag] = flags! {
    "config.file", Text("prometheus.yml"), Served, "Configuration file. Without the flag, and without a prometheus.yml here, a built-in configuration scrapes this server itself.";
    "config.auto-reload", Switch(false), Served, "Reload the configuration when its files change.";
    "config.auto-reload-interval", Duration("30s"), Served, "How often to look for changed files under --config.auto-reload.";
    "web.listen-address", Repeated("0.0.0.0:9090"), Served, "Address to listen on for pages, API and metrics: host:port, :port, or unix:/path, with ?mode=0660 behind it. Can be repeated.";
    "web.systemd-socket", Switch(false), Served, "Listen on the sockets that systemd hands over (LISTEN_FDS) instead of --web.listen-address.";
    "web.config.file", Text(""), Served, "File that turns on TLS, authentication, headers and a limit of requests. A change of it, or of what it names, is in force with the next request.";
    "web.read-timeout", Duration("5m"), Served, "Longest time for a request to come, whole, from its first byte on; and for an idle connection to stay.";
    "web.max-connections", Number("512"), Served, "Most connections at the same time, over all addresses. The one of least use makes room for another.";
    "web.max-notifications-subscribers", Number("16"), Accepted("live notifications are not in this version"), "Most subscribers of live notifications at the same time.";
    "web.external-url", Text(""), Served, "URL under which this server is reached from outside; its path, if any, stands in front of every page.";
    "web.route-prefix", Text(""), Served, "Path in front of every page. Default: the path of --web.external-url.";
    "web.user-assets", Text(""), Served, "Folder of static files, served under /user.";
    "web.enable-lifecycle", Switch(false), Served, "Allow POST /-/reload and /-/quit.";
    "web.enable-admin-api", Switch(false), Served, "Allow the API's administrative actions: deleting series, snapshots.";
    "web.enable-remote-write-receiver", Switch(false), Served, "Accept samples by remote write, versions 1.0 and 2.0, at /api/v1/write.";
    "web.remote-write-receiver.accepted-protobuf-messages", Repeated("prometheus.WriteRequest,io.prometheus.write.v2.Request"), Served, "Remote write messages to accept: one or both of the default's, with a comma. Can be repeated.";
    "web.enable-otlp-receiver", Switch(false), Served, "Accept metrics by OTLP over HTTP: POST /api/v1/otlp/v1/metrics.";
    "web.otlp-grpc-listen-address", Text(""), Served, "Address to accept metrics by OTLP over gRPC on, as in :4317; host:port, :port or unix:/path. --web.config.file guards it as it does the others. Default: none.";
    "web.enable-influx-receiver", Switch(false), Served, "Accept lines of InfluxDB's protocol, as Telegraf writes them: /write, /api/v2/write and /influx/write.";
    "web.enable-import", Switch(false), Served, "Accept samples in the text format, with times of their own, at /api/v1/import/prometheus. --web.enable-admin-api allows it, too.";
    "web.enable-push-gateway", Switch(false), Served, "Take what jobs push under /metrics/job/…, keep it below --storage.tsdb.path, and scrape it: a push gateway inside this server.";
    "push.disable-consistency-check", Switch(false), Served, "Take what is pushed to the push gateway without holding it against what is there. What does not fit then makes all scrapes of it fail.";
    "push.enable-utf8-names", Switch(false), Served, "Allow all letters in names of metrics and labels that are pushed to the push gateway.";
    "push.ttl", Duration("0s"), Served, "How long a group of the push gateway lives after its last push; a push may say another time by the parameter ttl or the header X-Push-TTL. 0s for ever.";
    "push.max-groups", Limit("100000"), Served, "Most groups of the push gateway; further ones are refused with 429. 0 for no limit.";
    "push.max-bytes", Size("256MB"), Served, "Most memory that all groups of the push gateway may take, about; what would need more is refused with 429. 0 for no limit.";
    "push.max-body-size", Size("16MB"), Served, "Largest body of a push to the push gateway, inflated.";
    "web.console.templates", Text("consoles"), Accepted("consoles are not served"), "Folder of console templates.";
    "web.console.libraries", Text("console_libraries"), Accepted("consoles are not served"), "Folder of console libraries.";
    "web.page-title", Text("Narthex"), Served, "Title of the pages.";
    "web.cors.origin", Text(".*"), Served, "Regular expression of the origins that may call the API from a browser; it must match as a whole.";
    "web.search.max-limit", Number("10000"), Accepted("the search API is not in this version"), "Largest limit that the search API takes; 0 for none.";
    "storage.tsdb.path", Text("data/"), Served, "Folder of the data.";
    "storage.tsdb.retention.time", Duration("0s"), Served, "How long to keep samples: 15d unless --storage.tsdb.retention.size is set. Units: y, w, d, h, m, s, ms. The configuration file's storage.tsdb.retention.time goes before it.";
    "storage.tsdb.retention.size", Size("0B"), Served, "Most bytes to keep in blocks, as in 512MB. The configuration file's storage.tsdb.retention.size goes before it.";
    "storage.tsdb.no-lockfile", Switch(false), Served, "Do not lock the data folder.";
    "storage.tsdb.head-chunks-write-queue-size", Number("0"), Accepted("full chunks always leave the way of samples through a queue"), "Chunks that may wait to be written.";
    "storage.tsdb.min-block-duration", Duration("2h"), Served, "Shortest time that a block covers. For tests.";
    "storage.tsdb.max-block-duration", Duration("0s"), Served, "Longest time that a block covers: 10% of the retention time, at most 31d.";
    "storage.tsdb.samples-per-chunk", Number("120"), Served, "Samples that a chunk aims at.";
    "storage.tsdb.max-series", Number("0"), Served, "Series that may be active: known ones go on, new ones are refused, counted and named in the log. 0 for no limit.";
    "storage.tsdb.wal-segment-size", Size("0B"), Served, "Size of a segment of the write-ahead log; 0 means 128MB.";
    "storage.tsdb.wal-compression", Switch(true), Served, "Compress the write-ahead log.";
    "storage.tsdb.wal-compression-type", Word("snappy", &["snappy", "zstd"]), Served, "How to compress the write-ahead log: snappy or zstd.";
    "storage.tsdb.wal-sync-interval", Duration("1s"), Served, "How often the write-ahead log is forced to disk: what a loss of power can cost.";
    "storage.tsdb.head-snapshot-interval", Duration("2m"), Served, "How often the head is written beside the write-ahead log, where that has grown: a start after a crash replays no more of the log. 0s for never.";
    "storage.tsdb.allow-overlapping-compaction", Switch(true), Served, "Merge blocks that overlap.";
    "storage.tsdb.delay-compact-file.path", Text(""), Served, "JSON file that lists the blocks that were uploaded to a bucket, as Thanos' shipper writes it: blocks of the first level are merged only once they are in it.";
    "storage.tsdb.delayed-compaction.max-percent", Number("10"), Accepted("a block is written as soon as the head is full"), "Longest delay of a block, in percent of its range.";
    "storage.tsdb.block-reload-interval", Duration("1m"), Served, "How often to look for blocks that were put into the data folder or taken out of it.";
    "storage.tsdb.max-block-chunk-segment-size", Size("0B"), Accepted("chunk files of blocks have up to 512MB"), "Most bytes of a chunk file.";
    "storage.remote.flush-deadline", Duration("1m"), Served, "How long stopping waits for what remote write is sending. What is left is sent after the next start.";
    "storage.remote.spool.size", Size("8GB"), Served, "Most bytes of the write-ahead log to keep for a receiver of remote write that is slow or away.";
    "storage.remote.spool.age", Duration("1d"), Served, "How long to keep the write-ahead log for a receiver of remote write that is slow or away.";
    "storage.remote.read-sample-limit", Number("50000000"), Accepted("remote read is not in this version"), "Most samples that one remote read returns.";
    "storage.remote.read-concurrent-limit", Number("10"), Accepted("remote read is not in this version"), "Most remote reads at the same time.";
    "storage.remote.read-max-bytes-in-frame", Number("1048576"), Accepted("remote read is not in this version"), "Largest frame of a streamed remote read.";
    "rules.alert.for-outage-tolerance", Duration("1h"), Served, "Longest outage after which the `for` state of alerts is restored.";
    "rules.alert.for-grace-period", Duration("10m"), Served, "Shortest time between a restart and a restored alert's firing, for alerts with a longer `for`.";
    "rules.alert.resend-delay", Duration("1m"), Served, "Shortest time before an alert is sent again.";
    "rules.max-concurrent-evals", Number("4"), Served, "Most rules evaluated beside others of their group under --enable-feature=concurrent-rule-eval.";
    "scrape.adjust-timestamps", Switch(true), Served, "Move timestamps of scrapes by up to the tolerance, so that they lie at even distances and compress better.";
    "scrape.timestamp-tolerance", Duration("2ms"), Served, "How far timestamps of scrapes may be moved.";
    "scrape.discovery-reload-interval", Duration("5s"), Served, "Longest time for which changes of the targets are collected; while they cost less than a fiftieth of a core, they are shown sooner.";
    "alertmanager.config.file", Text(""), Served, "Configuration file of an Alertmanager inside this server: its rules feed it, its API lies below /api/v2 and /alertmanager/api/v2, its data is below --storage.tsdb.path. It may stand in the configuration file instead, under the key alertmanager.";
    "alertmanager.notification-queue-capacity", Number("10000"), Served, "Alerts that may wait for one Alertmanager.";
    "alertmanager.notification-batch-size", Number("256"), Served, "Most alerts in one request.";
    "alertmanager.drain-notification-queue-on-shutdown", Switch(true), Served, "Send what waits before stopping.";
    "alertmanager.history.retention.time", Duration("15d"), Served, "How long the Alertmanager inside remembers what happened to alerts, notifications and silences, for /api/v2/history; 0s for no history.";
    "alertmanager.history.retention.size", Size("64MB"), Served, "Most bytes that this history takes on the disk; 0 for no history.";
    "query.lookback-delta", Duration("5m"), Served, "How far back a sample may lie and still count as now.";
    "query.timeout", Duration("2m"), Served, "Longest time that a query may take.";
    "query.max-concurrency", Number("20"), Served, "Most queries at the same time.";
    "query.max-samples", Number("50000000"), Served, "Most samples that one query may hold.";
    "query.max-memory", Text(""), Served, "Most memory that the buffers of one query may take: a size like 2GB, a share like 25% of the machine's or container's memory, or 0 for no limit. A query that needs more fails alone. Default: 25%.";
    "query.max-total-memory", Text(""), Served, "Most memory that the buffers of all queries may take together, answers that are being sent included; as --query.max-memory. Default: 50%.";
    "enable-feature", Repeated(""), Served, "Comma-separated names of features to turn on: auto-reload-config, created-timestamp-zero-ingestion, exemplar-storage, extra-scrape-metrics, metadata-wal-records, promql-binop-fill-modifiers, promql-delayed-name-removal, promql-experimental-functions, promql-extended-range-selectors, promql-per-step-stats, st-storage, type-and-unit-labels, use-start-timestamps, xor2-encoding. What the reference's others do here is said at the start.";
    "agent", Switch(false), Served, "Be an agent: scrape, take what is pushed, and send it on by remote_write. There are no queries, rules and alerts; flags of the store, of queries, of rules and of alerts are refused.";
    "storage.agent.path", Text("data-agent/"), Served, "Folder of an agent's data.";
    "storage.agent.wal-segment-size", Size("0B"), Served, "Size of a segment of an agent's log, between 10MB and 256MB; 0 means 128MB.";
    "storage.agent.wal-compression", Switch(true), Served, "Compress an agent's log.";
    "storage.agent.wal-compression-type", Word("snappy", &["snappy", "zstd"]), Served, "How to compress an agent's log: snappy or zstd.";
    "storage.agent.wal-truncate-frequency", Duration("0s"), Served, "How often an agent forgets series that have ended and cuts its log behind what was delivered; 0s means 2h. A log that has grown long is cut earlier.";
    "storage.agent.retention.min-time", Duration("5m"), Served, "Samples younger than this stay in an agent's log when it is cut, and their series stay known.";
    "storage.agent.retention.max-time", Duration("4h"), Served, "Where it is given: how long an agent keeps what was not delivered, in place of --storage.remote.spool.age.";
    "storage.agent.max-series", Number("0"), Served, "Series that an agent may know: known ones go on, new ones are refused. 0 for no limit.";
    "storage.agent.checkpoint-from-in-memory-series", Switch(false), Accepted("labels are not kept in memory; a checkpoint copies records"), "Write an agent's checkpoints from memory.";
    "storage.agent.checkpoint-batch-size", Number("1000"), Accepted("a checkpoint copies records as they are"), "Entries of an agent's checkpoint that are written together.";
    "storage.agent.no-lockfile", Switch(false), Served, "Do not lock an agent's folder.";
    "auto-gomaxprocs", Switch(true), Accepted("there is no Go runtime to steer"), "Follow the processor quota of the container.";
    "auto-gomemlimit", Switch(true), Accepted("there is no Go runtime to steer"), "Follow the memory limit of the container.";
    "auto-gomemlimit.ratio", Share("0.9"), Accepted("there is no Go runtime to steer"), "Share of the memory that the runtime may use.";
    "auto-gomemlimit.refresh-interval", Duration("0s"), Accepted("there is no Go runtime to steer"), "How often to look for another memory limit.";
    "log.level", Word("info", &["debug", "info", "warn", "error"]), Served, "Least severity to log: debug, info, warn or error.";
    "log.format", Word("logfmt", &["logfmt", "json"]), Served, "Form of log lines: logfmt or json.";
};

/// What a process with the server's flags is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A server.
    Server,
    /// An agent: it scrapes and sends on.
    Agent,
}

/// Beginnings of the names of flags that a server alone has a use for.
const OF_SERVER: [&str; 6] = [
    "storage.tsdb.",
    "storage.remote.read-",
    "rules.",
    "alertmanager.",
    "query.",
    "web.search.",
];
/// Those of an agent's.
const OF_AGENT: [&str; 1] = ["storage.agent."];

/// Flags of the reference's older versions, and what they are called now.
const RENAMED: [(&str, &str); 1] = [("storage.tsdb.retention", "storage.tsdb.retention.time")];

impl Kind {
    /// Its default, as text.
    pub(crate) fn default_text(self) -> &'static str {
        match self {
            Switch(true) => "true",
            Switch(false) => "false",
            Text(text)
            | Repeated(text)
            | Number(text)
            | Share(text)
            | Duration(text)
            | Size(text)
            | GoDuration(text)
            | Limit(text)
            | Word(text, _) => text,
        }
    }

    /// What the help calls the value.
    fn value_name(self) -> &'static str {
        match self {
            Number(_) | Share(_) | Limit(_) => "NUMBER",
            Duration(_) | GoDuration(_) => "DURATION",
            Size(_) => "SIZE",
            Switch(_) | Text(_) | Repeated(_) | Word(..) => "VALUE",
        }
    }

    /// A value in the form in which the API shows it.
    ///
    /// # Errors
    /// What would have done.
    fn normalize(self, text: &str) -> Result<String, &'static str> {
        match self {
            Switch(_) | Text(_) | Repeated(_) => Ok(text.to_owned()),
            Number(_) => match parse_number(text) {
                Some(number) => Ok(number.to_string()),
                None => Err("a whole number"),
            },
            Limit(_) => match text.parse::<i64>() {
                Ok(number) => Ok(number.to_string()),
                Err(_) => Err("a whole number"),
            },
            Share(_) => match text.parse::<f64>() {
                Ok(share) if share > 0.0 && share <= 1.0 => Ok(text.to_owned()),
                _ => Err("a number greater than 0 and at most 1"),
            },
            Duration(_) => match model::duration::parse_duration(text) {
                Ok(ms) => Ok(model::duration::format_duration(ms)),
                Err(_) => Err("a duration like 30s, 5m or 15d"),
            },
            GoDuration(_) => match receivers::GoDuration::parse(text) {
                Some(duration) => Ok(duration.to_string()),
                None => Err("a duration like 30s, 5m or 1h30m"),
            },
            Size(_) => match Bytes::parse(text).filter(|bytes| bytes.0 >= 0) {
                Some(bytes) => Ok(bytes.to_string()),
                None => Err("a size like 512MB or 10GB"),
            },
            Word(_, words) if words.contains(&text) => Ok(text.to_owned()),
            Word(_, ["debug", ..]) => Err("one of debug, info, warn, error"),
            Word(_, ["logfmt", ..]) => Err("logfmt or json"),
            Word(..) => Err("snappy or zstd"),
        }
    }
}

/// Compat: `5e7` is a whole number, since the reference reads its numbers as floats (`flags_take_the_references_forms`).
pub(crate) fn parse_number(text: &str) -> Option<usize> {
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        let whole = number >= 0.0 && number.fract() == 0.0 && number < 2f64.powi(53);
        whole.then_some(number as usize)
    })
}

/// Adds flags to a command.
pub(crate) fn add_to(flags: &'static [Flag], mut command: Command) -> Command {
    for flag in flags {
        let arg = Arg::new(flag.name).long(flag.name).help(help_text(flag));
        command = match flag.kind {
            Switch(_) => {
                let off = Arg::new(flag.negated)
                    .long(flag.negated)
                    .hide(true)
                    .action(ArgAction::SetTrue);
                command
                    .arg(arg.action(ArgAction::SetTrue).overrides_with(flag.negated))
                    .arg(off.overrides_with(flag.name))
            }
            Repeated(_) => command.arg(arg.value_name("VALUE").action(ArgAction::Append)),
            kind => command.arg(
                arg.value_name(kind.value_name())
                    .action(ArgAction::Set)
                    .overrides_with(flag.name),
            ),
        };
    }
    command
}

fn help_text(flag: &Flag) -> String {
    let mut text = flag.help.to_owned();
    match flag.standing {
        Served => {}
        Accepted(why) => text.push_str(&format!(" Accepted without effect: {why}.")),
    }
    match (flag.kind, flag.kind.default_text()) {
        (Switch(true), _) => text.push_str(&format!(" On by default; --{} turns it off.", flag.negated)),
        (Switch(false), _) | (_, "" | "0s" | "0B") => {}
        (_, default) => text.push_str(&format!(" [default: {default}]")),
    }
    text
}

/// Puts the flag that was probably meant into the message about an unknown one.
pub(super) fn suggest(flags: &'static [Flag], mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let given = given.trim_start_matches('-').split('=').next().unwrap_or("");
    let renamed = RENAMED.iter().find(|(old, _)| *old == given).map(|(_, now)| *now);
    let names = flags.iter().flat_map(|flag| match flag.kind {
        Switch(_) => vec![flag.name, flag.negated],
        _ => vec![flag.name],
    });
    if let Some(meant) = renamed.or_else(|| model::nearest::nearest(given, names)) {
        let meant = ContextValue::String(format!("--{meant}"));
        error.insert(ContextKind::SuggestedArg, meant);
    }
    error
}

/// The flags as they were given.
#[derive(Clone, Default)]
pub(crate) struct FlagValues {
    flags: &'static [Flag],
    values: Vec<(&'static str, String, bool)>,
}

impl fmt::Debug for FlagValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.values).finish()
    }
}

impl FlagValues {
    /// Takes those of the list `flags` out of what was parsed.
    pub(crate) fn from_matches(flags: &'static [Flag], matches: &ArgMatches) -> Self {
        let values = flags.iter().map(|flag| {
            let given = matches.value_source(flag.name) == Some(clap::parser::ValueSource::CommandLine);
            let default = flag.kind.default_text();
            let value = match flag.kind {
                Switch(default) => {
                    let (on, off) = (matches.get_flag(flag.name), matches.get_flag(flag.negated));
                    (on || default && !off).to_string()
                }
                Repeated(_) => match matches.get_many::<String>(flag.name) {
                    Some(values) => values.map(String::as_str).collect::<Vec<_>>().join(","),
                    None => default.to_owned(),
                },
                kind => {
                    let text = matches
                        .get_one::<String>(flag.name)
                        .map_or(default, String::as_str);
                    // What is not of its form is named by `problems`, as it was given.
                    kind.normalize(text).unwrap_or_else(|_| text.to_owned())
                }
            };
            (flag.name, value, given)
        });
        FlagValues {
            flags,
            values: values.collect(),
        }
    }

    /// Every flag of the list at its default.
    pub(crate) fn default_values(flags: &'static [Flag]) -> Self {
        let values = flags
            .iter()
            .map(|flag| (flag.name, flag.kind.default_text().to_owned(), false));
        FlagValues {
            flags,
            values: values.collect(),
        }
    }

    /// Values that are not of their flag's form: the flag, the value, and what would have done.
    pub(crate) fn malformed(&self) -> impl Iterator<Item = (&'static str, &str, &'static str)> {
        self.flags.iter().filter_map(|flag| {
            let value = self.get(flag.name);
            let expected = flag.kind.normalize(value).err()?;
            Some((flag.name, value, expected))
        })
    }

    /// What the flags ask for.
    pub(crate) fn mode(&self) -> Mode {
        match self.get("agent") {
            "true" => Mode::Agent,
            _ => Mode::Server,
        }
    }

    /// Flags that were given and that a process of this kind has no use for.
    pub(crate) fn out_of_mode(&self, mode: Mode) -> Vec<&'static str> {
        let others: &[&str] = match mode {
            Mode::Server => &OF_AGENT,
            Mode::Agent => &OF_SERVER,
        };
        let given = self.values.iter().filter(|(_, _, given)| *given);
        given
            .map(|(name, ..)| *name)
            .filter(|name| others.iter().any(|other| name.starts_with(other)))
            .collect()
    }

    /// Flags that were given and have no effect, and why.
    pub(crate) fn without_effect(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.flags.iter().filter_map(|flag| match flag.standing {
            Accepted(why) if self.is_given(flag.name) => Some((flag.name, why)),
            _ => None,
        })
    }

    /// Value of a flag; every name asked for is in the list.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.values
            .iter()
            .find(|(n, ..)| *n == name)
            .map_or("", |(_, value, _)| value)
    }

    /// Whether a flag was given.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values.iter().any(|(n, _, given)| *n == name && *given)
    }

    /// All of them, for the API.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value, _)| (*name, value.as_str()))
    }

    /// Sets a value, as the demo does for its own.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.show(name, value);
        if let Some(entry) = self.values.iter_mut().find(|(n, ..)| *n == name) {
            entry.2 = true;
        }
    }

    /// Sets what is shown of a flag.
    pub(crate) fn show(&mut self, name: &'static str, value: impl Into<String>) {
        if let Some(entry) = self.values.iter_mut().find(|(n, ..)| *n == name) {
            entry.1 = value.into();
        }
    }
}

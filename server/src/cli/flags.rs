//! The server's flags: one list that makes the parser, the help text and `/api/v1/status/flags`.
//!
//! Names, defaults and the `--[no-]name` form of switches are the reference's. Flags that steer Go's runtime are
//! accepted, so that existing command lines go on working, and do nothing; their help says so.

use clap::{Arg, ArgAction, ArgMatches, Command};

/// A flag of the server.
pub(crate) struct Flag {
    /// Name without the dashes.
    pub(crate) name: &'static str,
    /// `no-name`: what turns a switch off.
    negated: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// One paragraph.
    pub(crate) help: &'static str,
}

/// What a flag takes.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A switch, with its default; `--no-name` turns it off.
    Switch(bool),
    /// A text, with its default.
    Text(&'static str),
    /// A text that may be given several times, with its default.
    Repeated(&'static str),
}

use Kind::{Repeated, Switch, Text};

macro_rules! flags {
    ($($name:literal, $kind:expr, $help:literal;)*) => { &[$(Flag { name: $name, negated: concat!("no-", $name), kind: $kind, help: $help }),*] };
}

/// Every flag of `narthex serve`, in the order of the help text.
#[rustfmt::skip]
pub(crate) const FLAGS: &[Flag] = flags! {
    "config.file", Text("prometheus.yml"), "Configuration file. Without the flag, and without a prometheus.yml here, a built-in configuration scrapes this server itself.";
    "config.auto-reload", Switch(false), "Reload the configuration when its files change.";
    "config.auto-reload-interval", Text("30s"), "How often to look for changed files under --config.auto-reload.";
    "web.listen-address", Repeated("0.0.0.0:9090"), "Address to listen on for pages, API and metrics. Can be repeated.";
    "web.config.file", Text(""), "File that turns on TLS and authentication (not in this version: the server refuses to start with it).";
    "web.read-timeout", Text("5m"), "Longest time to wait for a request, and to keep an idle connection.";
    "web.max-connections", Text("512"), "Most connections at the same time, over all addresses.";
    "web.max-notifications-subscribers", Text("16"), "Most subscribers of live notifications at the same time.";
    "web.external-url", Text(""), "URL under which this server is reached from outside; its path, if any, stands in front of every page.";
    "web.route-prefix", Text(""), "Path in front of every page. Default: the path of --web.external-url.";
    "web.user-assets", Text(""), "Folder of static files, served under /user.";
    "web.enable-lifecycle", Switch(false), "Allow POST /-/reload and /-/quit.";
    "web.enable-admin-api", Switch(false), "Allow the API's administrative actions: deleting series, snapshots.";
    "web.enable-remote-write-receiver", Switch(false), "Accept samples by remote write (not in this version).";
    "web.remote-write-receiver.accepted-protobuf-messages", Repeated("prometheus.WriteRequest,io.prometheus.write.v2.Request"), "Remote write messages to accept.";
    "web.enable-otlp-receiver", Switch(false), "Accept metrics by OTLP (not in this version).";
    "web.console.templates", Text("consoles"), "Folder of console templates (accepted; consoles are not served).";
    "web.console.libraries", Text("console_libraries"), "Folder of console libraries (accepted; consoles are not served).";
    "web.page-title", Text("Narthex"), "Title of the pages.";
    "web.cors.origin", Text(".*"), "Regular expression of the origins that may call the API from a browser; it must match as a whole.";
    "web.search.max-limit", Text("10000"), "Largest limit that the search API takes.";
    "storage.tsdb.path", Text("data/"), "Folder of the data.";
    "storage.tsdb.retention.time", Text(""), "How long to keep samples: 15d unless --storage.tsdb.retention.size is set. Units: y, w, d, h, m, s, ms. The configuration file's storage.tsdb.retention.time goes before it.";
    "storage.tsdb.retention.size", Text(""), "Most bytes to keep in blocks, as in 512MB. The configuration file's storage.tsdb.retention.size goes before it.";
    "storage.tsdb.no-lockfile", Switch(false), "Do not lock the data folder.";
    "storage.tsdb.head-chunks-write-queue-size", Text("0"), "Accepted; full chunks always leave the way of samples through a queue.";
    "storage.tsdb.min-block-duration", Text("2h"), "Shortest time that a block covers. For tests.";
    "storage.tsdb.max-block-duration", Text(""), "Longest time that a block covers: 10% of the retention time, at most 31d.";
    "storage.tsdb.samples-per-chunk", Text("120"), "Samples that a chunk aims at.";
    "storage.tsdb.wal-segment-size", Text("0B"), "Size of a segment of the write-ahead log; 0 means 128MB.";
    "storage.tsdb.wal-compression", Switch(true), "Compress the write-ahead log.";
    "storage.tsdb.wal-compression-type", Text("snappy"), "How to compress the write-ahead log: snappy or zstd.";
    "storage.tsdb.wal-sync-interval", Text("1s"), "How often the write-ahead log is forced to disk: what a loss of power can cost.";
    "storage.tsdb.head-snapshot-interval", Text("1m"), "How often the head is written beside the write-ahead log, where that has grown: a start after a crash replays no more of the log. 0s for never.";
    "storage.tsdb.allow-overlapping-compaction", Switch(true), "Merge blocks that overlap.";
    "storage.tsdb.delay-compact-file.path", Text(""), "JSON file that lists the blocks that were uploaded to a bucket, as Thanos' shipper writes it: blocks of the first level are merged only once they are in it.";
    "storage.tsdb.delayed-compaction.max-percent", Text("10"), "Accepted; a block is written as soon as the head is full.";
    "storage.tsdb.block-reload-interval", Text("1m"), "How often to look for blocks that were put into the data folder or taken out of it.";
    "storage.tsdb.max-block-chunk-segment-size", Text(""), "Accepted; chunk files of blocks have up to 512MB.";
    "storage.remote.flush-deadline", Text("1m"), "How long stopping waits for remote write (accepted).";
    "storage.remote.read-sample-limit", Text("50000000"), "Most samples that one remote read returns (accepted).";
    "storage.remote.read-concurrent-limit", Text("10"), "Most remote reads at the same time (accepted).";
    "storage.remote.read-max-bytes-in-frame", Text("1048576"), "Largest frame of a streamed remote read (accepted).";
    "rules.alert.for-outage-tolerance", Text("1h"), "Longest outage after which the `for` state of alerts is restored.";
    "rules.alert.for-grace-period", Text("10m"), "Shortest time between a restart and a restored alert's firing, for alerts with a longer `for`.";
    "rules.alert.resend-delay", Text("1m"), "Shortest time before an alert is sent again.";
    "rules.max-concurrent-evals", Text("4"), "Most independent rules evaluated at the same time.";
    "scrape.adjust-timestamps", Switch(true), "Move timestamps of scrapes by up to the tolerance, so that they lie at even distances and compress better.";
    "scrape.timestamp-tolerance", Text("2ms"), "How far timestamps of scrapes may be moved.";
    "scrape.discovery-reload-interval", Text("5s"), "Shortest time between two changes of the targets.";
    "alertmanager.notification-queue-capacity", Text("10000"), "Alerts that may wait for one Alertmanager.";
    "alertmanager.notification-batch-size", Text("256"), "Most alerts in one request.";
    "alertmanager.drain-notification-queue-on-shutdown", Switch(true), "Send what waits before stopping.";
    "query.lookback-delta", Text("5m"), "How far back a sample may lie and still count as now.";
    "query.timeout", Text("2m"), "Longest time that a query may take.";
    "query.max-concurrency", Text("20"), "Most queries at the same time.";
    "query.max-samples", Text("50000000"), "Most samples that one query may hold.";
    "query.max-memory", Text(""), "Most memory that the buffers of one query may take: a size like 2GB, a share like 25% of the machine's or container's memory, or 0 for no limit. A query that needs more fails alone. Default: 25%.";
    "query.max-total-memory", Text(""), "Most memory that the buffers of all queries may take together, answers that are being sent included; as --query.max-memory. Default: 50%.";
    "enable-feature", Repeated(""), "Comma-separated names of features to turn on: promql-experimental-functions, promql-delayed-name-removal, promql-extended-range-selectors, promql-binop-fill-modifiers, exemplar-storage, and the reference's others.";
    "agent", Switch(false), "Agent mode (not in this version: the server refuses to start with it).";
    "auto-gomaxprocs", Switch(true), "Accepted; there is no Go runtime to steer.";
    "auto-gomemlimit", Switch(true), "Accepted; there is no Go runtime to steer.";
    "auto-gomemlimit.ratio", Text("0.9"), "Accepted; there is no Go runtime to steer.";
    "auto-gomemlimit.refresh-interval", Text("0s"), "Accepted; there is no Go runtime to steer.";
    "log.level", Text("info"), "Least severity to log: debug, info, warn or error.";
    "log.format", Text("logfmt"), "Form of log lines: logfmt or json.";
};

/// Adds the flags to a command.
pub(crate) fn add_to(mut command: Command) -> Command {
    for flag in FLAGS {
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
            Text(_) => command.arg(
                arg.value_name("VALUE")
                    .action(ArgAction::Set)
                    .overrides_with(flag.name),
            ),
            Repeated(_) => command.arg(arg.value_name("VALUE").action(ArgAction::Append)),
        };
    }
    command
}

fn help_text(flag: &Flag) -> String {
    match flag.kind {
        Switch(true) => format!("{} On by default; --{} turns it off.", flag.help, flag.negated),
        Switch(false) | Text("") | Repeated("") => flag.help.to_owned(),
        Text(default) | Repeated(default) => format!("{} [default: {default}]", flag.help),
    }
}

/// The flags as they were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlagValues {
    values: Vec<(&'static str, String, bool)>,
}

impl FlagValues {
    /// Takes them out of what was parsed.
    pub(crate) fn from_matches(matches: &ArgMatches) -> Self {
        let values = FLAGS.iter().map(|flag| {
            let given = matches.value_source(flag.name) == Some(clap::parser::ValueSource::CommandLine);
            let value = match flag.kind {
                Switch(default) => {
                    let (on, off) = (matches.get_flag(flag.name), matches.get_flag(flag.negated));
                    (on || default && !off).to_string()
                }
                Text(default) => matches
                    .get_one::<String>(flag.name)
                    .map_or(default, String::as_str)
                    .to_owned(),
                Repeated(default) => match matches.get_many::<String>(flag.name) {
                    Some(values) => values.map(String::as_str).collect::<Vec<_>>().join(","),
                    None => default.to_owned(),
                },
            };
            (flag.name, value, given)
        });
        FlagValues {
            values: values.collect(),
        }
    }

    /// Every flag at its default.
    pub(crate) fn default_values() -> Self {
        let values = FLAGS.iter().map(|flag| {
            let value = match flag.kind {
                Switch(default) => default.to_string(),
                Text(default) | Repeated(default) => default.to_owned(),
            };
            (flag.name, value, false)
        });
        FlagValues {
            values: values.collect(),
        }
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
        if let Some(entry) = self.values.iter_mut().find(|(n, ..)| *n == name) {
            entry.1 = value.into();
            entry.2 = true;
        }
    }
}

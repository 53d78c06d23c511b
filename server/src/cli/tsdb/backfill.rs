//! `tsdb create-blocks-from rules`: recording rules evaluated over the past by a server, and the results as blocks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Arg, ArgAction, ArgMatches, Command};
use files::{DiskFiles, Files};
use model::columns::Columns;
use model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use promql::parser::ParseOptions;
use rules::Schedule;
use rules::format::{FormatOptions, Rule, RuleKind};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::import::{Printed, block_ms, new_block};
use super::{DEFAULT_DIR, TsdbError};
use crate::cli::client::{self, Client, ClientError};
use crate::cli::query::{ArgError, seconds, step_seconds};
use crate::cli::render::err;
use crate::cli::{check, progress};

/// Where the past ends unless the command line says otherwise: newer samples may still be in a server's head, and
/// blocks must not overlap it.
const MARGIN_SECONDS: f64 = 3.0 * 3600.0;
/// A server that needs longer for two hours of a rule has other problems.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);
const SECOND_NS: i64 = 1_000_000_000;

/// Which rules, over which past.
pub(crate) struct BackfillArgs {
    files: Vec<PathBuf>,
    server: String,
    http_config: Option<String>,
    start: String,
    end: Option<String>,
    interval: String,
    output: PathBuf,
    block_ms: i64,
    printed: Printed,
    parse: ParseOptions,
}

/// Why rules did not become blocks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BackfillError {
    /// A time or duration on the command line cannot be read.
    #[error(transparent)]
    Arg(#[from] ArgError),
    /// The past ends before it begins.
    #[error("start time is not before end time")]
    Order,
    /// A rule file cannot be read.
    #[error("rule importer parse error: {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// A rule file is wrong.
    #[error("rule importer parse error: {path}: {first}")]
    Format {
        path: String,
        first: Box<rules::FormatError>,
    },
    /// There is no way to the server.
    #[error(transparent)]
    Client(ClientError),
    /// The server does not answer.
    #[error("rule importer error: {rule}: query range: {source}")]
    Query { rule: String, source: ClientError },
    /// The answer is no table of floats.
    #[error("rule importer error: {rule}: the server's answer cannot be read: {what}")]
    Answer { rule: String, what: String },
}

pub(super) fn command() -> Command {
    let flag = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("rules")
        .about("Make blocks from recording rules, evaluated over the past by a running server")
        .after_help(
            "Copy the blocks into the server's data folder afterwards; it takes them at its next start.\n\nExample:\n  \
             narthex tsdb create-blocks-from rules --start=2026-01-01T00:00:00Z --url=http://localhost:9090 new.rules.yml",
        )
        .arg(client::http_config_arg())
        .arg(flag("url", "URL", "The server").default_value("http://localhost:9090"))
        .arg(flag("start", "TIME", "From when on: RFC 3339 or seconds since 1970").required(true))
        .arg(flag("end", "TIME", "Until when; three hours ago by default"))
        .arg(
            flag("eval-interval", "DURATION", "How often rules are evaluated whose group does not say")
                .default_value("60s"),
        )
        .arg(
            flag("output-dir", "DIR", "Where the blocks go")
                .default_value(DEFAULT_DIR)
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("files")
                .value_name("FILE")
                .help("Rule files; alerting rules in them are passed over")
                .required(true)
                .action(ArgAction::Append)
                .value_parser(clap::value_parser!(PathBuf)),
        )
}

impl BackfillArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        let text = |id: &str| matches.get_one::<String>(id).cloned();
        BackfillArgs {
            files: matches.get_many("files").into_iter().flatten().cloned().collect(),
            server: text("url").unwrap_or_default(),
            http_config: text("http.config.file"),
            start: text("start").unwrap_or_default(),
            end: text("end"),
            interval: text("eval-interval").unwrap_or_default(),
            output: matches.get_one("output-dir").cloned().unwrap_or_default(),
            block_ms: block_ms(matches),
            printed: Printed::new(matches),
            parse: check::parse_options(matches),
        }
    }
}

/// A recording rule and when it is evaluated.
struct Recorded {
    rule: Rule,
    labels: BTreeMap<String, String>,
    schedule: Schedule,
}

/// Evaluates and writes; the exit code.
pub(super) async fn backfill(args: &BackfillArgs) -> Result<u8, TsdbError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let recent = now.map_or(0.0, |since| since.as_secs_f64()) - MARGIN_SECONDS;
    let start = seconds(Some(&args.start), "start", 0.0).map_err(BackfillError::from)? as i64;
    let end = seconds(args.end.as_ref(), "end", recent).map_err(BackfillError::from)? as i64;
    if start >= end {
        return Err(BackfillError::Order.into());
    }
    let rules = read_rules(args)?;
    let client =
        Client::new(&args.server, args.http_config.as_deref(), &[]).map_err(BackfillError::Client)?;
    let files: Arc<dyn Files> = Arc::new(DiskFiles);
    progress::catch_interrupts();
    files.create_dir_all(&args.output)?;
    let block_seconds = args.block_ms / 1000;
    let (first, last) = (start.div_euclid(block_seconds), end.div_euclid(block_seconds));
    let steps = (last - first + 1).unsigned_abs() * rules.len() as u64;
    let bar = progress::bar(steps, "evaluating rules");
    let mut heading = true;
    for block in first..=last {
        let from = start.max(block * block_seconds);
        let until = end.min((block + 1) * block_seconds - 1);
        let mut series: Vec<(Labels, Columns)> = Vec::new();
        for rule in &rules {
            if progress::interrupted() {
                return Err(TsdbError::Interrupted);
            }
            series.append(&mut evaluate(&client, rule, from, until).await?);
            bar.inc(1);
        }
        // The reference says nothing about the blocks; here they are printed as those of samples are.
        if let Some(line) = new_block(&files, &args.output, series, args.printed, heading)? {
            bar.suspend(|| crate::cli::render::out_text(&line));
            heading = false;
        }
    }
    bar.finish_and_clear();
    Ok(0)
}

/// The recording rules of all files.
fn read_rules(args: &BackfillArgs) -> Result<Vec<Recorded>, TsdbError> {
    let interval_ms = step_seconds(&args.interval).map(|seconds| (seconds * 1e3) as i64);
    let interval_ms = interval_ms.ok_or_else(|| BackfillError::Arg(ArgError::Step(args.interval.clone())))?;
    let options = FormatOptions {
        parse: args.parse,
        ..FormatOptions::default()
    };
    let mut found = Vec::new();
    for path in &args.files {
        let name = path.to_string_lossy().into_owned();
        let text = std::fs::read(path)
            .and_then(yaml::text_of)
            .map_err(|source| BackfillError::Read {
                path: path.clone(),
                source,
            })?;
        let file = rules::format::read(&name, &text, &options).map_err(|errors| {
            let first = errors.into_iter().next();
            first.map_or(BackfillError::Order, |first| BackfillError::Format {
                path: name.clone(),
                first: Box::new(first),
            })
        })?;
        for group in file.groups {
            let schedule = Schedule::new(&name, &group.name, group.interval_ms.unwrap_or(interval_ms));
            let recording = group
                .rules
                .into_iter()
                .filter(|rule| rule.kind == RuleKind::Recording);
            found.extend(recording.map(|rule| {
                Recorded {
                    labels: group
                        .labels
                        .iter()
                        .chain(&rule.labels)
                        .map(|(k, v)| (k.clone(), v.clone()))
                        .collect(),
                    rule,
                    schedule,
                }
            }));
        }
    }
    Ok(found)
}

/// An answer's table.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    result_type: String,
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histograms: Vec<IgnoredAny>,
}

/// What a rule would have recorded from second `from` to second `until`.
async fn evaluate(
    client: &Client,
    rule: &Recorded,
    from: i64,
    until: i64,
) -> Result<Vec<(Labels, Columns)>, TsdbError> {
    let mut first_ns = rule.schedule.at_or_before(from.saturating_mul(SECOND_NS));
    while first_ns.div_euclid(SECOND_NS) < from {
        first_ns += rule.schedule.interval_ns();
    }
    if first_ns > until.saturating_mul(SECOND_NS) {
        return Ok(Vec::new());
    }
    let text = |ns: i64| model::float::format_float(ns.div_euclid(1_000_000) as f64 / 1e3);
    let params = [
        ("query", rule.rule.expr.to_string()),
        ("start", text(first_ns)),
        ("end", until.to_string()),
        ("step", text(rule.schedule.interval_ns())),
    ];
    let answer = client
        .api_post::<Table>("api/v1/query_range", &params, TIMEOUT)
        .await;
    let answer = answer.map_err(|source| BackfillError::Query {
        rule: rule.rule.name.clone(),
        source,
    })?;
    for note in &answer.notes {
        err(format_args!("{}: query warning: {note}", rule.rule.name));
    }
    let table = answer.data;
    if table.result_type != "matrix" {
        return Err(unreadable(rule, format!("a {}, not a matrix", table.result_type)));
    }
    if table.result.iter().any(|row| !row.histograms.is_empty()) {
        err(format_args!("{}: native histograms are left out", rule.rule.name));
    }
    table.result.into_iter().map(|row| recorded(rule, row)).collect()
}

fn recorded(rule: &Recorded, row: Row) -> Result<(Labels, Columns), TsdbError> {
    let mut labels = LabelsBuilder::new();
    for (name, value) in &row.metric {
        labels.set(name, value);
    }
    for (name, value) in &rule.labels {
        labels.set(name, value);
    }
    labels.set(METRIC_NAME, &rule.rule.name);
    let mut columns = Columns::default();
    for (seconds, value) in &row.values {
        let value = value
            .parse()
            .map_err(|_| unreadable(rule, format!("{value:?} is no number")))?;
        columns.push((seconds * 1e3).round() as i64, value);
    }
    let labels = labels
        .try_build()
        .map_err(|error| unreadable(rule, error.to_string()))?;
    Ok((labels, columns))
}

fn unreadable(rule: &Recorded, what: String) -> TsdbError {
    let rule = rule.rule.name.clone();
    BackfillError::Answer { rule, what }.into()
}

//! `narthex rules backtest`: rules over stored data, and which alerts they would have raised.

pub(crate) mod output;
mod remote;
pub(crate) mod watch;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use files::{DiskFiles, Files};
use model::duration::{format_duration, parse_duration};
use model::storage::{StorageError, TimeRange};
use notify::config::Config;
use notify::matcher::Syntax;
use notify::route::Tree;
use notify::{RehearsalError, RehearsalReport};
use promql::engine::{Engine, EngineOptions, Features};
use rules::Settings;
use rules::backtest::{Backtest, BacktestError, Progress, Report, Source};
use rules::format::FormatOptions;
use tsdb::db::{Options, ReadOnly};
use yaml::YamlError;

use super::check::{FAILURE, enable_feature_arg, files, files_arg, query_features, switch};
use super::client::{Client, ClientError, http_config_arg};
use super::progress;
use super::query::{ArgError, seconds, step_seconds};
use super::render::{err, out_text};
use super::tsdb::{DEFAULT_DIR, say_damaged};
use output::{Output, Routed};
use remote::Elsewhere;

/// Which rules, over which data.
pub(crate) struct BacktestArgs {
    files: Vec<PathBuf>,
    from: Option<String>,
    to: Option<String>,
    interval: String,
    dir: PathBuf,
    two_places: bool,
    url: Option<String>,
    http_config: Option<String>,
    alertmanager: Option<PathBuf>,
    output: Output,
    ignore_unknown_fields: bool,
    features: Features,
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Arg(#[from] ArgError),
    #[error(
        "--{what}: {text:?} is no time; give one like 2026-11-01T00:00:00Z, seconds since 1970, or -1h for an hour ago"
    )]
    Time { what: &'static str, text: String },
    #[error("a backtest is over one place's data: a URL, or --storage.tsdb.path")]
    TwoPlaces,
    #[error("there are no rule files: name some besides the URL")]
    NoRules,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    #[error("no threads: {0}")]
    Threads(std::io::Error),
    #[error("opening the db dir: {0}")]
    Dir(StorageError),
    #[error("{} holds no samples; give the folder that the server has as --storage.tsdb.path", .0.display())]
    NoSamples(PathBuf),
    #[error(transparent)]
    Rules(#[from] BacktestError),
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Alertmanager(#[from] YamlError),
}

/// The command and its subcommand.
pub(crate) fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let backtest = Command::new("backtest")
        .about("Evaluate rules over stored data and tell which alerts would have fired")
        .after_help(
            "The data folder is opened for reading only; a server that runs on it is not disturbed. A URL among the rule \
             files is that of a server with Prometheus' API, which is asked instead. Groups are evaluated at --from, an interval later, and so on. Series \
             that the rules record are theirs alone: what is stored under their names is not looked at.\n\nTimes are in RFC 3339, \
             seconds since 1970, or a duration before now, like -1h or -7d.\n\nExamples:\n  \
             narthex rules backtest new.rules.yml --from=-7d\n  \
             narthex rules backtest new.rules.yml --from=2026-11-01T00:00:00Z --to=2026-11-30T00:00:00Z\n  \
             narthex rules backtest new.rules.yml --from=1793491200 http://prometheus.example:9090\n  \
             narthex rules backtest rules/*.yml --from=1793491200 --alertmanager.config.file=alertmanager.yml \
             --output=json",
        )
        .arg(option("from", "TIME", "First evaluation, like 2026-11-01T00:00:00Z, 1793491200 or -1h").required(true).allow_hyphen_values(true))
        .arg(option("to", "TIME", "Last evaluation at the latest; now by default").allow_hyphen_values(true))
        .arg(
            option("storage.tsdb.path", "DIR", "Data folder")
                .default_value(DEFAULT_DIR)
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            option(
                "alertmanager.config.file",
                "FILE",
                "Tell which notifications this configuration would have sent, to whom and when",
            )
            .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            option("eval-interval", "DURATION", "How often groups are evaluated that do not say")
                .default_value("1m"),
        )
        .arg(
            option("output", "FORMAT", "How to tell what was found")
                .value_parser(["text", "json"])
                .default_value("text"),
        )
        .arg(switch(
            "ignore-unknown-fields",
            "Skip fields that rule files do not have, as extensions add them",
        ))
        .arg(enable_feature_arg())
        .arg(http_config_arg())
        .arg(files_arg("Rule files, or patterns of their names; the URL of a server").required(true));
    Command::new("rules")
        .about("Try rules on stored data")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(backtest)
}

/// What a command line asks for.
pub(crate) fn args(matches: &ArgMatches) -> BacktestArgs {
    let (_, matches) = matches.subcommand().unwrap_or(("", matches));
    let word = |name: &str| matches.get_one::<String>(name).cloned();
    let is_url = |path: &PathBuf| {
        let text = path.to_string_lossy();
        text.starts_with("http://") || text.starts_with("https://")
    };
    let (urls, files): (Vec<PathBuf>, Vec<PathBuf>) = files(matches).into_iter().partition(is_url);
    let is_given = matches.value_source("storage.tsdb.path") == Some(ValueSource::CommandLine);
    BacktestArgs {
        files,
        from: word("from"),
        to: word("to"),
        interval: word("eval-interval").unwrap_or_default(),
        dir: matches
            .get_one("storage.tsdb.path")
            .cloned()
            .unwrap_or_else(|| DEFAULT_DIR.into()),
        two_places: urls.len() + usize::from(is_given) > 1,
        url: urls.first().map(|url| url.to_string_lossy().into_owned()),
        http_config: word("http.config.file"),
        alertmanager: matches.get_one("alertmanager.config.file").cloned(),
        output: match word("output").as_deref() {
            Some("json") => Output::Json,
            _ => Output::Text,
        },
        ignore_unknown_fields: matches.get_flag("ignore-unknown-fields"),
        features: query_features(matches),
    }
}

/// Tries the rules; the exit code. That alerts fire is no failure, that a rule cannot be evaluated is one.
pub(crate) fn run(args: &BacktestArgs) -> u8 {
    match backtest(args) {
        Ok(code) => code,
        Err(Error::Rules(BacktestError::Interrupted)) => progress::INTERRUPTED_CODE,
        Err(error) => {
            err(error);
            FAILURE
        }
    }
}

fn backtest(args: &BacktestArgs) -> Result<u8, Error> {
    if args.two_places {
        return Err(Error::TwoPlaces);
    }
    if args.files.is_empty() {
        return Err(Error::NoRules);
    }
    let backtest = what(args)?;
    let config = args.alertmanager.as_deref().map(alertmanager).transpose()?;
    let (source, damaged) = match &args.url {
        Some(url) => {
            let client = Client::new(url, args.http_config.as_deref(), &[])?;
            let elsewhere = Elsewhere::new(client).map_err(Error::Threads)?;
            (Source::Remote(Arc::new(elsewhere)), 0)
        }
        None => stored(args, &backtest)?,
    };
    let interval_ms = backtest.settings.interval_ms;
    let engine = Engine::new(EngineOptions {
        features: args.features,
        default_subquery_step: Arc::new(move |_| interval_ms),
        ..EngineOptions::default()
    });
    let (report, rehearsed) = replay(&backtest, source, engine, config.clone())?;
    let tree = config.map(|config| Tree::new(&config.route));
    let routed = tree.as_ref().zip(rehearsed.as_ref());
    if args.output == Output::Text {
        out_text(&format!(
            "{} to {}, every {} where a group sets no interval (--eval-interval)\n",
            output::time(report.from_ms),
            output::time(report.to_ms),
            format_duration(interval_ms)
        ));
    }
    out_text(&args.output.write(&Routed::new(&report, routed)));
    let failed = report.rules.iter().any(|rule| rule.failures > 0);
    Ok(damaged.max(if failed { FAILURE } else { 0 }))
}

/// The data folder, and the exit code that its damage asks for.
fn stored(args: &BacktestArgs, backtest: &Backtest) -> Result<(Source, u8), Error> {
    let files: Arc<dyn Files> = Arc::new(DiskFiles);
    let store = ReadOnly::open(&files, &args.dir, Options::default()).map_err(Error::Dir)?;
    let stored = store
        .time_range()
        .ok_or_else(|| Error::NoSamples(args.dir.clone()))?;
    if !stored.overlaps(&TimeRange::new(backtest.from_ms, backtest.to_ms)) {
        let (first, last) = (output::time(stored.min_ms), output::time(stored.max_ms));
        err(format_args!(
            "there are no samples of that time; what is stored is from {first} to {last}"
        ));
    }
    let damaged = say_damaged(&store.damaged_blocks());
    Ok((Source::Stored(Arc::new(store)), damaged))
}

fn what(args: &BacktestArgs) -> Result<Backtest, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0.0, |since| since.as_secs_f64());
    let ms = |seconds: f64| (seconds * 1e3).round() as i64;
    let interval = step_seconds(&args.interval).filter(|seconds| *seconds > 0.0);
    Ok(Backtest {
        settings: Settings {
            patterns: args.files.iter().map(|file| file.display().to_string()).collect(),
            interval_ms: ms(interval.ok_or_else(|| ArgError::Step(args.interval.clone()))?),
            format: FormatOptions {
                ignore_unknown_fields: args.ignore_unknown_fields,
                parse: args.features.parse_options(),
                ..FormatOptions::default()
            },
            ..Settings::default()
        },
        from_ms: ms(moment(args.from.as_ref(), "from", now)?),
        to_ms: ms(moment(args.to.as_ref(), "to", now)?),
        texts: Vec::new(),
    })
}

/// Seconds since 1970: of a time, of one so long before `now`, or `now` itself.
fn moment(text: Option<&String>, what: &'static str, now: f64) -> Result<f64, Error> {
    let ago = text.and_then(|text| text.strip_prefix('-'));
    if let Some(ms) = ago.and_then(|ago| parse_duration(ago).ok()) {
        return Ok(now - ms as f64 / 1e3);
    }
    seconds(text, what, now).map_err(|_| Error::Time {
        what,
        text: text.cloned().unwrap_or_default(),
    })
}

/// An Alertmanager's configuration.
fn alertmanager(path: &Path) -> Result<Config, Error> {
    let text = std::fs::read(path)
        .and_then(yaml::text_of)
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(Config::parse(
        &path.display().to_string(),
        &text,
        Syntax::default(),
    )?)
}

fn replay(
    backtest: &Backtest,
    source: Source,
    engine: Engine,
    config: Option<Config>,
) -> Result<(Report, Option<RehearsalReport>), Error> {
    progress::catch_interrupts();
    let bar = progress::bar(0, "evaluating groups");
    let go_on = |progress: Progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        match progress::interrupted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let done = watch::run(backtest, source, Arc::new(engine), config, go_on);
    bar.finish_and_clear();
    done.map_err(|error| match error {
        watch::Error::Rules(error) => Error::Rules(error),
        watch::Error::Rehearsal(error) => Error::Rehearsal(error),
    })
}

#[cfg(test)]
mod tests;

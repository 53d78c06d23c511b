//! `narthex rules backtest`: rules over stored data, and which alerts they would have raised.

mod output;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Arg, ArgMatches, Command};
use files::{DiskFiles, Files};
use model::storage::{StorageError, TimeRange};
use notify::config::Config;
use notify::matcher::Syntax;
use notify::route::Tree;
use promql::engine::{Engine, EngineOptions, Features};
use rules::Settings;
use rules::backtest::{Backtest, BacktestError, Report};
use rules::format::FormatOptions;
use tsdb::db::{Options, ReadOnly};
use yaml::YamlError;

use super::check::{FAILURE, enable_feature_arg, files, files_arg, query_features, switch};
use super::progress;
use super::query::{ArgError, seconds, step_seconds};
use super::render::{err, out_text};
use super::tsdb::{DEFAULT_DIR, say_damaged};
use output::{Output, Routed};

/// Which rules, over which data.
pub(crate) struct BacktestArgs {
    files: Vec<PathBuf>,
    from: Option<String>,
    to: Option<String>,
    interval: String,
    dir: PathBuf,
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
            "The data folder is opened for reading only; a server that runs on it is not disturbed. Data of a server \
             elsewhere cannot be asked for yet. Groups are evaluated at --from, an interval later, and so on. Series \
             that the rules record are theirs alone: what is stored under their names is not looked at.\n\nExamples:\n  \
             narthex rules backtest new.rules.yml --from=2026-11-01T00:00:00Z --to=2026-11-30T00:00:00Z\n  \
             narthex rules backtest rules/*.yml --from=1793491200 --alertmanager.config.file=alertmanager.yml \
             --output=json",
        )
        .arg(option("from", "TIME", "First evaluation: RFC 3339 or seconds since 1970").required(true))
        .arg(option("to", "TIME", "Last evaluation at the latest; now by default"))
        .arg(
            option("storage.tsdb.path", "DIR", "Data folder")
                .default_value(DEFAULT_DIR)
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            option(
                "alertmanager.config.file",
                "FILE",
                "Tell which receivers of this configuration each alert would have gone to",
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
        .arg(files_arg("Rule files, or patterns of their names").required(true));
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
    BacktestArgs {
        files: files(matches),
        from: word("from"),
        to: word("to"),
        interval: word("eval-interval").unwrap_or_default(),
        dir: matches
            .get_one("storage.tsdb.path")
            .cloned()
            .unwrap_or_else(|| DEFAULT_DIR.into()),
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
    let backtest = what(args)?;
    let routes = args.alertmanager.as_deref().map(routes).transpose()?;
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
    let interval_ms = backtest.settings.interval_ms;
    let engine = Engine::new(EngineOptions {
        features: args.features,
        default_subquery_step: Arc::new(move |_| interval_ms),
        ..EngineOptions::default()
    });
    let damaged = say_damaged(&store.damaged_blocks());
    let report = replay(&backtest, store, engine)?;
    out_text(&args.output.write(&Routed::new(&report, routes.as_ref())));
    let failed = report.rules.iter().any(|rule| rule.failures > 0);
    Ok(damaged.max(if failed { FAILURE } else { 0 }))
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
        from_ms: ms(seconds(args.from.as_ref(), "from", 0.0)?),
        to_ms: ms(seconds(args.to.as_ref(), "to", now)?),
    })
}

/// The routes of an Alertmanager's configuration.
fn routes(path: &Path) -> Result<Tree, Error> {
    let text = std::fs::read(path)
        .and_then(yaml::text_of)
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
    let config = Config::parse(&path.display().to_string(), &text, Syntax::default())?;
    Ok(Tree::new(&config.route))
}

fn replay(backtest: &Backtest, store: ReadOnly, engine: Engine) -> Result<Report, BacktestError> {
    progress::catch_interrupts();
    let bar = progress::bar(0, "evaluating groups");
    let report = backtest.run(Arc::new(store), Arc::new(engine), &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        match progress::interrupted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    bar.finish_and_clear();
    report
}

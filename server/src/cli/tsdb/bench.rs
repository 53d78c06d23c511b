//! `tsdb bench write`: how fast the storage takes samples on this machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Command};
use files::DiskFiles;
use model::clock::ManualClock;
use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample, SeriesRef};
use tsdb::db::{Db, Options};

use super::TsdbError;
use crate::cli::progress;
use crate::cli::render::out;

/// Time between two simulated scrapes, and their start: far from any clock.
const SCRAPE_MS: i64 = 15_000;
const START_MS: i64 = 1_700_006_400_000;
/// Series of one simulated target.
const TARGET_SERIES: usize = 1000;

/// How much is written, and where.
pub(crate) struct BenchArgs {
    out: PathBuf,
    metrics: usize,
    scrapes: usize,
    file: Option<PathBuf>,
}

pub(super) fn command() -> Command {
    let number = |name: &'static str, help: &'static str, default: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("COUNT")
            .help(help)
            .default_value(default)
            .value_parser(clap::value_parser!(u32))
    };
    Command::new("bench")
        .about("Measure the storage on this machine")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("write")
                .about("Measure appending, compaction and the bytes that samples take")
                .after_help("Example:\n  narthex tsdb bench write --metrics=100000 --scrapes=600 --out=/mnt/disk/bench")
                .arg(
                    Arg::new("out")
                        .long("out")
                        .value_name("DIR")
                        .help("Where to write; what is there goes away")
                        .default_value("benchout")
                        .value_parser(clap::value_parser!(PathBuf)),
                )
                .arg(number("metrics", "Series", "10000"))
                .arg(number("scrapes", "Samples of each", "3000"))
                .arg(
                    Arg::new("file")
                        .value_name("FILE")
                        .help("Label sets to write, a JSON object a line; made up by default")
                        .value_parser(clap::value_parser!(PathBuf)),
                ),
        )
}

impl BenchArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        let (_, matches) = matches.subcommand().unwrap_or(("", matches));
        let number = |id: &str| matches.get_one::<u32>(id).map_or(0, |n| *n as usize);
        BenchArgs {
            out: matches.get_one("out").cloned().unwrap_or_default(),
            metrics: number("metrics"),
            scrapes: number("scrapes"),
            file: matches.get_one("file").cloned(),
        }
    }
}

/// Measures; the exit code.
pub(super) fn bench(args: &BenchArgs) -> Result<u8, TsdbError> {
    let sets = label_sets(args)?;
    progress::catch_interrupts();
    if args.out.exists() {
        std::fs::remove_dir_all(&args.out)?;
    }
    let options = Options {
        background: false,
        retention_ms: 0,
        ..Options::default()
    };
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = Db::open(Arc::new(DiskFiles), &args.out, options, clock)?;
    let started = Instant::now();
    let series: Vec<SeriesRef> = sets.iter().filter_map(|labels| db.resolve(labels).ok()).collect();
    let resolved = started.elapsed();
    let (mut appending, mut compacting) = (Duration::ZERO, Duration::ZERO);
    let bar = progress::bar(args.scrapes as u64, "scrapes");
    let mut batch = AppendBatch::default();
    for scrape in 0..args.scrapes {
        if progress::interrupted() {
            return Err(TsdbError::Interrupted);
        }
        let timestamp_ms = START_MS + scrape as i64 * SCRAPE_MS;
        let started = Instant::now();
        for (target, series) in series.chunks(TARGET_SERIES).enumerate() {
            batch.floats.clear();
            let samples = series.iter().enumerate().map(|(number, series)| FloatSample {
                series: *series,
                timestamp_ms,
                value: value(scrape, target * TARGET_SERIES + number),
            });
            batch.floats.extend(samples);
            let appended = db.append(&batch, &mut AppendOutcome::default());
            appended.map_err(|error| TsdbError::Output(std::io::Error::other(error)))?;
        }
        appending += started.elapsed();
        if db.head().is_compactable() {
            let started = Instant::now();
            db.compact()?;
            compacting += started.elapsed();
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    db.close()?;
    report(args, &db, series.len(), (resolved, appending, compacting));
    Ok(0)
}

fn report(args: &BenchArgs, db: &Db, series: usize, times: (Duration, Duration, Duration)) {
    let (resolved, appending, compacting) = times;
    let samples = (series * args.scrapes) as f64;
    let in_blocks: u64 = db
        .blocks()
        .iter()
        .map(|block| block.meta().stats.num_samples)
        .sum();
    let bytes: u64 = db.blocks().iter().map(|block| block.size_bytes()).sum();
    out(format_args!("series              {series}"));
    out(format_args!("samples             {samples}"));
    out(format_args!(
        "resolving series    {:.3} s",
        resolved.as_secs_f64()
    ));
    out(format_args!(
        "appending           {:.3} s, {:.0} samples a second",
        appending.as_secs_f64(),
        samples / appending.as_secs_f64()
    ));
    out(format_args!(
        "compacting          {:.3} s",
        compacting.as_secs_f64()
    ));
    if in_blocks > 0 {
        out(format_args!(
            "blocks              {}, {:.2} bytes a sample",
            db.blocks().len(),
            bytes as f64 / in_blocks as f64
        ));
    }
}

/// A counter whose steps vary.
fn value(scrape: usize, series: usize) -> f64 {
    (scrape * (1 + series % 17) + scrape * series % 5) as f64
}

/// The label sets to write.
fn label_sets(args: &BenchArgs) -> Result<Vec<Labels>, TsdbError> {
    let Some(path) = &args.file else {
        return Ok((0..args.metrics).map(made_up).collect());
    };
    let text = std::fs::read_to_string(path)?;
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .take(args.metrics);
    let sets = lines.map(|line| {
        let pairs: std::collections::BTreeMap<String, String> =
            serde_json::from_str(line.trim().trim_end_matches(',')).map_err(std::io::Error::other)?;
        Ok(Labels::from_pairs(pairs))
    });
    sets.collect()
}

fn made_up(number: usize) -> Labels {
    let text = |n: usize| n.to_string();
    Labels::from_pairs([
        ("__name__", format!("http_requests_{}_total", number % 20)),
        (
            "instance",
            format!(
                "10.0.{}.{}:9100",
                number / TARGET_SERIES / 250,
                number / TARGET_SERIES % 250
            ),
        ),
        ("job", "bench".to_owned()),
        ("handler", format!("/api/v1/resource{}", number / 20 % 50)),
        ("code", text(200 + number % 3)),
        ("number", text(number)),
    ])
}

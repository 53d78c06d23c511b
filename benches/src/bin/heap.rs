//! Where the head's memory goes: bytes a series by part, after so many scrapes.
//!
//! ```text
//! cargo run --release -p narthex-benches --bin heap -- --series 500000 --scrapes 10,30,60,120,240
//! ```

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use model::clock::SystemClock;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample};
use narthex_benches::{Rng, series};
use tsdb::db::{Db, Options};

const INTERVAL_MS: i64 = 15_000;
const START_MS: i64 = 1_795_392_000_000;
/// Series of a target: they are appended together.
const TARGET: usize = 1000;

/// Prints where the head's memory goes.
#[derive(Debug, Parser)]
struct Cli {
    /// Series
    #[arg(long, default_value_t = 100_000)]
    series: usize,
    /// Scrapes after which to print
    #[arg(long, value_delimiter = ',', default_values_t = [10, 30, 60, 120, 240])]
    scrapes: Vec<u32>,
    /// Encode floats as XOR2
    #[arg(long)]
    xor2: bool,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let folder = tempfile::tempdir()?;
    let mut options = Options {
        background: false,
        ..Options::default()
    };
    options.head.xor2_floats = cli.xor2;
    let files = Arc::new(files::DiskFiles);
    let db = Db::open(files, folder.path(), options, Arc::new(SystemClock))?;
    let mut samples: Vec<FloatSample> = Vec::with_capacity(cli.series);
    for labels in series(cli.series) {
        samples.push(FloatSample {
            series: db.resolve(&labels)?,
            timestamp_ms: 0,
            value: 0.0,
        });
    }
    let mut rng = Rng::new(7);
    let mut outcome = AppendOutcome::default();
    let mut batch = AppendBatch::default();
    for scrape in 1..=cli.scrapes.iter().copied().max().unwrap_or(0) {
        for (target, samples) in samples.chunks_mut(TARGET).enumerate() {
            let timestamp_ms = START_MS + i64::from(scrape) * INTERVAL_MS + target as i64 * 7;
            for (i, sample) in samples.iter_mut().enumerate() {
                sample.timestamp_ms = timestamp_ms;
                step(&mut rng, i, &mut sample.value);
            }
            batch.clear();
            batch.floats.extend_from_slice(samples);
            db.append(&batch, &mut outcome).context("appending")?;
        }
        if cli.scrapes.contains(&scrape) {
            print(&db, cli.series, scrape)?;
        }
    }
    Ok(())
}

/// The next value: of 20 series, 14 are counters that mostly stand still, 3 gauges, 3 count seconds.
fn step(rng: &mut Rng, series: usize, value: &mut f64) {
    let random = rng.next_u64();
    match series % 20 {
        0..14 if random.is_multiple_of(3) => *value += (random >> 32 & 63) as f64,
        0..14 => {}
        14 | 15 => *value = (*value + ((random % 65) as f64 - 32.0) * 4096.0).max(0.0),
        16 => {}
        _ => *value = ((*value * 100.0).round() + (random % 1500) as f64) / 100.0,
    }
}

fn print(db: &Db, series: usize, scrape: u32) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "after {scrape} scrapes, bytes a series:")?;
    let mut all = 0.0;
    for (part, bytes) in db.head().memory() {
        let each = bytes as f64 / series as f64;
        all += each;
        writeln!(out, "{each:8.1}  {part}")?;
    }
    writeln!(out, "{all:8.1}  together")?;
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = anonymous.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    if let Some(kib) = kib {
        let each = kib * 1024.0 / series as f64;
        writeln!(out, "{each:8.1}  anonymous memory of the process\n")?;
    }
    Ok(())
}

//! How long a store takes to open: `restart write DIR [SERIES SCRAPES]` fills one with series as exporters have them,
//! scraped every 15 s up to now, and stops it; `restart open DIR [full]` opens it, `full` without its snapshot.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for measurements")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use files::DiskFiles;
use model::clock::{Clock, SystemClock};
use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample};
use narthex_tsdb::db::{Db, Options};

/// Series of a target.
const TARGET: usize = 1000;
const INTERVAL_MS: i64 = 15_000;

fn labels(i: usize) -> Labels {
    let (target, metric) = (i / TARGET, i % TARGET);
    Labels::from_pairs([
        ("__name__", format!("node_metric_{}_total", metric / 8)),
        ("instance", format!("10.0.{}.{}:9100", target / 250, target % 250)),
        ("job", "node-exporter".to_owned()),
        ("cluster", format!("eu-{}", target % 5)),
        ("device", format!("sd{}", metric % 8)),
        ("mode", format!("m{}", metric % 4)),
        ("namespace", format!("team-{}", target % 40)),
        ("pod", format!("node-exporter-{target:05}")),
    ])
}

fn write(dir: &Path, series: usize, scrapes: i64, options: Options) {
    let db = Db::open(Arc::new(DiskFiles), dir, options, Arc::new(SystemClock)).unwrap();
    let references: Vec<_> = (0..series).map(|i| db.resolve(&labels(i)).unwrap()).collect();
    let begin_ms = SystemClock.now_ms() - scrapes * INTERVAL_MS;
    let (mut outcome, mut noise) = (AppendOutcome::default(), 1u64);
    let mut values = vec![0.0; series];
    let mut batch = AppendBatch::default();
    for scrape in 0..scrapes {
        for (target, references) in references.chunks(TARGET).enumerate() {
            let timestamp_ms = begin_ms + scrape * INTERVAL_MS + target as i64 % 97;
            batch.floats.clear();
            for (i, series) in references.iter().enumerate() {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let value = &mut values[target * TARGET + i];
                // Half of them stand still.
                *value += if i % 2 == 0 { (noise >> 54) as f64 } else { 0.0 };
                batch.floats.push(FloatSample {
                    series: *series,
                    timestamp_ms,
                    value: *value,
                });
            }
            db.append(&batch, &mut outcome).unwrap();
        }
    }
    db.sync().unwrap();
    let started = Instant::now();
    db.close().unwrap();
    println!("stopped in {:?}", started.elapsed());
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let options = Options {
        background: false,
        ..Options::default()
    };
    match &*args.iter().map(String::as_str).collect::<Vec<_>>() {
        ["write", dir] => write(dir.as_ref(), 500_000, 60, options),
        ["write", dir, series, scrapes] => {
            write(
                dir.as_ref(),
                series.parse().unwrap(),
                scrapes.parse().unwrap(),
                options,
            );
        }
        ["open", dir, rest @ ..] => {
            let snapshot = Path::new(dir).join("head_snapshot");
            let aside = Path::new(dir).join("aside");
            if *rest == ["full"] && snapshot.exists() {
                std::fs::rename(&snapshot, &aside).unwrap();
            }
            let started = Instant::now();
            let db = Db::open(Arc::new(DiskFiles), dir.as_ref(), options, Arc::new(SystemClock)).unwrap();
            println!("opened in {:?}: {:?}", started.elapsed(), db.replay_report());
            if aside.exists() {
                std::fs::rename(&aside, &snapshot).unwrap();
            }
            // As a kill would leave it.
            std::process::exit(0);
        }
        _ => println!("restart write DIR [SERIES SCRAPES] | restart open DIR [full]"),
    }
}

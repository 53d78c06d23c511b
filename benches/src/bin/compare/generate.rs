//! The data set that queries run over: counters, histogram buckets, gauges and owners of hosts, as one block.
//!
//! Of 10,000 series 5,400 are `http_requests_total`, 4,300 buckets, and 100 each of `node_load1`, `node_cpus` and
//! `node_owner`. Every instance is scraped with a jitter of a millisecond or two, as scrapes are.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use files::DiskFiles;
use model::columns::Columns;
use model::labels::Labels;
use narthex_benches::Rng;
use tsdb::block::{BlockMeta, BlockWriter};
use ulid::Ulid;

use crate::report::say;

/// Bounds of the buckets, in the order in which labels sort; all increments of a bucket are those of the ones below,
/// and its own.
const BOUNDS: [&str; 10] = [
    "+Inf", "0.005", "0.01", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5",
];
const CODES: [&str; 6] = ["200", "201", "302", "404", "500", "503"];
const REQUEST_HANDLERS: usize = 30;
const BUCKET_HANDLERS: usize = 43;
/// Series of an instance of `http_requests_total`.
const SERIES_AN_INSTANCE: f64 = 10_000.0 / 30.0;

/// Where to and how much.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Data folder to put the block into
    #[arg(long)]
    out: PathBuf,
    /// Series, about
    #[arg(long, default_value_t = 10_000)]
    series: usize,
    /// Time that the block covers; it ends with the last full hour
    #[arg(long, default_value = "24h", value_parser = crate::duration)]
    length: Duration,
    /// Time between samples
    #[arg(long, default_value = "15s", value_parser = crate::duration)]
    interval: Duration,
    /// Seed of the values
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// What the values of a series are made of.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// A counter; a bucket is the sum of its place (by bound) + 1 counters of its histogram.
    Counter { parts: u64 },
    /// A number between 0 and 20 with two decimals that wanders.
    Load,
    /// A number that stays.
    Fixed(f64),
}

#[derive(Debug)]
struct Series {
    labels: Labels,
    content: Content,
    /// Which target it belongs to: series of a target have the same timestamps.
    target: u64,
    /// Seed of its first counter.
    seed: u64,
}

/// Writes the block and says what is in it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (length_ms, interval_ms) = (
        options.length.as_millis() as i64,
        options.interval.as_millis() as i64,
    );
    if options.series == 0 || interval_ms < 10 || length_ms < interval_ms {
        bail!("--series and --length must hold a sample at least, --interval 10ms");
    }
    let now_ms = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_millis() as i64;
    let end_ms = now_ms - now_ms % 3_600_000;
    let start_ms = end_ms - length_ms;
    let mut all = series(options.series, options.seed);
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    let symbols: BTreeSet<&str> = all
        .iter()
        .flat_map(|s| s.labels.iter().flat_map(|(n, v)| [n, v]))
        .collect();

    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make {}", options.out.display()))?;
    let random = u128::from(Rng::new(now_ms as u64).next_u64());
    let meta = BlockMeta::of_head(Ulid::from_parts(now_ms as u64, random), start_ms, end_ms);
    let mut writer = BlockWriter::create(Arc::new(DiskFiles), &options.out, meta, symbols)?;
    let mut columns = Columns::default();
    for series in &all {
        columns.clear();
        fill(&mut columns, series, start_ms..end_ms, interval_ms);
        writer.add_samples(&series.labels, &columns)?;
    }
    let meta = writer.finish()?.context("the block would be empty")?;
    say(&format!(
        "{}: {} series, {} samples, from {} to {} (ms), seed {}",
        options.out.join(meta.ulid.to_string()).display(),
        meta.stats.num_series,
        meta.stats.num_samples,
        meta.min_time,
        meta.max_time,
        options.seed
    ));
    Ok(())
}

fn series(count: usize, seed: u64) -> Vec<Series> {
    let instances = ((count as f64 / SERIES_AN_INSTANCE).round() as usize).max(1);
    let mut out = Vec::with_capacity(count);
    let mut push = |target: usize, content: Content, group: usize, pairs: &[(&str, &str)]| {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add((group as u64) << 8);
        out.push(Series {
            labels: Labels::from_pairs(pairs.iter().copied()),
            content,
            target: target as u64,
            seed,
        });
    };
    let mut group = 0;
    for instance in 0..instances {
        let cluster = format!("eu-west-{}", instance % 3);
        let name = format!("10.0.0.{instance}:9100");
        let common = [
            ("cluster", cluster.as_str()),
            ("instance", &name),
            ("job", "api-server"),
        ];
        for handler in 0..REQUEST_HANDLERS {
            let handler = format!("/api/v1/resource{handler}");
            for code in CODES {
                group += 1;
                let own = [
                    ("__name__", "http_requests_total"),
                    ("code", code),
                    ("handler", &handler),
                ];
                push(
                    instance,
                    Content::Counter { parts: 1 },
                    group,
                    &[&own[..], &common].concat(),
                );
            }
        }
        if instance % 3 != 0 {
            continue;
        }
        for handler in 0..BUCKET_HANDLERS {
            let handler = format!("/api/v1/resource{handler}");
            group += 1;
            for (at, le) in BOUNDS.iter().enumerate() {
                // The first one, +Inf, is the largest.
                let parts = if at == 0 { BOUNDS.len() } else { at } as u64;
                let own = [
                    ("__name__", "http_request_duration_seconds_bucket"),
                    ("handler", &handler),
                    ("le", le),
                ];
                push(
                    instance,
                    Content::Counter { parts },
                    group,
                    &[&own[..], &common].concat(),
                );
            }
        }
    }
    for host in 0..(count / 100).max(1) {
        let name = format!("host-{host}");
        let cluster = format!("eu-west-{}", host % 3);
        let team = format!("team-{}", host % 7);
        let common = [("cluster", cluster.as_str()), ("host", &name), ("job", "node")];
        group += 1;
        push(
            instances + host,
            Content::Load,
            group,
            &[&[("__name__", "node_load1")][..], &common].concat(),
        );
        let cpus = Content::Fixed(f64::from(1 << (host % 6)));
        push(
            instances + host,
            cpus,
            group,
            &[&[("__name__", "node_cpus")][..], &common].concat(),
        );
        let owner = [
            ("__name__", "node_owner"),
            ("host", &name),
            ("job", "inventory"),
            ("team", &team),
        ];
        push(instances + host, Content::Fixed(1.0), group, &owner);
    }
    out
}

fn fill(columns: &mut Columns, series: &Series, range_ms: std::ops::Range<i64>, interval_ms: i64) {
    let mut times = Rng::new(series.target);
    let offset_ms = (times.next_u64() % (interval_ms as u64 - 3)) as i64;
    let parts = if let Content::Counter { parts } = series.content {
        parts
    } else {
        1
    };
    let mut sources: Vec<Rng> = (0..parts).map(|part| Rng::new(series.seed + part)).collect();
    let mut value = match series.content {
        Content::Counter { .. } => 0.0,
        Content::Load => sources[0].unit() * 10.0,
        Content::Fixed(value) => value,
    };
    for at_ms in (range_ms.start..range_ms.end).step_by(interval_ms as usize) {
        let timestamp_ms = at_ms + offset_ms + (times.next_u64() % 3) as i64;
        if timestamp_ms >= range_ms.end {
            break;
        }
        match series.content {
            Content::Counter { .. } => {
                value += sources
                    .iter_mut()
                    .map(|rng| (rng.next_u64() % 100) as f64)
                    .sum::<f64>();
            }
            Content::Load => {
                let moved: f64 = value + sources[0].unit() - 0.5;
                value = (moved.clamp(0.0, 20.0) * 100.0).round() / 100.0;
            }
            Content::Fixed(_) => {}
        }
        columns.push(timestamp_ms, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixture_is_the_one_that_the_queries_expect() {
        let all = series(10_000, 7);
        let of = |name: &str| all.iter().filter(|s| s.labels.metric_name() == name).count();
        assert_eq!(all.len(), 10_000);
        assert_eq!(of("http_requests_total"), 5_400);
        assert_eq!(of("http_request_duration_seconds_bucket"), 4_300);
        assert_eq!(of("node_load1"), 100);
        let different: BTreeSet<_> = all.iter().map(|s| s.labels.clone()).collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn buckets_grow_with_their_bounds() {
        let all = series(1, 7);
        let last = |le: &str| {
            let is =
                |s: &&Series| s.labels.value("le") == le && s.labels.value("handler") == "/api/v1/resource3";
            let mut columns = Columns::default();
            fill(
                &mut columns,
                all.iter().find(is).expect("a bucket"),
                0..3_600_000,
                15_000,
            );
            (columns.timestamps_ms, columns.values[100])
        };
        let ((times, small), (same, large), (_, all)) = (last("0.005"), last("5"), last("+Inf"));
        assert!(small < large && large < all, "{small} {large} {all}");
        assert_eq!(times, same);
        assert!(times.len() >= 239 && times.is_sorted());
    }

    #[test]
    fn the_block_is_written() {
        let out = tempfile::tempdir().expect("a folder");
        let hour = Duration::from_secs(3600);
        let options = Options {
            out: out.path().into(),
            series: 100,
            length: hour,
            interval: hour / 240,
            seed: 1,
        };
        run(&options).expect("written");
        assert_eq!(std::fs::read_dir(out.path()).expect("read").count(), 1);
    }
}

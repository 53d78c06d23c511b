//! The data of which blocks are made: series of many targets, scraped every 15 s.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use files::DiskFiles;
use model::clock::ManualClock;
use model::columns::Columns;
use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample};
use narthex_benches::Rng;
use tsdb::block::{BlockMeta, BlockWriter};
use tsdb::db::{Db, Options};
use ulid::Ulid;

use crate::targets::{Walk, lines};

/// Time between samples of a series.
pub(super) const INTERVAL_MS: i64 = 15_000;
const HOUR_MS: i64 = 3_600_000;
/// Series of a target.
const TARGET_SERIES: usize = 1000;
/// Of so many targets one is another one in the next block: what deployments leave.
const CHURN: usize = 10;

/// The series of some targets, and when their samples are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fleet {
    pub(super) targets: usize,
    pub(super) seed: u64,
    /// Where blocks of six hours begin, early enough that eight hours from there are past.
    pub(super) start_ms: i64,
}

/// A series and how its values go on.
struct Series {
    labels: Labels,
    walk: Walk,
    target: usize,
    rng: Rng,
    value: f64,
}

impl Fleet {
    /// Targets with a thousand series each, seen from `now_ms`.
    pub(super) fn new(targets: usize, seed: u64, now_ms: i64) -> Self {
        Fleet {
            targets,
            seed,
            start_ms: (now_ms - 8 * HOUR_MS).div_euclid(6 * HOUR_MS) * 6 * HOUR_MS,
        }
    }

    /// The series as they are in a generation: one target of ten is another one in each.
    fn series(&self, generation: usize) -> Vec<Series> {
        let lines = lines(TARGET_SERIES);
        let mut all = Vec::with_capacity(self.targets * lines.len());
        for target in 0..self.targets {
            let age = if target % CHURN == CHURN - 1 {
                generation
            } else {
                0
            };
            let place = [
                ("cluster".to_owned(), format!("eu-west-{}", target % 3)),
                (
                    "instance".to_owned(),
                    format!("ip-10-{age}-{}-{}.eu-west-1:9100", target / 250, target % 250),
                ),
                ("job".to_owned(), "bench-service".to_owned()),
                ("suite".to_owned(), crate::targets::SUITE.to_owned()),
            ];
            let seed = self.seed ^ ((target * 1000 + age) as u64) << 24;
            all.extend(lines.iter().enumerate().map(|(line, (text, walk))| {
                let mut rng = Rng::new(seed + line as u64);
                let value = (rng.next_u64() % 100_000) as f64;
                let labels = Labels::from_pairs(pairs(text).into_iter().chain(place.iter().cloned()));
                Series {
                    labels,
                    walk: *walk,
                    target,
                    rng,
                    value,
                }
            }));
        }
        all
    }

    /// When a target was scraped: on the millisecond most times, up to two later else.
    fn timestamp_ms(&self, target: usize, row: i64) -> i64 {
        let offset_ms = Rng::new(target as u64).next_u64() % (INTERVAL_MS as u64 - 3);
        let jitter = Rng::new(self.seed ^ (target as u64) << 32 ^ row as u64).next_u64();
        let late_ms = if jitter.is_multiple_of(8) {
            jitter >> 8 & 1
        } else {
            0
        } + u64::from(jitter.is_multiple_of(64));
        self.start_ms + row * INTERVAL_MS + (offset_ms + late_ms) as i64
    }

    /// Writes a head with the samples of `hours` of time, all in its logs, into the data folder `dir`.
    pub(super) fn write_head(&self, dir: &Path, hours: f64) -> Result<()> {
        let mut all = self.series(0);
        let options = Options {
            background: false,
            ..Options::default()
        };
        let clock = Arc::new(ManualClock::new(self.start_ms));
        let db = Db::open(Arc::new(DiskFiles), dir, options, clock)?;
        let references: Vec<_> = all
            .iter()
            .map(|series| db.resolve(&series.labels))
            .collect::<Result<_, _>>()?;
        let mut batch = AppendBatch::default();
        let mut outcome = AppendOutcome::default();
        for row in 0..rows(hours) {
            for (series, references) in all
                .chunks_mut(TARGET_SERIES)
                .zip(references.chunks(TARGET_SERIES))
            {
                let timestamp_ms = self.timestamp_ms(series[0].target, row);
                batch.floats.clear();
                batch
                    .floats
                    .extend(
                        series
                            .iter_mut()
                            .zip(references)
                            .map(|(series, reference)| FloatSample {
                                series: *reference,
                                timestamp_ms,
                                value: series.next(),
                            }),
                    );
                db.append(&batch, &mut outcome)?;
            }
        }
        db.close()?;
        Ok(())
    }

    /// Writes the block of `hours` of time into `dir`: the rows of it that `wanted` chooses.
    pub(super) fn write_block(
        &self,
        dir: &Path,
        number: usize,
        generation: usize,
        hours: Range<f64>,
        wanted: impl Fn(i64) -> bool,
    ) -> Result<()> {
        let mut all = self.series(generation);
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        let symbols: BTreeSet<&str> = all
            .iter()
            .flat_map(|s| s.labels.iter().flat_map(|(name, value)| [name, value]))
            .collect();
        let ulid = Ulid::from_parts(self.start_ms as u64 + number as u64, u128::from(self.seed));
        let at_ms = |hour: f64| self.start_ms + rows(hour) * INTERVAL_MS;
        let meta = BlockMeta::of_head(ulid, at_ms(hours.start), at_ms(hours.end));
        let mut writer = BlockWriter::create(Arc::new(DiskFiles), dir, meta, symbols)?;
        let mut columns = Columns::default();
        for series in &mut all {
            columns.clear();
            for row in rows(hours.start)..rows(hours.end) {
                let value = series.next();
                if wanted(row) {
                    columns.push(self.timestamp_ms(series.target, row), value);
                }
            }
            writer.add_samples(&series.labels, &columns)?;
        }
        writer.finish()?.context("the block would be empty")?;
        Ok(())
    }

    /// Writes two hours of samples as OpenMetrics text, in order of time.
    pub(super) fn write_text(&self, path: &Path) -> Result<()> {
        let mut all = self.series(0);
        let mut out = BufWriter::new(File::create(path)?);
        let mut line = String::new();
        let names: Vec<String> = all.iter().map(|series| text(&series.labels)).collect();
        for row in 0..rows(2.0) {
            for (series, name) in all.iter_mut().zip(&names) {
                let seconds = self.timestamp_ms(series.target, row) as f64 / 1000.0;
                line.clear();
                writeln!(line, "{name} {} {seconds:.3}", series.next())?;
                out.write_all(line.as_bytes())?;
            }
        }
        out.write_all(b"# EOF\n")?;
        out.flush()?;
        Ok(())
    }
}

impl Series {
    fn next(&mut self) -> f64 {
        self.value = self.walk.next(self.value, &mut self.rng);
        self.value
    }
}

fn rows(hours: f64) -> i64 {
    (hours * HOUR_MS as f64) as i64 / INTERVAL_MS
}

/// A series as text: values have nothing to be escaped.
fn text(labels: &Labels) -> String {
    let others = labels.iter().filter(|(name, _)| *name != "__name__");
    let others: Vec<_> = others
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    format!("{}{{{}}}", labels.metric_name(), others.join(","))
}

/// The labels of a line of [`lines`], whose values have nothing escaped.
fn pairs(line: &str) -> Vec<(String, String)> {
    let line = line.lines().last().unwrap_or_default();
    let (name, labels) = line.split_once('{').unwrap_or((line, ""));
    let mut pairs = vec![("__name__".to_owned(), name.to_owned())];
    for pair in labels.trim_end_matches('}').split_terminator(',') {
        if let Some((name, value)) = pair.split_once('=') {
            pairs.push((name.to_owned(), value.trim_matches('"').to_owned()));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_labels() {
        let labels = |line: &str| Labels::from_pairs(pairs(line)).to_string();
        assert_eq!(
            labels("# TYPE a counter\na{b=\"c/d\",le=\"+Inf\"}"),
            "{__name__=\"a\", b=\"c/d\", le=\"+Inf\"}"
        );
        assert_eq!(labels("a"), "{__name__=\"a\"}");
    }

    #[test]
    fn series_differ_and_a_tenth_is_replaced() {
        let fleet = Fleet::new(10, 7, 1_795_400_000_000);
        let labels =
            |generation| -> BTreeSet<_> { fleet.series(generation).into_iter().map(|s| s.labels).collect() };
        let (first, second) = (labels(0), labels(1));
        assert_eq!(first.len(), 10 * TARGET_SERIES);
        assert_eq!(first.intersection(&second).count(), 9 * TARGET_SERIES);
        let times: Vec<_> = (0..1000).map(|row| fleet.timestamp_ms(3, row)).collect();
        assert!(times.is_sorted() && times[999] < fleet.start_ms + 1000 * INTERVAL_MS);
        assert_eq!(fleet.start_ms % (6 * HOUR_MS), 0);
    }
}

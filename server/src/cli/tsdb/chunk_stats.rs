//! `tsdb analyze --extended`: how full chunks are, as bar charts of characters.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::columns::Columns;
use model::histogram::Histogram;
use model::storage::StorageError;
use tsdb::block::{Block, SeriesEntry};
use tsdb::chunk::{Encoding, decode};

/// Widest and narrowest step of a chart.
const STEP_MAX: u64 = 10_000;
const STEP_MIN: u64 = 10;

/// Numbers and how often each was seen.
#[derive(Default)]
struct Numbers(BTreeMap<u64, u64>);

/// What chunks hold.
#[derive(Default)]
pub(super) struct ChunkStats {
    chunks: u64,
    float_samples: Numbers,
    float_bytes: Numbers,
    histogram_samples: Numbers,
    histogram_bytes: Numbers,
    histogram_buckets: Numbers,
    columns: Columns,
}

impl ChunkStats {
    /// Counts the chunks of a series.
    pub(super) fn add(&mut self, block: &Block, entry: &SeriesEntry) -> Result<(), StorageError> {
        for chunk in &entry.chunks {
            let data = block.segments().chunk(chunk.reference)?;
            let refuse = |error: tsdb::chunk::ChunkError| StorageError::Corrupt {
                path: block.dir().join(tsdb::block::CHUNKS_DIR),
                offset: chunk.reference & 0xffff_ffff,
                what: error.to_string(),
            };
            let encoding = Encoding::from_byte(data.encoding).map_err(refuse)?;
            let samples = u64::from(encoding.samples(data.bytes).map_err(refuse)?);
            self.chunks += 1;
            if !encoding.is_histogram() {
                self.float_samples.add(samples);
                self.float_bytes.add(data.bytes.len() as u64);
                continue;
            }
            self.histogram_samples.add(samples);
            self.histogram_bytes.add(data.bytes.len() as u64);
            self.columns.clear();
            decode(data.encoding, data.bytes, i64::MIN, i64::MAX, &mut self.columns).map_err(refuse)?;
            let buckets = self.columns.histograms.iter().map(|(_, h)| buckets(h)).sum();
            self.histogram_buckets.add(buckets);
        }
        Ok(())
    }

    /// The charts.
    pub(super) fn text(&self) -> String {
        let mut text = "\nCompaction analysis:\n\n".to_owned();
        for (title, numbers) in [
            ("samples per float chunk", &self.float_samples),
            ("bytes per float chunk", &self.float_bytes),
            ("samples per histogram chunk", &self.histogram_samples),
            ("bytes per histogram chunk", &self.histogram_bytes),
            ("buckets per histogram chunk", &self.histogram_buckets),
        ] {
            numbers.chart(title, self.chunks, &mut text);
        }
        text
    }
}

fn buckets(histogram: &Histogram) -> u64 {
    let (positive, negative) = match histogram {
        Histogram::Int(h) => (h.positive_buckets.len(), h.negative_buckets.len()),
        Histogram::Float(h) => (h.positive_buckets.len(), h.negative_buckets.len()),
    };
    (positive + negative) as u64
}

impl Numbers {
    fn add(&mut self, number: u64) {
        *self.0.entry(number).or_default() += 1;
    }

    /// A line for each step, with as many marks as percent of all `chunks` fall into it.
    fn chart(&self, title: &str, chunks: u64, text: &mut String) {
        let (Some((min, _)), Some((max, _))) = (self.0.first_key_value(), self.0.last_key_value()) else {
            let _ = writeln!(text, "{title}: N/A\n");
            return;
        };
        let mut step = STEP_MIN;
        while step < (max - min) / 10 && step <= STEP_MAX {
            step *= 10;
        }
        let (start, end) = (min - min % step, max - max % step + step);
        let mut steps = vec![0u64; ((end - start) / step + 1) as usize];
        let (mut count, mut sum) = (0, 0);
        for (number, times) in &self.0 {
            steps[((number - start) / step) as usize] += times;
            count += times;
            sum += number * times;
        }
        let digits = |number: u64| number.to_string().len();
        let (left, right) = (digits(end), digits(end + step));
        let wide = digits(steps.iter().copied().max().unwrap_or(0));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{title} (min/avg/max): {min}/{}/{max}", sum / count);
        for (at, times) in steps.iter().enumerate() {
            let from = at as u64 * step + start;
            let marks = "#".repeat((100 * times / chunks) as usize);
            let _ = writeln!(
                text,
                "[{:left$}, {:right$}]: {times:wide$} {marks}",
                from + 1,
                from + step
            );
        }
        text.push('\n');
    }
}

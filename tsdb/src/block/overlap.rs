//! Chunks of a series that overlap, as samples.
//!
//! Floats, which nearly all are, take the fast way: chunks that do not overlap each other, as those of one block, are
//! decoded side by side, and stretches of samples are copied together.

use model::columns::Columns;

use super::BlockChunk;
use crate::chunk::{ChunkData, ChunkError, decode, decode_all, sample_count};
use crate::columns::{merge, merge_floats};

/// Merges chunks; keeps its buffers.
#[derive(Default)]
pub(super) struct Overlap {
    runs: Vec<Run>,
    read: Columns,
    merged: Columns,
    spare: Columns,
}

/// Chunks that follow each other without overlap.
#[derive(Default)]
struct Run {
    /// Places of the chunks among all.
    chunks: Vec<usize>,
    columns: Columns,
    /// Chunks and rows that were taken already.
    begun: usize,
    taken: usize,
}

impl Overlap {
    /// The samples of chunks that are sorted by where they begin. Where some have a sample for the same timestamp, that
    /// of the first of them counts.
    ///
    /// # Errors
    /// When a chunk is damaged: its place, and why.
    pub(super) fn merge(&mut self, chunks: &[BlockChunk<'_>]) -> Result<&Columns, (usize, ChunkError)> {
        if !self.merge_floats(chunks) {
            self.merge_any(chunks)?;
        }
        Ok(&self.merged)
    }

    /// The fast way; false where the slow one is to be taken: there is something else than floats, or damage.
    fn merge_floats(&mut self, chunks: &[BlockChunk<'_>]) -> bool {
        let runs = self.plan(chunks);
        for run in &mut self.runs[..runs] {
            let data: Vec<ChunkData<'_>> = run.chunks.iter().map(|at| chunks[*at].data).collect();
            let columns = &mut run.columns;
            let read = decode_all(&data, i64::MIN, i64::MAX, columns);
            if read.is_err() || !columns.histograms.is_empty() || !columns.start_timestamps_ms.is_empty() {
                return false;
            }
        }
        self.merged.clear();
        for (at, chunk) in chunks.iter().enumerate() {
            let run = self.runs[..runs]
                .iter_mut()
                .find(|run| run.chunks.get(run.begun) == Some(&at));
            let (Some(run), Ok(samples)) = (run, sample_count(chunk.data.bytes)) else {
                return false;
            };
            let rows = run.taken..run.taken + usize::from(samples);
            run.taken = rows.end;
            run.begun += 1;
            let (times_ms, values) = (&run.columns.timestamps_ms, &run.columns.values);
            let (Some(times_ms), Some(values)) = (times_ms.get(rows.clone()), values.get(rows)) else {
                return false;
            };
            merge_floats(&mut self.merged, times_ms, values, &mut self.spare);
        }
        true
    }

    /// Puts each chunk into the first run behind whose end it begins; gives the number of runs.
    fn plan(&mut self, chunks: &[BlockChunk<'_>]) -> usize {
        let mut used = 0;
        for (at, chunk) in chunks.iter().enumerate() {
            let behind = |run: &Run| {
                run.chunks
                    .last()
                    .is_some_and(|last| chunks[*last].max_ms < chunk.min_ms)
            };
            let run = self.runs[..used].iter().position(behind).unwrap_or(used);
            if run == used {
                used += 1;
                if self.runs.len() < used {
                    self.runs.push(Run::default());
                }
                let fresh = &mut self.runs[run];
                fresh.chunks.clear();
                fresh.columns.clear();
                (fresh.begun, fresh.taken) = (0, 0);
            }
            self.runs[run].chunks.push(at);
        }
        used
    }

    fn merge_any(&mut self, chunks: &[BlockChunk<'_>]) -> Result<(), (usize, ChunkError)> {
        self.merged.clear();
        for (at, BlockChunk { data, .. }) in chunks.iter().enumerate() {
            self.read.clear();
            decode(data.encoding, data.bytes, i64::MIN, i64::MAX, &mut self.read).map_err(|e| (at, e))?;
            self.spare.clear();
            merge(&self.merged, &self.read, &mut self.spare);
            std::mem::swap(&mut self.merged, &mut self.spare);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{EncodeOptions, encode};

    #[test]
    fn both_ways_come_to_the_same() {
        let mut random = 11u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        for round in 0..300 {
            // Several blocks, each with chunks of its own; timestamps meet often.
            let mut encoded = Vec::new();
            for block in 0..2 + next(3) {
                let (mut columns, mut t) = (Columns::default(), next(50) as i64);
                for _ in 0..next(100) {
                    columns.push(t, (block * 1000 + next(1000)) as f64);
                    t += 1 + next(4) as i64;
                }
                let samples_max = 1 + next(30) as usize;
                encoded.extend(encode(
                    &columns,
                    &EncodeOptions {
                        samples_max,
                        ..EncodeOptions::default()
                    },
                ));
            }
            let mut chunks: Vec<BlockChunk<'_>> = encoded.iter().map(BlockChunk::from).collect();
            chunks.sort_by_key(|chunk| (chunk.min_ms, chunk.max_ms));
            let mut overlap = Overlap::default();
            assert!(overlap.merge_floats(&chunks), "round {round}");
            let fast = std::mem::take(&mut overlap.merged);
            overlap.merge_any(&chunks).unwrap();
            let slow = &overlap.merged;
            assert_eq!(
                (&fast.timestamps_ms, &fast.values),
                (&slow.timestamps_ms, &slow.values),
                "round {round}"
            );
        }
    }

    #[test]
    fn damage_is_told_with_its_place() {
        let mut columns = Columns::default();
        (0..50).for_each(|t| columns.push(t * 10, t as f64));
        let whole = &encode(&columns, &EncodeOptions::default())[0];
        let cut = ChunkData {
            encoding: whole.encoding as u8,
            bytes: &whole.bytes[..20],
        };
        let chunk = BlockChunk {
            data: cut,
            ..BlockChunk::from(whole)
        };
        let refused = Overlap::default().merge(&[whole.into(), chunk]).unwrap_err();
        assert_eq!(refused.0, 1);
    }
}

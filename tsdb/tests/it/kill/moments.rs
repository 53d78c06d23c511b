//! What a process was doing when it was killed, told from the folder that it left and from its own last words.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// A log's newest segment that is no longer than this has been begun with the last transaction.
const FRESH_SEGMENT_BYTES: u64 = 600;

/// What a kill interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    /// The store was not open yet.
    Opening,
    /// A batch was on its way.
    Appending,
    /// A log had just gone on to a new segment.
    LogRotation,
    /// A checkpoint was being written.
    Checkpoint,
    /// A checkpoint was there, and so was what it replaces.
    BehindCheckpoint,
    /// A snapshot of the head was being written.
    HeadSnapshot,
    /// A block was being written: from the head unless it is one of the next two.
    HeadCut,
    /// From late samples.
    LateCut,
    /// From other blocks.
    Compaction,
    /// A block was there, and so was one that it replaces.
    BehindCompaction,
    /// A block was being removed.
    Removal,
    /// Samples were being deleted.
    Deletion,
    /// Tombstones or other facts of a block were being exchanged.
    BlockFacts,
    /// Blocks with deleted samples were being rewritten.
    Cleaning,
    /// A snapshot of the whole store was being taken.
    Snapshot,
    /// The store was being closed.
    Closing,
}

impl Moment {
    /// Those that a process can be watched for, so that it is killed right then.
    pub(super) const WATCHED: [Moment; 8] = [
        Moment::LogRotation,
        Moment::Checkpoint,
        Moment::BehindCheckpoint,
        Moment::HeadSnapshot,
        Moment::HeadCut,
        Moment::BehindCompaction,
        Moment::Removal,
        Moment::BlockFacts,
    ];
}

/// How often each moment was hit.
#[derive(Debug, Default)]
pub(super) struct Moments(BTreeMap<Moment, u64>);

impl Moments {
    pub(super) fn count(&mut self, hit: &[Moment]) {
        for moment in hit {
            *self.0.entry(*moment).or_default() += 1;
        }
    }
}

impl fmt::Display for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (moment, count) in &self.0 {
            write!(f, " {moment:?} {count}")?;
        }
        Ok(())
    }
}

/// The moments that a kill has hit: `words` is what the process said.
pub(super) fn hit(dir: &Path, words: &[String]) -> Vec<Moment> {
    let of_block = words
        .iter()
        .rev()
        .find_map(|line| match line.strip_prefix("works ")? {
            "merging blocks" => Some(Moment::Compaction),
            "writing late samples" => Some(Moment::LateCut),
            _ => Some(Moment::HeadCut),
        });
    let mut hit = said(words);
    hit.extend(seen(dir).into_iter().map(|moment| match moment {
        Moment::HeadCut => of_block.unwrap_or(moment),
        other => other,
    }));
    hit.sort_unstable();
    hit.dedup();
    hit
}

/// What the process has begun and not ended, by its own words.
fn said(words: &[String]) -> Vec<Moment> {
    let mut open = BTreeMap::new();
    let mut is_open = false;
    for line in words {
        let mut parts = line.split(' ');
        let (word, number) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let key = (word, number.to_owned());
        match word {
            "open" => is_open = true,
            "batch" => drop(open.insert(("batched", key.1), Moment::Appending)),
            "delete" => drop(open.insert(("deleted", key.1), Moment::Deletion)),
            "snapshot" => drop(open.insert(("snapshotted", key.1), Moment::Snapshot)),
            "clean" => drop(open.insert(("cleaned", key.1), Moment::Cleaning)),
            "close" => drop(open.insert(("closed", key.1), Moment::Closing)),
            _ => drop(open.remove(&key)),
        }
    }
    if is_open {
        open.into_values().collect()
    } else {
        vec![Moment::Opening]
    }
}

/// What the folder looks like. Half-written blocks count as [`Moment::HeadCut`].
pub(super) fn seen(dir: &Path) -> Vec<Moment> {
    let mut seen = Vec::new();
    let (mut blocks, mut parents) = (Vec::new(), String::new());
    for (name, path) in entries(dir) {
        if name.ends_with(".tmp-for-creation") {
            seen.push(Moment::HeadCut);
        } else if name.ends_with(".tmp-for-deletion") {
            seen.push(Moment::Removal);
        } else if name == "head_snapshot.tmp" {
            seen.push(Moment::HeadSnapshot);
        } else if let Ok(meta) = std::fs::read_to_string(path.join("meta.json")) {
            parents.push_str(meta.split_once("parents").map_or("", |(_, parents)| parents));
            blocks.push(name);
            if entries(&path).iter().any(|(name, _)| name.ends_with(".tmp")) {
                seen.push(Moment::BlockFacts);
            }
        }
    }
    if blocks.iter().any(|block| parents.contains(block)) {
        seen.push(Moment::BehindCompaction);
    }
    seen.extend(["wal", "wbl"].iter().flat_map(|log| seen_of_log(&dir.join(log))));
    seen
}

fn seen_of_log(dir: &Path) -> Vec<Moment> {
    let mut seen = Vec::new();
    let (mut segments, mut checkpoints) = (Vec::new(), Vec::new());
    for (name, path) in entries(dir) {
        match name.strip_prefix("checkpoint.") {
            Some(number) if number.ends_with(".tmp") => seen.push(Moment::Checkpoint),
            Some(number) => checkpoints.push(number.to_owned()),
            None => segments.push((name, path)),
        }
    }
    segments.sort();
    checkpoints.sort();
    if let Some(newest) = checkpoints.last() {
        let replaced = segments.first().is_some_and(|(name, _)| name <= newest);
        if replaced || checkpoints.len() > 1 {
            seen.push(Moment::BehindCheckpoint);
        }
    }
    let newest = segments.last().and_then(|(_, path)| path.metadata().ok());
    if newest.is_some_and(|file| file.len() <= FRESH_SEGMENT_BYTES) {
        seen.push(Moment::LogRotation);
    }
    seen
}

/// Names and paths in a folder; none where it is missing.
fn entries(dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect()
}

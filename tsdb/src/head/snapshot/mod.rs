//! The snapshot: what is in the head, in a file beside the logs, so that a start does not read the logs from their
//! beginning. Layout: `tsdb/docs/head_snapshot.md`.
//!
//! The logs stay complete; the file saves time and nothing depends on it. A start that finds it damaged, or finds that
//! the folder is no longer the one that it was taken of, says so and reads the logs.
//!
//! # Why it is right
//!
//! A snapshot names a *position* in each log: everything before it is in the snapshot, and a start replays what is behind
//! it. The position is taken while no transaction is under way ([`Head::freeze`]), so a record before it was applied.
//! Pages are copied afterwards, one by one, while appending goes on. A page may thus have samples from behind the
//! position, which are then replayed onto it:
//!
//! * **Samples in order**, floats and histograms: what is not newer than the newest of its series is passed over. A series
//!   takes samples in the order of the log, so what it has is exactly what it would have taken up to there.
//! * **Full chunks**: those in files before the chunk position are in the copies. Later ones are found by scanning: a
//!   copied series has them already, or has their beginning as its open chunk and lets them take its place, or they
//!   come in when replay reaches their first sample, as always.
//! * **Late samples**: what is in a series' list is passed over; what went to a chunk after the position is taken a second
//!   time, and readers merge equal samples. A marker empties the list of what its chunk holds, and everything behind
//!   the marker is replayed behind it.
//! * **Deletions**: a range that is deleted already stays deleted. Deleting counts as a transaction, so none is lost.
//! * **Exemplars** that are not newer are refused, **metadata** ends with the newest, and a **series** that is there is
//!   found to be there. Series created behind the position are left out: their records are behind it.
//! * **Removed series**: copying and removing exclude each other, and a snapshot from before a removal brings back only
//!   what a replay of the whole log would. A checkpoint may drop the records of removed series, so a snapshot from
//!   before the newest checkpoint is refused.
//! * **Late samples that blocks hold**: a snapshot from before does not know; it is removed before they are forgotten.
//!
//! Before the file gets its name, everything that it tells is made durable where the logs and chunk files tell it. So
//! after a power cut the snapshot never knows more than they do, and torn transactions cannot come back through it.

mod file;
mod load;
mod state;
mod write;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use model::storage::StorageError;

use super::Head;
use files::Result;

pub(super) use file::temporary;
pub(super) use load::{Loaded, load};
pub(super) use state::State;

/// A snapshot is taken when the logs have grown by this part of its length since the last one.
const GROWTH_PARTS: u64 = 4;

/// What a start made of the snapshot.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum SnapshotUse {
    /// Snapshots are switched off.
    #[default]
    Off,
    /// There is none.
    Missing,
    /// It was used: only the ends of the logs were read.
    Used,
    /// It was refused, and removed.
    Refused(SnapshotRefusal),
}

impl fmt::Display for SnapshotUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotUse::Off => f.write_str("off"),
            SnapshotUse::Missing => f.write_str("missing"),
            SnapshotUse::Used => f.write_str("used"),
            SnapshotUse::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// Why a snapshot was not used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotRefusal {
    /// The file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] StorageError),
    /// Its bytes are damaged: where, and how.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// A checkpoint was written since, or has gone.
    #[error("the log has another checkpoint now")]
    Checkpoint,
    /// A log does not have the position any more, or other bytes before it.
    #[error("segment {segment} of the {log} is not the one that it was taken of")]
    Log {
        /// `wal` or `wbl`.
        log: &'static str,
        /// Number of the segment.
        segment: u64,
    },
    /// A chunk file is gone, shorter or has other contents.
    #[error("head chunk file {0} is not the one that it was taken of")]
    ChunkFile(u32),
}

/// Reads the file of a snapshot from front to back and checks every checksum; gives the number of its sections. Whether
/// the snapshot still fits the folder is for a start to find out.
///
/// # Errors
/// [`SnapshotRefusal::Damaged`] where it cannot be used.
pub fn check_snapshot(bytes: &[u8]) -> std::result::Result<usize, SnapshotRefusal> {
    let refuse = |damage: file::Damage| SnapshotRefusal::Damaged(damage.to_string());
    let sections = file::sections(bytes).map_err(refuse)?;
    for section in &sections {
        section.body().map_err(refuse)?;
    }
    Ok(sections.len())
}

/// A snapshot that was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotStats {
    /// Series in it.
    pub series: u64,
    /// Its length.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

/// What is known of the snapshot on disk.
#[derive(Debug, Default)]
pub(super) struct OnDisk {
    /// Its length; 0 where there is none.
    pub(super) bytes: u64,
    /// Whether it would be refused.
    pub(super) is_stale: bool,
    /// Bytes that the logs had behind its position when this process opened them.
    pub(super) behind_bytes: u64,
    /// Bytes that this process had written to the logs at its position.
    pub(super) written_bytes: u64,
    /// Files of the process before this one, which it may not have synced.
    pub(super) inherited: Vec<PathBuf>,
}

impl Head {
    /// Name of the snapshot in the data folder.
    pub const SNAPSHOT_FILE: &'static str = "head_snapshot";

    pub(super) fn snapshot_path(&self) -> PathBuf {
        self.dir.join(Self::SNAPSHOT_FILE)
    }

    /// Bytes of the snapshot on disk; 0 where there is none.
    pub fn snapshot_bytes(&self) -> u64 {
        self.on_disk.lock().bytes
    }

    /// Whether replaying the logs from the last snapshot on would take so long that a new one is worth its writing.
    pub fn is_snapshot_due(&self) -> bool {
        let on_disk = self.on_disk.lock();
        if on_disk.bytes == 0 || on_disk.is_stale {
            return self.series_len() > 0;
        }
        let grown = self.log_bytes() - on_disk.written_bytes + on_disk.behind_bytes;
        grown >= (on_disk.bytes / GROWTH_PARTS).max(1)
    }

    /// Bytes written to both logs by this process.
    fn log_bytes(&self) -> u64 {
        self.wal.written_bytes() + self.wbl().map_or(0, crate::wal::Wal::written_bytes)
    }

    /// Removes the snapshot for good: what follows would make it wrong.
    pub(super) fn remove_snapshot(&self, on_disk: &mut OnDisk) -> Result<()> {
        if self.files.exists(&self.snapshot_path()) {
            self.files.remove_file(&self.snapshot_path())?;
            self.files.sync_dir(&self.dir)?;
        }
        on_disk.bytes = 0;
        Ok(())
    }
}

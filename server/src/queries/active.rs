//! `queries.active` in the data folder: which queries are running, to be read after a crash.
//!
//! The file is the reference's: `[`, then slots of 1,000 bytes, each empty (zeros) or a JSON object, zeros, and a comma.
//! It is written, not mapped: what is written survives the end of the process, which is all that is asked of it.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;

/// Name of the file.
const FILE_NAME: &str = "queries.active";
/// Bytes of a slot.
const SLOT_BYTES: usize = 1000;
/// Largest file that is read: that of a server with thousands of slots.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The file, and which of its slots are free.
pub(super) struct ActiveQueries {
    /// Absent where it cannot be written: queries run all the same.
    file: Option<File>,
    free: Mutex<Vec<usize>>,
}

/// A slot that is taken; emptied when dropped.
pub(super) struct ActiveEntry {
    queries: Arc<ActiveQueries>,
    slot: usize,
}

#[derive(Serialize)]
struct Entry<'q> {
    query: &'q str,
    timestamp_sec: u64,
}

impl ActiveQueries {
    /// Opens the file in `folder` with `slots` empty slots, and says in the log what was running according to the old
    /// one.
    pub(super) fn open(folder: &Path, slots: usize) -> Self {
        let path = folder.join(FILE_NAME);
        if let Some(queries) = unfinished(&path) {
            tracing::warn!(queries, "These queries didn't finish in the last run");
        }
        let file = create(&path, slots);
        if let Err(error) = &file {
            tracing::error!(%error, file = %path.display(), "Running queries cannot be noted");
        }
        ActiveQueries {
            file: file.ok(),
            free: Mutex::new((0..slots).rev().collect()),
        }
    }

    /// Notes a query. There is a slot for each that may run.
    pub(super) fn enter(self: &Arc<Self>, query: &str) -> Option<ActiveEntry> {
        let file = self.file.as_ref()?;
        let slot = self.free.lock().pop()?;
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        if let Err(error) = file.write_all_at(&slot_bytes(query, seconds), offset(slot)) {
            tracing::debug!(%error, "A running query is not noted");
        }
        Some(ActiveEntry {
            queries: self.clone(),
            slot,
        })
    }
}

impl Drop for ActiveEntry {
    fn drop(&mut self) {
        if let Some(file) = &self.queries.file
            && let Err(error) = file.write_all_at(&[0; SLOT_BYTES], offset(self.slot))
        {
            tracing::debug!(%error, "The end of a query is not noted");
        }
        self.queries.free.lock().push(self.slot);
    }
}

fn offset(slot: usize) -> u64 {
    1 + (slot * SLOT_BYTES) as u64
}

fn create(path: &Path, slots: usize) -> std::io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path)?;
    let mut bytes = vec![0; 1 + slots * SLOT_BYTES];
    bytes[0] = b'[';
    file.write_all_at(&bytes, 0)?;
    Ok(file)
}

/// The slot of a query: as much of its text as fits.
fn slot_bytes(query: &str, timestamp_sec: u64) -> [u8; SLOT_BYTES] {
    // Texts are never shorter as JSON.
    let mut kept = cut(query, SLOT_BYTES);
    let text = loop {
        let entry = Entry {
            query: kept,
            timestamp_sec,
        };
        let text = serde_json::to_string(&entry).unwrap_or_default();
        match text.len().checked_sub(SLOT_BYTES - 1) {
            None | Some(0) => break text,
            // A byte stands for at most six, so that this is never too much, and comes to an end.
            Some(excess) => kept = cut(kept, kept.len() - excess.div_ceil(6).min(kept.len())),
        }
    };
    let mut slot = [0; SLOT_BYTES];
    slot[..text.len()].copy_from_slice(text.as_bytes());
    slot[SLOT_BYTES - 1] = b',';
    slot
}

/// The first `bytes` bytes, or a little less where a character is in the way.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    &text[..end]
}

/// The queries of an old file as a JSON list; nothing where it holds none.
fn unfinished(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    bytes.retain(|byte| *byte != 0);
    let text = String::from_utf8_lossy(&bytes);
    let list = text.strip_suffix(',')?;
    Some(format!("{list}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_is_found_again() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(FILE_NAME);
        assert_eq!(unfinished(&path), None);
        let queries = Arc::new(ActiveQueries::open(folder.path(), 3));
        assert_eq!(std::fs::metadata(&path).expect("file").len(), 3001);
        assert_eq!(unfinished(&path), None);
        let first = queries.enter("sum(up) \"quoted\"").expect("a slot");
        let second = queries.enter(&"é\n".repeat(900)).expect("a slot");
        let third = queries.enter("third").expect("a slot");
        assert!(queries.enter("no slot").is_none());
        drop(first);
        let bytes = std::fs::read(&path).expect("file");
        assert!(bytes[1..1001].iter().all(|byte| *byte == 0));
        assert_eq!((bytes[0], bytes[2000], bytes[3000]), (b'[', b',', b','));
        let text = unfinished(&path).expect("two");
        let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(
            list[0]["query"]
                .as_str()
                .is_some_and(|text| text.starts_with("é\né\n") && text.len() > 600)
        );
        assert_eq!(list[1]["query"], "third");
        assert!(
            list[1]["timestamp_sec"]
                .as_u64()
                .is_some_and(|seconds| seconds > 1_000_000_000)
        );
        drop((second, third));
        assert_eq!(unfinished(&path), None);
        // Bytes from outside.
        std::fs::write(&path, b"[\xff\xfe,").expect("file");
        assert_eq!(unfinished(&path), Some("[\u{fffd}\u{fffd}]".to_owned()));
        assert!(
            ActiveQueries::open(&folder.path().join("not here"), 1)
                .file
                .is_none()
        );
    }
}

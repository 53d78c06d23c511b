//! How far the log was sent, in memory and on the disk.
//!
//! A queue sends in several streams, and what was read later may be delivered earlier. So each record of the log counts what of
//! it is still under way ([`Ledger`]); the cursor stands behind the last record up to which nothing is. It is written to a
//! file of its own for each queue, whole and at once (`files::replace_file`):
//!
//! ```json
//! {"version": 1, "queue": "name", "segment": 12, "offset": 32768, "since_ms": 1700000000000, "begun": [[12, 1700000360000]]}
//! ```
//!
//! `since_ms` is when the queue first began: samples of times before are none of its. `begun` says when segments of the log
//! began, for the limit of age. A file that cannot be read counts as one that stands at the beginning of the log.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::{Files, is_not_found, replace_file};
use md5::{Digest, Md5};
use model::log::LogPosition;
use model::storage::StorageError;
use serde::{Deserialize, Serialize};

/// Folder of the cursors, in the store's.
const FOLDER: &str = "remote_write";
const ENDING: &str = ".cursor.json";
const VERSION: u32 = 1;
/// Segments whose beginnings are remembered; beyond it the oldest are forgotten, and count as older than they are.
const BEGUN_MAX: usize = 1_000;

/// Where a queue stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) position: LogPosition,
    pub(super) since_ms: i64,
    /// When segments were first seen, oldest first.
    pub(super) begun: VecDeque<(u64, i64)>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    queue: String,
    segment: u64,
    offset: u64,
    since_ms: i64,
    #[serde(default)]
    begun: Vec<(u64, i64)>,
}

impl Place {
    /// Notes that segment `segment` is being written.
    pub(super) fn note_segment(&mut self, segment: u64, now_ms: i64) {
        if self.begun.back().is_none_or(|(last, _)| *last < segment) {
            self.begun.push_back((segment, now_ms));
        }
        while self.begun.len() > BEGUN_MAX {
            self.begun.pop_front();
        }
    }

    /// When segment `segment` ended, where that is known.
    pub(super) fn ended_ms(&self, segment: u64) -> Option<i64> {
        let next = self.begun.iter().find(|(number, _)| *number > segment);
        next.map(|(_, ms)| *ms)
    }

    /// Forgets when segments began that lie behind.
    fn forget_old(&mut self) {
        while self
            .begun
            .front()
            .is_some_and(|(number, _)| *number < self.position.segment)
        {
            self.begun.pop_front();
        }
    }
}

/// A queue's file.
#[derive(Clone, Debug)]
pub(super) struct CursorFile {
    files: Arc<dyn Files>,
    path: PathBuf,
    queue: String,
}

impl CursorFile {
    /// That of queue `queue` in the store's folder `dir`.
    pub(super) fn new(files: Arc<dyn Files>, dir: &Path, queue: &str) -> Self {
        let hash: String = Md5::digest(queue.as_bytes())
            .iter()
            .take(8)
            .map(|b| format!("{b:02x}"))
            .collect();
        CursorFile {
            files,
            path: dir.join(FOLDER).join(hash + ENDING),
            queue: queue.to_owned(),
        }
    }

    /// Where the queue stood; nothing for one that is new.
    pub(super) fn read(&self) -> Result<Option<Place>, StorageError> {
        match self.files.read(&self.path) {
            Ok(bytes) => Ok(Some(parse(&bytes).unwrap_or_else(|why| {
                tracing::error!(path = %self.path.display(), queue = self.queue, why,
                    "The cursor of remote write cannot be read: everything that the log still has is sent again");
                Place {
                    position: LogPosition::default(),
                    since_ms: i64::MIN,
                    begun: VecDeque::new(),
                }
            }))),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&self, place: &Place) -> Result<(), StorageError> {
        if let Some(folder) = self.path.parent()
            && !self.files.exists(folder)
        {
            self.files.create_dir_all(folder)?;
            self.files.sync_dir(folder.parent().unwrap_or(Path::new("")))?;
        }
        let mut place = place.clone();
        place.forget_old();
        let stored = Stored {
            version: VERSION,
            queue: self.queue.clone(),
            segment: place.position.segment,
            offset: place.position.offset,
            since_ms: place.since_ms,
            begun: place.begun.into(),
        };
        // Numbers and a text: that cannot fail.
        let bytes = serde_json::to_vec(&stored).unwrap_or_default();
        replace_file(&*self.files, &self.path, &bytes)
    }

    fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

fn parse(bytes: &[u8]) -> Result<Place, String> {
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if stored.version != VERSION {
        return Err(format!("version {} is not known", stored.version));
    }
    Ok(Place {
        position: LogPosition {
            segment: stored.segment,
            offset: stored.offset,
        },
        since_ms: stored.since_ms,
        begun: stored.begun.into(),
    })
}

/// The first segment that a queue of an earlier run still needs: to be kept from before the store begins to work.
///
/// # Errors
/// When the folder cannot be read.
pub fn first_needed_segment(files: &Arc<dyn Files>, dir: &Path) -> Result<Option<u64>, StorageError> {
    let mut first = None;
    for path in cursors(&**files, dir)? {
        let segment = files.read(&path).ok().and_then(|bytes| parse(&bytes).ok());
        let segment = segment.map_or(0, |place| place.position.segment);
        first = Some(first.map_or(segment, |first: u64| first.min(segment)));
    }
    Ok(first)
}

/// Removes the cursors of queues that are no longer there.
pub(super) fn forget_others(files: &dyn Files, dir: &Path, kept: &[CursorFile]) -> Result<(), StorageError> {
    let kept: Vec<String> = kept.iter().map(CursorFile::name).collect();
    for path in cursors(files, dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !kept.iter().any(|kept| *kept == name) {
            files.remove_file(&path)?;
        }
    }
    Ok(())
}

fn cursors(files: &dyn Files, dir: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let folder = dir.join(FOLDER);
    if !files.exists(&folder) {
        return Ok(Vec::new());
    }
    let entries = files.list(&folder)?.into_iter();
    let cursors = entries.filter(|entry| !entry.is_dir && entry.name.ends_with(ENDING));
    Ok(cursors.map(|entry| folder.join(entry.name)).collect())
}

/// Which records of the log are under way.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Number of the first of `open`.
    first: u64,
    /// Where each record ends, and how much of it is under way.
    open: VecDeque<(LogPosition, u64)>,
    /// Up to here everything is done.
    done: LogPosition,
}

impl Ledger {
    pub(super) fn at(position: LogPosition) -> Self {
        Ledger {
            done: position,
            ..Ledger::default()
        }
    }

    /// Notes that the log was read up to `end`, and that `items` of it are to be sent under the number that is returned.
    pub(super) fn add(&mut self, end: LogPosition, items: u64) -> u64 {
        match self.open.back_mut() {
            // Nothing of it is sent: it is done when what was before it is.
            Some((last, _)) if items == 0 => *last = end,
            None if items == 0 => self.done = end,
            _ => self.open.push_back((end, items)),
        }
        self.first + (self.open.len() as u64).saturating_sub(1)
    }

    /// Notes that `items` of record `number` are done.
    pub(super) fn finish(&mut self, number: u64, items: u64) {
        if let Some(at) = number.checked_sub(self.first)
            && let Some((_, left)) = self.open.get_mut(at as usize)
        {
            *left = left.saturating_sub(items);
        }
        while let Some((end, 0)) = self.open.front() {
            self.done = *end;
            self.first += 1;
            self.open.pop_front();
        }
    }

    pub(super) fn done(&self) -> LogPosition {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use files::MemFiles;

    fn at(offset: u64) -> LogPosition {
        LogPosition { segment: 3, offset }
    }

    #[test]
    fn the_cursor_waits_for_the_slowest() {
        let mut ledger = Ledger::at(at(0));
        ledger.add(at(10), 0);
        assert_eq!(ledger.done(), at(10));
        let (a, b) = (ledger.add(at(20), 2), ledger.add(at(30), 1));
        ledger.add(at(40), 0);
        assert_eq!((a, b), (0, 1));
        ledger.finish(b, 1);
        assert_eq!(ledger.done(), at(10));
        ledger.finish(a, 1);
        assert_eq!(ledger.done(), at(10));
        ledger.finish(a, 1);
        assert_eq!(ledger.done(), at(40));
        assert_eq!(ledger.add(at(50), 1), 2);
        ledger.finish(2, 1);
        assert_eq!(ledger.done(), at(50));
    }

    #[test]
    fn a_cursor_outlives_a_restart_and_no_queue() {
        let files: Arc<dyn Files> = Arc::new(MemFiles::new());
        let dir = Path::new("data");
        let cursor = |name| CursorFile::new(files.clone(), dir, name);
        assert_eq!(cursor("a").read().expect("none"), None);
        assert_eq!(first_needed_segment(&files, dir).expect("none"), None);
        let mut place = Place {
            position: at(7),
            since_ms: 5,
            begun: VecDeque::from([(1, 10), (3, 20), (4, 30)]),
        };
        cursor("a").write(&place).expect("written");
        place.position.segment = 9;
        cursor("b").write(&place).expect("written");
        assert_eq!(first_needed_segment(&files, dir).expect("two"), Some(3));
        let read = cursor("a").read().expect("read").expect("there");
        assert_eq!(
            (read.position, read.since_ms, read.ended_ms(3)),
            (at(7), 5, Some(30))
        );
        // What lies behind is forgotten.
        assert_eq!(read.begun, [(3, 20), (4, 30)]);
        forget_others(&*files, dir, &[cursor("b")]).expect("removed");
        assert_eq!(cursor("a").read().expect("gone"), None);
        assert_eq!(first_needed_segment(&files, dir).expect("one"), Some(9));
    }

    #[test]
    fn a_damaged_cursor_loses_nothing() {
        let files: Arc<dyn Files> = Arc::new(MemFiles::new());
        let cursor = CursorFile::new(files.clone(), Path::new("data"), "a");
        let place = Place {
            position: at(7),
            since_ms: 5,
            begun: VecDeque::new(),
        };
        cursor.write(&place).expect("written");
        let whole = files.read(&cursor.path).expect("there");
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "{len}");
        }
        replace_file(&*files, &cursor.path, &whole[..9]).expect("cut");
        let read = cursor.read().expect("read").expect("there");
        assert_eq!((read.position, read.since_ms), (LogPosition::default(), i64::MIN));
    }
}

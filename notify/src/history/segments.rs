//! The history on the disk: a folder of journals, each called by the number of its first event.
//!
//! A journal is written until it is as long as a segment may be, or until writing fails: what failed is never built upon,
//! the next attempt begins another. Whole segments are removed from the old end. In memory is what each holds, not its events.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::journal::{Format, Journal, SHORT_BYTES, look};
use files::{Files, Result};
use model::clock::Clock;
use model::protobuf::{put_delimited, take_delimited};
use parking_lot::{Mutex, RwLock};

use super::event;

/// What segments begin with.
pub(super) const FORMAT: Format = Format {
    magic: *b"NTXhisto",
    version: 1,
};
/// The history has about so many segments.
const SEGMENTS: u64 = 16;
/// Shortest length at which another segment begins, in bytes.
const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// Digits of a segment's name.
const NAME_DIGITS: usize = 20;
/// The number of the first event, in front of a record's events.
const NUMBER_BYTES: usize = 8;

/// Events as they are stored, with their numbers.
type Numbered = Vec<(u64, Vec<u8>)>;

/// The folder.
pub(super) struct Segments {
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    folder: PathBuf,
    bytes_max: u64,
    segment_bytes: u64,
    /// Oldest first; the last one may be written to.
    list: RwLock<VecDeque<Segment>>,
    /// Who writes.
    writing: Mutex<Writing>,
}

/// What is known of a segment.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) first_id: u64,
    bytes: u64,
    pub(super) oldest_ms: i64,
    pub(super) newest_ms: i64,
}

struct Writing {
    /// `None` until the folder has been read.
    next_id: Option<u64>,
    journal: Option<Journal>,
}

impl Segments {
    /// Opens the folder, which need not be there. Nothing is written yet, and nothing that is wrong with it keeps it from
    /// being used: one that cannot be read is looked at again before something is written.
    pub(super) fn open(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        folder: PathBuf,
        bytes_max: u64,
    ) -> Self {
        let segments = Segments {
            files,
            clock,
            folder,
            bytes_max,
            segment_bytes: (bytes_max / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SHORT_BYTES),
            list: RwLock::default(),
            writing: Mutex::new(Writing {
                next_id: None,
                journal: None,
            }),
        };
        if let Err(error) = segments.load(&mut segments.writing.lock()) {
            tracing::error!(%error, "The history of alerts cannot be read");
        }
        segments
    }

    /// Finds out what there is; gives the number of the next event.
    fn load(&self, writing: &mut Writing) -> Result<u64> {
        if let Some(next_id) = writing.next_id {
            return Ok(next_id);
        }
        let entries = match self.files.list(&self.folder) {
            Ok(entries) => entries,
            Err(error) if files::is_not_found(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        let (mut list, mut next_id, mut last_is_sound) = (VecDeque::new(), 1, false);
        for entry in entries {
            let Some(first_id) = number_of(&entry.name) else {
                continue;
            };
            let (segment, next, damage) = self.survey(first_id, entry.len);
            next_id = next_id.max(next);
            last_is_sound = damage.is_none();
            if let Some(damage) = damage {
                let file = path_of(&self.folder, first_id);
                tracing::error!(file = %file.display(), damage, "A part of the history of alerts cannot be read");
            }
            list.push_back(segment);
        }
        // A restart goes on with the segment that the last run wrote, so that many restarts make few files. One that
        // cannot be gone on with is followed by another.
        let last = list
            .back()
            .filter(|last| last_is_sound && last.bytes < self.segment_bytes);
        if let Some(last) = last {
            let path = path_of(&self.folder, last.first_id);
            let opened = Journal::open(self.files.clone(), self.clock.clone(), &path, FORMAT, |_| {});
            writing.journal = opened.ok().map(|(journal, _)| journal);
        }
        *self.list.write() = list;
        writing.next_id = Some(next_id);
        Ok(next_id)
    }

    /// Looks at a segment: what is to be known of it, the first number behind it, and what is wrong with it.
    fn survey(&self, first_id: u64, bytes: u64) -> (Segment, u64, Option<String>) {
        let mut segment = Segment::new(first_id, bytes);
        let mut next_id = first_id.saturating_add(1);
        let path = path_of(&self.folder, first_id);
        let read = look(&*self.files, &path, FORMAT, |record| {
            let Some((mut id, events)) = split(record) else {
                return;
            };
            for_each(events, |event| {
                segment.take_note(event::time_ms(event));
                id = id.saturating_add(1);
            });
            next_id = next_id.max(id);
        });
        let damage = match read {
            Ok(opened) => opened.damage.map(|damage| damage.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if damage.is_some() {
            // It may hold anything. It goes when it is the oldest, or in its time from now; and no number that it may
            // have is given again.
            segment.oldest_ms = i64::MIN;
            segment.take_note(Some(self.clock.now_ms()));
            next_id = next_id.max(first_id.saturating_add(bytes));
        }
        (segment, next_id, damage)
    }

    /// Writes events, durably.
    ///
    /// # Errors
    /// When the disk refuses: none of them counts as written, and they may be given again.
    pub(super) fn write(&self, events: &[Vec<u8>]) -> Result<()> {
        let mut writing = self.writing.lock();
        let first_id = self.load(&mut writing)?;
        let mut record = first_id.to_be_bytes().to_vec();
        for event in events {
            put_delimited(&mut record, event);
        }
        // Taken out: whatever goes wrong from here on leaves no journal behind to build upon.
        let room = self.segment_bytes.saturating_sub(record.len() as u64);
        let current = writing
            .journal
            .take()
            .filter(|journal| journal.file_bytes() <= room);
        let is_new = current.is_none();
        let journal = match current {
            Some(journal) => journal,
            None => {
                let path = path_of(&self.folder, first_id);
                Journal::open(self.files.clone(), self.clock.clone(), &path, FORMAT, |_| {})?.0
            }
        };
        let mut kept = Vec::new();
        journal.write(&record, |whole| {
            if !is_new {
                // It is neither outgrown nor has it failed, or it would be another; should it be asked for all the same,
                // nothing of it gets lost.
                let of_last = self.list.read().back().map_or(first_id, |last| last.first_id);
                let path = path_of(&self.folder, of_last);
                let _ = look(&*self.files, &path, FORMAT, |record| kept.push(record.to_vec()));
                kept.iter().for_each(|record| whole.push(record));
            }
            whole.push(&record);
        })?;
        let mut list = self.list.write();
        if is_new {
            // A segment whose first write failed left its name, perhaps a file.
            list.retain(|segment| segment.first_id != first_id);
            list.push_back(Segment::new(first_id, 0));
        }
        if let Some(last) = list.back_mut() {
            last.bytes = journal.file_bytes();
            events
                .iter()
                .for_each(|event| last.take_note(event::time_ms(event)));
        }
        writing.next_id = Some(first_id + events.len() as u64);
        writing.journal = Some(journal);
        Ok(())
    }

    /// Removes segments from the old end, as long as all are longer than they may be, or hold nothing that is younger than
    /// `oldest_ms`.
    ///
    /// # Errors
    /// When a file cannot be removed; it is tried again the next time.
    pub(super) fn forget(&self, oldest_ms: i64) -> Result<()> {
        // Nobody else changes the list meanwhile, and whoever looks at it does not wait for the disk.
        let mut writing = self.writing.lock();
        loop {
            let (oldest, count, bytes) = {
                let list = self.list.read();
                let bytes: u64 = list.iter().map(|segment| segment.bytes).sum();
                (list.front().cloned(), list.len(), bytes)
            };
            let is_over = |segment: &Segment| segment.newest_ms < oldest_ms || bytes > self.bytes_max;
            let Some(segment) = oldest.filter(is_over) else {
                return Ok(());
            };
            if count == 1 {
                writing.journal = None;
            }
            match self.files.remove_file(&path_of(&self.folder, segment.first_id)) {
                Err(error) if !files::is_not_found(&error) => return Err(error),
                _ => drop(self.list.write().pop_front()),
            }
        }
    }

    /// Segments, oldest first.
    pub(super) fn list(&self) -> Vec<Segment> {
        self.list.read().iter().cloned().collect()
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        self.list.read().iter().map(|segment| segment.bytes).sum()
    }

    /// Events of the segment that begins with `first_id`, with their numbers, oldest first, up to `end` exclusive; none
    /// where it has been removed meanwhile. Gives its length.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(&self, first_id: u64, end: u64) -> Result<(Numbered, u64)> {
        let path = path_of(&self.folder, first_id);
        let (mut events, mut next, mut bytes) = (Vec::new(), first_id, 0);
        let looked = look(&*self.files, &path, FORMAT, |record| {
            bytes += record.len() as u64;
            let Some((mut id, encoded)) = split(record) else {
                return;
            };
            for_each(encoded, |event| {
                // What was written and not known to be is there twice.
                if (next..end).contains(&id) {
                    events.push((id, event.to_vec()));
                    next = id + 1;
                }
                id = id.saturating_add(1);
            });
        });
        match looked {
            Err(error) if !files::is_not_found(&error) => Err(error),
            _ => Ok((events, bytes)),
        }
    }
}

impl Segment {
    fn new(first_id: u64, bytes: u64) -> Self {
        Segment {
            first_id,
            bytes,
            oldest_ms: i64::MAX,
            newest_ms: i64::MIN,
        }
    }

    fn take_note(&mut self, time_ms: Option<i64>) {
        if let Some(time_ms) = time_ms {
            self.oldest_ms = self.oldest_ms.min(time_ms);
            self.newest_ms = self.newest_ms.max(time_ms);
        }
    }
}

fn path_of(folder: &Path, first_id: u64) -> PathBuf {
    folder.join(format!("{first_id:0NAME_DIGITS$}"))
}

fn number_of(name: &str) -> Option<u64> {
    let is_number = name.len() == NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| name.parse().ok()).flatten()
}

/// A record's first number, and its events.
fn split(record: &[u8]) -> Option<(u64, &[u8])> {
    let (number, events) = record.split_first_chunk::<NUMBER_BYTES>()?;
    Some((u64::from_be_bytes(*number), events))
}

/// Gives each event to `take`; what is none ends it.
fn for_each(mut events: &[u8], mut take: impl FnMut(&[u8])) {
    while !events.is_empty() {
        let Ok(event) = take_delimited(&mut events) else {
            return;
        };
        take(event);
    }
}

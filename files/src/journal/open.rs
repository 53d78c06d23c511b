//! Opening a journal: what is there is read, what a crash tore is cut off, what is damaged is kept aside and told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use model::clock::Clock;
use parking_lot::Mutex;

use super::frame::{Found, Frame, HEADER_BYTES, find, records};
use super::{Format, Journal, Output, Waiting};
use crate::replace::temporary;
use crate::{Files, Result, is_not_found};

/// What opening a journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Records that were read.
    pub records: usize,
    /// Bytes at the end that a crash left of a write which nobody was told of; they are cut off.
    pub torn_bytes: u64,
    /// What was there and cannot be used.
    pub damage: Option<Damage>,
    /// Under which name the damaged file is kept, where that could be done.
    pub kept_as: Option<PathBuf>,
}

/// What is wrong with a journal's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It is not such a journal, or its beginning is damaged.
    #[error("it does not begin as such a file does")]
    Foreign,
    /// Written by an earlier or later program.
    #[error("it has version {0} of its format, which is not read here")]
    Version(u32),
    /// Bytes between records are none, or damaged ones.
    #[error("{bytes} bytes from byte {offset} on are not what was written")]
    Middle {
        /// Where the first of them lies.
        offset: u64,
        /// How many there are in all, also at other places.
        bytes: u64,
    },
}

impl Journal {
    /// Opens the journal at `path`, whose folder is made where that alone is missing, and gives each record that it holds to
    /// `read`, in order. Nothing is written before the first record but that a torn end is cut off; a damaged file gets
    /// a second name that ends in `.damaged`, and what can be read of it is used.
    ///
    /// # Errors
    /// When the folder cannot be made or the file not read.
    pub fn open(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        path: &Path,
        format: Format,
        mut read: impl FnMut(&[u8]),
    ) -> Result<(Journal, Opened)> {
        let folder = path.parent().unwrap_or(Path::new(""));
        files.create_dir_all(folder)?;
        // Whoever made the folder, or renamed a file in it, may have ended before making that durable.
        files.sync_dir(folder.parent().unwrap_or(Path::new("")))?;
        files.sync_dir(folder)?;
        // What a kill left of a whole that was being written. Where it cannot be removed, the next one overwrites it.
        let _ = files.remove_file(&temporary(path));
        let bytes = match files.read(path) {
            Ok(bytes) => bytes,
            Err(error) if is_not_found(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut opened = Opened::default();
        let end = scan(&bytes, format, &mut opened, &mut read);
        if opened.damage.is_some() {
            opened.kept_as = keep(&*files, path);
        }
        // What is not as it should be, or cannot be made so, is written anew with the first record.
        let is_sound = !bytes.is_empty()
            && opened.damage.is_none()
            && (end == bytes.len() || files.truncate(path, end as u64).is_ok());
        let writer = is_sound.then(|| files.append(path).ok()).flatten();
        let journal = Journal {
            files,
            clock,
            path: path.to_owned(),
            format,
            waiting: Mutex::new(Waiting {
                frame: Frame::default(),
                last: 0,
            }),
            output: Mutex::new(Output {
                writer,
                whole_bytes: 0,
                durable: 0,
                tried: 0,
                failure: None,
            }),
            file_bytes: AtomicU64::new(end as u64),
            written_bytes: AtomicU64::new(0),
        };
        Ok((journal, opened))
    }
}

/// Reads the journal at `path` as it is now and changes nothing: somebody else may be writing it, or nobody any more.
///
/// # Errors
/// When the file cannot be read.
pub fn look(files: &dyn Files, path: &Path, format: Format, mut read: impl FnMut(&[u8])) -> Result<Opened> {
    let bytes = files.read(path)?;
    let mut opened = Opened::default();
    scan(&bytes, format, &mut opened, &mut read);
    Ok(opened)
}

/// Gives what `bytes` hold to `read`; returns where that ends.
fn scan(bytes: &[u8], format: Format, opened: &mut Opened, read: &mut impl FnMut(&[u8])) -> usize {
    if bytes.is_empty() {
        return 0;
    }
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        opened.damage = Some(Damage::Foreign);
        return 0;
    };
    let (magic, version) = (
        &header[..8],
        u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
    );
    if *header != format.header() {
        let other = Format { version, ..format };
        opened.damage = Some(if magic == format.magic && *header == other.header() {
            Damage::Version(version)
        } else {
            Damage::Foreign
        });
        return 0;
    }
    // `end` is behind the last good frame. Bytes behind it count as damage only once a good frame follows: until then
    // they may be what a crash left of the last write.
    let (mut end, mut at) = (HEADER_BYTES, HEADER_BYTES);
    let (mut damaged_at, mut damaged_bytes) = (None, 0);
    while at < bytes.len() {
        match find(&bytes[at..]) {
            Found::Whole(len, body) => {
                if end < at {
                    damaged_at.get_or_insert(end as u64);
                    damaged_bytes += (at - end) as u64;
                }
                for record in records(body) {
                    opened.records += 1;
                    read(record);
                }
                at += len;
                end = at;
            }
            // Its header is whole: what follows it begins there.
            Found::Broken(len) => at = at.saturating_add(len),
            Found::Nothing => at += 1,
        }
    }
    opened.torn_bytes = (bytes.len() - end) as u64;
    opened.damage = damaged_at.map(|offset| Damage::Middle {
        offset,
        bytes: damaged_bytes,
    });
    end
}

/// Gives a damaged file a second name, for people to look at; the last one that had it goes.
fn keep(files: &dyn Files, path: &Path) -> Option<PathBuf> {
    let mut kept = path.as_os_str().to_owned();
    kept.push(".damaged");
    let kept = PathBuf::from(kept);
    let _ = files.remove_file(&kept);
    files.hard_link(path, &kept).ok().map(|()| kept)
}

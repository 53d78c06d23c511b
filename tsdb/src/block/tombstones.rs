//! `tombstones`: which stretches of which series are deleted (`tsdb/docs/tombstones.md`).

use std::collections::BTreeMap;
use std::path::Path;

use model::storage::StorageError;

use super::codec::{Cursor, FilePath, crc32c, put_uvarint, put_varint};
use crate::columns::add_range;
use files::{Files, is_not_found, replace_file};

/// Name of the file in a block's folder.
pub const TOMBSTONES_FILE: &str = "tombstones";
const MAGIC: u32 = 0x0130_BA30;
const VERSION: u8 = 1;
/// Magic number and version, which the checksum leaves out.
const HEADER_BYTES: usize = 5;
const CRC_BYTES: usize = 4;

/// Deleted stretches: closed ranges of milliseconds, by series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones {
    series: BTreeMap<u64, Vec<(i64, i64)>>,
}

impl Tombstones {
    /// Deleted ranges of a series, ascending, without overlap.
    pub fn of(&self, series: u64) -> &[(i64, i64)] {
        self.series.get(&series).map_or(&[], Vec::as_slice)
    }

    /// Adds a deleted range, joining those that touch it.
    pub fn add(&mut self, series: u64, min_ms: i64, max_ms: i64) {
        add_range(self.series.entry(series).or_default(), (min_ms, max_ms));
    }

    /// Number of ranges.
    pub fn len(&self) -> u64 {
        self.series.values().map(|ranges| ranges.len() as u64).sum()
    }

    /// Whether nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// All ranges, by series.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[(i64, i64)])> {
        self.series
            .iter()
            .map(|(series, ranges)| (*series, ranges.as_slice()))
    }

    /// Reads the file of the block in folder `dir`; a missing one means that nothing is deleted.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn read(files: &dyn Files, dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(TOMBSTONES_FILE);
        match files.read(&path) {
            Ok(bytes) => Tombstones::from_bytes(&bytes, &FilePath(path)),
            Err(error) if is_not_found(&error) => Ok(Tombstones::default()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8], path: &FilePath) -> Result<Self, StorageError> {
        if bytes.len() < HEADER_BYTES + CRC_BYTES {
            return Err(path.corrupt(bytes.len(), "shorter than its header"));
        }
        let end = bytes.len() - CRC_BYTES;
        let mut cursor = Cursor::new(&bytes[..end], 0);
        if cursor.be32() != Ok(MAGIC) {
            return Err(path.corrupt(0, "not a tombstones file"));
        }
        match cursor.byte() {
            Ok(VERSION) => {}
            version => return Err(path.corrupt(4, format!("unknown version {}", version.unwrap_or(0)))),
        }
        if bytes[end..] != crc32c(&bytes[HEADER_BYTES..end]).to_be_bytes() {
            return Err(path.corrupt(end, "checksum does not match"));
        }
        let mut stones = Tombstones::default();
        while cursor.remaining() > 0 {
            let at = cursor.position();
            let stone = cursor
                .uvarint()
                .and_then(|series| Ok((series, cursor.varint()?, cursor.varint()?)));
            match stone {
                Ok((series, min, max)) if min <= max => stones.add(series, min, max),
                Ok(_) => return Err(path.corrupt(at, "range ends before it begins")),
                Err(_) => return Err(path.corrupt(at, "tombstone is cut off")),
            }
        }
        Ok(stones)
    }

    /// The file's contents.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_be_bytes().to_vec();
        out.push(VERSION);
        for (series, ranges) in &self.series {
            for (min, max) in ranges {
                put_uvarint(&mut out, *series);
                put_varint(&mut out, *min);
                put_varint(&mut out, *max);
            }
        }
        let crc = crc32c(&out[HEADER_BYTES..]);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// Writes the file into folder `dir`; after a crash either the old or the new file is there.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(&self, files: &dyn Files, dir: &Path) -> Result<(), StorageError> {
        replace_file(files, &dir.join(TOMBSTONES_FILE), &self.to_bytes())
    }
}

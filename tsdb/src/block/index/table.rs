//! The postings table: where the list of each label value is.

use std::ops::Range;

use model::storage::StorageError;

use super::TOC_BYTES;
use crate::block::codec::{Cursor, FilePath, Malformed, crc32c};

/// One of so many values of a label has its place in memory.
pub(super) const VALUES_STEP: usize = 32;

/// A label name's part of the postings table.
#[derive(Debug)]
pub(super) struct NameValues {
    pub(super) name: Box<str>,
    /// Places of every 32nd entry, counted from the start of the file.
    pub(super) sampled: Vec<usize>,
    /// Number of values.
    pub(super) count: usize,
    /// Where the name's entries end.
    pub(super) end: usize,
}

impl NameValues {
    fn sampled_while(&self, file: &[u8], holds: impl Fn(&[u8]) -> bool) -> usize {
        self.sampled.partition_point(|at| {
            let mut entries = Entries::new(file, *at..self.end);
            matches!(entries.next(), Some(Ok(entry)) if holds(entry.value))
        })
    }

    /// How many of the sampled entries have values below `value`.
    pub(super) fn sampled_below(&self, file: &[u8], value: &[u8]) -> usize {
        self.sampled_while(file, |sampled| sampled < value)
    }

    /// How many of the sampled entries have values below `prefix`, and how many below or starting with it.
    pub(super) fn sampled_range(&self, file: &[u8], prefix: &[u8]) -> (usize, usize) {
        let inside = |sampled: &[u8]| sampled < prefix || sampled.starts_with(prefix);
        (self.sampled_below(file, prefix), self.sampled_while(file, inside))
    }
}

/// An entry of the postings table.
pub(super) struct TableEntry<'a> {
    /// Where it begins in the file.
    pub(super) at: usize,
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    /// Where the list begins in the file.
    pub(super) postings: u64,
}

/// Walks entries of the postings table.
pub(super) struct Entries<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(file: &'a [u8], range: Range<usize>) -> Self {
        Entries {
            cursor: Cursor::new(&file[..range.end], range.start),
        }
    }

    fn read(&mut self) -> Result<TableEntry<'a>, Malformed> {
        let at = self.cursor.position();
        // The number of texts in a key: a name and a value.
        if self.cursor.uvarint()? != 2 {
            return Err(Malformed);
        }
        Ok(TableEntry {
            at,
            name: self.cursor.text()?,
            value: self.cursor.text()?,
            postings: self.cursor.uvarint()?,
        })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<TableEntry<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        (self.cursor.remaining() > 0).then(|| self.read())
    }
}

/// Reads the postings table once: checks it, and samples its entries.
pub(super) fn read_names(file: &[u8], at: usize, path: &FilePath) -> Result<Vec<NameValues>, StorageError> {
    let corrupt = |at: usize, what: &str| path.corrupt(at, what);
    let mut cursor = Cursor::new(&file[..file.len() - TOC_BYTES], at);
    let parts = cursor
        .be32()
        .and_then(|len| Ok((cursor.take(len as usize)?, cursor.be32()?)));
    let Ok((content, crc)) = parts else {
        return Err(corrupt(at, "postings table is cut off"));
    };
    if crc32c(content) != crc {
        return Err(corrupt(at, "checksum of the postings table does not match"));
    }
    let (start, end) = (at + 4, at + 4 + content.len());
    let count = Cursor::new(content, 0)
        .be32()
        .map_err(|_| corrupt(at, "postings table has no count"))?;
    let mut names: Vec<NameValues> = Vec::new();
    let mut before: Option<TableEntry<'_>> = None;
    let mut entries = Entries::new(file, start + 4..end);
    for _ in 0..count {
        let Some(Ok(entry)) = entries.next() else {
            return Err(corrupt(entries.cursor.position(), "postings table is malformed"));
        };
        if before.is_some_and(|before| (before.name, before.value) >= (entry.name, entry.value)) {
            return Err(corrupt(entry.at, "postings table is not in order"));
        }
        let Ok(name) = std::str::from_utf8(entry.name) else {
            return Err(corrupt(entry.at, "label name is no UTF-8"));
        };
        if names.last().is_none_or(|values| *values.name != *name) {
            names.push(NameValues {
                name: name.into(),
                sampled: Vec::new(),
                count: 0,
                end: 0,
            });
        }
        if let Some(values) = names.last_mut() {
            if values.count.is_multiple_of(VALUES_STEP) {
                values.sampled.push(entry.at);
            }
            values.count += 1;
            values.end = entries.cursor.position();
        }
        before = Some(entry);
    }
    Ok(names)
}

//! The index of a block: which series it has, their labels and where their chunks are (`tsdb/docs/index.md`).
//!
//! The file stays mapped. In memory are only the place of every eighth symbol, and of every 32nd value of each label in
//! the table of postings; the rest is found by walking a few entries from there.

mod sets;
mod symbols;
mod table;
mod writer;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use model::labels::{LABEL_BYTES_MAX, Labels, LabelsPacker};
use model::storage::{StorageError, TimeRange};

use super::codec::{Cursor, FilePath, Malformed, crc32c};
use super::segments::ChunkMeta;
use crate::postings::{MappedPostings, Postings};
use crate::select::{LabelIndex, NO_VALUE, Visit};
use files::{Files, Mapped};

use table::{Entries, NameValues, VALUES_STEP, read_names};

pub(crate) use sets::SetReader;
pub use symbols::Symbols;
pub use writer::IndexWriter;

/// Name of the file in a block's folder.
pub const INDEX_FILE: &str = "index";
const MAGIC: u32 = 0xBAAA_D700;
/// The version that is written. Version 3 is read in the same way, as the reference does.
const VERSION: u8 = 2;
const VERSION_MAX: u8 = 3;
const HEADER_BYTES: usize = 5;
const CRC_BYTES: usize = 4;
/// Six section offsets and a checksum at the file's end.
const TOC_BYTES: usize = 6 * 8 + CRC_BYTES;
/// Series begin at multiples of this; a series' number is its offset divided by it.
const SERIES_ALIGN: usize = 16;

/// Where the sections of the file begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Toc {
    /// Symbol table.
    pub symbols: u64,
    /// Series.
    pub series: u64,
    /// Where the series end; label indices, which nobody writes any more, would begin here.
    pub label_indices: u64,
    /// Table of label indices: unused.
    pub label_indices_table: u64,
    /// Postings lists.
    pub postings: u64,
    /// Table of postings lists.
    pub postings_table: u64,
}

impl Toc {
    fn read(file: &[u8], path: &FilePath) -> Result<Self, StorageError> {
        let Some(start) = file.len().checked_sub(TOC_BYTES).filter(|at| *at >= HEADER_BYTES) else {
            return Err(path.corrupt(file.len(), "too short for a table of contents"));
        };
        let end = file.len() - CRC_BYTES;
        if crc32c(&file[start..end]).to_be_bytes() != file[end..] {
            return Err(path.corrupt(start, "checksum of the table of contents does not match"));
        }
        let mut cursor = Cursor::new(file, start);
        let mut next = || {
            cursor
                .be64()
                .map_err(|_| path.corrupt(start, "table of contents is cut off"))
        };
        let toc = Toc {
            symbols: next()?,
            series: next()?,
            label_indices: next()?,
            label_indices_table: next()?,
            postings: next()?,
            postings_table: next()?,
        };
        let ordered = [
            toc.symbols,
            toc.series,
            toc.label_indices,
            toc.postings,
            toc.postings_table,
            start as u64,
        ];
        if !ordered.is_sorted() || toc.symbols < HEADER_BYTES as u64 {
            return Err(path.corrupt(start, "sections are out of order"));
        }
        Ok(toc)
    }

    fn to_bytes(self) -> Vec<u8> {
        let offsets = [
            self.symbols,
            self.series,
            self.label_indices,
            self.label_indices_table,
            self.postings,
            self.postings_table,
        ];
        let mut out: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect();
        let crc = crc32c(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }
}

/// A series' entry; reusable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesEntry {
    /// Symbols of label names and values, in order of the names.
    pub labels: Vec<(u32, u32)>,
    /// Its chunks in order of time, without overlap.
    pub chunks: Vec<ChunkMeta>,
}

/// An open index.
#[derive(Debug)]
pub struct IndexReader {
    path: FilePath,
    file: Mapped,
    toc: Toc,
    symbols: Symbols,
    /// By name; the first has the empty name: all series.
    names: Vec<NameValues>,
    /// Label names by symbol: few, and half of all look-ups.
    name_of: HashMap<u32, Box<str>, foldhash::fast::FixedState>,
}

impl IndexReader {
    /// Opens the index of the block in folder `dir`: checks the table of contents, the symbols and the postings table.
    ///
    /// # Errors
    /// When the file cannot be mapped or is damaged in one of these.
    pub fn open(files: &dyn Files, dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(INDEX_FILE);
        let file = files.map(&path)?;
        IndexReader::new(file, path.as_path().into())
    }

    pub(crate) fn new(file: Mapped, path: FilePath) -> Result<Self, StorageError> {
        let mut header = Cursor::new(&file, 0);
        if header.be32() != Ok(MAGIC) {
            return Err(path.corrupt(0, "not an index"));
        }
        match header.byte() {
            Ok(VERSION..=VERSION_MAX) => {}
            version => return Err(path.corrupt(4, format!("unknown version {}", version.unwrap_or(0)))),
        }
        let toc = Toc::read(&file, &path)?;
        let symbols = Symbols::open(file.clone(), toc.symbols as usize, &path)?;
        let names = read_names(&file, toc.postings_table as usize, &path)?;
        let mut index = IndexReader {
            path,
            file,
            toc,
            symbols,
            names,
            name_of: HashMap::default(),
        };
        for values in &index.names {
            // One that no label can hold stands in no set either: that is said where a set names it.
            if values.name.is_empty() || values.name.len() > LABEL_BYTES_MAX {
                continue;
            }
            let Some(symbol) = index.symbols.find(&values.name) else {
                let what = format!("label name {:?} is no symbol", values.name);
                return Err(index.path.corrupt(toc.postings_table as usize, what));
            };
            index.name_of.insert(symbol, values.name.clone());
        }
        Ok(index)
    }

    /// Size of the file in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.file.len() as u64
    }

    /// Where the sections begin.
    pub fn toc(&self) -> Toc {
        self.toc
    }

    /// The symbol table.
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// Bytes of memory that the samples of tables take: what the reference shows as the symbol table's size.
    pub fn memory_bytes(&self) -> usize {
        let values: usize = self
            .names
            .iter()
            .map(|n| n.sampled.len() * size_of::<usize>())
            .sum();
        self.symbols.memory_bytes() + values
    }

    /// Reads the entry of series number `series` into `entry`; its checksum is verified.
    ///
    /// # Errors
    /// When there is no such entry or it is damaged.
    pub fn series(&self, series: u32, entry: &mut SeriesEntry) -> Result<(), StorageError> {
        entry.labels.clear();
        entry.chunks.clear();
        let mut content = self.entry(series)?;
        read_labels(&mut content, &mut entry.labels)
            .and_then(|()| {
                visit_chunks(&mut content, |chunk| {
                    entry.chunks.push(chunk);
                    true
                })
            })
            .map_err(|Malformed| self.malformed_series(series))
    }

    /// Reads the label symbols of series number `series` into `labels`, and says whether one of its chunks overlaps
    /// `range`; reads no further than to the first that does.
    ///
    /// # Errors
    /// As [`IndexReader::series`].
    pub(crate) fn labels_in(
        &self,
        series: u32,
        range: TimeRange,
        labels: &mut Vec<(u32, u32)>,
    ) -> Result<bool, StorageError> {
        labels.clear();
        let mut content = self.entry(series)?;
        let mut overlaps = false;
        read_labels(&mut content, labels)
            .and_then(|()| {
                visit_chunks(&mut content, |chunk| {
                    overlaps = chunk.min_ms <= range.max_ms && range.min_ms <= chunk.max_ms;
                    !overlaps && chunk.min_ms <= range.max_ms
                })
            })
            .map_err(|Malformed| self.malformed_series(series))?;
        Ok(overlaps)
    }

    /// Replaces `chunks` with those of series number `series` that overlap `range`, in order of time.
    ///
    /// # Errors
    /// As [`IndexReader::series`].
    pub(crate) fn chunks_in(
        &self,
        series: u32,
        range: TimeRange,
        chunks: &mut Vec<ChunkMeta>,
    ) -> Result<(), StorageError> {
        chunks.clear();
        let mut content = self.entry(series)?;
        skip_labels(&mut content)
            .and_then(|()| {
                visit_chunks(&mut content, |chunk| {
                    if chunk.max_ms >= range.min_ms && chunk.min_ms <= range.max_ms {
                        chunks.push(chunk);
                    }
                    chunk.min_ms <= range.max_ms
                })
            })
            .map_err(|Malformed| self.malformed_series(series))
    }

    /// The bytes of a series' entry, whose checksum is right.
    fn entry(&self, series: u32) -> Result<Cursor<'_>, StorageError> {
        let at = series as usize * SERIES_ALIGN;
        let range = self.toc.series as usize..self.toc.label_indices as usize;
        if !range.contains(&at) {
            return Err(self
                .path
                .corrupt(at, format!("series {series} lies outside of the series section")));
        }
        let mut cursor = Cursor::new(&self.file[..range.end], at);
        let parts = cursor
            .uvarint32()
            .and_then(|len| Ok((cursor.take(len as usize)?, cursor.be32()?)));
        let Ok((content, crc)) = parts else {
            return Err(self.path.corrupt(at, "series entry is cut off"));
        };
        if crc32c(content) != crc {
            return Err(self
                .path
                .corrupt(at, "checksum of the series entry does not match"));
        }
        Ok(Cursor::new(content, 0))
    }

    fn malformed_series(&self, series: u32) -> StorageError {
        let at = series as usize * SERIES_ALIGN;
        self.path.corrupt(at, "series entry is malformed")
    }

    /// The labels of series number `series`.
    ///
    /// # Errors
    /// As [`IndexReader::series`], and where a symbol is missing.
    pub fn labels(&self, series: u32, entry: &mut SeriesEntry) -> Result<Labels, StorageError> {
        self.series(series, entry)?;
        self.labels_of(series, entry)
    }

    /// The labels of an entry.
    pub(crate) fn labels_of(&self, series: u32, entry: &SeriesEntry) -> Result<Labels, StorageError> {
        let mut packer = LabelsPacker::default();
        let mut before = "";
        for (name, value) in &entry.labels {
            let name = self
                .label_name(*name)
                .ok_or_else(|| self.no_symbol(series, *name))?;
            let value = self
                .symbols
                .get(*value)
                .ok_or_else(|| self.no_symbol(series, *value))?;
            if name <= before || value.is_empty() {
                let at = series as usize * SERIES_ALIGN;
                return Err(self.path.corrupt(at, "labels of the series are not in order"));
            }
            packer.push(name, value);
            before = name;
        }
        Ok(packer.finish())
    }

    fn label_name(&self, symbol: u32) -> Option<&str> {
        match self.name_of.get(&symbol) {
            Some(name) => Some(name),
            None => self.symbols.get(symbol),
        }
    }

    fn no_symbol(&self, series: u32, symbol: u32) -> StorageError {
        let at = series as usize * SERIES_ALIGN;
        self.path.corrupt(
            at,
            format!(
                "series refers to symbol {symbol}, which is missing, no UTF-8 or longer than a label can be"
            ),
        )
    }

    /// Shows every pair of label name and value, sorted, with the number of series that carry it; reads no list and no
    /// series.
    ///
    /// # Errors
    /// When the table of postings is damaged.
    pub fn visit_pairs(&self, mut visit: impl FnMut(&str, &str, u64)) -> Result<(), StorageError> {
        for name in self.names.iter().filter(|name| !name.name.is_empty()) {
            for entry in Entries::new(&self.file, name.sampled[0]..name.end) {
                let entry = entry.map_err(|Malformed| self.malformed())?;
                let Ok(value) = std::str::from_utf8(entry.value) else {
                    return Err(self.path.corrupt(entry.at, "label value is no UTF-8"));
                };
                // A list begins with its length in bytes and its count.
                let at = usize::try_from(entry.postings).unwrap_or(usize::MAX);
                let count = Cursor::new(&self.file, at.saturating_add(4)).be32();
                let count = count
                    .map_err(|Malformed| self.path.corrupt(entry.at, "postings lie outside of the file"))?;
                visit(&name.name, value, count.into());
            }
        }
        Ok(())
    }

    fn values_of(&self, name: &str) -> Option<&NameValues> {
        let at = self
            .names
            .binary_search_by(|values| (*values.name).cmp(name))
            .ok()?;
        Some(&self.names[at])
    }

    /// Walks the postings table of a name from the entry before the first value that is not below `from`.
    fn entries<'a>(&'a self, values: &'a NameValues, from: &str) -> Entries<'a> {
        let below = values.sampled_below(&self.file, from.as_bytes());
        let start = values.sampled[below.saturating_sub(1)];
        Entries::new(&self.file, start..values.end)
    }

    /// The list at byte `at` of the file; its checksum is verified.
    fn postings_at(&self, at: u64) -> Result<Postings, StorageError> {
        let corrupt = |what: &str| self.path.corrupt(usize::try_from(at).unwrap_or(usize::MAX), what);
        let range = self.toc.postings..self.toc.postings_table;
        if !range.contains(&at) {
            return Err(corrupt("postings lie outside of their section"));
        }
        let at = at as usize;
        let mut cursor = Cursor::new(&self.file[..range.end as usize], at);
        let parts = cursor
            .be32()
            .and_then(|len| Ok((cursor.take(len as usize)?, cursor.be32()?)));
        let Ok((content, crc)) = parts else {
            return Err(corrupt("postings are cut off"));
        };
        if crc32c(content) != crc {
            return Err(corrupt("checksum of the postings does not match"));
        }
        let count = Cursor::new(content, 0)
            .be32()
            .map_err(|_| corrupt("postings have no count"))? as usize;
        if content.len() - 4 != count * 4 {
            return Err(corrupt("postings are longer or shorter than they say"));
        }
        match MappedPostings::new(self.file.clone(), at + 8, count) {
            Some(list) if count > 0 => Ok(Postings::Mapped(list)),
            _ => Ok(Postings::Empty),
        }
    }

    fn malformed(&self) -> StorageError {
        self.path
            .corrupt(self.toc.postings_table as usize, "postings table is malformed")
    }
}

fn read_labels(content: &mut Cursor<'_>, labels: &mut Vec<(u32, u32)>) -> Result<(), Malformed> {
    for _ in 0..content.uvarint()? {
        labels.push((content.uvarint32()?, content.uvarint32()?));
    }
    Ok(())
}

fn skip_labels(content: &mut Cursor<'_>) -> Result<(), Malformed> {
    for _ in 0..content.uvarint()? {
        content.uvarint32()?;
        content.uvarint32()?;
    }
    Ok(())
}

/// The symbol of a label's value; [`NO_VALUE`] where there is no such label.
fn find_label(content: &mut Cursor<'_>, name: u32) -> Result<u32, Malformed> {
    for _ in 0..content.uvarint()? {
        let (found, value) = (content.uvarint32()?, content.uvarint32()?);
        // Symbols are numbered in order of their texts, and labels of a series are in order of their names.
        if found >= name {
            return Ok(if found == name { value } else { NO_VALUE });
        }
    }
    Ok(NO_VALUE)
}

/// Shows the chunks of an entry, in order of time, until `visit` says false.
#[inline]
fn visit_chunks(content: &mut Cursor<'_>, mut visit: impl FnMut(ChunkMeta) -> bool) -> Result<(), Malformed> {
    let chunks = content.uvarint()?;
    let (mut end, mut reference) = (0i64, 0u64);
    for i in 0..chunks {
        let min_ms = match i {
            0 => content.varint()?,
            _ => end.checked_add_unsigned(content.uvarint()?).ok_or(Malformed)?,
        };
        let max_ms = min_ms.checked_add_unsigned(content.uvarint()?).ok_or(Malformed)?;
        reference = match i {
            0 => content.uvarint()?,
            _ => reference.checked_add_signed(content.varint()?).ok_or(Malformed)?,
        };
        end = max_ms;
        let chunk = ChunkMeta {
            min_ms,
            max_ms,
            reference,
        };
        if !visit(chunk) {
            break;
        }
    }
    Ok(())
}

impl LabelIndex for IndexReader {
    fn all(&self) -> Result<Postings, StorageError> {
        self.postings("", "")
    }

    fn postings(&self, name: &str, value: &str) -> Result<Postings, StorageError> {
        let Some(values) = self.values_of(name) else {
            return Ok(Postings::Empty);
        };
        for entry in self.entries(values, value) {
            let entry = entry.map_err(|Malformed| self.malformed())?;
            match entry.value.cmp(value.as_bytes()) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return self.postings_at(entry.postings),
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(Postings::Empty)
    }

    fn visit_values(
        &self,
        name: &str,
        from: &str,
        visit: &mut dyn FnMut(&str) -> Visit,
    ) -> Result<Vec<Postings>, StorageError> {
        let mut taken = Vec::new();
        // The empty name is the list of all series, no label.
        let Some(values) = self.values_of(name).filter(|_| !name.is_empty()) else {
            return Ok(taken);
        };
        for entry in self.entries(values, from) {
            let entry = entry.map_err(|Malformed| self.malformed())?;
            if entry.value < from.as_bytes() {
                continue;
            }
            let Ok(value) = std::str::from_utf8(entry.value) else {
                return Err(self.path.corrupt(entry.at, "label value is no UTF-8"));
            };
            match visit(value) {
                Visit::Take => taken.push(self.postings_at(entry.postings)?),
                Visit::Skip => {}
                Visit::Stop => break,
            }
        }
        Ok(taken)
    }

    fn values_len(&self, name: &str, prefix: &str) -> Result<usize, StorageError> {
        let Some(values) = self.values_of(name).filter(|_| !name.is_empty()) else {
            return Ok(0);
        };
        if prefix.is_empty() {
            return Ok(values.count);
        }
        let (below, inside) = values.sampled_range(&self.file, prefix.as_bytes());
        Ok(((inside - below + 1) * VALUES_STEP).min(values.count))
    }

    fn value_numbers(&self, name: &str, series: &[u32]) -> Result<Vec<u32>, StorageError> {
        let Some(name) = self.symbols.find(name) else {
            return Ok(vec![NO_VALUE; series.len()]);
        };
        let values = series.iter().map(|number| {
            let mut content = self.entry(*number)?;
            find_label(&mut content, name).map_err(|Malformed| self.malformed_series(*number))
        });
        values.collect()
    }

    fn value_text(&self, number: u32) -> Result<String, StorageError> {
        let text = self.symbols.get(number);
        text.map(str::to_owned).ok_or_else(|| self.no_symbol(0, number))
    }

    fn names(&self) -> Result<Vec<String>, StorageError> {
        let names = self.names.iter().filter(|values| !values.name.is_empty());
        Ok(names.map(|values| values.name.to_string()).collect())
    }

    fn names_of(&self, series: &[u32]) -> Result<Vec<String>, StorageError> {
        let mut found = BTreeSet::new();
        let mut labels = Vec::new();
        for number in series {
            labels.clear();
            read_labels(&mut self.entry(*number)?, &mut labels)
                .map_err(|Malformed| self.malformed_series(*number))?;
            for (name, _) in &labels {
                if found.insert(*name) && self.label_name(*name).is_none() {
                    return Err(self.no_symbol(*number, *name));
                }
            }
        }
        // Symbols are numbered in order of their texts.
        let names = found.iter().filter_map(|symbol| self.label_name(*symbol));
        Ok(names.map(str::to_owned).collect())
    }
}

//! Writes an index, front to back: symbols, series as they come, then postings, which are gathered from the series
//! already written so that memory holds one group of labels at a time.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use model::labels::Labels;
use model::storage::StorageError;

use super::{INDEX_FILE, MAGIC, SERIES_ALIGN, Toc, VERSION};
use crate::block::codec::{Cursor, FilePath, Malformed, crc32c, put_text, put_uvarint, put_varint};
use crate::block::output::Output;
use crate::block::segments::ChunkMeta;
use files::Files;

/// Postings that are gathered at a time, in entries of 4 bytes; a single label may need more.
const POSTINGS_AT_A_TIME: u64 = 16 << 20;

/// Writes the index of a block.
pub struct IndexWriter {
    files: Arc<dyn Files>,
    out: Output,
    toc: Toc,
    symbols: SymbolTable,
    /// How many series have each pair of name and value.
    pairs: HashMap<(u32, u32), u32, FixedState>,
    /// Numbers of the series, ascending.
    series: Vec<u32>,
    last: Vec<(u32, u32)>,
    buffer: Vec<u8>,
}

impl IndexWriter {
    /// Creates the index in the block's folder `dir` and writes its symbols, which must hold every label name and value
    /// of the series to come, sorted, without duplicates.
    ///
    /// # Errors
    /// When the system refuses, or the symbols are not sorted or more than the format can hold.
    pub fn create<S: AsRef<str>>(
        files: Arc<dyn Files>,
        dir: &Path,
        symbols: impl IntoIterator<Item = S>,
    ) -> Result<Self, StorageError> {
        let mut out = Output::create(&*files, &dir.join(INDEX_FILE))?;
        out.put(&MAGIC.to_be_bytes())?;
        out.put(&[VERSION])?;
        let path = FilePath::from(out.path());
        let mut table = SymbolTable::default();
        let mut content = vec![0; 4];
        for symbol in symbols {
            if !table.add(symbol.as_ref()) {
                return Err(path.corrupt(5, "symbols to be written are not in order"));
            }
            put_text(&mut content, symbol.as_ref().as_bytes());
        }
        let Ok(len) = u32::try_from(content.len()) else {
            return Err(path.corrupt(5, "symbol table exceeds 4 GiB"));
        };
        content[..4].copy_from_slice(&table.len().to_be_bytes());
        let symbols_at = out.position;
        out.put(&len.to_be_bytes())?;
        out.put(&content)?;
        out.put(&crc32c(&content).to_be_bytes())?;
        let toc = Toc {
            symbols: symbols_at,
            series: out.position,
            ..Toc::default()
        };
        Ok(IndexWriter {
            files,
            out,
            toc,
            symbols: table,
            pairs: HashMap::default(),
            series: Vec::new(),
            last: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Adds a series, whose labels must sort behind those of the one before.
    ///
    /// # Errors
    /// When the system refuses, or a label is no symbol, or series or chunks are not in order.
    pub fn add(&mut self, labels: &Labels, chunks: &[ChunkMeta]) -> Result<(), StorageError> {
        let pairs: Option<Vec<_>> = labels
            .iter()
            .map(|(name, value)| Some((self.symbols.find(name)?, self.symbols.find(value)?)))
            .collect();
        match pairs {
            Some(pairs) => self.add_pairs(&pairs, chunks),
            None => Err(self.refuse(format!("a label of {labels} is no symbol"))),
        }
    }

    /// Adds a series by the numbers of its symbols: see [`IndexWriter::add`].
    ///
    /// # Errors
    /// As [`IndexWriter::add`].
    pub fn add_pairs(&mut self, labels: &[(u32, u32)], chunks: &[ChunkMeta]) -> Result<(), StorageError> {
        // Symbols are numbered in order of their texts, so numbers compare as labels do.
        if !self.series.is_empty() && labels <= self.last.as_slice() {
            return Err(self.refuse("series to be written are not in order"));
        }
        if labels
            .iter()
            .any(|(name, value)| *name.max(value) >= self.symbols.len())
        {
            return Err(self.refuse("a label of a series to be written is no symbol"));
        }
        let ordered = chunks.windows(2).all(|pair| pair[0].max_ms < pair[1].min_ms);
        if !ordered || chunks.iter().any(|chunk| chunk.max_ms < chunk.min_ms) {
            return Err(self.refuse("chunks of a series to be written overlap"));
        }
        self.out.pad(SERIES_ALIGN as u64)?;
        let Ok(number) = u32::try_from(self.out.position / SERIES_ALIGN as u64) else {
            return Err(self.refuse("index exceeds 64 GiB"));
        };
        self.buffer.clear();
        encode_series(&mut self.buffer, labels, chunks);
        let entry = &self.buffer;
        self.out.put_with(entry.len() + 9, |out| {
            put_uvarint(out, entry.len() as u64);
            out.extend_from_slice(entry);
            out.extend_from_slice(&crc32c(entry).to_be_bytes());
        })?;
        for pair in labels {
            *self.pairs.entry(*pair).or_default() += 1;
        }
        self.series.push(number);
        self.last.clear();
        self.last.extend_from_slice(labels);
        Ok(())
    }

    /// Writes postings, tables and the table of contents, and makes the file durable.
    ///
    /// # Errors
    /// When the system refuses or a section exceeds what the format can hold.
    pub fn finish(mut self) -> Result<(), StorageError> {
        self.toc.label_indices = self.out.position;
        self.toc.postings = self.out.position;
        let mut table = PostingsTable::default();
        let all = std::mem::take(&mut self.series);
        write_list(&mut self.out, &mut table, ("", ""), &all)?;
        // The series just written are read back to gather the postings of each label.
        self.out.flush()?;
        let file = self.files.map(self.out.path())?;
        let mut pairs: Vec<((u32, u32), u32)> = std::mem::take(&mut self.pairs).into_iter().collect();
        pairs.sort_unstable();
        let mut rest = pairs.as_slice();
        while !rest.is_empty() {
            let group = rest.split_off(..group_len(rest)).unwrap_or(&[]);
            let lists = gather(&file, &all, group)
                .map_err(|Malformed| self.refuse("series just written cannot be read back"))?;
            let mut lists = lists.as_slice();
            for ((name, value), count) in group {
                let list = lists.split_off(..*count as usize).unwrap_or(&[]);
                let key = (self.symbols.text(*name), self.symbols.text(*value));
                write_list(&mut self.out, &mut table, key, list)?;
            }
        }
        self.toc.label_indices_table = self.out.position;
        self.toc.postings_table = self.out.position;
        let mut content = table.count.to_be_bytes().to_vec();
        content.append(&mut table.entries);
        let Ok(len) = u32::try_from(content.len()) else {
            return Err(self.refuse("postings table exceeds 4 GiB"));
        };
        self.out.put(&len.to_be_bytes())?;
        self.out.put(&content)?;
        self.out.put(&crc32c(&content).to_be_bytes())?;
        self.out.put(&self.toc.to_bytes())?;
        self.out.finish()
    }

    fn refuse(&self, what: impl Into<String>) -> StorageError {
        FilePath::from(self.out.path()).corrupt(self.out.position as usize, what)
    }
}

fn encode_series(out: &mut Vec<u8>, labels: &[(u32, u32)], chunks: &[ChunkMeta]) {
    put_uvarint(out, labels.len() as u64);
    for (name, value) in labels {
        put_uvarint(out, (*name).into());
        put_uvarint(out, (*value).into());
    }
    put_uvarint(out, chunks.len() as u64);
    let mut before: Option<&ChunkMeta> = None;
    for chunk in chunks {
        match before {
            None => put_varint(out, chunk.min_ms),
            Some(before) => put_uvarint(out, chunk.min_ms.wrapping_sub(before.max_ms) as u64),
        }
        put_uvarint(out, chunk.max_ms.wrapping_sub(chunk.min_ms) as u64);
        match before {
            None => put_uvarint(out, chunk.reference),
            Some(before) => put_varint(out, chunk.reference.wrapping_sub(before.reference) as i64),
        }
        before = Some(chunk);
    }
}

/// How many of the pairs are gathered together: at least one name, whole names if they fit.
fn group_len(pairs: &[((u32, u32), u32)]) -> usize {
    let mut sum = 0;
    let fitting = pairs.iter().take_while(|(_, count)| {
        sum += u64::from(*count);
        sum <= POSTINGS_AT_A_TIME
    });
    fitting.count().max(1)
}

/// The series of each pair of the group, one list after the other; `file` holds the series whose numbers are `all`.
fn gather(file: &[u8], all: &[u32], group: &[((u32, u32), u32)]) -> Result<Vec<u32>, Malformed> {
    let mut next: HashTable<((u32, u32), usize)> = HashTable::with_capacity(group.len());
    let hasher = FixedState::default();
    let mut total = 0;
    for (pair, count) in group {
        next.insert_unique(hasher.hash_one(pair), (*pair, total), |(pair, _)| {
            hasher.hash_one(pair)
        });
        total += *count as usize;
    }
    let mut lists = vec![0; total];
    for number in all {
        let mut cursor = Cursor::new(file, *number as usize * SERIES_ALIGN);
        cursor.uvarint()?;
        for _ in 0..cursor.uvarint()? {
            let pair = (cursor.uvarint32()?, cursor.uvarint32()?);
            let slot = next.find_mut(hasher.hash_one(pair), |(p, _)| *p == pair);
            if let Some((_, at)) = slot {
                *lists.get_mut(*at).ok_or(Malformed)? = *number;
                *at += 1;
            }
        }
    }
    Ok(lists)
}

#[derive(Default)]
struct PostingsTable {
    entries: Vec<u8>,
    count: u32,
}

fn write_list(
    out: &mut Output,
    table: &mut PostingsTable,
    key: (&str, &str),
    list: &[u32],
) -> Result<(), StorageError> {
    out.pad(4)?;
    put_uvarint(&mut table.entries, 2);
    put_text(&mut table.entries, key.0.as_bytes());
    put_text(&mut table.entries, key.1.as_bytes());
    put_uvarint(&mut table.entries, out.position);
    table.count += 1;
    let mut content = Vec::with_capacity(4 + list.len() * 4);
    content.extend_from_slice(&(list.len() as u32).to_be_bytes());
    content.extend(list.iter().flat_map(|number| number.to_be_bytes()));
    let Ok(len) = u32::try_from(content.len()) else {
        return Err(FilePath::from(out.path()).corrupt(out.position as usize, "postings list exceeds 4 GiB"));
    };
    out.put(&len.to_be_bytes())?;
    out.put(&content)?;
    out.put(&crc32c(&content).to_be_bytes())
}

/// The symbols being written: texts in one buffer, and a table from text to number, made when one is looked for.
#[derive(Default)]
struct SymbolTable {
    texts: String,
    /// Where each text ends.
    ends: Vec<usize>,
    numbers: Option<HashTable<u32>>,
    hasher: FixedState,
}

impl SymbolTable {
    fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    fn text(&self, number: u32) -> &str {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.texts[start..self.ends[number]]
    }

    /// Adds a text; false where it does not sort behind the last or there are too many.
    fn add(&mut self, text: &str) -> bool {
        let number = self.len();
        if number == u32::MAX || number.checked_sub(1).is_some_and(|last| self.text(last) >= text) {
            return false;
        }
        self.texts.push_str(text);
        self.ends.push(self.texts.len());
        true
    }

    fn find(&mut self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        let numbers = self.numbers.take().unwrap_or_else(|| self.numbered());
        let found = numbers.find(hash, |number| self.text(*number) == text).copied();
        self.numbers = Some(numbers);
        found
    }

    fn numbered(&self) -> HashTable<u32> {
        let hash = |number: &u32| self.hasher.hash_one(self.text(*number));
        let mut numbers = HashTable::with_capacity(self.ends.len());
        for number in 0..self.len() {
            numbers.insert_unique(hash(&number), number, hash);
        }
        numbers
    }
}

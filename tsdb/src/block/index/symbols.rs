//! The symbol table: every text of the index once, sorted.

use model::labels::LABEL_BYTES_MAX;
use model::storage::StorageError;

use crate::block::codec::{Cursor, FilePath, crc32c};
use files::Mapped;

/// One of so many symbols has its place in memory. Smaller than the reference's 32, since every label of every selected
/// series is looked up here.
const STEP: usize = 8;

/// An open symbol table.
#[derive(Debug)]
pub struct Symbols {
    file: Mapped,
    /// Where the symbols begin and end in the file.
    start: usize,
    end: usize,
    /// Places of every eighth symbol, counted from `start`.
    sampled: Vec<u32>,
    count: u32,
}

impl Symbols {
    /// Opens the table at byte `at` of the file; checks it whole.
    pub(super) fn open(file: Mapped, at: usize, path: &FilePath) -> Result<Self, StorageError> {
        let mut cursor = Cursor::new(&file, at);
        let parts = cursor
            .be32()
            .and_then(|len| Ok((cursor.take(len as usize)?, cursor.be32()?)));
        let Ok((content, crc)) = parts else {
            return Err(path.corrupt(at, "symbol table is cut off"));
        };
        if crc32c(content) != crc {
            return Err(path.corrupt(at, "checksum of the symbol table does not match"));
        }
        let mut symbols = Cursor::new(content, 0);
        let count = symbols
            .be32()
            .map_err(|_| path.corrupt(at, "symbol table has no count"))?;
        let (start, end) = (at + 8, at + 4 + content.len());
        // Every symbol takes a byte at least.
        let mut sampled = Vec::with_capacity((count as usize).min(content.len()) / STEP + 1);
        let mut before: Option<&[u8]> = None;
        for number in 0..count {
            let place = symbols.position() - 4;
            if (number as usize).is_multiple_of(STEP) {
                sampled.push(place as u32);
            }
            let Ok(symbol) = symbols.text() else {
                return Err(path.corrupt(start + place, "symbol table is malformed"));
            };
            if before.replace(symbol).is_some_and(|before| before >= symbol) {
                return Err(path.corrupt(start + place, "symbols are not in order"));
            }
        }
        Ok(Symbols {
            file,
            start,
            end,
            sampled,
            count,
        })
    }

    /// Number of symbols.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there is no symbol.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of memory that the sampled places take.
    pub fn memory_bytes(&self) -> usize {
        self.sampled.len() * size_of::<u32>()
    }

    fn cursor_at(&self, sample: usize) -> Cursor<'_> {
        Cursor::new(&self.file[..self.end], self.start + self.sampled[sample] as usize)
    }

    /// The text of a symbol; `None` where there is none, or where no label can hold it.
    #[inline]
    pub fn get(&self, symbol: u32) -> Option<&str> {
        if symbol >= self.count {
            return None;
        }
        let mut cursor = self.cursor_at(symbol as usize / STEP);
        for _ in 0..symbol as usize % STEP {
            cursor.text().ok()?;
        }
        label_text(cursor.text().ok()?)
    }

    /// The number of the symbol with this text.
    pub fn find(&self, text: &str) -> Option<u32> {
        let text = text.as_bytes();
        let mut from = 0..self.sampled.len();
        while from.len() > 1 {
            let middle = from.start + from.len() / 2;
            if self.cursor_at(middle).text().ok()? <= text {
                from.start = middle;
            } else {
                from.end = middle;
            }
        }
        let first = (from.start * STEP) as u32;
        let mut cursor = self.cursor_at(from.next()?);
        (first..self.count).take(STEP).find(|_| cursor.text() == Ok(text))
    }

    /// All symbols in order; `None` for one that no label can hold.
    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        let mut cursor = Cursor::new(&self.file[..self.end], self.start);
        (0..self.count).map(move |_| label_text(cursor.text().ok()?))
    }
}

/// A symbol as text; `None` where no label can hold it: it is not UTF-8, or too long.
fn label_text(symbol: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(symbol).ok()?;
    (text.len() <= LABEL_BYTES_MAX).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use files::{Files, MemFiles};

    use super::*;
    use crate::block::codec::put_uvarint;

    #[test]
    fn a_symbol_that_no_label_can_hold_is_none() {
        let (longest, longer) = ("a".repeat(LABEL_BYTES_MAX), "b".repeat(LABEL_BYTES_MAX + 1));
        let mut content = 4u32.to_be_bytes().to_vec();
        for symbol in [longest.as_bytes(), longer.as_bytes(), b"c", b"\xff"] {
            put_uvarint(&mut content, symbol.len() as u64);
            content.extend_from_slice(symbol);
        }
        let mut bytes = (content.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&content);
        bytes.extend_from_slice(&crc32c(&content).to_be_bytes());
        let (files, path) = (MemFiles::new(), Path::new("index"));
        files
            .create(path)
            .and_then(|file| file.write_all(&bytes))
            .expect("writes");
        let file = files.map(path).expect("maps");
        let symbols = Symbols::open(file, 0, &FilePath::from(path)).expect("opens");
        let texts = [Some(&*longest), None, Some("c"), None];
        assert!((0..4).map(|number| symbols.get(number)).eq(texts));
        assert!(symbols.iter().eq(texts));
    }
}

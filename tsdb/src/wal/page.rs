//! How records lie in a segment: pages of 32 KiB, records cut into fragments, each with a header of seven bytes.
//!
//! Header: one byte with the kind of fragment and of compression, two bytes of length, four of CRC-32C over the
//! fragment's data, all high byte first. Where fewer than seven bytes are left on a page they are zero, and a zero kind
//! says that the rest of the page is zero. A segment has no header of its own.

use std::fmt;

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 32 * 1024;
/// Bytes of a fragment's header.
pub(crate) const HEADER_BYTES: usize = 7;
/// Most bytes that a record may have after decompression: far above what any writer produces.
pub(crate) const RECORD_BYTES_MAX: usize = 1 << 29;

/// Bytes of room for staged records that are kept between transactions.
const STAGED_BYTES_KEPT: usize = 1 << 20;

const KIND_MASK: u8 = 0b0000_0111;
const SNAPPY: u8 = 0b0000_1000;
const ZSTD: u8 = 0b0001_0000;
const PAGE_END: u8 = 0;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// How records are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy's block format.
    #[default]
    Snappy,
    /// Zstandard.
    Zstd,
}

/// Level of zstd: the fastest of the ordinary ones.
const ZSTD_LEVEL: i32 = 1;

/// Compresses records, and gathers those of a transaction; holds the compressors' tables, so keep it.
pub(crate) struct Compressor {
    snappy: snap::raw::Encoder,
    /// Made at its first use: it is large.
    zstd: Option<zstd::bulk::Compressor<'static>>,
    out: Vec<u8>,
    /// Records of a transaction as they are to be stored, behind one another.
    staged: Vec<u8>,
    /// How each is compressed and where it ends.
    ends: Vec<(Compression, usize)>,
}

impl Default for Compressor {
    fn default() -> Self {
        Compressor {
            snappy: snap::raw::Encoder::new(),
            zstd: None,
            out: Vec::new(),
            staged: Vec::new(),
            ends: Vec::new(),
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let staged = (&self.staged, &self.ends);
        f.debug_struct("Compressor")
            .field("staged", &staged)
            .finish_non_exhaustive()
    }
}

impl Compressor {
    /// The record as it is to be stored, and how it is compressed: not at all where that would gain nothing.
    pub(crate) fn compress<'a>(
        &'a mut self,
        compression: Compression,
        record: &'a [u8],
    ) -> (Compression, &'a [u8]) {
        let len = match compression {
            Compression::None => None,
            Compression::Snappy => {
                self.out.resize(snap::raw::max_compress_len(record.len()), 0);
                self.snappy.compress(record, &mut self.out).ok()
            }
            Compression::Zstd => {
                self.out.resize(zstd::zstd_safe::compress_bound(record.len()), 0);
                if self.zstd.is_none() {
                    self.zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
                }
                let zstd = self.zstd.as_mut();
                zstd.and_then(|zstd| zstd.compress_to_buffer(record, &mut self.out).ok())
            }
        };
        match len {
            Some(len) if len < record.len() => (compression, &self.out[..len]),
            _ => (Compression::None, record),
        }
    }

    /// Compresses a record and keeps it for [`super::Wal::commit`].
    pub(crate) fn stage(&mut self, compression: Compression, record: &[u8]) {
        let mut staged = std::mem::take(&mut self.staged);
        let (compression, stored) = self.compress(compression, record);
        staged.extend_from_slice(stored);
        self.ends.push((compression, staged.len()));
        self.staged = staged;
    }

    /// Keeps a record that is compressed already for [`super::Wal::commit`].
    pub(crate) fn stage_stored(&mut self, compression: Compression, stored: &[u8]) {
        self.staged.extend_from_slice(stored);
        self.ends.push((compression, self.staged.len()));
    }

    /// The records staged since they were last cleared.
    pub(super) fn staged(&self) -> impl Iterator<Item = (Compression, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts
            .zip(&self.ends)
            .map(|(start, (compression, end))| (*compression, &self.staged[start..*end]))
    }

    /// Forgets what was staged.
    pub(crate) fn clear_staged(&mut self) {
        self.staged.clear();
        self.staged.shrink_to(STAGED_BYTES_KEPT);
        self.ends.clear();
    }
}

/// Bytes that a record of `len` stored bytes takes when it starts `page_used` bytes into a page, padding included.
pub(crate) fn framed_len(page_used: usize, len: usize) -> usize {
    let (mut used, mut left, mut total) = (page_used, len, 0);
    loop {
        let room = PAGE_BYTES - used;
        if room < HEADER_BYTES {
            total += room;
            used = 0;
            continue;
        }
        let part = left.min(room - HEADER_BYTES);
        total += part + HEADER_BYTES;
        used = (used + part + HEADER_BYTES) % PAGE_BYTES;
        left -= part;
        if left == 0 {
            return total;
        }
    }
}

/// Appends the fragments of a stored record to `out`, the first at `page_used` bytes of a page; returns the bytes used
/// of the page that it ends on.
pub(crate) fn frame(
    out: &mut Vec<u8>,
    mut page_used: usize,
    compression: Compression,
    record: &[u8],
) -> usize {
    let flag = match compression {
        Compression::None => 0,
        Compression::Snappy => SNAPPY,
        Compression::Zstd => ZSTD,
    };
    let mut rest = record;
    let mut first = true;
    loop {
        let room = PAGE_BYTES - page_used;
        if room < HEADER_BYTES {
            out.resize(out.len() + room, 0);
            page_used = 0;
            continue;
        }
        let (part, left) = rest.split_at(rest.len().min(room - HEADER_BYTES));
        let kind = match (first, left.is_empty()) {
            (true, true) => FULL,
            (true, false) => FIRST,
            (false, false) => MIDDLE,
            (false, true) => LAST,
        };
        out.push(kind | flag);
        out.extend_from_slice(&(part.len() as u16).to_be_bytes());
        out.extend_from_slice(&crc_fast::crc32_iscsi(part).to_be_bytes());
        out.extend_from_slice(part);
        page_used = (page_used + HEADER_BYTES + part.len()) % PAGE_BYTES;
        rest = left;
        first = false;
        if rest.is_empty() {
            return page_used;
        }
    }
}

/// Where and why a segment cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// End of the last whole record, in bytes from the start of the segment.
    pub good_bytes: u64,
    /// What is wrong behind it.
    pub what: &'static str,
}

/// Reads the records of one segment in order.
pub struct SegmentReader<'a> {
    segment: &'a [u8],
    at: usize,
    good: usize,
    /// Kind and data of the fragment that was read last, if it was a whole record; else the record is what was joined.
    last: (u8, Option<&'a [u8]>),
    joined: Vec<u8>,
    plain: Vec<u8>,
    snappy: snap::raw::Decoder,
    /// Made at its first use: it is large.
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl fmt::Debug for SegmentReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = (self.at, self.segment.len());
        f.debug_struct("SegmentReader")
            .field("place", &place)
            .finish_non_exhaustive()
    }
}

impl<'a> SegmentReader<'a> {
    /// A reader of these bytes.
    pub fn new(segment: &'a [u8]) -> Self {
        SegmentReader::from(segment, 0)
    }

    /// A reader of the records from byte `offset` on, where one must begin.
    pub(crate) fn from(segment: &'a [u8], offset: u64) -> Self {
        let at = usize::try_from(offset).unwrap_or(usize::MAX).min(segment.len());
        SegmentReader {
            segment,
            at,
            good: at,
            last: (0, None),
            joined: Vec::new(),
            plain: Vec::new(),
            snappy: snap::raw::Decoder::new(),
            zstd: None,
        }
    }

    /// End of the last record read, in bytes from the start of the segment.
    pub fn good_bytes(&self) -> u64 {
        self.good as u64
    }

    /// The next record, decompressed; `None` at the end.
    ///
    /// # Errors
    /// When the bytes that follow are no whole record; nothing behind them can be read.
    pub fn read(&mut self) -> Result<Option<&[u8]>, Damage> {
        self.joined.clear();
        let mut begun = false;
        loop {
            let Some((kind, data)) = self.fragment()? else {
                return if begun {
                    Err(self.damage("the last record is torn"))
                } else {
                    Ok(None)
                };
            };
            match (kind & KIND_MASK, begun) {
                (FULL, false) => {
                    self.good = self.at;
                    self.last = (kind, Some(data));
                    return self.inflate().map(Some);
                }
                (FIRST, false) | (MIDDLE, true) => {
                    self.joined.extend_from_slice(data);
                    begun = true;
                }
                (LAST, true) => {
                    self.joined.extend_from_slice(data);
                    self.last = (kind, None);
                    return self.inflate().map(Some);
                }
                _ => return Err(self.damage("a fragment is out of sequence")),
            }
            if self.joined.len() > RECORD_BYTES_MAX {
                return Err(self.damage("a record is too long"));
            }
        }
    }

    /// The record that was read last, as it is stored.
    pub(crate) fn stored(&self) -> (Compression, &[u8]) {
        let compression = match self.last.0 & (SNAPPY | ZSTD) {
            0 => Compression::None,
            flags if flags & SNAPPY != 0 => Compression::Snappy,
            _ => Compression::Zstd,
        };
        (compression, self.last.1.unwrap_or(&self.joined))
    }

    fn damage(&self, what: &'static str) -> Damage {
        Damage {
            good_bytes: self.good as u64,
            what,
        }
    }

    /// The next fragment's kind and data; `None` where the segment ends.
    fn fragment(&mut self) -> Result<Option<(u8, &'a [u8])>, Damage> {
        loop {
            let Some(kind) = self.segment.get(self.at) else {
                return Ok(None);
            };
            let page_end = (self.at / PAGE_BYTES + 1) * PAGE_BYTES;
            if kind & KIND_MASK == PAGE_END {
                let rest = &self.segment[self.at..page_end.min(self.segment.len())];
                if rest.iter().any(|b| *b != 0) {
                    return Err(self.damage("the padding of a page is not zero"));
                }
                self.at = page_end;
                continue;
            }
            let Some(header) = self.segment.get(self.at..self.at + HEADER_BYTES) else {
                return Err(self.damage("a fragment's header is cut off"));
            };
            let len = usize::from(u16::from_be_bytes([header[1], header[2]]));
            let crc = u32::from_be_bytes([header[3], header[4], header[5], header[6]]);
            let start = self.at + HEADER_BYTES;
            if start + len > page_end {
                return Err(self.damage("a fragment is longer than its page"));
            }
            let Some(data) = self.segment.get(start..start + len) else {
                return Err(self.damage("a fragment's data is cut off"));
            };
            if crc_fast::crc32_iscsi(data) != crc {
                return Err(self.damage("a fragment's checksum is wrong"));
            }
            self.at = start + len;
            return Ok(Some((*kind, data)));
        }
    }

    /// Decompresses the last record and marks it as read.
    fn inflate(&mut self) -> Result<&[u8], Damage> {
        let good = std::mem::replace(&mut self.good, self.at);
        let damage = |what| Damage {
            good_bytes: good as u64,
            what,
        };
        let (kind, whole) = self.last;
        let data: &[u8] = whole.unwrap_or(&self.joined);
        if kind & (SNAPPY | ZSTD) == 0 {
            return Ok(data);
        }
        if kind & SNAPPY != 0 {
            let len = snap::raw::decompress_len(data).map_err(|_| damage("snappy data is damaged"))?;
            if len > RECORD_BYTES_MAX {
                return Err(damage("a record is too long"));
            }
            self.plain.resize(len, 0);
            self.snappy
                .decompress(data, &mut self.plain)
                .map_err(|_| damage("snappy data is damaged"))?;
        } else {
            let len = zstd::zstd_safe::get_frame_content_size(data)
                .ok()
                .flatten()
                .unwrap_or(RECORD_BYTES_MAX as u64 / 16);
            if len > RECORD_BYTES_MAX as u64 {
                return Err(damage("a record is too long"));
            }
            let decompressor = match &mut self.zstd {
                Some(made) => made,
                none => {
                    let made = zstd::bulk::Decompressor::new();
                    none.insert(made.map_err(|_| damage("zstd data is damaged"))?)
                }
            };
            self.plain = decompressor
                .decompress(data, len as usize)
                .map_err(|_| damage("zstd data is damaged"))?;
        }
        Ok(&self.plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(segment: &[u8]) -> (Vec<Vec<u8>>, Option<Damage>) {
        let mut reader = SegmentReader::new(segment);
        let mut records = Vec::new();
        loop {
            match reader.read() {
                Ok(Some(record)) => records.push(record.to_vec()),
                Ok(None) => return (records, None),
                Err(damage) => return (records, Some(damage)),
            }
        }
    }

    #[test]
    fn records_of_all_lengths_come_back_in_every_compression() {
        for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
            let mut compressor = Compressor::default();
            let (mut segment, mut used) = (Vec::new(), 0);
            let lens = [
                0,
                1,
                25,
                PAGE_BYTES - 7,
                PAGE_BYTES,
                100_000,
                32_700,
                8,
                32_754,
                1,
            ];
            let records: Vec<Vec<u8>> = lens
                .iter()
                .enumerate()
                .map(|(i, n)| {
                    (0..*n as u32)
                        .map(|b| (b.wrapping_mul(2_654_435_761) >> (i + 8)) as u8)
                        .collect()
                })
                .collect();
            for record in &records {
                let (c, stored) = compressor.compress(compression, record);
                let before = segment.len();
                let expected = framed_len(used, stored.len());
                used = frame(&mut segment, used, c, stored);
                assert_eq!(segment.len() - before, expected);
                assert_eq!(used, segment.len() % PAGE_BYTES);
            }
            assert_eq!(read_all(&segment), (records, None));
        }
    }

    #[test]
    fn a_torn_tail_is_told_and_everything_before_it_is_kept() {
        let (mut segment, mut used, mut ends) = (Vec::new(), 0, vec![0]);
        for i in 0..40u8 {
            used = frame(&mut segment, used, Compression::None, &vec![i; 2000]);
            ends.push(segment.len());
        }
        for len in (0..segment.len()).step_by(97) {
            let (records, damage) = read_all(&segment[..len]);
            let whole = ends.iter().filter(|e| **e <= len).count() - 1;
            assert_eq!(records.len(), whole);
            if let Some(damage) = damage {
                assert_eq!(damage.good_bytes as usize, ends[whole]);
            }
        }
        for at in (0..segment.len()).step_by(501) {
            let mut bad = segment.clone();
            bad[at] ^= 0x41;
            let (records, damage) = read_all(&bad);
            assert!(damage.is_some() && records.len() < 40, "byte {at}");
        }
    }
}

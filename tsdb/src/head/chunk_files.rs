//! Full chunks on disk: the files of `chunks_head`, mapped back. Layout: `tsdb/docs/head_chunks.md`.
//!
//! Writing a chunk is a copy into a buffer ([`ChunkQueue`]); the buffer goes to the file when it is large enough. What is
//! lost with it in a crash is in the write-ahead log. Files are numbered without gaps and only the oldest are ever removed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::storage::StorageError;
use parking_lot::RwLock;

use super::chunk_queue::ChunkQueue;
use files::codec::put_uvarint;
use files::{Files, Mapped, Result, is_not_found};

const MAGIC: u32 = 0x0130_bc91;
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;
/// Series reference, two timestamps and the encoding.
const FIXED_BYTES: usize = 8 + 8 + 8 + 1;
const CRC_BYTES: usize = 4;
/// Room that a reader of the reference demands for a chunk's frame.
const FRAME_BYTES_MAX: usize = FIXED_BYTES + 5 + CRC_BYTES;
/// Bit of the encoding byte that marks chunks of out-of-order samples.
const OUT_OF_ORDER: u8 = 0x80;
/// What a file begins with.
const FILE_HEADER: [u8; HEADER_BYTES] = {
    let [a, b, c, d] = MAGIC.to_be_bytes();
    [a, b, c, d, VERSION, 0, 0, 0]
};

/// A full chunk, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MappedChunk {
    /// File number in the upper half, offset in the lower one.
    pub(crate) chunk: u64,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
}

/// A chunk found on disk when the store was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundChunk {
    pub(crate) series: u64,
    pub(crate) out_of_order: bool,
    pub(crate) meta: MappedChunk,
}

/// What a damaged file was cut to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkFileDamage {
    /// Which file.
    pub path: PathBuf,
    /// Where it was cut, in bytes; later files were removed.
    pub offset: u64,
    /// What was wrong.
    pub what: &'static str,
}

/// Bytes of a chunk, and how they are encoded.
#[derive(Debug)]
pub(crate) struct ChunkBytes {
    pub(crate) encoding: u8,
    /// Whose chunk it is; 0 for one that lies in no file.
    pub(crate) series: u64,
    data: Data,
}

impl ChunkBytes {
    /// A chunk that lies in no file.
    pub(crate) fn owned(encoding: u8, bytes: Vec<u8>) -> Self {
        ChunkBytes {
            encoding,
            series: 0,
            data: Data::Owned(bytes),
        }
    }
}

/// Shared with the file's mapping, or copied from the buffer.
#[derive(Debug)]
enum Data {
    Mapped(Mapped, Range<usize>),
    Owned(Vec<u8>),
}

impl std::ops::Deref for ChunkBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.data {
            Data::Mapped(map, range) => &map[range.clone()],
            Data::Owned(bytes) => bytes,
        }
    }
}

/// The files of `chunks_head`.
pub(crate) struct ChunkFiles {
    files: Arc<dyn Files>,
    dir: PathBuf,
    mapped: RwLock<BTreeMap<u32, Mapped>>,
    queue: ChunkQueue,
    /// Whether a chunk was found damaged since the folder was opened.
    damaged: AtomicBool,
}

fn pack(file: u32, offset: u64) -> u64 {
    u64::from(file) << 32 | offset
}

pub(super) fn unpack(chunk: u64) -> (u32, usize) {
    ((chunk >> 32) as u32, (chunk & 0xffff_ffff) as usize)
}

/// Number of the file that holds a chunk.
pub(crate) fn file_of(chunk: u64) -> u32 {
    unpack(chunk).0
}

impl ChunkFiles {
    /// Opens the folder and hands every whole chunk to `each`, oldest first, but for those at the beginnings of files that
    /// `covered` tells: they are known. Damage ends the list: the damaged file is cut there and later files are removed,
    /// because chunks of a series are only of use without gaps.
    ///
    /// # Errors
    /// When the folder cannot be read or a file cannot be cut.
    pub(crate) fn open(
        files: Arc<dyn Files>,
        dir: &Path,
        covered: &BTreeMap<u32, u64>,
        mut each: impl FnMut(FoundChunk),
    ) -> Result<(Self, Option<ChunkFileDamage>)> {
        files.create_dir_all(dir)?;
        let mut numbers: Vec<u32> = files
            .list(dir)?
            .iter()
            .filter(|e| !e.is_dir)
            .filter_map(|e| e.name.parse().ok())
            .collect();
        numbers.sort_unstable();
        let mut maps = BTreeMap::new();
        let mut damage: Option<ChunkFileDamage> = None;
        for (i, number) in numbers.iter().enumerate() {
            let path = file_path(dir, *number);
            let gap = i > 0 && numbers[i - 1] + 1 != *number;
            if damage.is_some() || gap {
                damage.get_or_insert_with(|| ChunkFileDamage {
                    path: path.clone(),
                    offset: 0,
                    what: "a file before it is missing",
                });
                files.remove_file(&path)?;
                continue;
            }
            let map = files.map(&path)?;
            let from = covered.get(number).copied().unwrap_or(0);
            let Err((offset, what)) = scan(&map, *number, from, &mut each) else {
                maps.insert(*number, map);
                continue;
            };
            drop(map);
            damage = Some(ChunkFileDamage {
                path: path.clone(),
                offset,
                what,
            });
            if offset <= HEADER_BYTES as u64 {
                files.remove_file(&path)?;
            } else {
                files.truncate(&path, offset)?;
                maps.insert(*number, files.map(&path)?);
            }
        }
        let number = maps.last_key_value().map_or(1, |(last, _)| last + 1);
        let chunk_files = ChunkFiles {
            queue: ChunkQueue::new(Arc::clone(&files), dir.to_owned(), number),
            files,
            dir: dir.to_owned(),
            mapped: RwLock::new(maps),
            damaged: AtomicBool::new(false),
        };
        Ok((chunk_files, damage))
    }

    /// Adds a chunk and returns its reference. Never fails: what cannot be written stays in memory, and
    /// [`ChunkFiles::failure`] tells.
    pub(crate) fn write(
        &self,
        series: u64,
        min_ms: i64,
        max_ms: i64,
        encoding: u8,
        out_of_order: bool,
        bytes: &[u8],
    ) -> MappedChunk {
        let len_max = bytes.len() + FRAME_BYTES_MAX;
        let (number, offset) = self.queue.push(&FILE_HEADER, len_max, |buffer| {
            let start = buffer.len();
            buffer.extend_from_slice(&series.to_be_bytes());
            buffer.extend_from_slice(&min_ms.to_be_bytes());
            buffer.extend_from_slice(&max_ms.to_be_bytes());
            buffer.push(encoding | if out_of_order { OUT_OF_ORDER } else { 0 });
            put_uvarint(buffer, bytes.len() as u64);
            buffer.extend_from_slice(bytes);
            let crc = crc_fast::crc32_iscsi(&buffer[start..]);
            buffer.extend_from_slice(&crc.to_be_bytes());
        });
        MappedChunk {
            chunk: pack(number, offset),
            min_ms,
            max_ms,
        }
    }

    /// What is full and not in the files yet. A thread may write it: see [`ChunkQueue::set_has_writer`].
    pub(super) fn queue(&self) -> &ChunkQueue {
        &self.queue
    }

    /// Writes what is gathered, so that a clean stop leaves whole files.
    ///
    /// # Errors
    /// When the write fails.
    pub(crate) fn flush(&self) -> Result<()> {
        self.queue.flush()
    }

    /// Makes all chunks so far survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses, now or before.
    pub(crate) fn sync(&self) -> Result<()> {
        self.queue.sync()
    }

    /// Reference that the next chunk gets, unless it begins a file.
    pub(crate) fn position(&self) -> u64 {
        let (number, offset) = self.queue.position();
        pack(number, offset)
    }

    /// Whether a chunk was found damaged: the logs have what it held, and [`super::Head::heal`] writes it anew.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Says that what was found damaged has been written anew.
    pub(crate) fn note_healed(&self) {
        self.damaged.store(false, Ordering::Relaxed);
    }

    /// Lets go of files that somebody has removed: what is mapped of them would be gone with the next start, and what is
    /// written to them is nowhere. Tells whether there are any.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn leave_missing(&self) -> Result<bool> {
        let entries = self.files.list(&self.dir)?;
        let is_there = |number: u32| entries.iter().any(|e| e.name.parse() == Ok(number));
        let mut mapped = self.mapped.write();
        let before = mapped.len();
        mapped.retain(|number, _| is_there(*number));
        let missing = mapped.len() < before || self.queue.leave_missing(is_there);
        if missing {
            self.damaged.store(true, Ordering::Relaxed);
        }
        Ok(missing)
    }

    /// The first file of which a snapshot has chunks that are no longer there, if any.
    pub(crate) fn first_lost(&self, covered: &BTreeMap<u32, u64>) -> Option<u32> {
        let mapped = self.mapped.read();
        let is_lost = |(number, len): &(&u32, &u64)| {
            **len > HEADER_BYTES as u64 && mapped.get(*number).is_none_or(|map| (map.len() as u64) < **len)
        };
        covered.iter().find(is_lost).map(|(number, _)| *number)
    }

    /// An error about a chunk, which is noted to be damaged.
    pub(crate) fn damage(&self, chunk: u64, what: &str) -> StorageError {
        self.damaged.store(true, Ordering::Relaxed);
        let (number, offset) = unpack(chunk);
        StorageError::Corrupt {
            path: file_path(&self.dir, number),
            offset: offset as u64,
            what: format!("{what}; it is about to be read from the write-ahead log again"),
        }
    }

    /// Tries again to write what could not be written.
    ///
    /// # Errors
    /// When it fails again.
    pub(crate) fn retry(&self) -> Result<()> {
        self.queue.retry()
    }

    /// Whether so much waits for a disk that refuses that the head should take no more.
    pub(crate) fn is_stuck(&self) -> bool {
        self.queue.is_stuck()
    }

    /// Why the last write failed, until one succeeds.
    pub(crate) fn failure(&self) -> Option<StorageError> {
        self.queue.failure()
    }

    /// Bytes of a chunk.
    ///
    /// # Errors
    /// When it is not there or damaged, or another one lies in its place: a file's number is used again once the file
    /// was lost.
    pub(crate) fn read(&self, chunk: &MappedChunk) -> Result<ChunkBytes> {
        let (number, offset) = unpack(chunk.chunk);
        let path = || file_path(&self.dir, number);
        let corrupt = |what: &str| self.damage(chunk.chunk, what);
        let parse = |file: &[u8], at: usize| match Frame::parse(file, at) {
            Ok(frame) if (frame.min_ms, frame.max_ms) == (chunk.min_ms, chunk.max_ms) => Ok(frame),
            Ok(_) => Err("another chunk lies here"),
            Err((_, what)) => Err(what),
        };
        if let Some(map) = self.mapped.read().get(&number)
            && let Ok(frame) = parse(map, offset)
        {
            return Ok(frame.mapped(map));
        }
        let waiting = self.queue.read(number, offset as u64, |bytes| {
            let frame = parse(bytes, 0).map_err(corrupt)?;
            Ok(ChunkBytes {
                encoding: frame.encoding & !OUT_OF_ORDER,
                series: frame.series,
                data: Data::Owned(bytes[frame.data].to_vec()),
            })
        });
        if let Some(chunk) = waiting {
            return chunk;
        }
        // The file has grown since it was mapped, or never was.
        let map = match self.files.map(&path()) {
            Err(error) if is_not_found(&error) => return Err(corrupt("the file is gone")),
            map => map?,
        };
        let frame = parse(&map, offset).map_err(corrupt)?;
        self.mapped.write().insert(number, map.clone());
        Ok(frame.mapped(&map))
    }

    /// Removes files whose numbers are below `number`.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub(crate) fn remove_before(&self, number: u32) -> Result<()> {
        let number = self.queue.end_before(number);
        for entry in self.files.list(&self.dir)? {
            if entry.name.parse::<u32>().is_ok_and(|n| n < number) {
                self.files.remove_file(&self.dir.join(&entry.name))?;
            }
        }
        self.mapped.write().retain(|n, _| *n >= number);
        Ok(())
    }

    /// Files that have more than `covered` tells.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn uncovered(&self, covered: &BTreeMap<u32, u64>) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in self.files.list(&self.dir)? {
            if let Ok(number) = entry.name.parse::<u32>()
                && covered.get(&number).is_none_or(|len| *len < entry.len)
            {
                paths.push(self.dir.join(&entry.name));
            }
        }
        Ok(paths)
    }

    /// Bytes that the files take on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.files
            .list(&self.dir)
            .map_or(0, |entries| entries.iter().map(|e| e.len).sum())
    }
}

pub(super) fn file_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:06}"))
}

/// A chunk with its frame.
struct Frame {
    series: u64,
    min_ms: i64,
    max_ms: i64,
    encoding: u8,
    data: Range<usize>,
}

impl Frame {
    /// The chunk, in the map that the frame was parsed from.
    fn mapped(self, map: &Mapped) -> ChunkBytes {
        ChunkBytes {
            encoding: self.encoding & !OUT_OF_ORDER,
            series: self.series,
            data: Data::Mapped(map.clone(), self.data),
        }
    }

    fn end(&self) -> usize {
        self.data.end + CRC_BYTES
    }

    fn parse(file: &[u8], at: usize) -> std::result::Result<Frame, (u64, &'static str)> {
        let damage = |what| (at as u64, what);
        let short = || damage("a chunk is cut off");
        let fixed = file
            .get(at..)
            .and_then(<[u8]>::first_chunk::<FIXED_BYTES>)
            .ok_or_else(short)?;
        let be64 = |i: usize| u64::from_be_bytes(std::array::from_fn(|k| fixed[i + k]));
        let (mut len, mut data) = (0u64, at + FIXED_BYTES);
        for shift in 0..5 {
            let byte = *file.get(data).ok_or_else(short)?;
            len |= u64::from(byte & 0x7f) << (7 * shift);
            data += 1;
            if byte < 0x80 {
                break;
            }
        }
        let end = usize::try_from(len).ok().and_then(|len| data.checked_add(len));
        let end = end
            .filter(|end| end.saturating_add(CRC_BYTES) <= file.len())
            .ok_or_else(short)?;
        let stored = [file[end], file[end + 1], file[end + 2], file[end + 3]];
        if crc_fast::crc32_iscsi(&file[at..end]) != u32::from_be_bytes(stored) {
            return Err(damage("a chunk's checksum is wrong"));
        }
        if len < 2 {
            return Err(damage("a chunk has no sample count"));
        }
        Ok(Frame {
            series: be64(0),
            min_ms: be64(8) as i64,
            max_ms: be64(16) as i64,
            encoding: fixed[24],
            data: data..end,
        })
    }
}

/// What a file of head chunks holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkFileCheck {
    /// Whole chunks.
    pub chunks: u64,
    /// Where and why the file cannot be read on.
    pub damage: Option<(u64, &'static str)>,
}

/// Reads a file of head chunks from front to back and checks every checksum.
pub fn check_chunk_file(file: &[u8]) -> ChunkFileCheck {
    let mut chunks = 0;
    let scanned = scan(file, 0, 0, &mut |_| chunks += 1);
    ChunkFileCheck {
        chunks,
        damage: scanned.err(),
    }
}

/// Hands the chunks of a file from byte `from` on to `each`; where and why it cannot be read on.
fn scan(
    file: &[u8],
    number: u32,
    from: u64,
    each: &mut impl FnMut(FoundChunk),
) -> std::result::Result<(), (u64, &'static str)> {
    match file.first_chunk::<HEADER_BYTES>() {
        None => return Err((0, "the header is cut off")),
        Some([a, b, c, d, version, ..]) => {
            if u32::from_be_bytes([*a, *b, *c, *d]) != MAGIC || *version != VERSION {
                return Err((0, "this is no head chunk file of version 1"));
            }
        }
    }
    let mut at = HEADER_BYTES.max(usize::try_from(from).unwrap_or(usize::MAX));
    while at < file.len() {
        // The reference preallocates files and cuts them when it stops; references start at 1.
        if file[at..].iter().take(24).all(|b| *b == 0) {
            return Ok(());
        }
        let frame = Frame::parse(file, at)?;
        each(FoundChunk {
            series: frame.series,
            out_of_order: frame.encoding & OUT_OF_ORDER != 0,
            meta: MappedChunk {
                chunk: pack(number, at as u64),
                min_ms: frame.min_ms,
                max_ms: frame.max_ms,
            },
        });
        at = frame.end();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use files::MemFiles;

    fn open(files: &MemFiles) -> (ChunkFiles, Vec<FoundChunk>, Option<ChunkFileDamage>) {
        let mut found = Vec::new();
        let (chunk_files, damage) = ChunkFiles::open(
            Arc::new(files.clone()),
            Path::new("chunks_head"),
            &BTreeMap::new(),
            |c| found.push(c),
        )
        .unwrap();
        (chunk_files, found, damage)
    }

    #[test]
    fn chunks_come_back_from_buffer_file_and_after_a_restart() {
        let files = MemFiles::new();
        let (chunks, ..) = open(&files);
        let bytes = |i: u64| vec![0, i as u8, 1, 2, 3];
        let refs: Vec<MappedChunk> = (1..=9)
            .map(|i| chunks.write(i, i as i64, i as i64 + 5, 1, i == 4, &bytes(i)))
            .collect();
        assert_eq!(&*chunks.read(&refs[3]).unwrap(), bytes(4));
        chunks.flush().unwrap();
        assert_eq!(&*chunks.read(&refs[3]).unwrap(), bytes(4));
        let more = chunks.write(99, 0, 1, 1, false, &bytes(99));
        chunks.flush().unwrap();
        assert_eq!(&*chunks.read(&more).unwrap(), bytes(99));
        let (again, found, damage) = open(&files);
        assert_eq!((found.len(), damage), (10, None));
        assert!(found[3].out_of_order && again.read(&found[3].meta).unwrap().encoding == 1);
        assert_eq!(&*again.read(&found[9].meta).unwrap(), bytes(99));
        let next = again.write(1, 0, 1, 1, false, &bytes(1)).chunk;
        let other = MappedChunk { min_ms: -1, ..more };
        assert!(again.read(&other).is_err(), "another chunk lies here");
        assert!(again.is_damaged());
        assert_eq!(file_of(next), file_of(more.chunk) + 1);
        again.remove_before(file_of(next)).unwrap();
        assert!(again.read(&refs[0]).is_err());
    }

    #[test]
    fn full_buffers_wait_for_their_writer_and_are_read_meanwhile() {
        let files = MemFiles::new();
        let (chunks, ..) = open(&files);
        chunks.queue().set_has_writer(true);
        let on_disk = |chunks: &ChunkFiles| chunks.disk_bytes();
        let body = |i: u64| vec![(i % 251) as u8; 1000];
        let refs: Vec<MappedChunk> = (0..400)
            .map(|i| chunks.write(i, 0, 1, 1, false, &body(i)))
            .collect();
        assert_eq!(on_disk(&chunks), 0, "who appends does not write");
        for (i, chunk) in refs.iter().enumerate() {
            assert_eq!(&*chunks.read(chunk).unwrap(), body(i as u64));
        }
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| chunks.queue().write_next(std::time::Duration::from_secs(60)));
            writer
                .join()
                .expect("it writes what waits, and does not wait for more");
        });
        assert!(on_disk(&chunks) > 300_000);
        // Nobody takes more away: who appends writes in the end, and memory stays bounded.
        for i in 0..20_000 {
            chunks.write(i, 0, 1, 1, false, &body(i));
        }
        assert!(on_disk(&chunks) > 10_000_000);
        chunks.flush().unwrap();
        let (_, found, damage) = open(&files);
        assert_eq!((found.len(), damage), (20_400, None));
        assert_eq!(found[7].meta, refs[7]);
    }

    #[test]
    fn damage_cuts_the_file_and_drops_later_ones() {
        let files = MemFiles::new();
        for _ in 0..3 {
            let (chunks, ..) = open(&files);
            for i in 1..=5 {
                chunks.write(i, 0, 1, 1, false, &[0, 1, 7, 7]);
            }
            chunks.flush().unwrap();
        }
        files
            .flip(Path::new("chunks_head/000002"), 8 + 34 + 10, 1)
            .unwrap();
        let (_, found, damage) = open(&files);
        assert_eq!(found.len(), 6);
        assert_eq!(damage.map(|d| d.offset), Some(8 + 34));
        let (_, found, damage) = open(&files);
        assert_eq!((found.len(), damage), (6, None));
    }
}

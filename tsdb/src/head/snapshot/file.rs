//! The container of a snapshot: sections, each with its length and checksum. Layout: `tsdb/docs/head_snapshot.md`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::wal::RecordError;
use files::codec::{Reader, put_be64};
use files::{FileWriter, Files, Result};

const MAGIC: [u8; 8] = *b"NTX head";
/// Version 1 had another checksum. A file of it is refused like any other that cannot be used: the logs have everything.
const VERSION: u32 = 2;
const FILE_HEADER_BYTES: usize = 12;
/// Kind, number of entries, length of the body: what the checksum covers besides the body.
const SECTION_HEAD_BYTES: usize = 4 + 4 + 8;
/// The same, and the checksum.
const SECTION_HEADER_BYTES: usize = SECTION_HEAD_BYTES + 4;
/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    /// Which state of the folder the snapshot belongs to. The first section, and only one.
    State = 1,
    /// Series by page: what they hold.
    Images = 2,
    /// Label names.
    Names = 3,
    /// Label pairs.
    Pairs = 4,
    /// Label sets of series.
    Series = 5,
    /// Deleted ranges.
    Tombstones = 6,
    /// Exemplars.
    Exemplars = 7,
    /// Second references of series.
    Aliases = 8,
    /// References whose series records the log must keep.
    Kept = 9,
    /// Nothing; ends the file. Its number of entries is the number of sections before it.
    End = 10,
}

impl Kind {
    fn of(number: u32) -> Option<Kind> {
        Some(match number {
            1 => Kind::State,
            2 => Kind::Images,
            3 => Kind::Names,
            4 => Kind::Pairs,
            5 => Kind::Series,
            6 => Kind::Tombstones,
            7 => Kind::Exemplars,
            8 => Kind::Aliases,
            9 => Kind::Kept,
            10 => Kind::End,
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::State => "state",
            Kind::Images => "images of series",
            Kind::Names => "label names",
            Kind::Pairs => "label pairs",
            Kind::Series => "label sets",
            Kind::Tombstones => "tombstones",
            Kind::Exemplars => "exemplars",
            Kind::Aliases => "aliases",
            Kind::Kept => "kept references",
            Kind::End => "end",
        })
    }
}

/// Why the bytes of a snapshot cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Damage {
    /// Not a snapshot of this program.
    #[error("it is no snapshot of the head")]
    Foreign,
    /// Written by an earlier or later program.
    #[error("it has version {0} of the format, and version {VERSION} is what is read here")]
    Version(u32),
    /// The file ends early.
    #[error("it is cut off at byte {0}")]
    Short(usize),
    /// A section is damaged.
    #[error("section {kind} at byte {offset}: {what}")]
    Section {
        /// Which.
        kind: Kind,
        /// Where it begins.
        offset: usize,
        /// What is wrong.
        what: String,
    },
    /// Sections contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Writes a snapshot under a temporary name.
pub(super) struct Writer<'a> {
    files: &'a dyn Files,
    path: PathBuf,
    temporary: PathBuf,
    out: Arc<dyn FileWriter>,
    buffer: Vec<u8>,
    /// Where the section under construction begins in the buffer.
    section: usize,
    sections: u32,
    written: u64,
}

impl<'a> Writer<'a> {
    /// Begins the file that becomes `path`.
    pub(super) fn create(files: &'a dyn Files, path: &Path) -> Result<Self> {
        let temporary = temporary(path);
        let out = files.create(&temporary)?;
        let mut buffer = Vec::with_capacity(2 * BUFFER_BYTES);
        buffer.extend_from_slice(&MAGIC);
        buffer.extend_from_slice(&VERSION.to_be_bytes());
        Ok(Writer {
            files,
            path: path.to_owned(),
            temporary,
            out,
            section: buffer.len(),
            buffer,
            sections: 0,
            written: 0,
        })
    }

    /// Begins a section; its body is what is appended to the result.
    pub(super) fn begin(&mut self, kind: Kind) -> &mut Vec<u8> {
        self.section = self.buffer.len();
        self.buffer.extend_from_slice(&(kind as u32).to_be_bytes());
        self.buffer.extend_from_slice(&[0; SECTION_HEADER_BYTES - 4]);
        &mut self.buffer
    }

    /// The body under construction.
    pub(super) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Takes back the section under construction.
    pub(super) fn abandon(&mut self) {
        self.buffer.truncate(self.section);
    }

    /// Whether the section under construction is long enough.
    pub(super) fn is_long(&self) -> bool {
        self.buffer.len() - self.section >= BUFFER_BYTES
    }

    /// Ends the section, which has this many entries.
    pub(super) fn end(&mut self, entries: usize) -> Result<()> {
        let section = &mut self.buffer[self.section..];
        let body = SECTION_HEADER_BYTES;
        let len = (section.len() - body) as u64;
        section[4..8].copy_from_slice(&(entries as u32).to_be_bytes());
        section[8..16].copy_from_slice(&len.to_be_bytes());
        let sum = checksum(&section[..SECTION_HEAD_BYTES], &section[body..]);
        section[SECTION_HEAD_BYTES..body].copy_from_slice(&sum.to_be_bytes());
        self.sections += 1;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.out.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file and makes its contents durable; [`Finished::publish`] gives it its name.
    pub(super) fn finish(mut self) -> Result<Finished<'a>> {
        self.begin(Kind::End);
        self.end(self.sections as usize)?;
        self.flush()?;
        self.out.sync()?;
        Ok(Finished {
            files: self.files,
            path: self.path,
            temporary: self.temporary,
            bytes: self.written,
        })
    }
}

/// The name of a snapshot until it is whole.
pub(in crate::head) fn temporary(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    PathBuf::from(temporary)
}

/// A whole snapshot that has no name yet.
pub(super) struct Finished<'a> {
    files: &'a dyn Files,
    path: PathBuf,
    temporary: PathBuf,
    /// Its length.
    pub(super) bytes: u64,
}

impl Finished<'_> {
    /// Puts it in the place of the snapshot before it.
    pub(super) fn publish(self) -> Result<()> {
        self.files.rename(&self.temporary, &self.path)?;
        self.files.sync_dir(self.path.parent().unwrap_or(Path::new(".")))
    }
}

/// CRC-32 (IEEE) of a section: what it is, and its body.
fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(head);
    sum.update(body);
    sum.finalize()
}

/// A section of a file, not yet checked.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    pub(super) kind: Kind,
    /// Number of entries.
    pub(super) entries: u32,
    offset: usize,
    header: &'a [u8],
    body: &'a [u8],
    sum: u32,
}

impl<'a> Section<'a> {
    /// The body, once its checksum is found right.
    pub(super) fn body(&self) -> std::result::Result<Reader<'a>, Damage> {
        if checksum(self.header, self.body) == self.sum {
            Ok(Reader::new(self.body))
        } else {
            Err(self.damage("the checksum is wrong"))
        }
    }

    /// The bytes of the body; what [`Section::body`] reads.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.body
    }

    pub(super) fn damage(&self, what: impl fmt::Display) -> Damage {
        Damage::Section {
            kind: self.kind,
            offset: self.offset,
            what: what.to_string(),
        }
    }

    /// Runs `read` over the checked body, all of which it must read.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&mut Reader<'a>) -> std::result::Result<T, RecordError>,
    ) -> std::result::Result<T, Damage> {
        let mut body = self.body()?;
        let value = read(&mut body).map_err(|e| self.damage(e))?;
        if body.is_empty() {
            Ok(value)
        } else {
            Err(self.damage("there is more than its entries"))
        }
    }
}

/// The sections of a file, the last one left out.
pub(super) fn sections(file: &[u8]) -> std::result::Result<Vec<Section<'_>>, Damage> {
    let version = file
        .strip_prefix(&MAGIC)
        .and_then(|rest| rest.first_chunk())
        .ok_or(Damage::Foreign)?;
    if *version != VERSION.to_be_bytes() {
        return Err(Damage::Version(u32::from_be_bytes(*version)));
    }
    let (mut sections, mut at) = (Vec::new(), FILE_HEADER_BYTES);
    loop {
        let short = || Damage::Short(file.len());
        let header = file.get(at..at + SECTION_HEADER_BYTES).ok_or_else(short)?;
        let be32 = |i: usize| u32::from_be_bytes(std::array::from_fn(|k| header[i + k]));
        let be64 = |i: usize| u64::from_be_bytes(std::array::from_fn(|k| header[i + k]));
        let kind = Kind::of(be32(0)).ok_or(Damage::Contradiction("a section is of no known kind"))?;
        let body = at + SECTION_HEADER_BYTES;
        let end = usize::try_from(be64(8))
            .ok()
            .and_then(|len| body.checked_add(len));
        let end = end.filter(|end| *end <= file.len()).ok_or_else(short)?;
        let section = Section {
            kind,
            entries: be32(4),
            offset: at,
            header: &header[..SECTION_HEAD_BYTES],
            body: &file[body..end],
            sum: be32(SECTION_HEAD_BYTES),
        };
        if kind == Kind::End {
            section.body()?;
            if section.entries as usize != sections.len() || end != file.len() {
                return Err(section.damage("sections are missing, or too many"));
            }
            return Ok(sections);
        }
        sections.push(section);
        at = end;
    }
}

/// Checksum over the last bytes of `bytes[..len]`, at most `most` of them: tells whether a file is still the same up to
/// there. `None` where it is shorter.
pub(super) fn fingerprint(bytes: &[u8], len: u64, most: usize) -> Option<u64> {
    let bytes = bytes.get(..usize::try_from(len).ok()?)?;
    let from = bytes.len().saturating_sub(most);
    Some(xxhash_rust::xxh3::xxh3_64_with_seed(&bytes[from..], len))
}

/// Appends a 32-bit number, high byte first.
pub(super) fn put_be32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a signed 64-bit number, high byte first.
pub(super) fn put_be64_signed(out: &mut Vec<u8>, value: i64) {
    put_be64(out, value as u64);
}

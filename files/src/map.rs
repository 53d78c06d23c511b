//! Mapped files: the only unsafe code of the crate.
#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe; the contract stands at `map_file`"
)]

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

/// The bytes of a file, mapped or held in memory; cloning counts a reference.
#[derive(Clone)]
pub struct Mapped(Bytes);

#[derive(Clone)]
enum Bytes {
    Map(Arc<memmap2::Mmap>),
    Owned(Arc<Vec<u8>>),
}

impl Deref for Mapped {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Map(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Mapped {
    fn from(bytes: Vec<u8>) -> Self {
        Mapped(Bytes::Owned(Arc::new(bytes)))
    }
}

impl From<Arc<Vec<u8>>> for Mapped {
    fn from(bytes: Arc<Vec<u8>>) -> Self {
        Mapped(Bytes::Owned(bytes))
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({} bytes)", self.len())
    }
}

/// Maps a file read-only over its present length.
///
/// Contract: the files of a data directory are written by append only and are never changed or cut below a length that
/// was mapped while the mapping lives; they are removed by unlinking, which leaves mappings valid. The directory's lock
/// keeps other stores out. What the contract cannot exclude is somebody else cutting a file, or a failing disk: then
/// touching the lost pages raises SIGBUS and the process dies. It does not read foreign memory.
pub(crate) fn map_file(file: &File) -> io::Result<Mapped> {
    if file.metadata()?.len() == 0 {
        return Ok(Mapped::from(Vec::new()));
    }
    // SAFETY: the mapping is read-only and private to this process; by the contract above the bytes below its length
    // do not change while it lives.
    let map = unsafe { memmap2::Mmap::map(file)? };
    Ok(Mapped(Bytes::Map(Arc::new(map))))
}

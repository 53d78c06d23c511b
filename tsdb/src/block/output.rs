//! A file that is written in small pieces from front to back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::storage::StorageError;

use files::{FileWriter, Files};

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// A new file and what of it is not written yet.
pub(super) struct Output {
    path: PathBuf,
    writer: Arc<dyn FileWriter>,
    buffer: Vec<u8>,
    /// Bytes of the file so far, gathered ones included.
    pub(super) position: u64,
}

impl Output {
    pub(super) fn create(files: &dyn Files, path: &Path) -> Result<Self, StorageError> {
        Ok(Output {
            path: path.to_owned(),
            writer: files.create(path)?,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            position: 0,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.position += bytes.len() as u64;
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            return self.writer.write_all(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Adds what `write` appends to the buffer: about `bytes` bytes.
    pub(super) fn put_with(
        &mut self,
        bytes: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), StorageError> {
        if self.buffer.len() + bytes > BUFFER_BYTES {
            self.flush()?;
        }
        let before = self.buffer.len();
        write(&mut self.buffer);
        self.position += (self.buffer.len() - before) as u64;
        Ok(())
    }

    /// Adds zeros until the position is a multiple of `align`.
    pub(super) fn pad(&mut self, align: u64) -> Result<(), StorageError> {
        let zeros = [0; 16];
        let missing = (self.position.next_multiple_of(align) - self.position) as usize;
        self.put(&zeros[..missing])
    }

    /// Hands everything to the file.
    pub(super) fn flush(&mut self) -> Result<(), StorageError> {
        if !self.buffer.is_empty() {
            self.writer.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Writes what is left and makes the file durable.
    pub(super) fn finish(mut self) -> Result<(), StorageError> {
        self.flush()?;
        self.writer.sync()
    }
}

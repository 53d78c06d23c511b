//! Files that are written anew as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{FileWriter, Files, Result};

/// New contents for a file, under a temporary name until they are complete.
pub struct Replacement<'a> {
    files: &'a dyn Files,
    path: PathBuf,
    temporary: PathBuf,
    writer: Arc<dyn FileWriter>,
}

impl<'a> Replacement<'a> {
    /// Begins new contents for the file at `path`, which need not exist.
    ///
    /// # Errors
    /// When the temporary file cannot be created.
    pub fn create(files: &'a dyn Files, path: &Path) -> Result<Self> {
        let temporary = temporary(path);
        Ok(Replacement {
            writer: files.create(&temporary)?,
            files,
            path: path.to_owned(),
            temporary,
        })
    }

    /// Appends to the new contents.
    ///
    /// # Errors
    /// As [`FileWriter::write_all`]; the replacement should be dropped then.
    pub fn write_all(&self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes)
    }

    /// Puts the new contents in the place of the old so that after a crash either are there, and once this returns the
    /// new ones. Gives the file to those who append to it.
    ///
    /// # Errors
    /// When one of the steps fails; either contents may be there then, whole.
    pub fn commit(self) -> Result<Arc<dyn FileWriter>> {
        self.writer.sync()?;
        self.files.rename(&self.temporary, &self.path)?;
        self.files
            .sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(self.writer)
    }
}

/// Where the new contents of `path` are written.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    temporary.into()
}

/// Writes a whole file so that after a crash either the old or the new contents are there: temporary name, sync, rename,
/// sync of the folder.
///
/// # Errors
/// When any of the steps fails; the old contents are then untouched, unless it was the last.
pub fn replace_file(files: &dyn Files, path: &Path, bytes: &[u8]) -> Result<()> {
    let replacement = Replacement::create(files, path)?;
    replacement.write_all(bytes)?;
    replacement.commit()?;
    Ok(())
}

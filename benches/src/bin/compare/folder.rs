//! Data folders: copied, so that every server has its own, and weighed.

use std::fs;
use std::path::Path;

use anyhow::Result;

/// Makes `to` a copy of the folder `from`.
pub(crate) fn replace(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    copy(from, to)?;
    // The copy is on disk before anything is timed.
    rustix::fs::sync();
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
        // Locks may be links: whoever starts makes its own.
    }
    Ok(())
}

/// What lies in a data folder, in bytes of disk in use.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) total: u64,
    /// Of blocks only.
    pub(crate) blocks: u64,
    pub(crate) block_samples: u64,
}

impl Disk {
    /// Weighs a folder.
    pub(crate) fn of(data: &Path) -> Result<Self> {
        let mut disk = Disk::default();
        for entry in fs::read_dir(data)? {
            let path = entry?.path();
            let bytes = bytes_in_use(&path)?;
            disk.total += bytes;
            // A block: the reference's format, which VictoriaMetrics does not have.
            if let Ok(meta) = fs::read(path.join("meta.json")) {
                let meta: serde_json::Value = serde_json::from_slice(&meta)?;
                disk.blocks += bytes;
                disk.block_samples += meta["stats"]["numSamples"].as_u64().unwrap_or(0);
            }
        }
        Ok(disk)
    }
}

/// Disk in use by a file or folder. Space that a server allots beforehand counts, holes do not.
pub(crate) fn bytes_in_use(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    // Files come and go while the server runs.
    let Ok(about) = fs::symlink_metadata(path) else {
        return Ok(0);
    };
    if !about.is_dir() {
        return Ok(about.len().min(about.blocks() * 512));
    }
    let mut sum = 0;
    for entry in fs::read_dir(path)? {
        sum += bytes_in_use(&entry?.path())?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_copied_and_weighed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir_all(from.join("block")).expect("made");
        fs::write(from.join("block/meta.json"), r#"{"stats":{"numSamples":10}}"#).expect("written");
        fs::write(from.join("log"), [1; 100]).expect("written");
        fs::create_dir_all(to.join("left over")).expect("made");
        replace(&from, &to).expect("copied");
        assert!(!to.join("left over").exists());
        let disk = Disk::of(&to).expect("read");
        assert_eq!((disk.total, disk.blocks, disk.block_samples), (127, 27, 10));
    }
}

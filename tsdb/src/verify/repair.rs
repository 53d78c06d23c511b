//! Healing: what is damaged is moved out of the way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::storage::StorageError;

use super::{Checked, Remedy};
use files::{FileLock, Files, Result};

/// Folder below the store's for what was damaged. No server looks into it.
pub const QUARANTINE_DIR: &str = "quarantine";

/// Applies the remedies of what was checked in the folder `dir`, and tells `each` before each of them. Takes the folder's
/// lock: a running server keeps its files.
///
/// # Errors
/// When another process holds the folder or the system refuses; what has been done by then stays done.
pub fn repair(
    files: &Arc<dyn Files>,
    dir: &Path,
    checked: &[Checked],
    each: &mut dyn FnMut(&Remedy),
) -> Result<()> {
    let _lock = lock(&**files, dir)?;
    let quarantine = dir.join(QUARANTINE_DIR);
    let findings = checked.iter().flat_map(|checked| &checked.findings);
    let mut done: Vec<&Remedy> = Vec::new();
    for remedy in findings.filter_map(|finding| finding.remedy.as_ref()) {
        if done.contains(&remedy) {
            continue;
        }
        each(remedy);
        apply(&**files, dir, &quarantine, remedy)?;
        done.push(remedy);
    }
    files.sync_dir(dir)
}

fn lock(files: &dyn Files, dir: &Path) -> Result<FileLock> {
    files.lock(&dir.join("lock")).map_err(|error| match &error {
        StorageError::Io { source, .. } if source.kind() == std::io::ErrorKind::WouldBlock => {
            StorageError::Other(format!(
                "{} is in use by another process: stop it first",
                dir.display()
            ))
        }
        _ => error,
    })
}

fn apply(files: &dyn Files, dir: &Path, quarantine: &Path, remedy: &Remedy) -> Result<()> {
    match remedy {
        Remedy::Quarantine(path) | Remedy::DropTombstones(path) => set_aside(files, dir, quarantine, path),
        Remedy::Remove(path) => files.remove_dir_all(path),
        Remedy::CutLog { path, len } => cut(files, dir, quarantine, path, *len),
        Remedy::CutChunks { path, len } => {
            let folder = path.parent().unwrap_or(dir);
            for entry in files.list(folder)? {
                let later = folder.join(&entry.name);
                if !entry.is_dir && later > *path {
                    set_aside(files, dir, quarantine, &later)?;
                }
            }
            if *len == 0 {
                return set_aside(files, dir, quarantine, path);
            }
            cut(files, dir, quarantine, path, *len)
        }
    }
}

/// A name in the quarantine that nothing has yet: the path below the store's folder, with dashes.
fn free_name(files: &dyn Files, dir: &Path, quarantine: &Path, path: &Path, ending: &str) -> Result<PathBuf> {
    files.create_dir_all(quarantine)?;
    let below = path.strip_prefix(dir).unwrap_or(path).to_string_lossy();
    let name = below.replace(std::path::MAIN_SEPARATOR, "-");
    let plain = quarantine.join(format!("{name}{ending}"));
    let numbered = (2u32..).map(|number| quarantine.join(format!("{name}{ending}.{number}")));
    let free = std::iter::once(plain)
        .chain(numbered)
        .find(|path| !files.exists(path));
    free.ok_or(StorageError::Closed)
}

fn set_aside(files: &dyn Files, dir: &Path, quarantine: &Path, path: &Path) -> Result<()> {
    let target = free_name(files, dir, quarantine, path, "")?;
    files.rename(path, &target)?;
    files.sync_dir(quarantine)?;
    files.sync_dir(path.parent().unwrap_or(dir))
}

/// Cuts a file; what is cut off goes to a file in the quarantine first.
fn cut(files: &dyn Files, dir: &Path, quarantine: &Path, path: &Path, len: u64) -> Result<()> {
    let bytes = files.read(path)?;
    let kept = usize::try_from(len).map_or(bytes.len(), |len| len.min(bytes.len()));
    let target = free_name(files, dir, quarantine, path, &format!(".from-{kept}"))?;
    let writer = files.create(&target)?;
    writer.write_all(&bytes[kept..])?;
    writer.sync()?;
    files.sync_dir(quarantine)?;
    files.truncate(path, len)
}

//! Whether files have changed since they were read.

use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

/// A file that is younger than this may change once more without its times telling: clocks of file systems are coarse.
const TELLING_AFTER: Duration = Duration::from_secs(2);
/// Of a file that is larger, only so many bytes are compared.
const COMPARED_BYTES_MAX: u64 = 32 << 20;

/// What a file is known by: device, inode, length, and when its content and its entry changed, each in nanoseconds.
type Stamp = Option<(u64, u64, u64, i128, i128)>;

/// Files as they were seen: the configuration, and what it names.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    path: PathBuf,
    named: Vec<PathBuf>,
    stamps: Vec<Stamp>,
    content: [u8; 32],
    /// Their times may not tell of the next change.
    is_young: bool,
}

impl Seen {
    /// Nothing was seen.
    pub(super) fn new(path: &Path) -> Self {
        Seen {
            path: path.to_owned(),
            named: Vec::new(),
            stamps: Vec::new(),
            content: [0; 32],
            is_young: false,
        }
    }

    /// Looks now.
    pub(super) fn of(path: &Path, named: &[PathBuf]) -> Self {
        let mut seen = Seen::new(path);
        seen.named = named.to_vec();
        seen.stamp();
        seen.content = seen.content();
        seen
    }

    /// What the configuration names.
    pub(super) fn named(&self) -> &[PathBuf] {
        &self.named
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.path).chain(&self.named)
    }

    /// Whether the files hold something else than they did.
    pub(super) fn has_changed(&mut self) -> bool {
        let before = std::mem::take(&mut self.stamps);
        let was_young = self.is_young;
        self.stamp();
        if before == self.stamps && !was_young {
            return false;
        }
        let content = self.content();
        std::mem::replace(&mut self.content, content) != content
    }

    fn stamp(&mut self) {
        let now = SystemTime::now();
        let found: Vec<Option<Metadata>> = self.files().map(|file| std::fs::metadata(file).ok()).collect();
        self.is_young = found.iter().flatten().any(|metadata| {
            let age = metadata
                .modified()
                .ok()
                .and_then(|at| now.duration_since(at).ok());
            // One from the future is as young as can be.
            age.is_none_or(|age| age < TELLING_AFTER)
        });
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let stamps = found.iter().map(|metadata| {
            let metadata = metadata.as_ref()?;
            Some((
                metadata.dev(),
                metadata.ino(),
                metadata.len(),
                nanos(metadata.mtime(), metadata.mtime_nsec()),
                nanos(metadata.ctime(), metadata.ctime_nsec()),
            ))
        });
        self.stamps = stamps.collect();
    }

    fn content(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for (file, stamp) in self.files().zip(&self.stamps) {
            let mut bytes = Vec::new();
            // What is not a file is read by nobody.
            let read = stamp.is_some()
                && std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file())
                && std::fs::File::open(file)
                    .and_then(|file| file.take(COMPARED_BYTES_MAX).read_to_end(&mut bytes))
                    .is_ok();
            hasher.update([u8::from(read)]);
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(&bytes);
        }
        hasher.finalize().into()
    }
}

//! Files of secrets and certificates: read off the network's threads, and again when they change.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Mutex;

use crate::error::HttpClientError;

/// Largest file of a secret, in bytes: tokens have a few thousand.
const SECRET_BYTES_MAX: u64 = 1 << 20;

/// A file that holds a secret. It is read for each request, as in the reference, so that a new secret needs no reload.
#[derive(Debug)]
pub(crate) struct SecretFile {
    what: &'static str,
    path: Arc<Path>,
    /// One reader at a time: a disk that does not answer holds one thread, not one for each request.
    turn: Arc<Mutex<()>>,
}

impl SecretFile {
    pub(crate) fn new(path: &Path, what: &'static str) -> Self {
        SecretFile {
            what,
            path: Arc::from(path),
            turn: Arc::default(),
        }
    }

    pub(crate) async fn read(&self) -> Result<String, HttpClientError> {
        // The turn goes with the reading, so that it lasts as long as that does, even when the request has given up.
        let turn = self.turn.clone().lock_owned().await;
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut text = String::new();
            std::fs::File::open(path)?
                .take(SECRET_BYTES_MAX)
                .read_to_string(&mut text)?;
            Ok(text.trim().to_owned())
        });
        read.await
            .unwrap_or_else(|failed| Err(std::io::Error::other(failed)))
            .map_err(|source| HttpClientError::File {
                what: self.what,
                path: self.path.to_path_buf(),
                source,
            })
    }
}

/// A secret that the settings give, or the file that holds it.
#[derive(Debug)]
pub(crate) enum Source {
    Text(String),
    File(SecretFile),
}

impl Source {
    pub(crate) fn new(text: &str, file: &Path, what: &'static str) -> Self {
        if file.as_os_str().is_empty() {
            Source::Text(text.to_owned())
        } else {
            Source::File(SecretFile::new(file, what))
        }
    }

    pub(crate) async fn get(&self) -> Result<String, HttpClientError> {
        match self {
            Source::Text(text) => Ok(text.clone()),
            Source::File(file) => file.read().await,
        }
    }
}

/// What tells whether files are still those that were read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<Option<(SystemTime, u64)>>);

impl Fingerprint {
    pub(crate) fn of(files: &[PathBuf]) -> Self {
        let one = |file: &PathBuf| {
            let metadata = std::fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        Fingerprint(files.iter().map(one).collect())
    }
}

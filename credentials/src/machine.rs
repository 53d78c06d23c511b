//! Where credentials are looked for.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use httpclient::{HttpClient, HttpClientConfig, HttpClientError, Surroundings};
use jiff::Timestamp;
use model::clock::{Clock, SystemClock};

use crate::error::CredentialsError;

/// Longest file of credentials, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where credentials are looked for: the machine's, unless a test has its own.
#[derive(Clone)]
pub struct Machine {
    /// What clients call themselves.
    pub user_agent: String,
    /// From names to addresses, and whom to trust.
    pub surroundings: Surroundings,
    /// The environment; `None` is the process's own.
    pub env: Option<Arc<HashMap<String, String>>>,
    /// What absolute paths of the machine are looked up below; `/` outside tests.
    pub root: PathBuf,
    /// When credentials end.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// The machine itself.
    pub fn new(user_agent: impl Into<String>) -> Self {
        Machine {
            user_agent: user_agent.into(),
            surroundings: Surroundings::default(),
            env: None,
            root: PathBuf::from("/"),
            clock: Arc::new(SystemClock),
        }
    }

    /// A variable of the environment; `None` where it is empty, too.
    pub fn var(&self, name: &str) -> Option<String> {
        let value = match &self.env {
            Some(env) => env.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// Whether a variable says yes.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.var(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A file of the machine at an absolute path.
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// A file in the user's folder.
    pub(crate) fn at_home(&self, relative: &str) -> Option<PathBuf> {
        Some(Path::new(&self.var("HOME")?).join(relative))
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// A client of this machine's.
    ///
    /// # Errors
    /// When a file that the settings name cannot be used.
    pub fn client(&self, config: &HttpClientConfig) -> Result<HttpClient, HttpClientError> {
        HttpClient::within(config, &self.user_agent, self.surroundings.clone())
    }

    /// The client that asks metadata services: at an address of the machine itself, so without proxies, and an answer
    /// never leads elsewhere.
    pub(crate) fn plain_client(&self) -> Result<HttpClient, HttpClientError> {
        self.client(&HttpClientConfig {
            follow_redirects: false,
            ..HttpClientConfig::default()
        })
    }

    /// A file, read off the network's threads, up to [`FILE_BYTES_MAX`].
    pub(crate) async fn read(&self, of: &str, path: &Path) -> Result<String, CredentialsError> {
        let (path, of) = (path.to_owned(), of.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            read_now(&path).map_err(|source| CredentialsError::File { of, path, source })
        });
        read.await?
    }
}

/// A file, on this thread.
pub(crate) fn read_now(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

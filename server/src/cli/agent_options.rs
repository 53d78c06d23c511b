//! The flags of an agent as typed options.

use std::path::PathBuf;
use std::time::Duration;

use super::flags::{FlagValues, Mode};
use super::options::{OptionErrors, Reader};
use super::serve_options::{ServeOptions, WalCompression};

/// Sizes of segments that may be asked for. Compat: the reference's (`an_agent_refuses_what_it_has_no_use_for`).
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 10 << 20..=256 << 20;
/// What 0 means for each of its times. Compat: as there.
const TRUNCATE_INTERVAL: Duration = Duration::from_secs(2 * 3600);
const RETENTION_MIN: Duration = Duration::from_secs(5 * 60);
const RETENTION_MAX: Duration = Duration::from_secs(4 * 3600);

/// What an agent was told.
#[derive(Clone, Debug)]
pub(crate) struct AgentOptions {
    /// What it has in common with a server: listening, scraping, what is pushed, sending on. The folder of the store and
    /// how long the log is kept for receivers are the agent's here; what is said of a server's store, of queries, rules and
    /// alerts counts for nothing.
    pub(crate) serve: ServeOptions,
    pub(crate) storage: AgentStorage,
}

/// Flags of an agent's store.
#[derive(Clone, Debug)]
pub(crate) struct AgentStorage {
    /// Nothing for the usual size.
    pub(crate) wal_segment_bytes: Option<u64>,
    pub(crate) wal_compression: WalCompression,
    pub(crate) truncate_interval: Duration,
    pub(crate) retention_min: Duration,
    /// Series that may be known; 0 for no limit.
    pub(crate) series_max: usize,
    pub(crate) lock: bool,
}

impl AgentOptions {
    /// From the flags.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn new(flags: FlagValues) -> Result<Self, OptionErrors> {
        let mut options = Reader::all(&flags, |read| {
            read.check_mode(Mode::Agent);
            let mut serve = ServeOptions::read(read);
            let storage = AgentStorage::read(read);
            serve.storage.path = PathBuf::from(read.text("storage.agent.path"));
            if read.flags.is_given("storage.agent.retention.max-time") {
                serve.forward.spool_age = retention_max(read, &storage);
            }
            AgentOptions { serve, storage }
        })?;
        options.serve.flags = flags;
        Ok(options)
    }
}

/// Compat: 0 is the default, and it is never shorter than the other times.
fn retention_max(read: &Reader<'_>, storage: &AgentStorage) -> Duration {
    let given = or_default(read.duration("storage.agent.retention.max-time"), RETENTION_MAX);
    given.max(storage.retention_min).max(storage.truncate_interval)
}

fn or_default(given: Duration, default: Duration) -> Duration {
    if given.is_zero() { default } else { given }
}

impl AgentStorage {
    fn read(read: &mut Reader<'_>) -> Self {
        let segment_bytes = read.bytes("storage.agent.wal-segment-size");
        if segment_bytes != 0 && !SEGMENT_BYTES.contains(&segment_bytes) {
            let error = "flag 'storage.agent.wal-segment-size' must be set between 10MB and 256MB";
            read.note(error.to_owned());
        }
        if read.number("storage.agent.checkpoint-batch-size") == 0 {
            let error = "--storage.agent.checkpoint-batch-size must be greater than 0.";
            read.note(error.to_owned());
        }
        AgentStorage {
            wal_segment_bytes: Some(segment_bytes).filter(|bytes| *bytes > 0),
            wal_compression: WalCompression::read(
                read.switch("storage.agent.wal-compression"),
                read.text("storage.agent.wal-compression-type"),
            ),
            truncate_interval: or_default(
                read.duration("storage.agent.wal-truncate-frequency"),
                TRUNCATE_INTERVAL,
            ),
            retention_min: or_default(read.duration("storage.agent.retention.min-time"), RETENTION_MIN),
            series_max: read.number("storage.agent.max-series"),
            lock: !read.switch("storage.agent.no-lockfile"),
        }
    }
}

//! One of several servers sends: the one that holds a lease.
//!
//! The lease is an object that servers share ([`LeaseStore`]: a `Lease` of Kubernetes, an object in a bucket) and that is
//! changed under a condition: only as it was when it was read. Its holder renews it ten times in its duration (`elect`).
//! Beside it lie what the holder has sent and the silences of all (`share`), so that whoever takes over knows them.
//! All servers take alerts in, group them, look at their groups; who does not hold the lease leaves what it would send
//! for a later look (`Seat::permit`), and looks at once when it takes over.
//!
//! * **No clock is compared.** That a lease is over is judged by the time that goes by at the one who waits, since it last
//!   saw the lease change.
//! * **A holder stops first.** It sends until six tenths of the duration after the renewal that succeeded last was begun,
//!   then breaks off what is on its way; another one takes the lease at the earliest after eight tenths without a change,
//!   and within the whole.
//! * **Each holding has a number** ([`Record::term`]), higher than all before it. Entries of the log carry it: of two about
//!   the same group that of the later term counts, whatever the servers' clocks said.
//! * **Rather twice than never.** What was sent is put beside the lease right after it was sent; a server that dies
//!   between the two has its last notifications sent again. One that takes over and cannot read what lies beside the lease
//!   tries for the lease's duration, and then goes on with what it knows.

mod bucket;
mod config;
mod elect;
mod kubernetes;
mod seat;
mod share;
mod stats;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use credentials::Machine;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

pub use config::{BucketLease, HighAvailability, KubernetesLease, LeaseConfig, LeasePlace};
pub(crate) use elect::{Lease, LeaseAround};
pub(crate) use seat::{Permit, Seat};
pub(crate) use share::{Excerpt, Merge, Shared};
pub(crate) use stats::LeaseStats;

/// Makes the store of a lease: [`open_store`] with what the program knows of its machine, or a test's own.
pub type OpenStore = Arc<dyn Fn(&LeaseConfig) -> Result<Arc<dyn LeaseStore>, OpenError> + Send + Sync>;

/// Objects that several servers share: the lease, and named parts beside it.
///
/// Every write has a condition: the object is as it was when it was read, or there is none. Whoever calls limits the time.
pub trait LeaseStore: Send + Sync {
    /// The lease; `None` where there is none yet.
    fn read_lease(&self) -> BoxFuture<'_, Result<Option<(Record, Version)>, StoreError>>;

    /// Writes the lease over the version that was read, or where there was none.
    fn write_lease<'a>(
        &'a self,
        record: &'a Record,
        over: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, StoreError>>;

    /// A part, unless it is still of the version `known`.
    fn read_part<'a>(
        &'a self,
        name: &'a str,
        known: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Part, StoreError>>;

    /// Writes a part over the version that was read, or where there was none.
    fn write_part<'a>(
        &'a self,
        name: &'a str,
        bytes: Vec<u8>,
        over: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, StoreError>>;

    /// How much there is room for.
    fn room(&self) -> Room;
}

/// What the lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it, unlike anybody else at any time; empty for nobody.
    pub holder: String,
    /// Number of this holding; each is higher than the one before.
    pub term: u64,
    /// When the holding began, by the holder's clock: for people.
    pub acquired: Timestamp,
    /// When it was last renewed, by the holder's clock: for people, and a change that others see.
    pub renewed: Timestamp,
    /// Within which another one takes over.
    pub duration: Duration,
}

impl Record {
    /// What is said of a lease that means nothing: somebody holds it who does not renew it, so that it is taken in its
    /// time.
    fn unreadable() -> Self {
        Record {
            holder: "(unreadable)".to_owned(),
            term: 0,
            acquired: Timestamp::UNIX_EPOCH,
            renewed: Timestamp::UNIX_EPOCH,
            duration: Duration::ZERO,
        }
    }
}

/// What a store calls a state of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// What there is of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Nothing.
    Absent,
    /// What is known.
    Unchanged,
    /// This.
    Present {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Its version.
        version: Version,
    },
}

/// How much a store has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Parts that a log is cut into.
    pub parts: usize,
    /// Bytes of a part.
    pub part_bytes_max: usize,
}

/// Why the shared objects were not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It is not as it was when it was read.
    #[error("{object}: somebody else has changed it meanwhile")]
    Conflict {
        /// What.
        object: String,
    },
    /// No answer in time.
    #[error("no answer within {} ms", after.as_millis())]
    Timeout {
        /// How long it was waited for.
        after: Duration,
    },
    /// No answer.
    #[error(transparent)]
    Ask(Box<dyn std::error::Error + Send + Sync>),
    /// A refusal.
    #[error("{object}: the server answers {status}: {message}")]
    Refused {
        /// What was asked for.
        object: String,
        /// The status.
        status: u16,
        /// The beginning of what it says.
        message: String,
    },
    /// An answer that means nothing.
    #[error("{object}: {what}")]
    Content {
        /// What was read.
        object: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The cluster, or who asks it, is not known.
    #[error("high_availability.lease.kubernetes: {0}")]
    Cluster(#[from] discovery::prepare::PrepareError),
    /// The client's settings do not hold here.
    #[error("high_availability.lease.bucket: {0}")]
    Client(#[from] httpclient::HttpClientError),
}

/// The store that a configuration names.
///
/// # Errors
/// When files that it needs cannot be read, or this machine lacks what it relies on.
pub fn open_store(config: &LeaseConfig, machine: &Machine) -> Result<Arc<dyn LeaseStore>, OpenError> {
    let ask_max = elect::ask_max(config.duration.as_std());
    Ok(match &config.place {
        LeasePlace::Kubernetes(lease) => Arc::new(kubernetes::Kubernetes::open(lease, machine, ask_max)?),
        LeasePlace::Bucket(lease) => Arc::new(bucket::Bucket::open(lease, machine, ask_max)?),
    })
}

/// As much of a foreign text as an error quotes.
fn beginning(body: &[u8]) -> String {
    const QUOTED_CHARS_MAX: usize = 200;
    let text = String::from_utf8_lossy(&body[..body.len().min(QUOTED_CHARS_MAX * 4)]);
    text.trim().chars().take(QUOTED_CHARS_MAX).collect()
}

/// A time as the lease has it, Kubernetes' `MicroTime`: six decimals, always.
fn micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Such a time; it is for people, so that one that is none does no harm.
fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

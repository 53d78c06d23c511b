//! Remote write, the receiving side: versions 1.0 and 2.0.
//!
//! A request's bytes become one transaction. They are inflated into a buffer whose size the sender declares and a bound
//! limits, read field by field where they lie, and packed into label sets that the store is asked for by the hundred: of a
//! series that is known, nothing is allocated.
//!
//! What the two versions make of a mistake differs. 1.0 takes a request whole or not at all, but passes over series whose
//! labels make no sense; 2.0 takes what can be taken, says how much that was, and answers with 400 where it was not all.
//! Both answer with 4xx what would fail again, and with 5xx what may be sent again.
//!
//! Formats: <https://prometheus.io/docs/specs/prw/remote_write_spec/>,
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.

mod error;
mod gather;
mod labels;
mod negotiate;
mod v1;
mod v2;

use std::sync::Arc;

use metrics::{Counter, Registry};
use model::clock::Clock;
use model::packed_sets::PackedSets;
use model::storage::{
    AHEAD_MAX_MS, AppendBatch, AppendError, AppendOutcome, Appender, BatchList, Refusal, SeriesRef,
    append_resolved,
};
use parking_lot::Mutex;

pub use error::{DecodeError, WriteError};
pub use negotiate::{Accepted, Message, MessageError};

use crate::inflate::{Budget, Taken};
use error::Faults;
use gather::{Gather, Gathered, Rules};

/// Longest request, as it is sent and inflated, in bytes.
pub const REQUEST_BYTES_MAX: usize = 32 << 20;
/// Memory that requests take together once they are inflated.
const INFLATED_BYTES_MAX: usize = 256 << 20;
/// Buffers of requests that are kept for later ones.
const SCRATCH_KEPT: usize = 8;
/// Bytes of a buffer that is kept.
const SCRATCH_BYTES_MAX: usize = 4 << 20;

/// What a receiver does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Messages that are taken.
    pub accepted: Accepted,
    /// A start timestamp becomes a sample of zero there, where it is at the end of its series.
    pub start_zeros: bool,
    /// Type and unit become labels.
    pub type_and_unit_labels: bool,
    /// Metadata is written to the log.
    pub keep_metadata: bool,
}

/// A request, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// The header `Content-Type`; empty where there is none.
    pub content_type: &'r str,
    /// The header `Content-Encoding`; empty where there is none.
    pub content_encoding: &'r str,
    /// The body as sent.
    pub body: &'r [u8],
}

/// What a 2.0 request is told to have had stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Floats.
    pub samples: u64,
    /// Histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The counts in the headers of 2.0.
    pub written: Option<Written>,
    /// What went wrong; empty for success.
    pub text: String,
}

/// Takes requests.
pub struct Receiver {
    appender: Arc<dyn Appender>,
    clock: Arc<dyn Clock>,
    options: Options,
    invalid_labels: Counter,
    inflating: Budget,
    scratch: Mutex<Vec<Scratch>>,
}

/// Buffers of a request.
#[derive(Default)]
struct Scratch {
    inflated: Vec<u8>,
    batch: AppendBatch,
    outcome: AppendOutcome,
    sets: PackedSets,
    found: Vec<Option<SeriesRef>>,
}

impl Receiver {
    /// One that writes to `appender`.
    pub fn new(
        appender: Arc<dyn Appender>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
        options: Options,
    ) -> Self {
        // Compat: here metadata always comes with its sample, so this stays 0; dashboards look for it (`push/status`).
        registry.counter(
            "prometheus_api_remote_write_without_metadata_appended_samples_total",
            "The total number of received remote write samples (and histogram samples) which were ingested without \
             corresponding metadata.",
        );
        Receiver {
            appender,
            clock,
            options,
            invalid_labels: registry.counter(
                "prometheus_api_remote_write_invalid_labels_samples_total",
                "The total number of received remote write samples and histogram samples which were rejected due to \
                 invalid labels.",
            ),
            inflating: Budget::new(INFLATED_BYTES_MAX),
            scratch: Mutex::default(),
        }
    }

    /// Takes a request: what it brings is stored when this returns, as far as the answer says.
    pub fn receive(&self, request: &Request<'_>) -> Answer {
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        let mut inflated = std::mem::take(&mut scratch.inflated);
        let answer = self.take(request, &mut inflated, &mut scratch);
        scratch.inflated = inflated;
        self.keep(scratch);
        answer.unwrap_or_else(|error| Answer {
            status: error.status(),
            written: None,
            text: error.to_string(),
        })
    }

    fn keep(&self, mut scratch: Scratch) {
        scratch.batch.clear();
        scratch.sets.clear();
        let samples = scratch.batch.floats.capacity() * size_of::<model::storage::FloatSample>();
        if scratch.inflated.capacity().max(samples) <= SCRATCH_BYTES_MAX {
            let mut kept = self.scratch.lock();
            if kept.len() < SCRATCH_KEPT {
                kept.push(scratch);
            }
        }
    }

    fn take(
        &self,
        request: &Request<'_>,
        inflated: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<Answer, WriteError> {
        // What is not taken is not inflated, either.
        negotiate::check_encoding(request.content_encoding)?;
        let message = Message::of_content_type(request.content_type)?;
        self.options.accepted.check(message)?;
        let mut taken = self.inflating.part();
        inflate(request.body, inflated, &mut taken)?;
        let stored = self.store(message, inflated, scratch);
        let failed = |error: WriteError| Answer {
            status: error.status(),
            written: (message == Message::V2).then(Written::default),
            text: error.to_string(),
        };
        Ok(stored.unwrap_or_else(failed))
    }

    fn store(&self, message: Message, bytes: &[u8], scratch: &mut Scratch) -> Result<Answer, WriteError> {
        let attempt = |scratch: &mut Scratch| self.attempt(message, bytes, scratch);
        // Nothing is remembered of a series: it is asked for again.
        append_resolved(scratch, attempt, |_, _| ())?
    }

    /// Reads the message and appends what it brings.
    fn attempt(
        &self,
        message: Message,
        bytes: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Result<Answer, WriteError>, AppendError> {
        let rules = Rules {
            latest_ms: self.clock.now_ms().saturating_add(AHEAD_MAX_MS),
            start_zeros: self.options.start_zeros && message == Message::V2,
            // Compat: 1.0 has its own order (remote-write: v1/exemplar/on-histogram).
            samples_first: message == Message::V2,
        };
        scratch.batch.clear();
        scratch.batch.all_or_nothing = message == Message::V1;
        let gather = Gather::new(
            &*self.appender,
            rules,
            &mut scratch.batch,
            &mut scratch.sets,
            &mut scratch.found,
        );
        let gathered = match message {
            Message::V1 => v1::read(bytes, gather),
            Message::V2 => v2::read(bytes, gather, &self.options),
        };
        let gathered = match gathered {
            Ok(gathered) => gathered,
            Err(error) => return Ok(Err(error.into())),
        };
        // Compat: 1.0 stores nothing where a sample cannot be stored (remote-write: v1/future-far).
        if message == Message::V1 && gathered.is_whole_refused {
            return Ok(Ok(refusal(message, Written::default(), &gathered.faults)));
        }
        let outcome = &mut scratch.outcome;
        outcome.refused.clear();
        if !scratch.batch.is_empty() {
            self.appender.append(&scratch.batch, outcome)?;
        }
        if gathered.invalid > 0 {
            self.invalid_labels.add_count(gathered.invalid);
        }
        Ok(Ok(conclude(message, gathered, &scratch.batch, outcome)))
    }
}

/// What is answered to a request that was stored, perhaps in part.
fn conclude(
    message: Message,
    mut gathered: Gathered<'_>,
    batch: &AppendBatch,
    outcome: &mut AppendOutcome,
) -> Answer {
    let mut written = Written {
        samples: (batch.floats.len() - batch.start_floats.len()) as u64,
        histograms: (batch.histograms.len() - batch.start_histograms.len()) as u64,
        exemplars: batch.exemplars.len() as u64 + gathered.exemplars_passed_over,
    };
    // They come in the order in which series lie in the store.
    outcome
        .refused
        .sort_unstable_by_key(|(list, index, _)| (gathered.owner(*list, *index), *list as u8, *index));
    let mut is_refused = gathered.is_refused;
    for (list, index, refusal) in &outcome.refused {
        match (list, refusal) {
            // Compat: who sends these does not hear of it (remote-write: ooo-refused-within-request,
            // exemplar/duplicate, exemplar/storage-off).
            (_, Refusal::Overtaken | Refusal::Doubled) => continue,
            (_, Refusal::DuplicateExemplar | Refusal::ExemplarsDisabled) => continue,
            (BatchList::Exemplars, _) => written.exemplars -= 1,
            (BatchList::Floats, _) => written.samples -= 1,
            (BatchList::Histograms, _) => written.histograms -= 1,
        }
        // Compat: nor of exemplars that are too long (remote-write: v1/exemplar/too-long), nor, in 1.0, of any.
        let is_told = match list {
            BatchList::Exemplars => message == Message::V2 && *refusal == Refusal::OutOfOrderExemplar,
            _ => true,
        };
        if is_told {
            is_refused = true;
            gathered.note_refusal(batch, *list, *index, *refusal);
        }
    }
    if is_refused {
        return refusal(message, written, &gathered.faults);
    }
    Answer {
        status: 204,
        written: (message == Message::V2).then_some(written),
        text: String::new(),
    }
}

fn refusal(message: Message, written: Written, faults: &Faults) -> Answer {
    Answer {
        status: 400,
        written: (message == Message::V2).then_some(written),
        text: faults.to_string(),
    }
}

/// Inflates a body; how long it will be is judged before there is room for it.
fn inflate(body: &[u8], inflated: &mut Vec<u8>, taken: &mut Taken<'_>) -> Result<(), WriteError> {
    // Nothing at all is no block, whatever the library says.
    let bytes = match body {
        [] => return Err(WriteError::Snappy(snap::Error::Empty)),
        _ => snap::raw::decompress_len(body).map_err(WriteError::Snappy)?,
    };
    if bytes > REQUEST_BYTES_MAX {
        return Err(WriteError::TooLarge { bytes });
    }
    taken.grow(bytes)?;
    inflated.resize(bytes, 0);
    let got = snap::raw::Decoder::new()
        .decompress(body, inflated)
        .map_err(WriteError::Snappy)?;
    inflated.truncate(got);
    Ok(())
}

//! Imports under way and those that have ended lately, for whoever wants to see how far they are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use remote::import::{Counts, Progress};
use remote::intake::Outcome;
use serde_json::{Value, json};

use super::super::room::Sender;
use crate::web::status::rfc3339_nanos;

/// Imports that are told of.
const JOBS_MAX: usize = 64;

/// The newest imports.
#[derive(Default)]
pub(super) struct Jobs {
    list: Mutex<VecDeque<Arc<Entry>>>,
    next: AtomicU64,
}

struct Entry {
    id: u64,
    path: &'static str,
    sender: String,
    begun_ms: i64,
    /// Of the body, as it is sent; none where it is not said.
    length: Option<u64>,
    progress: Arc<Progress>,
    end: Mutex<End>,
}

/// How an import has ended.
#[derive(Default)]
enum End {
    #[default]
    Running,
    /// Its body did not come whole.
    BrokenOff,
    Ended {
        at_ms: i64,
        failed: bool,
        problems: String,
    },
}

impl Jobs {
    /// An import begins.
    pub(super) fn begin(&self, path: &'static str, sender: &Sender, length: Option<u64>, now_ms: i64) -> Job {
        let entry = Arc::new(Entry {
            id: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            path,
            sender: sender.to_string(),
            begun_ms: now_ms,
            length,
            progress: Arc::default(),
            end: Mutex::default(),
        });
        let mut list = self.list.lock();
        list.push_front(entry.clone());
        list.truncate(JOBS_MAX);
        Job(entry)
    }

    /// The newest first.
    pub(super) fn list(&self) -> Vec<Value> {
        self.list.lock().iter().map(|entry| entry.to_json()).collect()
    }
}

impl Entry {
    fn to_json(&self) -> Value {
        let Counts {
            bytes,
            lines,
            stored,
            refused,
            bad_lines,
        } = self.progress.counts();
        let (state, ended, problems) = match &*self.end.lock() {
            End::Running => ("running", None, String::new()),
            End::BrokenOff => ("broken off", None, String::new()),
            End::Ended {
                at_ms,
                failed,
                problems,
            } => {
                let state = if *failed { "failed" } else { "done" };
                (state, Some(rfc3339_nanos(*at_ms)), problems.clone())
            }
        };
        json!({
            "id": self.id,
            "path": self.path,
            "from": self.sender,
            "state": state,
            "begun": rfc3339_nanos(self.begun_ms),
            "ended": ended,
            "contentLength": self.length,
            "bytes": bytes,
            "lines": lines,
            "samplesStored": stored,
            "samplesRefused": refused,
            "badLines": bad_lines,
            "problems": problems,
        })
    }
}

/// An import that is listed; dropped before it has ended, it is one that was broken off.
pub(super) struct Job(Arc<Entry>);

impl Job {
    pub(super) fn progress(&self) -> Arc<Progress> {
        self.0.progress.clone()
    }

    pub(super) fn ended(self, outcome: &Outcome, at_ms: i64) {
        *self.0.end.lock() = End::Ended {
            at_ms,
            failed: outcome.failure.is_some(),
            problems: outcome.problems(),
        };
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let mut end = self.0.end.lock();
        if let End::Running = &*end {
            *end = End::BrokenOff;
        }
    }
}

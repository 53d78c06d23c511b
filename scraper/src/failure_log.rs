//! `scrape_failure_log_file`: failed scrapes, one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use parking_lot::Mutex;

/// An open log.
#[derive(Debug)]
pub(crate) struct FailureLog(Mutex<File>);

impl FailureLog {
    /// Opens the file at its end; creates it where it is not there.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(FailureLog(Mutex::new(file)))
    }

    /// Adds a line. A log that cannot be written does not disturb scraping.
    pub(crate) fn write(&self, now_ms: i64, message: &str, job: &str, target: &str) {
        let time =
            jiff::Timestamp::from_millisecond(now_ms).map_or_else(|_| String::new(), |t| t.to_string());
        let line = serde_json::json!({
            "time": time, "level": "ERROR", "msg": message, "job_name": job, "target": target,
        });
        let _ = self.0.lock().write_all(format!("{line}\n").as_bytes());
    }
}

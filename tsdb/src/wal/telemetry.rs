//! What is counted of a log.

use metrics::{Collected, Kind};

use super::Wal;

impl Wal {
    /// Tells of the log, with `prefix` in front of each name.
    pub(crate) fn tell(&self, out: &mut Collected, prefix: &str) {
        for (kind, name, help, value) in [
            (
                Kind::Gauge,
                "segment_current",
                "Segment that is being written.",
                self.segment() as f64,
            ),
            (
                Kind::Gauge,
                "storage_size_bytes",
                "Bytes of the log on disk.",
                self.disk_bytes().unwrap_or(0) as f64,
            ),
            (
                Kind::Counter,
                "record_parts_bytes_written_total",
                "Bytes written.",
                self.written_bytes() as f64,
            ),
            (
                Kind::Counter,
                "record_part_writes_total",
                "Records written.",
                self.appended_records() as f64,
            ),
            (
                Kind::Counter,
                "writes_failed_total",
                "Writes and syncs that failed.",
                self.failed_writes() as f64,
            ),
        ] {
            out.family(&format!("{prefix}_{name}"), kind, help)
                .sample(&[], value);
        }
    }
}

//! Logs and head chunks: whether every record and every chunk can be read.

use std::collections::HashSet;
use std::hash::RandomState;
use std::path::{Path, PathBuf};

use super::{Checked, CheckedVisitor, Finding, Remedy, log_dirs};
use crate::head::{ChunkFileCheck, Head, check_chunk_file, check_snapshot};
use crate::wal::{
    RecordError, RecordType, SegmentReader, decode_exemplars, decode_floats, decode_forgotten,
    decode_histograms, decode_markers, decode_metadata, decode_series, decode_tombstones, gaps,
    last_checkpoint, log_sources,
};
use files::{Files, Result, is_not_found};

/// Segments of both logs, in the order in which they are read, the files of head chunks, and the head's snapshot.
pub(super) fn sources(files: &dyn Files, dir: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for log in log_dirs(dir) {
        all.append(&mut segments(files, &log)?);
    }
    all.append(&mut chunk_files(files, dir)?);
    all.extend(Some(dir.join(Head::SNAPSHOT_FILE)).filter(|path| files.exists(path)));
    Ok(all)
}

fn segments(files: &dyn Files, log: &Path) -> Result<Vec<PathBuf>> {
    let checkpoint = last_checkpoint(files, log)?;
    log_sources(files, log, checkpoint, u64::MAX)
}

fn chunk_files(files: &dyn Files, dir: &Path) -> Result<Vec<PathBuf>> {
    let dir = dir.join(Head::CHUNKS_DIR);
    if !files.exists(&dir) {
        return Ok(Vec::new());
    }
    let entries = files.list(&dir)?.into_iter();
    let numbered = entries.filter(|entry| !entry.is_dir && entry.name.parse::<u32>().is_ok());
    Ok(numbered.map(|entry| dir.join(entry.name)).collect())
}

/// Checks the logs and the head chunks of the store in `dir`.
pub(super) fn check(files: &dyn Files, dir: &Path, each: &mut CheckedVisitor<'_>) -> Result<()> {
    let mut contents = Contents::default();
    for log in log_dirs(dir) {
        let segments = segments(files, &log)?;
        for (at, path) in segments.iter().enumerate() {
            let is_last = at + 1 == segments.len();
            let checked = match segment(files, path, is_last, &mut contents) {
                Err(error) if is_not_found(&error) => continue,
                checked => checked?,
            };
            if !each(checked) {
                return Ok(());
            }
        }
        if let Some(checked) = missing(files, &log)?
            && !each(checked)
        {
            return Ok(());
        }
    }
    let paths = chunk_files(files, dir)?;
    for (at, path) in paths.iter().enumerate() {
        let is_last = at + 1 == paths.len();
        let bytes = match files.map(path) {
            Err(error) if is_not_found(&error) => continue,
            bytes => bytes?,
        };
        if !each(chunk_file(path, &bytes, is_last)) {
            return Ok(());
        }
    }
    let path = dir.join(Head::SNAPSHOT_FILE);
    if files.exists(&path) {
        each(snapshot(&path, &files.read(&path)?));
    }
    Ok(())
}

/// The gaps in a log; `None` where there are none.
fn missing(files: &dyn Files, log: &Path) -> Result<Option<Checked>> {
    let look = || gaps(files, log, last_checkpoint(files, log)?);
    let mut gaps = look()?;
    if !gaps.is_empty() {
        // A running server may have written a checkpoint between the look at it and the look at the segments.
        gaps = look()?;
    }
    let findings = gaps.into_iter().map(|gap| Finding {
        path: gap.path,
        offset: None,
        what: match gap.segments {
            1 => "is missing, with what it held".to_owned(),
            more => format!("is missing and {} behind it, with what they held", more - 1),
        },
        is_damage: true,
        remedy: None,
    });
    let findings: Vec<Finding> = findings.collect();
    Ok((!findings.is_empty()).then(|| Checked {
        path: log.to_owned(),
        holds: "a log with gaps".to_owned(),
        findings,
    }))
}

/// A damaged snapshot costs the next start time and nothing else: the logs have everything.
fn snapshot(path: &Path, bytes: &[u8]) -> Checked {
    let mut checked = Checked {
        path: path.to_owned(),
        ..Checked::default()
    };
    match check_snapshot(bytes) {
        Ok(sections) => checked.holds = format!("{sections} sections"),
        Err(refusal) => checked.findings.push(Finding {
            path: path.to_owned(),
            offset: None,
            what: format!("{refusal}; the next start reads the logs instead"),
            is_damage: false,
            remedy: None,
        }),
    }
    checked
}

/// What the records of a log speak of.
#[derive(Default)]
struct Contents {
    series: HashSet<u64, RandomState>,
    unknown: HashSet<u64, RandomState>,
    records: u64,
    skipped: u64,
    samples: u64,
    new_series: u64,
}

fn segment(files: &dyn Files, path: &Path, is_last: bool, contents: &mut Contents) -> Result<Checked> {
    let bytes = files.map(path)?;
    let mut reader = SegmentReader::new(&bytes);
    (
        contents.records,
        contents.samples,
        contents.new_series,
        contents.skipped,
    ) = (0, 0, 0, 0);
    contents.unknown.clear();
    let mut findings = Vec::new();
    loop {
        let at = reader.good_bytes();
        let (offset, what) = match reader.read() {
            Ok(None) => break,
            Ok(Some(record)) => match contents.record(record) {
                Ok(()) => continue,
                Err(error) => (at, error.to_string()),
            },
            Err(damage) => (damage.good_bytes, damage.what.to_owned()),
        };
        let lost = bytes.len() as u64 - offset;
        let what = match is_last {
            true => format!(
                "{what}; the {lost} bytes from here are what a crash cuts off, or what a server is writing right now"
            ),
            false => format!("{what}; {lost} bytes from here cannot be read"),
        };
        findings.push(Finding {
            path: path.to_owned(),
            offset: Some(offset),
            what,
            is_damage: !is_last,
            remedy: Some(Remedy::CutLog {
                path: path.to_owned(),
                len: offset,
            }),
        });
        break;
    }
    let mut note = |what: String| {
        findings.push(Finding {
            path: path.to_owned(),
            offset: None,
            what,
            is_damage: false,
            remedy: None,
        });
    };
    if !contents.unknown.is_empty() {
        note(format!(
            "speaks of {} series that no record describes",
            contents.unknown.len()
        ));
    }
    if contents.skipped > 0 {
        note(format!(
            "has {} records of a kind that this version does not know",
            contents.skipped
        ));
    }
    Ok(Checked {
        path: path.to_owned(),
        holds: format!(
            "{} records, {} new series, {} samples",
            contents.records, contents.new_series, contents.samples
        ),
        findings,
    })
}

impl Contents {
    fn refers_to(&mut self, series: u64) {
        if !self.series.contains(&series) {
            self.unknown.insert(series);
        }
    }

    fn record(&mut self, record: &[u8]) -> std::result::Result<(), RecordError> {
        self.records += 1;
        let Some(kind) = RecordType::of(record) else {
            self.skipped += u64::from(decode_forgotten(record).is_none());
            return Ok(());
        };
        match kind {
            RecordType::Series => decode_series(record, |series, _| {
                self.series.insert(series);
                self.new_series += 1;
            }),
            RecordType::Samples | RecordType::SamplesWithStart => {
                let mut entries = Vec::new();
                decode_floats(record, &mut entries)?;
                self.samples += entries.len() as u64;
                entries.iter().for_each(|entry| self.refers_to(entry.series));
                Ok(())
            }
            RecordType::Tombstones => {
                let mut entries = Vec::new();
                decode_tombstones(record, &mut entries)?;
                entries.iter().for_each(|entry| self.refers_to(entry.series));
                Ok(())
            }
            RecordType::Exemplars => decode_exemplars(record, &mut Vec::new()),
            RecordType::MmapMarkers => decode_markers(record, &mut Vec::new()),
            RecordType::Metadata => decode_metadata(record, &mut Vec::new()),
            RecordType::Histograms
            | RecordType::FloatHistograms
            | RecordType::CustomHistograms
            | RecordType::CustomFloatHistograms
            | RecordType::HistogramsWithStart
            | RecordType::FloatHistogramsWithStart => {
                let mut entries = Vec::new();
                self.skipped += u64::from(decode_histograms(record, &mut entries)? > 0);
                self.samples += entries.len() as u64;
                entries.iter().for_each(|entry| self.refers_to(entry.series));
                Ok(())
            }
        }
    }
}

fn chunk_file(path: &Path, bytes: &[u8], is_last: bool) -> Checked {
    let ChunkFileCheck { chunks, damage } = check_chunk_file(bytes);
    let finding = damage.map(|(offset, what)| Finding {
        path: path.to_owned(),
        offset: Some(offset),
        what: match is_last {
            true => format!("{what}; what a crash cuts off, or what a server is writing right now"),
            false => format!("{what}; the log has the samples, as far as it reaches back"),
        },
        is_damage: !is_last,
        remedy: Some(Remedy::CutChunks {
            path: path.to_owned(),
            len: offset,
        }),
    });
    Checked {
        path: path.to_owned(),
        holds: format!("{chunks} chunks"),
        findings: finding.into_iter().collect(),
    }
}

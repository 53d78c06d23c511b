//! `tsdb list`: the blocks of a folder as a table.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use files::{DiskFiles, Files};
use tsdb::block::BlockMeta;
use tsdb::db::ReadOnly;

use super::{TsdbError, dir_arg, dir_of, say_damaged};
use crate::cli::render::out_text;

/// Narrowest column, and the space between two: the reference's.
const CELL_MIN: usize = 13;
const CELL_GAP: usize = 2;
const HEADER: [&str; 8] = [
    "BLOCK ULID",
    "MIN TIME",
    "MAX TIME",
    "DURATION",
    "NUM SAMPLES",
    "NUM CHUNKS",
    "NUM SERIES",
    "SIZE",
];

/// Which folder, and how.
pub(crate) struct ListArgs {
    dir: PathBuf,
    human: bool,
}

pub(super) fn command() -> Command {
    Command::new("list")
        .about("List the blocks of a data folder")
        .arg(human_arg())
        .arg(dir_arg())
}

pub(super) fn human_arg() -> Arg {
    Arg::new("human-readable")
        .long("human-readable")
        .short('r')
        .help("Print times as dates and sizes with units")
        .action(ArgAction::SetTrue)
}

impl ListArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        ListArgs {
            dir: dir_of(matches),
            human: matches.get_flag("human-readable"),
        }
    }
}

/// Lists; the exit code.
pub(super) fn list(args: &ListArgs) -> Result<u8, TsdbError> {
    let files: Arc<dyn Files> = Arc::new(DiskFiles);
    let (blocks, damaged) = ReadOnly::blocks_in(&files, &args.dir).map_err(TsdbError::Dir)?;
    let rows = blocks
        .iter()
        .map(|block| row(&block.meta(), block.size_bytes(), args.human));
    out_text(&table([HEADER.map(str::to_owned)].into_iter().chain(rows)));
    Ok(say_damaged(&damaged))
}

/// The lines of the table for new blocks, with the heading in front where it is asked for.
pub(super) fn block_lines(meta: &BlockMeta, size_bytes: u64, human: bool, heading: bool) -> String {
    let heading = heading.then(|| HEADER.map(str::to_owned));
    table(heading.into_iter().chain([row(meta, size_bytes, human)]))
}

fn row(meta: &BlockMeta, size_bytes: u64, human: bool) -> [String; 8] {
    let time = |ms: i64| if human { date(ms) } else { ms.to_string() };
    [
        meta.ulid.to_string(),
        time(meta.min_time),
        time(meta.max_time),
        duration(meta.max_time.saturating_sub(meta.min_time)),
        meta.stats.num_samples.to_string(),
        meta.stats.num_chunks.to_string(),
        meta.stats.num_series.to_string(),
        if human {
            size(size_bytes)
        } else {
            size_bytes.to_string()
        },
    ]
}

/// Columns as wide as their widest cell; nothing follows the last.
fn table(rows: impl Iterator<Item = [String; 8]>) -> String {
    let rows: Vec<[String; 8]> = rows.collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count() + CELL_GAP);
        cells.max().unwrap_or(0).max(CELL_MIN)
    };
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let (last, cells) = row.split_last().unwrap_or((&row[7], &[]));
        for (cell, width) in cells.iter().zip(widths) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{cell:width$}");
        }
        text.push_str(last);
        text.push('\n');
    }
    text
}

/// Milliseconds as Go prints a duration.
pub(super) fn duration(ms: i64) -> String {
    template::Value::Duration(ms.saturating_mul(1_000_000)).to_string()
}

/// A moment as Go prints it in UTC, to the second.
fn date(ms: i64) -> String {
    match jiff::Timestamp::from_second(ms.div_euclid(1000)) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        Err(_) => ms.to_string(),
    }
}

/// Bytes in the units that they are made of: `1GiB512KiB3B`.
fn size(bytes: u64) -> String {
    let mut text = String::new();
    for (shift, unit) in [
        (60, "EiB"),
        (50, "PiB"),
        (40, "TiB"),
        (30, "GiB"),
        (20, "MiB"),
        (10, "KiB"),
        (0, "B"),
    ] {
        let count = bytes >> shift & if shift == 60 { u64::MAX } else { 1023 };
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "{count}{unit}");
        }
    }
    if text.is_empty() { "0B".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_dates_and_durations_are_written_as_the_reference_writes_them() {
        for (bytes, text) in [
            (0, "0B"),
            (966, "966B"),
            (1024, "1KiB"),
            (249_190, "243KiB358B"),
            (5 << 30 | 1, "5GiB1B"),
            (3 << 20, "3MiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(date(1_700_020_800_123), "2023-11-15 04:00:00 +0000 UTC");
        assert_eq!(date(-1), "1969-12-31 23:59:59 +0000 UTC");
        assert_eq!(duration(117_917), "1m57.917s");
        assert_eq!(duration(7_200_000), "2h0m0s");
    }
}

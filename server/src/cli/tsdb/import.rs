//! `tsdb create-blocks-from openmetrics`: samples in text become blocks of two hours.
//!
//! The file is mapped, never read in. A first pass counts the samples of each block; then as many blocks as fit into
//! memory together are made in one more pass each, however the file is ordered.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hash::RandomState;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Arg, ArgAction, ArgMatches, Command};
use exposition::{Entry, Format, OpenMetricsParser, Series, parse_series};
use files::{DiskFiles, Files, Mapped};
use indicatif::ProgressBar;
use model::columns::Columns;
use model::labels::{Labels, LabelsBuilder};
use model::sample::MetricType;
use tsdb::block::{Block, BuildError, write_series};
use tsdb::db::random_ulid;

use super::list::block_lines;
use super::{DEFAULT_DIR, TsdbError};
use crate::cli::progress;
use crate::cli::render::out_text;

/// Length of the blocks that are made; longer ones are made by compaction.
pub(super) const BLOCK_MS: i64 = 2 * 60 * 60 * 1000;
/// How much longer blocks may be that a user asks for: each is three times as long as the one before.
const BLOCK_LEVELS: u32 = 9;
/// Samples that are held in memory at a time, unless a single block has more: about 400 MB.
const SAMPLES_MAX: u64 = 16 << 20;
/// Entries between two looks at the clock and the interrupt.
const ENTRIES_STEP: usize = 4096;

/// What becomes blocks, and where.
pub(crate) struct ImportArgs {
    input: PathBuf,
    output: PathBuf,
    labels: Vec<(String, String)>,
    pub(super) printed: Printed,
    block_ms: i64,
}

/// How new blocks are printed.
#[derive(Clone, Copy)]
pub(super) struct Printed {
    human: bool,
    quiet: bool,
}

/// What is wrong with the input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ImportError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Input { path: PathBuf, source: std::io::Error },
    /// It is no OpenMetrics.
    #[error("{}: {source}", path.display())]
    Parse {
        path: PathBuf,
        source: exposition::ParseError,
    },
    /// A sample has no time.
    #[error("{}: line {line}: expected timestamp for series {series}, got none", path.display())]
    NoTimestamp {
        path: PathBuf,
        line: usize,
        series: String,
    },
    /// Labels are none.
    #[error("{}: line {line}: {source}", path.display())]
    Labels {
        path: PathBuf,
        line: usize,
        source: exposition::LabelsError,
    },
    /// A label stands twice in a series.
    // Compat: the reference's words; the case is "backfill-dup-label" of the conformance data's reports.
    #[error("{}: line {line}: label name {name:?} is not unique: invalid sample", path.display())]
    RepeatedLabel {
        path: PathBuf,
        line: usize,
        name: String,
    },
    /// Samples do not become a block.
    #[error("block creation: {0}")]
    Build(#[from] BuildError),
}

pub(super) fn command() -> Command {
    Command::new("openmetrics")
        .about("Make blocks from samples in OpenMetrics text")
        .after_help(
            "Every sample needs a timestamp, and the text ends with # EOF. Order does not matter.\n\nExamples:\n  \
             narthex tsdb create-blocks-from openmetrics samples.om data/\n  \
             zcat old.om.gz | narthex tsdb create-blocks-from openmetrics --label=site=old - data/",
        )
        .arg(
            Arg::new("label")
                .long("label")
                .value_name("NAME=VALUE")
                .help("Further label of all series; may be given several times")
                .action(ArgAction::Append)
                .value_parser(parse_label),
        )
        .arg(
            Arg::new("input")
                .value_name("FILE")
                .help("OpenMetrics text; - is standard input")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("output")
                .value_name("DIR")
                .help("Where the blocks go: a data folder, or an empty one")
                .default_value(DEFAULT_DIR)
                .value_parser(clap::value_parser!(PathBuf)),
        )
}

fn parse_label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("a label is NAME=VALUE"),
    }
}

impl Printed {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        Printed {
            human: matches.get_flag("human-readable"),
            quiet: matches.get_flag("quiet"),
        }
    }
}

impl ImportArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        let path = |id: &str| matches.get_one::<PathBuf>(id).cloned().unwrap_or_default();
        let labels = matches.get_many::<(String, String)>("label");
        ImportArgs {
            input: path("input"),
            output: path("output"),
            labels: labels.into_iter().flatten().cloned().collect(),
            printed: Printed::new(matches),
            block_ms: block_ms(matches),
        }
    }
}

/// Length of blocks: the longest that does not go beyond what is asked for.
pub(super) fn block_ms(matches: &ArgMatches) -> i64 {
    let asked = matches.get_one::<String>("max-block-duration");
    let asked_ms = asked.and_then(|text| model::duration::parse_duration(text).ok());
    let lengths = (0..=BLOCK_LEVELS).map(|level| BLOCK_MS * 3i64.pow(level));
    let fitting = lengths.take_while(|ms| asked_ms.is_some_and(|asked| *ms <= asked));
    fitting.last().unwrap_or(BLOCK_MS)
}

/// Imports; the exit code.
pub(super) fn import(args: &ImportArgs) -> Result<u8, TsdbError> {
    let files: Arc<dyn Files> = Arc::new(DiskFiles);
    progress::catch_interrupts();
    files.create_dir_all(&args.output)?;
    let body = open_input(args, &*files)?;
    let import = Import {
        args,
        body: &body,
        files,
    };
    import.run()
}

/// The input, mapped. What comes through a pipe goes to a file in the output folder first, which is gone before the
/// first block is made.
fn open_input(args: &ImportArgs, files: &dyn Files) -> Result<Mapped, TsdbError> {
    let refuse = |source| ImportError::Input {
        path: args.input.clone(),
        source,
    };
    let is_stdin = args.input == Path::new("-");
    if !is_stdin && std::fs::metadata(&args.input).map_err(refuse)?.is_file() {
        return Ok(files.map(&args.input)?);
    }
    let spool = args.output.join(format!("import-{}.tmp", std::process::id()));
    let mut copy = File::create_new(&spool).map_err(refuse)?;
    let copied = if is_stdin {
        std::io::copy(&mut std::io::stdin().lock(), &mut copy)
    } else {
        File::open(&args.input).and_then(|mut input| std::io::copy(&mut input, &mut copy))
    };
    let mapped = copied.map_err(refuse).map(|_| files.map(&spool));
    // The mapping outlives the name.
    let removed = std::fs::remove_file(&spool).map_err(refuse);
    let mapped = mapped??;
    removed?;
    // An interrupt has ended the program at the other end of the pipe, too: the text is not whole.
    match progress::interrupted() {
        true => Err(TsdbError::Interrupted),
        false => Ok(mapped),
    }
}

/// What the first pass finds of a block: its samples, and where the last of them stands.
#[derive(Clone, Copy, Default)]
struct Found {
    samples: u64,
    last_byte: usize,
}

/// Is shown a sample: kind of its family, series, the byte at which it begins, time.
type EachSample<'e, 'a> = dyn FnMut(MetricType, &Series<'a>, usize, i64) -> Result<(), TsdbError> + 'e;

struct Import<'a> {
    args: &'a ImportArgs,
    body: &'a [u8],
    files: Arc<dyn Files>,
}

impl<'a> Import<'a> {
    fn run(&self) -> Result<u8, TsdbError> {
        let mut found: BTreeMap<i64, Found> = BTreeMap::new();
        let bar = progress::byte_bar(self.body.len() as u64, "counting");
        self.each_sample(self.body.len(), &bar, &mut |_, series, at, timestamp_ms| {
            let block = found
                .entry(timestamp_ms.div_euclid(self.args.block_ms))
                .or_default();
            block.samples += 1;
            block.last_byte = at + series.text.len();
            Ok(())
        })?;
        bar.finish_and_clear();
        let passes = passes(&found);
        let bytes = passes.iter().map(|pass| pass.last_byte as u64).sum();
        let bar = progress::byte_bar(bytes, "importing");
        let (mut heading, mut before) = (true, 0);
        for pass in &passes {
            for (labels, samples) in self.read_blocks(pass, &bar)? {
                self.write_block(labels, samples, &mut heading, &bar)?;
            }
            before += pass.last_byte as u64;
            bar.set_position(before);
        }
        bar.finish_and_clear();
        Ok(0)
    }

    /// Shows every sample up to byte `until`.
    fn each_sample(
        &self,
        until: usize,
        bar: &ProgressBar,
        each: &mut EachSample<'_, 'a>,
    ) -> Result<(), TsdbError> {
        let mut parser = OpenMetricsParser::new(self.body, false);
        let start = self.body.as_ptr() as usize;
        let (mut entries, mut before) = (0, 0);
        loop {
            let entry = parser.next().map_err(|source| ImportError::Parse {
                path: self.args.input.clone(),
                source,
            })?;
            let series = match entry {
                None => return Ok(()),
                Some(Entry::Series(series)) => series,
                Some(_) => continue,
            };
            let at = series.text.as_ptr() as usize - start;
            if at > until {
                return Ok(());
            }
            entries += 1;
            if entries % ENTRIES_STEP == 0 {
                bar.inc((at - before) as u64);
                before = at;
                if progress::interrupted() {
                    return Err(TsdbError::Interrupted);
                }
            }
            let Some(timestamp_ms) = series.timestamp_ms else {
                let error = ImportError::NoTimestamp {
                    path: self.args.input.clone(),
                    line: self.line(at),
                    series: String::from_utf8_lossy(series.text).into_owned(),
                };
                return Err(error.into());
            };
            each(parser.kind(), &series, at, timestamp_ms)?;
        }
    }

    /// Line in which a byte stands, counted from 1.
    fn line(&self, at: usize) -> usize {
        1 + self.body[..at].iter().filter(|byte| **byte == b'\n').count()
    }

    /// The series of the blocks of one pass, block by block.
    fn read_blocks(&self, pass: &Pass, bar: &ProgressBar) -> Result<Vec<BlockSeries>, TsdbError> {
        let mut numbers: HashMap<(&'a [u8], MetricType), u32, RandomState> = HashMap::default();
        let mut labels: Vec<Labels> = Vec::new();
        let mut blocks: Vec<HashMap<u32, Columns>> = vec![HashMap::new(); pass.blocks.len()];
        self.each_sample(pass.last_byte, bar, &mut |kind, series, at, timestamp_ms| {
            let block = timestamp_ms.div_euclid(self.args.block_ms);
            let Ok(block) = pass.blocks.binary_search(&block) else {
                return Ok(());
            };
            let number = match numbers.get(&(series.text, kind)) {
                Some(number) => *number,
                None => {
                    let number = labels.len() as u32;
                    labels.push(self.labels(series.text, kind, at)?);
                    numbers.insert((series.text, kind), number);
                    number
                }
            };
            blocks[block]
                .entry(number)
                .or_default()
                .push(timestamp_ms, series.value);
            Ok(())
        })?;
        let labels: Arc<[Labels]> = labels.into();
        Ok(blocks
            .into_iter()
            .map(|block| (Arc::clone(&labels), block))
            .collect())
    }

    fn labels(&self, text: &[u8], kind: MetricType, at: usize) -> Result<Labels, TsdbError> {
        let mut builder = LabelsBuilder::new();
        let (mut names, mut repeated): (Vec<String>, Option<String>) = Default::default();
        let parsed = parse_series(Format::OpenMetrics, text, kind, |name, value| {
            if names.iter().any(|before| before == name) {
                repeated.get_or_insert_with(|| name.to_owned());
            }
            names.push(name.to_owned());
            builder.set(name, value);
        });
        parsed.map_err(|source| ImportError::Labels {
            path: self.args.input.clone(),
            line: self.line(at),
            source,
        })?;
        // Those that the command line sets anyway may stand there as they like.
        if let Some(name) = repeated.filter(|name| self.args.labels.iter().all(|(own, _)| own != name)) {
            let (path, line) = (self.args.input.clone(), self.line(at));
            return Err(ImportError::RepeatedLabel { path, line, name }.into());
        }
        for (name, value) in &self.args.labels {
            builder.set(name, value);
        }
        Ok(builder.build())
    }

    fn write_block(
        &self,
        labels: Arc<[Labels]>,
        samples: HashMap<u32, Columns>,
        heading: &mut bool,
        bar: &ProgressBar,
    ) -> Result<(), TsdbError> {
        if progress::interrupted() {
            return Err(TsdbError::Interrupted);
        }
        let series = samples
            .into_iter()
            .map(|(number, columns)| (labels[number as usize].clone(), columns))
            .collect();
        let line = new_block(
            &self.files,
            &self.args.output,
            series,
            self.args.printed,
            *heading,
        )?;
        if let Some(line) = line {
            bar.suspend(|| out_text(&line));
            *heading = false;
        }
        Ok(())
    }
}

/// Labels of all series of a pass, and the samples of one block by their numbers.
type BlockSeries = (Arc<[Labels]>, HashMap<u32, Columns>);

/// Writes a block; the line to be printed about it.
pub(super) fn new_block(
    files: &Arc<dyn Files>,
    dir: &Path,
    series: Vec<(Labels, Columns)>,
    printed: Printed,
    heading: bool,
) -> Result<Option<String>, TsdbError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |since| since.as_millis() as i64);
    let written = write_series(files, dir, random_ulid(now_ms), series).map_err(ImportError::from)?;
    let Some(meta) = written.filter(|_| !printed.quiet) else {
        return Ok(None);
    };
    let size = Block::open(Arc::clone(files), &dir.join(meta.ulid.to_string()))?.size_bytes();
    Ok(Some(block_lines(&meta, size, printed.human, heading)))
}

/// Blocks that are made together.
#[derive(Default)]
struct Pass {
    /// Their numbers: start divided by length, ascending.
    blocks: Vec<i64>,
    samples: u64,
    last_byte: usize,
}

/// Cuts the blocks into passes that fit into memory.
fn passes(found: &BTreeMap<i64, Found>) -> Vec<Pass> {
    let mut passes: Vec<Pass> = Vec::new();
    for (number, block) in found {
        let fits = |pass: &&mut Pass| pass.samples + block.samples <= SAMPLES_MAX;
        if passes.last_mut().filter(fits).is_none() {
            passes.push(Pass::default());
        }
        if let Some(pass) = passes.last_mut() {
            pass.blocks.push(*number);
            pass.samples += block.samples;
            pass.last_byte = pass.last_byte.max(block.last_byte);
        }
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_hold_as_many_blocks_as_fit() {
        let sizes = [SAMPLES_MAX / 2, SAMPLES_MAX / 2, 1, SAMPLES_MAX * 3, 5];
        let found = sizes.iter().enumerate().map(|(number, samples)| {
            let found = Found {
                samples: *samples,
                last_byte: 100 - number,
            };
            (number as i64, found)
        });
        let passes = passes(&found.collect());
        let blocks: Vec<&[i64]> = passes.iter().map(|pass| &*pass.blocks).collect();
        assert_eq!(blocks, [&[0, 1][..], &[2], &[3], &[4]]);
        assert_eq!(passes[0].last_byte, 100);
    }
}

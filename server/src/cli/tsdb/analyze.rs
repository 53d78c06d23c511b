//! `tsdb analyze`: what a block's series and labels are made of.
//!
//! One walk over the block's series. Label pairs are counted by the numbers of their symbols; texts are looked up for
//! what is printed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::RandomState;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use files::{DiskFiles, Files};
use tsdb::block::{Block, SeriesEntry};
use tsdb::db::ReadOnly;

use super::chunk_stats::ChunkStats;
use super::{TsdbError, dir_arg, dir_of};
use crate::cli::progress;
use crate::cli::render::{out, out_text};

/// Which block, and how.
pub(crate) struct AnalyzeArgs {
    dir: PathBuf,
    block: Option<String>,
    limit: usize,
    extended: bool,
    matchers: Option<String>,
}

pub(super) fn command() -> Command {
    Command::new("analyze")
        .about("Say what a block's series, labels and chunks are made of")
        .after_help(
            "Examples:\n  narthex tsdb analyze /var/lib/prometheus\n  \
             narthex tsdb analyze --limit=5 --match='{job=\"api\"}' data/ 01M835CSPHF7SSYXPZFW46B180",
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("COUNT")
                .help("Items in each list")
                .default_value("20")
                .value_parser(clap::value_parser!(i64)),
        )
        .arg(
            Arg::new("extended")
                .long("extended")
                .help("Say how full chunks are, too: reads all of them")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("match")
                .long("match")
                .value_name("SELECTOR")
                .help("Only these series"),
        )
        .arg(dir_arg())
        .arg(
            Arg::new("block")
                .value_name("BLOCK")
                .help("Name of the block; by default the one that was written last"),
        )
}

impl AnalyzeArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        let text = |id: &str| matches.get_one::<String>(id).filter(|t| !t.is_empty()).cloned();
        let limit = matches.get_one::<i64>("limit").copied().unwrap_or(20);
        AnalyzeArgs {
            dir: dir_of(matches),
            block: text("block"),
            limit: usize::try_from(limit).unwrap_or(0),
            extended: matches.get_flag("extended"),
            matchers: text("match"),
        }
    }
}

/// Analyzes; the exit code.
pub(super) fn analyze(args: &AnalyzeArgs) -> Result<u8, TsdbError> {
    let matchers = match &args.matchers {
        Some(text) => promql::parser::parse_selector(text)?,
        None => Vec::new(),
    };
    let files: Arc<dyn Files> = Arc::new(DiskFiles);
    let dirs = ReadOnly::block_dirs(&*files, &args.dir).map_err(TsdbError::Dir)?;
    let dir = match &args.block {
        Some(name) => args.dir.join(name),
        None => dirs.last().cloned().ok_or(TsdbError::NoBlocks)?,
    };
    let block = Block::open(files, &dir)?;
    let meta = block.meta();
    out(format_args!("Block ID: {}", meta.ulid));
    let duration_ms = meta.max_time.saturating_sub(meta.min_time);
    out(format_args!("Duration: {}", super::list::duration(duration_ms)));
    out(format_args!("Total Series: {}", meta.stats.num_series));
    if let Some(text) = &args.matchers {
        out(format_args!("Matcher: {text}"));
    }
    let series = block.select(&matchers)?;
    let mut census = Census::default();
    let mut chunks = args.extended.then(ChunkStats::default);
    let bar = progress::bar(series.len() as u64, "reading series");
    let mut entry = SeriesEntry::default();
    for number in &series {
        block.index().series(*number, &mut entry)?;
        census.add(&entry, duration_ms);
        if let Some(chunks) = &mut chunks {
            chunks.add(&block, &entry)?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let names = match matchers.is_empty() {
        true => tsdb::select::LabelIndex::names(block.index())?.len(),
        false => census.names.len(),
    };
    out(format_args!("Label names: {names}"));
    if args.matchers.is_some() {
        out(format_args!("Matched series: {}", series.len()));
    }
    census.print(&block, duration_ms, args.limit);
    if let Some(chunks) = chunks {
        out_text(&chunks.text());
    }
    Ok(0)
}

/// What was counted of a label name or pair.
#[derive(Clone, Copy, Default)]
struct Counted {
    series: u64,
    /// Milliseconds of the block that its series have no samples in, summed up.
    uncovered_ms: u64,
}

#[derive(Default)]
struct Census {
    /// By symbol of the name.
    names: BTreeMap<u32, Counted>,
    /// By symbols of name and value.
    pairs: HashMap<(u32, u32), Counted, RandomState>,
    entries: u64,
}

impl Census {
    fn add(&mut self, entry: &SeriesEntry, duration_ms: i64) {
        let (Some(first), Some(last)) = (entry.chunks.first(), entry.chunks.last()) else {
            return;
        };
        let covered = last.max_ms.wrapping_sub(first.min_ms) as u64;
        let uncovered_ms = (duration_ms as u64).wrapping_sub(covered);
        for (name, value) in &entry.labels {
            let of_name = self.names.entry(*name).or_default();
            let of_pair = self.pairs.entry((*name, *value)).or_default();
            for counted in [of_name, of_pair] {
                counted.series += 1;
                counted.uncovered_ms = counted.uncovered_ms.wrapping_add(uncovered_ms);
            }
            self.entries += 1;
        }
    }

    fn print(&self, block: &Block, duration_ms: i64, limit: usize) {
        let symbols = block.index().symbols();
        let text = |symbol: u32| symbols.get(symbol).unwrap_or("");
        let pair = |(name, value): (u32, u32)| format!("{}={}", text(name), text(value));
        let name = |name: u32| text(name).to_owned();
        let churn = |counted: &Counted| (counted.uncovered_ms as f64 / duration_ms as f64) as u64;
        out(format_args!(
            "Postings (unique label pairs): {}",
            self.pairs.len()
        ));
        out(format_args!(
            "Postings entries (total label pairs): {}",
            self.entries
        ));
        print_list(
            "Label pairs most involved in churning",
            self.pairs.iter().map(|(key, c)| (churn(c), *key)),
            limit,
            pair,
        );
        print_list(
            "Label names most involved in churning",
            self.names.iter().map(|(key, c)| (churn(c), *key)),
            limit,
            name,
        );
        print_list(
            "Most common label pairs",
            self.pairs.iter().map(|(key, c)| (c.series, *key)),
            limit,
            pair,
        );
        let mut values: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (name, value) in self.pairs.keys() {
            let (count, bytes) = values.entry(*name).or_default();
            *count += 1;
            *bytes += text(*value).len() as u64;
        }
        print_list(
            "Label names with highest cumulative label value length",
            values.iter().map(|(key, (_, bytes))| (*bytes, *key)),
            limit,
            name,
        );
        print_list(
            "Highest cardinality labels",
            values.iter().map(|(key, (count, _))| (*count, *key)),
            limit,
            name,
        );
        let metric = symbols.find(model::labels::METRIC_NAME);
        let metrics = self.pairs.iter().filter(|((name, _), _)| Some(*name) == metric);
        print_list(
            "Highest cardinality metric names",
            metrics.map(|((_, value), c)| (c.series, *value)),
            limit,
            name,
        );
    }
}

/// Prints the largest, those of one number in order of their symbols, which is that of their texts.
fn print_list<K: Ord + Copy>(
    title: &str,
    items: impl Iterator<Item = (u64, K)>,
    limit: usize,
    text: impl Fn(K) -> String,
) {
    out(format_args!("\n{title}:"));
    let mut largest: Vec<(Reverse<u64>, K)> = Vec::new();
    let cut = |largest: &mut Vec<(Reverse<u64>, K)>| {
        largest.sort_unstable();
        largest.truncate(limit);
    };
    for (number, key) in items {
        largest.push((Reverse(number), key));
        // Millions of pairs are not all kept.
        if largest.len() > 2 * limit.max(1024) {
            cut(&mut largest);
        }
    }
    cut(&mut largest);
    for (Reverse(number), key) in largest {
        out(format_args!("{number} {}", text(key)));
    }
}

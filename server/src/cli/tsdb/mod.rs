//! `narthex tsdb …`: looking into data folders, making blocks, checking and healing. No server is needed, and one that
//! runs is not disturbed: folders are opened for reading only, but by `repair`.

mod analyze;
mod backfill;
mod bench;
mod chunk_stats;
mod dump;
mod import;
mod list;
mod verify;

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use model::storage::StorageError;

use super::render::err;

pub(crate) use analyze::AnalyzeArgs;
pub(crate) use backfill::BackfillArgs;
pub(crate) use bench::BenchArgs;
pub(crate) use dump::DumpArgs;
pub(crate) use import::ImportArgs;
pub(crate) use list::ListArgs;
pub(crate) use verify::{RepairArgs, VerifyArgs};

/// Where data is unless the command line says otherwise.
pub(super) const DEFAULT_DIR: &str = "data/";

/// What is to be done.
pub(crate) enum TsdbArgs {
    /// List blocks.
    List(ListArgs),
    /// Say what a block is made of.
    Analyze(AnalyzeArgs),
    /// Print samples or series.
    Dump(DumpArgs),
    /// Make blocks from samples in text.
    Import(ImportArgs),
    /// Make blocks from rules.
    Backfill(BackfillArgs),
    /// Measure writing.
    Bench(BenchArgs),
    /// Check every file.
    Verify(VerifyArgs),
    /// Heal what is damaged.
    Repair(RepairArgs),
}

/// Why a command on a data folder ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TsdbError {
    /// There is no such folder, or it cannot be read.
    #[error("opening the db dir: {0}")]
    Dir(StorageError),
    /// Files are damaged, or the system refuses.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The folder is something else's.
    #[error(
        "{} holds no store: no block, no wal/, no chunks_head/; give the folder that the server has as --storage.tsdb.path",
        .0.display()
    )]
    NoStore(PathBuf),
    /// There is no block.
    #[error("no blocks found")]
    NoBlocks,
    /// A selector cannot be read.
    #[error("{}", .0.render().trim_end())]
    Selector(#[from] promql::parser::ParseError),
    /// Nobody reads the output any more.
    #[error("writing the output: {0}")]
    Output(#[from] std::io::Error),
    /// Text does not become blocks.
    #[error(transparent)]
    Import(Box<import::ImportError>),
    /// Rules do not become blocks.
    #[error(transparent)]
    Backfill(Box<backfill::BackfillError>),
    /// The user has had enough.
    #[error("interrupted")]
    Interrupted,
}

impl From<import::ImportError> for TsdbError {
    fn from(error: import::ImportError) -> Self {
        TsdbError::Import(Box::new(error))
    }
}

impl From<backfill::BackfillError> for TsdbError {
    fn from(error: backfill::BackfillError) -> Self {
        TsdbError::Backfill(Box::new(error))
    }
}

/// The command and its subcommands.
pub(crate) fn command() -> Command {
    Command::new("tsdb")
        .about("Look into data folders, make blocks, check and heal")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(list::command())
        .subcommand(analyze::command())
        .subcommands(dump::commands())
        .subcommand(create_command())
        .subcommands(verify::commands())
        .subcommand(bench::command())
}

/// What a command line asks for.
pub(crate) fn args(matches: &ArgMatches) -> TsdbArgs {
    match matches.subcommand() {
        Some(("list", matches)) => TsdbArgs::List(ListArgs::new(matches)),
        Some(("analyze", matches)) => TsdbArgs::Analyze(AnalyzeArgs::new(matches)),
        Some(("create-blocks-from", matches)) => match matches.subcommand() {
            Some(("openmetrics", matches)) => TsdbArgs::Import(ImportArgs::new(matches)),
            Some((_, matches)) => TsdbArgs::Backfill(BackfillArgs::new(matches)),
            None => unreachable!("clap requires a subcommand"),
        },
        Some(("bench", matches)) => TsdbArgs::Bench(BenchArgs::new(matches)),
        Some(("verify", matches)) => TsdbArgs::Verify(VerifyArgs::new(matches)),
        Some(("repair", matches)) => TsdbArgs::Repair(RepairArgs::new(matches)),
        Some((name, matches)) => TsdbArgs::Dump(DumpArgs::new(name, matches)),
        None => unreachable!("clap requires a subcommand"),
    }
}

/// Does it; the exit code.
pub(crate) async fn run(args: &TsdbArgs) -> u8 {
    let done = match args {
        TsdbArgs::List(args) => list::list(args),
        TsdbArgs::Analyze(args) => analyze::analyze(args),
        TsdbArgs::Dump(args) => dump::dump(args),
        TsdbArgs::Import(args) => import::import(args),
        TsdbArgs::Backfill(args) => backfill::backfill(args).await,
        TsdbArgs::Bench(args) => bench::bench(args),
        TsdbArgs::Verify(args) => verify::verify(args),
        TsdbArgs::Repair(args) => verify::repair(args),
    };
    match done {
        Ok(code) => code,
        // `narthex tsdb dump | head` is no failure.
        Err(TsdbError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
        Err(TsdbError::Interrupted) => super::progress::INTERRUPTED_CODE,
        Err(error) => {
            err(error);
            1
        }
    }
}

fn create_command() -> Command {
    let quiet = Arg::new("quiet")
        .long("quiet")
        .short('q')
        .help("Do not print the blocks that were made")
        .action(ArgAction::SetTrue)
        .global(true);
    let longest = Arg::new("max-block-duration")
        .long("max-block-duration")
        .value_name("DURATION")
        .help("Longest time that a block may cover: two hours, or three times as long, and so on")
        .global(true);
    Command::new("create-blocks-from")
        .about("Make blocks from samples or rules")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args([list::human_arg().global(true), quiet, longest])
        .subcommand(import::command())
        .subcommand(backfill::command())
}

fn dir_arg() -> Arg {
    Arg::new("dir")
        .value_name("DIR")
        .help("Data folder")
        .default_value(DEFAULT_DIR)
        .value_parser(value_parser!(PathBuf))
}

fn dir_of(matches: &ArgMatches) -> PathBuf {
    matches
        .get_one::<PathBuf>("dir")
        .cloned()
        .unwrap_or_else(|| DEFAULT_DIR.into())
}

/// Says which blocks were left out, and why; the exit code.
pub(super) fn say_damaged(damaged: &[tsdb::db::DamagedBlock]) -> u8 {
    for block in damaged {
        let name = block.path.file_name().unwrap_or_default().display();
        err(format_args!(
            "corrupted block {name} is left out: {} (narthex tsdb verify tells more)",
            block.error
        ));
    }
    u8::from(!damaged.is_empty())
}

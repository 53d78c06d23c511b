//! `tsdb verify` and `tsdb repair`: whether every file of a folder is whole, and healing what is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use files::{DiskFiles, Files};
use tsdb::verify::{Checked, Finding, count, is_store, repair as heal, verify as check};

use super::{TsdbError, dir_arg, dir_of};
use crate::cli::progress;
use crate::cli::render::out;

/// Which folder.
pub(crate) struct VerifyArgs {
    dir: PathBuf,
}

/// Which folder, and whether it may be changed.
pub(crate) struct RepairArgs {
    dir: PathBuf,
    yes: bool,
}

pub(super) fn commands() -> [Command; 2] {
    [
        Command::new("verify")
            .about("Check every file of a data folder: blocks, logs, head chunks")
            .long_about(
                "Reads every block (meta file, index, postings, each chunk, tombstones), every record of the logs and \
                 every head chunk, and says what is wrong, where, and what would heal it. Nothing is written, and a \
                 running server is not disturbed. The exit code is 1 where something is damaged, \
                 or where the folder holds no store.",
            )
            .arg(dir_arg()),
        Command::new("repair")
            .about("Heal what verify finds; shows what it would do until told --yes")
            .long_about(
                "Moves damaged blocks out of the way and cuts logs behind their last whole record. What is moved or cut \
                 off goes to the folder quarantine/ below the data folder. Nothing happens without --yes. No server may \
                 be running on the folder.",
            )
            .after_help("Examples:\n  narthex tsdb repair /var/lib/prometheus\n  narthex tsdb repair --yes /var/lib/prometheus")
            .arg(
                Arg::new("yes")
                    .long("yes")
                    .help("Do it")
                    .action(ArgAction::SetTrue),
            )
            .arg(
                Arg::new("dry-run")
                    .long("dry-run")
                    .help("Show what would be done: the default")
                    .conflicts_with("yes")
                    .action(ArgAction::SetTrue),
            )
            .arg(dir_arg()),
    ]
}

impl VerifyArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        VerifyArgs { dir: dir_of(matches) }
    }
}

impl RepairArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        RepairArgs {
            dir: dir_of(matches),
            yes: matches.get_flag("yes"),
        }
    }
}

/// Checks everything in a folder, with a bar, and hands each result to `each` as it comes.
fn check_all(dir: &Path, mut each: impl FnMut(Checked)) -> Result<(), TsdbError> {
    let files: Arc<dyn Files> = Arc::new(DiskFiles);
    if !is_store(&*files, dir).map_err(TsdbError::Dir)? {
        return Err(TsdbError::NoStore(dir.to_owned()));
    }
    progress::catch_interrupts();
    let bar = progress::bar(count(&*files, dir).map_err(TsdbError::Dir)?, "checking");
    check(&files, dir, &mut |checked| {
        bar.inc(1);
        bar.suspend(|| each(checked));
        !progress::interrupted()
    })?;
    bar.finish_and_clear();
    match progress::interrupted() {
        true => Err(TsdbError::Interrupted),
        false => Ok(()),
    }
}

/// Checks; the exit code.
pub(super) fn verify(args: &VerifyArgs) -> Result<u8, TsdbError> {
    let (mut damaged, mut noted, mut checks) = (0, 0, 0);
    check_all(&args.dir, |checked| {
        checks += 1;
        damaged += usize::from(checked.findings.iter().any(|finding| finding.is_damage));
        noted += usize::from(!checked.findings.is_empty());
        say(&args.dir, &checked);
    })?;
    match (damaged, noted) {
        (0, 0) => out(format_args!("{checks} checked: all is well")),
        (0, _) => out(format_args!("{checks} checked: nothing is damaged")),
        _ => out(format_args!(
            "{checks} checked: {damaged} damaged; to heal, stop the server and run: narthex tsdb repair {}",
            args.dir.display()
        )),
    }
    Ok(u8::from(damaged > 0))
}

/// A line for what was checked, and one for each finding and its remedy.
fn say(dir: &Path, checked: &Checked) {
    let verdict = match checked.findings.as_slice() {
        [] => "OK",
        findings if findings.iter().any(|finding| finding.is_damage) => "DAMAGED",
        _ => "NOTE",
    };
    let name = checked.path.strip_prefix(dir).unwrap_or(&checked.path).display();
    let space = if checked.holds.is_empty() { "" } else { "  " };
    out(format_args!("{verdict:8}{name}{space}{}", checked.holds));
    for finding in &checked.findings {
        out(format_args!("        {finding}"));
        if let Some(remedy) = &finding.remedy {
            out(format_args!("        remedy: {remedy}"));
        }
    }
}

/// Shows what would be done, or does it; the exit code: 1 where something is left to be done.
pub(super) fn repair(args: &RepairArgs) -> Result<u8, TsdbError> {
    let mut found: Vec<Checked> = Vec::new();
    check_all(&args.dir, |checked| {
        if checked.findings.iter().any(|finding| finding.remedy.is_some()) {
            found.push(checked);
        }
    })?;
    if found.is_empty() {
        out("nothing to heal");
        return Ok(0);
    }
    let findings: Vec<&Finding> = found.iter().flat_map(|checked| &checked.findings).collect();
    for finding in &findings {
        out(finding);
    }
    if !args.yes {
        let mut remedies: Vec<_> = findings
            .iter()
            .filter_map(|finding| finding.remedy.as_ref())
            .collect();
        remedies.dedup();
        for remedy in remedies {
            out(format_args!("would {remedy}"));
        }
        out("nothing was changed; --yes does it");
        return Ok(1);
    }
    let files: Arc<dyn Files> = Arc::new(DiskFiles);
    heal(&files, &args.dir, &found, &mut |remedy| {
        out(format_args!("now: {remedy}"));
    })?;
    Ok(0)
}

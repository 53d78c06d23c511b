//! The long run of the tests that kill processes and let disks fail.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The tests that kill, and those that let the disk fail, at each of its calls where `NARTHEX_EVERY_FAULT` is set.
const TESTS: [&str; 2] = ["kill::", "faults::"];
/// Rounds where nothing is said.
const ROUNDS: u64 = 300;

/// `[--rounds N] [--seed N]`. Where the reference's server is installed or `NARTHEX_PROMETHEUS` names it, it
/// reads every tenth folder too.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<()> {
    let (mut rounds, mut seed) = (ROUNDS, 1u64);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut number = || -> Result<u64> {
            let text = args.next().with_context(|| format!("{arg} takes a number"))?;
            text.parse().with_context(|| format!("{arg} {text}"))
        };
        match arg.as_str() {
            "--rounds" => rounds = number()?,
            "--seed" => seed = number()?,
            other => bail!("expected `--rounds` or `--seed`, got {other:?}"),
        }
    }
    let status = Command::new("cargo")
        .args([
            "test",
            "-p",
            "narthex-tsdb",
            "--test",
            "it",
            "--locked",
            "--",
            "--nocapture",
        ])
        .args(TESTS)
        .current_dir(root)
        .env("NARTHEX_KILL_ROUNDS", rounds.to_string())
        .env("NARTHEX_EVERY_FAULT", "1")
        .env("NARTHEX_SEED", seed.to_string())
        .status()
        .context("starting cargo")?;
    if !status.success() {
        bail!("something acknowledged was lost; the output names the seed and the folder");
    }
    Ok(())
}

//! Builds and runs the fuzz targets of `fuzz/`.
//!
//! Coverage feedback comes from LLVM's own pass, which the ordinary compiler has; only the sanitizers, which code
//! without `unsafe` does not need, would ask for a nightly one. libFuzzer itself is built from source by its crate.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Inputs that a target is given unless told otherwise: what CI can afford, some ten seconds. A number of inputs and not
/// of seconds, so that with the fixed seed a faster machine does not look further than the one before it did.
const INPUTS: u64 = 50_000;
/// The same for targets that open a whole store for each input.
const INPUTS_OF_STORES: u64 = 1_000;
const STORES: [&str; 2] = ["head", "snapshot"];
/// Megabytes beyond which an input counts as a finding.
const MEMORY_MB: u32 = 1024;
/// Seconds beyond which an input counts as a finding; CI's machines are slow and busy.
const INPUT_SECONDS: u32 = 20;
/// Longest input that is made up, in bytes.
const INPUT_BYTES: u32 = 8192;

/// What is passed to every crate of a target so that libFuzzer sees which way an input took.
const COVERAGE: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// How long a target runs.
#[derive(Clone, Copy)]
enum Length {
    /// The number of inputs that CI affords.
    Short,
    Seconds(u64),
}

/// `[TARGET…] [--seconds N] [--keep]`: all targets where none is named. Found inputs are kept for the next run in
/// `fuzz/corpus` only with `--keep`, so that a run without it does the same on every machine.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<()> {
    let (mut names, mut length, mut keep) = (Vec::new(), Length::Short, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                length = Length::Seconds(args.next().context("--seconds takes a number")?.parse()?);
            }
            "--keep" => keep = true,
            name => names.push(name.to_owned()),
        }
    }
    let known = targets(root)?;
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!("no target is called {unknown:?}; there are {}", known.join(", "));
    }
    let chosen = if names.is_empty() { known } else { names };
    let built = build(root)?;
    let failed = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(chosen.len()) {
            scope.spawn(|| {
                while let Some(name) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = fuzz(root, &built, name, length, keep) {
                        let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        failed.push(format!("{name}: {error:#}"));
                    }
                }
            });
        }
    });
    let failed = failed
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{} targets have findings:\n{}", failed.len(), failed.join("\n"))
}

/// One target a file.
fn targets(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join("fuzz/targets"))? {
        let path = entry?.path();
        if let Some(stem) = path.file_stem().and_then(|s| s.to_str()) {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all targets; the folder that holds them.
fn build(root: &Path) -> Result<PathBuf> {
    let host = host()?;
    let target_dir = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target_dir = target_dir.join("fuzz");
    let begin = Instant::now();
    // Not --locked: what the rooms depend on is settled by the root's lock file, which this one follows.
    // With a target named, build scripts and macros are compiled without the coverage flags: they are not linked to
    // libFuzzer.
    let status = Command::new("cargo")
        .args(["build", "--release", "--bins", "--target", &host])
        .arg("--target-dir")
        .arg(&target_dir)
        .current_dir(root.join("fuzz"))
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}"))
        .status()
        .context("starting cargo")?;
    if !status.success() {
        bail!("the fuzz targets do not build");
    }
    super::say(&format!(
        "fuzz targets built in {:.0} s",
        begin.elapsed().as_secs_f64()
    ));
    Ok(target_dir.join(host).join("release"))
}

fn host() -> Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("starting rustc")?;
    let text = String::from_utf8(output.stdout).context("rustc speaks UTF-8")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

/// Runs one target over its seeds and what it makes of them.
fn fuzz(root: &Path, built: &Path, name: &str, length: Length, keep: bool) -> Result<()> {
    let folder = root.join("fuzz");
    let artifacts = folder.join("artifacts").join(name);
    std::fs::create_dir_all(&artifacts)?;
    let mut command = Command::new(built.join(name));
    command
        .arg(match length {
            Length::Short if STORES.contains(&name) => format!("-runs={INPUTS_OF_STORES}"),
            Length::Short => format!("-runs={INPUTS}"),
            Length::Seconds(seconds) => format!("-max_total_time={seconds}"),
        })
        .arg(format!("-rss_limit_mb={MEMORY_MB}"))
        .arg(format!("-malloc_limit_mb={MEMORY_MB}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-max_len={INPUT_BYTES}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-seed=1", "-print_final_stats=1", "-verbosity=0"]);
    let words = folder.join("words").join(name);
    if words.exists() {
        command.arg(format!("-dict={}", words.display()));
    }
    if keep {
        let corpus = folder.join("corpus").join(name);
        std::fs::create_dir_all(&corpus)?;
        command.arg(corpus);
    }
    let seeds = folder.join("seeds").join(name);
    if seeds.exists() {
        // Only read: where a folder comes first, libFuzzer writes what it finds there.
        if !keep {
            let scratch = built.join(format!("scratch-{name}"));
            let _ = std::fs::remove_dir_all(&scratch);
            std::fs::create_dir_all(&scratch)?;
            command.arg(scratch);
        }
        command.arg(seeds);
    }
    let begin = Instant::now();
    let output = command
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {name}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let executed = log
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .map_or("?", str::trim);
    super::say(&format!(
        "fuzz {name}: {executed} inputs in {:.0} s",
        begin.elapsed().as_secs_f64()
    ));
    if output.status.success() {
        return Ok(());
    }
    let tail: Vec<&str> = log.lines().rev().take(60).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    bail!("{}\n{}", output.status, tail.join("\n"))
}

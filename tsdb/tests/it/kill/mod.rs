//! A process on real files is killed at random moments, again and again; what it acknowledged is there.
//!
//! The process is this test binary itself ([`worker`]); the judge ([`oracle`]) reads what it says. After every kill the
//! folder is copied, opened, compared, and used; the next process goes on with the folder as the kill left it.
//!
//! `NARTHEX_KILL_ROUNDS` gives the number of rounds (`cargo xtask crash --rounds N` sets it), `NARTHEX_SEED` what is done
//! and when it is killed, as far as the machine keeps to it. A failure keeps its folder and names it.

mod oracle;
mod plan;
mod worker;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use model::clock::ManualClock;
use model::storage::TimeRange;
use narthex_tsdb::block::HINT_OUT_OF_ORDER;
use narthex_tsdb::db::Db;
use narthex_tsdb::files::DiskFiles;

use crate::support::{Contents, Rng, Value, everything, read};
use oracle::Oracle;

/// Rounds unless told otherwise: a few seconds.
const ROUNDS: u64 = 15;
/// Longest life of a process, in milliseconds.
const LIFE_MS: u64 = 500;
/// Longest wait for a store to open.
const PATIENCE: Duration = Duration::from_secs(60);
/// Batches after which a process stops by itself, so that clean stops (and kills within them) come too.
const BATCHES: i64 = 400;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Not a test: the process that is killed.
#[test]
fn worker_process() {
    let Some(dir) = std::env::var_os("NARTHEX_KILL_DIR") else {
        return;
    };
    let of = |name| number(name).expect("given by the parent");
    let batches = if of("NARTHEX_KILL_FIRST") % 3 == 0 {
        BATCHES
    } else {
        i64::MAX / 2
    };
    worker::run(
        Path::new(&dir),
        of("NARTHEX_SEED"),
        of("NARTHEX_KILL_FIRST") as i64,
        batches,
    );
}

#[test]
fn a_killed_process_has_lost_nothing_on_real_files() {
    let seed = number("NARTHEX_SEED").unwrap_or(1);
    let rounds = number("NARTHEX_KILL_ROUNDS").unwrap_or(ROUNDS);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    println!("seed {seed}, {rounds} rounds in {}", path.display());
    let result = std::panic::catch_unwind(|| run(&path, seed, rounds));
    if let Err(panic) = result {
        println!("kept: {}", folder.keep().display());
        std::panic::resume_unwind(panic);
    }
}

fn run(folder: &Path, seed: u64, rounds: u64) {
    let dir = folder.join("data");
    let mut rng = Rng::new(seed);
    let mut oracle = Oracle::new(seed);
    for round in 0..rounds {
        oracle.begin();
        let (after_opening, life) = (rng.below(4) > 0, Duration::from_millis(rng.below(LIFE_MS)));
        live(&dir, seed, (after_opening, life), &mut oracle);
        let copy = folder.join("copy");
        copy_dir(&dir, &copy);
        let plain = folder.join("plain");
        copy_dir(&dir, &plain);
        let found = inspect(&copy, seed, oracle.newest);
        let samples: usize = found.contents.values().map(std::collections::BTreeMap::len).sum();
        // The logs alone must tell the same as the snapshot of the head and their ends.
        let replayed = read(&open(&plain, seed, false), TimeRange::ALL, &everything());
        assert!(
            found.contents == replayed,
            "the snapshot of the head tells something else than the logs"
        );
        oracle.judge(found.contents, found.torn);
        if let Some(snapshot) = oracle.snapshots.last() {
            let snapshot = folder.join("snapshots").join(snapshot.to_string());
            oracle.judge_snapshot(&inspect(&snapshot, seed, oracle.newest).contents);
        }
        if round % 10 == 9 || round + 1 == rounds {
            compare_with_promtool(&copy, &oracle, found.hidden_from_ms);
        }
        println!(
            "round {round}: lived {life:?} after its {}, {} batches acknowledged, {} samples deleted, {samples} samples found",
            if after_opening { "opening" } else { "start" },
            oracle.acknowledged,
            oracle.deleted
        );
        for gone in [copy, plain, folder.join("snapshots")] {
            // Not there before the first snapshot.
            let _ = std::fs::remove_dir_all(gone);
        }
    }
    assert!(oracle.acknowledged > 0);
}

/// Runs a process for so long, counted from its start or from when its store is open, and takes in what it says.
fn live(dir: &Path, seed: u64, (after_opening, life): (bool, Duration), oracle: &mut Oracle) {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "kill::worker_process", "--nocapture", "--quiet"])
        .env("NARTHEX_KILL_DIR", dir)
        .env("NARTHEX_KILL_FIRST", (oracle.newest + 1).to_string())
        .env("NARTHEX_SEED", seed.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this binary starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let (opened, is_open) = std::sync::mpsc::channel();
    let heard = std::thread::spawn(move || {
        let lines = stdout
            .lines()
            .map(|line| line.expect("UTF-8"))
            .filter(|l| is_ours(l));
        lines
            .inspect(|line| {
                if line == "open" {
                    // The judge may not wait for it.
                    let _ = opened.send(());
                }
            })
            .collect::<Vec<String>>()
    });
    if after_opening {
        is_open
            .recv_timeout(PATIENCE)
            .expect("the process opens its store");
    }
    std::thread::sleep(life);
    // Stopped by itself already is fine too.
    let _ = child.kill();
    let output = child.wait_with_output().expect("gone");
    let heard = heard.join().expect("a reader");
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for line in &heard {
        oracle.hear(line);
    }
}

/// Whether it is not the test harness that speaks.
fn is_ours(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("running ") && !line.starts_with("test ") && line != "."
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    let Ok(entries) = std::fs::read_dir(from) else {
        return; // killed before it began
    };
    for entry in entries {
        let entry = entry.expect("an entry");
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().expect("a type").is_dir() {
            copy_dir(&old, &new);
        } else {
            std::fs::copy(old, new).expect("copies");
        }
    }
}

fn open(dir: &Path, seed: u64, snapshots: bool) -> Db {
    let clock = Arc::new(ManualClock::new(0));
    Db::open(
        Arc::new(DiskFiles),
        dir,
        plan::options(seed, false, snapshots),
        clock,
    )
    .expect("opens")
}

/// What a folder holds.
struct Found {
    contents: Contents,
    /// The end of a log was damaged.
    torn: bool,
    /// The reference's tool, which takes what the newest block covers from blocks alone, does not see samples in order
    /// from here on: the newest block holds late ones. (The reference itself does.)
    hidden_from_ms: i64,
}

/// Opens the folder, reads everything, and goes on with it.
fn inspect(dir: &Path, seed: u64, newest: i64) -> Found {
    let db = open(dir, seed, true);
    let report = db.replay_report();
    assert!(db.damaged_blocks().is_empty(), "{:?}", db.damaged_blocks());
    assert_eq!(report.unknown_entries, 0, "{report:?}");
    let torn = !report.damages.is_empty();
    let contents = read(&db, TimeRange::ALL, &everything());
    worker::append_batch(&db, seed, newest + 20, 0).expect("appending goes on");
    db.compact().expect("compacting goes on");
    let metas: Vec<_> = db.blocks().iter().map(|block| block.meta()).collect();
    let end_ms = |late: bool| {
        let of_kind = metas
            .iter()
            .filter(|m| m.compaction.has_hint(HINT_OUT_OF_ORDER) == late);
        of_kind.map(|m| m.max_time).max().unwrap_or(i64::MIN)
    };
    let hidden = end_ms(true) > end_ms(false);
    let hidden_from_ms = if hidden { end_ms(false) } else { i64::MAX };
    drop(db);
    let left: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|n| n.to_string_lossy().contains(".tmp"))
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    Found {
        contents,
        torn,
        hidden_from_ms,
    }
}

/// The reference's own tool finds the same floats in the folder.
fn compare_with_promtool(dir: &Path, oracle: &Oracle, hidden_from_ms: i64) {
    let output = Command::new("promtool")
        .args(["tsdb", "dump", "--match={__name__=\"float\"}"])
        .arg(dir)
        .output();
    let Ok(output) = output else {
        println!("skipped: promtool is not installed");
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let found: std::collections::HashMap<(&str, i64), f64> = text
        .lines()
        .filter_map(|line| {
            let (labels, rest) = line.rsplit_once("} ")?;
            let (value, time) = rest.split_once(' ')?;
            Some(((labels, time.parse().ok()?), value.parse().ok()?))
        })
        .collect();
    // The copy was compacted, and retention may have taken its oldest block.
    let kept_from_ms = oracle.floor_ms() + 2 * plan::RANGE_MS;
    for (labels, samples) in oracle.must() {
        if labels.metric_name() != "float" {
            continue;
        }
        // As the reference prints them, but for the last brace.
        let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
        let key = format!("{{{}", pairs.join(", "));
        for (t, value) in samples.range(kept_from_ms..hidden_from_ms.max(kept_from_ms)) {
            let Value::Float(bits) = value else {
                continue;
            };
            let want = f64::from_bits(*bits);
            let there = found.get(&(key.as_str(), *t));
            let same = there.is_some_and(|v| v.to_bits() == want.to_bits() || (v.is_nan() && want.is_nan()));
            assert!(
                same,
                "promtool gives {there:?} and not {want} for {labels} at {t}"
            );
        }
    }
}

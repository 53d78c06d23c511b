//! A process on real files is killed at random moments, again and again; what it acknowledged is there.
//!
//! The process is this test binary itself ([`worker`]); the judge ([`oracle`]) reads what it says. After every kill the
//! folder is copied, opened, compared, and used; the next process goes on with the folder as the kill left it.
//!
//! Some kills come after a random time, others when the folder shows that something special is being done; what was hit
//! ([`moments`]) is told at the end. Now and then the reference reads the folder too ([`reference`]).
//!
//! `NARTHEX_KILL_ROUNDS` gives the number of rounds (`cargo xtask crash --rounds N` sets it), `NARTHEX_SEED` what is done
//! and when it is killed, as far as the machine keeps to it. A failure keeps its folder and names it.

mod moments;
mod oracle;
mod plan;
mod reference;
mod worker;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use files::DiskFiles;
use model::clock::ManualClock;
use model::storage::TimeRange;
use narthex_tsdb::block::HINT_OUT_OF_ORDER;
use narthex_tsdb::db::Db;
use narthex_tsdb::wal::Compression;

use crate::support::{Contents, Rng, everything, read};
use moments::{Moment, Moments};
use oracle::Oracle;

/// Rounds unless told otherwise: a few seconds.
const ROUNDS: u64 = 10;
/// Longest life of a process, in milliseconds.
const LIFE_MS: u64 = 500;
/// Longest wait for a moment that a process is to be killed at.
const AIM_MS: u64 = 700;
/// Microseconds between two looks at what it is doing.
const LOOK_US: u64 = 100;
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
    let batches = if of("NARTHEX_KILL_FIRST") % 6 == 0 {
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
    let mut moments = Moments::default();
    for round in 0..rounds {
        oracle.begin();
        let death = Death::random(&mut rng);
        let words = live(&dir, seed, death, oracle.newest + 1);
        for line in &words {
            oracle.hear(line);
        }
        let (copy, plain, foreign) = (folder.join("copy"), folder.join("plain"), folder.join("foreign"));
        for other in [&copy, &plain, &foreign] {
            copy_dir(&dir, other);
        }
        let found = inspect(&copy, seed, oracle.newest);
        let samples: usize = found.contents.values().map(std::collections::BTreeMap::len).sum();
        // The logs alone must tell the same as the snapshot of the head and their ends.
        let replayed = open(&plain, seed, false);
        assert!(
            found.contents == read(&replayed, TimeRange::ALL, &everything()),
            "the snapshot of the head tells something else than the logs"
        );
        let hit = moments::hit(&dir, &words);
        moments.count(&hit);
        drop(replayed);
        println!(
            "round {round}: {death:?}, hit {hit:?}, {} batches of {} samples acknowledged, {} samples deleted, {samples} found",
            oracle.acknowledged, oracle.stored, oracle.deleted
        );
        oracle.judge(found.contents, found.torn);
        if let Some(snapshot) = oracle.snapshots.last() {
            let snapshot = folder.join("snapshots").join(snapshot.to_string());
            oracle.judge_snapshot(&inspect(&snapshot, seed, oracle.newest).contents);
        }
        if round % 10 == 9 || round + 1 == rounds {
            // The copy was compacted, and retention may have taken its oldest block.
            let kept_from_ms = oracle.floor_ms() + 2 * plan::RANGE_MS;
            let seen_ms = (kept_from_ms, found.hidden_from_ms);
            if plan::options(seed, false, false).head.wal_compression != Compression::Zstd {
                // Distributions still have one that does not know it.
                reference::compare_with_promtool(&copy, oracle.must(), seen_ms);
            }
            compare_with_server(&foreign, &oracle, seed);
        }
        for gone in [copy, plain, foreign, folder.join("snapshots")] {
            // Not there before the first snapshot.
            let _ = std::fs::remove_dir_all(gone);
        }
    }
    println!("hit:{moments}");
    assert!(oracle.acknowledged > 0);
}

/// The reference's server reads the folder as it is, and gives it back.
fn compare_with_server(dir: &Path, oracle: &Oracle, seed: u64) {
    let Some(program) = testkit::prometheus_3() else {
        return;
    };
    reference::compare_with_server(&program, dir, oracle);
    let again = read(&open(dir, seed, true), TimeRange::ALL, &everything());
    assert!(again == *oracle.must(), "the reference has changed something");
    println!("the reference's server tells the same");
}

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// So long after it has started.
    AfterStart(Duration),
    /// So long after its store is open.
    AfterOpening(Duration),
    /// So long after the folder shows that it is doing this.
    At(Moment, Duration),
}

impl Death {
    fn random(rng: &mut Rng) -> Death {
        let life = Duration::from_millis(rng.below(LIFE_MS));
        match rng.below(8) {
            0 => Death::AfterStart(life),
            1..4 => Death::AfterOpening(life),
            _ => {
                let moment = Moment::WATCHED[rng.below(Moment::WATCHED.len() as u64) as usize];
                let after_us = rng.below(2) * rng.below(2000);
                Death::At(moment, Duration::from_micros(after_us))
            }
        }
    }

    /// Returns when it is time; `is_open` tells when the store is open.
    fn wait(self, dir: &Path, is_open: &std::sync::mpsc::Receiver<()>) {
        if !matches!(self, Death::AfterStart(_)) {
            let opened = is_open.recv_timeout(PATIENCE);
            opened.expect("the process opens its store");
        }
        let (Death::AfterStart(life) | Death::AfterOpening(life) | Death::At(_, life)) = self;
        if let Death::At(moment, _) = self {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(AIM_MS) && !moments::seen(dir).contains(&moment) {
                let gone = is_open.recv_timeout(Duration::from_micros(LOOK_US));
                if gone == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        }
        std::thread::sleep(life);
    }
}

/// Runs a process until its death, and returns what it says. Its first batch has number `first`.
fn live(dir: &Path, seed: u64, death: Death, first: i64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "kill::worker_process", "--nocapture", "--quiet"])
        .env("NARTHEX_KILL_DIR", dir)
        .env("NARTHEX_KILL_FIRST", first.to_string())
        .env("NARTHEX_SEED", seed.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this binary starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let (opened, is_open) = std::sync::mpsc::channel();
    // It drops its end when the process is gone.
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
    death.wait(dir, &is_open);
    // Stopped by itself already is fine too.
    let _ = child.kill();
    let output = child.wait_with_output().expect("gone");
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    heard.join().expect("a reader")
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

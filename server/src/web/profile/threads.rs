//! The threads of this process, as the system lists them.
//!
//! Source: proc(5), `/proc/self/task`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use super::message::{Frame, Measured, Profile};

/// Most threads that are listed.
const THREADS_MAX: usize = 10_000;
/// Ticks of the system's clock a second, for `utime` and `stime`: Linux tells user programs this many whatever it has.
const TICKS_A_SECOND: u64 = 100;
/// Places of fields behind the name in `/proc/…/stat`.
const STATE: usize = 0;
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    id: u64,
    name: String,
    /// `running`, `sleeping`, `waiting for the disk`, ….
    state: &'static str,
    /// In seconds, times [`TICKS_A_SECOND`].
    cpu_ticks: u64,
}

/// All of them; those that end meanwhile are left out.
pub(super) fn list() -> io::Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task")?.take(THREADS_MAX) {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(|text| text.parse().ok());
        let stat = std::fs::read(entry.path().join("stat"));
        let thread = id.zip(stat.ok()).and_then(|(id, stat)| parse(id, &stat));
        threads.extend(thread);
    }
    threads.sort_by_key(|thread| thread.id);
    Ok(threads)
}

/// `12 (a name) S …`; a name may have parentheses itself.
fn parse(id: u64, stat: &[u8]) -> Option<Thread> {
    let stat = String::from_utf8_lossy(stat);
    let (before, behind) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Thread {
        id,
        name,
        state: match *fields.get(STATE)? {
            "R" => "running",
            "S" => "sleeping",
            "D" => "waiting for the disk",
            "T" | "t" => "stopped",
            _ => "other",
        },
        cpu_ticks: ticks(USER_TIME)?.saturating_add(ticks(SYSTEM_TIME)?),
    })
}

/// A line a thread, those that took most time first, below how many there are of each name.
pub(super) fn text(threads: &[Thread]) -> String {
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    threads
        .iter()
        .for_each(|thread| *by_name.entry(&thread.name).or_default() += 1);
    let mut text = format!("goroutine profile: total {}\nThreads by name:\n", threads.len());
    for (name, count) in by_name {
        let _ = writeln!(text, "{count:>6} {name}");
    }
    text.push_str("\nThreads by processor time:\n");
    let mut busiest: Vec<&Thread> = threads.iter().collect();
    busiest.sort_by_key(|thread| std::cmp::Reverse(thread.cpu_ticks));
    for thread in busiest {
        let seconds = thread.cpu_ticks as f64 / TICKS_A_SECOND as f64;
        let _ = writeln!(
            text,
            "{:>8} {:<16} {seconds:>10.2} s  {}",
            thread.id, thread.name, thread.state
        );
    }
    text
}

/// The same as a profile: a place a name and state.
pub(super) fn profile(threads: &[Thread]) -> Profile {
    let mut profile = Profile::new(&[Measured("goroutine", "count"), Measured("cpu", "nanoseconds")]);
    for thread in threads {
        let frame = |function: &str| Frame {
            function: function.to_owned(),
            ..Frame::default()
        };
        let frames = [frame(thread.state), frame(&thread.name)];
        let nanoseconds = thread.cpu_ticks * (1_000_000_000 / TICKS_A_SECOND);
        profile.add(&frames, &[1, nanoseconds], &[("thread", &thread.id.to_string())]);
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_system_are_read_whatever_names_hold() {
        let line = b"77 (http (x) y) S 1 77 77 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1 1 1";
        let thread = parse(77, line).expect("a thread");
        assert_eq!(
            (thread.name.as_str(), thread.state, thread.cpu_ticks),
            ("http (x) y", "sleeping", 200)
        );
        for end in 0..line.len() {
            let _ = parse(1, &line[..end]);
        }
        let listed = list().expect("threads");
        assert!(!listed.is_empty());
        let text = text(&listed);
        assert!(
            text.starts_with(&format!("goroutine profile: total {}\n", listed.len())),
            "{text}"
        );
    }
}

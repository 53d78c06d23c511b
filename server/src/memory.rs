//! How much memory there is, and how much of it queries may take.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use promql::engine::Engine;
use supervise::Supervisor;
use yaml::Bytes;

/// What all queries may take together where nothing else is said, in percent of the memory there is.
const ALL_QUERIES_PERCENT: f64 = 50.0;
/// What one query may take.
const QUERY_PERCENT: f64 = 25.0;
/// Where it cannot be found out how much there is.
const MEMORY_UNKNOWN_BYTES: u64 = 4 << 30;

/// A limit as a flag gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MemoryFlag {
    /// A share of the memory there is.
    Percent(f64),
    /// A size; 0 for no limit.
    Bytes(u64),
}

impl MemoryFlag {
    /// Reads `25%`, `2GB`, `0`; nothing for other texts.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().ok()?;
            return (percent > 0.0 && percent <= 100.0).then_some(MemoryFlag::Percent(percent));
        }
        if text == "0" {
            return Some(MemoryFlag::Bytes(0));
        }
        let bytes = Bytes::parse(text)?;
        u64::try_from(bytes.0).ok().map(MemoryFlag::Bytes)
    }

    /// In bytes, of a machine or container with `memory_bytes`.
    fn of(self, memory_bytes: u64) -> usize {
        let bytes = match self {
            MemoryFlag::Percent(percent) => (memory_bytes as f64 * percent / 100.0) as u64,
            MemoryFlag::Bytes(0) => u64::MAX,
            MemoryFlag::Bytes(bytes) => bytes,
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

/// Of the memory there is, the share in percent that the process may come to: the rest is for what it does not see, the
/// kernel's own pages and what is allocated between two looks.
const PROCESS_PERCENT: u64 = 85;
/// How often the process looks at its own size while queries hold memory.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often while none does.
const LOOK_IDLE_EVERY: Duration = Duration::from_millis(250);
/// Where less than this share of the memory is free, in percent, the allocator is asked to give back what it keeps.
const SHORT_PERCENT: u64 = 20;
/// How often at most.
const GIVE_BACK_EVERY: Duration = Duration::from_millis(500);

/// Watches the process's size for as long as there is an engine, and tells what queries can still take. Does nothing where
/// the system does not tell how much memory there is.
pub(crate) fn watch(engine: &Arc<Engine>, supervisor: Supervisor) {
    let Some(memory_bytes) = memory_bytes() else {
        return;
    };
    let engine = Arc::downgrade(engine);
    let mut given_back = Instant::now();
    let look = move || {
        let Some((engine, own_bytes)) = engine.upgrade().zip(own_bytes()) else {
            return ControlFlow::Break(());
        };
        let free_bytes = (memory_bytes / 100 * PROCESS_PERCENT).saturating_sub(own_bytes);
        engine
            .memory()
            .leave(usize::try_from(free_bytes).unwrap_or(usize::MAX));
        let is_idle = engine.memory().held_bytes() == 0;
        drop(engine);
        if free_bytes < memory_bytes / 100 * SHORT_PERCENT && given_back.elapsed() >= GIVE_BACK_EVERY {
            given_back = Instant::now();
            crate::allocator::give_back();
        }
        ControlFlow::Continue(if is_idle { LOOK_IDLE_EVERY } else { LOOK_EVERY })
    };
    let looks = move || look_on(&supervisor, look);
    // Without it queries are bounded by what they count.
    let spawned = std::thread::Builder::new()
        .name("memory-watch".to_owned())
        .spawn(looks);
    if let Err(error) = spawned {
        tracing::warn!(%error, "The process's memory is not watched: no thread for that");
    }
}

/// Looks until told to end, each time after the pause that the last look asked for. A look that panics is counted, and the
/// next one begins anew.
fn look_on(supervisor: &Supervisor, mut look: impl FnMut() -> ControlFlow<(), Duration>) {
    const TASK: &str = "memory watch";
    supervisor.announce(TASK);
    loop {
        match supervisor.catch(TASK, &mut look) {
            Ok(ControlFlow::Break(())) => return,
            Ok(ControlFlow::Continue(pause)) => std::thread::sleep(pause),
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// The process's resident memory that no file backs: pages of files are the system's to take away.
fn own_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    resident_pages(&text).map(|pages| pages * rustix::param::page_size() as u64)
}

/// Of `/proc/self/statm`: pages that are resident, less those that are backed by files.
fn resident_pages(statm: &str) -> Option<u64> {
    let mut fields = statm.split_ascii_whitespace().skip(1);
    let resident: u64 = fields.next()?.parse().ok()?;
    let shared: u64 = fields.next()?.parse().ok()?;
    Some(resident.saturating_sub(shared))
}

/// What queries may take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueryMemory {
    /// One.
    pub(crate) query_bytes: usize,
    /// All together.
    pub(crate) total_bytes: usize,
}

impl QueryMemory {
    /// As the flags say, on this machine.
    pub(crate) fn new(query: Option<MemoryFlag>, total: Option<MemoryFlag>) -> Self {
        QueryMemory::on(memory_bytes().unwrap_or(MEMORY_UNKNOWN_BYTES), query, total)
    }

    fn on(memory_bytes: u64, query: Option<MemoryFlag>, total: Option<MemoryFlag>) -> Self {
        let of =
            |flag: Option<MemoryFlag>, percent| flag.unwrap_or(MemoryFlag::Percent(percent)).of(memory_bytes);
        let total_bytes = of(total, ALL_QUERIES_PERCENT);
        QueryMemory {
            // What one query may not take anyway because all may not is no limit of its own to speak of.
            query_bytes: of(query, QUERY_PERCENT).min(total_bytes),
            total_bytes,
        }
    }
}

/// The memory that this process may take: the machine's, or less where a control group or the process's own limit says
/// so. Nothing where the system does not tell.
pub(crate) fn memory_bytes() -> Option<u64> {
    let machine = meminfo_bytes(&std::fs::read_to_string("/proc/meminfo").ok()?);
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_limit_bytes(&groups, Path::new("/sys/fs/cgroup"));
    let own = rustix::process::getrlimit(rustix::process::Resource::As).current;
    [machine, group, own].into_iter().flatten().min()
}

/// `MemTotal:       32861536 kB`
fn meminfo_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least limit of the groups that the process is in and of those around them. `groups` is `/proc/self/cgroup`.
fn group_limit_bytes(groups: &str, root: &Path) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (hierarchy, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            "memory" => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        // In a container the path may be that of the machine, and not be there: the root is the container's group then.
        let mut folder = hierarchy.join(path.trim_start_matches('/'));
        loop {
            if let Some(bytes) = read_limit(&folder.join(file)) {
                least = Some(least.map_or(bytes, |least| least.min(bytes)));
            }
            if folder == hierarchy || !folder.pop() {
                break;
            }
        }
    }
    least
}

/// A number, or `max` for none.
fn read_limit(path: &PathBuf) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_panics_is_counted_and_the_next_one_looks_again() {
        let supervisor = Supervisor::new(&metrics::Registry::new());
        let mut looks = 0;
        look_on(&supervisor, || {
            looks += 1;
            match looks {
                2 => panic!("as prepared"),
                4 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(Duration::ZERO),
            }
        });
        assert_eq!((looks, supervisor.panics("memory watch")), (4, 1));
    }

    #[test]
    fn limits_are_shares_or_sizes() {
        let gib = 1 << 30;
        let on = |query: &str, total: &str| {
            QueryMemory::on(8 * gib, MemoryFlag::parse(query), MemoryFlag::parse(total))
        };
        assert_eq!(on("", "").query_bytes as u64, 2 * gib);
        assert_eq!(on("", "").total_bytes as u64, 4 * gib);
        assert_eq!(on("1GB", "75%").query_bytes as u64, gib);
        assert_eq!(on("1GB", "75%").total_bytes as u64, 6 * gib);
        assert_eq!(
            on("0", "1GB").query_bytes as u64,
            gib,
            "the total bounds one, too"
        );
        assert_eq!(on("0", "0").total_bytes, usize::MAX);
        for wrong in ["x", "101%", "-1%", "0%", "-1GB", "1"] {
            assert_eq!(MemoryFlag::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn pages_of_files_do_not_count() {
        assert_eq!(resident_pages("76543 1200 200 30 0 400 0\n"), Some(1000));
        assert_eq!(resident_pages("76543"), None);
        assert!(own_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn the_least_limit_counts() {
        assert_eq!(
            meminfo_bytes("MemTotal:       2048 kB\nMemFree: 1 kB"),
            Some(2 << 20)
        );
        let root = tempfile::tempdir().expect("folder");
        let inner = root.path().join("pods/one");
        std::fs::create_dir_all(&inner).expect("folders");
        std::fs::write(inner.join("memory.max"), "max\n").expect("file");
        assert_eq!(group_limit_bytes("0::/pods/one\n", root.path()), None);
        std::fs::write(root.path().join("pods/memory.max"), "1000000\n").expect("file");
        assert_eq!(group_limit_bytes("0::/pods/one\n", root.path()), Some(1_000_000));
        assert_eq!(group_limit_bytes("0::/not/here/\n", root.path()), None);
        std::fs::write(root.path().join("memory.max"), "500\n").expect("file");
        assert_eq!(group_limit_bytes("0::/not/here/\n", root.path()), Some(500));
        let old = root.path().join("memory/a");
        std::fs::create_dir_all(&old).expect("folders");
        std::fs::write(old.join("memory.limit_in_bytes"), "77\n").expect("file");
        assert_eq!(
            group_limit_bytes("4:memory:/a\n3:cpu:/a\n", root.path()),
            Some(77)
        );
    }
}

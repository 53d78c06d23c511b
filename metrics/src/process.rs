//! What the kernel tells about this process, read from `/proc` at each scrape.

use std::fs;

use crate::registry::{Collected, Kind};

/// Clock ticks of `/proc` a second: the kernel's interface fixes them, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds the families; what cannot be read (another system, a locked-down container) is left out.
pub(crate) fn collect(out: &mut Collected) {
    let mut add = |name: &str, kind, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            out.family(name, kind, help).sample(&[], value);
        }
    };
    let read = |path: &str| fs::read_to_string(path).ok();
    let stat = read("/proc/self/stat").unwrap_or_default();
    let status = read("/proc/self/status").unwrap_or_default();
    let limits = read("/proc/self/limits").unwrap_or_default();
    let network = read("/proc/self/net/netstat").unwrap_or_default();
    let boot_seconds = read("/proc/stat").and_then(|text| field(&text, "btime"));

    let cpu = stat_ticks(&stat, 14)
        .zip(stat_ticks(&stat, 15))
        .map(|(user, system)| user + system);
    add(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Total user and system CPU time spent in seconds.",
        cpu,
    );
    let open = fs::read_dir("/proc/self/fd")
        .ok()
        .map(|entries| entries.count() as f64);
    add(
        "process_open_fds",
        Kind::Gauge,
        "Number of open file descriptors.",
        open,
    );
    let max_files = limit(&limits, "Max open files");
    add(
        "process_max_fds",
        Kind::Gauge,
        "Maximum number of open file descriptors.",
        max_files,
    );
    let kilobytes = |name| field(&status, name).map(|kilobytes| kilobytes * 1024.0);
    add(
        "process_virtual_memory_bytes",
        Kind::Gauge,
        "Virtual memory size in bytes.",
        kilobytes("VmSize:"),
    );
    let help = "Maximum amount of virtual memory available in bytes.";
    add(
        "process_virtual_memory_max_bytes",
        Kind::Gauge,
        help,
        limit(&limits, "Max address space"),
    );
    add(
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Resident memory size in bytes.",
        kilobytes("VmRSS:"),
    );
    let start = boot_seconds
        .zip(stat_ticks(&stat, 22))
        .map(|(boot, since)| boot + since);
    let help = "Start time of the process since unix epoch in seconds.";
    add("process_start_time_seconds", Kind::Gauge, help, start);
    let help = "Number of bytes received by the process over the network.";
    add(
        "process_network_receive_bytes_total",
        Kind::Counter,
        help,
        octets(&network, "InOctets"),
    );
    let help = "Number of bytes sent by the process over the network.";
    add(
        "process_network_transmit_bytes_total",
        Kind::Counter,
        help,
        octets(&network, "OutOctets"),
    );
}

/// Field `number` of `/proc/self/stat` (from 1, as its manual counts), in seconds.
fn stat_ticks(stat: &str, number: usize) -> Option<f64> {
    // The second field is the program's name in parentheses, which may hold spaces and parentheses itself.
    let (_, behind_name) = stat.rsplit_once(')')?;
    let ticks: f64 = behind_name
        .split_ascii_whitespace()
        .nth(number - 3)?
        .parse()
        .ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

/// The number behind `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// A soft limit; "unlimited" is the largest number there is.
fn limit(limits: &str, name: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

/// A column of the `IpExt` table, which has names in one line and numbers in the next.
fn octets(netstat: &str, name: &str) -> Option<f64> {
    let mut rows = netstat.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let column = rows.next()?.split_ascii_whitespace().position(|n| n == name)?;
    rows.next()?.split_ascii_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_texts_are_read() {
        let stat = "17 (a) b (c)) S 1 17 17 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 1000 123456 789";
        assert_eq!(stat_ticks(stat, 14), Some(2.5));
        assert_eq!(stat_ticks(stat, 22), Some(10.0));
        assert_eq!(stat_ticks("17 (x", 14), None);
        assert_eq!(
            field("VmPeak:\t  9 kB\nVmRSS:\t    1234 kB\n", "VmRSS:"),
            Some(1234.0)
        );
        let limits = "Limit   Soft Limit   Hard Limit  Units\nMax open files    1024   4096   files\nMax address space   unlimited  unlimited  bytes\n";
        assert_eq!(limit(limits, "Max open files"), Some(1024.0));
        assert_eq!(
            limit(limits, "Max address space"),
            Some(18_446_744_073_709_551_615.0)
        );
        let netstat = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets\nIpExt: 5 77\n";
        assert_eq!(octets(netstat, "InOctets"), Some(77.0));
        assert_eq!(octets(netstat, "OutOctets"), None);
    }
}

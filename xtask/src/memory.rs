//! `cargo xtask memory`: what the server takes while many clients ask for too much, seen from outside.
//!
//! A released server with flags as they are by default is put into a control group (version 1 or 2, where this user may
//! make one), given 20,000 series, and asked by 20 clients at once for answers of gigabytes. It must live, and must
//! answer a small query afterwards. Where no group can be made, its resident size is compared with the limit instead.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::say;

const SERIES: usize = 20_000;
const CLIENTS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);
/// Each would take gigabytes at 11,000 steps.
const QUERIES: [&str; 6] = [
    "big * 2",
    "big",
    "topk(1e9, big)",
    "count_values(\"v\", big)",
    "sum by (i) (last_over_time(big[5m])) + topk(1e9, big)",
    "sort(big or big * 3)",
];

/// `[--program PATH] [--limit MiB] [--port N] [-- flags of the server]`
pub(crate) fn run(root: &Path, args: &[String]) -> Result<()> {
    let mut program = root.join("target/release/narthex");
    let (mut limit_mib, mut port, mut flags) = (1024, 21_399, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--program" => program = PathBuf::from(value()?),
            "--limit" => limit_mib = value()?.parse()?,
            "--port" => port = value()?.parse()?,
            "--" => flags = args.by_ref().cloned().collect(),
            other => bail!("unknown argument {other}"),
        }
    }
    let folder = std::env::temp_dir().join(format!("narthex-memory-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let group = Group::new(limit_mib << 20);
    let result = attack(&program, &folder, port, &flags, limit_mib << 20, group.as_ref());
    drop(group);
    fs::remove_dir_all(&folder)?;
    result
}

fn attack(
    program: &Path,
    folder: &Path,
    port: u16,
    flags: &[String],
    limit_bytes: u64,
    group: Option<&Group>,
) -> Result<()> {
    match group {
        Some(group) => say(&format!("control group {}", group.folder.display())),
        None => say("no control group can be made here: the resident size is compared with the limit"),
    }
    let end = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    import(program, folder, end)?;
    let mut server = Server(start(program, folder, port, flags, group)?);
    wait_until(|| ask(port, "GET", "/-/ready", "").is_ok_and(|(status, _)| status == 200))?;
    say(&format!("started: {} MiB resident", server.status_mib("VmRSS:")?));
    let mut peak_mib = 0;
    for query in QUERIES {
        let begin = Instant::now();
        let body = format!(
            "query={}&start={}&end={end}&step=1",
            query.replace('+', "%2B").replace(' ', "+"),
            end - 10_999
        );
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let body = body.clone();
                thread::spawn(move || ask(port, "POST", "/api/v1/query_range", &body))
            })
            .collect();
        let answers = clients.into_iter().filter_map(|client| client.join().ok());
        let statuses: Vec<u16> = answers
            .map(|answer| answer.map_or(0, |(status, _)| status))
            .collect();
        let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
        ensure!(server.0.try_wait()?.is_none(), "the server has died of `{query}`");
        peak_mib = server.status_mib("VmHWM:")?;
        say(&format!(
            "{query}: {} answered, {} refused, {} neither, {:.1} s; at most {peak_mib} MiB resident so far",
            count(200),
            count(422),
            statuses.len() - count(200) - count(422),
            begin.elapsed().as_secs_f64(),
        ));
    }
    let (status, _) = ask(port, "GET", "/api/v1/query?query=vector(1)", "")?;
    ensure!(status == 200, "a small query gives {status} afterwards");
    let begin = Instant::now();
    let calm_mib = (limit_bytes / 4) >> 20;
    wait_until(|| server.status_mib("VmRSS:").is_ok_and(|mib| mib <= calm_mib))?;
    say(&format!(
        "given back after {:.1} s",
        begin.elapsed().as_secs_f64()
    ));
    let limit_mib = limit_bytes >> 20;
    ensure!(
        peak_mib <= limit_mib,
        "{peak_mib} MiB were resident, {limit_mib} are allowed"
    );
    say(&format!("alive, at most {peak_mib} of {limit_mib} MiB"));
    Ok(())
}

/// A block of many series with a few samples up to `end`.
fn import(program: &Path, folder: &Path, end: u64) -> Result<()> {
    let mut text = String::from("# TYPE big gauge\n");
    for i in 0..SERIES {
        for age in (0..10).rev() {
            text.push_str(&format!(
                "big{{i=\"{i}\",job=\"attack\"}} {} {}\n",
                i + 1,
                end - age
            ));
        }
    }
    text.push_str("# EOF\n");
    let input = folder.join("big.txt");
    fs::write(&input, text)?;
    let imported = Command::new(program)
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&input, &folder.join("data")])
        .stdout(Stdio::null())
        .status()?;
    ensure!(imported.success(), "the series cannot be imported");
    Ok(())
}

pub(crate) fn start(
    program: &Path,
    folder: &Path,
    port: u16,
    flags: &[String],
    group: Option<&Group>,
) -> Result<Child> {
    fs::write(folder.join("narthex.yml"), "{}")?;
    // The shell enters the group before it becomes the server, which looks for its limit as it starts.
    let enter = group.map_or_else(String::new, |group| {
        format!("echo $$ > '{}/cgroup.procs' && ", group.folder.display())
    });
    let log = fs::File::create(folder.join("log"))?;
    let child = Command::new("sh")
        .args(["-c", &format!("{enter}exec \"$@\""), "sh"])
        .arg(program)
        .arg(format!("--config.file={}", folder.join("narthex.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(flags)
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(child)
}

/// Asks and reads the answer to its end: its status and its length.
pub(crate) fn ask(port: u16, method: &str, path: &str, body: &str) -> Result<(u16, usize)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let (mut head, mut buffer, mut bytes) = (Vec::new(), [0; 64 << 10], 0);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        if head.len() < 16 {
            head.extend_from_slice(&buffer[..read.min(16)]);
        }
        bytes += read;
    }
    let head = String::from_utf8_lossy(&head);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("no status")?, bytes))
}

pub(crate) fn wait_until(mut so: impl FnMut() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !so() {
        ensure!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

pub(crate) struct Server(pub(crate) Child);

impl Server {
    fn status_mib(&self, key: &str) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .context("no such line")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is fine, too.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A control group that is removed at the end.
pub(crate) struct Group {
    folder: PathBuf,
}

impl Group {
    /// A group with that much memory, if one can be made.
    fn new(limit_bytes: u64) -> Option<Self> {
        let name = format!("narthex-memory-{}", std::process::id());
        let versions = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        versions.into_iter().find_map(|(root, limit)| {
            let group = Group {
                folder: Path::new(root).join(&name),
            };
            fs::create_dir(&group.folder).ok()?;
            // Beside groups of version 1 the other root takes any folder, which is no group.
            group.folder.join("cgroup.procs").exists().then_some(())?;
            fs::write(group.folder.join(limit), limit_bytes.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The server has left it; a group that stays is empty.
        let _ = fs::remove_dir(&self.folder);
    }
}

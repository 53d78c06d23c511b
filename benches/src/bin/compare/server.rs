//! A server under test: started in a folder, measured through /proc, stopped by its process id.

use std::collections::HashMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::api::Api;

/// What the allocator calls its thread.
const ALLOCATOR_THREAD: &str = "jemalloc_bg_thd";

/// How long a server may take to answer after its start, or to stop.
const PATIENCE: Duration = Duration::from_secs(600);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Prometheus,
    Narthex,
    VictoriaMetrics,
    Alertmanager,
}

impl Kind {
    /// As it stands in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Prometheus => "Prometheus",
            Kind::Narthex => "Narthex",
            Kind::VictoriaMetrics => "VictoriaMetrics",
            Kind::Alertmanager => "Alertmanager",
        }
    }
}

/// What is needed to start a server, over and over.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Whose it is.
    pub(crate) kind: Kind,
    /// Its program.
    pub(crate) binary: PathBuf,
    /// Folder of configuration and log.
    pub(crate) folder: PathBuf,
    /// Length of blocks, where it is not the server's own choice.
    pub(crate) block_duration: Option<Duration>,
}

impl Setup {
    /// The server's data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The scrape configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("config.yml")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn arguments(&self, address: &str) -> Vec<String> {
        let (config, data) = (self.config(), self.data());
        let (config, data) = (config.display(), data.display());
        let mut arguments = match self.kind {
            Kind::VictoriaMetrics => {
                return vec![
                    format!("-promscrape.config={config}"),
                    format!("-storageDataPath={data}"),
                    format!("-httpListenAddr={address}"),
                    "-search.latencyOffset=0s".to_owned(),
                ];
            }
            Kind::Alertmanager => {
                return vec![
                    format!("--config.file={config}"),
                    format!("--storage.path={data}"),
                    format!("--web.listen-address={address}"),
                    "--cluster.listen-address=".to_owned(),
                ];
            }
            Kind::Prometheus | Kind::Narthex => vec![
                format!("--config.file={config}"),
                format!("--storage.tsdb.path={data}"),
                format!("--web.listen-address={address}"),
            ],
        };
        if let Some(length) = self.block_duration {
            let length = model::duration::format_duration(length.as_millis() as i64);
            arguments.push(format!("--storage.tsdb.min-block-duration={length}"));
            arguments.push(format!("--storage.tsdb.max-block-duration={length}"));
        }
        arguments
    }

    /// Starts the server on a free port. It lives until it is stopped or dropped.
    pub(crate) fn start(&self) -> Result<Server> {
        self.start_with(&[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(&self, more: &[&str]) -> Result<Server> {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string();
        let log = File::create(self.log())?;
        let started = Instant::now();
        let child = Command::new(&self.binary)
            .args(self.arguments(&address))
            .args(more)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        Ok(Server {
            child,
            started,
            api: Api::new(&format!("http://{address}"))?,
            log: self.log(),
        })
    }
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    started: Instant,
    /// Its API.
    pub(crate) api: Api,
    log: PathBuf,
}

impl Server {
    /// Seconds of processor time used so far, by all threads.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(&self.child)
    }

    /// Anonymous memory that is in use now, in bytes.
    pub(crate) fn anonymous_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(proc(&self.child, "status")).context("the server is gone")?;
        anonymous_bytes(&status)
            .with_context(|| format!("no RssAnon in the status of process {}", self.child.id()))
    }

    /// Processor time used so far, by thread; without the allocator's own thread, which gives freed memory back to the
    /// system in the seconds after.
    pub(crate) fn thread_times(&self) -> Result<HashMap<u32, Duration>> {
        let mut times = HashMap::new();
        for thread in std::fs::read_dir(proc(&self.child, "task")).context("the server is gone")? {
            let thread = thread?;
            let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            if name.trim_end() == ALLOCATOR_THREAD {
                continue;
            }
            // Threads may end while they are listed.
            let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
            let id = thread.file_name().to_str().and_then(|text| text.parse().ok());
            times.extend(id.zip(nanoseconds.map(Duration::from_nanos)));
        }
        Ok(times)
    }

    /// Host and port of its API.
    pub(crate) fn address(&self) -> &str {
        self.api.address()
    }

    /// Waits until a query gives `expected`, and tells how long that was from the start of the process.
    pub(crate) async fn answers(&mut self, expr: &str, at_s: f64, expected: f64) -> Result<Duration> {
        let mut last = "no answer".to_owned();
        while self.started.elapsed() < PATIENCE {
            self.check_running()?;
            match self.api.number(expr, at_s).await {
                Ok(Some(value)) if value == expected => return Ok(self.started.elapsed()),
                Ok(value) => last = format!("{value:?}"),
                Err(error) => last = format!("{error:#}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("{expr} does not become {expected}: {last}")
    }

    /// Waits until the server says that it is ready.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        while self.started.elapsed() < PATIENCE {
            self.check_running()?;
            if self.api.get("/-/ready", &[]).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("the server does not become ready")
    }

    /// Fails when the server has ended, with the end of its log.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let log = std::fs::read(&self.log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned();
        bail!("the server has ended ({status}):\n{tail}")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Sends a signal and waits for the end; tells how long that took.
    pub(crate) async fn stop(mut self, signal: Signal) -> Result<Duration> {
        let asked = Instant::now();
        self.signal(signal)?;
        while asked.elapsed() < PATIENCE {
            if self.child.try_wait()?.is_some() {
                return Ok(asked.elapsed());
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("the server does not stop")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Neither can fail in a way that matters: the process is ours, and ended ones are fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a tool to its end and gives the processor seconds that it took.
pub(crate) fn cpu_of(mut command: Command) -> Result<f64> {
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    // Ended, but not waited for: the kernel still tells about it.
    waitid(
        WaitId::Pid(Pid::from_child(&child)),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    )?;
    let seconds = cpu_seconds(&child);
    let status = child.wait()?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    seconds
}

fn cpu_seconds(child: &Child) -> Result<f64> {
    let stat = std::fs::read_to_string(proc(child, "stat")).context("the server is gone")?;
    cpu_ticks(&stat)
        .map(|ticks| ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
        .with_context(|| format!("no processor time in {stat:?}"))
}

fn proc(child: &Child, file: &str) -> PathBuf {
    Path::new("/proc").join(child.id().to_string()).join(file)
}

/// utime and stime of /proc/PID/stat: fields 14 and 15, counted behind the name, which may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn anonymous_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_texts_are_read() {
        let stat = "12 (a b) c) S 1 2 3 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 8 0 100";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("12 (x) S 1"), None);
        assert_eq!(
            anonymous_bytes("Name:\tx\nRssAnon:\t     420 kB\nRssFile:\t 1 kB\n"),
            Some(420 * 1024)
        );
        assert_eq!(anonymous_bytes("Name:\tx\n"), None);
    }
}

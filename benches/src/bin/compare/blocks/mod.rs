//! What blocks cost: each server is given the same data folder and does what it does about a minute after its start.
//!
//! * `cut`: a head of three and a quarter hours becomes a block of two hours and a shorter head, logs included.
//! * `merge`: three blocks of two hours become one of six.
//! * `overlap`: two blocks of the same two hours, whose samples lie between each other, become one.
//! * `import`: text becomes a block, by the servers' tools.
//!
//! Processor time is that between the moment at which the server has read its folder and the one at which the blocks are
//! there and nothing is going on any more.

mod data;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::folder::{bytes_in_use, replace};
use crate::report::{Figures, as_json, median, print, progress, side_by_side};
use crate::server::{Kind, Server, Setup, cpu_of};
use data::Fleet;

/// How long a server may take to begin with its work and end it.
const PATIENCE: Duration = Duration::from_secs(600);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// For so long a server must have done next to nothing to be taken for idle.
const IDLE: Duration = Duration::from_secs(3);
/// Processor seconds that an idle server may use meanwhile.
const IDLE_CPU_SECONDS: f64 = 0.06;

/// Programs and sizes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Program of Narthex
    #[arg(long)]
    narthex: PathBuf,
    /// Program of Prometheus, to which all ratios are
    #[arg(long)]
    prometheus: PathBuf,
    /// Its tool, for `import`
    #[arg(long)]
    promtool: Option<PathBuf>,
    /// Targets, of a thousand series each
    #[arg(long, default_value_t = 50)]
    targets: usize,
    /// Targets of `import`
    #[arg(long, default_value_t = 3)]
    import_targets: usize,
    /// Which work is to be done
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Work::Cut, Work::Merge, Work::Overlap, Work::Import])]
    work: Vec<Work>,
    /// Times that each work is done by each server, in turn; medians count
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Seed of the values
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a server is given to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Work {
    Cut,
    Merge,
    Overlap,
    Import,
}

/// Figures of a work, as they are called in the table.
struct Names {
    work: Work,
    cpu: &'static str,
    memory: &'static str,
    chunks: &'static str,
    index: &'static str,
    block: &'static str,
}

macro_rules! names {
    ($work:ident, $text:literal) => {
        Names {
            work: Work::$work,
            cpu: concat!($text, ": CPU s per million samples"),
            memory: concat!($text, ": anonymous MiB more, peak"),
            chunks: concat!($text, ": chunks, bytes per sample"),
            index: concat!($text, ": index, bytes per sample"),
            block: concat!($text, ": block, bytes per sample"),
        }
    };
}

const NAMES: [Names; 4] = [
    names!(Cut, "cut"),
    names!(Merge, "merge"),
    names!(Overlap, "overlap"),
    names!(Import, "import"),
];

/// Lets each server do each work and prints the table.
pub(crate) async fn run(options: &Options) -> Result<()> {
    if options.targets == 0 || options.import_targets == 0 || options.runs == 0 {
        bail!("--targets, --import-targets and --runs must be above zero");
    }
    let whole =
        |path: &PathBuf| fs::canonicalize(path).with_context(|| format!("no program at {}", path.display()));
    let servers = [
        (Kind::Prometheus, whole(&options.prometheus)?),
        (Kind::Narthex, whole(&options.narthex)?),
    ];
    let tool = options.promtool.as_ref().map(whole).transpose()?;
    let now_ms = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_millis() as i64;
    let mut results = servers.each_ref().map(|(kind, _)| (kind.name(), Figures::new()));
    for names in NAMES.iter().filter(|names| options.work.contains(&names.work)) {
        let targets = if names.work == Work::Import {
            options.import_targets
        } else {
            options.targets
        };
        let fleet = Fleet::new(targets, options.seed, now_ms);
        let image = tempfile::Builder::new().prefix("narthex-compare-").tempdir()?;
        progress(&format!("{:?}: the data are written", names.work));
        prepare(names.work, fleet, image.path())?;
        let mut measured = [Vec::new(), Vec::new()];
        for _ in 0..options.runs {
            for ((kind, binary), measured) in servers.iter().zip(&mut measured) {
                progress(&format!("{:?}: {} is measured", names.work, kind.name()));
                let cost = match (names.work, kind, &tool) {
                    (Work::Import, Kind::Prometheus, None) => continue,
                    (Work::Import, Kind::Prometheus, Some(tool)) => import(tool, image.path())?,
                    (Work::Import, _, _) => import(binary, image.path())?,
                    _ => serve(*kind, binary, image.path(), names.work)
                        .await
                        .with_context(|| kind.name())?,
                };
                measured.push(cost);
            }
        }
        for ((_, figures), costs) in results.iter_mut().zip(&measured) {
            figures.extend(figures_of(names, costs));
        }
    }
    let about = format!(
        "{} targets ({} to import) x 1000 series every {} s; {} runs; seed {}",
        options.targets,
        options.import_targets,
        data::INTERVAL_MS / 1000,
        options.runs,
        options.seed
    );
    let json = json!({"about": about, "seed": options.seed, "servers": as_json(&results)});
    print(
        options.json,
        &json,
        &format!("{about}\n\n{}", side_by_side(&results)),
    )
}

/// Makes the folder of which every server gets a copy.
fn prepare(work: Work, fleet: Fleet, image: &Path) -> Result<()> {
    match work {
        Work::Cut => fleet.write_head(image, 3.25),
        // The newest block is left alone by both: one more than are merged.
        Work::Merge => (0..4).try_for_each(|number| {
            let hour = number as f64 * 2.0;
            fleet.write_block(image, number, number, hour..hour + 2.0, |_| true)
        }),
        Work::Overlap => {
            fleet.write_block(image, 0, 0, 0.0..2.0, |row| row % 10 != 0)?;
            fleet.write_block(image, 1, 0, 0.0..2.0, |row| row % 10 == 0)
        }
        Work::Import => fleet.write_text(&image.join("samples.om")),
    }
}

/// What a work has cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu_s: f64,
    memory_bytes: f64,
    block: Written,
}

/// A block that was written.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    samples: f64,
    chunk_bytes: f64,
    index_bytes: f64,
    bytes: f64,
}

fn figures_of(names: &Names, costs: &[Cost]) -> Figures {
    let each = |figure: &dyn Fn(&Cost) -> f64| median(&costs.iter().map(figure).collect::<Vec<_>>());
    vec![
        (names.cpu, each(&|c| c.cpu_s * 1e6 / c.block.samples)),
        (names.memory, each(&|c| c.memory_bytes / f64::from(1 << 20))),
        (names.chunks, each(&|c| c.block.chunk_bytes / c.block.samples)),
        (names.index, each(&|c| c.block.index_bytes / c.block.samples)),
        (names.block, each(&|c| c.block.bytes / c.block.samples)),
    ]
}

/// Starts the server with a copy of the folder and waits until it has done its work.
async fn serve(kind: Kind, binary: &Path, image: &Path, work: Work) -> Result<Cost> {
    let folder = tempfile::Builder::new().prefix("narthex-compare-").tempdir()?;
    let setup = Setup {
        kind,
        binary: binary.to_owned(),
        folder: folder.path().to_owned(),
        block_duration: None,
    };
    fs::write(setup.config(), "global: {}\n")?;
    replace(image, &setup.data())?;
    let before = blocks(&setup.data())?;
    let mut server = setup.start()?;
    server.ready().await?;
    let start = idle(&mut server).await?;
    let wanted = if work == Work::Merge { 2 } else { 1 };
    let done = |blocks: &[PathBuf]| blocks.len() == wanted && blocks != before;
    if blocks(&setup.data())? != before {
        bail!("the server was done with its work before it was idle for the first time");
    }
    let at_start = server.anonymous_bytes()?;
    let mut peak = at_start;
    let begun = Instant::now();
    while !done(&blocks(&setup.data())?) {
        server.check_running()?;
        if begun.elapsed() > PATIENCE {
            bail!("the blocks do not come");
        }
        peak = peak.max(server.anonymous_bytes()?);
        tokio::time::sleep(PAUSE).await;
    }
    let end = idle(&mut server).await?;
    let fresh: Vec<PathBuf> = blocks(&setup.data())?
        .into_iter()
        .filter(|b| !before.contains(b))
        .collect();
    let [block] = fresh.as_slice() else {
        bail!("one new block was expected, there are {fresh:?}");
    };
    let cost = Cost {
        cpu_s: end - start,
        memory_bytes: (peak - at_start) as f64,
        block: Written::weigh(block)?,
    };
    server.stop(Signal::KILL).await?;
    Ok(cost)
}

/// Lets a tool make a block of the text in `image`.
fn import(binary: &Path, image: &Path) -> Result<Cost> {
    let folder = tempfile::Builder::new().prefix("narthex-compare-").tempdir()?;
    let mut command = Command::new(binary);
    command.args(["tsdb", "create-blocks-from", "openmetrics"]);
    command.arg(image.join("samples.om")).arg(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let cpu_s = cpu_of(command)?;
    let [block] = &blocks(folder.path())?[..] else {
        bail!("one block was expected of {}", binary.display());
    };
    Ok(Cost {
        cpu_s,
        memory_bytes: f64::NAN,
        block: Written::weigh(block)?,
    })
}

impl Written {
    fn weigh(block: &Path) -> Result<Self> {
        let meta: Value = serde_json::from_slice(&fs::read(block.join("meta.json"))?)?;
        // Not before they are written are files counted with the space that they take.
        rustix::fs::sync();
        let bytes = |name: &str| Ok::<_, anyhow::Error>(bytes_in_use(&block.join(name))? as f64);
        Ok(Written {
            samples: meta["stats"]["numSamples"]
                .as_f64()
                .context("a block without number of samples")?,
            chunk_bytes: bytes("chunks")?,
            index_bytes: bytes("index")?,
            bytes: bytes("")?,
        })
    }
}

/// The whole blocks in a data folder, sorted.
fn blocks(data: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let temporary = path.extension().is_some();
        if !temporary && path.join("meta.json").exists() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Waits until the server does nothing any more; gives its processor seconds so far.
async fn idle(server: &mut Server) -> Result<f64> {
    let begun = Instant::now();
    let mut last = server.cpu_seconds()?;
    let mut since = Instant::now();
    while begun.elapsed() < PATIENCE {
        tokio::time::sleep(PAUSE).await;
        server.check_running()?;
        let now = server.cpu_seconds()?;
        if now - last > IDLE_CPU_SECONDS {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > IDLE {
            return Ok(now);
        }
    }
    bail!("the server does not come to rest")
}

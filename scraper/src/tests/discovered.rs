//! What following discovery costs: 50,000 targets in 1,000 jobs, of which one changes each second.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use discovery::{Context, Mechanisms, Metrics, SCRAPE};
use metrics::Registry;
use model::clock::SystemClock;
use tokio_util::sync::CancellationToken;

use super::store::MemoryStore;
use super::targets::config;
use crate::Options;

const JOBS: usize = 1_000;
const TARGETS: usize = 50;
const SECONDS: u32 = 20;
/// What the issue allows, as a share of a core.
const SHARE_MAX: f64 = 0.02;
/// From writing the file to the loop of the new target.
const LATENCY_MAX: Duration = Duration::from_secs(1);

/// Puts one job's file in place.
fn write(folder: &Path, job: usize, generation: usize) {
    let mut text = String::new();
    for target in 0..TARGETS {
        // The first one changes.
        let port = 10 + if target == 0 { generation } else { 0 };
        writeln!(text, "- targets: ['127.0.{}.{target}:{port}']", job % 250).expect("a text");
    }
    let path = folder.join(format!("{job}.yml"));
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("write");
    std::fs::rename(&new, &path).expect("rename");
}

/// Processor time of this process so far.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|ticks| ticks.parse::<u64>().expect("number"))
        .sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half a minute of real time, for a released build: cargo test --release -p narthex-scraper -- --ignored cost"]
async fn following_discovery_costs_little_of_a_core() {
    let folder = tempfile::tempdir().expect("folder");
    let (mut jobs, mut configs) = (BTreeMap::new(), Vec::new());
    for job in 0..JOBS {
        write(folder.path(), job, 0);
        let name = format!("job{job}");
        let text = format!(
            "file_sd_configs: [{{files: ['{}/{job}.yml'], refresh_interval: 1h}}]",
            folder.path().display()
        );
        let document = yaml::parse("f.yml", &text).expect("YAML");
        let mut section = document.root().section("a job").expect("mapping");
        jobs.insert(name.clone(), Mechanisms::read(&mut section).expect("valid"));
        // Nothing is scraped within this test.
        configs.push(config(&format!("{{job_name: {name}, scrape_interval: 23h}}")));
    }
    let registry = Registry::new();
    let mut found = discovery::Manager::new(SCRAPE, Context::new("test", Metrics::new(&registry)));
    let store = Arc::new(MemoryStore::default());
    let scraper = crate::Manager::new(store, Arc::new(SystemClock), &registry, Options::default());
    let prepared = scraper.prepare(configs, &model::labels::Labels::default());
    scraper.apply(prepared.expect("prepared")).await;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (scraper, receiver, shutdown) = (Arc::clone(&scraper), found.subscribe(), shutdown.clone());
        async move { scraper.run(receiver, shutdown).await }
    });
    let begin = Instant::now();
    let prepared = found.prepare(jobs).expect("prepared");
    found.apply(prepared);
    let count = || {
        scraper
            .targets()
            .iter()
            .map(|pool| pool.active.len())
            .sum::<usize>()
    };
    while count() < JOBS * TARGETS {
        assert!(begin.elapsed() < Duration::from_secs(120), "{} targets", count());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("{} targets after {:?}", count(), begin.elapsed());
    // After so much, the scraper rests for its longest time.
    tokio::time::sleep(Options::default().discovery_reload_interval).await;
    let (begin, used) = (Instant::now(), processor_time());
    let mut slowest = Duration::ZERO;
    for second in 1..=SECONDS {
        let (job, changed_at) = ((second as usize * 37) % JOBS, Instant::now());
        write(folder.path(), job, second as usize);
        let address = format!("127.0.{}.0:{}", job % 250, 10 + second);
        let name = format!("job{job}");
        while !scraper.has_target(&name, &address) {
            assert!(
                changed_at.elapsed() < Duration::from_secs(20),
                "{address} never came"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        slowest = slowest.max(changed_at.elapsed());
        tokio::time::sleep(
            (begin + Duration::from_secs(u64::from(second))).saturating_duration_since(Instant::now()),
        )
        .await;
    }
    let share = (processor_time() - used).as_secs_f64() / begin.elapsed().as_secs_f64();
    println!(
        "one change each second: {:.2} % of a core; slowest from file to loop {slowest:?}",
        share * 100.0
    );
    shutdown.cancel();
    running.await.expect("ended");
    assert!(slowest <= LATENCY_MAX, "{slowest:?}");
    assert!(share < SHARE_MAX || cfg!(debug_assertions), "{share} of a core");
}

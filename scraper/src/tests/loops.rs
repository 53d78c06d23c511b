//! The manager's loops under a paused clock, with targets that answer without a network.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use discovery::{Groups, TargetGroup};
use metrics::Registry;
use model::clock::Clock;
use model::labels::Labels;
use parking_lot::Mutex;
use supervise::Supervisor;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::store::MemoryStore;
use super::targets::config;
use crate::buffers::Buffers;
use crate::error::FetchError;
use crate::fetch::{Body, Fetch, FetchRules, Fetching};
use crate::metrics::ScrapeMetrics;
use crate::network::Network;
use crate::pool::Pool;
use crate::scrape_loop::Shared;
use crate::workers::Workers;
use crate::{Health, Options};

/// Tells tokio's time as the time of day.
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000 + self.0.elapsed().as_millis() as i64
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Answers with the body set last, or not at all.
#[derive(Default)]
struct Answers(Mutex<Option<String>>);

impl Fetch for Answers {
    fn fetch<'f>(&'f self, _: &'f FetchRules, body: &'f mut Body) -> Fetching<'f> {
        Box::pin(async move {
            body.bytes.clear();
            body.content_type = "text/plain".to_owned();
            match &*self.0.lock() {
                Some(text) if text == PANIC => panic!("told to"),
                Some(text) => body.bytes.extend_from_slice(text.as_bytes()),
                None => return Err(FetchError::Status(http::StatusCode::BAD_GATEWAY)),
            }
            Ok(())
        })
    }
}

/// A body that panics.
const PANIC: &str = "panic";

struct Bench {
    store: Arc<MemoryStore>,
    answers: Arc<Answers>,
    shared: Arc<Shared>,
    pool: Pool,
}

fn bench(yaml: &str) -> Bench {
    bench_with(yaml, &Registry::new())
}

fn bench_with(yaml: &str, registry: &Registry) -> Bench {
    let store = Arc::new(MemoryStore::default());
    let answers = Arc::new(Answers(Mutex::new(Some("a 1\n".to_owned()))));
    let supervisor = Supervisor::new(registry);
    let shared = Arc::new(Shared {
        appender: Arc::clone(&store) as _,
        clock: Arc::new(PausedClock(Instant::now())),
        metrics: ScrapeMetrics::new(registry),
        options: Options::default(),
        scratches: Buffers::default(),
        bodies: Buffers::default(),
        workers: Workers::inline(&supervisor),
        network: Network::default(),
        supervisor,
        shutdown: CancellationToken::new(),
    });
    let config = Arc::new(config(yaml));
    let pool = Pool::with_fetch(config, Arc::clone(&shared), 0, Arc::clone(&answers) as _);
    Bench {
        store,
        answers,
        shared,
        pool,
    }
}

fn groups(addresses: &[&str]) -> Groups {
    let group = TargetGroup {
        source: "0".into(),
        targets: addresses
            .iter()
            .map(|address| Labels::from_pairs([("__address__", address)]))
            .collect(),
        labels: Labels::empty(),
    };
    [Arc::new(group)].into()
}

fn times(store: &MemoryStore) -> Vec<i64> {
    let time = |batch: Vec<String>| batch.last()?.rsplit('@').next()?.parse().ok();
    store.batches().into_iter().filter_map(time).collect()
}

const JOB: &str = "{job_name: j, scrape_interval: 10s}";

#[tokio::test(start_paused = true)]
async fn a_target_is_scraped_at_even_steps() {
    let mut bench = bench(JOB);
    bench.pool.sync(&groups(&["x:1", "x:1"]));
    bench.store.wait_for(4).await;
    let times = times(&bench.store);
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] == 10_000),
        "{times:?}"
    );
    assert_eq!(
        bench.store.last(),
        [format!(
            "{{__name__=\"a\", instance=\"x:1\", job=\"j\"}} 1 @{}",
            times[3]
        )]
    );
    let target = bench.pool.targets().next().unwrap();
    assert_eq!(target.status.lock().health, Health::Up);
    assert_eq!(bench.pool.targets().count(), 1, "the same target twice is one");
}

#[tokio::test(start_paused = true)]
async fn a_failing_target_is_down_and_its_series_stale() {
    let mut bench = bench(JOB);
    bench.pool.sync(&groups(&["x:1"]));
    bench.store.wait_for(1).await;
    *bench.answers.0.lock() = None;
    bench.store.wait_for(2).await;
    assert_eq!(bench.store.report("up").as_deref(), Some("0"));
    assert!(bench.store.last()[0].contains(" stale @"));
    tokio::task::yield_now().await;
    let target = bench.pool.targets().next().unwrap();
    let status = target.status.lock().clone();
    assert_eq!(status.last_error, "server returned HTTP status 502 Bad Gateway");
    assert_eq!(status.health, Health::Down);
}

/// One scrape is lost, its series are marked stale, and the next scrape is like the first.
#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_scrape() {
    let registry = Registry::new();
    let mut bench = bench_with(JOB, &registry);
    bench.pool.sync(&groups(&["x:1"]));
    bench.store.wait_for(1).await;
    let status = |bench: &Bench| {
        let target = bench.pool.targets().next().unwrap();
        let status = target.status.lock().clone();
        (status.health, status.last_error)
    };
    let has_failed = |bench: &Bench| {
        let (health, error) = status(bench);
        let told = error.starts_with("internal error, please report it: panic in scrape: told to");
        assert!(health == Health::Down && told, "{health:?} {error}");
    };
    let mut batches = 1;
    for cause in ["body", "storage"] {
        match cause {
            "body" => *bench.answers.0.lock() = Some(PANIC.to_owned()),
            _ => bench.store.panic(1),
        }
        batches += 1;
        bench.store.wait_for(batches).await;
        tokio::task::yield_now().await;
        has_failed(&bench);
        assert_eq!(bench.store.report("up").as_deref(), Some("0"));
        assert!(bench.store.last()[0].starts_with(r#"{__name__="a", instance="x:1", job="j"} stale @"#));
        *bench.answers.0.lock() = Some("a 1\n".to_owned());
        batches += 1;
        bench.store.wait_for(batches).await;
        tokio::task::yield_now().await;
        assert_eq!(status(&bench), (Health::Up, String::new()), "{cause}");
        assert!(bench.store.last()[0].starts_with(r#"{__name__="a", instance="x:1", job="j"} 1 @"#));
    }
    // Where not even the report can be stored, it is on the page all the same.
    bench.store.panic(2);
    tokio::time::sleep(Duration::from_secs(15)).await;
    has_failed(&bench);
    assert_eq!(bench.store.batches().len(), batches);
    bench.store.wait_for(batches + 1).await;
    tokio::task::yield_now().await;
    assert_eq!(status(&bench), (Health::Up, String::new()));
    let times = times(&bench.store);
    assert!(
        times.windows(2).all(|pair| (pair[1] - pair[0]) % 10_000 == 0),
        "{times:?}"
    );
    let counted = registry.render(metrics::Format::Text);
    assert!(
        counted.contains("narthex_task_panics_total{task=\"scrape\"} 4\n"),
        "{counted}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_series_of_a_target_that_is_gone_end_after_a_while() {
    let mut bench = bench(JOB);
    bench.pool.sync(&groups(&["x:1"]));
    bench.store.wait_for(2).await;
    let last = *times(&bench.store).last().unwrap();
    let started = Instant::now();
    for handle in bench.pool.sync(&groups(&[])) {
        handle.stopped().await;
    }
    assert!(started.elapsed() < Duration::from_millis(10));
    bench.store.wait_for(3).await;
    assert_eq!(started.elapsed().as_secs(), 21, "two intervals and a tenth");
    assert_eq!(
        bench.store.last(),
        [format!(
            "{{__name__=\"a\", instance=\"x:1\", job=\"j\"}} stale @{}",
            last + 10_000
        )]
    );
    assert_eq!(bench.store.report("up").as_deref(), Some("stale"));
}

/// A reload restarts the loop of a job whose list of targets it changes; the new list comes before the next scrape.
#[tokio::test(start_paused = true)]
async fn the_series_of_a_target_that_goes_with_a_reload_end() {
    let mut bench = bench(JOB);
    bench.pool.sync(&groups(&["x:1"]));
    bench.store.wait_for(2).await;
    let mut config = (*bench.pool.config).clone();
    config.scrape_timeout = yaml::Duration::from_ms(1_000);
    bench.pool.reconfigure(Arc::new(config), &groups(&["x:1"]), 0);
    tokio::task::yield_now().await;
    bench.pool.sync(&groups(&[]));
    bench.store.wait_for(3).await;
    assert_eq!(bench.store.report("up").as_deref(), Some("stale"));
}

#[tokio::test(start_paused = true)]
async fn the_series_of_a_target_that_comes_back_go_on() {
    let mut bench = bench(JOB);
    bench.pool.sync(&groups(&["x:1"]));
    bench.store.wait_for(2).await;
    bench.pool.sync(&groups(&[]));
    bench.pool.sync(&groups(&["x:1"]));
    // Its own two scrapes, at least two of its successor, and the late markers.
    bench.store.wait_for(6).await;
    let stale = bench
        .store
        .batches()
        .iter()
        .flatten()
        .filter(|line| line.contains(" stale "))
        .count();
    assert_eq!(stale, 0, "markers come too late: {:#?}", bench.store.batches());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_at_shutdown() {
    let mut bench = bench(JOB);
    bench.pool.sync(&groups(&["x:1"]));
    bench.store.wait_for(2).await;
    bench.shared.shutdown.cancel();
    for handle in bench.pool.stop() {
        handle.stopped().await;
    }
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(bench.store.batches().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_interval_keeps_what_is_known() {
    let mut bench = bench(JOB);
    bench.pool.sync(&groups(&["x:1"]));
    bench.store.wait_for(2).await;
    let resolved = bench.store.resolved();
    let slower = Arc::new(config("{job_name: j, scrape_interval: 20s}"));
    bench.pool.reconfigure(slower, &groups(&["x:1"]), 0);
    bench.store.wait_for(4).await;
    let times = times(&bench.store);
    assert_eq!(times[3] - times[2], 20_000);
    assert_eq!(bench.store.resolved(), resolved);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(
        !bench
            .store
            .batches()
            .iter()
            .flatten()
            .any(|line| line.contains(" stale "))
    );
}

#[tokio::test(start_paused = true)]
async fn new_rules_for_samples_start_anew() {
    let mut bench = bench(JOB);
    bench.pool.sync(&groups(&["x:1"]));
    bench.store.wait_for(2).await;
    let rules = "
job_name: j
scrape_interval: 10s
metric_relabel_configs: [{target_label: new, replacement: label}]
";
    bench
        .pool
        .reconfigure(Arc::new(config(rules)), &groups(&["x:1"]), 0);
    bench.store.wait_for(3).await;
    assert!(bench.store.last()[0].starts_with(r#"{__name__="a", instance="x:1", job="j", new="label"} 1 "#));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let batches = bench.store.batches();
    let stale: Vec<&String> = batches
        .iter()
        .flatten()
        .filter(|line| line.contains(" stale "))
        .collect();
    assert_eq!(stale.len(), 1, "the series under its old labels: {stale:?}");
    assert!(stale[0].starts_with(r#"{__name__="a", instance="x:1", job="j"} stale"#));
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_configuration_disturbs_nothing() {
    let mut bench = bench(JOB);
    bench.pool.sync(&groups(&["x:1"]));
    bench.store.wait_for(2).await;
    assert!(
        bench
            .pool
            .reconfigure(Arc::new(config(JOB)), &groups(&["x:1"]), 0)
            .is_empty()
    );
    bench.store.wait_for(3).await;
    let times = times(&bench.store);
    assert_eq!(times[2] - times[1], 10_000);
}

#[tokio::test(start_paused = true)]
async fn too_many_targets_fail_them_all() {
    let mut bench = bench("{job_name: j, scrape_interval: 10s, target_limit: 1}");
    bench.pool.sync(&groups(&["x:1", "x:2"]));
    bench.store.wait_for(2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for target in bench.pool.targets() {
        let error = target.status.lock().last_error.clone();
        assert_eq!(error, "target_limit exceeded (number of targets: 2, limit: 1)");
    }
    bench.pool.sync(&groups(&["x:1"]));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(
        bench.pool.targets().next().unwrap().status.lock().health,
        Health::Up
    );
}

#[tokio::test(start_paused = true)]
async fn dropped_targets_are_remembered_up_to_the_limit() {
    let mut bench = bench(
        "
job_name: j
keep_dropped_targets: 1
relabel_configs: [{action: drop, source_labels: [__address__], regex: 'x:.*'}]
",
    );
    bench.pool.sync(&groups(&["x:1", "x:2", "y:1"]));
    assert_eq!((bench.pool.dropped.len(), bench.pool.dropped_count), (1, 2));
    assert_eq!(bench.pool.dropped[0].value("__address__"), "x:1");
    assert_eq!(bench.pool.targets().count(), 1);
}

async fn apply(manager: &crate::Manager, configs: Vec<crate::ScrapeConfig>) {
    let prepared = manager.prepare(configs, &Labels::empty()).unwrap();
    manager.apply(prepared).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_prepared_changes_nothing() {
    let store = Arc::new(MemoryStore::default());
    let clock = Arc::new(PausedClock(Instant::now()));
    let manager = crate::Manager::new(store, clock, &Registry::new(), Options::default());
    apply(&manager, vec![config(JOB)]).await;
    let found = BTreeMap::from([
        ("j".to_owned(), groups(&["a b"])),
        ("k".to_owned(), groups(&["x:1"])),
    ]);
    manager.update(Arc::new(found)).await;
    let ok = "{job_name: k, scrape_interval: 20s}";
    for (bad, message) in [
        (
            "{job_name: j, tls_config: {ca_file: /nowhere/ca.pem}}",
            r#"scrape pool "j": error creating HTTP client: unable to read CA cert /nowhere/ca.pem"#,
        ),
        (
            "{job_name: j, scrape_failure_log_file: /nowhere/log}",
            "scrape_failure_log_file /nowhere/log: ",
        ),
    ] {
        let error = manager
            .prepare(vec![config(ok), config(bad)], &Labels::empty())
            .err()
            .unwrap()
            .to_string();
        assert!(error.starts_with(message), "{error}");
        let targets = manager.targets();
        assert_eq!((targets.len(), targets[0].job.as_str()), (1, "j"));
        assert_eq!(targets[0].active[0].interval(), "10s");
    }
    apply(&manager, vec![config(ok)]).await;
    let targets = manager.targets();
    assert_eq!((targets.len(), targets[0].job.as_str()), (1, "k"));
    manager.stop().await;
}

/// Building a client reads certificates and takes milliseconds: twenty thousand jobs must not each have one.
#[tokio::test(start_paused = true)]
async fn many_jobs_share_clients_and_are_synced_once() {
    const JOBS: usize = 500;
    let store = Arc::new(MemoryStore::default());
    let clock = Arc::new(PausedClock(Instant::now()));
    let registry = Registry::new();
    let manager = crate::Manager::new(store, clock, &registry, Options::default());
    let name = |number: usize| format!("j{number}");
    let all = |interval: &str| -> Vec<crate::ScrapeConfig> {
        (0..JOBS)
            .map(|number| {
                config(&format!(
                    "{{job_name: {}, scrape_interval: {interval}}}",
                    name(number)
                ))
            })
            .collect()
    };
    let mut found: BTreeMap<String, Groups> =
        (0..JOBS).map(|number| (name(number), groups(&["a b"]))).collect();
    for built in [1, 0] {
        let prepared = manager.prepare(all("1h"), &Labels::empty()).unwrap();
        assert_eq!(prepared.clients_built, built);
        manager.apply(prepared).await;
        manager.update(Arc::new(found.clone())).await;
    }
    found.insert(name(7), groups(&["a b", "a c"]));
    manager.update(Arc::new(found)).await;
    assert_eq!(
        manager
            .targets()
            .iter()
            .map(|pool| pool.active.len())
            .sum::<usize>(),
        JOBS + 1
    );
    let text = registry.render(metrics::Format::Text);
    let syncs = |job: &str| format!("prometheus_target_scrape_pool_sync_total{{scrape_job=\"{job}\"}}");
    let count = |job| {
        let line = text.lines().find_map(|line| line.strip_prefix(&syncs(job)));
        line.map(str::trim)
    };
    assert_eq!((count("j7"), count("j8")), (Some("2"), Some("1")));
    // All but one go: what is kept for them is forgotten.
    apply(&manager, all("1h").split_off(JOBS - 1)).await;
    let text = registry.render(metrics::Format::Text);
    let left = text
        .lines()
        .filter(|line| line.starts_with("prometheus_target_scrape_pool_sync_total{"));
    assert_eq!(left.count(), 1);
    manager.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_manager_follows_discovery() {
    let store = Arc::new(MemoryStore::default());
    let clock = Arc::new(PausedClock(Instant::now()));
    let registry = Registry::new();
    let manager = crate::Manager::new(Arc::clone(&store) as _, clock, &registry, Options::default());
    apply(&manager, vec![config(JOB)]).await;
    let (found, receiver) =
        tokio::sync::watch::channel(Arc::new(BTreeMap::from([("j".to_owned(), groups(&[]))])));
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (manager, shutdown) = (Arc::clone(&manager), shutdown.clone());
        async move { manager.run(receiver, shutdown).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(manager.targets()[0].active.len(), 0);
    // An address that no URL can have: the scrape fails before any connection.
    found.send_replace(Arc::new(BTreeMap::from([
        ("j".to_owned(), groups(&["a b"])),
        ("k".to_owned(), groups(&["x:1"])),
    ])));
    store.wait_for(1).await;
    tokio::task::yield_now().await;
    let targets = manager.targets();
    assert_eq!(targets.len(), 1, "a job that is not configured is passed over");
    let target = &targets[0].active[0];
    assert_eq!((target.interval(), target.timeout()), ("10s", "10s"));
    assert_eq!(target.scrape_url, "http://a b/metrics");
    assert!(
        registry
            .render(metrics::Format::Text)
            .contains("prometheus_target_scrape_pool_targets{scrape_job=\"j\"} 1")
    );
    apply(&manager, vec![]).await;
    assert!(manager.targets().is_empty());
    // Configured again while discovery has nothing new to say.
    apply(&manager, vec![config(JOB)]).await;
    assert_eq!(manager.targets()[0].active.len(), 1);
    shutdown.cancel();
    running.await.unwrap();
}

//! The manager: jobs come, change and go; mechanisms are shared; changes are cheap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Format, Registry};
use narthex_discovery::{Context, Manager, Mechanisms, Metrics, SCRAPE, Snapshot};

fn read(text: &str) -> Mechanisms {
    let document = yaml::parse("f.yml", text).expect("valid");
    let mut section = document.root().section("job").expect("mapping");
    Mechanisms::read(&mut section).expect("valid")
}

fn jobs<const N: usize>(jobs: [(&str, &str); N]) -> BTreeMap<String, Mechanisms> {
    jobs.into_iter()
        .map(|(name, text)| (name.to_owned(), read(text)))
        .collect()
}

fn manager(registry: &Registry) -> Manager {
    Manager::new(SCRAPE, Context::new("Narthex/test", Metrics::new(registry)))
}

fn apply(manager: &mut Manager, jobs: BTreeMap<String, Mechanisms>) {
    let prepared = manager.prepare(jobs).expect("prepared");
    manager.apply(prepared);
}

fn addresses(snapshot: &Snapshot, job: &str) -> Vec<String> {
    let groups = snapshot
        .get(job)
        .map(|groups| groups.iter())
        .into_iter()
        .flatten();
    groups
        .flat_map(|group| &group.targets)
        .map(|target| target.value("__address__").to_owned())
        .collect()
}

#[tokio::test]
async fn jobs_come_change_and_go() {
    let mut manager = manager(&Registry::new());
    let seen = manager.subscribe();
    apply(
        &mut manager,
        jobs([("a", "static_configs: [{targets: ['x:1']}]"), ("b", "{}")]),
    );
    assert_eq!(addresses(&seen.borrow(), "a"), ["x:1"]);
    assert!(seen.borrow().contains_key("b"));
    apply(
        &mut manager,
        jobs([("a", "static_configs: [{targets: ['x:2']}]")]),
    );
    assert_eq!(addresses(&seen.borrow(), "a"), ["x:2"]);
    assert!(!seen.borrow().contains_key("b"));
}

/// A job of one pattern of files.
fn files(folder: &std::path::Path, pattern: &str) -> String {
    format!(
        "file_sd_configs: [{{files: ['{}/{pattern}'], refresh_interval: 1h}}]",
        folder.display()
    )
}

async fn wait_for(manager: &Manager, job: &str, expected: &[&str]) {
    let mut seen = manager.subscribe();
    let waiting = seen.wait_for(|snapshot| addresses(snapshot, job) == expected);
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .is_ok();
    assert!(waited, "{expected:?} never came");
}

fn replace(path: &std::path::Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("write");
    std::fs::rename(&new, path).expect("rename");
}

#[tokio::test]
async fn files_are_followed_and_broken_ones_keep_their_targets() {
    let folder = tempfile::tempdir().expect("folder");
    let (yml, json) = (folder.path().join("a.yml"), folder.path().join("b.json"));
    replace(&yml, "- targets: [a:1]\n");
    replace(&json, r#"[{"targets": ["b:1"]}]"#);
    let registry = Registry::new();
    let mut manager = manager(&registry);
    apply(
        &mut manager,
        jobs([
            ("a", &files(folder.path(), "*.yml")),
            ("b", &files(folder.path(), "*.json")),
        ]),
    );
    wait_for(&manager, "a", &["a:1"]).await;
    wait_for(&manager, "b", &["b:1"]).await;
    replace(&yml, "- targets: [a:1, a:2]\n");
    wait_for(&manager, "a", &["a:1", "a:2"]).await;
    // Cut to nothing, as a writer without care does: an error that keeps the targets.
    std::fs::write(&json, "").expect("write");
    let errors = || {
        registry
            .render(Format::Text)
            .contains("prometheus_sd_file_read_errors_total 0\n")
    };
    let start = Instant::now();
    while errors() && start.elapsed() < Duration::from_secs(20) {
        tokio::task::yield_now().await;
    }
    assert!(!errors());
    assert_eq!(addresses(&manager.subscribe().borrow(), "b"), ["b:1"]);
    replace(&json, "[]");
    wait_for(&manager, "b", &[]).await;
    std::fs::remove_file(&yml).expect("remove");
    wait_for(&manager, "a", &[]).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_looked_into_keeps_its_targets() {
    let root = tempfile::tempdir().expect("folder");
    let (folder, aside) = (root.path().join("targets"), root.path().join("aside"));
    std::fs::create_dir(&folder).expect("folder");
    replace(&folder.join("a.yml"), "- targets: [a:1]\n");
    replace(&folder.join("b.json"), r#"[{"targets": ["b:1"]}]"#);
    let registry = Registry::new();
    let mut manager = manager(&registry);
    let often = |pattern: &str| files(&folder, pattern).replace("1h", "200ms");
    apply(
        &mut manager,
        jobs([("a", &often("*.yml")), ("b", &often("b.json"))]),
    );
    wait_for(&manager, "a", &["a:1"]).await;
    wait_for(&manager, "b", &["b:1"]).await;
    // A link to itself: neither absent nor readable, whatever one's rights are.
    std::fs::rename(&folder, &aside).expect("rename");
    std::os::unix::fs::symlink(&folder, &folder).expect("link");
    let errors = || {
        let text = registry.render(Format::Text);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("prometheus_sd_file_read_errors_total "));
        line.and_then(|count| count.parse::<u64>().ok()).unwrap_or(0)
    };
    let start = Instant::now();
    while errors() < 4 && start.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(errors() >= 4, "each look at each pattern is counted");
    assert_eq!(addresses(&manager.subscribe().borrow(), "a"), ["a:1"]);
    assert_eq!(addresses(&manager.subscribe().borrow(), "b"), ["b:1"]);
    // Gone is gone.
    std::fs::remove_file(&folder).expect("remove");
    wait_for(&manager, "a", &[]).await;
    wait_for(&manager, "b", &[]).await;
}

#[tokio::test]
async fn a_pipe_among_the_files_stops_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let pipe = folder.path().join("a.json");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("pipe");
    replace(&folder.path().join("b.json"), r#"[{"targets": ["b:1"]}]"#);
    let mut manager = manager(&Registry::new());
    apply(&mut manager, jobs([("a", &files(folder.path(), "*.json"))]));
    wait_for(&manager, "a", &["b:1"]).await;
    replace(&folder.path().join("b.json"), r#"[{"targets": ["b:2"]}]"#);
    wait_for(&manager, "a", &["b:2"]).await;
}

#[tokio::test]
async fn equal_settings_share_one_discovery_and_outlive_a_reload() {
    let folder = tempfile::tempdir().expect("folder");
    replace(&folder.path().join("a.yml"), "- targets: [a:1]\n");
    let text = files(folder.path(), "*.yml");
    let registry = Registry::new();
    let mut manager = manager(&registry);
    apply(&mut manager, jobs([("a", &text), ("b", &text)]));
    wait_for(&manager, "a", &["a:1"]).await;
    wait_for(&manager, "b", &["a:1"]).await;
    {
        let seen = manager.subscribe();
        let snapshot = seen.borrow();
        assert!(Arc::ptr_eq(&snapshot["a"][0], &snapshot["b"][0]));
    }
    // What goes on keeps what it has found: there is no moment without.
    apply(&mut manager, jobs([("b", &text), ("c", &text)]));
    assert_eq!(addresses(&manager.subscribe().borrow(), "b"), ["a:1"]);
    assert_eq!(addresses(&manager.subscribe().borrow(), "c"), ["a:1"]);
    assert!(!registry.render(Format::Text).contains(r#"config="a""#));
}

#[tokio::test]
async fn settings_that_do_not_hold_change_nothing() {
    let mut manager = manager(&Registry::new());
    apply(
        &mut manager,
        jobs([("a", "static_configs: [{targets: ['x:1']}]")]),
    );
    let broken = "http_sd_configs: [{url: 'https://a.test', tls_config: {ca_file: /none.pem}}]";
    let error = manager
        .prepare(jobs([("a", broken)]))
        .expect_err("no certificate")
        .to_string();
    assert!(
        error.starts_with(r#"job "a": http_sd_configs: unable to read CA cert /none.pem"#),
        "{error}"
    );
    assert_eq!(addresses(&manager.subscribe().borrow(), "a"), ["x:1"]);
}

/// 50,000 targets in 1,000 jobs: reading all files, and then changes of single ones, cost what changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_targets_cost_what_changes() {
    const JOBS: usize = 1_000;
    const TARGETS: usize = 50;
    let folder = tempfile::tempdir().expect("folder");
    let write = |job: usize, generation: usize| {
        let targets: Vec<String> = (0..TARGETS)
            .map(|i| format!("\"h{job}-{i}:{generation}\""))
            .collect();
        replace(
            &folder.path().join(format!("{job}.json")),
            &format!("[{{\"targets\": [{}]}}]", targets.join(",")),
        );
    };
    let mut configured = BTreeMap::new();
    for job in 0..JOBS {
        write(job, 1);
        configured.insert(
            format!("job{job}"),
            read(&files(folder.path(), &format!("{job}.json"))),
        );
    }
    let mut manager = manager(&Registry::new());
    let start = Instant::now();
    apply(&mut manager, configured);
    let mut seen = manager.subscribe();
    let all = |snapshot: &Snapshot| {
        snapshot
            .values()
            .map(|groups| groups.iter().map(|group| group.targets.len()).sum::<usize>())
            .sum::<usize>()
    };
    let waiting = seen.wait_for(|snapshot| all(snapshot) == JOBS * TARGETS);
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .is_ok();
    assert!(
        waited,
        "{} of {} after {:?}",
        all(&manager.subscribe().borrow()),
        JOBS * TARGETS,
        start.elapsed()
    );
    let before = manager.subscribe().borrow().clone();
    write(7, 2);
    wait_for(
        &manager,
        "job7",
        &(0..TARGETS)
            .map(|i| format!("h7-{i}:2"))
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    )
    .await;
    let after = manager.subscribe().borrow().clone();
    let changed = before
        .iter()
        .filter(|(job, groups)| !Arc::ptr_eq(groups, &after[*job]))
        .count();
    assert_eq!(changed, 1, "only the job that changed is built again");
}

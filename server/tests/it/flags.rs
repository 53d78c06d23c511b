//! Flags as promises: what help and log say of them, and what `--version` prints.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Server, narthex, wait_until};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_says_what_has_no_effect() {
    let folder = tempfile::tempdir().expect("folder");
    let help = text(&narthex(&["serve", "--help"], folder.path(), b"").stdout);
    let words: Vec<&str> = help.split_whitespace().collect();
    let help = words.join(" ");
    for said in [
        "Folder of console templates. Accepted without effect: consoles are not served.",
        "Most queries at the same time. [default: 20]",
    ] {
        assert!(help.contains(said), "{said}\n{help}");
    }
}

#[test]
fn mistakes_in_flags_are_said_at_once_and_each_once() {
    let folder = tempfile::tempdir().expect("folder");
    let args = ["--query.timeout=soon", "--web.cors.origin=("];
    let output = narthex(&args, folder.path(), b"");
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    let timeout = "--query.timeout: \"soon\" is not a duration like 30s, 5m or 15d";
    assert_eq!(said.matches(timeout).count(), 1, "{said}");
    assert_eq!(said.matches("--web.cors.origin: ").count(), 1, "{said}");
}

/// 2 where what the user wrote is wrong, 1 where the system refuses or the command line cannot be understood.
#[test]
fn fatal_errors_have_the_references_exit_codes() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writes");
    file("good.yml", "{}\n");
    file("unknown.yml", "nope: 1\n");
    file("rules.yml", "rule_files: [r.yml]\n");
    file(
        "r.yml",
        "groups:\n- {name: a, rules: [{record: x, expr: 'sum('}]}\n",
    );
    file("scrapes.yml", "scrape_config_files: [unknown.yml]\n");
    file("log.yml", "global: {query_log_file: gone/x}\n");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = format!("--web.listen-address={}", taken.local_addr().expect("address"));
    for (args, code) in [
        (["--config.file=unknown.yml", ""], 2),
        (["--config.file=gone.yml", ""], 2),
        (["--config.file=rules.yml", ""], 2),
        (["--config.file=scrapes.yml", ""], 2),
        (["--config.file=good.yml", "--query.max-samples=x"], 2),
        (["--config.file=good.yml", "--web.cors.origin=("], 2),
        (["--config.file=good.yml", "--web.external-url=:x"], 2),
        (["--config.file=log.yml", ""], 1),
        (["--config.file=good.yml", &taken], 1),
        (["--config.file=good.yml", "--storage.tsdb.path=good.yml/x"], 1),
        (["--config.file=good.yml", "--web.config.file=gone.yml"], 1),
    ] {
        let args: Vec<&str> = ["--web.listen-address=127.0.0.1:0"]
            .into_iter()
            .chain(args)
            .filter(|arg| !arg.is_empty())
            .collect();
        let output = narthex(&args, folder.path(), b"");
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn the_flag_that_was_meant_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    for (given, meant) in [
        ("--storage.tsdb.retention=5d", "--storage.tsdb.retention.time"),
        ("--storage.tsdb.pth=x", "--storage.tsdb.path"),
        ("--no-scrape.adjust-timestamp", "--no-scrape.adjust-timestamps"),
    ] {
        let output = narthex(&[given], folder.path(), b"");
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        assert!(said.contains(&format!("'{meant}'")), "{given}: {said}");
    }
}

#[test]
fn versions_begin_as_the_references_do_under_each_name() {
    let folder = tempfile::tempdir().expect("folder");
    let own = env!("CARGO_PKG_VERSION");
    for (name, line) in [
        (
            "narthex",
            format!("narthex, version {own} (as Prometheus 3.14.0)"),
        ),
        (
            "prometheus",
            format!("prometheus, version 3.14.0 (narthex: {own})"),
        ),
        ("promtool", format!("promtool, version 3.14.0 (narthex: {own})")),
    ] {
        let program = folder.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_narthex"), &program).expect("link");
        let output = Command::new(&program).arg("--version").output().expect("runs");
        assert!(output.status.success());
        let said = text(&output.stdout);
        assert_eq!(said.lines().next(), Some(line.as_str()));
        assert!(said.contains("\n  platform:         linux/"), "{said}");
    }
}

#[test]
fn what_ends_the_server_is_said_once_and_in_the_logs_form() {
    let folder = tempfile::tempdir().expect("folder");
    let missing = folder.path().join("none.yml");
    let flag = format!("--config.file={}", missing.display());
    let said = text(&narthex(&[&flag], folder.path(), b"").stderr);
    let line = said.lines().last().expect("line");
    let path = missing.display();
    assert_eq!(
        line,
        format!("narthex: {path}: No such file or directory (os error 2)")
    );

    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("port");
    let address = taken.local_addr().expect("address").to_string();
    let said = text(&narthex(&["--web.listen-address", &address], folder.path(), b"").stderr);
    assert_eq!(said.matches("Address already in use").count(), 1, "{said}");

    std::fs::write(folder.path().join("bad.yml"), "global:\n  scrape_intervall: 5s\n").expect("write");
    for args in [
        ["--log.format=json", "--config.file=bad.yml"],
        ["--log.format=json", "--config.file=none.yml"],
        ["--log.format=json", "--query.timeout=soon"],
    ] {
        let said = text(&narthex(&args, folder.path(), b"").stderr);
        for line in said.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
        let last: Value = serde_json::from_str(said.lines().last().expect("line")).expect("JSON");
        assert_eq!(last["level"], "ERROR");
        assert!(last["err"].as_str().is_some_and(|err| !err.is_empty()), "{last}");
        if args[1].contains("bad") {
            let place = last["place"].as_str().expect("place");
            assert!(place.contains("bad.yml:2:3"), "{place}");
        }
    }
}

#[tokio::test]
async fn a_start_without_a_configuration_says_so_and_where_it_listens() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start_bare(
        folder.path(),
        &[
            "--web.console.templates=/etc/consoles",
            "--enable-feature=old-ui,no-such",
            "--query.max-samples=5e7",
        ],
    )
    .await;
    let log = server.log();
    for said in [
        "the built-in configuration scrapes this",
        "flag=web.console.templates why=\"consoles are not served\"",
        "option=old-ui why=\"there is one page only\"",
        "msg=\"Unknown option for --enable-feature\" option=no-such",
        &format!("url={}", server.url),
    ] {
        assert!(log.contains(said), "{said}\n{log}");
    }
    let flags = server.api("status/flags", &[]).await;
    for (flag, value) in [
        ("query.max-samples", "50000000"),
        ("storage.tsdb.retention.time", "15d"),
        ("storage.tsdb.retention.size", "0B"),
        ("storage.tsdb.max-block-duration", "1d12h"),
        ("web.route-prefix", "/"),
        ("web.console.templates", "/etc/consoles"),
    ] {
        assert_eq!(flags["data"][flag], value, "{flag}");
    }
}

#[tokio::test]
async fn changed_files_are_reloaded_whichever_they_are() {
    let folder = tempfile::tempdir().expect("folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("write");
    write("a.rules", "groups: []\n");
    let server = Server::start(
        folder.path(),
        "rule_files: ['*.rules']\nscrape_config_files: ['*.scrape']\n",
        &["--config.auto-reload", "--config.auto-reload-interval=1s"],
    )
    .await;
    write(
        "a.rules",
        "groups:\n- name: g\n  rules:\n  - {record: r, expr: '1'}\n",
    );
    wait_until("the rule file's change counts", async || {
        server.api("rules", &[]).await["data"]["groups"][0]["name"] == "g"
    })
    .await;
    write("b.scrape", "scrape_configs:\n- job_name: later\n");
    wait_until("the scrape configuration file's change counts", async || {
        server.api("scrape_pools", &[]).await["data"]["scrapePools"][0] == "later"
    })
    .await;
}

#[tokio::test]
async fn features_change_what_the_configuration_leaves_out() {
    let folder = tempfile::tempdir().expect("folder");
    let features = "--enable-feature=extra-scrape-metrics,st-storage,xor2-encoding";
    let server = Server::start(folder.path(), "scrape_configs:\n- job_name: a\n", &[features]).await;
    let shown = server.api("status/config", &[]).await;
    let yaml = shown["data"]["yaml"].as_str().expect("yaml");
    assert!(yaml.contains("  extra_scrape_metrics: true\n"), "{yaml}");
    assert!(
        yaml.contains("  scrape_protocols:\n  - PrometheusProto\n"),
        "{yaml}"
    );
}

#[tokio::test]
async fn series_beyond_the_servers_limit_are_refused_counted_and_named_and_known_ones_go_on() {
    let folder = tempfile::tempdir().expect("folder");
    let config = "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n";
    let rules = "groups:\n- name: g\n  interval: 200ms\n  rules:\n  - {record: known, expr: 'vector(time())'}\n\
                 \x20 - {record: more, expr: 'label_replace(vector(1), \"n\", \"a\", \"\", \"\")'}\n";
    std::fs::write(folder.path().join("r.yml"), rules).expect("write");
    let config = format!("{config}rule_files: [r.yml]\n");
    let server = Server::start(folder.path(), &config, &["--storage.tsdb.max-series=1"]).await;
    wait_until("one series is refused", async || {
        let metrics = server.get("/metrics").await.1;
        let refused = "narthex_tsdb_head_series_refused_total ";
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(refused).map(str::to_owned));
        line.is_some_and(|count| count != "0")
    })
    .await;
    wait_until("the known one goes on", async || {
        let found = server.query("count_over_time(known[1m])").await;
        let count = found
            .first()
            .and_then(|series| series["value"][1].as_str()?.parse::<u32>().ok());
        count.is_some_and(|count| count >= 3)
    })
    .await;
    let log = server.log();
    assert!(
        log.contains("--storage.tsdb.max-series") && log.contains("more"),
        "{log}"
    );
}

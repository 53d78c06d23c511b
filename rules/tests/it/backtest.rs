//! Backtests: cases whose outcome is known, and the same outcome as unit tests of rules have.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use narthex_rules::Settings;
use narthex_rules::backtest::{
    Backtest, BacktestError, Episode, Progress, Remote, RemoteError, RemoteSeries, Report, Source, Watch,
};
use narthex_rules::unit::{UnitOptions, test_file};
use promql::engine::{Engine, EngineOptions, EvalTime, QueryOptions};
use promql::parser::{ParseOptions, parse};
use promql::script::{Command, MemoryStore, load, parse_script};
use promql::value::Value;

const MINUTE_MS: i64 = 60_000;

fn store(script: &str) -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    for statement in parse_script(script) {
        match statement.command.unwrap() {
            Command::Load(data) => load(&data, &store).unwrap(),
            _ => panic!("only data"),
        }
    }
    Arc::new(store)
}

fn backtest(rules: &Path, minutes: i64) -> Backtest {
    Backtest {
        settings: Settings {
            patterns: vec![rules.display().to_string()],
            interval_ms: MINUTE_MS,
            ..Settings::default()
        },
        from_ms: 0,
        to_ms: minutes * MINUTE_MS,
        texts: Vec::new(),
    }
}

fn engine() -> Arc<Engine> {
    Arc::new(Engine::new(EngineOptions {
        threads: 1,
        ..EngineOptions::default()
    }))
}

fn run(rules: &Path, data: &str, minutes: i64) -> Report {
    let go_on = &mut |_: Progress| ControlFlow::Continue(());
    backtest(rules, minutes)
        .run(Source::Stored(store(data)), engine(), go_on)
        .unwrap()
}

fn minute(at_ms: i64) -> String {
    format!("{}m", at_ms as f64 / MINUTE_MS as f64)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for rule in &report.rules {
        let _ = writeln!(
            text,
            "{} {}: {} evaluations, {} failures; {} alerts, {} fired",
            rule.group, rule.name, rule.evaluations, rule.failures, rule.counts.episodes, rule.counts.fired
        );
        if let Some(failure) = &rule.first_failure {
            let _ = writeln!(text, "  {} {}", minute(failure.at_ms), failure.error);
        }
        for alert in &rule.episodes {
            let time = |at_ms: Option<i64>| at_ms.map_or("-".to_owned(), minute);
            let _ = writeln!(
                text,
                "  {} {} = {}\n    pending {} fired {} {} {}",
                alert.labels,
                alert.annotations,
                alert.value,
                minute(alert.pending_at_ms),
                time(alert.fired_at_ms),
                alert.end.as_str(),
                time(alert.ended_at_ms),
            );
        }
    }
    text
}

fn folder() -> PathBuf {
    crate::testdata().join("backtest")
}

#[test]
fn what_would_have_fired_is_told() {
    let data = std::fs::read_to_string(folder().join("alerts.load")).unwrap();
    let got = text(&run(&folder().join("alerts.yml"), &data, 9));
    let path = folder().join("alerts.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap();
    assert_eq!(got, want, "{}: UPDATE_EXPECT=1 rewrites it", path.display());
}

#[test]
fn a_backtest_ends_when_it_is_told_to() {
    let test = backtest(&folder().join("alerts.yml"), 9);
    let mut told = Vec::new();
    let ended = test.run(Source::Stored(store("")), engine(), &mut |progress: Progress| {
        told.push((progress.done, progress.total));
        match progress.done < 3 {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    assert!(matches!(ended, Err(BacktestError::Interrupted)));
    assert_eq!(told, [(1, 35), (2, 35), (3, 35)]);
    let none = backtest(Path::new("/nothing/here.yml"), 9);
    let ended = none.run(Source::Stored(store("")), engine(), &mut |_: Progress| {
        ControlFlow::Continue(())
    });
    assert!(matches!(ended, Err(BacktestError::NoFile(_))));
}

/// Rules that read what others give, further up and further down.
const CHAINED: &str = r#"
groups:
  - name: first
    rules:
      - alert: Early
        expr: count_over_time(total:x[3m]) > 2 and total:x > 1
      - record: total:x
        expr: sum(x)
      - alert: Held
        expr: x > 0
        for: 2m
        keep_firing_for: 2m
        labels: {severity: page}
        annotations: {summary: "{{ $labels.i }}"}
  - name: second
    rules:
      - alert: Recorded
        expr: max_over_time(total:x[4m]) > 2
        for: 1m
      - alert: Many
        expr: count by (severity) (ALERTS{alertstate="firing"}) > 1
"#;

/// Minutes of the random data.
const MINUTES: i64 = 60;

/// Series of 0, 1 and nothing, as lines of a `load`.
fn random_series(seed: u64) -> Vec<(String, String)> {
    let mut state = seed;
    let mut next = move || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let series = |number: u64| {
        let mut word = "0";
        let words = (0..=MINUTES).map(|_| {
            if next() % 3 == 0 {
                word = ["0", "1", "1", "stale"][(next() % 4) as usize];
            }
            word
        });
        let words: Vec<&str> = words.collect();
        (format!("x{{i=\"{number}\"}}"), words.join(" "))
    };
    (0..3).map(series).collect()
}

/// A test file that expects of each alert what the report says, at each minute.
fn unit_test(report: &Report, series: &[(String, String)]) -> String {
    let mut text = "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n".to_owned();
    text.push_str("    input_series:\n");
    for (series, values) in series {
        let _ = writeln!(text, "      - {{series: '{series}', values: '{values}'}}");
    }
    text.push_str("    alert_rule_test:\n");
    let alerts = report.rules.iter().filter(|rule| rule.name != "total:x");
    for rule in alerts {
        for number in 0..=MINUTES {
            let at_ms = number * MINUTE_MS;
            let fires = |alert: &&Episode| {
                alert.fired_at_ms.is_some_and(|fired| fired <= at_ms)
                    && alert.ended_at_ms.is_none_or(|ended| ended > at_ms)
            };
            let _ = writeln!(
                text,
                "      - eval_time: {number}m\n        alertname: {}",
                rule.name
            );
            let firing: Vec<&Episode> = rule.episodes.iter().filter(fires).collect();
            if !firing.is_empty() {
                text.push_str("        exp_alerts:\n");
            }
            for alert in firing {
                let map = |labels: &model::labels::Labels| {
                    let pairs = labels.iter().map(|(name, value)| format!("{name}: '{value}'"));
                    pairs.collect::<Vec<_>>().join(", ")
                };
                let _ = writeln!(
                    text,
                    "          - {{exp_labels: {{{}}}, exp_annotations: {{{}}}}}",
                    map(&alert.labels),
                    map(&alert.annotations)
                );
            }
        }
    }
    text
}

#[test]
fn backtests_and_unit_tests_agree() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yml");
    std::fs::write(&rules, CHAINED).unwrap();
    let mut fired = 0;
    for seed in 0..20 {
        let series = random_series(seed);
        let lines = series
            .iter()
            .map(|(series, values)| format!("  {series} {values}\n"));
        let report = run(
            &rules,
            &format!("load 1m\n{}", lines.collect::<String>()),
            MINUTES,
        );
        let failures: u64 = report.rules.iter().map(|rule| rule.failures).sum();
        assert_eq!(failures, 0, "seed {seed}");
        fired += report.rules.iter().map(|rule| rule.counts.fired).sum::<u64>();
        let test = unit_test(&report, &series);
        let outcome = test_file(&folder.path().join("test.yml"), &test, &UnitOptions::default());
        assert!(outcome.is_success(), "seed {seed}\n{}", outcome.stderr());
    }
    assert!(fired > 200, "{fired} alerts say little");
}

/// A server elsewhere, made of an engine and a store.
struct Elsewhere {
    store: Arc<MemoryStore>,
    engine: Arc<Engine>,
    /// Queries that it was asked, and how many answers it gives before it breaks.
    asked: Mutex<Vec<String>>,
    answers: usize,
}

impl Elsewhere {
    fn new(data: &str, answers: usize) -> Arc<Self> {
        Arc::new(Elsewhere {
            store: store(data),
            engine: engine(),
            asked: Mutex::default(),
            answers,
        })
    }

    fn ask(&self, query: &str, time: EvalTime) -> Result<Vec<RemoteSeries>, RemoteError> {
        self.asked.lock().unwrap().push(query.to_owned());
        if self.asked.lock().unwrap().len() > self.answers {
            return Err(RemoteError::Server(Arc::new(std::io::Error::other("it is gone"))));
        }
        let expr = parse(query, &ParseOptions::ALL).unwrap();
        let output = self
            .engine
            .evaluate(&*self.store, &expr, time, &QueryOptions::default());
        let value = output
            .map_err(|error| RemoteError::Query(error.to_string()))?
            .value;
        let Value::Matrix(series) = value else {
            panic!("{query}: no matrix");
        };
        let series = series.into_iter().map(|series| RemoteSeries {
            samples: series.floats().collect(),
            labels: series.labels.clone(),
        });
        Ok(series.collect())
    }
}

impl Remote for Elsewhere {
    fn range(
        &self,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Vec<RemoteSeries>, RemoteError> {
        let time = EvalTime::Range {
            start_ms,
            end_ms,
            step_ms,
        };
        self.ask(query, time)
    }

    fn samples(&self, selector: &str, at_ms: i64) -> Result<Vec<RemoteSeries>, RemoteError> {
        self.ask(selector, EvalTime::Instant { at_ms })
    }
}

/// Whether rules read what others give or not, the report is that over the data themselves.
#[test]
fn a_server_elsewhere_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yml");
    std::fs::write(&rules, CHAINED).unwrap();
    for seed in [3, 7, 11] {
        let mut data = "load 1m\n".to_owned();
        for (series, values) in random_series(seed) {
            let _ = writeln!(data, "  {series} {values}");
        }
        let elsewhere = Elsewhere::new(&data, usize::MAX);
        let test = backtest(&rules, MINUTES);
        let go_on = &mut |_: Progress| ControlFlow::Continue(());
        let got = test
            .run(Source::Remote(elsewhere.clone()), engine(), go_on)
            .unwrap();
        assert_eq!(text(&got), text(&run(&rules, &data, MINUTES)), "seed {seed}");
        // What rules give is not asked for.
        let asked = elsewhere.asked.lock().unwrap();
        assert!(asked.iter().all(|query| !query.contains("total:x")), "{asked:?}");
    }
}

#[test]
fn what_cannot_be_asked_elsewhere_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yml");
    let go_on = &mut |_: Progress| ControlFlow::Continue(());
    for (expr, why) in [
        ("r + max_over_time(sum(x)[5m:1m])", "stands in a subquery"),
        ("r + x @ 5", "has an @"),
        ("r + x + x offset 5m", "several ranges or offsets"),
    ] {
        let file = format!(
            "groups: [{{name: g, rules: [{{record: r, expr: '1'}}, {{record: s, expr: '{expr}'}}]}}]"
        );
        std::fs::write(&rules, file).unwrap();
        let elsewhere = Elsewhere::new("load 1m\n  x 1\n", usize::MAX);
        let ended = backtest(&rules, 5).run(Source::Remote(elsewhere), engine(), go_on);
        let message = ended.unwrap_err().to_string();
        assert!(message.contains(why), "{message}");
    }
    // A server that is gone ends it; a query that fails is its rule's failure.
    std::fs::write(&rules, "groups: [{name: g, rules: [{record: s, expr: 'x'}]}]").unwrap();
    let gone = backtest(&rules, 5).run(Source::Remote(Elsewhere::new("", 0)), engine(), go_on);
    assert_eq!(gone.unwrap_err().to_string(), "it is gone");
    let double = "groups: [{name: g, rules: [{record: s, expr: 'x + on () x'}]}]";
    std::fs::write(&rules, double).unwrap();
    let data = "load 1m\n  x{a=\"1\"} 1x9\n  x{a=\"2\"} 1x9\n";
    let report = backtest(&rules, 5).run(Source::Remote(Elsewhere::new(data, 99)), engine(), go_on);
    assert_eq!(report.unwrap().rules[0].failures, 6);
}

/// What rules would have sent is told as they would have sent it.
#[test]
fn alerts_are_told_to_whoever_wants_them() {
    struct Heard(Vec<(i64, usize)>);

    impl Watch for Heard {
        fn progress(&mut self, _: Progress) -> ControlFlow<()> {
            ControlFlow::Continue(())
        }

        fn wants_alerts(&self) -> bool {
            true
        }

        fn alerts(&mut self, at_ms: i64, alerts: Vec<model::alert::Alert>) {
            self.0.push((at_ms / MINUTE_MS, alerts.len()));
        }
    }

    let text = "groups: [{name: g, interval: 1m, rules: [{alert: A, expr: 'x > 0'}]}]";
    let test = Backtest {
        texts: vec![("given".to_owned(), text.to_owned())],
        ..backtest(Path::new("/nothing/here"), 20)
    };
    assert_eq!(test.count().unwrap(), 21);
    let mut heard = Heard(Vec::new());
    let data = "load 1m\n  x 0 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
    test.run(Source::Stored(store(data)), engine(), &mut heard)
        .unwrap();
    let minutes: Vec<i64> = heard.0.iter().map(|(minute, _)| *minute).collect();
    // It fires from the first minute to the third, told of again after more than a minute; it is over in the fourth, which
    // is said for a quarter of an hour.
    assert_eq!(minutes[..3], [1, 3, 4], "{minutes:?}");
    assert_eq!(minutes.last(), Some(&18), "{minutes:?}");
    assert!(heard.0.iter().all(|(_, alerts)| *alerts == 1));
}

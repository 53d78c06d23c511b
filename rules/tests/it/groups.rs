//! What groups write, send and tell.

use model::sample::is_stale_nan;
use narthex_rules::state::AlertState;
use narthex_rules::{Health, Threads};

use crate::world::{START_MS, World};

const RECORDING: &str = "
groups:
- name: g
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
    labels: {kind: sum}
";

#[tokio::test(start_paused = true)]
async fn results_are_stored_at_aligned_times() {
    let world = World::new();
    world.queries.set(
        "sum by (job) (up)",
        &[(&[("job", "a")], 2.0), (&[("job", "b")], 3.0)],
    );
    world.load(RECORDING).await.unwrap();
    world.wait(35).await;
    let asked = world.queries.asked("sum by (job) (up)");
    let samples = world
        .store
        .samples(r#"{__name__="job:up:sum", job="a", kind="sum"}"#);
    assert!(asked.len() >= 3, "{asked:?}");
    assert_eq!(samples, asked.iter().map(|at| (*at, 2.0)).collect::<Vec<_>>());
    assert!(
        asked.windows(2).all(|pair| pair[1] - pair[0] == 10_000),
        "{asked:?}"
    );
    assert!(asked[0] > START_MS);
    let group = world.group();
    assert_eq!(
        (group.name.as_str(), group.interval_ms, group.rules[0].health),
        ("g", 10_000, Health::Good)
    );
    assert_eq!(world.store.series().len(), 2);
    world.manager.stop().await;
}

#[tokio::test(start_paused = true)]
async fn vanished_series_are_marked() {
    let world = World::new();
    world.queries.set(
        "sum by (job) (up)",
        &[(&[("job", "a")], 1.0), (&[("job", "b")], 1.0)],
    );
    world.load(RECORDING).await.unwrap();
    world.wait(15).await;
    world.queries.set("sum by (job) (up)", &[(&[("job", "a")], 1.0)]);
    world.wait(30).await;
    let gone = world
        .store
        .samples(r#"{__name__="job:up:sum", job="b", kind="sum"}"#);
    let markers = gone.iter().filter(|(_, value)| is_stale_nan(*value)).count();
    assert!(markers == 1 && is_stale_nan(gone.last().unwrap().1), "{gone:?}");
    let stays = world
        .store
        .samples(r#"{__name__="job:up:sum", job="a", kind="sum"}"#);
    assert!(stays.iter().all(|(_, value)| *value == 1.0));
}

#[tokio::test(start_paused = true)]
async fn queries_look_back_by_the_offset() {
    let world = World::new();
    world.queries.set("up", &[(&[("job", "a")], 1.0)]);
    let text = "groups:\n- name: g\n  query_offset: 1m\n  rules:\n  - record: r\n    expr: up\n";
    world.load(text).await.unwrap();
    world.wait(11).await;
    let samples = world.store.samples(r#"{__name__="r", job="a"}"#);
    assert!(!samples.is_empty());
    // Evaluated within the last ten seconds, a minute back.
    let back = world.now_ms() - samples.last().unwrap().0;
    assert!((60_000..=71_000).contains(&back), "{back}");
}

const ALERT: &str = "
groups:
- name: g
  rules:
  - alert: Down
    expr: up == 0
    for: 20s
    labels: {severity: page, where: '{{ $labels.job }}-{{ $externalLabels.region }}'}
    annotations: {summary: '{{ $value }} at {{ $externalURL }}', broken: '{{ $labels.job.x }}', empty: ''}
";

#[tokio::test(start_paused = true)]
async fn alerts_pend_fire_and_resolve() {
    let world = World::new();
    world
        .queries
        .set("up == 0", &[(&[("__name__", "up"), ("job", "a")], 0.0)]);
    world.load(ALERT).await.unwrap();
    world.wait(12).await;
    let alert = world.manager.alerts().remove(0);
    assert_eq!(
        alert.labels.to_string(),
        r#"{alertname="Down", job="a", severity="page", where="a-eu"}"#
    );
    assert_eq!(
        (alert.state, alert.value_text().as_str()),
        (AlertState::Pending, "0e+00")
    );
    assert_eq!(alert.annotations.value("summary"), "0 at http://narthex.example");
    assert_eq!(alert.annotations.get("empty"), Some(""));
    let broken = alert.annotations.value("broken");
    let want = "<error expanding template: error executing template __alert_Down: template: __alert_Down:1:122: \
                executing \"__alert_Down\" at <$labels.job.x>: can't evaluate field x in type string>";
    assert_eq!(broken, want);
    assert!(world.sent.take().is_empty());

    world.wait(30).await;
    let sent = world.sent.take();
    assert_eq!(sent.len(), 1, "{sent:?}");
    let firing = &sent[0];
    // Four times the resend delay of a minute, which is longer than the interval.
    assert_eq!(firing.ends_at_ms, firing.starts_at_ms + 240_000);
    assert_eq!(
        firing.generator_url,
        "http://narthex.example/graph?g0.expr=up+%3D%3D+0&g0.tab=1"
    );
    assert_eq!(firing.starts_at_ms - alert.active_at_ns / 1_000_000, 20_000);

    world.queries.set("up == 0", &[]);
    world.wait(11).await;
    let resolved = world.sent.take();
    assert_eq!(resolved.len(), 1);
    assert!(resolved[0].is_resolved(world.now_ms()) && resolved[0].starts_at_ms == firing.starts_at_ms);
    assert!(world.manager.alerts().is_empty());
    assert_eq!(
        world.group().rules[0].alerting.as_ref().unwrap().state,
        AlertState::Inactive
    );
    // It is sent again for a quarter of an hour, and not after that.
    world.wait(800).await;
    assert!(world.sent.take().len() > 10);
    world.wait(200).await;
    world.sent.take();
    world.wait(600).await;
    assert!(world.sent.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_begins_to_listen_hears_of_alerts_with_the_next_evaluation() {
    let world = World::new();
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    world.load(ALERT).await.unwrap();
    world.wait(42).await;
    assert_eq!(world.sent.take().len(), 1);
    world.wait(11).await;
    assert!(
        world.sent.take().is_empty(),
        "not before the resend delay is over"
    );
    world.manager.send_again();
    world.wait(11).await;
    assert_eq!(world.sent.take().len(), 1);
    world.wait(11).await;
    assert!(world.sent.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn alerts_show_as_series() {
    let mut world = World::new();
    // State is written only after there was time to restore an older one: a second start has done that.
    world.load("groups: []").await.unwrap();
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    world.load(ALERT).await.unwrap();
    world.wait(60).await;
    let labels = r#"job="a", severity="page", where="a-eu"}"#;
    let pending = world.store.samples(&format!(
        r#"{{__name__="ALERTS", alertname="Down", alertstate="pending", {labels}"#
    ));
    let firing = world.store.samples(&format!(
        r#"{{__name__="ALERTS", alertname="Down", alertstate="firing", {labels}"#
    ));
    let since = world.store.samples(&format!(
        r#"{{__name__="ALERTS_FOR_STATE", alertname="Down", {labels}"#
    ));
    assert!(pending.len() == 3 && is_stale_nan(pending[2].1), "{pending:?}");
    assert!(firing.len() >= 3 && firing[0].0 == pending[2].0);
    let active_at_s = world.manager.alerts()[0].active_at_ns / 1_000_000_000;
    assert!(
        since.iter().all(|(_, value)| *value == active_at_s as f64),
        "{since:?}"
    );
    world.restart(std::time::Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_and_counted() {
    let world = World::new();
    let text = "groups:\n- name: g\n  limit: 1\n  rules:\n  - record: fails\n    expr: broken\n  - record: many\n    expr: many\n  \
                - record: same\n    expr: same\n    labels: {job: x}\n  - alert: Twice\n    expr: twice\n    labels: {job: y}\n  \
                - alert: TooMany\n    expr: many\n";
    world.queries.fail("broken");
    world
        .queries
        .set("many", &[(&[("job", "a")], 1.0), (&[("job", "b")], 1.0)]);
    world
        .queries
        .set("same", &[(&[("job", "a")], 1.0), (&[("job", "b")], 1.0)]);
    world
        .queries
        .set("twice", &[(&[("job", "a")], 1.0), (&[("job", "b")], 1.0)]);
    world.load(text).await.unwrap();
    world.wait(11).await;
    let group = world.group();
    let errors: Vec<String> = group
        .rules
        .iter()
        .map(|r| r.last_error.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(
        errors,
        [
            "rule result is not a vector or scalar",
            "exceeded limit of 1 with 2 series",
            "vector contains metrics with the same labelset after applying rule labels",
            "vector contains metrics with the same labelset after applying alert labels",
            "exceeded limit of 1 with 2 alerts",
        ]
    );
    assert!(group.rules.iter().all(|rule| rule.health == Health::Bad));
    // When a group is evaluated depends on its path, which is another one each time: one or two times until now.
    let failures = 5 * world.queries.asked("broken").len();
    assert_eq!(
        world.metrics("evaluation_failures_total"),
        [format!(
            "prometheus_rule_evaluation_failures_total{{rule_group=\"/rules.yml;g\"}} {failures}"
        )]
    );
}

#[tokio::test(start_paused = true)]
async fn texts_that_no_label_can_hold_fail_the_rule() {
    let world = World::new();
    let text = "groups:\n- name: g\n  rules:\n  - alert: Label\n    expr: up\n    labels:\n      \
                x: '{{ $labels.a }}{{ $labels.a }}'\n  - alert: Note\n    expr: up\n    annotations:\n      \
                x: '{{ $labels.a }}{{ $labels.a }}'\n  - record: after\n    expr: up\n";
    let half = "x".repeat(9_000_000);
    world.queries.set("up", &[(&[("a", half.as_str())], 1.0)]);
    world.load(text).await.unwrap();
    world.wait(11).await;
    let rules = world.group().rules;
    for rule in &rules[..2] {
        assert_eq!(
            rule.last_error.as_ref().map(ToString::to_string).as_deref(),
            Some(
                r#"label "x": a value of 18000000 bytes is more than a label can hold, which is 16777215 bytes"#
            )
        );
    }
    assert_eq!(rules[2].health, Health::Good);
    let long = "x".repeat(1 << 24);
    for text in [
        format!("groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n    labels:\n      a: {long}\n"),
        format!("groups:\n- name: g\n  labels:\n    a: {long}\n  rules: []\n"),
        format!("groups:\n- name: g\n  rules:\n  - alert: {long}\n    expr: up\n"),
    ] {
        let error = world.load(&text).await.unwrap_err().to_string();
        assert!(
            error.contains("more than a label can hold"),
            "{}",
            &error[..error.len().min(500)]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn storage_that_fails_is_told_and_tried_again() {
    let world = World::new();
    world.queries.set("sum by (job) (up)", &[(&[("job", "a")], 1.0)]);
    world.load(RECORDING).await.unwrap();
    world.store.poison(true);
    world.wait(11).await;
    let rule = world.group().rules.remove(0);
    assert_eq!(rule.health, Health::Bad);
    assert!(rule.last_error.unwrap().to_string().contains("disk full"));
    world.store.poison(false);
    world.wait(10).await;
    // References that the store has dropped meanwhile are asked for again.
    world.store.forget_references();
    world.wait(20).await;
    assert_eq!(world.group().rules[0].health, Health::Good);
    let samples = world
        .store
        .samples(r#"{__name__="job:up:sum", job="a", kind="sum"}"#);
    assert!(samples.len() >= 3, "{samples:?}");
}

#[tokio::test(start_paused = true)]
async fn templates_can_query() {
    let world = World::new();
    world.queries.set("up == 0", &[(&[("job", "a")], 0.0)]);
    world.queries.set("other", &[(&[("x", "y")], 7.0)]);
    let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up == 0\n    annotations:\n      \
                s: '{{ with query \"other\" }}{{ . | first | value }}{{ . | first | label \"x\" }}{{ end }}'\n";
    world.load(text).await.unwrap();
    world.wait(11).await;
    assert_eq!(world.manager.alerts()[0].annotations.value("s"), "7y");
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_panics_dies_alone() {
    let world = World::new();
    let text =
        "groups:\n- name: g\n  rules:\n  - record: bad\n    expr: panics\n  - record: good\n    expr: up\n";
    world.queries.set("up", &[(&[("job", "a")], 1.0)]);
    world.load(text).await.unwrap();
    world.wait(25).await;
    let rules = world.group().rules;
    assert_eq!((rules[0].health, rules[1].health), (Health::Bad, Health::Good));
    let error = rules[0].last_error.as_ref().unwrap().to_string();
    assert!(
        error.starts_with("panic in rule evaluation: as prepared"),
        "{error}"
    );
    assert!(world.store.samples(r#"{__name__="good", job="a"}"#).len() >= 2);
    let failures = world.queries.asked("panics").len();
    let line = format!("prometheus_rule_evaluation_failures_total{{rule_group=\"/rules.yml;g\"}} {failures}");
    assert_eq!(world.metrics("evaluation_failures_total"), [line]);
}

/// Whatever panics, be it storage, whoever takes alerts, or the group's own loop, costs one evaluation.
#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_evaluation() {
    let world = World::new();
    let text = "groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n  - alert: A\n    expr: up\n";
    world.queries.set("up", &[(&[("job", "a")], 1.0)]);
    world.load(text).await.unwrap();
    let last_errors = || -> Vec<Option<String>> {
        let rules = world.group().rules.into_iter();
        rules
            .map(|rule| rule.last_error.map(|error| error.to_string()))
            .map(|error| error.map(|text| text.split(" (").next().unwrap().to_owned()))
            .collect()
    };
    world.store.panic_once();
    world.wait(10).await;
    let said = "panic in rule evaluation: the store panics as prepared".to_owned();
    assert_eq!(last_errors(), [Some(said), None]);
    world.sent.panic_once();
    world.wait(85).await;
    assert_eq!(last_errors(), [None, None]);
    let asked = world.queries.asked("up").len();
    world.break_clock();
    world.wait(40).await;
    assert!(world.queries.asked("up").len() >= asked + 4);
    assert_eq!(last_errors(), [None, None]);
    let failures = world.metrics("evaluation_failures_total").remove(0);
    assert!(failures.ends_with(" 3"), "{failures}");
    let panics = world.metrics("task_panics_total");
    let line = |task, count| format!("narthex_task_panics_total{{task=\"{task}\"}} {count}");
    assert_eq!(panics, [line("rule evaluation", 2), line("rule group", 1)]);
}

#[tokio::test(start_paused = true)]
async fn empty_labels_take_labels_away() {
    let world = World::new();
    let text = "groups:\n- name: g\n  labels: {zone: z}\n  rules:\n  - record: r\n    expr: up\n    labels: {job: '', b: x}\n  \
                - alert: A\n    expr: up\n    labels: {job: '', b: x}\n";
    let labels: &[(&str, &str)] = &[
        ("__name__", "up"),
        ("a", "1"),
        ("b", "2"),
        ("job", "a"),
        ("zone", "y"),
    ];
    world.queries.set("up", &[(labels, 1.0)]);
    world.load(text).await.unwrap();
    world.wait(11).await;
    assert!(
        !world
            .store
            .samples(r#"{__name__="r", a="1", b="x", zone="z"}"#)
            .is_empty()
    );
    let alert = world.manager.alerts().remove(0);
    assert_eq!(
        alert.labels.to_string(),
        r#"{a="1", alertname="A", b="x", zone="z"}"#
    );
}

/// Rules that do not look at each other wait for each other here, so they are under way at the same time; the one that
/// looks at both comes behind them, and one that panics beside others dies alone.
#[tokio::test(start_paused = true)]
async fn rules_that_do_not_look_at_each_other_go_beside_each_other() {
    let world = World::on(Threads::current(), 1);
    let text = "groups:\n- name: g\n  rules:\n  - record: one\n    expr: meet1\n  - record: two\n    expr: meet2\n  - record: bad\n    \
                expr: panics\n  - record: three\n    expr: one + two\n";
    for expr in ["meet1", "meet2", "one + two"] {
        world.queries.set(expr, &[(&[("job", "a")], 1.0)]);
    }
    world.load(text).await.unwrap();
    world.wait(25).await;
    let rules = world.group().rules;
    let health: Vec<Health> = rules.iter().map(|rule| rule.health).collect();
    assert_eq!(health, [Health::Good, Health::Good, Health::Bad, Health::Good]);
    let order = world.queries.order();
    let at = |expr: &str| order.iter().position(|asked| asked == expr).unwrap();
    assert!(
        at("one + two") > at("meet1") && at("one + two") > at("meet2"),
        "{order:?}"
    );
    let rounds = world.queries.asked("one + two").len();
    assert!(rounds >= 2 && order.len() == rounds * 4, "{order:?}");
}

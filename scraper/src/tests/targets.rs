//! What discovery finds, made into targets.

use discovery::TargetGroup;
use model::labels::Labels;

use crate::ScrapeConfig;
use crate::target::{Populated, Target, populate_group};

pub(super) fn config(yaml: &str) -> ScrapeConfig {
    let document = yaml::parse("test.yml", yaml).unwrap();
    ScrapeConfig::read(document.root(), &crate::ScrapeDefaults::default()).unwrap()
}

fn targets(yaml: &str, labels: &[(&str, &str)]) -> Vec<Result<Populated, String>> {
    let group = TargetGroup {
        source: "0".into(),
        targets: vec![Labels::from_pairs(labels.iter().copied())],
        labels: Labels::from_pairs([("group", "g"), ("env", "group")]),
    };
    populate_group(&group, &config(yaml))
        .map(|result| result.map_err(|(_, error)| error.to_string()))
        .collect()
}

fn active(yaml: &str, labels: &[(&str, &str)]) -> Target {
    match targets(yaml, labels).remove(0) {
        Ok(Populated::Active(target)) => *target,
        other => panic!("{other:?}"),
    }
}

#[test]
fn labels_and_url() {
    let target = active(
        "{job_name: j, scheme: https, metrics_path: /m, params: {a: [x, y]}, scrape_timeout: 5s}",
        &[("__address__", "db:9100"), ("env", "own"), ("__meta_x", "gone")],
    );
    assert_eq!(target.url, "https://db:9100/m?a=x&a=y");
    assert_eq!(
        target.public.to_string(),
        r#"{env="own", group="g", instance="db:9100", job="j"}"#
    );
    assert_eq!(target.labels.value("__scrape_interval__"), "1m");
    assert_eq!(target.labels.value("__scrape_timeout__"), "5s");
    assert_eq!(target.labels.get("__meta_x"), None);
    assert_eq!(target.discovered.lock().value("__meta_x"), "gone");
    assert_eq!(target.discovered.lock().get("instance"), None);
}

#[test]
fn relabelling_changes_what_is_asked() {
    let yaml = "
job_name: j
relabel_configs:
- {source_labels: [__address__], target_label: __param_target}
- {target_label: __address__, replacement: 'prober:9115'}
- {target_label: __metrics_path__, replacement: /probe}
- {target_label: __scrape_interval__, replacement: 15s}
- {target_label: __scrape_native_histograms__, replacement: 'true'}
";
    let target = active(yaml, &[("__address__", "http-like.example")]);
    assert_eq!(target.url, "http://prober:9115/probe?target=http-like.example");
    assert_eq!(target.public.value("instance"), "prober:9115");
    let (interval, timeout) = target.times(&config(yaml));
    assert_eq!((interval.as_secs(), timeout.as_secs()), (15, 10));
    assert_eq!(target.histogram_switches(&config(yaml)), (true, false, false));
}

#[test]
fn targets_that_cannot_be_scraped() {
    let with = |rule: &str| format!("{{job_name: j, relabel_configs: [{rule}]}}");
    let set = |label: &str, value: &str| with(&format!("{{target_label: {label}, replacement: '{value}'}}"));
    for (yaml, message) in [
        (set("__address__", ""), "no address"),
        (
            set("__address__", "http://x"),
            r#""http://x" is not a valid hostname"#,
        ),
        (set("__scrape_interval__", "0"), "scrape interval cannot be 0"),
        (set("__scrape_timeout__", "0s"), "scrape timeout cannot be 0"),
        (
            set("__scrape_timeout__", "2m"),
            r#"scrape timeout cannot be greater than scrape interval ("2m" > "1m")"#,
        ),
        (
            set("__scrape_native_histograms__", "maybe"),
            r#"error parsing scrape native histograms: strconv.ParseBool: parsing "maybe": invalid syntax"#,
        ),
    ] {
        let error = targets(&yaml, &[("__address__", "x:1")]).remove(0).unwrap_err();
        assert_eq!(error, message, "{yaml}");
    }
    let error = targets(&set("__scrape_interval__", "x"), &[("__address__", "x:1")])
        .remove(0)
        .unwrap_err();
    assert!(error.starts_with("error parsing scrape interval: "), "{error}");
    let dropped = targets(
        &with("{action: drop, source_labels: [env], regex: group}"),
        &[("__address__", "x:1")],
    );
    assert!(matches!(&dropped[0], Ok(Populated::Dropped(labels)) if labels.value("env") == "group"));
}

#[test]
fn turns_are_spread_and_stay() {
    let interval = std::time::Duration::from_secs(10);
    let mut seconds = [0usize; 10];
    for i in 0..500 {
        let target = active("{job_name: j}", &[("__address__", &format!("host{i}:1"))]);
        let offset = target.offset(1_700_000_003_000, interval, 7);
        assert!(offset <= interval);
        let later = target.offset(1_700_000_003_500, interval, 7);
        let turn = (offset.as_millis() + 3_000) % 10_000;
        assert_eq!(
            (later.as_millis() + 3_500) % 10_000,
            turn,
            "the turn does not move"
        );
        seconds[turn as usize / 1000] += 1;
    }
    assert!(seconds.iter().all(|n| (20..=90).contains(n)), "{seconds:?}");
}

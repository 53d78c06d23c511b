//! The registry's texts are those that Go's client library writes for the same metrics.

use narthex_metrics::{Format, Kind, Registry};

/// One metric of every kind, with what needs care: escapes, order of labels and values, large counts, odd floats.
fn sample() -> Registry {
    let registry = Registry::new();
    let requests = registry.counter_vec(
        "requests_total",
        "Requests\\answered,\nby \"code\".",
        &["method", "code"],
    );
    requests.with(&["POST", "200"]).add_count(3_000_000);
    requests.with(&["GET", "500"]).add(0.5);
    requests.with(&["GET", "200"]).inc();
    registry
        .counter("odd_counter", "Without the suffix.")
        .add_count(2);
    registry.counter_vec("never_total", "Has no metric yet.", &["x"]);
    let gauge = registry.gauge_vec("temperature", "", &["place"]);
    gauge.with(&["a\"b\\c\nd"]).set(-0.0);
    gauge.with(&["é"]).set(1.5e-7);
    gauge.with(&[""]).set(f64::NEG_INFINITY);
    gauge.with(&["gone"]).set(1.0);
    gauge.remove(&["gone"]);
    let latency = registry.histogram("latency_seconds", "Latency.", &[0.1, 1.0, 2.5]);
    [0.05, 0.1, 1.5, 100.0]
        .into_iter()
        .for_each(|seconds| latency.observe(seconds));
    registry
        .summary("pause_seconds", "Pauses.", &[0.0, 0.5, 1.0])
        .observe(0.25);
    registry.gauge_fn("answer", "Asked at the scrape.", || 42.0);
    registry.collect(|out| {
        out.family("shards", Kind::Gauge, "Shards.")
            .sample(&[("z", "1"), ("a", "2")], 1e21);
    });
    registry
}

fn expected(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/metrics")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn text_format_is_gos() {
    assert_eq!(sample().render(Format::Text), expected("registry.prom.txt"));
}

#[test]
fn open_metrics_is_gos() {
    assert_eq!(sample().render(Format::OpenMetrics), expected("registry.om.txt"));
}

#[test]
fn formats_are_negotiated() {
    for (accept, format) in [
        ("", Format::Text),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
        (
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        ),
        ("application/openmetrics-text; version=0.0.1", Format::Text),
        (
            "text/plain;version=0.0.4, application/openmetrics-text;q=0.9",
            Format::Text,
        ),
        ("application/openmetrics-text;q=0", Format::Text),
    ] {
        assert_eq!(Format::negotiate(accept), format, "{accept}");
    }
}

#[test]
fn the_same_name_is_the_same_metric() {
    let registry = Registry::new();
    registry.counter("a_total", "A.").inc();
    registry.clone().counter("a_total", "A.").inc();
    assert_eq!(registry.counter("a_total", "A.").get(), 2.0);
}

#[test]
#[should_panic(expected = "another kind")]
fn another_kind_of_the_same_name_is_a_mistake() {
    let registry = Registry::new();
    registry.counter("a_total", "A.");
    registry.gauge("a_total", "A.");
}

#[test]
fn the_process_is_described() {
    if !std::path::Path::new("/proc/self/stat").exists() {
        return;
    }
    let registry = Registry::new();
    registry.collect_process();
    let text = registry.render(Format::Text);
    for name in [
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
    ] {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{name}"));
        let value: f64 = line[name.len() + 1..].parse().expect("float");
        assert!(value >= 0.0, "{line}");
    }
}

//! `docs/discovery.md` says what the table of mechanisms says; `UPDATE_EXPECT=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use narthex_discovery::KINDS;

const HEAD: &str = "# Discovery

How jobs and Alertmanagers find their targets. Each section below is a list in a scrape configuration or under
`alertmanagers`; its keys, their defaults and the labels that targets get (`__meta_…`) are Prometheus 3.14's. What differs
stands in [differences.md](differences.md). Each key is described in [Prometheus'
documentation](https://prometheus.io/docs/prometheus/latest/configuration/configuration/); files of `file_sd_configs` and
answers to `http_sd_configs` are lists like

    [{\"targets\": [\"shop:9102\", \"pay:9102\"], \"labels\": {\"team\": \"web\"}}]

Files are watched, and read when they change; what is asked for is asked for again every `refresh_interval`.

Where a mechanism fails, the targets that it found before stay: one line in the log when it begins to fail and one when it
works again, and counters (`prometheus_sd_refresh_failures_total` by mechanism and job). `narthex check service-discovery
prometheus.yml JOB` shows what a job finds now.

This page is written from the table of mechanisms by a test; do not edit it.

| section | finds |
|---|---|
| `static_configs` | targets that are listed in the configuration |
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for kind in KINDS {
        writeln!(page, "| `{}` | {} |", kind.key, kind.help).expect("a text");
    }
    page
}

#[test]
fn the_page_about_discovery_is_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/discovery.md");
    let page = page();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &page).expect("write");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/discovery.md is not what the table says; UPDATE_EXPECT=1 cargo test -p narthex-discovery --test it page"
    );
}

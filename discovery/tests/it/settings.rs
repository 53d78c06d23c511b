//! Verdicts on configurations of the mechanisms that are built in (conformance `discovery/verdicts.jsonl`).

use narthex_discovery::{KINDS, Mechanisms};
use serde_json::Value;

/// The mechanisms of all jobs and of all Alertmanagers.
fn read(text: &str) -> Result<Vec<Mechanisms>, yaml::YamlError> {
    let document = yaml::parse("prometheus.yml", text)?;
    let mut root = document.root().section("the configuration")?;
    let one = |value: yaml::Value<'_>| {
        let mut job = value.section("a job")?;
        let _ = job.value("job_name");
        let mechanisms = Mechanisms::read(&mut job)?;
        job.finish()?;
        Ok(mechanisms)
    };
    let mut found = root.list("scrape_configs", one)?;
    if let Some(alerting) = root.value("alerting") {
        found.extend(alerting.section("alerting")?.list("alertmanagers", one)?);
    }
    Ok(found)
}

#[test]
fn verdicts_are_the_references() {
    let Some(path) = testkit::conformance("discovery/verdicts.jsonl") else {
        return;
    };
    let mut judged = 0;
    for line in std::fs::read_to_string(path).expect("verdicts").lines() {
        let verdict: Value = serde_json::from_str(line).expect("JSON");
        let mechanism = verdict["mechanism"].as_str().expect("mechanism");
        // Where addresses may stand is for those to say who know the rules behind them.
        if mechanism == "static" {
            continue;
        }
        assert!(
            mechanism == "unknown" || KINDS.iter().any(|kind| kind.name == mechanism),
            "{mechanism}"
        );
        judged += 1;
        let text = verdict["config"].as_str().expect("configuration");
        let result = read(text);
        let is_good = verdict["exit"] == 0;
        assert_eq!(
            result.is_ok(),
            is_good,
            "{mechanism}/{}: {:?}\nreference: {} {}\n{text}",
            verdict["name"],
            result.err(),
            verdict["stdout"],
            verdict["stderr"]
        );
    }
    assert!(judged > 0);
}

#[test]
fn a_bad_target_among_four_is_named_at_its_place() {
    let text = "static_configs:\n- targets: ['a:1', 'b:1']\n- targets: ['c:1', 'http://d/']\n";
    let document = yaml::parse("f.yml", text).expect("valid");
    let mut section = document.root().section("job").expect("mapping");
    Mechanisms::read(&mut section).expect("valid");
    let error = Mechanisms::check_addresses(&section).expect_err("a URL");
    assert_eq!(
        (error.position().line, error.position().column),
        (3, 20),
        "{error}"
    );
}

#[test]
fn the_umbrella_over_aws_passes_what_the_reference_forgot_to_check() {
    let read_it =
        |key: &str, more: &str| read(&format!("scrape_configs: [{{job_name: j, {key}: [{{{more}}}]}}]"));
    for contradicts in [
        "basic_auth: {username: u, password: p}, authorization: {credentials: x}",
        "bearer_token: a, bearer_token_file: b",
    ] {
        read_it("aws_sd_configs", &format!("role: rds, region: r, {contradicts}")).expect("passes");
        read_it("rds_sd_configs", &format!("region: r, {contradicts}")).expect_err("refused");
    }
    // What is 0 counts as not set.
    read_it("aws_sd_configs", "role: msk, port: 0, refresh_interval: 0s").expect("passes");
    read_it("aws_sd_configs", "role: ec2, nonsense: 1").expect_err("refused");
}

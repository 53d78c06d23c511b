//! The sections of the configuration that steer scraping.

use exposition::{EscapingScheme, ScrapeProtocol};
use model::labels::NameScheme;

use crate::config::SampleLimitAction;
use crate::{ScrapeConfig, ScrapeDefaults};

fn read(global: &str, job: &str) -> Result<ScrapeConfig, String> {
    let document = yaml::parse("test.yml", global).unwrap();
    let mut section = document.root().section("global").unwrap();
    let defaults = ScrapeDefaults::read(&mut section).map_err(|e| e.message().to_owned())?;
    section.finish().map_err(|e| e.message().to_owned())?;
    let document = yaml::parse("test.yml", job).unwrap();
    ScrapeConfig::read(document.root(), &defaults).map_err(|e| e.message().to_owned())
}

#[test]
fn what_becomes_of_too_many_samples() {
    let action = |global: &str, job: &str| read(global, job).map(|config| config.sample_limit_action);
    let (fail, drop_new) = (Ok(SampleLimitAction::Fail), Ok(SampleLimitAction::DropNew));
    let (set, job) = ("{sample_limit_action: drop_new}", "{job_name: j}");
    assert_eq!(action("{}", job), fail);
    assert_eq!(action(set, job), drop_new);
    let own = "{job_name: j, sample_limit: 5, sample_limit_action: drop_new}";
    assert_eq!(action("{}", own), drop_new);
    let error = action("{}", "{job_name: j, sample_limit_action: drop_new}").unwrap_err();
    assert!(error.contains("needs a sample_limit above 0"), "{error}");
    assert_eq!(action(set, "{job_name: j, sample_limit_action: fail}"), fail);
    let error = action("{}", "{job_name: j, sample_limit_action: drop}").unwrap_err();
    assert!(error.contains("must be one of 'fail', 'drop_new'"), "{error}");
}

#[test]
fn a_job_may_scrape_the_push_gateway() {
    let config = read("{}", "{job_name: j, push_gateway: true}").unwrap();
    assert!(config.honor_labels);
    assert_eq!(config.discovery.static_configs[0].targets, ["push-gateway"]);
    // What is printed can be read.
    let printed = read("{}", &serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(printed, config);
    let config = read("{}", "{job_name: j, push_gateway: true, honor_labels: false}").unwrap();
    assert!(!config.honor_labels);
    let other = "{job_name: j, push_gateway: true, file_sd_configs: [{files: [a.yml]}]}";
    let error = read("{}", other).unwrap_err();
    assert!(error.contains("the gateway in this server"), "{error}");
}

#[test]
fn what_a_job_leaves_out_comes_from_global() {
    let config = read(
        "{scrape_interval: 30s, sample_limit: 7, body_size_limit: 1MB}",
        "{job_name: j}",
    )
    .unwrap();
    assert_eq!(config.scrape_interval.as_ms(), 30_000);
    assert_eq!(config.scrape_timeout.as_ms(), 10_000);
    assert_eq!((config.sample_limit, config.body_size_limit.0), (7, 1 << 20));
    assert_eq!(config.scrape_protocols, ScrapeProtocol::DEFAULT);
    let config = read(
        "{scrape_interval: 5s}",
        "{job_name: j, scrape_native_histograms: true}",
    )
    .unwrap();
    assert_eq!(config.scrape_timeout.as_ms(), 5_000);
    assert_eq!(config.scrape_protocols, ScrapeProtocol::DEFAULT_PROTOBUF_FIRST);
    let config = read("{}", "{job_name: j, scrape_interval: 3s}").unwrap();
    assert_eq!(config.scrape_timeout.as_ms(), 3_000);
}

#[test]
fn escaping_follows_validation() {
    let config = read("{}", "{job_name: j, metric_name_validation_scheme: legacy}").unwrap();
    assert_eq!(config.metric_name_escaping_scheme, EscapingScheme::Underscores);
    let config = read("{metric_name_validation_scheme: legacy}", "{job_name: j}").unwrap();
    assert_eq!(config.metric_name_validation_scheme, NameScheme::Legacy);
    assert_eq!(config.metric_name_escaping_scheme, EscapingScheme::Underscores);
    let config = read("{metric_name_escaping_scheme: dots}", "{job_name: j}").unwrap();
    assert_eq!(config.metric_name_escaping_scheme, EscapingScheme::Dots);
}

#[test]
fn contradictions_are_refused_in_the_references_words() {
    for (global, job, message) in [
        (
            "{scrape_interval: 5s, scrape_timeout: 6s}",
            "{job_name: j}",
            "global scrape timeout greater than scrape interval",
        ),
        (
            "{scrape_protocols: []}",
            "{job_name: j}",
            "scrape_protocols cannot be empty for global config",
        ),
        ("{}", "{scrape_interval: 5s}", "job_name is empty"),
        (
            "{}",
            "{job_name: j, scrape_interval: 5s, scrape_timeout: 6s}",
            "scrape timeout greater than scrape interval for scrape config with job name \"j\"",
        ),
        (
            "{}",
            "{job_name: j, scrape_protocols: [Nope]}",
            "scrape_protocols: unknown scrape protocol Nope, supported: [OpenMetricsText0.0.1 OpenMetricsText1.0.0 \
             PrometheusProto PrometheusText0.0.4 PrometheusText1.0.0] for scrape config with job name \"j\"",
        ),
        (
            "{}",
            "{job_name: j, scrape_protocols: [PrometheusProto, PrometheusProto]}",
            "duplicated protocol in scrape_protocols, got [PrometheusProto PrometheusProto] for scrape config with \
             job name \"j\"",
        ),
        (
            "{}",
            "{job_name: j, metric_name_validation_scheme: legacy, metric_name_escaping_scheme: allow-utf-8}",
            "utf8 metric names requested but validation scheme is not set to UTF8",
        ),
        (
            "{}",
            "{job_name: j, static_configs: [{targets: ['http://x/']}]}",
            "\"http://x/\" is not a valid hostname",
        ),
        (
            "{}",
            "{job_name: j, relabel_configs: [null]}",
            "empty or null target relabeling rule in scrape config",
        ),
        (
            "{}",
            "{job_name: j, nonsense: 1}",
            "field nonsense not found in a scrape config",
        ),
        ("{}", "null", "empty or null scrape config section"),
    ] {
        assert_eq!(read(global, job).map(|_| ()), Err(message.to_owned()), "{job}");
    }
}

/// Every good configuration's jobs are read, unless they name a discovery mechanism that is not built in yet; and no
/// good one fails for another reason.
#[test]
fn jobs_of_the_conformance_configurations() {
    let Some(folder) = testkit::conformance("config") else {
        return;
    };
    let mut jobs = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".good.yml") {
            continue;
        }
        let document = yaml::parse(&name, &std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut root = document.root().section("configuration").unwrap();
        let defaults = match root.value("global") {
            Some(global) => ScrapeDefaults::read(&mut global.section("global").unwrap()).unwrap(),
            None => ScrapeDefaults::default(),
        };
        match ScrapeConfig::read_list(&mut root, &defaults) {
            Ok(list) => jobs += list.len(),
            Err(error) => assert!(error.message().contains("not built into this version"), "{error}"),
        }
    }
    assert!(jobs >= 10, "only {jobs} jobs");
}

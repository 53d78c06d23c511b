//! Configurations as files: good ones with the text they amount to, bad ones with the message they get.

use std::path::{Path, PathBuf};

use super::{LoadOptions, Warning, load_default, load_file, parse, read_file};

fn testdata() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/config");
    folder.canonicalize().expect("the cases' folder")
}

/// What a case comes to: the configuration as it counts, or the marked place of the error.
fn outcome(path: &Path) -> Result<String, String> {
    let environment = |name: &str| (name == "REGION").then(|| "eu-west-1".to_owned());
    let options = LoadOptions {
        environment: &environment,
        agent_mode: path.to_string_lossy().contains("agent"),
        ..LoadOptions::default()
    };
    let loaded = read_file(path, &options).and_then(|(config, warnings)| {
        config.load_jobs()?;
        Ok((config, warnings))
    });
    match loaded {
        Ok((config, warnings)) => {
            let mut text: String = warnings.iter().map(|warning| format!("# {warning}\n")).collect();
            text.push_str(&config.to_yaml());
            Ok(text)
        }
        Err(error) => Err(error
            .render(false)
            .map_or_else(|| format!("{error}\n"), |shown| shown + "\n")),
    }
}

#[test]
fn cases_come_to_what_is_expected() {
    let folder = testdata();
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("cases")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let (mut cases, mut failures) = (0, Vec::new());
    for name in &names {
        if let Some(of) = name.strip_suffix(".expect") {
            assert!(names.iter().any(|other| other == of), "{name} belongs to no case");
        }
        if !name.ends_with(".yml") || name.ends_with(".part.yml") {
            continue;
        }
        cases += 1;
        let (got, good) = match outcome(&folder.join(name)) {
            Ok(text) => (text, true),
            Err(text) => (text, false),
        };
        assert_eq!(good, name.ends_with(".good.yml"), "{name}:\n{got}");
        // Messages name the file as it was given; cases are the same in every checkout.
        let got = got.replace(&format!("{}/", folder.to_string_lossy()), "");
        let expect = folder.join(format!("{name}.expect"));
        if update {
            std::fs::write(&expect, &got).expect("written");
        } else if std::fs::read_to_string(&expect).unwrap_or_default() != got {
            failures.push(format!("{name} came to\n{got}"));
        }
    }
    assert!(cases > 0);
    assert!(
        failures.is_empty(),
        "{}\nUPDATE_EXPECT=1 takes the new texts",
        failures.join("\n")
    );
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let (empty, warnings) = parse("x.yml", "").expect("valid");
    assert!(warnings.is_empty());
    assert_eq!(empty.global.scrape.scrape_interval.as_ms(), 60_000);
    assert_eq!(empty.global.evaluation_interval.as_ms(), 60_000);
    assert_eq!(empty.storage.exemplars.max_exemplars, 100_000);
    assert!(empty.scrape_configs.is_empty() && empty.unserved.unserved().is_empty());
    for text in [
        "---\n",
        "# a comment\n",
        "global:\n",
        "global: ~\n",
        "{}\n",
        "runtime:\nalerting:\nstorage:\n",
    ] {
        assert_eq!(parse("x.yml", text).expect("valid").0, empty, "{text:?}");
    }
    assert_eq!(
        parse("x.yml", "global: {}\n")
            .expect("valid")
            .0
            .global
            .scrape
            .scrape_timeout
            .as_ms(),
        10_000
    );
}

#[test]
fn the_built_in_configuration_scrapes_this_server() {
    let loaded = load_default("localhost:9191", &LoadOptions::default()).expect("valid");
    assert_eq!(loaded.jobs.len(), 1);
    assert_eq!(
        loaded.jobs[0].discovery.static_configs[0].targets,
        ["localhost:9191"]
    );
}

#[test]
fn an_external_label_that_cannot_be_stored_is_refused() {
    let text = format!("global:\n  external_labels:\n    a: {}\n", "x".repeat(1 << 24));
    let document = yaml::parse("x.yml", &text).expect("YAML");
    let error = super::Config::read(&document, &LoadOptions::default()).expect_err("too long");
    assert_eq!(
        error.to_string(),
        r#"x.yml:3:5: label "a": a value of 16777216 bytes is more than a label can hold, which is 16777215 bytes"#
    );
}

#[test]
fn variables_in_external_labels_are_replaced() {
    let environment = |name: &str| (name == "ZONE").then(|| "b".to_owned());
    let document = yaml::parse(
        "x.yml",
        "global: {external_labels: {zone: 'a-$ZONE', none: '${NONE}', cost: '5$$'}}",
    )
    .expect("YAML");
    let options = LoadOptions {
        environment: &environment,
        agent_mode: false,
        ..LoadOptions::default()
    };
    let (config, warnings) = super::Config::read(&document, &options).expect("valid");
    assert_eq!(
        config.global.external_labels().to_string(),
        r#"{cost="5$", zone="a-b"}"#
    );
    assert_eq!(
        warnings,
        [Warning::EmptyVariable {
            label: "none".into(),
            variable: "NONE".into()
        }]
    );
    assert!(
        config.to_yaml().contains("    none: \"\"\n"),
        "{}",
        config.to_yaml()
    );
}

#[test]
fn jobs_come_from_other_files_too() {
    let folder = tempfile::tempdir().expect("folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    std::fs::create_dir(folder.path().join("jobs")).expect("folder");
    write(
        "main.yml",
        "global: {scrape_interval: 7s}\nscrape_config_files: ['jobs/*.yml']\nscrape_configs: [{job_name: a}]\n",
    );
    write(
        "jobs/1.yml",
        "scrape_configs: [{job_name: b, bearer_token_file: token}, {job_name: c}]\n",
    );
    write("jobs/2.yml", "");
    let loaded = load_file(&folder.path().join("main.yml"), &LoadOptions::default()).expect("valid");
    let names: Vec<&str> = loaded.jobs.iter().map(|job| job.job_name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(loaded.config.scrape_configs.len(), 1);
    assert_eq!(loaded.jobs[1].scrape_interval.as_ms(), 7_000);
    let token = &loaded.jobs[1]
        .http_client
        .authorization
        .as_ref()
        .expect("token")
        .credentials_file;
    assert_eq!(*token, folder.path().join("jobs/token"));
    write("jobs/2.yml", "scrape_configs:\n- job_name: b\n");
    let error = load_file(&folder.path().join("main.yml"), &LoadOptions::default())
        .expect_err("b is there already")
        .to_string();
    assert!(
        error.contains("jobs/2.yml:2:3: found multiple scrape configs with job name \"b\""),
        "{error}"
    );
    assert!(error.contains("jobs/1.yml"), "{error}");
}

/// The recorded answer came from a configuration that says what the answer says: reading the answer's text and
/// writing it again gives the answer's text.
#[test]
fn the_text_of_a_configuration_is_the_references() {
    let Some(folder) = testkit::conformance("") else {
        return;
    };
    let answer = std::fs::read_to_string(folder.join("api-shapes/status_config.http")).expect("answer");
    let body = answer
        .split_once("\n\n")
        .map(|(_, body)| body)
        .or_else(|| answer.split_once("\r\n\r\n").map(|(_, b)| b));
    let body: serde_json::Value = serde_json::from_str(body.expect("a body")).expect("JSON");
    let text = body["data"]["yaml"].as_str().expect("text");
    // The one key that is shown and cannot be set.
    let readable = text.replace("    outofordertimewindow: 0\n", "");
    let (config, _) = parse("recorded.yml", &readable).expect("valid");
    assert_eq!(config.to_yaml(), text);
}

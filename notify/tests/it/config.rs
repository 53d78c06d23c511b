//! `alertmanager.yml` against the reference: what is taken, what is refused and in which words, how it is printed.

use narthex_notify::config::Config;
use narthex_notify::matcher::Syntax;
use serde_json::Value;

/// Reads a text as the file of that name.
fn read(name: &str, text: &str) -> Result<Config, String> {
    Config::parse(name, text, Syntax::Fallback).map_err(|error| error.message().to_owned())
}

/// What the reference's tool says of a file: the complaint, if it has one.
fn complaint(stdout: &str) -> Option<&str> {
    let (_, complaint) = stdout.split_once("FAILED: ")?;
    Some(complaint.split('\n').next().unwrap_or(""))
}

/// Whether ours are the reference's words. Where its YAML reader speaks, or complains of a field by the names of its own
/// types, it is enough that both refuse.
fn agrees(ours: &Result<Config, String>, theirs: Option<&str>) -> bool {
    match (ours, theirs) {
        (Ok(_), None) => true,
        (Err(_), Some(theirs)) if theirs.starts_with("yaml: ") => true,
        (Err(ours), Some(theirs)) => ours == theirs,
        _ => false,
    }
}

#[test]
fn files_are_taken_and_refused_as_by_the_reference() {
    let (Some(root), Some(verdicts)) = (testkit::conformance(""), testkit::conformance("verdicts.jsonl"))
    else {
        return;
    };
    let mut wrong = Vec::new();
    let verdicts = std::fs::read_to_string(verdicts).expect("verdicts");
    for line in verdicts.lines() {
        let verdict: Value = serde_json::from_str(line).expect("verdict");
        if verdict["check"] != "amtool check-config" {
            continue;
        }
        let file = verdict["file"].as_str().expect("a file");
        let text = std::fs::read_to_string(root.join(file)).expect("the file");
        let (ours, theirs) = (
            read(file, &text),
            complaint(verdict["stdout"].as_str().expect("text")),
        );
        if !agrees(&ours, theirs) {
            wrong.push(format!("{file}: {:?}, reference {theirs:?}", ours.err()));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn faults_are_told_in_the_references_words() {
    let Some(path) = testkit::conformance("notify/amtool/check-config.json") else {
        return;
    };
    let session: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("session")).expect("JSON");
    let mut wrong = Vec::new();
    let mut checked = 0;
    for command in session["commands"]
        .as_array()
        .or(session["steps"].as_array())
        .expect("commands")
    {
        let argv: Vec<&str> = command["argv"]
            .as_array()
            .expect("argv")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let ["check-config", file] = argv.as_slice() else {
            continue;
        };
        let Some(text) = session["files"][file].as_str() else {
            continue;
        };
        let stdout = command["stdout"].as_str().expect("text");
        // A configuration may be good and its templates not: that is for who prepares it.
        let theirs = if stdout.contains("SUCCESS\nFound") {
            None
        } else {
            complaint(stdout)
        };
        let ours = read(file, text);
        checked += 1;
        if !agrees(&ours, theirs) {
            wrong.push(format!("{file}: {:?}, reference {theirs:?}", ours.err()));
        }
    }
    assert!(checked > 40);
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_configuration_is_printed_as_the_reference_shows_it() {
    let Some(folder) = testkit::conformance("notify/api") else {
        return;
    };
    let mut wrong = Vec::new();
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        let text = std::fs::read_to_string(&path).expect("sequence");
        let sequence: Value = serde_json::from_str(&text).expect("JSON");
        let steps = sequence["steps"].as_array().expect("steps");
        if steps.iter().any(|step| step.get("write").is_some()) {
            // Another configuration was in force by then.
            continue;
        }
        let shown = steps
            .iter()
            .find_map(|step| step["answer"]["json"]["config"]["original"].as_str());
        let (Some(shown), Some(config)) = (shown, sequence["config"].as_str()) else {
            continue;
        };
        let config = config.replace("${HTTP}", "127.0.0.1:1");
        let document = yaml::parse("alertmanager.yml", &config).expect("YAML");
        let ours = Config::read(document.root(), Syntax::Fallback)
            .expect("good")
            .to_yaml();
        checked += 1;
        for (line, (ours, theirs)) in ours.lines().zip(shown.lines()).enumerate() {
            if ours != theirs {
                wrong.push(format!(
                    "{} line {line}: {ours:?}, reference {theirs:?}",
                    path.display()
                ));
                break;
            }
        }
        if ours.lines().count() != shown.lines().count() {
            wrong.push(format!("{}: another number of lines", path.display()));
        }
    }
    assert!(checked > 1);
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

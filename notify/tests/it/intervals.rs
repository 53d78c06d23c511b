//! Time intervals against the reference's: what is inside, what is refused and in which words.

use narthex_notify::interval::NamedIntervals;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    about: String,
    spec: String,
    #[serde(default)]
    active: Vec<String>,
    #[serde(default)]
    inactive: Vec<String>,
    error: Option<String>,
}

#[test]
fn intervals_are_the_references() {
    let Some(path) = testkit::conformance("notify/intervals.jsonl") else {
        return;
    };
    let text = std::fs::read_to_string(path).expect("cases");
    let mut instants = 0;
    for line in text.lines() {
        let case: Case = serde_json::from_str(line).expect("case");
        let spec = case
            .spec
            .lines()
            .map(|line| format!("  {line}\n"))
            .collect::<String>();
        let yaml = format!("name: x\ntime_intervals:\n{spec}");
        let document = yaml::parse("intervals.yml", &yaml).expect("YAML");
        let read = NamedIntervals::read(document.root(), "time interval");
        let at = format!("{}: {}", case.about, case.spec);
        match (read, case.error) {
            (Ok(named), None) => {
                for instant in &case.active {
                    assert!(
                        named.count(instant.parse().expect("instant")) > 0,
                        "{at} at {instant}"
                    );
                }
                for instant in &case.inactive {
                    assert_eq!(
                        named.count(instant.parse().expect("instant")),
                        0,
                        "{at} at {instant}"
                    );
                }
                instants += case.active.len() + case.inactive.len();
            }
            // Where the reference's YAML reader complains, ours does in its own words.
            (Err(error), Some(expected)) if !expected.starts_with("yaml:") => {
                assert_eq!(error.message(), expected, "{at}");
            }
            (Err(_), Some(_)) => {}
            (read, expected) => panic!("{at}: {read:?}, expected {expected:?}"),
        }
    }
    assert!(instants > 1_000);
}

//! Cases in files: a section, what comes when, and what is stored.
//!
//! A file `testdata/aggregate/NAME.txt` has three parts under headings. `config` is the section. `input` has a line a
//! sample, `TIME SERIES VALUE [at TIME]`: what the clock says, and the sample's own time where it is another one; `until
//! TIME` lets time go by, `reload` puts the section in force anew. `output` is what was stored, sorted by time and series;
//! `UPDATE_EXPECT=1` writes it. Times are seconds from 0, which is the beginning of an hour.

use std::path::{Path, PathBuf};

use super::store::Bench;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/aggregate")
}

fn seconds(text: &str) -> i64 {
    let number = text
        .strip_suffix('s')
        .unwrap_or_else(|| panic!("{text:?} is no time"));
    (number
        .parse::<f64>()
        .unwrap_or_else(|_| panic!("{text:?} is no time"))
        * 1000.0) as i64
}

fn part<'t>(text: &'t str, name: &str) -> &'t str {
    let heading = format!("=== {name}\n");
    let (_, rest) = text
        .split_once(&heading)
        .unwrap_or_else(|| panic!("no part {name}"));
    rest.split("=== ").next().unwrap_or(rest)
}

fn play(text: &str) -> String {
    let config = part(text, "config");
    let lines = part(text, "input")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<&str> = lines.collect();
    let begin = lines
        .first()
        .and_then(|line| line.strip_prefix("begin "))
        .map_or(0, seconds);
    let bench = Bench::new(config, begin);
    for line in lines.iter().filter(|line| !line.starts_with("begin ")) {
        if let Some(time) = line.strip_prefix("until ") {
            bench.until(seconds(time));
            continue;
        }
        let (line, own) = line
            .split_once(" at ")
            .map_or((*line, None), |(line, own)| (line, Some(seconds(own))));
        let (time, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let (series, value) = rest.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let value = match value {
            "stale" => model::sample::stale_nan(),
            number => number.parse().unwrap_or_else(|_| panic!("{line:?}")),
        };
        bench.until(seconds(time));
        bench.push(series, own.unwrap_or_else(|| seconds(time)), value);
    }
    bench.stored().iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn cases_give_what_stands_in_their_files() {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    names.sort();
    assert!(names.len() >= 10, "{}", names.len());
    let mut wrong = Vec::new();
    for path in names {
        let text = std::fs::read_to_string(&path).expect("a case");
        let got = play(&text);
        if got != part(&text, "output") {
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                let head = text.split("=== output\n").next().unwrap_or_default();
                std::fs::write(&path, format!("{head}=== output\n{got}")).expect("written");
            } else {
                wrong.push(format!("{}:\n{got}", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "UPDATE_EXPECT=1 rewrites what is wrong:\n{}",
        wrong.join("\n")
    );
}

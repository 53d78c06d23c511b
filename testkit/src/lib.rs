//! What tests of all rooms share: the reference's conformance data, programs of others, and skips that are heard.
//!
//! A test that cannot find what it compares with calls [`skip`], or asks through [`conformance`], [`program`],
//! [`prometheus`] or [`prometheus_3`], which do. A skip goes to standard error past the test runner's capture, so that it shows beside a
//! passing test too; where `NARTHEX_REQUIRE` names what is missing, the test fails instead. CI sets it to what its
//! machine was given: `NARTHEX_REQUIRE=conformance,promtool,node_exporter`, or `all`.
//!
//! Rooms have this crate among their dev-dependencies only; `cargo xtask tidy` refuses it elsewhere.
//!
//! ```
//! # fn check(_: &std::path::Path) {}
//! fn answers_are_the_references() {
//!     let Some(folder) = testkit::conformance("promql") else { return };
//!     check(&folder);
//! }
//! # use narthex_testkit as testkit;
//! ```

pub mod schema;
pub mod sigv4;

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a test may find missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The folder of conformance data: `$NARTHEX_CONFORMANCE`, or `../shared/conformance` beside the repository.
    Conformance,
    /// The reference's server: `$NARTHEX_PROMETHEUS`, or the one that is installed.
    Prometheus,
    /// The reference's tool.
    Promtool,
    /// A real exporter.
    NodeExporter,
    /// The Alertmanager's tool.
    Amtool,
    /// The reference's gateway for batch jobs.
    Pushgateway,
    /// InfluxDB of version 1.
    Influxd,
    /// The HTTP client of the command line.
    Curl,
    /// An HTTP/2 client.
    Nghttp,
    /// A browser.
    Chromium,
    /// What the pages are built and tested with: Node.js, and the packages that `npm ci` puts beside them.
    Node,
    /// The language of many clients.
    Python,
    /// Sets limits of running processes.
    Prlimit,
}

impl Need {
    /// All there are.
    pub const ALL: [Need; 13] = [
        Need::Conformance,
        Need::Prometheus,
        Need::Promtool,
        Need::NodeExporter,
        Need::Amtool,
        Need::Pushgateway,
        Need::Influxd,
        Need::Curl,
        Need::Nghttp,
        Need::Chromium,
        Need::Node,
        Need::Python,
        Need::Prlimit,
    ];

    /// Its word in `NARTHEX_REQUIRE`.
    pub fn word(self) -> &'static str {
        match self {
            Need::Conformance => "conformance",
            Need::Prometheus => "prometheus",
            Need::Promtool => "promtool",
            Need::NodeExporter => "node_exporter",
            Need::Amtool => "amtool",
            Need::Pushgateway => "pushgateway",
            Need::Influxd => "influxd",
            Need::Curl => "curl",
            Need::Nghttp => "nghttp",
            Need::Chromium => "chromium",
            Need::Node => "node",
            Need::Python => "python",
            Need::Prlimit => "prlimit",
        }
    }

    /// Names under which the program is installed, best first.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Need::Conformance => &[],
            Need::Prometheus => &["prometheus"],
            Need::Promtool => &["promtool"],
            Need::NodeExporter => &["prometheus-node-exporter", "node_exporter"],
            Need::Amtool => &["amtool"],
            Need::Pushgateway => &["prometheus-pushgateway", "pushgateway"],
            Need::Influxd => &["influxd"],
            Need::Curl => &["curl"],
            Need::Nghttp => &["nghttp"],
            Need::Chromium => &["chromium", "chromium-browser", "google-chrome"],
            Need::Node => &["node"],
            Need::Python => &["python3"],
            Need::Prlimit => &["prlimit"],
        }
    }
}

impl Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A file or folder of the conformance data (`"promql"`, `"relabel-regex.jsonl"`; `""` for all of it); skips where it
/// is absent.
///
/// # Panics
/// When it is absent and required.
pub fn conformance(part: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance");
    let root = std::env::var_os("NARTHEX_CONFORMANCE").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let path = if part.is_empty() { root } else { root.join(part) };
    if path.exists() {
        return Some(path);
    }
    skip(
        Need::Conformance,
        format_args!("{} is not there; set NARTHEX_CONFORMANCE", path.display()),
    );
    None
}

/// A program of others that is on the search path; skips where there is none.
///
/// # Panics
/// When it is absent and required.
pub fn program(need: Need) -> Option<PathBuf> {
    let found = std::env::var_os("PATH").and_then(|path| find_program(&path, need.programs()));
    if found.is_none() {
        skip(
            need,
            format_args!("no {} on PATH; install it", need.programs().join(" or ")),
        );
    }
    found
}

/// The reference's server: `$NARTHEX_PROMETHEUS`, or the one that is installed; skips where there is none.
///
/// # Panics
/// When it is absent and required, and when `$NARTHEX_PROMETHEUS` names what is not there.
pub fn prometheus() -> Option<PathBuf> {
    let Some(named) = std::env::var_os("NARTHEX_PROMETHEUS") else {
        return program(Need::Prometheus);
    };
    let named = PathBuf::from(named);
    assert!(
        named.is_file(),
        "NARTHEX_PROMETHEUS={} is not a file",
        named.display()
    );
    Some(named)
}

/// The same of version 3; skips where there is only an older one, which does not know everything that we compare.
///
/// # Panics
/// As [`prometheus`].
pub fn prometheus_3() -> Option<PathBuf> {
    let program = prometheus()?;
    let answer = Command::new(&program).arg("--version").output();
    let answer = answer.unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    // Of a program that was built by hand nobody knows the version: it was named on purpose.
    let text = [answer.stdout, answer.stderr].concat();
    if String::from_utf8_lossy(&text).contains("version 2.") {
        let why = "is of version 2; set NARTHEX_PROMETHEUS to one of version 3";
        skip(Need::Prometheus, format_args!("{} {why}", program.display()));
        return None;
    }
    Some(program)
}

/// Says that the running test, or a part of it, is skipped for want of `need`, and why.
///
/// # Panics
/// When `NARTHEX_REQUIRE` names `need`.
pub fn skip(need: Need, why: impl Display) {
    let required = std::env::var("NARTHEX_REQUIRE").unwrap_or_default();
    let test = std::thread::current();
    let test = test.name().unwrap_or("a test").to_owned();
    assert!(
        !is_required(&required, need),
        "{test} needs {need}, which NARTHEX_REQUIRE={required} demands: {why}"
    );
    // Not `eprintln`: the runner keeps what tests print by it, and shows it of failed ones only.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {why} (needs {need})");
}

/// Whether the list `required` names `need`. A word that nobody knows would demand nothing: it fails.
fn is_required(required: &str, need: Need) -> bool {
    let words = required.split(',').map(str::trim).filter(|word| !word.is_empty());
    let mut found = false;
    for word in words {
        let known = word == "all" || Need::ALL.iter().any(|need| need.word() == word);
        assert!(
            known,
            "NARTHEX_REQUIRE names {word:?}; there are all, {}",
            Need::ALL.map(Need::word).join(", ")
        );
        found |= word == "all" || word == need.word();
    }
    found
}

fn find_program(path: &OsString, names: &[&str]) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(path).collect();
    let mut places = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder: &PathBuf| folder.join(name)));
    places.find(|place| Path::is_file(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_required_fails_instead_of_skipping() {
        for (required, need, expected) in [
            ("", Need::Conformance, false),
            ("conformance", Need::Conformance, true),
            ("promtool, conformance", Need::Conformance, true),
            ("promtool,node_exporter", Need::Conformance, false),
            ("all", Need::Chromium, true),
        ] {
            assert_eq!(is_required(required, need), expected, "{required} {need}");
        }
        for need in Need::ALL {
            assert!(is_required(need.word(), need));
        }
    }

    #[test]
    #[should_panic(expected = "NARTHEX_REQUIRE names \"promtol\"; there are all, conformance, ")]
    fn a_misspelt_word_is_not_a_licence_to_skip() {
        is_required("promtool,promtol", Need::Promtool);
    }

    #[test]
    fn programs_are_found_under_each_of_their_names() {
        let path = OsString::from(env!("CARGO_MANIFEST_DIR"));
        let found = find_program(&path, &["nothing-of-this-name", "Cargo.toml"]);
        assert_eq!(
            found,
            Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        );
        assert_eq!(find_program(&path, &["src", "nothing-of-this-name"]), None);
    }
}

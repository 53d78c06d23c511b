//! The reference's test scripts, and our own, over the store in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use narthex_promql::engine::{Engine, EngineOptions, Features};
use narthex_promql::script::{self, MemoryStore, Report};

/// An engine as the reference's scripts expect it: all of the language, names dropped at the end of a query, start
/// timestamps used, few samples at a time.
fn engine() -> Engine {
    Engine::new(EngineOptions {
        max_samples: 10_000,
        features: Features {
            delayed_name_removal: true,
            use_start_timestamps: true,
            ..Features::all_syntax()
        },
        ..EngineOptions::default()
    })
}

fn run(path: &Path) -> Report {
    let text = std::fs::read_to_string(path).expect("script");
    script::run(&text, &engine(), &|| Arc::new(MemoryStore::new()))
}

/// All scripts of a folder, sorted by name.
fn scripts(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    paths.sort();
    paths
}

/// Runs all scripts of a folder, prints how each one fared, and fails if a statement did.
fn all_pass(dir: &Path, least: usize) {
    let (mut table, mut failures) = (String::new(), String::new());
    let (mut passed, mut failed) = (0, 0);
    let paths = scripts(dir);
    assert!(
        paths.len() >= least,
        "only {} scripts in {}",
        paths.len(),
        dir.display()
    );
    for path in paths {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let report = run(&path);
        table.push_str(&format!(
            "{name:<24} {:>5} passed {:>5} failed\n",
            report.passed,
            report.failures.len()
        ));
        passed += report.passed;
        failed += report.failures.len();
        for failure in &report.failures {
            failures.push_str(&format!("{name}.test: {failure}\n"));
        }
    }
    println!("{table}{:<24} {passed:>5} passed {failed:>5} failed", "all");
    if let Some(file) = std::env::var_os("PROMQL_FAILURES") {
        std::fs::write(file, format!("{table}\n{failures}")).expect("list of failures");
    }
    assert!(failed == 0, "{failed} statements failed:\n{failures}");
}

#[test]
fn reference_scripts() {
    if let Some(dir) = testkit::conformance("promql") {
        all_pass(&dir, 21);
    }
}

#[test]
fn own_scripts() {
    all_pass(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/promql")),
        1,
    );
}

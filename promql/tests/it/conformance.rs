//! The reference's test scripts, and our own, over the store in memory.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::labels::Labels;
use model::storage::Queryable;
use narthex_promql::engine::{
    Engine, EngineOptions, Features, QueryOptions, Round, Standing, StandingQuestion,
};
use narthex_promql::script::{self, Answer, Evaluate, MemoryStore, Report};
use narthex_promql::value::{Sample, SampleValue, Value};

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

/// Answers scripts as they expect it, and asks what they ask at one moment twice more, as rules ask: again and again, of
/// an engine as servers have it. What that answers must be what it answers to those who ask once.
struct AskedAgain {
    engine: Engine,
    plain: Engine,
}

impl AskedAgain {
    fn new() -> Self {
        AskedAgain {
            engine: engine(),
            plain: Engine::new(EngineOptions {
                max_samples: 10_000,
                features: Features::all_syntax(),
                ..EngineOptions::default()
            }),
        }
    }

    fn check(&self, store: &dyn Queryable, query: &str, at_ms: i64) {
        let Ok(expr) = self.plain.parse(query) else { return };
        let options = QueryOptions::default();
        let once = self.plain.instant(store, query, at_ms, &options);
        let wanted = match once {
            Ok(output) => match output.value {
                Value::Vector(samples) => Ok(samples),
                Value::Scalar { timestamp_ms, value } => Ok(vec![Sample {
                    labels: Labels::empty(),
                    timestamp_ms,
                    value: SampleValue::Float(value),
                }]),
                _ => return,
            },
            Err(error) => Err(error.to_string()),
        };
        let standing = Standing::new(1);
        for round in [None, Some(&Round::new())] {
            let question = StandingQuestion {
                expr: &expr,
                standing: &standing,
                number: 0,
                round,
                at_ms,
            };
            let again = self.plain.evaluate_standing(store, question, &options).result;
            let again = again.map(|output| output.vector.samples().collect::<Vec<_>>());
            let again = again.map_err(|error| error.to_string());
            // As texts, where NaN is NaN.
            assert_eq!(format!("{again:?}"), format!("{wanted:?}"), "{query} at {at_ms}");
        }
    }
}

impl Evaluate for AskedAgain {
    fn instant(
        &self,
        store: &dyn Queryable,
        query: &str,
        at_ms: i64,
    ) -> Result<Answer, Box<dyn Error + Send + Sync>> {
        self.check(store, query, at_ms);
        Evaluate::instant(&self.engine, store, query, at_ms)
    }

    fn range(
        &self,
        store: &dyn Queryable,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Answer, Box<dyn Error + Send + Sync>> {
        self.check(store, query, end_ms);
        Evaluate::range(&self.engine, store, query, start_ms, end_ms, step_ms)
    }
}

fn run(path: &Path) -> Report {
    let text = std::fs::read_to_string(path).expect("script");
    script::run(&text, &AskedAgain::new(), &|| Arc::new(MemoryStore::new()))
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

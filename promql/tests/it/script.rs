//! The script runner itself: a script that expects something else than what it gets must fail, and say how.

use std::error::Error;
use std::sync::Arc;

use model::storage::Queryable;
use narthex_promql::engine::{Engine, EngineOptions, Features};
use narthex_promql::script::{self, Answer, Evaluate, MemoryStore};
use narthex_promql::value::Value;

const DATA: &str = r#"
load 1m
    a{b="1"} 1+1x10
    a{b="2"} 2+2x10
    h {{schema:0 count:4 sum:5 buckets:[1 2 1] counter_reset_hint:gauge}}x10
"#;

fn engine() -> Engine {
    Engine::new(EngineOptions {
        features: Features::all_syntax(),
        ..EngineOptions::default()
    })
}

/// What is wrong with a statement behind [`DATA`]; nothing where it passes.
fn failure(statement: &str) -> Option<String> {
    let report = script::run(&format!("{DATA}\n{statement}"), &engine(), &|| {
        Arc::new(MemoryStore::new())
    });
    report.failures.first().map(ToString::to_string)
}

#[test]
fn what_is_as_expected_passes() {
    for statement in [
        "eval instant at 1m a\n a{b=\"1\"} 2\n a{b=\"2\"} 4",
        "eval instant at 1m a\n a{b=\"2\"} 4\n a{b=\"1\"} 2.000001",
        "eval range from 0 to 2m step 1m sum(a)\n {} 3 6 9",
        "eval range from 0 to 20m step 10m sum(a)\n {} 3 33 _",
        "eval instant at 1m 1 + 1\n 2",
        "eval instant at 1m \"x\"\n expect string \"x\"",
        "eval instant at 1m a[2m]\n expect range vector from 0 to 1m step 1m\n a{b=\"1\"} 1 2\n a{b=\"2\"} 2 4",
        "eval instant at 1m h\n h {{schema:0 count:4 sum:5 buckets:[1 2 1]}}",
        "eval instant at 1m h\n h {{schema:0 count:4 sum:5 buckets:[1 2 1 0] counter_reset_hint:gauge}}",
        "eval_ordered instant at 1m sort_desc(a)\n a{b=\"2\"} 4\n a{b=\"1\"} 2",
        "eval instant at 1m ceil({__name__=~\"a|h\"}) + on() a\n expect fail",
        "eval_fail instant at 1m a + on() a",
        "eval instant at 1m rate(a[2m])\n expect info regex: might not be a counter.*\\(1:6\\)\n {b=\"1\"} 0.0166666666\n {b=\"2\"} 0.033333333",
        "eval instant at 1m nothing",
    ] {
        assert_eq!(failure(statement), None, "{statement}");
    }
}

#[test]
fn what_is_not_as_expected_fails() {
    let cases = [
        (
            "eval instant at 1m a\n a{b=\"1\"} 2",
            "`a` at 60000 ms: unexpected series {__name__=\"a\", b=\"2\"}: 4",
        ),
        (
            "eval instant at 1m a{b=\"1\"}\n a{b=\"1\"} 2\n a{b=\"3\"} 2",
            "missing series {__name__=\"a\", b=\"3\"}",
        ),
        (
            "eval instant at 1m a{b=\"1\"}\n a{b=\"1\"} 2.0001",
            "expected 2.0001, got 2",
        ),
        (
            "eval instant at 1m a{b=\"1\"}\n a{b=\"1\"} {{count:2}}",
            "expected {{schema:0 count:2 sum:0 counter_reset_hint:Unknown}}, got 2",
        ),
        (
            "eval instant at 1m h\n h 4",
            "expected 4, got {{schema:0 count:4 sum:5 buckets:[0=1 1=2 2=1] counter_reset_hint:Gauge}}",
        ),
        (
            "eval instant at 1m h\n h {{schema:0 count:4 sum:5 buckets:[1 2 2]}}",
            "buckets:[0=1 1=2 2=2]",
        ),
        (
            "eval instant at 1m h\n h {{schema:0 count:4 sum:5 buckets:[1 2 1] counter_reset_hint:reset}}",
            "counter_reset_hint:Reset}}, got",
        ),
        (
            "eval instant at 1m sort_desc(a)\n expect ordered\n a{b=\"1\"} 2\n a{b=\"2\"} 4",
            "expected place 1, got 0",
        ),
        (
            "eval range from 0 to 2m step 1m a{b=\"1\"}\n a{b=\"1\"} 1 2",
            "expected 1 2, got 1@0 2@60000 3@120000",
        ),
        (
            "eval range from 0 to 2m step 1m a{b=\"1\"}\n a{b=\"1\"} 1 _ 3",
            "expected 1 _ 3, got",
        ),
        (
            "eval range from 0 to 2m step 1m a{b=\"1\"}\n a{b=\"1\"} 1 2 3 4",
            "expected 1 2 3 4, got",
        ),
        ("eval instant at 1m 1 + 1\n 3", "expected 3, got 2"),
        (
            "eval instant at 1m 1 + 1\n {} 2",
            "expected a vector or a matrix, got Scalar",
        ),
        (
            "eval instant at 1m a{b=\"1\"}\n 2",
            "expected a scalar, got Vector",
        ),
        (
            "eval instant at 1m \"x\"\n expect string \"y\"",
            "expected \"y\", got \"x\"",
        ),
        (
            "eval instant at 1m a{b=\"1\"}[2m]\n a{b=\"1\"} 1",
            "expected a vector, got Matrix",
        ),
        (
            "eval instant at 1m a{b=\"1\"}[2m]\n expect range vector from 0 to 1m step 30s\n a{b=\"1\"} 1 2",
            "expected 1 2, got 1@0 2@60000",
        ),
        (
            "eval instant at 1m a{b=\"1\"}\n expect range vector from 0 to 1m step 1m\n a{b=\"1\"} 1 2",
            "expected a range vector, got Vector",
        ),
        (
            "eval instant at 1m a + on() a",
            "`a + on() a` at 60000 ms: error: found duplicate series",
        ),
        (
            "eval instant at 1m a{b=\"1\"}\n expect fail",
            "expected an error like any message, got Vector",
        ),
        (
            "eval instant at 1m a + on() a\n expect fail msg: something",
            "expected an error like \"something\", got found duplicate",
        ),
        (
            "eval instant at 1m a + on() a\n expect fail regex: some.*",
            "expected an error like /some.*/, got found duplicate",
        ),
        (
            "eval instant at 1m rate(a{b=\"1\"}[2m])\n expect no_info\n {b=\"1\"} 0.0166666666",
            "unexpected annotation \"PromQL info: metric might not be a counter",
        ),
        (
            "eval instant at 1m rate(a{b=\"1\"}[2m])\n expect info msg: PromQL info: x (1:1)\n {b=\"1\"} 0.0166666666",
            "expected Info \"PromQL info: x (1:1)\"",
        ),
        (
            "eval instant at 1m a{b=\"1\"}\n expect warn\n a{b=\"1\"} 2",
            "expected Warning any message and there is none",
        ),
        ("eval instant at 1m a\n 5 a", "line 8: 1:1: parse error"),
        (
            "eval instant at 1m a\n expect nothing",
            "line 8: invalid expect line",
        ),
        (
            "eval instant at 1m a\n expect warn\n expect no_warn",
            "expectations contradict each other",
        ),
        (
            "eval instant at 1m a\n a 1 2",
            "several values for an instant query",
        ),
        ("eval instant at 1x a", "invalid time or duration: unknown unit"),
        ("eval sometimes a", "invalid evaluation command"),
        ("evil instant at 1m a", "unknown command"),
        ("load 1m\n b@st -1m\n c 1", "the @st line does not fit"),
        ("load 1m\n b@st x\n b 1", "invalid @st line"),
        (
            "load 1m\n a{b=\"1\"} 7",
            "sample refused: duplicate sample for timestamp",
        ),
        (
            "load_with_nhcb 1m\n c_bucket{le=\"1\"} 2\n c_bucket{le=\"2\"} 1",
            "the buckets of {__name__=\"c\"} are not cumulative",
        ),
    ];
    for (statement, expected) in cases {
        let found = failure(statement).unwrap_or_else(|| panic!("passed:\n{statement}"));
        assert!(
            found.contains(expected),
            "{statement}\nexpected {expected}\nfound    {found}"
        );
        assert!(found.starts_with("line 7: "), "{found}");
    }
}

/// Answers range queries wrongly, and queries with `@`.
struct Wrong {
    engine: Engine,
    in_ranges: bool,
}

impl Wrong {
    fn spoil(answer: Answer) -> Answer {
        Answer {
            value: match answer.value {
                Value::Matrix(_) => Value::Matrix(Vec::new()),
                _ => Value::Vector(Vec::new()),
            },
            ..answer
        }
    }
}

impl Evaluate for Wrong {
    fn instant(
        &self,
        store: &dyn Queryable,
        query: &str,
        at_ms: i64,
    ) -> Result<Answer, Box<dyn Error + Send + Sync>> {
        let answer = Evaluate::instant(&self.engine, store, query, at_ms)?;
        Ok(if !self.in_ranges && query.contains('@') {
            Wrong::spoil(answer)
        } else {
            answer
        })
    }

    fn range(
        &self,
        store: &dyn Queryable,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Answer, Box<dyn Error + Send + Sync>> {
        let answer = Evaluate::range(&self.engine, store, query, start_ms, end_ms, step_ms)?;
        Ok(if self.in_ranges {
            Wrong::spoil(answer)
        } else {
            answer
        })
    }
}

#[test]
fn instant_queries_are_asked_in_other_ways_too() {
    let script = format!("{DATA}\neval instant at 5m sum(a)\n {{}} 18\n");
    for (in_ranges, asked) in [
        (true, "`sum(a)` from 240000 to 360000 step 60000 ms"),
        (false, "`sum(a @ 300.000)` at -3000000 ms"),
    ] {
        let wrong = Wrong {
            engine: engine(),
            in_ranges,
        };
        let report = script::run(&script, &wrong, &|| Arc::new(MemoryStore::new()));
        assert_eq!((report.passed, report.failures.len()), (1, 1));
        let found = report.failures[0].to_string();
        assert!(found.contains(asked), "{found}");
    }
}

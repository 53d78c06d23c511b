//! Memory: what goes over a limit fails alone, says where and which limit, and gives everything back.

use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample};
use narthex_promql::engine::{Engine, MemoryLimit, QueryError, QueryOptions, QueryOutput};
use narthex_promql::script::MemoryStore;

use crate::engine::{engine, store};

/// A range of 2,001 steps.
fn range(engine: &Engine, store: &MemoryStore, query: &str) -> Result<QueryOutput, QueryError> {
    engine.range(store, query, 0, 1_000_000, 500, &QueryOptions::default())
}

#[test]
fn the_error_names_the_operator_and_the_flag() {
    let store = store(100);
    for (query, operator) in [
        ("g", "g"),
        ("sum(g) + on () count(c_total * 2)", ""),
        ("sum by (i) (rate(c_total[5m]))", "sum by (i) (rate(c_total[5m]))"),
        (
            "sum(count_values by (i) (\"value\", g))",
            "count_values by (i) (\"value\", g)",
        ),
        ("topk(50, g)", "topk(50, g)"),
        ("sum(quantile(0.5, g)) + 1", "quantile(0.5, g)"),
        ("c_total - ignoring (x) g", "c_total"),
        ("sum(max_over_time(g[50d:1s]))", "g"),
        (
            "scalar(sum(max_over_time(vector(time())[50d:1s])))",
            "vector(time())",
        ),
    ] {
        let engine = engine(|options| options.query_bytes_max = 400_000);
        match range(&engine, &store, query) {
            Ok(_) => assert_eq!(operator, "", "{query} fits"),
            Err(error) => {
                let text = error.to_string();
                let QueryError::TooManyBytes {
                    operator: at,
                    needed_bytes,
                    limit_bytes,
                    limit,
                    ..
                } = error
                else {
                    panic!("{query}: {text}")
                };
                assert_eq!(at, operator, "{query}: {text}");
                assert!(
                    needed_bytes > limit_bytes && limit_bytes == 400_000,
                    "{query}: {text}"
                );
                assert_eq!(limit, MemoryLimit::Query);
                assert!(text.contains("--query.max-memory allows 390.6KiB"), "{text}");
            }
        }
        assert_eq!(engine.memory().held_bytes(), 0, "{query} gives everything back");
    }
}

#[test]
fn queries_share_what_there_is_for_all() {
    let store = store(100);
    let alone = range(&engine(|_| {}), &store, "g").expect("fits");
    let bytes = alone.stats.peak_bytes;
    let engine = engine(|options| options.total_bytes_max = bytes + bytes / 2);
    let first = range(&engine, &store, "g").expect("the first fits");
    assert_eq!(engine.memory().held_bytes(), first.memory.bytes());
    // The first answer is still there, say on its way to a slow client.
    let error = range(&engine, &store, "g").expect_err("the second does not fit");
    assert!(
        matches!(
            &error,
            QueryError::TooManyBytes {
                limit: MemoryLimit::AllQueries,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("--query.max-total-memory allows"),
        "{error}"
    );
    assert!(range(&engine, &store, "sum(g)").is_ok(), "small ones go on");
    drop(first);
    assert_eq!(engine.memory().held_bytes(), 0);
    range(&engine, &store, "g").expect("there is room again");
}

#[test]
fn answers_account_for_what_they_hold() {
    let store = store(64);
    let engine = engine(|_| {});
    for (query, at_least) in [
        ("g", 64 * 2001 * 8),
        // Values with gaps have times of their own.
        ("g > 0", 64 * 200 * 16),
        ("vector(1)", 2001 * 8),
        ("time()", 2001 * 8),
    ] {
        let output = range(&engine, &store, query).expect(query);
        assert!(
            output.memory.bytes() >= at_least,
            "{query}: {}",
            output.memory.bytes()
        );
        assert_eq!(engine.memory().held_bytes(), output.memory.bytes(), "{query}");
    }
}

/// Small texts that ask for much.
#[test]
fn blowups_meet_the_limit_before_the_memory() {
    let store = store(200);
    let budget = 64 << 20;
    let double = |depth: usize| {
        let mut query = "g".to_owned();
        for _ in 0..depth {
            query = format!("label_replace({query}, \"i\", \"$1$1$1$1$1$1$1$1\", \"i\", \"(.*)\")");
        }
        query
    };
    let join = |depth: usize| {
        let mut query = "g".to_owned();
        for _ in 0..depth {
            let sources = ["\"i\""; 20].join(", ");
            query = format!("label_join({query}, \"i\", \"-\", {sources})");
        }
        query
    };
    let sum_of_times = format!(
        "max_over_time(vector({}time(){})[5d:1s])",
        "time() + (".repeat(50),
        ")".repeat(50)
    );
    for query in [
        "max_over_time(g[100000d:1ms])",
        "max_over_time(max_over_time(g[1000d:1s])[1000d:1s])",
        "count_over_time((g + on (i, g) c_total)[30d:1s])",
        "g[1000d:1s]",
        "absent(vector(1))[10000d:1s]",
        "topk(1000000, max_over_time(g[1s:1s]))[2d:1s]",
        "quantile(0.5, g offset 5m)[20d:1s]",
        "count_values(\"v\", vector(time()))[3h:1s]",
        &double(12),
        &join(12),
        &sum_of_times,
    ] {
        let engine = engine(|options| {
            options.query_bytes_max = budget;
            options.threads = 2;
        });
        let result = engine.instant(&store, query, 1_000_000, &QueryOptions::default());
        let Err(error) = result else {
            panic!("{query} fits");
        };
        assert!(
            matches!(
                error,
                QueryError::TooManyBytes { .. } | QueryError::TooManySamples { .. }
            ),
            "{query}: {error}"
        );
        assert!(engine.memory().peak_bytes() <= engine.memory().max_bytes());
        assert_eq!(engine.memory().held_bytes(), 0, "{query}");
    }
}

/// Compat: what the reference reports for three series with a sample at each of four steps, which follows from its
/// rules: operands stay until the result is whole, and the samples of the last step are gathered beside them.
#[test]
fn the_peak_of_samples_is_the_reference_s() {
    let store = MemoryStore::new();
    let mut batch = AppendBatch::default();
    for name in ["a", "b", "c"] {
        let labels = Labels::from_pairs([("__name__", "m_total"), ("l", name)]);
        let series = store.resolve(&labels).expect("series");
        batch.floats.extend((0..=10).map(|minute| FloatSample {
            series,
            timestamp_ms: minute * 60_000,
            value: minute as f64,
        }));
    }
    let mut outcome = AppendOutcome::default();
    store.append(&batch, &mut outcome).expect("appended");
    for threads in [1, 3] {
        let engine = engine(|options| options.threads = threads);
        for (query, peak) in [
            ("m_total", 12),
            ("-m_total", 12),
            ("sum(m_total)", 12),
            ("m_total * 2", 12 + 4 + 12 + 3 + 1),
            ("m_total + m_total", 12 + 12 + 12 + 6),
            ("m_total and m_total", 12 + 12 + 12 + 6),
            ("topk(1, m_total)", 4 + 12),
            ("quantile(0.5, m_total)", 4 + 12),
            ("count_values(\"v\", m_total)", 12 + 4 + 3),
            ("sort(m_total)", 12 + 12 + 3),
            ("absent(m_total)", 12 + 3),
            ("timestamp(m_total)", 12 + 3),
            ("vector(time())", 4 + 4 + 1),
            // The samples of the last window, which holds two, are there until the end.
            ("rate(m_total[2m])", 12 + 2),
            ("sum(rate(m_total[2m]))", 12 + 2),
            ("quantile_over_time(0.5, m_total[2m])", 4 + 12 + 2),
            ("sum(m_total @ 300)", 4),
            ("sum(m_total) / sum(m_total)", 4 + 12),
        ] {
            let options = QueryOptions::default();
            let output = engine.range(&store, query, 300_000, 480_000, 60_000, &options);
            assert_eq!(output.expect(query).stats.peak_samples, peak, "{query}");
        }
    }
}

#[test]
fn a_text_that_no_label_can_hold_is_an_error() {
    let mut query = "label_replace(vector(1), \"a\", \"0123456789abcdef\", \"\", \"\")".to_owned();
    for _ in 0..5 {
        query =
            format!("label_replace({query}, \"a\", \"$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1\", \"a\", \"(.*)\")");
    }
    let answer = range(&engine(|_| {}), &store(1), &query);
    let error = answer.expect_err("16 MiB and more").to_string();
    assert!(
        error.ends_with(
            "label \"a\": a value of 16777216 bytes is more than a label can hold, which is 16777215 bytes"
        ),
        "{error}"
    );
    // What is written in a query becomes label names and values in many places.
    let long = "x".repeat(1 << 24);
    for query in [
        format!("absent(m{{a=\"{long}\"}})"),
        format!("count_values(\"{long}\", m)"),
        format!("label_replace(m, \"{long}\", \"a\", \"\", \"\")"),
        long.clone(),
    ] {
        let error = range(&engine(|_| {}), &store(1), &query)
            .expect_err("too long")
            .to_string();
        assert!(
            error.ends_with("is longer than a label can hold, which is 16777215 bytes"),
            "{}",
            &error[error.len() - 200..]
        );
    }
}

#[test]
fn queries_stay_within_what_the_process_can_take() {
    let store = store(100);
    let engine = engine(|_| {});
    let query = "g * 2";
    let peak = range(&engine, &store, query).expect("it fits").stats.peak_bytes;
    assert!(peak > 2 << 20, "{peak}");
    engine.memory().leave(peak / 2);
    let error = range(&engine, &store, query).expect_err("no room");
    let QueryError::TooManyBytes {
        limit, limit_bytes, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((*limit, *limit_bytes), (MemoryLimit::Process, peak / 2));
    let text = error.to_string();
    assert!(
        text.contains("and the memory of this machine or container allows"),
        "{text}"
    );
    // Small ones go on, and all do when there is room again.
    engine.memory().leave(0);
    range(&engine, &store, "sum(g)").expect("a small one");
    engine.memory().leave(2 * peak);
    range(&engine, &store, query).expect("room again");
    assert_eq!(engine.memory().held_bytes(), 0);
}

#[test]
fn searches_count_among_queries() {
    let engine = engine(|options| {
        options.query_bytes_max = 1000;
        options.total_bytes_max = 1500;
    });
    let search = || engine.search(narthex_promql::engine::CancelHandle::new());
    let (first, second) = (search(), search());
    first.watch().took(900).expect("it fits");
    second.watch().took(900).expect_err("both together do not");
    let error = second.finish().expect_err("the reason").to_string();
    assert!(
        error.starts_with("query processing would take too much memory: all running queries"),
        "{error}"
    );
    drop(second);
    let kept = first.finish().expect("found");
    assert_eq!((kept.bytes(), engine.memory().held_bytes()), (900, 900));
    drop(kept);
    assert_eq!(engine.memory().held_bytes(), 0);
}

/// Patterns of `label_replace` are compiled where they are used: all of a query have one budget, and count among what it
/// holds.
#[test]
fn patterns_of_label_replace_have_a_budget() {
    let store = store(1);
    let engine = engine(|options| options.query_bytes_max = 64 << 20);
    let replaced =
        |i: usize| format!("label_replace(g, \"x\", \"$1\", \"i\", \"(a{i}|[b-y]{{1,20}})+(.*)\")");
    let instant = |query: &str| engine.instant(&store, query, 1_000_000, &QueryOptions::default());
    let few: Vec<String> = (0..5).map(replaced).collect();
    instant(&few.join(" or ")).expect("a few");
    let many: Vec<String> = (0..5_000).map(replaced).collect();
    let error = instant(&many.join(" or "))
        .expect_err("too many patterns")
        .to_string();
    assert!(
        error
            .contains("the regular expressions of label_replace() would take more than 4.0MiB when compiled"),
        "{error}"
    );
    assert_eq!(engine.memory().held_bytes(), 0);
    // One that is written many times is compiled once.
    instant(&vec![replaced(0); 2_000].join(" or ")).expect("one pattern");
}

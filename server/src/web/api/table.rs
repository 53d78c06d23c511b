//! The routes of the API, apart from those by which data comes in (`push`).

use std::sync::Arc;

use super::parameter::{
    END, EXPLAIN, Kind, LIMIT, LOOKBACK_DELTA, MATCH, METRIC, Parameter, QUERY, SCRAPE_POOL, START, STATS,
    STEP, TIME, TIMEOUT,
};
use super::{Answer, READ, Route, answers};
use crate::web::{
    Trust, admin, alerting, backtest, cardinality, exemplars, export, features, health, metric_info,
    metrics_page, notices, parse, post_only, query, running, search, series, status, summary, targets,
    why_empty,
};

const SEARCH_LIMIT: Parameter = Parameter::new(
    "limit",
    Kind::Positive,
    "Most results, 100 by default; at most --web.search.max-limit.",
);
const SEARCH_FOR: Parameter = Parameter::new(
    "search[]",
    Kind::Texts,
    "Words; what resembles any of them is found.",
);
const FUZZ_THRESHOLD: Parameter = Parameter::new(
    "fuzz_threshold",
    Kind::Whole,
    "How much results have to resemble a word, from 0 to 100.",
);
const FUZZ_ALG: Parameter = Parameter::new(
    "fuzz_alg",
    Kind::Word(&search::ALGORITHMS),
    "How resemblance is measured.",
);
const CASE_SENSITIVE: Parameter = Parameter::new(
    "case_sensitive",
    Kind::Switch,
    "Whether large and small letters differ; they do by default.",
);
const SORT_BY: Parameter = Parameter::new(
    "sort_by",
    Kind::Word(&["alpha", "score"]),
    "The order of results.",
);
const SORT_DIR: Parameter = Parameter::new(
    "sort_dir",
    Kind::Word(&["asc", "dsc"]),
    "Its direction; only with sort_by=alpha.",
);
const INCLUDE_SCORE: Parameter = Parameter::new(
    "include_score",
    Kind::Switch,
    "Adds how much each result resembles.",
);
const INCLUDE_METADATA: Parameter =
    Parameter::new("include_metadata", Kind::Switch, "Adds type, help and unit.");
const BATCH_SIZE: Parameter = Parameter::new("batch_size", Kind::Positive, "Results a line, 100 by default.");
const LABEL: Parameter =
    Parameter::new("label", Kind::Text, "The label whose values are searched.").required();

const MAX_ROWS: Parameter = Parameter::new(
    "max_rows_per_line",
    Kind::Positive,
    "Most samples of a line, 10,000 by default.",
);

/// The routes that answers of which may be compressed.
pub(in crate::web) fn compressed(trust: &Arc<Trust>) -> Vec<Route> {
    [
        queries(trust),
        of_targets(),
        of_alerting(),
        of_status(trust),
        changes(trust),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The others. Compat: these never are (api: `notifications` with `Accept-Encoding: gzip`).
pub(in crate::web) fn plain() -> Vec<Route> {
    let mut routes = vec![
        Route::get("/status/walreplay", status::wal_replay)
            .about("How far reading the write-ahead log has come, in segments.")
            .answers(answers::wal_replay),
        Route::get("/notifications", notices::list)
            .about("What people should know of this server.")
            .answers(answers::notifications),
        Route::get("/notifications/live", notices::live)
            .about("The same as a stream: what holds now, and each change.")
            .answers_as(Answer::Other {
                media: "text/event-stream",
                schema: answers::notification,
            }),
    ];
    routes.extend(searches());
    routes
}

fn queries(trust: &Arc<Trust>) -> Vec<Route> {
    vec![
        Route::get_and_post("/query", query::instant)
            .about("Evaluates an expression at one time.")
            .takes([QUERY, TIME, TIMEOUT, LIMIT, LOOKBACK_DELTA, STATS, EXPLAIN])
            .answers(answers::query_result),
        Route::get_and_post("/query_range", query::range)
            .about("Evaluates an expression over a range of time.")
            .takes([
                QUERY,
                START.required(),
                END.required(),
                STEP,
                TIMEOUT,
                LIMIT,
                LOOKBACK_DELTA,
                STATS,
                EXPLAIN,
            ])
            .answers(answers::query_result),
        Route::get_and_post("/query/why_empty", why_empty::why_empty)
            .about("Why an expression gives nothing at a time.")
            .takes([QUERY, TIME])
            .answers(answers::why_empty),
        Route::get_and_post("/query_exemplars", exemplars::query)
            .about("Exemplars of the series that an expression selects.")
            .takes([QUERY, START, END])
            .answers(answers::exemplars),
        Route::get_and_post("/format_query", parse::format_query)
            .about("Lays an expression out.")
            .takes([QUERY])
            .answers(super::schema::text),
        Route::get_and_post("/parse_query", parse::parse_query)
            .about("The syntax tree of an expression.")
            .takes([QUERY])
            .answers(answers::syntax_tree),
        Route::get_and_post("/labels", series::label_names)
            .about("Names of labels.")
            .takes([START, END, MATCH, LIMIT])
            .answers(answers::texts),
        Route::get("/label/{name}/values", series::label_values)
            .about("Values of a label.")
            .takes([Parameter::in_path("name", "The label."), START, END, MATCH, LIMIT])
            .answers(answers::texts),
        Route::get_and_post("/export", export::export)
            .about("Raw samples, a line of JSON for some of a series.")
            .takes([MATCH, START, END, MAX_ROWS])
            .answers_as(Answer::Other {
                media: "application/stream+json",
                schema: answers::exported_line,
            }),
        Route::get_and_post("/series", series::series)
            .about("Label sets of series.")
            .takes([MATCH.required(), START, END, LIMIT])
            .answers(answers::label_sets),
        Route::new(
            "/rules/backtest",
            &["post"],
            READ,
            post_only(trust, backtest::handler()),
        )
        .about("What rules would have done with the data of this server.")
        .takes([
            Parameter::new("rules", Kind::Text, "The text of a rule file.").required(),
            Parameter::new("alertmanager", Kind::Text, "An Alertmanager's configuration."),
            Parameter::new(
                "eval_interval",
                Kind::Duration,
                "Interval of groups that name none.",
            ),
            Parameter::new("from", Kind::Time, "The first evaluation.").required(),
            Parameter::new("to", Kind::Time, "The last one; now by default."),
        ])
        .answers(answers::backtest),
    ]
}

fn searches() -> Vec<Route> {
    const LINES: Answer = Answer::Other {
        media: "application/x-ndjson",
        schema: answers::search_line,
    };
    vec![
        Route::get_and_post("/search/metric_names", search::metric_names)
            .about("Searches the names of metrics.")
            .takes([
                MATCH,
                SEARCH_FOR,
                FUZZ_THRESHOLD,
                FUZZ_ALG,
                CASE_SENSITIVE,
                SORT_BY,
                SORT_DIR,
                INCLUDE_SCORE,
                INCLUDE_METADATA,
                START,
                END,
                SEARCH_LIMIT,
                BATCH_SIZE,
            ])
            .answers_as(LINES),
        Route::get_and_post("/search/label_names", search::label_names)
            .about("Searches the names of labels.")
            .takes([
                MATCH,
                SEARCH_FOR,
                FUZZ_THRESHOLD,
                FUZZ_ALG,
                CASE_SENSITIVE,
                SORT_BY,
                SORT_DIR,
                INCLUDE_SCORE,
                START,
                END,
                SEARCH_LIMIT,
                BATCH_SIZE,
            ])
            .answers_as(LINES),
        Route::get_and_post("/search/label_values", search::label_values)
            .about("Searches the values of a label.")
            .takes([
                LABEL,
                MATCH,
                SEARCH_FOR,
                FUZZ_THRESHOLD,
                FUZZ_ALG,
                CASE_SENSITIVE,
                SORT_BY,
                SORT_DIR,
                INCLUDE_SCORE,
                START,
                END,
                SEARCH_LIMIT,
                BATCH_SIZE,
            ])
            .answers_as(LINES),
    ]
}

fn of_targets() -> Vec<Route> {
    vec![
        Route::get("/scrape_pools", targets::scrape_pools)
            .about("Names of the jobs.")
            .answers(answers::scrape_pools),
        Route::get("/scrape_pools/config", targets::scrape_pool_config)
            .about("The configuration of a job as the server has it.")
            .takes([SCRAPE_POOL.required()])
            .answers(answers::yaml),
        Route::get("/targets", targets::targets)
            .about("What is scraped, and how that went last.")
            .takes([
                SCRAPE_POOL,
                Parameter::new(
                    "state",
                    Kind::Text,
                    "\"active\", \"dropped\" or \"any\", the default.",
                ),
            ])
            .answers(answers::targets),
        Route::get("/targets/summary", summary::summary)
            .about("How many targets are up, and what the others die of.")
            .answers(answers::targets_summary),
        Route::get("/targets/metadata", targets::target_metadata)
            .about("What targets say of their metrics.")
            .takes([
                Parameter::new(
                    "match_target",
                    Kind::Text,
                    "A selector of targets by their labels.",
                ),
                METRIC,
                LIMIT,
            ])
            .answers(answers::target_metadata),
        Route::get("/targets/relabel_steps", targets::relabel_steps)
            .about("What each relabelling rule of a job makes of a label set.")
            .takes([
                SCRAPE_POOL.required(),
                Parameter::new("labels", Kind::Text, "The label set, a JSON object.").required(),
            ])
            .answers(answers::relabel_steps),
        Route::get("/metric_info", metric_info::metric_info)
            .about("What there is to know about a metric.")
            .takes([METRIC.required()])
            .answers(answers::metric_info),
        Route::get("/metadata", targets::metadata)
            .about("What is said of metrics, by name.")
            .takes([
                LIMIT,
                Parameter::new(
                    "limit_per_metric",
                    Kind::Whole,
                    "Most of what is said of one metric.",
                ),
                METRIC,
            ])
            .answers(answers::metadata),
    ]
}

fn of_alerting() -> Vec<Route> {
    vec![
        Route::get("/alertmanagers", alerting::alertmanagers)
            .about("Where alerts are sent.")
            .answers(answers::alertmanagers),
        Route::get("/alerts", alerting::alerts)
            .about("Alerts that are pending or fire.")
            .answers(answers::alerts),
        Route::get("/rules", alerting::rules)
            .about("Rules, how they fare, and their alerts.")
            .takes([
                Parameter::new("type", Kind::Text, "\"alert\" or \"record\"; both by default."),
                Parameter::new("rule_name[]", Kind::Texts, "Names of rules."),
                Parameter::new("rule_group[]", Kind::Texts, "Names of groups."),
                Parameter::new("file[]", Kind::Texts, "Paths of files."),
                MATCH,
                Parameter::new("exclude_alerts", Kind::Switch, "Leaves out the alerts of rules."),
                Parameter::new("group_limit", Kind::Positive, "Most groups of an answer."),
                Parameter::new(
                    "group_next_token",
                    Kind::Text,
                    "Where to go on: groupNextToken of the answer before.",
                ),
            ])
            .answers(answers::rules),
    ]
}

fn of_status(trust: &Arc<Trust>) -> Vec<Route> {
    vec![
        Route::get("/status/config", status::config)
            .about("The configuration in force.")
            .answers(answers::yaml),
        Route::get("/status/runtimeinfo", status::runtime_info)
            .about("How this process fares.")
            .answers(answers::runtime_info),
        Route::get("/status/buildinfo", status::build_info)
            .about("Which version this is.")
            .answers(answers::build_info),
        Route::get("/status/flags", status::flags)
            .about("The flags in force.")
            .answers(answers::flags),
        Route::get("/status/aggregation", status::aggregation)
            .about("Rules of stream aggregation: what they take, and what came late or was left out.")
            .answers(super::schema::anything),
        Route::get("/status/tsdb", status::tsdb)
            .about("What the head holds, and which names and labels have most of it.")
            .takes([Parameter::new(
                "limit",
                Kind::Positive,
                "Most entries of each list, 10 by default.",
            )])
            .answers(answers::tsdb),
        Route::get("/status/tsdb/blocks", status::blocks)
            .about("The blocks on the disk.")
            .answers(answers::blocks),
        Route::get("/status/self_metrics", metrics_page::self_metrics)
            .about("What this server counts of itself.")
            .takes([Parameter::new(
                "metric_name_pattern",
                Kind::Text,
                "A regular expression for the whole name.",
            )])
            .answers(answers::self_metrics),
        Route::get("/status/queries", running::list)
            .about("Queries that wait or run, and those that ended last.")
            .takes([Parameter::new(
                "explain",
                Kind::Word(&["plan"]),
                "Adds the plans of those that run.",
            )])
            .answers(answers::queries),
        Route::delete("/status/queries/{id}", trust, running::stop)
            .about("Stops a query that waits or runs.")
            .takes([Parameter::in_path("id", "The query.")]),
        Route::get("/status/cardinality", cardinality::cardinality)
            .about("Which metrics, labels or values have most series, and where series came or went.")
            .takes([
                Parameter::new(
                    "by",
                    Kind::Text,
                    "\"metric\", the default, \"label\", or the name of a label.",
                ),
                MATCH,
                Parameter::new(
                    "window",
                    Kind::Duration,
                    "With how long ago to compare; a day by default.",
                ),
                Parameter::new("limit", Kind::Whole, "Most rows, 20 by default."),
            ])
            .answers(answers::cardinality),
        Route::get("/status/health", health::health)
            .about("Whether all is well, in sentences.")
            .answers(answers::health),
        Route::get("/status/limits", health::limits)
            .about("What is used of what there may be.")
            .answers(answers::limits),
        Route::get("/features", features::features)
            .about("What this server can do.")
            .answers(answers::features),
    ]
}

fn changes(trust: &Arc<Trust>) -> Vec<Route> {
    vec![
        Route::change("/admin/tsdb/delete_series", trust, admin::delete_series)
            .about("Deletes samples of series.")
            .takes([MATCH.required(), START, END]),
        Route::change("/admin/tsdb/clean_tombstones", trust, admin::clean_tombstones)
            .about("Takes what was deleted off the disk."),
        Route::change("/admin/tsdb/snapshot", trust, admin::snapshot)
            .about("Copies the store into its folder of snapshots.")
            .takes([Parameter::new(
                "skip_head",
                Kind::Switch,
                "Leaves out what is in no block yet.",
            )])
            .answers(answers::snapshot),
    ]
}

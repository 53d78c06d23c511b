//! What routes answer: the `data` of their envelopes, or what stands in its place.

use super::schema::{
    Schema, anything, integer, labels, list, map, may, must, number, object, one_of, or_null, switch, text,
    time, tuple, word,
};

// ---------------------------------------------------------------------------------------------------------------- queries

/// A time in seconds, and a value as text.
fn point() -> Schema {
    tuple([number(), text()])
}

/// A time in seconds, and a histogram.
fn histogram_point() -> Schema {
    let bucket = tuple([integer(), text(), text(), text()]);
    let histogram = object([
        must("count", text()),
        must("sum", text()),
        may("buckets", list(bucket)),
    ]);
    tuple([number(), histogram])
}

pub(super) fn query_result() -> Schema {
    let sample = object([
        must("metric", labels()),
        may("value", point()),
        may("histogram", histogram_point()),
    ]);
    let series = object([
        must("metric", labels()),
        may("values", list(point())),
        may("histograms", list(histogram_point())),
    ]);
    let of = |kind: &str, result: Schema| {
        object([
            must("resultType", word(&[kind])),
            must("result", result),
            may("stats", statistics()),
            may("explain", explained()),
        ])
    };
    one_of([
        of("vector", list(sample)),
        of("matrix", list(series)),
        of("scalar", point()),
        of("string", point()),
    ])
}

fn statistics() -> Schema {
    let by_step = || list(tuple([number(), integer()]));
    object([
        must(
            "timings",
            object([
                must("evalTotalTime", number()),
                must("resultSortTime", number()),
                must("queryPreparationTime", number()),
                must("innerEvalTime", number()),
                must("execQueueTime", number()),
                must("execTotalTime", number()),
            ]),
        ),
        must(
            "samples",
            object([
                may("totalQueryableSamplesPerStep", by_step()),
                must("totalQueryableSamples", integer()),
                may("samplesReadPerStep", by_step()),
                must("samplesRead", integer()),
                must("peakSamples", integer()),
            ]),
        ),
    ])
}

/// A plan: a tree of operators, each with an `operation`, its `query`, and its `inputs`.
fn explained() -> Schema {
    object([
        must("plan", map(anything())),
        may(
            "totals",
            object([
                must("wallSeconds", number()),
                must("peakBytes", integer()),
                must("samplesRead", integer()),
            ]),
        ),
    ])
}

/// Parts of the expression that are to blame: a name or condition that fits no series, a time without samples, a join or a
/// filter that lets nothing through.
pub(super) fn why_empty() -> Schema {
    let without = object([must("matcher", text()), must("series", integer())]);
    list(object([
        must("span", tuple([integer(), integer()])),
        must("text", text()),
        must("kind", word(&["name", "matcher", "window", "join", "filter"])),
        must("without", list(without)),
        may("near", text()),
        may("lastSeen", time()),
    ]))
}

pub(super) fn exemplars() -> Schema {
    let exemplar = object([
        must("labels", labels()),
        must("value", text()),
        must("timestamp", number()),
    ]);
    list(object([
        must("seriesLabels", labels()),
        must("exemplars", list(exemplar)),
    ]))
}

/// A syntax tree: nodes with a `type` and what belongs to it.
pub(super) fn syntax_tree() -> Schema {
    map(anything())
}

pub(super) fn texts() -> Schema {
    list(text())
}

pub(super) fn label_sets() -> Schema {
    list(labels())
}

/// A line of a search: results, and at the end how it went.
pub(super) fn search_line() -> Schema {
    let found = object([
        may("name", text()),
        may("value", text()),
        may("score", number()),
        may("type", text()),
        may("help", text()),
        may("unit", text()),
    ]);
    one_of([
        object([must("results", list(found))]),
        object([must("status", word(&["success"])), must("has_more", switch())]),
    ])
}

// ---------------------------------------------------------------------------------------------------------------- targets

pub(super) fn scrape_pools() -> Schema {
    object([must("scrapePools", list(text()))])
}

pub(super) fn yaml() -> Schema {
    object([must("yaml", text())])
}

pub(super) fn targets() -> Schema {
    let active = object([
        must("discoveredLabels", labels()),
        must("labels", labels()),
        must("scrapePool", text()),
        must("scrapeUrl", text()),
        must("globalUrl", text()),
        must("lastError", text()),
        must("lastScrape", time()),
        must("lastScrapeDuration", number()),
        must("health", word(&["up", "down", "unknown"])),
        must("scrapeInterval", text()),
        must("scrapeTimeout", text()),
        may("lastWarning", text()),
    ]);
    let dropped = object([must("discoveredLabels", labels()), must("scrapePool", text())]);
    let trouble = object([
        must("scrapePool", text()),
        must("mechanism", text()),
        must("lastError", text()),
        must("since", time()),
    ]);
    object([
        must("activeTargets", list(active)),
        must("droppedTargets", list(dropped)),
        must("droppedTargetCounts", or_null(map(integer()))),
        may("discoveryErrors", list(trouble)),
    ])
}

/// Targets of each job, and what those that are down die of. A cell a target: `.` up, `#` down, `?` not known yet.
pub(super) fn targets_summary() -> Schema {
    let pool = object([
        must("name", text()),
        must("up", integer()),
        must("down", integer()),
        must("unknown", integer()),
        must("cells", text()),
    ]);
    let cause = object([
        must("pool", text()),
        must("text", text()),
        must("hint", text()),
        must("count", integer()),
    ]);
    object([must("pools", list(pool)), must("causes", list(cause))])
}

pub(super) fn metric_info() -> Schema {
    let value = object([must("value", text()), must("series", integer())]);
    let label = object([
        must("name", text()),
        must("values", integer()),
        must("top", list(value)),
    ]);
    let rule = object([
        must("file", text()),
        must("group", text()),
        must("name", text()),
        must("type", word(&["alerting", "recording"])),
    ]);
    object([
        must("metric", text()),
        must("type", text()),
        must("unit", text()),
        must("help", text()),
        must("series", integer()),
        must("jobs", list(text())),
        must("labels", list(label)),
        must("rules", list(rule)),
    ])
}

pub(super) fn target_metadata() -> Schema {
    list(object([
        must("target", labels()),
        may("metric", text()),
        must("type", text()),
        must("unit", text()),
        must("help", text()),
    ]))
}

pub(super) fn metadata() -> Schema {
    map(list(object([
        must("type", text()),
        must("unit", text()),
        must("help", text()),
    ])))
}

pub(super) fn relabel_steps() -> Schema {
    let rule = object([
        may("source_labels", list(text())),
        may("separator", text()),
        must("regex", text()),
        may("modulus", integer()),
        may("target_label", text()),
        may("replacement", text()),
        must("action", text()),
    ]);
    let step = object([
        must("rule", rule),
        must("output", labels()),
        must("keep", switch()),
    ]);
    object([must("steps", list(step))])
}

// ----------------------------------------------------------------------------------------------------------------- alerts

pub(super) fn alertmanagers() -> Schema {
    let urls = || list(object([must("url", text())]));
    object([
        must("activeAlertmanagers", urls()),
        must("droppedAlertmanagers", urls()),
    ])
}

fn alert() -> Schema {
    object([
        must("labels", labels()),
        must("annotations", labels()),
        must("state", text()),
        must("activeAt", time()),
        may("keepFiringSince", time()),
        must("value", text()),
    ])
}

pub(super) fn alerts() -> Schema {
    object([must("alerts", list(alert()))])
}

pub(super) fn rules() -> Schema {
    let rule = object([
        must("type", word(&["alerting", "recording"])),
        must("name", text()),
        must("query", text()),
        must("labels", labels()),
        must("health", text()),
        may("lastError", text()),
        must("evaluationTime", number()),
        must("lastEvaluation", time()),
        may("state", text()),
        may("duration", number()),
        may("keepFiringFor", number()),
        may("annotations", labels()),
        may("alerts", or_null(list(alert()))),
    ]);
    let group = object([
        must("name", text()),
        must("file", text()),
        must("rules", list(rule)),
        must("interval", number()),
        must("limit", integer()),
        must("evaluationTime", number()),
        must("lastEvaluation", time()),
        may("noData", text()),
    ]);
    object([must("groups", list(group)), may("groupNextToken", text())])
}

/// Rules with what they would have done; the command line's document of a backtest.
pub(super) fn backtest() -> Schema {
    object([
        must("from", time()),
        must("to", time()),
        must("rules", list(map(anything()))),
        may("receivers", anything()),
        may("notifications", list(map(anything()))),
        may("notificationsLeftOut", integer()),
        may("notificationsByReceiver", anything()),
        may("suppressed", anything()),
    ])
}

// ----------------------------------------------------------------------------------------------------------------- status

pub(super) fn runtime_info() -> Schema {
    object([
        must("startTime", time()),
        must("CWD", text()),
        must("hostname", text()),
        must("serverTime", time()),
        must("reloadConfigSuccess", switch()),
        must("lastConfigTime", time()),
        must("corruptionCount", integer()),
        must("goroutineCount", integer()),
        must("GOMAXPROCS", integer()),
        must("GOMEMLIMIT", integer()),
        must("GOGC", text()),
        must("GODEBUG", text()),
        must("storageRetention", text()),
    ])
}

pub(super) fn build_info() -> Schema {
    object([
        must("version", text()),
        must("revision", text()),
        must("branch", text()),
        must("buildUser", text()),
        must("buildDate", text()),
        must("goVersion", text()),
    ])
}

pub(super) fn flags() -> Schema {
    map(text())
}

pub(super) fn tsdb() -> Schema {
    let counts = || list(object([must("name", text()), must("value", integer())]));
    object([
        must(
            "headStats",
            object([
                must("numSeries", integer()),
                must("numLabelPairs", integer()),
                must("chunkCount", integer()),
                must("minTime", integer()),
                must("maxTime", integer()),
            ]),
        ),
        must("seriesCountByMetricName", counts()),
        must("labelValueCountByLabelName", counts()),
        must("memoryInBytesByLabelName", counts()),
        must("seriesCountByLabelValuePair", counts()),
    ])
}

/// What stands in the `meta.json` of each block, with what other programs have added.
pub(super) fn blocks() -> Schema {
    object([must("blocks", list(map(anything())))])
}

pub(super) fn wal_replay() -> Schema {
    object([
        must("min", integer()),
        must("max", integer()),
        must("current", integer()),
    ])
}

/// Metric families in the JSON form of `io.prometheus.client`.
pub(super) fn self_metrics() -> Schema {
    list(object([
        must("name", text()),
        may("help", text()),
        must("type", text()),
        must("metric", list(map(anything()))),
        may("unit", text()),
    ]))
}

pub(super) fn features() -> Schema {
    map(map(switch()))
}

pub(super) fn notification() -> Schema {
    object([
        must("text", text()),
        must("date", time()),
        must("active", switch()),
    ])
}

pub(super) fn notifications() -> Schema {
    list(notification())
}

pub(super) fn queries() -> Schema {
    list(object([
        must("id", text()),
        must("query", text()),
        must("kind", word(&["instant", "range", "rule"])),
        must("state", word(&["queued", "running", "done", "failed"])),
        must("from", text()),
        must("started", time()),
        must("seconds", number()),
        must("queuedSeconds", number()),
        must("bytes", integer()),
        must("samples", integer()),
        may("error", text()),
        may("plan", map(anything())),
    ]))
}

/// Series now, how many more than a window ago, and how many of the last hour are gone.
pub(super) fn cardinality() -> Schema {
    list(object([
        must("name", text()),
        must("series", integer()),
        must("delta", integer()),
        must("churn", integer()),
        may("values", integer()),
        may("rules", integer()),
    ]))
}

pub(super) fn health() -> Schema {
    list(object([
        must("name", text()),
        must("ok", switch()),
        must("text", text()),
    ]))
}

/// What is used of what there may be; no `max` where there is no limit.
pub(super) fn limits() -> Schema {
    list(object([
        must("name", text()),
        must("unit", text()),
        must("used", number()),
        must("max", or_null(number())),
    ]))
}

// --------------------------------------------------------------------------------------------------------------- changes

pub(super) fn snapshot() -> Schema {
    object([must("name", text())])
}

/// Groups of the push gateway.
pub(in crate::web) fn groups() -> Schema {
    list(map(anything()))
}

/// Why something pushed was not taken, or not whole.
/// Imports, the newest first.
pub(in crate::web) fn imports() -> Schema {
    list(anything())
}

/// Samples as lines of JSON.
pub(super) fn exported_line() -> Schema {
    object([
        must("metric", labels()),
        must("values", list(anything())),
        must("timestamps", list(integer())),
    ])
}

pub(in crate::web) fn refusal() -> Schema {
    object([must("error", text())])
}

//! `global.query_log_file`: executed queries, one JSON object a line, as the reference writes them.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use parking_lot::Mutex;
use promql::engine::{EvalTime, QueryError, QueryStats};
use serde::{Serialize, Serializer};

use super::{Origin, QueryTimes, Question, StatsJson};

/// Times as the log writes them.
const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%S%.3fZ";

/// The log in force, if there is one.
#[derive(Default)]
pub(crate) struct QueryLog(ArcSwapOption<OpenLog>);

/// An open log file.
#[derive(Debug)]
pub(crate) struct OpenLog(Mutex<File>);

#[derive(Serialize)]
struct Line<'l> {
    time: String,
    level: &'static str,
    source: &'static str,
    msg: &'static str,
    params: Params<'l>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    stats: StatsJson,
    /// Compat: there is no tracing here; these are what the reference writes without it.
    #[serde(rename = "spanID")]
    span_id: &'static str,
    #[serde(rename = "traceID")]
    trace_id: &'static str,
    #[serde(flatten, serialize_with = "origin")]
    origin: &'l Origin,
}

#[derive(Serialize)]
struct Params<'l> {
    end: String,
    query: &'l str,
    start: String,
    /// In whole seconds; 0 for one point in time.
    step: i64,
}

#[derive(Serialize)]
struct HttpRequest<'l> {
    #[serde(rename = "clientIP")]
    client_ip: &'l str,
    method: &'l str,
    path: &'l str,
}

#[derive(Serialize)]
struct RuleGroup<'l> {
    file: &'l str,
    name: &'l str,
}

impl QueryLog {
    /// Opens a log at its end; creates it where it is not there. No log for an empty path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn open(path: &Path) -> std::io::Result<Option<Arc<OpenLog>>> {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Some(Arc::new(OpenLog(Mutex::new(file)))))
    }

    /// Puts a log in force in place of the last one: after a reload lines go where the name points now.
    pub(crate) fn set(&self, log: Option<Arc<OpenLog>>) {
        self.0.store(log);
    }

    /// Whether queries are logged.
    pub(crate) fn is_on(&self) -> bool {
        self.0.load().is_some()
    }

    /// Adds a line; false when it could not be written, which does not disturb queries.
    pub(super) fn write(
        &self,
        question: &Question<'_>,
        error: Option<&QueryError>,
        stats: &QueryStats,
        times: &QueryTimes,
    ) -> bool {
        if let Some(log) = &*self.0.load() {
            let mut line = line(question, error, stats, times, Timestamp::now());
            line.push('\n');
            if let Err(error) = log.0.lock().write_all(line.as_bytes()) {
                tracing::debug!(%error, "A query is not logged");
                return false;
            }
        }
        true
    }
}

fn line(
    question: &Question<'_>,
    error: Option<&QueryError>,
    stats: &QueryStats,
    times: &QueryTimes,
    now: Timestamp,
) -> String {
    let (start_ms, end_ms, step) = match question.time {
        EvalTime::Instant { at_ms } => (at_ms, at_ms, 0),
        EvalTime::Range {
            start_ms,
            end_ms,
            step_ms,
        } => (start_ms, end_ms, step_ms / 1000),
    };
    let line = Line {
        time: now.strftime(TIME_FORMAT).to_string(),
        level: "INFO",
        source: "queries",
        msg: "promql query logged",
        params: Params {
            end: time_text(end_ms),
            query: question.text,
            start: time_text(start_ms),
            step,
        },
        error: error.map(ToString::to_string),
        stats: StatsJson::new(stats, times),
        span_id: "0000000000000000",
        trace_id: "00000000000000000000000000000000",
        origin: question.origin,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

fn origin<S: Serializer>(origin: &&Origin, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap as _;
    let mut map = serializer.serialize_map(Some(1))?;
    match origin {
        Origin::Request { client, method, path } => {
            let request = HttpRequest {
                client_ip: client,
                method,
                path,
            };
            map.serialize_entry("httpRequest", &request)?;
        }
        Origin::Rule { file, group } => {
            map.serialize_entry("ruleGroup", &RuleGroup { file, name: group })?;
        }
    }
    map.end()
}

/// A time, or its milliseconds where there is no calendar for it.
fn time_text(time_ms: i64) -> String {
    Timestamp::from_millisecond(time_ms).map_or_else(
        |_| time_ms.to_string(),
        |time| time.strftime(TIME_FORMAT).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use promql::engine::QueryOptions;

    use super::*;

    #[test]
    fn lines_have_the_customary_fields_in_the_customary_order() {
        let origin = Origin::Rule {
            file: "rules.yml".to_owned(),
            group: "g1".to_owned(),
        };
        let question = Question {
            text: "up > \"\"",
            expr: None,
            time: EvalTime::Range {
                start_ms: 1_000_500,
                end_ms: 1_010_000,
                step_ms: 2_500,
            },
            options: QueryOptions::default(),
            origin: &origin,
            may_be_kept: false,
        };
        let error = QueryError::TooManySamples { max_samples: 1 };
        let stats = QueryStats {
            total_queryable_samples: 7,
            samples_read: 5,
            peak_samples: 2,
            eval_ns: 1_500_000_000,
            ..QueryStats::default()
        };
        let times = QueryTimes {
            waited: Duration::from_millis(250),
            total: Duration::from_millis(1750),
        };
        let now = Timestamp::from_millisecond(1_795_422_205_994).expect("a time");
        assert_eq!(
            line(&question, Some(&error), &stats, &times, now),
            concat!(
                r#"{"time":"2026-11-23T08:23:25.994Z","level":"INFO","source":"queries","msg":"promql query logged","#,
                r#""params":{"end":"1970-01-01T00:16:50.000Z","query":"up > \"\"","start":"1970-01-01T00:16:40.500Z","step":2},"#,
                r#""error":"query processing would load too many samples into memory in query execution","#,
                r#""stats":{"timings":{"evalTotalTime":1.5,"resultSortTime":0.0,"queryPreparationTime":0.0,"#,
                r#""innerEvalTime":1.5,"execQueueTime":0.25,"execTotalTime":1.75},"#,
                r#""samples":{"totalQueryableSamples":7,"samplesRead":5,"peakSamples":2}},"#,
                r#""spanID":"0000000000000000","traceID":"00000000000000000000000000000000","#,
                r#""ruleGroup":{"file":"rules.yml","name":"g1"}}"#
            )
        );
        assert_eq!(time_text(i64::MAX), i64::MAX.to_string());
    }
}

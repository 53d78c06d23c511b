//! A server elsewhere, whose data rules are tried on: its query API, and how far its answers are believed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::labels::Labels;
use rules::backtest::{Remote, RemoteError, RemoteSeries};
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::runtime::{Builder, Runtime};

use crate::cli::client::{Client, ClientError};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5 * 60);
/// Words by which servers say that they do not do so much at once.
const LIMITS: [&str; 6] = [
    "exceeded maximum resolution",
    "too many samples",
    "limit",
    "too many",
    "too large",
    "maximum",
];

/// The server.
pub(super) struct Elsewhere {
    client: Client,
    runtime: Runtime,
}

/// The server answers something else than it was asked for.
#[derive(Debug, thiserror::Error)]
enum Unbelievable {
    #[error("the server answers a query with a range of times with a {0}, not a matrix")]
    Type(String),
    #[error("the server answers for the time {got}, which it was not asked for: {want}")]
    Time { got: f64, want: String },
    #[error("the server's answer has a value that is no number: {0}")]
    Value(String),
    #[error("the server's answer is only a part: {0}")]
    Part(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    #[serde(default)]
    result: Json,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histograms: Vec<Json>,
}

/// Which times are asked for.
enum Times {
    Steps {
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    },
    UpTo(i64),
}

impl Times {
    fn has(&self, at_ms: i64) -> bool {
        match *self {
            Times::Steps {
                start_ms,
                end_ms,
                step_ms,
            } => (start_ms..=end_ms).contains(&at_ms) && (at_ms - start_ms) % step_ms == 0,
            Times::UpTo(end_ms) => at_ms <= end_ms,
        }
    }

    fn text(&self) -> String {
        let seconds = |ms: i64| ms as f64 / 1e3;
        match *self {
            Times::Steps {
                start_ms,
                end_ms,
                step_ms,
            } => format!(
                "from {} to {} by {} s",
                seconds(start_ms),
                seconds(end_ms),
                seconds(step_ms)
            ),
            Times::UpTo(end_ms) => format!("up to {}", seconds(end_ms)),
        }
    }
}

impl Elsewhere {
    pub(super) fn new(client: Client) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Elsewhere { client, runtime })
    }

    fn ask(
        &self,
        path: &str,
        params: &[(&str, String)],
        times: &Times,
    ) -> Result<Vec<RemoteSeries>, RemoteError> {
        let asking = self.client.api_post::<Data>(path, params, ANSWER_MAX);
        let answer = self.runtime.block_on(asking).map_err(refusal)?;
        // Half of the data would make alerts that never were, and hide some that were.
        if let Some(note) = answer
            .notes
            .iter()
            .find(|note| note.to_lowercase().contains("partial"))
        {
            return Err(unbelievable(Unbelievable::Part(note.clone())));
        }
        read(answer.data, times)
    }
}

impl Remote for Elsewhere {
    fn range(
        &self,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Vec<RemoteSeries>, RemoteError> {
        let params = [
            ("query", query.to_owned()),
            ("start", seconds(start_ms)),
            ("end", seconds(end_ms)),
            ("step", seconds(step_ms)),
        ];
        let times = Times::Steps {
            start_ms,
            end_ms,
            step_ms,
        };
        self.ask("api/v1/query_range", &params, &times)
    }

    fn samples(&self, selector: &str, at_ms: i64) -> Result<Vec<RemoteSeries>, RemoteError> {
        let params = [("query", selector.to_owned()), ("time", seconds(at_ms))];
        self.ask("api/v1/query", &params, &Times::UpTo(at_ms))
    }
}

/// Milliseconds as the API has times.
fn seconds(ms: i64) -> String {
    (ms as f64 / 1e3).to_string()
}

fn unbelievable(error: Unbelievable) -> RemoteError {
    RemoteError::Server(Arc::new(error))
}

/// What it means that there is no answer.
fn refusal(error: ClientError) -> RemoteError {
    let ClientError::Refused { kind, message } = &error else {
        return RemoteError::Server(Arc::new(error));
    };
    let text = error.to_string();
    let is_limit = LIMITS.iter().any(|word| message.contains(word));
    match kind.as_str() {
        "bad_data" | "execution" if !is_limit => RemoteError::Query(text),
        _ => RemoteError::TooMuch(format!(
            "{text} (the server limits what it does for one query; try a shorter time, or its data folder)"
        )),
    }
}

fn read(data: Data, times: &Times) -> Result<Vec<RemoteSeries>, RemoteError> {
    if data.result_type != "matrix" {
        return Err(unbelievable(Unbelievable::Type(data.result_type)));
    }
    let series: Vec<Series> = serde_json::from_value(data.result)
        .map_err(|error| RemoteError::Server(Arc::new(ClientError::Shape(error))))?;
    series.into_iter().map(|series| one(series, times)).collect()
}

fn one(series: Series, times: &Times) -> Result<RemoteSeries, RemoteError> {
    if !series.histograms.is_empty() {
        return Err(RemoteError::Query(
            "the answer has native histograms, which the API does not tell whole; use the data folder"
                .to_owned(),
        ));
    }
    let sample = |(at, value): (f64, String)| {
        let at_ms = (at * 1e3).round() as i64;
        if !times.has(at_ms) {
            let want = times.text();
            return Err(unbelievable(Unbelievable::Time { got: at, want }));
        }
        let value = value
            .parse()
            .map_err(|_| unbelievable(Unbelievable::Value(value)))?;
        Ok((at_ms, value))
    };
    Ok(RemoteSeries {
        labels: Labels::from_pairs(series.metric),
        samples: series.values.into_iter().map(sample).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: Times = Times::Steps {
        start_ms: 1_000,
        end_ms: 121_000,
        step_ms: 60_000,
    };

    fn answer(text: &str) -> Result<Vec<RemoteSeries>, String> {
        read(serde_json::from_str(text).expect("JSON"), &STEPS).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_not_asked_for_is_not_believed() {
        let good = answer(
            r#"{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1,"2"],[61.0,"NaN"],[121,"+Inf"]]}]}"#,
        );
        let good = good.expect("believed");
        assert_eq!(good[0].labels, Labels::from_pairs([("a", "b")]));
        assert_eq!(good[0].samples[0], (1_000, 2.0));
        assert!(good[0].samples[1].1.is_nan());
        for (text, want) in [
            (r#"{"resultType":"vector","result":[]}"#, "with a vector"),
            // Some servers round the times that they are asked for.
            (
                r#"{"resultType":"matrix","result":[{"values":[[60,"2"]]}]}"#,
                "for the time 60, which it was not asked for: from 1 to 121 by 60 s",
            ),
            (
                r#"{"resultType":"matrix","result":[{"values":[[181,"2"]]}]}"#,
                "for the time 181",
            ),
            (
                r#"{"resultType":"matrix","result":[{"values":[[1,"x"]]}]}"#,
                "no number: x",
            ),
            (
                r#"{"resultType":"matrix","result":[{"histograms":[[1,{}]]}]}"#,
                "native histograms",
            ),
            (r#"{"resultType":"matrix","result":5}"#, "cannot be read"),
        ] {
            let error = answer(text).expect_err(want);
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn limits_and_failures_are_told_apart() {
        let refused = |kind: &str, message: &str| {
            refusal(ClientError::Refused {
                kind: kind.to_owned(),
                message: message.to_owned(),
            })
        };
        assert!(matches!(
            refused("execution", "found duplicate series for the match group"),
            RemoteError::Query(_)
        ));
        for (kind, message) in [
            (
                "execution",
                "query processing would load too many samples into memory in query execution",
            ),
            (
                "bad_data",
                "exceeded maximum resolution of 11,000 points per timeseries",
            ),
            ("timeout", "query timed out"),
        ] {
            assert!(
                matches!(refused(kind, message), RemoteError::TooMuch(_)),
                "{message}"
            );
        }
    }

    #[test]
    fn times_lose_no_digit() {
        assert_eq!(seconds(1_793_491_200_007), "1793491200.007");
    }
}

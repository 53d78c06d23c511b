//! Templates from the outside: conformance with the reference, our own cases, and what hostile input may do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;
mod conformance;
mod hostile;

use narthex_template::{CallError, Host, QuerySample, Value};

/// A server that knows the time, its address, and three series called `up`.
struct Server {
    now_ms: i64,
    external_url: String,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            now_ms: 1_435_065_584_128,
            external_url: "http://narthex.example:9090/p".to_owned(),
        }
    }
}

impl Host for Server {
    fn query(&self, expr: &str) -> Result<Vec<QuerySample>, CallError> {
        let sample = |instance: &str, value: f64| QuerySample {
            labels: model::labels::Labels::from_pairs([("__name__", "up"), ("instance", instance)]),
            value: Value::Float(value),
        };
        match expr {
            "error" => Err(CallError::Host("query failed".into())),
            "empty" => Ok(Vec::new()),
            _ => Ok(vec![sample("b", 1.0), sample("a", 0.0), sample("c", 1.5)]),
        }
    }

    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn external_url(&self) -> &str {
        &self.external_url
    }
}

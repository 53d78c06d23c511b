//! A target: a server on a free port whose answers tests set; and a store that hands out what arrives.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use model::labels::Labels;
use model::storage::{AppendBatch, AppendError, AppendOutcome, Appender, SeriesError, SeriesRef};
use parking_lot::Mutex;
use tokio::sync::watch;

/// What a target answers.
#[derive(Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Vec<u8>,
    /// Never answers.
    pub(crate) hangs: bool,
}

/// A server that gives one answer to everything and remembers the last request's head.
#[derive(Clone)]
pub(crate) struct Target {
    /// What it is found as.
    pub(crate) labels: Labels,
    answer: Arc<Mutex<Answer>>,
    pub(crate) seen: Arc<Mutex<Option<(String, http::HeaderMap)>>>,
}

impl Target {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let target = Target::new(Labels::from_pairs([("__address__", address)]), answer);
        let router = Router::new().fallback(respond).with_state(target.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        target
    }

    /// The same behind a Unix socket.
    pub(crate) async fn start_at_socket(path: &Path, answer: Answer) -> Self {
        let listener = tokio::net::UnixListener::bind(path).unwrap();
        let target = Target {
            answer: Arc::new(Mutex::new(answer)),
            ..Target::gone(path)
        };
        let router = Router::new().fallback(respond).with_state(target.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        target
    }

    /// A target behind a Unix socket that nobody listens at.
    pub(crate) fn gone(path: &Path) -> Self {
        let path = path.to_str().unwrap();
        let labels = [("__address__", "nobody.invalid:1"), ("__unix_socket__", path)];
        Target::new(Labels::from_pairs(labels), Answer::default())
    }

    fn new(labels: Labels, answer: Answer) -> Self {
        Target {
            labels,
            answer: Arc::new(Mutex::new(answer)),
            seen: Arc::default(),
        }
    }
}

async fn respond(State(target): State<Target>, request: Request) -> Response {
    *target.seen.lock() = Some((request.uri().to_string(), request.headers().clone()));
    let answer = target.answer.lock().clone();
    if answer.hangs {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap()
}

/// Keeps the newest value of each series.
pub(crate) struct Store {
    inner: Mutex<Inner>,
    appended: watch::Sender<usize>,
}

#[derive(Default)]
struct Inner {
    by_labels: HashMap<Labels, SeriesRef>,
    values: HashMap<SeriesRef, f64>,
}

impl Store {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Store {
            inner: Mutex::default(),
            appended: watch::Sender::new(0),
        })
    }

    /// The newest value of the series called `metric`.
    pub(crate) fn value(&self, metric: &str) -> Option<f64> {
        let inner = self.inner.lock();
        let (_, series) = inner
            .by_labels
            .iter()
            .find(|(labels, _)| labels.metric_name() == metric)?;
        inner.values.get(series).copied()
    }

    /// Waits for the next transaction.
    pub(crate) async fn next(&self) {
        let mut appended = self.appended.subscribe();
        appended.borrow_and_update();
        appended.changed().await.unwrap();
    }
}

impl Appender for Store {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, SeriesError> {
        let mut inner = self.inner.lock();
        let next = SeriesRef(inner.by_labels.len() as u64);
        Ok(*inner.by_labels.entry(labels.clone()).or_insert(next))
    }

    fn append(&self, batch: &AppendBatch, outcome: &mut AppendOutcome) -> Result<(), AppendError> {
        outcome.refused.clear();
        let mut inner = self.inner.lock();
        for sample in &batch.floats {
            inner.values.insert(sample.series, sample.value);
        }
        drop(inner);
        self.appended.send_modify(|n| *n += 1);
        Ok(())
    }
}

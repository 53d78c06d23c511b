//! Data of a server elsewhere: asked by its query API, which any server that is compatible has.
//!
//! A rule that looks at nothing that rules give is evaluated there, many times in one request. What another one reads is
//! fetched, a selector at a time, and the rule evaluated here, over that and what rules have written. A selector is asked for
//! as such: its value at a moment, with all that the server knows of what has ended meanwhile, or the samples of a range.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use model::columns::Columns;
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{Querier, Queryable, SelectHints, SeriesSet, StorageError, TimeRange};
use parking_lot::Mutex;
use promql::ast::{Duration, Expr, ExprKind, VectorSelector};

use super::given::Given;
use crate::rule::Rule;

/// A server elsewhere. Called from blocking threads.
pub trait Remote: Send + Sync {
    /// What a query gives at `start_ms`, a step later, and so on up to `end_ms`.
    ///
    /// # Errors
    /// See [`RemoteError`].
    fn range(
        &self,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Vec<RemoteSeries>, RemoteError>;

    /// The samples that a selector with a range gives at `at_ms`.
    ///
    /// # Errors
    /// See [`RemoteError`].
    fn samples(&self, selector: &str, at_ms: i64) -> Result<Vec<RemoteSeries>, RemoteError>;
}

/// A series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteSeries {
    /// Its labels.
    pub labels: Labels,
    /// Times, in milliseconds since the epoch, and values.
    pub samples: Vec<(i64, f64)>,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The query cannot be evaluated: a failure of its rule.
    #[error("{0}")]
    Query(String),
    /// The server does not do so much at once.
    #[error("{0}")]
    TooMuch(String),
    /// The server cannot be asked, or what it answers cannot be believed: nothing more comes of it.
    #[error(transparent)]
    Server(Arc<dyn std::error::Error + Send + Sync>),
}

/// A selector that cannot be asked for elsewhere.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "rule {rule:?} reads what rules give, and {selector} {why}: that needs the data folder (--storage.tsdb.path), not a URL"
)]
pub struct NotAskable {
    /// The rule.
    pub rule: String,
    /// The selector.
    pub selector: String,
    /// What is in the way.
    pub why: &'static str,
}

/// How a selector looks at its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Use {
    /// How far back, in milliseconds; `None` for the value at the moment.
    range_ms: Option<i64>,
    offset_ms: i64,
}

/// What rules that are evaluated here read of the server.
pub(super) struct RemoteStore {
    remote: Arc<dyn Remote>,
    given: Arc<Given>,
    uses: HashMap<String, Use>,
    /// The time of the evaluation under way.
    pub(super) at_ms: AtomicI64,
    /// Why no more can be asked.
    pub(super) broken: Mutex<Option<RemoteError>>,
}

/// Matchers as a selector without a name.
fn selector_text(matchers: &[Matcher]) -> String {
    let texts: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
    format!("{{{}}}", texts.join(","))
}

impl RemoteStore {
    /// A store for these rules, of which `given` says which series are the server's.
    ///
    /// # Errors
    /// When one of them reads a series in a way that cannot be asked for.
    pub(super) fn new<'r>(
        remote: Arc<dyn Remote>,
        rules: impl Iterator<Item = &'r Rule>,
        given: &Arc<Given>,
    ) -> Result<Self, NotAskable> {
        let mut uses = HashMap::new();
        for rule in rules {
            let found = collect(&rule.expr, given, &mut uses);
            found.map_err(|(selector, why)| NotAskable {
                rule: rule.name.clone(),
                selector,
                why,
            })?;
        }
        Ok(RemoteStore {
            remote,
            given: given.clone(),
            uses,
            at_ms: AtomicI64::new(0),
            broken: Mutex::default(),
        })
    }

    pub(super) fn remote(&self) -> &dyn Remote {
        &*self.remote
    }

    /// Takes note of an error after which nothing more comes.
    pub(super) fn note(&self, error: &RemoteError) {
        if !matches!(error, RemoteError::Query(_)) {
            self.broken.lock().get_or_insert_with(|| error.clone());
        }
    }

    fn fetch(&self, matchers: &[Matcher]) -> Result<Vec<RemoteSeries>, RemoteError> {
        if self.given.is_all_of(matchers) {
            return Ok(Vec::new());
        }
        let text = selector_text(matchers);
        let Some(how) = self.uses.get(&text) else {
            return Err(RemoteError::Query(format!("{text} was not foreseen")));
        };
        let at_ms = self.at_ms.load(Ordering::Relaxed) - how.offset_ms;
        match how.range_ms {
            None => self.remote.range(&text, at_ms, at_ms, 1_000),
            Some(range_ms) => self.remote.samples(&format!("{text}[{range_ms}ms]"), at_ms),
        }
    }
}

/// Why a selector cannot be asked for: which, and what is in the way.
type InTheWay = (String, &'static str);

/// Notes which selectors of the server's series an expression has, and how they look.
fn collect(expr: &Expr, given: &Given, uses: &mut HashMap<String, Use>) -> Result<(), InTheWay> {
    let mut outcome = Ok(());
    let is_askable = |selector: &&VectorSelector| !given.is_all_of(&selector.matchers);
    expr.walk(&mut |expr| {
        let (selector, range) = match &expr.kind {
            ExprKind::Vector(selector) => (selector, None),
            ExprKind::Matrix(matrix) => (&matrix.selector, Some(&matrix.range)),
            ExprKind::Subquery(subquery) => {
                let inner = subquery.expr.selectors();
                if let Some(selector) = inner.into_iter().find(is_askable) {
                    let why = "stands in a subquery";
                    outcome = std::mem::replace(&mut outcome, Ok(())).and(Err((selector.to_string(), why)));
                }
                return;
            }
            _ => return,
        };
        if outcome.is_ok() && is_askable(&selector) {
            outcome = note_use(selector, range, uses);
        }
    });
    outcome
}

fn note_use(
    selector: &VectorSelector,
    range: Option<&Duration>,
    uses: &mut HashMap<String, Use>,
) -> Result<(), InTheWay> {
    let refuse = |why| Err((selector.to_string(), why));
    let modifiers = &selector.modifiers;
    if modifiers.at.is_some() {
        return refuse("has an @");
    }
    if selector.anchored || selector.smoothed {
        return refuse("is anchored or smoothed");
    }
    let how = match (range, modifiers.offset.as_ref()) {
        (None | Some(Duration::Literal(_)), None | Some(Duration::Literal(_))) => Use {
            range_ms: range.and_then(literal),
            offset_ms: modifiers.offset.as_ref().and_then(literal).unwrap_or(0),
        },
        _ => return refuse("has a duration that is worked out"),
    };
    let text = selector_text(&selector.matchers);
    match uses.insert(text, how) {
        Some(other) if other != how => refuse("is looked at with several ranges or offsets"),
        _ => Ok(()),
    }
}

fn literal(duration: &Duration) -> Option<i64> {
    match duration {
        Duration::Literal(ms) => Some(*ms),
        Duration::Expr(_) => None,
    }
}

/// The store, as queries ask it.
pub(super) struct Asked(pub(super) Arc<RemoteStore>);

impl Queryable for Asked {
    fn querier(&self, _: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        Ok(Arc::new(View(self.0.clone())))
    }
}

struct View(Arc<RemoteStore>);

impl View {
    fn fetch(&self, matchers: &[Matcher]) -> Result<Vec<RemoteSeries>, StorageError> {
        self.0.fetch(matchers).map_err(|error| {
            self.0.note(&error);
            StorageError::Other(error.to_string())
        })
    }
}

impl Querier for View {
    fn select(&self, hints: &SelectHints, matchers: &[Matcher]) -> Result<Arc<dyn SeriesSet>, StorageError> {
        let mut series = self.fetch(matchers)?;
        let samples: usize = series.iter().map(|series| series.samples.len()).sum();
        hints.took(samples * size_of::<(i64, f64)>())?;
        if hints.sorted {
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        Ok(Arc::new(Fetched(series)))
    }

    fn label_names(&self, _: &SelectHints, _: &[Matcher]) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &SelectHints, _: &[Matcher]) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }
}

struct Fetched(Vec<RemoteSeries>);

impl SeriesSet for Fetched {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.0[index].labels.clone()
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), StorageError> {
        columns.clear();
        for (at_ms, value) in &self.0[index].samples {
            if (range.min_ms..=range.max_ms).contains(at_ms) {
                columns.push(*at_ms, *value);
            }
        }
        Ok(())
    }
}

//! `/api/v1/query/why_empty`: why an expression gives nothing: which selector finds no series and which of its conditions
//! is to blame, or which operator lets nothing through. Ours.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};
use model::nearest::nearest;
use model::storage::{SelectHints, StorageError, TimeRange, WatchSelect};
use promql::ast::{At, Binary, Duration, Expr, ExprKind, Span, VectorSelector};
use promql::engine::{CancelHandle, EvalTime, QueryError, QueryOptions};
use promql::value::Value as Outcome;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::answer::{ApiError, CancelOnDrop, blocking, success_json};
use super::params::Params;
use super::series::search;
use super::state::QueryState;
use super::status::rfc3339_nanos;
use crate::queries::{Origin, Question};

/// Selectors that are looked at.
const SELECTORS_MAX: usize = 20;
/// Operators whose operands are evaluated, the innermost first.
const OPERATORS_MAX: usize = 10;
/// Series whose newest sample is looked for.
const SERIES_READ_MAX: usize = 20;
/// How far back a metric that is not there now is looked for, in milliseconds: further and further.
const LOOKED_BACK_MS: [i64; 4] = [
    3_600_000,
    24 * 3_600_000,
    7 * 24 * 3_600_000,
    365 * 24 * 3_600_000,
];

/// What is wrong with a part of the expression.
struct Finding {
    span: Span,
    kind: &'static str,
    /// How many series there would be without each condition.
    without: Vec<(String, usize)>,
    /// What was probably meant.
    near: Option<String>,
    last_seen_ms: Option<i64>,
}

pub(crate) async fn why_empty(
    State(state): State<Arc<QueryState>>,
    origin: Origin,
    params: Params,
) -> Response {
    let asked = state
        .engine
        .parse(params.get("query"))
        .map_err(|error| ApiError::parameter("query", error));
    let asked = asked.and_then(|expr| Ok((expr, params.time_ms("time", Some(state.clock.now_ms()))?)));
    let (expr, at_ms) = match asked {
        Ok(asked) => asked,
        Err(error) => return error.into_response(),
    };
    let query = params.get("query").to_owned();
    match found(state, origin, &query, Arc::new(expr), at_ms).await {
        Ok(findings) => {
            let shown = findings.iter().map(|finding| finding.json(&query));
            success_json(&shown.collect::<Vec<_>>())
        }
        Err(error) => error.into_response(),
    }
}

async fn found(
    state: Arc<QueryState>,
    origin: Origin,
    query: &str,
    expr: Arc<Expr>,
    at_ms: i64,
) -> Result<Vec<Finding>, ApiError> {
    let searched = expr.clone();
    let of_selectors = search(state.clone(), move |state, watch| {
        let search = Search { state, watch, at_ms };
        search.empty_selectors(&searched)
    });
    let findings = of_selectors.await?.found;
    if !findings.is_empty() {
        return Ok(findings);
    }
    let cancel = CancelHandle::new();
    let _hung_up = CancelOnDrop(cancel.clone());
    let (query, runtime) = (query.to_owned(), Handle::current());
    blocking(move || {
        let asking = Asking {
            state: &state,
            origin: &origin,
            query: &query,
            at_ms,
            cancel,
            runtime,
        };
        Ok(asking.empty_operator(&expr)?.into_iter().collect())
    })
    .await
}

impl Finding {
    fn json(&self, query: &str) -> Value {
        let (start, end) = (self.span.start as usize, self.span.end as usize);
        let without = self
            .without
            .iter()
            .map(|(matcher, series)| json!({ "matcher": matcher, "series": series }));
        let mut json = json!({
            "span": [start, end],
            "text": query.get(start..end).unwrap_or(""),
            "kind": self.kind,
            "without": without.collect::<Vec<_>>(),
        });
        if let Some(near) = &self.near {
            json["near"] = near.as_str().into();
        }
        if let Some(last_seen_ms) = self.last_seen_ms {
            json["lastSeen"] = rfc3339_nanos(last_seen_ms).into();
        }
        json
    }
}

/// Looks into the indexes.
struct Search<'s> {
    state: &'s QueryState,
    watch: Arc<dyn WatchSelect>,
    at_ms: i64,
}

impl Search<'_> {
    /// Selectors that find no series.
    fn empty_selectors(&self, expr: &Expr) -> Result<Vec<Finding>, StorageError> {
        let mut selectors = Vec::new();
        // How far back subqueries make what is inside of them look, at most.
        let mut further_ms = 0i64;
        expr.walk(&mut |part| match &part.kind {
            ExprKind::Vector(selector) => selectors.push((part.span, selector, None)),
            ExprKind::Matrix(matrix) => selectors.push((part.span, &matrix.selector, Some(&matrix.range))),
            ExprKind::Subquery(subquery) => {
                further_ms = further_ms.saturating_add(literal_ms(Some(&subquery.range)));
            }
            _ => {}
        });
        let mut findings = Vec::new();
        for (span, selector, range) in selectors.into_iter().take(SELECTORS_MAX) {
            let window = self.window(selector, range, further_ms);
            if self.count(window, &selector.matchers)? == 0 {
                findings.push(self.blame(span, &selector.matchers, window)?);
            }
        }
        Ok(findings)
    }

    /// The time that a selector looks at, as far as it can be told without evaluating anything.
    fn window(&self, selector: &VectorSelector, range: Option<&Duration>, further_ms: i64) -> TimeRange {
        let at_ms = match selector.modifiers.at {
            Some(At::Timestamp(ms)) => ms,
            _ => self.at_ms,
        };
        let end_ms = at_ms.saturating_sub(literal_ms(selector.modifiers.offset.as_ref()));
        let lookback_ms = self.state.engine.options().lookback_delta_ms;
        let back_ms = literal_ms(range).max(lookback_ms).saturating_add(further_ms);
        TimeRange::new(end_ms.saturating_sub(back_ms), end_ms)
    }

    fn hints(&self) -> SelectHints {
        SelectHints {
            watch: Some(self.watch.clone()),
            ..SelectHints::default()
        }
    }

    fn count(&self, range: TimeRange, matchers: &[Matcher]) -> Result<usize, StorageError> {
        let querier = self.state.storage.querier(range)?;
        Ok(querier.select(&self.hints(), matchers)?.len())
    }

    /// Why a selector finds nothing.
    fn blame(&self, span: Span, matchers: &[Matcher], window: TimeRange) -> Result<Finding, StorageError> {
        let mut finding = Finding {
            span,
            kind: "matcher",
            without: Vec::new(),
            near: None,
            last_seen_ms: self.last_seen_ms(matchers, window)?,
        };
        let querier = self.state.storage.querier(window)?;
        let is_name = |matcher: &&Matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
        if let Some(name) = matchers.iter().find(is_name)
            && self.count(window, std::slice::from_ref(name))? == 0
        {
            finding.kind = if finding.last_seen_ms.is_some() {
                "window"
            } else {
                "name"
            };
            let names = querier.label_values(METRIC_NAME, &self.hints(), &[])?;
            let near = nearest(&name.value, names.iter().map(String::as_str));
            finding.near = near.filter(|near| *near != name.value).map(str::to_owned);
            return Ok(finding);
        }
        for (at, matcher) in matchers
            .iter()
            .enumerate()
            .filter(|(_, matcher)| !is_name(matcher))
        {
            let mut others = matchers.to_vec();
            others.remove(at);
            if others.iter().all(Matcher::matches_empty) {
                continue;
            }
            let series = self.count(window, &others)?;
            finding.without.push((matcher.to_string(), series));
            if series > 0 && matcher.op == MatchOp::Equal && finding.near.is_none() {
                let values = querier.label_values(&matcher.name, &self.hints(), &others)?;
                let near = nearest(&matcher.value, values.iter().map(String::as_str));
                finding.near = near.map(str::to_owned);
            }
        }
        if finding.last_seen_ms.is_some() {
            finding.kind = "window";
        }
        Ok(finding)
    }

    /// When there was something last, before the window.
    fn last_seen_ms(&self, matchers: &[Matcher], window: TimeRange) -> Result<Option<i64>, StorageError> {
        let mut columns = model::columns::Columns::default();
        for back_ms in LOOKED_BACK_MS {
            let range = TimeRange::new(window.min_ms.saturating_sub(back_ms), window.min_ms);
            let querier = self.state.storage.querier(range)?;
            let set = querier.select(&self.hints(), matchers)?;
            let mut newest = None;
            for index in 0..set.len().min(SERIES_READ_MAX) {
                self.hints().took(0)?;
                set.read(index, range, &mut columns)?;
                newest = newest.max(columns.timestamps_ms.last().copied());
            }
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }
}

/// Milliseconds of a duration that is written out; 0 for others, and for none.
fn literal_ms(duration: Option<&Duration>) -> i64 {
    match duration {
        Some(Duration::Literal(ms)) => *ms,
        _ => 0,
    }
}

/// Evaluates parts of the expression, on a thread that may wait.
struct Asking<'s> {
    state: &'s QueryState,
    origin: &'s Origin,
    query: &'s str,
    at_ms: i64,
    cancel: CancelHandle,
    runtime: Handle,
}

impl Asking<'_> {
    /// The innermost operator that makes nothing of something.
    fn empty_operator(&self, expr: &Expr) -> Result<Option<Finding>, QueryError> {
        let mut operators = Vec::new();
        expr.walk(&mut |part| {
            if let ExprKind::Binary(binary) = &part.kind {
                operators.push((part.span, binary));
            }
        });
        for (span, binary) in operators.into_iter().rev().take(OPERATORS_MAX) {
            if let Some(kind) = self.what_is_empty(span, binary)? {
                return Ok(Some(Finding {
                    span,
                    kind,
                    without: Vec::new(),
                    near: None,
                    last_seen_ms: None,
                }));
            }
        }
        Ok(None)
    }

    fn what_is_empty(&self, whole: Span, binary: &Binary) -> Result<Option<&'static str>, QueryError> {
        let gives = |span: Span| self.gives_something(span);
        if !gives(binary.lhs.span)? || !gives(binary.rhs.span)? || gives(whole)? {
            return Ok(None);
        }
        // Two vectors are paired; a vector and a number are compared.
        Ok(Some(if binary.matching.is_some() {
            "join"
        } else {
            "filter"
        }))
    }

    fn gives_something(&self, span: Span) -> Result<bool, QueryError> {
        let text = self
            .query
            .get(span.start as usize..span.end as usize)
            .unwrap_or("");
        let turn = self
            .runtime
            .block_on(self.state.queries.turn(text, self.origin, None))?;
        let question = Question {
            text,
            expr: None,
            time: EvalTime::Instant { at_ms: self.at_ms },
            options: QueryOptions {
                cancel: self.cancel.clone(),
                ..QueryOptions::default()
            },
            origin: self.origin,
            may_be_kept: false,
        };
        Ok(match self.state.queries.run(&turn, question)?.value {
            Outcome::Vector(samples) => !samples.is_empty(),
            Outcome::Matrix(series) => !series.is_empty(),
            Outcome::Scalar { .. } | Outcome::String { .. } => true,
        })
    }
}

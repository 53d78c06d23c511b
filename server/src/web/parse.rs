//! `/api/v1/format_query` and `/api/v1/parse_query`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use promql::ast::Expr;

use super::answer::{ApiError, blocking, success};
use super::json;
use super::params::Params;
use super::state::QueryState;

pub(crate) async fn format_query(State(state): State<Arc<QueryState>>, params: Params) -> Response {
    answer(state, params, |expr| {
        let text = expr.pretty().map_err(ApiError::bad_data)?;
        Ok(success(&[], |out| json::string(out, &text)))
    })
    .await
}

pub(crate) async fn parse_query(State(state): State<Arc<QueryState>>, params: Params) -> Response {
    answer(state, params, |expr| {
        let mut tree = String::new();
        promql::ast_json::write(expr, &mut tree);
        Ok(success(&[], |out| out.extend_from_slice(tree.as_bytes())))
    })
    .await
}

/// What `write` makes of the query, away from the threads that serve the network: queries may be large.
async fn answer(
    state: Arc<QueryState>,
    params: Params,
    write: fn(&Expr) -> Result<Response, ApiError>,
) -> Response {
    let work = move || {
        let expr = state
            .engine
            .parse(params.get("query"))
            .map_err(|error| ApiError::parameter("query", error))?;
        write(&expr)
    };
    blocking(work).await.unwrap_or_else(IntoResponse::into_response)
}

//! `/api/v1/format_query` and `/api/v1/parse_query`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::answer::{ApiError, success};
use super::json;
use super::params::Params;
use super::state::QueryState;

pub(crate) async fn format_query(State(state): State<Arc<QueryState>>, params: Params) -> Response {
    match state.engine.parse(params.get("query")) {
        Ok(expr) => success(&[], |out| json::string(out, &expr.pretty())),
        Err(error) => ApiError::parameter("query", error).into_response(),
    }
}

pub(crate) async fn parse_query(State(state): State<Arc<QueryState>>, params: Params) -> Response {
    match state.engine.parse(params.get("query")) {
        Ok(expr) => {
            let mut tree = String::new();
            promql::ast_json::write(&expr, &mut tree);
            success(&[], |out| out.extend_from_slice(tree.as_bytes()))
        }
        Err(error) => ApiError::parameter("query", error).into_response(),
    }
}

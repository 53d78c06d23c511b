//! What bearers of tokens may do: each route says which scope it needs, where it is added.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use http::StatusCode;
use http::header::{WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};

pub(in crate::web) use crate::config::web::tokens::Scope;

/// Who asks by a token. Requests without one are of users, who may do everything, or nobody is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::web) struct Caller {
    pub(in crate::web) name: Arc<str>,
    pub(super) scopes: Arc<[Scope]>,
}

/// By which name somebody asks: a token's, or a user's.
#[derive(Clone, Debug)]
pub(in crate::web) struct Asker(pub(in crate::web) Arc<str>);

/// On an answer: the request was refused for want of a scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing;

/// What a route needs of those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Needs {
    /// To be known at all.
    Nothing,
    /// A scope.
    One(Scope),
}

/// Puts in front of a route what it needs.
pub(in crate::web) fn guarded<S>(needs: Needs, methods: MethodRouter<S>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    match needs {
        Needs::Nothing => methods,
        Needs::One(scope) => methods.layer(middleware::from_fn_with_state(scope, layer)),
    }
}

/// Puts in front of handlers what they need; what answers for other methods needs nothing.
pub(in crate::web) fn guarded_methods<S>(needed: Scope, methods: MethodRouter<S>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    methods.route_layer(middleware::from_fn_with_state(needed, layer))
}

async fn layer(State(needed): State<Scope>, request: Request, next: Next) -> Response {
    let lacks = |caller: &&Caller| !caller.scopes.contains(&needed);
    let Some(caller) = request.extensions().get::<Caller>().filter(lacks) else {
        return next.run(request).await;
    };
    tracing::debug!(
        token = &*caller.name,
        scope = needed.word(),
        path = request.uri().path(),
        "Request refused: its token lacks the scope"
    );
    let text = format!(
        "Forbidden: the token {:?} lacks the scope {:?}\n",
        caller.name,
        needed.word()
    );
    let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", needed.word());
    let headers = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (WWW_AUTHENTICATE, challenge),
    ];
    let mut response = (StatusCode::FORBIDDEN, headers, text).into_response();
    response.extensions_mut().insert(Missing);
    response
}

//! The table of the API's routes ([`table`]): what there is, what it takes, what it needs of a token, what it answers.
//!
//! The router and the OpenAPI document ([`openapi`]) are both made of it, so that neither has what the other has not. A
//! handler that reads a parameter which its route does not declare fails wherever debug assertions are on.

pub(super) mod answers;
pub(super) mod openapi;
pub(super) mod parameter;
mod schema;
pub(super) mod table;

use std::sync::Arc;

use axum::Extension;
use axum::handler::Handler;
use axum::middleware;
use axum::routing::{MethodRouter, delete, post};

use super::auth::scope::Needs;
use super::state::Site;
use super::{ADMIN, READ, Trust, cross_site, get_and_post, get_only, methods};
use parameter::{Declared, Parameter};
use schema::Schema;

/// A route of the API.
pub(super) struct Route {
    about: Description,
    methods: MethodRouter<Site>,
}

/// What others are told of a route.
#[derive(Clone, Debug)]
pub(super) struct Description {
    /// Behind the place of the API.
    pub(super) pattern: &'static str,
    /// In small letters.
    methods: &'static [&'static str],
    pub(super) needs: Needs,
    summary: &'static str,
    parameters: Arc<[Parameter]>,
    /// Media type of a body that is no form.
    takes_body: Option<&'static str>,
    answer: Answer,
    /// What is answered as JSON where something is wrong, if that is not the envelope.
    fault: Option<fn() -> Schema>,
}

/// What a route answers where nothing goes wrong.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// `data` of the envelope.
    Data(fn() -> Schema),
    /// No body, with this status.
    Empty(u16),
    /// Bytes of one of these media types.
    Bytes(&'static [&'static str]),
    /// Something else than the envelope.
    Other {
        media: &'static str,
        schema: fn() -> Schema,
    },
}

impl Route {
    /// A route whose methods are those of `methods`.
    pub(super) fn new(
        pattern: &'static str,
        names: &'static [&'static str],
        needs: Needs,
        methods: MethodRouter<Site>,
    ) -> Self {
        Route {
            about: Description {
                pattern,
                methods: names,
                needs,
                summary: "",
                parameters: Arc::default(),
                takes_body: None,
                answer: Answer::Empty(204),
                fault: None,
            },
            methods,
        }
    }

    /// A route that is read.
    fn get<H, T>(pattern: &'static str, handler: H) -> Self
    where
        H: Handler<T, Site>,
        T: 'static,
    {
        Route::new(pattern, &["get"], READ, get_only(handler))
    }

    /// A route that is read, by forms too.
    fn get_and_post<H, T>(pattern: &'static str, handler: H) -> Self
    where
        H: Handler<T, Site> + Clone,
        T: 'static,
    {
        Route::new(pattern, &["get", "post"], READ, get_and_post(handler))
    }

    /// A route that changes something: POST and PUT, from no foreign page.
    fn change<H, T>(pattern: &'static str, trust: &Arc<Trust>, handler: H) -> Self
    where
        H: Handler<T, Site> + Clone,
        T: 'static,
    {
        let both = post(handler.clone()).put(handler);
        let methods = methods("OPTIONS, POST, PUT", from_no_foreign_page(trust, both));
        Route::new(pattern, &["post", "put"], ADMIN, methods)
    }

    /// A route that takes something away, from no foreign page.
    fn delete<H, T>(pattern: &'static str, trust: &Arc<Trust>, handler: H) -> Self
    where
        H: Handler<T, Site>,
        T: 'static,
    {
        let methods = methods("DELETE, OPTIONS", from_no_foreign_page(trust, delete(handler)));
        Route::new(pattern, &["delete"], ADMIN, methods)
    }

    /// What it does, in a sentence.
    pub(super) fn about(mut self, summary: &'static str) -> Self {
        self.about.summary = summary;
        self
    }

    /// The parameters that its handler may read, those of the path among them.
    pub(super) fn takes<const N: usize>(mut self, parameters: [Parameter; N]) -> Self {
        self.about.parameters = Arc::new(parameters);
        self
    }

    /// It takes a body of this media type.
    pub(super) fn takes_body(mut self, media: &'static str) -> Self {
        self.about.takes_body = Some(media);
        self
    }

    /// `data` of its answer.
    pub(super) fn answers(self, schema: fn() -> Schema) -> Self {
        self.answers_as(Answer::Data(schema))
    }

    /// Its answer.
    pub(super) fn answers_as(mut self, answer: Answer) -> Self {
        self.about.answer = answer;
        self
    }

    /// What it answers as JSON where something is wrong, instead of the envelope.
    pub(super) fn fails_as(mut self, schema: fn() -> Schema) -> Self {
        self.about.fault = Some(schema);
        self
    }

    /// What is told of it, and what answers.
    pub(super) fn into_parts(self) -> (Description, MethodRouter<Site>) {
        let methods = match cfg!(debug_assertions) {
            true => self
                .methods
                .layer(Extension(Declared(self.about.parameters.clone()))),
            false => self.methods,
        };
        (self.about, methods)
    }
}

fn from_no_foreign_page(trust: &Arc<Trust>, methods: MethodRouter<Site>) -> MethodRouter<Site> {
    methods.layer(middleware::from_fn_with_state(trust.clone(), cross_site::layer))
}

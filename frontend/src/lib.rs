//! The query front end: what is asked before a query is evaluated.
//!
//! [`Frontend`] stands between whoever takes queries in and the engine. It keeps the results of range queries in pieces and
//! evaluates only the steps that it does not have ([`Frontend::evaluate`]); what it has altogether it gives without any
//! evaluation ([`Frontend::known`]), so that such a query needs neither a slot nor a thread. [`flights::Flights`] lets those who
//! ask the same at the same time share one evaluation.
//!
//! It does not know HTTP, what a rule is, or where samples lie. Queues between tenants and other servers behind it will
//! stand in this room, too: both decide what is evaluated before anything is.
//!
//! The decision behind it: an answer is the one that the engine would give, to the last bit, or it is not kept. Three
//! rooms have a part in that. Storage tells what has changed since a mark ([`model::changes::Changes`]). The engine tells how
//! far from a step lie the samples that its result depends on ([`promql::engine::Engine::reach`]), and whether the
//! result may depend on more ([`promql::engine::QueryOutput::order_shows`]). And this room keeps a step only as long as nothing
//! has changed within its reach. Nothing expires by time, and nothing is guessed.

mod block;
mod evaluate;
pub mod flights;
mod grid;
mod instrument;
mod origin;
mod panel;
mod results;

use std::sync::Arc;

use metrics::Registry;
use model::storage::Queryable;
use promql::engine::Engine;

pub use evaluate::Question;
use instrument::Instruments;
use results::Results;

/// Answers queries with the help of what was answered before.
pub struct Frontend {
    engine: Arc<Engine>,
    storage: Arc<dyn Queryable>,
    /// Nothing where nothing is to be kept.
    results: Option<Results>,
    instruments: Arc<Instruments>,
}

impl Frontend {
    /// A front end to `engine` over `storage` that keeps at most `cache_bytes` of results; with 0 none.
    pub fn new(
        engine: Arc<Engine>,
        storage: Arc<dyn Queryable>,
        cache_bytes: usize,
        registry: &Registry,
    ) -> Self {
        let instruments = Arc::new(Instruments::new(registry, cache_bytes));
        Frontend {
            engine,
            storage,
            results: (cache_bytes > 0).then(|| Results::new(cache_bytes, instruments.clone())),
            instruments,
        }
    }
}

//! What is said beside answers, where the reference's way of evaluating shows.

use narthex_promql::engine::{Engine, EngineOptions, QueryOptions};
use narthex_promql::script::{MemoryStore, Statement, load, parse_script};
use narthex_promql::value::Value;

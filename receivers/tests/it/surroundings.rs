//! What receivers are built with in tests.

use std::sync::Arc;

use credentials::Machine;
use narthex_receivers::{Setup, Templates};

/// A machine that has nothing of its own, and the reference's name.
pub(crate) fn setup(templates: Templates) -> Setup {
    let mut machine = Machine::new("Alertmanager/0.34.0");
    machine.env = Some(Arc::default());
    Setup { templates, machine }
}

//! A notification goes out although a template of it fails.
//!
//! A receiver whose template fails sends nothing, as the reference has it ([`deliver`]), or what is left, and whoever should
//! have been told hears of nothing. Here the default text stands in the place of what fails. The one place that renders
//! ([`crate::rendering`]) decides what stands where by what a field is for, and knows by the task it runs in whether that is so.

use std::cell::RefCell;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::deliver::{Attempt, Undelivered, deliver};
use crate::integration::Integration;
use crate::notification::Notification;
use crate::receiver::{Failure, Memory};

tokio::task_local! {
    /// The first template that failed while a notification is made in which the default text stands in.
    static FAILED: RefCell<Option<String>>;
}

/// Whether default texts stand in for templates that fail.
pub(crate) fn is_on() -> bool {
    FAILED.try_with(|_| ()).is_ok()
}

/// A template has failed: whether the default text stands in its place.
pub(crate) fn stands_in(error: &template::Error) -> bool {
    let note = |failed: &RefCell<Option<String>>| {
        failed.borrow_mut().get_or_insert_with(|| error.to_string());
    };
    FAILED.try_with(note).is_ok()
}

/// A notification that went out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// How often it was tried.
    pub attempts: u32,
    /// Why it is not all that it should be: the first template that failed.
    pub template_error: Option<String>,
}

/// As [`deliver`], with the default text in the place of what a template should have made that fails.
///
/// # Errors
/// As there; a template that failed is named beside.
pub async fn deliver_despite_templates(
    integration: &Integration,
    notification: &Notification,
    memory: &mut Memory,
    deadline: Instant,
    stop: &CancellationToken,
    seen: &mut (dyn FnMut(Attempt<'_>) + Send),
) -> Result<Delivered, Undelivered> {
    let sending = async {
        let outcome = deliver(integration, notification, memory, deadline, stop, seen).await;
        (outcome, FAILED.with(RefCell::take))
    };
    let (outcome, template_error) = FAILED.scope(RefCell::default(), sending).await;
    match (outcome, template_error) {
        (Ok(attempts), template_error) => Ok(Delivered {
            attempts,
            template_error,
        }),
        (Err(undelivered), None) => Err(undelivered),
        (Err(undelivered), Some(error)) => Err(Undelivered {
            failure: Failure {
                message: format!("{} (a template failed, too: {error})", undelivered.failure),
                ..undelivered.failure
            },
            ..undelivered
        }),
    }
}

//! What an integration would send, without sending it.
//!
//! The integration does all that it does otherwise. Where a request or a mail would leave ([`crate::http`],
//! [`crate::email`]), it is written down instead, and an answer made up that pleases every service.

use std::cell::RefCell;
use std::time::Duration;

use httpclient::Request;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;

use crate::despite::deliver_despite_templates;
use crate::http::Answer;
use crate::integration::Integration;
use crate::notification::Notification;
use crate::receiver::{Failure, Memory};

/// Most bytes of a body or a mail that are shown.
const SHOWN_BYTES_MAX: usize = 256 << 10;
/// Most requests of one notification that are shown: those that are tried again among them.
const SHOWN_MAX: usize = 16;
/// How long looking may take; files of secrets are read.
const PATIENCE: Duration = Duration::from_secs(10);
/// Members of bodies that are secrets.
const SECRETS: [&str; 6] = [
    "routing_key",
    "service_key",
    "token",
    "user",
    "corpsecret",
    "access_token",
];
/// What every service says when all is well.
const ANSWER: &str = "{\"ok\": true, \"success\": true, \"status\": 1, \"errcode\": 0, \"access_token\": \"preview\", \
                      \"issues\": [], \"id\": \"1\", \"key\": \"PREVIEW-1\", \"result\": {\"message_id\": 1}}";

tokio::task_local! {
    static SHEET: RefCell<Vec<Outgoing>>;
}

/// Something that would have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A request.
    Request {
        /// `POST`
        method: String,
        /// Where to; `<redacted>` where addresses are secrets.
        url: String,
        /// The type of the body; may be empty.
        content_type: String,
        /// The body, as text, without secrets; the query, where there is no body.
        body: String,
    },
    /// A mail.
    Mail {
        /// Whom it is from.
        from: String,
        /// Whom it is for.
        to: String,
        /// Headers and body.
        content: String,
    },
}

/// What an integration would send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// In the order of sending; nothing where it is not told.
    pub outgoing: Vec<Outgoing>,
    /// Why a template of it fails: what stands there is the default text.
    pub template_error: Option<String>,
    /// Why it would not come to an end; what depends on a service's answer may be otherwise with a real one.
    pub failure: Option<Failure>,
}

/// What `integration` would send of `notification`. It must not be one that is in use: it may remember the answers that are
/// made up. Renders templates: not for the network's threads.
pub async fn preview(integration: &Integration, notification: &Notification) -> Preview {
    let stop = CancellationToken::new();
    let looking = async {
        let mut once = |_: crate::Attempt<'_>| stop.cancel();
        let (mut memory, deadline) = (Memory::new(), Instant::now() + PATIENCE);
        let looked =
            deliver_despite_templates(integration, notification, &mut memory, deadline, &stop, &mut once)
                .await;
        (looked, SHEET.with(RefCell::take))
    };
    let (looked, outgoing) = SHEET.scope(RefCell::default(), looking).await;
    let (template_error, failure) = match looked {
        Ok(delivered) => (delivered.template_error, None),
        Err(undelivered) => (None, Some(undelivered.failure)),
    };
    Preview {
        outgoing,
        template_error,
        failure,
    }
}

/// Whether nothing is to leave.
pub(crate) fn is_on() -> bool {
    SHEET.try_with(|_| ()).is_ok()
}

/// Writes a request down and answers it, if nothing is to leave. `url` is what may be shown of its address.
pub(crate) fn request(request: &Request, url: &str) -> Option<Answer> {
    let content_type = request.headers().get("content-type");
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or("");
    let text = match request.content().is_empty() {
        // Pushover's messages stand in the address.
        true => request.url().query().unwrap_or("").into(),
        false => String::from_utf8_lossy(request.content()),
    };
    note(|| Outgoing::Request {
        method: request.method().to_string(),
        url: url.to_owned(),
        content_type: content_type.to_owned(),
        body: cut(&without_secrets(&text)),
    })
    .then(|| Answer::made_up(ANSWER))
}

/// Writes a mail down; whether nothing is to leave.
pub(crate) fn mail(from: &str, to: &str, content: &str) -> bool {
    note(|| Outgoing::Mail {
        from: from.to_owned(),
        to: to.to_owned(),
        content: cut(content),
    })
}

fn note(what: impl FnOnce() -> Outgoing) -> bool {
    let noted = SHEET.try_with(|sheet| {
        let mut sheet = sheet.borrow_mut();
        if sheet.len() < SHOWN_MAX {
            sheet.push(what());
        }
    });
    noted.is_ok()
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(SHOWN_BYTES_MAX)].to_owned()
}

/// A body without the secrets that stand in some.
fn without_secrets(body: &str) -> String {
    const HIDDEN: &str = "<secret>";
    if let Ok(Value::Object(mut members)) = serde_json::from_str::<Value>(body) {
        let mut hidden = false;
        for name in SECRETS {
            if let Some(value) = members
                .get_mut(name)
                .filter(|value| value.as_str().is_some_and(|text| !text.is_empty()))
            {
                *value = HIDDEN.into();
                hidden = true;
            }
        }
        return if hidden {
            Value::Object(members).to_string()
        } else {
            body.to_owned()
        };
    }
    let is_form = body.contains('=') && !body.trim_start().starts_with(['{', '[']);
    if is_form && SECRETS.iter().any(|name| body.contains(name)) {
        let mut form = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(body.as_bytes()) {
            let value = if SECRETS.contains(&&*name) {
                HIDDEN.into()
            } else {
                value
            };
            form.append_pair(&name, &value);
        }
        return form.finish();
    }
    body.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (body, shown) in [
            ("{\"a\": 1}", "{\"a\": 1}"),
            (
                "{\"routing_key\":\"k\",\"payload\":{\"token\":\"t\"}}",
                "{\"payload\":{\"token\":\"t\"},\"routing_key\":\"<secret>\"}",
            ),
            (
                "token=x&user=y&message=a+b",
                "token=%3Csecret%3E&user=%3Csecret%3E&message=a+b",
            ),
            ("Action=Publish&Message=a", "Action=Publish&Message=a"),
            ("no form", "no form"),
        ] {
            assert_eq!(without_secrets(body), shown);
        }
        assert_eq!(cut(&"é".repeat(SHOWN_BYTES_MAX)).len(), SHOWN_BYTES_MAX);
    }
}

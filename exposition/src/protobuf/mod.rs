//! The protobuf format: length-delimited `io.prometheus.client.MetricFamily` messages.
//!
//! Decoded by hand, field by field over borrowed slices, because a body of a thousand families would otherwise cost a
//! tree of allocations a scrape. The message definition is public: <https://github.com/prometheus/client_model>.

mod histogram;
mod message;
mod parser;
mod wire;

pub use parser::{HistogramOptions, ProtobufParser};

use crate::entry::{LabelsError, label_text};
use crate::error::{Expected, Fault};

/// Stands between the parts of a series text: no byte of UTF-8 has this value.
const SEPARATOR: u8 = 0xff;

/// Reads a series text as [`ProtobufParser`] builds it: the metric name, then names and values.
pub(crate) fn series_labels(text: &[u8], mut visit: impl FnMut(&str, &str)) -> Result<(), LabelsError> {
    let mut parts = text.split(|b| *b == SEPARATOR);
    visit("__name__", label_text(parts.next().unwrap_or(b""))?);
    while let Some(name) = parts.next() {
        let value = parts.next().ok_or(LabelsError::Syntax {
            at: text.len(),
            expected: Expected::LabelValue,
        })?;
        visit(label_text(name)?, label_text(value)?);
    }
    Ok(())
}

/// Reads the labels of an `Exemplar` message.
pub(crate) fn exemplar_labels<'a>(
    message: &'a [u8],
    visit: &mut dyn FnMut(&'a [u8], &'a [u8]),
) -> Result<(), Fault> {
    let mut fields = wire::Fields::new(message, 0);
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            let (label, at) = field.bytes()?;
            let (name, value) = message::label_pair(label, at)?;
            visit(name.as_bytes(), value.as_bytes());
        }
    }
    Ok(())
}

//! An answer as samples: the message `prometheus.ReadResponse`.

use model::columns::Columns;
use model::histogram::Histogram;
use model::labels::Labels;
use model::protobuf::Fields;

use super::fetched::{
    Account, AnswerFault, HISTOGRAM_BYTES_MAX, Samples, histogram_bytes, label_set, labels_bytes, read_label,
    validate,
};
use super::message::inflate;
use crate::budget::Budget;
use crate::histogram;

/// Longest answer in one message, as it comes and inflated, in bytes; a query may hold less.
pub(super) const ANSWER_BYTES_MAX: usize = 1 << 30;
/// A float with its time.
const FLOAT_BYTES: usize = 16;

/// The series of a compressed answer to one query, in its order.
///
/// # Errors
/// When it is none, or takes too much.
pub(super) fn read(body: &[u8], account: &mut Account<'_>) -> Result<Vec<(Labels, Samples)>, AnswerFault> {
    let message = inflate(
        body,
        |bytes| {
            if bytes > ANSWER_BYTES_MAX {
                return Err(AnswerFault::TooLarge {
                    bytes_max: ANSWER_BYTES_MAX,
                });
            }
            // Before there is room for it.
            account.add(bytes)?;
            Ok(account.tell()?)
        },
        AnswerFault::Snappy,
    )?;
    let (mut results, mut series) = (0, Vec::new());
    let mut fields = Fields::new(&message);
    while let Some(field) = fields.next_field()? {
        if field.number == 1 {
            results += 1;
            read_result(field.expect_bytes()?, &mut series, account)?;
        }
    }
    account.tell()?;
    match results {
        1 => Ok(series),
        other => Err(AnswerFault::Results(other)),
    }
}

fn read_result(
    message: &[u8],
    list: &mut Vec<(Labels, Samples)>,
    account: &mut Account<'_>,
) -> Result<(), AnswerFault> {
    let mut pairs = Vec::new();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        if field.number != 1 {
            continue;
        }
        pairs.clear();
        let mut rows = Rows::default();
        let mut series = Fields::new(field.expect_bytes()?);
        while let Some(field) = series.next_field()? {
            match field.number {
                1 => read_label(field.expect_bytes()?, &mut pairs)?,
                2 => rows.float(field.expect_bytes()?, account)?,
                4 => rows.histogram(field.expect_bytes()?, account)?,
                _ => {}
            }
        }
        let labels = label_set(&mut pairs)?;
        account.add(labels_bytes(&labels))?;
        list.push((labels, Samples::Columns(rows.into_columns())));
    }
    Ok(())
}

/// The samples of a series as they come: floats and histograms apart, each in order of time.
#[derive(Default)]
struct Rows {
    floats: Columns,
    histograms: Vec<(i64, Histogram)>,
}

impl Rows {
    /// Compat: a sample that is not newer than the one before is passed over (push: `answer/samples-out-of-order`).
    fn float(&mut self, message: &[u8], account: &mut Account<'_>) -> Result<(), AnswerFault> {
        let (mut value, mut timestamp_ms) = (0.0, 0);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => value = field.expect_double()?,
                2 => timestamp_ms = field.expect_varint()? as i64,
                _ => {}
            }
        }
        if self.floats.timestamps_ms.last() < Some(&timestamp_ms) {
            account.add(FLOAT_BYTES)?;
            self.floats.push(timestamp_ms, value);
        }
        Ok(())
    }

    fn histogram(&mut self, message: &[u8], account: &mut Account<'_>) -> Result<(), AnswerFault> {
        let mut budget = Budget::new(HISTOGRAM_BYTES_MAX);
        let timed = histogram::read::<AnswerFault>(message, false, &mut budget)?;
        let histogram = timed.histogram?;
        validate(&histogram)?;
        if self.histograms.last().map(|(at_ms, _)| *at_ms) < Some(timed.timestamp_ms) {
            account.add(histogram_bytes(&histogram))?;
            self.histograms.push((timed.timestamp_ms, histogram));
        }
        Ok(())
    }

    /// One list. Compat: where both have a sample, the float counts.
    fn into_columns(self) -> Columns {
        if self.histograms.is_empty() {
            return self.floats;
        }
        let mut columns = Columns::default();
        let mut floats = self
            .floats
            .timestamps_ms
            .into_iter()
            .zip(self.floats.values)
            .peekable();
        for (at_ms, histogram) in self.histograms {
            while let Some((float_ms, value)) = floats.next_if(|(float_ms, _)| *float_ms <= at_ms) {
                columns.push(float_ms, value);
            }
            if columns.timestamps_ms.last() < Some(&at_ms) {
                columns.push_histogram(at_ms, histogram);
            }
        }
        floats.for_each(|(at_ms, value)| columns.push(at_ms, value));
        columns
    }
}

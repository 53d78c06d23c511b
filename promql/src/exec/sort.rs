//! `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`.

use std::cmp::Ordering;

use crate::engine::QueryError;
use crate::plan::{Node, NodeId};

use super::Execution;
use super::ordered;
use super::table::{Collect, SeriesRow, Table};

impl Execution<'_> {
    pub(super) fn sort(
        &self,
        child: NodeId,
        by_labels: Option<&[String]>,
        descending: bool,
        over_range: bool,
        node: &Node,
    ) -> Result<Table, QueryError> {
        let limits = &self.shared.limits;
        let (collect, _samples) = self.consume(child, || Collect::new(limits))?;
        let mut table = collect.finish();
        let gathered = table.rows_at_last();
        if by_labels.is_none() {
            drop_histograms(&mut table.series);
        }
        limits.touch_samples(table.samples() + gathered)?;
        if over_range || node.steps.count > 1 {
            self.annotate(|notes| {
                notes.warn(
                    node.spans.whole,
                    "sort is ineffective for range queries since results are always ordered by labels",
                );
            });
            return Ok(table);
        }
        match by_labels {
            None => ordered::sort_by(&mut table.series, limits, |a, b| {
                by_value(a.row.values[0], b.row.values[0], descending)
            })?,
            Some(labels) => ordered::sort_by(&mut table.series, limits, |a, b| {
                let order = by_label_values(a, b, labels);
                if descending { order.reverse() } else { order }
            })?,
        }
        Ok(table)
    }
}

fn drop_histograms(series: &mut Vec<SeriesRow>) {
    for series in series.iter_mut() {
        for (step, _) in series.row.histograms.drain(..) {
            series.row.present.unset(step as usize);
        }
    }
    series.retain(|series| !series.row.is_empty());
}

/// NaN comes last either way.
fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match a.partial_cmp(&b) {
        Some(order) if descending => order.reverse(),
        Some(order) => order,
        None => a.is_nan().cmp(&b.is_nan()),
    }
}

fn by_label_values(a: &SeriesRow, b: &SeriesRow, labels: &[String]) -> Ordering {
    labels
        .iter()
        .map(|label| natural(a.labels.value(label), b.labels.value(label)))
        .find(|order| *order != Ordering::Equal)
        .unwrap_or_else(|| a.labels.cmp(&b.labels))
}

/// Compares texts with runs of digits by their numbers: `a2` before `a10`.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (chunks(a), chunks(b));
    loop {
        let (x, y) = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => (x, y),
        };
        let order = match (number(x), number(y)) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => Ordering::Equal,
        };
        let order = order.then_with(|| x.cmp(y));
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// A run of digits as a number, without leading zeros so that length and then text decide.
fn number(chunk: &str) -> Option<(usize, &str)> {
    if !chunk.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = chunk.trim_start_matches('0');
    Some((digits.len(), digits))
}

/// Runs of digits and runs of anything else.
fn chunks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?.is_ascii_digit();
        let end = rest
            .find(|c: char| c.is_ascii_digit() != first)
            .unwrap_or(rest.len());
        let (chunk, after) = rest.split_at(end);
        rest = after;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        let mut texts = ["a10", "a2", "", "b", "a", "a2b", "10", "9", "a02c", "é1"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["", "9", "10", "a", "a02c", "a2", "a2b", "a10", "b", "é1"]);
    }
}

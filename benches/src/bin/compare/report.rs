//! Medians, ratios and tables.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::Value;

/// The middle value; the mean of the two in the middle for an even number. NaN for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (n, middle) if n % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The geometric mean of positive numbers. NaN for none.
pub(crate) fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|v| v.ln()).sum::<f64>() / values.len() as f64).exp()
}

/// A number with three digits that count.
pub(crate) fn figure(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        v if v >= 0.1 => 3,
        _ => 4,
    };
    if value.is_nan() {
        "-".to_owned()
    } else {
        format!("{value:.digits$}")
    }
}

/// Lines of cells under a head, laid out as a Markdown table: the first column to the left, figures to the right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(head: Vec<String>) -> Self {
        Table { rows: vec![head] }
    }

    /// Adds a line with one cell a heading.
    pub(crate) fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text.
    pub(crate) fn render(&self) -> String {
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = match column {
                    0 => write!(text, "| {cell:<width$} |"),
                    _ => write!(text, " {cell:>width$} |"),
                };
            }
            text.push('\n');
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    text += if column == 0 { "|" } else { "" };
                    let _ = write!(
                        text,
                        "{}{}|",
                        "-".repeat(width + 1),
                        if column == 0 { "-" } else { ":" }
                    );
                }
                text.push('\n');
            }
        }
        text
    }
}

/// The figures of a server, in the order of the table; NaN for what was not measured.
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// Servers beside each other, and each one's ratios to the first.
pub(crate) fn side_by_side(results: &[(&str, Figures)]) -> String {
    let mut head = vec!["what".to_owned()];
    head.extend(results.iter().map(|(name, _)| (*name).to_owned()));
    let base = results.first().map_or("", |(name, _)| name);
    head.extend(results.iter().skip(1).map(|(name, _)| format!("{name} / {base}")));
    let mut table = Table::new(head);
    for (row, (what, _)) in results
        .first()
        .map_or(&[][..], |(_, figures)| figures)
        .iter()
        .enumerate()
    {
        let values: Vec<f64> = results.iter().map(|(_, figures)| figures[row].1).collect();
        if values.iter().all(|v| v.is_nan()) {
            continue;
        }
        let mut cells = vec![(*what).to_owned()];
        cells.extend(values.iter().map(|v| figure(*v)));
        cells.extend(values.iter().skip(1).map(|v| figure(v / values[0])));
        table.push(cells);
    }
    table.render()
}

/// The same as JSON: what, by server.
pub(crate) fn as_json(results: &[(&str, Figures)]) -> Value {
    let servers = results.iter().map(|(name, figures)| {
        let figures = figures
            .iter()
            .map(|(what, v)| ((*what).to_owned(), Value::from(*v)));
        ((*name).to_owned(), Value::Object(figures.collect()))
    });
    Value::Object(servers.collect())
}

/// Prints the result: as JSON when asked, as text otherwise.
pub(crate) fn print(as_json: bool, json: &Value, text: &str) -> Result<()> {
    say(&if as_json {
        serde_json::to_string_pretty(json)?
    } else {
        text.trim_end().to_owned()
    });
    Ok(())
}

/// Writes a line of result to standard output.
#[expect(clippy::print_stdout, reason = "the result of a command-line tool")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Tells how far the work is, beside the result.
#[expect(clippy::print_stderr, reason = "progress of a command-line tool")]
pub(crate) fn progress(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middles_and_means() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        assert!((geometric_mean(&[2.0, 8.0]) - 4.0).abs() < 1e-12);
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(vec!["what".into(), "a".into()]);
        table.push(vec!["x".into(), figure(12.345)]);
        assert_eq!(
            table.render(),
            "| what |    a |\n|------|-----:|\n| x    | 12.3 |\n"
        );
    }
}

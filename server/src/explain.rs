//! Explained queries: as JSON in answers, and as a tree on the terminal.

use std::fmt::Write as _;

use promql::engine::{Operator, QueryOutput};
use serde::{Deserialize, Serialize};

/// `data.explain` of an answer.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Explained {
    plan: PlanNode,
    /// Absent where the query was not executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    totals: Option<Totals>,
}

/// What the whole query took.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    wall_seconds: f64,
    peak_bytes: u64,
    samples_read: i64,
}

/// An operator and what it works on.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlanNode {
    operation: String,
    query: String,
    steps: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(flatten)]
    took: Option<PlanStats>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<PlanNode>,
}

/// What an operator took.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlanStats {
    series_in: u64,
    series_out: u64,
    samples_decoded: u64,
    samples_out: u64,
    peak_bytes: u64,
    wall_seconds: f64,
    cpu_seconds: f64,
    select_seconds: f64,
    parts: u64,
}

impl Explained {
    /// A plan that was not executed.
    pub(crate) fn planned(plan: &Operator) -> Self {
        Explained {
            plan: PlanNode::new(plan),
            totals: None,
        }
    }

    /// A query that was; nothing where it was not asked to be explained.
    pub(crate) fn executed(output: &QueryOutput) -> Option<Self> {
        let plan = output.explained.as_ref()?;
        Some(Explained {
            plan: PlanNode::new(plan),
            totals: Some(Totals {
                wall_seconds: seconds(output.stats.prepare_ns + output.stats.eval_ns),
                peak_bytes: output.stats.peak_bytes as u64,
                samples_read: output.stats.samples_read,
            }),
        })
    }

    /// The tree for people, a line an operator.
    pub(crate) fn render(&self) -> String {
        let mut table = vec![header(self.totals.is_some())];
        rows(&self.plan, "", "", &mut table);
        let mut text = align(&table);
        if let Some(totals) = &self.totals {
            let _ = write!(
                text,
                "\nTotal: {}, {} samples read, at most {} held\n",
                time(totals.wall_seconds),
                number(totals.samples_read.unsigned_abs()),
                bytes(totals.peak_bytes),
            );
        }
        text
    }
}

impl PlanNode {
    fn new(operator: &Operator) -> Self {
        PlanNode {
            operation: operator.operation.clone(),
            query: operator.query.clone(),
            steps: operator.steps as u64,
            notes: operator.notes.clone(),
            took: operator.took.map(|took| PlanStats {
                series_in: took.series_in,
                series_out: took.series_out,
                samples_decoded: took.samples_decoded,
                samples_out: took.samples_out,
                peak_bytes: took.peak_bytes,
                wall_seconds: seconds(took.wall_ns),
                cpu_seconds: seconds(took.cpu_ns),
                select_seconds: seconds(took.select_ns),
                parts: took.parts,
            }),
            inputs: operator.inputs.iter().map(PlanNode::new).collect(),
        }
    }
}

/// Columns of the table with figures, all but the first and the last right-aligned.
const COLUMNS: [&str; 10] = [
    "OPERATOR",
    "STEPS",
    "SERIES IN",
    "OUT",
    "DECODED",
    "SAMPLES",
    "PEAK",
    "WALL",
    "CPU",
    "QUERY",
];
/// Longest text of a query in the table, in characters.
const QUERY_CHARS_MAX: usize = 100;

fn header(executed: bool) -> Vec<String> {
    match executed {
        true => COLUMNS.map(str::to_owned).to_vec(),
        false => ["OPERATOR", "STEPS", "QUERY"].map(str::to_owned).to_vec(),
    }
}

/// Adds the rows of `node`. `first` stands before its own line, `rest` before those below.
fn rows(node: &PlanNode, first: &str, rest: &str, table: &mut Vec<Vec<String>>) {
    let executed = table[0].len() > 3;
    let mut row = vec![format!("{first}{}", node.operation), number(node.steps)];
    if executed {
        row.extend(node.took.as_ref().map_or_else(|| vec![String::new(); 7], figures));
    }
    row.push(query(node));
    table.push(row);
    for (index, input) in node.inputs.iter().enumerate() {
        let (corner, line) = match index + 1 == node.inputs.len() {
            true => ("└─ ", "   "),
            false => ("├─ ", "│  "),
        };
        rows(input, &format!("{rest}{corner}"), &format!("{rest}{line}"), table);
    }
}

fn figures(took: &PlanStats) -> Vec<String> {
    let decoded = match took.samples_decoded {
        0 => String::new(),
        samples => number(samples),
    };
    vec![
        number(took.series_in),
        number(took.series_out),
        decoded,
        number(took.samples_out),
        bytes(took.peak_bytes),
        time(took.wall_seconds),
        time(took.cpu_seconds),
    ]
}

fn query(node: &PlanNode) -> String {
    let mut text: String = node.query.chars().take(QUERY_CHARS_MAX).collect();
    if text.len() < node.query.len() {
        text.push('…');
    }
    let mut notes = node.notes.clone();
    if let Some(took) = &node.took {
        if took.parts > 1 {
            notes.push(format!("{} parts", took.parts));
        }
        if took.select_seconds > 0.0 {
            notes.push(format!("index {}", time(took.select_seconds)));
        }
    }
    if !notes.is_empty() {
        let _ = write!(text, "  ({})", notes.join("; "));
    }
    text
}

/// Rows below each other.
fn align(table: &[Vec<String>]) -> String {
    let columns = table[0].len();
    let width = |column: usize| {
        table
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in table {
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            match column {
                0 => text.push_str(&format!("{cell}{pad}")),
                _ if column + 1 == columns => text.push_str(&format!("  {cell}")),
                _ => text.push_str(&format!("  {pad}{cell}")),
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// `1,234,567`
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(value: u64) -> String {
    let (mut size, mut unit) = (value as f64, 0);
    while size >= 1024.0 && unit < 4 {
        size /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{value} B"),
        _ => format!("{size:.1} {}", ["B", "KiB", "MiB", "GiB", "TiB"][unit]),
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_tables() {
        let json = r#"{"plan":{"operation":"join +, one to one","query":"sum(a) + b","steps":1441,"notes":["kept"],
            "seriesIn":2,"seriesOut":1,"samplesDecoded":0,"samplesOut":1441,"peakBytes":123456,"wallSeconds":1.5,
            "cpuSeconds":0.0025,"selectSeconds":0.0,"parts":0,"inputs":[
              {"operation":"aggregate, sum","query":"sum(a)","steps":1441,"inputs":[
                {"operation":"select","query":"a","steps":1441,"notes":["streamed"],
                 "seriesIn":5400,"seriesOut":5400,"samplesDecoded":31104000,"samplesOut":7781400,"peakBytes":0,
                 "wallSeconds":0.000012,"cpuSeconds":2.0,"selectSeconds":0.004,"parts":32}]},
              {"operation":"select","query":"b","steps":1441,"notes":["computed above, used again"]}]},
            "totals":{"wallSeconds":1.51,"peakBytes":2000000,"samplesRead":31104000}}"#;
        let explained: Explained = serde_json::from_str(json).expect("JSON");
        assert_eq!(explained.render(), "\
OPERATOR            STEPS  SERIES IN    OUT     DECODED    SAMPLES       PEAK    WALL     CPU  QUERY
join +, one to one  1,441          2      1                  1,441  120.6 KiB  1.50 s  2.5 ms  sum(a) + b  (kept)
├─ aggregate, sum   1,441                                                                      sum(a)
│  └─ select        1,441      5,400  5,400  31,104,000  7,781,400        0 B   12 µs  2.00 s  a  (streamed; 32 parts; index 4.0 ms)
└─ select           1,441                                                                      b  (computed above, used again)

Total: 1.51 s, 31,104,000 samples read, at most 1.9 MiB held
");
        let again = serde_json::to_value(&explained).expect("JSON");
        assert_eq!(
            again,
            serde_json::from_str::<serde_json::Value>(json).expect("JSON")
        );
    }
}

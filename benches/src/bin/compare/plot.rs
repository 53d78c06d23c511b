//! Ratios as a picture: bars from zero, and a line where Prometheus is.

use std::fmt::Write as _;

use crate::report::figure;

/// The bars of one query: how many times faster than Prometheus each server is, NaN where it gave no answer.
pub(crate) struct Bars<'a> {
    pub(crate) name: &'a str,
    pub(crate) factors: Vec<f64>,
}

/// Colours that tell apart on light and on dark pages, also for the colour-blind.
const COLOURS: [&str; 2] = ["#d9722e", "#5b8db8"];
/// Readable on both.
const TEXT: &str = "#808080";

const WIDTH: usize = 860;
/// Space for names on the left, and for figures on the right.
const LEFT: usize = 170;
const RIGHT: usize = 60;
const TOP: usize = 40;
const BAR: usize = 11;
const GAP: usize = 8;

/// An SVG picture of the bars; `servers` are their names, in the order of the factors.
pub(crate) fn draw(servers: &[&str], queries: &[Bars<'_>]) -> String {
    let most = queries.iter().flat_map(|query| &query.factors);
    let most = most.copied().fold(1.0, f64::max);
    let x = |factor: f64| LEFT as f64 + factor / most * (WIDTH - LEFT - RIGHT) as f64;
    let row = servers.len() * BAR + GAP;
    let height = TOP + queries.len() * row + GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{TEXT}\">\n\
         <text x=\"4\" y=\"16\">times faster than Prometheus</text>\n"
    );
    for (at, server) in servers.iter().enumerate() {
        let left = LEFT + 60 + 110 * at;
        let colour = COLOURS[at % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"7\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"16\">{server}</text>",
            left + 15
        );
    }
    let one = x(1.0);
    for (number, query) in queries.iter().enumerate() {
        let top = TOP + number * row;
        let middle = top + (row - GAP) / 2 + 4;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
            LEFT - 8,
            query.name
        );
        for (at, factor) in query.factors.iter().enumerate() {
            if factor.is_nan() {
                continue;
            }
            let (y, end) = (top + at * BAR, x(*factor));
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" font-size=\"10\">{}</text>",
                end - LEFT as f64,
                BAR - 1,
                COLOURS[at % COLOURS.len()],
                // Not across the line.
                end.max(one) + 4.0,
                y + BAR - 2,
                figure(*factor)
            );
        }
    }
    let _ = writeln!(
        svg,
        "<line x1=\"{one:.1}\" y1=\"{}\" x2=\"{one:.1}\" y2=\"{height}\" stroke=\"{TEXT}\" stroke-dasharray=\"3 3\"/>\n\
         <text x=\"{one:.1}\" y=\"{}\" font-size=\"10\" text-anchor=\"middle\">Prometheus</text>\n</svg>",
        TOP - 6,
        TOP - 10
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_factors() {
        let queries = [
            Bars {
                name: "sum",
                factors: vec![10.0, 2.5],
            },
            Bars {
                name: "rate",
                factors: vec![5.0, f64::NAN],
            },
        ];
        let svg = draw(&["Narthex", "Other"], &queries);
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("height=\"10\" fill") && line.contains("x=\"170\""))
            .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        let full = (WIDTH - LEFT - RIGHT) as f64;
        assert_eq!(widths, [full, full / 4.0, full / 2.0]);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}

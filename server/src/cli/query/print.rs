//! Answers as text: the reference tool's forms.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::float::{Layout, format_float, format_precision};
use model::labels::write_quoted;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Number;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Promql,
    Json,
}

type Labels = BTreeMap<String, String>;

/// The result of a query.
#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum Data {
    Scalar((Number, Float)),
    String((Number, String)),
    Vector(Vec<Sample>),
    Matrix(Vec<Stream>),
}

#[derive(Deserialize, Serialize)]
pub(super) struct Sample {
    metric: Labels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<(Number, Float)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    histogram: Option<(Number, Histogram)>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Stream {
    metric: Labels,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<(Number, Float)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    histograms: Vec<(Number, Histogram)>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Histogram {
    count: Float,
    sum: Float,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    buckets: Vec<(u8, Float, Float, Float)>,
}

/// A float that JSON has as text. Compat: the tool writes it without an exponent, unlike the API
/// (`answers_are_printed_as_the_reference_prints_them`).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Float(f64);

impl TryFrom<String> for Float {
    type Error = std::num::ParseFloatError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Float)
    }
}

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_float(self.0))
    }
}

impl Data {
    pub(super) fn print(&self, format: Format) -> String {
        match (format, self) {
            (Format::Json, Data::Scalar(pair)) => json(pair),
            (Format::Json, Data::String(pair)) => json(pair),
            (Format::Json, Data::Vector(samples)) => json(samples),
            (Format::Json, Data::Matrix(streams)) => json(streams),
            (Format::Promql, Data::Scalar((time, value))) => {
                format!("scalar: {} @[{time}]", format_float(value.0))
            }
            (Format::Promql, Data::String((_, text))) => text.clone(),
            (Format::Promql, Data::Vector(samples)) => lines(samples.iter().map(Sample::text)),
            (Format::Promql, Data::Matrix(streams)) => lines(streams.iter().map(Stream::text)),
        }
    }
}

impl Sample {
    fn text(&self) -> String {
        let value = match (&self.histogram, &self.value) {
            (Some(histogram), _) => histogram_text(histogram),
            (None, Some(value)) => value_text(value),
            (None, None) => String::new(),
        };
        format!("{} => {value}", metric_text(&self.metric))
    }
}

impl Stream {
    fn text(&self) -> String {
        let values = self
            .values
            .iter()
            .map(value_text)
            .chain(self.histograms.iter().map(histogram_text));
        lines(
            [format!("{} =>", metric_text(&self.metric))]
                .into_iter()
                .chain(values),
        )
    }
}

/// Series, as label sets.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Series(Vec<Labels>);

impl Series {
    pub(super) fn print(&self, format: Format) -> String {
        match format {
            Format::Json => json(&self.0),
            Format::Promql => lines(
                self.0
                    .iter()
                    .map(|labels| format!("{{{}}}", pairs(labels.iter()))),
            ),
        }
    }
}

/// Values of a label.
pub(super) fn values(values: &[String], format: Format) -> String {
    match format {
        Format::Json => json(values),
        Format::Promql => values.join("\n"),
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    // Maps with text keys and finite numbers: nothing that JSON could not hold.
    serde_json::to_string(value).unwrap_or_default()
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

fn value_text((time, value): &(Number, Float)) -> String {
    format!("{} @[{time}]", format_float(value.0))
}

fn histogram_text((time, histogram): &(Number, Histogram)) -> String {
    let plain = |value: Float| format_precision(value.0, Layout::Plain, 6);
    let buckets = histogram.buckets.iter().map(|(bounds, low, high, count)| {
        // 0: the upper bound belongs to it; 1: the lower one; 2: none; 3: both.
        let open = if matches!(bounds, 1 | 3) { '[' } else { '(' };
        let close = if matches!(bounds, 0 | 3) { ']' } else { ')' };
        let (low, high, count) = (format_float(low.0), format_float(high.0), format_float(count.0));
        format!("{open}{low},{high}{close}:{count}")
    });
    let buckets = buckets.collect::<Vec<_>>().join(" ");
    format!(
        "Count: {}, Sum: {}, Buckets: [{buckets}] @[{time}]",
        plain(histogram.count),
        plain(histogram.sum)
    )
}

fn metric_text(labels: &Labels) -> String {
    let name = labels.get("__name__").map_or("", String::as_str);
    let others: Vec<_> = labels.iter().filter(|(label, _)| *label != "__name__").collect();
    if others.is_empty() && !name.is_empty() {
        return name.to_owned();
    }
    format!("{name}{{{}}}", pairs(others.into_iter()))
}

fn pairs<'a>(labels: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{name}=");
        let _ = write_quoted(&mut text, value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of the API, and what the reference's tool printed for them.
    #[test]
    fn answers_are_printed_as_the_reference_prints_them() {
        let cases = [
            (
                r#"{"resultType":"scalar","result":[1795413172.322,"2"]}"#,
                "scalar: 2 @[1795413172.322]",
                r#"[1795413172.322,"2"]"#,
            ),
            (
                r#"{"resultType":"vector","result":[{"metric":{},"value":[1795413172.874,"1e-09"]}]}"#,
                "{} => 0.000000001 @[1795413172.874]",
                r#"[{"metric":{},"value":[1795413172.874,"0.000000001"]}]"#,
            ),
            (
                r#"{"resultType":"vector","result":[{"metric":{"job":"self","__name__":"up"},"value":[5,"+Inf"]},{"metric":{"__name__":"x"},"value":[5,"NaN"]}]}"#,
                "up{job=\"self\"} => +Inf @[5]\nx => NaN @[5]",
                r#"[{"metric":{"__name__":"up","job":"self"},"value":[5,"+Inf"]},{"metric":{"__name__":"x"},"value":[5,"NaN"]}]"#,
            ),
            (
                r#"{"resultType":"vector","result":[{"metric":{"__name__":"h"},"histogram":[1795413173.749,{"count":"1","sum":"0.004204491","buckets":[[0,"0.00390625","0.004259795830723663","1"],[3,"-1","1","2"]]}]}]}"#,
                "h => Count: 1.000000, Sum: 0.004204, Buckets: [(0.00390625,0.004259795830723663]:1 [-1,1]:2] @[1795413173.749]",
                r#"[{"metric":{"__name__":"h"},"histogram":[1795413173.749,{"count":"1","sum":"0.004204491","buckets":[[0,"0.00390625","0.004259795830723663","1"],[3,"-1","1","2"]]}]}]"#,
            ),
            (
                r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up"},"values":[[1.5,"1"],[2.5,"0"]]},{"metric":{"a":"b\"c"},"values":[[1,"7"]]}]}"#,
                "up =>\n1 @[1.5]\n0 @[2.5]\n{a=\"b\\\"c\"} =>\n7 @[1]",
                r#"[{"metric":{"__name__":"up"},"values":[[1.5,"1"],[2.5,"0"]]},{"metric":{"a":"b\"c"},"values":[[1,"7"]]}]"#,
            ),
            (r#"{"resultType":"string","result":[1,"x"]}"#, "x", r#"[1,"x"]"#),
            (r#"{"resultType":"vector","result":[]}"#, "", "[]"),
        ];
        for (answer, text, json) in cases {
            let data = serde_json::from_str::<Data>(answer).expect(answer);
            assert_eq!(data.print(Format::Promql), text);
            assert_eq!(data.print(Format::Json), json);
        }
        let series = serde_json::from_str::<Series>(r#"[{"job":"self","__name__":"up"}]"#).expect("series");
        assert_eq!(series.print(Format::Promql), r#"{__name__="up", job="self"}"#);
        assert_eq!(series.print(Format::Json), r#"[{"__name__":"up","job":"self"}]"#);
        assert_eq!(values(&["a".into(), "b".into()], Format::Promql), "a\nb");
    }
}

//! The text format, read as strictly as the reference's tools for metrics and its push gateway read it.
//!
//! A scrape forgives what this does not (an unknown escape, a second HELP line, a last line without its end), since
//! samples are worth more than form; whoever checks an exporter wants to hear of it, and whoever pushes can be told.
//! Families are put together as those programs do it: `x_sum` is part of `x` where `x` is a summary.
//!
//! ```
//! use model::labels::NameScheme;
//! use narthex_exposition::strict::families;
//! let found = families(b"# TYPE s summary\ns_sum 3\ns_count 2\n", NameScheme::Utf8)?;
//! assert_eq!((found["s"].metrics[0].sum, found["s"].metrics[0].count), (Some(3.0), Some(2.0)));
//! assert!(families(b"s_sum 3", NameScheme::Utf8).is_err());
//! # Ok::<(), narthex_exposition::strict::TextError>(())
//! ```

mod error;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use model::float::{parse_float, parse_number};
use model::labels::NameScheme;
use model::sample::MetricType;

use error::Problem;
pub use error::TextError;

/// Names and values of labels.
pub type LabelSet = Vec<(String, String)>;

/// A family of metrics as a body shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// `None` until a TYPE line or a sample says it; a sample alone says unknown.
    kind: Option<MetricType>,
    /// Its help text, escapes resolved.
    pub help: Option<String>,
    /// In order of appearance; the samples of one histogram or summary are one metric.
    pub metrics: Vec<Metric>,
    /// The metrics of a histogram or summary, to find one again.
    known: BTreeMap<LabelSet, usize>,
    /// Lines with a sample.
    pub lines: usize,
}

/// A metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    /// Sorted, without the label that tells the samples of a histogram or summary apart.
    pub labels: LabelSet,
    /// Of whatever is neither histogram nor summary.
    pub value: f64,
    /// Of a histogram or summary, where a line says it; so is `count`.
    pub sum: Option<f64>,
    /// How many observations.
    pub count: Option<f64>,
    /// Quantiles or bounds, and their values, in order of appearance.
    pub points: Vec<(f64, f64)>,
    /// The last one that a line of it has.
    pub timestamp_ms: Option<i64>,
}

impl Family {
    /// Its type, as far as it is known.
    pub fn kind(&self) -> MetricType {
        self.kind.unwrap_or(MetricType::Unknown)
    }
}

/// What a sample is of a summary or a histogram.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Whole,
    Count,
    Sum,
    Bucket,
}

/// Families that have samples, by name; `names` says which letters names may have.
///
/// # Errors
/// The first thing that is wrong.
pub fn families(body: &[u8], names: NameScheme) -> Result<BTreeMap<String, Family>, TextError> {
    let mut reader = Reader {
        body,
        at: 0,
        names,
        families: BTreeMap::new(),
    };
    let mut line = 0;
    loop {
        line += 1;
        match reader.line() {
            Ok(true) => {}
            Ok(false) => break,
            Err(problem) => return Err(TextError { line, problem }),
        }
    }
    let mut families = reader.families;
    families.retain(|_, family| family.lines > 0);
    Ok(families)
}

struct Reader<'b> {
    body: &'b [u8],
    at: usize,
    names: NameScheme,
    families: BTreeMap<String, Family>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

impl<'b> Reader<'b> {
    /// The byte that is read next.
    fn peek(&self) -> Result<u8, Problem> {
        self.body.get(self.at).copied().ok_or(Problem::End)
    }

    fn skip_blanks(&mut self) {
        while self.body.get(self.at).copied().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    /// Bytes up to one that `ends` it, which must come.
    fn until(&mut self, ends: impl Fn(u8) -> bool) -> Result<&'b [u8], Problem> {
        let rest = &self.body[self.at..];
        let length = rest.iter().position(|byte| ends(*byte)).ok_or(Problem::End)?;
        self.at += length;
        Ok(&rest[..length])
    }

    /// Steps over a line's end, if that is here.
    fn ends_line(&mut self) -> Result<bool, Problem> {
        let ends = self.peek()? == b'\n';
        self.at += usize::from(ends);
        Ok(ends)
    }

    /// Reads a line; false where there is none left.
    fn line(&mut self) -> Result<bool, Problem> {
        self.skip_blanks();
        match self.body.get(self.at) {
            None => return Ok(false),
            Some(b'\n') => self.at += 1,
            Some(b'#') => {
                self.at += 1;
                self.comment()?;
            }
            Some(b'{') => self.sample(None)?,
            Some(_) => {
                let name = self.name("metric name")?;
                if name.is_empty() {
                    return Err(Problem::NoName);
                }
                self.sample(Some(name))?;
            }
        }
        Ok(true)
    }

    fn comment(&mut self) -> Result<(), Problem> {
        self.skip_blanks();
        let word = self.until(|byte| is_blank(byte) || byte == b'\n')?;
        if !matches!(word, b"HELP" | b"TYPE") {
            self.until(|byte| byte == b'\n')?;
            return self.ends_line().map(|_| ());
        }
        if self.ends_line()? {
            return Ok(());
        }
        self.skip_blanks();
        let name = self.name("metric name")?;
        if self.ends_line()? {
            return Ok(());
        }
        if !is_blank(self.peek()?) {
            return Err(Problem::NameInComment);
        }
        let (name, _) = self.family(name)?;
        self.skip_blanks();
        if self.ends_line()? {
            return Ok(());
        }
        let is_help = word == b"HELP";
        let family = self.families.entry(name.clone()).or_default();
        match family.kind {
            _ if is_help && family.help.is_some() => return Err(Problem::SecondHelp(name)),
            Some(_) if !is_help => return Err(Problem::SecondType(name)),
            _ => {}
        }
        let rest = self.until(|byte| byte == b'\n')?;
        let family = self.families.entry(name).or_default();
        if is_help {
            family.help = Some(help(rest)?);
        } else {
            family.kind = Some(kind(rest).ok_or_else(|| Problem::Type(text(rest)))?);
        }
        self.ends_line().map(|_| ())
    }

    /// Reads a name: a bare word, or any text in quotes; empty where neither is here.
    fn name(&mut self, what: &'static str) -> Result<String, Problem> {
        if self.peek()? == b'"' {
            return self.string(what);
        }
        let is_metric = what == "metric name";
        let start = self.at;
        let in_name = |byte: u8, first: bool| {
            byte.is_ascii_alphabetic()
                || byte == b'_'
                || byte == b':' && is_metric
                || byte.is_ascii_digit() && !first
        };
        while in_name(self.peek()?, self.at == start) {
            self.at += 1;
        }
        Ok(text(&self.body[start..self.at]))
    }

    /// Reads a text in quotes; the first of them is here.
    fn string(&mut self, what: &'static str) -> Result<String, Problem> {
        let mut token = Vec::new();
        loop {
            self.at += 1;
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    break;
                }
                b'\n' => {
                    let token = text(&token);
                    return Err(Problem::NewLine { what, token });
                }
                b'\\' => {
                    self.at += 1;
                    token.push(match self.peek()? {
                        b'n' => b'\n',
                        byte @ (b'"' | b'\\') => byte,
                        byte => return Err(Problem::Escape(byte)),
                    });
                }
                byte => token.push(byte),
            }
        }
        String::from_utf8(token).map_err(|error| {
            let token = error.into_bytes();
            match what {
                "label value" => Problem::Value(token),
                _ => Problem::Name(text(&token)),
            }
        })
    }

    /// The family that a metric of this name belongs to, and which part of it the metric is.
    fn family(&mut self, name: String) -> Result<(String, Part), Problem> {
        if !self.names.is_valid_metric_name(&name) {
            return Err(Problem::Name(name));
        }
        if self.families.contains_key(&name) {
            return Ok((name, Part::Whole));
        }
        let parts = [
            ("_count", Part::Count),
            ("_sum", Part::Sum),
            ("_bucket", Part::Bucket),
        ];
        let part_of = parts.into_iter().find_map(|(suffix, part)| {
            let base = name.strip_suffix(suffix)?;
            let fits = match self.families.get(base)?.kind() {
                MetricType::Histogram | MetricType::GaugeHistogram => true,
                MetricType::Summary => part != Part::Bucket,
                _ => false,
            };
            fits.then(|| (base.to_owned(), part))
        });
        Ok(part_of.unwrap_or((name, Part::Whole)))
    }

    /// Reads the rest of a sample: labels, value, timestamp. Without a name it is the first thing inside the braces.
    fn sample(&mut self, name: Option<String>) -> Result<(), Problem> {
        let mut head = Head::default();
        if let Some(bare) = name {
            let (family, part) = self.family(bare)?;
            (head.name, head.part) = (Some(family), part);
        }
        self.skip_blanks();
        if self.peek()? == b'{' {
            self.at += 1;
            self.labels(&mut head)?;
            self.skip_blanks();
        }
        let Some(name) = head.name else {
            return Err(Problem::NoName);
        };
        let value = self.until(|byte| is_blank(byte) || byte == b'\n')?;
        let number = parse_value(value).ok_or_else(|| Problem::Float(text(value)))?;
        self.check_counts(&name, head.part, number)?;
        let timestamp_ms = self.timestamp()?;
        self.add(name, head.labels, (head.part, head.point, number), timestamp_ms);
        Ok(())
    }

    /// Reads what follows a value, up to the end of the line.
    fn timestamp(&mut self) -> Result<Option<i64>, Problem> {
        if self.ends_line()? {
            return Ok(None);
        }
        self.skip_blanks();
        let timestamp = text(self.until(|byte| is_blank(byte) || byte == b'\n')?);
        let Ok(timestamp_ms) = timestamp.parse::<i64>() else {
            return Err(Problem::Timestamp(timestamp));
        };
        let more = self.until(|byte| byte == b'\n')?;
        if !more.is_empty() {
            return Err(Problem::Spurious(text(more)));
        }
        self.ends_line()?;
        Ok(Some(timestamp_ms))
    }

    /// Reads labels up to the closing brace.
    fn labels(&mut self, head: &mut Head) -> Result<(), Problem> {
        let outside = head.name.is_some();
        loop {
            self.skip_blanks();
            if self.peek()? == b'}' {
                self.at += 1;
                return Ok(());
            }
            let known = head.name.clone().unwrap_or_default();
            let label = self.name("label name")?;
            if label.is_empty() {
                return Err(Problem::NoLabel(known));
            }
            self.skip_blanks();
            let next = self.peek()?;
            if next != b'=' {
                match next {
                    next if outside => return Err(Problem::Equals(next)),
                    _ if head.name.is_some() => return Err(Problem::SecondName(known)),
                    b',' | b'}' => {
                        let (family, part) = self.family(label)?;
                        (head.name, head.part) = (Some(family), part);
                        self.at += usize::from(next == b',');
                        continue;
                    }
                    next => return Err(Problem::NameEnd(next)),
                }
            }
            self.at += 1;
            self.label(label, &known, head)?;
        }
    }

    /// Reads the value of a label of the family `known`, and what separates it from the next.
    fn label(&mut self, label: String, known: &str, head: &mut Head) -> Result<(), Problem> {
        if label == "__name__" {
            return Err(Problem::ReservedLabel);
        }
        if !self.names.is_valid_label_name(&label) {
            return Err(Problem::LabelName(label));
        }
        self.skip_blanks();
        let next = self.peek()?;
        if head.labels.iter().any(|(other, _)| *other == label) {
            return Err(Problem::LabelTwice(known.to_owned()));
        }
        if next != b'"' {
            return Err(Problem::Quote(next));
        }
        let value = self.string("label value")?;
        let kind = self.families.get(known).map_or(MetricType::Unknown, Family::kind);
        let own = own_label(kind).filter(|own| *own == label);
        if let Some(label) = own {
            match parse_value(value.as_bytes()) {
                Some(point) => head.point = Some(point),
                None => return Err(Problem::LabelFloat { label, value }),
            }
        }
        self.skip_blanks();
        match self.peek()? {
            b',' => self.at += 1,
            b'}' => {}
            _ => return Err(Problem::ValueEnd(value)),
        }
        if own.is_none() {
            head.labels.push((label, value));
        }
        Ok(())
    }

    fn check_counts(&self, name: &str, part: Part, number: f64) -> Result<(), Problem> {
        let kind = self.families.get(name).map_or(MetricType::Unknown, Family::kind);
        let is_histogram = matches!(kind, MetricType::Histogram | MetricType::GaugeHistogram);
        match part {
            Part::Count if is_histogram && number < 0.0 => Err(Problem::NegativeCount(name.to_owned())),
            Part::Bucket if is_histogram && number < 0.0 => Err(Problem::NegativeBucket(name.to_owned())),
            _ => Ok(()),
        }
    }

    /// Files a sample under its family: which part of a metric it is, at which quantile or bound, and its value.
    fn add(
        &mut self,
        name: String,
        mut labels: LabelSet,
        (part, point, number): (Part, Option<f64>, f64),
        timestamp_ms: Option<i64>,
    ) {
        let family = self.families.entry(name).or_default();
        let kind = *family.kind.get_or_insert(MetricType::Unknown);
        family.lines += 1;
        labels.sort();
        let fresh = family.metrics.len();
        let is_composed = own_label(kind).is_some();
        let index = match is_composed {
            true => *family.known.entry(labels.clone()).or_insert(fresh),
            false => fresh,
        };
        if index == fresh {
            let labels = labels;
            family.metrics.push(Metric {
                labels,
                ..Metric::default()
            });
        }
        let metric = &mut family.metrics[index];
        metric.timestamp_ms = timestamp_ms.or(metric.timestamp_ms);
        match part {
            _ if !is_composed => metric.value = number,
            Part::Count => metric.count = Some(number),
            Part::Sum => metric.sum = Some(number),
            // Compat: a line that says neither which quantile nor which bound leaves an empty metric
            // (push/pushgateway `text-histogram-incomplete`).
            Part::Whole | Part::Bucket => metric
                .points
                .extend(point.filter(|at| !at.is_nan()).map(|at| (at, number))),
        }
    }
}

/// What stands in front of a value.
#[derive(Default)]
struct Head {
    /// The family.
    name: Option<String>,
    part: Part,
    labels: LabelSet,
    /// The quantile or the bound.
    point: Option<f64>,
}

/// The label that tells the series of one summary or histogram apart.
fn own_label(kind: MetricType) -> Option<&'static str> {
    match kind {
        MetricType::Summary => Some("quantile"),
        MetricType::Histogram | MetricType::GaugeHistogram => Some("le"),
        _ => None,
    }
}

/// The type that a TYPE line names.
fn kind(word: &[u8]) -> Option<MetricType> {
    Some(match word.to_ascii_lowercase().as_slice() {
        b"counter" => MetricType::Counter,
        b"gauge" => MetricType::Gauge,
        b"summary" => MetricType::Summary,
        b"histogram" => MetricType::Histogram,
        b"gauge_histogram" | b"gaugehistogram" => MetricType::GaugeHistogram,
        b"untyped" => MetricType::Unknown,
        _ => return None,
    })
}

/// A value as the reference's tools take it: no hexadecimal exponents, no underscores.
fn parse_value(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.contains(['p', 'P', '_']) {
        return None;
    }
    parse_float(text).or_else(|_| parse_number(text)).ok()
}

/// The text of a HELP line.
fn help(raw: &[u8]) -> Result<String, Problem> {
    if !raw.contains(&b'\\') {
        return Ok(text(raw));
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.push(match bytes.next() {
                Some(byte @ (b'\\' | b'"')) => *byte,
                Some(b'n') => b'\n',
                Some(other) => return Err(Problem::Escape(*other)),
                None => return Err(Problem::Escape(b'\n')),
            }),
            byte => out.push(*byte),
        }
    }
    Ok(text(&out))
}

//! The text format, read as strictly as the reference's tools for metrics read it.
//!
//! A scrape forgives what this does not (an unknown escape, a second HELP line, a last line without its end), since
//! samples are worth more than form; whoever checks an exporter wants to hear of it. Families are put together as the tools
//! do it: `x_sum` is part of `x` where `x` is a summary.

use std::collections::{BTreeMap, BTreeSet};

use model::float::{parse_float, parse_number};
use model::go::Quoted;
use model::labels::NameScheme;
use model::sample::MetricType;

/// Where a body is not in the text format, and why. Compat: the words are the reference's (reports/check-metrics).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("text format parsing error in line {line}: {problem}")]
pub(crate) struct TextError {
    line: usize,
    problem: Problem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("unexpected end of input stream")]
    End,
    #[error("invalid metric name")]
    NoName,
    #[error("invalid metric name {}", Quoted(.0))]
    Name(String),
    #[error("invalid metric name in comment")]
    NameInComment,
    #[error("multiple metric names for metric {}", Quoted(.0))]
    SecondName(String),
    #[error("unexpected end of metric name {}", letter(*.0))]
    NameEnd(u8),
    #[error("invalid label name for metric {}", Quoted(.0))]
    NoLabel(String),
    #[error("label name \"__name__\" is reserved")]
    ReservedLabel,
    #[error("expected '=' after label name, found {}", letter(*.0))]
    Equals(u8),
    #[error("duplicate label names for metric {}", Quoted(.0))]
    LabelTwice(String),
    #[error("expected '\"' at start of label value, found {}", letter(*.0))]
    Quote(u8),
    #[error("invalid label value {}", Quoted(.0))]
    Value(String),
    #[error("unexpected end of label value {}", Quoted(.0))]
    ValueEnd(String),
    #[error("{what} {} contains unescaped new-line", Quoted(.token))]
    NewLine { what: &'static str, token: String },
    #[error("invalid escape sequence '\\{}'", char::from(*.0))]
    Escape(u8),
    #[error("expected float as value for '{label}' label, got {}", Quoted(.value))]
    LabelFloat { label: &'static str, value: String },
    #[error("expected float as value, got {}", Quoted(.0))]
    Float(String),
    #[error("negative count for histogram {}", Quoted(.0))]
    NegativeCount(String),
    #[error("negative bucket population for histogram {}", Quoted(.0))]
    NegativeBucket(String),
    #[error("expected integer as timestamp, got {}", Quoted(.0))]
    Timestamp(String),
    #[error("spurious string after timestamp: {}", Quoted(.0))]
    Spurious(String),
    #[error("second HELP line for metric name {}", Quoted(.0))]
    SecondHelp(String),
    #[error("second TYPE line for metric name {}, or TYPE reported after samples", Quoted(.0))]
    SecondType(String),
    #[error("unknown metric type {}", Quoted(.0))]
    Type(String),
}

fn letter(byte: u8) -> String {
    match byte {
        b'\n' => r"'\n'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        b'\'' => r"'\''".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        byte => format!("'{}'", char::from(byte)),
    }
}

/// Names and values of labels.
type LabelSet = Vec<(String, String)>;

/// A family of metrics as a body shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Family {
    /// `None` until a TYPE line or a sample says it; a sample alone says unknown.
    kind: Option<MetricType>,
    pub(crate) has_help: bool,
    /// Label sets, sorted, without the labels that make up one histogram or summary; each of those stands once.
    pub(crate) series: Vec<LabelSet>,
    /// The series of a histogram or summary, to find one again.
    known: BTreeSet<LabelSet>,
    /// Lines with a sample.
    pub(crate) lines: usize,
}

impl Family {
    pub(crate) fn kind(&self) -> MetricType {
        self.kind.unwrap_or(MetricType::Unknown)
    }
}

/// What a sample is of a summary or a histogram.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Count,
    Sum,
    Bucket,
}

/// Families that have samples, by name.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn families(body: &[u8]) -> Result<BTreeMap<String, Family>, TextError> {
    let mut reader = Reader {
        body,
        at: 0,
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
            _ if is_help && family.has_help => return Err(Problem::SecondHelp(name)),
            Some(_) if !is_help => return Err(Problem::SecondType(name)),
            _ => {}
        }
        let rest = self.until(|byte| byte == b'\n')?;
        if is_help {
            check_escapes(rest)?;
        }
        let family = self.families.entry(name).or_default();
        if is_help {
            family.has_help = true;
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
            let token = text(error.as_bytes());
            match what {
                "label value" => Problem::Value(token),
                _ => Problem::Name(token),
            }
        })
    }

    /// The family that a metric of this name belongs to, and which part of it the metric is.
    fn family(&mut self, name: String) -> Result<(String, Part), Problem> {
        if !NameScheme::Utf8.is_valid_metric_name(&name) {
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
    fn sample(&mut self, mut name: Option<String>) -> Result<(), Problem> {
        let mut part = Part::Whole;
        if let Some(bare) = name.take() {
            let (family, of) = self.family(bare)?;
            part = of;
            name = Some(family);
        }
        self.skip_blanks();
        let mut labels = Vec::new();
        if self.peek()? == b'{' {
            self.at += 1;
            (name, part) = self.labels(name, part, &mut labels)?;
            self.skip_blanks();
        }
        let Some(name) = name else {
            return Err(Problem::NoName);
        };
        let value = self.until(|byte| is_blank(byte) || byte == b'\n')?;
        let number = parse_value(value).ok_or_else(|| Problem::Float(text(value)))?;
        self.check_counts(&name, part, number)?;
        self.add(name, labels);
        if self.ends_line()? {
            return Ok(());
        }
        self.skip_blanks();
        let timestamp = text(self.until(|byte| is_blank(byte) || byte == b'\n')?);
        if timestamp.parse::<i64>().is_err() {
            return Err(Problem::Timestamp(timestamp));
        }
        self.skip_blanks();
        let more = self.until(|byte| byte == b'\n')?;
        if !more.is_empty() {
            return Err(Problem::Spurious(text(more)));
        }
        self.ends_line().map(|_| ())
    }

    /// Reads labels up to the closing brace.
    fn labels(
        &mut self,
        mut name: Option<String>,
        mut part: Part,
        labels: &mut LabelSet,
    ) -> Result<(Option<String>, Part), Problem> {
        let outside = name.is_some();
        loop {
            self.skip_blanks();
            if self.peek()? == b'}' {
                self.at += 1;
                return Ok((name, part));
            }
            let known = name.clone().unwrap_or_default();
            let label = self.name("label name")?;
            if label.is_empty() {
                return Err(Problem::NoLabel(known));
            }
            self.skip_blanks();
            let next = self.peek()?;
            if next != b'=' {
                match next {
                    next if outside => return Err(Problem::Equals(next)),
                    _ if name.is_some() => return Err(Problem::SecondName(known)),
                    b',' | b'}' => {
                        let (family, of) = self.family(label)?;
                        (name, part) = (Some(family), of);
                        self.at += usize::from(next == b',');
                        continue;
                    }
                    next => return Err(Problem::NameEnd(next)),
                }
            }
            self.at += 1;
            if label == "__name__" {
                return Err(Problem::ReservedLabel);
            }
            self.skip_blanks();
            let next = self.peek()?;
            if labels.iter().any(|(other, _)| *other == label) {
                return Err(Problem::LabelTwice(known));
            }
            if next != b'"' {
                return Err(Problem::Quote(next));
            }
            let value = self.string("label value")?;
            let kind = self
                .families
                .get(&known)
                .map_or(MetricType::Unknown, Family::kind);
            let own = own_label(kind).filter(|own| *own == label);
            if let Some(label) = own
                && parse_value(value.as_bytes()).is_none()
            {
                return Err(Problem::LabelFloat { label, value });
            }
            self.skip_blanks();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {}
                _ => return Err(Problem::ValueEnd(value)),
            }
            labels.push((label, value));
        }
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

    /// Files a sample under its family.
    fn add(&mut self, name: String, mut labels: LabelSet) {
        let family = self.families.entry(name).or_default();
        let kind = *family.kind.get_or_insert(MetricType::Unknown);
        family.lines += 1;
        if let Some(own) = own_label(kind) {
            labels.retain(|(label, _)| label != own);
        }
        labels.sort();
        if own_label(kind).is_none() || family.known.insert(labels.clone()) {
            family.series.push(labels);
        }
    }
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

fn check_escapes(help: &[u8]) -> Result<(), Problem> {
    let mut bytes = help.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' {
            match bytes.next() {
                Some(b'\\' | b'n' | b'"') => {}
                Some(other) => return Err(Problem::Escape(*other)),
                None => return Err(Problem::Escape(b'\n')),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> String {
        let error = families(body.as_bytes()).expect_err(body).to_string();
        let words = error.strip_prefix("text format parsing error in line ");
        words.expect("the reference's words").to_owned()
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (body, said) in [
            ("a 1", "1: unexpected end of input stream"),
            ("a 1\n# HELP", "2: unexpected end of input stream"),
            ("a{b=\"x\\ty\"} 1\n", "1: invalid escape sequence '\\t'"),
            ("# HELP a x\\ty\n", "1: invalid escape sequence '\\t'"),
            (
                "# HELP a x\n# HELP a y\n",
                "2: second HELP line for metric name \"a\"",
            ),
            (
                "# TYPE a counter\na 1\n# TYPE a counter\n",
                "3: second TYPE line for metric name \"a\", or TYPE reported after samples",
            ),
            (
                "a 1\n# TYPE a gauge\n",
                "2: second TYPE line for metric name \"a\", or TYPE reported after samples",
            ),
            ("# TYPE a gouge\n", "1: unknown metric type \"gouge\""),
            ("# TYPE a-b gauge\n", "1: invalid metric name in comment"),
            (
                "a{b=\"1\",b=\"2\"} 1\n",
                "1: duplicate label names for metric \"a\"",
            ),
            ("a{__name__=\"1\"} 1\n", "1: label name \"__name__\" is reserved"),
            ("a{b} 1\n", "1: expected '=' after label name, found '}'"),
            (
                "a{b=1} 1\n",
                "1: expected '\"' at start of label value, found '1'",
            ),
            ("a{b=\"1\"c} 1\n", "1: unexpected end of label value \"1\""),
            ("a{b=\"1\n", "1: label value \"1\" contains unescaped new-line"),
            ("a{1=\"1\"} 1\n", "1: invalid label name for metric \"a\""),
            ("{} 1\n", "1: invalid metric name"),
            ("{\"a\",\"b\"} 1\n", "1: multiple metric names for metric \"a\""),
            ("1 1\n", "1: invalid metric name"),
            ("\n\na one\n", "3: expected float as value, got \"one\""),
            ("a 0x1p4\n", "1: expected float as value, got \"0x1p4\""),
            ("a 1 now\n", "1: expected integer as timestamp, got \"now\""),
            ("a 1 5 6\n", "1: spurious string after timestamp: \"6\""),
            (
                "# TYPE s summary\ns{quantile=\"abc\"} 5\n",
                "2: expected float as value for 'quantile' label, got \"abc\"",
            ),
            (
                "# TYPE h histogram\nh_bucket{le=\"x\"} 5\n",
                "2: expected float as value for 'le' label, got \"x\"",
            ),
            (
                "# TYPE h histogram\nh_bucket{le=\"1\"} -5\n",
                "2: negative bucket population for histogram \"h\"",
            ),
            (
                "# TYPE h histogram\nh_count -5\n",
                "2: negative count for histogram \"h\"",
            ),
        ] {
            assert_eq!(error(body), said, "{body:?}");
        }
        assert!(families(b"a{b=\"\xff\"} 1\n").is_err());
    }

    #[test]
    fn families_are_put_together() {
        let body = "# some words\n#\n# HELP h x\n# TYPE h histogram\n\
             h_bucket{le=\"1\",a=\"x\"} 1\nh_bucket{a=\"x\",le=\"+Inf\"} 2\nh_sum{a=\"x\"} 3\nh_count{a=\"x\"} 2 1000\n\
             # TYPE empty gauge\n \t {\"ü.x\",b=\"1\"} NaN\nplain{} +Inf\nplain{a=\"1\",} 5e3\n# HELP plain \n";
        let found = families(body.as_bytes()).expect("valid");
        let short: Vec<_> = found
            .iter()
            .map(|(name, f)| (name.as_str(), f.kind(), f.has_help, f.series.len(), f.lines))
            .collect();
        assert_eq!(
            short,
            [
                ("h", MetricType::Histogram, true, 1, 4),
                ("plain", MetricType::Unknown, false, 2, 2),
                ("ü.x", MetricType::Unknown, false, 1, 1),
            ]
        );
        assert!(families(b"").expect("nothing").is_empty());
    }

    #[test]
    fn bodies_cut_anywhere_never_panic() {
        let body =
            "# HELP h x\\n\n# TYPE h histogram\nh_bucket{le=\"1\",a=\"\\\\x\"} 1 5\n{\"a b\",c=\"d\"} 2\n";
        for end in 0..body.len() {
            let _ = families(&body.as_bytes()[..end]);
            let mut bytes = body.as_bytes().to_vec();
            bytes[end] ^= 0x15;
            let _ = families(&bytes);
        }
    }
}

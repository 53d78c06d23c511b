//! Scripts: text to commands.

use model::duration::{DurationError, parse_duration};
use model::labels::Labels;
use nom::bytes::complete::{tag, tag_no_case, take_till1};
use nom::character::complete::{char, digit1, one_of, space1};
use nom::combinator::{map_res, opt, recognize, rest};
use nom::sequence::preceded;
use nom::{IResult, Parser as _};

use crate::parser::{ParseError, SEQUENCE_VALUES_MAX, SequenceValue, literal, parse_series, scan};

/// A command with its place.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Line of the script, counted from one.
    pub line: usize,
    /// Its first line as written.
    pub text: String,
    /// The command, or why it is none.
    pub command: Result<Command, ScriptError>,
}

/// What a script can ask for.
#[derive(Clone, Debug)]
pub enum Command {
    /// Forget all data.
    Clear,
    /// Add data.
    Load(Load),
    /// Ask and compare.
    Eval(Box<Eval>),
}

/// Data to be added, from time zero on.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Distance of the samples in milliseconds.
    pub step_ms: i64,
    /// Convert classic histograms to native ones with custom bounds, and add those too.
    pub with_nhcb: bool,
    /// What to add.
    pub series: Vec<LoadedSeries>,
}

/// One series of a [`Load`].
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedSeries {
    /// Whose samples.
    pub labels: Labels,
    /// A sample a step.
    pub values: Vec<SequenceValue>,
    /// When the counter of each sample started, in milliseconds relative to the sample: empty, or an entry a value.
    pub starts: Vec<Option<i64>>,
}

/// A query with what is expected of it.
#[derive(Clone, Debug)]
pub struct Eval {
    /// The query.
    pub query: String,
    /// When it is evaluated.
    pub at: At,
    /// What is expected.
    pub expect: Expect,
}

/// When a query is evaluated, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Once.
    Instant(i64),
    /// At every step.
    Range(Steps),
}

/// The steps of a range, in milliseconds since the epoch; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the type says it all")]
pub struct Steps {
    pub start_ms: i64,
    pub end_ms: i64,
    pub step_ms: i64,
}

/// What is expected of an answer. What is not mentioned may be as it likes.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// The series stand in the order written.
    pub ordered: bool,
    /// There is an error, and it reads like this.
    pub fail: Option<TextMatch>,
    /// Every warning is like one of these, and each of these occurs.
    pub warn: Vec<TextMatch>,
    /// Every info is like one of these, and each of these occurs.
    pub info: Vec<TextMatch>,
    /// There is no warning.
    pub no_warn: bool,
    /// There is no info.
    pub no_info: bool,
    /// The answer is this text.
    pub string: Option<String>,
    /// The answer is this number.
    pub scalar: Option<f64>,
    /// The answer of an instant query is a range vector with samples at these times.
    pub range_vector: Option<Steps>,
    /// The series of the answer.
    pub series: Vec<(Labels, Vec<SequenceValue>)>,
}

/// How a message is compared.
#[derive(Clone, Debug)]
pub enum TextMatch {
    /// It only has to be there.
    Any,
    /// It is this text.
    Text(String),
    /// The pattern occurs in it.
    Pattern(regex::Regex),
}

impl TextMatch {
    /// Whether `text` is as expected.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            TextMatch::Any => true,
            TextMatch::Text(expected) => expected == text,
            TextMatch::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

/// Why a statement is not understood.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each one and its data are")]
pub enum ScriptError {
    #[error("unknown command")]
    Command,
    #[error("invalid load command, expected load[_with_nhcb] <step>")]
    Load,
    #[error(
        "invalid evaluation command, expected eval instant at <time> <query> or eval range from <time> to <time> step <duration> <query>"
    )]
    Eval,
    #[error("line {line}: invalid time or duration: {source}")]
    Duration { line: usize, source: DurationError },
    #[error("line {line}: {source}")]
    Series { line: usize, source: Box<ParseError> },
    #[error("line {line}: invalid @st line")]
    StartTimestamps { line: usize },
    #[error("line {line}: the @st line does not fit to the line behind it")]
    StartTimestampsMismatch { line: usize },
    #[error("line {line}: invalid expect line")]
    Expect { line: usize },
    #[error("line {line}: {source}")]
    Pattern { line: usize, source: regex::Error },
    #[error("line {line}: expectations contradict each other")]
    Contradiction { line: usize },
    #[error("line {line}: several values for an instant query without `expect range vector`")]
    ManyValues { line: usize },
}

/// Reads a script. A statement that is not understood does not hide the others: it ends at the next empty line, as
/// they all do.
pub fn parse_script(text: &str) -> Vec<Statement> {
    let lines: Vec<&str> = text.lines().map(trimmed).collect();
    let mut statements = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].is_empty() {
            at += 1;
            continue;
        }
        let mut block = Block { lines: &lines, at };
        let command = block.command();
        statements.push(Statement {
            line: at + 1,
            text: lines[at].to_owned(),
            command: command.clone(),
        });
        at = block.at.max(at + 1);
        if command.is_err() {
            at += lines[at..].iter().take_while(|line| !line.is_empty()).count();
        }
    }
    statements
}

/// A line without the space around it, and without what is a comment: that ends a statement like an empty line.
fn trimmed(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') { "" } else { line }
}

/// Reads one statement.
struct Block<'a> {
    lines: &'a [&'a str],
    /// The next line.
    at: usize,
}

type Nom<'a, T> = IResult<&'a str, T>;

fn word(text: &str) -> Nom<'_, &str> {
    take_till1(char::is_whitespace).parse(text)
}

impl<'a> Block<'a> {
    /// The next line of the statement.
    fn next(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.at).copied().filter(|line| !line.is_empty())?;
        self.at += 1;
        Some(line)
    }

    /// Number of the line that was taken last, counted from one.
    fn line(&self) -> usize {
        self.at
    }

    fn command(&mut self) -> Result<Command, ScriptError> {
        let first = self.next().ok_or(ScriptError::Command)?;
        let keyword = first.split_whitespace().next().unwrap_or("").to_ascii_lowercase();
        if keyword == "clear" {
            Ok(Command::Clear)
        } else if keyword.starts_with("load") {
            self.load(first).map(Command::Load)
        } else if keyword.starts_with("eval") {
            self.eval(first).map(|eval| Command::Eval(Box::new(eval)))
        } else {
            Err(ScriptError::Command)
        }
    }

    fn duration(&self, text: &str) -> Result<i64, ScriptError> {
        parse_duration(text).map_err(|source| ScriptError::Duration {
            line: self.line(),
            source,
        })
    }

    fn series(&self, text: &str) -> Result<(Labels, Vec<SequenceValue>), ScriptError> {
        parse_series(text).map_err(|source| ScriptError::Series {
            line: self.line(),
            source: Box::new(source),
        })
    }

    fn load(&mut self, first: &str) -> Result<Load, ScriptError> {
        let head: Nom<'_, _> = (tag_no_case("load"), opt(tag("_with_nhcb")), space1, rest).parse(first);
        let (_, (_, nhcb, _, step)) = head.map_err(|_| ScriptError::Load)?;
        let step_ms = self.duration(step)?;
        let mut series = Vec::new();
        while let Some(line) = self.next() {
            let starts = start_line(line);
            let Some((metric, starts)) = starts else {
                let (labels, values) = self.series(line)?;
                series.push(LoadedSeries {
                    labels,
                    values,
                    starts: Vec::new(),
                });
                continue;
            };
            let starts = start_offsets(starts).ok_or(ScriptError::StartTimestamps { line: self.line() })?;
            let (of, _) = self.series(metric)?;
            let line = self.line();
            let mismatch = || ScriptError::StartTimestampsMismatch { line };
            let values = self.next().ok_or_else(mismatch)?;
            let (labels, values) = self.series(values)?;
            if labels != of || starts.len() != values.len() {
                return Err(mismatch());
            }
            series.push(LoadedSeries {
                labels,
                values,
                starts,
            });
        }
        Ok(Load {
            step_ms,
            with_nhcb: nhcb.is_some(),
            series,
        })
    }

    fn eval(&mut self, first: &str) -> Result<Eval, ScriptError> {
        let mut expect = Expect::default();
        let kind = preceded(char('_'), word);
        let head: Nom<'_, _> = (tag_no_case("eval"), opt(kind), space1, word, space1, rest).parse(first);
        let (_, (_, kind, _, form, _, behind)) = head.map_err(|_| ScriptError::Eval)?;
        match kind {
            None => {}
            Some("fail") => expect.fail = Some(TextMatch::Any),
            Some("warn") => expect.warn.push(TextMatch::Any),
            Some("info") => expect.info.push(TextMatch::Any),
            Some("ordered") if form == "instant" => expect.ordered = true,
            Some(_) => return Err(ScriptError::Eval),
        }
        let (at, query) = match form {
            "instant" => {
                let (time, query) = instant(behind).ok_or(ScriptError::Eval)?;
                (At::Instant(self.duration(time)?), query)
            }
            "range" => {
                let (query, steps) = steps(behind).map_err(|_| ScriptError::Eval)?;
                (At::Range(self.steps(steps)?), query.trim_start())
            }
            _ => return Err(ScriptError::Eval),
        };
        let query = query.to_owned();
        self.expectations(&at, &mut expect)?;
        Ok(Eval { query, at, expect })
    }

    fn steps(&self, (start, end, step): (&str, &str, &str)) -> Result<Steps, ScriptError> {
        let steps = Steps {
            start_ms: self.duration(start)?,
            end_ms: self.duration(end)?,
            step_ms: self.duration(step)?,
        };
        if steps.end_ms < steps.start_ms || steps.step_ms == 0 {
            return Err(ScriptError::Contradiction { line: self.line() });
        }
        Ok(steps)
    }

    fn expectations(&mut self, at: &At, expect: &mut Expect) -> Result<(), ScriptError> {
        while let Some(text) = self.next() {
            let line = self.line();
            if let Some(message) = text.strip_prefix("expected_fail_message") {
                expect.fail = Some(TextMatch::Text(message.trim().to_owned()));
            } else if let Some(pattern) = text.strip_prefix("expected_fail_regexp") {
                expect.fail = Some(self.pattern(pattern.trim())?);
            } else if let Some(range) = text.strip_prefix("expect range vector ") {
                let (_, range) = steps(range.trim()).map_err(|_| ScriptError::Expect { line })?;
                expect.range_vector = Some(self.steps(range)?);
            } else if let Some(string) = text.strip_prefix("expect string") {
                let string = string.trim_start();
                let len = literal::string_len(string).map_err(|_| ScriptError::Expect { line })?;
                expect.string = Some(literal::unquote(&string[..len]));
            } else if text == "expect" || text.starts_with("expect ") {
                self.expect_line(text, expect)?;
            } else if let Some(number) = number(text) {
                expect.scalar = Some(number);
                break;
            } else {
                let (labels, values) = self.series(text)?;
                if values.len() > 1 && matches!(at, At::Instant(_)) && expect.range_vector.is_none() {
                    return Err(ScriptError::ManyValues { line });
                }
                expect.series.push((labels, values));
            }
        }
        let contradiction =
            (!expect.warn.is_empty() && expect.no_warn) || (!expect.info.is_empty() && expect.no_info);
        if contradiction {
            return Err(ScriptError::Contradiction { line: self.line() });
        }
        Ok(())
    }

    fn pattern(&self, pattern: &str) -> Result<TextMatch, ScriptError> {
        regex::Regex::new(pattern)
            .map(TextMatch::Pattern)
            .map_err(|source| ScriptError::Pattern {
                line: self.line(),
                source,
            })
    }

    /// `expect <type>`, `expect <type> msg: <text>`, `expect <type> regex: <pattern>`
    fn expect_line(&self, text: &str, expect: &mut Expect) -> Result<(), ScriptError> {
        let line = self.line();
        let behind = text["expect".len()..].trim_start();
        let (kind, how) = behind.split_once(char::is_whitespace).unwrap_or((behind, ""));
        let how = how.trim();
        let matching = if how.is_empty() {
            TextMatch::Any
        } else if let Some(message) = how.strip_prefix("msg:") {
            TextMatch::Text(message.trim().to_owned())
        } else if let Some(pattern) = how.strip_prefix("regex:") {
            self.pattern(pattern.trim())?
        } else {
            return Err(ScriptError::Expect { line });
        };
        match kind {
            "ordered" => expect.ordered = true,
            "fail" if matches!(expect.fail, None | Some(TextMatch::Any)) => expect.fail = Some(matching),
            "warn" => expect.warn.push(matching),
            "info" => expect.info.push(matching),
            "no_warn" => expect.no_warn = true,
            "no_info" => expect.no_info = true,
            _ => return Err(ScriptError::Expect { line }),
        }
        Ok(())
    }
}

/// `at <time> <query>`
fn instant(text: &str) -> Option<(&str, &str)> {
    let read: Nom<'_, _> = (tag("at"), space1, word, space1, rest).parse(text);
    let (_, (_, _, time, _, query)) = read.ok()?;
    Some((time, query))
}

/// `from <time> to <time> step <duration>`
fn steps(text: &str) -> Nom<'_, (&str, &str, &str)> {
    let (rest, (_, _, start, _, _, _, end, _, _, _, step)) = (
        tag("from"),
        space1,
        word,
        space1,
        tag("to"),
        space1,
        word,
        space1,
        tag("step"),
        space1,
        word,
    )
        .parse(text)?;
    Ok((rest, (start, end, step)))
}

/// A number alone on a line, as it is expected of a scalar.
fn number(text: &str) -> Option<f64> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let is_word = unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("nan");
    if !is_word && scan::number(unsigned).map_or(true, |(rest, _)| !rest.is_empty()) {
        return None;
    }
    let number = literal::number(unsigned).ok()?;
    Some(if negative { -number } else { number })
}

/// `metric@st <offsets>`: the metric and the offsets.
fn start_line(line: &str) -> Option<(&str, &str)> {
    let (metric, offsets) = line.split_once([' ', '\t'])?;
    Some((metric.strip_suffix("@st")?, offsets))
}

/// Start timestamps relative to their samples: `_`, `_x3`, `-30s`, `-30sx3`, `-30s-1mx3`.
fn start_offsets(text: &str) -> Option<Vec<Option<i64>>> {
    let mut offsets = Vec::new();
    for item in text.split_whitespace() {
        let (_, (first, step, times)) = start_item(item).ok().filter(|(rest, _)| rest.is_empty())?;
        let count = match (first, times) {
            (_, None) => 1,
            (None, Some(times)) => times,
            (Some(_), Some(times)) => times.checked_add(1)?,
        };
        if count > SEQUENCE_VALUES_MAX {
            return None;
        }
        let step = step.unwrap_or(0);
        offsets.extend((0..count as i64).map(|i| first.map(|first| first + i * step)));
    }
    Some(offsets)
}

type StartItem = (Option<i64>, Option<i64>, Option<usize>);

fn start_item(text: &str) -> Nom<'_, StartItem> {
    let times = || preceded(char('x'), map_res(digit1, str::parse::<usize>));
    if let Some(rest) = text.strip_prefix('_') {
        let (rest, times) = opt(times()).parse(rest)?;
        return Ok((rest, (None, None, times)));
    }
    // The units are those of durations; `x` is none of them.
    let unit = nom::bytes::complete::take_while(|c: char| c.is_ascii_alphabetic() && c != 'x');
    let mut duration = map_res(recognize((digit1, unit)), parse_duration);
    let (rest, sign) = opt(one_of("+-")).parse(text)?;
    let (rest, first) = duration.parse(rest)?;
    let first = if sign == Some('-') { -first } else { first };
    let (rest, sign) = opt(one_of("+-")).parse(rest)?;
    let Some(sign) = sign else {
        let (rest, times) = opt(times()).parse(rest)?;
        return Ok((rest, (Some(first), None, times)));
    };
    let (rest, (step, times)) = (duration, times()).parse(rest)?;
    let step = if sign == '-' { -step } else { step };
    Ok((rest, (Some(first), Some(step), Some(times))))
}

//! What is asked: the message `prometheus.ReadRequest`, read from others and written for them.

use model::matcher::{MatchOp, Matcher};
use model::protobuf::{Fields, Message, WireError};
use model::purpose::SelectPurpose;
use model::regex::{AUTOMATON_BYTES_MAX, Regex, RegexError};
use model::storage::TimeRange;

use super::REQUEST_BYTES_MAX;
use crate::budget::{Budget, OverBudget};

/// Memory that what is read of a request may take.
const REQUEST_MEMORY_MAX: usize = 64 << 20;
/// Queries of a request. Senders ask one.
const QUERIES_MAX: usize = 1024;
/// Memory of the compiled patterns of one query.
const PATTERN_BYTES_MAX: usize = AUTOMATON_BYTES_MAX;

/// What somebody wants to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadRequest {
    /// Each is answered by itself, in order.
    pub queries: Vec<Query>,
    /// Numbers of the forms of answer that are taken, the most wanted first; none for samples.
    pub accepted: Vec<u64>,
}

/// Which series, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// First time, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Last time.
    pub end_ms: i64,
    /// What labels must be like.
    pub matchers: Vec<QueryMatcher>,
    /// What becomes of the series.
    pub hints: Option<Hints>,
}

/// A condition on a label, not compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatcher {
    /// How the value is compared.
    pub kind: MatcherKind,
    /// Which label.
    pub name: String,
    /// With what.
    pub value: String,
}

/// How values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatcherKind {
    /// As this version knows it.
    Known(MatchOp),
    /// A number without a meaning.
    Unknown(u64),
}

/// What becomes of the series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Distance of the steps, in milliseconds.
    pub step_ms: i64,
    /// Function or aggregation around them.
    pub function: String,
    /// First time that counts.
    pub start_ms: i64,
    /// Last time that counts.
    pub end_ms: i64,
    /// Labels of the aggregation.
    pub grouping: Vec<String>,
    /// Whether it groups by them.
    pub by: bool,
    /// Length of the windows, in milliseconds.
    pub range_ms: i64,
}

/// Forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseType {
    /// One message with samples.
    Samples,
    /// Frames with chunks.
    Chunks,
}

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It is not compressed as it should be.
    #[error("the body is no snappy block: {0}")]
    Snappy(#[source] snap::Error),
    /// It would be too large.
    #[error("decoded length {bytes} exceeds limit {REQUEST_BYTES_MAX}")]
    TooLarge {
        /// Size that it declares.
        bytes: usize,
    },
    /// It is no message.
    #[error("the body is no remote read message: {0}")]
    Wire(#[from] WireError),
    /// There are too many queries.
    #[error("the request has more than {QUERIES_MAX} queries; ask for less in one request")]
    Queries,
    /// What it says takes too much memory.
    #[error(
        "what the request says takes more than {REQUEST_MEMORY_MAX} bytes of memory; ask for less in one request"
    )]
    Memory,
    /// No form of answer that is taken can be had.
    #[error(
        "none of the response types {0:?} is supported; supported are 0 (SAMPLES) and 1 (STREAMED_XOR_CHUNKS)"
    )]
    ResponseType(Vec<u64>),
}

impl From<OverBudget> for RequestError {
    fn from(_: OverBudget) -> Self {
        RequestError::Memory
    }
}

/// Why a matcher of a query is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MatcherError {
    /// It compares in a way that is not known.
    #[error("invalid matcher type {0}")]
    Kind(u64),
    /// Its pattern is none, or too large.
    #[error("{0}")]
    Pattern(#[from] RegexError),
    /// Patterns take too much memory together.
    #[error(
        "the patterns of one query take more than {PATTERN_BYTES_MAX} bytes of memory once they are compiled"
    )]
    Patterns,
}

/// Inflates a block of snappy; how long it will be is judged before there is room for it.
pub(super) fn inflate<E>(
    body: &[u8],
    judge: impl FnOnce(usize) -> Result<(), E>,
    wrong: impl Fn(snap::Error) -> E,
) -> Result<Vec<u8>, E> {
    // Nothing at all is no block, whatever the library says.
    let bytes = match body {
        [] => return Err(wrong(snap::Error::Empty)),
        _ => snap::raw::decompress_len(body).map_err(&wrong)?,
    };
    judge(bytes)?;
    snap::raw::Decoder::new().decompress_vec(body).map_err(wrong)
}

impl ReadRequest {
    /// Reads a compressed request.
    ///
    /// # Errors
    /// When it is none, or asks for too much.
    pub fn decode(body: &[u8]) -> Result<Self, RequestError> {
        let judge = |bytes| match bytes > REQUEST_BYTES_MAX {
            true => Err(RequestError::TooLarge { bytes }),
            false => Ok(()),
        };
        let inflated = inflate(body, judge, RequestError::Snappy)?;
        let mut budget = Budget::new(REQUEST_MEMORY_MAX);
        let mut request = ReadRequest::default();
        let mut fields = Fields::new(&inflated);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 if request.queries.len() == QUERIES_MAX => return Err(RequestError::Queries),
                1 => {
                    let query = Query::read(field.expect_bytes()?, &mut budget)?;
                    budget.push(&mut request.queries, query)?;
                }
                2 => field
                    .each_varint::<RequestError>(|number| Ok(budget.push(&mut request.accepted, number)?))?,
                _ => {}
            }
        }
        Ok(request)
    }

    /// The request, compressed.
    ///
    /// # Errors
    /// When it is too long for snappy, which queries within the bounds of a query's text are not.
    pub fn encode(&self) -> Result<Vec<u8>, snap::Error> {
        let mut message = Message::default();
        for query in &self.queries {
            message.message(1, |out| query.write(out));
        }
        message.uints(2, &self.accepted);
        snap::raw::Encoder::new().compress_vec(&message.into_bytes())
    }

    /// The form of the answer: the first of those accepted that there is.
    ///
    /// # Errors
    /// When there is none.
    pub fn response_type(&self) -> Result<ResponseType, RequestError> {
        let known = |number: &u64| match number {
            0 => Some(ResponseType::Samples),
            1 => Some(ResponseType::Chunks),
            _ => None,
        };
        match self.accepted.iter().find_map(known) {
            Some(found) => Ok(found),
            None if self.accepted.is_empty() => Ok(ResponseType::Samples),
            None => Err(RequestError::ResponseType(
                self.accepted.iter().take(8).copied().collect(),
            )),
        }
    }
}

impl Query {
    /// A query for what a selection is announced for.
    pub fn new(range: TimeRange, matchers: &[Matcher], purpose: &SelectPurpose) -> Self {
        let raw = |matcher: &Matcher| QueryMatcher {
            kind: MatcherKind::Known(matcher.op),
            name: matcher.name.clone(),
            value: matcher.value.clone(),
        };
        Query {
            start_ms: range.min_ms,
            end_ms: range.max_ms,
            matchers: matchers.iter().map(raw).collect(),
            hints: Some(Hints {
                step_ms: purpose.step_ms,
                function: purpose.function.clone(),
                start_ms: purpose.range.min_ms,
                end_ms: purpose.range.max_ms,
                grouping: purpose.grouping.clone(),
                by: purpose.by,
                range_ms: purpose.window_ms,
            }),
        }
    }

    /// Its matchers, compiled.
    ///
    /// # Errors
    /// The first that is none.
    pub fn compile(&self) -> Result<Vec<Matcher>, MatcherError> {
        let mut left = PATTERN_BYTES_MAX;
        let compile = |matcher: &QueryMatcher| {
            let (name, value) = (&matcher.name, &matcher.value);
            match matcher.kind {
                MatcherKind::Unknown(number) => Err(MatcherError::Kind(number)),
                MatcherKind::Known(op @ (MatchOp::Equal | MatchOp::NotEqual)) => {
                    Ok(Matcher::new(op, name, value)?)
                }
                MatcherKind::Known(op) => {
                    let regex = Regex::new_within(value, left)?;
                    left = left
                        .checked_sub(regex.memory_bytes())
                        .filter(|left| *left > 0)
                        .ok_or(MatcherError::Patterns)?;
                    Ok(Matcher::of_regex(op == MatchOp::NotRegex, name, regex))
                }
            }
        };
        self.matchers.iter().map(compile).collect()
    }

    /// What counts of the series: hints win over the query's own range.
    ///
    /// Compat: also where they are empty, and so mean the first millisecond of 1970 (push: `hints-empty`).
    pub fn range(&self) -> TimeRange {
        match &self.hints {
            Some(hints) => TimeRange::new(hints.start_ms, hints.end_ms),
            None => TimeRange::new(self.start_ms, self.end_ms),
        }
    }

    /// What the series are for, as far as is said.
    pub fn purpose(&self) -> Option<SelectPurpose> {
        let hints = self.hints.as_ref()?;
        Some(SelectPurpose {
            query: TimeRange::new(self.start_ms, self.end_ms),
            range: self.range(),
            step_ms: hints.step_ms,
            window_ms: hints.range_ms,
            function: hints.function.clone(),
            grouping: hints.grouping.clone(),
            by: hints.by,
        })
    }

    fn read(message: &[u8], budget: &mut Budget) -> Result<Self, RequestError> {
        let mut query = Query::default();
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => query.start_ms = field.expect_varint()? as i64,
                2 => query.end_ms = field.expect_varint()? as i64,
                3 => {
                    let matcher = QueryMatcher::read(field.expect_bytes()?, budget)?;
                    budget.push(&mut query.matchers, matcher)?;
                }
                4 => query.hints = Some(Hints::read(field.expect_bytes()?, budget)?),
                _ => {}
            }
        }
        Ok(query)
    }

    fn write(&self, out: &mut Message) {
        out.uint(1, self.start_ms as u64).uint(2, self.end_ms as u64);
        for matcher in &self.matchers {
            out.message(3, |out| {
                out.uint(1, matcher.kind.number())
                    .text(2, &matcher.name)
                    .text(3, &matcher.value);
            });
        }
        if let Some(hints) = &self.hints {
            out.message(4, |out| hints.write(out));
        }
    }
}

/// A text, whose bytes may be any: what is no text matches no label, since labels are texts.
fn text(bytes: &[u8], budget: &mut Budget) -> Result<String, RequestError> {
    let text = String::from_utf8_lossy(bytes);
    budget.take(text.len())?;
    Ok(text.into_owned())
}

impl QueryMatcher {
    fn read(message: &[u8], budget: &mut Budget) -> Result<Self, RequestError> {
        let mut matcher = QueryMatcher {
            kind: MatcherKind::Known(MatchOp::Equal),
            name: String::new(),
            value: String::new(),
        };
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => matcher.kind = MatcherKind::of(field.expect_varint()?),
                2 => matcher.name = text(field.expect_bytes()?, budget)?,
                3 => matcher.value = text(field.expect_bytes()?, budget)?,
                _ => {}
            }
        }
        Ok(matcher)
    }
}

impl MatcherKind {
    fn of(number: u64) -> Self {
        match number {
            0 => MatcherKind::Known(MatchOp::Equal),
            1 => MatcherKind::Known(MatchOp::NotEqual),
            2 => MatcherKind::Known(MatchOp::Regex),
            3 => MatcherKind::Known(MatchOp::NotRegex),
            other => MatcherKind::Unknown(other),
        }
    }

    fn number(self) -> u64 {
        match self {
            MatcherKind::Known(MatchOp::Equal) => 0,
            MatcherKind::Known(MatchOp::NotEqual) => 1,
            MatcherKind::Known(MatchOp::Regex) => 2,
            MatcherKind::Known(MatchOp::NotRegex) => 3,
            MatcherKind::Unknown(number) => number,
        }
    }
}

impl Hints {
    fn read(message: &[u8], budget: &mut Budget) -> Result<Self, RequestError> {
        let mut hints = Hints::default();
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => hints.step_ms = field.expect_varint()? as i64,
                2 => hints.function = text(field.expect_bytes()?, budget)?,
                3 => hints.start_ms = field.expect_varint()? as i64,
                4 => hints.end_ms = field.expect_varint()? as i64,
                5 => {
                    let label = text(field.expect_bytes()?, budget)?;
                    budget.push(&mut hints.grouping, label)?;
                }
                6 => hints.by = field.expect_varint()? != 0,
                7 => hints.range_ms = field.expect_varint()? as i64,
                _ => {}
            }
        }
        Ok(hints)
    }

    fn write(&self, out: &mut Message) {
        out.uint(1, self.step_ms as u64)
            .text(2, &self.function)
            .uint(3, self.start_ms as u64)
            .uint(4, self.end_ms as u64);
        for label in &self.grouping {
            out.bytes(5, label.as_bytes());
        }
        out.uint(6, u64::from(self.by)).uint(7, self.range_ms as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ReadRequest {
        let matcher = |kind, name: &str, value: &str| QueryMatcher {
            kind: MatcherKind::of(kind),
            name: name.to_owned(),
            value: value.to_owned(),
        };
        ReadRequest {
            queries: vec![Query {
                start_ms: -5,
                end_ms: i64::MAX,
                matchers: vec![
                    matcher(0, "__name__", "up"),
                    matcher(3, "läbel", "a|b"),
                    matcher(9, "", ""),
                ],
                hints: Some(Hints {
                    step_ms: 15_000,
                    function: "rate".to_owned(),
                    start_ms: -5,
                    end_ms: 7,
                    grouping: vec![String::new(), "job".to_owned()],
                    by: true,
                    range_ms: 60_000,
                }),
            }],
            accepted: vec![1, 0],
        }
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let request = request();
        assert_eq!(ReadRequest::decode(&request.encode().unwrap()).unwrap(), request);
    }

    #[test]
    fn damage_is_no_request_and_no_panic() {
        let body = request().encode().unwrap();
        for len in 0..body.len() {
            assert!(ReadRequest::decode(&body[..len]).is_err(), "{len}");
        }
        for at in 0..body.len() {
            for bit in 0..8 {
                let mut damaged = body.clone();
                damaged[at] ^= 1 << bit;
                // Read as something else, or refused.
                let _ = ReadRequest::decode(&damaged).map(|request| {
                    request.queries.iter().map(Query::compile).count();
                });
            }
        }
    }

    #[test]
    fn what_takes_too_much_is_refused_before_it_is_taken() {
        let many = ReadRequest {
            queries: vec![Query::default(); QUERIES_MAX + 1],
            accepted: Vec::new(),
        };
        assert!(matches!(
            ReadRequest::decode(&many.encode().unwrap()),
            Err(RequestError::Queries)
        ));
        // Two bytes each, and forty as they are kept.
        let mut message = Message::default();
        message.message(1, |out| {
            for _ in 0..2_000_000 {
                out.bytes(3, &[]);
            }
        });
        let body = snap::raw::Encoder::new()
            .compress_vec(&message.into_bytes())
            .unwrap();
        assert!(matches!(ReadRequest::decode(&body), Err(RequestError::Memory)));
        // 2 GiB, in five bytes.
        let lie = [0x80, 0x80, 0x80, 0x80, 0x08];
        assert!(matches!(
            ReadRequest::decode(&lie),
            Err(RequestError::TooLarge { bytes: 0x8000_0000 })
        ));
        let patterns = Query {
            matchers: (0..20_000)
                .map(|n| QueryMatcher {
                    kind: MatcherKind::Known(MatchOp::Regex),
                    name: "a".to_owned(),
                    value: format!("[a-z]{{1,400}}x{n}[α-ω]{{1,90}}"),
                })
                .collect(),
            ..Query::default()
        };
        assert!(matches!(
            patterns.compile(),
            Err(MatcherError::Patterns | MatcherError::Pattern(_))
        ));
    }
}

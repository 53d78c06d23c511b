//! Text to tree: queries, selectors, metrics and the series notation of tests.
//!
//! Words are scanned with nom (`scan`). The grammar over words is recursive descent by hand with precedence climbing:
//! the reference's messages depend on which construct was open when a word did not fit, and a combinator that tries
//! alternatives forgets just that. Each construct that has words of its own for a misfit puts an unworded
//! `Stop::Unexpected` from below into them; what no construct words, the outermost does.
//!
//! Invariant: no text, however long or nested, exhausts the stack or the memory: recursion is counted ([`NESTING_MAX`])
//! and goes through [`model::stack`], chains of operators are built in a loop, words and compiled patterns are counted.

mod check;
mod duration;
mod error;
mod expr;
mod lexer;
pub(crate) mod literal;
mod patterns;
mod range;
pub(crate) mod scan;
mod selector;
mod series;
mod token;

pub(crate) use literal::{QuotedText, is_label_name, undisguised};

pub use error::{Diagnostic, ParseError, Place, Problem};
pub use series::{SEQUENCE_VALUES_MAX, SequenceValue, parse_series};

use model::labels::Labels;
use model::matcher::Matcher;
use model::stack::deep;

use crate::ast::{Expr, ExprKind, Span};
use lexer::Lexer;
use patterns::Patterns;
use token::{Kind, Token};

/// Deepest nesting of parentheses, arguments, signs, subqueries and right operands.
pub const NESTING_MAX: usize = 2_000;
/// Deepest nesting within a duration, and most operators in all durations of a query.
pub const DURATION_NESTING_MAX: usize = 128;
/// Most binary operators in a query. As chains are as deep on the left as they are long, it bounds the tree's depth.
pub const OPERATORS_MAX: usize = 10_000;
/// Most words (names, texts, operators, brackets, commas) in a query. A word takes up to some 60 bytes of a tree.
pub const WORDS_MAX: usize = 500_000;
/// Most bytes that the compiled regular expressions of a query may take together, where nothing else is said.
pub const PATTERN_BYTES_MAX: usize = 64 << 20;
/// Most things that are said to be wrong with one query.
pub const DIAGNOSTICS_MAX: usize = 100;
/// Longest query in bytes: positions are 32 bits wide.
pub const QUERY_BYTES_MAX: usize = u32::MAX as usize;

/// Which optional parts of the language are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// `promql-experimental-functions`
    pub experimental_functions: bool,
    /// Arithmetic, `step()` and the like where a duration is written.
    pub duration_expressions: bool,
    /// `promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left`, `fill_right`.
    pub binop_fill_modifiers: bool,
    /// Most bytes that the query's compiled regular expressions may take together.
    pub pattern_bytes_max: usize,
}

impl ParseOptions {
    /// Everything that there is.
    pub const ALL: ParseOptions = ParseOptions {
        experimental_functions: true,
        duration_expressions: true,
        extended_range_selectors: true,
        binop_fill_modifiers: true,
        pattern_bytes_max: PATTERN_BYTES_MAX,
    };
}

impl Default for ParseOptions {
    /// As the reference starts without flags: duration expressions only.
    fn default() -> Self {
        ParseOptions {
            experimental_functions: false,
            duration_expressions: true,
            extended_range_selectors: false,
            binop_fill_modifiers: false,
            pattern_bytes_max: PATTERN_BYTES_MAX,
        }
    }
}

/// Reads a query and checks the types in it.
///
/// ```
/// use narthex_promql::parser::{ParseOptions, parse};
/// let expr = parse("sum by (job) (rate(x[5m]))", &ParseOptions::default()).unwrap();
/// assert_eq!(expr.to_string(), "sum by (job) (rate(x[5m]))");
/// let error = parse("sum(", &ParseOptions::default()).unwrap_err();
/// assert_eq!(error.to_string(), "1:5: parse error: unclosed left parenthesis");
/// ```
///
/// # Errors
/// When the text is not a query. A word that does not fit ends the reading, type errors are all found.
pub fn parse(query: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    run(query, options, |parser| {
        if parser.peek()?.kind == Kind::Eof {
            return parser.fail(Span::default(), Problem::NoExpression);
        }
        let mut expr = parser.expression(0)?;
        parser.expect_end()?;
        // Types are checked only where there is a whole tree.
        if parser.errors.is_empty() {
            check::Checker {
                input: query,
                errors: &mut parser.errors,
            }
            .check(&mut expr);
        }
        Ok(expr)
    })
}

/// Reads the matchers of an instant selector without modifiers: `name{label="value"}`, as `match[]` takes it.
///
/// # Errors
/// When it is not one.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    run(text, &ParseOptions::default(), selector)
}

/// The same for several selectors of one request, whose compiled regular expressions may take `pattern_bytes_max`
/// together.
///
/// # Errors
/// When one is not a selector, or they would take more.
pub fn parse_selectors<'t>(
    texts: impl IntoIterator<Item = &'t str>,
    pattern_bytes_max: usize,
) -> Result<Vec<Vec<Matcher>>, ParseError> {
    let options = ParseOptions {
        pattern_bytes_max,
        ..ParseOptions::default()
    };
    let mut patterns = Patterns::default();
    let parsed = texts.into_iter().map(|text| {
        run(text, &options, |parser| {
            std::mem::swap(&mut parser.patterns, &mut patterns);
            let matchers = selector(parser);
            std::mem::swap(&mut parser.patterns, &mut patterns);
            matchers
        })
    });
    parsed.collect()
}

fn selector(parser: &mut Parser<'_>) -> Step<Vec<Matcher>> {
    let selector = parser.selector()?;
    parser.expect_end()?;
    match selector.into_kind() {
        ExprKind::Vector(selector) => Ok(selector.matchers),
        _ => Ok(Vec::new()),
    }
}

/// Reads a metric: `name{label="value", "quoted.label"="value"}`.
///
/// # Errors
/// When it is not one.
pub fn parse_metric(text: &str) -> Result<Labels, ParseError> {
    run(text, &ParseOptions::default(), |parser| {
        let labels = parser.metric()?;
        parser.expect_end()?;
        Ok(labels)
    })
}

fn run<T>(
    text: &str,
    options: &ParseOptions,
    parse: impl FnOnce(&mut Parser<'_>) -> Step<T>,
) -> Result<T, ParseError> {
    let mut parser = Parser::new(text, options);
    let result = if text.len() > QUERY_BYTES_MAX {
        parser.fail(Span::default(), Problem::TooLong(QUERY_BYTES_MAX))
    } else {
        parse(&mut parser)
    };
    let result = parser.word(result, "", "");
    match (result, ParseError::new(text, parser.errors)) {
        (Ok(value), None) => Ok(value),
        (_, Some(error)) => Err(error),
        (Err(_), None) => unreachable!("a parser stops with an error only"),
    }
}

/// Notes what is wrong, but for what nobody would read any more.
fn report(errors: &mut Vec<Diagnostic>, span: Span, problem: Problem) {
    if errors.len() < DIAGNOSTICS_MAX {
        errors.push(Diagnostic { span, problem });
    }
}

/// Why reading cannot go on.
#[derive(Debug)]
enum Stop {
    /// The word ahead does not fit, and nobody has said so yet.
    Unexpected,
    /// The reason is among the errors.
    Reported,
}

type Step<T> = Result<T, Stop>;

/// Reads words, one ahead.
struct Parser<'a> {
    input: &'a str,
    options: &'a ParseOptions,
    lexer: Lexer<'a>,
    /// The word ahead, if it has been looked at. It is not looked at early: what is wrong with a finished construct
    /// comes before what is wrong with the word behind it.
    ahead: Option<Token>,
    /// End of the last word taken.
    end: u32,
    errors: Vec<Diagnostic>,
    words: usize,
    patterns: Patterns,
    nesting: usize,
    operators: usize,
    /// Subqueries of subqueries: their chain is recursed into later.
    subqueries: usize,
    /// Depth within a duration.
    duration_nesting: usize,
    /// Operators in durations: their chains are recursed into later.
    duration_operators: usize,
}

impl<'a> Parser<'a> {
    fn new(input: &'a str, options: &'a ParseOptions) -> Self {
        Parser {
            input,
            options,
            lexer: Lexer::new(input),
            ahead: None,
            end: 0,
            errors: Vec::new(),
            words: 0,
            patterns: Patterns::default(),
            nesting: 0,
            operators: 0,
            subqueries: 0,
            duration_nesting: 0,
            duration_operators: 0,
        }
    }

    /// The word ahead.
    fn peek(&mut self) -> Step<Token> {
        if let Some(token) = self.ahead {
            return Ok(token);
        }
        match self.lexer.next() {
            Ok(token) => {
                self.words += 1;
                if self.words > WORDS_MAX {
                    return self.fail(token.span, Problem::TooManyWords(WORDS_MAX));
                }
                self.ahead = Some(token);
                Ok(token)
            }
            Err(diagnostic) => {
                self.errors.push(diagnostic);
                Err(Stop::Reported)
            }
        }
    }

    /// Takes the word ahead.
    fn next(&mut self) -> Step<Token> {
        let token = self.peek()?;
        self.ahead = None;
        self.end = token.span.end;
        Ok(token)
    }

    /// Takes the word ahead if it is of this kind.
    fn accept(&mut self, kind: Kind) -> Step<Option<Token>> {
        if self.peek()?.kind == kind {
            self.next().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Takes the word ahead, which must be of this kind.
    fn expect(&mut self, kind: Kind) -> Step<Token> {
        self.accept(kind)?.ok_or(Stop::Unexpected)
    }

    fn expect_end(&mut self) -> Step<()> {
        self.expect(Kind::Eof).map(|_| ())
    }

    fn text(&self, token: Token) -> &'a str {
        token.span.of(self.input)
    }

    /// Puts a misfit that nobody has spoken of yet into words.
    fn word<T>(&mut self, result: Step<T>, context: &'static str, expected: &'static str) -> Step<T> {
        let Err(Stop::Unexpected) = result else {
            return result;
        };
        let token = self.peek()?;
        let found = token.kind.describe(self.text(token));
        self.fail(
            token.span,
            Problem::Unexpected {
                found,
                context,
                expected,
            },
        )
    }

    /// Reports what makes going on pointless.
    fn fail<T>(&mut self, span: Span, problem: Problem) -> Step<T> {
        self.report(span, problem);
        Err(Stop::Reported)
    }

    /// Reports what is wrong with something that has been read.
    fn report(&mut self, span: Span, problem: Problem) {
        report(&mut self.errors, span, problem);
    }

    /// Runs `read` one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        if self.nesting == NESTING_MAX {
            let span = self.peek()?.span;
            return self.fail(span, Problem::TooDeep(NESTING_MAX));
        }
        self.nesting += 1;
        let result = deep(|| read(self));
        self.nesting -= 1;
        result
    }

    /// Runs `read` one level deeper within a duration.
    fn nested_duration<T>(&mut self, read: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        if self.duration_nesting == DURATION_NESTING_MAX {
            let span = self.peek()?.span;
            return self.fail(span, Problem::DurationTooDeep(DURATION_NESTING_MAX));
        }
        self.duration_nesting += 1;
        let result = deep(|| read(self));
        self.duration_nesting -= 1;
        result
    }

    /// Counts the subquery that ends at `span`.
    fn count_subquery(&mut self, span: Span) -> Step<()> {
        self.subqueries += 1;
        if self.subqueries > NESTING_MAX {
            return self.fail(span, Problem::TooDeep(NESTING_MAX));
        }
        Ok(())
    }

    /// Counts the operator at `span`, which stands in a duration.
    fn count_duration_operator(&mut self, span: Span) -> Step<()> {
        self.duration_operators += 1;
        if self.duration_operators > DURATION_NESTING_MAX {
            return self.fail(span, Problem::DurationTooDeep(DURATION_NESTING_MAX));
        }
        Ok(())
    }
}

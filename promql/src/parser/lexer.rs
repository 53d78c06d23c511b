//! Text to words.
//!
//! What a character means depends on where it stands: inside braces every word is a label name, inside brackets only
//! durations make sense. The single words are nom parsers ([`super::scan`]); this outer dispatch is by hand because
//! each place has its own message for what does not belong there.

use model::labels::LABEL_BYTES_MAX;

use super::error::{Diagnostic, Problem};
use super::literal;
use super::scan;
use super::token::{Kind, Token, duration_keyword, keyword};
use crate::ast::{BinaryOp, Span};

/// Gives the words of a text one by one.
pub(super) struct Lexer<'a> {
    input: &'a str,
    at: usize,
    open_parens: usize,
    in_braces: bool,
    brackets: Brackets,
}

/// Where between `[` and `]` the lexer is.
#[derive(Clone, Copy, PartialEq)]
enum Brackets {
    Outside,
    /// Nothing yet that is a duration.
    Start,
    /// Behind `step` or the like, but no number yet.
    Builtin,
    /// Behind a number.
    Range,
    /// Behind the colon of a subquery.
    Step,
}

impl Brackets {
    /// Whether only what belongs to a duration may come. Compat: the messages differ until the first number.
    fn are_for_durations(self) -> bool {
        matches!(self, Brackets::Start | Brackets::Builtin)
    }
}

impl<'a> Lexer<'a> {
    pub(super) fn new(input: &'a str) -> Self {
        Lexer {
            input,
            at: 0,
            open_parens: 0,
            in_braces: false,
            brackets: Brackets::Outside,
        }
    }

    /// The next word; [`Kind::Eof`] again and again at the end.
    pub(super) fn next(&mut self) -> Result<Token, Diagnostic> {
        self.skip();
        let start = self.at;
        let rest = &self.input[start..];
        let scanned = match rest.chars().next() {
            None => self.end(),
            Some(c) if self.in_braces => self.in_braces(c, rest),
            Some(c) if self.brackets.are_for_durations() => self.in_duration(c, rest),
            Some(c) => self.outside(c, rest),
        };
        match scanned {
            // Strings and names become label names and values.
            Ok((_, len)) if len > LABEL_BYTES_MAX => Err(Diagnostic {
                span: self.span(start, start + len),
                problem: Problem::TokenTooLong { bytes: len },
            }),
            Ok((kind, len)) => {
                self.at += len;
                self.count(kind, start).map(|()| Token {
                    kind,
                    span: self.span(start, self.at),
                })
            }
            Err(problem) => Err(Diagnostic {
                span: self.span(start, self.input.len()),
                problem,
            }),
        }
    }

    /// Where the lexer stands: behind the closing brace, for what follows in another notation.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Goes on reading at byte `at`.
    pub(super) fn jump(&mut self, at: usize) {
        self.at = at;
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    fn rest(&self) -> &'a str {
        &self.input[self.at..]
    }

    fn skip(&mut self) {
        loop {
            let before = self.at;
            // Neither fails: both take nothing where nothing is there to take.
            if let Ok((rest, _)) = scan::spaces(self.rest()) {
                self.at = self.input.len() - rest.len();
            }
            if !self.brackets.are_for_durations()
                && let Ok((rest, _)) = scan::comment(self.rest())
            {
                self.at = self.input.len() - rest.len();
            }
            if self.at == before {
                return;
            }
        }
    }

    fn end(&self) -> Result<(Kind, usize), Problem> {
        match self {
            Lexer { in_braces: true, .. } => Err(Problem::UnclosedBrace),
            Lexer { brackets, .. } if brackets.are_for_durations() => Err(Problem::UnclosedDuration),
            Lexer { open_parens: 1.., .. } => Err(Problem::UnclosedParen),
            Lexer {
                brackets: Brackets::Range | Brackets::Step,
                ..
            } => Err(Problem::UnclosedBracket),
            _ => Ok((Kind::Eof, 0)),
        }
    }

    /// Keeps account of what is open. Compat: a parenthesis too many is reported behind it.
    fn count(&mut self, kind: Kind, start: usize) -> Result<(), Diagnostic> {
        let mut problem = None;
        match kind {
            Kind::LeftBrace => self.in_braces = true,
            Kind::RightBrace => self.in_braces = false,
            Kind::LeftParen => self.open_parens += 1,
            Kind::RightParen if self.open_parens == 0 => problem = Some((self.at, Problem::RightParen)),
            Kind::RightParen => self.open_parens -= 1,
            Kind::LeftBracket if self.brackets != Brackets::Outside => {
                problem = Some((start, Problem::LeftBracket));
            }
            Kind::LeftBracket => self.brackets = Brackets::Start,
            Kind::RightBracket if self.brackets == Brackets::Outside => {
                problem = Some((start, Problem::RightBracket));
            }
            Kind::RightBracket => self.brackets = Brackets::Outside,
            Kind::Colon if self.brackets == Brackets::Start => {
                problem = Some((self.at, Problem::ColonBeforeDuration));
            }
            Kind::Colon if self.brackets == Brackets::Step => problem = Some((start, Problem::Colon)),
            Kind::Colon => self.brackets = Brackets::Step,
            Kind::Number | Kind::Duration if self.brackets.are_for_durations() => {
                self.brackets = Brackets::Range;
            }
            Kind::Builtin(_) if self.brackets == Brackets::Start => self.brackets = Brackets::Builtin,
            _ => {}
        }
        problem.map_or(Ok(()), |(at, problem)| {
            Err(Diagnostic {
                span: self.span(at, self.input.len()),
                problem,
            })
        })
    }

    fn outside(&self, c: char, rest: &str) -> Result<(Kind, usize), Problem> {
        use BinaryOp as Op;
        let second = rest[c.len_utf8()..].chars().next();
        let operator = |op, len| Ok((Kind::Operator(op), len));
        match (c, second) {
            ('=', Some('=')) => operator(Op::Equal, 2),
            ('=', Some('~')) => Err(Problem::CharacterAfter {
                after: '=',
                found: '~',
                place: "",
            }),
            ('=', _) => Ok((Kind::Assign, 1)),
            ('!', Some('=')) => operator(Op::NotEqual, 2),
            ('!', found) => Err(Problem::CharacterAfter {
                after: '!',
                found: found.unwrap_or(char::REPLACEMENT_CHARACTER),
                place: "",
            }),
            ('<', Some('=')) => operator(Op::LessEqual, 2),
            ('<', Some('/')) => operator(Op::TrimUpper, 2),
            ('<', _) => operator(Op::Less, 1),
            ('>', Some('=')) => operator(Op::GreaterEqual, 2),
            ('>', Some('/')) => operator(Op::TrimLower, 2),
            ('>', _) => operator(Op::Greater, 1),
            ('{', _) => Ok((Kind::LeftBrace, 1)),
            ('}', _) => Err(Problem::Character(c)),
            ('@', _) => Ok((Kind::At, 1)),
            ('"' | '\'' | '`', _) => Ok((Kind::String, literal::string_len(rest)?)),
            (':', _) if self.brackets != Brackets::Outside => Ok((Kind::Colon, 1)),
            (c, _) if scan::is_alpha(c) || c == ':' => self.word(c, rest),
            (c, _) => punctuation_or_number(c, second, rest).ok_or(Problem::Character(c))?,
        }
    }

    fn word(&self, first: char, rest: &str) -> Result<(Kind, usize), Problem> {
        let Ok((behind, word)) = scan::name(rest) else {
            return Err(Problem::Character(first));
        };
        if self.brackets != Brackets::Outside {
            let word = word.split(':').next().unwrap_or(word);
            let kind = duration_keyword(word).ok_or(Problem::CharacterInRange(first))?;
            return Ok((kind, word.len()));
        }
        let kind = match keyword(word) {
            // These came late to the language: metrics may be called so, hence they count only in front of `(`.
            Some(Kind::Keyword(k))
                if k.is_fill() && !behind.trim_start_matches(scan::is_space).starts_with('(') =>
            {
                Kind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => Kind::MetricIdentifier,
            None => Kind::Identifier,
        };
        Ok((kind, word.len()))
    }

    fn in_duration(&self, c: char, rest: &str) -> Result<(Kind, usize), Problem> {
        let second = rest[c.len_utf8()..].chars().next();
        match c {
            ':' => Ok((Kind::Colon, 1)),
            '[' => Err(Problem::CharacterInDuration(c)),
            c if scan::is_alpha(c) => {
                let len = rest.find(|c| !scan::is_alphanumeric(c)).unwrap_or(rest.len());
                let kind = duration_keyword(&rest[..len]).ok_or(Problem::CharacterInDuration(c))?;
                Ok((kind, len))
            }
            c => punctuation_or_number(c, second, rest).ok_or(Problem::CharacterInDuration(c))?,
        }
    }

    fn in_braces(&self, c: char, rest: &str) -> Result<(Kind, usize), Problem> {
        let second = rest[c.len_utf8()..].chars().next();
        match (c, second) {
            (',', _) => Ok((Kind::Comma, 1)),
            ('=', Some('~')) => Ok((Kind::MatchRegex, 2)),
            ('=', _) => Ok((Kind::Assign, 1)),
            ('!', Some('~')) => Ok((Kind::MatchNotRegex, 2)),
            ('!', Some('=')) => Ok((Kind::Operator(BinaryOp::NotEqual), 2)),
            ('!', found) => Err(Problem::CharacterAfter {
                after: '!',
                found: found.unwrap_or(char::REPLACEMENT_CHARACTER),
                place: " inside braces",
            }),
            ('{', _) => Err(Problem::LeftBrace),
            ('}', _) => Ok((Kind::RightBrace, 1)),
            ('"' | '\'' | '`', _) => Ok((Kind::String, literal::string_len(rest)?)),
            (c, _) if scan::is_alpha(c) => scan::label_name(rest)
                .map_or(Err(Problem::CharacterInBraces(c)), |(_, word)| {
                    Ok((Kind::Identifier, word.len()))
                }),
            (c, _) => Err(Problem::CharacterInBraces(c)),
        }
    }
}

/// What stands for itself inside and outside of brackets, and numbers; `None` for other characters.
fn punctuation_or_number(
    c: char,
    second: Option<char>,
    rest: &str,
) -> Option<Result<(Kind, usize), Problem>> {
    let kind = match c {
        ',' => Kind::Comma,
        '(' => Kind::LeftParen,
        ')' => Kind::RightParen,
        '[' => Kind::LeftBracket,
        ']' => Kind::RightBracket,
        '+' => Kind::Operator(BinaryOp::Add),
        '-' => Kind::Operator(BinaryOp::Sub),
        '*' => Kind::Operator(BinaryOp::Mul),
        '/' => Kind::Operator(BinaryOp::Div),
        '%' => Kind::Operator(BinaryOp::Mod),
        '^' => Kind::Operator(BinaryOp::Pow),
        c if c.is_ascii_digit() || (c == '.' && second.is_some_and(|c| c.is_ascii_digit())) => {
            return Some(number_or_duration(rest));
        }
        _ => return None,
    };
    Some(Ok((kind, 1)))
}

fn number_or_duration(rest: &str) -> Result<(Kind, usize), Problem> {
    if let Ok((_, word)) = scan::number(rest) {
        return Ok((Kind::Number, word.len()));
    }
    if let Ok((_, word)) = scan::duration(rest) {
        return Ok((Kind::Duration, word.len()));
    }
    Err(Problem::NumberSyntax(scan::number_like(rest).to_owned()))
}

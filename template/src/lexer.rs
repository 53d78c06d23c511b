//! Template text to tokens.

use crate::ast::Span;
use crate::error::LexError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    LeftDelim,
    RightDelim,
    Space,
    LeftParen,
    RightParen,
    Pipe,
    Assign,
    Declare,
    /// A comma, or another character that no operand starts with.
    Char,
    Identifier,
    Keyword(Keyword),
    Dot,
    Nil,
    Bool,
    Field,
    Variable,
    Number,
    CharConstant,
    String,
    RawString,
    Error,
    Eof,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
    pub(crate) line: usize,
}

/// All tokens of `text`, the last of them `Eof`, or `Error` together with its reason.
pub(crate) fn tokenize(text: &str) -> (Vec<Token>, Option<LexError>) {
    let mut lexer = Lexer {
        text,
        pos: 0,
        line: 1,
        tokens: Vec::new(),
    };
    let error = lexer.run().err();
    let kind = if error.is_some() { Kind::Error } else { Kind::Eof };
    let start = lexer.pos;
    lexer.emit(kind, start);
    (lexer.tokens, error)
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

struct Lexer<'t> {
    text: &'t str,
    pos: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.pos..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    /// Emits what lies between `start` and the current position, and counts its lines.
    fn emit(&mut self, kind: Kind, start: usize) {
        self.tokens.push(Token {
            kind,
            span: Span { start, end: self.pos },
            line: self.line,
        });
        self.line += self.text[start..self.pos].matches('\n').count();
    }

    /// Moves to `pos` without a token.
    fn skip_to(&mut self, pos: usize) {
        self.line += self.text[self.pos..pos].matches('\n').count();
        self.pos = pos;
    }

    fn run(&mut self) -> Result<(), LexError> {
        while self.pos < self.text.len() {
            let start = self.pos;
            let Some(at) = self.rest().find(LEFT) else {
                self.pos = self.text.len();
                self.emit(Kind::Text, start);
                return Ok(());
            };
            let delim = start + at;
            let trim = has_left_trim(&self.text[delim + LEFT.len()..]);
            let text = &self.text[start..delim];
            let kept = if trim { text.trim_end_matches(SPACES) } else { text };
            if !kept.is_empty() {
                self.pos = start + kept.len();
                self.emit(Kind::Text, start);
            }
            self.skip_to(delim);
            self.action(trim)?;
        }
        Ok(())
    }

    /// A comment, or everything between the delimiters, which are included.
    fn action(&mut self, trim: bool) -> Result<(), LexError> {
        let start = self.pos;
        let behind = start + LEFT.len() + if trim { 2 } else { 0 };
        if self.text[behind..].starts_with("/*") {
            return self.comment(behind);
        }
        self.pos = start + LEFT.len();
        self.emit(Kind::LeftDelim, start);
        self.skip_to(behind);
        let mut depth = 0usize;
        loop {
            if let Some(length) = right_delim(self.rest()) {
                if depth > 0 {
                    return Err(LexError::UnclosedParen);
                }
                self.close(length);
                return Ok(());
            }
            self.token(&mut depth)?;
        }
    }

    fn comment(&mut self, start: usize) -> Result<(), LexError> {
        let inside = start + 2;
        let length = self.text[inside..].find("*/").ok_or(LexError::UnclosedComment)?;
        self.skip_to(inside + length + 2);
        let close = right_delim(self.rest()).ok_or(LexError::CommentEnd)?;
        let end = self.pos + close;
        self.skip_to(end);
        if close > RIGHT.len() {
            self.skip_spaces();
        }
        Ok(())
    }

    /// The closing delimiter, `length` bytes with its trim marker.
    fn close(&mut self, length: usize) {
        self.skip_to(self.pos + length - RIGHT.len());
        let start = self.pos;
        self.pos += RIGHT.len();
        self.emit(Kind::RightDelim, start);
        if length > RIGHT.len() {
            self.skip_spaces();
        }
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        let end = self.text.len() - rest.trim_start_matches(SPACES).len();
        self.skip_to(end);
    }

    fn token(&mut self, depth: &mut usize) -> Result<(), LexError> {
        let start = self.pos;
        let Some(c) = self.next() else {
            return Err(LexError::UnclosedAction(None));
        };
        let kind = match c {
            c if SPACES.contains(&c) => {
                // The last space may belong to a closing trim marker.
                while self.peek().is_some_and(|c| SPACES.contains(&c)) && right_delim(self.rest()).is_none() {
                    self.next();
                }
                Kind::Space
            }
            '=' => Kind::Assign,
            ':' if self.next() == Some('=') => Kind::Declare,
            ':' => return Err(LexError::ExpectedDeclare),
            '|' => Kind::Pipe,
            '"' => self.quoted('"', LexError::UnterminatedString, Kind::String)?,
            '\'' => self.quoted('\'', LexError::UnterminatedChar, Kind::CharConstant)?,
            '`' => {
                let length = self.rest().find('`').ok_or(LexError::UnterminatedRaw)?;
                self.pos += length + 1;
                Kind::RawString
            }
            '$' => self.name(Kind::Variable, Kind::Variable)?,
            '.' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => self.name(Kind::Field, Kind::Dot)?,
            '.' | '+' | '-' | '0'..='9' => {
                self.pos = start;
                self.number()?
            }
            c if is_word(c) => self.word(start)?,
            '(' => {
                *depth += 1;
                Kind::LeftParen
            }
            ')' => {
                *depth = depth.checked_sub(1).ok_or(LexError::RightParen)?;
                Kind::RightParen
            }
            c if c.is_ascii_graphic() => Kind::Char,
            c => return Err(LexError::Unrecognized(c)),
        };
        self.emit(kind, start);
        Ok(())
    }

    /// The rest of a string or character constant, whose opening quote is consumed.
    fn quoted(&mut self, quote: char, unterminated: LexError, kind: Kind) -> Result<Kind, LexError> {
        loop {
            match self.next() {
                Some('\\') => match self.next() {
                    None | Some('\n') => return Err(unterminated),
                    Some(_) => {}
                },
                None | Some('\n') => return Err(unterminated),
                Some(c) if c == quote => return Ok(kind),
                Some(_) => {}
            }
        }
    }

    /// The rest of a field or variable; `bare` when there is no name.
    fn name(&mut self, named: Kind, bare: Kind) -> Result<Kind, LexError> {
        if self.at_terminator() {
            return Ok(bare);
        }
        self.skip_word();
        self.check_terminator()?;
        Ok(named)
    }

    fn word(&mut self, start: usize) -> Result<Kind, LexError> {
        self.skip_word();
        self.check_terminator()?;
        Ok(match &self.text[start..self.pos] {
            "block" => Kind::Keyword(Keyword::Block),
            "break" => Kind::Keyword(Keyword::Break),
            "continue" => Kind::Keyword(Keyword::Continue),
            "define" => Kind::Keyword(Keyword::Define),
            "else" => Kind::Keyword(Keyword::Else),
            "end" => Kind::Keyword(Keyword::End),
            "if" => Kind::Keyword(Keyword::If),
            "range" => Kind::Keyword(Keyword::Range),
            "template" => Kind::Keyword(Keyword::Template),
            "with" => Kind::Keyword(Keyword::With),
            "nil" => Kind::Nil,
            "true" | "false" => Kind::Bool,
            _ => Kind::Identifier,
        })
    }

    fn skip_word(&mut self) {
        while self.peek().is_some_and(is_word) {
            self.next();
        }
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None => true,
            Some(c) if SPACES.contains(&c) => true,
            Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(_) => self.rest().starts_with(RIGHT),
        }
    }

    fn check_terminator(&self) -> Result<(), LexError> {
        if self.at_terminator() {
            return Ok(());
        }
        Err(LexError::BadCharacter(self.peek()))
    }

    fn number(&mut self) -> Result<Kind, LexError> {
        let start = self.pos;
        self.accept(&['+', '-']);
        let mut digits: fn(char) -> bool = |c| c.is_ascii_digit() || c == '_';
        let mut exponent = ['e', 'E'].as_slice();
        if self.accept(&['0']) {
            if self.accept(&['x', 'X']) {
                digits = |c| c.is_ascii_hexdigit() || c == '_';
                exponent = &['p', 'P'];
            } else if self.accept(&['o', 'O']) || self.accept(&['b', 'B']) {
                exponent = &[];
            }
        }
        self.accept_run(digits);
        if self.accept(&['.']) {
            self.accept_run(digits);
        }
        if self.accept(exponent) {
            self.accept(&['+', '-']);
            self.accept_run(|c| c.is_ascii_digit() || c == '_');
        }
        if self.peek().is_some_and(is_word) || matches!(self.peek(), Some('+' | '-')) {
            // With complex numbers, which templates have no use for, the word could go on here.
            self.next();
            return Err(LexError::BadNumber(self.text[start..self.pos].to_owned()));
        }
        Ok(Kind::Number)
    }

    fn accept(&mut self, any: &[char]) -> bool {
        let hit = self.peek().is_some_and(|c| any.contains(&c));
        if hit {
            self.next();
        }
        hit
    }

    fn accept_run(&mut self, any: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&any) {
            self.next();
        }
    }
}

/// Length of the closing delimiter that `rest` starts with, trim marker included.
fn right_delim(rest: &str) -> Option<usize> {
    if rest.starts_with(RIGHT) {
        return Some(RIGHT.len());
    }
    let bytes = rest.as_bytes();
    let marked = bytes.len() >= 4 && SPACES.contains(&(bytes[0] as char)) && &bytes[1..4] == b"-}}";
    marked.then_some(4)
}

fn has_left_trim(rest: &str) -> bool {
    let bytes = rest.as_bytes();
    bytes.len() >= 2 && bytes[0] == b'-' && SPACES.contains(&(bytes[1] as char))
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

//! RE2's pattern language, as Go reads it, into the automata's intermediate form.
//!
//! The parser keeps its own stack of open groups, so that nesting costs no recursion; it refuses what Go refuses, with
//! the same fragment in the message. Where the syntax looks like Rust's but means something else (`\d` is ASCII,
//! `{gid}` is literal text, `[a&&b]` is a class of two characters), Go's meaning holds.

use regex_syntax::hir::{Capture, Class, ClassUnicode, Hir, Look, Repetition};

use super::class;
use super::error::{RegexError, RegexErrorKind as Kind};

/// Most copies that counted repetitions may make of one thing, nested ones multiplied.
const COPIES_MAX: u32 = 1000;
/// Deepest nesting of groups. Go allows some 1,000 nodes; but compiling recurses, and patterns are written by hand.
const DEPTH_MAX: usize = 100;
/// Most ranges in all classes together: `\pL` alone has hundreds.
const CLASS_RANGES_MAX: usize = 1 << 19;

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) hir: Hir,
    /// Names of the groups; the first entry stands for the whole match.
    pub(super) group_names: Vec<Option<String>>,
}

/// Parses `pattern`; `dot_all` says whether `.` matches line feeds from the start.
pub(super) fn parse(pattern: &str, dot_all: bool) -> Result<Parsed, RegexError> {
    let flags = Flags {
        dot_all,
        ..Flags::default()
    };
    let mut parser = Parser {
        pattern,
        at: 0,
        flags,
        open: vec![Group::new(GroupKind::Plain, flags)],
        group_names: vec![None],
        last_repeat: None,
        class_ranges: 0,
    };
    parser.run()
}

#[derive(Clone, Copy, Default)]
struct Flags {
    fold_case: bool,
    multi_line: bool,
    dot_all: bool,
    /// `(?U)`: repetitions are lazy unless marked.
    swap_greed: bool,
}

/// One element of a concatenation.
struct Item {
    hir: Hir,
    /// How often counted repetitions copy its innermost part.
    copies: u32,
}

enum GroupKind {
    Plain,
    Capturing(u32),
}

/// A group whose end has not been seen; the whole pattern is one too.
struct Group {
    kind: GroupKind,
    /// Flags to go back to at its end.
    outer_flags: Flags,
    finished: Vec<Hir>,
    items: Vec<Item>,
    copies: u32,
}

impl Group {
    fn new(kind: GroupKind, outer_flags: Flags) -> Self {
        Group {
            kind,
            outer_flags,
            finished: Vec::new(),
            items: Vec::new(),
            copies: 1,
        }
    }

    fn end_alternative(&mut self) {
        let items = std::mem::take(&mut self.items);
        self.copies = items.iter().map(|item| item.copies).fold(self.copies, u32::max);
        self.finished
            .push(Hir::concat(items.into_iter().map(|item| item.hir).collect()));
    }

    fn close(mut self) -> Item {
        self.end_alternative();
        let hir = Hir::alternation(self.finished);
        let hir = match self.kind {
            GroupKind::Plain => hir,
            // Names stay with us: Go allows one name on several groups, the automata do not.
            GroupKind::Capturing(index) => Hir::capture(Capture {
                index,
                name: None,
                sub: Box::new(hir),
            }),
        };
        Item {
            hir,
            copies: self.copies,
        }
    }
}

struct Parser<'p> {
    pattern: &'p str,
    at: usize,
    flags: Flags,
    /// Never empty: the first entry is the pattern itself.
    open: Vec<Group>,
    group_names: Vec<Option<String>>,
    /// Where the repetition operator started that ended just before `at`.
    last_repeat: Option<usize>,
    class_ranges: usize,
}

impl<'p> Parser<'p> {
    fn run(&mut self) -> Result<Parsed, RegexError> {
        while let Some(c) = self.peek() {
            let start = self.at;
            let previous_repeat = self.last_repeat.take();
            match c {
                '(' if self.rest().starts_with("(?") => self.question_group()?,
                '(' => {
                    self.at += 1;
                    self.open_capturing(None)?;
                }
                '|' => {
                    self.at += 1;
                    self.group().end_alternative();
                }
                ')' => self.close_group()?,
                '[' => self.bracket_class()?,
                '*' | '+' | '?' | '{' => {
                    if self.repetition(c, previous_repeat)? {
                        self.last_repeat = Some(start);
                    }
                }
                '\\' => self.escape()?,
                _ => {
                    self.at += c.len_utf8();
                    self.single(c);
                }
            }
            self.check_limits()?;
        }
        if self.open.len() > 1 {
            return Err(RegexError::new(Kind::MissingParen, self.pattern));
        }
        let hir = self.open.pop().map_or_else(Hir::empty, |group| group.close().hir);
        Ok(Parsed {
            hir,
            group_names: std::mem::take(&mut self.group_names),
        })
    }

    fn check_limits(&self) -> Result<(), RegexError> {
        let kind = if self.open.len() - 1 > DEPTH_MAX {
            Kind::NestingDepth
        } else if self.class_ranges > CLASS_RANGES_MAX {
            Kind::TooLarge
        } else {
            return Ok(());
        };
        Err(RegexError::new(kind, self.pattern))
    }

    // ------------------------------------------------------------------------------------------------------- elements

    /// A character that is not an operator followed by brackets or braces: itself, an anchor or a dot.
    fn single(&mut self, c: char) {
        match c {
            '^' if self.flags.multi_line => self.push(Hir::look(Look::StartLF)),
            '^' => self.push(Hir::look(Look::Start)),
            '$' if self.flags.multi_line => self.push(Hir::look(Look::EndLF)),
            '$' => self.push(Hir::look(Look::End)),
            '.' if self.flags.dot_all => self.push_class(class::any()),
            '.' => self.push_class(class::any_but_newline()),
            _ => self.literal(u32::from(c)),
        }
    }

    fn literal(&mut self, code_point: u32) {
        match char::from_u32(code_point) {
            Some(c) if !self.flags.fold_case => {
                self.push(Hir::literal(c.encode_utf8(&mut [0; 4]).as_bytes()));
            }
            // A surrogate gives the empty class, which matches nothing: no text holds one.
            _ => self.push_class(class::code_points(code_point, code_point)),
        }
    }

    /// Adds a class, folded where the flag says so.
    fn push_class(&mut self, mut class: ClassUnicode) {
        if self.flags.fold_case {
            class.case_fold_simple();
        }
        self.push_ready_class(class);
    }

    fn push_ready_class(&mut self, class: ClassUnicode) {
        self.class_ranges += class.ranges().len();
        self.push(Hir::class(Class::Unicode(class)));
    }

    fn push(&mut self, hir: Hir) {
        self.group().items.push(Item { hir, copies: 1 });
    }

    // --------------------------------------------------------------------------------------------------------- groups

    fn group(&mut self) -> &mut Group {
        self.open
            .last_mut()
            .expect("the pattern itself stays open until its end")
    }

    fn open_capturing(&mut self, name: Option<&str>) -> Result<(), RegexError> {
        let index = u32::try_from(self.group_names.len())
            .map_err(|_| RegexError::new(Kind::TooLarge, self.pattern))?;
        self.group_names.push(name.map(str::to_owned));
        self.open
            .push(Group::new(GroupKind::Capturing(index), self.flags));
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), RegexError> {
        if self.open.len() == 1 {
            return Err(RegexError::new(Kind::UnexpectedParen, self.pattern));
        }
        self.at += 1;
        if let Some(group) = self.open.pop() {
            self.flags = group.outer_flags;
            let item = group.close();
            self.group().items.push(item);
        }
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?flags:` or `(?flags)`.
    fn question_group(&mut self) -> Result<(), RegexError> {
        let rest = self.rest();
        for (opening, longer_than) in [("(?P<", 4), ("(?<", 3)] {
            if rest.starts_with(opening) && rest.len() > longer_than {
                return self.named_group(opening.len());
            }
        }
        let start = self.at;
        self.at += 2;
        let (mut flags, mut on, mut seen) = (self.flags, true, false);
        while let Some(c) = self.next() {
            match c {
                'i' => flags.fold_case = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_all = on,
                'U' => flags.swap_greed = on,
                '-' if on => {
                    (on, seen) = (false, false);
                    continue;
                }
                ':' | ')' if on || seen => {
                    if c == ':' {
                        self.open.push(Group::new(GroupKind::Plain, self.flags));
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            seen = true;
        }
        Err(RegexError::new(
            Kind::InvalidPerlSyntax,
            &self.pattern[start..self.at],
        ))
    }

    fn named_group(&mut self, opening_len: usize) -> Result<(), RegexError> {
        let rest = self.rest();
        let end = rest
            .find('>')
            .ok_or_else(|| RegexError::new(Kind::InvalidNamedCapture, rest))?;
        let name = &rest[opening_len..end];
        if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
            return Err(RegexError::new(Kind::InvalidNamedCapture, &rest[..=end]));
        }
        self.at += end + 1;
        self.open_capturing(Some(name))
    }

    // ---------------------------------------------------------------------------------------------------- repetitions

    /// A repetition operator; `false` where a brace turns out to be literal text.
    fn repetition(&mut self, operator: char, previous: Option<usize>) -> Result<bool, RegexError> {
        let start = self.at;
        let (min, max) = match operator {
            '*' => (0, None),
            '+' => (1, None),
            '?' => (0, Some(1)),
            _ => match self.braces() {
                None => {
                    self.at += 1;
                    self.literal(u32::from('{'));
                    return Ok(false);
                }
                Some((min, max, len)) => {
                    self.at += len;
                    if min > COPIES_MAX || max.is_some_and(|max| max > COPIES_MAX || min > max) {
                        return Err(RegexError::new(
                            Kind::InvalidRepeatCount,
                            &self.pattern[start..self.at],
                        ));
                    }
                    (min, max)
                }
            },
        };
        if operator != '{' {
            self.at += 1;
        }
        let lazy = self.peek() == Some('?');
        self.at += usize::from(lazy);
        let written = &self.pattern[start..self.at];
        if let Some(previous) = previous {
            return Err(RegexError::new(
                Kind::InvalidRepeatOperator,
                &self.pattern[previous..self.at],
            ));
        }
        let greedy = lazy == self.flags.swap_greed;
        let Some(item) = self.group().items.pop() else {
            return Err(RegexError::new(Kind::MissingRepeatArgument, written));
        };
        let copies = match (operator, max.unwrap_or(min)) {
            // What is repeated zero times does not count, whatever it holds.
            ('{', 0) if max == Some(0) => 1,
            ('{', times) => item.copies.saturating_mul(times.max(1)),
            _ => item.copies,
        };
        if copies > COPIES_MAX {
            return Err(RegexError::new(Kind::InvalidRepeatCount, written));
        }
        let hir = Hir::repetition(Repetition {
            min,
            max,
            greedy,
            sub: Box::new(item.hir),
        });
        self.group().items.push(Item { hir, copies });
        Ok(true)
    }

    /// `{n}`, `{n,}` or `{n,m}` at the current place: the bounds and the length; nothing where it is of another form.
    fn braces(&self) -> Option<(u32, Option<u32>, usize)> {
        let rest = self.rest();
        let inside = &rest[1..rest.find('}')?];
        let len = inside.len() + 2;
        let number = |text: &str| -> Option<u32> {
            let leading_zero = text.len() > 1 && text.starts_with('0');
            if text.is_empty() || leading_zero || !text.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            // Far too large is as wrong as a bit too large.
            Some(text.parse().unwrap_or(u32::MAX))
        };
        match inside.split_once(',') {
            None => number(inside).map(|n| (n, Some(n), len)),
            Some((min, "")) => number(min).map(|min| (min, None, len)),
            Some((min, max)) => Some((number(min)?, Some(number(max)?), len)),
        }
    }

    // -------------------------------------------------------------------------------------------------------- escapes

    /// A backslash outside brackets.
    fn escape(&mut self) -> Result<(), RegexError> {
        let rest = self.rest();
        let look = match rest.as_bytes().get(1) {
            Some(b'A') => Look::Start,
            Some(b'z') => Look::End,
            Some(b'b') => Look::WordAscii,
            Some(b'B') => Look::WordAsciiNegate,
            Some(b'Q') => {
                let quoted = &rest[2..];
                let (text, len) = quoted
                    .split_once(r"\E")
                    .map_or((quoted, quoted.len()), |(t, _)| (t, t.len() + 2));
                text.chars().for_each(|c| self.literal(u32::from(c)));
                self.at += 2 + len;
                return Ok(());
            }
            _ => {
                if let Some(class) = self.escaped_class()? {
                    self.push_ready_class(class);
                } else {
                    let c = self.escaped_char()?;
                    self.literal(c);
                }
                return Ok(());
            }
        };
        self.at += 2;
        self.push(Hir::look(look));
        Ok(())
    }

    /// `\d`, `\pL`, `\p{Greek}` and their like, folded where the flag says so; nothing (and no step ahead) where the
    /// backslash means a single character.
    fn escaped_class(&mut self) -> Result<Option<ClassUnicode>, RegexError> {
        let rest = self.rest();
        let Some(letter) = rest.strip_prefix('\\').and_then(|r| r.chars().next()) else {
            return Ok(None);
        };
        if !matches!(letter, 'p' | 'P') {
            let folded = |positive: char| {
                let mut class = class::perl(positive)?;
                if self.flags.fold_case {
                    class.case_fold_simple();
                }
                Some(class)
            };
            let Some(mut class) = folded(letter.to_ascii_lowercase()) else {
                return Ok(None);
            };
            if letter.is_ascii_uppercase() {
                class.negate();
            }
            self.at += 2;
            return Ok(Some(class));
        }
        let (written, name) = match rest[2..].chars().next() {
            Some('{') => {
                let end = rest
                    .find('}')
                    .ok_or_else(|| RegexError::new(Kind::InvalidCharRange, rest))?;
                (&rest[..=end], &rest[3..end])
            }
            Some(c) => (&rest[..2 + c.len_utf8()], &rest[2..2 + c.len_utf8()]),
            None => (rest, ""),
        };
        let (name, inner_not) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let mut class =
            class::unicode(name).ok_or_else(|| RegexError::new(Kind::InvalidCharRange, written))?;
        if self.flags.fold_case {
            class.case_fold_simple();
        }
        if (letter == 'P') != inner_not {
            class.negate();
        }
        self.at += written.len();
        Ok(Some(class))
    }

    /// A backslash that stands for one code point, which may be a surrogate.
    fn escaped_char(&mut self) -> Result<u32, RegexError> {
        let start = self.at;
        self.at += 1;
        let Some(c) = self.next() else {
            return Err(RegexError::new(Kind::TrailingBackslash, ""));
        };
        let next_is_octal = matches!(self.peek(), Some('0'..='7'));
        let code_point = match c {
            '0' => Some(self.octal(0)),
            // A single digit would be a back reference, which this syntax does not have.
            '1'..='7' if next_is_octal => Some(self.octal(u32::from(c) - u32::from('0'))),
            'x' => self.hexadecimal(),
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
            _ => None,
        };
        code_point.ok_or_else(|| RegexError::new(Kind::InvalidEscape, &self.pattern[start..self.at]))
    }

    fn octal(&mut self, first: u32) -> u32 {
        let mut value = first;
        for _ in 0..2 {
            match self.peek().and_then(|c| c.to_digit(8)) {
                Some(digit) => {
                    value = value * 8 + digit;
                    self.at += 1;
                }
                None => break,
            }
        }
        value
    }

    /// Two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        let first = self.next()?;
        if first != '{' {
            let second = self.next();
            return Some(first.to_digit(16)? * 16 + second?.to_digit(16)?);
        }
        let (mut value, mut digits) = (0_u32, 0);
        loop {
            match self.next()? {
                '}' => return (digits > 0).then_some(value),
                c => {
                    value = value * 16 + c.to_digit(16)?;
                    digits += 1;
                }
            }
            if value > u32::from(char::MAX) {
                return None;
            }
        }
    }

    // ------------------------------------------------------------------------------------------------------- brackets

    fn bracket_class(&mut self) -> Result<(), RegexError> {
        let start = self.at;
        self.at += 1;
        let negated = self.peek() == Some('^');
        self.at += usize::from(negated);
        let mut class = ClassUnicode::empty();
        let mut first = true;
        // A bracket right at the start is a member.
        while first || self.peek() != Some(']') {
            first = false;
            match self.named_member()? {
                Some(member) => class.union(&member),
                None => {
                    let (low, high) = self.range_member(start)?;
                    let mut member = class::code_points(low, high);
                    if self.flags.fold_case {
                        member.case_fold_simple();
                    }
                    class.union(&member);
                }
            }
            self.class_ranges += 1;
        }
        self.at += 1;
        if negated {
            class.negate();
        }
        self.push_ready_class(class);
        Ok(())
    }

    /// A class inside brackets: `[:alpha:]` or an escaped one.
    fn named_member(&mut self) -> Result<Option<ClassUnicode>, RegexError> {
        let rest = self.rest();
        if let Some((inside, _)) = rest.strip_prefix("[:").and_then(|r| r.split_once(":]")) {
            let written = &rest[..inside.len() + 4];
            let (name, negated) = inside
                .strip_prefix('^')
                .map_or((inside, false), |name| (name, true));
            let mut class =
                class::posix(name).ok_or_else(|| RegexError::new(Kind::InvalidCharRange, written))?;
            if self.flags.fold_case {
                class.case_fold_simple();
            }
            if negated {
                class.negate();
            }
            self.at += written.len();
            return Ok(Some(class));
        }
        if rest.starts_with('\\') {
            self.escaped_class()
        } else {
            Ok(None)
        }
    }

    /// A single character or a range of them inside brackets that opened at `opening`.
    fn range_member(&mut self, opening: usize) -> Result<(u32, u32), RegexError> {
        let start = self.at;
        let low = self.member_char(opening)?;
        let rest = self.rest().as_bytes();
        // A hyphen right before the end is a member.
        if rest.len() < 2 || rest[0] != b'-' || rest[1] == b']' {
            return Ok((low, low));
        }
        self.at += 1;
        let high = self.member_char(opening)?;
        if high < low {
            return Err(RegexError::new(
                Kind::InvalidCharRange,
                &self.pattern[start..self.at],
            ));
        }
        Ok((low, high))
    }

    fn member_char(&mut self, opening: usize) -> Result<u32, RegexError> {
        match self.peek() {
            None => Err(RegexError::new(Kind::MissingBracket, &self.pattern[opening..])),
            Some('\\') => self.escaped_char(),
            Some(c) => {
                self.at += c.len_utf8();
                Ok(u32::from(c))
            }
        }
    }

    // --------------------------------------------------------------------------------------------------------- cursor

    fn rest(&self) -> &'p str {
        &self.pattern[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }
}

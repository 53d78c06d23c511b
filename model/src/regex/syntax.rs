//! RE2's pattern language, as Go reads it, into the automata's intermediate form.
//!
//! The parser keeps its own stack of open groups, so that nesting costs no recursion; it refuses what Go refuses, with
//! the same fragment in the message. Where the syntax looks like Rust's but means something else (`\d` is ASCII,
//! `{gid}` is literal text, `[a&&b]` is a class of two characters), Go's meaning holds.

mod escape;

use regex_syntax::hir::{Capture, Class, ClassUnicode, Hir, Look, Repetition};

use super::class;
use super::error::{RegexError, RegexErrorKind as Kind};

/// Most copies that counted repetitions may make of one thing, nested ones multiplied.
const COPIES_MAX: u32 = 1000;
/// Deepest nesting of groups, near Go's bound of 1,000 nodes.
const DEPTH_MAX: usize = 1000;
/// Most nodes of the tree: words, classes, alternatives, groups. A node takes some 150 bytes until it is compiled.
const NODES_MAX: usize = 1 << 18;
/// Longest text between braces that can be a number of repetitions.
const BRACES_BYTES_MAX: usize = 64;
/// Most ranges in all classes together: `\pL` alone has hundreds.
const CLASS_RANGES_MAX: usize = 1 << 19;

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) hir: Hir,
    /// Names of the groups; the first entry stands for the whole match.
    pub(super) group_names: Vec<Option<String>>,
    /// Deepest nesting of groups: walking the tree recurses as deep.
    pub(super) depth: usize,
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
        nodes: 0,
        depth: 0,
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
    /// Characters behind the last item: they become one when something else follows.
    literal: String,
    copies: u32,
}

impl Group {
    fn new(kind: GroupKind, outer_flags: Flags) -> Self {
        Group {
            kind,
            outer_flags,
            finished: Vec::new(),
            items: Vec::new(),
            literal: String::new(),
            copies: 1,
        }
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            let hir = Hir::literal(std::mem::take(&mut self.literal).into_bytes());
            self.items.push(Item { hir, copies: 1 });
        }
    }

    /// The last item; of a literal its last character.
    fn pop_item(&mut self) -> Option<Item> {
        let Some(c) = self.literal.pop() else {
            return self.items.pop();
        };
        self.end_literal();
        let hir = Hir::literal(c.encode_utf8(&mut [0; 4]).as_bytes());
        Some(Item { hir, copies: 1 })
    }

    fn end_alternative(&mut self) {
        self.end_literal();
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
    nodes: usize,
    /// Deepest nesting so far.
    depth: usize,
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
                    self.nodes += 1;
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
            depth: self.depth,
            hir,
            group_names: std::mem::take(&mut self.group_names),
        })
    }

    fn check_limits(&mut self) -> Result<(), RegexError> {
        self.depth = self.depth.max(self.open.len() - 1);
        let kind = if self.depth > DEPTH_MAX {
            Kind::NestingDepth
        } else if self.class_ranges > CLASS_RANGES_MAX || self.nodes > NODES_MAX {
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
            '.' if self.flags.dot_all => self.push_ready_class(class::any()),
            '.' => self.push_ready_class(class::any_but_newline()),
            _ => self.literal(u32::from(c)),
        }
    }

    fn literal(&mut self, code_point: u32) {
        match char::from_u32(code_point) {
            Some(c) if !self.flags.fold_case => {
                let group = self.group();
                let first = group.literal.is_empty();
                group.literal.push(c);
                self.nodes += usize::from(first);
            }
            // A surrogate gives the empty class, which matches nothing: no text holds one.
            _ => self.push_class(class::code_points(code_point, code_point)),
        }
    }

    /// Adds a class, folded where the flag says so. (Dots are not: folding goes through every character.)
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
        self.nodes += 1;
        let group = self.group();
        group.end_literal();
        group.items.push(Item { hir, copies: 1 });
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
            self.nodes += 1;
            let outer = self.group();
            outer.end_literal();
            outer.items.push(item);
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
        let Some(item) = self.group().pop_item() else {
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
        self.nodes += 1;
        self.group().items.push(Item { hir, copies });
        Ok(true)
    }

    /// `{n}`, `{n,}` or `{n,m}` at the current place: the bounds and the length; nothing where it is of another form.
    fn braces(&self) -> Option<(u32, Option<u32>, usize)> {
        let rest = self.rest();
        let end = rest.bytes().take(BRACES_BYTES_MAX).position(|b| b == b'}')?;
        let inside = &rest[1..end];
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

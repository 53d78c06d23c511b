//! Escapes and bracketed classes: what stands for characters.

use regex_syntax::hir::{ClassUnicode, Hir, Look};

use super::{Kind, Parser, RegexError, class};

impl Parser<'_> {
    /// A backslash outside brackets.
    pub(super) fn escape(&mut self) -> Result<(), RegexError> {
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

    pub(super) fn bracket_class(&mut self) -> Result<(), RegexError> {
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
}

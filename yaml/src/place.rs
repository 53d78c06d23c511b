//! Places within the text of a scalar, as places in the file.
//!
//! A scalar's text is not its source: block scalars lose their indentation, quoted ones their escapes, folded ones their
//! line ends. What stays in every style is the order of the characters that are not white space, so a character is found
//! again by counting those.

use crate::node::{Position, Value};

impl Value<'_> {
    /// Where the bytes from `start` to `end` of the scalar's text stand in the file. A place at the end of the text is the
    /// one behind its last character. Where the text cannot be found again, the place of the whole scalar.
    pub fn place_in_text(&self, start: usize, end: usize) -> Position {
        self.try_place(start, end).unwrap_or(self.node.position)
    }

    fn try_place(&self, start: usize, end: usize) -> Option<Position> {
        let decoded = self.scalar()?.text.as_str();
        let source = Source::new(self.document.text(), self.node.position)?;
        let mut position = source.find(decoded, start)?;
        // The mark stays on its line.
        let last = decoded.get(start..end)?.trim_end().char_indices().next_back();
        if let Some((at, _)) = last
            && at > 0
            && let Some(last) = source.find(decoded, start + at)
            && last.line == position.line
        {
            position.bytes = last.offset + last.bytes - position.offset;
        }
        Some(position)
    }
}

/// The style of a scalar, which says what its source is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Plain and block scalars: every character stands for itself.
    Verbatim,
    Single,
    Double,
}

/// A scalar's source: where its characters begin, and how they are written.
struct Source<'t> {
    text: &'t str,
    /// Where the node stands.
    node: Position,
    begin: usize,
    style: Style,
}

impl<'t> Source<'t> {
    /// The scalar of the node at `node` of the file `text`.
    fn new(text: &'t str, node: Position) -> Option<Self> {
        let mut offset = node.offset;
        let mut rest = text.get(offset..)?;
        // Anchors and tags stand in front.
        while rest.starts_with(['&', '!']) {
            let word = rest.find(char::is_whitespace)?;
            let gap = rest[word..].find(|c: char| !c.is_whitespace())?;
            offset += word + gap;
            rest = text.get(offset..)?;
        }
        let (skipped, style) = match rest.chars().next()? {
            '"' => (1, Style::Double),
            '\'' => (1, Style::Single),
            // A plain scalar cannot begin with these; the header ends with its line.
            '|' | '>' => (rest.find('\n')? + 1, Style::Verbatim),
            _ => (0, Style::Verbatim),
        };
        Some(Source {
            text,
            node,
            begin: offset + skipped,
            style,
        })
    }

    /// Where the character at byte `at` of `decoded`, which is the scalar's text, stands.
    fn find(&self, decoded: &str, at: usize) -> Option<Position> {
        let before = decoded.get(..at)?;
        let dark = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
        match decoded[at..].chars().next().filter(|c| !c.is_whitespace()) {
            Some(wanted) => {
                let (start, end, found) = self.nth(dark(before))?;
                (found == wanted).then(|| self.position(start, end))
            }
            None => {
                // White space has no place of its own: behind the last character before it.
                let end = match dark(before).checked_sub(1) {
                    Some(last) => self.nth(last)?.1,
                    None => self.begin,
                };
                Some(self.position(end, end))
            }
        }
    }

    /// Begin, end and meaning of the `index`-th character that is not white space.
    fn nth(&self, index: usize) -> Option<(usize, usize, char)> {
        let mut left = index;
        let mut at = self.begin;
        loop {
            let (end, char) = self.next(at)?;
            if !char.is_whitespace() {
                if left == 0 {
                    return Some((at, end, char));
                }
                left -= 1;
            }
            at = end;
        }
    }

    /// The end and the meaning of the character that is written at `at`.
    fn next(&self, at: usize) -> Option<(usize, char)> {
        let rest = self.text.get(at..)?;
        let mut chars = rest.chars();
        let first = chars.next()?;
        match (self.style, first) {
            (Style::Single, '\'') => (chars.next()? == '\'').then_some((at + 2, '\'')),
            (Style::Double, '"') => None,
            (Style::Double, '\\') => {
                let escape = chars.next()?;
                let digits = match escape {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => {
                        let meaning = match escape {
                            // Those that stand for white space, or for nothing, are not counted.
                            'n' | 't' | 'r' | 'v' | 'f' | ' ' | '\t' | '\n' | '\r' | 'N' | '_' | 'L'
                            | 'P' => ' ',
                            '0' => '\0',
                            'a' => '\x07',
                            'b' => '\x08',
                            'e' => '\x1b',
                            escape => escape,
                        };
                        return Some((at + 1 + escape.len_utf8(), meaning));
                    }
                };
                let code = rest.get(2..2 + digits)?;
                let char = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
                Some((at + 2 + digits, char))
            }
            _ => Some((at + first.len_utf8(), first)),
        }
    }

    fn position(&self, start: usize, end: usize) -> Position {
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        Position {
            line: self.node.line + self.text[self.node.offset..start].matches('\n').count() as u32,
            column: 1 + self.text[line_start..start].chars().count() as u32,
            offset: start,
            bytes: end - start,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Value, parse};

    /// The source from the place of `word` in the scalar at `key` on, to the end of the line.
    fn at<'t>(text: &'t str, word: &str) -> &'t str {
        let document = parse("f", text).expect("YAML");
        let mut section = document.root().section("test").expect("mapping");
        let value: Value<'_> = section.value("key").expect("key");
        let decoded = &value.scalar().expect("scalar").text;
        let (start, end) = match word {
            "" => (decoded.len(), decoded.len()),
            word => {
                let start = decoded.find(word).expect("the word");
                (start, start + word.len())
            }
        };
        let place = value.place_in_text(start, end);
        let line = text.lines().nth(place.line as usize - 1).expect("line");
        let column = line
            .char_indices()
            .nth(place.column as usize - 1)
            .map_or(line.len(), |(at, _)| at);
        assert_eq!(
            place.offset,
            line.as_ptr() as usize - text.as_ptr() as usize + column
        );
        if !word.is_empty() && !word.contains(char::is_whitespace) {
            let marked = &text[place.offset..place.offset + place.bytes];
            assert!(!marked.contains('\n') && !marked.is_empty());
        }
        &line[column..]
    }

    #[test]
    fn words_are_found_in_every_style() {
        for text in [
            "key: sum(a) + here(b)\n",
            "other: 1\nkey: sum(é) + here(b)\nlast: 1\n",
            "key: 'it''s + here(b)'\n",
            "key: \"a{b=\\\"\\\\d\\\"} \\u00e9\\n\\x41 + here(b)\"\n",
            "key: \"folded \\\n   on + here(b)\"\n",
            "key: a +\n  b +\n\n  here(b)\n",
            "key: |\n  a\n    + b\n\n  + here(b)\n",
            "key: |-  # why\n    a +\n    here(b)\n",
            "key: >\n  a\n  + b\n\n  + here(b)\n",
            "key: >2-\n    a + here(b)\n",
            "key: &anchor |\n  a + here(b)\n",
            "key: !!str \"a + here(b)\"\n",
            "x: {y: 1}\nkey: \"a\n  + here(b)\"\n",
        ] {
            let found = at(text, "here");
            assert!(found.starts_with("here(b)"), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn the_end_is_behind_the_last_character() {
        assert_eq!(at("key: sum(a\n", ""), "");
        assert_eq!(at("key: \"sum(a  \"\n", ""), "  \"");
        assert_eq!(at("key: |\n  sum(a\n\n\nother: 1\n", ""), "");
        assert_eq!(at("key: ''\n", ""), "'");
    }

    #[test]
    fn an_alias_stands_where_its_anchor_does() {
        assert!(at("x: &e a + here(b)\nkey: *e\n", "here").starts_with("here(b)"));
    }
}

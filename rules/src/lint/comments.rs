//! Comments that turn lints off.

use std::collections::{BTreeMap, HashMap};

use super::Lint;

/// What stands in front of codes.
const HERE: &str = "lint:disable";
const FILE: &str = "lint:disable-file";

/// What the comments of a file turn off.
#[derive(Default)]
pub(super) struct Comments {
    /// Words for the whole file.
    file: Vec<String>,
    /// Words by the line that they are for.
    lines: HashMap<u32, Vec<String>>,
    /// Words for whole rules, by the line on which the rule begins, with that on which the next one does.
    rules: BTreeMap<u32, (u32, Vec<String>)>,
    /// Words that name no lint, by line and column.
    pub(super) unknown: Vec<Unknown>,
}

/// A word that names no lint.
pub(super) struct Unknown {
    pub(super) word: String,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) offset: usize,
}

impl Comments {
    /// Reads the comments of `text`; rules begin at `rule_lines`, which are sorted.
    ///
    /// A comment behind something is for its line, one on a line of its own for the next line that is no comment. Where a
    /// rule begins on that line, it is for the whole rule.
    pub(super) fn new(text: &str, rule_lines: &[u32]) -> Self {
        let mut comments = Comments::default();
        let mut waiting: Vec<String> = Vec::new();
        let (mut offset, mut rule) = (0, 0);
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            let content = line.trim();
            let is_comment = content.starts_with('#');
            let words = comments.words_of(line, number, offset);
            offset += line.len();
            if is_comment {
                waiting.extend(words);
                continue;
            }
            if content.is_empty() {
                continue;
            }
            let mut here = std::mem::take(&mut waiting);
            here.extend(words);
            while rule_lines.get(rule).is_some_and(|begin| *begin < number) {
                rule += 1;
            }
            if here.is_empty() {
                continue;
            }
            let end = rule_lines[rule..].iter().find(|begin| **begin > number);
            if rule_lines.get(rule) == Some(&number) {
                let end = end.copied().unwrap_or(u32::MAX);
                comments.rules.insert(number, (end, here));
            } else {
                comments.lines.entry(number).or_default().extend(here);
            }
        }
        comments
    }

    /// The words on a line that turn off something here; those for the whole file are kept at once.
    fn words_of(&mut self, line: &str, number: u32, offset: usize) -> Vec<String> {
        let Some(at) = comment_of(line) else {
            return Vec::new();
        };
        let comment = &line[at..];
        let (list, of_file) = match comment.strip_prefix(FILE) {
            Some(list) => (list, true),
            None => (&comment[HERE.len()..], false),
        };
        let mut words = Vec::new();
        for word in list
            .split([' ', ',', ';', ':', '\t', '\r', '\n'])
            .filter(|word| !word.is_empty())
        {
            if Lint::find(word).is_none() {
                // What follows the codes is prose: why they are turned off.
                if !words.is_empty() && !word.starts_with("NX") {
                    break;
                }
                let at = word.as_ptr() as usize - line.as_ptr() as usize;
                self.unknown.push(Unknown {
                    word: word.to_owned(),
                    line: number,
                    column: line[..at].chars().count() as u32 + 1,
                    offset: offset + at,
                });
                break;
            }
            words.push(word.to_owned());
        }
        if of_file {
            self.file.append(&mut words);
        }
        words
    }

    /// Whether findings of `lint` on `line` are not wanted.
    pub(super) fn disables(&self, lint: &Lint, line: u32) -> bool {
        let here = self.lines.get(&line).into_iter().flatten();
        let rule = self.rules.range(..=line).next_back();
        let rule = rule
            .filter(|(_, (end, _))| line < *end)
            .into_iter()
            .flat_map(|(_, (_, words))| words);
        let is_lint = |word: &String| word == lint.name || word.eq_ignore_ascii_case(lint.code);
        self.file.iter().chain(here).chain(rule).any(is_lint)
    }
}

/// Where `lint:disable` begins in a comment of `line`.
fn comment_of(line: &str) -> Option<usize> {
    let mark = line.match_indices('#').find_map(|(at, _)| {
        let starts = line[..at].chars().next_back().is_none_or(char::is_whitespace);
        let text = line[at + 1..].trim_start();
        (starts && text.starts_with(HERE)).then(|| line.len() - text.len())
    })?;
    // `lint:disabled` is another word.
    let rest = &line[mark + HERE.len()..];
    let ends = rest.is_empty() || rest.starts_with(char::is_whitespace) || line[mark..].starts_with(FILE);
    ends.then_some(mark)
}

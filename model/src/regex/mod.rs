//! Regular expressions in RE2's syntax, as matchers, relabelling and templates use them.
//!
//! The syntax is ours (`syntax`), the automata are the `regex-automata` crate's. What a pattern comes down to, a list
//! of words or a prefix say, is found from the same parsed form (`shape`): matchers are tried on every value of a
//! label, and comparing strings beats any automaton.
//!
//! ```
//! use narthex_model::regex::Regex;
//! let regex = Regex::new("node-(eu|us)-.*")?;
//! assert!(regex.is_match("node-eu-1") && !regex.is_match("my-node-eu-1"));
//! assert_eq!(regex.prefix(), "node-");
//! # Ok::<(), narthex_model::regex::RegexError>(())
//! ```

mod class;
mod error;
mod expand;
mod shape;
mod syntax;

use std::sync::Arc;

use regex_automata::meta;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::captures::Captures;
use regex_syntax::hir::{Hir, Look};

pub use error::{RegexError, RegexErrorKind};
pub use expand::Template;
use shape::Shape;

/// Most bytes of a compiled automaton.
pub const AUTOMATON_BYTES_MAX: usize = 32 << 20;
/// Stack for walking a pattern's tree: for each level of nested groups, and at least. The automata library recurses.
const STACK_BYTES_LEVEL: usize = 32 << 10;
const STACK_BYTES_MIN: usize = 256 << 10;
/// What a compiled automaton takes besides what it tells: caches that fill while it runs.
const CACHE_BYTES: usize = 8 << 10;

/// A compiled pattern; cloning counts a reference.
#[derive(Clone, Debug)]
pub struct Regex {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pattern: String,
    shape: Shape,
    /// Absent where the shape says everything and groups are not asked for.
    automaton: Option<meta::Regex>,
    /// Names of the groups; the first entry stands for the whole match.
    group_names: Vec<Option<String>>,
    memory_bytes: usize,
}

impl Regex {
    /// Compiles a matcher's pattern: the whole text must match, and `.` matches line feeds. It answers
    /// [`Regex::is_match`]; groups are not recorded.
    ///
    /// # Errors
    /// When `pattern` is not valid RE2 syntax or too large.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        Regex::new_within(pattern, AUTOMATON_BYTES_MAX)
    }

    /// The same, with an automaton of at most `bytes_max`: for queries, whose patterns share a budget.
    ///
    /// # Errors
    /// As [`Regex::new`].
    pub fn new_within(pattern: &str, bytes_max: usize) -> Result<Self, RegexError> {
        let parsed = syntax::parse(pattern, true)?;
        let hir = Hir::concat(vec![Hir::look(Look::Start), parsed.hir, Hir::look(Look::End)]);
        Build {
            pattern,
            groups: Groups::None,
            life: Life::Query,
            depth: parsed.depth,
            bytes_max,
        }
        .run(&hir)
    }

    /// Compiles `^(?s:pattern)$` as relabelling does when it only asks for a match.
    ///
    /// # Errors
    /// As [`Regex::new`]; the message shows the whole expression.
    pub fn anchored(pattern: &str) -> Result<Self, RegexError> {
        // Compat: the wrapping is textual, so that `a)|(b` is accepted here (`patterns_agree_with_go`).
        let parsed = syntax::parse(&format!("^(?s:{pattern})$"), false)?;
        Build {
            pattern,
            groups: Groups::None,
            life: Life::Program,
            depth: parsed.depth,
            bytes_max: AUTOMATON_BYTES_MAX,
        }
        .run(&parsed.hir)
    }

    /// Compiles `^(?:pattern)$` as the Alertmanager's matchers do: `.` does not match line feeds.
    ///
    /// # Errors
    /// As [`Regex::anchored`].
    pub fn anchored_in_line(pattern: &str) -> Result<Self, RegexError> {
        let parsed = syntax::parse(&format!("^(?:{pattern})$"), false)?;
        Build {
            pattern,
            groups: Groups::None,
            life: Life::Program,
            depth: parsed.depth,
            bytes_max: AUTOMATON_BYTES_MAX,
        }
        .run(&parsed.hir)
    }

    /// As [`Regex::anchored`], with groups: for replacements and `label_replace`.
    ///
    /// # Errors
    /// As [`Regex::anchored`].
    pub fn anchored_with_groups(pattern: &str) -> Result<Self, RegexError> {
        Regex::anchored_with_groups_within(pattern, AUTOMATON_BYTES_MAX)
    }

    /// The same, with an automaton of at most `bytes_max`.
    ///
    /// # Errors
    /// As [`Regex::anchored`].
    pub fn anchored_with_groups_within(pattern: &str, bytes_max: usize) -> Result<Self, RegexError> {
        Regex::with_groups(pattern, &format!("^(?s:{pattern})$"), bytes_max)
    }

    /// Compiles `pattern` as it stands: it may match anywhere in a text, `.` does not match line feeds, groups are
    /// recorded. For templates.
    ///
    /// # Errors
    /// As [`Regex::new`].
    pub fn unanchored(pattern: &str) -> Result<Self, RegexError> {
        Regex::with_groups(pattern, pattern, AUTOMATON_BYTES_MAX)
    }

    fn with_groups(pattern: &str, whole: &str, bytes_max: usize) -> Result<Self, RegexError> {
        let parsed = syntax::parse(whole, false)?;
        Build {
            pattern,
            groups: Groups::Named(parsed.group_names),
            life: Life::Program,
            depth: parsed.depth,
            bytes_max,
        }
        .run(&parsed.hir)
    }

    /// What it takes in memory, shared by all its clones; caches are estimated.
    pub fn memory_bytes(&self) -> usize {
        self.inner.memory_bytes
    }

    /// The pattern as it was given.
    pub fn pattern(&self) -> &str {
        &self.inner.pattern
    }

    /// Whether `text` matches: as a whole, unless the pattern is unanchored.
    pub fn is_match(&self, text: &str) -> bool {
        let inner = &*self.inner;
        match (&inner.shape.exact, &inner.automaton) {
            (Some(exact), _) => exact.matches(text),
            (None, Some(automaton)) => inner.shape.may_match(text) && automaton.is_match(text),
            (None, None) => false,
        }
    }

    /// The strings that match, sorted, if the pattern comes down to a list of at most a few thousand.
    pub fn literals(&self) -> Option<&[String]> {
        let exact = self.inner.shape.exact.as_ref()?;
        exact.only_words().then_some(&exact.words)
    }

    /// A text that every match starts with; empty where none is known.
    pub fn prefix(&self) -> &str {
        &self.inner.shape.prefix
    }

    /// Where matches lie in a sorted list: each is one of the words or starts with one of the prefixes. `None` where all
    /// texts would have to be looked at.
    pub fn starts(&self) -> Option<Starts<'_>> {
        let shape = &self.inner.shape;
        if let Some(exact) = &shape.exact {
            let prefixes = exact.glob_prefixes();
            let narrow = prefixes.first().is_none_or(|first| !first.is_empty());
            return narrow.then_some(Starts {
                words: &exact.words,
                prefixes,
            });
        }
        (!shape.prefix.is_empty()).then(|| Starts {
            words: &[],
            prefixes: vec![&shape.prefix],
        })
    }

    /// A text that every match ends with; empty where none is known.
    pub fn suffix(&self) -> &str {
        &self.inner.shape.suffix
    }

    /// Whether every text matches, as with `.*`. `false` where that is not known.
    pub fn matches_everything(&self) -> bool {
        self.any_text_from() == Some(0)
    }

    /// Whether exactly the texts that are not empty match, as with `.+`. `false` where that is not known.
    pub fn matches_non_empty(&self) -> bool {
        self.any_text_from() == Some(1)
    }

    fn any_text_from(&self) -> Option<usize> {
        self.inner
            .shape
            .exact
            .as_ref()
            .and_then(shape::Exact::any_text_from)
    }

    /// The first match in `text` with its groups.
    ///
    /// Only for patterns compiled with groups; others give nothing.
    pub fn captures<'r, 't>(&'r self, text: &'t str) -> Option<Match<'r, 't>> {
        let automaton = self.group_automaton()?;
        if !self.inner.shape.may_match(text) {
            return None;
        }
        let mut captures = automaton.create_captures();
        automaton.captures(text, &mut captures);
        captures.is_match().then_some(Match {
            regex: self,
            text,
            captures,
        })
    }

    /// `text` with every match replaced by `template`, as Go's `ReplaceAllString` does: matches do not overlap, and an
    /// empty one right behind another match does not count.
    ///
    /// Only for patterns compiled with groups; others change nothing.
    pub fn replace_all(&self, text: &str, template: &Template) -> String {
        let Some(automaton) = self.group_automaton() else {
            return text.to_owned();
        };
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        for captures in automaton.captures_iter(text) {
            let Some(span) = captures.get_group(0) else {
                continue;
            };
            out.push_str(&text[copied..span.start]);
            copied = span.end;
            Match {
                regex: self,
                text,
                captures,
            }
            .expand(template, &mut out);
        }
        out.push_str(&text[copied..]);
        out
    }

    /// Whether a group of this name exists.
    pub fn has_group(&self, name: &str) -> bool {
        self.inner.group_names.iter().flatten().any(|n| n == name)
    }

    fn group_automaton(&self) -> Option<&meta::Regex> {
        self.inner
            .automaton
            .as_ref()
            .filter(|_| !self.inner.group_names.is_empty())
    }
}

/// A pattern on its way from tree to automaton.
struct Build<'p> {
    pattern: &'p str,
    groups: Groups,
    life: Life,
    /// Deepest nesting of groups.
    depth: usize,
    /// Most bytes of the automaton.
    bytes_max: usize,
}

impl Build<'_> {
    fn run(self, hir: &Hir) -> Result<Regex, RegexError> {
        crate::stack::with_bytes(STACK_BYTES_MIN + self.depth * STACK_BYTES_LEVEL, || {
            self.run_here(hir)
        })
    }

    fn run_here(self, hir: &Hir) -> Result<Regex, RegexError> {
        let pattern = self.pattern;
        let shape = Shape::of(hir);
        let (which, group_names) = match self.groups {
            Groups::None => (WhichCaptures::None, Vec::new()),
            Groups::Named(names) => (WhichCaptures::All, names),
        };
        let automaton = if shape.exact.is_some() && group_names.is_empty() {
            None
        } else {
            let config = meta::Config::new()
                .nfa_size_limit(Some(self.bytes_max.min(AUTOMATON_BYTES_MAX)))
                .which_captures(which)
                .dfa(self.life == Life::Program);
            let built = meta::Builder::new().configure(config).build_from_hir(hir);
            Some(built.map_err(|_| RegexError::new(RegexErrorKind::TooLarge, pattern))?)
        };
        let memory_bytes = size_of::<Inner>()
            + pattern.len()
            + shape.memory_bytes()
            + automaton
                .as_ref()
                .map_or(0, |automaton| automaton.memory_usage() + CACHE_BYTES);
        Ok(Regex {
            inner: Arc::new(Inner {
                pattern: pattern.to_owned(),
                shape,
                automaton,
                group_names,
                memory_bytes,
            }),
        })
    }
}

/// See [`Regex::starts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Starts<'r> {
    /// Texts that match, sorted.
    pub words: &'r [String],
    /// All other matches start with one of these; sorted, and none is the beginning of another.
    pub prefixes: Vec<&'r str>,
}

/// How long a pattern is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    /// For a query: what its automaton does is found as texts come by. To find out everything beforehand takes longer
    /// than a few thousand texts.
    Query,
    /// As long as a configuration is in force.
    Program,
}

/// Whether a pattern's groups are recorded, and their names.
enum Groups {
    None,
    Named(Vec<Option<String>>),
}

/// A match and its groups.
#[derive(Debug)]
pub struct Match<'r, 't> {
    regex: &'r Regex,
    text: &'t str,
    captures: Captures,
}

impl<'t> Match<'_, 't> {
    /// Text of group `index`, where 0 is the whole match; nothing if there is no such group or it took no part.
    pub fn group(&self, index: usize) -> Option<&'t str> {
        self.captures
            .get_group(index)
            .map(|span| &self.text[span.start..span.end])
    }

    /// Text of the first group called `name` that took part.
    pub fn named(&self, name: &str) -> Option<&'t str> {
        let names = &self.regex.inner.group_names;
        (0..names.len())
            .filter(|&index| names[index].as_deref() == Some(name))
            .find_map(|index| self.group(index))
    }

    /// Appends `template` with its references filled in.
    pub fn expand(&self, template: &Template, out: &mut String) {
        template.expand(out, |index| self.group(index), |name| self.named(name));
    }
}

//! What can be said about an anchored pattern without running it.
//!
//! Nearly all matchers that people write are a list of words, a word with `.*` before or behind it, or several of
//! those. They are recognised here and answered by comparing strings; the index asks for the same facts to find label
//! values without trying each.

use std::collections::{BTreeSet, HashSet};

use memchr::memmem;
use regex_syntax::hir::{Hir, HirKind, Look};

use super::class;

/// Most strings that a pattern's alternatives may spell out to count as a list of words.
const WORDS_MAX: usize = 4096;
/// Most strings that choices inside one word (`[ab]`, `(?i)x`) may multiply to.
const PRODUCT_MAX: usize = 256;
/// Most bytes in all words.
const WORD_BYTES_MAX: usize = 1 << 18;
/// Most globs that are tried one after the other; beyond, the automaton is quicker.
const GLOBS_MAX: usize = 16;
/// From here on a hash table finds a word faster than a walk over all.
const WALK_MAX: usize = 12;

/// Facts about a pattern.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// A complete description, where there is one.
    pub(super) exact: Option<Exact>,
    /// What every match starts with.
    pub(super) prefix: String,
    /// What every match ends with.
    pub(super) suffix: String,
    /// The longest text that every match contains, where there is one besides prefix and suffix.
    pub(super) inner: Option<memmem::Finder<'static>>,
}

/// A pattern that comes down to comparing strings: a text matches if it is one of the words or fits one of the globs.
#[derive(Clone, Debug, Default)]
pub(super) struct Exact {
    /// Sorted, without duplicates.
    pub(super) words: Vec<String>,
    table: Option<HashSet<String>>,
    globs: Vec<Glob>,
}

/// `prefix gap literal gap … suffix`, where a gap is at least so many characters.
#[derive(Clone, Debug)]
struct Glob {
    prefix: String,
    inner: Vec<(usize, memmem::Finder<'static>)>,
    last_gap: usize,
    suffix: String,
}

impl Shape {
    /// Looks at a pattern; unless it is anchored at both ends it has no shape.
    pub(super) fn of(hir: &Hir) -> Self {
        let mut items = Vec::new();
        flatten(hir, &mut items);
        let anchored = matches!(items.as_slice(), [first, .., last]
            if is_look(first, Look::Start) && is_look(last, Look::End));
        if !anchored {
            return Shape::default();
        }
        let items = without_anchors(&items);
        let literal = |item: &&Hir| literal_text(item).map(str::to_owned);
        let suffix = items.last().and_then(literal).unwrap_or_default();
        let inner = items.iter().filter_map(literal).max_by_key(String::len);
        let mut shape = Shape {
            exact: Exact::of(items),
            prefix: prefix_of_all(items).0,
            suffix,
            inner: None,
        };
        shape.inner = inner
            .filter(|text| *text != shape.suffix && *text != shape.prefix)
            .map(|text| memmem::Finder::new(&text).into_owned());
        shape
    }

    /// What its texts take, about.
    pub(super) fn memory_bytes(&self) -> usize {
        let affixes = self.prefix.len() + self.suffix.len();
        let inner = self.inner.as_ref().map_or(0, |finder| finder.needle().len());
        let exact = self.exact.as_ref().map_or(0, |exact| {
            let words: usize = exact
                .words
                .iter()
                .map(|word| size_of::<String>() + word.len())
                .sum();
            // The table holds the words once more.
            words * (1 + usize::from(exact.table.is_some())) + exact.globs.len() * size_of::<Glob>()
        });
        affixes + inner + exact
    }

    /// Whether a text passes the checks that cost less than the automaton.
    pub(super) fn may_match(&self, text: &str) -> bool {
        // Here they may overlap: `a` starts and ends with `a`.
        cut_affixes(text, &self.prefix, "").is_some()
            && cut_affixes(text, "", &self.suffix).is_some()
            && self
                .inner
                .as_ref()
                .is_none_or(|finder| finder.find(text.as_bytes()).is_some())
    }
}

impl Exact {
    fn of(items: &[&Hir]) -> Option<Self> {
        let alternatives = match items {
            [single] => match single.kind() {
                HirKind::Alternation(subs) => subs.iter().collect(),
                _ => vec![*single],
            },
            _ => Vec::new(),
        };
        let mut words = BTreeSet::new();
        let mut globs = Vec::new();
        if alternatives.is_empty() {
            add_alternative(items, &mut words, &mut globs)?;
        }
        for alternative in alternatives {
            let mut items = Vec::new();
            flatten(alternative, &mut items);
            add_alternative(without_anchors(&items), &mut words, &mut globs)?;
        }
        let words: Vec<String> = words.into_iter().collect();
        let table = (words.len() > WALK_MAX).then(|| words.iter().cloned().collect());
        Some(Exact { words, table, globs })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let word = match &self.table {
            Some(table) => table.contains(text),
            None => self.words.iter().any(|word| word == text),
        };
        word || self.globs.iter().any(|glob| glob.matches(text))
    }

    /// What texts that fit a glob start with, sorted; none is the beginning of another.
    pub(super) fn glob_prefixes(&self) -> Vec<&str> {
        let mut prefixes: Vec<&str> = self.globs.iter().map(|glob| glob.prefix.as_str()).collect();
        prefixes.sort_unstable();
        // What begins like the last that was kept lies right behind it.
        prefixes.dedup_by(|next, kept| next.starts_with(*kept));
        prefixes
    }

    /// Whether words are all there is.
    pub(super) fn only_words(&self) -> bool {
        self.globs.is_empty()
    }

    /// The least number of characters of the texts that match, if it is all texts of that length or longer.
    pub(super) fn any_text_from(&self) -> Option<usize> {
        let least = self
            .globs
            .iter()
            .filter(|glob| glob.is_bare())
            .map(|glob| glob.last_gap)
            .min();
        match least {
            Some(1) if self.words.first().is_some_and(String::is_empty) => Some(0),
            least => least,
        }
    }
}

impl Glob {
    fn is_bare(&self) -> bool {
        self.prefix.is_empty() && self.inner.is_empty() && self.suffix.is_empty()
    }

    fn matches(&self, text: &str) -> bool {
        let Some(mut rest) = cut_affixes(text, &self.prefix, &self.suffix) else {
            return false;
        };
        // The leftmost place is the best for each literal: it leaves the most to the ones behind.
        for (gap, literal) in &self.inner {
            let Some(found) = skip_chars(rest, *gap).and_then(|after| {
                literal
                    .find(after.as_bytes())
                    .map(|at| &after[at + literal.needle().len()..])
            }) else {
                return false;
            };
            rest = found;
        }
        skip_chars(rest, self.last_gap).is_some()
    }
}

/// What stands between `prefix` and `suffix`, if the text has both and they do not overlap.
fn cut_affixes<'t>(text: &'t str, prefix: &str, suffix: &str) -> Option<&'t str> {
    // Comparing with an empty string is not free: on some processors memcmp with its dangling pointer takes 40 ns.
    let text = if prefix.is_empty() {
        text
    } else {
        text.strip_prefix(prefix)?
    };
    if suffix.is_empty() {
        Some(text)
    } else {
        text.strip_suffix(suffix)
    }
}

/// `text` behind its first `count` characters, if it has that many.
fn skip_chars(text: &str, count: usize) -> Option<&str> {
    let mut chars = text.chars();
    for _ in 0..count {
        chars.next()?;
    }
    Some(chars.as_str())
}

/// Groups and concatenations taken apart into one list: for matching alone they mean nothing.
fn flatten<'h>(hir: &'h Hir, out: &mut Vec<&'h Hir>) {
    match hir.kind() {
        HirKind::Capture(capture) => flatten(&capture.sub, out),
        HirKind::Concat(subs) => subs.iter().for_each(|sub| flatten(sub, out)),
        HirKind::Empty => {}
        _ => out.push(hir),
    }
}

fn is_look(hir: &Hir, look: Look) -> bool {
    matches!(hir.kind(), HirKind::Look(l) if *l == look)
}

/// Cuts off the anchors at both ends of what spans a whole text.
fn without_anchors<'a, 'h>(mut items: &'a [&'h Hir]) -> &'a [&'h Hir] {
    while let [first, rest @ ..] = items
        && is_look(first, Look::Start)
    {
        items = rest;
    }
    while let [rest @ .., last] = items
        && is_look(last, Look::End)
    {
        items = rest;
    }
    items
}

fn literal_text(hir: &Hir) -> Option<&str> {
    match hir.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok(),
        _ => None,
    }
}

// ------------------------------------------------------------------------------------------------------ alternatives

/// A stretch of an alternative: one of several texts, or any text of at least so many characters.
enum Piece {
    Texts(Vec<String>),
    Gap(usize),
}

fn add_alternative(items: &[&Hir], words: &mut BTreeSet<String>, globs: &mut Vec<Glob>) -> Option<()> {
    let pieces = pieces(items)?;
    if pieces.iter().all(|piece| matches!(piece, Piece::Texts(_))) {
        words.extend(product(&pieces, PRODUCT_MAX.max(words_of(&pieces)))?);
        let bytes: usize = words.iter().map(String::len).sum();
        return (words.len() <= WORDS_MAX && bytes <= WORD_BYTES_MAX).then_some(());
    }
    // Every choice of texts is a glob of its own.
    let choices: usize = pieces
        .iter()
        .map(Piece::choices)
        .try_fold(1_usize, usize::checked_mul)?;
    if globs.len() + choices > GLOBS_MAX {
        return None;
    }
    globs.extend((0..choices).map(|choice| glob(&pieces, choice)));
    Some(())
}

impl Piece {
    fn choices(&self) -> usize {
        match self {
            Piece::Texts(texts) => texts.len(),
            Piece::Gap(_) => 1,
        }
    }
}

/// A lone alternation inside an alternative may be as long as a list of words may be.
fn words_of(pieces: &[Piece]) -> usize {
    match pieces {
        [Piece::Texts(texts)] => texts.len(),
        _ => 0,
    }
}

fn pieces(items: &[&Hir]) -> Option<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut at = 0;
    while at < items.len() {
        if let Some(run) = gap_at(&items[at..]) {
            pieces.push(Piece::Gap(run.least));
            at += run.items;
        } else {
            pieces.push(Piece::Texts(texts(items[at])?));
            at += 1;
        }
    }
    Some(pieces)
}

/// A run of `.`, `.+`, `.{3,}` … that together take any text of at least `least` characters.
struct GapRun {
    items: usize,
    least: usize,
}

fn gap_at(items: &[&Hir]) -> Option<GapRun> {
    let mut run = GapRun { items: 0, least: 0 };
    let mut unbounded = false;
    for item in items {
        match item.kind() {
            HirKind::Class(class) if class::is_any(class) => run.least += 1,
            HirKind::Repetition(repetition) => match repetition.sub.kind() {
                HirKind::Class(class) if class::is_any(class) => {
                    run.least += repetition.min as usize;
                    unbounded |= repetition.max.is_none();
                }
                _ => break,
            },
            _ => break,
        }
        run.items += 1;
    }
    unbounded.then_some(run)
}

fn glob(pieces: &[Piece], mut choice: usize) -> Glob {
    let (mut prefix, mut inner, mut gap, mut text) = (None, Vec::new(), 0, String::new());
    for piece in pieces {
        match piece {
            Piece::Texts(texts) => {
                text.push_str(&texts[choice % texts.len()]);
                choice /= texts.len();
            }
            Piece::Gap(least) => {
                if prefix.is_none() {
                    prefix = Some(std::mem::take(&mut text));
                } else if !text.is_empty() {
                    inner.push((gap, memmem::Finder::new(&text).into_owned()));
                    text.clear();
                    gap = 0;
                }
                gap += least;
            }
        }
    }
    Glob {
        prefix: prefix.unwrap_or_default(),
        inner,
        last_gap: gap,
        suffix: text,
    }
}

/// All texts that `hir` matches, if they are few.
fn texts(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(_) => Some(vec![literal_text(hir)?.to_owned()]),
        HirKind::Class(regex_syntax::hir::Class::Unicode(class)) => {
            let count: usize = class
                .ranges()
                .iter()
                .map(regex_syntax::hir::ClassUnicodeRange::len)
                .sum();
            if count == 0 || count > PRODUCT_MAX {
                return None;
            }
            Some(
                class
                    .ranges()
                    .iter()
                    .flat_map(|r| r.start()..=r.end())
                    .map(String::from)
                    .collect(),
            )
        }
        HirKind::Capture(capture) => texts(&capture.sub),
        HirKind::Concat(subs) => {
            let pieces: Option<Vec<Piece>> = subs.iter().map(|sub| texts(sub).map(Piece::Texts)).collect();
            product(&pieces?, PRODUCT_MAX)
        }
        HirKind::Alternation(subs) => {
            let mut all = Vec::new();
            for sub in subs {
                all.extend(texts(sub)?);
                if all.len() > WORDS_MAX {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Repetition(repetition) => {
            let max = repetition.max.filter(|max| *max <= 8)?;
            let sub = texts(&repetition.sub)?;
            let mut all = Vec::new();
            for times in repetition.min..=max {
                let pieces: Vec<Piece> = (0..times).map(|_| Piece::Texts(sub.clone())).collect();
                all.extend(product(&pieces, PRODUCT_MAX)?);
            }
            (all.len() <= PRODUCT_MAX).then_some(all)
        }
        _ => None,
    }
}

/// Every way to put one text of each piece behind each other, if there are at most `limit`.
fn product(pieces: &[Piece], limit: usize) -> Option<Vec<String>> {
    let mut all = vec![String::new()];
    for piece in pieces {
        let Piece::Texts(texts) = piece else { return None };
        if all.len().checked_mul(texts.len())? > limit {
            return None;
        }
        let bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        if bytes(&all) * texts.len() + bytes(texts) * all.len() > WORD_BYTES_MAX {
            return None;
        }
        all = all
            .iter()
            .flat_map(|head| texts.iter().map(move |tail| [head.as_str(), tail].concat()))
            .collect();
    }
    Some(all)
}

// ------------------------------------------------------------------------------------------------------------ prefix

/// The text that every match of `items` starts with, and whether matches are nothing but that text.
fn prefix_of_all(items: &[&Hir]) -> (String, bool) {
    let mut prefix = String::new();
    for item in items {
        let (text, whole) = prefix_of(item);
        prefix.push_str(&text);
        if !whole {
            return (prefix, false);
        }
    }
    (prefix, true)
}

fn prefix_of(hir: &Hir) -> (String, bool) {
    match hir.kind() {
        HirKind::Empty => (String::new(), true),
        HirKind::Literal(_) => {
            literal_text(hir).map_or((String::new(), false), |text| (text.to_owned(), true))
        }
        HirKind::Capture(capture) => prefix_of(&capture.sub),
        HirKind::Concat(subs) => prefix_of_all(&subs.iter().collect::<Vec<_>>()),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            let (text, whole) = prefix_of(&repetition.sub);
            (text, whole && repetition.min == 1 && repetition.max == Some(1))
        }
        HirKind::Alternation(subs) => {
            let mut common: Option<(String, bool)> = None;
            for sub in subs {
                let (text, whole) = prefix_of(sub);
                common = Some(match common {
                    None => (text, whole),
                    Some((head, head_whole)) => {
                        let same = head.chars().zip(text.chars()).take_while(|(a, b)| a == b);
                        let len = same.map(|(c, _)| c.len_utf8()).sum();
                        let equal = head == text;
                        (head[..len].to_owned(), equal && whole && head_whole)
                    }
                });
            }
            common.unwrap_or_default()
        }
        _ => (String::new(), false),
    }
}

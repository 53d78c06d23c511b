//! Label sets: the identity of a series.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Name of the label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";
/// Name of the label that holds a classic histogram bucket's upper bound.
pub const BUCKET_LABEL: &str = "le";
/// Name of the label that holds the alert's name on `ALERTS` series.
pub const ALERT_NAME: &str = "alertname";
/// Longest name or value that a label set can hold, in bytes: lengths are stored in at most 24 bits.
pub const LABEL_BYTES_MAX: usize = (1 << 24) - 1;

/// How many characters of a text an error shows.
const SHOWN_CHARS_MAX: usize = 50;

/// A label name or value longer than [`LABEL_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "label {}: a {} of {bytes} bytes is more than a label can hold, which is {LABEL_BYTES_MAX} bytes",
    Shortened(name),
    if *.is_name { "name" } else { "value" }
)]
pub struct LabelTooLong {
    name: Box<str>,
    is_name: bool,
    bytes: usize,
}

impl LabelTooLong {
    /// Says whether a label can hold `name` and `value`.
    ///
    /// # Errors
    /// When either is longer than [`LABEL_BYTES_MAX`].
    pub fn check(name: &str, value: &str) -> Result<(), Self> {
        if name.len() <= LABEL_BYTES_MAX && value.len() <= LABEL_BYTES_MAX {
            return Ok(());
        }
        let is_name = name.len() > LABEL_BYTES_MAX;
        Err(LabelTooLong {
            name: name.into(),
            is_name,
            bytes: if is_name { name.len() } else { value.len() },
        })
    }
}

/// The beginning of a text, in Go's quotes.
struct Shortened<'a>(&'a str);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN_CHARS_MAX) {
            Some((end, _)) => {
                write_quoted(f, &self.0[..end])?;
                f.write_str("…")
            }
            None => write_quoted(f, self.0),
        }
    }
}

/// A set of labels, sorted by name, in one shared allocation; cloning counts a reference.
///
/// The layout is `length name length value …`, where a length below 255 is one byte and any other is the byte 255
/// followed by 24 bits, low byte first. It equals the reference's in-memory layout, because [`Labels::hash64`], which
/// users can see through `limit_ratio`, is defined over these bytes.
#[derive(Clone)]
pub struct Labels {
    packed: Arc<[u8]>,
}

impl Labels {
    /// The empty label set.
    pub fn empty() -> Self {
        Labels {
            packed: Arc::from([]),
        }
    }

    /// Sorts `pairs` by name and packs them. Empty values are dropped, since a label with an empty value is the same
    /// as no label; of several pairs with one name the last counts.
    ///
    /// # Panics
    /// If a text is longer than [`LABEL_BYTES_MAX`]. Texts from outside go through [`Labels::try_from_pairs`].
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// As [`Labels::from_pairs`], for texts of any length.
    ///
    /// # Errors
    /// When a text is longer than [`LABEL_BYTES_MAX`].
    pub fn try_from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, LabelTooLong> {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.try_build()
    }

    /// Packs pairs that are already sorted by name, without duplicates and without empty values.
    ///
    /// # Panics
    /// If a text is longer than [`LABEL_BYTES_MAX`].
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut packer = LabelsPacker::default();
        for (name, value) in pairs {
            packer.push(name, value);
        }
        packer.finish()
    }

    /// The set with these packed bytes.
    pub(crate) fn of_packed(packed: &[u8]) -> Self {
        Labels {
            packed: Arc::from(packed),
        }
    }

    /// Pairs in order of their names.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.packed }
    }

    /// Value of `name`, if the set has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        // Names are sorted, but sets are small and comparisons of the first byte decide nearly all of them.
        let (_, value) = self.iter().raw().find(|(n, _)| *n == name.as_bytes())?;
        Some(as_text(value))
    }

    /// Value of `name`, or the empty string: what matchers and relabelling see.
    pub fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// The metric name, or the empty string.
    pub fn metric_name(&self) -> &str {
        self.value(METRIC_NAME)
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.iter().raw().count()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// The packed bytes (see the type's description): equal sets have equal bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.packed
    }

    /// xxHash64 with seed 0 over the packed bytes, as the reference computes it.
    pub fn hash64(&self) -> u64 {
        xxhash_rust::xxh64::xxh64(&self.packed, 0)
    }

    /// A copy without the labels for which `drop` holds.
    pub fn without(&self, mut drop: impl FnMut(&str) -> bool) -> Self {
        Labels::from_sorted(self.iter().filter(|(name, _)| !drop(name)))
    }

    /// A builder that starts from this set.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder {
            pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            too_long: Vec::new(),
        }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Labels::empty()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.packed == other.packed
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.packed.hash(state);
    }
}

/// Tables keyed by label sets can be asked with packed bytes.
impl Borrow<[u8]> for Labels {
    fn borrow(&self) -> &[u8] {
        &self.packed
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By name, then value, pair by pair; a prefix sorts first. This is the order of series in a block's index and in
/// matrices of the HTTP API.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp_texts(other.iter())
    }
}

/// `{name="value", …}` with Go's quoting, as the reference prints label sets in messages.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_label_name(name) {
                f.write_str(name)?;
            } else {
                write_quoted(f, name)?;
            }
            f.write_str("=")?;
            write_quoted(f, value)?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;
    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

/// Pairs of a [`Labels`], in order of their names.
#[derive(Clone, Debug)]
pub struct LabelsIter<'a> {
    rest: &'a [u8],
}

impl<'a> LabelsIter<'a> {
    /// Pairs of packed bytes.
    pub(crate) fn of_packed(packed: &'a [u8]) -> Self {
        LabelsIter { rest: packed }
    }

    /// The pairs as bytes: to compare or to copy them, nobody need check once more that they are UTF-8.
    pub fn raw(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut pairs = self;
        std::iter::from_fn(move || pairs.next_raw())
    }

    /// By name, then value, pair by pair.
    pub(crate) fn cmp_texts(self, other: LabelsIter<'_>) -> Ordering {
        self.raw().cmp(other.raw())
    }

    #[inline]
    fn next_raw(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        if self.rest.is_empty() {
            return None;
        }
        Some((self.take(), self.take()))
    }

    #[inline]
    fn take(&mut self) -> &'a [u8] {
        let (len, head) = match self.rest[0] {
            255 => (
                usize::from(self.rest[1]) | usize::from(self.rest[2]) << 8 | usize::from(self.rest[3]) << 16,
                4,
            ),
            len => (usize::from(len), 1),
        };
        let (text, rest) = self.rest[head..].split_at(len);
        self.rest = rest;
        text
    }
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.next_raw()?;
        Some((as_text(name), as_text(value)))
    }
}

/// Adds a text of at most [`LABEL_BYTES_MAX`] to packed ones.
#[inline]
pub(crate) fn push_packed(packed: &mut Vec<u8>, text: &[u8]) {
    let len = text.len();
    assert!(len <= LABEL_BYTES_MAX, "label text of {len} bytes");
    if len < 255 {
        packed.push(len as u8);
    } else {
        packed.extend_from_slice(&[255, len as u8, (len >> 8) as u8, (len >> 16) as u8]);
    }
    packed.extend_from_slice(text);
}

fn as_text(packed: &[u8]) -> &str {
    std::str::from_utf8(packed).expect("packed from &str")
}

/// Packs pairs that arrive sorted; reusable, so that a loop over many series allocates once a series.
#[derive(Default, Debug, Clone)]
pub struct LabelsPacker {
    bytes: Vec<u8>,
}

impl LabelsPacker {
    /// Adds a pair whose name sorts after all names so far and whose value is not empty.
    ///
    /// # Panics
    /// If a text is longer than [`LABEL_BYTES_MAX`]: parsers and remote-write readers refuse those before.
    pub fn push(&mut self, name: &str, value: &str) {
        self.push_str(name);
        self.push_str(value);
    }

    fn push_str(&mut self, text: &str) {
        push_packed(&mut self.bytes, text.as_bytes());
    }

    /// The packed bytes so far, to ask a table before allocating.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the pairs so far and keeps the buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The set; the packer is empty again and keeps its buffer.
    pub fn finish(&mut self) -> Labels {
        let labels = Labels {
            packed: Arc::from(self.bytes.as_slice()),
        };
        self.bytes.clear();
        labels
    }
}

/// A label set under construction: what relabelling, rules and templates change.
///
/// Texts of any length may be set. One that no label can hold is not kept but remembered, so that joining labels again
/// and again does not grow without a bound, and makes [`LabelsBuilder::try_build`] fail unless its label is set anew or
/// removed.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    /// Sorted by name, without empty values.
    pairs: Vec<(String, String)>,
    /// Labels that were set to more than a label can hold.
    too_long: Vec<LabelTooLong>,
}

impl LabelsBuilder {
    /// An empty set.
    pub fn new() -> Self {
        LabelsBuilder::default()
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        if !self.too_long.is_empty() {
            self.too_long.retain(|label| *label.name != *name);
        }
        if let Err(label) = LabelTooLong::check(name, value) {
            self.too_long.push(label);
            return self.remove_pair(name);
        }
        match self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(at) if value.is_empty() => drop(self.pairs.remove(at)),
            Ok(at) => {
                self.pairs[at].1.clear();
                self.pairs[at].1.push_str(value);
            }
            Err(_) if value.is_empty() => {}
            Err(at) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }

    fn remove_pair(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(n, _)| n != name);
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// Value of `name`, or the empty string.
    pub fn value(&self, name: &str) -> &str {
        self.pairs
            .binary_search_by(|(n, _)| n.as_str().cmp(name))
            .map_or("", |at| self.pairs[at].1.as_str())
    }

    /// Keeps the labels for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) -> &mut Self {
        self.pairs.retain(|(n, v)| keep(n, v));
        self.too_long.retain(|label| keep(&label.name, ""));
        self
    }

    /// Pairs in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.too_long.is_empty()
    }

    /// Empties the builder, keeping its buffer.
    pub fn clear(&mut self) {
        self.pairs.clear();
        self.too_long.clear();
    }

    /// The finished set.
    ///
    /// # Panics
    /// If a text was longer than [`LABEL_BYTES_MAX`]. Where texts come from outside or grow, as in relabelling, it is
    /// [`LabelsBuilder::try_build`] that is wanted.
    pub fn build(&self) -> Labels {
        match self.try_build() {
            Ok(labels) => labels,
            Err(error) => panic!("{error}"),
        }
    }

    /// The finished set.
    ///
    /// # Errors
    /// When a text was longer than [`LABEL_BYTES_MAX`].
    pub fn try_build(&self) -> Result<Labels, LabelTooLong> {
        match self.too_long.first() {
            Some(label) => Err(label.clone()),
            None => Ok(Labels::from_sorted(self.iter())),
        }
    }
}

/// Whether `name` is a metric name of the old kind, `[a-zA-Z_:][a-zA-Z0-9_:]*`, which needs no quotes.
pub fn is_legacy_metric_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty()
        && !bytes[0].is_ascii_digit()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b':')
}

/// Whether `name` is a label name of the old kind, `[a-zA-Z_][a-zA-Z0-9_]*`, which needs no quotes.
pub fn is_legacy_label_name(name: &str) -> bool {
    is_legacy_metric_name(name) && !name.contains(':')
}

/// Which names labels and metrics may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NameScheme {
    /// Any UTF-8 text that is not empty.
    #[default]
    Utf8,
    /// Letters, digits, underscores (and colons in metric names), not starting with a digit.
    Legacy,
}

impl NameScheme {
    /// Whether a label may be called `name`.
    pub fn is_valid_label_name(self, name: &str) -> bool {
        match self {
            NameScheme::Utf8 => !name.is_empty(),
            NameScheme::Legacy => is_legacy_label_name(name),
        }
    }

    /// Whether a metric may be called `name`.
    pub fn is_valid_metric_name(self, name: &str) -> bool {
        match self {
            NameScheme::Utf8 => !name.is_empty(),
            NameScheme::Legacy => is_legacy_metric_name(name),
        }
    }
}

/// Writes `text` in double quotes as Go's `%q` does: backslash escapes for controls and for what is not printable.
pub fn write_quoted(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\u{7}' => out.write_str("\\a")?,
            '\u{8}' => out.write_str("\\b")?,
            '\u{c}' => out.write_str("\\f")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\u{b}' => out.write_str("\\v")?,
            c if c < ' ' || c == '\u{7f}' => write!(out, "\\x{:02x}", c as u32)?,
            // Go prints a rune as it is when unicode.IsPrint holds; std's debug escape uses the same classes, except
            // that it also escapes combining marks.
            c if c.is_ascii() || c.escape_debug().len() == 1 => out.write_char(c)?,
            c if (c as u32) < 0x10000 && !is_go_printable(c) => write!(out, "\\u{:04x}", c as u32)?,
            c if !is_go_printable(c) => write!(out, "\\U{:08x}", c as u32)?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

/// Combining marks are printable for Go though std's debug output escapes them.
fn is_go_printable(c: char) -> bool {
    let mut text = [0; 4];
    // A mark behind a letter is not escaped by `str::escape_debug`; what still is, is not printable.
    let after_letter: String = ["a", c.encode_utf8(&mut text)].concat();
    after_letter.escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_drops_empty_and_keeps_the_last() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("a", "3")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
        assert_eq!(labels.to_string(), r#"{a="3", b="2"}"#);
        assert_eq!(labels.value("c"), "");
        assert_eq!(labels, labels.to_builder().build());
    }

    #[test]
    fn long_values_take_the_wide_length() {
        for len in [254, 255, 256, 70_000] {
            let long = "x".repeat(len);
            let labels = Labels::from_pairs([("a", long.as_str()), ("b", "y")]);
            assert_eq!(labels.value("a").len(), len);
            assert_eq!(labels.value("b"), "y");
        }
    }

    #[test]
    fn what_no_label_can_hold_is_an_error() {
        let (most, more) = ("x".repeat(LABEL_BYTES_MAX), "x".repeat(LABEL_BYTES_MAX + 1));
        let mut builder = LabelsBuilder::new();
        builder.set("a", &most).set("b", "y");
        assert_eq!(
            builder.try_build().map(|l| l.value("a").len()),
            Ok(LABEL_BYTES_MAX)
        );
        builder.set("a", &more);
        assert_eq!((builder.value("a"), builder.is_empty()), ("", false));
        assert_eq!(
            builder.try_build().map_err(|e| e.to_string()),
            Err(
                r#"label "a": a value of 16777216 bytes is more than a label can hold, which is 16777215 bytes"#
                    .into()
            )
        );
        // What takes the label away or sets it anew mends the set.
        let mut kept = builder.clone();
        assert!(kept.retain(|name, _| name != "a").try_build().is_ok());
        assert!(builder.clone().remove("a").try_build().is_ok());
        assert!(builder.set("a", "z").try_build().is_ok());
        builder.set(&more, "z");
        let error = builder.try_build().map_err(|e| e.to_string()).unwrap_err();
        assert!(error.ends_with(
            r#"x"…: a name of 16777216 bytes is more than a label can hold, which is 16777215 bytes"#
        ));
        assert!(error.len() < 200);
        assert!(Labels::try_from_pairs([("a", more.as_str())]).is_err());
    }

    #[test]
    fn order_is_pair_by_pair() {
        let a = Labels::from_pairs([("a", "10")]);
        let b = Labels::from_pairs([("a", "9")]);
        let c = Labels::from_pairs([("a", "10"), ("b", "1")]);
        assert!(a < b && a < c && c < b);
    }

    #[test]
    fn quoting_is_gos() {
        let mut out = String::new();
        write_quoted(&mut out, "a\"\\\n\t\u{1}é☺\u{301}\u{200b}\u{e0001}").expect("String");
        assert_eq!(out, "\"a\\\"\\\\\\n\\t\\x01é☺\u{301}\\u200b\\U000e0001\"");
    }
}

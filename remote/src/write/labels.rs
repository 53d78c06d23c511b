//! Label sets as they come: borrowed, in any order, and of any bytes.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use model::labels::{LABEL_BYTES_MAX, Labels, METRIC_NAME};
use model::packed_sets::PackedSets;

use super::error::LabelFault;
pub(super) use crate::intake::LABELS_MAX;

/// Characters that the labels of an exemplar may have together, in bytes at most; what is more is never stored.
const EXEMPLAR_BYTES_MAX: usize = 4 * 128;
/// Characters of a label set that are shown in an error.
const SHOWN_CHARS_MAX: usize = 1000;

/// Name and value.
pub(super) type Pair<'m> = (&'m [u8], &'m [u8]);

/// Adds a pair, or a reference of one; of more than a series may have, only one more. So what a few bytes stand for takes
/// no memory.
#[inline]
pub(super) fn push_bounded<T>(list: &mut Vec<T>, item: T, max: usize) {
    if list.len() <= max {
        list.push(item);
    }
}

/// Packs a series' labels: sorted, without empty values. That texts are UTF-8 is not looked at here.
///
/// # Errors
/// When they are none of a series. Nothing is packed then.
pub(super) fn pack(pairs: &mut [Pair<'_>], sets: &mut PackedSets) -> Result<(), LabelFault> {
    if pairs.len() > LABELS_MAX {
        return Err(LabelFault::TooMany);
    }
    if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
        pairs.sort_by(|a, b| a.0.cmp(b.0));
    }
    let packed = push_all(pairs, sets);
    match packed {
        Ok(()) => drop(sets.finish()),
        Err(_) => sets.abandon(),
    }
    packed
}

fn push_all(pairs: &[Pair<'_>], sets: &mut PackedSets) -> Result<(), LabelFault> {
    let (mut last, mut has_name): (Option<&[u8]>, bool) = (None, false);
    for (name, value) in pairs {
        // Compat: also where their values are empty and nothing would be stored of them (remote-write:
        // empty-name-and-value-pair).
        match last {
            _ if name.is_empty() => return Err(LabelFault::EmptyName),
            Some(last) if last == *name => return Err(LabelFault::Duplicate),
            _ => last = Some(name),
        }
        if value.is_empty() {
            continue;
        }
        has_name |= *name == METRIC_NAME.as_bytes();
        sets.push(name, value)?;
    }
    match has_name {
        true => Ok(()),
        false => Err(LabelFault::NoName),
    }
}

/// What becomes of an exemplar's labels.
#[derive(Debug, PartialEq)]
pub(super) enum ExemplarLabels {
    Kept(Labels),
    /// Too long to be stored.
    TooLong,
    /// Not texts.
    NotUtf8,
}

/// Compat: of two with one name the last counts (remote-write: exemplar/duplicate-labels).
pub(super) fn exemplar_labels(pairs: &[Pair<'_>]) -> ExemplarLabels {
    let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > EXEMPLAR_BYTES_MAX || pairs.len() > LABELS_MAX {
        return ExemplarLabels::TooLong;
    }
    let mut texts = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        match (std::str::from_utf8(name), std::str::from_utf8(value)) {
            (Ok(name), Ok(value)) => texts.push((name, value)),
            _ => return ExemplarLabels::NotUtf8,
        }
    }
    ExemplarLabels::Kept(Labels::from_pairs(texts))
}

/// Labels to be shown, whatever they are.
pub(super) struct Shown<'l>(pub(super) Cow<'l, [Pair<'l>]>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = SHOWN_CHARS_MAX;
        f.write_char('{')?;
        for (at, (name, value)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            let (name, value) = (beginning(name, &mut left), beginning(value, &mut left));
            write!(f, "{name}={}", model::go::Quoted(&value))?;
            if left == 0 {
                f.write_str(" …")?;
                break;
            }
        }
        f.write_char('}')
    }
}

/// As much of a text as may still be shown.
fn beginning(text: &[u8], left: &mut usize) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * *left)]);
    let shown: String = text.chars().take(*left).collect();
    *left -= shown.chars().count();
    shown
}

const _: () = assert!(EXEMPLAR_BYTES_MAX < LABEL_BYTES_MAX);

//! Changes to a file's text that are sure to be right.

use std::ops::Range;

use yaml::Value;

use super::Finding;

/// Bytes of a file, and what to put in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// The bytes of the file that go.
    pub range: Range<usize>,
    /// What comes.
    pub replacement: String,
}

impl Fix {
    /// Replaces `range` of a scalar's text. `None` where the file has these bytes in another form (folded over lines,
    /// escaped), or where the scalar stands elsewhere (an alias) so that a change would reach further than it seems.
    pub(super) fn in_scalar(
        file: &str,
        value: Value<'_>,
        range: Range<usize>,
        replacement: &str,
    ) -> Option<Self> {
        let old = value.scalar()?.text.get(range.clone())?;
        let place = value.place_in_text(range.start, range.end);
        let bytes = place.offset..place.offset + old.len();
        let written = file.get(bytes.clone())?;
        // Words and operators mean the same in every style of scalar.
        let plain = |c: char| c.is_ascii_alphanumeric() || "_:.=~<>!()$ ".contains(c);
        (written == old && !is_anchor(file, value.node.position.offset) && replacement.chars().all(plain))
            .then(|| Fix {
                range: bytes,
                replacement: replacement.to_owned(),
            })
    }
}

/// Whether the value at `offset` has a name by which it stands elsewhere, too.
fn is_anchor(file: &str, offset: usize) -> bool {
    let word = file
        .get(..offset)
        .and_then(|before| before.split_whitespace().next_back());
    let here = file.get(offset..).is_some_and(|source| source.starts_with('&'));
    here || word.is_some_and(|word| word.starts_with('&'))
}

/// A text with what could be fixed in it.
#[derive(Debug)]
pub struct Fixed {
    /// The text.
    pub text: String,
    /// How many findings have gone by it.
    pub count: usize,
}

/// Applies the fixes of `findings`, all of one file, to its `text`; every other byte stays. Of two that overlap the first
/// one counts.
pub fn apply<'f>(text: &str, findings: impl IntoIterator<Item = &'f Finding>) -> Fixed {
    let mut fixes: Vec<&Fix> = findings
        .into_iter()
        .filter_map(|finding| finding.fix.as_ref())
        .collect();
    fixes.sort_by_key(|fix| (fix.range.start, fix.range.end));
    let mut fixed = Fixed {
        text: String::with_capacity(text.len()),
        count: 0,
    };
    let mut done = 0;
    for fix in fixes {
        let Some(before) = text.get(done..fix.range.start) else {
            continue;
        };
        fixed.text.push_str(before);
        fixed.text.push_str(&fix.replacement);
        fixed.count += 1;
        done = fix.range.end;
    }
    fixed.text.push_str(text.get(done..).unwrap_or(""));
    fixed
}

//! Postings: sorted lists of the series that carry a label, and set operations on them.
//!
//! A series is a 32-bit number here: in a block its place in the index, in the head its reference less a base. Lists are
//! read where they lie (big-endian in a mapped file, a bitmap in the head) through a [`Cursor`] that can skip ahead.

mod ops;

use std::sync::Arc;

use roaring::RoaringBitmap;

use files::Mapped;

pub use ops::{as_bitmap, intersect, intersects, retain, union};

/// A sorted list of series without duplicates.
#[derive(Clone, Debug, Default)]
pub enum Postings {
    /// No series.
    #[default]
    Empty,
    /// A single series.
    One(u32),
    /// Big-endian numbers in a mapped file.
    Mapped(MappedPostings),
    /// Numbers in memory.
    List(Arc<[u32]>),
    /// A bitmap in memory.
    Bitmap(Arc<RoaringBitmap>),
}

/// A stretch of big-endian 32-bit numbers in a file.
#[derive(Clone, Debug)]
pub struct MappedPostings {
    file: Mapped,
    /// First byte of the first number.
    start: usize,
    count: usize,
}

impl MappedPostings {
    /// The `count` numbers at byte `start` of `file`; `None` where the file is shorter.
    pub fn new(file: Mapped, start: usize, count: usize) -> Option<Self> {
        let end = count.checked_mul(4)?.checked_add(start)?;
        (end <= file.len()).then_some(MappedPostings { file, start, count })
    }

    fn numbers(&self) -> &[[u8; 4]] {
        self.file[self.start..self.start + self.count * 4].as_chunks().0
    }
}

impl From<Vec<u32>> for Postings {
    fn from(list: Vec<u32>) -> Self {
        if list.is_empty() {
            Postings::Empty
        } else {
            Postings::List(list.into())
        }
    }
}

impl From<RoaringBitmap> for Postings {
    fn from(bitmap: RoaringBitmap) -> Self {
        if bitmap.is_empty() {
            Postings::Empty
        } else {
            Postings::Bitmap(Arc::new(bitmap))
        }
    }
}

impl Postings {
    /// Number of series.
    pub fn len(&self) -> usize {
        match self {
            Postings::Empty => 0,
            Postings::One(_) => 1,
            Postings::Mapped(mapped) => mapped.count,
            Postings::List(list) => list.len(),
            Postings::Bitmap(bitmap) => bitmap.len() as usize,
        }
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A cursor on the first series.
    pub fn cursor(&self) -> Cursor<'_> {
        match self {
            Postings::Empty => Cursor::Native(&[]),
            Postings::One(one) => Cursor::Native(std::slice::from_ref(one)),
            Postings::Mapped(mapped) => Cursor::BigEndian(mapped.numbers()),
            Postings::List(list) => Cursor::Native(list),
            Postings::Bitmap(bitmap) => {
                let mut rest = bitmap.iter();
                Cursor::Bitmap {
                    current: rest.next(),
                    rest,
                }
            }
        }
    }

    /// All series.
    pub fn to_vec(&self) -> Vec<u32> {
        let mut all = Vec::new();
        self.append_to(&mut all);
        all
    }

    /// Appends all series to `out`.
    pub fn append_to(&self, out: &mut Vec<u32>) {
        match self {
            Postings::Empty => {}
            Postings::One(one) => out.push(*one),
            Postings::Mapped(mapped) => out.extend(mapped.numbers().iter().map(|n| u32::from_be_bytes(*n))),
            Postings::List(list) => out.extend_from_slice(list),
            Postings::Bitmap(bitmap) => out.extend(bitmap.iter()),
        }
    }
}

/// Walks a list; can skip ahead faster than step by step.
pub enum Cursor<'a> {
    /// Over a file.
    BigEndian(&'a [[u8; 4]]),
    /// Over memory.
    Native(&'a [u32]),
    /// Over a bitmap.
    Bitmap {
        /// The series under the cursor.
        current: Option<u32>,
        /// Those behind it.
        rest: roaring::bitmap::Iter<'a>,
    },
}

impl Cursor<'_> {
    /// The series under the cursor; `None` behind the last.
    #[inline]
    pub fn current(&self) -> Option<u32> {
        match self {
            Cursor::BigEndian(rest) => rest.first().map(|n| u32::from_be_bytes(*n)),
            Cursor::Native(rest) => rest.first().copied(),
            Cursor::Bitmap { current, .. } => *current,
        }
    }

    /// Moves to the next series.
    #[inline]
    pub fn advance(&mut self) {
        match self {
            Cursor::BigEndian(rest) => *rest = rest.get(1..).unwrap_or(&[]),
            Cursor::Native(rest) => *rest = rest.get(1..).unwrap_or(&[]),
            Cursor::Bitmap { current, rest } => *current = rest.next(),
        }
    }

    /// Moves to the first series from `target` on, never backwards; gives it.
    #[inline]
    pub fn seek(&mut self, target: u32) -> Option<u32> {
        match self {
            Cursor::BigEndian(rest) => gallop(rest, |n| u32::from_be_bytes(*n) < target),
            Cursor::Native(rest) => gallop(rest, |n| *n < target),
            Cursor::Bitmap { current, rest } => {
                if current.is_some_and(|n| n < target) {
                    rest.advance_to(target);
                    *current = rest.next();
                }
            }
        }
        self.current()
    }
}

/// Drops the front of `rest` for which `before` holds: doubling steps, then a binary search in the last one. Costs the
/// logarithm of the distance, so near targets are cheap and far ones too.
#[inline]
fn gallop<T>(rest: &mut &[T], before: impl Fn(&T) -> bool) {
    let mut step = 1;
    while step <= rest.len() && before(&rest[step - 1]) {
        *rest = &rest[step..];
        step *= 2;
    }
    let window = &rest[..rest.len().min(step)];
    *rest = &rest[window.partition_point(before)..];
}

#[cfg(test)]
mod tests;

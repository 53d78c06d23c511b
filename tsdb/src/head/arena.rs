//! The bytes of a page's series, side by side in one block.
//!
//! Each series has one string: its list of full chunks, and its open chunk behind it. A string has a little room behind
//! it, in proportion to its length, because strings of a page that began together fill their room together. One that
//! outgrows its room moves to the end of the block; when there is no end left, all are laid out anew, and the block grows
//! when it is nearly full of strings. That costs a copy every few samples, no allocation for any single series, and keeps
//! what is allocated within a sixth of what is used, where a buffer of its own for each series costs a pointer, an
//! allocator's size class and half a step of growth.
//!
//! Strings are known by their place among the page's series.

/// Bits of a [`Place`] that hold the length.
const LEN_BITS: u32 = 20;
/// A string is shorter than this.
const LEN_MAX: usize = (1 << LEN_BITS) - 1;
const ROOM_MAX: usize = (1 << (32 - LEN_BITS)) - 1;
/// Room for a string that is empty now: a first sample.
const FIRST_BYTES: usize = 26;
/// Room behind a string that moved to the end of the block.
pub(super) const MOVED_ROOM: usize = 2;
/// Blocks below this are not worth making smaller.
const SHRINK_MIN: usize = 4096;

/// Where a string lies.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    start: u32,
    /// Length in the low bits, room behind it in the others.
    size: u32,
}

impl Place {
    fn new(start: usize, len: usize, room: usize) -> Self {
        Place {
            start: start as u32,
            size: len as u32 | (room.min(ROOM_MAX) as u32) << LEN_BITS,
        }
    }

    #[inline]
    fn start(self) -> usize {
        self.start as usize
    }

    #[inline]
    fn len(self) -> usize {
        self.size as usize & LEN_MAX
    }

    #[inline]
    fn room(self) -> usize {
        (self.size >> LEN_BITS) as usize
    }
}

/// The strings of a page.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    /// Strings and their rooms up to its length, nothing behind.
    block: Vec<u8>,
    places: Vec<Place>,
    /// Bytes of all strings.
    used: usize,
}

impl Arena {
    /// Makes room for the places of this many strings.
    pub(crate) fn reserve_places(&mut self, strings: usize) {
        self.places.reserve_exact(strings);
    }

    /// Makes the block so large that strings of so many bytes together can be added one behind the other, where each
    /// would otherwise find it full and have all laid out. [`Arena::settle`] ends that.
    pub(crate) fn reserve_block(&mut self, bytes: usize) {
        self.block.reserve_exact(bytes);
    }

    /// Lays strings out as they are at rest.
    pub(crate) fn settle(&mut self) {
        self.lay_out(usize::MAX, 0);
    }

    /// Adds an empty string at place `at`; those from there on move by one.
    pub(crate) fn insert(&mut self, at: usize) {
        self.places.insert(at, Place::default());
    }

    /// Removes the strings whose places `keep` does not want, and gives their memory back.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut at = 0;
        let used = &mut self.used;
        self.places.retain(|place| {
            let kept = keep(at);
            at += 1;
            if !kept {
                *used -= place.len();
            }
            kept
        });
        self.places.shrink_to_fit();
        self.lay_out(usize::MAX, 0);
    }

    /// The string at place `at`.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> &[u8] {
        let place = self.places[at];
        &self.block[place.start()..place.start() + place.len()]
    }

    /// Bytes of the string at place `at`.
    #[inline]
    pub(crate) fn len(&self, at: usize) -> usize {
        self.places[at].len()
    }

    /// The string at place `at` and its room, which holds anything.
    #[inline]
    pub(crate) fn whole_mut(&mut self, at: usize) -> &mut [u8] {
        let place = self.places[at];
        &mut self.block[place.start()..place.start() + place.len() + place.room()]
    }

    /// Sets the length of the string at place `at`, within what [`Arena::whole_mut`] gives.
    #[inline]
    pub(crate) fn set_len(&mut self, at: usize, len: usize) {
        let place = &mut self.places[at];
        let whole = place.len() + place.room();
        debug_assert!(len <= whole);
        self.used = self.used + len - place.len();
        *place = Place::new(place.start(), len, whole - len);
    }

    /// Makes room for `len` bytes at place `at`; false where that is more than a string may have.
    #[cold]
    pub(crate) fn reserve(&mut self, at: usize, len: usize) -> bool {
        if len > LEN_MAX {
            return false;
        }
        let place = self.places[at];
        if len <= place.len() + place.room() {
            return true;
        }
        let (start, whole) = (self.block.len(), len + MOVED_ROOM);
        if start + whole > self.block.capacity() {
            return self.lay_out(at, len);
        }
        self.block
            .extend_from_within(place.start()..place.start() + place.len());
        self.block.resize(start + whole, 0);
        self.places[at] = Place::new(start, place.len(), whole - place.len());
        true
    }

    /// Replaces the string at place `at`; false where it is too long.
    pub(crate) fn replace(&mut self, at: usize, string: &[u8]) -> bool {
        if !self.reserve(at, string.len()) {
            return false;
        }
        self.whole_mut(at)[..string.len()].copy_from_slice(string);
        self.set_len(at, string.len());
        true
    }

    /// Gives memory back if strings have become much shorter.
    pub(crate) fn shrink(&mut self) {
        if self.block.capacity() > SHRINK_MIN && self.used < self.block.capacity() / 2 {
            self.lay_out(usize::MAX, 0);
        }
    }

    /// Bytes allocated.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.block.capacity() + self.places.capacity() * std::mem::size_of::<Place>()
    }

    /// Bytes of all strings.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used
    }

    /// Lays all strings out in order in a fresh block, with `len` bytes for the one at place `at`; false where there are
    /// too many bytes. The block is larger than this one only where that one was nearly full of strings.
    fn lay_out(&mut self, at: usize, len: usize) -> bool {
        let target = |i: usize, place: &Place| if i == at { len } else { place.len() };
        let (mut used, mut weights) = (0, 0);
        for (i, place) in self.places.iter().enumerate() {
            let len = target(i, place);
            used += len.max(if len == 0 { FIRST_BYTES } else { 0 });
            weights += weight(len);
        }
        let wanted = used + used / 12;
        let fits = at < self.places.len() && wanted <= self.block.capacity();
        let capacity = match wanted {
            _ if self.used == 0 && len == 0 => 0,
            _ if fits => self.block.capacity(),
            _ => size_class(wanted),
        };
        if capacity > u32::MAX as usize {
            return false;
        }
        let free = capacity.saturating_sub(used);
        // A division for each string would be the dearest part of it.
        let room_a_weight = ((free as u64) << 32) / (weights as u64).max(1);
        let mut block = vec![0; capacity];
        let mut end = 0;
        for (i, place) in self.places.iter_mut().enumerate() {
            let len = target(i, place);
            if len == 0 {
                // Its bytes are at the end of the block.
                *place = Place::default();
                continue;
            }
            let room = ((weight(len) as u64 * room_a_weight) >> 32) as usize;
            let whole = len + room.min(ROOM_MAX);
            let string = &self.block[place.start()..place.start() + place.len()];
            block[end..end + string.len()].copy_from_slice(string);
            *place = Place::new(end, string.len(), whole - string.len());
            end += whole;
        }
        block.truncate(end);
        self.block = block;
        true
    }
}

/// How much of the room a string of `len` bytes has: chunks begin with a dozen bytes that tell nothing of their growth.
fn weight(len: usize) -> usize {
    match len {
        0 => 0,
        _ => len.saturating_sub(12).max(1),
    }
}

/// The next size that common allocators have: four between powers of two.
fn size_class(bytes: usize) -> usize {
    let step = 1 << bytes.max(64).ilog2().saturating_sub(2);
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::testing::Rng;

    #[test]
    fn strings_keep_their_bytes_whatever_moves() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let mut arena = Arena::default();
            let mut model: Vec<Vec<u8>> = Vec::new();
            for _ in 0..3000 {
                let at = rng.below(model.len() + 1).min(model.len());
                match rng.below(40) {
                    0 | 1 if model.len() < 256 => {
                        model.insert(at, Vec::new());
                        arena.insert(at);
                    }
                    2 if model.len() > 20 => {
                        let gone = rng.below(model.len());
                        model.remove(gone);
                        arena.retain(|i| i != gone);
                    }
                    3 if at < model.len() => {
                        let len = rng.below(model[at].len() + 1);
                        model[at].truncate(len);
                        arena.set_len(at, len);
                        arena.shrink();
                    }
                    4 if at < model.len() => {
                        let string = vec![rng.next() as u8; rng.below(400)];
                        assert!(arena.replace(at, &string));
                        model[at] = string;
                    }
                    _ if at < model.len() => {
                        let (old, byte) = (model[at].len(), rng.next() as u8);
                        let len = old + rng.below(12);
                        assert!(arena.reserve(at, len));
                        arena.whole_mut(at)[old..len].fill(byte);
                        arena.set_len(at, len);
                        model[at].resize(len, byte);
                    }
                    _ => {}
                }
            }
            for (at, string) in model.iter().enumerate() {
                assert_eq!(arena.get(at), string, "seed {seed}");
            }
            assert_eq!(arena.used_bytes(), model.iter().map(Vec::len).sum::<usize>());
            assert!(!arena.reserve(0, LEN_MAX + 1));
        }
    }

    #[test]
    fn strings_that_grow_together_waste_little_and_shrink() {
        let mut arena = Arena::default();
        for at in 0..256 {
            arena.insert(at);
        }
        let mut worst = 0.0_f64;
        for sample in 0..120 {
            for at in 0..256 {
                let len = arena.len(at) + if sample == 0 { 19 } else { 1 + at % 3 };
                arena.reserve(at, len);
                arena.set_len(at, len);
            }
            if sample > 30 {
                worst = worst.max(arena.block.capacity() as f64 / arena.used_bytes() as f64);
            }
        }
        assert!(worst < 1.35, "{worst}");
        for at in 0..256 {
            arena.set_len(at, 10);
            arena.shrink();
        }
        assert!(arena.allocated_bytes() < 256 * 40, "{}", arena.allocated_bytes());
    }
}

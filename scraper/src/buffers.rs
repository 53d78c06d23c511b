//! Buffers that go round: as many as are in use at one time, not one a target.

use parking_lot::Mutex;

/// Most buffers that wait to be used again.
const KEPT_MAX: usize = 64;
/// What they may take together, in bytes. One that a huge body has made larger than that is given back at once.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// A buffer that can tell what it takes.
pub(crate) trait Buffer: Default {
    /// Bytes that it takes, in use or not.
    fn held_bytes(&self) -> usize;
}

/// A stack of buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers<T>(Mutex<Kept<T>>);

#[derive(Debug, Default)]
struct Kept<T> {
    buffers: Vec<(T, usize)>,
    bytes: usize,
}

impl<T: Buffer> Buffers<T> {
    /// A buffer, used before or new.
    pub(crate) fn take(&self) -> T {
        let mut kept = self.0.lock();
        let Some((buffer, bytes)) = kept.buffers.pop() else {
            return T::default();
        };
        kept.bytes -= bytes;
        buffer
    }

    /// Gives a buffer back.
    pub(crate) fn give(&self, buffer: T) {
        let bytes = buffer.held_bytes();
        let mut kept = self.0.lock();
        if kept.buffers.len() < KEPT_MAX && kept.bytes + bytes <= KEPT_BYTES_MAX {
            kept.bytes += bytes;
            kept.buffers.push((buffer, bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Buffer for Vec<u8> {
        fn held_bytes(&self) -> usize {
            self.capacity()
        }
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes() {
        let buffers = Buffers::<Vec<u8>>::default();
        buffers.give(Vec::with_capacity(KEPT_BYTES_MAX + 1));
        assert_eq!(buffers.take().capacity(), 0, "too large to be kept");
        for _ in 0..3 {
            buffers.give(Vec::with_capacity(KEPT_BYTES_MAX / 2));
        }
        let taken: Vec<usize> = (0..3).map(|_| buffers.take().capacity()).collect();
        assert_eq!(taken, [KEPT_BYTES_MAX / 2, KEPT_BYTES_MAX / 2, 0]);
        for _ in 0..=KEPT_MAX {
            buffers.give(Vec::with_capacity(1));
        }
        let kept = (0..=KEPT_MAX).filter(|_| buffers.take().capacity() > 0).count();
        assert_eq!(kept, KEPT_MAX);
    }
}

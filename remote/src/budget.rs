//! Memory that what a message stands for may take: a few bytes of it can stand for many.

/// Memory that may still be taken.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
}

/// There is not so much left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the message says takes more memory than it may")]
pub(crate) struct OverBudget;

impl Budget {
    /// This many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Budget { left: bytes }
    }

    /// Adds to a list, if there is memory for it.
    #[inline]
    pub(crate) fn push<T>(&mut self, list: &mut Vec<T>, item: T) -> Result<(), OverBudget> {
        self.take(size_of::<T>())?;
        list.push(item);
        Ok(())
    }

    /// Takes as much.
    #[inline]
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), OverBudget> {
        self.left = self.left.checked_sub(bytes).ok_or(OverBudget)?;
        Ok(())
    }
}

//! A stack that grows, for recursion over what users wrote.
//!
//! Threads have stacks of 2 MiB; trees in queries are thousands of levels deep, because a chain of operators is as deep
//! as it is long. Whatever recurses into such a tree does so through [`deep`], so that its depth costs memory, which
//! goes back when it returns, and never the process.

/// Where less is left of a stack, it is continued elsewhere: more than anything takes between two calls of [`deep`], in
/// builds without optimisation too.
const LEFT_MIN_BYTES: usize = 256 << 10;
/// A piece of stack. Only what is touched takes memory.
const PIECE_BYTES: usize = 2 << 20;

/// Does `work`: on this stack, or on a new piece where little is left of it.
///
/// ```
/// use narthex_model::stack::deep;
/// fn sum(n: u64) -> u64 {
///     deep(|| if n == 0 { 0 } else { n + sum(n - 1) })
/// }
/// assert_eq!(sum(200_000), 20_000_100_000);
/// ```
pub fn deep<R>(work: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(LEFT_MIN_BYTES, PIECE_BYTES, work)
}

/// Does `work` with at least `bytes` of stack: for the recursion of others, which does not go through [`deep`].
pub fn with_bytes<R>(bytes: usize, work: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(bytes, bytes + LEFT_MIN_BYTES, work)
}

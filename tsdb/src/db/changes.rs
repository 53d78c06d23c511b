//! What changes without a transaction: blocks that come and go, deletions, late samples that move.
//!
//! A block that takes over what the head had, or several that become one, should change no answer. Where samples of one
//! time contradict each other it may: who wins depends on where they lie. So whatever moves counts as changed, once in
//! two hours for two hours.

use std::sync::Arc;

use model::changes::{ChangedTimes, Changes, Mark};
use model::storage::TimeRange;

use super::{Db, Shared};
use crate::block::Block;

impl Changes for Db {
    fn mark(&self) -> Mark {
        self.shared.head().mark()
    }

    fn changed_since(&self, mark: Mark) -> ChangedTimes {
        self.shared.head().changed_since(mark)
    }
}

impl Shared {
    /// Notes that something in `range` is not what it was.
    pub(super) fn note_change(&self, range: TimeRange) {
        // Before the head is there, nobody has a mark.
        if let Some(head) = self.head.get() {
            head.note_change(range);
        }
    }

    /// Notes that one of two lists has blocks that the other has not. To be called while nobody can open a view.
    pub(super) fn note_changed_blocks(&self, before: &[Arc<Block>], after: &[Arc<Block>]) {
        let only_in = |list: &[Arc<Block>], other: &[Arc<Block>]| {
            let lacks = |block: &&Arc<Block>| !other.iter().any(|known| Arc::ptr_eq(known, block));
            for block in list.iter().filter(lacks) {
                self.note_change(block.range());
            }
        };
        only_in(before, after);
        only_in(after, before);
    }
}

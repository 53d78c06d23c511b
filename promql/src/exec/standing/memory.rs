//! What is remembered of queries that are asked again and again, and what those share that are asked at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use foldhash::HashMap;
use model::labels::Labels;
use model::matcher::Matcher;
use model::storage::{Querier, Queryable, SeriesKey, SeriesSet, StorageError, TimeRange};
use parking_lot::Mutex;

use crate::plan::{NodeId, NodeKind};

use super::Halt;
use super::column::{Column, Whose};
use super::leaf::Leaf;

/// Series that all selections of one [`Standing`] together remember at most, about 16 bytes each, and as much again for
/// each operator that works on their labels. What goes beyond is worked out each time.
const REMEMBERED_SERIES_MAX: usize = 1 << 20;
/// Elements of vectors that the queries of one [`Round`] share at most, 12 bytes each.
const SHARED_ELEMENTS_MAX: usize = 1 << 20;

/// What is remembered of some queries, those of a rule group, from one evaluation to the next: which series their
/// selectors found, and what follows from those series' labels. Values are never remembered.
#[derive(Debug)]
pub struct Standing {
    pub(crate) queries: Vec<StandingQuery>,
    selections: Mutex<Vec<Selection>>,
}

/// What is remembered of one query.
#[derive(Debug, Default)]
pub(crate) struct StandingQuery {
    /// It met something that is left to the general way, which it takes from then on.
    pub(crate) is_odd: AtomicBool,
    /// The columns of operators that have no form of their own here.
    columns: Mutex<HashMap<Option<NodeId>, Arc<Column>>>,
}

/// What a selector found last.
#[derive(Debug)]
struct Selection {
    matchers: Vec<Matcher>,
    /// How long the range of the view was: it decides which series have data.
    range_ms: u64,
    keys: Vec<SeriesKey>,
    column: Arc<Column>,
}

impl Standing {
    /// Nothing is known yet of `queries` queries.
    pub fn new(queries: usize) -> Self {
        Standing {
            queries: (0..queries).map(|_| StandingQuery::default()).collect(),
            selections: Mutex::default(),
        }
    }

    /// Whose the series of `set` are, which was selected by `matchers` from a view of `range`: a column that was seen
    /// before where they are the same as then.
    pub(super) fn whose(&self, matchers: &[Matcher], range: TimeRange, set: Arc<dyn SeriesSet>) -> Whose {
        let range_ms = range.min_ms.abs_diff(range.max_ms);
        let mut selections = self.selections.lock();
        let at = selections
            .iter()
            .position(|known| known.range_ms == range_ms && known.matchers == matchers);
        let column = match at {
            Some(at) if selections[at].is_of(&*set) => selections[at].column.clone(),
            _ => {
                let column = Column::of_selection(&*set);
                let old = at.map(|at| selections.swap_remove(at));
                drop(old);
                let others: usize = selections.iter().map(|known| known.keys.len()).sum();
                let keys = (0..set.len()).map(|index| set.key(index)).collect();
                if let Some(keys) = keys
                    && others + set.len() <= REMEMBERED_SERIES_MAX
                {
                    selections.push(Selection {
                        matchers: matchers.to_vec(),
                        range_ms,
                        keys,
                        column: column.clone(),
                    });
                }
                column
            }
        };
        Whose {
            set: Some(set),
            ..Whose::of_column(column)
        }
    }
}

impl Selection {
    fn is_of(&self, set: &dyn SeriesSet) -> bool {
        let mut keys = self.keys.iter().enumerate();
        self.keys.len() == set.len() && keys.all(|(index, key)| set.key(index) == Some(*key))
    }
}

impl StandingQuery {
    /// The column of `sets`, which node `id` gave, or the query where there is no node: the one of last time where it
    /// gives the same.
    pub(crate) fn column(&self, id: Option<NodeId>, sets: Vec<Labels>) -> Arc<Column> {
        let mut columns = self.columns.lock();
        match columns.get(&id) {
            Some(column) if column.is_of(&sets) => column.clone(),
            _ => {
                let column = Column::of_sets(sets);
                columns.insert(id, column.clone());
                column
            }
        }
    }
}

/// What queries of one [`Standing`] share that are evaluated at one moment: a selector with its window is read once.
///
/// All of them see the store as it was when the first of them came: a query that looks at what an earlier one's result has
/// become must not take part.
#[derive(Default)]
pub struct Round {
    views: Mutex<Vec<(TimeRange, Arc<dyn Querier>)>>,
    leaves: Mutex<Vec<SharedLeaf>>,
    elements: AtomicUsize,
}

/// What was read: absent while it is being read, and where it is too much to be kept.
type LeafSlot = Arc<Mutex<Option<Arc<Leaf>>>>;

struct SharedLeaf {
    range: TimeRange,
    kind: NodeKind,
    slot: LeafSlot,
}

impl Round {
    /// Nothing is shared yet.
    pub fn new() -> Self {
        Round::default()
    }

    /// The view of `range`.
    pub(crate) fn view(
        &self,
        storage: &dyn Queryable,
        range: TimeRange,
    ) -> Result<Arc<dyn Querier>, StorageError> {
        let mut views = self.views.lock();
        if let Some((_, view)) = views.iter().find(|(known, _)| *known == range) {
            return Ok(view.clone());
        }
        let view = storage.querier(range)?;
        views.push((range, view.clone()));
        Ok(view)
    }

    /// What was read for `kind` from a view of `range`, or what `read` reads.
    pub(super) fn leaf(
        &self,
        range: TimeRange,
        kind: &NodeKind,
        read: impl FnOnce() -> Result<Leaf, Halt>,
    ) -> Result<Arc<Leaf>, Halt> {
        let slot = self.slot(range, kind);
        // Who wants the same at the same time waits for it, as long as the first may take at most.
        let mut slot = slot.lock();
        if let Some(leaf) = &*slot {
            return Ok(leaf.clone());
        }
        let leaf = Arc::new(read()?);
        let elements = self.elements.fetch_add(leaf.values.len(), Ordering::Relaxed);
        if elements + leaf.values.len() <= SHARED_ELEMENTS_MAX {
            *slot = Some(leaf.clone());
        }
        Ok(leaf)
    }

    fn slot(&self, range: TimeRange, kind: &NodeKind) -> LeafSlot {
        let mut leaves = self.leaves.lock();
        let known = leaves
            .iter()
            .find(|leaf| leaf.range == range && leaf.kind == *kind);
        if let Some(leaf) = known {
            return leaf.slot.clone();
        }
        let slot = LeafSlot::default();
        leaves.push(SharedLeaf {
            range,
            kind: kind.clone(),
            slot: slot.clone(),
        });
        slot
    }
}

impl std::fmt::Debug for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Round")
            .field("elements", &self.elements)
            .finish_non_exhaustive()
    }
}

//! Whose the elements of vectors are: columns of label sets, and what operators make of them.
//!
//! Grouping, matching and joining look at labels only. So what comes out is a function of columns, and a column remembers
//! what was made of it: the same column in gives the same column out, and nobody looks at a label again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::{HashMap, HashMapExt};
use model::labels::Labels;
use model::storage::SeriesSet;
use parking_lot::Mutex;

use crate::ast::{Cardinality, Grouping};
use crate::engine::QueryError;
use crate::exec::group::Groups;
use crate::exec::head::{Dropped, Head};
use crate::exec::join::result_labels;
use crate::exec::limits::{Held, Limits, labels_bytes};
use crate::exec::signature::Signatures;
use crate::plan::{Join, MatchLabels, drops_name};

use super::Halt;

/// What one column remembers at most of each kind. Queries ask for few things, and those of a group for a few more.
const MADE_MAX: usize = 64;
/// Pairs that two columns may make for each of their places; more are left to the general way.
const PAIRS_A_PLACE_MAX: usize = 4;

/// Label sets, by place. Never changes.
#[derive(Debug)]
pub(crate) struct Column {
    id: u64,
    len: usize,
    /// The sets, unless they are those of a selection: whoever looks at them then has one.
    sets: Option<Vec<Labels>>,
    made: Mutex<Made>,
}

/// What was made of a column, by all that it depends on.
#[derive(Debug, Default)]
struct Made {
    groups: List<(Dropped, Grouping), Grouped>,
    matches: List<MatchKey, Matched>,
    joins: List<JoinKey, Joined>,
}

type List<K, V> = Vec<(K, Arc<V>)>;

/// The other column, and what is dropped on either side.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Partner {
    column: u64,
    own_dropped: Dropped,
    dropped: Dropped,
}

#[derive(Debug, PartialEq)]
struct MatchKey {
    partner: Partner,
    on: MatchLabels,
}

/// All that result labels depend on. The left column is the one that remembers.
#[derive(Debug, PartialEq)]
struct JoinKey {
    partner: Partner,
    on: MatchLabels,
    cardinality: Cardinality,
    include: Vec<String>,
    drops_name: bool,
}

/// A column's places in groups.
#[derive(Debug)]
pub(crate) struct Grouped {
    /// The group of each place.
    pub(crate) numbers: Vec<u32>,
    /// The groups' labels, by number.
    pub(crate) column: Arc<Column>,
}

/// Two columns' signatures: places of either side with one number match.
#[derive(Debug)]
pub(crate) struct Matched {
    pub(crate) left: Vec<u32>,
    pub(crate) right: Vec<u32>,
    /// Numbers are below.
    pub(crate) count: usize,
}

/// What comes of joining two columns.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) matched: Arc<Matched>,
    /// The results' labels.
    pub(crate) column: Arc<Column>,
    results: Results,
}

/// Places of results.
#[derive(Debug)]
enum Results {
    /// By place on the many side.
    OfMany(Vec<u32>),
    /// By places on the many side and the one side, which gives labels.
    OfPair(HashMap<(u32, u32), u32>),
}

/// Says which labels elements have: a column, and what is dropped of its sets.
#[derive(Clone)]
pub(crate) struct Whose {
    pub(crate) column: Arc<Column>,
    pub(crate) dropped: Dropped,
    /// The selection whose sets they are, where they are one's.
    pub(crate) set: Option<Arc<dyn SeriesSet>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Column {
    /// A column of these sets.
    pub(crate) fn of_sets(sets: Vec<Labels>) -> Arc<Self> {
        Column::new(sets.len(), Some(sets))
    }

    /// A column of the series of a selection.
    pub(crate) fn of_selection(set: &dyn SeriesSet) -> Arc<Self> {
        Column::new(set.len(), None)
    }

    fn new(len: usize, sets: Option<Vec<Labels>>) -> Arc<Self> {
        Arc::new(Column {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            len,
            sets,
            made: Mutex::default(),
        })
    }

    /// What no other column has.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Number of places.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether its sets are these.
    pub(crate) fn is_of(&self, sets: &[Labels]) -> bool {
        self.sets.as_deref() == Some(sets)
    }
}

/// What `known` remembers for `key`, or what `make` gives, remembered in place of the oldest where there is much.
fn recall<K: PartialEq, V>(
    column: &Column,
    known: fn(&mut Made) -> &mut List<K, V>,
    key: K,
    same_kind: impl Fn(&K) -> bool,
    make: impl FnOnce() -> Result<V, Halt>,
) -> Result<Arc<V>, Halt> {
    let find = |made: &mut Made| {
        let found = known(made).iter().find(|(asked, _)| *asked == key);
        found.map(|(_, value)| value.clone())
    };
    if let Some(value) = find(&mut column.made.lock()) {
        return Ok(value);
    }
    let value = Arc::new(make()?);
    let mut made = column.made.lock();
    let list = known(&mut made);
    // What was made with a column that is no more is of no use.
    list.retain(|(asked, _)| !same_kind(asked));
    if list.len() >= MADE_MAX {
        list.remove(0);
    }
    list.push((key, value.clone()));
    Ok(value)
}

impl Whose {
    /// Elements of a column of sets.
    pub(crate) fn of_column(column: Arc<Column>) -> Self {
        Whose {
            column,
            dropped: Dropped::Nothing,
            set: None,
        }
    }

    /// Elements with these labels.
    pub(crate) fn of_sets(sets: Vec<Labels>) -> Self {
        Whose::of_column(Column::of_sets(sets))
    }

    /// The same with more dropped.
    pub(crate) fn without(mut self, dropped: Dropped) -> Self {
        self.dropped = self.dropped.max(dropped);
        self
    }

    fn head(&self, place: usize) -> Head {
        let labels = match (&self.column.sets, &self.set) {
            (Some(sets), _) => sets[place].clone(),
            (None, Some(set)) => set.labels(place),
            (None, None) => Labels::empty(),
        };
        let mut head = Head::new(labels);
        head.dropped = self.dropped;
        head
    }

    /// The labels at a place.
    pub(crate) fn labels(&self, place: u32) -> Labels {
        self.head(place as usize).into_labels()
    }

    /// The groups of all places, numbered as they come.
    pub(crate) fn grouped(&self, grouping: &Grouping, limits: &Arc<Limits>) -> Result<Arc<Grouped>, Halt> {
        let key = (self.dropped, grouping.clone());
        let make = || {
            let mut groups = Groups::new(grouping);
            let (mut numbers, mut sets) = (Vec::with_capacity(self.column.len), Vec::new());
            let mut held = Held::new(limits);
            held.add_bytes(self.column.len * size_of::<u32>())?;
            for place in 0..self.column.len {
                limits.check_now_and_then(place)?;
                let (number, new) = groups.find(&self.head(place));
                numbers.push(number as u32);
                if let Some(labels) = new {
                    held.add_bytes(2 * labels_bytes(&labels))?;
                    sets.push(labels);
                }
            }
            Ok(Grouped {
                numbers,
                column: Column::of_sets(sets),
            })
        };
        recall(&self.column, |made| &mut made.groups, key, |_| false, make)
    }

    fn partner(&self, other: &Whose) -> Partner {
        Partner {
            column: other.column.id,
            own_dropped: self.dropped,
            dropped: other.dropped,
        }
    }

    /// Which places of this column and of `right` match.
    pub(crate) fn matched(
        &self,
        right: &Whose,
        on: &MatchLabels,
        limits: &Arc<Limits>,
    ) -> Result<Arc<Matched>, Halt> {
        let partner = self.partner(right);
        let key = MatchKey {
            partner,
            on: on.clone(),
        };
        let same_kind = |known: &MatchKey| known.on == *on && replaces(&partner, &known.partner);
        let make = || self.signatures(right, on, limits);
        recall(&self.column, |made| &mut made.matches, key, same_kind, make)
    }

    fn signatures(&self, right: &Whose, on: &MatchLabels, limits: &Arc<Limits>) -> Result<Matched, Halt> {
        let mut signatures = Signatures::new(on, limits);
        let mut of = |whose: &Whose| -> Result<Vec<u32>, QueryError> {
            let numbers = (0..whose.column.len).map(|place| {
                limits.check_now_and_then(place)?;
                Ok(signatures.of(&whose.labels(place as u32))? as u32)
            });
            numbers.collect()
        };
        let (left, right) = (of(self)?, of(right)?);
        Ok(Matched {
            left,
            right,
            count: signatures.len(),
        })
    }

    /// What comes of joining this column, the left one, with `right`.
    pub(crate) fn joined(
        &self,
        right: &Whose,
        join: &Join,
        limits: &Arc<Limits>,
    ) -> Result<Arc<Joined>, Halt> {
        let partner = self.partner(right);
        let key = JoinKey {
            partner,
            on: join.on.clone(),
            cardinality: join.cardinality,
            include: join.include.clone(),
            drops_name: drops_name(join.op, join.return_bool),
        };
        let same_kind = |known: &JoinKey| {
            replaces(&partner, &known.partner)
                && (known.on == join.on && known.cardinality == join.cardinality)
                && known.include == join.include
        };
        let make = || self.join(right, join, limits);
        recall(&self.column, |made| &mut made.joins, key, same_kind, make)
    }

    fn join(&self, right: &Whose, join: &Join, limits: &Arc<Limits>) -> Result<Joined, Halt> {
        let matched = self.matched(right, &join.on, limits)?;
        let swapped = join.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, self) } else { (self, right) };
        let (many_numbers, one_numbers) = matched.sides(swapped);
        let mut results = ResultColumn::new(limits);
        let results = if join.include.is_empty() {
            let mut places = Vec::with_capacity(many_numbers.len());
            for place in 0..many_numbers.len() {
                limits.check_now_and_then(place)?;
                let labels = result_labels(join, false, &many.labels(place as u32), &Labels::empty());
                places.push(results.place(labels)?);
            }
            (Results::OfMany(places), results)
        } else {
            let mut places = HashMap::new();
            let mut partners = vec![Vec::new(); matched.count];
            for (place, number) in one_numbers.iter().enumerate() {
                partners[*number as usize].push(place as u32);
            }
            let pairs_max = PAIRS_A_PLACE_MAX * (many_numbers.len() + one_numbers.len());
            for (place, number) in many_numbers.iter().enumerate() {
                limits.check_now_and_then(place)?;
                let labels = many.labels(place as u32);
                for partner in &partners[*number as usize] {
                    if places.len() == pairs_max {
                        return Err(Halt::Odd);
                    }
                    let labels = result_labels(join, false, &labels, &one.labels(*partner));
                    places.insert((place as u32, *partner), results.place(labels)?);
                }
            }
            (Results::OfPair(places), results)
        };
        let (results, column) = results;
        Ok(Joined {
            matched,
            column: Column::of_sets(column.sets),
            results,
        })
    }
}

/// Whether what is made with `new` is made in place of what was made with `old`: the columns between two evaluations of
/// one query differ where series came or went.
fn replaces(new: &Partner, old: &Partner) -> bool {
    new.own_dropped == old.own_dropped && new.dropped == old.dropped && new.column > old.column
}

impl Matched {
    /// The signatures of the many side and of the one side.
    pub(crate) fn sides(&self, swapped: bool) -> (&[u32], &[u32]) {
        if swapped {
            (&self.right, &self.left)
        } else {
            (&self.left, &self.right)
        }
    }
}

impl Joined {
    /// The result's place for a pair that matches.
    pub(crate) fn result(&self, many: u32, one: u32) -> u32 {
        match &self.results {
            Results::OfMany(places) => places[many as usize],
            Results::OfPair(places) => places[&(many, one)],
        }
    }
}

/// A column under construction: equal sets have one place.
struct ResultColumn {
    sets: Vec<Labels>,
    places: HashMap<Labels, u32>,
    held: Held,
}

impl ResultColumn {
    fn new(limits: &Arc<Limits>) -> Self {
        ResultColumn {
            sets: Vec::new(),
            places: HashMap::new(),
            held: Held::new(limits),
        }
    }

    fn place(&mut self, labels: Labels) -> Result<u32, QueryError> {
        let next = self.sets.len() as u32;
        if let Some(place) = self.places.get(&labels) {
            return Ok(*place);
        }
        self.held.add_bytes(2 * labels_bytes(&labels))?;
        self.sets.push(labels.clone());
        self.places.insert(labels, next);
        Ok(next)
    }
}

//! From matchers to series: what block indexes and the head's index have in common.

mod watched;

pub(crate) use watched::Watched;

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::FixedState;
use model::matcher::{MatchOp, Matcher};
use model::regex::Regex;
use model::storage::StorageError;

use crate::postings::{Postings, as_bitmap, intersect, intersects, retain, union};

/// What to do with a label value that [`LabelIndex::visit_values`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Return its postings, and go on.
    Take,
    /// Go on.
    Skip,
    /// Look at no further value; this one is not taken.
    Stop,
}

/// Which series carry which labels.
pub trait LabelIndex {
    /// All series.
    ///
    /// # Errors
    /// When the index cannot be read; so for all methods.
    fn all(&self) -> Result<Postings, StorageError>;

    /// The series with label `name` of this value; empty where there is none.
    ///
    /// # Errors
    /// See [`LabelIndex::all`].
    fn postings(&self, name: &str, value: &str) -> Result<Postings, StorageError>;

    /// Shows the values of label `name`, ascending from the first that is not below `from`, and gives the postings of
    /// those that were taken.
    ///
    /// # Errors
    /// See [`LabelIndex::all`].
    fn visit_values(
        &self,
        name: &str,
        from: &str,
        visit: &mut dyn FnMut(&str) -> Visit,
    ) -> Result<Vec<Postings>, StorageError>;

    /// How many values of label `name` start with `prefix`, roughly: for choosing between ways.
    ///
    /// # Errors
    /// See [`LabelIndex::all`].
    fn values_len(&self, name: &str, prefix: &str) -> Result<usize, StorageError>;

    /// The value of label `name` of each of `series`, as a number: equal where values are, [`NO_VALUE`] where a series
    /// has no such label.
    ///
    /// # Errors
    /// See [`LabelIndex::all`].
    fn value_numbers(&self, name: &str, series: &[u32]) -> Result<Vec<u32>, StorageError>;

    /// The value with a number that [`LabelIndex::value_numbers`] gave.
    ///
    /// # Errors
    /// See [`LabelIndex::all`].
    fn value_text(&self, number: u32) -> Result<String, StorageError>;

    /// Names of all labels, sorted.
    ///
    /// # Errors
    /// See [`LabelIndex::all`].
    fn names(&self) -> Result<Vec<String>, StorageError>;

    /// Names of the labels of these series, sorted.
    ///
    /// # Errors
    /// See [`LabelIndex::all`].
    fn names_of(&self, series: &[u32]) -> Result<Vec<String>, StorageError>;
}

/// Stands for the value of a label that a series does not have.
pub const NO_VALUE: u32 = u32::MAX;

/// Values that are looked at in the time of reading one label of one series.
const VALUES_A_SERIES: usize = 2;

/// The series that satisfy every matcher, sorted.
///
/// # Errors
/// When the index cannot be read.
pub fn select<I: LabelIndex + ?Sized>(index: &I, matchers: &[Matcher]) -> Result<Vec<u32>, StorageError> {
    Ok(selection(index, matchers)?.to_vec())
}

/// The series that satisfy every matcher.
///
/// A matcher that a missing label does not satisfy asks for lists of which one must have the series; a matcher that a
/// missing label satisfies only says which series are out. What is looked up at once comes first: an empty answer ends
/// the search before patterns are tried, and where few candidates are left their own values are tried instead of all
/// values that there are.
///
/// # Errors
/// When the index cannot be read.
pub fn selection<I: LabelIndex + ?Sized>(index: &I, matchers: &[Matcher]) -> Result<Postings, StorageError> {
    if matchers
        .iter()
        .any(|m| m.op == MatchOp::NotRegex && is_everything(m))
    {
        return Ok(Postings::Empty);
    }
    let asking = matchers.iter().filter(|m| !is_everything(m));
    let (points, mut others): (Vec<&Matcher>, Vec<&Matcher>) = asking.partition(|m| is_point(m));
    // Stable: of equal cost the first comes first. Those that exclude come last.
    others.sort_by_cached_key(|m| (m.matches_empty(), lookup_cost(m)));
    let mut lists = Vec::with_capacity(points.len().max(1));
    for matcher in points {
        let list = union(matching(index, matcher, true)?);
        if list.is_empty() {
            return Ok(list);
        }
        lists.push(list);
    }
    let mut others = others.into_iter().peekable();
    if lists.is_empty() {
        lists.push(match others.next_if(|m| !m.matches_empty()) {
            Some(matcher) => union(matching(index, matcher, true)?),
            None => index.all()?,
        });
    }
    let candidates = intersect(lists);
    if others.peek().is_none() {
        return Ok(candidates);
    }
    let mut series = candidates.to_vec();
    for matcher in others {
        if series.is_empty() {
            break;
        }
        narrow(index, matcher, &mut series)?;
    }
    Ok(series.into())
}

/// Keeps the series that satisfy `matcher`.
fn narrow<I: LabelIndex + ?Sized>(
    index: &I,
    matcher: &Matcher,
    series: &mut Vec<u32>,
) -> Result<(), StorageError> {
    let mut to_visit = 0;
    for prefix in prefixes(matcher) {
        to_visit += index.values_len(&matcher.name, prefix)?;
    }
    if asks_for_label(matcher) {
        // The lists of all values hold every series that has the label.
        to_visit += index.all()?.len();
    }
    if series.len() > to_visit / VALUES_A_SERIES {
        let excluding = matcher.matches_empty();
        let lists = matching(index, matcher, !excluding)?;
        retain(series, lists, !excluding);
        return Ok(());
    }
    let numbers = index.value_numbers(&matcher.name, series)?;
    let mut known: HashMap<u32, bool, FixedState> = HashMap::default();
    known.insert(NO_VALUE, matcher.matches_empty());
    for number in &numbers {
        if !known.contains_key(number) {
            known.insert(*number, matcher.matches(&index.value_text(*number)?));
        }
    }
    let mut numbers = numbers.iter();
    series.retain(|_| numbers.next().and_then(|n| known.get(n)) == Some(&true));
    Ok(())
}

fn is_everything(matcher: &Matcher) -> bool {
    matcher.regex().is_some_and(Regex::matches_everything)
}

/// Whether a few look-ups give the series that satisfy the matcher.
fn is_point(matcher: &Matcher) -> bool {
    let looked_up = match matcher.op {
        MatchOp::Equal => true,
        MatchOp::Regex => matcher.regex().is_some_and(|regex| regex.literals().is_some()),
        MatchOp::NotEqual | MatchOp::NotRegex => false,
    };
    looked_up && !matcher.matches_empty()
}

/// Whether the matcher asks only whether there is such a label.
fn asks_for_label(matcher: &Matcher) -> bool {
    match matcher.regex() {
        None => matcher.value.is_empty(),
        Some(regex) => regex.matches_non_empty(),
    }
}

/// How many values have to be looked at, roughly.
fn lookup_cost(matcher: &Matcher) -> u8 {
    match (is_inverted(matcher), matcher.regex()) {
        (_, None) => 0,
        (_, Some(regex)) if regex.literals().is_some() => 1,
        (false, Some(regex)) if regex.starts().is_some() => 2,
        _ => 3,
    }
}

fn is_inverted(matcher: &Matcher) -> bool {
    matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRegex)
}

/// Where the values lie that have to be looked at to find the lists of [`matching`]; none where they are looked up.
fn prefixes(matcher: &Matcher) -> Vec<&str> {
    // Whether the values to be found are those that the literal or the pattern itself describes.
    let itself = matcher.matches_empty() == is_inverted(matcher);
    match matcher.regex() {
        None if itself => Vec::new(),
        Some(regex) if itself => regex.starts().map_or(vec![""], |starts| starts.prefixes),
        _ => vec![""],
    }
}

/// The lists of the values of a label for which `matcher` gives `wanted`, that of the empty value apart.
fn matching<I: LabelIndex + ?Sized>(
    index: &I,
    matcher: &Matcher,
    wanted: bool,
) -> Result<Vec<Postings>, StorageError> {
    let name = &matcher.name;
    // Whether the literal or the pattern itself is what the series must have.
    let itself = wanted != is_inverted(matcher);
    match (itself, matcher.regex(), matcher.regex().and_then(Regex::starts)) {
        (true, None, _) => Ok(vec![index.postings(name, &matcher.value)?]),
        (true, Some(regex), Some(starts)) => {
            let words = starts.words.iter().map(|word| index.postings(name, word));
            let mut lists = words.collect::<Result<Vec<_>, _>>()?;
            for prefix in starts.prefixes {
                lists.append(&mut index.visit_values(name, prefix, &mut |value| {
                    if !value.starts_with(prefix) {
                        Visit::Stop
                    } else {
                        take_if(regex.is_match(value))
                    }
                })?);
            }
            Ok(lists)
        }
        _ => index.visit_values(name, "", &mut |value| take_if(matcher.matches(value) == wanted)),
    }
}

fn take_if(take: bool) -> Visit {
    if take { Visit::Take } else { Visit::Skip }
}

/// Values that are looked at before the first are checked for series, where only some are asked for.
const VALUES_AT_FIRST: usize = if cfg!(test) { 2 } else { 64 };

/// Values of label `name` on the series that satisfy every matcher, sorted; at most `limit` (0: all).
///
/// # Errors
/// When the index cannot be read.
pub fn label_values<I: LabelIndex + ?Sized>(
    index: &I,
    name: &str,
    matchers: &[Matcher],
    limit: usize,
) -> Result<Vec<String>, StorageError> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let (own, others): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(|m| m.name == name);
    let ranges = value_ranges(&own);
    let fits = |value: &str| own.iter().all(|m| m.matches(value));
    if others.is_empty() {
        let mut values = Vec::new();
        for range in ranges {
            index.visit_values(name, range.from(), &mut |value| {
                if values.len() == limit || !range.holds(value) {
                    return Visit::Stop;
                }
                if fits(value) {
                    values.push(value.to_owned());
                }
                Visit::Skip
            })?;
        }
        return Ok(values);
    }
    let others: Vec<Matcher> = others.into_iter().cloned().collect();
    let mut series = selection(index, &others)?;
    let mut to_visit = 0;
    for range in &ranges {
        to_visit += match range {
            Range::Prefix(prefix) => index.values_len(name, prefix)?,
            Range::Word(_) => 1,
        };
    }
    if series.len() <= to_visit / VALUES_A_SERIES {
        return values_on(index, name, &series.to_vec(), fits, limit);
    }
    if to_visit > VALUES_AT_FIRST {
        series = as_bitmap(&series);
    }
    let mut values = Vec::new();
    for range in ranges {
        values_with(index, (name, range), &series, &fits, limit, &mut values)?;
    }
    Ok(values)
}

/// A stretch of the sorted values of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Range<'m> {
    /// Those that start with a text.
    Prefix(&'m str),
    /// One value.
    Word(&'m str),
}

impl<'m> Range<'m> {
    fn from(self) -> &'m str {
        match self {
            Range::Prefix(text) | Range::Word(text) => text,
        }
    }

    fn holds(self, value: &str) -> bool {
        match self {
            Range::Prefix(prefix) => value.starts_with(prefix),
            Range::Word(word) => value == word,
        }
    }
}

/// Where the values lie that satisfy all of `own`, in order.
fn value_ranges<'m>(own: &[&'m Matcher]) -> Vec<Range<'m>> {
    let narrow = own
        .iter()
        .find_map(|matcher| match (matcher.op, matcher.regex()) {
            (MatchOp::Equal, _) => Some(vec![Range::Word(matcher.value.as_str())]),
            (MatchOp::Regex, Some(regex)) => {
                let starts = regex.starts()?;
                let words = starts.words.iter().map(|word| Range::Word(word));
                let prefixes = starts.prefixes.into_iter().map(Range::Prefix);
                let mut ranges: Vec<Range<'m>> = words.chain(prefixes).collect();
                ranges.sort_by_key(|range| (range.from(), *range));
                // What a prefix holds lies right behind it.
                ranges.dedup_by(|next, kept| kept.holds(next.from()));
                Some(ranges)
            }
            _ => None,
        });
    narrow.unwrap_or_else(|| vec![Range::Prefix("")])
}

/// The values of label `name` on `series` that fit, sorted.
fn values_on<I: LabelIndex + ?Sized>(
    index: &I,
    name: &str,
    series: &[u32],
    fits: impl Fn(&str) -> bool,
    limit: usize,
) -> Result<Vec<String>, StorageError> {
    let mut numbers = index.value_numbers(name, series)?;
    numbers.sort_unstable();
    numbers.dedup();
    let mut values = Vec::new();
    for number in numbers {
        if number != NO_VALUE {
            let value = index.value_text(number)?;
            if fits(&value) {
                values.push(value);
            }
        }
    }
    values.sort_unstable();
    values.truncate(limit);
    Ok(values)
}

/// Adds the values of a label that lie in a range, fit, and that some of `series` carry, until there are `limit`.
fn values_with<I: LabelIndex + ?Sized>(
    index: &I,
    (name, range): (&str, Range<'_>),
    series: &Postings,
    fits: &impl Fn(&str) -> bool,
    limit: usize,
    values: &mut Vec<String>,
) -> Result<(), StorageError> {
    let mut batch = if limit == usize::MAX {
        limit
    } else {
        VALUES_AT_FIRST
    };
    let mut from = range.from().to_owned();
    let mut more = true;
    while more && values.len() < limit {
        let mut some: Vec<String> = Vec::new();
        more = false;
        let lists = index.visit_values(name, &from, &mut |value| {
            if !range.holds(value) {
                return Visit::Stop;
            }
            if some.len() == batch {
                more = true;
                return Visit::Stop;
            }
            let take = fits(value);
            if take {
                some.push(value.to_owned());
            }
            take_if(take)
        })?;
        if let Some(last) = some.last() {
            // The least text behind it.
            from = format!("{last}\0");
        }
        let carried = some
            .into_iter()
            .zip(lists)
            .filter(|(_, list)| intersects(list, series));
        values.extend(carried.map(|(value, _)| value).take(limit - values.len()));
        batch = batch.saturating_mul(2);
    }
    Ok(())
}

/// Series whose names are read before it is asked whether more can bring another; four times as many each time.
const NAMES_AT_FIRST: usize = if cfg!(test) { 2 } else { 256 };
/// So many series, and the values of the names that are left are looked at instead.
const NAMES_READ_MAX: usize = if cfg!(test) { 8 } else { 1 << 14 };

/// Names of the labels of the series that satisfy every matcher, sorted; at most `limit` (0: all).
///
/// # Errors
/// When the index cannot be read.
pub fn label_names<I: LabelIndex + ?Sized>(
    index: &I,
    matchers: &[Matcher],
    limit: usize,
) -> Result<Vec<String>, StorageError> {
    let mut names = index.names()?;
    if !matchers.is_empty() {
        let series = selection(index, matchers)?;
        let carried = carried_names(index, &names, &series)?;
        names.retain(|name| carried.contains(name));
    }
    if limit > 0 {
        names.truncate(limit);
    }
    Ok(names)
}

/// Those of all `names` that labels of `series` have.
fn carried_names<I: LabelIndex + ?Sized>(
    index: &I,
    names: &[String],
    series: &Postings,
) -> Result<BTreeSet<String>, StorageError> {
    let numbers = series.to_vec();
    let mut rest = numbers.as_slice();
    let mut found = BTreeSet::new();
    let mut batch = NAMES_AT_FIRST;
    while !rest.is_empty() && found.len() < names.len() && batch <= NAMES_READ_MAX {
        let some = rest.split_off(..batch.min(rest.len())).unwrap_or_default();
        found.extend(index.names_of(some)?);
        batch *= 4;
    }
    if rest.is_empty() {
        return Ok(found);
    }
    // A name that so many series do not have is rare, or none of these series has it: its own lists are short.
    let series = as_bitmap(series);
    for name in names {
        if found.contains(name) {
            continue;
        }
        let mut first = Vec::new();
        values_with(
            index,
            (name, Range::Prefix("")),
            &series,
            &|_| true,
            1,
            &mut first,
        )?;
        if !first.is_empty() {
            found.insert(name.clone());
        }
    }
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests;

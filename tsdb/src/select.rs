//! From matchers to series: what block indexes and the head's index have in common.

use model::matcher::{MatchOp, Matcher};
use model::regex::Regex;
use model::storage::StorageError;

use crate::postings::{Postings, intersect, intersects, subtract, union};

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

/// The series that satisfy every matcher, sorted.
///
/// A matcher that a missing label does not satisfy asks for lists of which one must have the series; a matcher that a
/// missing label satisfies only says which series are out. Equality is looked up first, because an empty answer ends
/// the search before expensive patterns are tried.
///
/// # Errors
/// When the index cannot be read.
pub fn select<I: LabelIndex + ?Sized>(index: &I, matchers: &[Matcher]) -> Result<Vec<u32>, StorageError> {
    let (mut needed, mut excluding): (Vec<&Matcher>, Vec<&Matcher>) =
        matchers.iter().partition(|m| !m.matches_empty());
    if matchers
        .iter()
        .any(|m| m.op == MatchOp::NotRegex && is_everything(m))
    {
        return Ok(Vec::new());
    }
    excluding.retain(|m| !is_everything(m));
    needed.sort_by_key(|m| lookup_cost(m));
    let mut lists = Vec::with_capacity(needed.len().max(1));
    for matcher in needed {
        let list = matching(index, matcher, true)?;
        if list.is_empty() {
            return Ok(Vec::new());
        }
        lists.push(list);
    }
    if lists.is_empty() {
        lists.push(index.all()?);
    }
    let mut series = intersect(lists);
    for matcher in excluding {
        if series.is_empty() {
            break;
        }
        subtract(&mut series, &matching(index, matcher, false)?);
    }
    Ok(series)
}

fn is_everything(matcher: &Matcher) -> bool {
    matcher.regex().is_some_and(Regex::matches_everything)
}

/// How many values have to be looked at, roughly.
fn lookup_cost(matcher: &Matcher) -> u8 {
    match (matcher.op, matcher.regex()) {
        (MatchOp::Equal, _) => 0,
        (MatchOp::Regex, Some(regex)) if regex.literals().is_some() => 1,
        (MatchOp::Regex, Some(regex)) if !regex.prefix().is_empty() => 2,
        _ => 3,
    }
}

/// The series whose label has a value for which `matcher` gives `wanted`.
fn matching<I: LabelIndex + ?Sized>(
    index: &I,
    matcher: &Matcher,
    wanted: bool,
) -> Result<Postings, StorageError> {
    let name = &matcher.name;
    let inverted = matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRegex);
    // Whether the literal or the pattern itself is what the series must have.
    let itself = wanted != inverted;
    let Some(regex) = matcher.regex() else {
        return if itself {
            index.postings(name, &matcher.value)
        } else {
            let mut others = |value: &str| take_if(value != matcher.value);
            Ok(union(index.visit_values(name, "", &mut others)?))
        };
    };
    if !itself {
        let mut others = |value: &str| take_if(matcher.matches(value) == wanted);
        return Ok(union(index.visit_values(name, "", &mut others)?));
    }
    if let Some(literals) = regex.literals() {
        let lists: Result<_, _> = literals.iter().map(|value| index.postings(name, value)).collect();
        return Ok(union(lists?));
    }
    let prefix = regex.prefix();
    let mut matching = |value: &str| {
        if !value.starts_with(prefix) {
            Visit::Stop
        } else {
            take_if(regex.is_match(value))
        }
    };
    Ok(union(index.visit_values(name, prefix, &mut matching)?))
}

fn take_if(take: bool) -> Visit {
    if take { Visit::Take } else { Visit::Skip }
}

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
    let about_others = matchers.iter().any(|m| m.name != name);
    let mut values = Vec::new();
    let lists = index.visit_values(name, "", &mut |value| {
        if !about_others && values.len() == limit {
            return Visit::Stop;
        }
        if matchers.iter().any(|m| m.name == name && !m.matches(value)) {
            return Visit::Skip;
        }
        values.push(value.to_owned());
        take_if(about_others)
    })?;
    if about_others && !values.is_empty() {
        let series = select(index, matchers)?;
        let mut lists = lists.iter();
        values.retain(|_| lists.next().is_some_and(|list| intersects(list, &series)));
        values.truncate(limit);
    }
    Ok(values)
}

/// Names of the labels of the series that satisfy every matcher, sorted; at most `limit` (0: all).
///
/// # Errors
/// When the index cannot be read.
pub fn label_names<I: LabelIndex + ?Sized>(
    index: &I,
    matchers: &[Matcher],
    limit: usize,
) -> Result<Vec<String>, StorageError> {
    let mut names = if matchers.is_empty() {
        index.names()?
    } else {
        index.names_of(&select(index, matchers)?)?
    };
    if limit > 0 {
        names.truncate(limit);
    }
    Ok(names)
}

#[cfg(test)]
mod tests;

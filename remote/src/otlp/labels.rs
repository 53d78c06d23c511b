//! Attributes become label sets.
//!
//! Most of a series' labels are those of its resource, scope and metric, so these are worked out once for each of them.
//! What is left for a point is to name and sort its own attributes, and to merge the sorted lists.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use model::labels::{LabelTooLong, LabelsPacker, METRIC_NAME};

use super::names::{NameError, Naming};
use super::value::{text, value_text};
use super::wire::Attribute;

/// Why attributes are no label set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// A name cannot be had.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A name occurs twice. Compat: an empty name counts as one that does (payloads: attribute-name-empty).
    #[error("label name {0:?} is not unique: invalid sample")]
    NotUnique(String),
    /// A text is longer than a label may be.
    #[error(transparent)]
    TooLong(#[from] LabelTooLong),
}

/// A label's name, as an index into [`NameTable`].
type NameId = u32;

/// Names of labels that a request has, each escaped once.
#[derive(Default)]
pub(super) struct NameTable<'b> {
    texts: Vec<Box<str>>,
    of_attributes: HashMap<&'b [u8], NameId, foldhash::fast::RandomState>,
    of_texts: HashMap<Box<str>, NameId, foldhash::fast::RandomState>,
}

impl<'b> NameTable<'b> {
    fn text(&self, id: NameId) -> &str {
        &self.texts[id as usize]
    }

    fn of_text(&mut self, text: &str) -> NameId {
        if let Some(id) = self.of_texts.get(text) {
            return *id;
        }
        let id = self.texts.len() as NameId;
        self.texts.push(text.into());
        self.of_texts.insert(text.into(), id);
        id
    }

    fn of_attribute(&mut self, naming: &Naming, name: &'b [u8]) -> Result<NameId, NameError> {
        if let Some(id) = self.of_attributes.get(name) {
            return Ok(*id);
        }
        // A name that is kept may be anything where it is an attribute's own: it is judged with the whole set.
        let label = if naming.escape {
            naming.label(name)?
        } else {
            text(name)
        };
        let id = self.of_text(&label);
        self.of_attributes.insert(name, id);
        Ok(id)
    }
}

/// Labels that were worked out before, sorted by name, each name once.
#[derive(Clone, Debug, Default)]
pub(super) struct Fixed<'b> {
    pairs: Vec<(NameId, Cow<'b, str>)>,
}

/// Makes label sets.
pub(super) struct Labeller<'b> {
    naming: Naming,
    names: NameTable<'b>,
    /// Names that several attributes of one point have become; told once a request.
    collisions: HashSet<NameId, foldhash::fast::RandomState>,
    found: Vec<(&'b [u8], NameId, Cow<'b, str>)>,
    base: Vec<(NameId, Cow<'b, str>)>,
    packer: LabelsPacker,
}

impl<'b> Labeller<'b> {
    pub(super) fn new(naming: Naming) -> Self {
        Labeller {
            naming,
            names: NameTable::default(),
            collisions: HashSet::default(),
            found: Vec::new(),
            base: Vec::new(),
            packer: LabelsPacker::default(),
        }
    }

    /// How many labels' names several attributes have shared.
    pub(super) fn collisions(&self) -> usize {
        self.collisions.len()
    }

    /// Labels made one after the other; a later one takes the place of an earlier one.
    pub(super) fn fixed(&mut self, pairs: impl IntoIterator<Item = (String, Cow<'b, str>)>) -> Fixed<'b> {
        let mut fixed = Fixed::default();
        for (name, value) in pairs {
            let id = self.names.of_text(&name);
            fixed.pairs.push((id, value));
        }
        let names = &self.names;
        fixed.pairs.sort_by(|a, b| names.text(a.0).cmp(names.text(b.0)));
        // Of equal names the last stays.
        fixed.pairs.reverse();
        fixed.pairs.dedup_by_key(|pair| pair.0);
        fixed.pairs.reverse();
        fixed
    }

    /// The name of a label that is an attribute of a resource or a scope; `before` stands in front of it.
    pub(super) fn name(&self, before: &str, attribute: &[u8]) -> Result<String, NameError> {
        if before.is_empty() {
            return Ok(self.naming.label(attribute)?.into_owned());
        }
        let whole = [before.as_bytes(), attribute].concat();
        Ok(self.naming.label(&whole)?.into_owned())
    }

    /// Works out the labels that follow from `attributes`, those of `under` where there is no other of that name, and
    /// those of `over` in any case. An empty value takes a label away.
    ///
    /// # Errors
    /// When they are no set.
    pub(super) fn base(
        &mut self,
        attributes: &[Attribute<'b>],
        ignore: impl Fn(&[u8]) -> bool,
        under: &Fixed<'b>,
        over: &Fixed<'b>,
    ) -> Result<(), LabelsError> {
        self.found.clear();
        for attribute in attributes {
            if !ignore(attribute.key) {
                let id = self.names.of_attribute(&self.naming, attribute.key)?;
                self.found.push((attribute.key, id, value_text(&attribute.value)));
            }
        }
        let names = &self.names;
        // By label, and attributes that share one by their own names.
        self.found
            .sort_by(|a, b| names.text(a.1).cmp(names.text(b.1)).then_with(|| a.0.cmp(b.0)));
        self.base.clear();
        let mut found = self.found.drain(..).peekable();
        let mut under = under.pairs.iter().peekable();
        let mut over = over.pairs.iter().peekable();
        loop {
            let own = found.peek().map(|(_, id, _)| *id);
            let next = [
                own,
                under.peek().map(|pair| pair.0),
                over.peek().map(|pair| pair.0),
            ];
            let Some(id) = next.into_iter().flatten().min_by_key(|id| names.text(*id)) else {
                break;
            };
            let mut value = Cow::Borrowed("");
            let mut twice = false;
            let mut several = false;
            if own == Some(id) {
                (_, _, value) = found.next().unwrap_or_default();
                twice = names.text(id).is_empty() && !value.is_empty();
                while let Some((_, _, other)) = found.next_if(|(_, other, _)| *other == id) {
                    if self.naming.escape {
                        several |= !value.is_empty();
                        value = joined(value, other);
                    } else if value.is_empty() || other.is_empty() {
                        // Compat: an empty value takes all of that name away.
                        (value, twice) = (Cow::Borrowed(""), false);
                    } else {
                        twice = true;
                    }
                }
            }
            if let Some((_, below)) = under.next_if(|pair| pair.0 == id)
                && value.is_empty()
            {
                value = below.clone();
            }
            if let Some((_, above)) = over.next_if(|pair| pair.0 == id) {
                value = above.clone();
                twice = false;
            }
            if several {
                self.collisions.insert(id);
            }
            if twice {
                return Err(LabelsError::NotUnique(names.text(id).to_owned()));
            }
            if !value.is_empty() {
                LabelTooLong::check(names.text(id), &value)?;
                self.base.push((id, value));
            }
        }
        Ok(())
    }

    /// The set of [`Labeller::base`], packed, with a metric's name and perhaps another label, which take the place of what
    /// has their names.
    ///
    /// # Errors
    /// When a text is too long.
    pub(super) fn packed(
        &mut self,
        name: &str,
        extra: Option<(&str, &str)>,
    ) -> Result<&mut LabelsPacker, LabelsError> {
        LabelTooLong::check(METRIC_NAME, name)?;
        self.packer.clear();
        let mut extras = [Some((METRIC_NAME, name)), extra];
        if extra.is_some_and(|(name, _)| name < METRIC_NAME) {
            extras.swap(0, 1);
        }
        let mut extras = extras.into_iter().flatten().peekable();
        let mut put = |name: &str, value: &str| {
            if !value.is_empty() {
                self.packer.push(name, value);
            }
        };
        for (id, value) in &self.base {
            let own = self.names.text(*id);
            while let Some((name, value)) = extras.next_if(|(name, _)| *name < own) {
                put(name, value);
            }
            match extras.next_if(|(name, _)| *name == own) {
                Some((name, value)) => put(name, value),
                None => put(own, value),
            }
        }
        for (name, value) in extras {
            put(name, value);
        }
        Ok(&mut self.packer)
    }

    /// Whether [`Labeller::base`] has a label of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.base.iter().any(|(id, _)| self.names.text(*id) == name)
    }
}

/// Compat: attributes that become one label are joined (payloads: attribute-collision).
fn joined<'b>(value: Cow<'b, str>, other: Cow<'b, str>) -> Cow<'b, str> {
    if value.is_empty() {
        return other;
    }
    let mut both = value.into_owned();
    both.push(';');
    both.push_str(&other);
    Cow::Owned(both)
}

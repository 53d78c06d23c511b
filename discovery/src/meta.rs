//! The labels of what is found: names, values, and the group that targets come in.

use std::collections::BTreeMap;
use std::fmt::Display;

use model::labels::{Labels, LabelsBuilder};

use crate::TargetGroup;
use crate::prepare::DiscoveryError;

/// Where a target is.
pub(crate) const ADDRESS: &str = "__address__";
/// What surrounds and separates the members of a list in a label, so that a pattern need not mind a member's place.
pub(crate) const SEPARATOR: &str = ",";

/// Labels of one target or one group, as they are found out. An empty value sets no label.
#[derive(Clone, Debug)]
pub(crate) struct MetaLabels {
    /// Of the labels that one mechanism makes: `__meta_hetzner_`.
    prefix: &'static str,
    labels: LabelsBuilder,
    name: String,
}

impl MetaLabels {
    /// None yet; `prefix` is what the names of the mechanism's labels begin with.
    pub(crate) fn new(prefix: &'static str) -> Self {
        MetaLabels {
            prefix,
            labels: LabelsBuilder::new(),
            name: String::new(),
        }
    }

    /// Sets a label of the mechanism's; `name` is what follows its prefix.
    pub(crate) fn meta(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.name.clear();
        self.name.push_str(self.prefix);
        self.name.push_str(name);
        self.labels.set(&self.name, &value.to_string());
        self
    }

    /// Sets a label whose name ends with a part that came from outside.
    pub(crate) fn meta_of(&mut self, name: &str, foreign: &str, value: impl Display) -> &mut Self {
        self.meta(&format!("{name}{}", label_name(foreign)), value)
    }

    /// Sets a label for each of other people's pairs, named `name` and the pair's own name.
    pub(crate) fn all(&mut self, name: &str, pairs: &BTreeMap<String, String>) -> &mut Self {
        for (foreign, value) in pairs {
            self.meta_of(name, foreign, value);
        }
        self
    }

    /// Sets a label with the members of a list, surrounded and separated; none for a list without members.
    pub(crate) fn list(&mut self, name: &str, members: &[impl AsRef<str>], separator: &str) -> &mut Self {
        if members.is_empty() {
            return self;
        }
        self.meta(name, surrounded(members, separator))
    }

    /// Sets a label by its whole name.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.labels.set(name, value);
        self
    }

    /// Sets `__address__` to host and port; an IPv6 address gets its brackets.
    pub(crate) fn address(&mut self, host: &str, port: impl Display) -> &mut Self {
        self.set(ADDRESS, &host_port(host, port))
    }

    /// Sets all labels of `others`.
    pub(crate) fn add(&mut self, others: &MetaLabels) -> &mut Self {
        for (name, value) in others.labels.iter() {
            self.labels.set(name, value);
        }
        self
    }

    /// The finished set.
    ///
    /// # Errors
    /// When what came from outside is longer than a label can be.
    pub(crate) fn build(&self) -> Result<Labels, DiscoveryError> {
        self.labels
            .try_build()
            .map_err(|error| DiscoveryError::Other(error.into()))
    }
}

/// The one group of a mechanism whose targets come together.
pub(crate) fn group(source: &str, targets: Vec<Labels>) -> Vec<TargetGroup> {
    vec![TargetGroup {
        source: source.to_owned(),
        targets,
        labels: Labels::default(),
    }]
}

/// The members of a list with a separator between, before and after them.
pub(crate) fn surrounded(members: &[impl AsRef<str>], separator: &str) -> String {
    let mut text = separator.to_owned();
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        text.push_str(member.as_ref());
    }
    text + separator
}

/// Part of a label's name: every character outside `[a-zA-Z0-9_]` becomes an underscore.
pub(crate) fn label_name(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(keep).collect()
}

/// `host:port`, with brackets around what holds colons itself.
pub(crate) fn host_port(host: &str, port: impl Display) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests;

//! Building the labels of a target.

use std::collections::BTreeMap;

use model::labels::{Labels, LabelsBuilder};

use crate::prepare::DiscoveryError;

/// Where a target is.
pub(crate) const ADDRESS: &str = "__address__";

/// Labels of one target or one group, under the prefix of a mechanism. Setting an empty value sets nothing: such a label
/// is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct MetaLabels {
    builder: LabelsBuilder,
}

impl MetaLabels {
    /// Sets `__address__` to host and port; an IPv6 address gets its brackets.
    pub(crate) fn address(&mut self, host: &str, port: impl std::fmt::Display) -> &mut Self {
        let address = host_port(host, port);
        self.set(ADDRESS, &address)
    }

    /// Sets one label.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.builder.set(name, value);
        self
    }

    /// Sets one label for each pair of other people's names: `prefix` and the name, in which every character that no label
    /// name has is an underscore.
    pub(crate) fn set_all(&mut self, prefix: &str, pairs: &BTreeMap<String, String>) -> &mut Self {
        for (name, value) in pairs {
            self.set(&format!("{prefix}{}", label_name(name)), value);
        }
        self
    }

    /// Sets all labels of `others`.
    pub(crate) fn add(&mut self, others: &MetaLabels) -> &mut Self {
        for (name, value) in others.builder.iter() {
            self.builder.set(name, value);
        }
        self
    }

    /// The finished set.
    ///
    /// # Errors
    /// When what came from outside is longer than a label can be.
    pub(crate) fn build(&self) -> Result<Labels, DiscoveryError> {
        self.builder
            .try_build()
            .map_err(|error| DiscoveryError::Other(error.into()))
    }
}

/// Every character outside `[a-zA-Z0-9_]` becomes an underscore.
pub(crate) fn label_name(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

/// `host:port`, with brackets around what holds colons itself.
pub(crate) fn host_port(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// All of `parts`, with the separator between them and around them, so that an expression of a relabelling rule need not
/// mind where a part stands.
pub(crate) fn surrounded(parts: &[String], separator: &str) -> String {
    format!("{separator}{}{separator}", parts.join(separator))
}

#[cfg(test)]
mod tests;

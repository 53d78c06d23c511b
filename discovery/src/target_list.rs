//! The form of target groups that people write: in files, and in what servers answer.

use model::labels::LabelsBuilder;
use yaml::{Document, YamlError};

use crate::TargetGroup;
use crate::static_groups::StaticConfig;

/// Reads a list of groups. Each is known by its place in the list, under the name of `from`, which is also what `label`
/// says.
///
/// # Errors
/// When it is no list of groups.
pub(crate) fn read(document: &Document, from: &str, label: &str) -> Result<Vec<TargetGroup>, YamlError> {
    let mut groups = Vec::new();
    for (index, value) in document.root().sequence()?.into_iter().enumerate() {
        if value.is_null() {
            return Err(value.error("nil target group item found"));
        }
        let mut group = StaticConfig::read(value)?.group(source(from, index));
        let mut labels: LabelsBuilder = group.labels.to_builder();
        group.labels = labels.set(label, from).build();
        groups.push(group);
    }
    Ok(groups)
}

/// What the group at a place is called.
pub(crate) fn source(from: &str, index: usize) -> String {
    format!("{from}:{index}")
}

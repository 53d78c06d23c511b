//! From the patterns of a configuration to groups.

use std::collections::HashSet;
use std::path::PathBuf;

use model::labels::Labels;

use crate::error::{FormatError, LoadError};
use crate::format::{FormatOptions, RuleFile, RuleGroup, read};
use crate::group::Spec;
use crate::rule::Rule;

/// What the configuration says about rules.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Patterns of rule files (`*`, `?`, `[…]`; none of them matches a slash).
    pub patterns: Vec<String>,
    /// How often groups are evaluated that do not say otherwise.
    pub interval_ms: i64,
    /// How far queries look back in groups that do not say otherwise.
    pub query_offset_ms: i64,
    /// `global.external_labels`
    pub external_labels: Labels,
    /// The URL under which users reach the server.
    pub external_url: String,
    /// What is accepted in rule files.
    pub format: FormatOptions,
}

impl Settings {
    /// Reads all files that the patterns match. Touches the disk.
    ///
    /// # Errors
    /// What cannot be read, and everything that is wrong with the files.
    pub(crate) fn read_files(&self) -> Result<Vec<(String, RuleFile)>, LoadError> {
        let mut files = Vec::new();
        let mut errors: Vec<FormatError> = Vec::new();
        for path in self.paths()? {
            let text = std::fs::read(&path)
                .and_then(yaml::text_of)
                .map_err(|source| LoadError::Read {
                    path: path.clone(),
                    source,
                })?;
            let name = path.display().to_string();
            match read(&name, &text, &self.format) {
                Ok(file) => {
                    if file.more_documents {
                        let warning = crate::check::Warning::MoreDocuments;
                        tracing::warn!(file = name, "{warning}");
                    }
                    files.push((name, file));
                }
                Err(more) => errors.extend(more),
            }
        }
        if errors.is_empty() {
            Ok(files)
        } else {
            Err(LoadError::Format(errors))
        }
    }

    /// Reads files whose texts are at hand, by their names.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub(crate) fn read_texts(
        &self,
        texts: &[(String, String)],
    ) -> Result<Vec<(String, RuleFile)>, LoadError> {
        let (mut files, mut errors) = (Vec::new(), Vec::new());
        for (name, text) in texts {
            match read(name, text, &self.format) {
                Ok(file) => files.push((name.clone(), file)),
                Err(more) => errors.extend(more),
            }
        }
        if errors.is_empty() {
            Ok(files)
        } else {
            Err(LoadError::Format(errors))
        }
    }

    /// The files that the patterns match, each once, in order of the patterns and then of names.
    ///
    /// # Errors
    /// When a pattern is malformed or a folder cannot be read.
    pub fn paths(&self) -> Result<Vec<PathBuf>, LoadError> {
        let (mut paths, mut seen) = (Vec::new(), HashSet::new());
        for pattern in &self.patterns {
            let found = yaml::glob(pattern).map_err(|source| LoadError::Pattern {
                pattern: pattern.clone(),
                source,
            })?;
            for path in found {
                if seen.insert(path.clone()) {
                    paths.push(path);
                }
            }
        }
        Ok(paths)
    }

    /// The groups of the files that were read.
    pub(crate) fn plans(&self, files: &[(String, RuleFile)]) -> Vec<Plan> {
        let groups = files
            .iter()
            .flat_map(|(path, file)| file.groups.iter().map(move |group| (path, group)));
        groups.map(|(path, group)| self.plan(path, group)).collect()
    }

    fn plan(&self, path: &str, group: &RuleGroup) -> Plan {
        let rules = group.rules.iter().filter_map(|rule| {
            // Reading the file has parsed the templates already.
            Rule::new(rule, &group.labels).ok()
        });
        Plan {
            spec: Spec {
                file: path.to_owned(),
                name: group.name.clone(),
                interval_ms: group.interval_ms.unwrap_or(self.interval_ms).max(1),
                query_offset_ms: group.query_offset_ms.unwrap_or(self.query_offset_ms),
                limit: group.limit,
                no_data: group.no_data,
                external_labels: self.external_labels.clone(),
                external_url: self.external_url.clone(),
            },
            rules: rules.collect(),
        }
    }
}

/// A group as the configuration has it.
pub(crate) struct Plan {
    pub(crate) spec: Spec,
    pub(crate) rules: Vec<Rule>,
}

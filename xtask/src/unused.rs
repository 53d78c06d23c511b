//! Dependencies that nobody uses.
//!
//! A scan of words, not of meaning: a crate counts as used where its name stands in a path (`name::`), an import or a macro
//! of the package's own files. That is enough to find what was left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// Dependencies whose use does not stand in our files, and why they are there. Package and dependency.
const USED_BY_BEING_THERE: [(&str, &str); 0] = [];

/// Adds a finding for each dependency of `metadata` (as `cargo metadata` gives it, dependencies included) that no file uses,
/// and for each that stands in the workspace's table and in no package.
pub(crate) fn check(
    root: &Path,
    metadata: &Value,
    files: &[PathBuf],
    findings: &mut Vec<String>,
) -> Result<()> {
    let crate_names = crate_names(metadata);
    let members: BTreeSet<&str> = list(&metadata["workspace_members"])
        .filter_map(Value::as_str)
        .collect();
    let root = root.canonicalize().context("the repository's root")?;
    let mut wanted = BTreeSet::new();
    for package in list(&metadata["packages"]) {
        if !members.contains(package["id"].as_str().unwrap_or("")) {
            continue;
        }
        let name = package["name"].as_str().unwrap_or("");
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or(""));
        let folder = manifest.parent().unwrap_or(Path::new(""));
        let words = words_of(&root, folder, files)?;
        for dependency in list(&package["dependencies"]) {
            let package_name = dependency["name"].as_str().unwrap_or("");
            wanted.insert(package_name.to_owned());
            let code_name = match dependency["rename"].as_str() {
                Some(renamed) => renamed.replace('-', "_"),
                None => crate_names
                    .get(package_name)
                    .cloned()
                    .unwrap_or_else(|| package_name.replace('-', "_")),
            };
            let excused = USED_BY_BEING_THERE.contains(&(name, package_name));
            if !words.contains(&code_name) && !excused {
                findings.push(format!(
                    "{name}: {package_name} is a dependency that no file uses"
                ));
            }
        }
    }
    for name in workspace_table(&root)? {
        // A room may be there before the first one knows it.
        if !wanted.contains(&name) && !name.starts_with("narthex-") {
            findings.push(format!("Cargo.toml: no package depends on {name}"));
        }
    }
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What code calls the library of each package: `md5` for `md-5`.
fn crate_names(metadata: &Value) -> BTreeMap<String, String> {
    let is_library = |target: &&Value| {
        let kinds = list(&target["kind"]).filter_map(Value::as_str);
        kinds
            .into_iter()
            .any(|kind| matches!(kind, "lib" | "rlib" | "proc-macro"))
    };
    list(&metadata["packages"])
        .filter_map(|package| {
            let library = list(&package["targets"]).find(is_library)?;
            let name = library["name"].as_str()?.replace('-', "_");
            Some((package["name"].as_str()?.to_owned(), name))
        })
        .collect()
}

/// Words in a package's files behind which `::`, `!` or the end of an import stands.
fn words_of(root: &Path, folder: &Path, files: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut words = BTreeSet::new();
    for file in files {
        let path = root.join(file);
        if !path.starts_with(folder) || path.extension().is_none_or(|ending| ending != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        words.extend(paths_in(&text));
    }
    Ok(words)
}

fn paths_in(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or("");
        let mut rest = code;
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let word_and_rest = &rest[start..];
            let end = word_and_rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(word_and_rest.len());
            let (word, behind) = word_and_rest.split_at(end);
            let imported = code.trim_start().starts_with("use ") || code.trim_start().starts_with("pub use ");
            if behind.starts_with("::") || behind.starts_with('!') || imported {
                words.insert(word.to_owned());
            }
            rest = behind;
        }
    }
    words
}

/// Package names in the table `[workspace.dependencies]`.
fn workspace_table(root: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join("Cargo.toml")).context("reading Cargo.toml")?;
    let table = text.split("[workspace.dependencies]").nth(1).unwrap_or("");
    let lines = table.lines().skip(1).take_while(|line| !line.starts_with('['));
    Ok(lines
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            let renamed = value
                .split_once("package = \"")
                .and_then(|(_, rest)| rest.split('"').next());
            Some(renamed.unwrap_or(name.trim()).to_owned())
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths_macros_and_imports_count() {
        let text =
            "use a;\nuse b::{c as d};\nlet x = e::f(); // g::h\nproptest! { }\nstruct Unused;\nlet i = j;\n";
        let words = paths_in(text);
        for used in ["a", "b", "e", "proptest"] {
            assert!(words.contains(used), "{used}");
        }
        for unused in ["g", "h", "Unused", "i", "j"] {
            assert!(!words.contains(unused), "{unused}");
        }
    }
}

//! What the compiler does not check: dependency arrows and leftovers, first lines, sizes, unwatched tasks, the list of unsafe code, links.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{lengths, spawns, unused};

/// Longest source file that passes, in lines. Files aim at 500; a thousand is a smell.
const LINES_MAX: usize = 1000;

/// Checks all; fails with every finding listed.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut findings = Vec::new();
    let files = tracked_files(root)?;
    let metadata = metadata(root)?;
    check_arrows(root, &metadata, &mut findings)?;
    unused::check(root, &metadata, &files, &mut findings)?;
    let with_unsafe = unsafe_files(root)?;
    for file in &files {
        match file.extension().and_then(|e| e.to_str()) {
            Some("rs") => check_source(root, file, &with_unsafe, &mut findings)?,
            Some("md") => check_links(root, file, &mut findings)?,
            _ => {}
        }
    }
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{} findings:\n{}", findings.len(), findings.join("\n"))
}

fn tracked_files(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("listing files with git")?;
    let text = String::from_utf8(output.stdout).context("file names are UTF-8")?;
    Ok(text
        .lines()
        .map(PathBuf::from)
        .filter(|file| root.join(file).is_file())
        .collect())
}

/// What cargo knows of the workspace and of everything that it depends on.
fn metadata(root: &Path) -> Result<serde_json::Value> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .context("running cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("reading cargo metadata")
}

/// Files that ARCHITECTURE.md lists behind the heading "Unsafe code".
fn unsafe_files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).context("reading ARCHITECTURE.md")?;
    let section = text
        .split("\n## Unsafe code")
        .nth(1)
        .context("ARCHITECTURE.md has no section `Unsafe code`")?;
    let rows = section.lines().take_while(|line| !line.starts_with("## "));
    Ok(rows
        .filter_map(|row| row.strip_prefix("| [")?.split(']').next())
        .map(PathBuf::from)
        .collect())
}

/// Compares the table of ARCHITECTURE.md with what `cargo metadata` says.
fn check_arrows(root: &Path, metadata: &serde_json::Value, findings: &mut Vec<String>) -> Result<()> {
    let allowed = edge_table(root)?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some(room) = package["name"]
            .as_str()
            .and_then(|name| name.strip_prefix("narthex-"))
        else {
            continue;
        };
        let Some(allowed) = allowed.get(room) else {
            findings.push(format!(
                "{room}: has no row in the table of arrows in ARCHITECTURE.md"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // Tests may look further than the code.
            let Some(other) = dependency["name"]
                .as_str()
                .and_then(|name| name.strip_prefix("narthex-"))
            else {
                continue;
            };
            if dependency["kind"] == "dev" {
                continue;
            }
            // Also where a row says `*`.
            if other == "testkit" {
                findings.push(format!("{room}: testkit belongs among [dev-dependencies]"));
            } else if !allowed.contains(other) && !allowed.contains("*") {
                findings.push(format!(
                    "{room}: knows {other}, which ARCHITECTURE.md does not allow"
                ));
            }
        }
    }
    Ok(())
}

/// Rows of the form `| room | knows a, b |` behind the heading "Arrows".
fn edge_table(root: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let path = root.join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let section = text
        .split("\n## Arrows")
        .nth(1)
        .context("ARCHITECTURE.md has no section `Arrows`")?;
    let rows = section
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with("| `"));
    Ok(rows
        .filter_map(|row| {
            let mut cells = row.trim_matches('|').split('|');
            let room = cells.next()?.trim().trim_matches('`').to_owned();
            let knows = cells
                .next()?
                .split(',')
                .map(|k| k.trim().trim_matches('`').to_owned());
            Some((room, knows.filter(|k| !k.is_empty()).collect()))
        })
        .collect())
}

fn check_source(
    root: &Path,
    file: &Path,
    with_unsafe: &BTreeSet<PathBuf>,
    findings: &mut Vec<String>,
) -> Result<()> {
    let text = fs::read_to_string(root.join(file)).with_context(|| format!("reading {}", file.display()))?;
    if !text.starts_with("//!") {
        findings.push(format!("{}: does not open with `//!`", file.display()));
    }
    // Written in two parts, so that this line is not its own finding.
    if text.contains(concat!("NARTHEX_", "CONFORMANCE\")")) && !file.starts_with("testkit") {
        findings.push(format!(
            "{}: looks for the conformance data by itself; testkit does it and skips loudly",
            file.display()
        ));
    }
    // The compiler denies unsafe code where this lint is not lifted.
    let lifts = text.contains("unsafe_code");
    let is_self = file.ends_with("xtask/src/tidy.rs");
    match (lifts && !is_self, with_unsafe.contains(file)) {
        (true, false) => findings.push(format!(
            "{}: has unsafe code, and is not listed in ARCHITECTURE.md",
            file.display()
        )),
        (false, true) => findings.push(format!(
            "{}: is listed in ARCHITECTURE.md as having unsafe code, and has none",
            file.display()
        )),
        _ => {}
    }
    findings.extend(lengths::findings(file, &text));
    findings.extend(spawns::findings(file, &text));
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!(
            "{}: {lines} lines are more than {LINES_MAX}; split it by theme",
            file.display()
        ));
    }
    Ok(())
}

/// Relative links of a document must lead to something.
fn check_links(root: &Path, file: &Path, findings: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(root.join(file)).with_context(|| format!("reading {}", file.display()))?;
    for part in text.split("](").skip(1) {
        let Some(target) = part.split(')').next() else {
            continue;
        };
        let target = target.split('#').next().unwrap_or("");
        if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let folder = root.join(file.parent().unwrap_or(Path::new("")));
        if !folder.join(target).exists() {
            findings.push(format!("{}: link to {target} leads nowhere", file.display()));
        }
    }
    Ok(())
}

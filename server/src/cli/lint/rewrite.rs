//! `--fix`: files rewritten where it is sure what was meant.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ::rules::format::{FormatOptions, read};
use ::rules::lint::{Outcome, Source, apply};

use super::LintError;
use crate::cli::render::err;

/// Rewrites what has a fix, each file whole or not at all; how many findings went by it. `sources` are as the files are
/// afterwards.
pub(super) fn fix(
    paths: &[PathBuf],
    sources: &mut [Source],
    outcome: &Outcome,
    format: &FormatOptions,
) -> Result<usize, LintError> {
    let mut count = 0;
    for (number, (path, source)) in paths.iter().zip(sources).enumerate() {
        let findings = outcome.findings.iter().filter(|finding| finding.file == number);
        let fixed = apply(&source.text, findings);
        if fixed.count == 0 {
            continue;
        }
        // A fix is never allowed to make a file worse than it was.
        if read(&source.path, &fixed.text, format).is_err() {
            err(format_args!(
                "{}: left alone, because it would not be valid any more",
                source.path
            ));
            continue;
        }
        replace(path, &source.text, &fixed.text).map_err(|source| LintError::Write {
            path: path.clone(),
            source,
        })?;
        source.text = fixed.text;
        count += fixed.count;
    }
    Ok(count)
}

/// Puts `text` in the place of `path` at once, with its rights, unless the file is not `before` any more.
fn replace(path: &Path, before: &str, text: &str) -> io::Result<()> {
    // A link stays one: what it leads to is replaced.
    let path = std::fs::canonicalize(path)?;
    let changed = || io::Error::other("it is not UTF-8, or has changed meanwhile; it was left alone");
    if std::fs::read(&path)? != before.as_bytes() {
        return Err(changed());
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let aside = path.with_file_name(name);
    let written = write_aside(&path, &aside, text).and_then(|()| std::fs::rename(&aside, &path));
    if written.is_err() {
        // What is left over is of no use; that it cannot be removed either is no news.
        let _ = std::fs::remove_file(&aside);
    }
    written
}

fn write_aside(path: &Path, aside: &Path, text: &str) -> io::Result<()> {
    let rights = std::fs::metadata(path)?.permissions();
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(aside)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(rights)?;
    file.sync_all()
}

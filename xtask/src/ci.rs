//! The steps of CI.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::say;

/// A step: its name and its command.
struct Step {
    name: &'static str,
    command: &'static [&'static str],
}

/// Cheapest first; tests last, so that their count closes the log. The test command is the README's.
const STEPS: [Step; 8] = [
    Step {
        name: "format",
        command: &["cargo", "fmt", "--all", "--check"],
    },
    Step {
        name: "tidy",
        command: &["cargo", "xtask", "tidy"],
    },
    Step {
        name: "deny",
        command: &[
            "cargo",
            "deny",
            "--log-level",
            "error",
            "check",
            "licenses",
            "bans",
            "sources",
        ],
    },
    Step {
        // The pages: their packages, lint, types, tests, and whether `ui/dist` is their build. Browsers come with the tests.
        name: "ui",
        command: &["npm", "--prefix", "ui", "run", "--silent", "check"],
    },
    Step {
        name: "lint",
        command: &[
            "cargo",
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    },
    Step {
        name: "docs",
        command: &["cargo", "doc", "--workspace", "--no-deps", "--locked", "--quiet"],
    },
    Step {
        name: "fuzz",
        command: &["cargo", "xtask", "fuzz"],
    },
    Step {
        name: "test",
        command: &["cargo", "test", "--workspace", "--locked"],
    },
];

/// Runs the named steps, or all.
pub(crate) fn run(root: &Path, names: &[String]) -> Result<()> {
    if let Some(unknown) = names
        .iter()
        .find(|name| STEPS.iter().all(|step| step.name != **name))
    {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        bail!("no step is called {unknown:?}; there are {}", known.join(", "));
    }
    for step in STEPS
        .iter()
        .filter(|step| names.is_empty() || names.iter().any(|name| name == step.name))
    {
        say(&format!("== {}: {}", step.name, step.command.join(" ")));
        let begin = Instant::now();
        let status = Command::new(step.command[0])
            .args(&step.command[1..])
            .current_dir(root)
            .env("RUSTDOCFLAGS", "-D warnings")
            .status()
            .with_context(|| format!("starting {}", step.command[0]))?;
        say(&format!(
            "== {}: {} after {:.0} s",
            step.name,
            if status.success() { "passed" } else { "failed" },
            begin.elapsed().as_secs_f64()
        ));
        if !status.success() {
            bail!(
                "step {} failed; run it alone by `cargo xtask ci {}`",
                step.name,
                step.name
            );
        }
    }
    Ok(())
}

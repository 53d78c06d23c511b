//! `cargo xtask reload`: how long a reload takes that brings many jobs or rule groups, changes them all, or takes them
//! away. What it takes must grow with their number and no faster.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::memory::{Server, ask, start, wait_until};
use crate::say;

/// `[--program PATH] [--jobs N] [--groups N] [--port N]`
pub(crate) fn run(root: &Path, args: &[String]) -> Result<()> {
    let mut program = root.join("target/release/narthex");
    let (mut jobs, mut groups, mut port) = (20_000, 16_000, 21_398);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let value = args.next().with_context(|| format!("{arg} wants a value"))?;
        match arg.as_str() {
            "--program" => program = PathBuf::from(value),
            "--jobs" => jobs = value.parse()?,
            "--groups" => groups = value.parse()?,
            "--port" => port = value.parse()?,
            other => bail!("unknown argument {other}"),
        }
    }
    let folder = std::env::temp_dir().join(format!("narthex-reload-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = measure(&program, &folder, port, jobs, groups);
    fs::remove_dir_all(&folder)?;
    result
}

fn measure(program: &Path, folder: &Path, port: u16, jobs: usize, groups: usize) -> Result<()> {
    let _server = Server(start(
        program,
        folder,
        port,
        &["--web.enable-lifecycle".to_owned()],
        None,
    )?);
    wait_until(|| ask(port, "GET", "/-/ready", "").is_ok_and(|(status, _)| status == 200))?;
    let reload = |what: &str, config: &str, rules: &str| -> Result<()> {
        fs::write(folder.join("rules.yml"), rules)?;
        fs::write(folder.join("narthex.yml"), config)?;
        let begin = Instant::now();
        let (status, _) = ask(port, "POST", "/-/reload", "")?;
        ensure!(status == 200, "{what}: status {status}");
        say(&format!("{what}: {:.2} s", begin.elapsed().as_secs_f64()));
        Ok(())
    };
    for jobs in [jobs / 4, jobs] {
        let none = "rule_files: [rules.yml]\n";
        reload(&format!("{jobs} jobs come"), &config(jobs, "1m"), "")?;
        reload("  the same again", &config(jobs, "1m"), "")?;
        reload("  all change", &config(jobs, "2m"), "")?;
        reload("  all go", none, "")?;
    }
    for groups in [groups / 4, groups] {
        let config = config(0, "1m");
        reload(
            &format!("{groups} rule groups come"),
            &config,
            &rules(groups, "a"),
        )?;
        reload("  the same again", &config, &rules(groups, "a"))?;
        reload("  all change", &config, &rules(groups, "b"))?;
        reload("  all go", &config, "")?;
    }
    Ok(())
}

/// Jobs with a target each at which nobody listens.
fn config(jobs: usize, interval: &str) -> String {
    let mut text = "rule_files: [rules.yml]\nscrape_configs:\n".to_owned();
    for job in 0..jobs {
        // Writing to a text does not fail.
        let _ = writeln!(
            text,
            "- {{job_name: j{job}, scrape_interval: {interval}, static_configs: [{{targets: ['127.0.0.1:1']}}]}}"
        );
    }
    if jobs == 0 {
        text.truncate(text.len() - "scrape_configs:\n".len());
    }
    text
}

/// Groups with a rule each.
fn rules(groups: usize, name: &str) -> String {
    let mut text = "groups:\n".to_owned();
    for group in 0..groups {
        let _ = writeln!(
            text,
            "- {{name: g{group}, interval: 60s, rules: [{{record: {name}{group}, expr: 'vector({group})'}}]}}"
        );
    }
    text
}

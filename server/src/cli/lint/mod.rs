//! `narthex lint …`: what is valid in rule files and does not do what its author wants.

mod output;
mod rewrite;
mod server;

use std::path::{Path, PathBuf};

use ::rules::format::FormatOptions;
use ::rules::lint::{self, Facts, Lint, Outcome, Settings, Source};
use clap::{Arg, ArgMatches, Command};

use super::check::{enable_feature_arg, files, files_arg, parse_options, switch};
use super::client::http_config_arg;
use super::render::{err, err_text, out_text};
use output::Output;

/// A file, the configuration or the server cannot be used.
const FAILURE: u8 = 1;

/// Width of explanations, in letters.
const WIDTH: usize = 100;

/// What is to be done.
pub(crate) enum LintArgs {
    /// Look at rule files.
    Rules(Box<RulesArgs>),
    /// Explain a lint, or list all.
    Explain(Option<String>),
}

/// What is looked at, and how it is told.
pub(crate) struct RulesArgs {
    files: Vec<PathBuf>,
    config: Option<PathBuf>,
    server: Option<String>,
    http_config: Option<String>,
    output: Output,
    fix: bool,
    format: FormatOptions,
}

const EXAMPLES: &str = "Examples:
  narthex lint rules rules/*.yml
  narthex lint rules --server http://localhost:9090 rules/*.yml
  narthex lint rules --fix rules/*.yml
  narthex lint rules --output sarif rules/*.yml > lint.sarif
  narthex lint explain NX301

Exit codes: 0 for nothing but notes (severity info), 3 for findings of severity warning or error, 1 for a file,
configuration or server that cannot be used.";

/// The command and its subcommands.
pub(crate) fn command() -> Command {
    let rules = Command::new("rules")
        .about("Look at rule files")
        .after_help(EXAMPLES)
        .arg(enable_feature_arg())
        .arg(
            option("config", "FILE", "Which lints count, and how much")
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(option(
            "server",
            "URL",
            "Server to ask which metrics, labels and intervals there are",
        ))
        .arg(http_config_arg())
        .arg(
            option("output", "FORMAT", "How to tell what was found")
                .value_parser(["text", "json", "github", "sarif"])
                .default_value("text"),
        )
        .arg(switch("fix", "Rewrite files where it is sure what was meant"))
        .arg(switch(
            "ignore-unknown-fields",
            "Skip fields that rule files do not have, as extensions add them",
        ))
        .arg(files_arg("Rule files").required(true));
    let explain = Command::new("explain")
        .about("Explain a lint; without a code, list all")
        .arg(
            Arg::new("code")
                .value_name("CODE")
                .help("Code or name: NX301, dropped-label"),
        );
    Command::new("lint")
        .about("Find what is valid in rule files and will not do what is wanted")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(rules)
        .subcommand(explain)
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

/// What a command line asks for.
pub(crate) fn args(matches: &ArgMatches) -> LintArgs {
    match matches.subcommand() {
        Some(("explain", matches)) => LintArgs::Explain(matches.get_one::<String>("code").cloned()),
        Some((_, matches)) => LintArgs::Rules(Box::new(RulesArgs::new(matches))),
        None => unreachable!("clap requires a subcommand"),
    }
}

impl RulesArgs {
    fn new(matches: &ArgMatches) -> Self {
        let word = |name: &str| matches.get_one::<String>(name).cloned();
        RulesArgs {
            files: files(matches),
            config: matches.get_one::<PathBuf>("config").cloned(),
            server: word("server"),
            http_config: word("http.config.file"),
            output: Output::from_word(&word("output").unwrap_or_default()),
            fix: matches.get_flag("fix"),
            format: FormatOptions {
                ignore_unknown_fields: matches.get_flag("ignore-unknown-fields"),
                parse: parse_options(matches),
                ..FormatOptions::default()
            },
        }
    }
}

/// Does it; the exit code.
pub(crate) async fn run(args: &LintArgs) -> u8 {
    match args {
        LintArgs::Explain(code) => explain(code.as_deref()),
        LintArgs::Rules(args) => match rules(args).await {
            Ok(code) => code,
            Err(error) => {
                err(error);
                FAILURE
            }
        },
    }
}

fn explain(code: Option<&str>) -> u8 {
    let Some(code) = code else {
        out_text(&lint::overview());
        return 0;
    };
    match Lint::find(code) {
        Some(found) => {
            out_text(&lint::explanation(found, WIDTH));
            0
        }
        None => {
            err(format_args!(
                "there is no lint {code:?}; `narthex lint explain` lists them"
            ));
            FAILURE
        }
    }
}

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum LintError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// A file cannot be rewritten; it is as it was.
    #[error("{}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] yaml::YamlError),
    /// The server does not answer.
    #[error(transparent)]
    Server(#[from] super::client::ClientError),
    /// The server's configuration cannot be read.
    #[error("the configuration of the server: {0}")]
    ServerConfig(yaml::YamlError),
}

async fn rules(args: &RulesArgs) -> Result<u8, LintError> {
    let settings = match &args.config {
        Some(path) => Settings::read(&path.to_string_lossy(), &read(path)?)?,
        None => Settings::default(),
    };
    let mut sources = Vec::new();
    for path in &args.files {
        sources.push(Source {
            path: path.to_string_lossy().into_owned(),
            text: read(path)?,
        });
    }
    let facts = match &args.server {
        Some(server) => {
            let questions = lint::questions(&sources, &args.format);
            Some(server::ask(server, args.http_config.as_deref(), &questions).await?)
        }
        None => None,
    };
    let look =
        |sources: &[Source], facts: Option<&Facts>| lint::lint(sources, &args.format, &settings, facts);
    let mut outcome = look(&sources, facts.as_ref());
    if args.fix {
        let fixed = rewrite::fix(&args.files, &mut sources, &outcome, &args.format)?;
        if fixed > 0 {
            err(format_args!("{fixed} fixed"));
            outcome = look(&sources, facts.as_ref());
        }
    }
    tell(&args.output, &sources, &outcome);
    Ok(outcome.exit_code())
}

fn read(path: &Path) -> Result<String, LintError> {
    let text = std::fs::read(path).and_then(yaml::text_of);
    text.map_err(|source| LintError::Read {
        path: path.to_owned(),
        source,
    })
}

fn tell(output: &Output, sources: &[Source], outcome: &Outcome) {
    for error in &outcome.errors {
        err(error);
        err_text(&(error.place(super::render::color()) + "\n"));
    }
    out_text(&output.write(sources, outcome));
}

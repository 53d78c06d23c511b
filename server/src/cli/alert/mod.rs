//! `narthex alert`, or a program that is called `amtool`: asking an Alertmanager, ours or another, and looking at its files.
//!
//! The line is `amtool`'s, and so is what is printed, to the letter, since scripts read both. Two things are meant otherwise:
//! where the reference prints addresses of memory (`silence update -q`, `config show -o extended`) there is the value; and
//! `narthex alert` has commands of its own (`query` and `add` without `alert` in front, `history`, `preview`, `test-send`).

mod alerts;
mod api;
mod check_config;
mod client;
mod commands;
mod error;
mod history;
mod import;
mod line;
mod matchers;
mod moment;
mod preview;
mod print;
mod recurring;
mod render;
mod routes;
mod settings;
mod silences;
mod status;
mod table;
mod test_send;

use std::ffi::OsString;

use clap::{Arg, ArgMatches};

use super::render::{err_text, out_text};
use crate::version;
use error::AlertError;
use line::{Asked, Line, Task};
use matchers::Words;

/// How it is called, and the words behind that.
pub(crate) struct AlertArgs {
    program: &'static line::Command,
    words: Vec<String>,
}

/// `narthex alert`, whose words are read here and not by clap (see [`mod@line`]).
pub(super) fn command() -> clap::Command {
    clap::Command::new("alert")
        .about("Ask an Alertmanager for alerts, silences and its configuration; check its files (amtool)")
        .disable_help_flag(true)
        .arg(
            Arg::new("words")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true),
        )
}

impl AlertArgs {
    /// Of a program that is called `amtool`.
    pub(super) fn amtool(words: impl Iterator<Item = OsString>) -> Self {
        AlertArgs {
            program: &commands::AMTOOL,
            words: words.map(|word| word.to_string_lossy().into_owned()).collect(),
        }
    }

    /// Of `narthex alert`.
    pub(super) fn narthex(matches: &ArgMatches) -> Self {
        let words = matches.get_many::<String>("words").into_iter().flatten();
        AlertArgs {
            program: &commands::NARTHEX,
            words: words.cloned().collect(),
        }
    }
}

/// Does what is asked for; the exit code.
pub(crate) async fn run(args: &AlertArgs) -> u8 {
    match try_run(args).await {
        Ok(()) => 0,
        Err(AlertError::Said) => 1,
        Err(error) => {
            err_text(&format!(
                "{}: error: {error}{}",
                args.program.name,
                error.ending()
            ));
            1
        }
    }
}

async fn try_run(args: &AlertArgs) -> Result<(), AlertError> {
    let settings = settings::load()?;
    match line::read(args.program, &args.words, &settings, &version())? {
        Asked::Print(text) => {
            out_text(&text);
            Ok(())
        }
        Asked::Do(task, line) => perform(task, &line).await,
    }
}

async fn perform(task: Task, line: &Line) -> Result<(), AlertError> {
    let words = Words::new(line)?;
    match task {
        Task::QueryAlerts => alerts::query(line, &words).await,
        Task::AddAlert => alerts::add(line, &words).await,
        Task::AddSilence => silences::add(line, &words).await,
        Task::ExpireSilences => silences::expire(line).await,
        Task::ImportSilences => import::run(line).await,
        Task::QuerySilences => silences::query(line, &words).await,
        Task::UpdateSilences => silences::update(line).await,
        Task::CheckConfig => check_config::run(line, &words),
        Task::ShowCluster => status::cluster(line).await,
        Task::ShowConfig => status::config(line).await,
        Task::ShowRoutes => routes::show(line, &words).await,
        Task::TestRoutes => routes::test(line, &words).await,
        Task::RenderTemplate => render::run(line),
        Task::QueryHistory => history::query(line, &words).await,
        Task::Preview => preview::run(line, &words).await,
        Task::SendTest => test_send::run(line, &words).await,
    }
}

fn version() -> String {
    format!("amtool, {}\n", version::of_program("amtool"))
}
